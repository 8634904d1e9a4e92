//! `NodeResourcesFit`: a node must have what the Pod asks for, and the emptier one is better.

use std::borrow::Cow;

use crate::{
    node::Node,
    plugin::{ClusterEvent, Filtering, Plugin, Point, Rejection, SCORE_MAX, Score},
    pod::Pod,
    snapshot::{Row, Snapshot},
};

/// Compares what is asked for with what is left.
#[derive(Debug)]
pub struct NodeResourcesFit;

/// `LeastAllocated` over CPU and memory, as the default profile has it.
struct LeastAllocated<'a> {
    pod: &'a Pod,
    snapshot: &'a Snapshot,
}

fn fit(pod: &Pod, snapshot: &Snapshot, row: Row) -> Result<(), Rejection> {
    let (has, taken) = (snapshot.allocatable(row), snapshot.requested(row));
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    let mut preemption_may_help = true;
    if taken.pods() + 1 > has.pods() {
        reasons.push("Too many pods".into());
    }
    let mut check = |wanted: i64, has: i64, taken: i64, reason: Cow<'static, str>| {
        if wanted > 0 && wanted > has - taken {
            reasons.push(reason);
            preemption_may_help &= wanted <= has;
        }
    };
    let wanted = &pod.requests;
    check(wanted.cpu, has.cpu(), taken.cpu(), "Insufficient cpu".into());
    check(wanted.memory, has.memory(), taken.memory(), "Insufficient memory".into());
    check(wanted.storage, has.storage(), taken.storage(), "Insufficient ephemeral-storage".into());
    for (name, amount) in &wanted.extended {
        let (has, taken) = (has.extended(name), taken.extended(name));
        if *amount > has - taken {
            check(*amount, has, taken, format!("Insufficient {name}").into());
        }
    }
    if reasons.is_empty() { Ok(()) } else { Err(Rejection { reasons, preemption_may_help }) }
}

/// Whether an empty node would do.
fn fits_empty(pod: &Pod, node: &Node) -> bool {
    let (wanted, has) = (&pod.requests, &node.allocatable);
    node.pods_max > 0
        && wanted.cpu <= has.cpu
        && wanted.memory <= has.memory
        && wanted.storage <= has.storage
        && wanted.extended.iter().all(|(name, amount)| *amount <= has.extended(name))
}

/// Whether a node has more of something the Pod asks for.
fn grew(pod: &Pod, old: &Node, new: &Node) -> bool {
    let wanted = &pod.requests;
    let more = |wanted: i64, old: i64, new: i64| wanted > 0 && new > old;
    new.pods_max > old.pods_max
        || more(wanted.cpu, old.allocatable.cpu, new.allocatable.cpu)
        || more(wanted.memory, old.allocatable.memory, new.allocatable.memory)
        || more(wanted.storage, old.allocatable.storage, new.allocatable.storage)
        || wanted.extended.iter().any(|(name, amount)| {
            more(*amount, old.allocatable.extended(name), new.allocatable.extended(name))
        })
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        Ok(Filtering::All(Box::new(move |row: Row| fit(pod, snapshot, row))))
    }

    fn score<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &'a Snapshot,
        _feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        Some(Box::new(LeastAllocated { pod, snapshot }))
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(node) => fits_empty(pod, node),
            ClusterEvent::NodeUpdated { old, new } => fits_empty(pod, new) && grew(pod, old, new),
            ClusterEvent::PodRemoved(_) => true,
            ClusterEvent::PodUpdated { old, new } | ClusterEvent::OwnUpdate { old, new } => {
                let less = |old: i64, new: i64| new < old;
                less(old.requests.cpu, new.requests.cpu)
                    || less(old.requests.memory, new.requests.memory)
                    || less(old.requests.storage, new.requests.storage)
            }
            ClusterEvent::NodeDeleted(_)
            | ClusterEvent::PodAssigned(_)
            | ClusterEvent::NamespaceUpdated(_) => false,
        }
    }
}

impl Score for LeastAllocated<'_> {
    fn rate(&self, row: Row) -> i64 {
        let has = self.snapshot.allocatable(row);
        let (cpu, memory) = self.snapshot.scored(row);
        let (more_cpu, more_memory) = self.pod.scored;
        let mut sum = 0;
        let mut weights = 0;
        for (has, taken) in [(has.cpu(), cpu + more_cpu), (has.memory(), memory + more_memory)] {
            if has > 0 {
                weights += 1;
                sum += if taken > has { 0 } else { (has - taken).saturating_mul(SCORE_MAX) / has };
            }
        }
        if weights == 0 { 0 } else { sum / weights }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{judged, node, pod, scored, snapshot};

    fn machine(name: &str, cpu: &str, memory: &str) -> Value {
        json!({"metadata": {"name": name}, "status": {"allocatable": {
            "cpu": cpu, "memory": memory, "pods": "2", "ephemeral-storage": "10", "example.com/gpu": "1"}}})
    }

    fn asks(uid: &str, node: &str, requests: Value) -> Value {
        json!({"metadata": {"uid": uid}, "spec": {"nodeName": node, "containers": [{"resources": {"requests": requests}}]}})
    }

    #[test]
    fn a_node_must_have_all_that_is_asked_for() {
        let nodes = snapshot(
            [machine("a", "2", "100"), machine("b", "4", "50")],
            [asks("1", "b", json!({"cpu": "3", "memory": "10"})), asks("2", "b", json!({}))],
        );
        for (requests, expected) in [
            (json!({}), "yes | Too many pods"),
            (json!({"cpu": "2"}), "yes | Too many pods, Insufficient cpu"),
            (json!({"cpu": "2001m"}), "Insufficient cpu! | Too many pods, Insufficient cpu"),
            (json!({"memory": "101"}), "Insufficient memory! | Too many pods, Insufficient memory!"),
            (
                json!({"ephemeral-storage": "11"}),
                "Insufficient ephemeral-storage! | Too many pods, Insufficient ephemeral-storage!",
            ),
            (
                json!({"example.com/gpu": "2"}),
                "Insufficient example.com/gpu! | Too many pods, Insufficient example.com/gpu!",
            ),
            (json!({"example.com/gpu": "1"}), "yes | Too many pods"),
        ] {
            assert_eq!(
                judged(&NodeResourcesFit, &pod(asks("3", "", requests.clone())), &nodes),
                expected,
                "{requests}"
            );
        }
    }

    #[test]
    fn the_emptier_node_is_better() {
        let nodes = snapshot(
            [machine("a", "4", "1000Mi"), machine("b", "4", "1000Mi"), machine("c", "0", "0")],
            [asks("1", "b", json!({"cpu": "1", "memory": "500Mi"}))],
        );
        // a: (4-1)/4 and (1000-500)/1000; b: (4-2)/4 and nothing left; c has nothing to compare.
        let incoming = pod(asks("2", "", json!({"cpu": "1", "memory": "500Mi"})));
        assert_eq!(scored(&NodeResourcesFit, &incoming, &nodes).unwrap(), [62, 25, 0]);
        // Who asks for nothing counts as 0.1 cores and 200 MiB.
        let modest = pod(asks("2", "", json!({})));
        assert_eq!(scored(&NodeResourcesFit, &modest, &nodes).unwrap(), [88, 51, 0]);
    }

    #[test]
    fn only_more_of_what_is_asked_for_may_help() {
        let wants = pod(asks("1", "", json!({"cpu": "3"})));
        let node = |cpu: &str, memory: &str| std::sync::Arc::new(node(machine("a", cpu, memory)));
        let updated = |old, new| ClusterEvent::NodeUpdated { old, new };
        for (event, expected) in [
            (ClusterEvent::NodeAdded(node("4", "1")), true),
            (ClusterEvent::NodeAdded(node("2", "1")), false),
            (updated(node("2", "1"), node("4", "1")), true),
            (updated(node("4", "1"), node("4", "2")), false),
            (ClusterEvent::PodRemoved(std::sync::Arc::new(pod(json!({})))), true),
            (ClusterEvent::PodAssigned(std::sync::Arc::new(pod(json!({})))), false),
        ] {
            assert_eq!(NodeResourcesFit.may_help(&wants, &event), expected, "{event:?}");
        }
    }
}
