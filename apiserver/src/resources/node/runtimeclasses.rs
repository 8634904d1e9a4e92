//! RuntimeClasss: `runtimeclasses` of `node.k8s.io/v1`.

use k8s_openapi::api::node::v1::RuntimeClass;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of RuntimeClasss.
pub(crate) struct RuntimeClasses;

impl Strategy for RuntimeClasses {
    type Object = RuntimeClass;

    const NAMES: Names = Names {
        group: "node.k8s.io",
        version: "v1",
        kind: "RuntimeClass",
        plural: "runtimeclasses",
        singular: "runtimeclass",
        short: &[],
        categories: &[],
        namespaced: false,
    };
}
