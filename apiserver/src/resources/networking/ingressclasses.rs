//! IngressClasss: `ingressclasses` of `networking.k8s.io/v1`.

use k8s_openapi::api::networking::v1::IngressClass;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of IngressClasss.
pub(crate) struct IngressClasses;

impl Strategy for IngressClasses {
    type Object = IngressClass;

    const NAMES: Names = Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "IngressClass",
        plural: "ingressclasses",
        singular: "ingressclass",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;
}
