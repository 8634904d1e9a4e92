//! ValidatingAdmissionPolicyBindings: `validatingadmissionpolicybindings` of `admissionregistration.k8s.io/v1`.

use api_types::field::{Faults, Path};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;

use super::{
    matching::default_resources,
    name_warnings,
    policies::{action_faults, binding_faults},
};
use crate::registry::strategy::{Context, Generation, Names, Strategy};

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
    const REJUDGES_CHANGE: bool = false;
    const GENERATION: Generation = Generation::Spec;
    const UNCONDITIONAL_UPDATE: bool = false;
    const KNOWN_FINALIZERS: bool = false;

    fn default(object: &mut ValidatingAdmissionPolicyBinding) {
        if let Some(resources) = &mut object.spec.match_resources {
            default_resources(resources);
        }
    }

    fn validate(_cx: &Context<'_>, object: &ValidatingAdmissionPolicyBinding) -> Faults {
        let (spec, path) = (&object.spec, Path::new("spec"));
        let mut faults =
            binding_faults(&spec.policy_name, spec.param_ref.as_ref(), spec.match_resources.as_ref(), &path);
        faults.extend(action_faults(&spec.validation_actions, &path.child("validationActions")));
        faults
    }

    fn warnings(
        _cx: &Context<'_>,
        object: &ValidatingAdmissionPolicyBinding,
        _old: Option<&ValidatingAdmissionPolicyBinding>,
    ) -> Vec<String> {
        name_warnings(&object.metadata)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ValidatingAdmissionPolicyBindings;
    use crate::resources::shared::testing::{check_create, created};

    #[test]
    fn a_binding_is_completed() {
        let binding = json!({"spec": {"policyName": "p", "validationActions": ["Deny"],
            "matchResources": {"resourceRules": [{}]}}});
        assert_eq!(
            created::<ValidatingAdmissionPolicyBindings>(binding).pointer("/spec/matchResources"),
            Some(&json!({"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "resourceRules": [{"scope": "*"}]}))
        );
    }

    #[test]
    fn a_binding_names_a_policy_and_what_to_do() {
        for (spec, faults) in [
            (json!({"policyName": "p", "validationActions": ["Deny", "Audit"]}), vec![]),
            (
                json!({}),
                vec![
                    "spec.policyName: Required value",
                    "spec.validationActions: Required value: at least one validation action is required",
                ],
            ),
            (
                json!({"policyName": "p", "paramRef": {}, "matchResources": {"matchPolicy": "Odd"}, "validationActions": ["Deny", "Warn", "Odd", "Deny"]}),
                vec![
                    "spec.paramRef: Required value: one of name or selector must be specified",
                    "spec.paramRef.parameterNotFoundAction: Required value",
                    r#"spec.matchResources.matchPolicy: Unsupported value: "Odd": supported values: "Equivalent", "Exact""#,
                    r#"spec.validationActions[2]: Unsupported value: "Odd": supported values: "Audit", "Deny", "Warn""#,
                    r#"spec.validationActions[3]: Duplicate value: "Deny""#,
                    r#"spec.validationActions: Invalid value: ["Deny","Warn","Odd","Deny"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<ValidatingAdmissionPolicyBindings>(json!({"spec": spec})), faults);
        }
    }
}
