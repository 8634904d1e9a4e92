//! IngressClasses: `ingressclasses` of `networking.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference};

use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{
        fields::changed_text,
        forms::domain_prefixed_path,
        metadata::invalid_each,
        names::{dns_label, dns1123_subdomain, path_segment},
        optional::Text,
    },
};

const CONTROLLER_LENGTH_MAX: usize = 250;

/// The strategy of IngressClasses.
pub(crate) struct IngressClasses;

impl Strategy for IngressClasses {
    type Object = IngressClass;

    const NAMES: Names = Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "IngressClass",
        plural: "ingressclasses",
        singular: "ingressclass",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;

    fn default(object: &mut IngressClass) {
        if let Some(parameters) = object.spec.as_mut().and_then(|spec| spec.parameters.as_mut()) {
            parameters.scope.get_or_insert_with(|| "Cluster".to_owned());
        }
    }

    fn validate(_cx: &Context<'_>, object: &IngressClass) -> Faults {
        let path = Path::new("spec");
        let controller_path = path.child("controller");
        let controller = controller(object).text();
        let mut faults = Vec::new();
        if controller.len() > CONTROLLER_LENGTH_MAX {
            faults.push(Fault::too_long(&controller_path, CONTROLLER_LENGTH_MAX));
        }
        faults.extend(domain_prefixed_path(&controller_path, controller));
        if let Some(parameters) = object.spec.as_ref().and_then(|spec| spec.parameters.as_ref()) {
            faults.extend(parameters_faults(parameters, &path.child("parameters")));
        }
        faults
    }

    fn validate_update(cx: &Context<'_>, object: &IngressClass, old: &IngressClass) -> Faults {
        let changed = changed_text(&Path::new("spec.controller"), controller(object), controller(old));
        let mut faults: Faults = changed.into_iter().collect();
        faults.extend(Self::validate(cx, object));
        faults
    }
}

fn controller(object: &IngressClass) -> &Option<String> {
    object.spec.as_ref().map_or(&None, |spec| &spec.controller)
}

/// What is wrong with the kind and the name of a reference.
pub(super) fn reference_faults(group: Option<&str>, kind: &str, name: &str, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if let Some(group) = group {
        faults.extend(invalid_each(&path.child("apiGroup"), group, dns1123_subdomain(group)));
    }
    for (field, value) in [("kind", kind), ("name", name)] {
        let path = path.child(field);
        if value.is_empty() {
            faults.push(Fault::required(&path, ""));
        } else {
            faults.extend(invalid_each(&path, value, path_segment(value, false)));
        }
    }
    faults
}

fn parameters_faults(parameters: &IngressClassParametersReference, path: &Path) -> Faults {
    let group = parameters.api_group.as_deref();
    let mut faults = reference_faults(group, &parameters.kind, &parameters.name, path);
    let namespace_path = path.child("namespace");
    match (parameters.scope.as_deref(), parameters.namespace.as_deref()) {
        (None, _) => faults.push(Fault::required(&path.child("scope"), "")),
        (Some("Namespace"), None) => {
            faults.push(Fault::required(&namespace_path, "`parameters.scope` is set to 'Namespace'"));
        }
        (Some("Namespace"), Some(namespace)) => {
            faults.extend(invalid_each(&namespace_path, namespace, dns_label(namespace, false)));
        }
        (Some("Cluster"), Some(_)) => {
            faults.push(Fault::forbidden(&namespace_path, "`parameters.scope` is set to 'Cluster'"));
        }
        (Some("Cluster"), None) => {}
        (Some(other), _) => {
            faults.push(Fault::not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::IngressClasses;
    use crate::resources::shared::testing::{check_create, check_update};

    fn class(controller: &str, parameters: Value) -> Value {
        json!({"spec": {"controller": controller, "parameters": parameters}})
    }

    #[test]
    fn parameters_are_of_the_cluster_or_of_a_namespace() {
        let with = |more: Value| {
            let mut parameters = json!({"kind": "A", "name": "b"});
            if let (Value::Object(all), Value::Object(more)) = (&mut parameters, more) {
                all.extend(more);
            }
            class("a.b/c", parameters)
        };
        for (object, faults) in [
            (with(json!({})), vec![]),
            (with(json!({"scope": "Namespace", "namespace": "a"})), vec![]),
            (
                with(json!({"namespace": "a"})),
                vec!["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
            ),
            (
                with(json!({"scope": "Namespace"})),
                vec!["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
            ),
            (
                with(json!({"scope": "X", "name": "a/b", "kind": ""})),
                vec![
                    "spec.parameters.kind: Required value",
                    r#"spec.parameters.name: Invalid value: "a/b": may not contain '/'"#,
                    r#"spec.parameters.scope: Unsupported value: "X": supported values: "Cluster", "Namespace""#,
                ],
            ),
            (class("", Value::Null), vec!["spec.controller: Required value"]),
        ] {
            assert_eq!(check_create::<IngressClasses>(object), faults);
        }
    }

    #[test]
    fn the_controller_is_fixed() {
        assert_eq!(
            check_update::<IngressClasses>(class("a.b/d", Value::Null), class("a.b/c", Value::Null)),
            [r#"spec.controller: Invalid value: "a.b/d": field is immutable"#]
        );
    }
}
