//! Bindings: `bindings` of `v1`.

use k8s_openapi::api::core::v1::Binding;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of Bindings.
pub(crate) struct Bindings;

impl Strategy for Bindings {
    type Object = Binding;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Binding",
        plural: "bindings",
        singular: "binding",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const VERBS: &'static [&'static str] = &["create"];
}
