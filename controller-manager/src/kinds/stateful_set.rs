//! A StatefulSet, as far as controllers look at it.

use client::{Kind, Meta, Resource, resource};
use serde::Deserialize;

use super::replica_set::replicas;

/// A StatefulSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StatefulSet {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: StatefulSetSpec,
}

/// What is wanted of a StatefulSet.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct StatefulSetSpec {
    /// How many Pods.
    #[serde(deserialize_with = "replicas")]
    pub replicas: i32,
}

impl Default for StatefulSetSpec {
    fn default() -> Self {
        Self { replicas: 1 }
    }
}

impl Kind for StatefulSet {
    const RESOURCE: Resource = resource::STATEFUL_SETS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
