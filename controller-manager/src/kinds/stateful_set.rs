//! A StatefulSet, as far as controllers look at it.

use std::sync::Arc;

use api_types::selectors::labels::Selector;
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

use super::{deployment::WrittenSelector, replica_set::replicas};
use crate::{claim::Selects, conditions::Condition, int_or_percent::IntOrPercent, template::Template};

/// A StatefulSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StatefulSet {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: StatefulSetSpec,
    /// What is.
    pub status: StatefulSetStatus,
}

/// What is wanted of a StatefulSet.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetSpec {
    /// How many Pods.
    #[serde(deserialize_with = "replicas")]
    pub replicas: i32,
    /// Which Pods are its own.
    pub selector: WrittenSelector,
    /// What a Pod looks like.
    pub template: Template,
    /// The Service in whose domain the Pods have names.
    pub service_name: Box<str>,
    /// `OrderedReady` or `Parallel`.
    pub pod_management_policy: Box<str>,
    /// How new Pods replace old ones.
    #[serde(deserialize_with = "null_is_default")]
    pub update_strategy: UpdateStrategy,
    /// So many old revisions are kept.
    pub revision_history_limit: Option<i32>,
    /// A Pod counts as available after it was ready for so many seconds.
    pub min_ready_seconds: i32,
    /// What becomes of the claims of Pods that are gone.
    #[serde(deserialize_with = "null_is_default")]
    pub persistent_volume_claim_retention_policy: RetentionPolicy,
    /// How the Pods are numbered.
    #[serde(deserialize_with = "null_is_default")]
    pub ordinals: Ordinals,
    /// The claims each Pod has.
    #[serde(deserialize_with = "null_is_default")]
    pub volume_claim_templates: Vec<ClaimTemplate>,
}

/// How new Pods replace old ones.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    pub r#type: Box<str>,
    /// How far a rolling update goes.
    pub rolling_update: Option<RollingUpdate>,
}

/// How far a rolling update goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    /// Pods below this number stay as they are.
    pub partition: Option<i32>,
    /// So many Pods may be missing.
    pub max_unavailable: Option<IntOrPercent>,
}

/// What becomes of the claims of Pods that are gone; each `Retain` or `Delete`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionPolicy {
    /// When the StatefulSet is deleted.
    pub when_deleted: Box<str>,
    /// When it gets smaller.
    pub when_scaled: Box<str>,
}

/// How the Pods are numbered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    /// The number of the first.
    pub start: i32,
}

/// A claim each Pod has.
#[derive(Clone, Debug)]
pub struct ClaimTemplate {
    /// Its name, which is that of the volume too.
    pub name: Box<str>,
    json: Arc<str>,
}

/// How a StatefulSet is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetStatus {
    /// The generation this tells about.
    pub observed_generation: i64,
    /// How many Pods there are.
    pub replicas: i32,
    /// How many of them are ready.
    pub ready_replicas: i32,
    /// How many of them are of the current revision.
    pub current_replicas: i32,
    /// How many of them are of the newest revision.
    pub updated_replicas: i32,
    /// How many of them have been ready for long enough.
    pub available_replicas: i32,
    /// The revision that all Pods had when the last update was done.
    pub current_revision: Box<str>,
    /// The revision of the wanted template.
    pub update_revision: Box<str>,
    /// How often the hash of a template was taken already.
    pub collision_count: Option<i32>,
    /// What is remarkable; no controller of ours sets any.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
}

// === impl StatefulSet ===

impl Default for StatefulSetSpec {
    fn default() -> Self {
        Self {
            replicas: 1,
            selector: WrittenSelector::default(),
            template: Template::default(),
            service_name: "".into(),
            pod_management_policy: "".into(),
            update_strategy: UpdateStrategy::default(),
            revision_history_limit: None,
            min_ready_seconds: 0,
            persistent_volume_claim_retention_policy: RetentionPolicy::default(),
            ordinals: Ordinals::default(),
            volume_claim_templates: Vec::new(),
        }
    }
}

impl Kind for StatefulSet {
    const RESOURCE: Resource = resource::STATEFUL_SETS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Selects for StatefulSet {
    fn selector(&self) -> &Selector {
        &self.spec.selector.selector
    }
}

impl StatefulSet {
    /// Whether Pods come and go one after the other, each waiting for those before it.
    pub fn is_ordered(&self) -> bool {
        &*self.spec.pod_management_policy != "Parallel"
    }

    /// Whether new Pods replace old ones without anybody deleting these.
    pub fn is_rolling(&self) -> bool {
        &*self.spec.update_strategy.r#type == "RollingUpdate"
    }

    /// The numbers its Pods have.
    pub fn ordinals(&self) -> std::ops::Range<i64> {
        let start = i64::from(self.spec.ordinals.start);
        start..start + i64::from(self.spec.replicas)
    }

    /// The name of the Pod with this number.
    pub fn pod_name(&self, ordinal: i64) -> String {
        format!("{}-{ordinal}", self.metadata.name)
    }

    /// The number of the Pod of this name, if it is a name of one of its Pods.
    pub fn ordinal_of(&self, pod: &str) -> Option<i64> {
        let digits = pod.strip_prefix(&*self.metadata.name)?.strip_prefix('-')?;
        let number: i32 =
            Some(digits).filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
        Some(number.into())
    }

    /// The name of a claim of the Pod with this number.
    pub fn claim_name(&self, template: &ClaimTemplate, ordinal: i64) -> String {
        format!("{}-{}-{ordinal}", template.name, self.metadata.name)
    }
}

// === impl ClaimTemplate ===

impl ClaimTemplate {
    /// The whole template.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for ClaimTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Head {
            metadata: Named,
        }
        #[derive(Deserialize)]
        struct Named {
            #[serde(default)]
            name: Box<str>,
        }

        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let head: Head = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
        Ok(Self { name: head.metadata.name, json: raw.get().into() })
    }
}
