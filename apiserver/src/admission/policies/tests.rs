use serde_json::{Value, json};

use super::*;

#[test]
fn policies_are_compiled_with_their_variables_and_types() {
    let policy = validating(&json!({"metadata": {"name": "p"}, "spec": {
        "failurePolicy": "Ignore", "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [{"name": "n", "expression": "size(object.items)"}, {"name": "m", "expression": "variables.n + 1"}],
        "validations": [{"expression": "variables.m > 1", "messageExpression": "'n is ' + string(variables.n)"},
            {"expression": "variables.nope"}],
        "auditAnnotations": [{"key": "k", "valueExpression": "params.data.x"}]}}));
    assert!(policy.ignores_failure && policy.name == "p");
    let validation = |index: usize| policy.validations[index].expression.program.as_ref().err();
    assert_eq!(validation(0), None);
    assert!(validation(1).unwrap().contains("undefined field 'nope'"));
    assert!(policy.validations[0].message_expression.as_ref().unwrap().program.is_ok());
    assert!(
        policy.annotations[0].expression.program.as_ref().unwrap_err().contains("must evaluate to one of")
    );
}

#[test]
fn bindings_name_their_policy_and_what_happens() {
    let binding = Binding::read(&json!({"metadata": {"name": "b"}, "spec": {"policyName": "p",
        "validationActions": ["Deny", "Audit"], "paramRef": {"name": "x"}}}));
    assert_eq!((binding.policy.as_str(), binding.actions.len()), ("p", 2));
    assert!(binding.matching.is_none());
    assert_eq!(binding.reference, json!({"name": "x"}));
}

#[test]
fn the_namespace_is_shown_without_what_nobody_may_see() {
    let namespace = json!({"apiVersion": "v1", "metadata": {"name": "n", "managedFields": []}, "spec": {}});
    assert_eq!(evaluation::namespace_object(&namespace), json!({"metadata": {"name": "n"}, "spec": {}}));
    assert_eq!(evaluation::namespace_object(&Value::Null), Value::Null);
}
