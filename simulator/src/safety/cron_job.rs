//! A CronJob that forbids concurrency has one Job at a time, and no two Jobs are for one time.

use super::{
    Rule,
    world::{Step, World},
};

/// Says for which time a Job is.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

#[derive(Debug)]
pub(super) struct CronJobs;

impl Rule for CronJobs {
    fn look(&mut self, world: &World, step: &Step<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        let job = step.object();
        if job.kind != "Job" || !step.is_new() {
            return wrong;
        }
        let Some(owner) = world.manager_of(job, "CronJob") else { return wrong };
        let name = owner.full_name();
        let others =
            world.owned_by(&owner.metadata.uid, "Job").filter(|it| it.metadata.uid != job.metadata.uid);
        let others: Vec<_> = others.collect();
        let busy = |it: &&&std::sync::Arc<super::object::Object>| {
            !it.is_over() && it.metadata.deletion_timestamp.is_none()
        };
        let busy = others.iter().filter(busy).count();
        if busy > 0 && matches!(owner.spec.concurrency_policy.as_str(), "Forbid" | "Replace") {
            wrong.push(format!("CronJob {name} starts a Job while {busy} run"));
        }
        let time = job.metadata.annotations.get(SCHEDULED);
        if time.is_some() && others.iter().any(|it| it.metadata.annotations.get(SCHEDULED) == time) {
            wrong.push(format!("CronJob {name} starts two Jobs for one time"));
        }
        wrong
    }
}
