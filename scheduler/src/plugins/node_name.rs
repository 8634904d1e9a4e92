//! `NodeName`: a Pod that names its node goes nowhere else.

use crate::{
    plugin::{ClusterEvent, Filtering, OfNode, Plugin, Point, Rejection, WhatIf},
    pod::Pod,
    snapshot::{Row, Snapshot},
};

/// Keeps to the name.
#[derive(Debug)]
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Filter]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        if !pod.is_assigned() {
            return Ok(Filtering::Skip);
        }
        Ok(Filtering::All(Box::new(OfNode(move |row: Row, _: &WhatIf<'_>| {
            if *snapshot.node(row).name() == *pod.node_name {
                Ok(())
            } else {
                Err(Rejection::for_good("node(s) didn't match the requested node name"))
            }
        }))))
    }

    fn may_help(&self, _pod: &Pod, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded(_))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugins::tests::{judged, pod, snapshot};

    #[test]
    fn a_named_node_is_the_only_one() {
        let nodes = snapshot([json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}})], []);
        assert_eq!(judged(&NodeName, &pod(json!({})), &nodes), "skip");
        assert_eq!(
            judged(&NodeName, &pod(json!({"spec": {"nodeName": "b"}})), &nodes),
            "node(s) didn't match the requested node name! | yes"
        );
    }
}
