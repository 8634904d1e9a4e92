//! CronJobs: `cronjobs` of `batch/v1`.

use api_types::{
    cron::{Schedule, time_zone},
    field::{Fault, Faults, Path},
};
use k8s_openapi::api::{
    batch::v1::{CronJob, CronJobSpec},
    core::v1::PodTemplateSpec,
};

use super::jobs::spec as job_spec;
use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{
        optional::{Switch, Text, negative, one_of, same},
        pod_spec::Rules,
        pod_template, selectors, workloads,
    },
};

/// How long a name may be, so that names of Jobs made of it fit: they end in a hyphen and ten digits.
const NAME_LENGTH_MAX: usize = 52;
const TIME_ZONE_PART_LENGTH_MAX: usize = 14;
const POLICIES: [&str; 3] = ["Allow", "Forbid", "Replace"];

/// The strategy of CronJobs.
pub(crate) struct CronJobs;

impl Strategy for CronJobs {
    type Object = CronJob;

    const NAMES: Names = Names {
        group: "batch",
        version: "v1",
        kind: "CronJob",
        plural: "cronjobs",
        singular: "cronjob",
        short: &["cj"],
        categories: &["all"],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
    const REJUDGES_METADATA: bool = false;

    fn default(cron_job: &mut CronJob) {
        let spec = &mut cron_job.spec;
        job_spec::default(spec.job_template.spec.get_or_insert_default());
        spec.concurrency_policy.or_set("Allow");
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
    }

    fn prepare_for_create(_cx: &Context<'_>, cron_job: &mut CronJob) {
        cron_job.status = None;
        pod_template::prepare(template_mut(cron_job), None);
    }

    fn validate(cx: &Context<'_>, cron_job: &CronJob) -> Faults {
        let mut faults = validate_spec(cron_job, None, &Rules::default().under(cx));
        let name = cron_job.metadata.name.text();
        if name.len() > NAME_LENGTH_MAX {
            faults.push(Fault::invalid(
                &Path::new("metadata.name"),
                name,
                format!("must be no more than {NAME_LENGTH_MAX} characters"),
            ));
        }
        faults
    }

    fn prepare_for_update(_cx: &Context<'_>, cron_job: &mut CronJob, old: &CronJob) {
        pod_template::prepare(template_mut(cron_job), template(old));
    }

    fn validate_update(cx: &Context<'_>, cron_job: &CronJob, old: &CronJob) -> Faults {
        validate_spec(cron_job, Some(&old.spec), &pod_template::rules(template(old)).under(cx))
    }

    fn warnings(_cx: &Context<'_>, cron_job: &CronJob, old: Option<&CronJob>) -> Vec<String> {
        let path = Path::new("spec.jobTemplate.spec");
        let of_job = || {
            let job = cron_job.spec.job_template.spec.as_ref();
            job.map(|job| job_spec::warnings(job, &path)).unwrap_or_default()
        };
        let Some(old) = old else {
            let name = workloads::name_warning(cron_job.metadata.name.as_deref());
            return name.into_iter().chain(of_job()).collect();
        };
        let mut warnings = if same(&cron_job.spec, &old.spec) { Vec::new() } else { of_job() };
        if cron_job.spec.schedule.contains("TZ") {
            // The path is wrong upstream, and known so.
            warnings.push(
                "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned(),
            );
        }
        warnings
    }
}

fn template(cron_job: &CronJob) -> Option<&PodTemplateSpec> {
    Some(&cron_job.spec.job_template.spec.as_ref()?.template)
}

fn template_mut(cron_job: &mut CronJob) -> &mut PodTemplateSpec {
    let template = &mut cron_job.spec.job_template;
    &mut template.spec.get_or_insert_default().template
}

fn validate_spec(cron_job: &CronJob, old: Option<&CronJobSpec>, rules: &Rules) -> Faults {
    let spec = &cron_job.spec;
    let path = Path::new("spec");
    let schedule_path = path.child("schedule");
    let mut faults = match spec.schedule.as_str() {
        "" => vec![Fault::required(&schedule_path, "")],
        schedule => {
            let had_zone = old.is_some_and(|old| old.schedule.contains("TZ"));
            schedule_faults(schedule, had_zone, spec.time_zone.is_some(), &schedule_path)
        }
    };
    let count = |field: &str, count: Option<i64>| negative(&path.child(field), count.unwrap_or_default());
    faults.extend(count("startingDeadlineSeconds", spec.starting_deadline_seconds));
    if old.is_none_or(|old| old.time_zone != spec.time_zone)
        && let Some(zone) = &spec.time_zone
    {
        faults.extend(zone_faults(zone, &path.child("timeZone")));
    }
    faults.extend(match spec.concurrency_policy.text() {
        "" => Some(Fault::required(&path.child("concurrencyPolicy"), "")),
        policy => one_of(&path.child("concurrencyPolicy"), policy, &POLICIES),
    });
    if let Some(job) = &spec.job_template.spec {
        let path = path.child("jobTemplate.spec");
        faults.extend(job_spec::validate(job, rules, &path));
        if let Some(selector) = &job.selector {
            faults.push(Fault::invalid(
                &path.child("selector"),
                selectors::printed(selector),
                "`selector` will be auto-generated",
            ));
        }
        if job.manual_selector.is_on() {
            faults.push(Fault::not_supported(&path.child("manualSelector"), true, &["nil", "false"]));
        }
    }
    faults.extend(count("successfulJobsHistoryLimit", spec.successful_jobs_history_limit.map(i64::from)));
    faults.extend(count("failedJobsHistoryLimit", spec.failed_jobs_history_limit.map(i64::from)));
    faults
}

/// Faults of a schedule. Those of old that name a zone may go on doing so, unless there is a field for it as well.
fn schedule_faults(schedule: &str, had_zone: bool, has_field: bool, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if let Err(error) = Schedule::parse(schedule) {
        faults.push(Fault::invalid(path, schedule, error.to_string()));
    }
    if schedule.contains("TZ") {
        let why = match (had_zone, has_field) {
            (true, false) => return faults,
            (true, true) => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
            (false, _) => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        };
        faults.push(Fault::invalid(path, schedule, why));
    }
    faults
}

fn zone_faults(zone: &str, path: &Path) -> Faults {
    if zone.is_empty() {
        return vec![Fault::invalid(path, zone, "timeZone must be nil or non-empty string")];
    }
    let is_part = |part: &str| {
        (1..=TIME_ZONE_PART_LENGTH_MAX).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte))
    };
    if !zone.split('/').all(is_part) {
        return vec![Fault::invalid(path, zone, format!("unknown time zone {zone}"))];
    }
    let mut faults = Vec::new();
    if zone.eq_ignore_ascii_case("Local") {
        faults.push(Fault::invalid(
            path,
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        ));
    }
    if let Err(error) = time_zone(zone) {
        faults.push(Fault::invalid(path, zone, error.to_string()));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::shared::testing::{check_create, check_update, defaulted};

    fn cron_job(more: Value) -> Value {
        let mut spec = json!({
            "schedule": "* * * * *",
            "jobTemplate": {"spec": {"template": {"spec": {
                "containers": [{"name": "c", "image": "i"}],
                "restartPolicy": "Never",
            }}}},
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"metadata": {"name": "c", "namespace": "default"}, "spec": spec})
    }

    #[test]
    fn defaults_are_upstreams() {
        let mut spec = serde_json::to_value(defaulted::<CronJobs>(cron_job(json!({}))).spec).unwrap();
        let job = spec["jobTemplate"].take();
        assert_eq!(
            spec,
            json!({
                "schedule": "* * * * *", "concurrencyPolicy": "Allow", "suspend": false, "jobTemplate": null,
                "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
            })
        );
        assert_eq!(job["spec"].get("parallelism"), None, "a job's own defaults come with the job");
        assert_eq!(job["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
    }

    #[test]
    fn faults_of_new_cron_jobs_are_upstreams() {
        for (more, expected) in [
            (json!({}), vec![]),
            (json!({"timeZone": "Europe/Berlin"}), vec![]),
            (json!({"schedule": ""}), vec!["spec.schedule: Required value"]),
            (
                json!({"schedule": "* * * *"}),
                vec![
                    r#"spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]"#,
                ],
            ),
            (
                json!({"schedule": "TZ=UTC * * * * *"}),
                vec![
                    r#"spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"#,
                ],
            ),
            (
                json!({"timeZone": ""}),
                vec![r#"spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string"#],
            ),
            (
                json!({"timeZone": "Middle/Earth"}),
                vec![r#"spec.timeZone: Invalid value: "Middle/Earth": unknown time zone Middle/Earth"#],
            ),
            (
                json!({"timeZone": "../UTC"}),
                vec![r#"spec.timeZone: Invalid value: "../UTC": unknown time zone ../UTC"#],
            ),
            (
                json!({"timeZone": "local"}),
                vec![
                    r#"spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"#,
                    r#"spec.timeZone: Invalid value: "local": unknown time zone local"#,
                ],
            ),
            (
                json!({"concurrencyPolicy": "Maybe", "startingDeadlineSeconds": -1}),
                vec![
                    "spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
                    r#"spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace""#,
                ],
            ),
            (
                json!({"jobTemplate": {"spec": {
                    "manualSelector": true,
                    "selector": {"matchLabels": {"a": "b"}},
                    "template": {"spec": {
                        "containers": [{"name": "c", "image": "i"}],
                        "restartPolicy": "Never",
                    }},
                }}}),
                vec![
                    r#"spec.jobTemplate.spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: `selector` will be auto-generated"#,
                    r#"spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false""#,
                ],
            ),
        ] {
            assert_eq!(check_create::<CronJobs>(cron_job(more.clone())), expected, "{more}");
        }
    }

    #[test]
    fn a_name_leaves_room_for_the_names_of_jobs() {
        let mut object = cron_job(json!({}));
        object["metadata"]["name"] = json!("c".repeat(53));
        assert_eq!(
            check_create::<CronJobs>(object.clone()),
            [format!(
                r#"metadata.name: Invalid value: "{}": must be no more than 52 characters"#,
                "c".repeat(53)
            )]
        );
        assert_eq!(check_update::<CronJobs>(object.clone(), object), Vec::<String>::new());
    }

    #[test]
    fn schedules_that_name_a_zone_may_go_on() {
        let with_zone = || cron_job(json!({"schedule": "TZ=UTC 1 * * * *"}));
        assert_eq!(
            check_update::<CronJobs>(cron_job(json!({"schedule": "TZ=UTC 2 * * * *"})), with_zone()),
            Vec::<String>::new()
        );
        assert_eq!(
            check_update::<CronJobs>(
                cron_job(json!({"schedule": "TZ=UTC 2 * * * *", "timeZone": "UTC"})),
                with_zone()
            ),
            [
                r#"spec.schedule: Invalid value: "TZ=UTC 2 * * * *": cannot use both timeZone field and TZ or CRON_TZ in schedule"#
            ]
        );
    }
}
