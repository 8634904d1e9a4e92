//! Token cleaner: bootstrap tokens go when they are no longer good. Off unless asked for, as upstream.

use std::sync::Arc;

use client::{Caches, Controller, Key, Kind, Plan, Triggers, controller::Request, resource::SECRETS};
use jiff::Timestamp;

use crate::kinds::{BootstrapToken, bootstrap_token::Expiry};

/// The namespace of the tokens.
const NAMESPACE: &str = "kube-system";

/// Removes tokens.
#[derive(Debug)]
pub struct TokenCleaner;

impl Controller for TokenCleaner {
    type Root = BootstrapToken;
    type Observed = Arc<BootstrapToken>;
    const NAME: &'static str = "token-cleaner";

    fn triggers(&self, on: &mut Triggers<BootstrapToken>) {
        on.mapped::<BootstrapToken>(|token, _| {
            if &*token.metadata.namespace == NAMESPACE { vec![token.key()] } else { Vec::new() }
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Self::Observed> {
        caches.read::<BootstrapToken>().get(root)
    }

    fn reconcile(&self, token: &Self::Observed, now: Timestamp) -> Plan {
        let expiry = token.expiry();
        if expiry.is_past(now) {
            return Plan::because("the token is no longer good")
                .then(Request::delete(SECRETS, &token.metadata));
        }
        match expiry {
            Expiry::At(at) => Plan::because("the token is still good").look_again_at(at, now),
            Expiry::Never | Expiry::Malformed => Plan::because("the token is good for ever"),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use client::testing::Filled;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_goes_when_it_is_no_longer_good() {
        for (expiration, deletes, look_again) in [
            ("", 0, None),
            ("2026-01-01T00:00:30Z", 0, Some(30)),
            ("2026-01-01T01:00:30+01:00", 0, Some(30)),
            ("2026-01-01T00:00:00Z", 1, None),
            ("soon", 1, None),
        ] {
            let token = json!({"metadata": {"namespace": NAMESPACE, "name": "bootstrap-token-abcdef", "uid": "t"},
                "data": {"expiration": STANDARD.encode(expiration)}});
            let caches = Filled::new().with::<BootstrapToken>([token]).caches();
            let token =
                TokenCleaner.observe(&Key::new(NAMESPACE, "bootstrap-token-abcdef"), &caches).unwrap();
            let plan = TokenCleaner.reconcile(&token, "2026-01-01T00:00:00Z".parse().unwrap());
            let seconds = plan.look_again.map(|delay| delay.as_secs());
            assert_eq!((plan.writes.len(), seconds), (deletes, look_again), "{expiration}");
        }
    }
}
