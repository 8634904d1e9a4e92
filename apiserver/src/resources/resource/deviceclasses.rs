//! DeviceClasses: `deviceclasses` of `resource.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::resource::v1::{DeviceClass, DeviceClassSpec};

use super::parts::{CONFIG_MAX, config_faults, list_faults, selector_faults};
use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{
        names::long_name,
        optional::{Items, same},
        quantities::is_extended,
    },
};

/// The strategy of DeviceClasses.
pub(crate) struct DeviceClasses;

impl Strategy for DeviceClasses {
    type Object = DeviceClass;

    const NAMES: Names = Names {
        group: "resource.k8s.io",
        version: "v1",
        kind: "DeviceClass",
        plural: "deviceclasses",
        singular: "deviceclass",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;
    const RETURNS_DELETED: bool = true;

    // The prefix of a generated name is not judged, only what becomes of it.
    fn name_faults(name: &str, prefix: bool) -> Vec<String> {
        if prefix { Vec::new() } else { long_name(name) }
    }

    fn validate(_cx: &Context<'_>, object: &DeviceClass) -> Faults {
        faults(&object.spec, None)
    }

    fn validate_update(_cx: &Context<'_>, object: &DeviceClass, old: &DeviceClass) -> Faults {
        faults(&object.spec, Some(&old.spec))
    }
}

fn faults(spec: &DeviceClassSpec, old: Option<&DeviceClassSpec>) -> Faults {
    let path = Path::new("spec");
    let mut faults = selector_faults(spec.selectors.items(), &path.child("selectors"));
    let stored = old.is_some_and(|old| same(&spec.config, &old.config));
    faults.extend(list_faults(spec.config.items(), CONFIG_MAX, &path.child("config"), |config, path| {
        config_faults(config.opaque.as_ref(), stored, path)
    }));
    if let Some(name) = spec.extended_resource_name.as_deref().filter(|name| !is_extended(name)) {
        let detail = "must be a valid extended resource name";
        faults.push(Fault::invalid(&path.child("extendedResourceName"), name, detail));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::DeviceClasses;
    use crate::resources::shared::testing::{check_create, check_update};

    #[test]
    fn a_class_selects_devices_and_tells_drivers_something() {
        for (spec, faults) in [
            (
                json!({"selectors": [{"cel": {"expression": "true"}}], "extendedResourceName": "example.com/gpu",
                    "config": [{"opaque": {"driver": "d.example.com", "parameters": {}}}]}),
                vec![],
            ),
            (
                json!({"selectors": [{}, {"cel": {"expression": "x".repeat(10241)}}], "config": [{}], "extendedResourceName": "gpu"}),
                vec![
                    "spec.selectors[0].cel: Required value",
                    "spec.selectors[1].cel.expression: Too long: may not be more than 10240 bytes",
                    "spec.config[0].opaque: Required value",
                    r#"spec.extendedResourceName: Invalid value: "gpu": must be a valid extended resource name"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<DeviceClasses>(json!({"spec": spec})), faults);
        }
    }

    #[test]
    fn long_parameters_may_stay() {
        let class = json!({"spec": {"config": [{"opaque": {"driver": "d", "parameters": {"a": "x".repeat(10240)}}}]}});
        assert_eq!(check_update::<DeviceClasses>(class.clone(), class.clone()), [""; 0]);
        assert_eq!(
            check_update::<DeviceClasses>(class, json!({"spec": {}})),
            ["spec.config[0].opaque.parameters: Too long: may not be more than 10240 bytes"]
        );
    }
}
