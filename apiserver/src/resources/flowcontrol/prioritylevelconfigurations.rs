//! PriorityLevelConfigurations: `prioritylevelconfigurations` of `flowcontrol.apiserver.k8s.io/v1`.

use k8s_openapi::api::flowcontrol::v1::PriorityLevelConfiguration;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of PriorityLevelConfigurations.
pub(crate) struct PriorityLevelConfigurations;

impl Strategy for PriorityLevelConfigurations {
    type Object = PriorityLevelConfiguration;

    const NAMES: Names = Names {
        group: "flowcontrol.apiserver.k8s.io",
        version: "v1",
        kind: "PriorityLevelConfiguration",
        plural: "prioritylevelconfigurations",
        singular: "prioritylevelconfiguration",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
