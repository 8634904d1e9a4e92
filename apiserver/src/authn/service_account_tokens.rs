//! Tokens of service accounts: what is in them, and whether they still stand for somebody.
//!
//! A token is good while its signature, its time and its audience are, and while the objects it is bound to are still the
//! same ones. Reference pages: "Managing Service Accounts" and "Authenticating", KEP-1205 (bound tokens), KEP-4193 (node
//! binding and credential ids).

mod legacy;

pub use legacy::LAST_USED;

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use api_types::{field::go_quote, kind::GroupResource, object::ObjectExt, status::Status};

use super::{
    authenticator::Authenticated,
    keys::PublicKeys,
    objects::Objects,
    recent::Recent,
    user::{CREDENTIAL_ID, User, service_account},
};
use crate::authz::rbac::rule::quoted_list;

/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// How many signatures are remembered: verifying one costs more than all the rest.
const REMEMBERED: usize = 4096;

/// Verifies tokens.
pub struct ServiceAccountTokens {
    keys: PublicKeys,
    /// `--service-account-issuer`; the first one is put into new tokens, all are accepted.
    issuers: Vec<String>,
    /// `--api-audiences`: whom tokens must be for, and whom those without an audience are for.
    api_audiences: Vec<String>,
    /// `--service-account-lookup`: whether tokens of the old kind are compared with their secrets.
    lookup: bool,
    objects: Arc<dyn Objects>,
    /// By digest of the token.
    verified: Mutex<Recent<[u8; 32], Claims>>,
}

/// What a token says, all of it.
type Claims = Arc<Map<String, Value>>;

/// The claims that are Kubernetes' own: what a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bound {
    /// The account's namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// The pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    pub serviceaccount: Reference,
    /// From when on its use is reported, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object as it was when the token was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

// === impl Reference ===

impl Reference {
    /// This object.
    pub fn to(object: &Value) -> Self {
        Self { name: object.name().to_owned(), uid: object.uid().to_owned() }
    }
}

// === impl ServiceAccountTokens ===

impl ServiceAccountTokens {
    /// Accepts tokens of these issuers, signed by these keys.
    pub fn new(
        keys: PublicKeys,
        issuers: Vec<String>,
        api_audiences: Vec<String>,
        lookup: bool,
        objects: Arc<dyn Objects>,
    ) -> Self {
        let verified = Mutex::new(Recent::new(REMEMBERED));
        Self { keys, issuers, api_audiences, lookup, objects, verified }
    }

    /// Whom the token stands for; `None` if it is not one of ours.
    ///
    /// # Errors
    /// It is one of ours, or pretends to be, and is not good.
    pub async fn authenticate(
        &self,
        token: &str,
        requested_audiences: &[String],
        now: Timestamp,
    ) -> Result<Option<Authenticated>, String> {
        let Some(issuer) = unverified_issuer(token) else { return Ok(None) };
        let is_legacy = issuer == legacy::ISSUER;
        if !is_legacy && !self.issuers.contains(&issuer) {
            return Ok(None);
        }
        let Some(claims) = self.verify(token)? else { return Ok(None) };
        if text(&claims, "iss") != issuer {
            return Err(format!("token issuer {} is invalid", go_quote(text(&claims, "iss"))));
        }
        let audiences = self.audiences(&claims, requested_audiences)?;
        let mut authenticated = if is_legacy {
            legacy::validate(&claims, token, self.lookup.then_some(&*self.objects), now).await?
        } else {
            self.validate(&claims, now).await?
        };
        authenticated.audiences = audiences;
        Ok(Some(authenticated))
    }

    fn verify(&self, token: &str) -> Result<Option<Claims>, String> {
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.verified.lock().get(&key) {
            return Ok(Some(claims));
        }
        match self.keys.verify(token) {
            Ok(claims) => {
                let claims = Arc::new(claims);
                self.verified.lock().insert(key, Arc::clone(&claims));
                Ok(Some(claims))
            }
            Err(super::keys::NotVerified::Malformed) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The audiences that the token is for and that were asked about.
    fn audiences(&self, claims: &Map<String, Value>, requested: &[String]) -> Result<Vec<String>, String> {
        let mut own = match claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        if own.is_empty() {
            // Tokens of the old kind are for this server only.
            own.clone_from(&self.api_audiences);
        }
        let requested = if requested.is_empty() { &self.api_audiences } else { requested };
        let common: Vec<String> = own.iter().filter(|it| requested.contains(it)).cloned().collect();
        if common.is_empty() && !self.api_audiences.is_empty() {
            return Err(format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted_list(&own),
                quoted_list(requested)
            ));
        }
        Ok(common)
    }

    async fn validate(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Authenticated, String> {
        check_times(claims, now)?;
        let bound: Bound =
            claims.get("kubernetes.io").and_then(|bound| Bound::deserialize(bound).ok()).unwrap_or_default();
        let Bound { namespace, serviceaccount: account, pod, secret, node, warnafter } = &bound;
        let found = self.find("serviceaccounts", namespace, &account.name).await;
        let found = found.map_err(|status| status.message)?;
        if found.uid() != account.uid {
            return Err(format!(
                "service account UID ({}) does not match claim ({})",
                found.uid(),
                account.uid
            ));
        }
        if is_long_gone(&found, now) {
            return Err(format!("service account {namespace}/{} has been deleted", account.name));
        }
        let mut user = User {
            name: service_account::user_name(namespace, &account.name),
            uid: account.uid.clone(),
            groups: service_account::groups(namespace),
            ..User::default()
        };
        let mut extra = |key: &str, value: &str| {
            if !value.is_empty() {
                user.extra.insert(key.to_owned(), vec![value.to_owned()]);
            }
        };
        if let Some(secret) = secret {
            self.check("secrets", "secret", namespace, secret, now).await?;
        }
        if let Some(pod) = pod {
            self.check("pods", "pod", namespace, pod, now).await?;
            if !pod.name.is_empty() && !pod.uid.is_empty() {
                extra(service_account::POD_NAME, &pod.name);
                extra(service_account::POD_UID, &pod.uid);
            }
        }
        if let Some(node) = node {
            // A pod's node is only told; a token bound to a node goes with it.
            if pod.is_none() {
                self.check("nodes", "node", "", node, now).await?;
            }
            extra(service_account::NODE_NAME, &node.name);
            if !node.name.is_empty() {
                extra(service_account::NODE_UID, &node.uid);
            }
        }
        if let Some(id) = claims.get("jti").and_then(Value::as_str) {
            extra(CREDENTIAL_ID, &credential_id(id));
        }
        let mut authenticated = Authenticated::of(user);
        if let Some(after) = warnafter.filter(|&it| it != 0 && now.as_second() > it) {
            let note = format!(
                "subject: {}, seconds after warning threshold: {}",
                text(claims, "sub"),
                now.as_second() - after
            );
            authenticated.audit.push(("authentication.k8s.io/stale-token".to_owned(), note));
        }
        Ok(authenticated)
    }

    /// Whether the object that a token is bound to is still the same one.
    async fn check(
        &self,
        resource: &str,
        what: &str,
        namespace: &str,
        bound: &Reference,
        now: Timestamp,
    ) -> Result<(), String> {
        let invalidated = || "service account token has been invalidated".to_owned();
        let Ok(found) = self.find(resource, namespace, &bound.name).await else { return Err(invalidated()) };
        if found.uid() != bound.uid {
            let title = match what {
                "pod" => "pod",
                "node" => "node",
                _ => "secret",
            };
            return Err(format!(
                "{title} UID ({}) does not match service account {what} ref claim ({})",
                found.uid(),
                bound.uid
            ));
        }
        if is_long_gone(&found, now) { Err(invalidated()) } else { Ok(()) }
    }

    async fn find(&self, resource: &str, namespace: &str, name: &str) -> Result<Arc<Value>, Status> {
        find(&*self.objects, resource, namespace, name).await
    }
}

impl fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountTokens")
            .field("keys", &self.keys)
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

/// The id by which audit logs name a token.
pub fn credential_id(jti: &str) -> String {
    if jti.is_empty() { String::new() } else { format!("JTI={jti}") }
}

/// The object, or 404.
pub(super) async fn find(
    objects: &dyn Objects,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<Arc<Value>, Status> {
    objects
        .get(resource, namespace, name)
        .await?
        .ok_or_else(|| Status::not_found(&GroupResource::new("", resource), name))
}

/// The issuer that a token claims, before anything is believed; `None` if it is no signed token.
fn unverified_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        iss: String,
    }
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = BASE64.decode(payload).ok()?;
    serde_json::from_slice::<Claims>(&payload).ok().map(|claims| claims.iss)
}

fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), String> {
    let time = |claim: &str| claims.get(claim).and_then(seconds).filter(|&it| it != 0);
    let leeway = i64::try_from(LEEWAY.as_secs()).unwrap_or_default();
    let now = now.as_second();
    if time("nbf").is_some_and(|it| now.saturating_add(leeway) < it) {
        return Err("service account token is not valid yet".to_owned());
    }
    if time("exp").is_some_and(|it| now.saturating_sub(leeway) > it) {
        return Err("service account token has expired".to_owned());
    }
    if time("iat").is_some_and(|it| now.saturating_add(leeway) < it) {
        return Err("service account token is issued in the future".to_owned());
    }
    Ok(())
}

/// A NumericDate (RFC 7519): whole seconds, whatever its notation.
#[expect(clippy::cast_possible_truncation, reason = "fractions are meant to go, and the cast saturates")]
fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|it| it as i64))
}

/// Whether the object is being deleted, and its time was up before clocks can disagree about it.
fn is_long_gone(object: &Value, now: Timestamp) -> bool {
    object.meta_str("deletionTimestamp").parse::<Timestamp>().is_ok_and(|deleted| deleted < now - LEEWAY)
}

fn text<'a>(claims: &'a Map<String, Value>, claim: &str) -> &'a str {
    claims.get(claim).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
