//! A PersistentVolumeClaim, as far as controllers look at it.

use api_types::{quantity::Quantity, selectors::labels::Selector};
use client::{Index, Kind, Meta, Resource, meta::null_is_default, resource};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The index of claims by the volume they name.
pub const VOLUME: &str = "spec.volumeName";

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeClaim {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: ClaimSpec,
    /// What is.
    pub status: ClaimStatus,
}

/// What is wanted of a volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    /// How it is to be mounted, such as `ReadWriteOnce`.
    #[serde(deserialize_with = "null_is_default")]
    pub access_modes: Vec<String>,
    /// What its labels must be; anything if `None`.
    #[serde(deserialize_with = "selector")]
    pub selector: Option<Selector>,
    /// How large it must be.
    #[serde(deserialize_with = "null_is_default")]
    pub resources: Resources,
    /// The volume that it is, or shall be.
    pub volume_name: Box<str>,
    /// The class of the volume; `None` if nobody has said yet, and no class if empty.
    pub storage_class_name: Option<Box<str>>,
    /// `Filesystem` or `Block`.
    pub volume_mode: Box<str>,
    /// The attributes its class gives the volume.
    pub volume_attributes_class_name: Option<Box<str>>,
    /// What it shall hold at first.
    pub data_source_ref: Option<Value>,
}

/// How large a volume must be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// At least so large.
    #[serde(deserialize_with = "null_is_default")]
    pub requests: Storage,
}

/// A size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// In bytes.
    pub storage: Option<Quantity>,
}

/// How a claim is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimStatus {
    /// `Pending`, `Bound` or `Lost`.
    pub phase: Box<str>,
    /// How its volume can be mounted.
    #[serde(deserialize_with = "null_is_default")]
    pub access_modes: Vec<String>,
    /// The attributes its volume has.
    pub current_volume_attributes_class_name: Option<Box<str>>,
    /// How large its volume is.
    #[serde(deserialize_with = "null_is_default")]
    pub capacity: Storage,
    /// How large somebody is making it.
    #[serde(deserialize_with = "null_is_default")]
    pub allocated_resources: Storage,
    /// How its attributes are being changed.
    #[serde(deserialize_with = "null_is_default")]
    pub modify_volume_status: ModifyVolumeStatus,
}

/// How the attributes of a volume are being changed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModifyVolumeStatus {
    /// To those of this class.
    #[serde(deserialize_with = "null_is_default")]
    pub target_volume_attributes_class_name: Box<str>,
}

fn selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Selector>, D::Error> {
    let object = Value::deserialize(deserializer)?;
    if object.is_null() {
        return Ok(None);
    }
    client::meta::selector(object).map(Some).map_err(serde::de::Error::custom)
}

// === impl PersistentVolumeClaim ===

impl Kind for PersistentVolumeClaim {
    const RESOURCE: Resource = resource::PERSISTENT_VOLUME_CLAIMS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes() -> Vec<Index<Self>> {
        vec![Index {
            name: VOLUME,
            values: |claim| {
                if claim.spec.volume_name.is_empty() {
                    Vec::new()
                } else {
                    vec![claim.spec.volume_name.clone()]
                }
            },
        }]
    }
}

impl PersistentVolumeClaim {
    /// The class of its volume: what the annotation of old says, or else the field.
    pub fn class(&self) -> &str {
        let annotation = self.metadata.annotations.get("volume.beta.kubernetes.io/storage-class");
        annotation.unwrap_or(self.spec.storage_class_name.as_deref().unwrap_or_default())
    }

    /// At least so many bytes.
    pub fn size(&self) -> Option<&Quantity> {
        self.spec.resources.requests.storage.as_ref()
    }
}
