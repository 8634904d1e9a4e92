//! Jobs and cron jobs.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJobSpec, CronJobStatus, JobSpec, JobStatus};
use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, boolean, integer, of, says, text, wide},
    core::{CONTAINERS, IMAGES},
    human,
    read::{self, ObjectExt as _, age, at, containers, count, is_true, list, optional_text},
    selector,
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    Some(match resource {
        "cronjobs" => &CRON_JOBS,
        "jobs" => &JOBS,
        _ => return None,
    })
}

static CRON_JOBS: TableDef = TableDef::new(
    &[
        NAME,
        text("Schedule", of::<CronJobSpec>("schedule")),
        text("Timezone", of::<CronJobSpec>("timeZone")),
        boolean("Suspend", of::<CronJobSpec>("suspend")),
        integer("Active", of::<CronJobStatus>("active")),
        text("Last Schedule", of::<CronJobStatus>("lastScheduleTime")),
        AGE,
        CONTAINERS,
        IMAGES,
        wide("Selector", of::<JobSpec>("selector")),
    ],
    |cron, now| {
        let suspend = match at(cron, "spec.suspend").as_bool() {
            None => "<unset>",
            Some(true) => "True",
            Some(false) => "False",
        };
        let last = match read::text(cron, "status.lastScheduleTime") {
            "" => "<none>".to_owned(),
            last => human::since(last, now),
        };
        let job = at(cron, "spec.jobTemplate.spec");
        let (names, images) = containers(list(job, "template.spec.containers"));
        vec![
            cron.name().into(),
            read::text(cron, "spec.schedule").into(),
            optional_text(cron, "spec.timeZone", "<none>").into(),
            suspend.into(),
            count(cron, "status.active").into(),
            last.into(),
            age(cron, now),
            names,
            images,
            selector::selector_or_none(at(job, "selector")).into(),
        ]
    },
);

static JOBS: TableDef = TableDef::new(
    &[
        NAME,
        text("Status", says("Status of the job.")),
        text("Completions", of::<JobStatus>("succeeded")),
        text("Duration", says("Time required to complete the job.")),
        AGE,
        CONTAINERS,
        IMAGES,
        wide("Selector", of::<JobSpec>("selector")),
    ],
    |job, now| {
        let (names, images) = containers(list(job, "spec.template.spec.containers"));
        vec![
            job.name().into(),
            state(job).into(),
            completions(job).into(),
            duration(job, now).into(),
            age(job, now),
            names,
            images,
            selector::selector_or_none(at(job, "spec.selector")).into(),
        ]
    },
);

fn state(job: &Value) -> &'static str {
    let conditions = list(job, "status.conditions");
    if is_true(conditions, "Complete") {
        "Complete"
    } else if is_true(conditions, "Failed") {
        "Failed"
    } else if job.is_terminating() {
        "Terminating"
    } else if is_true(conditions, "Suspended") {
        "Suspended"
    } else if is_true(conditions, "FailureTarget") {
        "FailureTarget"
    } else if is_true(conditions, "SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> String {
    let done = read::integer(job, "status.succeeded");
    match (at(job, "spec.completions").as_i64(), read::integer(job, "spec.parallelism")) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{done}/1 of {parallel}"),
        (None, _) => format!("{done}/1"),
    }
}

fn duration(job: &Value, now: Timestamp) -> String {
    match (read::text(job, "status.startTime"), read::text(job, "status.completionTime")) {
        ("", _) => String::new(),
        (start, "") => human::since(start, now),
        (start, end) => human::between(start, end),
    }
}
