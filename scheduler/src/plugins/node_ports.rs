//! `NodePorts`: a host port can be had once.

use crate::{
    plugin::{ClusterEvent, Filtering, OfNode, Plugin, Point, Rejection, WhatIf},
    pod::{HostPort, Pod},
    snapshot::{Row, Snapshot},
};

/// Keeps host ports apart.
#[derive(Debug)]
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        if pod.host_ports.is_empty() {
            return Ok(Filtering::Skip);
        }
        Ok(Filtering::All(Box::new(OfNode(move |row: Row, what_if: &WhatIf<'_>| {
            let is_free = |wanted: &HostPort| {
                if what_if.is_nothing() {
                    return snapshot.has_port(row, wanted);
                }
                let mut taken = what_if.pods(snapshot, row).flat_map(|pod| &pod.host_ports);
                !taken.any(|port| port.conflicts_with(wanted))
            };
            if pod.host_ports.iter().all(is_free) {
                Ok(())
            } else {
                Err(Rejection::for_now("node(s) didn't have free ports for the requested pod ports"))
            }
        }))))
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::PodRemoved(gone) => gone
                .host_ports
                .iter()
                .any(|port| pod.host_ports.iter().any(|wanted| wanted.conflicts_with(port))),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{judged, pod, snapshot};

    fn with_port(port: Value) -> Value {
        json!({"metadata": {"uid": "u"}, "spec": {"nodeName": "a", "containers": [{"ports": [port]}]}})
    }

    #[test]
    fn a_port_can_be_had_once_an_address_and_protocol() {
        let taken = json!({"hostPort": 80, "hostIP": "127.0.0.1", "protocol": "TCP"});
        let nodes = snapshot([json!({"metadata": {"name": "a"}})], [with_port(taken)]);
        let no = "node(s) didn't have free ports for the requested pod ports";
        for (port, expected) in [
            (json!({"containerPort": 80}), "skip"),
            (json!({"hostPort": 80}), no),
            (json!({"hostPort": 81}), "yes"),
            (json!({"hostPort": 80, "protocol": "UDP"}), "yes"),
            (json!({"hostPort": 80, "hostIP": "127.0.0.1"}), no),
            (json!({"hostPort": 80, "hostIP": "127.0.0.2"}), "yes"),
        ] {
            assert_eq!(judged(&NodePorts, &pod(with_port(port.clone())), &nodes), expected, "{port}");
        }
    }
}
