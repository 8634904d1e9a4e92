//! Job: Pods run until enough of them have succeeded, or too many have failed.
//!
//! Every Pod of a Job carries a finalizer, so that none can go uncounted. A look claims Pods, [judges](Sync::judge) whether
//! the Job is over, [manages](manage) how many run, and [counts](track) those that ended. Counting takes three writes in
//! this order: the status notes the uids, the finalizers go, the status adds them to its counters. Wherever that is
//! interrupted, the next look goes on without counting twice: a uid that is noted and has no finalizer is added, once.
//!
//! [`policy`] says what a failed Pod means, [`backoff`] how long to wait before replacing it, [`indexes`] are sets of them.

mod backoff;
mod indexes;
mod manage;
mod policy;
mod track;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use client::{
    Caches, Controller, Key, Kind, Plan, Triggers, Write,
    controller::{Patch, Request},
    events::{Note, ObjectRef},
    resource::PODS,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use self::{indexes::Indexes, policy::Verdict};
use crate::{
    claim::{self, Claimed},
    conditions::{self, Condition},
    kinds::{
        Job, Pod,
        job::{JobStatus, Uncounted},
        pod::JOB_TRACKED,
    },
    pods,
};

/// Keeps a Pod until its Job has counted it.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// The index of a Pod.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How many Pods of its index have failed before this one and were counted.
const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How many were not.
const INDEX_IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// Keeps Jobs.
#[derive(Debug)]
pub struct Jobs;

/// All that matters to a Job.
#[derive(Debug)]
pub enum Observed {
    /// Pods whose finalizer nobody needs any more.
    Strays(Vec<Arc<Pod>>),
    /// A Job that is not over.
    Running {
        /// The Job.
        root: Arc<Job>,
        /// Its Pods, and those it might adopt.
        candidates: Vec<Arc<Pod>>,
        /// What the last look failed with.
        last_failure: Option<String>,
    },
}

/// A Job in the course of a look.
struct Sync<'a> {
    root: &'a Job,
    now: Timestamp,
    pods: Vec<Arc<Pod>>,
    active: Vec<Arc<Pod>>,
    /// The status as the look has changed it so far.
    status: JobStatus,
    /// What the status had noted before.
    noted: Uncounted,
    terminating: i32,
    ready: i32,
    /// All successes and failures, whether or not they are counted already.
    succeeded: i32,
    failed: i32,
    /// Indexes that had succeeded before, and have now.
    succeeded_before: Indexes,
    succeeded_indexes: Indexes,
    failed_indexes: Option<Indexes>,
    /// The last failed Pod of an index that is to be replaced: it stays until its replacement knows how often it failed.
    replaced: BTreeMap<i32, Arc<Pod>>,
    /// The condition that says that the Job is over, or about to be.
    over: Option<Condition>,
    /// The status as it is told.
    told: JobStatus,
    about: ObjectRef,
    plan: Plan,
    /// What comes after all else.
    at_last: Vec<Write>,
}

// === impl Jobs ===

impl Controller for Jobs {
    type Root = Job;
    type Observed = Observed;
    const NAME: &'static str = "job-controller";

    fn triggers(&self, on: &mut Triggers<Job>) {
        claim::triggers::<Job, Pod>(on);
        // A Pod that lost its Job belongs to the namespace.
        on.changes::<Pod>(|change, _| {
            let stray = |pod: &&Arc<Pod>| {
                pod.metadata.controller().is_none() && pod.metadata.has_finalizer(FINALIZER)
            };
            change
                .after()
                .filter(stray)
                .map(|pod| Key::new(&pod.metadata.namespace, ""))
                .into_iter()
                .collect()
        });
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<Observed> {
        let tracked = || caches.read::<Pod>().by_index(JOB_TRACKED, &key.to_string());
        let root = caches.read::<Job>().get(key);
        if root.as_ref().is_some_and(|root| root.is_foreign()) {
            return None;
        }
        let root = root.filter(|root| root.finished().is_none());
        let strays: Vec<_> = tracked()
            .into_iter()
            .filter(|pod| root.as_ref().is_none_or(|root| !pod.metadata.is_controlled_by(&root.metadata.uid)))
            .collect();
        if !strays.is_empty() {
            return Some(Observed::Strays(strays));
        }
        let root = root?;
        let candidates = claim::candidates::<Pod>(&root.metadata, caches);
        Some(Observed::Running { root, candidates, last_failure: caches.last_failure().map(str::to_owned) })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        match observed {
            Observed::Strays(pods) => Plan::because("their Job is gone or over: nobody counts these Pods")
                .then(Write::all(pods.iter().map(untrack).collect()))
                .look_again(std::time::Duration::ZERO),
            Observed::Running { root, candidates, last_failure } => {
                let Claimed { objects, writes } = claim::claim(&**root, candidates, &[FINALIZER]);
                let mut sync = Sync::new(root, objects, now);
                sync.plan.writes.extend(writes.into_iter().map(Write::from));
                sync.judge();
                if sync.over.is_some() {
                    sync.end_all();
                } else {
                    sync.manage(last_failure.is_some());
                }
                sync.track();
                sync.plan
            }
        }
    }
}

/// Lets a Pod go once it wants to.
fn untrack(pod: &Arc<Pod>) -> Request {
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
    Request::patch(PODS, pod.key(), Patch::strategic(patch)).if_same(&pod.metadata.uid)
}

/// The index of a Pod.
fn index_of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.get(INDEX)?.parse().ok().filter(|index| *index >= 0)
}

fn count_annotation(pod: &Pod, name: &str) -> i32 {
    let count = pod.metadata.annotations.get(name).and_then(|text| text.parse().ok());
    count.filter(|count| *count >= 0).unwrap_or_default()
}

fn clamp(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A condition of a Job.
fn condition(
    which: &'static str,
    status: &'static str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Condition {
    let reason = reason.to_owned();
    Condition { last_probe_time: Some(now), ..Condition::new(which, status, reason, message, now) }
}

/// Sets a condition unless it says just that. One that is absent is not added to say no. True if anything changes.
fn ensure(conditions: &mut Vec<Condition>, new: Condition) -> bool {
    match conditions.iter_mut().find(|old| old.r#type == new.r#type) {
        Some(old) if (&old.status, &old.reason, &old.message) == (&new.status, &new.reason, &new.message) => {
            false
        }
        Some(old) => {
            *old = new;
            true
        }
        None if new.status == "False" => false,
        None => {
            conditions.push(new);
            true
        }
    }
}

// === impl Sync ===

impl<'a> Sync<'a> {
    fn new(root: &'a Job, pods: Vec<Arc<Pod>>, now: Timestamp) -> Self {
        let active: Vec<_> = pods.iter().filter(|pod| pod.is_active()).cloned().collect();
        let mut status = root.status.clone();
        let noted = status.uncounted_terminated_pods.get_or_insert_default().clone();
        if status.start_time.is_none() && !root.is_suspended() {
            status.start_time = Some(now);
        }
        let mut sync = Self {
            terminating: clamp(pods.iter().filter(|pod| pod.is_terminating()).count()),
            ready: clamp(active.iter().filter(|pod| pod.is_ready()).count()),
            succeeded: 0,
            failed: 0,
            succeeded_before: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            replaced: BTreeMap::new(),
            over: None,
            told: root.status.clone(),
            about: ObjectRef::to(root),
            at_last: Vec::new(),
            plan: Plan::because("the Job is as wanted"),
            root,
            now,
            pods,
            active,
            status,
            noted,
        };
        let newly_succeeded = sync.newly(&sync.noted.succeeded, |pod| &*pod.status.phase == "Succeeded");
        let newly_failed = sync.newly(&sync.noted.failed, |pod| {
            sync.has_failed(pod) && policy::verdict(root, pod) != Verdict::Ignored
        });
        sync.succeeded = root.status.succeeded + clamp(newly_succeeded + sync.noted.succeeded.len());
        sync.failed = root.status.failed + clamp(newly_failed + sync.noted.failed.len());
        if root.is_indexed() {
            sync.look_at_indexes();
        }
        sync
    }

    /// A Pod counts as long as it has the finalizer. One that is adopted in this look gets it.
    fn is_tracked(&self, pod: &Pod) -> bool {
        pod.metadata.has_finalizer(FINALIZER) || !pod.metadata.is_controlled_by(&self.root.metadata.uid)
    }

    /// A Pod that goes has failed at once, unless it is replaced only once it has ended.
    fn has_failed(&self, pod: &Pod) -> bool {
        match &*pod.status.phase {
            "Failed" => true,
            "Succeeded" => false,
            _ => pod.metadata.is_terminating() && !self.root.replaces_failed_only(),
        }
    }

    /// The index of a Pod if there is such an index.
    fn valid_index(&self, pod: &Pod) -> Option<i32> {
        index_of(pod).filter(|index| *index < self.root.indexes())
    }

    /// How many Pods have ended so that are not noted.
    fn newly(&self, noted: &[Box<str>], ended: impl Fn(&Pod) -> bool) -> usize {
        let counts = |pod: &&Arc<Pod>| {
            self.is_tracked(pod)
                && !noted.contains(&pod.metadata.uid)
                && (!self.root.is_indexed() || self.valid_index(pod).is_some())
                && ended(pod)
        };
        self.pods.iter().filter(counts).count()
    }

    fn look_at_indexes(&mut self) {
        let root = self.root;
        let tracked = |pod: &&Arc<Pod>| self.is_tracked(pod);
        let succeeded = self.pods.iter().filter(tracked).filter(|pod| &*pod.status.phase == "Succeeded");
        let succeeded: Vec<i32> = succeeded.filter_map(|pod| self.valid_index(pod)).collect();
        self.succeeded_before = Indexes::parse(&root.status.completed_indexes, root.indexes());
        self.succeeded_indexes = self.succeeded_before.clone().with(succeeded);
        self.succeeded = self.succeeded_indexes.count();
        let Some(limit) = root.spec.backoff_limit_per_index else { return };

        let index_failed = |pod: &&Arc<Pod>| match policy::verdict(root, pod) {
            _ if !self.has_failed(pod) => false,
            Verdict::FailsIndex => true,
            Verdict::Ignored => false,
            Verdict::Counts | Verdict::FailsJob(_) => count_annotation(pod, INDEX_FAILURES) >= limit,
        };
        let tracked = |pod: &&Arc<Pod>| self.is_tracked(pod);
        let failed = self.pods.iter().filter(tracked).filter(index_failed);
        let failed: Vec<i32> = failed.filter_map(|pod| self.valid_index(pod)).collect();
        let before = root.status.failed_indexes.as_deref().unwrap_or_default();
        let failed = Indexes::parse(before, root.indexes()).with(failed);

        let active: Vec<i32> = self.active.iter().filter_map(|pod| index_of(pod)).collect();
        let mut replaced = BTreeMap::<i32, Arc<Pod>>::new();
        for pod in self.pods.iter().filter(|pod| self.is_tracked(pod) && self.has_failed(pod)) {
            let Some(index) = self.valid_index(pod) else { continue };
            if self.succeeded_indexes.contains(index) || failed.contains(index) || active.contains(&index) {
                continue;
            }
            let rank = |pod: &Pod| (all_failures(pod), backoff::finished_at(pod));
            let (count, at) = rank(pod);
            if replaced
                .get(&index)
                .map(|other| rank(other))
                .is_none_or(|(others, was)| others <= count && was <= at)
            {
                replaced.insert(index, Arc::clone(pod));
            }
        }
        self.failed_indexes = Some(failed);
        self.replaced = replaced;
    }

    /// Decides whether the Job is over. What was decided before stands; then failures come before successes.
    fn judge(&mut self) {
        self.over = self.judged_before().or_else(|| self.judge_failures()).or_else(|| self.judge_indexes());
    }

    fn judged_before(&self) -> Option<Condition> {
        let told =
            |which| conditions::find(&self.root.status.conditions, which).filter(|it| it.status == "True");
        if let Some(met) = told("SuccessCriteriaMet") {
            return Some(met.clone());
        }
        let target = told("FailureTarget")?;
        Some(condition("Failed", "True", &target.reason, &target.message, self.now))
    }

    fn failure(&self, reason: &str, message: &str) -> Option<Condition> {
        Some(condition("FailureTarget", "True", reason, message, self.now))
    }

    fn judge_failures(&mut self) -> Option<Condition> {
        let spec = &self.root.spec;
        for pod in self.pods.iter().filter(|pod| self.has_failed(pod)) {
            if let Verdict::FailsJob(message) = policy::verdict(self.root, pod) {
                return self.failure("PodFailurePolicy", &message);
            }
        }
        let limit = spec.backoff_limit.unwrap_or(6);
        if self.failed > limit || self.restarted_too_often(limit) {
            return self.failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        let (Some(seconds), Some(start), false) =
            (spec.active_deadline_seconds, self.status.start_time, self.root.is_suspended())
        else {
            return None;
        };
        let left = SignedDuration::from_secs(seconds) - self.now.duration_since(start);
        match std::time::Duration::try_from(left) {
            Ok(left) if !left.is_zero() => {
                self.look_again(left);
                None
            }
            _ => self.failure("DeadlineExceeded", "Job was active longer than specified deadline"),
        }
    }

    /// Containers that are started again in their Pod count as failures too.
    fn restarted_too_often(&self, limit: i32) -> bool {
        if self.root.spec.template.restart_policy() != "OnFailure" {
            return false;
        }
        let restarts: i32 = self
            .pods
            .iter()
            .filter(|pod| matches!(&*pod.status.phase, "Running" | "Pending"))
            .flat_map(|pod| pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses))
            .map(|status| status.restart_count)
            .sum();
        restarts >= limit.max(1)
    }

    fn judge_indexes(&self) -> Option<Condition> {
        if !self.root.is_indexed() {
            return None;
        }
        if let Some(failed) = self.failed_indexes.as_ref().map(Indexes::count) {
            if self.root.spec.max_failed_indexes.is_some_and(|max| failed > max) {
                let message = "Job has exceeded the specified maximal number of failed indexes";
                return self.failure("MaxFailedIndexesExceeded", message);
            }
            if failed > 0 && failed + self.succeeded_indexes.count() >= self.root.indexes() {
                return self.failure("FailedIndexes", "Job has failed indexes");
            }
        }
        let message = policy::enough(self.root, &self.succeeded_indexes)?;
        Some(condition("SuccessCriteriaMet", "True", "SuccessPolicy", &message, self.now))
    }

    fn look_again(&mut self, after: std::time::Duration) {
        self.plan.look_again = Some(self.plan.look_again.map_or(after, |planned| planned.min(after)));
    }

    fn because(&mut self, why: impl Into<client::controller::Reason>) {
        self.plan.why = why.into();
    }

    fn then(&mut self, write: impl Into<Write>) {
        self.plan.writes.push(write.into());
    }

    fn event(&mut self, note: Note) {
        self.plan.writes.push(Write::event(self.about.clone(), note));
    }

    /// No Pod shall run any more. They keep their finalizers: they are counted once they have ended.
    fn end_all(&mut self) {
        let why =
            self.over.as_ref().map(|over| format!("the Job is over: {}", over.message)).unwrap_or_default();
        self.because(why);
        let deletes: Vec<_> = self.active.iter().map(|pod| pods::delete(pod, &self.about)).collect();
        self.retire(deletes.len(), self.ready);
        if !deletes.is_empty() {
            let stop = |delete: Request| delete.on_failure(client::controller::OnFailure::Stop);
            self.then(Write::all(deletes.into_iter().map(stop).collect()));
        }
        self.status.active = 0;
    }

    /// So many active Pods, and so many ready ones among them, are on their way out.
    fn retire(&mut self, pods: usize, ready: i32) {
        self.terminating += clamp(pods);
        self.ready -= ready;
    }
}

/// How many Pods of its index have failed before this one.
fn all_failures(pod: &Pod) -> i32 {
    count_annotation(pod, INDEX_FAILURES).saturating_add(count_annotation(pod, INDEX_IGNORED))
}
