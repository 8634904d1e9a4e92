//! ServiceAccount tokens in Secrets: a Secret of type `kubernetes.io/service-account-token` that names an account gets a
//! token for it, and goes with it. Pods have better tokens today; this is for those who want one that does not expire.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use client::{Caches, Controller, Key, Kind, Plan, Triggers, controller::Request, resource::SECRETS};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    kinds::{
        ServiceAccount, TokenSecret,
        token_secret::{ACCOUNT, ACCOUNT_UID, BY_ACCOUNT},
    },
    tokens::Maker,
};

/// How long to wait for news of accounts, where it is not certain that one is gone.
const NEWS: Duration = Duration::from_secs(1);

/// Makes tokens.
pub struct ServiceAccountTokens {
    /// With which key.
    pub maker: Arc<Maker>,
    /// The authority by which to trust the API server, in PEM; left out if empty.
    pub root_ca: Arc<str>,
}

/// All that matters to a token's Secret.
#[derive(Debug)]
pub struct Observed {
    secret: Arc<TokenSecret>,
    account: Option<Arc<ServiceAccount>>,
    /// Whether the accounts are known up to the Secret's last change.
    certain: bool,
}

// === impl ServiceAccountTokens ===

impl fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountTokens").finish_non_exhaustive()
    }
}

impl Controller for ServiceAccountTokens {
    type Root = TokenSecret;
    type Observed = Observed;
    const NAME: &'static str = "serviceaccount-token-controller";

    fn triggers(&self, on: &mut Triggers<TokenSecret>) {
        on.root().mapped::<ServiceAccount>(|account, caches| {
            let secrets = caches.read::<TokenSecret>().by_index(BY_ACCOUNT, &account.key().to_string());
            secrets.iter().map(|secret| secret.key()).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let secret = caches.read::<TokenSecret>().get(root)?;
        let accounts = caches.read::<ServiceAccount>();
        let name = secret.metadata.annotations.get(ACCOUNT)?;
        let account = accounts.get(&Key::new(&root.namespace, name)).filter(|account| {
            let uid = secret.metadata.annotations.get(ACCOUNT_UID).unwrap_or_default();
            uid.is_empty() || *account.metadata.uid == *uid
        });
        let certain = accounts.revision() >= secret.metadata.revision;
        Some(Observed { secret, account, certain })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { secret, account, certain } = observed;
        let Some(account) = account else {
            return if *certain {
                Plan::because("the account of the token is gone")
                    .then(Request::delete(SECRETS, &secret.metadata))
            } else {
                Plan::because("the account of the token may be new").look_again(NEWS)
            };
        };
        let missing = self.missing(secret, account);
        if missing.is_empty() {
            return Plan::because("the Secret holds a token");
        }
        let mut document = json!({"data": missing});
        if secret.metadata.annotations.get(ACCOUNT_UID).is_none_or(str::is_empty) {
            document["metadata"] = json!({"annotations": {ACCOUNT_UID: account.metadata.uid}});
        }
        Plan::because("the Secret lacks a token, or what belongs to it")
            .then(Request::merge(SECRETS, secret.key(), document).if_unchanged(&secret.metadata))
    }
}

impl ServiceAccountTokens {
    /// What the Secret lacks.
    fn missing(&self, secret: &TokenSecret, account: &ServiceAccount) -> Map<String, Value> {
        let meta = &secret.metadata;
        let holds = |name: &str| secret.data.get(name).map(|text| &**text).unwrap_or_default();
        let mut missing = Map::new();
        let ca = STANDARD.encode(self.root_ca.as_bytes());
        if !ca.is_empty() && holds("ca.crt") != ca {
            missing.insert("ca.crt".to_owned(), ca.into());
        }
        if holds("namespace").is_empty() {
            missing.insert("namespace".to_owned(), STANDARD.encode(meta.namespace.as_bytes()).into());
        }
        if holds("token").is_empty() {
            let (namespace, name) = (&meta.namespace, &account.metadata.name);
            let token = self.maker.make(&json!({
                "iss": "kubernetes/serviceaccount",
                "sub": format!("system:serviceaccount:{namespace}:{name}"),
                "kubernetes.io/serviceaccount/namespace": namespace,
                "kubernetes.io/serviceaccount/secret.name": meta.name,
                "kubernetes.io/serviceaccount/service-account.name": name,
                "kubernetes.io/serviceaccount/service-account.uid": account.metadata.uid,
            }));
            match token {
                Ok(token) => drop(missing.insert("token".to_owned(), STANDARD.encode(token).into())),
                Err(error) => tracing::error!(error, "no token can be made"),
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use client::{Write, controller::Verb, testing::Filled};

    use super::*;

    fn look(account: Option<&str>, uid: &str, data: Value, revision: &str) -> Plan {
        let secret = json!({"metadata": {"namespace": "ns", "name": "s", "uid": "s", "resourceVersion": revision,
            "annotations": {ACCOUNT: "robot", ACCOUNT_UID: uid}}, "data": data});
        let mut accounts =
            vec![json!({"metadata": {"namespace": "ns", "name": "other", "resourceVersion": "50"}})];
        accounts
            .extend(account.map(|uid| json!({"metadata": {"namespace": "ns", "name": "robot", "uid": uid}})));
        let caches = Filled::new().with::<TokenSecret>([secret]).with::<ServiceAccount>(accounts).caches();
        let controller =
            ServiceAccountTokens { maker: Arc::new(crate::tokens::tests::maker()), root_ca: "ca".into() };
        let observed = controller.observe(&Key::new("ns", "s"), &caches).unwrap();
        controller.reconcile(&observed, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_secret_of_an_account_gets_its_token_and_goes_with_it() {
        let plan = look(Some("u"), "", json!({}), "9");
        let Some(Write::Request(request)) = plan.writes.first() else { panic!("{plan:?}") };
        let Verb::Merge(document) = &request.verb else { panic!("{plan:?}") };
        assert_eq!(document["metadata"]["annotations"][ACCOUNT_UID], "u");
        assert_eq!(
            (&document["data"]["ca.crt"], &document["data"]["namespace"]),
            (&json!("Y2E="), &json!("bnM="))
        );
        let token = STANDARD.decode(document["data"]["token"].as_str().unwrap()).unwrap();
        assert_eq!(token.split(|byte| *byte == b'.').count(), 3);
        let whole = json!({"ca.crt": "Y2E=", "namespace": "bnM=", "token": "eA=="});
        assert!(look(Some("u"), "u", whole.clone(), "9").writes.is_empty());
        assert_eq!(
            look(Some("other"), "u", whole.clone(), "9").why.to_string(),
            "the account of the token is gone"
        );
        assert_eq!(look(None, "u", whole.clone(), "9").writes.len(), 1);
        assert_eq!(look(None, "u", whole, "99").why.to_string(), "the account of the token may be new");
    }
}
