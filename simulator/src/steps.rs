//! Scripts of client writes, faults and passing time, drawn from a seed or written by hand.
//!
//! While a script is followed, what must hold is checked after every change ([`crate::safety`]). When the faults stop,
//! the cluster must come to rest ([`crate::safety::rest`]), and then write nothing more.
//!
//! Invariant: a script is a value. The same seed gives the same script, whatever the cluster does.

use std::time::Duration;

use client::{
    Key, Resource,
    api::{DeleteOptions, Patch},
    resource,
};
use runtime::Random;
use serde_json::{Value, json};

use crate::{
    cluster::{COMPONENTS, Cluster, Component, Figures},
    safety::rest::unrest,
    workloads::{self, GUARDED},
};

/// How long a cluster may take to come to rest: a controller that failed often waits up to minutes for its next try.
const PATIENCE: Duration = Duration::from_secs(3600);
/// What is counted, told or cleaned up a little later.
const LITTLE_LATER: Duration = Duration::from_secs(60);
/// All nodes together are silent for no longer than this, or all Pods would be given up.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How many nodes there are to lose.
const NODES: u64 = 3;

/// A workload that a client changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A Deployment.
    Web,
    /// A StatefulSet.
    Db,
    /// A DaemonSet.
    Agent,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client gives a workload another size. A DaemonSet has none: it surges or not.
    Scale(Workload, u64),
    /// A client gives a workload another image.
    Update(Workload, u64),
    /// A client starts a Job.
    RunJob(u64),
    /// A client deletes a Pod, the how manieth there is.
    DeletePod(u64),
    /// Somebody wants to drain a node, and evicts a guarded Pod.
    Evict(u64),
    /// Nothing but time.
    TimePasses(Duration),
    /// The wall clock leaps ahead.
    Leap(Duration),
    /// A component's next writes are carried out, and it does not learn of it.
    LoseReplies(Component, u32),
    /// A component's watches break off.
    BreakWatches(Component),
    /// The store forgets what was overwritten.
    Compact,
    /// A component is gone, and comes back after a while, knowing nothing.
    Crash(Component, Duration),
    /// A node is not heard of any more.
    LoseNode(u64),
    /// All nodes are heard of again.
    NodesReturn,
}

/// The script of a seed.
pub fn script(seed: u64, steps: usize) -> Vec<Step> {
    let random = Random::from_seed(seed);
    let component = || match random.below(3) {
        0 => Component::ControllerManager,
        1 => Component::Scheduler,
        _ => Component::Nodes,
    };
    let workload = || match random.below(4) {
        0 | 1 => Workload::Web,
        2 => Workload::Db,
        _ => Workload::Agent,
    };
    // Most pauses are of the order of what the components do; a few are long.
    let pause = || Duration::from_millis(1 << random.below(15));
    (1..=u64::try_from(steps).unwrap_or(u64::MAX))
        .map(|number| match random.below(20) {
            0 | 1 => Step::Scale(workload(), 1 + random.below(5)),
            2..=4 => Step::Update(workload(), number),
            5 | 6 => Step::RunJob(number),
            7 => Step::DeletePod(random.below(100)),
            8 | 9 => Step::Evict(random.below(100)),
            10 | 11 => Step::TimePasses(pause()),
            12 => Step::TimePasses(Duration::from_secs(10 * (1 + random.below(40)))),
            13 => Step::Leap(Duration::from_secs(1 << random.below(13))),
            14 | 15 => Step::LoseReplies(component(), 1 + u32::from(random.below(2) == 1)),
            16 => Step::BreakWatches(component()),
            17 => Step::Compact,
            18 => Step::Crash(component(), pause().min(SILENCE_MAX)),
            _ if random.below(2) == 0 => Step::LoseNode(random.below(NODES)),
            _ => Step::NodesReturn,
        })
        .collect()
}

/// Sets up all workloads, follows the script, lets the faults stop and the cluster come to rest, and to stay there for
/// `rest`.
///
/// # Errors
/// What did not hold, and after which step.
pub async fn follow(cluster: &Cluster, script: &[Step], rest: Duration) -> anyhow::Result<Figures> {
    for (resource, namespace, object) in workloads::standing() {
        let _: Value = cluster.api.create(&resource, namespace, &object).await?;
    }
    cluster.run_for(Duration::from_secs(10)).await;
    for (number, step) in script.iter().enumerate() {
        take(cluster, step).await.map_err(|error| error.context(format!("step {number}, {step:?}")))?;
        cluster.run_for(Duration::from_millis(5)).await;
        cluster.check().map_err(|error| error.context(format!("after step {number}, {step:?}")))?;
    }
    cluster.return_nodes();
    for component in COMPONENTS {
        let forbidden = cluster.link(component).forbidden();
        anyhow::ensure!(forbidden.is_empty(), "{component:?} may not do what it wants to: {forbidden:?}");
        cluster.link(component).lose_replies(0);
    }
    let suspend = json!({"spec": {"suspend": true}});
    patch(cluster, &resource::CRON_JOBS, "tick", suspend).await?;
    settle(cluster, rest).await?;
    Ok(cluster.figures())
}

/// Waits until nothing is left to do, and sees to it that nothing is done from then on.
///
/// # Errors
/// What there still is to do, or what was done without a reason.
pub async fn settle(cluster: &Cluster, rest: Duration) -> anyhow::Result<()> {
    let start = tokio::time::Instant::now();
    loop {
        let left = cluster.look(|safety| unrest(&safety.world));
        if left.is_empty() {
            break;
        }
        if start.elapsed() > PATIENCE {
            let left = left.join("\n  ");
            anyhow::bail!("not at rest after {PATIENCE:?}:\n  {left}\nlast:\n  {}", cluster.last_changes());
        }
        cluster.run_for(Duration::from_millis(500)).await;
    }
    cluster.run_for(LITTLE_LATER).await;
    let before = cluster.changes();
    cluster.run_for(rest).await;
    cluster.check()?;
    // Events go by themselves after an hour.
    let unasked = cluster.log_since(before, |line| !is_heartbeat(line) && !line.contains(" DELETED Event "));
    anyhow::ensure!(unasked.is_empty(), "a cluster at rest writes:\n  {}", unasked.join("\n  "));
    Ok(())
}

/// Whether a line of the log is a sign of life: a node or a leader renews its Lease, a kubelet says how its node is.
pub fn is_heartbeat(line: &str) -> bool {
    line.contains(" Lease ") || line.contains(" MODIFIED Node ")
}

async fn take(cluster: &Cluster, step: &Step) -> anyhow::Result<()> {
    match step {
        Step::Scale(Workload::Web, replicas) => {
            patch(cluster, &resource::DEPLOYMENTS, "web", json!({"spec": {"replicas": replicas}})).await?;
        }
        Step::Scale(Workload::Db, replicas) => {
            patch(cluster, &resource::STATEFUL_SETS, "db", json!({"spec": {"replicas": replicas}})).await?;
        }
        Step::Scale(Workload::Agent, size) => {
            patch(cluster, &resource::DAEMON_SETS, "agent", workloads::surge(size % 2 == 0)).await?;
        }
        Step::Update(workload, version) => {
            let (resource, name) = match workload {
                Workload::Web => (resource::DEPLOYMENTS, "web"),
                Workload::Db => (resource::STATEFUL_SETS, "db"),
                Workload::Agent => (resource::DAEMON_SETS, "agent"),
            };
            patch(cluster, &resource, name, workloads::update(name, *version)).await?;
        }
        Step::RunJob(number) => {
            let _: Value = cluster.api.create(&resource::JOBS, "default", &workloads::job(*number)).await?;
        }
        Step::DeletePod(which) => {
            if let Some(pod) = some_pod(cluster, *which, |app| app != GUARDED) {
                let gone = cluster.api.delete(&resource::PODS, &pod, &DeleteOptions::default()).await;
                forgive(gone.map(drop))?;
            }
        }
        Step::Evict(which) => evict(cluster, *which).await?,
        Step::TimePasses(time) => cluster.run_for(*time).await,
        Step::Leap(time) => cluster.leap(*time),
        Step::LoseReplies(component, count) => cluster.link(*component).lose_replies(*count),
        Step::BreakWatches(component) => cluster.link(*component).break_watches(),
        Step::Compact => cluster.compact().await?,
        Step::Crash(component, pause) => cluster.crash(*component, *pause).await,
        Step::LoseNode(number) => cluster.lose_node(&format!("node-{}", number + 1)),
        Step::NodesReturn => cluster.return_nodes(),
    }
    Ok(())
}

/// Somebody else may have been faster.
fn forgive(answer: Result<(), client::Error>) -> anyhow::Result<()> {
    match answer {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
        _ => Ok(()),
    }
}

/// One of the Pods that are at work, of these apps.
fn some_pod(cluster: &Cluster, which: u64, wanted: impl Fn(&str) -> bool) -> Option<Key> {
    let mut pods = cluster.look(|safety| {
        let app = |labels: &std::collections::BTreeMap<String, String>| {
            labels.get("app").is_some_and(|app| wanted(app))
        };
        let pods = safety.of_kind("Pod").filter(|pod| pod.is_active() && app(&pod.metadata.labels));
        pods.map(|pod| Key::new(&pod.metadata.namespace, &pod.metadata.name)).collect::<Vec<_>>()
    });
    let count = u64::try_from(pods.len()).unwrap_or(u64::MAX).max(1);
    let which = usize::try_from(which % count).unwrap_or_default();
    (which < pods.len()).then(|| pods.swap_remove(which))
}

async fn evict(cluster: &Cluster, which: u64) -> anyhow::Result<()> {
    let Some(pod) = some_pod(cluster, which, |app| app == GUARDED) else { return Ok(()) };
    let api = cluster.client(crate::safety::EVICTOR, &["system:masters"]);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace}});
    match api.create_subresource::<Value>(&resource::PODS, &pod, "eviction", &eviction).await {
        // The budget says no.
        Err(error) if error.status().is_some_and(|status| status.code == 429) => Ok(()),
        answer => forgive(answer.map(drop)),
    }
}

async fn patch(cluster: &Cluster, resource: &Resource, name: &str, change: Value) -> anyhow::Result<()> {
    let key = Key::new("default", name);
    let _: Value = cluster.api.patch(resource, &key, "", &Patch::strategic(change)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_script_and_every_step_comes_up() {
        assert_eq!(script(3, 50), script(3, 50));
        assert_ne!(script(3, 50), script(4, 50));
        let steps = script(1, 1000);
        let kinds: std::collections::BTreeSet<String> = steps
            .iter()
            .map(|step| format!("{step:?}").chars().take_while(char::is_ascii_alphabetic).collect())
            .collect();
        assert_eq!(kinds.len(), 13, "{kinds:?}");
    }
}
