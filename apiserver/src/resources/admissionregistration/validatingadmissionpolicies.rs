//! ValidatingAdmissionPolicys: `validatingadmissionpolicies` of `admissionregistration.k8s.io/v1`.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of ValidatingAdmissionPolicys.
pub(crate) struct ValidatingAdmissionPolicies;

impl Strategy for ValidatingAdmissionPolicies {
    type Object = ValidatingAdmissionPolicy;

    const NAMES: Names = Names {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "ValidatingAdmissionPolicy",
        plural: "validatingadmissionpolicies",
        singular: "validatingadmissionpolicy",
        short: &[],
        categories: &["api-extensions"],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
