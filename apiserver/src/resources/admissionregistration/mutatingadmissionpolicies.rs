//! MutatingAdmissionPolicies: `mutatingadmissionpolicies` of `admissionregistration.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicySpec, Mutation,
};

use super::{
    hooks::reinvocation_fault,
    matching::{default_resources, mutating_operation_faults},
    name_warnings,
    policies::{Policy, expression_fault, variable_faults},
};
use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::optional::{Items, Text},
};
use cel::admission::{self as expressions, Setting, Variable};

/// The strategy of MutatingAdmissionPolicies.
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
    const REJUDGES_CHANGE: bool = false;
    const GENERATION: Generation = Generation::Spec;
    const UNCONDITIONAL_UPDATE: bool = false;
    const KNOWN_FINALIZERS: bool = false;

    fn default(object: &mut MutatingAdmissionPolicy) {
        let spec = object.spec.get_or_insert_default();
        spec.failure_policy.get_or_insert_with(|| "Fail".to_owned());
        if let Some(resources) = &mut spec.match_constraints {
            default_resources(resources);
        }
    }

    fn validate(_cx: &Context<'_>, object: &MutatingAdmissionPolicy) -> Faults {
        faults(object, None)
    }

    fn validate_update(
        _cx: &Context<'_>,
        object: &MutatingAdmissionPolicy,
        old: &MutatingAdmissionPolicy,
    ) -> Faults {
        faults(object, Some(old))
    }

    fn warnings(
        _cx: &Context<'_>,
        object: &MutatingAdmissionPolicy,
        _old: Option<&MutatingAdmissionPolicy>,
    ) -> Vec<String> {
        name_warnings(&object.metadata)
    }
}

fn policy(spec: &MutatingAdmissionPolicySpec) -> Policy<'_> {
    Policy {
        failure_policy: spec.failure_policy.as_deref(),
        parameters: spec.param_kind.as_ref(),
        resources: spec.match_constraints.as_ref(),
        conditions: &spec.match_conditions,
    }
}

fn faults(object: &MutatingAdmissionPolicy, old: Option<&MutatingAdmissionPolicy>) -> Faults {
    let empty = MutatingAdmissionPolicySpec::default();
    let spec = object.spec.as_ref().unwrap_or(&empty);
    let old = old.map(|old| policy(old.spec.as_ref().unwrap_or(&empty)));
    let path = Path::new("spec");
    let mut faults = policy(spec).faults(old.as_ref(), &path, mutating_operation_faults);
    let setting = Setting { params: spec.param_kind.is_some(), authorizer: true, patches: false };
    let (wrong, variables) = variable_faults(spec.variables.items(), setting, &path.child("variables"));
    faults.extend(wrong);
    let setting = Setting { patches: true, ..setting };
    let mutations_path = path.child("mutations");
    if spec.mutations.items().is_empty() {
        faults.push(Fault::required(&mutations_path, "mutations must contain at least one item"));
    }
    for (index, mutation) in spec.mutations.items().iter().enumerate() {
        faults.extend(mutation_faults(mutation, setting, &variables, &mutations_path.index(index)));
    }
    match spec.reinvocation_policy.text() {
        "" => faults.push(Fault::required(&path.child("reinvocationPolicy"), "")),
        policy => faults.extend(reinvocation_fault(policy, &path)),
    }
    faults
}

fn mutation_faults(mutation: &Mutation, setting: Setting, variables: &[Variable], path: &Path) -> Faults {
    let apply = (
        "ApplyConfiguration",
        "applyConfiguration",
        mutation.apply_configuration.as_ref().map(|it| &it.expression),
    );
    let patch = ("JSONPatch", "jsonPatch", mutation.json_patch.as_ref().map(|it| &it.expression));
    let (own, other) = match mutation.patch_type.as_str() {
        "JSONPatch" => (patch, apply),
        "ApplyConfiguration" => (apply, patch),
        "" => return vec![Fault::required(&path.child("patchType"), "")],
        odd => {
            let types = ["ApplyConfiguration", "JSONPatch"];
            return vec![Fault::not_supported(&path.child("patchType"), odd, &types)];
        }
    };
    let (kind, field, expression) = own;
    let mut faults = Vec::new();
    match expression {
        None => {
            let detail = format!("must be specified when patchType is {kind}");
            faults.push(Fault::required(&path.child(field), detail));
        }
        Some(expression) if expression.text().trim().is_empty() => {
            faults.push(Fault::required(&path.child(field).child("expression"), ""));
        }
        Some(expression) => {
            let of = if kind == "JSONPatch" { expressions::patch_type() } else { expressions::object_type() };
            let path = path.child(field).child("expression");
            faults.extend(expression_fault(expression.text().trim(), &[of], setting, variables, &path));
        }
    }
    if let (_, field, Some(_)) = other {
        let detail = format!("must not be specified when patchType is {kind}");
        faults.push(Fault::invalid(&path.child(field), format!("{{{field}}}"), detail));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::MutatingAdmissionPolicies;
    use crate::resources::shared::testing::{check_create, created};

    fn policy(change: Value) -> Value {
        let mut spec = json!({"reinvocationPolicy": "Never", "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'test', path: '/a'}]"}}],
            "matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["CREATE"]}]}});
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        json!({"spec": spec})
    }

    #[test]
    fn a_policy_fails_unless_said() {
        assert_eq!(
            created::<MutatingAdmissionPolicies>(policy(json!({}))).pointer("/spec/failurePolicy"),
            Some(&json!("Fail"))
        );
    }

    #[test]
    fn a_policy_says_what_to_change() {
        for (change, faults) in [
            (json!({}), vec![]),
            (
                json!({"reinvocationPolicy": "", "mutations": [], "matchConstraints": {"resourceRules": [
                    {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["DELETE"]}]}}),
                vec![
                    r#"spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE""#,
                    "spec.mutations: Required value: mutations must contain at least one item",
                    "spec.reinvocationPolicy: Required value",
                ],
            ),
            (
                json!({"reinvocationPolicy": "Odd", "mutations": [{"patchType": ""}, {"patchType": "Odd"},
                    {"patchType": "JSONPatch", "applyConfiguration": {}}, {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": " "}, "jsonPatch": {}}]}),
                vec![
                    "spec.mutations[0].patchType: Required value",
                    r#"spec.mutations[1].patchType: Unsupported value: "Odd": supported values: "ApplyConfiguration", "JSONPatch""#,
                    "spec.mutations[2].jsonPatch: Required value: must be specified when patchType is JSONPatch",
                    r#"spec.mutations[2].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch"#,
                    "spec.mutations[3].applyConfiguration.expression: Required value",
                    r#"spec.mutations[3].jsonPatch: Invalid value: "{jsonPatch}": must not be specified when patchType is ApplyConfiguration"#,
                    r#"spec.reinvocationPolicy: Unsupported value: "Odd": supported values: "IfNeeded", "Never""#,
                ],
            ),
        ] {
            assert_eq!(check_create::<MutatingAdmissionPolicies>(policy(change)), faults);
        }
    }
}
