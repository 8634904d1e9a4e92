//! All ways to say who one is, in the order they are tried.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderMap;
use runtime::SharedClock;
use rustls::pki_types::CertificateDer;

use api_types::field::aggregate;

use super::{
    bearer::{self, Bearer},
    bootstrap_tokens::BootstrapTokens,
    front_proxy::FrontProxy,
    oidc::Issuers,
    service_account_tokens::ServiceAccountTokens,
    token_file::TokenFile,
    token_webhook::TokenWebhook,
    user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User},
    x509::ClientAuthorities,
};

/// What a server accepts; each part may be missing.
#[derive(Debug)]
pub struct Authenticator {
    /// `--client-ca-file`
    pub client_authorities: Option<Arc<ClientAuthorities>>,
    /// `--token-auth-file`
    pub token_file: Option<TokenFile>,
    /// Service accounts.
    pub service_accounts: Option<ServiceAccountTokens>,
    /// `--enable-bootstrap-token-auth`
    pub bootstrap_tokens: Option<BootstrapTokens>,
    /// Tokens of the server's own components, made at every start; never written anywhere.
    pub own_tokens: BTreeMap<String, User>,
    /// Those outside the cluster whose word counts.
    pub outside: Outside,
    /// `--anonymous-auth`
    pub anonymous: Anonymous,
    /// `--api-audiences`, by default the issuer.
    pub api_audiences: Vec<String>,
    /// What time it is.
    pub clock: SharedClock,
}

/// Those outside the cluster whose word counts.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// `--requestheader-client-ca-file`
    pub front_proxy: Option<Arc<FrontProxy>>,
    /// `--oidc-issuer-url` and the `jwt` of `--authentication-config`
    pub issuers: Option<Arc<Issuers>>,
    /// `--authentication-token-webhook-config-file`
    pub webhook: Option<Arc<TokenWebhook>>,
}

/// Where callers without credentials are let through to the authorizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Nowhere.
    #[default]
    Nowhere,
    /// Everywhere.
    Everywhere,
    /// At these paths.
    At(Vec<String>),
}

/// The parts of a request that say who sends it.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The path that is asked for: some are for everybody.
    pub path: &'a str,
    /// The certificates that the client showed, its own first.
    pub certificates: &'a [CertificateDer<'static>],
}

/// Who sends a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authenticated {
    /// Who.
    pub user: User,
    /// Whom the credential is for, as far as it is for us; empty if it does not say.
    pub audiences: Vec<String>,
    /// What the client should be warned of.
    pub warnings: Vec<String>,
    /// What the audit log should note: key and value.
    pub audit: Vec<(String, String)>,
}

/// Nobody we know: the answer is 401, whatever the reason, which is for our own log only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unauthenticated(pub String);

// === impl Anonymous ===

impl Anonymous {
    fn lets_through(&self, path: &str) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Everywhere => true,
            Self::At(paths) => paths.iter().any(|it| it == path),
        }
    }
}

impl From<bool> for Anonymous {
    fn from(everywhere: bool) -> Self {
        if everywhere { Self::Everywhere } else { Self::Nowhere }
    }
}

// === impl Authenticated ===

impl Authenticated {
    /// This user, and nothing else to say.
    pub fn of(user: User) -> Self {
        Self { user, ..Self::default() }
    }
}

// === impl Authenticator ===

impl Authenticator {
    /// Who sends the request?
    ///
    /// # Errors
    /// A credential was shown and is not good, or none was shown and that is not enough.
    pub async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Authenticated, Unauthenticated> {
        let mut warnings = Vec::new();
        let mut shown = Vec::new();
        for outcome in [self.front_proxy(credentials), self.certificate(credentials.certificates)] {
            match outcome {
                Ok(Some(authenticated)) => return Ok(authenticated),
                Ok(None) => {}
                Err(error) => shown.push(error),
            }
        }
        let bearers = [bearer::in_headers(credentials.headers), bearer::in_websocket(credentials.headers)];
        self.bearers(bearers, &[], credentials.path, shown, &mut warnings).await.map(|mut authenticated| {
            authenticated.warnings.append(&mut warnings);
            authenticated
        })
    }

    /// Whom a token stands for, as a TokenReview asks; no audiences asked about means our own.
    ///
    /// # Errors
    /// It is not good, and why.
    pub async fn review(&self, token: &str, audiences: &[String]) -> Result<Authenticated, Unauthenticated> {
        let bearer = bearer::in_authorization(&format!("Bearer {token}"));
        let mut authenticated =
            self.bearers([bearer, Bearer::None], audiences, "", Vec::new(), &mut Vec::new()).await?;
        if authenticated.user.name == ANONYMOUS {
            let own = if audiences.is_empty() { &self.api_audiences } else { audiences };
            authenticated.audiences = own.to_vec();
        }
        Ok(authenticated)
    }

    async fn bearers(
        &self,
        bearers: [Bearer; 2],
        audiences: &[String],
        path: &str,
        mut errors: Vec<String>,
        warnings: &mut Vec<String>,
    ) -> Result<Authenticated, Unauthenticated> {
        for bearer in bearers {
            match bearer {
                Bearer::None => {}
                Bearer::SpaceBefore => warnings.push(bearer::SPACE_WARNING.to_owned()),
                Bearer::Malformed(why) => errors.push(why.to_owned()),
                Bearer::Token(token) => match self.token(&token, audiences).await {
                    Ok(authenticated) => return Ok(known(authenticated)),
                    Err(error) => errors.push(error),
                },
            }
        }
        if !errors.is_empty() {
            return Err(Unauthenticated(aggregate(errors)));
        }
        if self.anonymous.lets_through(path) {
            Ok(Authenticated::of(User::anonymous()))
        } else {
            Err(Unauthenticated("no credentials".to_owned()))
        }
    }

    fn front_proxy(&self, credentials: Credentials<'_>) -> Result<Option<Authenticated>, String> {
        let Some(front_proxy) = &self.outside.front_proxy else { return Ok(None) };
        let user = front_proxy.identify(credentials.certificates, credentials.headers, self.clock.now())?;
        Ok(user.map(|user| known(Authenticated::of(user))))
    }

    fn certificate(&self, shown: &[CertificateDer<'static>]) -> Result<Option<Authenticated>, String> {
        let Some(authorities) = &self.client_authorities else { return Ok(None) };
        let user = authorities.identify(shown, self.clock.now())?;
        Ok(user.map(|user| known(Authenticated::of(user))))
    }

    async fn token(&self, token: &str, requested: &[String]) -> Result<Authenticated, String> {
        let mut errors = Vec::new();
        let fixed = self.own_tokens.get(token).or_else(|| self.token_file.as_ref()?.user(token));
        if let Some(user) = fixed
            && let Some(authenticated) = self.for_us(user.clone(), requested)
        {
            return Ok(authenticated);
        }
        let now = self.clock.now();
        if let Some(service_accounts) = &self.service_accounts {
            match service_accounts.authenticate(token, requested, now).await {
                Ok(Some(authenticated)) => return Ok(authenticated),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        if let Some(bootstrap_tokens) = &self.bootstrap_tokens
            && let Some(user) = bootstrap_tokens.authenticate(token, now).await
            && let Some(authenticated) = self.for_us(user, requested)
        {
            return Ok(authenticated);
        }
        if let Some(issuers) = &self.outside.issuers {
            match issuers.authenticate(token, now).await {
                Ok(user) => {
                    if let Some(authenticated) = user.and_then(|user| self.for_us(user, requested)) {
                        return Ok(authenticated);
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        if let Some(webhook) = &self.outside.webhook {
            match webhook.authenticate(token, requested, &self.api_audiences, now).await {
                Ok(Some(authenticated)) => return Ok(authenticated),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Err("invalid bearer token".to_owned()) } else { Err(aggregate(errors)) }
    }

    /// Tokens that name no audience are for our own; `None` if others were asked about.
    fn for_us(&self, user: User, requested: &[String]) -> Option<Authenticated> {
        let audiences: Vec<String> = self
            .api_audiences
            .iter()
            .filter(|it| requested.is_empty() || requested.contains(it))
            .cloned()
            .collect();
        if audiences.is_empty() && !self.api_audiences.is_empty() {
            return None;
        }
        Some(Authenticated { audiences, ..Authenticated::of(user) })
    }
}

/// Whoever proved who they are is in a group of all who did.
fn known(mut authenticated: Authenticated) -> Authenticated {
    let user = &mut authenticated.user;
    if user.name != ANONYMOUS && !user.is_in(UNAUTHENTICATED) {
        user.join(AUTHENTICATED);
    }
    authenticated
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use jiff::Timestamp;
    use runtime::Runtime;

    use super::*;
    use crate::tls::authority::{Authority, Subject};

    fn now() -> Timestamp {
        "2026-07-01T00:00:00Z".parse().unwrap()
    }

    fn authenticator(authority: &Authority, anonymous: bool) -> Authenticator {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.csv");
        std::fs::write(&path, "alice-token,alice,1,\"dev,qa\"\nodd-token,odd,2,system:unauthenticated\n")
            .unwrap();
        let authorities = ClientAuthorities::new(vec![authority.certificate().clone()]).unwrap();
        Authenticator {
            client_authorities: Some(Arc::new(authorities)),
            token_file: Some(TokenFile::read(&path).unwrap()),
            service_accounts: None,
            bootstrap_tokens: None,
            own_tokens: BTreeMap::from([("own".to_owned(), User::new("system:kube-scheduler", &[]))]),
            outside: Outside::default(),
            anonymous: anonymous.into(),
            api_audiences: vec!["api".to_owned()],
            clock: Runtime::simulated(now(), 1).clock,
        }
    }

    fn tell(result: Result<Authenticated, Unauthenticated>) -> String {
        result.map_or_else(
            |error| format!("401 {error}"),
            |it| format!("{} [{}]", it.user.name, it.user.groups.join(" ")),
        )
    }

    #[tokio::test]
    async fn what_is_shown_counts_and_what_is_wrong_is_never_anonymous() {
        let (ours, _) = Authority::generate("ca", now()).unwrap();
        let (theirs, _) = Authority::generate("ca", now()).unwrap();
        let subject = Subject::client("bob", Some("ops"));
        let certificates = |authority: &Authority| {
            let issued = authority.issue(&subject, now()).unwrap();
            crate::tls::files::certificates_in(issued.certificate.as_bytes()).unwrap()
        };
        let (good, bad) = (certificates(&ours), certificates(&theirs));
        let bob = "bob [ops system:authenticated]";
        let alice = "alice [dev qa system:authenticated]";
        let nobody = "system:anonymous [system:unauthenticated]";
        for (authorization, shown, wanted) in [
            (None, vec![], nobody),
            (Some("Basic YTpi"), vec![], nobody),
            (Some("Bearer "), vec![], nobody),
            (Some("Bearer alice-token"), vec![], alice),
            (Some("Bearer odd-token"), vec![], "odd [system:unauthenticated]"),
            (Some("Bearer own"), vec![], "system:kube-scheduler [system:authenticated]"),
            (Some("Bearer wrong"), vec![], "401 invalid bearer token"),
            (None, good.clone(), bob),
            (Some("Bearer wrong"), good.clone(), bob),
            (Some("Bearer alice-token"), bad.clone(), alice),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(authorization) = authorization {
                headers.insert("authorization", HeaderValue::from_static(authorization));
            }
            let credentials = Credentials { headers: &headers, path: "/api", certificates: &shown };
            let result = authenticator(&ours, true).authenticate(credentials).await;
            assert_eq!(tell(result), wanted, "{authorization:?}");
        }
        let headers = HeaderMap::new();
        let strange = Credentials { headers: &headers, path: "/api", certificates: &bad };
        let result = tell(authenticator(&ours, true).authenticate(strange).await);
        assert!(result.starts_with("401 verifying certificate SN="), "{result}");
        let nothing = Credentials { headers: &headers, path: "/api", certificates: &[] };
        assert!(authenticator(&ours, false).authenticate(nothing).await.is_err());
        for (path, let_through) in [("/api", false), ("/healthz", true), ("/healthz/ping", false)] {
            let mut authenticator = authenticator(&ours, false);
            authenticator.anonymous = Anonymous::At(vec!["/healthz".to_owned()]);
            let nothing = Credentials { path, ..nothing };
            assert_eq!(authenticator.authenticate(nothing).await.is_ok(), let_through, "{path}");
        }
    }

    #[tokio::test]
    async fn a_space_too_many_is_warned_of() {
        let (ours, _) = Authority::generate("ca", now()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer  alice-token"));
        let credentials = Credentials { headers: &headers, path: "/api", certificates: &[] };
        let authenticated = authenticator(&ours, true).authenticate(credentials).await.unwrap();
        assert_eq!(authenticated.user, User::anonymous());
        assert_eq!(authenticated.warnings, [bearer::SPACE_WARNING]);
    }

    #[tokio::test]
    async fn a_review_asks_for_audiences() {
        let (ours, _) = Authority::generate("ca", now()).unwrap();
        let authenticator = authenticator(&ours, true);
        for (token, audiences, wanted) in [
            ("alice-token", vec![], Ok(vec!["api"])),
            ("alice-token", vec!["other", "api"], Ok(vec!["api"])),
            ("alice-token", vec!["other"], Err("invalid bearer token")),
            ("wrong", vec![], Err("invalid bearer token")),
            (" ", vec!["other"], Ok(vec!["other"])),
        ] {
            let audiences: Vec<String> = audiences.into_iter().map(str::to_owned).collect();
            let result = authenticator.review(token, &audiences).await.map(|it| it.audiences);
            let wanted = wanted.map(|it| it.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(result.map_err(|it| it.0), wanted.map_err(str::to_owned), "{token}");
        }
    }
}
