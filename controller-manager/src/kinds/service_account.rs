//! A ServiceAccount, as far as controllers look at it.

use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;

/// A ServiceAccount.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    /// The metadata.
    pub metadata: Meta,
    /// The Secrets it says are its own; the tokens that were once made for every account are.
    #[serde(deserialize_with = "null_is_default")]
    pub secrets: Box<[SecretRef]>,
}

/// A Secret of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SecretRef {
    /// Its name.
    pub name: Box<str>,
}

// === impl ServiceAccount ===

impl Kind for ServiceAccount {
    const RESOURCE: Resource = resource::SERVICE_ACCOUNTS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
