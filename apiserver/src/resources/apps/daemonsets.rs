//! DaemonSets: `daemonsets` of `apps/v1`.

use k8s_openapi::api::apps::v1::DaemonSet;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of DaemonSets.
pub(crate) struct DaemonSets;

impl Strategy for DaemonSets {
    type Object = DaemonSet;

    const NAMES: Names = Names {
        group: "apps",
        version: "v1",
        kind: "DaemonSet",
        plural: "daemonsets",
        singular: "daemonset",
        short: &["ds"],
        categories: &["all"],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
