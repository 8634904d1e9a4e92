//! Bootstrap tokens, and the ConfigMap by which a machine that has only such a token finds its cluster. No other Secret
//! or ConfigMap is kept under these names, so whoever keeps them keeps them in caches of their own.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use jiff::Timestamp;
use serde::Deserialize;

/// A Secret that holds a bootstrap token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BootstrapToken {
    /// The metadata.
    pub metadata: Meta,
    /// What it holds, in base 64 as it came.
    #[serde(deserialize_with = "null_is_default")]
    data: BTreeMap<Box<str>, Box<str>>,
}

/// The ConfigMap `cluster-info`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClusterInfo {
    /// The metadata.
    pub metadata: Meta,
    /// A kubeconfig, and its signatures.
    #[serde(deserialize_with = "null_is_default")]
    pub data: BTreeMap<String, String>,
}

/// Until when a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Nobody has said.
    Never,
    /// Until then.
    At(Timestamp),
    /// What is said is no time: it is good no longer.
    Malformed,
}

// === impl BootstrapToken, ClusterInfo ===

impl Kind for BootstrapToken {
    const RESOURCE: Resource = resource::SECRETS;
    const FIELD_SELECTOR: &'static str = "type=bootstrap.kubernetes.io/token";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Kind for ClusterInfo {
    const RESOURCE: Resource = resource::CONFIG_MAPS;
    const FIELD_SELECTOR: &'static str = "metadata.name=cluster-info";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl BootstrapToken {
    /// A field of it; empty if it has none.
    pub fn text(&self, field: &str) -> String {
        let bytes = self.data.get(field).and_then(|text| STANDARD.decode(text.as_bytes()).ok());
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Until when it is good.
    pub fn expiry(&self) -> Expiry {
        let text = self.text("expiration");
        if text.is_empty() {
            return Expiry::Never;
        }
        text.parse().map_or(Expiry::Malformed, Expiry::At)
    }
}

impl Expiry {
    /// Whether it is past.
    pub fn is_past(self, now: Timestamp) -> bool {
        match self {
            Self::Never => false,
            Self::At(at) => at <= now,
            Self::Malformed => true,
        }
    }
}
