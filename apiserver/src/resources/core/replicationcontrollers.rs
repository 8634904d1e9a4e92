//! ReplicationControllers: `replicationcontrollers` of `v1`.

use k8s_openapi::api::core::v1::ReplicationController;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of ReplicationControllers.
pub(crate) struct ReplicationControllers;

impl Strategy for ReplicationControllers {
    type Object = ReplicationController;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "ReplicationController",
        plural: "replicationcontrollers",
        singular: "replicationcontroller",
        short: &["rc"],
        categories: &["all"],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
