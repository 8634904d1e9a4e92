//! How many Pods of a Job run: those that are too many go, those that are missing come, unless they failed too recently.

use std::{collections::BTreeMap, sync::Arc};

use api_types::object::{ObjectExt, object_at, object_of};
use client::{
    Write,
    controller::{OnFailure, Request},
    events::Note,
    resource::JOBS,
};
use serde_json::{Value, json};

use super::{
    FINALIZER, INDEX, INDEX_FAILURES, INDEX_IGNORED, Sync, backoff, clamp, condition, count_annotation,
    ensure, index_of,
    policy::{self, Verdict},
    untrack,
};
use crate::{
    kinds::{Job, Pod},
    pods,
};

/// At most so many Pods are made or given up in one look.
const BURST: usize = 500;
/// A name that the server completes is at most so long.
const GENERATED_NAME_MAX: usize = 58;

impl Sync<'_> {
    /// Makes and deletes Pods, and judges whether all that was wanted has succeeded. `failed_before` says that the last look
    /// could not do what it wanted.
    pub(super) fn manage(&mut self, failed_before: bool) {
        let mut active = clamp(self.active.len());
        let managed = !self.root.metadata.is_terminating();
        if managed {
            active = self.manage_pods(active, failed_before);
        } else {
            self.because("the Job is being deleted: its Pods need not be counted");
        }
        let complete = active == 0
            && match self.root.spec.completions {
                None => self.succeeded > 0,
                Some(wanted) => self.succeeded >= wanted,
            };
        if complete {
            let message = "Reached expected number of succeeded pods";
            self.over =
                Some(condition("SuccessCriteriaMet", "True", "CompletionsReached", message, self.now));
            self.because("as many Pods have succeeded as wanted");
        } else if managed {
            self.note_suspension();
        }
        self.status.active = active;
    }

    fn note_suspension(&mut self) {
        let suspended = self.root.is_suspended();
        let (status, reason, message, event) = if suspended {
            ("True", "JobSuspended", "Job suspended", "Suspended")
        } else {
            ("False", "JobResumed", "Job resumed", "Resumed")
        };
        let told = condition("Suspended", status, reason, message, self.now);
        if ensure(&mut self.status.conditions, told) {
            // The deadline counts from when the Job was last resumed.
            self.status.start_time = (!suspended).then_some(self.now);
            self.event(Note::normal(event, message));
        }
    }

    /// How many Pods are active then.
    fn manage_pods(&mut self, active: i32, failed_before: bool) -> i32 {
        if self.root.is_suspended() {
            self.because("the Job is suspended: no Pod shall run");
            let all = self.active.clone();
            return active - self.give_up(&all);
        }
        let parallelism = self.root.spec.parallelism.unwrap_or(1);
        let wanted = match self.root.spec.completions {
            // One success is enough; whatever runs may finish.
            None if self.succeeded > 0 => active,
            None => parallelism,
            Some(completions) => (completions - self.succeeded).min(parallelism).max(0),
        };
        let too_many = usize::try_from(active - wanted).unwrap_or_default();
        let mut surplus = self.surplus(too_many);
        surplus.truncate(BURST);
        if !surplus.is_empty() {
            self.because(format!("{} Pods are too many, {wanted} shall run", surplus.len()));
            return active - self.give_up(&surplus);
        }
        let awaited = if self.root.replaces_failed_only() { self.terminating } else { 0 };
        let missing = usize::try_from(wanted - awaited - active).unwrap_or_default();
        if missing == 0 {
            self.because(format!(
                "{active} Pods run, {} have succeeded, {} have failed",
                self.succeeded, self.failed
            ));
            return active;
        }
        active + self.make(missing.min(BURST), failed_before)
    }

    /// Deletes Pods whose end shall not count; says how many.
    fn give_up(&mut self, pods: &[Arc<Pod>]) -> i32 {
        if pods.is_empty() {
            return 0;
        }
        let stop = |request: Request| request.on_failure(OnFailure::Stop);
        let untracks: Vec<_> = pods.iter().filter(|pod| self.is_tracked(pod)).map(untrack).collect();
        let deletes = pods.iter().map(|pod| stop(pods::delete(pod, &self.about))).collect();
        self.then(Write::all(untracks));
        self.then(Write::all(deletes));
        self.retire(pods.len(), clamp(pods.iter().filter(|pod| pod.is_ready()).count()));
        clamp(pods.len())
    }

    /// At least so many active Pods to give up: those without a valid index or of one that another Pod has, then the ones
    /// that are least far.
    fn surplus(&self, at_least: usize) -> Vec<Arc<Pod>> {
        let mut pods = self.active.clone();
        pods::rank_youngest_first(&mut pods);
        if !self.root.is_indexed() {
            pods.truncate(at_least);
            return pods;
        }
        let mut last = BTreeMap::new();
        for (at, pod) in pods.iter().enumerate() {
            if let Some(index) = self.valid_index(pod) {
                last.insert(index, at);
            }
        }
        let keeps = |(at, pod): &(usize, Arc<Pod>)| {
            self.valid_index(pod).is_some_and(|index| last.get(&index) == Some(at))
        };
        let (left, mut surplus): (Vec<_>, Vec<_>) = pods.into_iter().enumerate().partition(keeps);
        let more = at_least.saturating_sub(surplus.len());
        surplus.extend(left.into_iter().take(more));
        surplus.into_iter().map(|(_, pod)| pod).collect()
    }

    /// Makes Pods unless they failed too recently; says how many.
    fn make(&mut self, missing: usize, failed_before: bool) -> i32 {
        let per_index = self.root.spec.backoff_limit_per_index.is_some();
        if !per_index && let Some(left) = self.backoff_left() {
            self.because("Pods failed recently: they are replaced later");
            self.look_again(left);
            return 0;
        }
        let pods: Vec<Value> = if self.root.is_indexed() {
            let mut indexes = self.pending(missing);
            if per_index {
                let left = |index: &i32| self.index_backoff_left(*index);
                let soonest = indexes.iter().filter_map(left).min();
                indexes.retain(|index| self.index_backoff_left(*index).is_none());
                if let Some(soonest) = soonest {
                    self.look_again(soonest);
                }
            }
            let pod = |index: &i32| indexed(self.root, *index, self.replaced.get(index));
            indexes.iter().map(pod).collect()
        } else {
            vec![tracked(self.root); missing]
        };
        if pods.is_empty() {
            self.because("Pods failed recently: they are replaced later");
            return 0;
        }
        self.because(format!("{} Pods are missing", pods.len()));
        let count = clamp(pods.len());
        let creates = pods.into_iter().map(|pod| {
            pods::create(Arc::new(pod), &self.root.metadata.namespace, &self.about)
                .on_failure(OnFailure::Stop)
        });
        let creates = Write::slow_start(creates.collect());
        if failed_before {
            // It may fail again: all else comes first, and what is not made is not told.
            self.at_last.push(creates);
            return 0;
        }
        self.then(creates);
        count
    }

    fn backoff_left(&self) -> Option<std::time::Duration> {
        // A Pod that was given up has neither failed nor succeeded.
        let counts = |pod: &&Arc<Pod>| self.is_tracked(pod) || !pod.metadata.is_terminating();
        let pods = || self.pods.iter().filter(counts);
        let succeeded: Vec<_> = pods().filter(|pod| &*pod.status.phase == "Succeeded").collect();
        let failed: Vec<_> = pods().filter(|pod| self.has_failed(pod)).collect();
        let (failures, last) = backoff::failures(&succeeded, &failed);
        backoff::left(failures, last, self.now)
    }

    fn index_backoff_left(&self, index: i32) -> Option<std::time::Duration> {
        let last = self.replaced.get(&index)?;
        let failures = u32::try_from(super::all_failures(last)).unwrap_or_default().saturating_add(1);
        backoff::left(failures, backoff::finished_at(last), self.now)
    }

    /// The first indexes that have neither ended nor a Pod.
    fn pending(&self, count: usize) -> Vec<i32> {
        let mut taken =
            self.succeeded_indexes.clone().with(self.active.iter().filter_map(|pod| index_of(pod)));
        if self.root.replaces_failed_only() {
            taken = taken
                .with(self.pods.iter().filter(|pod| pod.is_terminating()).filter_map(|pod| index_of(pod)));
        }
        if let Some(failed) = &self.failed_indexes {
            taken = taken.merged(failed);
        }
        taken.missing(count, self.root.indexes())
    }
}

/// A Pod with the finalizer.
fn tracked(root: &Job) -> Value {
    let mut pod = root.spec.template.pod(&JOBS, &root.metadata);
    let mut finalizers: Vec<Value> = pod.finalizers().into_iter().map(Value::from).collect();
    if !pod.finalizers().contains(&FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    pod.set_meta("finalizers", finalizers);
    pod
}

/// A Pod for an index. It knows how often Pods of its index have failed before it.
fn indexed(root: &Job, index: i32, replaced: Option<&Arc<Pod>>) -> Value {
    let mut pod = tracked(root);
    let suffix = format!("-{index}-");
    let mut prefix: &str = &root.metadata.name;
    prefix = prefix.get(..GENERATED_NAME_MAX - suffix.len()).unwrap_or(prefix);
    pod.set_meta("generateName", format!("{prefix}{suffix}"));
    object_at(pod.meta_mut(), "labels").insert(INDEX.to_owned(), index.to_string().into());
    let annotations = object_at(pod.meta_mut(), "annotations");
    annotations.insert(INDEX.to_owned(), index.to_string().into());
    if root.spec.backoff_limit_per_index.is_some() {
        let (mut counted, mut ignored) = (0, 0);
        if let Some(replaced) = replaced {
            counted = count_annotation(replaced, INDEX_FAILURES);
            ignored = count_annotation(replaced, INDEX_IGNORED);
            match policy::verdict(root, replaced) {
                Verdict::Ignored => ignored += 1,
                Verdict::Counts | Verdict::FailsIndex | Verdict::FailsJob(_) => counted += 1,
            }
        }
        annotations.insert(INDEX_FAILURES.to_owned(), counted.to_string().into());
        if ignored > 0 {
            annotations.insert(INDEX_IGNORED.to_owned(), ignored.to_string().into());
        }
    }
    let spec = object_at(object_of(&mut pod), "spec");
    spec.insert("hostname".to_owned(), format!("{}-{index}", root.metadata.name).into());
    for kind in ["initContainers", "containers"] {
        for container in spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
            tell_index(container);
        }
    }
    pod
}

/// Gives a container its index as an environment variable, unless it has one of that name.
fn tell_index(container: &mut Value) {
    const NAME: &str = "JOB_COMPLETION_INDEX";

    let env = object_of(container).entry("env").or_insert(Value::Null);
    if env.is_null() {
        *env = json!([]);
    }
    if let Value::Array(variables) = env
        && !variables.iter().any(|variable| variable.get("name").is_some_and(|name| name == NAME))
    {
        let path = format!("metadata.labels['{INDEX}']");
        variables.push(json!({"name": NAME, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
    }
}
