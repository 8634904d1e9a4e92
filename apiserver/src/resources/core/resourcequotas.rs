//! ResourceQuotas: `resourcequotas` of `v1`.

use k8s_openapi::api::core::v1::ResourceQuota;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of ResourceQuotas.
pub(crate) struct ResourceQuotas;

impl Strategy for ResourceQuotas {
    type Object = ResourceQuota;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "ResourceQuota",
        plural: "resourcequotas",
        singular: "resourcequota",
        short: &["quota"],
        categories: &[],
        namespaced: true,
    };
    const STATUS: bool = true;
}
