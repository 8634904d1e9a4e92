//! DeviceClasss: `deviceclasses` of `resource.k8s.io/v1`.

use k8s_openapi::api::resource::v1::DeviceClass;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of DeviceClasss.
pub(crate) struct DeviceClasses;

impl Strategy for DeviceClasses {
    type Object = DeviceClass;

    const NAMES: Names = Names {
        group: "resource.k8s.io",
        version: "v1",
        kind: "DeviceClass",
        plural: "deviceclasses",
        singular: "deviceclass",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const RETURNS_DELETED: bool = true;
}
