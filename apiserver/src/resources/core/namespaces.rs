//! Namespaces: `namespaces` of `v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};

use crate::{
    patch::apply::Reset,
    registry::strategy::{Context, Names, Part, SelectableField, Strategy, Subresource},
    resources::shared::{
        metadata::{invalid_each, unknown_finalizer},
        names::{self, qualified_name},
        optional::{Items, Text},
    },
};

/// Tells a namespace by its name, for selectors.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// What keeps a namespace until its content is gone.
const FINALIZER: &str = "kubernetes";

/// The strategy of Namespaces.
pub(crate) struct Namespaces;

impl Strategy for Namespaces {
    type Object = Namespace;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short: &["ns"],
        categories: &[],
        namespaced: false,
    };
    const RESETS: &'static [(Part, Reset<'static>)] =
        &[(Part::Sub("finalize"), Reset::Fields(&[&["status"]]))];
    const RETURNS_DELETED: bool = true;
    const VERBS: &'static [&'static str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
    const STATUS: bool = true;
    const SUBRESOURCES: &'static [Subresource<Namespace>] = &[Subresource {
        name: "finalize",
        // It sets the finalizers of the spec, and nothing of the status.
        prepare: |_, namespace, old| namespace.status.clone_from(&old.status),
        validate: |_, namespace, _| validate_finalize(namespace),
    }];
    const SELECTABLE: &'static [SelectableField] =
        &[SelectableField { label: "status.phase", path: "status.phase", absent: "" }];

    fn default(namespace: &mut Namespace) {
        label(namespace);
        namespace.status.get_or_insert_default().phase.or_set("Active");
    }

    fn name_faults(name: &str, prefix: bool) -> Vec<String> {
        names::dns_label(name, prefix)
    }

    fn prepare_for_create(_cx: &Context<'_>, namespace: &mut Namespace) {
        namespace.status =
            Some(NamespaceStatus { phase: Some("Active".to_owned()), ..NamespaceStatus::default() });
        let finalizers = namespace.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|it| it == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
    }

    fn validate(_cx: &Context<'_>, namespace: &Namespace) -> Faults {
        let path = Path::new("spec.finalizers");
        finalizers(namespace).iter().flat_map(|name| finalizer_faults(name, &path)).collect()
    }

    fn prepare_for_update(_cx: &Context<'_>, namespace: &mut Namespace, old: &Namespace) {
        let finalizers = old.spec.as_ref().and_then(|spec| spec.finalizers.clone());
        namespace.spec.get_or_insert_default().finalizers = finalizers;
    }

    fn validate_status_update(_cx: &Context<'_>, namespace: &Namespace, _old: &Namespace) -> Faults {
        let phase = namespace.status.as_ref().map(|status| status.phase.text()).unwrap_or_default();
        let (expected, why) = match namespace.metadata.deletion_timestamp {
            None => ("Active", "may only be 'Active' if `deletionTimestamp` is empty"),
            Some(_) => ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty"),
        };
        if phase == expected {
            return Vec::new();
        }
        vec![Fault::invalid(&Path::new("status.Phase"), phase, why)]
    }

    fn canonicalize(namespace: &mut Namespace) {
        // A generated name was not known to the defaults.
        label(namespace);
    }
}

fn label(namespace: &mut Namespace) {
    let name = namespace.metadata.name.text().to_owned();
    if !name.is_empty() {
        namespace.metadata.labels.get_or_insert_default().insert(NAME_LABEL.to_owned(), name);
    }
}

fn finalizers(namespace: &Namespace) -> &[String] {
    namespace.spec.as_ref().map(|spec| spec.finalizers.items()).unwrap_or_default()
}

fn finalizer_faults(name: &str, path: &Path) -> Faults {
    let mut faults = invalid_each(path, name, qualified_name(name));
    faults.extend(unknown_finalizer(name, path));
    faults
}

/// Everything that is wrong with what the `finalize` subresource wrote, metadata excepted.
fn validate_finalize(namespace: &Namespace) -> Faults {
    let path = Path::new("spec.finalizers");
    finalizers(namespace)
        .iter()
        .enumerate()
        .flat_map(|(index, name)| finalizer_faults(name, &path.index(index)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::shared::testing::{check_create, check_status_update, created};

    #[test]
    fn a_new_namespace_is_active_and_bears_its_name() {
        assert_eq!(
            created::<Namespaces>(json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["x.io/f"]}})),
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "n"}},
                "spec": {"finalizers": ["x.io/f", "kubernetes"]},
                "status": {"phase": "Active"},
            })
        );
    }

    #[test]
    fn finalizers_are_known_or_have_a_domain() {
        assert_eq!(
            check_create::<Namespaces>(json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["odd"]}})),
            [
                r#"spec.finalizers: Invalid value: "odd": name is neither a standard finalizer name nor is it fully qualified"#
            ]
        );
        let namespace: Namespace =
            serde_json::from_value(json!({"spec": {"finalizers": ["kubernetes", "odd"]}})).unwrap();
        let faults: Vec<String> = validate_finalize(&namespace).iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                r#"spec.finalizers[1]: Invalid value: "odd": name is neither a standard finalizer name nor is it fully qualified"#
            ]
        );
    }

    #[test]
    fn the_phase_tells_whether_it_goes() {
        let namespace = |phase: &str, deleted: Value| json!({"metadata": {"name": "n", "deletionTimestamp": deleted}, "status": {"phase": phase}});
        for (phase, deleted, expected) in [
            ("Active", Value::Null, vec![]),
            (
                "Terminating",
                Value::Null,
                vec![
                    r#"status.Phase: Invalid value: "Terminating": may only be 'Active' if `deletionTimestamp` is empty"#,
                ],
            ),
            (
                "Active",
                json!("2025-01-01T00:00:00Z"),
                vec![
                    r#"status.Phase: Invalid value: "Active": may only be 'Terminating' if `deletionTimestamp` is not empty"#,
                ],
            ),
        ] {
            let object = namespace(phase, deleted);
            assert_eq!(check_status_update::<Namespaces>(object.clone(), object), expected);
        }
    }
}
