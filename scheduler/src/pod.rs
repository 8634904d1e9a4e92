//! A Pod, as far as scheduling looks at it.
//!
//! Invariant: everything is computed once, when the Pod is read from the wire; a cycle only compares numbers. Terms that
//! cannot be read match nothing, as upstream has it.

mod affinity;
mod raw;
mod requests;
mod spread;
mod tolerations;
mod volumes;

pub use affinity::{NodeSelector, NodeTerm, PreferredTerm};
pub use spread::{PodTerm, PodTerms, Policy, SpreadConstraint, WeightedPodTerm, WhenUnsatisfiable};
pub use tolerations::{Effect, Taint, Toleration, untolerated};
pub use volumes::PodVolume;

use client::{Key, Kind, Labels, Meta, Resource, resource};
use serde::Deserialize;

use crate::resources::Resources;

/// The reason of a `PodScheduled` condition.
pub const POD_SCHEDULED: &str = "PodScheduled";
/// The reason of the `DisruptionTarget` condition of a Pod that a more important one displaces.
pub const PREEMPTED: &str = "PreemptionByScheduler";

/// A Pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "raw::Pod")]
pub struct Pod {
    /// The metadata.
    pub metadata: Meta,
    /// Who schedules it.
    pub scheduler_name: Box<str>,
    /// The node it is bound to, empty if none.
    pub node_name: Box<str>,
    /// The node that is kept free for it, empty if none.
    pub nominated_node_name: Box<str>,
    /// More important Pods go first.
    pub priority: i32,
    /// What must happen before it may be scheduled.
    pub gates: Box<[Box<str>]>,
    /// What it asks of a node.
    pub requests: Resources,
    /// What scores count of it: CPU in thousandths and memory in bytes, where nothing is asked for a little.
    pub scored: (i64, i64),
    /// Labels a node must have.
    pub node_selector: Labels,
    /// What else a node must have.
    pub required_nodes: Option<NodeSelector>,
    /// What a node should have.
    pub preferred_nodes: Box<[PreferredTerm]>,
    /// How Pods like it are to be spread.
    pub spread: Box<[SpreadConstraint]>,
    /// Which Pods it wants near.
    pub near: PodTerms,
    /// Which Pods it wants far.
    pub far: PodTerms,
    /// Which taints it stands.
    pub tolerations: Box<[Toleration]>,
    /// Ports it takes on the node.
    pub host_ports: Box<[HostPort]>,
    /// The images of its containers and image volumes, with a tag.
    pub images: Box<[Box<str>]>,
    /// How many containers it has, initial ones included.
    pub containers: usize,
    /// Those of its volumes that limit where it can go.
    pub volumes: Box<[PodVolume]>,
    /// Devices it needs.
    pub claims: Box<[DeviceClaim]>,
    /// What its containers ask for, if any of them asks for what may be devices.
    pub extended: Box<[ContainerAsk]>,
    /// What it makes use of that not every node knows.
    pub features: Box<[&'static str]>,
    /// No Pod goes for this one.
    pub never_preempts: bool,
    /// When its node began with it.
    pub started: Option<jiff::Timestamp>,
    /// It was told to go for a more important one.
    pub is_preempted: bool,
    /// It has ended: it takes no place any more.
    pub ended: bool,
    /// What is said of its scheduling so far.
    pub condition: Option<Condition>,
}

/// A port on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// The port.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Box<str>,
    /// The address, `0.0.0.0` for all.
    pub address: Box<str>,
}

/// A ResourceClaim of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceClaim {
    /// As the Pod calls it.
    pub name: Box<str>,
    /// The object; none if it is yet to be made.
    pub object: Option<Box<str>>,
    /// It is made for this Pod alone.
    pub is_of_pod: bool,
}

/// What a container asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerAsk {
    /// Its name.
    pub name: Box<str>,
    /// Its number, initial ones first.
    pub number: usize,
    /// It has ended before containers with a higher number begin.
    pub ends_before_others: bool,
    /// What it asks for, by name and sorted so.
    pub requests: Box<[(Box<str>, i64)]>,
}

/// The `PodScheduled` condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: Box<str>,
    /// For machines.
    pub reason: Box<str>,
    /// For people.
    pub message: Box<str>,
    /// The generation it speaks of.
    pub observed_generation: i64,
    /// Since when.
    pub last_transition_time: Option<jiff::Timestamp>,
}

// === impl Pod ===

impl Kind for Pod {
    const RESOURCE: Resource = resource::PODS;

    const FIELD_SELECTOR: &'static str = "status.phase!=Succeeded,status.phase!=Failed";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Pod {
    /// Tells this Pod from an earlier one of the same name.
    pub fn uid(&self) -> &str {
        &self.metadata.uid
    }

    /// Its place.
    pub fn key(&self) -> Key {
        self.metadata.key()
    }

    /// Whether it is bound to a node.
    pub fn is_assigned(&self) -> bool {
        !self.node_name.is_empty()
    }

    /// Whether it wants other Pods near or far.
    pub fn is_choosy(&self) -> bool {
        !(self.near.is_empty() && self.far.is_empty())
    }

    /// What must go first when not all can stay: the more important later, and of equals those that run longer.
    pub fn importance(&self) -> (i32, std::cmp::Reverse<jiff::Timestamp>) {
        (self.priority, std::cmp::Reverse(self.started.unwrap_or(jiff::Timestamp::MAX)))
    }

    /// Whether a change is of no interest: nothing that decides where the Pod can go.
    pub fn schedules_like(&self, other: &Self) -> bool {
        self.metadata.labels == other.metadata.labels
            && self.requests == other.requests
            && self.gates == other.gates
            && self.claims == other.claims
            && self.tolerations == other.tolerations
            && self.node_selector == other.node_selector
            && self.required_nodes == other.required_nodes
            && self.metadata.deletion_timestamp == other.metadata.deletion_timestamp
    }
}

// === impl HostPort ===

impl HostPort {
    /// Whether two ports cannot be had on one node.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        const ALL: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || &*self.address == ALL || &*other.address == ALL)
    }
}
