//! `NodeDeclaredFeatures`: a node must have said that it knows what the Pod makes use of (KEP-5328).

use crate::{
    plugin::{ClusterEvent, Filtering, Plugin, Point, Rejection, WhatIf},
    pod::Pod,
    snapshot::{Row, Snapshot},
};

/// Keeps Pods off nodes that do not know what they make use of.
#[derive(Debug)]
pub struct NodeDeclaredFeatures;

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatures"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        if pod.features.is_empty() {
            return Ok(Filtering::Skip);
        }
        let knows = move |row: Row, feature: &str| {
            snapshot.node(row).declared_features.iter().any(|declared| **declared == *feature)
        };
        let judge = move |row: Row, _: &WhatIf<'_>| {
            if pod.features.iter().all(|feature| knows(row, feature)) {
                Ok(())
            } else {
                Err(Rejection::for_good("node(s) didn't match Pod's required features"))
            }
        };
        Ok(Filtering::All(Box::new(judge)))
    }

    fn may_help(&self, _pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated { old, new } => old.declared_features != new.declared_features,
            // What a Pod makes use of does not change.
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{judged, pod, snapshot};

    #[test]
    fn a_node_must_know_what_the_pod_makes_use_of() {
        let node = |name: &str, features: Value| json!({"metadata": {"name": name}, "status": {"declaredFeatures": features}});
        let nodes = snapshot(
            [
                node("a", json!(["RestartAllContainersOnContainerExits"])),
                node("b", json!(["UserNamespacesHostNetworkSupport"])),
                node("c", Value::Null),
            ],
            [],
        );
        let no = "node(s) didn't match Pod's required features!";
        let restarting = json!({"containers": [{"name": "c", "restartPolicyRules": [{"action": "RestartAllContainers"}]}]});
        for (spec, expected) in [
            (json!({"containers": [{"name": "c"}]}), "skip".to_owned()),
            (restarting, format!("yes | {no} | {no}")),
            (json!({"hostNetwork": true, "hostUsers": false}), format!("{no} | yes | {no}")),
            (json!({"hostNetwork": true, "hostUsers": true}), "skip".to_owned()),
            (json!({"hostNetwork": true}), "skip".to_owned()),
        ] {
            assert_eq!(
                judged(&NodeDeclaredFeatures, &pod(json!({"spec": spec})), &nodes),
                expected,
                "{spec}"
            );
        }
    }
}
