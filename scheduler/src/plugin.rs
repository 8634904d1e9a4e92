//! What a plugin is: one reason why a Pod can or cannot, should or should not go to a node.
//!
//! Where upstream's framework has a method an extension point and a state that passes between them, here the first of two
//! points makes the second: what a plugin computes once a Pod is a value that then judges nodes, so there is nothing to look
//! up and nothing that can be missing. PreFilter makes a [`Filter`], PreScore makes a [`Score`].
//!
//! A plugin is one file in `plugins/` and one line in its table.
//!
//! Invariant: pure. Plugins see a Pod, a snapshot and their own settings; no cache, no clock, no API.

use std::{borrow::Cow, collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use client::Key;
use serde_json::Value;

use crate::{
    cycle::{Found, Verdict},
    devices::{
        claim::{Plan, ResourceClaim},
        class::DeviceClass,
    },
    node::{Namespace, Node},
    pod::Pod,
    snapshot::{Others, Row, Snapshot},
};

/// The largest score a plugin gives a node, after normalisation and before its weight.
pub const SCORE_MAX: i64 = 100;

/// One reason.
pub trait Plugin: Debug + Send + Sync {
    /// As configuration and messages name it.
    fn name(&self) -> &'static str;

    /// Where it has a say.
    fn points(&self) -> &'static [Point];

    /// PreEnqueue: why a Pod may not even wait for its turn, if so, as things are.
    fn gate(&self, _pod: &Pod, _others: &Others) -> Option<String> {
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

    /// PostFilter: what would make room for a Pod that can go nowhere as things are.
    fn relieve(&self, _trouble: &Trouble<'_>) -> Relief {
        Relief::none(false, "")
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

    /// Reserve: what the Pod takes on its node beside what nodes are counted by; given back if it does not get there.
    ///
    /// # Errors
    /// Why it cannot have that after all.
    fn reserve(&self, _pod: &Pod, _row: Row, _snapshot: &Snapshot) -> Result<Vec<Holding>, Rejection> {
        Ok(Vec::new())
    }

    /// Permit: whether the Pod may be bound to the node now, later or not.
    fn permit(&self, _pod: &Pod, _node: &str) -> Permission {
        Permission::Granted
    }

    /// PreBind: what must be done, and waited for, before the Pod may be bound.
    fn before_binding(&self, _pod: &Pod, _node: &str, _held: &[Holding]) -> Vec<Preparation> {
        Vec::new()
    }

    /// PostBind: the Pod is bound.
    fn bound(&self, _pod: &Pod, _node: &str) {}

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
    /// What would make room?
    PostFilter,
    /// What makes a node good?
    PreScore,
    /// How good is this node?
    Score,
    /// What does it take there beside what nodes are counted by?
    Reserve,
    /// May it be bound now?
    Permit,
    /// What must be done before?
    PreBind,
    /// Who binds it?
    Bind,
    /// Who wants to know?
    PostBind,
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
    /// Whether the Pod can go there, or could if something were so.
    ///
    /// # Errors
    /// Why not.
    fn judge(&self, row: Row, what_if: &WhatIf<'_>) -> Result<(), Rejection>;

    /// Whether it looks at nothing but the Pod, the node and the Pods placed there, so that what it said holds until one of them
    /// changes.
    fn is_of_node(&self) -> bool {
        false
    }
}

/// Judges a node by nothing but the Pod, the node and the Pods placed there.
#[derive(Clone, Copy, Debug)]
pub struct OfNode<F>(pub F);

/// Pods that are imagined on a node beside those that are there, and Pods of it that are imagined gone.
#[derive(Clone, Debug, Default)]
pub struct WhatIf<'a> {
    /// These would be there.
    pub come: Vec<&'a Arc<Pod>>,
    /// These would not.
    pub gone: Vec<&'a Arc<Pod>>,
}

/// See [`Trouble::recall`].
pub type Recall<'a> = dyn Fn(Row, &dyn Fn() -> Result<Eviction, Rejection>) -> Found + 'a;

/// A Pod that can go nowhere, and all there is to find a way out.
pub struct Trouble<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// The nodes.
    pub snapshot: &'a Snapshot,
    /// The node that is kept free for it, if any.
    pub nominated: Option<&'a str>,
    /// The nodes where removing Pods could help, in the order they were looked at.
    pub hopeful: &'a [Row],
    /// What speaks against each node that was looked at; none were if somebody said before that none will do.
    pub rejected: &'a [Verdict],
    /// Who said so.
    pub ruled_out_by: Option<&'static str>,
    /// Judges nodes as all filters do; the Pods that others are nominated for are counted.
    pub judge: &'a dyn Fn(Row, &WhatIf<'_>) -> Result<(), Rejection>,
    /// Who must go from a node, as was found before for a Pod like this and has not changed since, or as is found now.
    pub recall: &'a Recall<'a>,
    /// Any number: where to begin.
    pub lot: u64,
}

/// A way out, or none.
#[derive(Clone, Debug)]
pub enum Relief {
    /// A node is kept free for the Pod after these have gone from it.
    Room(Eviction),
    /// Nothing helps, at least for now.
    None {
        /// Whether no node needs to be kept free for the Pod any more.
        gives_up: bool,
        /// Why, for people.
        message: String,
    },
    /// Nothing helps now, but something may later if this is done.
    Later {
        /// What.
        remedy: Remedy,
        /// What people are told.
        message: String,
    },
    /// It cannot be found out, and nobody else is asked.
    Failed {
        /// Why, for people.
        message: String,
    },
}

/// Something that may help a Pod later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The devices of a claim are given back, so that it can have others.
    Deallocate(Key, Box<str>),
    /// A claim that was made for a Pod's extended resources goes, so that another can be made.
    Delete(Key, Box<str>),
}

/// Who must go, from where.
#[derive(Clone, Debug)]
pub struct Eviction {
    /// The node.
    pub node: Arc<str>,
    /// The more important first.
    pub victims: Vec<Arc<Pod>>,
    /// How many of them a PodDisruptionBudget would keep.
    pub violations: usize,
}

/// Something beside what nodes are counted by that a Pod takes when it goes to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Holding {
    /// A PersistentVolume, for one of the Pod's claims.
    Volume {
        /// Its name.
        volume: Arc<str>,
        /// The claim.
        claim: Key,
    },
    /// A volume yet to be made for one of the Pod's claims, on the Pod's node.
    Provision {
        /// The claim.
        claim: Key,
        /// The node.
        node: Arc<str>,
    },
    /// A claim for devices, and those that are on their way to it.
    Devices(Arc<DeviceHolding>),
}

/// A claim for devices that a Pod is to use.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceHolding {
    /// The claim; without a name if it is yet to be made.
    pub key: Key,
    /// Its uid, or something like it if it is yet to be made.
    pub uid: Box<str>,
    /// The devices; none if it has them already.
    pub plan: Option<Plan>,
    /// What it is made of, if it is yet to be made.
    pub extended: Option<ExtendedClaim>,
}

/// A claim that is yet to be made for the extended resources of a Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtendedClaim {
    /// Its requests, as its spec has them.
    pub requests: Value,
    /// Which of them is for which container, as the Pod's status has it.
    pub mappings: Value,
}

/// Whether a Pod may be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Now.
    Granted,
    /// After so long.
    After(Duration),
    /// Not there.
    Denied(Rejection),
}

/// Something to be done before a Pod is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// Its claims get the volumes that are held for them, within a time.
    Volumes {
        /// How long it may take.
        patience: Duration,
    },
    /// Its claims get the devices that are held for them, and it is waited until these are ready.
    Devices {
        /// How long that may take.
        patience: Duration,
    },
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
    /// It cannot be found out: nothing more is tried, and the Pod has another turn after a while.
    pub is_error: bool,
}

// === impl WhatIf ===

impl WhatIf<'_> {
    /// Whether all is as it is.
    pub fn is_nothing(&self) -> bool {
        self.come.is_empty() && self.gone.is_empty()
    }

    /// How much more of something there would be.
    pub fn more(&self, of_pod: impl Fn(&Pod) -> i64) -> i64 {
        let sum = |pods: &[&Arc<Pod>]| pods.iter().map(|pod| of_pod(pod)).fold(0, i64::saturating_add);
        sum(&self.come).saturating_sub(sum(&self.gone))
    }

    /// The Pods that would be on a node.
    pub fn pods<'s>(&'s self, snapshot: &'s Snapshot, row: Row) -> impl Iterator<Item = &'s Arc<Pod>> {
        let is_gone = |pod: &&Arc<Pod>| self.gone.iter().any(|gone| gone.uid() == pod.uid());
        snapshot.pods(row).filter(move |pod| !is_gone(pod)).chain(self.come.iter().copied())
    }
}

// === impl Relief ===

impl Relief {
    /// Nothing helps.
    pub fn none(gives_up: bool, message: impl Into<String>) -> Self {
        Self::None { gives_up, message: message.into() }
    }
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
    /// Something about volumes changed.
    Storage(StorageEvent),
    /// Something about devices changed.
    Devices(DeviceEvent),
    /// The waiting Pod itself changed.
    OwnUpdate {
        /// As it was.
        old: Arc<Pod>,
        /// As it is.
        new: Arc<Pod>,
    },
}

/// Something about volumes came or changed; nothing that goes makes a Pod schedulable, but for attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageEvent {
    /// This claim.
    Claim(Key),
    /// Some volume.
    Volume,
    /// A class of volumes.
    Class,
    /// What drivers a node has.
    NodeDrivers,
    /// A driver.
    Driver,
    /// How much can be provisioned somewhere.
    Capacity,
    /// A volume was detached.
    Detached,
}

/// Something about devices came or changed.
#[derive(Clone, Debug)]
pub enum DeviceEvent {
    /// A claim.
    Claim {
        /// As it was, if it is not new.
        old: Option<Arc<ResourceClaim>>,
        /// As it is.
        new: Arc<ResourceClaim>,
    },
    /// Devices are free that were believed to be taken.
    Freed,
    /// What devices there are.
    Slice,
    /// A class of devices.
    Class {
        /// As it was, if it is not new.
        old: Option<Arc<DeviceClass>>,
        /// As it is.
        new: Arc<DeviceClass>,
    },
}

// === impl DeviceEvent ===

impl DeviceEvent {
    /// As metrics name it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Claim { old: None, .. } => "ResourceClaimAdd",
            Self::Claim { .. } | Self::Freed => "ResourceClaimUpdate",
            Self::Slice => "ResourceSliceUpdate",
            Self::Class { .. } => "DeviceClassUpdate",
        }
    }
}

// === impl StorageEvent ===

impl StorageEvent {
    /// As metrics name it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Claim(_) => "PvcUpdate",
            Self::Volume => "PvUpdate",
            Self::Class => "StorageClassUpdate",
            Self::NodeDrivers => "CSINodeUpdate",
            Self::Driver => "CSIDriverUpdate",
            Self::Capacity => "CSIStorageCapacityUpdate",
            Self::Detached => "VolumeAttachmentDelete",
        }
    }
}

// === impl Rejection ===

impl Rejection {
    /// Removing other Pods could help.
    pub fn for_now(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: vec![reason.into()], preemption_may_help: true, is_error: false }
    }

    /// Removing other Pods cannot help.
    pub fn for_good(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: vec![reason.into()], preemption_may_help: false, is_error: false }
    }

    /// It cannot be found out.
    pub fn error(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: vec![reason.into()], preemption_may_help: false, is_error: true }
    }
}

// === impl Filter ===

impl<F: Fn(Row, &WhatIf<'_>) -> Result<(), Rejection>> Filter for F {
    fn judge(&self, row: Row, what_if: &WhatIf<'_>) -> Result<(), Rejection> {
        self(row, what_if)
    }
}

impl<F: Fn(Row, &WhatIf<'_>) -> Result<(), Rejection>> Filter for OfNode<F> {
    fn judge(&self, row: Row, what_if: &WhatIf<'_>) -> Result<(), Rejection> {
        self.0(row, what_if)
    }

    fn is_of_node(&self) -> bool {
        true
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
            Self::Storage(event) => event.label(),
            Self::Devices(event) => event.label(),
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
