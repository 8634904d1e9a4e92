//! NetworkPolicys: `networkpolicies` of `networking.k8s.io/v1`.

use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of NetworkPolicys.
pub(crate) struct NetworkPolicies;

impl Strategy for NetworkPolicies {
    type Object = NetworkPolicy;

    const NAMES: Names = Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        singular: "networkpolicy",
        short: &["netpol"],
        categories: &[],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
}
