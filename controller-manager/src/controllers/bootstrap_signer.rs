//! Bootstrap signer: signs the kubeconfig in `kube-public/cluster-info` with every bootstrap token that may sign, so that a
//! machine that joins can trust it, having nothing but its token. Off unless asked for, as upstream.
//!
//! A signature is a JWS whose payload is left out, since it stands beside it (RFC 7515, appendix F).

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use client::{Caches, Controller, Key, Plan, Triggers, controller::Request, resource::CONFIG_MAPS};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value, json};

use crate::kinds::{BootstrapToken, ClusterInfo, bootstrap_token::Expiry};

/// What is signed.
const INFO: (&str, &str) = ("kube-public", "cluster-info");
/// The namespace of the tokens.
const TOKENS: &str = "kube-system";
/// The kubeconfig in it.
const KUBECONFIG: &str = "kubeconfig";
/// The signatures in it, by the id of the token.
const SIGNATURE: &str = "jws-kubeconfig-";
/// The names of tokens' Secrets.
const TOKEN: &str = "bootstrap-token-";

/// Signs.
#[derive(Debug)]
pub struct BootstrapSigner;

/// All that matters to the signatures.
#[derive(Debug)]
pub struct Observed {
    info: Arc<ClusterInfo>,
    tokens: Vec<Arc<BootstrapToken>>,
}

impl Controller for BootstrapSigner {
    type Root = ClusterInfo;
    type Observed = Observed;
    const NAME: &'static str = "bootstrap-signer";

    fn triggers(&self, on: &mut Triggers<ClusterInfo>) {
        on.root().mapped::<BootstrapToken>(|token, _| {
            let ours = &*token.metadata.namespace == TOKENS;
            ours.then(|| Key::new(INFO.0, INFO.1)).into_iter().collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        if *root != Key::new(INFO.0, INFO.1) {
            return None;
        }
        let info = caches.read::<ClusterInfo>().get(root)?;
        Some(Observed { info, tokens: caches.read::<BootstrapToken>().in_namespace(TOKENS) })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let Observed { info, tokens } = observed;
        let Some(content) = info.data.get(KUBECONFIG) else {
            return Plan::because("there is no kubeconfig to sign");
        };
        let mut wanted = BTreeMap::new();
        let mut plan = Plan::because("every signature is there");
        for token in tokens {
            let Some((id, secret)) = signing(token).filter(|_| !token.expiry().is_past(now)) else {
                continue;
            };
            if let Expiry::At(at) = token.expiry() {
                plan = plan.look_again_at(at, now);
            }
            match sign(content, &id, &secret) {
                Ok(signature) => drop(wanted.insert(format!("{SIGNATURE}{id}"), signature)),
                Err(error) => tracing::error!(error, id, "a token cannot sign"),
            }
        }
        let mut changes = Map::new();
        for name in info.data.keys().filter(|name| name.starts_with(SIGNATURE) && !wanted.contains_key(*name))
        {
            changes.insert(name.clone(), Value::Null);
        }
        for (name, signature) in wanted {
            if info.data.get(&name) != Some(&signature) {
                changes.insert(name, signature.into());
            }
        }
        if changes.is_empty() {
            return plan;
        }
        plan.why = format!("{} signatures are to be changed", changes.len()).into();
        let document = json!({ "data": changes });
        plan.then(
            Request::merge(CONFIG_MAPS, Key::new(INFO.0, INFO.1), document).if_unchanged(&info.metadata),
        )
    }
}

/// The id and secret of a token that may sign.
fn signing(token: &BootstrapToken) -> Option<(String, String)> {
    let (id, secret) = (token.text("token-id"), token.text("token-secret"));
    let named = token.metadata.name.strip_prefix(TOKEN)?;
    let is_id = named.len() == 6 && named.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
    let may = is_id && named == id && !secret.is_empty() && token.text("usage-bootstrap-signing") == "true";
    may.then_some((id, secret))
}

/// A signature of `content` by a token.
fn sign(content: &str, id: &str, secret: &str) -> Result<String, String> {
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": id}).to_string());
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256)
        .map_err(|error| error.to_string())?;
    Ok(format!("{header}..{signature}"))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use client::{Write, controller::Verb, testing::Filled};

    use super::*;

    #[test]
    fn a_signature_is_a_jws_without_its_payload() {
        let content = "Hello from the other side. I must have called a thousand times.";
        assert_eq!(
            sign(content, "joshua", "my voice is my passcode").unwrap(),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
        );
    }

    #[test]
    fn every_token_that_may_sign_does_and_what_nobody_signed_goes() {
        let token = |id: &str, name: &str, usage: &str, expiration: &str| {
            let text = |text: &str| STANDARD.encode(text);
            json!({"metadata": {"namespace": TOKENS, "name": name}, "data": {"token-id": text(id),
                "token-secret": text("0123456789abcdef"), "usage-bootstrap-signing": text(usage), "expiration": text(expiration)}})
        };
        let tokens = [
            token("aaaaaa", "bootstrap-token-aaaaaa", "true", "2026-01-01T01:00:00Z"),
            token("bbbbbb", "bootstrap-token-bbbbbb", "false", ""),
            token("cccccc", "bootstrap-token-cccccc", "true", "2025-01-01T00:00:00Z"),
            token("dddddd", "bootstrap-token-eeeeee", "true", ""),
            token("A", "bootstrap-token-A", "true", ""),
        ];
        let look = |data: Value| {
            let info = json!({"metadata": {"namespace": INFO.0, "name": INFO.1, "uid": "i", "resourceVersion": "7"}, "data": data});
            let caches =
                Filled::new().with::<ClusterInfo>([info]).with::<BootstrapToken>(tokens.clone()).caches();
            let observed = BootstrapSigner.observe(&Key::new(INFO.0, INFO.1), &caches).unwrap();
            BootstrapSigner.reconcile(&observed, "2026-01-01T00:00:00Z".parse().unwrap())
        };
        let plan = look(json!({"kubeconfig": "x", "jws-kubeconfig-cccccc": "old"}));
        let Some(Write::Request(request)) = plan.writes.first() else { panic!("{plan:?}") };
        let Verb::Merge(document) = &request.verb else { panic!("{plan:?}") };
        let signature = sign("x", "aaaaaa", "0123456789abcdef").unwrap();
        assert_eq!(
            document["data"],
            json!({"jws-kubeconfig-cccccc": null, "jws-kubeconfig-aaaaaa": signature})
        );
        assert_eq!(document["metadata"]["resourceVersion"], "7");
        assert_eq!(plan.look_again.map(|delay| delay.as_secs()), Some(3600));
        assert!(look(json!({"kubeconfig": "x", "jws-kubeconfig-aaaaaa": signature})).writes.is_empty());
        assert!(look(json!({"jws-kubeconfig-aaaaaa": signature})).writes.is_empty(), "nothing to sign");
    }
}
