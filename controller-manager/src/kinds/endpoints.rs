//! Endpoints, the forerunner of EndpointSlices, as far as controllers look at them.

use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::{Deserialize, Serialize};

use super::endpoint_slice::TargetRef;

/// The Endpoints of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    /// The metadata.
    pub metadata: Meta,
    /// Addresses with the ports they have in common.
    #[serde(deserialize_with = "null_is_default")]
    pub subsets: Vec<Subset>,
}

/// Addresses with the ports they have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subset {
    /// Those that may be used.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub addresses: Vec<Address>,
    /// Those that may not be used yet.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub not_ready_addresses: Vec<Address>,
    /// The ports.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub ports: Vec<Port>,
}

/// One who serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Address {
    /// Its address.
    pub ip: Box<str>,
    /// Its name in DNS.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub hostname: Box<str>,
    /// The node it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<Box<str>>,
    /// The Pod it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
}

/// A port of a subset.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// The name of the Service's port.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Box<str>,
    /// The number.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Box<str>,
    /// What is spoken on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<Box<str>>,
}

// === impl Endpoints ===

impl Kind for Endpoints {
    const RESOURCE: Resource = resource::ENDPOINTS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
