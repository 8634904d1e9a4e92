//! VolumeAttachments: `volumeattachments` of `storage.k8s.io/v1`.

use k8s_openapi::api::storage::v1::VolumeAttachment;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of VolumeAttachments.
pub(crate) struct VolumeAttachments;

impl Strategy for VolumeAttachments {
    type Object = VolumeAttachment;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "VolumeAttachment",
        plural: "volumeattachments",
        singular: "volumeattachment",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const STATUS: bool = true;
}
