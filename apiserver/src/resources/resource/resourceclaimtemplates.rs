//! ResourceClaimTemplates: `resourceclaimtemplates` of `resource.k8s.io/v1`.

use k8s_openapi::api::resource::v1::ResourceClaimTemplate;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of ResourceClaimTemplates.
pub(crate) struct ResourceClaimTemplates;

impl Strategy for ResourceClaimTemplates {
    type Object = ResourceClaimTemplate;

    const NAMES: Names = Names {
        group: "resource.k8s.io",
        version: "v1",
        kind: "ResourceClaimTemplate",
        plural: "resourceclaimtemplates",
        singular: "resourceclaimtemplate",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const RETURNS_DELETED: bool = true;
}
