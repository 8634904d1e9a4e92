//! A ClusterRole, as far as controllers look at it.

use api_types::selectors::labels::Selector;
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;
use serde_json::Value;

/// A ClusterRole.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterRole {
    /// The metadata.
    pub metadata: Meta,
    /// What it allows.
    #[serde(deserialize_with = "null_is_default")]
    pub rules: Vec<Value>,
    /// Of which others it is made, if it is.
    pub aggregation_rule: Option<AggregationRule>,
}

/// Of which others a ClusterRole is made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AggregationRule {
    /// Those that any of these match.
    #[serde(deserialize_with = "null_is_default")]
    pub cluster_role_selectors: Vec<RoleSelector>,
}

/// What matches ClusterRoles.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct RoleSelector(#[serde(deserialize_with = "client::meta::selector")] pub Selector);

// === impl ClusterRole ===

impl Kind for ClusterRole {
    const RESOURCE: Resource = resource::CLUSTER_ROLES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
