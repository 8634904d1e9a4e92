//! Pods: `pods` of `v1`.

use k8s_openapi::api::core::v1::Pod;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of Pods.
pub(crate) struct Pods;

impl Strategy for Pods {
    type Object = Pod;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short: &["po"],
        categories: &["all"],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
