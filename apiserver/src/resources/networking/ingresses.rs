//! Ingresss: `ingresses` of `networking.k8s.io/v1`.

use k8s_openapi::api::networking::v1::Ingress;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of Ingresss.
pub(crate) struct Ingresses;

impl Strategy for Ingresses {
    type Object = Ingress;

    const NAMES: Names = Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "Ingress",
        plural: "ingresses",
        singular: "ingress",
        short: &["ing"],
        categories: &[],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
