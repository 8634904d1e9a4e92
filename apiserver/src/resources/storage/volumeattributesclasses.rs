//! VolumeAttributesClasses: `volumeattributesclasses` of `storage.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;

use super::storageclasses::{parameters_faults, provisioner_faults};
use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{fields::same_map, optional::Entries},
};

/// The strategy of VolumeAttributesClasses.
pub(crate) struct VolumeAttributesClasses;

impl Strategy for VolumeAttributesClasses {
    type Object = VolumeAttributesClass;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "VolumeAttributesClass",
        plural: "volumeattributesclasses",
        singular: "volumeattributesclass",
        short: &["vac"],
        categories: &[],
        namespaced: false,
    };
    const RETURNS_DELETED: bool = true;

    fn validate(_cx: &Context<'_>, object: &VolumeAttributesClass) -> Faults {
        let path = Path::new("parameters");
        let mut faults = provisioner_faults(&object.driver_name, &Path::new("driverName"));
        faults.extend(parameters_faults(&object.parameters, &path));
        if object.parameters.entries().next().is_none() {
            faults.push(Fault::required(&path, "must contain at least one key/value pair"));
        }
        faults
    }

    fn validate_update(
        cx: &Context<'_>,
        object: &VolumeAttributesClass,
        old: &VolumeAttributesClass,
    ) -> Faults {
        let same_parameters = same_map(object.parameters.as_ref(), old.parameters.as_ref());
        let mut faults: Faults =
            [(object.driver_name == old.driver_name, "driverName"), (same_parameters, "parameters")]
                .into_iter()
                .filter(|(same, _)| !same)
                .map(|(_, field)| {
                    Fault::forbidden(&Path::new(field), format!("updates to {field} are forbidden."))
                })
                .collect();
        faults.extend(Self::validate(cx, object));
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::VolumeAttributesClasses;
    use crate::resources::shared::testing::{check_create, check_update};

    #[test]
    fn a_class_has_parameters_and_keeps_them() {
        assert_eq!(
            check_create::<VolumeAttributesClasses>(json!({})),
            [
                "driverName: Required value",
                "parameters: Required value: must contain at least one key/value pair",
            ]
        );
        assert_eq!(
            check_update::<VolumeAttributesClasses>(
                json!({"driverName": "b", "parameters": {"a": "2"}}),
                json!({"driverName": "a", "parameters": {"a": "1"}})
            ),
            [
                "driverName: Forbidden: updates to driverName are forbidden.",
                "parameters: Forbidden: updates to parameters are forbidden.",
            ]
        );
    }
}
