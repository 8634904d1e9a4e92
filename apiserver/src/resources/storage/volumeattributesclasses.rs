//! VolumeAttributesClasss: `volumeattributesclasses` of `storage.k8s.io/v1`.

use k8s_openapi::api::storage::v1::VolumeAttributesClass;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of VolumeAttributesClasss.
pub(crate) struct VolumeAttributesClasses;

impl Strategy for VolumeAttributesClasses {
    type Object = VolumeAttributesClass;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "VolumeAttributesClass",
        plural: "volumeattributesclasses",
        singular: "volumeattributesclass",
        short: &["vac"],
        categories: &[],
        namespaced: false,
    };
}
