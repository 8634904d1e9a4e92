//! A Node and its Lease, as a kubelet keeps them.

use std::time::Duration;

use api_types::object::ObjectExt;
use client::{
    Caches, Controller, Key, Kind, Meta, Plan, Resource, Triggers,
    controller::{OnFailure, Request},
    meta::{micro_time, time},
    resource,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Silence, addresses};

/// How often a Lease is renewed.
const RENEW: Duration = Duration::from_secs(10);
/// How long a Lease is good for.
const LEASE_SECONDS: i32 = 40;
/// How often a Node says that nothing has changed.
const HEARTBEAT_SECONDS: i64 = 300;
/// The namespace of the Leases.
const LEASES: &str = "kube-node-lease";
/// What a kubelet of that version says it knows, if it is not told otherwise (KEP-5328).
const DECLARED_FEATURES: [&str; 4] = [
    "ExtendWebSocketsToKubelet",
    "GuaranteedQoSPodCPUResize",
    "InPlacePodLevelResourcesVerticalScaling",
    "RestartAllContainersOnContainerExits",
];
/// The version the nodes claim to be.
const KUBELET_VERSION: &str = "v1.36.2";

/// A Node, as far as its own kubelet looks at it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    metadata: Meta,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    r#type: Box<str>,
    status: Box<str>,
    last_heartbeat_time: Option<Timestamp>,
    last_transition_time: Option<Timestamp>,
}

/// A Lease, as far as its holder looks at it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Lease {
    metadata: Meta,
    spec: LeaseSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LeaseSpec {
    renew_time: Option<Timestamp>,
}

/// Keeps the Nodes.
#[derive(Debug)]
pub struct HollowNodes {
    names: Vec<String>,
    booted: Timestamp,
    silence: Silence,
}

/// All that matters to a Node.
#[derive(Debug)]
pub struct Observed {
    name: String,
    number: usize,
    booted: Timestamp,
    node: Option<Node>,
    lease: Option<Lease>,
}

// === impl Node, Lease ===

impl Kind for Node {
    const RESOURCE: Resource = resource::NODES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Kind for Lease {
    const RESOURCE: Resource = resource::LEASES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

// === impl HollowNodes ===

impl HollowNodes {
    /// Keeps nodes of these names.
    pub fn new(names: Vec<String>, booted: Timestamp, silence: Silence) -> Self {
        Self { names, booted, silence }
    }
}

impl Controller for HollowNodes {
    type Root = Node;
    type Observed = Observed;
    const NAME: &'static str = "hollow-node";

    fn triggers(&self, on: &mut Triggers<Node>) {
        on.root();
        on.mapped::<Lease>(|lease, _| {
            if &*lease.metadata.namespace == LEASES {
                vec![Key::cluster(&lease.metadata.name)]
            } else {
                Vec::new()
            }
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let number = self.names.iter().position(|name| **name == *root.name)?;
        if self.silence.is_on(&root.name) {
            return None;
        }
        Some(Observed {
            name: root.name.as_ref().to_owned(),
            number,
            booted: self.booted,
            node: caches.read::<Node>().get(root).map(|node| (*node).clone()),
            lease: caches.read::<Lease>().get(&Key::new(LEASES, &root.name)).map(|lease| (*lease).clone()),
        })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let Some(node) = &observed.node else {
            return Plan::because("the Node is not registered")
                .then(Request::create(resource::NODES, "", node_object(observed, now)))
                .look_again(RENEW);
        };
        let mut plan = Plan::because("the Lease says that the node is alive").look_again(RENEW);
        if heartbeat_due(node, now) {
            plan.why = "the Node says how it is".into();
            let status = json!({"status": status(observed, node, now)});
            plan = plan.then(
                Request::patch(
                    resource::NODES,
                    node.key(),
                    client::controller::plan::Patch::strategic(status),
                )
                .on("status"),
            );
        }
        match &observed.lease {
            None => {
                let mut lease = lease_object(observed, now);
                lease.set_meta(
                    "ownerReferences",
                    json!([{"apiVersion": "v1", "kind": "Node", "name": observed.name, "uid": node.metadata.uid}]),
                );
                // The namespace may be missing for a moment in a new cluster.
                plan.then(Request::create(resource::LEASES, LEASES, lease).on_failure(OnFailure::GoOn))
            }
            Some(lease) => match renewal_in(lease, now) {
                Some(left) => plan.look_again(left),
                None => plan.then(Request::patch(
                    resource::LEASES,
                    lease.key(),
                    client::controller::plan::Patch::merge(json!({"spec": {"renewTime": micro_time(now)}})),
                )),
            },
        }
    }
}

/// How long the Lease need not be renewed; `None` if it must be now.
fn renewal_in(lease: &Lease, now: Timestamp) -> Option<Duration> {
    let passed = now.duration_since(lease.spec.renew_time?);
    // A renewal a little early does no harm, one forgotten does.
    RENEW
        .checked_sub(passed.unsigned_abs())
        .filter(|left| !passed.is_negative() && *left > Duration::from_millis(50))
}

fn heartbeat_due(node: &Node, now: Timestamp) -> bool {
    match ready(node) {
        Some(Condition { status, last_heartbeat_time: Some(last), .. }) => {
            &**status != "True" || now.duration_since(*last).as_secs() >= HEARTBEAT_SECONDS
        }
        _ => true,
    }
}

fn ready(node: &Node) -> Option<&Condition> {
    node.status.conditions.iter().find(|condition| &*condition.r#type == "Ready")
}

fn node_object(observed: &Observed, now: Timestamp) -> Value {
    let cidr = addresses::pod_cidr(observed.number);
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": observed.name,
            "labels": {
                "beta.kubernetes.io/arch": "amd64",
                "beta.kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": observed.name,
                "kubernetes.io/os": "linux",
            },
            "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
        },
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": status(observed, &Node::default(), now),
    })
}

fn status(observed: &Observed, node: &Node, now: Timestamp) -> Value {
    let resources = json!({
        "cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110",
        "hugepages-1Gi": "0", "hugepages-2Mi": "0",
    });
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        let since = node
            .status
            .conditions
            .iter()
            .find(|old| &*old.r#type == kind && &*old.status == status)
            .and_then(|old| old.last_transition_time)
            .unwrap_or(now);
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": time(now), "lastTransitionTime": time(since),
        })
    };
    json!({
        "capacity": resources,
        "allocatable": resources,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "hollow kubelet is posting ready status"),
        ],
        "addresses": [
            {"type": "InternalIP", "address": addresses::node(observed.number).to_string()},
            {"type": "Hostname", "address": observed.name},
        ],
        "declaredFeatures": DECLARED_FEATURES,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": format!("hollow-{}", observed.booted.as_second()),
            "containerRuntimeVersion": "hollow://1.0.0",
            "kernelVersion": "hollow",
            "kubeProxyVersion": "",
            "kubeletVersion": KUBELET_VERSION,
            "machineID": format!("hollow-{}", observed.name),
            "operatingSystem": "linux",
            "osImage": "Hollow node",
            "systemUUID": format!("hollow-{}", observed.name),
        },
    })
}

fn lease_object(observed: &Observed, now: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": observed.name, "namespace": LEASES},
        "spec": {
            "holderIdentity": observed.name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": micro_time(now),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().unwrap()
    }

    fn observed(node: Option<Value>, lease: Option<Value>) -> Observed {
        Observed {
            name: "node-1".to_owned(),
            number: 0,
            booted: now(),
            node: node.map(|node| serde_json::from_value(node).unwrap()),
            lease: lease.map(|lease| serde_json::from_value(lease).unwrap()),
        }
    }

    fn decide(observed: &Observed) -> (String, usize) {
        let plan =
            HollowNodes::new(vec!["node-1".to_owned()], now(), Silence::default()).reconcile(observed, now());
        (plan.why.to_string(), plan.writes.len())
    }

    fn node(heartbeat: &str) -> Value {
        json!({"metadata": {"name": "node-1", "uid": "u"}, "status": {"conditions": [
            {"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat},
        ]}})
    }

    fn lease(renewed: &str) -> Value {
        json!({"metadata": {"name": "node-1", "namespace": LEASES}, "spec": {"renewTime": renewed}})
    }

    #[test]
    fn a_node_registers_then_renews_its_lease_and_now_and_then_says_how_it_is() {
        for (node, lease, why, writes) in [
            (None, None, "the Node is not registered", 1),
            (Some(node("2026-01-01T00:09:00Z")), None, "the Lease says that the node is alive", 1),
            (
                Some(node("2026-01-01T00:09:00Z")),
                Some(lease("2026-01-01T00:09:55.000000Z")),
                "the Lease says that the node is alive",
                0,
            ),
            (
                Some(node("2026-01-01T00:09:00Z")),
                Some(lease("2026-01-01T00:09:50.000000Z")),
                "the Lease says that the node is alive",
                1,
            ),
            (
                Some(node("2026-01-01T00:05:00Z")),
                Some(lease("2026-01-01T00:09:55.000000Z")),
                "the Node says how it is",
                1,
            ),
        ] {
            assert_eq!(decide(&observed(node, lease)), (why.to_owned(), writes));
        }
    }
}
