//! The flags about who is asking, where others than this cluster say so.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::authn::oidc::{
    configuration::{
        ClaimMappings, ClaimValidationRule, IssuerConfig, JwtAuthenticator, PrefixedClaimOrExpression,
    },
    keys::ALGORITHMS,
};

/// Whose word about callers counts besides the cluster's own.
#[derive(Args, Clone, Debug, Default)]
pub struct AuthenticationFlags {
    /// Certificates of authorities whose clients are front proxies: they say in headers who the caller is
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// The common names that a front proxy's certificate may have; any if not given
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub requestheader_allowed_names: Vec<String>,
    /// The headers in which a front proxy names the caller; X-Remote-User is usual
    #[arg(long, value_delimiter = ',', value_name = "HEADERS")]
    pub requestheader_username_headers: Vec<String>,
    /// The headers in which it gives the caller's uid; X-Remote-Uid is usual
    #[arg(long, value_delimiter = ',', value_name = "HEADERS")]
    pub requestheader_uid_headers: Vec<String>,
    /// The headers in which it lists the caller's groups; X-Remote-Group is usual
    #[arg(long, value_delimiter = ',', value_name = "HEADERS")]
    pub requestheader_group_headers: Vec<String>,
    /// How the headers begin in which it tells more; X-Remote-Extra- is usual
    #[arg(long, value_delimiter = ',', value_name = "PREFIXES")]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// A kubeconfig that leads to a webhook that says whom tokens stand for
    #[arg(long, value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// The version of the TokenReview it is asked in
    #[arg(long, default_value = "v1beta1", value_name = "VERSION")]
    pub authentication_token_webhook_version: String,
    /// How long its answers are good
    #[arg(long, default_value = "2m", value_parser = crate::storage::duration, value_name = "DURATION")]
    pub authentication_token_webhook_cache_ttl: std::time::Duration,
    /// A file that says whose tokens are good, and where callers without credentials are let through
    #[arg(long, value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,
    /// The issuer of OpenID Connect whose tokens are good
    #[arg(long, value_name = "URL")]
    pub oidc_issuer_url: Option<String>,
    /// For whom its tokens must be
    #[arg(long, value_name = "ID")]
    pub oidc_client_id: Option<String>,
    /// Certificates of the authorities of its certificate; the system's if not given
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,
    /// The claim that is the user's name; sub if not given
    #[arg(long, value_name = "CLAIM")]
    pub oidc_username_claim: Option<String>,
    /// What is put before it: "-" for nothing; if not given the issuer's URL, but nothing before an email
    #[arg(long, value_name = "PREFIX")]
    pub oidc_username_prefix: Option<String>,
    /// The claim that lists the user's groups
    #[arg(long, value_name = "CLAIM")]
    pub oidc_groups_claim: Option<String>,
    /// What is put before each
    #[arg(long, value_name = "PREFIX")]
    pub oidc_groups_prefix: Option<String>,
    /// The algorithms its tokens may be signed with; RS256 if not given
    #[arg(long, value_delimiter = ',', value_name = "ALGORITHMS")]
    pub oidc_signing_algs: Vec<String>,
    /// A claim that must be there with this value
    #[arg(long, value_name = "KEY=VALUE")]
    pub oidc_required_claim: Vec<String>,
}

// === impl AuthenticationFlags ===

impl AuthenticationFlags {
    /// What is wrong with them, in upstream's words.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (flag, values) in [
            ("requestheader-username-headers", &self.requestheader_username_headers),
            ("requestheader-group-headers", &self.requestheader_group_headers),
            ("requestheader-extra-headers-prefix", &self.requestheader_extra_headers_prefix),
            ("requestheader-allowed-names", &self.requestheader_allowed_names),
            ("requestheader-uid-headers", &self.requestheader_uid_headers),
        ] {
            if values.iter().any(|value| value.trim().is_empty()) {
                faults.push(format!("empty value in \"{flag}\""));
            }
        }
        let names = |headers: &[String], standard: &str| {
            headers.is_empty() || headers.iter().any(|it| it.eq_ignore_ascii_case(standard))
        };
        if !names(&self.requestheader_uid_headers, "X-Remote-Uid") {
            faults.push(
                "--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header - API \
                 aggregation will not work"
                    .to_owned(),
            );
        }
        let oidc = self.oidc_client_id.is_some()
            || self.oidc_issuer_url.is_some()
            || self.oidc_ca_file.is_some()
            || self.oidc_username_claim.is_some()
            || self.oidc_username_prefix.is_some()
            || self.oidc_groups_claim.is_some()
            || self.oidc_groups_prefix.is_some()
            || !self.oidc_signing_algs.is_empty()
            || !self.oidc_required_claim.is_empty();
        let given = |flag: &Option<String>| flag.as_deref().is_some_and(|it| !it.is_empty());
        if oidc && self.authentication_config.is_some() {
            faults.push("authentication-config file and oidc-* flags are mutually exclusive".to_owned());
        } else if oidc && !(given(&self.oidc_issuer_url) && given(&self.oidc_client_id)) {
            faults.push(
                "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"
                    .to_owned(),
            );
        }
        for algorithm in &self.oidc_signing_algs {
            if !ALGORITHMS.contains(&algorithm.as_str()) {
                faults.push(format!("oidc: unsupported signing alg: \"{algorithm}\""));
            }
        }
        for (flag, headers, standard) in [
            ("--requestheader-username-headers", &self.requestheader_username_headers, "X-Remote-User"),
            ("--requestheader-group-headers", &self.requestheader_group_headers, "X-Remote-Group"),
            (
                "--requestheader-extra-headers-prefix",
                &self.requestheader_extra_headers_prefix,
                "X-Remote-Extra-",
            ),
        ] {
            if !names(headers, standard) {
                tracing::warn!("{flag} is set without {standard}: API aggregation will not work");
            }
        }
        faults
    }

    /// The issuer of `--oidc-issuer-url` as a configuration would say it, and the algorithms its tokens may be signed with.
    ///
    /// # Errors
    /// A file that cannot be read, a claim without a value.
    pub fn oidc(&self) -> anyhow::Result<Option<(JwtAuthenticator, Vec<String>)>> {
        let Some(url) = self.oidc_issuer_url.clone() else { return Ok(None) };
        let username = self.oidc_username_claim.clone().unwrap_or_else(|| "sub".to_owned());
        let prefix = match self.oidc_username_prefix.as_deref().unwrap_or_default() {
            "" if username != "email" => format!("{url}#"),
            "-" => String::new(),
            prefix => prefix.to_owned(),
        };
        let groups = self.oidc_groups_claim.clone().unwrap_or_default();
        let groups_prefix = (!groups.is_empty()).then(|| self.oidc_groups_prefix.clone().unwrap_or_default());
        let mut rules = Vec::new();
        for required in &self.oidc_required_claim {
            let (claim, value) = required
                .split_once('=')
                .with_context(|| format!("--oidc-required-claim {required}: expected a key=value pair"))?;
            rules.push(ClaimValidationRule {
                claim: claim.trim().to_owned(),
                required_value: value.trim().to_owned(),
                ..ClaimValidationRule::default()
            });
        }
        let certificate_authority = match &self.oidc_ca_file {
            Some(file) => {
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
            }
            None => String::new(),
        };
        let algorithms = match self.oidc_signing_algs.as_slice() {
            [] => vec!["RS256".to_owned()],
            some => some.to_vec(),
        };
        let mapping = |claim, prefix| PrefixedClaimOrExpression {
            claim,
            prefix,
            ..PrefixedClaimOrExpression::default()
        };
        let jwt = JwtAuthenticator {
            issuer: IssuerConfig {
                url,
                certificate_authority,
                audiences: self.oidc_client_id.iter().cloned().collect(),
                ..IssuerConfig::default()
            },
            claim_validation_rules: rules,
            claim_mappings: ClaimMappings {
                username: mapping(username, Some(prefix)),
                groups: mapping(groups, groups_prefix),
                ..ClaimMappings::default()
            },
            ..JwtAuthenticator::default()
        };
        Ok(Some((jwt, algorithms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_an_issuer_say_what_a_configuration_would() {
        let flags = |words: &[&str]| {
            #[derive(clap::Parser)]
            struct Words {
                #[command(flatten)]
                flags: AuthenticationFlags,
            }
            <Words as clap::Parser>::try_parse_from(["apiserver"].iter().chain(words)).unwrap().flags
        };
        let issuer = ["--oidc-issuer-url=https://a.example", "--oidc-client-id=me"];
        for (more, prefix, groups) in [
            (&[][..], "https://a.example#", None),
            (&["--oidc-username-prefix=-", "--oidc-groups-claim=roles"], "", Some("")),
            (&["--oidc-username-claim=email"], "", None),
            (
                &["--oidc-username-prefix=o:", "--oidc-groups-claim=roles", "--oidc-groups-prefix=g:"],
                "o:",
                Some("g:"),
            ),
        ] {
            let flags = flags(&[&issuer[..], more].concat());
            assert_eq!(flags.faults(), Vec::<String>::new());
            let (jwt, algorithms) = flags.oidc().unwrap().unwrap();
            let mappings = &jwt.claim_mappings;
            assert_eq!(mappings.username.prefix.as_deref(), Some(prefix), "{more:?}");
            assert_eq!(mappings.groups.prefix.as_deref(), groups, "{more:?}");
            assert_eq!(algorithms, ["RS256"]);
        }
        for (words, wanted) in [
            (
                &["--oidc-groups-claim=roles"][..],
                "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set",
            ),
            (
                &["--oidc-client-id=me", "--authentication-config=x"],
                "authentication-config file and oidc-* flags are mutually exclusive",
            ),
            (
                &[issuer[0], issuer[1], "--oidc-signing-algs=HS256"],
                r#"oidc: unsupported signing alg: "HS256""#,
            ),
        ] {
            assert_eq!(flags(words).faults(), [wanted]);
        }
    }

    #[test]
    fn headers_without_names_and_uids_without_the_usual_header_are_refused() {
        let list = |values: &[&str]| values.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        let with_uids =
            |uids| AuthenticationFlags { requestheader_uid_headers: uids, ..AuthenticationFlags::default() };
        assert_eq!(AuthenticationFlags::default().faults(), Vec::<String>::new());
        assert_eq!(with_uids(list(&["x-remote-uid"])).faults(), Vec::<String>::new());
        assert_eq!(
            with_uids(list(&["x-mine"])).faults(),
            [
                "--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header - API aggregation will not work"
            ]
        );
        let blank = AuthenticationFlags {
            requestheader_allowed_names: list(&["a", " "]),
            ..AuthenticationFlags::default()
        };
        assert_eq!(blank.faults(), [r#"empty value in "requestheader-allowed-names""#]);
    }
}
