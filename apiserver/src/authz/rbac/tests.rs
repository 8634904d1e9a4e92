//! Decisions over small sets of roles and bindings.

use serde_json::json;

use super::*;

fn rbac() -> Rbac {
    let rbac = Rbac::new();
    let role = |verbs: &[&str], resource: &str| json!({"rules": [{"apiGroups": [""], "resources": [resource], "verbs": verbs}]});
    let binding = |kind: &str, role: &str, subjects: Value| json!({"roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}, "subjects": subjects});
    let user = |name: &str| json!({"kind": "User", "name": name});
    let group = |name: &str| json!({"kind": "Group", "name": name});
    for (kind, namespace, name, object) in [
        (Kind::ClusterRole, "", "view", role(&["get", "list"], "pods")),
        (Kind::ClusterRole, "", "empty", json!({"rules": null})),
        (
            Kind::ClusterRole,
            "",
            "health",
            json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]}),
        ),
        (Kind::Role, "a", "edit", role(&["update"], "pods")),
        (
            Kind::ClusterRoleBinding,
            "",
            "everybody",
            binding("ClusterRole", "health", json!([group("system:authenticated")])),
        ),
        (
            Kind::ClusterRoleBinding,
            "",
            "viewers",
            binding("ClusterRole", "view", json!([group("ops"), user("alice")])),
        ),
        (Kind::ClusterRoleBinding, "", "odd", binding("Role", "view", json!([user("odd")]))),
        (
            Kind::RoleBinding,
            "a",
            "editors",
            binding("Role", "edit", json!([user("bob"), {"kind": "ServiceAccount", "name": "robot"}])),
        ),
        (
            Kind::RoleBinding,
            "b",
            "visitors",
            binding(
                "ClusterRole",
                "view",
                json!([{"kind": "ServiceAccount", "namespace": "a", "name": "robot"}]),
            ),
        ),
        (Kind::RoleBinding, "a", "lost", binding("Role", "gone", json!([user("carol")]))),
        (Kind::RoleBinding, "a", "lost-too", binding("ClusterRole", "gone", json!([user("carol")]))),
        (Kind::ClusterRoleBinding, "", "nobody", binding("ClusterRole", "view", json!(null))),
        (
            Kind::ClusterRoleBinding,
            "",
            "homeless",
            binding("ClusterRole", "view", json!([{"kind": "ServiceAccount", "name": "robot"}])),
        ),
    ] {
        rbac.update(kind, namespace, name, Some(&object));
    }
    rbac
}

/// `user[,group...] verb resource namespace`, or `user[,group...] verb /path`
fn ask(rbac: &Rbac, text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let names: Vec<&str> = words[0].split(',').collect();
    let attributes = Attributes {
        user: User::new(names[0], &names[1..]),
        verb: words[1].to_owned(),
        resource: words[2].to_owned(),
        path: words[2].to_owned(),
        resource_request: !words[2].starts_with('/'),
        namespace: words.get(3).copied().unwrap_or_default().to_owned(),
        ..Attributes::default()
    };
    match rbac.authorize(&attributes) {
        Decision::Allow(reason) => format!("yes {reason}"),
        Decision::Deny(reason) => format!("never {reason}"),
        Decision::NoOpinion(reason) => format!("no {reason}"),
    }
}

#[test]
fn bindings_grant_the_rules_of_their_roles_where_they_stand() {
    let rbac = rbac();
    for (question, wanted) in [
        (
            "alice get pods a",
            r#"yes RBAC: allowed by ClusterRoleBinding "viewers" of ClusterRole "view" to User "alice""#,
        ),
        (
            "alice,ops get pods",
            r#"yes RBAC: allowed by ClusterRoleBinding "viewers" of ClusterRole "view" to Group "ops""#,
        ),
        ("alice update pods a", "no "),
        ("bob update pods a", r#"yes RBAC: allowed by RoleBinding "editors/a" of Role "edit" to User "bob""#),
        ("bob update pods b", "no "),
        ("bob update pods", "no "),
        (
            "system:serviceaccount:a:robot update pods a",
            r#"yes RBAC: allowed by RoleBinding "editors/a" of Role "edit" to ServiceAccount "robot/a""#,
        ),
        (
            "system:serviceaccount:a:robot get pods b",
            r#"yes RBAC: allowed by RoleBinding "visitors/b" of ClusterRole "view" to ServiceAccount "robot/a""#,
        ),
        ("system:serviceaccount:b:robot get pods b", "no "),
        ("system:serviceaccount::robot get pods b", "no "),
        (
            "x,system:authenticated get /healthz",
            r#"yes RBAC: allowed by ClusterRoleBinding "everybody" of ClusterRole "health" to Group "system:authenticated""#,
        ),
        ("x get /healthz", "no "),
        ("x,system:authenticated get /metrics", "no "),
        ("odd get pods", r#"no RBAC: role.rbac.authorization.k8s.io "view" not found"#),
        (
            "carol get pods a",
            concat!(
                r#"no RBAC: [role.rbac.authorization.k8s.io "gone" not found, "#,
                r#"clusterrole.rbac.authorization.k8s.io "gone" not found]"#
            ),
        ),
    ] {
        assert_eq!(ask(&rbac, question), wanted, "{question}");
    }
}

#[test]
fn a_change_takes_effect_at_once_and_leaves_nothing_behind() {
    let rbac = rbac();
    assert!(ask(&rbac, "alice get pods a").starts_with("yes"));
    let to_dave = json!({
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "dave"}, {"kind": "User", "name": "dave"}],
    });
    rbac.update(Kind::ClusterRoleBinding, "", "viewers", Some(&to_dave));
    assert_eq!(ask(&rbac, "alice get pods a"), "no ");
    assert!(ask(&rbac, "dave get pods a").starts_with("yes"));
    rbac.update_encoded(Kind::ClusterRole, "", "view", Some(br#"{"rules": []}"#));
    assert_eq!(ask(&rbac, "dave get pods a"), "no ");
    rbac.update(Kind::ClusterRole, "", "view", None);
    assert_eq!(
        ask(&rbac, "dave get pods a"),
        r#"no RBAC: clusterrole.rbac.authorization.k8s.io "view" not found"#
    );
    rbac.update(Kind::ClusterRoleBinding, "", "viewers", None);
    assert_eq!(ask(&rbac, "dave get pods a"), "no ");
}

#[test]
fn what_went_away_unseen_is_forgotten() {
    let rbac = rbac();
    let known = |keys: &[(&str, &str)]| {
        keys.iter().map(|(namespace, name)| ((*namespace).to_owned(), (*name).to_owned())).collect()
    };
    rbac.keep_only(Kind::RoleBinding, &known(&[("a", "editors"), ("", "viewers")]));
    assert!(ask(&rbac, "bob update pods a").starts_with("yes"));
    assert_eq!(ask(&rbac, "system:serviceaccount:a:robot get pods b"), "no ");
    assert!(ask(&rbac, "alice get pods a").starts_with("yes"), "other kinds are left alone");
    rbac.keep_only(Kind::ClusterRoleBinding, &known(&[]));
    assert_eq!(ask(&rbac, "alice get pods a"), "no ");
    rbac.keep_only(Kind::Role, &known(&[]));
    assert_eq!(
        ask(&rbac, "bob update pods a"),
        r#"no RBAC: role.rbac.authorization.k8s.io "edit" not found"#
    );
}

#[test]
fn an_object_that_cannot_be_read_grants_nothing() {
    let rbac = rbac();
    rbac.update_encoded(Kind::ClusterRole, "", "view", Some(br#"{"rules": "all"}"#));
    assert_eq!(ask(&rbac, "alice get pods a"), "no ");
    rbac.update(Kind::ClusterRoleBinding, "", "everybody", Some(&json!({"subjects": 7})));
    assert_eq!(ask(&rbac, "x,system:authenticated get /healthz"), "no ");
}

#[test]
fn rules_are_listed_once_a_binding() {
    let rbac = rbac();
    let alice = User::new("alice", &["ops", "system:authenticated"]);
    let granted = rbac.granted(&alice, "a");
    assert_eq!(
        granted.rules,
        [Rule::on_resources(&["get", "list"], &[""], &["pods"]), Rule::on_paths(&["get"], &["/healthz"])]
    );
    let carol = rbac.rules_for(&User::new("carol", &[]), "a");
    assert_eq!(carol.rules, []);
    assert_eq!(carol.errors.len(), 1);
    assert!(!carol.incomplete);
}
