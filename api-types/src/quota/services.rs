//! What a Service uses.

use serde::Deserialize;

use super::{Amounts, number, or_default};

/// What quotas look at in a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    /// What is wanted.
    #[serde(deserialize_with = "or_default")]
    pub spec: Spec,
}

/// What is wanted of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    pub r#type: Box<str>,
    /// What it serves.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<Port>,
    /// Whether a load balancer needs ports of nodes; it does unless it says otherwise.
    pub allocate_load_balancer_node_ports: Option<bool>,
}

/// A port of a Service.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// The port of the nodes; none if 0.
    #[serde(deserialize_with = "or_default")]
    pub node_port: i32,
}

/// Whether a name is of what Services use.
pub fn measures(name: &str) -> bool {
    matches!(name, "count/services" | "services" | "services.nodeports" | "services.loadbalancers")
}

// === impl Service ===

impl Service {
    /// What it uses. Ports of nodes may not be given out yet, so what counts is how many it is going to have.
    pub fn usage(&self) -> Amounts {
        let spec = &self.spec;
        let ports = match &*spec.r#type {
            "LoadBalancer" if spec.allocate_load_balancer_node_ports == Some(false) => {
                spec.ports.iter().filter(|port| port.node_port != 0).count()
            }
            "NodePort" | "LoadBalancer" => spec.ports.len(),
            _ => 0,
        };
        Amounts::from([
            ("count/services".into(), number(1)),
            ("services".into(), number(1)),
            ("services.nodeports".into(), number(ports)),
            ("services.loadbalancers".into(), number(i64::from(&*spec.r#type == "LoadBalancer"))),
        ])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_of_nodes_and_load_balancers_are_counted() {
        let ports = json!([{"port": 1, "nodePort": 30000}, {"port": 2}]);
        for (spec, of_nodes, balancers) in [
            (json!({"ports": ports}), 0, 0),
            (json!({"type": "ClusterIP", "ports": ports}), 0, 0),
            (json!({"type": "NodePort", "ports": ports}), 2, 0),
            (json!({"type": "LoadBalancer", "ports": ports}), 2, 1),
            (json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}), 1, 1),
            (json!({"type": "ExternalName", "ports": null}), 0, 0),
        ] {
            let service: Service = serde_json::from_value(json!({"spec": spec})).unwrap();
            let usage = service.usage();
            assert!(usage.keys().all(|name| measures(name)));
            assert_eq!(
                (usage["services.nodeports"].value(), usage["services.loadbalancers"].value()),
                (of_nodes, balancers),
                "{spec}"
            );
        }
    }
}
