//! Secrets: `secrets` of `v1`.

use k8s_openapi::api::core::v1::Secret;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of Secrets.
pub(crate) struct Secrets;

impl Strategy for Secrets {
    type Object = Secret;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        short: &[],
        categories: &[],
        namespaced: true,
    };
}
