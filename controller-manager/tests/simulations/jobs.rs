//! Goal: a Job counts every Pod exactly once and ends as it should. Method: Pods end as told, some faults on the way.

use std::time::Duration;

use client::{
    Key,
    resource::{EVENTS, JOBS},
    testing::Fault,
};
use serde_json::{Value, json};

use crate::world::World;

fn job(spec: &Value) -> Value {
    let mut job = json!({
        "metadata": {"namespace": "ns", "name": "sum"},
        "spec": {"completions": 5, "parallelism": 2, "backoffLimit": 6, "podReplacementPolicy": "TerminatingOrFailed",
            "selector": {"matchLabels": {"job": "sum"}},
            "template": {"metadata": {"labels": {"job": "sum"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}},
    });
    for (name, value) in spec.as_object().into_iter().flatten() {
        job["spec"][name] = value.clone();
    }
    job
}

fn is(which: &'static str) -> impl Fn(&World) -> bool {
    move |world| {
        let job = world.job();
        let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|it| it["type"] == which && it["status"] == "True")
    }
}

fn at_most(pods: usize) -> impl Fn(&World) {
    move |world| {
        let active = world.active().len();
        assert!(active <= pods, "{active} Pods run, at most {pods} may");
    }
}

async fn reasons(world: &World) -> Vec<String> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let reasons = |event: &Value| event["reason"].as_str().unwrap_or_default().to_owned();
    world.server.list(&EVENTS).iter().map(reasons).collect()
}

#[tokio::test(start_paused = true)]
async fn a_job_counts_its_successes_and_completes() {
    let mut world = World::new(1);
    world.ends = vec!["Succeeded"];
    world.server.put(&JOBS, job(&json!({})));
    world.until("it completes", 60, at_most(2), is("Complete")).await;
    let status = world.job()["status"].clone();
    assert_eq!(
        (&status["succeeded"], &status["active"], &status["terminating"]),
        (&json!(5), &Value::Null, &json!(0))
    );
    assert_eq!(status["uncountedTerminatedPods"], json!({}));
    assert!(status["completionTime"].is_string() && status["startTime"].is_string());
    assert!(world.pods().iter().all(|pod| pod["metadata"]["finalizers"].is_null()), "all may go");
    let reasons = reasons(&world).await;
    assert!(
        reasons.contains(&"Completed".to_owned()) && reasons.contains(&"SuccessfulCreate".to_owned()),
        "{reasons:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_in_the_end_fail_the_job() {
    let mut world = World::new(2);
    world.ends = vec!["Failed"];
    world.server.put(&JOBS, job(&json!({"backoffLimit": 2, "parallelism": 1})));
    let begun = world.now();
    world.until("it fails", 120, at_most(1), is("Failed")).await;
    let took = world.now().duration_since(begun).as_secs();
    assert!((30..45).contains(&took), "10 and 20 seconds of delay: {took}");
    assert_eq!(world.job()["status"]["failed"], 3);
    assert!(reasons(&world).await.contains(&"BackoffLimitExceeded".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_indexed_job_completes_every_index_once() {
    let mut world = World::new(3);
    world.ends = vec!["Succeeded", "Failed", "Succeeded"];
    world.server.put(&JOBS, job(&json!({"completionMode": "Indexed", "completions": 6, "parallelism": 3, "backoffLimitPerIndex": 3})));
    let one_an_index = |world: &World| {
        at_most(3)(world);
        let mut indexes: Vec<String> = world
            .active()
            .iter()
            .map(|pod| pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].to_string())
            .collect();
        let all = indexes.len();
        indexes.sort();
        indexes.dedup();
        assert_eq!(indexes.len(), all, "two Pods of one index");
    };
    world.until("it completes", 300, one_an_index, is("Complete")).await;
    assert_eq!(world.job()["status"]["completedIndexes"], "0-5");
}

#[tokio::test(start_paused = true)]
async fn a_suspended_job_has_no_pods_and_goes_on_when_resumed() {
    let mut world = World::new(4);
    world.server.put(&JOBS, job(&json!({"suspend": true})));
    world.until("it says so", 10, at_most(0), is("Suspended")).await;
    let key = Key::new("ns", "sum");
    world.server.change(&JOBS, &key, &json!({"spec": {"suspend": false}}));
    world.until("it runs", 10, at_most(2), |world| world.ready() == 2).await;
    world.server.change(&JOBS, &key, &json!({"spec": {"suspend": true}}));
    world.until("it stops", 20, at_most(2), |world| world.pods().is_empty()).await;
    assert_eq!(world.job()["status"]["failed"], Value::Null, "Pods that were stopped have not failed");
    world.ends = vec!["Succeeded"];
    world.server.change(&JOBS, &key, &json!({"spec": {"suspend": false}}));
    world.until("it completes", 60, at_most(2), is("Complete")).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_over_time_stops_its_pods() {
    let mut world = World::new(5);
    world.server.put(&JOBS, job(&json!({"activeDeadlineSeconds": 10})));
    world.until("it fails", 30, at_most(2), is("Failed")).await;
    assert_eq!(world.active().len(), 0);
    assert_eq!(world.job()["status"]["failed"], 2);
    assert!(reasons(&world).await.contains(&"DeadlineExceeded".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_job_that_is_gone_are_let_go() {
    let mut world = World::new(6);
    world.server.put(&JOBS, job(&json!({})));
    world.until("it runs", 10, at_most(2), |world| world.ready() == 2).await;
    world.server.remove(&JOBS, &Key::new("ns", "sum"));
    // What a Pod's Job was is seen when something about the Pod changes, as when the garbage collector deletes it.
    for pod in world.pods() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let gone = json!({"metadata": {"deletionTimestamp": client::meta::time(world.now())}});
        world.server.change(&client::resource::PODS, &Key::new("ns", name), &gone);
    }
    world.until("they go", 20, at_most(2), |world| world.pods().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_every_pod_counts_once() {
    for seed in 10..30 {
        let mut world = World::new(seed);
        world.ends = vec!["Succeeded", "Failed", "Succeeded", "Succeeded"];
        world.server.put(&JOBS, job(&json!({"completions": 8, "parallelism": 3, "backoffLimit": 50})));
        for _ in 0..30 {
            for text in ["POST /api/v1/namespaces/ns/pods", "PATCH", "jobs/sum/status"] {
                match world.runtime.random.below(8) {
                    0 => world.server.fail_next(text, Fault::LoseReply),
                    1 => world.server.fail_next(text, Fault::Unreachable),
                    _ => {}
                }
            }
            match world.runtime.random.below(8) {
                0 => world.server.hold_watches("pods"),
                1 => world.server.hold_watches("jobs"),
                2 => world.server.drop_watches(),
                3 => world.server.compact(),
                _ => {
                    world.server.release_watches("pods");
                    world.server.release_watches("jobs");
                }
            }
            let before = world.now();
            world
                .until("a second", 2, at_most(3), |world| world.now().duration_since(before).as_secs() >= 1)
                .await;
        }
        world.server.release_watches("pods");
        world.server.release_watches("jobs");
        world.until("it completes", 600, at_most(3), is("Complete")).await;
        let phase = |which: &str| world.pods().iter().filter(|pod| pod["status"]["phase"] == which).count();
        let status = world.job()["status"].clone();
        let told = |field: &str| status[field].as_u64().unwrap_or_default();
        assert_eq!(told("succeeded"), phase("Succeeded") as u64, "seed {seed}");
        assert_eq!(told("failed"), phase("Failed") as u64, "seed {seed}");
    }
}
