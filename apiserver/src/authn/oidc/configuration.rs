//! `AuthenticationConfiguration` of `apiserver.config.k8s.io`: what it says, and whether it can be followed.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use serde::Deserialize;
use serde_json::json;

use super::expressions::{About, Expression};
use crate::{resources::shared::forms, tls::files};

/// The versions that are read.
const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
/// How many issuers there may be.
const ISSUERS_MAX: usize = 64;

/// The file of `--authentication-config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthenticationConfiguration {
    api_version: String,
    kind: String,
    /// Whose tokens are good.
    pub jwt: Vec<JwtAuthenticator>,
    /// Where callers without credentials are let through; `None` if flags say.
    pub anonymous: Option<AnonymousAuthConfig>,
}

/// Callers without credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnonymousAuthConfig {
    /// Whether they are let through.
    pub enabled: bool,
    /// Only at these paths, if there are any.
    pub conditions: Vec<AnonymousAuthCondition>,
}

/// A path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnonymousAuthCondition {
    /// As it is asked for.
    pub path: String,
}

/// One issuer and what is made of its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtAuthenticator {
    /// Who issues.
    pub issuer: IssuerConfig,
    /// What must hold of the claims.
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    /// What they make their bearer.
    pub claim_mappings: ClaimMappings,
    /// What must hold of who comes of it.
    pub user_validation_rules: Vec<UserValidationRule>,
}

/// Who issues, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IssuerConfig {
    /// Its name, and by default where it is found.
    pub url: String,
    /// Where it is found, if elsewhere.
    #[serde(rename = "discoveryURL")]
    pub discovery_url: String,
    /// Authorities of its certificate, in PEM; the system's if empty.
    pub certificate_authority: String,
    /// For whom tokens must be.
    pub audiences: Vec<String>,
    /// `MatchAny` or empty.
    pub audience_match_policy: String,
    /// Which way out; there is only one here.
    pub egress_selector_type: String,
}

/// What must hold of the claims: one has a value, or an expression is true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimValidationRule {
    /// The claim.
    pub claim: String,
    /// Its value.
    pub required_value: String,
    /// The expression.
    pub expression: String,
    /// What is said when it is false.
    pub message: String,
}

/// What claims make their bearer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimMappings {
    /// The name.
    pub username: PrefixedClaimOrExpression,
    /// The groups.
    pub groups: PrefixedClaimOrExpression,
    /// The uid.
    pub uid: ClaimOrExpression,
    /// Anything else.
    pub extra: Vec<ExtraMapping>,
}

/// A claim with a prefix, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrefixedClaimOrExpression {
    /// The claim.
    pub claim: String,
    /// What is put before its value.
    pub prefix: Option<String>,
    /// The expression.
    pub expression: String,
}

/// A claim, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimOrExpression {
    /// The claim.
    pub claim: String,
    /// The expression.
    pub expression: String,
}

/// An extra key and what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtraMapping {
    /// The key.
    pub key: String,
    /// The expression.
    pub value_expression: String,
}

/// What must hold of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserValidationRule {
    /// The expression.
    pub expression: String,
    /// What is said when it is false.
    pub message: String,
}

/// An issuer that can be followed.
#[derive(Debug)]
pub struct Compiled {
    /// As it was written.
    pub source: JwtAuthenticator,
    /// `claimMappings.username.expression`
    pub username: Option<Expression>,
    /// `claimMappings.groups.expression`
    pub groups: Option<Expression>,
    /// `claimMappings.uid.expression`
    pub uid: Option<Expression>,
    /// By key.
    pub extra: Vec<(String, Expression)>,
    /// With what is said when one is false.
    pub claim_rules: Vec<(Expression, String)>,
    /// Likewise.
    pub user_rules: Vec<(Expression, String)>,
}

// === impl AuthenticationConfiguration ===

impl AuthenticationConfiguration {
    /// Reads the file's text, YAML or JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let document = crate::flags::document(text)?;
        let read: Self =
            serde_json::from_value(document).map_err(|error| format!("strict decoding error: {error}"))?;
        if read.kind != "AuthenticationConfiguration" || !VERSIONS.contains(&read.api_version.as_str()) {
            return Err(format!("no kind {:?} is registered for version {:?}", read.kind, read.api_version));
        }
        Ok(read)
    }

    /// Compiles all of it. `disallowed` are issuers of our own.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn compile(&self, disallowed: &[String]) -> Result<Vec<Compiled>, Faults> {
        let root = Path::new("jwt");
        if self.jwt.len() > ISSUERS_MAX {
            return Err(vec![Fault::too_many(&root, self.jwt.len(), ISSUERS_MAX)]);
        }
        let mut faults = Faults::new();
        let mut compiled = Vec::new();
        let (mut urls, mut discovery_urls) = (BTreeSet::new(), BTreeSet::new());
        for (index, jwt) in self.jwt.iter().enumerate() {
            let path = root.index(index);
            compiled.push(jwt.compile(&path, disallowed, &mut faults));
            let issuer = &jwt.issuer;
            if !urls.insert(&issuer.url) {
                faults.push(Fault::duplicate(&path.child("issuer").child("url"), issuer.url.as_str()));
            }
            if !issuer.discovery_url.is_empty() && !discovery_urls.insert(&issuer.discovery_url) {
                let path = path.child("issuer").child("discoveryURL");
                faults.push(Fault::duplicate(&path, issuer.discovery_url.as_str()));
            }
        }
        if let Some(anonymous) = &self.anonymous
            && !anonymous.enabled
            && !anonymous.conditions.is_empty()
        {
            faults.push(Fault::invalid(
                &Path::new("anonymous").child("conditions"),
                BadValue::Json(json!(anonymous.conditions)),
                "enabled should be set to true when conditions are defined",
            ));
        }
        if faults.is_empty() { Ok(compiled) } else { Err(faults) }
    }
}

// === impl JwtAuthenticator ===

impl JwtAuthenticator {
    fn compile(&self, path: &Path, disallowed: &[String], faults: &mut Faults) -> Compiled {
        self.issuer.validate(&path.child("issuer"), disallowed, faults);
        let claim_rules = self.claim_rules(&path.child("claimValidationRules"), faults);
        let mappings = &path.child("claimMappings");
        let of = &self.claim_mappings;
        let username = of.username.compile(&mappings.child("username"), true, faults);
        let groups = of.groups.compile(&mappings.child("groups"), false, faults);
        let uid_path = mappings.child("uid");
        let uid = match (of.uid.claim.as_str(), of.uid.expression.as_str()) {
            (_, "") => None,
            ("", text) => compile(text, About::Claims, &uid_path.child("expression"), faults),
            _ => {
                faults.push(Fault::invalid(&uid_path, "", "claim and expression can't both be set"));
                None
            }
        };
        let extra = self.extra(&mappings.child("extra"), faults);
        let verifies = |it: &Expression| it.reads("email_verified");
        if let Some(username) = &username
            && username.reads("email")
            && !verifies(username)
            && !extra.iter().any(|(_, it)| verifies(it))
            && !claim_rules.iter().any(|(it, _)| verifies(it))
        {
            faults.push(Fault::invalid(
                &mappings.child("username").child("expression"),
                username.text.as_str(),
                "claims.email_verified must be used in claimMappings.username.expression or \
                 claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is \
                 used in claimMappings.username.expression",
            ));
        }
        let user_rules = self.user_rules(&path.child("userValidationRules"), faults);
        Compiled { source: self.clone(), username, groups, uid, extra, claim_rules, user_rules }
    }

    fn claim_rules(&self, path: &Path, faults: &mut Faults) -> Vec<(Expression, String)> {
        let mut rules = Vec::new();
        let (mut claims, mut expressions) = (BTreeSet::new(), BTreeSet::new());
        for (index, rule) in self.claim_validation_rules.iter().enumerate() {
            let path = path.index(index);
            match (rule.claim.as_str(), rule.expression.as_str()) {
                ("", "") => faults.push(Fault::required(&path, "claim or expression is required")),
                (claim, "") => {
                    if !rule.message.is_empty() {
                        faults.push(Fault::invalid(
                            &path.child("message"),
                            rule.message.as_str(),
                            "may not be specified when claim is set",
                        ));
                    }
                    if !claims.insert(claim) {
                        faults.push(Fault::duplicate(&path.child("claim"), claim));
                    }
                }
                ("", text) => {
                    if !rule.required_value.is_empty() {
                        faults.push(Fault::invalid(
                            &path.child("requiredValue"),
                            rule.required_value.as_str(),
                            "may not be specified when expression is set",
                        ));
                    }
                    let path = path.child("expression");
                    if !expressions.insert(text) {
                        faults.push(Fault::duplicate(&path, text));
                        continue;
                    }
                    let rule =
                        compile(text, About::ClaimsRule, &path, faults).zip(Some(rule.message.clone()));
                    rules.extend(rule);
                }
                (claim, _) => {
                    faults.push(Fault::invalid(&path, claim, "claim and expression can't both be set"));
                }
            }
        }
        rules
    }

    fn extra(&self, path: &Path, faults: &mut Faults) -> Vec<(String, Expression)> {
        let mut extra = Vec::new();
        let mut keys = BTreeSet::new();
        for (index, ExtraMapping { key, value_expression }) in self.claim_mappings.extra.iter().enumerate() {
            let path = path.index(index);
            let key_path = path.child("key");
            faults.extend(forms::domain_prefixed_path(&key_path, key));
            if *key != key.to_lowercase() {
                faults.push(Fault::invalid(&key_path, key.as_str(), "must be lowercase"));
            }
            let domain = key.split_once('/').map(|(domain, _)| domain).unwrap_or_default();
            if ["kubernetes.io", "k8s.io"]
                .iter()
                .any(|own| domain.strip_suffix(own).is_some_and(|it| it.is_empty() || it.ends_with('.')))
            {
                faults.push(Fault::invalid(
                    &key_path,
                    key.as_str(),
                    "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
                ));
            }
            if !keys.insert(key) {
                faults.push(Fault::duplicate(&key_path, key.as_str()));
                continue;
            }
            let path = path.child("valueExpression");
            if value_expression.is_empty() {
                faults.push(Fault::required(&path, ""));
                continue;
            }
            extra.extend(Some(key.clone()).zip(compile(value_expression, About::Claims, &path, faults)));
        }
        extra
    }

    fn user_rules(&self, path: &Path, faults: &mut Faults) -> Vec<(Expression, String)> {
        let mut rules = Vec::new();
        let mut expressions = BTreeSet::new();
        for (index, UserValidationRule { expression, message }) in
            self.user_validation_rules.iter().enumerate()
        {
            let path = path.index(index).child("expression");
            if expression.is_empty() {
                faults.push(Fault::required(&path, ""));
            } else if !expressions.insert(expression) {
                faults.push(Fault::duplicate(&path, expression.as_str()));
            } else {
                rules.extend(compile(expression, About::UserRule, &path, faults).zip(Some(message.clone())));
            }
        }
        rules
    }
}

fn compile(text: &str, about: About, path: &Path, faults: &mut Faults) -> Option<Expression> {
    Expression::compile(text, about, path).map_err(|fault| faults.push(fault)).ok()
}

// === impl PrefixedClaimOrExpression ===

impl PrefixedClaimOrExpression {
    fn compile(&self, path: &Path, required: bool, faults: &mut Faults) -> Option<Expression> {
        match (self.claim.as_str(), self.expression.as_str()) {
            ("", "") if required => faults.push(Fault::required(path, "claim or expression is required")),
            ("", "") => {}
            ("", text) => {
                if let Some(prefix) = &self.prefix {
                    faults.push(Fault::invalid(
                        &path.child("prefix"),
                        prefix.as_str(),
                        "may not be specified when expression is set",
                    ));
                }
                return compile(text, About::Claims, &path.child("expression"), faults);
            }
            (_, "") if self.prefix.is_none() => faults.push(Fault::required(
                &path.child("prefix"),
                "prefix is required when claim is set. It can be set to an empty string to disable prefixing",
            )),
            (_, "") => {}
            _ => faults.push(Fault::invalid(path, "", "claim and expression can't both be set")),
        }
        None
    }
}

// === impl IssuerConfig ===

impl IssuerConfig {
    fn validate(&self, path: &Path, disallowed: &[String], faults: &mut Faults) {
        let url = path.child("url");
        if self.url.is_empty() {
            faults.push(Fault::required(&url, ""));
        } else {
            if disallowed.contains(&self.url) {
                let mut sorted = disallowed.to_vec();
                sorted.sort();
                faults.push(Fault::invalid(
                    &url,
                    self.url.as_str(),
                    format!("URL must not overlap with disallowed issuers: [{}]", sorted.join(" ")),
                ));
            }
            validate_url(&self.url, &url, faults);
        }
        if !self.discovery_url.is_empty() {
            let path = path.child("discoveryURL");
            if self.url.trim_end_matches('/') == self.discovery_url.trim_end_matches('/') {
                let detail = "discoveryURL must be different from URL";
                faults.push(Fault::invalid(&path, self.discovery_url.as_str(), detail));
            }
            validate_url(&self.discovery_url, &path, faults);
        }
        self.validate_audiences(path, faults);
        if !self.certificate_authority.is_empty()
            && files::certificates_in(self.certificate_authority.as_bytes()).is_none()
        {
            let detail = "data does not contain any valid RSA or ECDSA certificates";
            faults.push(Fault::invalid(&path.child("certificateAuthority"), "<omitted>", detail));
        }
        if !["", "controlplane", "cluster"].contains(&self.egress_selector_type.as_str()) {
            faults.push(Fault::invalid(
                &path.child("egressSelectorType"),
                self.egress_selector_type.as_str(),
                "egress selector must be either controlplane or cluster",
            ));
        }
    }

    fn validate_audiences(&self, path: &Path, faults: &mut Faults) {
        let list = path.child("audiences");
        if self.audiences.is_empty() {
            faults.push(Fault::required(&list, format!("at least one {list} is required")));
            return;
        }
        let mut seen = BTreeSet::new();
        for (index, audience) in self.audiences.iter().enumerate() {
            if audience.is_empty() {
                faults.push(Fault::required(&list.index(index), ""));
            }
            if !seen.insert(audience) {
                faults.push(Fault::duplicate(&list.index(index), audience.as_str()));
            }
        }
        let detail = match (self.audiences.len(), self.audience_match_policy.as_str()) {
            (_, "MatchAny") | (1, "") => return,
            (1, _) => "audienceMatchPolicy must be empty or MatchAny for single audience",
            _ => "audienceMatchPolicy must be MatchAny for multiple audiences",
        };
        let path = path.child("audienceMatchPolicy");
        faults.push(Fault::invalid(&path, self.audience_match_policy.as_str(), detail));
    }
}

fn validate_url(url: &str, path: &Path, faults: &mut Faults) {
    let mut fault = |detail: &str| faults.push(Fault::invalid(path, url, detail));
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    if !scheme.eq_ignore_ascii_case("https") {
        fault("URL scheme must be https");
    }
    if rest.split('/').next().unwrap_or_default().contains('@') {
        fault("URL must not contain a username or password");
    }
    if !query.is_empty() {
        fault("URL must not contain a query");
    }
    if !fragment.is_empty() {
        fault("URL must not contain a fragment");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(jwt: &str) -> Vec<String> {
        let text =
            format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n{jwt}");
        let read = AuthenticationConfiguration::read(text.as_bytes()).unwrap();
        match read.compile(&["https://own.example".to_owned()]) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn what_is_wrong_with_a_configuration_is_told_in_upstreams_words() {
        let issuer = "jwt:\n- issuer: {url: 'https://a.example', audiences: [me]}\n";
        let named = "  claimMappings: {username: {claim: sub, prefix: ''}}\n";
        let with = |more: &str| format!("{issuer}{named}{more}");
        for (text, wanted) in [
            (with(""), ""),
            ("anonymous: {enabled: true, conditions: [{path: /livez}]}".to_owned(), ""),
            (
                "anonymous: {conditions: [{path: /livez}]}".to_owned(),
                r#"anonymous.conditions: Invalid value: [{"path":"/livez"}]: enabled should be set to true when conditions are defined"#,
            ),
            (
                issuer.to_owned(),
                "jwt[0].claimMappings.username: Required value: claim or expression is required",
            ),
            (
                format!("{issuer}  claimMappings: {{username: {{claim: sub}}}}\n"),
                "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
            ),
            (
                format!("{issuer}  claimMappings: {{username: {{expression: claims.email}}}}\n"),
                r#"jwt[0].claimMappings.username.expression: Invalid value: "claims.email": claims.email_verified must be used"#,
            ),
            (
                format!(
                    "{issuer}  claimMappings: {{username: {{expression: 'claims.email_verified ? claims.email : claims.sub'}}}}\n"
                ),
                "",
            ),
            (
                with("  claimValidationRules: [{claim: hd, message: m}]\n"),
                r#"jwt[0].claimValidationRules[0].message: Invalid value: "m": may not be specified when claim is set"#,
            ),
            (
                with("  claimValidationRules: [{expression: claims.sub + 'a'}]\n"),
                r#"jwt[0].claimValidationRules[0].expression: Invalid value: "claims.sub + 'a'": must evaluate to bool"#,
            ),
            (
                with("  userValidationRules: [{expression: 'user.nope == 1'}]\n"),
                r#"jwt[0].userValidationRules[0].expression: Invalid value: "user.nope == 1": compilation failed: "#,
            ),
            (
                format!(
                    "{issuer}  claimMappings: {{username: {{claim: sub, prefix: ''}}, extra: [{{key: a.k8s.io/b, valueExpression: '1'}}]}}\n"
                ),
                r#"jwt[0].claimMappings.extra[0].key: Invalid value: "a.k8s.io/b": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"#,
            ),
        ] {
            let found = faults(&text);
            match wanted {
                "" => assert_eq!(found, Vec::<String>::new(), "{text}"),
                wanted => assert!(found.len() == 1 && found[0].starts_with(wanted), "{text}: {found:?}"),
            }
        }
        for (issuer, wanted) in [
            ("{audiences: [me]}", "jwt[0].issuer.url: Required value"),
            (
                "{url: 'http://a.example', audiences: [me]}",
                r#"jwt[0].issuer.url: Invalid value: "http://a.example": URL scheme must be https"#,
            ),
            (
                "{url: 'https://own.example', audiences: [me]}",
                r#"jwt[0].issuer.url: Invalid value: "https://own.example": URL must not overlap with disallowed issuers: [https://own.example]"#,
            ),
            (
                "{url: 'https://a.example'}",
                "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
            ),
            (
                "{url: 'https://a.example', audiences: [a, b]}",
                r#"jwt[0].issuer.audienceMatchPolicy: Invalid value: "": audienceMatchPolicy must be MatchAny for multiple audiences"#,
            ),
            (
                "{url: 'https://a.example', discoveryURL: 'https://a.example/', audiences: [a]}",
                r#"jwt[0].issuer.discoveryURL: Invalid value: "https://a.example/": discoveryURL must be different from URL"#,
            ),
            (
                "{url: 'https://a.example', certificateAuthority: x, audiences: [a]}",
                r#"jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>": data does not contain any valid RSA or ECDSA certificates"#,
            ),
        ] {
            let found = faults(&format!("jwt:\n- issuer: {issuer}\n{named}"));
            assert_eq!(found, [wanted]);
        }
    }

    #[test]
    fn a_file_must_be_of_this_kind_and_have_no_unknown_fields() {
        let read = |text: &str| {
            AuthenticationConfiguration::read(text.as_bytes()).map_err(|why| why[..20].to_owned())
        };
        assert!(read("kind: AuthenticationConfiguration\napiVersion: apiserver.config.k8s.io/v1").is_ok());
        assert_eq!(read("kind: Pod\napiVersion: v1"), Err(r#"no kind "Pod" is reg"#.to_owned()));
        let odd = "kind: AuthenticationConfiguration\napiVersion: apiserver.config.k8s.io/v1\nodd: 1";
        assert_eq!(read(odd), Err("strict decoding erro".to_owned()));
    }
}
