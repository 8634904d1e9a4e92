//! The ConfigMap in which every namespace finds the authority of the API server. No other ConfigMap is kept.

use std::collections::BTreeMap;

use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;

/// The ConfigMap `kube-root-ca.crt` of a namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RootCa {
    /// The metadata.
    pub metadata: Meta,
    /// The files.
    #[serde(deserialize_with = "null_is_default")]
    pub data: BTreeMap<String, String>,
}

// === impl RootCa ===

impl Kind for RootCa {
    const RESOURCE: Resource = resource::CONFIG_MAPS;
    const FIELD_SELECTOR: &'static str = "metadata.name=kube-root-ca.crt";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
