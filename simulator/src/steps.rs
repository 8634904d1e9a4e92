//! Scripts of client writes, faults and passing time, drawn from a seed or written by hand.
//!
//! While a script is followed, what must hold is checked after every change ([`crate::safety`]). When the faults stop,
//! the cluster must come to rest, and stay there.
//!
//! Invariant: a script is a value. The same seed gives the same script, whatever the cluster does.

use std::time::Duration;

use client::{Key, api::Patch, resource};
use runtime::Random;
use serde_json::{Value, json};

use crate::{
    cluster::{COMPONENTS, Cluster, Component, Figures},
    safety::{Safety, object::Object},
    scenarios,
};

/// How long a cluster may take to come to rest: a controller that failed often waits up to minutes for its next try.
const PATIENCE: Duration = Duration::from_secs(1200);
/// How long it must then stay there.
const REST: Duration = Duration::from_secs(120);
/// A node that is silent for longer is given up, and its Pods with it.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client gives the Deployment another size.
    Scale(u64),
    /// A client gives the Deployment another image.
    Update(u64),
    /// A client starts a Job.
    RunJob(u64),
    /// Nothing but time.
    TimePasses(Duration),
    /// A component's next writes are carried out, and it does not learn of it.
    LoseReplies(Component, u32),
    /// A component's watches break off.
    BreakWatches(Component),
    /// The store forgets what was overwritten.
    Compact,
    /// A component is gone, and comes back after a while, knowing nothing.
    Crash(Component, Duration),
}

/// The script of a seed.
pub fn script(seed: u64, steps: usize) -> Vec<Step> {
    let random = Random::from_seed(seed);
    let component = || match random.below(3) {
        0 => Component::ControllerManager,
        1 => Component::Scheduler,
        _ => Component::Nodes,
    };
    // Most pauses are of the order of what the components do; a few are long.
    let pause = || Duration::from_millis(1 << random.below(15));
    (1..=u64::try_from(steps).unwrap_or(u64::MAX))
        .map(|number| match random.below(12) {
            0 => Step::Scale(1 + random.below(6)),
            1 | 2 => Step::Update(number),
            3 => Step::RunJob(number),
            4..=6 => Step::TimePasses(pause()),
            7 | 8 => Step::LoseReplies(component(), 1 + u32::from(random.below(2) == 1)),
            9 => Step::BreakWatches(component()),
            10 => Step::Compact,
            _ => Step::Crash(component(), pause().min(SILENCE_MAX)),
        })
        .collect()
}

/// Sets up the usual Deployment and Service, follows the script, lets the faults stop and the cluster come to rest.
///
/// # Errors
/// What did not hold, and after which step.
pub async fn follow(cluster: &Cluster, script: &[Step]) -> anyhow::Result<Figures> {
    scenarios::set_up(cluster).await?;
    for (number, step) in script.iter().enumerate() {
        take(cluster, step).await?;
        cluster.run_for(Duration::from_millis(5)).await;
        cluster.check().map_err(|error| error.context(format!("after step {number}, {step:?}")))?;
    }
    for component in COMPONENTS {
        let forbidden = cluster.link(component).forbidden();
        anyhow::ensure!(forbidden.is_empty(), "{component:?} may not do what it wants to: {forbidden:?}");
        cluster.link(component).lose_replies(0);
    }
    cluster.run_until("at rest", PATIENCE, at_rest).await?;
    let settled = cluster.look(resting);
    cluster.run_for(REST).await;
    cluster.check()?;
    anyhow::ensure!(cluster.look(at_rest), "the cluster came to rest and did not stay there");
    let now = cluster.look(resting);
    anyhow::ensure!(settled == now, "what was at rest was changed:\n  {settled:?}\n  {now:?}");
    Ok(cluster.figures())
}

async fn take(cluster: &Cluster, step: &Step) -> anyhow::Result<()> {
    match step {
        Step::Scale(replicas) => patch(cluster, json!({"spec": {"replicas": replicas}})).await?,
        Step::Update(version) => patch(cluster, scenarios::image(*version)).await?,
        Step::RunJob(number) => scenarios::run_job(cluster, *number).await?,
        Step::TimePasses(time) => cluster.run_for(*time).await,
        Step::LoseReplies(component, count) => {
            cluster.expect_unknown_writes(i64::from(*count));
            cluster.link(*component).lose_replies(*count);
        }
        Step::BreakWatches(component) => cluster.link(*component).break_watches(),
        Step::Compact => cluster.compact().await?,
        Step::Crash(component, pause) => cluster.crash(*component, *pause).await,
    }
    Ok(())
}

async fn patch(cluster: &Cluster, change: Value) -> anyhow::Result<()> {
    let key = Key::new("default", "web");
    let _: Value = cluster.api.patch(&resource::DEPLOYMENTS, &key, "", &Patch::strategic(change)).await?;
    Ok(())
}

/// Every Deployment is rolled out, every Job is done, and there is no Pod too many.
fn at_rest(world: &Safety) -> bool {
    let wanted: i64 = world.of_kind("Deployment").filter_map(|it| it.spec.replicas).sum();
    let serving =
        world.of_kind("Pod").filter(|pod| !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed"));
    world.of_kind("Deployment").all(Object::is_rolled_out)
        && world.of_kind("Job").all(|job| job.is_true("Complete"))
        && i64::try_from(serving.count()).is_ok_and(|serving| serving == wanted)
}

/// The Pods that serve and what was decided about them, by uid and generation.
fn resting(world: &Safety) -> Vec<(String, String, i64)> {
    ["Deployment", "ReplicaSet", "Pod"]
        .into_iter()
        .flat_map(|kind| world.of_kind(kind))
        .filter(|it| !matches!(it.status.phase.as_str(), "Succeeded" | "Failed"))
        .map(|it| (it.full_name(), it.metadata.uid.clone(), it.metadata.generation))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_script_and_every_step_comes_up() {
        assert_eq!(script(3, 50), script(3, 50));
        assert_ne!(script(3, 50), script(4, 50));
        let steps = script(1, 500);
        let kinds: std::collections::BTreeSet<String> = steps
            .iter()
            .map(|step| format!("{step:?}").chars().take_while(char::is_ascii_alphabetic).collect())
            .collect();
        assert_eq!(kinds.len(), 8, "{kinds:?}");
    }
}
