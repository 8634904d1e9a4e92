//! `PodTopologyLabels`: a Pod that has its Node carries the Node's zone and region as labels (KEP-4742).

use std::sync::Weak;

use api_types::{
    object::{ObjectExt, object_at},
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin, cached};
use crate::server::Server;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// The plugin.
#[derive(Debug)]
pub(super) struct PodTopologyLabels(pub(super) Weak<Server>);

impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.change(attributes))
    }
}

impl PodTopologyLabels {
    async fn change(&self, attributes: &mut Attributes) -> Result<(), Status> {
        let node = match (attributes.operation, attributes.subresource.as_str()) {
            (Operation::Create, "") if attributes.is("", "pods", "") => "/spec/nodeName",
            // The labels of a Binding become the Pod's.
            (Operation::Create, "binding")
                if attributes.is("", "pods", "binding")
                    && attributes.object.pointer("/target/kind").is_some_and(|kind| kind == "Node") =>
            {
                "/target/name"
            }
            _ => return Ok(()),
        };
        let node = attributes.object.pointer(node).and_then(Value::as_str).filter(|node| !node.is_empty());
        let Some(node) = node else { return Ok(()) };
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        if let Some(node) = cached(&server, ("", "nodes"), "", node).await {
            copy(|key| node.header.labels.get(key), &mut attributes.object);
        }
        Ok(())
    }
}

fn copy<'a>(label: impl Fn(&str) -> Option<&'a str>, pod: &mut Value) {
    for key in LABELS {
        if let Some(value) = label(key) {
            object_at(pod.meta_mut(), "labels").insert(key.to_owned(), json!(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_topology_wins_over_the_pods_own() {
        let node = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "a", "other": "b"}}});
        let mut pod = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "x", "app": "y"}}});
        copy(|key| node.label(key), &mut pod);
        assert_eq!(
            pod.pointer("/metadata/labels"),
            Some(&json!({"topology.kubernetes.io/zone": "a", "app": "y"}))
        );
        let mut plain = json!({"metadata": {}});
        copy(|_| None, &mut plain);
        assert_eq!(plain, json!({"metadata": {}}));
    }
}
