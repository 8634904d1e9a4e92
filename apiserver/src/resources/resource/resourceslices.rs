//! ResourceSlices: `resourceslices` of `resource.k8s.io/v1`.

use k8s_openapi::api::resource::v1::ResourceSlice;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of ResourceSlices.
pub(crate) struct ResourceSlices;

impl Strategy for ResourceSlices {
    type Object = ResourceSlice;

    const NAMES: Names = Names {
        group: "resource.k8s.io",
        version: "v1",
        kind: "ResourceSlice",
        plural: "resourceslices",
        singular: "resourceslice",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const RETURNS_DELETED: bool = true;
}
