//! ServiceAccounts: `serviceaccounts` of `v1`.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of ServiceAccounts.
pub(crate) struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    type Object = ServiceAccount;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short: &["sa"],
        categories: &[],
        namespaced: true,
    };
}
