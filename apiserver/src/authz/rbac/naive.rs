//! The evaluator beside one that does not index anything: every binding, every subject, every rule, as the reference page
//! says. Over random roles, and over the roles a cluster begins with.

use std::collections::{BTreeMap, BTreeSet};

use api_types::object::ObjectExt;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{authn::user::User, authz::attributes::Attributes, bootstrap};

/// The groups of callers.
const GROUPS: [&[&str]; 3] = [&[], &["dev"], &["ops", "dev"]];

/// Roles and bindings by kind, namespace and name.
type Objects = BTreeMap<(usize, String, String), Value>;

fn strings<'a>(value: &'a Value, field: &str) -> Vec<&'a str> {
    value[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn rule_allows(rule: &Value, asked: &Attributes) -> bool {
    let has = |field: &str, word: &str| {
        let words = strings(rule, field);
        words.contains(&"*") || words.contains(&word)
    };
    if !has("verbs", &asked.verb) {
        return false;
    }
    if !asked.resource_request {
        return strings(rule, "nonResourceURLs").iter().any(|url| match url.strip_suffix('*') {
            Some(prefix) => asked.path.starts_with(prefix),
            None => *url == asked.path,
        });
    }
    let resources = strings(rule, "resources");
    let named = match asked.subresource.as_str() {
        "" => has("resources", &asked.resource),
        part => {
            let (whole, any) = (format!("{}/{part}", asked.resource), format!("*/{part}"));
            has("resources", &whole) || resources.contains(&any.as_str())
        }
    };
    let names = strings(rule, "resourceNames");
    named && has("apiGroups", &asked.group) && (names.is_empty() || names.contains(&asked.name.as_str()))
}

fn subject_is(subject: &Value, user: &User, namespace: &str) -> bool {
    let text = |field: &str| subject[field].as_str().unwrap_or_default();
    match text("kind") {
        "User" => text("name") == user.name,
        "Group" => user.groups.iter().any(|group| group == text("name")),
        "ServiceAccount" => {
            let home = if text("namespace").is_empty() { namespace } else { text("namespace") };
            !home.is_empty() && user.name == format!("system:serviceaccount:{home}:{}", text("name"))
        }
        _ => false,
    }
}

fn allows(objects: &Objects, asked: &Attributes) -> bool {
    objects.iter().any(|((kind, namespace, _), binding)| {
        let (everywhere, here) =
            (*kind == 3, *kind == 2 && *namespace == asked.namespace && !namespace.is_empty());
        if !everywhere && !here {
            return false;
        }
        let subjects = binding["subjects"].as_array().into_iter().flatten();
        if !subjects.into_iter().any(|subject| subject_is(subject, &asked.user, namespace)) {
            return false;
        }
        let role = binding["roleRef"]["name"].as_str().unwrap_or_default().to_owned();
        let key = match binding["roleRef"]["kind"].as_str() {
            Some("Role") if here => (0, namespace.clone(), role),
            Some("ClusterRole") => (1, String::new(), role),
            _ => return false,
        };
        let rules = objects.get(&key).and_then(|role| role["rules"].as_array());
        rules.into_iter().flatten().any(|rule| rule_allows(rule, asked))
    })
}

const KINDS: [Kind; 4] = [Kind::Role, Kind::ClusterRole, Kind::RoleBinding, Kind::ClusterRoleBinding];

fn indexed(objects: &Objects) -> Rbac {
    let rbac = Rbac::new();
    for ((kind, namespace, name), object) in objects {
        rbac.update(KINDS[*kind], namespace, name, Some(object));
    }
    rbac
}

fn words(all: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(all), 1..3)
}

fn rule() -> impl Strategy<Value = Value> {
    let on_resources = (
        words(&["get", "list", "update", "*"]),
        words(&["", "apps", "*"]),
        words(&["pods", "pods/log", "*/log", "nodes", "*"]),
        proptest::option::of(words(&["x", "y"])),
    )
        .prop_map(|(verbs, groups, resources, names)| {
            json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
        });
    let on_paths = (words(&["get", "*"]), words(&["/healthz", "/apis/*", "*"]))
        .prop_map(|(verbs, urls)| json!({"verbs": verbs, "nonResourceURLs": urls}));
    prop_oneof![3 => on_resources, 1 => on_paths]
}

fn subject() -> impl Strategy<Value = Value> {
    prop_oneof![
        proptest::sample::select(&["alice", "bob", "system:serviceaccount:a:robot"][..])
            .prop_map(|name| json!({"kind": "User", "name": name})),
        proptest::sample::select(&["dev", "ops"][..]).prop_map(|name| json!({"kind": "Group", "name": name})),
        proptest::sample::select(&["a", "b", ""][..])
            .prop_map(|namespace| json!({"kind": "ServiceAccount", "namespace": namespace, "name": "robot"})),
    ]
}

fn objects() -> impl Strategy<Value = Objects> {
    let role = (0_usize..2, 0_usize..2, 0_usize..3, proptest::collection::vec(rule(), 0..3)).prop_map(
        |(kind, namespace, name, rules)| {
            let namespace = if kind == 0 { ["a", "b"][namespace] } else { "" };
            ((kind, namespace.to_owned(), format!("r{name}")), json!({"rules": rules}))
        },
    );
    let binding = (2_usize..4, 0_usize..2, 0_usize..4, 0_usize..3, any::<bool>(), proptest::collection::vec(subject(), 0..3))
        .prop_map(|(kind, namespace, name, role, local, subjects)| {
            let namespace = if kind == 2 { ["a", "b"][namespace] } else { "" };
            let role_kind = if local && kind == 2 { "Role" } else { "ClusterRole" };
            let object = json!({"roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": format!("r{role}")}, "subjects": subjects});
            ((kind, namespace.to_owned(), format!("b{name}")), object)
        });
    let all = (proptest::collection::vec(role, 0..6), proptest::collection::vec(binding, 0..6));
    all.prop_map(|(roles, bindings)| roles.into_iter().chain(bindings).collect())
}

fn question() -> impl Strategy<Value = Attributes> {
    let select = |all: &'static [&'static str]| proptest::sample::select(all).prop_map(str::to_owned);
    (
        select(&["alice", "bob", "system:serviceaccount:a:robot", "system:serviceaccount:b:robot"]),
        proptest::sample::select(&GROUPS[..]),
        select(&["get", "list", "update", "delete"]),
        select(&["", "a", "b", "c"]),
        select(&["", "apps", "batch"]),
        (select(&["pods", "nodes"]), select(&["", "log", "status"]), select(&["", "x", "z"])),
        select(&["/healthz", "/apis/apps", "/metrics"]),
        any::<bool>(),
    )
        .prop_map(
            |(user, groups, verb, namespace, group, (resource, subresource, name), path, on_resource)| {
                let user = User::new(&user, groups);
                if on_resource {
                    Attributes {
                        user,
                        verb,
                        namespace,
                        group,
                        resource,
                        subresource,
                        name,
                        resource_request: true,
                        ..Attributes::default()
                    }
                } else {
                    Attributes { user, verb, path, ..Attributes::default() }
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_as_a_plain_search_does(objects in objects(), asked in proptest::collection::vec(question(), 1..20)) {
        let rbac = indexed(&objects);
        for asked in asked {
            prop_assert_eq!(rbac.authorize(&asked).is_allow(), allows(&objects, &asked), "{:?}", asked);
        }
    }
}

/// The roles and bindings of a fresh cluster, with the rules of aggregated roles as their controller fills them in.
fn fresh() -> Objects {
    let mut objects = Objects::new();
    for item in bootstrap::rbac::items() {
        let Some(kind) = KINDS.iter().position(|kind| kind.resource() == item.resource) else { continue };
        objects
            .insert((kind, item.object.namespace().to_owned(), item.object.name().to_owned()), item.object);
    }
    let snapshot = objects.clone();
    // Twice: roles are gathered from roles that are gathered.
    for _ in 0..3 {
        let before = objects.clone();
        for (key, role) in &snapshot {
            let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array();
            let Some(selectors) = selectors else { continue };
            let matching = before.iter().filter(|(other, it)| {
                other.0 == 1
                    && *other != key
                    && selectors.iter().any(|selector| {
                        selector["matchLabels"].as_object().is_some_and(|labels| {
                            labels.iter().all(|(label, value)| it.label(label) == value.as_str())
                        })
                    })
            });
            let rules: Vec<Value> =
                matching.flat_map(|(_, it)| it["rules"].as_array().cloned().unwrap_or_default()).collect();
            objects.get_mut(key).unwrap()["rules"] = json!(rules);
        }
    }
    objects
}

#[test]
fn every_role_of_a_fresh_cluster_allows_what_it_says_and_nothing_else() {
    let mut objects = fresh();
    // One user for each role, besides those that are bound already.
    let roles: Vec<String> = objects.keys().filter(|key| key.0 == 1).map(|key| key.2.clone()).collect();
    for role in &roles {
        let binding = json!({"roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": format!("with {role}")}]});
        objects.insert((3, String::new(), format!("test {role}")), binding);
    }
    let rbac = indexed(&objects);
    let mut users: BTreeSet<(String, Vec<String>)> =
        roles.iter().map(|role| (format!("with {role}"), Vec::new())).collect();
    for binding in objects.values() {
        for subject in binding["subjects"].as_array().into_iter().flatten() {
            let text = |field: &str| subject[field].as_str().unwrap_or_default();
            users.insert(match text("kind") {
                "Group" => ("somebody".to_owned(), vec![text("name").to_owned()]),
                "ServiceAccount" => {
                    (format!("system:serviceaccount:{}:{}", text("namespace"), text("name")), Vec::new())
                }
                _ => (text("name").to_owned(), Vec::new()),
            });
        }
    }
    // Whatever any rule speaks of, and what none does.
    let mut resources: BTreeSet<(String, String, String)> =
        BTreeSet::from([("none".into(), "none".into(), String::new())]);
    let (mut verbs, mut paths) = (BTreeSet::from(["none".to_owned()]), BTreeSet::from(["/none".to_owned()]));
    let mut names = BTreeSet::from([String::new(), "none".to_owned()]);
    for rule in objects.values().flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default()) {
        verbs.extend(strings(&rule, "verbs").into_iter().filter(|it| *it != "*").map(str::to_owned));
        paths.extend(strings(&rule, "nonResourceURLs").into_iter().map(|it| it.replace('*', "x")));
        names.extend(strings(&rule, "resourceNames").into_iter().map(str::to_owned));
        for group in strings(&rule, "apiGroups") {
            for resource in strings(&rule, "resources") {
                let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
                resources.insert((group.replace('*', "any"), resource.replace('*', "any"), part.to_owned()));
            }
        }
    }
    let (mut turn, mut asked, mut allowed) = (0, 0, 0);
    let mut check = |attributes: &Attributes| {
        // All of them, a million, take minutes; one in seven goes through every user, verb and resource still.
        turn += 1;
        if turn % 7 != 0 {
            return;
        }
        let expected = allows(&objects, attributes);
        assert_eq!(rbac.authorize(attributes).is_allow(), expected, "{attributes:?}");
        asked += 1;
        allowed += usize::from(expected);
    };
    for (name, groups) in &users {
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let user = User::new(name, &groups);
        for verb in &verbs {
            for path in &paths {
                check(&Attributes {
                    user: user.clone(),
                    verb: verb.clone(),
                    path: path.clone(),
                    ..Attributes::default()
                });
            }
            for (group, resource, subresource) in &resources {
                for namespace in ["", "kube-system"] {
                    check(&Attributes {
                        user: user.clone(),
                        verb: verb.clone(),
                        namespace: namespace.to_owned(),
                        group: group.clone(),
                        resource: resource.clone(),
                        subresource: subresource.clone(),
                        resource_request: true,
                        ..Attributes::default()
                    });
                }
            }
        }
        // Names matter to few rules.
        for name in &names {
            check(&Attributes {
                user: user.clone(),
                verb: "get".to_owned(),
                namespace: "kube-system".to_owned(),
                resource: "configmaps".to_owned(),
                name: name.clone(),
                resource_request: true,
                ..Attributes::default()
            });
        }
    }
    assert!(asked > 20_000 && allowed > 500 && allowed < asked / 2, "{allowed} of {asked}");
}

#[test]
fn the_roles_for_people_contain_each_other_and_keep_secrets_from_viewers() {
    let mut objects = fresh();
    for role in ["view", "edit", "admin", "cluster-admin"] {
        let binding = json!({"roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role}, "subjects": [{"kind": "User", "name": role}]});
        objects.insert((2, "a".to_owned(), format!("test {role}")), binding);
    }
    let rbac = indexed(&objects);
    for (verb, group, resource, least) in [
        ("get", "", "pods", Some("view")),
        ("list", "apps", "deployments", Some("view")),
        ("get", "", "pods/log", Some("view")),
        ("watch", "batch", "jobs", Some("view")),
        ("get", "", "secrets", Some("edit")),
        ("create", "", "pods", Some("edit")),
        ("create", "", "pods/exec", Some("edit")),
        ("impersonate", "", "serviceaccounts", Some("edit")),
        ("delete", "networking.k8s.io", "ingresses", Some("edit")),
        ("create", "rbac.authorization.k8s.io", "rolebindings", Some("admin")),
        ("create", "authorization.k8s.io", "localsubjectaccessreviews", Some("admin")),
        ("get", "rbac.authorization.k8s.io", "roles", Some("admin")),
        ("update", "", "resourcequotas", Some("cluster-admin")),
        ("get", "", "nodes", Some("cluster-admin")),
        ("escalate", "rbac.authorization.k8s.io", "roles", Some("cluster-admin")),
        ("approve", "certificates.k8s.io", "signers", Some("cluster-admin")),
    ] {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let mut may = false;
        for role in ["view", "edit", "admin", "cluster-admin"] {
            may |= least == Some(role);
            let ask = |namespace: &str| Attributes {
                user: User::new(role, &[]),
                verb: verb.to_owned(),
                namespace: namespace.to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                subresource: subresource.to_owned(),
                resource_request: true,
                ..Attributes::default()
            };
            assert_eq!(rbac.authorize(&ask("a")).is_allow(), may, "{role} {verb} {group}/{resource}");
            assert!(!rbac.authorize(&ask("b")).is_allow(), "{role} elsewhere");
        }
    }
}
