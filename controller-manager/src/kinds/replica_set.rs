//! A ReplicaSet, as far as controllers look at it.

use api_types::selectors::labels::Selector;
use client::{Index, Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;

use crate::{
    claim::{self, Selects},
    conditions::Condition,
    template::Template,
};

/// A ReplicaSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: ReplicaSetSpec,
    /// What is.
    pub status: ReplicaSetStatus,
}

/// What is wanted of a ReplicaSet.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetSpec {
    /// How many Pods.
    #[serde(deserialize_with = "replicas")]
    pub replicas: i32,
    /// A Pod counts as available after it was ready for so many seconds.
    pub min_ready_seconds: i32,
    /// Which Pods are its own.
    #[serde(deserialize_with = "client::meta::selector")]
    pub selector: Selector,
    /// What a Pod looks like.
    pub template: Template,
}

/// How a ReplicaSet is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    /// How many Pods there are.
    pub replicas: i32,
    /// How many of them have all labels of the template.
    pub fully_labeled_replicas: i32,
    /// How many of them are ready.
    pub ready_replicas: i32,
    /// How many of them have been ready for long enough.
    pub available_replicas: i32,
    /// How many more are on their way out.
    pub terminating_replicas: Option<i32>,
    /// The generation this tells about.
    pub observed_generation: i64,
    /// What is remarkable.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
}

/// Reads `spec.replicas`, which is 1 if nobody says otherwise.
///
/// # Errors
/// When it is no number.
pub fn replicas<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    Ok(Option::<i32>::deserialize(deserializer)?.unwrap_or(1))
}

// === impl ReplicaSet ===

impl Kind for ReplicaSet {
    const RESOURCE: Resource = resource::REPLICA_SETS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes() -> Vec<Index<Self>> {
        vec![claim::orphans()]
    }
}

impl Selects for ReplicaSet {
    fn selector(&self) -> &Selector {
        &self.spec.selector
    }
}

impl Default for ReplicaSetSpec {
    fn default() -> Self {
        Self {
            replicas: 1,
            min_ready_seconds: 0,
            selector: Selector::nothing(),
            template: Template::default(),
        }
    }
}
