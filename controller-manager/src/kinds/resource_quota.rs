//! A ResourceQuota, as far as controllers look at it.

use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;

use crate::resources::Amounts;

/// A ResourceQuota.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResourceQuota {
    /// The metadata.
    pub metadata: Meta,
    /// What is allowed.
    pub spec: QuotaSpec,
    /// What is used.
    pub status: QuotaStatus,
}

/// What is allowed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QuotaSpec {
    /// So much of each resource.
    #[serde(deserialize_with = "null_is_default")]
    pub hard: Amounts,
    /// Only of objects that are in all of these scopes.
    #[serde(deserialize_with = "null_is_default")]
    pub scopes: Vec<Box<str>>,
    /// And of those that meet all of this.
    #[serde(deserialize_with = "null_is_default")]
    pub scope_selector: ScopeSelector,
}

/// Requirements of scopes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeSelector {
    /// All of them must hold.
    #[serde(deserialize_with = "null_is_default")]
    pub match_expressions: Vec<ScopeRequirement>,
}

/// A requirement of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeRequirement {
    /// Which scope.
    pub scope_name: Box<str>,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: Box<str>,
    /// The values.
    #[serde(deserialize_with = "null_is_default")]
    pub values: Vec<Box<str>>,
}

/// What is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct QuotaStatus {
    /// What is allowed, as it was when that was counted.
    pub hard: Option<Amounts>,
    /// So much of each resource.
    pub used: Option<Amounts>,
}

// === impl ResourceQuota ===

impl Kind for ResourceQuota {
    const RESOURCE: Resource = resource::RESOURCE_QUOTAS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl ResourceQuota {
    /// Every requirement of scopes: those that are named, as requirements that they hold, and the selector's.
    pub fn requirements(&self) -> Vec<ScopeRequirement> {
        let named = self.spec.scopes.iter().map(|scope| ScopeRequirement {
            scope_name: scope.clone(),
            operator: "Exists".into(),
            values: Vec::new(),
        });
        named.chain(self.spec.scope_selector.match_expressions.iter().cloned()).collect()
    }
}
