//! Questions and answers, as objects.

use super::*;
use crate::authz::rbac::{Kind, Rbac};

fn rbac() -> Rbac {
    let rbac = Rbac::new();
    let role = json!({"rules": [
        {"apiGroups": [""], "resources": ["pods"], "resourceNames": ["p"], "verbs": ["get"]},
        {"nonResourceURLs": ["/healthz"], "verbs": ["get"]},
    ]});
    let binding = json!({
        "roleRef": {"kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "alice"}, {"kind": "Group", "name": "dev"}],
    });
    rbac.update(Kind::ClusterRole, "", "r", Some(&role));
    rbac.update(Kind::ClusterRoleBinding, "", "b", Some(&binding));
    rbac
}

/// What an authorizer was asked, given back as the reason.
#[derive(Debug)]
struct Echo;

impl Authorizer for Echo {
    fn authorize(&self, asked: &Attributes) -> Decision {
        Decision::Deny(format!("{}|{}|{}", asked.version, asked.field_selector, asked.label_selector).into())
    }

    fn rules_for(&self, _: &User, _: &str) -> Rules {
        Rules { incomplete: true, errors: vec!["short".to_owned()], ..Rules::default() }
    }
}

fn faults(result: Result<Value, Status>) -> Vec<String> {
    let status = result.unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert!(status.message.starts_with(".authorization.k8s.io \"\" is invalid: "), "{}", status.message);
    let details = status.details.unwrap();
    assert_eq!((details.group.as_str(), details.kind.as_str()), ("authorization.k8s.io", ""));
    details.causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn a_review_comes_back_with_the_answer_in_its_status() {
    let rbac = rbac();
    let alice = User::new("alice", &[]);
    let own = |spec: Value| {
        let review =
            json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": spec});
        self_subject_access(&review, &alice, &rbac).unwrap()
    };
    let asked =
        json!({"resourceAttributes": {"namespace": "a", "verb": "get", "resource": "pods", "name": "p"}});
    assert_eq!(
        own(asked.clone()),
        json!({
            "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": asked,
            "status": {
                "allowed": true,
                "reason": r#"RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "alice""#,
            },
        })
    );
    assert_eq!(
        own(json!({"nonResourceAttributes": {"verb": "get", "path": "/x"}}))["status"],
        json!({"allowed": false})
    );
    let about =
        |spec: Value| subject_access(&json!({"spec": spec}), &rbac).unwrap()["status"]["allowed"].clone();
    let attributes = json!({"verb": "get", "path": "/healthz"});
    assert_eq!(about(json!({"user": "bob", "nonResourceAttributes": attributes})), json!(false));
    assert_eq!(
        about(json!({"user": "bob", "groups": ["dev"], "nonResourceAttributes": attributes})),
        json!(true)
    );
}

#[test]
fn malformed_reviews_are_told_what_is_wrong() {
    let rbac = rbac();
    let alice = User::new("alice", &[]);
    let pods = json!({"namespace": "a", "verb": "get", "resource": "pods"});
    for (review, wanted) in [
        (
            json!({"spec": {}}),
            vec![
                "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ],
        ),
        (
            json!({"spec": {"resourceAttributes": pods, "nonResourceAttributes": {"verb": "get"}}}),
            vec![
                r#"spec.nonResourceAttributes: Invalid value: {"Path":"","Verb":"get"}: cannot be specified in combination with resourceAttributes"#,
            ],
        ),
        (
            json!({"metadata": {"name": "x"}, "spec": {"resourceAttributes": pods}}),
            vec![r#"metadata: Invalid value: {"name":"x"}: must be empty"#],
        ),
        (
            json!({"spec": {"resourceAttributes": {"fieldSelector": {}, "labelSelector": {"rawSelector": "a", "requirements": [{"key": "a", "operator": "In"}]}}}}),
            vec![
                "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
                r#"spec.resourceAttributes.labelSelector.rawSelector: Invalid value: "a": may not specified at the same time as requirements"#,
                "spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ],
        ),
        (
            json!({"spec": {"resourceAttributes": {"fieldSelector": {"requirements": [{"operator": "Exists", "values": ["x"]}]}}}}),
            vec![
                "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified",
                "spec.resourceAttributes.fieldSelector.requirements[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ],
        ),
    ] {
        assert_eq!(faults(self_subject_access(&review, &alice, &rbac)), wanted);
    }
    assert_eq!(
        faults(subject_access(&json!({"spec": {"resourceAttributes": pods}}), &rbac)),
        [r#"spec.user: Invalid value: "": at least one of user or group must be specified"#]
    );
}

#[test]
fn a_local_review_stays_in_its_namespace() {
    let rbac = rbac();
    let review = |namespace: &str, spec: Value| json!({"metadata": {"namespace": namespace}, "spec": spec});
    let pods = |namespace: &str| json!({"user": "alice", "resourceAttributes": {"namespace": namespace, "verb": "get", "resource": "pods", "name": "p"}});
    let fine = local_subject_access(&review("a", pods("a")), "a", &rbac).unwrap();
    assert_eq!(fine["status"]["allowed"], json!(true));
    assert_eq!(
        faults(local_subject_access(&review("a", pods("b")), "a", &rbac)),
        [r#"spec.resourceAttributes.namespace: Invalid value: "b": must match metadata.namespace"#]
    );
    let path = json!({"user": "alice", "nonResourceAttributes": {"verb": "get", "path": "/x"}});
    assert_eq!(faults(local_subject_access(&review("a", path), "a", &rbac)).len(), 1);
    let other = local_subject_access(&review("b", pods("b")), "a", &rbac).unwrap_err();
    assert_eq!(other.message, "spec.resourceAttributes.namespace must match namespace: a");
}

#[test]
fn selectors_narrow_the_question_and_unreadable_ones_are_left_out() {
    let ask = |attributes: Value| {
        let review = json!({"spec": {"resourceAttributes": attributes}});
        let status = self_subject_access(&review, &User::default(), &Echo).unwrap()["status"].clone();
        assert_eq!(status["denied"], json!(true));
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("reason"), text("evaluationError")).trim().to_owned()
    };
    for (attributes, wanted) in [
        (json!({"version": "v1"}), "v1||"),
        (
            json!({"fieldSelector": {"rawSelector": "a=b"}, "labelSelector": {"rawSelector": "c in (d,e)"}}),
            "*|a=b|c in (d,e)",
        ),
        (
            json!({
                "fieldSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b,c"]}, {"key": "d", "operator": "NotIn", "values": ["e"]}]},
                "labelSelector": {"requirements": [{"key": "f", "operator": "Exists"}, {"key": "g", "operator": "In", "values": ["h"]}]},
            }),
            r"*|a=b\,c,d!=e|f,g in (h)",
        ),
        (
            json!({
                "fieldSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b", "c"]}, {"key": "d", "operator": "In", "values": ["e"]}]},
                "labelSelector": {"requirements": [{"key": "f", "operator": "Near", "values": ["x"]}]},
            }),
            "*|d=e| spec.resourceAttributes.fieldSelector partially ignored due to parse error; spec.resourceAttributes.labelSelector ignored due to parse error",
        ),
        (
            json!({"fieldSelector": {"rawSelector": "a"}}),
            "*|| spec.resourceAttributes.fieldSelector ignored due to parse error",
        ),
    ] {
        assert_eq!(ask(attributes), wanted);
    }
}

#[test]
fn rules_are_told_by_what_they_are_about() {
    let alice = User::new("alice", &["dev"]);
    let review = json!({"spec": {"namespace": "a"}});
    assert_eq!(
        self_subject_rules(&review, &alice, &rbac()).unwrap(),
        json!({
            "kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": {},
            "status": {
                "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["p"]}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}],
                "incomplete": false,
            },
        })
    );
    assert_eq!(
        self_subject_rules(&review, &alice, &Echo).unwrap()["status"],
        json!({"resourceRules": [], "nonResourceRules": [], "incomplete": true, "evaluationError": "short"})
    );
    let nowhere = self_subject_rules(&json!({}), &alice, &Echo).unwrap_err();
    assert_eq!((nowhere.code, nowhere.message.as_str()), (400, "no namespace on request"));
}
