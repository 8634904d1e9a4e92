//! What the scheduler's view of a large cluster takes of memory: 5,000 nodes and 50,000 Pods, read from the JSON that the API
//! sends, in the cache's form and in the columns. `cargo bench -p scheduler --bench memory`.
//!
//! What the process has resident is told by the kernel, so the figures are Linux's.

#![expect(clippy::print_stdout, reason = "figures are for whoever runs it")]

use std::{collections::BTreeMap, sync::Arc};

use client::Key;
use scheduler::{node::Node, pod::Pod, snapshot::Cluster};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: usize = 5000;
const PODS: usize = 50_000;

fn node(number: usize) -> Value {
    let images: Vec<Value> = (0..30)
        .map(|image| json!({"names": [format!("registry.example.com/team/image-{image}:v1.2.3")], "sizeBytes": 80_000_000}))
        .collect();
    json!({
        "metadata": {"name": format!("node-{number:04}"), "uid": format!("node-uid-{number}"), "resourceVersion": "7",
            "labels": {
                "kubernetes.io/hostname": format!("node-{number:04}"), "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64", "node.kubernetes.io/instance-type": "m5.large",
                "topology.kubernetes.io/zone": format!("zone{}", number % 3)}},
        "status": {"allocatable": {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "100Gi", "pods": "110"},
            "images": images},
    })
}

fn pod(number: usize) -> Value {
    let container = |name: &str| {
        json!({"name": name, "image": format!("registry.example.com/team/image-{}:v1.2.3", number % 30),
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "env": [{"name": "A", "value": "b"}]})
    };
    json!({
        "metadata": {"namespace": format!("team-{}", number % 50), "name": format!("web-{number}-7957885594-x2k9p"),
            "uid": format!("00000000-0000-0000-0000-{number:012}"), "resourceVersion": number.to_string(),
            "labels": {"app": format!("web-{}", number % 500), "pod-template-hash": "7957885594"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7957885594",
                "uid": format!("rs-{}", number % 500), "controller": true}]},
        "spec": {"schedulerName": "default-scheduler", "nodeName": format!("node-{:04}", number % NODES),
            "containers": [container("main"), container("side")],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 300}]},
        "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"},
    })
}

/// What the process has resident, in MiB; 0 where the kernel does not tell.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Arc<T> {
    match serde_json::from_slice(value.to_string().as_bytes()) {
        Ok(object) => Arc::new(object),
        Err(error) => unreachable!("an object of ours: {error}"),
    }
}

fn main() {
    let before = resident();
    let mut cluster = Cluster::default();
    let mut nodes: BTreeMap<Key, Arc<Node>> = BTreeMap::new();
    for number in 0..NODES {
        let node: Arc<Node> = read(&node(number));
        cluster.set_node(&node);
        nodes.insert(node.metadata.key(), node);
    }
    let with_nodes = resident();
    let mut pods: BTreeMap<Key, Arc<Pod>> = BTreeMap::new();
    for number in 0..PODS {
        let pod: Arc<Pod> = read(&pod(number));
        cluster.place(&pod);
        pods.insert(pod.key(), pod);
    }
    let with_pods = resident();
    println!("{:<28} {:>8}", "resident", "MiB");
    println!("{:<28} {before:>8}", "at first");
    println!("{:<28} {with_nodes:>8}", format!("with {} nodes", nodes.len()));
    println!("{:<28} {with_pods:>8}", format!("with {} pods", pods.len()));
}
