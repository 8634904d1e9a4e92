//! `NodeUnschedulable`: a cordoned node takes only Pods that tolerate it.

use crate::{
    node::Node,
    plugin::{ClusterEvent, Filtering, OfNode, Plugin, Point, Rejection, WhatIf},
    pod::{Effect, Pod, Taint},
    snapshot::{Row, Snapshot},
};

/// Keeps Pods from cordoned nodes.
#[derive(Debug)]
pub struct NodeUnschedulable;

/// Whether a Pod goes to cordoned nodes too: it tolerates the taint they get.
fn tolerates(pod: &Pod) -> bool {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        value: Box::default(),
        effect: Effect::NoSchedule,
    };
    pod.tolerations.iter().any(|toleration| toleration.tolerates(&taint))
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Filter]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        if tolerates(pod) {
            return Ok(Filtering::Skip);
        }
        Ok(Filtering::All(Box::new(OfNode(move |row: Row, _: &WhatIf<'_>| {
            if snapshot.node(row).unschedulable {
                Err(Rejection::for_good("node(s) were unschedulable"))
            } else {
                Ok(())
            }
        }))))
    }

    fn may_help(&self, _pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::OwnUpdate { new, .. } => tolerates(new),
            event => event.node_becomes(|node: &Node| !node.unschedulable),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugins::tests::{judged, pod, snapshot};

    #[test]
    fn a_cordoned_node_takes_only_who_tolerates_it() {
        let nodes = snapshot(
            [
                json!({"metadata": {"name": "a"}, "spec": {"unschedulable": true}}),
                json!({"metadata": {"name": "b"}}),
            ],
            [],
        );
        assert_eq!(judged(&NodeUnschedulable, &pod(json!({})), &nodes), "node(s) were unschedulable! | yes");
        let tolerant = pod(json!({"spec": {"tolerations": [
            {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}}));
        assert_eq!(judged(&NodeUnschedulable, &tolerant, &nodes), "skip");
    }
}
