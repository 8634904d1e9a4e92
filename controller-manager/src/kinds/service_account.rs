//! A ServiceAccount, as far as controllers look at it.

use client::{Kind, Meta, Resource, resource};
use serde::Deserialize;

/// A ServiceAccount.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    /// The metadata.
    pub metadata: Meta,
}

// === impl ServiceAccount ===

impl Kind for ServiceAccount {
    const RESOURCE: Resource = resource::SERVICE_ACCOUNTS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
