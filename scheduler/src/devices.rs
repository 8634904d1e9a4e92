//! Devices (dynamic resource allocation): what there is, what claims ask for, who has what, and which devices a claim gets.
//!
//! ```text
//! ResourceSlices ──> pools of a node ─┐
//! DeviceClasses, ResourceClaims ──────┼──> allocator ──> a plan for each claim, or none
//! what is taken, what is on its way ──┘
//! ```
//!
//! Invariant: values and pure functions. Upstream calls this structured parameters (KEP-4381 and those built on it).

pub mod slice;

pub mod claim;

pub mod class;

pub mod capacity;

pub mod account;

pub mod pools;

pub mod allocator;

pub mod extended;

use std::{fmt, sync::Arc};

use client::meta::null_is_default;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub use account::Devices;

use crate::{node::Node, pod::NodeSelector};

/// One device among all of a cluster. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceId {
    /// Whose it is.
    pub driver: Arc<str>,
    /// The pool it is in.
    pub pool: Arc<str>,
    /// Its name there.
    pub device: Arc<str>,
}

/// Which nodes: as it was written, and as it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Nodes {
    /// As it was written.
    pub written: Arc<Value>,
    selector: NodeSelector,
}

/// Which nodes reach something, by the three ways to say so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reach {
    /// The one node, empty if it is not said so.
    pub node: Box<str>,
    /// Those that are selected, if it is said so.
    pub nodes: Option<Nodes>,
    /// All.
    pub all: bool,
}

// === impl DeviceId ===

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.driver, self.pool, self.device)
    }
}

// === impl Nodes ===

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(deserializer)?;
        Self::of(written).map_err(serde::de::Error::custom)
    }
}

impl Nodes {
    /// What a selector says.
    ///
    /// # Errors
    /// It is none.
    pub fn of(written: Value) -> Result<Self, serde_json::Error> {
        let selector = NodeSelector::deserialize(&written)?;
        Ok(Self { written: Arc::new(written), selector })
    }

    /// Whether a node is one of them.
    pub fn have(&self, node: &Node) -> bool {
        self.selector.matches(node)
    }
}

// === impl Reach ===

impl Reach {
    /// Whether nothing is said, which is no node.
    pub fn is_unsaid(&self) -> bool {
        self.node.is_empty() && self.nodes.is_none() && !self.all
    }

    /// Whether a node is reached.
    pub fn reaches(&self, node: &Node) -> bool {
        if !self.node.is_empty() {
            return *self.node == *node.metadata.name;
        }
        self.all || self.nodes.as_ref().is_some_and(|nodes| nodes.have(node))
    }
}

/// A taint of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// What is wrong with it.
    pub key: Box<str>,
    /// More of it.
    #[serde(deserialize_with = "null_is_default")]
    pub value: Box<str>,
    /// What it does.
    pub effect: Box<str>,
}

/// Taints of devices that are put up with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Toleration {
    #[serde(deserialize_with = "null_is_default")]
    key: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    operator: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    value: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    effect: Box<str>,
}

// === impl Taint ===

impl Taint {
    /// Whether it keeps who does not put up with it away.
    pub fn forbids(&self) -> bool {
        matches!(&*self.effect, "NoSchedule" | "NoExecute")
    }
}

// === impl Toleration ===

impl Toleration {
    /// Whether it is for this taint.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match &*self.operator {
                "" | "Equal" => self.value == taint.value,
                "Exists" => true,
                _ => false,
            }
    }
}
