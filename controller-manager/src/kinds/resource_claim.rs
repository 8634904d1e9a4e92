//! A ResourceClaim and a template of one, as far as controllers look at them.

use std::{collections::BTreeMap, sync::Arc};

use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

/// Whoever wants all devices gets so many at most.
const ALL_MAX: i64 = 32;

/// A ResourceClaim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResourceClaim {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: ClaimSpec,
    /// How it is.
    pub status: ClaimStatus,
}

/// What is wanted of a claim.
#[derive(Clone, Debug, Default)]
pub struct ClaimSpec {
    /// So many devices it may get at most, by their class.
    pub by_class: BTreeMap<Box<str>, i64>,
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

impl<'de> Deserialize<'de> for ClaimSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Spec {
            #[serde(deserialize_with = "null_is_default")]
            devices: Requests,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Requests {
            #[serde(deserialize_with = "null_is_default")]
            requests: Vec<Request>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Request {
            exactly: Option<Exactly>,
            #[serde(deserialize_with = "null_is_default")]
            first_available: Vec<Exactly>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Exactly {
            device_class_name: Box<str>,
            allocation_mode: Box<str>,
            count: i64,
        }
        impl Exactly {
            fn at_most(&self) -> i64 {
                match &*self.allocation_mode {
                    "ExactCount" => self.count,
                    "All" => ALL_MAX,
                    _ => 0,
                }
            }
        }

        let spec = Option::<Spec>::deserialize(deserializer)?.unwrap_or_default();
        let mut by_class = BTreeMap::new();
        for request in spec.devices.requests {
            // Of several that would do the worst counts, of each class.
            let mut most = BTreeMap::new();
            let any = if request.first_available.is_empty() {
                request.exactly.into_iter().collect()
            } else {
                request.first_available
            };
            for choice in any {
                let at_most = choice.at_most();
                let known = most.entry(choice.device_class_name).or_insert(0);
                *known = at_most.max(*known);
            }
            for (class, count) in most {
                let sum = by_class.entry(class).or_insert(0_i64);
                *sum = sum.saturating_add(count);
            }
        }
        Ok(Self { by_class })
    }
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
