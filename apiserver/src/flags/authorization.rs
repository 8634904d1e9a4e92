//! The flags about what callers may do, where others than roles decide.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{authz::mode::Mode, storage::duration};

/// Who decides besides roles.
#[derive(Args, Clone, Debug)]
pub struct AuthorizationFlags {
    /// A file of policies, one a line, for --authorization-mode=ABAC
    #[arg(long, value_name = "FILE")]
    pub authorization_policy_file: Option<PathBuf>,
    /// A kubeconfig that leads to a webhook, for --authorization-mode=Webhook
    #[arg(long, value_name = "FILE")]
    pub authorization_webhook_config_file: Option<PathBuf>,
    /// The version of the SubjectAccessReview it is asked in
    #[arg(long, default_value = "v1beta1", value_name = "VERSION")]
    pub authorization_webhook_version: String,
    /// How long its yes is good
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub authorization_webhook_cache_authorized_ttl: Duration,
    /// How long any other answer is good
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub authorization_webhook_cache_unauthorized_ttl: Duration,
}

// === impl AuthorizationFlags ===

impl AuthorizationFlags {
    /// What is wrong with them, in upstream's words.
    pub fn faults(&self, modes: &[Mode]) -> Vec<String> {
        let mut faults = Vec::new();
        for (mode, given, missing, without) in [
            (
                Mode::Abac,
                self.authorization_policy_file.is_some(),
                "authorization-mode ABAC's authorization policy file not passed",
                "cannot specify --authorization-policy-file without mode ABAC",
            ),
            (
                Mode::Webhook,
                self.authorization_webhook_config_file.is_some(),
                "authorization-mode Webhook's authorization config file not passed",
                "cannot specify --authorization-webhook-config-file without mode Webhook",
            ),
        ] {
            match (modes.contains(&mode), given) {
                (true, false) => faults.push(missing.to_owned()),
                (false, true) => faults.push(without.to_owned()),
                (true, true) | (false, false) => {}
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_and_its_file_come_together() {
        #[derive(clap::Parser)]
        struct Words {
            #[command(flatten)]
            flags: AuthorizationFlags,
        }
        let faults = |words: &[&str], modes: &[Mode]| {
            let words = <Words as clap::Parser>::try_parse_from(["apiserver"].iter().chain(words)).unwrap();
            words.flags.faults(modes)
        };
        let none: [&str; 0] = [];
        assert_eq!(faults(&[], &[Mode::Rbac]), none);
        assert_eq!(faults(&["--authorization-policy-file=x"], &[Mode::Abac]), none);
        assert_eq!(
            faults(&["--authorization-policy-file=x"], &[Mode::Webhook]),
            [
                "cannot specify --authorization-policy-file without mode ABAC",
                "authorization-mode Webhook's authorization config file not passed"
            ]
        );
    }
}
