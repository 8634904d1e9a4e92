//! CSIStorageCapacitys: `csistoragecapacities` of `storage.k8s.io/v1`.

use k8s_openapi::api::storage::v1::CSIStorageCapacity;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of CSIStorageCapacitys.
pub(crate) struct CSIStorageCapacities;

impl Strategy for CSIStorageCapacities {
    type Object = CSIStorageCapacity;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "CSIStorageCapacity",
        plural: "csistoragecapacities",
        singular: "csistoragecapacity",
        short: &[],
        categories: &[],
        namespaced: true,
    };
}
