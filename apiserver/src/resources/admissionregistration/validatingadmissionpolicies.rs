//! ValidatingAdmissionPolicies: `validatingadmissionpolicies` of `admissionregistration.k8s.io/v1`.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use cel::Type;
use k8s_openapi::api::admissionregistration::v1::{
    AuditAnnotation, ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec, Validation,
};
use serde_json::Value;

use super::{
    matching::default_resources,
    name_warnings,
    policies::{Policy, expression_fault, variable_faults},
};
use crate::{
    columns::json_path::JsonPath,
    patch::apply::Reset,
    registry::strategy::{Context, Generation, Names, Part, Strategy},
    resources::shared::{
        conditions,
        metadata::{invalid_each, keep_for_status},
        names::qualified_name,
        optional::{Items, Text},
    },
};
use cel::admission::{Setting, Variable};

const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_EXPRESSION_LENGTH_MAX: usize = 5 * 1024;

/// The strategy of ValidatingAdmissionPolicies.
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
    const REJUDGES_CHANGE: bool = false;
    const STATUS_REJUDGES_CHANGE: bool = false;
    const RESETS: &'static [(Part, Reset<'static>)] =
        &[(Part::Status, Reset::Fields(&[&["spec"], &["metadata"]]))];
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;
    const KNOWN_FINALIZERS: bool = false;

    fn default(object: &mut ValidatingAdmissionPolicy) {
        let spec = object.spec.get_or_insert_default();
        spec.failure_policy.get_or_insert_with(|| "Fail".to_owned());
        if let Some(resources) = &mut spec.match_constraints {
            default_resources(resources);
        }
    }

    fn validate(_cx: &Context<'_>, object: &ValidatingAdmissionPolicy) -> Faults {
        faults(object, None)
    }

    fn validate_update(
        _cx: &Context<'_>,
        object: &ValidatingAdmissionPolicy,
        old: &ValidatingAdmissionPolicy,
    ) -> Faults {
        faults(object, Some(old))
    }

    fn prepare_for_status_update(
        _cx: &Context<'_>,
        object: &mut ValidatingAdmissionPolicy,
        old: &ValidatingAdmissionPolicy,
    ) {
        keep_for_status(&mut object.metadata, &old.metadata);
    }

    fn validate_status_update(
        _cx: &Context<'_>,
        object: &ValidatingAdmissionPolicy,
        _old: &ValidatingAdmissionPolicy,
    ) -> Faults {
        let Some(status) = &object.status else { return Vec::new() };
        let path = Path::new("status");
        let warnings = status.type_checking.iter().flat_map(|checking| checking.expression_warnings.items());
        let mut faults = Vec::new();
        for (index, warning) in warnings.enumerate() {
            let path = path.child("typeChecking.expressionWarnings").index(index);
            if warning.warning.is_empty() {
                faults.push(Fault::required(&path.child("warning"), ""));
            }
            let (field, path) = (warning.field_ref.trim(), path.child("fieldRef"));
            if field.is_empty() {
                faults.push(Fault::required(&path, ""));
            } else if let Err(wrong) = JsonPath::parse(&format!(".{}", field.trim_start_matches('.'))) {
                faults.push(Fault::invalid(&path, field, format!("invalid JSONPath: {wrong}")));
            }
        }
        faults.extend(conditions::faults(status.conditions.items(), &path.child("conditions")));
        faults
    }

    fn warnings(
        _cx: &Context<'_>,
        object: &ValidatingAdmissionPolicy,
        _old: Option<&ValidatingAdmissionPolicy>,
    ) -> Vec<String> {
        name_warnings(&object.metadata)
    }
}

fn policy(spec: &ValidatingAdmissionPolicySpec) -> Policy<'_> {
    Policy {
        failure_policy: spec.failure_policy.as_deref(),
        parameters: spec.param_kind.as_ref(),
        resources: spec.match_constraints.as_ref(),
        conditions: &spec.match_conditions,
    }
}

fn faults(object: &ValidatingAdmissionPolicy, old: Option<&ValidatingAdmissionPolicy>) -> Faults {
    let empty = ValidatingAdmissionPolicySpec::default();
    let spec = object.spec.as_ref().unwrap_or(&empty);
    let old = old.map(|old| policy(old.spec.as_ref().unwrap_or(&empty)));
    let path = Path::new("spec");
    let mut faults = policy(spec).faults(old.as_ref(), &path, |_, _| Vec::new());
    let setting = Setting { params: spec.param_kind.is_some(), authorizer: true, patches: false };
    let (wrong, variables) = variable_faults(spec.variables.items(), setting, &path.child("variables"));
    faults.extend(wrong);
    let judge = Judge { setting, variables };
    let (validations, validations_path) = (spec.validations.items(), path.child("validations"));
    let (annotations, annotations_path) = (spec.audit_annotations.items(), path.child("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        for path in [&validations_path, &annotations_path] {
            let detail = "validations or auditAnnotations must contain at least one item";
            faults.push(Fault::required(path, detail));
        }
    }
    for (index, validation) in validations.iter().enumerate() {
        faults.extend(judge.validation_faults(validation, &validations_path.index(index)));
    }
    if annotations.len() > ANNOTATIONS_MAX {
        let detail = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        faults.push(Fault::invalid(&annotations_path, printed(annotations), detail));
    }
    let mut keys = BTreeSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = annotations_path.index(index);
        faults.extend(judge.annotation_faults(annotation, object.metadata.name.text(), &path));
        if !keys.insert(&annotation.key) {
            faults.push(Fault::duplicate(&path.child("key"), &annotation.key));
        }
    }
    faults
}

/// Annotations as upstream prints them in messages: in their internal form.
fn printed(annotations: &[AuditAnnotation]) -> BadValue {
    let printed: Vec<String> = annotations
        .iter()
        .map(|it| {
            let [key, expression] =
                [&it.key, &it.value_expression].map(|part| Value::from(part.as_str()).to_string());
            format!(r#"{{"Key":{key},"ValueExpression":{expression}}}"#)
        })
        .collect();
    BadValue::Plain(format!("[{}]", printed.join(",")))
}

/// What expressions of a policy are judged by.
struct Judge {
    setting: Setting,
    variables: Vec<Variable>,
}

impl Judge {
    fn fault(&self, expression: &str, types: &[Type], setting: Setting, path: &Path) -> Option<Fault> {
        expression_fault(expression, types, setting, &self.variables, path)
    }

    fn validation_faults(&self, validation: &Validation, path: &Path) -> Faults {
        let mut faults = Vec::new();
        if validation.expression.trim().is_empty() {
            faults.push(Fault::required(&path.child("expression"), "expression is not specified"));
        } else {
            faults.extend(self.fault(
                &validation.expression,
                &[Type::Bool],
                self.setting,
                &path.child("expression"),
            ));
        }
        let blank = |text: &str| !text.is_empty() && text.trim().is_empty();
        let expression = validation.message_expression.text();
        if blank(expression) {
            let detail = "must be non-empty if specified";
            faults.push(Fault::invalid(&path.child("messageExpression"), expression, detail));
        } else if !expression.is_empty() {
            let setting = Setting { authorizer: false, ..self.setting };
            faults.extend(self.fault(expression, &[Type::String], setting, &path.child("messageExpression")));
        }
        let message = validation.message.text();
        if blank(message) {
            faults.push(Fault::invalid(&path.child("message"), message, "must be non-empty if specified"));
        } else if message.trim().contains(['\n', '\r']) {
            faults.push(Fault::invalid(&path.child("message"), message, "must not contain line breaks"));
        }
        let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
        // The API reference lists Unauthorized too, which no server accepts.
        if let Some(reason) = validation.reason.as_deref().filter(|reason| !reasons.contains(reason)) {
            faults.push(Fault::not_supported(&path.child("reason"), reason, &reasons));
        }
        faults
    }

    fn annotation_faults(&self, annotation: &AuditAnnotation, policy: &str, path: &Path) -> Faults {
        let key_path = path.child("key");
        let mut faults = if policy.is_empty() {
            vec![Fault::invalid(&key_path, &annotation.key, "requires metadata.name be non-empty")]
        } else {
            let key = format!("{policy}/{}", annotation.key);
            invalid_each(&key_path, &key, qualified_name(&key))
        };
        let (expression, path) = (annotation.value_expression.trim(), path.child("valueExpression"));
        if expression.is_empty() {
            faults.push(Fault::required(&path, "valueExpression is not specified"));
        } else if expression.len() > ANNOTATION_EXPRESSION_LENGTH_MAX {
            let detail = format!("must not exceed {ANNOTATION_EXPRESSION_LENGTH_MAX} bytes in length");
            faults.push(Fault::required(&path, detail));
        } else if let Some(fault) = self.fault(expression, &[Type::String, Type::Null], self.setting, &path) {
            faults.push(Fault { value: annotation.value_expression.as_str().into(), ..fault });
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::ValidatingAdmissionPolicies;
    use crate::resources::shared::testing::{check_create, check_status_update, check_update, created};

    fn policy(change: Value) -> Value {
        let mut spec = json!({"validations": [{"expression": "true"}],
            "matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}]}});
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        json!({"metadata": {"name": "p"}, "spec": spec})
    }

    #[test]
    fn a_policy_is_completed() {
        let spec = created::<ValidatingAdmissionPolicies>(policy(json!({}))).get("spec").cloned().unwrap();
        assert_eq!(
            spec,
            json!({"failurePolicy": "Fail", "validations": [{"expression": "true"}], "matchConstraints": {
                "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, "resourceRules": [
                    {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"], "scope": "*"}]}})
        );
    }

    #[test]
    fn a_policy_says_about_what_and_what_must_hold() {
        for (object, faults) in [
            (policy(json!({})), vec![]),
            (
                json!({"metadata": {"name": "p"}, "spec": {"validations": []}}),
                vec![
                    "spec.matchConstraints: Required value",
                    "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                    "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
                ],
            ),
            (
                policy(json!({"failurePolicy": "Odd", "paramKind": {}, "matchConstraints": {},
                    "variables": [{"name": "1", "expression": "1"}],
                    "validations": [{"expression": " ", "message": " ", "messageExpression": " ", "reason": "Odd"}, {"expression": "true", "message": "a\nb", "reason": "Invalid"}],
                    "auditAnnotations": [{"key": "k", "valueExpression": ""}, {"key": "k", "valueExpression": "x".repeat(5121)}, {"key": "-", "valueExpression": "'1'"}]})),
                vec![
                    r#"spec.failurePolicy: Unsupported value: "Odd": supported values: "Fail", "Ignore""#,
                    "spec.paramKind.apiVersion: Required value",
                    "spec.paramKind.kind: Required value",
                    "spec.matchConstraints.resourceRules: Required value",
                    r#"spec.variables[0].name: Invalid value: "1": must be a valid CEL identifier"#,
                    "spec.validations[0].expression: Required value: expression is not specified",
                    r#"spec.validations[0].messageExpression: Invalid value: " ": must be non-empty if specified"#,
                    r#"spec.validations[0].message: Invalid value: " ": must be non-empty if specified"#,
                    r#"spec.validations[0].reason: Unsupported value: "Odd": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge""#,
                    r#"spec.validations[1].message: Invalid value: "a\nb": must not contain line breaks"#,
                    "spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified",
                    "spec.auditAnnotations[1].valueExpression: Required value: must not exceed 5120 bytes in length",
                    r#"spec.auditAnnotations[1].key: Duplicate value: "k""#,
                    r#"spec.auditAnnotations[2].key: Invalid value: "p/-": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<ValidatingAdmissionPolicies>(object), faults);
        }
    }

    #[test]
    fn conditions_are_judged_when_they_change() {
        let old = policy(json!({"matchConditions": [{"name": "", "expression": "true"}]}));
        assert_eq!(check_update::<ValidatingAdmissionPolicies>(old.clone(), old.clone()), [""; 0]);
        let mut new = old.clone();
        new["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        assert_eq!(
            check_update::<ValidatingAdmissionPolicies>(new, old),
            ["spec.matchConditions[0].name: Required value"]
        );
    }

    #[test]
    fn a_status_says_what_is_wrong_where() {
        let mut new = policy(json!({}));
        new["status"] = json!({"typeChecking": {"expressionWarnings": [{"fieldRef": "spec.validations[0].expression", "warning": "w"}, {"fieldRef": " ", "warning": ""}]}});
        assert_eq!(
            check_status_update::<ValidatingAdmissionPolicies>(new, policy(json!({}))),
            [
                "status.typeChecking.expressionWarnings[1].warning: Required value",
                "status.typeChecking.expressionWarnings[1].fieldRef: Required value",
            ]
        );
    }
}
