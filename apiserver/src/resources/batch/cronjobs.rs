//! CronJobs: `cronjobs` of `batch/v1`.

use k8s_openapi::api::batch::v1::CronJob;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of CronJobs.
pub(crate) struct CronJobs;

impl Strategy for CronJobs {
    type Object = CronJob;

    const NAMES: Names = Names {
        group: "batch",
        version: "v1",
        kind: "CronJob",
        plural: "cronjobs",
        singular: "cronjob",
        short: &["cj"],
        categories: &["all"],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
