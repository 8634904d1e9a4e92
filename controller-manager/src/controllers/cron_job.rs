//! CronJob: a Job at every time its schedule names.
//!
//! A Job's name is that of its CronJob and the minute it was made for, so that none is made twice. It is entered among the
//! active ones when it is seen, by its name and the time it carries; so an interrupted look needs no repair.
//!
//! Schedules keep UTC unless they, or the CronJob, name a zone.

mod schedule;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::{
    cron::{self, Schedule},
    object::{ObjectExt, object_at},
};
use client::{
    Caches, Controller, Key, Kind, Owner, Plan, Triggers, Write,
    controller::{DeleteOptions, Preconditions, Propagation, Report, Request},
    events::{Note, ObjectRef},
    meta::time,
    resource::{CRON_JOBS, JOBS},
};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use self::schedule::{Due, Missed};
use crate::kinds::{CronJob, Job, cron_job::CronJobStatus};

/// The time a Job was made for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Keeps CronJobs.
#[derive(Debug)]
pub struct CronJobs;

/// All that matters to a CronJob.
#[derive(Debug)]
pub struct Observed {
    root: Arc<CronJob>,
    jobs: Vec<Arc<Job>>,
}

/// A CronJob in the course of a look.
struct Work<'a> {
    root: &'a CronJob,
    about: ObjectRef,
    now: Timestamp,
    status: CronJobStatus,
    plan: Plan,
}

// === impl CronJobs ===

impl Controller for CronJobs {
    type Root = CronJob;
    type Observed = Observed;
    const NAME: &'static str = "cronjob-controller";

    fn triggers(&self, on: &mut Triggers<CronJob>) {
        on.root().owned::<Job>();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let root = caches.read::<CronJob>().get(root)?;
        let jobs = caches.read::<Job>().controlled_by(&root.metadata.uid);
        Some(Observed { root, jobs })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let root = &*observed.root;
        let mut work = Work {
            root,
            about: ObjectRef::to(root),
            now,
            status: root.status.clone(),
            plan: Plan::because("it is not time yet"),
        };
        work.clean_up(&observed.jobs);
        work.follow(&observed.jobs);
        if root.metadata.is_terminating() {
            work.plan.why = "the CronJob is being deleted".into();
        } else {
            work.start(&observed.jobs);
        }
        work.finish()
    }
}

/// The time a Job was made for, if this controller made it.
fn scheduled_for(root: &CronJob, job: &Job) -> Option<Timestamp> {
    let at: Timestamp = job.metadata.annotations.get(SCHEDULED)?.parse().ok()?;
    (*job.metadata.name == *job_name(root, at)).then_some(at)
}

fn job_name(root: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", root.metadata.name, at.as_second() / 60)
}

impl Work<'_> {
    fn event(&mut self, note: Note) {
        self.plan.writes.push(Write::event(self.about.clone(), note));
    }

    /// Jobs that are over go, the oldest first, until only as many are left as shall be kept.
    fn clean_up(&mut self, jobs: &[Arc<Job>]) {
        let limits = [
            ("Complete", self.root.spec.successful_jobs_history_limit),
            ("Failed", self.root.spec.failed_jobs_history_limit),
        ];
        for (which, limit) in limits {
            let Some(limit) = limit else { continue };
            let is = |job: &&Arc<Job>| job.finished().is_some_and(|over| over.r#type == which);
            let mut over: Vec<&Arc<Job>> = jobs.iter().filter(is).collect();
            over.sort_by_key(|job| {
                let start = job.status.start_time;
                (start.is_none(), start, Arc::clone(&job.metadata.name))
            });
            let surplus = over.len().saturating_sub(limit);
            for job in over.into_iter().take(surplus).filter(|job| !job.metadata.is_terminating()) {
                self.delete(job);
            }
        }
    }

    fn delete(&mut self, job: &Job) {
        let options = DeleteOptions {
            propagation_policy: Some(Propagation::Background),
            preconditions: Preconditions::uid(&job.metadata.uid),
            ..DeleteOptions::default()
        };
        let report = Report {
            about: self.about.clone(),
            done: Some(Note::normal("SuccessfulDelete", "Deleted job {name}")),
            failed: Some(Note::warning("FailedDelete", "Deleted job: {error}")),
        };
        self.plan.writes.push(Request::delete_with(JOBS, job.key(), options).reporting(report).into());
        self.status.active.retain(|active| *active.uid != *job.metadata.uid);
    }

    /// Brings the list of active Jobs and the times up to date with the Jobs there are.
    fn follow(&mut self, jobs: &[Arc<Job>]) {
        for job in jobs {
            let (uid, name) = (&job.metadata.uid, &job.metadata.name);
            let listed = self.status.active.iter().any(|active| *active.uid == **uid);
            let scheduled = scheduled_for(self.root, job);
            if let Some(at) = scheduled {
                self.status.last_schedule_time = self.status.last_schedule_time.max(Some(at));
            }
            let Some(over) = job.finished() else {
                if !listed && scheduled.is_some() && !job.metadata.is_terminating() {
                    self.status.active.push(ObjectRef::to(&**job));
                } else if !listed && scheduled.is_none() {
                    let message = format!("Saw a job that the controller did not create or forgot: {name}");
                    self.event(Note::warning("UnexpectedJob", message));
                }
                continue;
            };
            if listed {
                self.status.active.retain(|active| *active.uid != **uid);
                let message = format!("Saw completed job: {name}, condition: {}", over.r#type);
                self.event(Note::normal("SawCompletedJob", message));
            }
            if over.r#type == "Complete" {
                self.status.last_successful_time =
                    self.status.last_successful_time.max(job.status.completion_time);
            }
        }
        let missing = |active: &ObjectRef| !jobs.iter().any(|job| *job.metadata.uid == *active.uid);
        let (gone, active) = std::mem::take(&mut self.status.active).into_iter().partition(missing);
        self.status.active = active;
        for job in gone {
            self.event(Note::normal("MissingJob", format!("Active job went missing: {}", job.name)));
        }
    }

    /// Makes a Job if one is due.
    fn start(&mut self, jobs: &[Arc<Job>]) {
        let spec = &self.root.spec;
        let zone = match spec.time_zone.as_deref().map(cron::time_zone) {
            None => TimeZone::UTC,
            Some(Ok(zone)) => zone,
            Some(Err(error)) => {
                let name = spec.time_zone.as_deref().unwrap_or_default();
                self.event(Note::warning("UnknownTimeZone", format!("invalid timeZone: {name:?}: {error}")));
                self.plan.why = "the time zone is unknown".into();
                return;
            }
        };
        if spec.suspend == Some(true) {
            self.plan.why = "the CronJob is suspended".into();
            return;
        }
        if spec.schedule.contains("TZ") {
            let message = format!(
                "CRON_TZ or TZ used in schedule {:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                spec.schedule
            );
            self.event(Note::warning("UnsupportedSchedule", message));
        }
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                let message = format!("unparseable schedule: {:?} : {error}", spec.schedule);
                self.event(Note::warning("UnparseableSchedule", message));
                self.plan.why = "the schedule cannot be read".into();
                return;
            }
        };
        let Some(created) = self.root.metadata.creation_timestamp else { return };
        let due = Due { schedule: &schedule, zone: &zone, now: self.now };
        let last = self.status.last_schedule_time.unwrap_or(created);
        self.start_if_due(&due, last, jobs);
        // A Job that was just made counts: the next one comes after it.
        let last = self.status.last_schedule_time.unwrap_or(created);
        if let Some(wait) = due.next_look(last) {
            self.plan = std::mem::replace(&mut self.plan, Plan::because("")).look_again(wait);
        }
    }

    fn start_if_due(&mut self, due: &Due<'_>, last: Timestamp, jobs: &[Arc<Job>]) {
        let spec = &self.root.spec;
        let deadline = spec.starting_deadline_seconds.map(jiff::SignedDuration::from_secs);
        let earliest =
            deadline.and_then(|deadline| self.now.checked_sub(deadline).ok()).map_or(last, |it| it.max(last));
        let (at, missed) = match due.latest(earliest) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => {
                let message = format!("invalid schedule: {} : {error}", spec.schedule);
                self.event(Note::warning("InvalidSchedule", message));
                return;
            }
        };
        if missed == Missed::Many {
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.event(Note::warning("TooManyMissedTimes", message));
        }
        if deadline.is_some_and(|deadline| self.now.duration_since(at) > deadline) {
            let at = at.strftime("%a, %d %b %Y %H:%M:%S +0000");
            self.event(Note::warning("MissSchedule", format!("Missed scheduled time to start a job: {at}")));
            self.plan.why = "it is too late for the last scheduled time".into();
            return;
        }
        let name = job_name(self.root, at);
        if self.status.active.iter().any(|active| active.name == name)
            || self.status.last_schedule_time == Some(at)
        {
            return;
        }
        if &*spec.concurrency_policy == "Forbid" && !self.status.active.is_empty() {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            self.event(Note::normal("JobAlreadyActive", message));
            self.plan.why = "the last Job still runs, and another one is forbidden".into();
            return;
        }
        if &*spec.concurrency_policy == "Replace" {
            for active in self.status.active.clone() {
                if let Some(job) = jobs.iter().find(|job| *job.metadata.uid == *active.uid) {
                    self.delete(job);
                }
            }
        }
        let report = Report {
            about: self.about.clone(),
            done: Some(Note::normal("SuccessfulCreate", "Created job {name}")),
            failed: Some(Note::warning("FailedCreate", "Error creating job: {error}")),
        };
        let create =
            Request::create(JOBS, &self.root.metadata.namespace, job(self.root, &name, at, due.zone));
        // One of this name is this one, or stands in its place.
        self.plan.writes.push(create.conflict_is_fine().reporting(report).into());
        self.plan.why = format!("a Job is due since {}", time(at)).into();
        self.status.last_schedule_time = Some(at);
    }

    fn finish(self) -> Plan {
        let Self { root, status, plan, .. } = self;
        if status == root.status {
            return plan;
        }
        let active = if status.active.is_empty() { Value::Null } else { json!(status.active) };
        let told = json!({
            "active": active,
            "lastScheduleTime": status.last_schedule_time.map(time),
            "lastSuccessfulTime": status.last_successful_time.map(time),
        });
        plan.then(Request::status(CRON_JOBS, root.key(), told).if_same(&root.metadata.uid))
    }
}

fn job(root: &CronJob, name: &str, at: Timestamp, zone: &TimeZone) -> Value {
    let template = root.spec.job_template.to_value();
    let mut job = json!({"metadata": {"name": name, "namespace": root.metadata.namespace}, "spec": template.get("spec")});
    for field in ["labels", "annotations"] {
        if let Some(value) = template.meta().and_then(|meta| meta.get(field)).filter(|value| !value.is_null())
        {
            job.set_meta(field, value.clone());
        }
    }
    let at = if *zone == TimeZone::UTC {
        time(at)
    } else {
        at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    };
    object_at(job.meta_mut(), "annotations").insert(SCHEDULED.to_owned(), at.into());
    job.set_meta("ownerReferences", json!([Owner::controller_of(&CRON_JOBS, &root.metadata)]));
    job
}
