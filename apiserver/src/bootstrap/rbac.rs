//! The roles and bindings of a fresh cluster, and how they follow new versions.
//!
//! They are read from a table, `rbac.txt`, whose head says how. What people add stays; what they take away comes back,
//! unless they say `rbac.authorization.kubernetes.io/autoupdate: "false"` (RBAC reference page, "Auto-reconciliation").

use serde::Deserialize;
use serde_json::{Map, Value, json};

use api_types::{
    kind::GroupVersion,
    object::{ObjectExt, object_at, object_of},
};

use super::{Item, Rule as Keeping, Step, update_unless_same};
use crate::authz::{
    escalation::missing,
    rbac::{GROUP, rule::Rule},
};

const TABLE: &str = include_str!("rbac.txt");

const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";
const AGGREGATE_TO: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// All roles, then all bindings.
pub fn items() -> Vec<Item> {
    let (mut roles, mut bindings) = (Vec::new(), Vec::new());
    for entry in entries(TABLE) {
        let is_cluster_wide = entry.namespace.is_empty();
        let (resource, binding_resource) =
            if is_cluster_wide { ("clusterroles", "clusterrolebindings") } else { ("roles", "rolebindings") };
        let version = || GroupVersion::new(GROUP, "v1");
        roles.push(Item::new(version(), resource, entry.role(), Keeping::Role));
        bindings
            .extend(entry.bindings().map(|it| Item::new(version(), binding_resource, it, Keeping::Binding)));
    }
    roles.append(&mut bindings);
    roles
}

/// The rules of one of the cluster roles.
pub fn cluster_role_rules(name: &str) -> Vec<Rule> {
    entries(TABLE)
        .find(|entry| entry.namespace.is_empty() && entry.name == name)
        .map(|entry| entry.rules().collect())
        .unwrap_or_default()
}

/// A role of the table: its first line and the lines that belong to it.
struct Entry<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    /// `joins X`, `gathers X`: word and X.
    clauses: Vec<(&'a str, &'a str)>,
    lines: Vec<&'a str>,
}

fn entries(table: &str) -> impl Iterator<Item = Entry<'_>> {
    let mut lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    std::iter::from_fn(move || {
        let mut words = lines.next()?.split_whitespace();
        let kind = words.next()?;
        let name = words.next()?;
        let (namespace, name) = if kind == "Role" { name.split_once('/')? } else { ("", name) };
        let clauses = std::iter::from_fn(|| Some((words.next()?, words.next()?))).collect();
        let mut own = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
            own.push(line.trim_start());
        }
        Some(Entry { kind, namespace, name, clauses, lines: own })
    })
}

// === impl Entry ===

impl<'a> Entry<'a> {
    fn rules(&self) -> impl Iterator<Item = Rule> {
        self.lines.iter().filter_map(|line| {
            let mut columns = line.split('|').map(|column| column.split_whitespace().collect::<Vec<_>>());
            let (verbs, groups, what) = (columns.next()?, columns.next()?, columns.next()?);
            if groups == ["paths"] {
                return Some(Rule::on_paths(&verbs, &what));
            }
            let groups: Vec<&str> = groups.into_iter().map(|it| if it == "core" { "" } else { it }).collect();
            let names = columns.next().unwrap_or_default().into_iter().map(str::to_owned).collect();
            Some(Rule { resource_names: names, ..Rule::on_resources(&verbs, &groups, &what) })
        })
    }

    fn role(&self) -> Value {
        let mut role = self.object(self.kind, self.name);
        let label = |to: &str| format!("{AGGREGATE_TO}{to}");
        for (clause, to) in &self.clauses {
            if *clause == "joins" {
                object_at(role.meta_mut(), "labels").insert(label(to), "true".into());
            } else {
                let selector = json!({"matchLabels": {label(to): "true"}});
                object_of(&mut role)
                    .insert("aggregationRule".to_owned(), json!({"clusterRoleSelectors": [selector]}));
            }
        }
        let rules: Vec<Rule> = self.rules().collect();
        // A role that gathers has none until its controller gave it some.
        let rules = if rules.is_empty() { Value::Null } else { json!(rules) };
        object_of(&mut role).insert("rules".to_owned(), rules);
        role
    }

    fn bindings(&self) -> impl Iterator<Item = Value> {
        self.lines.iter().filter_map(|line| {
            let (subjects, name) = match line.strip_prefix("to ")?.split_once(" as ") {
                Some((subjects, name)) => (subjects, name),
                None => (line.strip_prefix("to ")?, self.name),
            };
            let mut binding = self.object(&format!("{}Binding", self.kind), name);
            let fields = object_of(&mut binding);
            fields.insert(
                "roleRef".to_owned(),
                json!({"apiGroup": GROUP, "kind": self.kind, "name": self.name}),
            );
            let subjects: Vec<Value> = subjects.split(", ").filter_map(subject).collect();
            if !subjects.is_empty() {
                fields.insert("subjects".to_owned(), subjects.into());
            }
            Some(binding)
        })
    }

    fn object(&self, kind: &str, name: &str) -> Value {
        let mut object = json!({
            "kind": kind,
            "apiVersion": format!("{GROUP}/v1"),
            "metadata": {
                "name": name,
                "labels": {BOOTSTRAPPING: "rbac-defaults"},
                "annotations": {AUTOUPDATE: "true"},
            },
        });
        if !self.namespace.is_empty() {
            object.set_meta("namespace", self.namespace);
        }
        object
    }
}

/// `User x`, `Group x`, `ServiceAccount namespace/x`; `nobody` is nobody.
fn subject(text: &str) -> Option<Value> {
    let (kind, name) = text.split_once(' ')?;
    Some(match (kind, name.split_once('/')) {
        ("ServiceAccount", Some((namespace, name))) => {
            json!({"kind": kind, "namespace": namespace, "name": name})
        }
        _ => json!({"kind": kind, "apiGroup": GROUP, "name": name}),
    })
}

/// What to do about a role, given how it is.
pub fn reconcile_role(existing: &Value, wanted: &Value) -> Step {
    if existing.annotation(AUTOUPDATE) == Some("false") {
        return Step::Keep;
    }
    let mut role = existing.clone();
    add_metadata(&mut role, wanted);
    let rules = |role: &Value| -> Vec<Rule> {
        role.get("rules").and_then(|rules| Option::deserialize(rules).ok().flatten()).unwrap_or_default()
    };
    let missing = missing(&rules(existing), &rules(wanted));
    if !missing.is_empty() {
        let mut all = existing.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
        all.extend(missing.iter().map(|rule| json!(rule)));
        object_of(&mut role).insert("rules".to_owned(), all.into());
    }
    let selectors = |role: &Value| {
        role.pointer("/aggregationRule/clusterRoleSelectors").and_then(Value::as_array).cloned()
    };
    match selectors(wanted) {
        None => {
            // Somebody else's gathering must not fill a role of ours.
            object_of(&mut role).remove("aggregationRule");
        }
        Some(wanted) => {
            let mut all = selectors(existing).unwrap_or_default();
            let missing: Vec<Value> = wanted.into_iter().filter(|it| !all.contains(it)).collect();
            if !missing.is_empty() {
                all.extend(missing);
                let rule = object_at(object_of(&mut role), "aggregationRule");
                rule.insert("clusterRoleSelectors".to_owned(), all.into());
            }
        }
    }
    update_unless_same(existing, role)
}

/// What to do about a binding, given how it is.
pub fn reconcile_binding(existing: &Value, wanted: &Value) -> Step {
    if existing.annotation(AUTOUPDATE) == Some("false") {
        return Step::Keep;
    }
    if existing.get("roleRef") != wanted.get("roleRef") {
        return Step::Recreate(wanted.clone());
    }
    let mut binding = existing.clone();
    add_metadata(&mut binding, wanted);
    let subjects =
        |binding: &Value| binding.get("subjects").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut all = subjects(existing);
    let missing: Vec<Value> = subjects(wanted).into_iter().filter(|it| !all.contains(it)).collect();
    if !missing.is_empty() {
        all.extend(missing);
        object_of(&mut binding).insert("subjects".to_owned(), all.into());
    }
    update_unless_same(existing, binding)
}

/// Adds labels and annotations that are missing; those that are there stay as they are.
fn add_metadata(object: &mut Value, wanted: &Value) {
    for field in ["labels", "annotations"] {
        let Some(wanted) = wanted.meta().and_then(|meta| meta.get(field)).and_then(Value::as_object) else {
            continue;
        };
        let own: &mut Map<String, Value> = object_at(object.meta_mut(), field);
        for (key, value) in wanted {
            own.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}
