//! A Job, as far as controllers look at it.

use api_types::selectors::labels::Selector;
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    claim::Selects,
    conditions::{self, Condition},
    template::Template,
};

/// A Job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Job {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: JobSpec,
    /// What is.
    pub status: JobStatus,
}

/// What is wanted of a Job.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    /// So many Pods at a time; 1 if nobody says otherwise.
    pub parallelism: Option<i32>,
    /// So many Pods shall succeed; if `None` one success is enough and the others may finish.
    pub completions: Option<i32>,
    /// `NonIndexed` or `Indexed`.
    pub completion_mode: Option<Box<str>>,
    /// More failed Pods than this fail the Job; 6 if nobody says otherwise.
    pub backoff_limit: Option<i32>,
    /// So many failed Pods fail their index.
    pub backoff_limit_per_index: Option<i32>,
    /// More failed indexes than this fail the Job.
    pub max_failed_indexes: Option<i32>,
    /// The Job may be active for so many seconds.
    pub active_deadline_seconds: Option<i64>,
    /// No Pod shall run for now.
    pub suspend: Option<bool>,
    /// `Failed` if a Pod is replaced only once it has ended, `TerminatingOrFailed` if at once.
    pub pod_replacement_policy: Option<Box<str>>,
    /// What a failed Pod means for the Job.
    pub pod_failure_policy: Option<PodFailurePolicy>,
    /// Which successes are enough.
    pub success_policy: Option<SuccessPolicy>,
    /// The controller that is responsible, if not this one.
    pub managed_by: Option<Box<str>>,
    /// A finished Job goes after so many seconds.
    pub ttl_seconds_after_finished: Option<i32>,
    /// Which Pods are its own.
    #[serde(deserialize_with = "client::meta::selector")]
    pub selector: Selector,
    /// What a Pod looks like.
    pub template: Template,
}

/// What a failed Pod means for the Job (KEP-3329).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodFailurePolicy {
    /// The first rule that matches counts.
    #[serde(deserialize_with = "null_is_default")]
    pub rules: Vec<PodFailureRule>,
}

/// A rule for failed Pods.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodFailureRule {
    /// `Ignore`, `FailIndex`, `Count` or `FailJob`.
    pub action: Box<str>,
    /// Matches how containers ended.
    pub on_exit_codes: Option<OnExitCodes>,
    /// Matches conditions of the Pod.
    pub on_pod_conditions: Option<Vec<OnPodCondition>>,
}

/// Matches how containers ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OnExitCodes {
    /// Which container; any if `None`.
    pub container_name: Option<Box<str>>,
    /// `In` or `NotIn`.
    pub operator: Box<str>,
    /// The exit codes.
    #[serde(deserialize_with = "null_is_default")]
    pub values: Vec<i32>,
}

/// Matches a condition of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OnPodCondition {
    /// Which one.
    pub r#type: Box<str>,
    /// Its status; `True` if nobody says otherwise.
    pub status: Box<str>,
}

/// Which successes are enough (KEP-3998).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SuccessPolicy {
    /// One that is met is enough.
    #[serde(deserialize_with = "null_is_default")]
    pub rules: Vec<SuccessRule>,
}

/// Successes that are enough.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessRule {
    /// Of these indexes; all, or as many as are counted.
    pub succeeded_indexes: Option<Box<str>>,
    /// So many.
    pub succeeded_count: Option<i32>,
}

/// How a Job is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// What is remarkable.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
    /// Since when it is active.
    pub start_time: Option<Timestamp>,
    /// When it succeeded.
    pub completion_time: Option<Timestamp>,
    /// How many Pods are pending or run.
    pub active: i32,
    /// How many Pods have succeeded and are counted.
    pub succeeded: i32,
    /// How many Pods have failed and are counted.
    pub failed: i32,
    /// How many active Pods are ready.
    pub ready: Option<i32>,
    /// How many Pods are on their way out.
    pub terminating: Option<i32>,
    /// Which indexes have succeeded.
    #[serde(deserialize_with = "null_is_default")]
    pub completed_indexes: String,
    /// Which indexes have failed.
    pub failed_indexes: Option<String>,
    /// Finished Pods that keep their finalizer until they are counted.
    pub uncounted_terminated_pods: Option<Uncounted>,
}

/// Finished Pods, by uid, that keep their finalizer until they are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Uncounted {
    /// Those that succeeded.
    #[serde(deserialize_with = "null_is_default")]
    pub succeeded: Vec<Box<str>>,
    /// Those that failed.
    #[serde(deserialize_with = "null_is_default")]
    pub failed: Vec<Box<str>>,
}

// === impl Job ===

impl Kind for Job {
    const RESOURCE: Resource = resource::JOBS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Selects for Job {
    fn selector(&self) -> &Selector {
        &self.spec.selector
    }
}

impl Default for JobSpec {
    fn default() -> Self {
        Self {
            parallelism: None,
            completions: None,
            completion_mode: None,
            backoff_limit: None,
            backoff_limit_per_index: None,
            max_failed_indexes: None,
            active_deadline_seconds: None,
            suspend: None,
            pod_replacement_policy: None,
            pod_failure_policy: None,
            success_policy: None,
            managed_by: None,
            ttl_seconds_after_finished: None,
            selector: Selector::nothing(),
            template: Template::default(),
        }
    }
}

impl Job {
    /// It has succeeded or failed, for good; the condition that says so.
    pub fn finished(&self) -> Option<&Condition> {
        let conditions = &self.status.conditions;
        ["Complete", "Failed"].into_iter().find_map(|which| {
            conditions::find(conditions, which).filter(|condition| condition.status == "True")
        })
    }

    /// Another controller is responsible for it.
    pub fn is_foreign(&self) -> bool {
        self.spec.managed_by.as_deref().is_some_and(|by| by != "kubernetes.io/job-controller")
    }

    /// Its Pods have indexes.
    pub fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    /// No Pod shall run for now.
    pub fn is_suspended(&self) -> bool {
        self.spec.suspend.unwrap_or_default()
    }

    /// A Pod is replaced only once it has ended.
    pub fn replaces_failed_only(&self) -> bool {
        self.spec.pod_replacement_policy.as_deref() == Some("Failed")
            || self.spec.pod_failure_policy.is_some()
    }

    /// How many indexes there are.
    pub fn indexes(&self) -> i32 {
        self.spec.completions.unwrap_or(1)
    }
}
