//! ResourceClaimTemplates: `resourceclaimtemplates` of `resource.k8s.io/v1`.

use api_types::field::{Faults, Path};
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;

use super::claim;
use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{claims::template_metadata, internal},
};

/// The strategy of ResourceClaimTemplates.
pub(crate) struct ResourceClaimTemplates;

impl Strategy for ResourceClaimTemplates {
    type Object = ResourceClaimTemplate;

    const NAMES: Names = Names {
        group: "resource.k8s.io",
        version: "v1",
        kind: "ResourceClaimTemplate",
        plural: "resourceclaimtemplates",
        singular: "resourceclaimtemplate",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const RETURNS_DELETED: bool = true;

    fn default(object: &mut ResourceClaimTemplate) {
        claim::default(&mut object.spec.spec);
    }

    fn validate(_cx: &Context<'_>, object: &ResourceClaimTemplate) -> Faults {
        let path = Path::new("spec");
        let metadata = object.spec.metadata.iter();
        let mut faults: Faults =
            metadata.flat_map(|metadata| template_metadata(metadata, &path.child("metadata"))).collect();
        faults.extend(claim::faults(&object.spec.spec, &path.child("spec")));
        faults
    }

    fn validate_update(
        cx: &Context<'_>,
        object: &ResourceClaimTemplate,
        old: &ResourceClaimTemplate,
    ) -> Faults {
        let mut faults = Self::validate(cx, object);
        faults.extend(internal::immutable(
            "resource.ResourceClaimTemplateSpec",
            &Path::new("spec"),
            &object.spec,
            &old.spec,
        ));
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::ResourceClaimTemplates;
    use crate::resources::shared::testing::{check_create, check_update, created};

    fn template(class: &str, metadata: Value) -> Value {
        json!({"spec": {"metadata": metadata, "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": class}}]}}}})
    }

    #[test]
    fn a_template_is_a_claim_with_labels_and_annotations() {
        assert_eq!(
            created::<ResourceClaimTemplates>(template("c", json!({})))
                .pointer("/spec/spec/devices/requests/0/exactly/count"),
            Some(&json!(1))
        );
        assert_eq!(
            check_create::<ResourceClaimTemplates>(template("c", json!({"labels": {"a": "b"}}))),
            [""; 0]
        );
        assert_eq!(
            check_create::<ResourceClaimTemplates>(template("", json!({"name": "n"}))),
            [
                "spec.metadata.name: Forbidden: cannot be set",
                "spec.spec.devices.requests[0].exactly.deviceClassName: Required value",
            ]
        );
    }

    #[test]
    fn a_template_stays() {
        let old = template("c", json!({}));
        assert_eq!(check_update::<ResourceClaimTemplates>(old.clone(), old.clone()), [""; 0]);
        let found = check_update::<ResourceClaimTemplates>(template("d", json!({})), old);
        assert!(matches!(found.as_slice(), [fault] if fault.ends_with(": field is immutable")), "{found:?}");
    }
}
