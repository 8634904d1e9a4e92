//! MutatingAdmissionPolicys: `mutatingadmissionpolicies` of `admissionregistration.k8s.io/v1`.

use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicy;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of MutatingAdmissionPolicys.
pub(crate) struct MutatingAdmissionPolicies;

impl Strategy for MutatingAdmissionPolicies {
    type Object = MutatingAdmissionPolicy;

    const NAMES: Names = Names {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "MutatingAdmissionPolicy",
        plural: "mutatingadmissionpolicies",
        singular: "mutatingadmissionpolicy",
        short: &[],
        categories: &["api-extensions"],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;
}
