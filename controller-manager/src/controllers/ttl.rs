//! TTL: tells each node for how long it may believe what it has read of Secrets and ConfigMaps. The more nodes there are,
//! the longer, so that the server is not asked too often.
//!
//! The steps overlap, so that a cluster whose size is near a border does not go back and forth: a node keeps its step as
//! long as that covers the size.

use std::{ops::RangeInclusive, sync::Arc};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers,
    controller::{Patch, Request},
    resource::NODES,
};
use jiff::Timestamp;
use serde_json::json;

use crate::kinds::Node;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
/// For which numbers of nodes a step is right, and how many seconds it means.
static STEPS: [(RangeInclusive<usize>, &str); 5] =
    [(0..=100, "0"), (90..=500, "15"), (450..=1000, "30"), (900..=2000, "60"), (1800..=usize::MAX, "300")];

/// Tells nodes how long to believe what they have read.
#[derive(Debug)]
pub struct Ttl;

/// All that matters to a node.
#[derive(Debug)]
pub struct Observed {
    node: Arc<Node>,
    nodes: usize,
}

impl Controller for Ttl {
    type Root = Node;
    type Observed = Observed;
    const NAME: &'static str = "ttl-controller";

    fn triggers(&self, on: &mut Triggers<Node>) {
        // Nodes report every few seconds; only their number matters, and what they were told.
        on.changes::<Node>(|change, caches| {
            if let Change::Modified { old, new } = change {
                let same = told(old) == told(new);
                return if same { Vec::new() } else { vec![new.key()] };
            }
            let nodes = caches.read::<Node>().list();
            let count = nodes.len();
            nodes.iter().filter(|node| !is_right(node, count)).map(|node| node.key()).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let nodes = caches.read::<Node>();
        Some(Observed { node: nodes.get(root)?, nodes: nodes.len() })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { node, nodes } = observed;
        if is_right(node, *nodes) {
            return Plan::because("the node is told the right time");
        }
        let Some((_, seconds)) = steps(*nodes).next() else {
            return Plan::because("there are no such steps");
        };
        let patch = Patch::strategic(json!({"metadata": {"annotations": {ANNOTATION: seconds}}}));
        Plan::because(format!("with {nodes} nodes each may believe for {seconds} seconds what it has read"))
            .then(Request::patch(NODES, node.key(), patch).if_same(&node.metadata.uid))
    }
}

fn told(node: &Node) -> Option<&str> {
    node.metadata.annotations.get(ANNOTATION)
}

/// The steps that are right for so many nodes.
fn steps(nodes: usize) -> impl Iterator<Item = &'static (RangeInclusive<usize>, &'static str)> {
    STEPS.iter().filter(move |(range, _)| range.contains(&nodes))
}

fn is_right(node: &Node, nodes: usize) -> bool {
    steps(nodes).any(|(_, seconds)| told(node) == Some(*seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_time_until_the_number_of_nodes_is_out_of_its_step() {
        for (nodes, told, wanted) in [
            (1, None, Some("0")),
            (95, Some("0"), None),
            (95, Some("15"), None),
            (101, Some("0"), Some("15")),
            (89, Some("15"), Some("0")),
            (5000, Some("60"), Some("300")),
            (5000, Some("nonsense"), Some("300")),
        ] {
            let annotations = told.map_or(json!({}), |told| json!({ANNOTATION: told}));
            let node = serde_json::from_value(json!({"metadata": {"name": "n", "annotations": annotations}}))
                .unwrap();
            let plan = Ttl.reconcile(&Observed { node: Arc::new(node), nodes }, Timestamp::UNIX_EPOCH);
            let why = plan.why.to_string();
            assert_eq!(plan.writes.len(), usize::from(wanted.is_some()), "{nodes} {told:?}");
            assert!(wanted.is_none_or(|wanted| why.contains(&format!(" {wanted} seconds"))), "{why}");
        }
    }
}
