//! A PodDisruptionBudget, as far as controllers look at it.

use std::collections::BTreeMap;

use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use jiff::Timestamp;
use serde::Deserialize;

use super::deployment::WrittenSelector;
use crate::{conditions::Condition, int_or_percent::IntOrPercent};

/// A PodDisruptionBudget.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodDisruptionBudget {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: PodDisruptionBudgetSpec,
    /// What is.
    pub status: PodDisruptionBudgetStatus,
}

/// What is wanted of a PodDisruptionBudget.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetSpec {
    /// So many Pods shall be healthy.
    pub min_available: Option<IntOrPercent>,
    /// So many Pods may not be healthy.
    pub max_unavailable: Option<IntOrPercent>,
    /// Which Pods.
    pub selector: WrittenSelector,
}

/// How a PodDisruptionBudget is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetStatus {
    /// The generation this tells about.
    pub observed_generation: i64,
    /// Pods whose eviction was granted, and when, until they are seen to go.
    #[serde(deserialize_with = "null_is_default")]
    pub disrupted_pods: BTreeMap<String, Timestamp>,
    /// So many Pods may be evicted now.
    pub disruptions_allowed: i32,
    /// So many Pods are healthy.
    pub current_healthy: i32,
    /// So many shall be.
    pub desired_healthy: i32,
    /// So many Pods there shall be.
    pub expected_pods: i32,
    /// What is remarkable.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
}

impl Kind for PodDisruptionBudget {
    const RESOURCE: Resource = resource::POD_DISRUPTION_BUDGETS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
