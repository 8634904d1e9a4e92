//! A VolumeAttachment and a CSIDriver, as far as controllers look at them.

use client::{Index, Kind, Meta, Resource, meta::null_is_default, resource};
use jiff::Timestamp;
use serde::Deserialize;

/// The index of attachments by their node.
pub const NODE: &str = "spec.nodeName";
/// The index of attachments by their PersistentVolume.
pub const VOLUME: &str = "spec.source.persistentVolumeName";

/// A VolumeAttachment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VolumeAttachment {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: AttachmentSpec,
    /// What is.
    pub status: AttachmentStatus,
}

/// What is wanted of a VolumeAttachment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentSpec {
    /// The driver that attaches.
    pub attacher: Box<str>,
    /// To which node.
    pub node_name: Box<str>,
    /// What.
    #[serde(deserialize_with = "null_is_default")]
    pub source: AttachmentSource,
}

/// What is attached.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentSource {
    /// A PersistentVolume; nothing that we made if there is none.
    pub persistent_volume_name: Option<Box<str>>,
}

/// How a VolumeAttachment is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentStatus {
    /// It is done.
    pub attached: bool,
    /// Why it was not, the last time.
    pub attach_error: Option<VolumeError>,
}

/// What a driver says when it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VolumeError {
    /// When.
    pub time: Option<Timestamp>,
    /// Why.
    pub message: Box<str>,
}

/// A CSIDriver.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CsiDriver {
    /// The metadata.
    pub metadata: Meta,
    /// What it says of itself.
    pub spec: CsiDriverSpec,
}

/// What a CSIDriver says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiDriverSpec {
    /// Whether its volumes must be attached before they can be mounted; they must unless it says otherwise.
    pub attach_required: Option<bool>,
}

// === impl VolumeAttachment, CsiDriver ===

impl Kind for VolumeAttachment {
    const RESOURCE: Resource = resource::VOLUME_ATTACHMENTS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes() -> Vec<Index<Self>> {
        vec![
            Index { name: NODE, values: |it| vec![it.spec.node_name.clone()] },
            Index {
                name: VOLUME,
                values: |it| it.spec.source.persistent_volume_name.iter().cloned().collect(),
            },
        ]
    }
}

impl Kind for CsiDriver {
    const RESOURCE: Resource = resource::CSI_DRIVERS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
