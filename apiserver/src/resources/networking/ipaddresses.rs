//! IPAddresss: `ipaddresses` of `networking.k8s.io/v1`.

use k8s_openapi::api::networking::v1::IPAddress;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of IPAddresss.
pub(crate) struct IPAddresses;

impl Strategy for IPAddresses {
    type Object = IPAddress;

    const NAMES: Names = Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "IPAddress",
        plural: "ipaddresses",
        singular: "ipaddress",
        short: &["ip"],
        categories: &[],
        namespaced: false,
    };
}
