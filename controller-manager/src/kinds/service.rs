//! A Service, as far as controllers look at it.

use client::{Index, Kind, Labels, Meta, Resource, meta::null_is_default, resource};
use serde::{Deserialize, Deserializer};

/// A Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: ServiceSpec,
}

/// What is wanted of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    pub r#type: Box<str>,
    /// The labels of its Pods; without any it has none that a controller finds.
    #[serde(deserialize_with = "null_is_default")]
    pub selector: Labels,
    /// What it serves.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Box<[ServicePort]>,
    /// Its address, or `None` if it is headless.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Box<str>,
    /// Its families of addresses: `IPv4`, `IPv6`.
    #[serde(deserialize_with = "null_is_default")]
    pub ip_families: Box<[Box<str>]>,
    /// Whether a load balancer needs ports of nodes; it does unless it says otherwise.
    pub allocate_load_balancer_node_ports: Option<bool>,
    /// Pods serve before they are ready.
    pub publish_not_ready_addresses: bool,
    /// Which endpoints are near: `PreferClose`, `PreferSameZone`, `PreferSameNode`.
    pub traffic_distribution: Option<Box<str>>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Its name.
    pub name: Box<str>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Box<str>,
    /// What is spoken on it.
    pub app_protocol: Option<Box<str>>,
    /// The port of the nodes; none if 0.
    pub node_port: i32,
    /// The port of the Pods.
    #[serde(deserialize_with = "target")]
    pub target_port: Target,
}

/// A port of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its number.
    Number(i32),
    /// By the name it has in a container.
    Name(Box<str>),
}

fn target<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Target, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Wire {
        Number(i32),
        Name(Box<str>),
    }

    Ok(match Option::<Wire>::deserialize(deserializer)? {
        Some(Wire::Number(number)) => Target::Number(number),
        Some(Wire::Name(name)) => Target::Name(name),
        None => Target::default(),
    })
}

// === impl Target ===

impl Default for Target {
    fn default() -> Self {
        Self::Number(0)
    }
}

// === impl Service ===

impl Kind for Service {
    const RESOURCE: Resource = resource::SERVICES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes() -> Vec<Index<Self>> {
        Vec::new()
    }
}

impl Service {
    /// Whether controllers find its Pods.
    pub fn selects(&self) -> bool {
        &*self.spec.r#type != "ExternalName" && !self.spec.selector.is_empty()
    }

    /// Whether the labels of a Pod match.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.selects() && self.spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Whether it has no address of its own.
    pub fn is_headless(&self) -> bool {
        matches!(&*self.spec.cluster_ip, "" | "None")
    }
}
