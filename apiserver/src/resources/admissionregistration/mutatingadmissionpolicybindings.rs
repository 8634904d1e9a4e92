//! MutatingAdmissionPolicyBindings: `mutatingadmissionpolicybindings` of `admissionregistration.k8s.io/v1`.

use api_types::field::{Faults, Path};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicyBinding, MutatingAdmissionPolicyBindingSpec,
};

use super::{
    matching::{default_resources, mutating_operation_faults},
    name_warnings,
    policies::binding_faults,
};
use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::optional::Text,
};

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
    const REJUDGES_CHANGE: bool = false;
    const GENERATION: Generation = Generation::Spec;
    const UNCONDITIONAL_UPDATE: bool = false;
    const KNOWN_FINALIZERS: bool = false;

    fn default(object: &mut MutatingAdmissionPolicyBinding) {
        if let Some(resources) = object.spec.as_mut().and_then(|spec| spec.match_resources.as_mut()) {
            default_resources(resources);
        }
    }

    fn validate(_cx: &Context<'_>, object: &MutatingAdmissionPolicyBinding) -> Faults {
        let empty = MutatingAdmissionPolicyBindingSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&empty);
        let (path, resources) = (Path::new("spec"), spec.match_resources.as_ref());
        let mut faults = binding_faults(spec.policy_name.text(), spec.param_ref.as_ref(), resources, &path);
        let resources_path = path.child("matchResources");
        faults.extend(resources.iter().flat_map(|it| mutating_operation_faults(it, &resources_path)));
        faults
    }

    fn warnings(
        _cx: &Context<'_>,
        object: &MutatingAdmissionPolicyBinding,
        _old: Option<&MutatingAdmissionPolicyBinding>,
    ) -> Vec<String> {
        name_warnings(&object.metadata)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::MutatingAdmissionPolicyBindings;
    use crate::resources::shared::testing::check_create;

    #[test]
    fn a_binding_names_a_policy_and_is_not_about_deletions() {
        let rule = |operation: &str| json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": [operation]});
        for (spec, faults) in [
            (json!({"policyName": "p", "matchResources": {"resourceRules": [rule("UPDATE")]}}), vec![]),
            (json!({}), vec!["spec.policyName: Required value"]),
            (
                json!({"policyName": "p", "matchResources": {"resourceRules": [rule("DELETE")]}}),
                vec![
                    r#"spec.matchResources.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE""#,
                ],
            ),
        ] {
            assert_eq!(check_create::<MutatingAdmissionPolicyBindings>(json!({"spec": spec})), faults);
        }
    }
}
