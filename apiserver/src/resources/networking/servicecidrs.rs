//! ServiceCIDRs: `servicecidrs` of `networking.k8s.io/v1`.

use k8s_openapi::api::networking::v1::ServiceCIDR;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of ServiceCIDRs.
pub(crate) struct ServiceCIDRs;

impl Strategy for ServiceCIDRs {
    type Object = ServiceCIDR;

    const NAMES: Names = Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "ServiceCIDR",
        plural: "servicecidrs",
        singular: "servicecidr",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const STATUS: bool = true;
}
