//! StatefulSets: `statefulsets` of `apps/v1`.

use k8s_openapi::api::apps::v1::StatefulSet;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of StatefulSets.
pub(crate) struct StatefulSets;

impl Strategy for StatefulSets {
    type Object = StatefulSet;

    const NAMES: Names = Names {
        group: "apps",
        version: "v1",
        kind: "StatefulSet",
        plural: "statefulsets",
        singular: "statefulset",
        short: &["sts"],
        categories: &["all"],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
