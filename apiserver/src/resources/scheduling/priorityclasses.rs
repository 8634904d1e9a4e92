//! PriorityClasss: `priorityclasses` of `scheduling.k8s.io/v1`.

use k8s_openapi::api::scheduling::v1::PriorityClass;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of PriorityClasss.
pub(crate) struct PriorityClasses;

impl Strategy for PriorityClasses {
    type Object = PriorityClass;

    const NAMES: Names = Names {
        group: "scheduling.k8s.io",
        version: "v1",
        kind: "PriorityClass",
        plural: "priorityclasses",
        singular: "priorityclass",
        short: &["pc"],
        categories: &[],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Content;
}
