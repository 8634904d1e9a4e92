//! A ServiceCIDR and an IPAddress, as far as controllers look at them.

use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use ipnet::IpNet;
use serde::Deserialize;

use crate::conditions::Condition;

/// A ServiceCIDR.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceCidr {
    /// The metadata.
    pub metadata: Meta,
    /// What it is.
    pub spec: ServiceCidrSpec,
    /// How it is.
    pub status: ServiceCidrStatus,
}

/// What a ServiceCIDR is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceCidrSpec {
    /// Its ranges, at most one a family.
    #[serde(deserialize_with = "null_is_default")]
    pub cidrs: Vec<Box<str>>,
}

/// How a ServiceCIDR is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceCidrStatus {
    /// What is remarkable.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
}

/// An IPAddress, which has the address for a name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IpAddress {
    /// The metadata.
    pub metadata: Meta,
}

// === impl ServiceCidr, IpAddress ===

impl Kind for ServiceCidr {
    const RESOURCE: Resource = resource::SERVICE_CIDRS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl ServiceCidr {
    /// Its ranges.
    pub fn ranges(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.spec.cidrs.iter().filter_map(|text| text.parse().ok())
    }
}

impl Kind for IpAddress {
    const RESOURCE: Resource = resource::IP_ADDRESSES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
