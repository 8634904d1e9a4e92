//! Roles and bindings, arranged by whom they concern.
//!
//! An immutable snapshot: a change makes a new one that shares all the rest, so readers never wait for the feed. A scope
//! is a namespace, or the empty name for what is cluster-wide. Invariant: every binding in `bindings` stands under each of
//! its subjects, and nothing else does.

use std::sync::Arc;

use imbl::OrdMap;
use serde::Deserialize;

use api_types::{field::go_quote, kind::GroupResource};

use super::rule::{Rule, nullable};
use crate::{
    authn::user::{User, service_account},
    authz::decision::Reason,
};

/// The group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// All roles and bindings of the cluster at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    scopes: OrdMap<String, Scope>,
}

#[derive(Clone, Debug, Default)]
struct Scope {
    roles: OrdMap<String, Arc<[Rule]>>,
    bindings: OrdMap<String, Arc<Binding>>,
    /// Bindings by the user they name, service accounts under their user name.
    users: BySubject,
    /// Bindings by the group they name.
    groups: BySubject,
}

/// Bindings by a name in them, in the order of their own names.
type BySubject = OrdMap<String, Arc<[Arc<Binding>]>>;

/// A binding, read and ready to be asked.
#[derive(Debug)]
pub(super) struct Binding {
    name: String,
    namespace: String,
    pub(super) role: RoleRef,
    subjects: Vec<(Subject, Reason)>,
}

/// The role that a binding grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoleRef {
    /// The group, `rbac.authorization.k8s.io`.
    #[serde(rename = "apiGroup")]
    pub group: String,
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// The role's name.
    pub name: String,
}

/// Whom a binding names, with what is not said filled in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
enum Subject {
    User(String),
    Group(String),
}

/// Why the rules of a role cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// There is no such role.
    NotFound(RoleRef),
    /// A role of no kind.
    Kind(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RoleObject {
    #[serde(deserialize_with = "nullable")]
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct BindingObject {
    role_ref: RoleRef,
    #[serde(deserialize_with = "nullable")]
    subjects: Vec<SubjectObject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SubjectObject {
    kind: String,
    name: String,
    namespace: String,
}

// === impl Index ===

impl Index {
    pub(super) fn set_role(&mut self, namespace: &str, name: &str, role: Option<RoleObject>) {
        self.in_scope(namespace, |scope| match role {
            Some(role) => {
                scope.roles.insert(name.to_owned(), role.rules.into());
            }
            None => {
                scope.roles.remove(name);
            }
        });
    }

    pub(super) fn set_binding(&mut self, namespace: &str, name: &str, binding: Option<BindingObject>) {
        self.in_scope(namespace, |scope| {
            if let Some(old) = scope.bindings.remove(name) {
                for (subject, _) in &old.subjects {
                    scope.unlist(subject, name);
                }
            }
            if let Some(binding) = binding {
                let binding = Arc::new(Binding::new(namespace, name, binding));
                for (subject, _) in &binding.subjects {
                    scope.list(subject, &binding);
                }
                scope.bindings.insert(name.to_owned(), binding);
            }
        });
    }

    /// Namespaces and names of all roles, or of all bindings; those that are cluster-wide, or those that are not.
    pub(super) fn keys(&self, bindings: bool, cluster_wide: bool) -> Vec<(String, String)> {
        self.scopes
            .iter()
            .filter(|(namespace, _)| namespace.is_empty() == cluster_wide)
            .flat_map(|(namespace, scope)| {
                let roles = (!bindings).then(|| scope.roles.keys());
                let bindings = bindings.then(|| scope.bindings.keys());
                let names = roles.into_iter().flatten().chain(bindings.into_iter().flatten());
                names.map(|name| (namespace.clone(), name.clone())).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The bindings in the scope that name the user or one of their groups. One that names several stands there several
    /// times.
    pub(super) fn bindings_of<'a>(
        &'a self,
        namespace: &str,
        user: &'a User,
    ) -> impl Iterator<Item = &'a Arc<Binding>> {
        let scope = self.scopes.get(namespace);
        let by_name = scope.and_then(|scope| scope.users.get(&user.name));
        let by_group = scope
            .into_iter()
            .flat_map(|scope| user.groups.iter().filter_map(|group| scope.groups.get(group)));
        by_name.into_iter().chain(by_group).flat_map(|bindings| bindings.iter())
    }

    /// The rules of a role as seen from a namespace, the empty one for cluster-wide bindings.
    pub(super) fn rules(&self, role: &RoleRef, namespace: &str) -> Result<&Arc<[Rule]>, Unresolved> {
        let scope = match role.kind.as_str() {
            "ClusterRole" => Some(""),
            // Cluster-wide there are no Roles, and a ClusterRole of that name is another matter.
            "Role" => Some(namespace).filter(|namespace| !namespace.is_empty()),
            other => return Err(Unresolved::Kind(other.to_owned())),
        };
        scope
            .and_then(|scope| self.scopes.get(scope)?.roles.get(&role.name))
            .ok_or_else(|| Unresolved::NotFound(role.clone()))
    }

    fn in_scope(&mut self, namespace: &str, change: impl FnOnce(&mut Scope)) {
        let mut scope = self.scopes.get(namespace).cloned().unwrap_or_default();
        change(&mut scope);
        if scope.roles.is_empty() && scope.bindings.is_empty() {
            self.scopes.remove(namespace);
        } else {
            self.scopes.insert(namespace.to_owned(), scope);
        }
    }
}

// === impl Scope ===

impl Scope {
    fn list(&mut self, subject: &Subject, binding: &Arc<Binding>) {
        let (lists, name) = self.lists(subject);
        let mut bindings = lists.get(name).map(|old| old.to_vec()).unwrap_or_default();
        // By name, so that the same cluster always gives the same reason.
        if let Err(place) = bindings.binary_search_by(|it| it.name.cmp(&binding.name)) {
            bindings.insert(place, Arc::clone(binding));
            lists.insert(name.to_owned(), bindings.into());
        }
    }

    fn unlist(&mut self, subject: &Subject, binding: &str) {
        let (lists, name) = self.lists(subject);
        let rest: Vec<Arc<Binding>> = lists
            .get(name)
            .map(|old| old.iter().filter(|it| it.name != binding).cloned().collect())
            .unwrap_or_default();
        if rest.is_empty() {
            lists.remove(name);
        } else {
            lists.insert(name.to_owned(), rest.into());
        }
    }

    fn lists<'a>(&mut self, subject: &'a Subject) -> (&mut BySubject, &'a str) {
        match subject {
            Subject::User(name) => (&mut self.users, name),
            Subject::Group(name) => (&mut self.groups, name),
        }
    }
}

// === impl Binding ===

impl Binding {
    fn new(namespace: &str, name: &str, BindingObject { role_ref: role, subjects }: BindingObject) -> Self {
        let source = if namespace.is_empty() {
            format!("ClusterRoleBinding {}", go_quote(name))
        } else {
            format!("RoleBinding {}", go_quote(&format!("{name}/{namespace}")))
        };
        let source = format!("{source} of {} {}", role.kind, go_quote(&role.name));
        let subjects = subjects
            .into_iter()
            .filter_map(|subject| subject.resolve(namespace))
            .map(|(subject, description)| {
                (subject, format!("RBAC: allowed by {source} to {description}").into())
            })
            .collect();
        Self { name: name.to_owned(), namespace: namespace.to_owned(), role, subjects }
    }

    /// What identifies it.
    pub(super) fn key(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    /// Why it allows this user what its role allows: it names the first subject that they are.
    pub(super) fn reason_for(&self, user: &User) -> Reason {
        self.subjects
            .iter()
            .find(|(subject, _)| match subject {
                Subject::User(name) => *name == user.name,
                Subject::Group(name) => user.is_in(name),
            })
            .map(|(_, reason)| reason.clone())
            .unwrap_or_default()
    }
}

// === impl SubjectObject ===

impl SubjectObject {
    /// Whom it means and how a reason describes them; nobody if it cannot mean anybody.
    fn resolve(self, binding_namespace: &str) -> Option<(Subject, String)> {
        let Self { kind, name, namespace } = self;
        match kind.as_str() {
            "User" => Some((Subject::User(name.clone()), format!("User {}", go_quote(&name)))),
            "Group" => Some((Subject::Group(name.clone()), format!("Group {}", go_quote(&name)))),
            "ServiceAccount" => {
                // A RoleBinding may leave out its own namespace.
                let namespace = if namespace.is_empty() { binding_namespace } else { &namespace };
                (!namespace.is_empty()).then(|| {
                    (
                        Subject::User(service_account::user_name(namespace, &name)),
                        format!("ServiceAccount {}", go_quote(&format!("{name}/{namespace}"))),
                    )
                })
            }
            _ => None,
        }
    }
}

// === impl Unresolved ===

impl Unresolved {
    /// The message, where `resource` is what upstream's lookup calls the role: its own singular name when it decides on
    /// requests, the resource of the request when it guards writes.
    pub fn message(&self, resource: Option<&str>) -> String {
        match self {
            Self::NotFound(role) => {
                let singular = if role.kind == "ClusterRole" { "clusterrole" } else { "role" };
                let resource = GroupResource::new(GROUP, resource.unwrap_or(singular));
                format!("{resource} {} not found", go_quote(&role.name))
            }
            Self::Kind(kind) => format!("unsupported role reference kind: {}", go_quote(kind)),
        }
    }
}
