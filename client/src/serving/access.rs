//! Who asks a component, and whether they may: both as the API server says.
//!
//! A client certificate of the cluster's authority names its holder; a token is reviewed; everybody else is anonymous. Whether
//! a path may be asked for is a SubjectAccessReview. Answers are remembered for ten seconds, as upstream's delegated
//! authentication and authorization do.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use api_types::{kind::GroupResource, schema::schema, status::Status, wire};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use parking_lot::Mutex;
use runtime::Clock;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime},
    server::WebPkiClientVerifier,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Answer, Flags, respond, text, tls};
use crate::{Api, Key, resource::CONFIG_MAPS};

/// How long an answer of the API server is good.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How long the cluster's authority is good before it is looked up again.
const AUTHORITY_FRESH: Duration = Duration::from_secs(60);
/// So many answers are remembered. When full: all are forgotten.
const ANSWERS_MAX: usize = 1000;
const JSON: &str = "application/json";
/// Where the cluster publishes the authority of client certificates.
const PUBLISHED: (&str, &str) = ("kube-system", "extension-apiserver-authentication");

pub(super) struct Access {
    always_allowed: Vec<String>,
    authentication: Option<Api>,
    authorization: Option<Api>,
    authorities: Authorities,
    users: Remembered<Option<User>>,
    verdicts: Remembered<Verdict>,
    clock: Arc<dyn Clock>,
}

/// A request, as far as access is concerned.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
    /// Those the client has shown, its own first.
    pub(super) certificates: &'a [CertificateDer<'static>],
}

/// Why a request is not answered.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nobody the cluster knows.
    Unauthorized,
    /// It may not; the message that says so.
    Forbidden(String),
    /// It cannot be found out.
    Failed(String),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Verdict {
    allowed: bool,
    reason: String,
}

enum Authorities {
    /// Client certificates mean nothing.
    None,
    Known(Vec<CertificateDer<'static>>),
    /// What the cluster publishes, as it was last seen.
    Published(Mutex<Option<(Instant, Vec<CertificateDer<'static>>)>>),
}

struct Remembered<T>(Mutex<BTreeMap<String, (Instant, T)>>);

/// The token of `Authorization: Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut words = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().splitn(2, ' ');
    let bearer = words.next()?.eq_ignore_ascii_case("bearer");
    words.next().map(str::trim).filter(|token| bearer && !token.is_empty())
}

// === impl Access ===

impl Access {
    pub(super) fn new(
        flags: &Flags,
        authentication: Option<Api>,
        authorization: Option<Api>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let known = |path: &PathBuf| tls::certificates(path).map(Authorities::Known);
        let authorities = match (&flags.client_ca_file, &authentication) {
            (Some(path), _) => known(path)?,
            (None, Some(_)) if !flags.authentication_skip_lookup => Authorities::Published(Mutex::default()),
            (None, _) => Authorities::None,
        };
        Ok(Self {
            always_allowed: flags.authorization_always_allow_paths.clone(),
            authentication,
            authorization,
            authorities,
            users: Remembered::new(),
            verdicts: Remembered::new(),
            clock,
        })
    }

    #[cfg(test)]
    pub(super) fn believe(&mut self, authority: CertificateDer<'static>) {
        self.authorities = Authorities::Known(vec![authority]);
    }

    pub(super) async fn check(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        let user = self.who(asked).await?;
        let everybody = self.always_allowed.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(beginning) => asked.path.starts_with(beginning),
            None => asked.path == allowed,
        });
        if everybody || user.groups.iter().any(|group| group == "system:masters") {
            return Ok(());
        }
        let verdict = self.may(&user, asked).await?;
        if verdict.allowed {
            return Ok(());
        }
        let verb = asked.method.as_str().to_ascii_lowercase();
        let mut message = format!("User {:?} cannot {verb} path {:?}", user.username, asked.path);
        if !verdict.reason.is_empty() {
            message = format!("{message}: {}", verdict.reason);
        }
        Err(Refusal::Forbidden(message))
    }

    async fn who(&self, asked: &Asked<'_>) -> Result<User, Refusal> {
        let mut doubtful = false;
        if let Some((own, others)) = asked.certificates.split_first() {
            match self.authorities().await {
                None => {}
                Some(authorities) => match holder(own, others, authorities, self.clock.now().as_second()) {
                    Ok(user) => return Ok(user),
                    Err(error) => {
                        tracing::debug!(error, "a client certificate is not taken");
                        doubtful = true;
                    }
                },
            }
        }
        if let (Some(token), Some(api)) = (asked.token, &self.authentication) {
            return self.review(api, token).await?.ok_or(Refusal::Unauthorized);
        }
        if doubtful {
            return Err(Refusal::Unauthorized);
        }
        let groups = vec!["system:unauthenticated".to_owned()];
        Ok(User { username: "system:anonymous".to_owned(), groups, ..User::default() })
    }

    async fn review(&self, api: &Api, token: &str) -> Result<Option<User>, Refusal> {
        if let Some(known) = self.users.get(token) {
            return Ok(known);
        }
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        let answer =
            post(api, "/apis/authentication.k8s.io/v1/tokenreviews", &review).await.map_err(|error| {
                tracing::warn!(error, "a token cannot be reviewed");
                Refusal::Unauthorized
            })?;
        let authenticated = answer.pointer("/status/authenticated") == Some(&Value::Bool(true));
        let user = answer.pointer("/status/user").cloned().map(serde_json::from_value::<User>);
        let user = user.transpose().map_err(|error| {
            tracing::warn!(%error, "a review names nobody that can be read");
            Refusal::Unauthorized
        })?;
        let user = user.filter(|_| authenticated);
        self.users.put(token, user.clone());
        Ok(user)
    }

    async fn may(&self, user: &User, asked: &Asked<'_>) -> Result<Verdict, Refusal> {
        let Some(api) = &self.authorization else { return Ok(Verdict::default()) };
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.username, "uid": user.uid, "groups": user.groups, "extra": user.extra,
                "nonResourceAttributes": {
                    "path": asked.path, "verb": asked.method.as_str().to_ascii_lowercase(),
                },
            },
        });
        let key = review.pointer("/spec").map(Value::to_string).unwrap_or_default();
        if let Some(known) = self.verdicts.get(&key) {
            return Ok(known);
        }
        let answer = post(api, "/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
        let answer = answer.map_err(Refusal::Failed)?;
        let verdict: Verdict = answer
            .pointer("/status")
            .and_then(|status| Verdict::deserialize(status).ok())
            .unwrap_or_default();
        self.verdicts.put(&key, verdict.clone());
        Ok(verdict)
    }

    /// Whose client certificates are believed; `None` if nobody's are.
    async fn authorities(&self) -> Option<Vec<CertificateDer<'static>>> {
        let seen = match &self.authorities {
            Authorities::None => return None,
            Authorities::Known(known) => return Some(known.clone()),
            Authorities::Published(seen) => seen,
        };
        if let Some((at, known)) = &*seen.lock()
            && at.elapsed() < AUTHORITY_FRESH
        {
            return Some(known.clone());
        }
        let api = self.authentication.as_ref()?;
        match api.get::<Value>(&CONFIG_MAPS, &Key::new(PUBLISHED.0, PUBLISHED.1)).await {
            Ok(map) => {
                let pem = map.pointer("/data/client-ca-file").and_then(Value::as_str).unwrap_or_default();
                let known = tls::certificates_in(pem.as_bytes());
                *seen.lock() = Some((Instant::now(), known.clone()));
                Some(known)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot look up whose client certificates to believe");
                seen.lock().as_ref().map(|(_, known)| known.clone())
            }
        }
    }
}

/// Whom a certificate names, if one of these authorities says so. `now` is in seconds since 1970.
fn holder(
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    authorities: Vec<CertificateDer<'static>>,
    now: i64,
) -> Result<User, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .build()
        .map_err(|error| error.to_string())?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
    verifier.verify_client_cert(own, others, now).map_err(|error| error.to_string())?;
    let (_, certificate) = X509Certificate::from_der(own).map_err(|error| error.to_string())?;
    let subject = certificate.subject();
    let username =
        subject.iter_common_name().filter_map(|name| name.as_str().ok()).last().unwrap_or_default();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    groups.push("system:authenticated".to_owned());
    if username.is_empty() {
        return Err("it names nobody".to_owned());
    }
    Ok(User { username: username.to_owned(), groups, ..User::default() })
}

async fn post(api: &Api, path: &str, review: &Value) -> Result<Value, String> {
    let body = Some((JSON, Bytes::from(review.to_string())));
    let answer = api.request(Method::POST, path, JSON, body).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer).map_err(|error| error.to_string())
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn answer(self, path: &str) -> Answer {
        let status = match self {
            Self::Unauthorized => Status::unauthorized(),
            Self::Forbidden(why) => Status::forbidden(&GroupResource::new("", ""), "", why),
            Self::Failed(why) => return text(500, format!("Internal Server Error: {path:?}: {why}\n")),
        };
        let value = status.to_value();
        let mut body = match schema().type_of("", "v1", "Status") {
            Some(of) => wire::json::encode(&value, of),
            None => wire::json::encode_untyped(&value),
        };
        body.push(b'\n');
        respond(status.code, JSON, body)
    }
}

// === impl Remembered ===

impl<T: Clone> Remembered<T> {
    fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn get(&self, key: &str) -> Option<T> {
        let known = self.0.lock();
        known.get(key).filter(|(at, _)| at.elapsed() < REMEMBERED).map(|(_, value)| value.clone())
    }

    fn put(&self, key: &str, value: T) {
        let mut known = self.0.lock();
        if known.len() >= ANSWERS_MAX {
            known.clear();
        }
        known.insert(key.to_owned(), (Instant::now(), value));
    }
}
