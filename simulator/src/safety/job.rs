//! A Job counts every Pod once and none that was not: what it says has succeeded did, and no Pod loses the finalizer it is
//! tracked by before it is noted. What is over stays over, and leaves no Pod with that finalizer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Rule,
    object::Object,
    world::{Step, World},
};

/// Holds a Pod until its Job has counted it.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";

#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<String, Seen>,
}

/// What was seen of one Job's Pods, by uid.
#[derive(Debug, Default)]
struct Seen {
    succeeded: BTreeSet<String>,
    /// Failed, or told to go.
    failed: BTreeSet<String>,
    /// Noted to be counted, ever.
    noted: BTreeSet<String>,
}

impl Rule for Jobs {
    fn look(&mut self, world: &World, step: &Step<'_>) -> Vec<String> {
        let object = step.object();
        match object.kind.as_str() {
            "Job" if step.change.deleted => {
                self.jobs.remove(&object.metadata.uid);
                Vec::new()
            }
            "Job" => self.jobs.entry(object.metadata.uid.clone()).or_default().check_job(world, step),
            "Pod" => {
                let Some(job) = world.manager_of(object, "Job").map(Arc::clone) else { return Vec::new() };
                self.jobs.entry(job.metadata.uid.clone()).or_default().check_pod(world, &job, step)
            }
            _ => Vec::new(),
        }
    }
}

fn number(set: &BTreeSet<String>) -> i64 {
    i64::try_from(set.len()).unwrap_or(i64::MAX)
}

impl Seen {
    fn check_job(&mut self, world: &World, step: &Step<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        let (job, name) = (step.object(), step.object().full_name());
        let status = &job.status;
        let noted = &status.uncounted_terminated_pods;
        self.noted.extend(noted.succeeded.iter().chain(&noted.failed).cloned());
        let count = |of: &[String]| i64::try_from(of.len()).unwrap_or(i64::MAX);
        for (what, counted, happened) in [
            ("succeeded", status.succeeded + count(&noted.succeeded), number(&self.succeeded)),
            ("failed", status.failed + count(&noted.failed), number(&self.failed)),
        ] {
            if counted > happened {
                wrong.push(format!("Job {name} counts {counted} pods that {what}, and {happened} did"));
            }
        }
        let before = step.before.as_ref();
        if before.is_some_and(|it| it.status.succeeded > status.succeeded || it.status.failed > status.failed)
        {
            wrong.push(format!("Job {name} counts fewer pods than it did"));
        }
        for end in ["Complete", "Failed"] {
            if before.is_some_and(|it| it.is_true(end)) && !job.is_true(end) {
                wrong.push(format!("Job {name} was {end} and is not"));
            }
            if !step.gained(end) {
                continue;
            }
            let pods: Vec<_> = world.owned_by(&job.metadata.uid, "Pod").collect();
            if pods.iter().any(|pod| pod.has_finalizer(TRACKING)) {
                wrong.push(format!("Job {name} is {end} and holds pods by its finalizer"));
            }
            if pods.iter().any(|pod| pod.is_active()) {
                wrong.push(format!("Job {name} is {end} and has pods at work"));
            }
            let wanted = job.spec.completions.unwrap_or(1);
            if end == "Complete" && !job.has_success_policy() && status.succeeded < wanted {
                wrong.push(format!("Job {name} is complete with {} of {wanted}", status.succeeded));
            }
        }
        if job.is_true("Complete") && job.is_true("Failed") {
            wrong.push(format!("Job {name} is both complete and failed"));
        }
        wrong
    }

    fn check_pod(&mut self, world: &World, job: &Object, step: &Step<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        let pod = step.object();
        let uid = &pod.metadata.uid;
        match pod.status.phase.as_str() {
            "Succeeded" => drop(self.succeeded.insert(uid.clone())),
            "Failed" => drop(self.failed.insert(uid.clone())),
            _ if pod.metadata.deletion_timestamp.is_some() || step.change.deleted => {
                self.failed.insert(uid.clone());
            }
            _ => {}
        }
        let name = job.full_name();
        let held = step.before.as_ref().is_some_and(|before| before.has_finalizer(TRACKING));
        let over = job.is_over() || job.metadata.deletion_timestamp.is_some();
        let let_go = held && (step.change.deleted || !pod.has_finalizer(TRACKING));
        let done = pod.completion_index().is_some_and(|index| job.has_completed(index));
        // A Pod that the Job itself takes while it works counts for nothing.
        let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        if let_go && ended && !over && !done && !self.noted.contains(uid) {
            wrong.push(format!("Job {name} lets a pod go that it has not counted"));
        }
        if step.is_new() && job.is_over() {
            wrong.push(format!("Job {name} is over and makes a pod"));
        }
        if step.is_new()
            && let Some(index) = pod.completion_index()
        {
            let same = world.owned_by(&job.metadata.uid, "Pod");
            let same = same.filter(|it| it.is_active() && it.completion_index() == Some(index)).count();
            if same > 1 {
                wrong.push(format!("Job {name} has {same} pods at work for index {index}"));
            }
        }
        wrong
    }
}
