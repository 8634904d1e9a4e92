//! Goal: no node is ever given more than it has, whatever the scheduler loses on the way; and once faults stop, whoever can have
//! a place has one, if a less important Pod must go for it. Method: bare Pods that ask for cores and ports, of two priorities,
//! and faults from a seed; the rules look at every change ([`simulator::safety`]).
//!
//! `SEEDS=1000` plays so many instead of the ten of CI, `SEED=17` that one alone.

use std::time::Duration;

use client::{
    Key,
    api::{DeleteOptions, Page, Selection},
    resource,
};
use runtime::Random;
use serde_json::{Value, json};
use simulator::cluster::{Cluster, Component, Options, play};

const SEEDS: u64 = 10;
const STEPS: u64 = 40;
const NODES: u64 = 3;
/// A hollow node has eight cores.
const CORES: i64 = 8;
/// Longer than anything a Pod waits for.
const PATIENCE: Duration = Duration::from_secs(1200);

fn pod(number: u64, random: &Random) -> Value {
    let mut container = json!({"name": "it", "image": "it",
        "resources": {"requests": {"cpu": (1 + random.below(5)).to_string()}}});
    if random.below(5) == 0 {
        let port = 8000 + random.below(2);
        container["ports"] = json!([{"containerPort": port, "hostPort": port}]);
    }
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{number}")},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    });
    if random.below(3) == 0 {
        pod["spec"]["priorityClassName"] = json!("important");
    }
    pod
}

async fn pods(cluster: &Cluster) -> anyhow::Result<Vec<Value>> {
    let list = cluster.api.list::<Value>(&resource::PODS, &Selection::default(), &Page::default()).await?;
    Ok(list.items)
}

async fn step(cluster: &Cluster, number: u64, random: &Random) -> anyhow::Result<()> {
    match random.below(14) {
        0..=6 => {
            let _: Value = cluster.api.create(&resource::PODS, "default", &pod(number, random)).await?;
        }
        7 => {
            let key = Key::new("default", &format!("p{}", random.below(number.max(1))));
            // It may never have been, or be gone.
            let _ = cluster.api.delete(&resource::PODS, &key, &DeleteOptions::default()).await;
        }
        8 => cluster.link(Component::Scheduler).lose_replies(1 + u32::from(random.below(2) == 0)),
        9 => cluster.link(Component::Scheduler).break_watches(),
        10 => cluster.crash(Component::Scheduler, Duration::from_millis(1 << random.below(13))).await,
        11 => cluster.lose_node(&format!("node-{}", 1 + random.below(NODES))),
        12 => cluster.return_nodes(),
        _ => cluster.run_for(Duration::from_secs(1 + random.below(60))).await,
    }
    cluster.run_for(Duration::from_millis(random.below(30))).await;
    cluster.check()
}

fn number(value: &Value, path: &str) -> i64 {
    match value.pointer(path) {
        Some(Value::String(text)) => text.parse().unwrap_or_default(),
        Some(number) => number.as_i64().unwrap_or_default(),
        None => 0,
    }
}

fn port(pod: &Value) -> i64 {
    number(pod, "/spec/containers/0/ports/0/hostPort")
}

/// Who waits although there is a place, or could be one.
fn wrongly_waiting(pods: &[Value]) -> Vec<String> {
    let waits =
        |pod: &&Value| pod["spec"]["nodeName"].is_null() && pod["metadata"]["deletionTimestamp"].is_null();
    let cores = |pod: &Value| number(pod, "/spec/containers/0/resources/requests/cpu");
    let has_place = |pod: &Value, node: &str| {
        let matters = |other: &&Value| {
            other["spec"]["nodeName"] == node
                && number(other, "/spec/priority") >= number(pod, "/spec/priority")
        };
        let there: Vec<&Value> = pods.iter().filter(matters).collect();
        let taken: i64 = there.iter().map(|other| cores(other)).sum();
        taken + cores(pod) <= CORES && (port(pod) == 0 || there.iter().all(|other| port(other) != port(pod)))
    };
    let nodes = (1..=NODES).map(|number| format!("node-{number}")).collect::<Vec<_>>();
    pods.iter()
        .filter(waits)
        .filter(|pod| nodes.iter().any(|node| has_place(pod, node)))
        .map(|pod| format!("{} waits: {}", pod["metadata"]["name"], pod["status"]["conditions"]))
        .collect()
}

fn play_seed(seed: u64) -> anyhow::Result<()> {
    play(Options::seed(seed), async |cluster| {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": "important"}, "value": 1000});
        let _: Value = cluster.api.create(&resource::PRIORITY_CLASSES, "", &class).await?;
        cluster.run_for(Duration::from_secs(10)).await;
        let random = Random::from_seed(seed);
        for number in 0..STEPS {
            step(cluster, number, &random).await.map_err(|error| error.context(format!("step {number}")))?;
        }
        cluster.return_nodes();
        cluster.link(Component::Scheduler).lose_replies(0);
        cluster.run_for(PATIENCE).await;
        cluster.check()?;
        let waiting = wrongly_waiting(&pods(cluster).await?);
        anyhow::ensure!(waiting.is_empty(), "{}\nlast:\n  {}", waiting.join("\n"), cluster.last_changes());
        Ok(())
    })
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_node_is_given_more_than_it_has_and_nobody_waits_in_vain() {
    let seeds = match variable("SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + variable("SEEDS").unwrap_or(SEEDS),
    };
    let failures: Vec<String> = seeds
        .filter_map(|seed| play_seed(seed).err().map(|error| format!("seed {seed}: {error:#}")))
        .collect();
    assert!(failures.is_empty(), "{} seeds failed\n{}", failures.len(), failures.join("\n\n"));
}
