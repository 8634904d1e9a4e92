//! Services: `services` of `v1`.

use k8s_openapi::api::core::v1::Service;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of Services.
pub(crate) struct Services;

impl Strategy for Services {
    type Object = Service;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Service",
        plural: "services",
        singular: "service",
        short: &["svc"],
        categories: &["all"],
        namespaced: true,
    };
    const STATUS: bool = true;
}
