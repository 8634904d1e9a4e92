//! `--authorization-mode`: which authorizers are asked, and in which order.

use std::{str::FromStr, sync::Arc};

use super::{
    abac::Policies,
    decision::{AlwaysAllow, AlwaysDeny, Authorizer, Masters, Union},
    node::NodeAuthorizer,
    rbac::Rbac,
    webhook::Webhook,
};

/// One word of the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Kubelets, by what is bound to them.
    Node,
    /// Roles and bindings.
    Rbac,
    /// A file of policies.
    Abac,
    /// Somebody else.
    Webhook,
    /// Everything is allowed.
    AlwaysAllow,
    /// Nothing is allowed.
    AlwaysDeny,
}

/// A flag that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadModes {
    /// A word we do not know, or know and do not support.
    #[error(
        "authorization-mode {0:?} is not supported (supported: Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny)"
    )]
    Unknown(String),
    /// A word twice.
    #[error("authorization-mode {0:?} has mode specified more than once")]
    Twice(String),
    /// No word at all.
    #[error("at least one authorization-mode must be passed")]
    None,
}

// === impl Mode ===

impl FromStr for Mode {
    type Err = BadModes;

    fn from_str(word: &str) -> Result<Self, BadModes> {
        match word {
            "Node" => Ok(Self::Node),
            "RBAC" => Ok(Self::Rbac),
            "ABAC" => Ok(Self::Abac),
            "Webhook" => Ok(Self::Webhook),
            "AlwaysAllow" => Ok(Self::AlwaysAllow),
            "AlwaysDeny" => Ok(Self::AlwaysDeny),
            other => Err(BadModes::Unknown(other.to_owned())),
        }
    }
}

/// Reads the flag: words separated by commas.
pub fn parse(flag: &str) -> Result<Vec<Mode>, BadModes> {
    let mut modes = Vec::new();
    for word in flag.split(',').filter(|word| !word.is_empty()) {
        let mode = word.parse()?;
        if modes.contains(&mode) {
            return Err(BadModes::Twice(word.to_owned()));
        }
        modes.push(mode);
    }
    if modes.is_empty() { Err(BadModes::None) } else { Ok(modes) }
}

/// Authorizers that are made from files.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// `--authorization-policy-file`
    pub policies: Option<Arc<Policies>>,
    /// `--authorization-webhook-config-file`
    pub webhook: Option<Arc<Webhook>>,
}

/// The authorizer for these modes, without those that files make.
pub fn authorizer(modes: &[Mode], node: &Arc<NodeAuthorizer>, rbac: &Arc<Rbac>) -> Arc<Union> {
    Arc::new(Union::new(chain(modes, node, rbac, &Files::default())))
}

/// The authorizers of these modes, in their order; a mode whose file is not there is left out. Masters are always let through
/// first, whatever the modes.
pub fn chain(
    modes: &[Mode],
    node: &Arc<NodeAuthorizer>,
    rbac: &Arc<Rbac>,
    files: &Files,
) -> Vec<Arc<dyn Authorizer>> {
    let mut chain: Vec<Arc<dyn Authorizer>> = vec![Arc::new(Masters)];
    chain.extend(modes.iter().filter_map(|mode| -> Option<Arc<dyn Authorizer>> {
        Some(match mode {
            Mode::Node => Arc::clone(node) as _,
            Mode::Rbac => Arc::clone(rbac) as _,
            Mode::Abac => Arc::clone(files.policies.as_ref()?) as _,
            Mode::Webhook => Arc::clone(files.webhook.as_ref()?) as _,
            Mode::AlwaysAllow => Arc::new(AlwaysAllow),
            Mode::AlwaysDeny => Arc::new(AlwaysDeny),
        })
    }));
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_a_list_of_known_words_without_repetition() {
        for (flag, wanted) in [
            ("Node,RBAC", Ok(vec![Mode::Node, Mode::Rbac])),
            ("AlwaysAllow", Ok(vec![Mode::AlwaysAllow])),
            ("RBAC,Webhook,ABAC", Ok(vec![Mode::Rbac, Mode::Webhook, Mode::Abac])),
            ("RBAC,Rules", Err(BadModes::Unknown("Rules".to_owned()))),
            ("RBAC,RBAC", Err(BadModes::Twice("RBAC".to_owned()))),
            ("", Err(BadModes::None)),
        ] {
            assert_eq!(parse(flag), wanted, "{flag}");
        }
    }
}
