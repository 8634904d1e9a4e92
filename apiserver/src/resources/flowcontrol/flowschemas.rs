//! FlowSchemas: `flowschemas` of `flowcontrol.apiserver.k8s.io/v1`.

use k8s_openapi::api::flowcontrol::v1::FlowSchema;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of FlowSchemas.
pub(crate) struct FlowSchemas;

impl Strategy for FlowSchemas {
    type Object = FlowSchema;

    const NAMES: Names = Names {
        group: "flowcontrol.apiserver.k8s.io",
        version: "v1",
        kind: "FlowSchema",
        plural: "flowschemas",
        singular: "flowschema",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
