//! The users that service accounts are.

use crate::resources::shared::names;

/// How the user names of all service accounts begin.
pub const PREFIX: &str = "system:serviceaccount:";
/// The group of all service accounts.
pub const ALL: &str = "system:serviceaccounts";

/// Extra key: the pod that a token is bound to.
pub const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
/// Extra key: that pod's uid.
pub const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// Extra key: the node that a token is bound to, or its pod runs on.
pub const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// Extra key: that node's uid.
pub const NODE_UID: &str = "authentication.kubernetes.io/node-uid";

/// The user name of a service account.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("{PREFIX}{namespace}:{name}")
}

/// The groups of a service account.
pub fn groups(namespace: &str) -> Vec<String> {
    vec![ALL.to_owned(), format!("{ALL}:{namespace}")]
}

/// The namespace and the name of the service account that a user name stands for; `None` if it stands for none.
pub fn split(user_name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user_name.strip_prefix(PREFIX)?.split_once(':')?;
    let valid = names::dns_label(namespace, false).is_empty() && names::dns_subdomain(name, false).is_empty();
    valid.then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_splits_only_into_names_that_can_be() {
        for (name, wanted) in [
            ("system:serviceaccount:a:b.c", Some(("a", "b.c"))),
            ("system:serviceaccount:a.b:c", None),
            ("system:serviceaccount:a:b:c", None),
            ("system:serviceaccount:A:b", None),
            ("system:serviceaccount::b", None),
            ("system:serviceaccount:a:", None),
            ("alice", None),
        ] {
            assert_eq!(split(name), wanted, "{name}");
        }
    }
}
