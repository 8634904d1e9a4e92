//! MutatingAdmissionPolicyBindings: `mutatingadmissionpolicybindings` of `admissionregistration.k8s.io/v1`.

use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of MutatingAdmissionPolicyBindings.
pub(crate) struct MutatingAdmissionPolicyBindings;

impl Strategy for MutatingAdmissionPolicyBindings {
    type Object = MutatingAdmissionPolicyBinding;

    const NAMES: Names = Names {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "MutatingAdmissionPolicyBinding",
        plural: "mutatingadmissionpolicybindings",
        singular: "mutatingadmissionpolicybinding",
        short: &[],
        categories: &["api-extensions"],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;
}
