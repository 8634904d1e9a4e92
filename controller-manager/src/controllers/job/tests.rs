//! Goal: a Job counts each Pod once, ends for upstream's reasons, and replaces Pods at upstream's pace. Method: a Job and
//! its Pods as data, the writes as lines.

use client::controller::Verb;
use serde_json::Value;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn job(spec: &Value, status: &Value) -> Job {
    let mut root = json!({
        "metadata": {"namespace": "ns", "name": "sum", "uid": "j", "resourceVersion": "7", "generation": 1},
        "spec": {"parallelism": 2, "completions": 3, "backoffLimit": 1, "selector": {"matchLabels": {"a": "b"}},
            "podReplacementPolicy": "TerminatingOrFailed",
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}},
        "status": {"startTime": "2026-01-01T00:59:00Z"},
    });
    for (part, change) in [("spec", spec), ("status", status)] {
        for (name, value) in change.as_object().unwrap() {
            root[part][name] = value.clone();
        }
    }
    serde_json::from_value(root).unwrap()
}

/// `phase` is a phase, with `!` if the Pod is on its way out, `-` if it is counted already; a number is its index.
fn pod(name: &str, phase: &str) -> Arc<Pod> {
    let index: String = phase.chars().filter(char::is_ascii_digit).collect();
    let word: String = phase.chars().filter(char::is_ascii_alphabetic).collect();
    let mut pod = json!({
        "metadata": {"namespace": "ns", "name": name, "uid": name, "labels": {"a": "b"}, "annotations": {},
            "creationTimestamp": "2026-01-01T00:59:00Z", "finalizers": [FINALIZER],
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "sum", "uid": "j", "controller": true}]},
        "status": {"phase": word},
    });
    if !index.is_empty() {
        pod["metadata"]["annotations"][INDEX] = json!(index);
    }
    if phase.contains('!') {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:30Z");
    }
    if phase.contains('-') {
        pod["metadata"]["finalizers"] = json!([]);
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn decide(root: Job, pods: Vec<Arc<Pod>>) -> Plan {
    let observed = Observed::Running { root: Arc::new(root), candidates: pods, last_failure: None };
    Jobs.reconcile(&observed, now())
}

fn line(request: &Request) -> String {
    match &request.verb {
        Verb::Create(object) => {
            let index = object["metadata"]["labels"][INDEX].as_str().unwrap_or_default();
            format!("create {index}").trim_end().to_owned()
        }
        Verb::Delete(_) => format!("delete {}", request.key.name),
        Verb::Merge(document) => {
            assert_eq!(request.subresource, "status");
            let status = &document["status"];
            let mut words = Vec::new();
            for field in ["active", "succeeded", "failed", "completedIndexes", "failedIndexes"] {
                if !status[field].is_null() {
                    words.push(format!("{field} {}", status[field]).replace('"', ""));
                }
            }
            for list in ["succeeded", "failed"] {
                for uid in status["uncountedTerminatedPods"][list].as_array().into_iter().flatten() {
                    words.push(format!("noted {}", uid.as_str().unwrap()));
                }
            }
            for condition in status["conditions"].as_array().into_iter().flatten() {
                words.push(format!("{}={}", condition["type"], condition["reason"]).replace('"', ""));
            }
            words.join(", ")
        }
        Verb::Patch(_) => format!("untrack {}", request.key.name),
        Verb::Update(_) => "update".to_owned(),
    }
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.writes
        .iter()
        .flat_map(|write| match write {
            Write::Request(request) => vec![line(request)],
            Write::Batch { requests, .. } => requests.iter().map(line).collect(),
            Write::Event { note, .. } => vec![format!("event {}", note.reason)],
        })
        .collect()
}

#[test]
fn a_job_runs_as_many_pods_as_are_parallel_and_still_wanted() {
    for (why, spec, status, pods, expected) in [
        ("it begins", json!({}), json!({}), vec![], vec!["create", "create", "active 2"]),
        (
            "one is left to do",
            json!({}),
            json!({"succeeded": 2}),
            vec![],
            vec!["create", "active 1, succeeded 2"],
        ),
        (
            "too many",
            json!({"parallelism": 1}),
            json!({}),
            vec![pod("a", "Running"), pod("b", "Pending")],
            vec!["untrack b", "delete b", "active 1"],
        ),
        (
            "suspended",
            json!({"suspend": true}),
            json!({}),
            vec![pod("a", "Running")],
            vec!["untrack a", "delete a", "event Suspended", "Suspended=JobSuspended"],
        ),
        (
            "a work queue",
            json!({"completions": null}),
            json!({}),
            vec![],
            vec!["create", "create", "active 2"],
        ),
        (
            "a work queue that has a success only drains",
            json!({"completions": null}),
            json!({"succeeded": 1}),
            vec![pod("a", "Running")],
            vec!["active 1, succeeded 1"],
        ),
        (
            "a Pod that goes is replaced once it has ended",
            json!({"podReplacementPolicy": "Failed"}),
            json!({}),
            vec![pod("a", "Running!"), pod("b", "Running")],
            vec!["active 1"],
        ),
    ] {
        assert_eq!(lines(&decide(job(&spec, &status), pods)), expected, "{why}");
    }
}

#[test]
fn pods_that_ended_are_noted_let_go_and_counted_in_this_order() {
    let plan = decide(job(&json!({}), &json!({})), vec![pod("a", "Succeeded"), pod("b", "Running")]);
    assert_eq!(lines(&plan), ["create", "active 2, noted a", "untrack a", "active 2, succeeded 1"]);
    let noted =
        json!({"uncountedTerminatedPods": {"succeeded": ["a"]}, "active": 2, "ready": 0, "terminating": 0});
    let again = decide(
        job(&json!({}), &noted),
        vec![pod("a", "Succeeded"), pod("b", "Running"), pod("c", "Running")],
    );
    assert_eq!(lines(&again), ["untrack a", "active 2, succeeded 1"], "what is noted is not noted twice");
    let gone = decide(
        job(&json!({}), &noted),
        vec![pod("a", "Succeeded-"), pod("b", "Running"), pod("c", "Running")],
    );
    assert_eq!(lines(&gone), ["active 2, succeeded 1"], "nor counted twice");
}

#[test]
fn a_job_is_complete_once_all_is_counted_and_no_pod_is_left() {
    let status = json!({"succeeded": 2, "active": 1, "ready": 0, "terminating": 0});
    let plan = decide(job(&json!({}), &status), vec![pod("c", "Succeeded")]);
    assert_eq!(
        lines(&plan),
        [
            "succeeded 2, noted c, SuccessCriteriaMet=CompletionsReached",
            "untrack c",
            "succeeded 3, SuccessCriteriaMet=CompletionsReached, Complete=CompletionsReached",
            "event Completed",
        ]
    );
    let lingering = decide(job(&json!({}), &status), vec![pod("c", "Succeeded"), pod("d", "Running!-")]);
    assert!(!lines(&lingering).contains(&"event Completed".to_owned()), "{:?}", lines(&lingering));
}

#[test]
fn a_job_fails_for_these_reasons() {
    let exit = |name: &str, code: i32| {
        let mut failed = (*pod(name, "Failed")).clone();
        failed.status.container_statuses = serde_json::from_value(
            json!([{"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}}}]),
        )
        .unwrap();
        Arc::new(failed)
    };
    let policy = json!({"podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}]}});
    for (spec, status, pods, reason) in [
        (
            json!({}),
            json!({"failed": 1}),
            vec![pod("a", "Failed"), pod("b", "Running")],
            "BackoffLimitExceeded",
        ),
        (json!({"activeDeadlineSeconds": 60}), json!({}), vec![pod("b", "Running")], "DeadlineExceeded"),
        (policy, json!({}), vec![exit("a", 3), pod("b", "Running")], "PodFailurePolicy"),
        (
            json!({"completionMode": "Indexed", "backoffLimitPerIndex": 0, "backoffLimit": 9, "maxFailedIndexes": 0}),
            json!({}),
            vec![pod("a", "Failed1"), pod("b", "Running0")],
            "MaxFailedIndexesExceeded",
        ),
        (
            json!({"completionMode": "Indexed", "backoffLimitPerIndex": 0, "backoffLimit": 9}),
            json!({"completedIndexes": "0,2"}),
            vec![pod("a", "Failed1")],
            "FailedIndexes",
        ),
    ] {
        let plan = decide(job(&spec, &status), pods);
        let lines = lines(&plan);
        assert!(
            lines.iter().any(|line| line.contains(&format!("FailureTarget={reason}"))),
            "{reason}: {lines:?}"
        );
        let all_gone = !lines.contains(&"delete b".to_owned());
        assert_eq!(
            lines.contains(&format!("event {reason}")),
            all_gone,
            "{reason}: it fails once no Pod is left"
        );
    }
    let target = json!({"conditions": [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded", "message": "m"}]});
    let plan = decide(job(&json!({}), &target), vec![]);
    assert_eq!(
        lines(&plan),
        ["FailureTarget=DeadlineExceeded, Failed=DeadlineExceeded", "event DeadlineExceeded"]
    );
}

#[test]
fn failed_pods_are_replaced_after_a_while() {
    let failed = || vec![pod("a", "Failed"), pod("b", "Running")];
    let mut early = job(&json!({"backoffLimit": 6}), &json!({}));
    early.status.start_time = Some(now());
    let plan = Jobs.reconcile(
        &Observed::Running { root: Arc::new(early.clone()), candidates: failed(), last_failure: None },
        "2026-01-01T00:59:04Z".parse().unwrap(),
    );
    assert_eq!(lines(&plan)[..2], ["active 1, noted a", "untrack a"]);
    assert_eq!(plan.look_again, Some(std::time::Duration::from_secs(6)));
    let plan = decide(early, failed());
    assert_eq!(lines(&plan)[0], "create");
}

#[test]
fn an_indexed_job_makes_what_is_missing_and_remembers_failures_per_index() {
    let spec = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 3});
    let status = json!({"completedIndexes": "0,2", "succeeded": 2});
    let plan = decide(job(&spec, &status), vec![pod("b", "Running1")]);
    assert_eq!(lines(&plan), ["create 3", "create 4", "active 3, succeeded 2, completedIndexes 0,2"]);
    let Write::Batch { requests, .. } = &plan.writes[0] else { panic!("nothing is made") };
    let Verb::Create(made) = &requests[0].verb else { panic!("nothing is made") };
    assert_eq!(made["metadata"]["generateName"], "sum-3-");
    assert_eq!(made["spec"]["hostname"], "sum-3");
    assert_eq!(
        made["spec"]["containers"][0]["env"],
        json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef":
            {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}])
    );

    let twice =
        decide(job(&spec, &status), vec![pod("b", "Running1"), pod("c", "Pending1"), pod("d", "Running7")]);
    assert_eq!(lines(&twice)[..4], ["untrack c", "untrack d", "delete c", "delete d"], "one Pod an index");

    let per_index = json!({"completionMode": "Indexed", "completions": 1, "parallelism": 1, "backoffLimitPerIndex": 2, "backoffLimit": 9});
    let plan = decide(job(&per_index, &json!({})), vec![pod("a", "Failed0")]);
    assert_eq!(lines(&plan)[0], "create 0");
    assert!(!lines(&plan).contains(&"untrack a".to_owned()), "it stays until its replacement is there");
    let Write::Batch { requests, .. } = &plan.writes[0] else { panic!("nothing is made") };
    let Verb::Create(made) = &requests[0].verb else { panic!("nothing is made") };
    assert_eq!(made["metadata"]["annotations"][INDEX_FAILURES], "1");
}

#[test]
fn enough_successes_end_an_indexed_job_early() {
    let spec = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 5,
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]}});
    let plan = decide(job(&spec, &json!({})), vec![pod("a", "Succeeded0"), pod("b", "Running1")]);
    assert_eq!(
        lines(&plan),
        [
            "delete b",
            "succeeded 1, completedIndexes 0, SuccessCriteriaMet=SuccessPolicy",
            "untrack a",
            "untrack b",
        ]
    );
}
