//! Leases: `leases` of `coordination.k8s.io/v1`.

use k8s_openapi::api::coordination::v1::Lease;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of Leases.
pub(crate) struct Leases;

impl Strategy for Leases {
    type Object = Lease;

    const NAMES: Names = Names {
        group: "coordination.k8s.io",
        version: "v1",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        short: &[],
        categories: &[],
        namespaced: true,
    };
}
