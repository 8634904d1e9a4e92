//! Endpoints: `endpoints` of `v1`.

use k8s_openapi::api::core::v1::Endpoints as Object;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of Endpoints.
pub(crate) struct Endpoints;

impl Strategy for Endpoints {
    type Object = Object;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Endpoints",
        plural: "endpoints",
        singular: "endpoints",
        short: &["ep"],
        categories: &[],
        namespaced: true,
    };
}
