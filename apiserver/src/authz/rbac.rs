//! Role-based access control: roles and bindings say who may do what.
//!
//! The feed gives changes, one at a time; readers take a snapshot and never wait. Controllers, not this module, fill in
//! the rules of aggregated roles.

pub mod rule;

mod index;

use std::{collections::BTreeSet, fmt};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use api_types::field::aggregate;

use self::{
    index::{Binding, BindingObject, Index, RoleObject},
    rule::{Question, Rule},
};
use super::{
    attributes::Attributes,
    decision::{Authorizer, Decision, Rules},
};
use crate::authn::user::User;

pub use self::index::{GROUP, RoleRef, Unresolved};

/// The kinds that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rules in a namespace.
    Role,
    /// Rules anywhere.
    ClusterRole,
    /// Grants a role, or a cluster role, in a namespace.
    RoleBinding,
    /// Grants a cluster role everywhere.
    ClusterRoleBinding,
}

/// All roles and bindings, and the decisions that follow from them.
#[derive(Default)]
pub struct Rbac {
    index: ArcSwap<Index>,
    /// Held while a change is made, so that no change is lost to another.
    changing: Mutex<()>,
}

/// What a user is bound to: the rules, and what could not be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Bindings whose role is missing.
    pub unresolved: Vec<Unresolved>,
}

// === impl Kind ===

impl Kind {
    /// All of them, in the order a feed may start with.
    pub const ALL: [Self; 4] = [Self::ClusterRole, Self::Role, Self::ClusterRoleBinding, Self::RoleBinding];

    /// The kind of a resource of the group [`GROUP`].
    pub fn of_resource(resource: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.resource() == resource)
    }

    /// The plural name.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Role => "roles",
            Self::ClusterRole => "clusterroles",
            Self::RoleBinding => "rolebindings",
            Self::ClusterRoleBinding => "clusterrolebindings",
        }
    }
}

// === impl Rbac ===

impl Rbac {
    /// Knows no role yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a change: the object as it is now, or that it is gone. What cannot be read grants nothing.
    pub fn update(&self, kind: Kind, namespace: &str, name: &str, object: Option<&Value>) {
        match kind {
            Kind::Role | Kind::ClusterRole => self.set_role(namespace, name, object.map(read)),
            Kind::RoleBinding | Kind::ClusterRoleBinding => {
                self.set_binding(namespace, name, object.map(read));
            }
        }
    }

    /// Like [`Rbac::update`], from the object's encoded bytes.
    pub fn update_encoded(&self, kind: Kind, namespace: &str, name: &str, object: Option<&[u8]>) {
        match kind {
            Kind::Role | Kind::ClusterRole => self.set_role(namespace, name, object.map(read_encoded)),
            Kind::RoleBinding | Kind::ClusterRoleBinding => {
                self.set_binding(namespace, name, object.map(read_encoded));
            }
        }
    }

    /// Forgets all objects of the kind but these, by namespace and name. For a feed that begins again: it sees what there
    /// is, and not what went away meanwhile.
    pub fn keep_only(&self, kind: Kind, known: &BTreeSet<(String, String)>) {
        let bindings = matches!(kind, Kind::RoleBinding | Kind::ClusterRoleBinding);
        let cluster_wide = matches!(kind, Kind::ClusterRole | Kind::ClusterRoleBinding);
        let keys = self.index.load().keys(bindings, cluster_wide);
        for (namespace, name) in keys.into_iter().filter(|key| !known.contains(key)) {
            self.update(kind, &namespace, &name, None);
        }
    }

    fn set_role(&self, namespace: &str, name: &str, role: Option<Result<RoleObject, serde_json::Error>>) {
        let role = role.map(|role| role.unwrap_or_else(|error| unreadable(namespace, name, &error)));
        self.change(|index| index.set_role(namespace, name, role));
    }

    fn set_binding(
        &self,
        namespace: &str,
        name: &str,
        binding: Option<Result<BindingObject, serde_json::Error>>,
    ) {
        let binding =
            binding.map(|binding| binding.unwrap_or_else(|error| unreadable(namespace, name, &error)));
        self.change(|index| index.set_binding(namespace, name, binding));
    }

    fn change(&self, change: impl FnOnce(&mut Index)) {
        let _alone = self.changing.lock();
        let mut next = Index::clone(&self.index.load());
        change(&mut next);
        self.index.store(next.into());
    }

    /// The rules of a role as a binding in this namespace (empty for a cluster-wide one) would grant them.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Result<Vec<Rule>, Unresolved> {
        self.index.load().rules(role, namespace).map(|rules| rules.to_vec())
    }

    /// All that the user is granted in the namespace, and cluster-wide.
    pub fn granted(&self, user: &User, namespace: &str) -> Granted {
        let index = self.index.load();
        let mut granted = Granted::default();
        let mut seen = BTreeSet::new();
        for binding in bindings(&index, user, namespace) {
            if !seen.insert(binding.key()) {
                continue;
            }
            match index.rules(&binding.role, binding.key().0) {
                Ok(rules) => granted.rules.extend(rules.iter().cloned()),
                Err(unresolved) => granted.unresolved.push(unresolved),
            }
        }
        granted
    }
}

impl fmt::Debug for Rbac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rbac")
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        let index = self.index.load();
        let user = &attributes.user;
        let question = Question::new(attributes);
        let mut unresolved: Vec<Unresolved> = Vec::new();
        for binding in bindings(&index, user, &attributes.namespace) {
            match index.rules(&binding.role, binding.key().0) {
                Ok(rules) if rules.iter().any(|rule| rule.answers(&question)) => {
                    return Decision::Allow(binding.reason_for(user));
                }
                Ok(_) => {}
                Err(it) => unresolved.push(it),
            }
        }
        if unresolved.is_empty() {
            return Decision::NO_OPINION;
        }
        let messages = unresolved.iter().map(|it| it.message(None));
        Decision::NoOpinion(format!("RBAC: {}", aggregate(messages)).into())
    }

    fn rules_for(&self, user: &User, namespace: &str) -> Rules {
        let Granted { rules, unresolved } = self.granted(user, namespace);
        let errors = if unresolved.is_empty() {
            Vec::new()
        } else {
            vec![aggregate(unresolved.iter().map(|it| it.message(None)))]
        };
        Rules { rules, incomplete: false, errors }
    }
}

/// Cluster-wide bindings first, then those of the namespace.
fn bindings<'a>(index: &'a Index, user: &'a User, namespace: &str) -> impl Iterator<Item = &'a Binding> {
    let local = (!namespace.is_empty()).then(|| index.bindings_of(namespace, user));
    index.bindings_of("", user).chain(local.into_iter().flatten()).map(AsRef::as_ref)
}

fn read<'de, T: Deserialize<'de>>(object: &'de Value) -> Result<T, serde_json::Error> {
    T::deserialize(object)
}

fn read_encoded<'de, T: Deserialize<'de>>(object: &'de [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(object)
}

/// The store holds only what validation let in, so this is a bug or a foreign writer; it must not grant anything.
fn unreadable<T: Default>(namespace: &str, name: &str, error: &serde_json::Error) -> T {
    tracing::warn!(namespace, name, %error, "cannot read a role or binding; it grants nothing");
    T::default()
}

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;
