//! Goal: a Job for every time, once, as the policies allow. Method: a CronJob and its Jobs as data.

use client::controller::Verb;

use super::*;

fn root(spec: &Value, status: &Value) -> CronJob {
    let mut root = json!({
        "metadata": {"namespace": "ns", "name": "tick", "uid": "c", "creationTimestamp": "2026-01-01T00:00:30Z"},
        "spec": {"schedule": "*/5 * * * *", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}},
        "status": status,
    });
    for (name, value) in spec.as_object().unwrap() {
        root["spec"][name] = value.clone();
    }
    serde_json::from_value(root).unwrap()
}

/// A Job made for a time; `state` is the condition it ended with, if any.
fn made(at: &str, state: &str) -> Arc<Job> {
    let at: Timestamp = at.parse().unwrap();
    let name = format!("tick-{}", at.as_second() / 60);
    let conditions = if state.is_empty() { json!([]) } else { json!([{"type": state, "status": "True"}]) };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": name, "uid": name, "annotations": {SCHEDULED: time(at)}},
            "status": {"startTime": time(at), "completionTime": time(at), "conditions": conditions},
        }))
        .unwrap(),
    )
}

fn active(job: &Job) -> Value {
    json!({"active": [ObjectRef::to(job)], "lastScheduleTime": job.metadata.annotations.get(SCHEDULED)})
}

fn decide(root: CronJob, jobs: Vec<Arc<Job>>, now: &str) -> Plan {
    CronJobs.reconcile(&Observed { root: Arc::new(root), jobs }, now.parse().unwrap())
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.writes
        .iter()
        .map(|write| match write {
            Write::Request(request) => match &request.verb {
                Verb::Create(_) => format!("create {}", request.key.name),
                Verb::Delete(_) => format!("delete {}", request.key.name),
                Verb::Merge(document) => {
                    let status = &document["status"];
                    let active = status["active"].as_array().map_or(0, Vec::len);
                    format!("{active} active, last {}", status["lastScheduleTime"]).replace('"', "")
                }
                other => panic!("{other:?}"),
            },
            Write::Event { note, .. } => format!("event {}", note.reason),
            Write::Batch { .. } => "batch".to_owned(),
        })
        .collect()
}

#[test]
fn a_job_is_made_for_the_latest_time_that_is_due() {
    for (why, spec, status, now, expected, look) in [
        ("not yet", json!({}), json!({}), "2026-01-01T00:04:00Z", vec![], Some(60_100)),
        (
            "it is time",
            json!({}),
            json!({}),
            "2026-01-01T00:05:00.1Z",
            vec!["create tick-29453765", "0 active, last 2026-01-01T00:05:00Z"],
            Some(300_000),
        ),
        (
            "several were missed: the latest counts",
            json!({}),
            json!({}),
            "2026-01-01T01:01:00Z",
            vec!["create tick-29453820", "0 active, last 2026-01-01T01:00:00Z"],
            Some(240_100),
        ),
        (
            "very many were missed",
            json!({}),
            json!({}),
            "2026-01-02T00:01:00Z",
            vec!["event TooManyMissedTimes", "create tick-29455200", "0 active, last 2026-01-02T00:00:00Z"],
            Some(240_100),
        ),
        (
            "too late to begin",
            json!({"startingDeadlineSeconds": 30}),
            json!({}),
            "2026-01-01T00:06:00Z",
            vec![],
            Some(240_100),
        ),
        ("suspended", json!({"suspend": true}), json!({}), "2026-01-01T00:06:00Z", vec![], None),
        (
            "no schedule",
            json!({"schedule": "often"}),
            json!({}),
            "2026-01-01T00:06:00Z",
            vec!["event UnparseableSchedule"],
            None,
        ),
        (
            "no zone",
            json!({"timeZone": "Nowhere/Land"}),
            json!({}),
            "2026-01-01T00:06:00Z",
            vec!["event UnknownTimeZone"],
            None,
        ),
        (
            "done for this time",
            json!({}),
            json!({"lastScheduleTime": "2026-01-01T00:05:00Z"}),
            "2026-01-01T00:06:00Z",
            vec![],
            Some(240_100),
        ),
    ] {
        let plan = decide(root(&spec, &status), vec![], now);
        assert_eq!(lines(&plan), expected, "{why}");
        assert_eq!(plan.look_again.map(|wait| wait.as_millis()), look, "{why}");
    }
}

#[test]
fn what_still_runs_is_allowed_forbids_or_is_replaced() {
    let running = made("2026-01-01T00:05:00Z", "");
    for (policy, expected) in [
        ("Allow", vec!["create tick-29453770", "1 active, last 2026-01-01T00:10:00Z"]),
        ("Forbid", vec!["event JobAlreadyActive"]),
        (
            "Replace",
            vec!["delete tick-29453765", "create tick-29453770", "0 active, last 2026-01-01T00:10:00Z"],
        ),
    ] {
        let root = root(&json!({"concurrencyPolicy": policy}), &active(&running));
        let plan = decide(root, vec![Arc::clone(&running)], "2026-01-01T00:10:01Z");
        assert_eq!(lines(&plan), expected, "{policy}");
    }
}

#[test]
fn jobs_are_followed_from_their_making_to_their_end() {
    let running = made("2026-01-01T00:05:00Z", "");
    let now = "2026-01-01T00:05:01Z";
    let seen = decide(root(&json!({}), &json!({})), vec![Arc::clone(&running)], now);
    assert_eq!(
        lines(&seen),
        ["1 active, last 2026-01-01T00:05:00Z"],
        "one that was made is entered when it is seen"
    );
    let done =
        decide(root(&json!({}), &active(&running)), vec![made("2026-01-01T00:05:00Z", "Complete")], now);
    assert_eq!(lines(&done), ["event SawCompletedJob", "0 active, last 2026-01-01T00:05:00Z"]);
    let lost = decide(root(&json!({}), &active(&running)), vec![], now);
    assert_eq!(lines(&lost), ["event MissingJob", "0 active, last 2026-01-01T00:05:00Z"]);
    let mut strange = (*made("2026-01-01T00:05:00Z", "")).clone();
    strange.metadata.name = "by-hand".into();
    let status = json!({"lastScheduleTime": "2026-01-01T00:05:00Z"});
    assert_eq!(
        lines(&decide(root(&json!({}), &status), vec![Arc::new(strange)], now)),
        ["event UnexpectedJob"]
    );
}

#[test]
fn only_so_many_jobs_that_are_over_are_kept() {
    let jobs = vec![
        made("2026-01-01T00:15:00Z", "Complete"),
        made("2026-01-01T00:05:00Z", "Complete"),
        made("2026-01-01T00:10:00Z", "Failed"),
    ];
    let status =
        json!({"lastScheduleTime": "2026-01-01T00:15:00Z", "lastSuccessfulTime": "2026-01-01T00:15:00Z"});
    assert_eq!(
        lines(&decide(root(&json!({}), &status), jobs, "2026-01-01T00:16:00Z")),
        ["delete tick-29453765"]
    );
}

#[test]
fn a_job_says_for_what_time_it_was_made_and_whose_it_is() {
    let spec = json!({"schedule": "0 9 * * *", "timeZone": "Europe/Berlin"});
    let plan = decide(root(&spec, &json!({})), vec![], "2026-01-01T08:00:01Z");
    let Some(Write::Request(request)) = plan.writes.first() else { panic!("nothing is made") };
    let Verb::Create(job) = &request.verb else { panic!("nothing is made") };
    assert_eq!(
        job["metadata"],
        json!({
            "name": "tick-29454240", "namespace": "ns", "labels": {"a": "b"},
            "annotations": {SCHEDULED: "2026-01-01T09:00:00+01:00"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": "c",
                "controller": true, "blockOwnerDeletion": true}],
        })
    );
}
