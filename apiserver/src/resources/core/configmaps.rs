//! ConfigMaps: `configmaps` of `v1`.

use k8s_openapi::api::core::v1::ConfigMap;

use crate::registry::strategy::{Names, Strategy};

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
}
