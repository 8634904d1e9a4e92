//! One issuer: where its keys are, whether a token is its own and good, and whom its claims make the bearer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use api_types::field::go_quote;
use arc_swap::{ArcSwap, ArcSwapOption};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::Tasks;
use serde_json::{Map, Value};

use super::{
    configuration::{Compiled, PrefixedClaimOrExpression},
    expressions::Expression,
    keys::KeySet,
};
use crate::{
    authn::{
        review::user_info,
        user::{CREDENTIAL_ID, User},
    },
    webhooks::client::{Client, ClientConfig},
};

/// How long an issuer may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long after a failed discovery it is tried again.
const DISCOVER_AGAIN: Duration = Duration::from_secs(10);
/// How long keys that did not verify a token are not fetched again: junk tokens must not become requests to the issuer.
const KEYS_FRESH: Duration = Duration::from_secs(2);
/// How early a token may be used before its time: clocks differ.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// How many issuers of distributed claims are known at once. When full: others are not.
const SOURCES_MAX: usize = 64;
/// Where an issuer tells of itself.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// An issuer that once left the scheme out of its tokens.
const GOOGLE: (&str, &str) = ("accounts.google.com", "https://accounts.google.com");

type Claims = Map<String, Value>;

/// An issuer whose tokens are good.
#[derive(Debug)]
pub struct Issuer {
    compiled: Compiled,
    /// The algorithms its tokens may be signed with.
    algorithms: Vec<String>,
    /// Once it was found.
    keys: ArcSwapOption<RemoteKeys>,
    health: Mutex<Result<(), String>>,
    /// Those that vouch for distributed claims.
    sources: Mutex<BTreeMap<String, Arc<RemoteKeys>>>,
    tasks: Tasks,
}

/// The keys at a place, as they were last fetched.
#[derive(Debug)]
struct RemoteKeys {
    client: Client,
    known: ArcSwap<Known>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    keys: KeySet,
    /// When it was last tried.
    tried: Option<Timestamp>,
}

/// A token, taken apart; nothing of it is believed yet.
struct Token<'a> {
    algorithm: String,
    key_id: String,
    claims: Claims,
    /// What is signed.
    message: &'a str,
    signature: Vec<u8>,
}

// === impl Issuer ===

impl Issuer {
    /// Looks for the issuer in the background until it is found or forgotten.
    pub fn start(compiled: Compiled, algorithms: Vec<String>, tasks: &Tasks) -> Arc<Self> {
        let url = &compiled.source.issuer.url;
        let unknown = format!("oidc: authenticator for issuer {} is not initialized", go_quote(url));
        let issuer = Arc::new(Self {
            compiled,
            algorithms,
            keys: ArcSwapOption::empty(),
            health: Mutex::new(Err(unknown)),
            sources: Mutex::default(),
            tasks: tasks.clone(),
        });
        tasks.spawn("issuer discovery", discover(Arc::downgrade(&issuer)));
        issuer
    }

    /// Whether it was found.
    ///
    /// # Errors
    /// Why not.
    pub fn health(&self) -> Result<(), String> {
        let url = go_quote(&self.compiled.source.issuer.url);
        self.health
            .lock()
            .clone()
            .map_err(|why| format!("oidc: authenticator for issuer {url} is not healthy: {why}"))
    }

    /// Whom a token stands for; `None` if it is not of this issuer.
    ///
    /// # Errors
    /// It is, and not good, and why.
    pub async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Option<User>, String> {
        let url = &self.compiled.source.issuer.url;
        if claims_of(token).as_ref().and_then(issuer_of) != Some(url) {
            return Ok(None);
        }
        let keys = self.keys.load_full().ok_or("oidc: authenticator not initialized")?;
        let verified = self.verify(token, &keys, now).await;
        let mut claims = verified.map_err(|why| format!("oidc: verify token: {why}"))?;
        self.expand(&mut claims, now)
            .await
            .map_err(|why| format!("oidc: could not expand distributed claims: {why}"))?;
        self.compiled.user(claims).map(Some)
    }

    async fn verify(&self, token: &str, keys: &RemoteKeys, now: Timestamp) -> Result<Claims, String> {
        let token = Token::parse(token)?;
        let issuer = &self.compiled.source.issuer;
        token.check(&issuer.audiences, &self.algorithms, now)?;
        if !keys.verify(&token, now).await? {
            return Err("failed to verify signature: failed to verify id token signature".to_owned());
        }
        Ok(token.claims)
    }

    async fn discover(&self) -> Result<RemoteKeys, String> {
        let issuer = &self.compiled.source.issuer;
        let at = match issuer.discovery_url.as_str() {
            "" => format!("{}{WELL_KNOWN}", issuer.url.trim_end_matches('/')),
            elsewhere => elsewhere.to_owned(),
        };
        self.keys_told_at(&at, &issuer.url).await
    }

    async fn keys_told_at(&self, place: &str, expected: &str) -> Result<RemoteKeys, String> {
        let document = self.fetch(place, None).await?;
        let told = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default();
        if told("issuer") != expected {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {} got {}",
                go_quote(expected),
                go_quote(told("issuer"))
            ));
        }
        let place = told("jwks_uri");
        if place.is_empty() {
            return Err("provider did not return JWKS URL".to_owned());
        }
        Ok(RemoteKeys {
            client: self.client(place)?,
            known: ArcSwap::default(),
            fetching: tokio::sync::Mutex::default(),
        })
    }

    fn client(&self, url: &str) -> Result<Client, String> {
        if !url.starts_with("https://") {
            return Err(format!("{} is no https URL", go_quote(url)));
        }
        let pem = &self.compiled.source.issuer.certificate_authority;
        let bundle = (!pem.is_empty()).then(|| base64::prelude::BASE64_STANDARD.encode(pem));
        let config = ClientConfig { url: Some(url.to_owned()), ca_bundle: bundle, ..ClientConfig::default() };
        Client::new(&config, Weak::new(), &self.tasks).map_err(|error| error.to_string())
    }

    async fn fetch(&self, url: &str, authorization: Option<&str>) -> Result<Value, String> {
        let body = get(&self.client(url)?, authorization).await?;
        serde_json::from_slice(&body)
            .map_err(|error| format!("oidc: failed to decode provider discovery object: {error}"))
    }

    /// Groups that are told elsewhere (OpenID Connect Core 1.0, 5.6.2) are asked for there.
    async fn expand(&self, claims: &mut Claims, now: Timestamp) -> Result<(), String> {
        let claim = self.compiled.source.claim_mappings.groups.claim.as_str();
        if claim.is_empty() || claims.contains_key(claim) {
            return Ok(());
        }
        let Some(names) = claims.get("_claim_names") else { return Ok(()) };
        let names =
            names.as_object().ok_or("oidc: error parsing distributed claim names: it is no object")?;
        let sources = claims.get("_claim_sources").ok_or("oidc: no claim sources")?;
        let sources = sources.as_object().ok_or("oidc: could not parse claim sources: it is no object")?;
        let Some(source) = names.get(claim).and_then(Value::as_str) else { return Ok(()) };
        let source = sources.get(source).ok_or_else(|| {
            format!("id token _claim_names contained a source {source} missing in _claims_sources")
        })?;
        let told = |field: &str| source.get(field).and_then(Value::as_str).unwrap_or_default();
        let endpoint = told("endpoint");
        if endpoint.is_empty() {
            return Ok(());
        }
        let authorization =
            Some(told("access_token")).filter(|it| !it.is_empty()).map(|it| format!("Bearer {it}"));
        let body = async { get(&self.client(endpoint)?, authorization.as_deref()).await };
        let body = body
            .await
            .map_err(|why| format!("while getting distributed claim {}: {why}", go_quote(claim)))?;
        let token = String::from_utf8_lossy(&body).trim().to_owned();
        let told_by = claims_of(&token);
        let told_by = told_by.as_ref().and_then(issuer_of).ok_or_else(|| {
            format!("getting untrusted issuer from endpoint {endpoint} failed for claim {}", go_quote(claim))
        })?;
        let keys = self
            .source(told_by)
            .await
            .map_err(|why| format!("verifying untrusted issuer {told_by} failed: {why}"))?;
        let told = self.verify(&token, &keys, now).await;
        let mut told = told.map_err(|why| format!("verify distributed claim token: {why}"))?;
        let value = told.remove(claim).ok_or_else(|| {
            format!(
                "jwt returned by distributed claim endpoint {} did not contain claim: {claim}",
                go_quote(endpoint)
            )
        })?;
        claims.insert(claim.to_owned(), value);
        Ok(())
    }

    async fn source(&self, issuer: &str) -> Result<Arc<RemoteKeys>, String> {
        if let Some(known) = self.sources.lock().get(issuer) {
            return Ok(Arc::clone(known));
        }
        let at = format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/'));
        let found = Arc::new(self.keys_told_at(&at, issuer).await?);
        let mut sources = self.sources.lock();
        if sources.len() < SOURCES_MAX {
            sources.insert(issuer.to_owned(), Arc::clone(&found));
        }
        Ok(found)
    }
}

/// Tries until the issuer was found, or nobody wants to know any more.
async fn discover(issuer: Weak<Issuer>) {
    while let Some(it) = issuer.upgrade() {
        match it.discover().await {
            Ok(keys) => {
                it.keys.store(Some(Arc::new(keys)));
                *it.health.lock() = Ok(());
                return;
            }
            Err(why) => {
                tracing::error!(
                    issuer = it.compiled.source.issuer.url,
                    why,
                    "an issuer of tokens is not found"
                );
                *it.health.lock() = Err(why);
            }
        }
        drop(it);
        tokio::time::sleep(DISCOVER_AGAIN).await;
    }
}

async fn get(client: &Client, authorization: Option<&str>) -> Result<bytes::Bytes, String> {
    let (code, body) = client.get(authorization, PATIENCE).await.map_err(|error| error.to_string())?;
    if code == 200 { Ok(body) } else { Err(format!("{code}: {}", String::from_utf8_lossy(&body).trim())) }
}

fn claims_of(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()
}

fn issuer_of(claims: &Claims) -> Option<&str> {
    let issuer = claims.get("iss")?.as_str()?;
    Some(if issuer == GOOGLE.0 { GOOGLE.1 } else { issuer })
}

// === impl Token ===

impl<'a> Token<'a> {
    fn parse(token: &'a str) -> Result<Self, String> {
        let malformed = |why: &str| format!("oidc: malformed jwt: {why}");
        let (message, signature) = token.rsplit_once('.').ok_or_else(|| malformed("no signature"))?;
        let header = message.split('.').next().unwrap_or_default();
        let header: Option<Claims> =
            BASE64.decode(header).ok().and_then(|it| serde_json::from_slice(&it).ok());
        let header = header.ok_or_else(|| malformed("the header cannot be read"))?;
        let told = |field: &str| header.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        // Extensions that must be understood (RFC 7515, 4.1.11), and none is.
        if header.contains_key("crit") {
            return Err(malformed("unsupported crit header"));
        }
        Ok(Self {
            algorithm: told("alg"),
            key_id: told("kid"),
            claims: claims_of(token).ok_or_else(|| malformed("the claims cannot be read"))?,
            message,
            signature: BASE64.decode(signature).map_err(|error| malformed(&error.to_string()))?,
        })
    }

    /// Everything but the signature and the issuer.
    fn check(&self, audiences: &[String], algorithms: &[String], now: Timestamp) -> Result<(), String> {
        let quoted = |list: &[String]| list.iter().map(|it| go_quote(it)).collect::<Vec<_>>().join(" ");
        let mine = strings(self.claims.get("aud").unwrap_or(&Value::Null)).unwrap_or_default();
        if !mine.iter().any(|it| audiences.contains(it)) {
            let mut wanted = audiences.to_vec();
            wanted.sort();
            return Err(match wanted.as_slice() {
                [only] => format!("oidc: expected audience {} got [{}]", go_quote(only), quoted(&mine)),
                many => format!("oidc: expected audience in [{}] got [{}]", quoted(many), quoted(&mine)),
            });
        }
        let expires = self.time("exp").unwrap_or(Timestamp::UNIX_EPOCH);
        if now > expires {
            return Err(format!("oidc: token is expired (Token Expiry: {expires})"));
        }
        if let Some(begins) = self.time("nbf")
            && now + EARLY < begins
        {
            return Err(format!("oidc: current time {now} before the nbf (not before) time: {begins}"));
        }
        if !algorithms.contains(&self.algorithm) {
            let (wanted, found) = (quoted(algorithms), go_quote(&self.algorithm));
            return Err(format!(
                "oidc: id token signed with unsupported algorithm, expected [{wanted}] got {found}"
            ));
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "a float becomes the nearest integer there is")]
    fn time(&self, claim: &str) -> Option<Timestamp> {
        let value = self.claims.get(claim)?;
        Timestamp::from_second(value.as_i64().or_else(|| value.as_f64().map(|it| it as i64))?).ok()
    }
}

// === impl RemoteKeys ===

impl RemoteKeys {
    /// Whether one of the keys made the signature; if none did, those that are there now are asked for.
    async fn verify(&self, token: &Token<'_>, now: Timestamp) -> Result<bool, String> {
        let good = |known: &Known| {
            known.keys.verify(&token.algorithm, &token.key_id, token.message.as_bytes(), &token.signature)
        };
        if good(&self.known.load()) {
            return Ok(true);
        }
        // One fetch serves all that wait for it.
        let _turn = self.fetching.lock().await;
        let known = self.known.load_full();
        if good(&known) {
            return Ok(true);
        }
        if known.tried.is_some_and(|tried| now >= tried && now < tried + KEYS_FRESH) {
            return Ok(false);
        }
        let fetched = get(&self.client, None).await.and_then(|body| KeySet::read(&body));
        let keys = fetched.as_ref().map_or_else(|_| known.keys.clone(), KeySet::clone);
        self.known.store(Arc::new(Known { keys, tried: Some(now) }));
        fetched.map_err(|why| format!("failed to verify signature: fetching keys {why}"))?;
        Ok(good(&self.known.load()))
    }
}

// === impl Compiled ===

impl Compiled {
    /// Whom claims that were verified make the bearer.
    ///
    /// # Errors
    /// A claim that is missing, or a rule that does not hold.
    fn user(&self, claims: Claims) -> Result<User, String> {
        let claims = Value::Object(claims);
        let mut user = User {
            name: self.username(&claims)?,
            groups: self.groups(&claims)?,
            uid: self.uid(&claims)?,
            ..User::default()
        };
        if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
        }
        for (key, expression) in &self.extra {
            let values = expression.of_claims(&claims)?;
            let values = strings_of(&values).map_err(|why| {
                format!("oidc: error evaluating extra claim expression: {}: {why}", expression.text)
            })?;
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        for rule in self.source.claim_validation_rules.iter().filter(|rule| !rule.claim.is_empty()) {
            let (claim, wanted) = (&rule.claim, &rule.required_value);
            if claims.get(claim).is_none() {
                return Err(format!("oidc: required claim {claim} not present in ID token"));
            }
            let found = string(&claims, claim).map_err(|why| format!("oidc: parse claim {claim}: {why}"))?;
            if found != *wanted {
                return Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {found}, want = {wanted}"
                ));
            }
        }
        for (expression, message) in &self.claim_rules {
            holds(expression, message, expression.of_claims(&claims))
                .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
        }
        if !self.user_rules.is_empty() {
            let mut info = user_info(&user);
            // Expressions may ask for any of them.
            if let Some(info) = info.as_object_mut() {
                for (field, empty) in [
                    ("username", "".into()),
                    ("uid", "".into()),
                    ("groups", Value::Array(Vec::new())),
                    ("extra", Value::Object(Map::new())),
                ] {
                    info.entry(field).or_insert(empty);
                }
            }
            for (expression, message) in &self.user_rules {
                holds(expression, message, expression.of_user(&info))
                    .map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))?;
            }
        }
        Ok(user)
    }

    fn username(&self, claims: &Value) -> Result<String, String> {
        if let Some(expression) = &self.username {
            let fault = |why: String| format!("oidc: error evaluating username claim expression: {why}");
            let value = expression.of_claims(claims).map_err(fault)?;
            let name = value
                .as_str()
                .ok_or_else(|| fault("username claim expression must return a string".to_owned()))?;
            if name.is_empty() {
                return Err("oidc: empty username via CEL expression is not allowed".to_owned());
            }
            return Ok(name.to_owned());
        }
        let PrefixedClaimOrExpression { claim, prefix, .. } = &self.source.claim_mappings.username;
        let name = string(claims, claim)
            .map_err(|why| format!("oidc: parse username claims {}: {why}", go_quote(claim)))?;
        if claim == "email" {
            match claims.get("email_verified") {
                None | Some(Value::Bool(true)) => {}
                Some(Value::Bool(false) | Value::Null) => return Err("oidc: email not verified".to_owned()),
                Some(other) => {
                    let kind = kind_of(other);
                    return Err(format!(
                        "oidc: parse 'email_verified' claim: json: cannot unmarshal {kind} into Go value of type bool"
                    ));
                }
            }
        }
        Ok(format!("{}{name}", prefix.as_deref().unwrap_or_default()))
    }

    fn groups(&self, claims: &Value) -> Result<Vec<String>, String> {
        let PrefixedClaimOrExpression { claim, prefix, .. } = &self.source.claim_mappings.groups;
        if !claim.is_empty()
            && let Some(value) = claims.get(claim)
        {
            let groups = strings(value).ok_or_else(|| {
                let kind = kind_of(value);
                format!(
                    "oidc: parse groups claim {}: json: cannot unmarshal {kind} into Go value of type string",
                    go_quote(claim)
                )
            })?;
            let prefix = prefix.as_deref().unwrap_or_default();
            return Ok(groups.into_iter().map(|group| format!("{prefix}{group}")).collect());
        }
        let Some(expression) = &self.groups else { return Ok(Vec::new()) };
        expression
            .of_claims(claims)
            .and_then(|value| strings_of(&value))
            .map_err(|why| format!("oidc: error evaluating group claim expression: {why}"))
    }

    fn uid(&self, claims: &Value) -> Result<String, String> {
        let claim = &self.source.claim_mappings.uid.claim;
        if !claim.is_empty() {
            return string(claims, claim)
                .map_err(|why| format!("oidc: parse uid claim {}: {why}", go_quote(claim)));
        }
        let Some(expression) = &self.uid else { return Ok(String::new()) };
        let fault = |why: String| format!("oidc: error evaluating uid claim expression: {why}");
        let value = expression.of_claims(claims).map_err(fault)?;
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| fault("uid claim expression must return a string".to_owned()))
    }
}

fn holds(expression: &Expression, message: &str, outcome: Result<Value, String>) -> Result<(), String> {
    match outcome? {
        Value::Bool(true) => Ok(()),
        Value::Bool(false) => Err(format!("validation expression '{}' failed: {message}", expression.text)),
        _ => Err("validation expression must return a boolean".to_owned()),
    }
}

fn string(claims: &Value, claim: &str) -> Result<String, String> {
    match claims.get(claim) {
        None => Err("claim not present".to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Null) => Ok(String::new()),
        Some(other) => Err(format!("json: cannot unmarshal {} into Go value of type string", kind_of(other))),
    }
}

/// A text, or a list of texts.
fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|it| it.as_str().map(str::to_owned)).collect(),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

/// The same of what an expression gave; what is empty is left out.
fn strings_of(value: &Value) -> Result<Vec<String>, String> {
    let list = strings(value).ok_or("expression must return a string or a list of strings")?;
    Ok(list.into_iter().filter(|it| !it.is_empty()).collect())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests;
