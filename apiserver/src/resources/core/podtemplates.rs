//! PodTemplates: `podtemplates` of `v1`.

use k8s_openapi::api::core::v1::PodTemplate;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of PodTemplates.
pub(crate) struct PodTemplates;

impl Strategy for PodTemplates {
    type Object = PodTemplate;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "PodTemplate",
        plural: "podtemplates",
        singular: "podtemplate",
        short: &[],
        categories: &[],
        namespaced: true,
    };
}
