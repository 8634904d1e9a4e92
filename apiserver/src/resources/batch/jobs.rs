//! Jobs: `jobs` of `batch/v1`.

use k8s_openapi::api::batch::v1::Job;

use crate::registry::strategy::{Dependents, Generation, Names, Strategy};

/// The strategy of Jobs.
pub(crate) struct Jobs;

impl Strategy for Jobs {
    type Object = Job;

    const NAMES: Names = Names {
        group: "batch",
        version: "v1",
        kind: "Job",
        plural: "jobs",
        singular: "job",
        short: &[],
        categories: &["all"],
        namespaced: true,
    };
    const DEPENDENTS: Dependents = Dependents::Orphan;
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
