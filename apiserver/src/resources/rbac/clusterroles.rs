//! ClusterRoles: `clusterroles` of `rbac.authorization.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::rbac::v1::ClusterRole;

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        names::path_segment,
        optional::Items,
        rbac::rules_faults,
        selectors::{self, Leniency},
    },
};

/// The strategy of ClusterRoles.
pub(crate) struct ClusterRoles;

impl Strategy for ClusterRoles {
    type Object = ClusterRole;

    const NAMES: Names = Names {
        group: "rbac.authorization.k8s.io",
        version: "v1",
        kind: "ClusterRole",
        plural: "clusterroles",
        singular: "clusterrole",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const CREATE_ON_UPDATE: bool = true;

    fn name_faults(name: &str, _prefix: bool) -> Vec<String> {
        path_segment(name, false)
    }

    fn validate(_cx: &Context<'_>, object: &ClusterRole) -> Faults {
        faults(object, Leniency::default())
    }

    fn validate_update(_cx: &Context<'_>, object: &ClusterRole, old: &ClusterRole) -> Faults {
        // A selector that older rules let in may stay.
        let old_is_bad = !aggregation_faults(old, Leniency::default()).is_empty();
        faults(object, Leniency { invalid_values: old_is_bad, ..Leniency::default() })
    }
}

fn faults(object: &ClusterRole, leniency: Leniency) -> Faults {
    let mut faults = rules_faults(&object.rules, false);
    let Some(aggregation) = &object.aggregation_rule else { return faults };
    if aggregation.cluster_role_selectors.items().is_empty() {
        faults.push(Fault::required(
            &Path::new("aggregationRule.clusterRoleSelectors"),
            "at least one clusterRoleSelector required if aggregationRule is non-nil",
        ));
    }
    faults.extend(aggregation_faults(object, leniency));
    faults
}

fn aggregation_faults(object: &ClusterRole, leniency: Leniency) -> Faults {
    let path = Path::new("aggregationRule.clusterRoleSelectors");
    let selectors = object.aggregation_rule.as_ref().map(|it| it.cluster_role_selectors.items());
    selectors
        .unwrap_or_default()
        .iter()
        .enumerate()
        .flat_map(|(index, selector)| {
            let path = path.index(index);
            let mut faults = selectors::validate(Some(selector), leniency, &path);
            let compiles = selectors::validate(Some(selector), Leniency::default(), &path).is_empty();
            if !compiles {
                // Upstream prints what is left of the selector that it could not make: nothing.
                faults.push(Fault::invalid(&path, serde_json::Value::Null, "invalid label selector."));
            }
            faults
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ClusterRoles;
    use crate::resources::shared::testing::check_create;

    #[test]
    fn an_aggregation_selects_something() {
        assert_eq!(
            check_create::<ClusterRoles>(json!({"aggregationRule": {}})),
            [
                "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"
            ]
        );
        assert_eq!(
            check_create::<ClusterRoles>(
                json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}})
            ),
            [""; 0]
        );
    }

    #[test]
    fn urls_and_resources_do_not_mix() {
        assert_eq!(
            check_create::<ClusterRoles>(
                json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"], "apiGroups": [""]}]})
            ),
            [
                r#"rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs"#
            ]
        );
    }
}
