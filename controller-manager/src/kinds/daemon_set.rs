//! A DaemonSet, as far as controllers look at it.

use api_types::selectors::labels::Selector;
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;

use super::deployment::Strategy;
use crate::{claim::Selects, template::Template};

/// A DaemonSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DaemonSet {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: DaemonSetSpec,
    /// What is.
    pub status: DaemonSetStatus,
}

/// What is wanted of a DaemonSet.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetSpec {
    /// Which Pods are its own.
    #[serde(deserialize_with = "client::meta::selector")]
    pub selector: Selector,
    /// What a Pod looks like.
    pub template: Template,
    /// How new Pods replace old ones: `RollingUpdate` or `OnDelete`.
    #[serde(deserialize_with = "null_is_default")]
    pub update_strategy: Strategy,
    /// A Pod counts as available after it was ready for so many seconds.
    pub min_ready_seconds: i32,
    /// So many old revisions are kept.
    pub revision_history_limit: Option<i32>,
}

/// How a DaemonSet is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetStatus {
    /// On how many nodes that shall have a Pod there is one.
    pub current_number_scheduled: i32,
    /// On how many nodes that shall have none there is one.
    pub number_misscheduled: i32,
    /// How many nodes shall have a Pod.
    pub desired_number_scheduled: i32,
    /// On how many of them it is ready.
    pub number_ready: i32,
    /// The generation this tells about.
    pub observed_generation: i64,
    /// On how many of them it has the newest template.
    pub updated_number_scheduled: i32,
    /// On how many of them it has been ready for long enough.
    pub number_available: i32,
    /// How many are missing for that.
    pub number_unavailable: i32,
    /// How often the hash of a template was taken already.
    pub collision_count: Option<i32>,
}

// === impl DaemonSet ===

impl Default for DaemonSetSpec {
    fn default() -> Self {
        Self {
            selector: Selector::nothing(),
            template: Template::default(),
            update_strategy: Strategy::default(),
            min_ready_seconds: 0,
            revision_history_limit: None,
        }
    }
}

impl Kind for DaemonSet {
    const RESOURCE: Resource = resource::DAEMON_SETS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Selects for DaemonSet {
    fn selector(&self) -> &Selector {
        &self.spec.selector
    }
}

impl DaemonSet {
    /// Whether new Pods replace old ones without anybody deleting these.
    pub fn is_rolling(&self) -> bool {
        &*self.spec.update_strategy.r#type == "RollingUpdate"
    }

    /// So many nodes may have a second Pod during an update, and so many may be without an available one, of all that
    /// shall have one.
    pub fn fenceposts(&self, nodes: i32) -> (i32, i32) {
        let rolling = self.spec.update_strategy.rolling_update.as_ref().filter(|_| self.is_rolling());
        let surge = rolling.and_then(|it| it.max_surge).map_or(0, |it| it.of_rounded_up(nodes));
        let unavailable = rolling.and_then(|it| it.max_unavailable).map_or(0, |it| it.of_rounded_up(nodes));
        // Both cannot be 0, or nothing would move.
        if nodes > 0 && surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    /// Whether a node may have two Pods during an update.
    pub fn surges(&self) -> bool {
        self.fenceposts(1).0 > 0
    }

    /// Counts templates, as the extensions API did: Pods carry the number they were made with.
    pub fn template_generation(&self) -> Option<i64> {
        self.metadata.annotations.get("deprecated.daemonset.template.generation")?.parse().ok()
    }
}
