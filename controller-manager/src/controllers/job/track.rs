//! Counting the Pods that ended, each once: noted by uid in the status, let go, then added to the counters.

use std::{collections::BTreeSet, sync::Arc};

use client::{Kind, Write, controller::Request, events::Note, meta::time, resource::JOBS};
use serde_json::{Value, json};

use super::{
    Sync, clamp, condition, ensure,
    policy::{self, Verdict},
    untrack,
};
use crate::{
    conditions::{self, count},
    kinds::{
        Pod,
        job::{JobStatus, Uncounted},
    },
};

/// At most so many uids are noted at a time, about 20 kB.
const NOTED_MAX: usize = 500;

impl Sync<'_> {
    /// Counts, and tells how the Job is.
    pub(super) fn track(&mut self) {
        self.status.ready = Some(self.ready);
        self.status.terminating = Some(self.terminating);
        if self.root.is_indexed() {
            self.pods.sort_by_key(|pod| super::index_of(pod));
        }
        let tracked = self.pods.iter().filter(|pod| self.is_tracked(pod));
        let mut finalizers: BTreeSet<Box<str>> = tracked.map(|pod| pod.metadata.uid.clone()).collect();
        add_up(&mut self.status, &finalizers);
        let (ended, all) = self.note();

        // Interim conditions say how the Job ends before its Pods may go; the final ones that all is counted.
        match self.over.take() {
            Some(target) if target.r#type == "FailureTarget" => {
                self.over = Some(condition("Failed", "True", &target.reason, &target.message, self.now));
                self.status.conditions.push(target);
            }
            Some(met) if met.r#type == "SuccessCriteriaMet" => {
                self.over = Some(condition("Complete", "True", &met.reason, &met.message, self.now));
                if !conditions::is_true(&self.status.conditions, "SuccessCriteriaMet") {
                    self.status.conditions.push(met);
                }
            }
            other => self.over = other,
        }
        if !ended.is_empty() {
            self.tell();
            for pod in &ended {
                finalizers.remove(&pod.metadata.uid);
            }
            self.then(Write::all(ended.iter().map(untrack).collect()));
            add_up(&mut self.status, &finalizers);
        }
        let finished = all && self.finish();
        self.tell();
        if finished {
            self.announce();
        }
        let at_last = std::mem::take(&mut self.at_last);
        self.plan.writes.extend(at_last);
    }

    /// Notes the Pods that ended; returns those that may go, and whether these are all.
    fn note(&mut self) -> (Vec<Arc<Pod>>, bool) {
        let mut noted = self.status.uncounted_terminated_pods.take().unwrap_or_default();
        let mut newly_succeeded = Vec::new();
        let mut ended = Vec::new();
        let mut all = true;
        let failing = self.over.as_ref().is_some_and(|over| over.r#type != "SuccessCriteriaMet");
        for pod in self.pods.iter().filter(|pod| self.is_tracked(pod)) {
            let failed = self.has_failed(pod);
            if !self.may_go(pod, failed) {
                continue;
            }
            ended.push(Arc::clone(pod));
            let uid = &pod.metadata.uid;
            if &*pod.status.phase == "Succeeded" && !self.noted.failed.contains(uid) {
                if !self.root.is_indexed() {
                    if !self.noted.succeeded.contains(uid) {
                        noted.succeeded.push(uid.clone());
                    }
                } else if let Some(index) = self.valid_index(pod)
                    && !self.succeeded_before.contains(index)
                {
                    // The index tells it from others: no need to note the uid.
                    newly_succeeded.push(index);
                }
            } else if (failed || failing)
                && !self.noted.failed.contains(uid)
                && (!self.root.is_indexed() || self.valid_index(pod).is_some())
                && policy::verdict(self.root, pod) != Verdict::Ignored
            {
                noted.failed.push(uid.clone());
            }
            if newly_succeeded.len() + noted.succeeded.len() + noted.failed.len() >= NOTED_MAX {
                all = false;
                break;
            }
        }
        self.status.uncounted_terminated_pods = Some(noted);
        if self.root.is_indexed() {
            let succeeded = std::mem::take(&mut self.succeeded_indexes).with(newly_succeeded);
            self.status.succeeded = succeeded.count();
            self.status.completed_indexes = succeeded.to_string();
            self.succeeded_indexes = succeeded;
            self.status.failed_indexes = self.failed_indexes.as_ref().map(ToString::to_string);
        }
        (ended, all)
    }

    /// Whether a Pod need not be kept any longer.
    fn may_go(&self, pod: &Pod, failed: bool) -> bool {
        if self.root.metadata.is_terminating() || self.over.is_some() || &*pod.status.phase == "Succeeded" {
            return true;
        }
        let is_replaced = |replaced: &Arc<Pod>| replaced.metadata.uid == pod.metadata.uid;
        failed && !self.replaced.values().any(is_replaced)
    }

    /// Says that the Job is over, once all is counted and no Pod is left. True if so.
    fn finish(&mut self) -> bool {
        let uncounted = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let Some(over) = &self.over else { return false };
        if !uncounted.succeeded.is_empty() || !uncounted.failed.is_empty() || self.terminating > 0 {
            return false;
        }
        if over.r#type == "Complete" {
            self.status.completion_time = Some(self.now);
        }
        ensure(&mut self.status.conditions, over.clone());
        true
    }

    fn announce(&mut self) {
        let Some(over) = self.over.clone() else { return };
        if over.r#type != "Complete" {
            self.event(Note::warning(over.reason, over.message));
            return;
        }
        if self.root.spec.completions.is_some_and(|wanted| self.status.succeeded > wanted) {
            let message = "Too many succeeded pods running after completion count reached";
            self.event(Note::warning("TooManySucceededPods", message));
        }
        self.event(Note::normal("Completed", "Job completed"));
    }

    /// Tells the status if it is not what was told before.
    fn tell(&mut self) {
        if self.status != self.told {
            let status = to_value(&self.status);
            self.then(Request::status(JOBS, self.root.key(), status).if_same(&self.root.metadata.uid));
            self.told = self.status.clone();
        }
    }
}

/// Adds those that are noted and have no finalizer any more to the counters.
fn add_up(status: &mut JobStatus, finalizers: &BTreeSet<Box<str>>) {
    let noted = status.uncounted_terminated_pods.get_or_insert_default();
    let Uncounted { succeeded, failed } = noted;
    for (noted, counter) in [(succeeded, &mut status.succeeded), (failed, &mut status.failed)] {
        let before = noted.len();
        noted.retain(|uid| finalizers.contains(uid));
        *counter += clamp(before - noted.len());
    }
}

/// As a merge patch.
fn to_value(status: &JobStatus) -> Value {
    let uids = |uids: &[Box<str>]| if uids.is_empty() { Value::Null } else { json!(uids) };
    let noted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    json!({
        "conditions": conditions::to_value(&status.conditions),
        "startTime": status.start_time.map(time),
        "completionTime": status.completion_time.map(time),
        "active": count(status.active),
        "succeeded": count(status.succeeded),
        "failed": count(status.failed),
        "ready": status.ready,
        "terminating": status.terminating,
        "completedIndexes": if status.completed_indexes.is_empty() { Value::Null } else { json!(status.completed_indexes) },
        "failedIndexes": status.failed_indexes,
        "uncountedTerminatedPods": {"succeeded": uids(&noted.succeeded), "failed": uids(&noted.failed)},
    })
}
