//! The status of a Job, which may be written by other controllers than ours and must make sense all the same. What is
//! wrong already and does not change is let through.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};

use super::spec::{count_indexes, index_interval, is_indexed};
use crate::resources::shared::{
    internal::printed,
    optional::{Items, Switch, Text, negative, same},
};

/// Everything that is wrong with a changed status.
pub(super) fn validate(job: &Job, old: &Job) -> Faults {
    let (no_spec, no_status) = (JobSpec::default(), JobStatus::default());
    let spec = job.spec.as_ref().unwrap_or(&no_spec);
    let status = job.status.as_ref().unwrap_or(&no_status);
    let was = old.status.as_ref().unwrap_or(&no_status);
    let change = Change { spec, new: status, old: was, path: Path::new("status") };
    let mut faults = counts(status, &change.path);
    faults.extend(change.outcome());
    faults.extend(change.finish());
    faults.extend(change.indexes());
    faults.extend(change.pods_left());
    faults.extend(change.success());
    faults.extend(change.history());
    faults
}

fn counts(status: &JobStatus, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (field, count) in [
        ("active", status.active.unwrap_or_default()),
        ("succeeded", status.succeeded.unwrap_or_default()),
        ("failed", status.failed.unwrap_or_default()),
        ("ready", status.ready.unwrap_or_default()),
        ("terminating", status.terminating.unwrap_or_default()),
    ] {
        faults.extend(negative(&path.child(field), count));
    }
    if let Some(pods) = &status.uncounted_terminated_pods {
        let path = path.child("uncountedTerminatedPods");
        let mut seen = BTreeSet::new();
        for (field, uids) in [("succeeded", pods.succeeded.items()), ("failed", pods.failed.items())] {
            for (index, uid) in uids.iter().enumerate() {
                let path = path.child(field).index(index);
                if uid.is_empty() {
                    faults.push(Fault::invalid(&path, "", "must not be empty"));
                } else if !seen.insert(uid) {
                    faults.push(Fault::duplicate(&path, uid));
                }
            }
        }
    }
    faults
}

fn is(status: &JobStatus, condition: &str) -> bool {
    status.conditions.items().iter().any(|it| it.type_ == condition && it.status == "True")
}

fn is_not(status: &JobStatus, condition: &str) -> bool {
    status.conditions.items().iter().any(|it| it.type_ == condition && it.status == "False")
}

fn is_finished(status: &JobStatus) -> bool {
    is(status, "Complete") || is(status, "Failed")
}

struct Change<'a> {
    spec: &'a JobSpec,
    new: &'a JobStatus,
    old: &'a JobStatus,
    path: Path,
}

// === impl Change ===

impl Change<'_> {
    fn turns(&self, condition: &str) -> bool {
        is(self.new, condition) != is(self.old, condition)
    }

    fn finishes(&self) -> bool {
        is_finished(self.new) != is_finished(self.old)
    }

    fn starts(&self) -> bool {
        self.new.start_time != self.old.start_time
    }

    fn condition_fault(&self, why: impl Into<String>) -> Fault {
        Fault::invalid(&self.path.child("conditions"), BadValue::Omitted, why)
    }

    /// Conditions that contradict each other or the time of completion.
    fn outcome(&self) -> Faults {
        let new = self.new;
        let mut faults = Vec::new();
        let (completes, fails) = (self.turns("Complete"), self.turns("Failed"));
        let ends = completes || new.completion_time != self.old.completion_time;
        let is_complete = is(new, "Complete");
        if (completes || fails) && is_complete && is(new, "Failed") {
            faults.push(self.condition_fault("cannot set Complete=True and Failed=true conditions"));
        }
        if (completes || self.turns("FailureTarget")) && is_complete && is(new, "FailureTarget") {
            faults.push(self.condition_fault("cannot set Complete=True and FailureTarget=true conditions"));
        }
        let path = self.path.child("completionTime");
        if ends && new.completion_time.is_some() && !is_complete {
            faults.push(Fault::invalid(
                &path,
                BadValue::json(&new.completion_time),
                "cannot set completionTime when there is no Complete=True condition",
            ));
        }
        if ends && new.completion_time.is_none() && is_complete {
            faults.push(Fault::required(&path, "completionTime is required for Complete jobs"));
        }
        if (self.starts() || new.completion_time != self.old.completion_time)
            && let (Some(start), Some(end)) = (&new.start_time, &new.completion_time)
            && end.0 < start.0
        {
            faults.push(Fault::invalid(
                &path,
                BadValue::json(&new.completion_time),
                "must be equal to or after `startTime`",
            ));
        }
        let failed_indexes_change = new.failed_indexes != self.old.failed_indexes;
        if (fails || failed_indexes_change) && is(new, "Failed") && !is(new, "FailureTarget") {
            faults.push(self.condition_fault(
                "cannot set Failed=True condition without the FailureTarget=true condition",
            ));
        }
        if (completes || self.turns("SuccessCriteriaMet")) && is_complete && !is(new, "SuccessCriteriaMet") {
            faults.push(self.condition_fault(
                "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            ));
        }
        faults
    }

    /// What must be so of a finished job.
    fn finish(&self) -> Faults {
        let (new, old) = (self.new, self.old);
        let mut faults = Vec::new();
        if !is_finished(new) {
            return faults;
        }
        let finishes = self.finishes();
        let active = new.active.unwrap_or_default();
        if (finishes || active != old.active.unwrap_or_default()) && active > 0 {
            let path = self.path.child("active");
            faults.push(Fault::invalid(&path, active, "active>0 is invalid for finished job"));
        }
        let is_empty_and_suspended = self.spec.suspend.is_on() && self.spec.completions == Some(0);
        if (finishes || self.starts()) && !is_empty_and_suspended && new.start_time.is_none() {
            faults.push(Fault::required(
                &self.path.child("startTime"),
                "startTime is required for finished job",
            ));
        }
        let uncounted = &new.uncounted_terminated_pods;
        let is_counted = uncounted
            .as_ref()
            .is_none_or(|pods| pods.failed.items().is_empty() && pods.succeeded.items().is_empty());
        if (finishes || !same(uncounted, &old.uncounted_terminated_pods)) && !is_counted {
            faults.push(Fault::invalid(
                &self.path.child("uncountedTerminatedPods"),
                printed("*batch.UncountedTerminatedPods", uncounted),
                "must be empty for finished job",
            ));
        }
        faults
    }

    /// What is said of single indexes.
    fn indexes(&self) -> Faults {
        let (new, old) = (self.new, self.old);
        let mut faults = Vec::new();
        let (completed_path, failed_path) =
            (self.path.child("completedIndexes"), self.path.child("failedIndexes"));
        let completed = new.completed_indexes.text();
        let completed_changes = completed != old.completed_indexes.text();
        let failed_changes = new.failed_indexes != old.failed_indexes;
        if let Some(completions) = self.spec.completions {
            if completed_changes && let Err(why) = count_indexes(completed, completions) {
                let why = format!("error parsing completedIndexes: {why}");
                faults.push(Fault::invalid(&completed_path, completed, why));
            }
            if let Some(failed) = &new.failed_indexes
                && failed_changes
                && self.spec.backoff_limit_per_index.is_some()
                && let Err(why) = count_indexes(failed, completions)
            {
                let why = format!("error parsing failedIndexes: {why}");
                faults.push(Fault::invalid(&failed_path, failed, why));
            }
        }
        if completed_changes && !completed.is_empty() && !is_indexed(self.spec) {
            faults.push(Fault::invalid(
                &completed_path,
                completed,
                "cannot set non-empty completedIndexes when non-indexed completion mode",
            ));
        }
        let Some(failed) = &new.failed_indexes else { return faults };
        if failed_changes && self.spec.backoff_limit_per_index.is_none() {
            faults.push(Fault::invalid(
                &failed_path,
                failed,
                "cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            ));
        }
        if let Some(completions) = self.spec.completions
            && (failed_changes || completed_changes)
            && let Some(index) = overlap(completed, failed, completions)
        {
            faults.push(Fault::invalid(
                &failed_path,
                failed,
                format!("failedIndexes and completedIndexes overlap at index: {index}"),
            ));
        }
        faults
    }

    /// Pods that should be gone, or should not be ready.
    fn pods_left(&self) -> Faults {
        let (new, old) = (self.new, self.old);
        let mut faults = Vec::new();
        if let Some(terminating) = new.terminating
            && (self.finishes() || new.terminating != old.terminating)
            && terminating > 0
            && is_finished(new)
        {
            let path = self.path.child("terminating");
            faults.push(Fault::invalid(&path, terminating, "terminating>0 is invalid for finished job"));
        }
        let active = new.active.unwrap_or_default();
        if let Some(ready) = new.ready
            && (new.ready != old.ready || active != old.active.unwrap_or_default())
            && ready > active
        {
            let path = self.path.child("ready");
            faults.push(Fault::invalid(&path, ready, "cannot set more ready pods than active"));
        }
        faults
    }

    /// What success excludes, and what it needs.
    fn success(&self) -> Faults {
        let mut faults = Vec::new();
        let succeeds = is(self.new, "SuccessCriteriaMet");
        for condition in ["Failed", "FailureTarget"] {
            if succeeds && is(self.new, condition) {
                faults.push(self.condition_fault(format!(
                    "cannot set SuccessCriteriaMet=True and {condition}=true conditions"
                )));
            }
        }
        if self.spec.success_policy.is_some() && !succeeds && is(self.new, "Complete") {
            faults.push(self.condition_fault(
                "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
            ));
        }
        faults
    }

    /// What must not be undone.
    fn history(&self) -> Faults {
        let (new, old, spec) = (self.new, self.old, self.spec);
        let mut faults = Vec::new();
        for condition in ["Failed", "Complete", "FailureTarget"] {
            if is(old, condition) && !is(new, condition) {
                faults.push(
                    self.condition_fault(format!("cannot disable the terminal {condition}=True condition")),
                );
            }
        }
        // Indexed jobs that scale as a whole may be scaled down.
        let may_shrink = is_indexed(spec) && spec.completions == spec.parallelism;
        for (field, new, old, may_shrink) in [
            ("failed", new.failed.unwrap_or_default(), old.failed.unwrap_or_default(), false),
            ("succeeded", new.succeeded.unwrap_or_default(), old.succeeded.unwrap_or_default(), may_shrink),
        ] {
            if new < old && !may_shrink {
                let why = format!("cannot decrease the {field} counter");
                faults.push(Fault::invalid(&self.path.child(field), new, why));
            }
        }
        if new.completion_time.is_some()
            && old.completion_time.is_some()
            && new.completion_time != old.completion_time
        {
            faults.push(Fault::invalid(
                &self.path.child("completionTime"),
                BadValue::json(&new.completion_time),
                "field is immutable",
            ));
        }
        let resumes = is(old, "Suspended") && is_not(new, "Suspended");
        if self.starts() && !resumes && old.start_time.is_some() && !spec.suspend.is_on() {
            faults.push(Fault::invalid(
                &self.path.child("startTime"),
                BadValue::json(&new.start_time),
                "field is immutable for unsuspended job once set",
            ));
        }
        let (succeeds, succeeded) = (is(new, "SuccessCriteriaMet"), is(old, "SuccessCriteriaMet"));
        if succeeded && !succeeds {
            faults.push(self.condition_fault("cannot disable the SuccessCriteriaMet=True condition"));
        }
        if is(old, "Complete") && !succeeded && succeeds {
            faults.push(self.condition_fault(
                "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
            ));
        }
        faults
    }
}

/// The first index that is in both. What cannot be read is somebody else's fault.
fn overlap(completed: &str, failed: &str, completions: i32) -> Option<i64> {
    if completed.is_empty() || failed.is_empty() {
        return None;
    }
    let intervals = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|interval| index_interval(interval, completions).ok()).collect()
    };
    let (completed, failed) = (intervals(completed), intervals(failed));
    let (mut completed, mut failed) = (completed.iter().peekable(), failed.iter().peekable());
    while let (Some((first, last)), Some((failed_first, failed_last))) = (completed.peek(), failed.peek()) {
        if first <= failed_last && failed_first <= last {
            return Some(*first.max(failed_first));
        }
        if first <= failed_first {
            completed.next();
        } else {
            failed.next();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Jobs;
    use crate::resources::shared::testing::check_status_update;

    fn faults(spec: Value, new: Value, old: Value) -> Vec<String> {
        let mut base = json!({"template": {"spec": {"containers": []}}});
        base.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let job = |status: Value| json!({"metadata": {"name": "j"}, "spec": base, "status": status});
        check_status_update::<Jobs>(job(new), job(old))
    }

    fn conditions(true_ones: &[&str]) -> Value {
        true_ones.iter().map(|it| json!({"type": it, "status": "True"})).collect()
    }

    const START: &str = "2025-01-01T00:00:00Z";
    const END: &str = "2025-01-01T01:00:00Z";

    #[test]
    fn a_job_that_completes_says_so_everywhere() {
        let complete = conditions(&["SuccessCriteriaMet", "Complete"]);
        assert_eq!(
            faults(
                json!({}),
                json!({"conditions": complete, "startTime": START, "completionTime": END, "succeeded": 1}),
                json!({"conditions": conditions(&["SuccessCriteriaMet"]), "startTime": START, "active": 1}),
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            faults(json!({}), json!({"conditions": conditions(&["Complete"]), "active": 1}), json!({})),
            [
                "status.completionTime: Required value: completionTime is required for Complete jobs",
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
                "status.startTime: Required value: startTime is required for finished job",
            ]
        );
    }

    #[test]
    fn what_was_wrong_before_is_let_through() {
        let wrong = json!({"conditions": conditions(&["Complete"]), "startTime": START});
        let mut new = wrong.clone();
        new["failed"] = json!(1);
        assert_eq!(faults(json!({}), new, wrong), Vec::<String>::new());
    }

    #[test]
    fn what_ended_stays_ended() {
        for (new, old, expected) in [
            (
                json!({"startTime": START}),
                json!({"startTime": START, "conditions": conditions(&["Failed", "FailureTarget"])}),
                vec![
                    "status.conditions: Invalid value: cannot disable the terminal Failed=True condition",
                    "status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition",
                ],
            ),
            (
                json!({"failed": 1, "succeeded": 1}),
                json!({"failed": 2, "succeeded": 2}),
                vec![
                    "status.failed: Invalid value: 1: cannot decrease the failed counter",
                    "status.succeeded: Invalid value: 1: cannot decrease the succeeded counter",
                ],
            ),
            (
                json!({"startTime": END}),
                json!({"startTime": START}),
                vec![
                    r#"status.startTime: Invalid value: "2025-01-01T01:00:00Z": field is immutable for unsuspended job once set"#,
                ],
            ),
        ] {
            assert_eq!(faults(json!({}), new, old), expected);
        }
    }

    #[test]
    fn indexes_are_in_order_and_apart() {
        let spec = json!({"completionMode": "Indexed", "completions": 5, "backoffLimitPerIndex": 1});
        for (new, expected) in [
            (json!({"completedIndexes": "0,2-3", "failedIndexes": "1,4"}), vec![]),
            (
                json!({"completedIndexes": "0-1-2"}),
                vec![
                    r#"status.completedIndexes: Invalid value: "0-1-2": error parsing completedIndexes: the fragment "0-1-2" violates the requirement that an index interval can have at most two parts separated by '-'"#,
                ],
            ),
            (
                json!({"completedIndexes": "0,2-4", "failedIndexes": "1,3-4"}),
                vec![
                    r#"status.failedIndexes: Invalid value: "1,3-4": failedIndexes and completedIndexes overlap at index: 3"#,
                ],
            ),
        ] {
            assert_eq!(faults(spec.clone(), new, json!({})), expected);
        }
    }
}
