//! RuntimeClasses: `runtimeclasses` of `node.k8s.io/v1`.

use std::collections::BTreeSet;

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::{
    core::v1::{ResourceRequirements, Toleration},
    node::v1::{RuntimeClass, Scheduling},
};

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        internal::printed,
        metadata::invalid_each,
        names::dns_label,
        optional::{Entries, Items, Text, immutable},
        pod_spec::{Rules, scheduling::tolerations, validate_requirements, warnings::old_node_label},
        selectors::validate_labels,
    },
};

/// The strategy of RuntimeClasses.
pub(crate) struct RuntimeClasses;

impl Strategy for RuntimeClasses {
    type Object = RuntimeClass;

    const NAMES: Names = Names {
        group: "node.k8s.io",
        version: "v1",
        kind: "RuntimeClass",
        plural: "runtimeclasses",
        singular: "runtimeclass",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const CHANGE_COMES_LAST: bool = true;
    const CREATE_ON_UPDATE: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;

    fn validate(_cx: &Context<'_>, object: &RuntimeClass) -> Faults {
        let path = Path::new("handler");
        let mut faults = if object.handler.is_empty() {
            vec![Fault::required(&path, "")]
        } else {
            invalid_each(&path, &object.handler, dns_label(&object.handler, false))
        };
        if let Some(overhead) = &object.overhead {
            let limits = ResourceRequirements {
                limits: overhead.pod_fixed.clone(),
                ..ResourceRequirements::default()
            };
            let path = Path::new("overhead");
            faults.extend(validate_requirements(&limits, &BTreeSet::new(), &Rules::default(), &path));
        }
        if let Some(scheduling) = &object.scheduling {
            faults.extend(scheduling_faults(scheduling, &Path::new("scheduling")));
        }
        faults
    }

    fn validate_change(object: &RuntimeClass, old: &RuntimeClass) -> Faults {
        immutable(&Path::new("handler"), &object.handler, &old.handler).into_iter().collect()
    }

    fn warnings(_cx: &Context<'_>, object: &RuntimeClass, _old: Option<&RuntimeClass>) -> Vec<String> {
        let labels = object.scheduling.iter().flat_map(|scheduling| scheduling.node_selector.entries());
        labels
            .filter_map(|(label, _)| old_node_label(label))
            .map(|what| format!("scheduling.nodeSelector: {what}"))
            .collect()
    }
}

fn scheduling_faults(scheduling: &Scheduling, path: &Path) -> Faults {
    let mut faults = validate_labels(scheduling.node_selector.as_ref(), &path.child("nodeSelector"));
    let path = path.child("tolerations");
    let list = scheduling.tolerations.items();
    faults.extend(tolerations(list, &Rules::default(), &path));
    let key =
        |it: &Toleration| [&it.key, &it.operator, &it.value, &it.effect].map(|part| part.text().to_owned());
    for (index, toleration) in list.iter().enumerate() {
        if list.iter().take(index).any(|earlier| key(earlier) == key(toleration)) {
            faults.push(Fault::duplicate(&path.index(index), printed("core.Toleration", toleration)));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::RuntimeClasses;
    use crate::resources::shared::testing::{check_create, check_update, warnings};

    #[test]
    fn a_class_names_a_handler_and_what_it_costs() {
        for (object, faults) in [
            (json!({"handler": "runc", "overhead": {"podFixed": {"cpu": "1"}}}), vec![]),
            (json!({}), vec!["handler: Required value"]),
            (
                json!({"handler": "a", "overhead": {"podFixed": {"odd": "1"}},
                    "scheduling": {"tolerations": [{"key": "a", "operator": "Exists"}, {"key": "a", "operator": "Exists"}]}}),
                vec![
                    r#"overhead.limits[odd]: Invalid value: "odd": must be a standard resource type or fully qualified"#,
                    r#"overhead.limits[odd]: Invalid value: "odd": must be a standard resource for containers"#,
                    r#"scheduling.tolerations[1]: Duplicate value: {"Key":"a","Operator":"Exists","Value":"","Effect":"","TolerationSeconds":null}"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<RuntimeClasses>(object), faults);
        }
    }

    #[test]
    fn the_handler_is_fixed() {
        assert_eq!(
            check_update::<RuntimeClasses>(json!({"handler": "b"}), json!({"handler": "a"})),
            [r#"handler: Invalid value: "b": field is immutable"#]
        );
    }

    #[test]
    fn old_labels_of_nodes_are_warned_about() {
        assert_eq!(
            warnings::<RuntimeClasses>(
                json!({"handler": "a", "scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "b"}}})
            ),
            [r#"scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/os" instead"#]
        );
    }
}
