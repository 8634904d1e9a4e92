//! PersistentVolumeClaims: `persistentvolumeclaims` of `v1`.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of PersistentVolumeClaims.
pub(crate) struct PersistentVolumeClaims;

impl Strategy for PersistentVolumeClaims {
    type Object = PersistentVolumeClaim;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        short: &["pvc"],
        categories: &[],
        namespaced: true,
    };
    const STATUS: bool = true;
}
