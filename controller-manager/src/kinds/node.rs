//! A Node and the Lease that says it is alive, as far as controllers look at them.

use api_types::quantity::Quantity;
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: NodeSpec,
    /// How it is.
    pub status: NodeStatus,
}

/// What is wanted of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// No new Pods.
    pub unschedulable: bool,
    /// The addresses of its Pods.
    #[serde(rename = "podCIDRs", deserialize_with = "null_is_default")]
    pub pod_cidrs: Vec<Box<str>>,
    /// Which Pods it does not want.
    #[serde(deserialize_with = "null_is_default")]
    pub taints: Vec<Taint>,
}

/// Which Pods a Node does not want: those that do not tolerate this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// What about.
    pub key: Box<str>,
    /// Which of it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub value: Box<str>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: Box<str>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<Timestamp>,
}

/// How a Node is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Its conditions.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<NodeCondition>,
    /// What Pods can have of it.
    #[serde(deserialize_with = "null_is_default")]
    pub allocatable: Allocatable,
    /// The volumes that are attached to it.
    #[serde(deserialize_with = "null_is_default")]
    pub volumes_attached: Box<[AttachedVolume]>,
    /// The volumes that it has mounted, or is about to.
    #[serde(deserialize_with = "null_is_default")]
    pub volumes_in_use: Box<[Box<str>]>,
}

/// What Pods can have of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Allocatable {
    /// CPUs.
    pub cpu: Option<Quantity>,
}

/// A volume that is attached to a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachedVolume {
    /// Which one, as `kubernetes.io/csi/DRIVER^HANDLE`.
    pub name: Box<str>,
    /// Where, if the node must be told.
    pub device_path: Box<str>,
}

/// A condition of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCondition {
    /// Which one.
    pub r#type: Box<str>,
    /// `True`, `False` or `Unknown`.
    pub status: Box<str>,
    /// Why, in one word.
    pub reason: Box<str>,
    /// When it was told last.
    pub last_heartbeat_time: Option<Timestamp>,
}

/// A Lease, by which whoever holds it says that he is alive.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// The metadata.
    pub metadata: Meta,
    /// What it says.
    pub spec: LeaseSpec,
}

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// When it was renewed last.
    pub renew_time: Option<Timestamp>,
}

// === impl Node, Lease ===

impl Kind for Node {
    const RESOURCE: Resource = resource::NODES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Kind for Lease {
    const RESOURCE: Resource = resource::LEASES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Node {
    /// Whether it says that it is well.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|ready| &*ready.status == "True")
    }

    /// The condition of a type.
    pub fn condition(&self, which: &str) -> Option<&NodeCondition> {
        self.status.conditions.iter().find(|condition| &*condition.r#type == which)
    }
}
