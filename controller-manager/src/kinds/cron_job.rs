//! A CronJob, as far as controllers look at it.

use std::sync::Arc;

use client::{Kind, Meta, Resource, events::ObjectRef, meta::null_is_default, resource};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

/// A CronJob.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CronJob {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: CronJobSpec,
    /// What is.
    pub status: CronJobStatus,
}

/// What is wanted of a CronJob.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobSpec {
    /// When a Job is made.
    pub schedule: Box<str>,
    /// Whose time the schedule keeps.
    pub time_zone: Option<Box<str>>,
    /// No Job is made for now.
    pub suspend: Option<bool>,
    /// `Allow`, `Forbid` or `Replace` Jobs that are still active.
    pub concurrency_policy: Box<str>,
    /// A Job that is late by more seconds is not made.
    pub starting_deadline_seconds: Option<i64>,
    /// So many Jobs that succeeded are kept.
    pub successful_jobs_history_limit: Option<usize>,
    /// So many Jobs that failed are kept.
    pub failed_jobs_history_limit: Option<usize>,
    /// What a Job looks like.
    pub job_template: JobTemplate,
}

/// What a Job looks like: the bytes it came in.
#[derive(Clone, Debug)]
pub struct JobTemplate(Arc<str>);

/// How a CronJob is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobStatus {
    /// Its Jobs that are not over.
    #[serde(deserialize_with = "null_is_default")]
    pub active: Vec<ObjectRef>,
    /// For what time a Job was made last.
    pub last_schedule_time: Option<Timestamp>,
    /// When a Job succeeded last.
    pub last_successful_time: Option<Timestamp>,
}

impl Kind for CronJob {
    const RESOURCE: Resource = resource::CRON_JOBS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

// === impl JobTemplate ===

impl Default for JobTemplate {
    fn default() -> Self {
        Self("{}".into())
    }
}

impl<'de> Deserialize<'de> for JobTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Box::<RawValue>::deserialize(deserializer)?.get().into()))
    }
}

impl JobTemplate {
    /// The whole template.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}
