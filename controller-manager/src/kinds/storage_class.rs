//! A StorageClass and a VolumeAttributesClass, as far as controllers look at them.

use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;

/// A StorageClass.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageClass {
    /// The metadata.
    pub metadata: Meta,
    /// Who makes its volumes.
    pub provisioner: Box<str>,
    /// What becomes of them when their claims are gone.
    pub reclaim_policy: Option<Box<str>>,
    /// `Immediate`, or `WaitForFirstConsumer`: a claim waits until a Pod that uses it has a node.
    pub volume_binding_mode: Box<str>,
    /// How they are mounted.
    #[serde(deserialize_with = "null_is_default")]
    pub mount_options: Vec<String>,
}

/// A VolumeAttributesClass.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VolumeAttributesClass {
    /// The metadata.
    pub metadata: Meta,
}

// === impl StorageClass, VolumeAttributesClass ===

impl Kind for StorageClass {
    const RESOURCE: Resource = resource::STORAGE_CLASSES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Kind for VolumeAttributesClass {
    const RESOURCE: Resource = resource::VOLUME_ATTRIBUTES_CLASSES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl StorageClass {
    /// Whether claims that name no class get this one.
    pub fn is_default(&self) -> bool {
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
            .iter()
            .any(|name| self.metadata.annotations.get(name) == Some("true"))
    }

    /// Whether a claim waits until a Pod that uses it has a node.
    pub fn waits(&self) -> bool {
        &*self.volume_binding_mode == "WaitForFirstConsumer"
    }
}
