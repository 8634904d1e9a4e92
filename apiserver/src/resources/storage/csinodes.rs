//! CSINodes: `csinodes` of `storage.k8s.io/v1`.

use k8s_openapi::api::storage::v1::CSINode;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of CSINodes.
pub(crate) struct CSINodes;

impl Strategy for CSINodes {
    type Object = CSINode;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "CSINode",
        plural: "csinodes",
        singular: "csinode",
        short: &[],
        categories: &[],
        namespaced: false,
    };
}
