//! The identity of a caller, as every later step sees it.

use std::collections::BTreeMap;

pub mod node;
pub mod service_account;

/// Everybody who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everybody who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Those who may do everything.
pub const MASTERS: &str = "system:masters";
/// The name of those who showed no credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The extra key that says which credential a caller used.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// An authenticated (or anonymous) caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The unique name.
    pub name: String,
    /// An id that outlives a reuse of the name; may be empty.
    pub uid: String,
    /// The groups, `system:authenticated` among them.
    pub groups: Vec<String>,
    /// More facts, by key.
    pub extra: BTreeMap<String, Vec<String>>,
}

// === impl User ===

impl User {
    /// A caller of that name in these groups.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// The caller who showed no credentials.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, &[UNAUTHENTICATED])
    }

    /// Adds the group unless it is there.
    pub fn join(&mut self, group: &str) {
        if !self.is_in(group) {
            self.groups.push(group.to_owned());
        }
    }

    /// The value of an extra key that has exactly one; `None` otherwise.
    pub fn extra_value(&self, key: &str) -> Option<&str> {
        match self.extra.get(key)?.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether the caller is in the group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|it| it == group)
    }
}
