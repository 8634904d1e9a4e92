//! A Secret that holds a ServiceAccount's token, as far as controllers look at it. No other Secret is kept.

use std::collections::BTreeMap;

use client::{Index, Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;

/// The annotation that names the ServiceAccount.
pub const ACCOUNT: &str = "kubernetes.io/service-account.name";
/// The annotation with its uid.
pub const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// The index of token Secrets by their account, `namespace/name`.
pub const BY_ACCOUNT: &str = "account";

/// A Secret that holds a ServiceAccount's token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TokenSecret {
    /// The metadata.
    pub metadata: Meta,
    /// What it holds, in base 64 as it came.
    #[serde(deserialize_with = "null_is_default")]
    pub data: BTreeMap<Box<str>, Box<str>>,
}

// === impl TokenSecret ===

impl Kind for TokenSecret {
    const RESOURCE: Resource = resource::SECRETS;
    const FIELD_SELECTOR: &'static str = "type=kubernetes.io/service-account-token";

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes() -> Vec<Index<Self>> {
        vec![Index {
            name: BY_ACCOUNT,
            values: |secret| {
                let account = secret.metadata.annotations.get(ACCOUNT);
                account
                    .map(|name| format!("{}/{name}", secret.metadata.namespace).into())
                    .into_iter()
                    .collect()
            },
        }]
    }
}
