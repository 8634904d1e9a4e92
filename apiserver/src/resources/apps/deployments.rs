//! Deployments: `deployments` of `apps/v1`.

use k8s_openapi::api::apps::v1::Deployment;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of Deployments.
pub(crate) struct Deployments;

impl Strategy for Deployments {
    type Object = Deployment;

    const NAMES: Names = Names {
        group: "apps",
        version: "v1",
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short: &["deploy"],
        categories: &["all"],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::SpecOrAnnotations;
    const STATUS: bool = true;
}
