//! What a plugin is: one reason why a Pod can or cannot, should or should not go to a node.
//!
//! Where upstream's framework has a method an extension point and a state that passes between them, here the first of two
//! points makes the second: what a plugin computes once a Pod is a value that then judges nodes, so there is nothing to look
//! up and nothing that can be missing. PreFilter makes a [`Filter`], PreScore makes a [`Score`].
//!
//! A plugin is one file in `plugins/` and one line in its table.
//!
//! Invariant: pure. Plugins see a Pod, a snapshot and their own settings; no cache, no clock, no API.

use std::{borrow::Cow, collections::BTreeSet, fmt::Debug, sync::Arc};

use crate::{
    node::{Namespace, Node},
    pod::Pod,
    snapshot::{Row, Snapshot},
};

/// The largest score a plugin gives a node, after normalisation and before its weight.
pub const SCORE_MAX: i64 = 100;

/// One reason.
pub trait Plugin: Debug + Send + Sync {
    /// As configuration and messages name it.
    fn name(&self) -> &'static str;

    /// Where it has a say.
    fn points(&self) -> &'static [Point];

    /// PreEnqueue: why a Pod may not even wait for its turn, if so.
    fn gate(&self, _pod: &Pod) -> Option<String> {
        None
    }

    /// QueueSort: more goes first; equals go in the order they came.
    fn urgency(&self, _pod: &Pod) -> i64 {
        0
    }

    /// PreFilter: what judges nodes for this Pod.
    fn filter<'a>(&'a self, _pod: &'a Pod, _snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        Ok(Filtering::Skip)
    }

    /// PreScore: what compares these nodes for this Pod; none if it does not care.
    fn score<'a>(
        &'a self,
        _pod: &'a Pod,
        _snapshot: &'a Snapshot,
        _feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        None
    }

    /// How much its scores count if configuration does not say.
    fn weight(&self) -> i64 {
        1
    }

    /// Queueing hint: whether something that happened may undo this plugin's rejection of a Pod. When in doubt, yes: no
    /// would leave the Pod waiting.
    fn may_help(&self, _pod: &Pod, _event: &ClusterEvent) -> bool {
        true
    }
}

/// Where plugins have a say, in the order a Pod meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// May it wait for its turn?
    PreEnqueue,
    /// Whose turn is it?
    QueueSort,
    /// What must hold of a node?
    PreFilter,
    /// Does it hold of this node?
    Filter,
    /// What makes a node good?
    PreScore,
    /// How good is this node?
    Score,
}

/// What judges nodes.
pub enum Filtering<'a> {
    /// Every node will do.
    Skip,
    /// Ask this.
    All(Box<dyn Filter + 'a>),
    /// Ask this, of these nodes only: no other can do.
    Only(BTreeSet<&'a str>, Box<dyn Filter + 'a>),
}

/// Judges nodes for one Pod.
pub trait Filter {
    /// Whether the Pod can go there.
    ///
    /// # Errors
    /// Why not.
    fn judge(&self, row: Row) -> Result<(), Rejection>;
}

/// Compares nodes for one Pod.
pub trait Score {
    /// How good a node is, in units of the plugin's own.
    fn rate(&self, row: Row) -> i64;

    /// Brings the scores of all nodes to 0..=[`SCORE_MAX`].
    fn normalise(&self, _scores: &mut [i64]) {}
}

/// Why a Pod cannot go to a node, or to any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// In words, each counted by itself in the message to the user.
    pub reasons: Vec<Cow<'static, str>>,
    /// Whether removing other Pods could help: only then is preemption tried there.
    pub preemption_may_help: bool,
}

/// Something that happened to the cluster and may make a waiting Pod schedulable.
#[derive(Clone, Debug)]
pub enum ClusterEvent {
    /// A node came.
    NodeAdded(Arc<Node>),
    /// A node changed.
    NodeUpdated {
        /// As it was.
        old: Arc<Node>,
        /// As it is.
        new: Arc<Node>,
    },
    /// A node went.
    NodeDeleted(Arc<Node>),
    /// A Pod was bound to a node.
    PodAssigned(Arc<Pod>),
    /// A Pod on a node changed.
    PodUpdated {
        /// As it was.
        old: Arc<Pod>,
        /// As it is.
        new: Arc<Pod>,
    },
    /// A Pod left its node, or will not go there after all.
    PodRemoved(Arc<Pod>),
    /// The labels of a namespace changed.
    NamespaceUpdated(Arc<Namespace>),
    /// The waiting Pod itself changed.
    OwnUpdate {
        /// As it was.
        old: Arc<Pod>,
        /// As it is.
        new: Arc<Pod>,
    },
}

// === impl Rejection ===

impl Rejection {
    /// Removing other Pods could help.
    pub fn for_now(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: vec![reason.into()], preemption_may_help: true }
    }

    /// Removing other Pods cannot help.
    pub fn for_good(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: vec![reason.into()], preemption_may_help: false }
    }
}

// === impl Filter ===

impl<F: Fn(Row) -> Result<(), Rejection>> Filter for F {
    fn judge(&self, row: Row) -> Result<(), Rejection> {
        self(row)
    }
}

// === impl ClusterEvent ===

impl ClusterEvent {
    /// As metrics name it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NodeAdded(_) => "NodeAdd",
            Self::NodeUpdated { .. } => "NodeUpdate",
            Self::NodeDeleted(_) => "NodeDelete",
            Self::PodAssigned(_) => "AssignedPodAdd",
            Self::PodUpdated { .. } => "AssignedPodUpdate",
            Self::PodRemoved(_) => "AssignedPodDelete",
            Self::NamespaceUpdated(_) => "NamespaceUpdate",
            Self::OwnUpdate { .. } => "UnscheduledPodUpdate",
        }
    }

    /// The node that came or changed, before and after.
    pub fn node_change(&self) -> Option<(Option<&Node>, &Node)> {
        match self {
            Self::NodeAdded(new) => Some((None, new)),
            Self::NodeUpdated { old, new } => Some((Some(old), new)),
            _ => None,
        }
    }

    /// Whether a node became what `is_good` says, or came being it.
    pub fn node_becomes(&self, is_good: impl Fn(&Node) -> bool) -> bool {
        self.node_change().is_some_and(|(old, new)| is_good(new) && !old.is_some_and(is_good))
    }
}

/// Brings scores to 0..=[`SCORE_MAX`] in proportion to the largest; upside down if less is better.
pub fn normalise(scores: &mut [i64], less_is_better: bool) {
    let largest = scores.iter().copied().max().unwrap_or_default();
    for score in scores {
        let share = if largest == 0 { 0 } else { SCORE_MAX.saturating_mul(*score) / largest };
        *score = if less_is_better { SCORE_MAX - share } else { share };
    }
}
