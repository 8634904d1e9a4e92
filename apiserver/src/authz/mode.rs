//! `--authorization-mode`: which authorizers are asked, and in which order.

use std::{str::FromStr, sync::Arc};

use super::{
    decision::{AlwaysAllow, AlwaysDeny, Authorizer, Masters, Union},
    node::NodeAuthorizer,
    rbac::Rbac,
};

/// One word of the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Kubelets, by what is bound to them.
    Node,
    /// Roles and bindings.
    Rbac,
    /// Everything is allowed.
    AlwaysAllow,
    /// Nothing is allowed.
    AlwaysDeny,
}

/// A flag that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadModes {
    /// A word we do not know, or know and do not support.
    #[error("authorization-mode {0:?} is not supported (supported: Node, RBAC, AlwaysAllow, AlwaysDeny)")]
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

/// The authorizer for these modes. Masters are always let through first, whatever the modes.
pub fn authorizer(modes: &[Mode], node: &Arc<NodeAuthorizer>, rbac: &Arc<Rbac>) -> Arc<Union> {
    let mut chain: Vec<Arc<dyn Authorizer>> = vec![Arc::new(Masters)];
    chain.extend(modes.iter().map(|mode| -> Arc<dyn Authorizer> {
        match mode {
            Mode::Node => Arc::clone(node) as _,
            Mode::Rbac => Arc::clone(rbac) as _,
            Mode::AlwaysAllow => Arc::new(AlwaysAllow),
            Mode::AlwaysDeny => Arc::new(AlwaysDeny),
        }
    }));
    Arc::new(Union::new(chain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_a_list_of_known_words_without_repetition() {
        for (flag, wanted) in [
            ("Node,RBAC", Ok(vec![Mode::Node, Mode::Rbac])),
            ("AlwaysAllow", Ok(vec![Mode::AlwaysAllow])),
            ("RBAC,Webhook", Err(BadModes::Unknown("Webhook".to_owned()))),
            ("RBAC,RBAC", Err(BadModes::Twice("RBAC".to_owned()))),
            ("", Err(BadModes::None)),
        ] {
            assert_eq!(parse(flag), wanted, "{flag}");
        }
    }
}
