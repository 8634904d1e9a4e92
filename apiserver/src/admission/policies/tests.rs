use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use runtime::Runtime;
use serde_json::{Value, json};

use super::*;
use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    launch,
    server::InProcess,
};

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

async fn create(server: &Arc<Server>, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder().method("POST").uri(path).header("content-type", "application/json");
    let mut request = request.body(Body::from(body.to_string())).unwrap();
    request.extensions_mut().insert(InProcess(User::new("tester", &[MASTERS, AUTHENTICATED])));
    let answer = Box::pin(server.serve(request)).await;
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn what_policies_find_is_counted_by_what_is_done_about_it() {
    let runtime = Runtime::system();
    let server = launch::in_memory(&runtime).await.unwrap();
    let maps = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CREATE"], "resources": ["configmaps"]}]});
    let policy = |kind: &str, name: &str, spec: Value| {
        let mut spec = spec;
        spec["matchConstraints"] = maps.clone();
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
    };
    let binding = |kind: &str, name: &str, actions: Value| {
        let mut spec = json!({"policyName": name});
        if !actions.is_null() {
            spec["validationActions"] = actions;
        }
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": format!("{name}-b")},
            "spec": spec})
    };
    let (validating, mutating) = ("ValidatingAdmissionPolicy", "MutatingAdmissionPolicy");
    let mine = json!([{"name": "mine", "expression": "object.metadata.name != 'not-mine'"}]);
    let labelled = "Object{metadata: Object.metadata{labels: {'by': object.data.by}}}";
    for (plural, object) in [
        (
            "validatingadmissionpolicies",
            policy(
                validating,
                "named",
                json!({"validations": [{"expression": "object.metadata.name != 'bad'"}],
                "matchConditions": mine}),
            ),
        ),
        (
            "validatingadmissionpolicies",
            policy(
                validating,
                "open",
                json!({"failurePolicy": "Ignore",
                "validations": [{"expression": "object.data.nosuch == 'x'"}]}),
            ),
        ),
        (
            "mutatingadmissionpolicies",
            policy(
                mutating,
                "label",
                json!({"failurePolicy": "Ignore", "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": labelled}}]}),
            ),
        ),
        (
            "validatingadmissionpolicybindings",
            binding(&format!("{validating}Binding"), "named", json!(["Deny", "Audit"])),
        ),
        (
            "validatingadmissionpolicybindings",
            binding(&format!("{validating}Binding"), "open", json!(["Warn"])),
        ),
        ("mutatingadmissionpolicybindings", binding(&format!("{mutating}Binding"), "label", Value::Null)),
    ] {
        let (code, made) =
            create(&server, &format!("/apis/admissionregistration.k8s.io/v1/{plural}"), &object).await;
        assert_eq!(code, 201, "{made}");
        server.list("admissionregistration.k8s.io", "v1", plural, "").await.unwrap();
    }
    for (name, code) in [("good", 201), ("bad", 422), ("not-mine", 201)] {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"by": "me"}});
        let (found, answer) = create(&server, "/api/v1/namespaces/default/configmaps", &map).await;
        assert_eq!(found, code, "{answer}");
    }
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bare"}});
    assert_eq!(create(&server, "/api/v1/namespaces/default/configmaps", &map).await.0, 201);
    let text = String::from_utf8(server.metrics.render()).unwrap();
    let check = |metric: &str, labels: &str, count: usize| {
        for line in [
            format!("apiserver_{metric}_admission_policy_check_total{{{labels}}} {count}\n"),
            format!("apiserver_{metric}_admission_policy_check_duration_seconds_count{{{labels}}} {count}\n"),
        ] {
            assert!(text.contains(&line), "{line} in {text}");
        }
    };
    let labels = |action: &str, error: &str, name: &str| {
        format!(
            r#"enforcement_action="{action}",error_type="{error}",policy="{name}",policy_binding="{name}-b""#
        )
    };
    check("validating", &labels("deny", "invalid_error", "named"), 1);
    check("validating", &labels("audit", "invalid_error", "named"), 1);
    // The write that is refused too: every policy looks at it.
    check("validating", &labels("allow", "invalid_error", "open"), 4);
    // As upstream, what simply holds is not counted.
    assert!(!text.contains(r#"enforcement_action="allow",error_type="no_error""#));
    let of_label = |error: &str| format!(r#"error_type="{error}",policy="label",policy_binding="label-b""#);
    check("mutating", &of_label("no_error"), 3);
    check("mutating", &of_label("invalid_error"), 1);
    let excluded = r#"apiserver_admission_match_condition_evaluation_seconds_count{kind="policy",name="named",operation="CREATE",type="validate"} 1"#;
    assert!(text.contains(excluded), "{text}");
}
