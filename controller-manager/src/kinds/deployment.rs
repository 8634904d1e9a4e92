//! A Deployment, as far as controllers look at it.

use std::sync::Arc;

use api_types::selectors::labels::Selector;
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

use crate::{claim::Selects, conditions::Condition, int_or_percent::IntOrPercent, template::Template};

use super::replica_set::replicas;

/// A Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: DeploymentSpec,
    /// What is.
    pub status: DeploymentStatus,
}

/// What is wanted of a Deployment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    /// How many Pods.
    #[serde(deserialize_with = "replicas")]
    pub replicas: i32,
    /// A Pod counts as available after it was ready for so many seconds.
    pub min_ready_seconds: i32,
    /// Nothing is rolled out.
    pub paused: bool,
    /// A rollout without progress for so many seconds has failed.
    pub progress_deadline_seconds: Option<i32>,
    /// So many old ReplicaSets are kept.
    pub revision_history_limit: Option<i32>,
    /// Which ReplicaSets are its own.
    pub selector: WrittenSelector,
    /// How new Pods replace old ones.
    pub strategy: Strategy,
    /// What a Pod looks like.
    pub template: Template,
}

/// A selector, as it was written and as it matches.
#[derive(Clone)]
pub struct WrittenSelector {
    json: Arc<str>,
    /// What it matches.
    pub selector: Selector,
}

/// How new Pods replace old ones.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    /// `RollingUpdate` or `Recreate`.
    pub r#type: Box<str>,
    /// How far a rolling update may go at a time.
    pub rolling_update: Option<RollingUpdate>,
}

/// How far a rolling update may go at a time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    /// So many Pods more than wanted.
    pub max_surge: Option<IntOrPercent>,
    /// So many Pods fewer than wanted.
    pub max_unavailable: Option<IntOrPercent>,
}

/// How a Deployment is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    /// The generation this tells about.
    pub observed_generation: i64,
    /// How many Pods there are.
    pub replicas: i32,
    /// How many of them have the newest template.
    pub updated_replicas: i32,
    /// How many of them are ready.
    pub ready_replicas: i32,
    /// How many of them have been ready for long enough.
    pub available_replicas: i32,
    /// How many are missing for that.
    pub unavailable_replicas: i32,
    /// How many more are on their way out.
    pub terminating_replicas: Option<i32>,
    /// How often the hash of a template was taken already.
    pub collision_count: Option<i32>,
    /// What is remarkable.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
}

// === impl Deployment ===

impl Kind for Deployment {
    const RESOURCE: Resource = resource::DEPLOYMENTS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Selects for Deployment {
    fn selector(&self) -> &Selector {
        &self.spec.selector.selector
    }
}

impl Deployment {
    /// Whether a rollout without progress fails.
    pub fn has_progress_deadline(&self) -> bool {
        self.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
    }

    /// How many Pods more and how many fewer than wanted there may be while it rolls.
    ///
    /// Both cannot be 0, or nothing would move: parts are rounded in favour of the surge, and if nothing is left, one may
    /// be missing, since more may not fit.
    pub fn fenceposts(&self) -> (i32, i32) {
        if !self.is_rolling() {
            return (0, 0);
        }
        let wanted = self.spec.replicas;
        let RollingUpdate { max_surge, max_unavailable } =
            self.spec.strategy.rolling_update.clone().unwrap_or_default();
        let surge = max_surge.map_or(0, |it| it.of_rounded_up(wanted));
        let unavailable = max_unavailable.map_or(0, |it| it.of_rounded_down(wanted));
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    /// So many Pods more than wanted there may be.
    pub fn max_surge(&self) -> i32 {
        self.fenceposts().0
    }

    /// So many of the wanted Pods may be missing.
    pub fn max_unavailable(&self) -> i32 {
        self.fenceposts().1.min(self.spec.replicas)
    }

    /// Whether new Pods replace old ones little by little.
    pub fn is_rolling(&self) -> bool {
        &*self.spec.strategy.r#type != "Recreate"
    }
}

impl Default for DeploymentSpec {
    fn default() -> Self {
        Self {
            replicas: 1,
            min_ready_seconds: 0,
            paused: false,
            progress_deadline_seconds: None,
            revision_history_limit: None,
            selector: WrittenSelector::default(),
            strategy: Strategy::default(),
            template: Template::default(),
        }
    }
}

// === impl WrittenSelector ===

impl Default for WrittenSelector {
    fn default() -> Self {
        Self { json: "null".into(), selector: Selector::nothing() }
    }
}

impl std::fmt::Debug for WrittenSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.json)
    }
}

impl<'de> Deserialize<'de> for WrittenSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let mut json = serde_json::Deserializer::from_str(raw.get());
        let selector = client::meta::selector(&mut json).map_err(serde::de::Error::custom)?;
        Ok(Self { json: raw.get().into(), selector })
    }
}

impl WrittenSelector {
    /// As it was written.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}
