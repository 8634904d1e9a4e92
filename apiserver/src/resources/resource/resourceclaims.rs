//! ResourceClaims: `resourceclaims` of `resource.k8s.io/v1`.

use k8s_openapi::api::resource::v1::ResourceClaim;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of ResourceClaims.
pub(crate) struct ResourceClaims;

impl Strategy for ResourceClaims {
    type Object = ResourceClaim;

    const NAMES: Names = Names {
        group: "resource.k8s.io",
        version: "v1",
        kind: "ResourceClaim",
        plural: "resourceclaims",
        singular: "resourceclaim",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const RETURNS_DELETED: bool = true;
    const STATUS: bool = true;
}
