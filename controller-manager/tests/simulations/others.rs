//! Goal: the smaller controllers come to what they should. Method: an object each, and time.

use client::{
    Key,
    resource::{CRON_JOBS, JOBS, POD_DISRUPTION_BUDGETS, REPLICATION_CONTROLLERS},
};
use serde_json::{Value, json};

use crate::world::World;

fn template(label: &str) -> Value {
    json!({"metadata": {"labels": {"app": label}}, "spec": {"restartPolicy": "Always", "containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test(start_paused = true)]
async fn a_cron_job_makes_a_job_at_every_time_and_keeps_only_the_last() {
    let mut world = World::new(1);
    world.ends = vec!["Succeeded"];
    let job = json!({"spec": {"completions": 1, "parallelism": 1, "selector": {"matchLabels": {"app": "tick"}}, "template": template("tick")}});
    world.server.put(
        &CRON_JOBS,
        json!({
            "metadata": {"namespace": "ns", "name": "tick"},
            "spec": {"schedule": "*/10 * * * *", "concurrencyPolicy": "Forbid", "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 1, "jobTemplate": job},
        }),
    );
    let few = |world: &World| assert!(world.server.list(&JOBS).len() <= 4, "older Jobs go");
    let last = |world: &World| world.get(&CRON_JOBS, "tick")["status"]["lastScheduleTime"].clone();
    world.until("an hour of Jobs", 4000, few, |world| last(world) == "2026-01-01T01:00:00Z").await;
    let idle = |world: &World| world.get(&CRON_JOBS, "tick")["status"]["active"].is_null();
    world.until("the last one ends", 60, few, idle).await;
    world.until("three are kept", 60, few, |world| world.server.list(&JOBS).len() == 3).await;
    let names: Vec<String> = world
        .server
        .list(&JOBS)
        .iter()
        .map(|job| job["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["tick-29453800", "tick-29453810", "tick-29453820"]);
}

#[tokio::test(start_paused = true)]
async fn a_replication_controller_keeps_its_pods() {
    let mut world = World::new(2);
    world.server.put(
        &REPLICATION_CONTROLLERS,
        json!({"metadata": {"namespace": "ns", "name": "old"}, "spec": {"replicas": 2, "selector": {"app": "old"}, "template": template("old")}}),
    );
    let at_most = |world: &World| assert!(world.active().len() <= 2);
    world.until("its Pods run", 20, at_most, |world| world.ready() == 2).await;
    let ready =
        |world: &World| world.get(&REPLICATION_CONTROLLERS, "old")["status"]["availableReplicas"] == 2;
    world.until("it says so", 10, at_most, ready).await;
    let key = Key::new("ns", "old");
    world.server.change(&REPLICATION_CONTROLLERS, &key, &json!({"spec": {"replicas": 0}}));
    world.until("they go", 20, at_most, |world| world.pods().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_budget_counts_the_pods_of_its_controllers() {
    let mut world = World::new(3);
    world.server.put(
        &REPLICATION_CONTROLLERS,
        json!({"metadata": {"namespace": "ns", "name": "old"}, "spec": {"replicas": 3, "selector": {"app": "old"}, "template": template("old")}}),
    );
    world.server.put(
        &POD_DISRUPTION_BUDGETS,
        json!({"metadata": {"namespace": "ns", "name": "b"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "old"}}}}),
    );
    let allowed =
        |world: &World| world.get(&POD_DISRUPTION_BUDGETS, "b")["status"]["disruptionsAllowed"].clone();
    let never_many = |world: &World| assert!(allowed(world).as_i64().unwrap_or_default() <= 1);
    world.until("one may go", 20, never_many, |world| allowed(world) == 1).await;
    let status = world.get(&POD_DISRUPTION_BUDGETS, "b")["status"].clone();
    assert_eq!(
        (&status["expectedPods"], &status["currentHealthy"], &status["desiredHealthy"]),
        (&json!(3), &json!(3), &json!(2))
    );
}
