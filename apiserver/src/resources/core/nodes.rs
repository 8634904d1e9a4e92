//! Nodes: `nodes` of `v1`.

use k8s_openapi::api::core::v1::Node;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of Nodes.
pub(crate) struct Nodes;

impl Strategy for Nodes {
    type Object = Node;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short: &["no"],
        categories: &[],
        namespaced: false,
    };
    const STATUS: bool = true;
    const STATUS_ON_CREATE: bool = true;
}
