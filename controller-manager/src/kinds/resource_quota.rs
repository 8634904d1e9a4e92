//! A ResourceQuota, as far as controllers look at it.

use api_types::quota::scopes::{self, Requirement, Selector};
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
    pub scope_selector: Selector,
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
    pub fn requirements(&self) -> Vec<Requirement> {
        scopes::requirements(&self.spec.scopes, &self.spec.scope_selector)
    }
}
