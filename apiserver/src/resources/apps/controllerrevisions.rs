//! ControllerRevisions: `controllerrevisions` of `apps/v1`.

use k8s_openapi::api::apps::v1::ControllerRevision;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of ControllerRevisions.
pub(crate) struct ControllerRevisions;

impl Strategy for ControllerRevisions {
    type Object = ControllerRevision;

    const NAMES: Names = Names {
        group: "apps",
        version: "v1",
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        short: &[],
        categories: &[],
        namespaced: true,
    };
}
