//! Wishes, and what becomes of them.

use http::{HeaderName, HeaderValue};

use super::*;
use crate::authz::decision::{Decision, Rules};

/// Allows what is on its list: `verb group/resource[/subresource] [namespace/]name`.
#[derive(Debug)]
struct Allows(Vec<&'static str>);

impl Authorizer for Allows {
    fn authorize(&self, asked: &Attributes) -> Decision {
        let Attributes { verb, group, resource, subresource, namespace, name, .. } = asked;
        let join = |left: &str, right: &str| match (left, right) {
            ("", right) => right.to_owned(),
            (left, "") => left.to_owned(),
            (left, right) => format!("{left}/{right}"),
        };
        let question = format!("{verb} {group}/{} {}", join(resource, subresource), join(namespace, name));
        if self.0.iter().any(|it| *it == "*" || *it == question.trim()) {
            Decision::ALLOW
        } else {
            Decision::NO_OPINION
        }
    }

    fn rules_for(&self, _: &User, _: &str) -> Rules {
        Rules::default()
    }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn list_pods(user: User) -> Attributes {
    Attributes {
        user,
        verb: "list".to_owned(),
        namespace: "a".to_owned(),
        resource: "pods".to_owned(),
        resource_request: true,
        ..Attributes::default()
    }
}

fn wish(allowed: &[&'static str], requestor: User, pairs: &[(&str, &str)]) -> String {
    let request = list_pods(requestor);
    match Impersonation::default().impersonate(&headers(pairs), &request, &Allows(allowed.to_vec())) {
        Ok(None) => "nobody else".to_owned(),
        Ok(Some(Impersonated { user, constraint })) => {
            let extra: Vec<String> =
                user.extra.iter().map(|(key, it)| format!("{key}={}", it.join(","))).collect();
            format!("{} {} [{}] {} {constraint}", user.name, user.uid, user.groups.join(" "), extra.join(";"))
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        }
        Err(status) => status.message,
    }
}

fn alice() -> User {
    User::new("alice", &["dev"])
}

#[test]
fn whoever_may_do_all_becomes_whom_they_name() {
    for (pairs, wanted) in [
        (vec![], "nobody else"),
        (vec![("impersonate-user", "")], "nobody else"),
        (vec![("impersonate-user", "dave")], "dave [system:authenticated] impersonate:user-info"),
        (
            vec![
                ("impersonate-user", "dave"),
                ("impersonate-group", "a"),
                ("impersonate-group", "b"),
                ("impersonate-uid", "u-1"),
                ("impersonate-extra-acme%2ecom%2fproject", "p"),
                ("impersonate-extra-acme%2ecom%2fproject", "q"),
            ],
            "dave u-1 [a b system:authenticated] acme.com/project=p,q impersonate:user-info",
        ),
        // What the constrained modes do not let pass, the older one does.
        (
            vec![("impersonate-user", "dave"), ("impersonate-extra-scopes", "x")],
            "dave [system:authenticated] scopes=x",
        ),
        (
            vec![("impersonate-user", "dave"), ("impersonate-extra-bad%zz", "x")],
            "dave [system:authenticated] bad%zz=x",
        ),
        (
            vec![("impersonate-user", "dave"), ("impersonate-group", "system:masters")],
            "dave [system:masters system:authenticated]",
        ),
        (
            vec![("impersonate-user", "dave"), ("impersonate-group", "system:unauthenticated")],
            "dave [system:unauthenticated] impersonate:user-info",
        ),
        (
            vec![("impersonate-user", "system:anonymous")],
            "system:anonymous [system:unauthenticated] impersonate:user-info",
        ),
        (
            vec![("impersonate-user", "system:serviceaccount:a:x")],
            "system:serviceaccount:a:x [system:serviceaccounts system:serviceaccounts:a system:authenticated] impersonate:serviceaccount",
        ),
        (
            vec![("impersonate-user", "system:serviceaccount:a:x"), ("impersonate-group", "g")],
            "system:serviceaccount:a:x [g system:authenticated]",
        ),
        (
            vec![("impersonate-user", "system:node:n1")],
            "system:node:n1 [system:nodes system:authenticated] impersonate:arbitrary-node",
        ),
        (
            vec![("impersonate-group", "a")],
            r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"a"}, Extra:map[string][]string(nil)} without impersonating a user name"#,
        ),
        (
            vec![("impersonate-uid", "u"), ("impersonate-extra-a", "x"), ("impersonate-extra-a", "y")],
            r#"requested &user.DefaultInfo{Name:"", UID:"u", Groups:[]string(nil), Extra:map[string][]string{"a":[]string{"x", "y"}}} without impersonating a user name"#,
        ),
    ] {
        assert_eq!(wish(&["*"], alice(), &pairs), wanted, "{pairs:?}");
    }
}

#[test]
fn every_part_of_the_wish_takes_a_permission() {
    let dave = ("impersonate-user", "dave");
    let as_dave =
        ["impersonate-on:user-info:list /pods a", "impersonate:user-info authentication.k8s.io/users dave"];
    let with = |more: &[&'static str]| as_dave.iter().chain(more).copied().collect::<Vec<_>>();
    let no = |verb: &str, resource: &str, group: &str| {
        format!(
            "{resource} is forbidden: User \"alice\" cannot {verb} resource {resource:?} in API group {group:?}"
        )
    };
    let group = "authentication.k8s.io";
    for (allowed, pairs, wanted) in [
        (vec![], vec![dave], no("impersonate-on:user-info:list", "pods", "") + " in the namespace \"a\""),
        (
            vec![as_dave[0]],
            vec![dave],
            format!("users.{group} \"dave\" is forbidden: User \"alice\" cannot impersonate:user-info resource \"users\" in API group \"{group}\" at the cluster scope"),
        ),
        (with(&[]), vec![dave], "dave [system:authenticated] impersonate:user-info".to_owned()),
        (
            with(&[]),
            vec![dave, ("impersonate-group", "g")],
            format!("groups.{group} \"g\" is forbidden: User \"alice\" cannot impersonate:user-info resource \"groups\" in API group \"{group}\" at the cluster scope"),
        ),
        (
            with(&["impersonate:user-info authentication.k8s.io/groups g"]),
            vec![dave, ("impersonate-group", "g")],
            "dave [g system:authenticated] impersonate:user-info".to_owned(),
        ),
        (
            with(&["impersonate:user-info authentication.k8s.io/groups *"]),
            ["a", "b", "c", "d"].map(|it| ("impersonate-group", it)).into_iter().chain([dave]).collect(),
            "dave [a b c d system:authenticated] impersonate:user-info".to_owned(),
        ),
        (
            with(&["impersonate:user-info authentication.k8s.io/userextras/a.b/c x"]),
            vec![dave, ("impersonate-extra-a.b%2fc", "x")],
            "dave [system:authenticated] a.b/c=x impersonate:user-info".to_owned(),
        ),
        (
            with(&["impersonate:user-info authentication.k8s.io/uids u"]),
            vec![dave, ("impersonate-uid", "u")],
            "dave u [system:authenticated] impersonate:user-info".to_owned(),
        ),
        // The older kind.
        (vec!["impersonate /users dave"], vec![dave], "dave [system:authenticated]".to_owned()),
        (
            vec!["impersonate /serviceaccounts a/x"],
            vec![("impersonate-user", "system:serviceaccount:a:x")],
            "system:serviceaccount:a:x [system:serviceaccounts system:serviceaccounts:a system:authenticated]".to_owned(),
        ),
        (
            vec!["impersonate /users dave", "impersonate authentication.k8s.io/userextras/scopes x"],
            vec![dave, ("impersonate-extra-scopes", "x")],
            "dave [system:authenticated] scopes=x".to_owned(),
        ),
    ] {
        assert_eq!(wish(&allowed, alice(), &pairs), wanted, "{allowed:?} {pairs:?}");
    }
}

#[test]
fn a_service_account_may_be_the_node_its_pod_runs_on() {
    let on = |node: &str| User {
        extra: [(service_account::NODE_NAME.to_owned(), vec![node.to_owned()])].into(),
        ..User::new("system:serviceaccount:a:agent", &[])
    };
    let allowed = [
        "impersonate-on:associated-node:list /pods a",
        "impersonate:associated-node authentication.k8s.io/nodes *",
    ];
    let n1 = [("impersonate-user", "system:node:n1")];
    assert_eq!(
        wish(&allowed, on("n1"), &n1),
        "system:node:n1 [system:nodes system:authenticated] impersonate:associated-node"
    );
    assert!(wish(&allowed, on("n2"), &n1).contains("cannot impersonate-on:arbitrary-node:list"));
    assert!(wish(&allowed, alice(), &n1).contains("cannot impersonate-on:arbitrary-node:list"));
}

#[test]
fn what_let_a_user_through_is_tried_first_the_next_time() {
    let impersonation = Impersonation::default();
    let request = list_pods(alice());
    let dave = headers(&[("impersonate-user", "dave")]);
    let eve = headers(&[("impersonate-user", "eve")]);
    let allows = Allows(vec!["impersonate /users dave"]);
    let refusal =
        |headers: &HeaderMap| impersonation.impersonate(headers, &request, &allows).unwrap_err().message;
    assert!(refusal(&eve).contains("cannot impersonate-on:user-info:list"));
    assert!(impersonation.impersonate(&dave, &request, &allows).is_ok());
    assert!(refusal(&eve).contains("cannot impersonate resource \"users\""));
}

#[test]
fn the_wish_is_taken_out_of_the_headers() {
    let mut headers = headers(&[
        ("impersonate-user", "a"),
        ("impersonate-group", "a"),
        ("impersonate-uid", "a"),
        ("impersonate-extra-a", "a"),
        ("accept", "a"),
    ]);
    strip(&mut headers);
    assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
}
