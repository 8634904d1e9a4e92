//! What the server is told of its cluster, and the objects that belong to no other file here.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use api_types::{
    kind::GroupVersion,
    object::{object_at, object_of},
};

use super::{Item, Rule, Step, update_unless_same};

/// What the objects depend on.
#[derive(Clone, Debug)]
pub struct Cluster<'a> {
    /// `--service-cluster-ip-range`: one range, or one of each family.
    pub service_ranges: &'a [IpNet],
    /// `--advertise-address`: where others reach this server.
    pub address: Option<IpAddr>,
    /// The port that is served.
    pub port: u16,
    /// `--kubernetes-service-node-port`, 0 for none.
    pub node_port: u16,
    /// The group versions that are served.
    pub versions: &'a [GroupVersion],
    /// The authorities of client certificates, in PEM form, for extension servers.
    pub client_authorities: Option<&'a str>,
    /// What time it is.
    pub now: Timestamp,
}

/// The address of the service `kubernetes`: the first of the range after the network's own.
pub fn service_ip(range: IpNet) -> Option<IpAddr> {
    let first = match range.network() {
        IpAddr::V4(network) => IpAddr::V4(u32::from(network).checked_add(1)?.into()),
        IpAddr::V6(network) => IpAddr::V6(u128::from(network).checked_add(1)?.into()),
    };
    range.contains(&first).then_some(first)
}

/// A time as objects have it.
pub(super) fn whole_seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

pub(super) fn core() -> GroupVersion {
    GroupVersion::new("", "v1")
}

pub(super) fn namespaces() -> Vec<Item> {
    ["kube-system", "kube-public", "kube-node-lease", "default"]
        .into_iter()
        .map(|name| {
            let object = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
            Item::new(core(), "namespaces", object, Rule::IfMissing).recurring()
        })
        .collect()
}

pub(super) fn priority_classes() -> Vec<Item> {
    [
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ]
    .into_iter()
    .map(|(name, value, description)| {
        let version = GroupVersion::new("scheduling.k8s.io", "v1");
        let object = json!({
            "kind": "PriorityClass",
            "apiVersion": version.to_string(),
            "metadata": {"name": name},
            "value": value,
            "description": description,
        });
        Item::new(version, "priorityclasses", object, Rule::IfMissing)
    })
    .collect()
}

pub(super) fn config_maps(cluster: &Cluster<'_>) -> Vec<Item> {
    let map = |name: &str, data: Value, rule| {
        let object = json!({
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "kube-system"},
            "data": data,
        });
        Item::new(core(), "configmaps", object, rule)
    };
    let today: String = whole_seconds(cluster.now).chars().take("2026-01-01".len()).collect();
    // Since when the use of old tokens is tracked.
    let tracking =
        map("kube-apiserver-legacy-service-account-token-tracking", json!({"since": today}), Rule::IfMissing);
    // Where extension servers learn whose client certificates they may believe.
    let authorities = cluster
        .client_authorities
        .map(|pem| map("extension-apiserver-authentication", json!({"client-ca-file": pem}), Rule::Data));
    std::iter::once(tracking).chain(authorities).collect()
}

/// What to do about a ConfigMap, given how it is.
pub(super) fn reconcile_data(existing: &Value, wanted: &Value) -> Step {
    let mut map = existing.clone();
    let none = Map::new();
    let wanted = wanted.get("data").and_then(Value::as_object).unwrap_or(&none);
    let data = object_at(object_of(&mut map), "data");
    for (key, value) in wanted {
        data.insert(key.clone(), value.clone());
    }
    update_unless_same(existing, map)
}
