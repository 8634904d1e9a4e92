//! Large clusters: one that is settled costs nothing, and one that grows does not overshoot.
//!
//! By default at a size that every run can afford; `LARGE=1` at the size of a thousand Deployments and five thousand Pods.
//! What it took of the processor is printed.

use std::time::Duration;

use client::{Key, api::Patch, resource};
use serde_json::{Value, json};
use simulator::{
    cluster::{Cluster, Component, Options, play},
    steps, workloads,
};

/// So many Pods fit on a node.
const PODS_A_NODE: u64 = 110;
const HOUR: Duration = Duration::from_secs(3600);

/// How much processor time this thread has used.
fn processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or_default();
    Duration::from_nanos(nanoseconds)
}

fn large() -> bool {
    std::env::var_os("LARGE").is_some()
}

fn nodes_for(pods: u64) -> u16 {
    u16::try_from(pods * 5 / 4 / PODS_A_NODE + 3).unwrap_or(u16::MAX)
}

async fn scale(cluster: &Cluster, replicas: u64) -> anyhow::Result<()> {
    let (key, size) = (Key::new("default", "web"), json!({"spec": {"replicas": replicas}}));
    let _: Value = cluster.api.patch(&resource::DEPLOYMENTS, &key, "", &Patch::merge(size)).await?;
    Ok(())
}

#[test]
fn a_settled_cluster_writes_nothing_for_an_hour() {
    let deployments: u64 = if large() { 1000 } else { 60 };
    let options = Options { nodes: nodes_for(5 * deployments), ..Options::seed(1) };
    let nodes = options.nodes;
    play(options, async |cluster| {
        for number in 1..=deployments {
            let web = workloads::deployment(&format!("web-{number}"), 5);
            let _: Value = cluster.api.create(&resource::DEPLOYMENTS, "default", &web).await?;
        }
        let looks = || cluster.records(Component::ControllerManager).map_or(0, |records| records.taken());
        // Comes to rest, and rests for the hour.
        let made = processor();
        steps::settle(cluster, Duration::ZERO).await?;
        let (looks_before, rest) = (looks(), processor());
        steps::settle(cluster, HOUR).await?;
        let (looks, took) = (looks() - looks_before, processor().saturating_sub(rest));
        println!(
            "{deployments} Deployments with 5 Pods each on {nodes} nodes: made in {:?} of the processor; an hour at rest \
             {took:?}, {looks} looks of controllers",
            rest.saturating_sub(made)
        );
        // Nodes renew their Leases every ten seconds, and that is looked at; nothing else is.
        let renewals = u64::from(nodes) * 361 * 3;
        anyhow::ensure!(looks < renewals + deployments, "{looks} looks at a cluster at rest");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_deployment_grows_to_its_size_and_no_further() {
    let replicas: u64 = if large() { 5000 } else { 600 };
    let options = Options { nodes: nodes_for(replicas), ..Options::seed(2) };
    play(options, async |cluster| {
        let web = workloads::deployment("web", 0);
        let _: Value = cluster.api.create(&resource::DEPLOYMENTS, "default", &web).await?;
        cluster.run_for(Duration::from_secs(5)).await;
        let begun = processor();
        scale(cluster, replicas).await?;
        let took = cluster
            .run_until("as large as wanted", HOUR, |world| {
                let wanted = i64::try_from(replicas).unwrap_or(i64::MAX);
                world.of_kind("Deployment").all(|it| it.status.available_replicas == wanted)
            })
            .await?;
        cluster.check()?;
        let made = cluster.log_since(0, |line| line.contains(" ADDED Pod ")).len();
        anyhow::ensure!(u64::try_from(made)? == replicas, "{made} Pods were made for {replicas}");
        println!(
            "{replicas} replicas: {took:?} in the world, {:?} of the processor",
            processor().saturating_sub(begun)
        );
        // And back, without a Pod made on the way.
        scale(cluster, 0).await?;
        steps::settle(cluster, Duration::from_secs(60)).await?;
        let made = cluster.log_since(0, |line| line.contains(" ADDED Pod ")).len();
        anyhow::ensure!(u64::try_from(made)? == replicas, "{made} Pods were made for {replicas}");
        Ok(())
    })
    .unwrap();
}
