//! Tokens of other issuers (OpenID Connect): `--oidc-*` and the `jwt` of `--authentication-config`.
//!
//! An issuer's keys are found by discovery, in the background: a server starts without its issuers, and an issuer may run in
//! the cluster it vouches for. Invariant: nothing here looks at objects of the cluster.

pub mod configuration;
pub mod expressions;
pub mod issuer;
pub mod keys;
pub mod reload;

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use self::issuer::Issuer;
use super::user::User;

/// All issuers whose tokens are good; they can be replaced at any time.
#[derive(Debug, Default)]
pub struct Issuers(ArcSwap<Vec<Arc<Issuer>>>);

// === impl Issuers ===

impl Issuers {
    /// These.
    pub fn new(issuers: Vec<Arc<Issuer>>) -> Self {
        Self(ArcSwap::from_pointee(issuers))
    }

    /// From now on these and no others.
    pub fn replace(&self, issuers: Vec<Arc<Issuer>>) {
        self.0.store(Arc::new(issuers));
    }

    /// Whom a token stands for; `None` if it is of none of them.
    ///
    /// # Errors
    /// It is of one of them and not good, and why.
    pub async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Option<User>, String> {
        let issuers = self.0.load_full();
        for issuer in issuers.iter() {
            if let Some(user) = issuer.authenticate(token, now).await? {
                return Ok(Some(user));
            }
        }
        Ok(None)
    }
}
