//! The users that nodes are.

use super::User;
use crate::resources::shared::names;

/// How the user names of all nodes begin.
pub const PREFIX: &str = "system:node:";
/// The group of all nodes.
pub const NODES: &str = "system:nodes";

/// The user name of a node.
pub fn user_name(node: &str) -> String {
    format!("{PREFIX}{node}")
}

/// The node that a user name stands for, if the rest of it can be a node's name.
pub fn split(user_name: &str) -> Option<&str> {
    user_name.strip_prefix(PREFIX).filter(|node| names::dns_subdomain(node, false).is_empty())
}

/// The node that a user is: it takes the name and the group. The node's name may be empty, then it is no node we know.
pub fn identify(user: &User) -> Option<&str> {
    user.name.strip_prefix(PREFIX).filter(|_| user.is_in(NODES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_the_name_and_the_group() {
        for (name, groups, wanted) in [
            ("system:node:n1", vec![NODES], Some("n1")),
            ("system:node:", vec![NODES], Some("")),
            ("system:node:n1", vec!["system:authenticated"], None),
            ("n1", vec![NODES], None),
        ] {
            assert_eq!(identify(&User::new(name, &groups)), wanted);
        }
    }

    #[test]
    fn only_names_that_nodes_can_have_are_split_off() {
        assert_eq!(split("system:node:a.b-c"), Some("a.b-c"));
        assert_eq!(split("system:node:A"), None);
        assert_eq!(split("system:node:"), None);
        assert_eq!(split("alice"), None);
    }
}
