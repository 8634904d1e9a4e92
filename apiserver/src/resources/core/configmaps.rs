//! ConfigMaps: `configmaps` of `v1`.

use k8s_openapi::api::core::v1::ConfigMap;

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        fields::same_map, metadata::invalid_each, names::config_map_key, pod_spec::scheduling::nowhere,
    },
};
use api_types::field::{Fault, Faults, Path};

/// The most bytes that the values of a ConfigMap, or of a Secret, may have together.
pub(crate) const DATA_SIZE_MAX: usize = 1024 * 1024;

/// The strategy of ConfigMaps.
pub(crate) struct ConfigMaps;

impl Strategy for ConfigMaps {
    type Object = ConfigMap;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short: &["cm"],
        categories: &[],
        namespaced: true,
    };

    fn validate(_cx: &Context<'_>, object: &ConfigMap) -> Faults {
        let mut faults = Vec::new();
        let mut size = 0;
        let is_binary = |key: &String| object.binary_data.as_ref().is_some_and(|data| data.contains_key(key));
        for (key, value) in object.data.iter().flatten() {
            let path = Path::new("data").key(key);
            faults.extend(invalid_each(&path, key, config_map_key(key)));
            if is_binary(key) {
                faults.push(Fault::invalid(&path, key, "duplicate of key present in binaryData"));
            }
            size += value.len();
        }
        for (key, value) in object.binary_data.iter().flatten() {
            faults.extend(invalid_each(&Path::new("binaryData").key(key), key, config_map_key(key)));
            size += value.0.len();
        }
        if size > DATA_SIZE_MAX {
            faults.push(Fault::too_long(&nowhere(), DATA_SIZE_MAX));
        }
        faults
    }

    fn validate_update(cx: &Context<'_>, object: &ConfigMap, old: &ConfigMap) -> Faults {
        let mut faults = Vec::new();
        if old.immutable == Some(true) {
            let mut frozen = |same: bool, field: &str| {
                if !same {
                    let path = Path::new(field);
                    faults.push(Fault::forbidden(&path, "field is immutable when `immutable` is set"));
                }
            };
            frozen(object.immutable == Some(true), "immutable");
            frozen(same_map(object.data.as_ref(), old.data.as_ref()), "data");
            frozen(same_map(object.binary_data.as_ref(), old.binary_data.as_ref()), "binaryData");
        }
        faults.extend(Self::validate(cx, object));
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ConfigMaps;
    use crate::resources::shared::testing::{check_create, check_update};

    #[test]
    fn keys_are_file_names_and_belong_to_one_of_the_two_maps() {
        for (object, faults) in [
            (json!({"data": {"a.b_c-D": ""}, "binaryData": {"b": ""}}), vec![]),
            (json!({"data": {"..": ""}}), vec![r#"data[..]: Invalid value: "..": must not be '..'"#]),
            (
                json!({"data": {"a": ""}, "binaryData": {"a": ""}}),
                vec![r#"data[a]: Invalid value: "a": duplicate of key present in binaryData"#],
            ),
            (
                json!({"data": {"a": "x".repeat(1024 * 1024 + 1)}}),
                vec!["[]: Too long: may not be more than 1048576 bytes"],
            ),
        ] {
            assert_eq!(check_create::<ConfigMaps>(object), faults);
        }
    }

    #[test]
    fn an_immutable_map_keeps_its_data_and_stays_immutable() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        assert_eq!(
            check_update::<ConfigMaps>(json!({"immutable": true, "data": {"a": "1"}}), old.clone()),
            [""; 0]
        );
        assert_eq!(
            check_update::<ConfigMaps>(json!({"data": {"a": "2"}, "binaryData": {"b": ""}}), old),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
                "binaryData: Forbidden: field is immutable when `immutable` is set",
            ]
        );
    }
}
