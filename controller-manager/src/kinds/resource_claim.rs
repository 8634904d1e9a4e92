//! A ResourceClaim and a template of one, as far as controllers look at them.

use std::sync::Arc;

use api_types::quota::devices::Wanted;
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

/// A ResourceClaim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResourceClaim {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: Wanted,
    /// How it is.
    pub status: ClaimStatus,
}

/// A class of devices.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DeviceClass {
    /// The metadata.
    pub metadata: Meta,
    /// What it is.
    pub spec: DeviceClassSpec,
}

/// What a class of devices is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceClassSpec {
    /// The resource by which Pods can ask for one of it without a claim.
    pub extended_resource_name: Option<Box<str>>,
}

/// How a claim is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimStatus {
    /// It has devices.
    pub allocation: Option<Allocation>,
    /// Who may use them.
    #[serde(deserialize_with = "null_is_default")]
    pub reserved_for: Vec<Consumer>,
}

/// The devices of a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Allocation {
    /// What the claim asked for.
    #[serde(deserialize_with = "null_is_default")]
    pub devices: Devices,
}

/// The devices of a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Devices {
    /// Each of them.
    #[serde(deserialize_with = "null_is_default")]
    pub results: Box<[AllocatedDevice]>,
}

/// A device of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AllocatedDevice {
    /// Whose device it is.
    pub driver: Box<str>,
    /// The pool it is in.
    pub pool: Box<str>,
    /// Its name there.
    pub device: Box<str>,
    /// What its user puts up with.
    #[serde(deserialize_with = "null_is_default")]
    pub tolerations: Box<[DeviceToleration]>,
}

/// Taints of devices that are put up with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceToleration {
    /// What about; anything if empty.
    pub key: Box<str>,
    /// `Equal` or `Exists`; `Equal` if empty.
    pub operator: Box<str>,
    /// Which of it.
    pub value: Box<str>,
    /// The effect; any if empty.
    pub effect: Box<str>,
    /// For so long; for ever if none.
    pub toleration_seconds: Option<i64>,
}

/// Somebody who may use a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Consumer {
    /// The group of its resource.
    pub api_group: Box<str>,
    /// Its resource, such as `pods`.
    pub resource: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
}

/// A template of a ResourceClaim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResourceClaimTemplate {
    /// The metadata.
    pub metadata: Meta,
    /// The claim, as it came.
    #[serde(deserialize_with = "json_text")]
    spec: Arc<str>,
}

fn json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    Ok(Box::<RawValue>::deserialize(deserializer)?.get().into())
}

// === impl ResourceClaim, ResourceClaimTemplate ===

impl Kind for ResourceClaim {
    const RESOURCE: Resource = resource::RESOURCE_CLAIMS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Kind for DeviceClass {
    const RESOURCE: Resource = resource::DEVICE_CLASSES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Kind for ResourceClaimTemplate {
    const RESOURCE: Resource = resource::RESOURCE_CLAIM_TEMPLATES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl ResourceClaimTemplate {
    /// The claim: its metadata and spec.
    pub fn claim(&self) -> Value {
        serde_json::from_str(&self.spec).unwrap_or_default()
    }
}
