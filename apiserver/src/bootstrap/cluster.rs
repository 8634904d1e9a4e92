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
use crate::{authn::front_proxy::FrontProxy, tls::files};

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
    /// The proxies in front whose word about callers counts, for extension servers.
    pub front_proxy: Option<&'a FrontProxy>,
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
    let mut known = Map::new();
    if let Some(pem) = cluster.client_authorities {
        known.insert("client-ca-file".to_owned(), pem.into());
    }
    if let Some(FrontProxy { authorities, allowed_names, headers }) = cluster.front_proxy {
        let pem: String = authorities.certificates().iter().map(files::to_pem).collect();
        known.insert("requestheader-client-ca-file".to_owned(), pem.into());
        for (key, values) in [
            ("requestheader-username-headers", &headers.username),
            ("requestheader-uid-headers", &headers.uid),
            ("requestheader-group-headers", &headers.group),
            ("requestheader-extra-headers-prefix", &headers.extra_prefix),
            ("requestheader-allowed-names", allowed_names),
        ] {
            // The uid came later than the others: readers take its absence for none.
            if !(values.is_empty() && key == "requestheader-uid-headers") {
                known.insert(key.to_owned(), json!(values).to_string().into());
            }
        }
    }
    let known = (!known.is_empty()).then(|| {
        map("extension-apiserver-authentication", Value::Object(known), Rule::Authentication).recurring()
    });
    std::iter::once(tracking).chain(known).collect()
}

/// What to do about what extension servers are told, given how it is: another server may know authorities that this one does
/// not, and the other way round.
pub(super) fn reconcile_authentication(existing: &Value, wanted: &Value) -> Step {
    let mut map = existing.clone();
    let none = Map::new();
    let wanted = wanted.get("data").and_then(Value::as_object).unwrap_or(&none);
    let data = object_at(object_of(&mut map), "data");
    for (key, value) in wanted {
        let known = data.get(key).and_then(Value::as_str).unwrap_or_default();
        let ours = value.as_str().unwrap_or_default();
        let both = if key.ends_with("-ca-file") { certificates(known, ours) } else { names(known, ours) };
        data.insert(key.clone(), both.into());
    }
    update_unless_same(existing, map)
}

/// Certificates in PEM that stand in one or the other, each once.
fn certificates(one: &str, other: &str) -> String {
    let mut all = Vec::new();
    for certificate in [one, other].iter().filter_map(|pem| files::certificates_in(pem.as_bytes())).flatten()
    {
        if !all.contains(&certificate) {
            all.push(certificate);
        }
    }
    if all.is_empty() { other.to_owned() } else { all.iter().map(files::to_pem).collect() }
}

/// Lists of names, in JSON, the same way.
fn names(one: &str, other: &str) -> String {
    let mut all: Vec<String> = Vec::new();
    for name in
        [one, other].iter().filter_map(|text| serde_json::from_str::<Vec<String>>(text).ok()).flatten()
    {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    json!(all).to_string()
}
