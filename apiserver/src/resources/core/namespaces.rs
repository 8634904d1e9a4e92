//! Namespaces: `namespaces` of `v1`.

use k8s_openapi::api::core::v1::Namespace;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of Namespaces.
pub(crate) struct Namespaces;

impl Strategy for Namespaces {
    type Object = Namespace;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short: &["ns"],
        categories: &[],
        namespaced: false,
    };
    const VERBS: &'static [&'static str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
    const STATUS: bool = true;
}
