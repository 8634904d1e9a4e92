//! Goal: a rollout keeps within its fenceposts at every moment, and ends as wanted. Method: a Deployment is rolled over,
//! scaled and disturbed.

use std::time::Duration;

use api_types::status::Status;
use client::{
    Key,
    resource::{DEPLOYMENTS, EVENTS, PODS},
    testing::Fault,
};
use serde_json::{Value, json};

use crate::world::World;

fn deployment(image: &str, replicas: usize) -> Value {
    json!({
        "metadata": {"namespace": "ns", "name": "web"},
        "spec": {
            "replicas": replicas, "progressDeadlineSeconds": 60, "revisionHistoryLimit": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}

fn roll_to(world: &World, image: &str) {
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    world.server.change(&DEPLOYMENTS, &Key::new("ns", "web"), &change);
}

/// As `kubectl rollout status` decides.
fn is_rolled_out(world: &World) -> bool {
    let web = world.deployment();
    let (spec, status) = (&web["spec"], &web["status"]);
    status["observedGeneration"] == web["metadata"]["generation"]
        && status["updatedReplicas"] == spec["replicas"]
        && status["replicas"] == spec["replicas"]
        && status["availableReplicas"] == spec["replicas"]
}

fn at_most(pods: usize) -> impl Fn(&World) {
    move |world| {
        let active = world.active().len();
        assert!(active <= pods, "{active} Pods, at most {pods} may be");
    }
}

fn condition(world: &World, which: &str) -> Value {
    let web = world.deployment();
    let conditions = web["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|it| it["type"] == which).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_rollout_keeps_within_its_fenceposts() {
    let mut world = World::new(1);
    world.server.put(&DEPLOYMENTS, deployment("one", 4));
    world.until("the first rollout", 20, at_most(4), is_rolled_out).await;
    for image in ["two", "three", "four", "one"] {
        roll_to(&world, image);
        let fences = |world: &World| {
            at_most(5)(world);
            assert!(world.ready() >= 3, "{} Pods are ready, at least 3 must be", world.ready());
        };
        world.until(image, 60, fences, is_rolled_out).await;
        let condition = condition(&world, "Progressing");
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("True"), &json!("NewReplicaSetAvailable"))
        );
    }
    let newest = |set: &Value| set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "5";
    assert!(world.sets().iter().any(newest));
    world.until("old revisions go", 10, at_most(5), |world| world.sets().len() == 3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let messages: Vec<String> = world
        .server
        .list(&EVENTS)
        .iter()
        .map(|event| event["message"].as_str().unwrap().to_owned())
        .collect();
    let first = |message: &String| {
        message.starts_with("Scaled up replica set web-") && message.ends_with(" from 0 to 4")
    };
    assert!(messages.iter().any(first), "{messages:?}");
}

#[tokio::test(start_paused = true)]
async fn coming_back_to_a_template_reuses_its_replica_set_and_keeps_its_history() {
    let mut world = World::new(2);
    world.server.put(&DEPLOYMENTS, deployment("one", 2));
    world.until("one", 20, at_most(2), is_rolled_out).await;
    roll_to(&world, "two");
    world.until("two", 30, at_most(3), is_rolled_out).await;
    roll_to(&world, "one");
    world.until("one again", 30, at_most(3), is_rolled_out).await;
    assert_eq!(world.sets().len(), 2);
    let sets = world.sets();
    let current = sets.iter().find(|set| set["spec"]["replicas"] == 2).unwrap();
    let annotations = &current["metadata"]["annotations"];
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_does_not_progress_fails_and_recovers_when_rolled_back() {
    let mut world = World::new(3);
    world.server.put(&DEPLOYMENTS, deployment("one", 3));
    world.until("one", 20, at_most(3), is_rolled_out).await;
    roll_to(&world, "broken");
    let available = |world: &World| assert!(world.ready() >= 2, "{} ready", world.ready());
    let late = |world: &World| condition(world, "Progressing")["reason"] == "ProgressDeadlineExceeded";
    world.until("the deadline", 90, available, late).await;
    roll_to(&world, "one");
    world.until("one again", 30, available, is_rolled_out).await;
}

#[tokio::test(start_paused = true)]
async fn recreating_never_mixes_old_and_new_pods() {
    let mut world = World::new(4);
    let mut web = deployment("one", 3);
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    world.server.put(&DEPLOYMENTS, web);
    world.until("one", 20, at_most(3), is_rolled_out).await;
    roll_to(&world, "two");
    let unmixed = |world: &World| {
        let images: std::collections::BTreeSet<String> =
            world.pods().iter().map(|pod| pod["spec"]["containers"][0]["image"].to_string()).collect();
        assert!(images.len() <= 1, "{images:?}");
    };
    world.until("two", 30, unmixed, is_rolled_out).await;
}

#[tokio::test(start_paused = true)]
async fn scaling_a_paused_deployment_amid_a_rollout_keeps_all_its_replica_sets() {
    let mut world = World::new(5);
    world.server.put(&DEPLOYMENTS, deployment("one", 4));
    world.until("one", 20, at_most(4), is_rolled_out).await;
    roll_to(&world, "broken");
    world.until("it is stuck", 20, at_most(5), |world| world.active().len() == 5).await;
    let key = Key::new("ns", "web");
    world.server.change(&DEPLOYMENTS, &key, &json!({"spec": {"paused": true, "replicas": 8}}));
    world.until("it is scaled", 20, at_most(9), |world| world.active().len() == 9).await;
    assert_eq!(condition(&world, "Progressing")["reason"], "DeploymentPaused");
    let sizes: Vec<_> = world.sets().iter().map(|set| set["spec"]["replicas"].as_u64().unwrap()).collect();
    assert!(sizes.iter().all(|size| *size > 1), "in proportion: {sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_quota_is_told_and_retried() {
    let mut world = World::new(6);
    for _ in 0..12 {
        let full = Status::forbidden(&PODS.group_resource(), "web-", "exceeded quota");
        world.server.fail_next("POST /api/v1/namespaces/ns/pods", Fault::Answer(full));
    }
    world.server.put(&DEPLOYMENTS, deployment("one", 3));
    let told = |world: &World| condition(world, "ReplicaFailure")["reason"] == "FailedCreate";
    world.until("the failure is told", 20, at_most(3), told).await;
    let message = condition(&world, "ReplicaFailure")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("exceeded quota"), "{message}");
    world.until("it recovers", 60, at_most(3), is_rolled_out).await;
    world
        .until("the failure is over", 10, at_most(3), |world| condition(world, "ReplicaFailure").is_null())
        .await;
}

#[tokio::test(start_paused = true)]
async fn lost_replies_and_late_watches_never_make_too_many_pods() {
    for seed in 10..30 {
        let mut world = World::new(seed);
        world.server.put(&DEPLOYMENTS, deployment("one", 5));
        for round in 0..6 {
            for text in ["POST /api/v1/namespaces/ns/pods", "PATCH", "DELETE", "POST /apis/apps/v1"] {
                if world.runtime.random.below(2) == 0 {
                    world.server.fail_next(text, Fault::LoseReply);
                }
                if world.runtime.random.below(3) == 0 {
                    world.server.fail_next(text, Fault::Unreachable);
                }
            }
            match world.runtime.random.below(4) {
                0 => world.server.hold_watches("pods"),
                1 => world.server.hold_watches("replicasets"),
                2 => world.server.drop_watches(),
                _ => world.server.compact(),
            }
            roll_to(&world, if round % 2 == 0 { "two" } else { "one" });
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                at_most(6)(&world);
            }
            world.server.release_watches("pods");
            world.server.release_watches("replicasets");
        }
        world.until("it converges after the faults", 120, at_most(6), is_rolled_out).await;
    }
}
