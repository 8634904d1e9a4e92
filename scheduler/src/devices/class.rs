//! A DeviceClass: which devices are of it, what they are told, and the extended resource they can be asked for by.

use std::sync::Arc;

use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;
use serde_json::Value;

use super::claim::{RawSelector, selectors};

/// Every class can be asked for by this and its name.
pub const IMPLICIT_PREFIX: &str = "deviceclass.resource.kubernetes.io/";

/// A DeviceClass.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Raw")]
pub struct DeviceClass {
    /// The metadata.
    pub metadata: Meta,
    /// What its devices are; a selector of a sort we do not know is none.
    pub selectors: Box<[Option<Arc<str>>]>,
    /// What its devices are told, as it was written.
    pub config: Box<[Value]>,
    /// The extended resource it is, empty if none is said.
    pub extended_resource: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: Meta,
    spec: RawSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    #[serde(deserialize_with = "null_is_default")]
    selectors: Vec<RawSelector>,
    #[serde(deserialize_with = "null_is_default")]
    config: Vec<Value>,
    #[serde(deserialize_with = "null_is_default")]
    extended_resource_name: Box<str>,
}

impl From<Raw> for DeviceClass {
    fn from(raw: Raw) -> Self {
        Self {
            metadata: raw.metadata,
            selectors: selectors(raw.spec.selectors),
            config: raw.spec.config.into(),
            extended_resource: raw.spec.extended_resource_name,
        }
    }
}

impl Kind for DeviceClass {
    const RESOURCE: Resource = resource::DEVICE_CLASSES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl DeviceClass {
    /// Whether it wins over another that is the same extended resource: the newer one does, then the one whose name comes first.
    pub fn wins_over(&self, other: &Self) -> bool {
        let (mine, others) = (self.metadata.creation_timestamp, other.metadata.creation_timestamp);
        mine.cmp(&others).then_with(|| other.metadata.name.cmp(&self.metadata.name)).is_gt()
    }
}
