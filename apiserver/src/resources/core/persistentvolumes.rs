//! PersistentVolumes: `persistentvolumes` of `v1`.

use k8s_openapi::api::core::v1::PersistentVolume;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of PersistentVolumes.
pub(crate) struct PersistentVolumes;

impl Strategy for PersistentVolumes {
    type Object = PersistentVolume;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        singular: "persistentvolume",
        short: &["pv"],
        categories: &[],
        namespaced: false,
    };
    const STATUS: bool = true;
}
