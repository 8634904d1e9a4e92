//! StorageClasss: `storageclasses` of `storage.k8s.io/v1`.

use k8s_openapi::api::storage::v1::StorageClass;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of StorageClasss.
pub(crate) struct StorageClasses;

impl Strategy for StorageClasses {
    type Object = StorageClass;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "StorageClass",
        plural: "storageclasses",
        singular: "storageclass",
        short: &["sc"],
        categories: &[],
        namespaced: false,
    };
}
