//! CSIDrivers: `csidrivers` of `storage.k8s.io/v1`.

use k8s_openapi::api::storage::v1::CSIDriver;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of CSIDrivers.
pub(crate) struct CSIDrivers;

impl Strategy for CSIDrivers {
    type Object = CSIDriver;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "CSIDriver",
        plural: "csidrivers",
        singular: "csidriver",
        short: &[],
        categories: &[],
        namespaced: false,
    };
}
