//! Nobody grants what they do not hold.
//!
//! Writes of roles and bindings are checked against the rules of the writer, unless they may `escalate` the role or
//! `bind` it (RBAC reference page, "Privilege escalation prevention and bootstrapping").

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use api_types::{field::go_quote, kind::GroupResource, object::ObjectExt, status::Status};

use super::{
    attributes::Attributes,
    decision::Authorizer,
    rbac::{
        GROUP, Granted, Kind, Rbac, RoleRef,
        rule::{Rule, names, quoted_list, url_covers},
    },
};
use crate::authn::user::{MASTERS, User};

/// A write of a role or binding, with what is needed to judge it.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Who writes.
    pub user: &'a User,
    /// What is written.
    pub kind: Kind,
    /// The namespace of the request, empty for cluster-wide kinds.
    pub namespace: &'a str,
    /// The name in the request's path; empty for a create.
    pub name: &'a str,
    /// The object as it shall be.
    pub object: &'a Value,
    /// The object as it is, for an update.
    pub old: Option<&'a Value>,
}

/// Whether the write may be: `Err` is the answer to give.
pub fn check(write: &Write<'_>, rbac: &Rbac, authorizer: &dyn Authorizer) -> Result<(), Status> {
    if write.user.is_in(MASTERS) {
        return Ok(());
    }
    match write.kind {
        Kind::Role | Kind::ClusterRole => check_role(write, rbac, authorizer),
        Kind::RoleBinding | Kind::ClusterRoleBinding => check_binding(write, rbac, authorizer),
    }
}

fn check_role(write: &Write<'_>, rbac: &Rbac, authorizer: &dyn Authorizer) -> Result<(), Status> {
    if authorizer.authorize(&write.asks("escalate", write.kind.resource(), write.name)).is_allow()
        || write.only_serves_garbage_collection()
    {
        return Ok(());
    }
    let granted = rbac.granted(write.user, write.namespace);
    write.covered(&granted, &rules_in(write.object)?)?;
    // An aggregation rule can gather anything, so touching one takes everything.
    let aggregates = aggregates(write.object) || write.old.is_some_and(aggregates);
    if write.kind == Kind::ClusterRole && aggregates && !missing(&granted.rules, &everything()).is_empty() {
        return Err(write.forbidden("must have cluster-admin privileges to use the aggregationRule"));
    }
    Ok(())
}

fn check_binding(write: &Write<'_>, rbac: &Rbac, authorizer: &dyn Authorizer) -> Result<(), Status> {
    if write.only_serves_garbage_collection() {
        return Ok(());
    }
    let role =
        write.object.get("roleRef").and_then(|role| RoleRef::deserialize(role).ok()).unwrap_or_default();
    let resource = match role.kind.as_str() {
        "ClusterRole" => Some(Kind::ClusterRole.resource()),
        "Role" => Some(Kind::Role.resource()),
        _ => None,
    };
    if let Some(resource) = resource {
        let asked = Attributes { group: role.group.clone(), ..write.asks("bind", resource, &role.name) };
        if authorizer.authorize(&asked).is_allow() {
            return Ok(());
        }
    }
    let rules = rbac.rules_of(&role, write.namespace).map_err(|unresolved| match resource {
        Some(_) => Status::not_found(&write.resource(), &role.name),
        None => Status::internal(unresolved.message(None)),
    })?;
    write.covered(&rbac.granted(write.user, write.namespace), &rules)
}

// === impl Write ===

impl Write<'_> {
    fn resource(&self) -> GroupResource {
        GroupResource::new(GROUP, self.kind.resource())
    }

    fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.resource(), self.object.name(), why)
    }

    fn asks(&self, verb: &str, resource: &str, name: &str) -> Attributes {
        Attributes {
            user: self.user.clone(),
            verb: verb.to_owned(),
            namespace: self.namespace.to_owned(),
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            resource_request: true,
            ..Attributes::default()
        }
    }

    /// The garbage collector must be able to release what it could not grant.
    fn only_serves_garbage_collection(&self) -> bool {
        let rest = |object: &Value| {
            let mut object = object.clone();
            for field in ["ownerReferences", "finalizers", "managedFields"] {
                object.set_meta(field, Value::Null);
            }
            object
        };
        self.old.is_some_and(|old| rest(old) == rest(self.object))
    }

    fn covered(&self, granted: &Granted, wanted: &[Rule]) -> Result<(), Status> {
        let missing = missing(&granted.rules, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let lines: BTreeSet<String> = merge_verbs(missing).iter().map(Rule::compact).collect();
        let lines: Vec<String> = lines.into_iter().collect();
        let mut message = format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            go_quote(&self.user.name),
            quoted_list(&self.user.groups),
            lines.join("\n")
        );
        if !granted.unresolved.is_empty() {
            let errors = granted.unresolved.iter().map(|it| it.message(Some(self.kind.resource())));
            message.push_str(&format!("; resolution errors: [{}]", api_types::field::aggregate(errors)));
        }
        Err(self.forbidden(&message))
    }
}

/// The rules of a role. What cannot be read cannot be judged, so it must not pass.
fn rules_in(role: &Value) -> Result<Vec<Rule>, Status> {
    let rules = role.get("rules").map(Option::deserialize).transpose();
    rules.map(|rules| rules.flatten().unwrap_or_default()).map_err(Status::internal)
}

fn aggregates(role: &Value) -> bool {
    role.pointer("/aggregationRule/clusterRoleSelectors")
        .and_then(Value::as_array)
        .is_some_and(|selectors| !selectors.is_empty())
}

/// What a role needs to be above all others.
fn everything() -> [Rule; 2] {
    [Rule::on_resources(&["*"], &["*"], &["*"]), Rule::on_paths(&["*"], &["*"])]
}

/// The parts of `wanted` that no rule of `held` covers, each with one verb and one resource or path.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(parts).filter(|part| !held.iter().any(|rule| covers(rule, part))).collect()
}

/// A rule as many small ones, so that each is covered by one other rule or by none.
fn parts(rule: &Rule) -> Vec<Rule> {
    let mut parts = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let part = Rule::on_resources(&[verb], &[group], &[resource]);
                if rule.resource_names.is_empty() {
                    parts.push(part);
                } else {
                    parts.extend(
                        rule.resource_names
                            .iter()
                            .map(|name| Rule { resource_names: vec![name.clone()], ..part.clone() }),
                    );
                }
            }
        }
    }
    for url in &rule.non_resource_urls {
        parts.extend(rule.verbs.iter().map(|verb| Rule::on_paths(&[verb], &[url])));
    }
    parts
}

/// Whether the rule covers a part.
fn covers(rule: &Rule, part: &Rule) -> bool {
    let all = |wanted: &[String], is_held: &dyn Fn(&str) -> bool| wanted.iter().all(|it| is_held(it));
    all(&part.verbs, &|verb| names(&rule.verbs, verb))
        && all(&part.api_groups, &|group| names(&rule.api_groups, group))
        && all(&part.resources, &|resource| {
            names(&rule.resources, resource)
                || resource
                    .split_once('/')
                    .is_some_and(|(_, subresource)| rule.resources.contains(&format!("*/{subresource}")))
        })
        && (rule.resource_names.is_empty()
            || (!part.resource_names.is_empty()
                && all(&part.resource_names, &|name| rule.resource_names.iter().any(|it| it == name))))
        && all(&part.non_resource_urls, &|url| rule.non_resource_urls.iter().any(|it| url_covers(it, url)))
}

/// Parts that differ only in their verb as one rule; parts on paths stay as they are.
fn merge_verbs(parts: Vec<Rule>) -> Vec<Rule> {
    // By the rule without its verbs.
    let mut merged: BTreeMap<Rule, Rule> = BTreeMap::new();
    let mut rules = Vec::new();
    for part in parts {
        if !part.non_resource_urls.is_empty() {
            rules.push(part);
            continue;
        }
        let key = Rule { verbs: Vec::new(), ..part.clone() };
        match merged.get_mut(&key) {
            Some(rule) => rule.verbs.extend(part.verbs),
            None => {
                merged.insert(key, part);
            }
        }
    }
    rules.extend(merged.into_values());
    rules
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `verbs group:resources [names]` or `verbs /paths`, words of a list separated by commas
    fn rule(text: &str) -> Rule {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let words: Vec<&str> = text.split(' ').collect();
        let verbs = list(words[0]);
        if words[1].starts_with('/') || words[1] == "*" {
            return Rule { verbs, non_resource_urls: list(words[1]), ..Rule::default() };
        }
        let (group, resources) = words[1].split_once(':').unwrap();
        Rule {
            verbs,
            api_groups: list(group),
            resources: list(resources),
            resource_names: words.get(2).map(|it| list(it)).unwrap_or_default(),
            ..Rule::default()
        }
    }

    #[test]
    fn what_is_not_held_is_listed_in_parts() {
        for (held, wanted, expected) in [
            (vec!["get :pods"], "get :pods", vec![]),
            (vec!["get :pods"], "get,delete :pods", vec!["delete :pods"]),
            (vec!["get :pods", "delete :pods"], "get,delete :pods", vec![]),
            (vec!["* *:*"], "get :pods a,b", vec![]),
            (vec!["* *:*"], "get /healthz", vec!["get /healthz"]),
            (vec!["* *"], "get /healthz", vec![]),
            (vec!["get :pods a"], "get :pods a,b", vec!["get :pods b"]),
            (vec!["get :pods a"], "get :pods", vec!["get :pods"]),
            (vec!["get :pods"], "get :pods/log", vec!["get :pods/log"]),
            (vec!["get :*/log"], "get :pods/log", vec![]),
            (vec!["get :pods"], "* :pods", vec!["* :pods"]),
            (vec!["get /apis/*"], "get /apis/apps", vec![]),
            (vec!["get /apis/*"], "get /apis/apps/*,/api", vec!["get /api"]),
            (vec![], "get,list a,b:x", vec!["get a:x", "list a:x", "get b:x", "list b:x"]),
        ] {
            let held: Vec<Rule> = held.into_iter().map(rule).collect();
            let expected: Vec<Rule> = expected.into_iter().map(rule).collect();
            assert_eq!(missing(&held, &[rule(wanted)]), expected, "{wanted}");
        }
    }

    fn cluster() -> Rbac {
        let rbac = Rbac::new();
        let to_alice = |kind: &str, name: &str| {
            json!({
                "roleRef": {"apiGroup": GROUP, "kind": kind, "name": name},
                "subjects": [{"kind": "User", "name": "alice"}],
            })
        };
        let all = json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]});
        rbac.update(Kind::ClusterRole, "", "cluster-admin", Some(&all));
        let own = json!({"rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
            {"apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["bindable"], "verbs": ["bind"]},
            {"apiGroups": [GROUP], "resources": ["roles"], "resourceNames": ["free"], "verbs": ["escalate"]},
        ]});
        rbac.update(Kind::Role, "a", "own", Some(&own));
        rbac.update(Kind::ClusterRole, "", "bindable", Some(&all));
        rbac.update(Kind::RoleBinding, "a", "own", Some(&to_alice("Role", "own")));
        rbac
    }

    fn write(user: &User, kind: Kind, name: &str, object: &Value, old: Option<&Value>) -> String {
        let rbac = cluster();
        let namespace = if matches!(kind, Kind::Role | Kind::RoleBinding) { "a" } else { "" };
        let write = Write { user, kind, namespace, name, object, old };
        check(&write, &rbac, &rbac).map_or_else(|status| status.message, |()| "fine".to_owned())
    }

    #[test]
    fn a_role_grants_no_more_than_its_writer_holds() {
        let alice = User::new("alice", &["dev", "system:authenticated"]);
        let role = |rules: Value| json!({"metadata": {"name": "r"}, "rules": rules});
        let pods = role(json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]));
        let more = role(json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "delete", "patch"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
            {"nonResourceURLs": ["/x"], "verbs": ["get"]},
        ]));
        let said = concat!(
            r#"roles.rbac.authorization.k8s.io "r" is forbidden: user "alice" (groups=["dev" "system:authenticated"]) "#,
            "is attempting to grant RBAC permissions not currently held:\n",
            "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"patch\"]}\n",
            "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}\n",
            "{NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}",
        );
        assert_eq!(write(&alice, Kind::Role, "", &pods, None), "fine");
        assert_eq!(write(&alice, Kind::Role, "", &more, None), said);
        assert_eq!(write(&alice, Kind::Role, "free", &more, None), "fine");
        assert_eq!(write(&User::new("root", &[MASTERS]), Kind::Role, "", &more, None), "fine");
        assert_eq!(write(&alice, Kind::Role, "r", &role(json!(null)), Some(&more)), "fine");
        assert_ne!(write(&alice, Kind::Role, "", &role(json!("all")), None), "fine", "unreadable rules");
    }

    #[test]
    fn changes_that_only_serve_garbage_collection_pass() {
        let alice = User::new("alice", &[]);
        let rules = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
        let old = json!({"metadata": {"name": "r", "finalizers": ["x"]}, "rules": rules});
        let released = json!({"metadata": {"name": "r", "managedFields": []}, "rules": rules});
        let labelled = json!({"metadata": {"name": "r", "labels": {"a": "b"}}, "rules": rules});
        assert_eq!(write(&alice, Kind::Role, "r", &released, Some(&old)), "fine");
        assert_ne!(write(&alice, Kind::Role, "r", &labelled, Some(&old)), "fine");
    }

    #[test]
    fn an_aggregation_rule_takes_everything() {
        let alice = User::new("alice", &[]);
        let gathers = json!({"metadata": {"name": "g"}, "aggregationRule": {"clusterRoleSelectors": [{}]}});
        let plain = json!({"metadata": {"name": "g"}});
        let said = r#"clusterroles.rbac.authorization.k8s.io "g" is forbidden: must have cluster-admin privileges to use the aggregationRule"#;
        assert_eq!(write(&alice, Kind::ClusterRole, "", &gathers, None), said);
        assert_eq!(write(&alice, Kind::ClusterRole, "g", &plain, Some(&gathers)), said);
        assert_eq!(write(&alice, Kind::ClusterRole, "g", &plain, None), "fine");
    }

    #[test]
    fn a_binding_grants_no_more_than_its_writer_holds() {
        let alice = User::new("alice", &["dev"]);
        let binding = |kind: &str, name: &str| json!({"metadata": {"name": "b"}, "roleRef": {"apiGroup": GROUP, "kind": kind, "name": name}});
        let said = concat!(
            r#"rolebindings.rbac.authorization.k8s.io "b" is forbidden: user "alice" (groups=["dev"]) "#,
            "is attempting to grant RBAC permissions not currently held:\n",
            "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}",
        );
        for (object, wanted) in [
            (binding("Role", "own"), "fine"),
            (binding("ClusterRole", "cluster-admin"), said),
            (binding("ClusterRole", "bindable"), "fine"),
            (binding("Role", "nosuch"), r#"rolebindings.rbac.authorization.k8s.io "nosuch" not found"#),
        ] {
            assert_eq!(write(&alice, Kind::RoleBinding, "", &object, None), wanted);
        }
    }
}
