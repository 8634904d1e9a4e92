//! ValidatingAdmissionPolicyBindings: `validatingadmissionpolicybindings` of `admissionregistration.k8s.io/v1`.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of ValidatingAdmissionPolicyBindings.
pub(crate) struct ValidatingAdmissionPolicyBindings;

impl Strategy for ValidatingAdmissionPolicyBindings {
    type Object = ValidatingAdmissionPolicyBinding;

    const NAMES: Names = Names {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "ValidatingAdmissionPolicyBinding",
        plural: "validatingadmissionpolicybindings",
        singular: "validatingadmissionpolicybinding",
        short: &[],
        categories: &["api-extensions"],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;
}
