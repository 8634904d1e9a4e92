//! ReplicaSets: `replicasets` of `apps/v1`.

use k8s_openapi::api::apps::v1::ReplicaSet;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of ReplicaSets.
pub(crate) struct ReplicaSets;

impl Strategy for ReplicaSets {
    type Object = ReplicaSet;

    const NAMES: Names = Names {
        group: "apps",
        version: "v1",
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short: &["rs"],
        categories: &["all"],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
