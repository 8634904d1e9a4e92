//! A Pod, as far as controllers look at it.

use std::sync::Arc;

use api_types::quota::pods::Terms;
use client::{Index, Kind, Meta, Resource, meta::null_is_default, resource};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::disk;
use crate::{
    claim,
    placement::{NodeAffinity, NodeSelector},
};

/// The index of Pods by node; those without one are found under the empty name.
pub const NODE: &str = "spec.nodeName";
/// The index of Pods by the claims they use, `namespace/name`.
pub const CLAIM: &str = "claims";
/// The index of Pods that some Job must still count, by the key of their Job; those without one are found under their
/// namespace and an empty name.
pub const JOB_TRACKED: &str = "job-tracked";

/// A Pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: PodSpec,
    /// What is.
    pub status: PodStatus,
}

/// What is wanted of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node it is bound to; empty while it has none.
    pub node_name: Box<str>,
    /// Whether containers are started again: `Always`, `OnFailure` or `Never`.
    pub restart_policy: Box<str>,
    /// The containers.
    #[serde(deserialize_with = "null_is_default")]
    pub containers: Box<[Container]>,
    /// The init containers.
    #[serde(deserialize_with = "null_is_default")]
    pub init_containers: Box<[InitContainer]>,
    /// Its name in DNS.
    pub hostname: Box<str>,
    /// The Service in whose domain that name is.
    pub subdomain: Box<str>,
    /// Which taints of nodes it puts up with.
    #[serde(deserialize_with = "null_is_default")]
    pub tolerations: Box<[Toleration]>,
    /// What its affinity says.
    #[serde(deserialize_with = "null_is_default")]
    pub affinity: PodAffinity,
    /// It is stopped after so many seconds.
    pub active_deadline_seconds: Option<i64>,
    /// How important it is.
    pub priority_class_name: Box<str>,
    /// What it asks for as a whole, as it came; empty if nothing. See [`crate::resources`].
    #[serde(deserialize_with = "json_text")]
    pub resources: Box<str>,
    /// What it needs besides, as it came.
    #[serde(deserialize_with = "json_text")]
    pub overhead: Box<str>,
    /// The devices it wants.
    #[serde(deserialize_with = "null_is_default")]
    pub resource_claims: Box<[PodResourceClaim]>,
    /// The volumes that are claims, and those that kubelets wait to be told of.
    #[serde(deserialize_with = "volumes_that_matter")]
    pub volumes: Box<[PodVolume]>,
}

/// Devices that a Pod wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodResourceClaim {
    /// As its containers name them.
    pub name: Box<str>,
    /// The claim that they are.
    pub resource_claim_name: Box<str>,
    /// Or the template of a claim of its own.
    pub resource_claim_template_name: Box<str>,
}

/// A volume of a Pod that somebody has to do something for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodVolume {
    /// The volume's name.
    pub name: Box<str>,
    /// What it is.
    pub source: Source,
}

/// What a volume of a Pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A claim that is there, by its name.
    Claim(Box<str>),
    /// A claim that is made for the Pod and goes with it; the template of it, as it came.
    Ephemeral(Arc<str>),
    /// A disk that kubelets attach themselves, as the status of nodes calls it.
    Disk(Box<str>),
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Its name.
    pub name: Box<str>,
    /// What it asks for, as it came; empty if nothing.
    #[serde(deserialize_with = "json_text")]
    pub resources: Box<str>,
    /// Its ports.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Box<[ContainerPort]>,
}

/// A port of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Its name.
    pub name: Box<str>,
    /// Its number.
    pub container_port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Box<str>,
}

/// Taints that are put up with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// What about; anything if empty.
    pub key: Box<str>,
    /// `Equal`, `Exists`, `Lt` or `Gt`; `Equal` if empty.
    pub operator: Box<str>,
    /// Which of it.
    pub value: Box<str>,
    /// The effect; any if empty.
    pub effect: Box<str>,
    /// For so long; for ever if none.
    pub toleration_seconds: Option<i64>,
}

/// An init container, which is a sidecar if its restart policy is `Always`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InitContainer {
    /// Its name.
    pub name: Box<str>,
    /// Its restart policy.
    pub restart_policy: Box<str>,
    /// What it asks for, as it came; empty if nothing.
    #[serde(deserialize_with = "json_text")]
    pub resources: Box<str>,
    /// Its ports.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Box<[ContainerPort]>,
}

/// An address of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    pub ip: Box<str>,
}

/// How a Pod is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Where it is in its life.
    pub phase: Box<str>,
    /// Why it is there, in one word.
    pub reason: Box<str>,
    /// Why, for people.
    pub message: Box<str>,
    /// The claims that were made for it.
    #[serde(deserialize_with = "null_is_default")]
    pub resource_claim_statuses: Box<[PodResourceClaim]>,
    /// The claim that was made for the devices it asks for as plain resources; empty if there is none.
    #[serde(rename = "extendedResourceClaimStatus", deserialize_with = "claim_name")]
    pub extended_resource_claim: Box<str>,
    /// Since when a kubelet looks after it.
    pub start_time: Option<Timestamp>,
    /// How it is treated when resources are short.
    pub qos_class: Box<str>,
    /// Its first address.
    #[serde(rename = "podIP")]
    pub pod_ip: Box<str>,
    /// Its addresses.
    #[serde(rename = "podIPs", deserialize_with = "null_is_default")]
    pub pod_ips: Box<[PodIp]>,
    /// Its conditions.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Box<[Condition]>,
    /// How its containers are.
    #[serde(deserialize_with = "null_is_default")]
    pub container_statuses: Box<[ContainerStatus]>,
    /// How its init containers are.
    #[serde(deserialize_with = "null_is_default")]
    pub init_container_statuses: Box<[ContainerStatus]>,
    /// How the containers are that were added to it.
    #[serde(deserialize_with = "null_is_default")]
    pub ephemeral_container_statuses: Box<[ContainerStatus]>,
}

/// A condition of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Which one.
    pub r#type: Box<str>,
    /// `True`, `False` or `Unknown`.
    pub status: Box<str>,
    /// Since when.
    pub last_transition_time: Option<Timestamp>,
    /// Why.
    pub reason: Reason,
}

/// Why a condition is as it is, as far as anybody asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// Something that makes no difference.
    #[default]
    Other,
    /// The kubelet said so of its own accord.
    Kubelet,
    /// It cannot be.
    Infeasible,
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reason = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Ok(match reason.as_deref() {
            Some("TerminationByKubelet") => Self::Kubelet,
            Some("Infeasible") => Self::Infeasible,
            _ => Self::Other,
        })
    }
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: Box<str>,
    /// How often it was started again.
    pub restart_count: i32,
    /// What it does now.
    pub state: ContainerState,
    /// What it was given, as it came; empty if nobody has said.
    #[serde(deserialize_with = "json_text")]
    pub resources: Box<str>,
    /// What its node set aside for it, as it came.
    #[serde(deserialize_with = "json_text")]
    pub allocated_resources: Box<str>,
}

/// What a container does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It has ended.
    pub terminated: Option<Terminated>,
    /// It has not begun, or not again.
    #[serde(deserialize_with = "is_there")]
    pub waiting: bool,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// What its process returned.
    pub exit_code: i32,
    /// When.
    pub finished_at: Option<Timestamp>,
}

/// The parts of an affinity that controllers look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodAffinity {
    /// The node that it insists on by name, if it does, as that of a DaemonSet's Pods.
    pub pinned_to: Box<str>,
    /// Whether it is about Pods of other namespaces.
    pub crosses_namespaces: bool,
}

impl<'de> Deserialize<'de> for PodAffinity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Raw {
            #[serde(deserialize_with = "null_is_default")]
            node_affinity: NodeAffinity,
            #[serde(deserialize_with = "null_is_default")]
            pod_affinity: Terms,
            #[serde(deserialize_with = "null_is_default")]
            pod_anti_affinity: Terms,
        }
        let raw = Option::<Raw>::deserialize(deserializer)?.unwrap_or_default();
        let required = raw.node_affinity.required.as_ref();
        Ok(Self {
            pinned_to: required.and_then(NodeSelector::pinned).unwrap_or_default().into(),
            crosses_namespaces: raw.pod_affinity.cross_namespaces()
                || raw.pod_anti_affinity.cross_namespaces(),
        })
    }
}

/// Keeps an object as it came; nothing if there is nothing in it.
fn json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<str>, D::Error> {
    let raw = Option::<Box<RawValue>>::deserialize(deserializer)?;
    Ok(raw.map(|raw| Box::from(raw.get())).filter(|text| **text != *"{}").unwrap_or_default())
}

fn claim_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<str>, D::Error> {
    let status = Option::<PodResourceClaim>::deserialize(deserializer)?;
    Ok(status.unwrap_or_default().resource_claim_name)
}

/// Whether there is anything but null.
fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<serde::de::IgnoredAny>::deserialize(deserializer)?.is_some())
}

fn volumes_that_matter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[PodVolume]>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Volume {
        #[serde(default)]
        name: Box<str>,
        persistent_volume_claim: Option<Named>,
        ephemeral: Option<Ephemeral>,
        iscsi: Option<disk::Iscsi>,
        fc: Option<disk::Fc>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        #[serde(default)]
        claim_name: Box<str>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Ephemeral {
        volume_claim_template: Option<Box<RawValue>>,
    }

    let volumes = Option::<Vec<Volume>>::deserialize(deserializer)?.unwrap_or_default();
    let known = |volume: Volume| {
        let source = match (volume.persistent_volume_claim, volume.ephemeral) {
            (Some(named), _) => Source::Claim(named.claim_name),
            (None, Some(it)) => Source::Ephemeral(it.volume_claim_template?.get().into()),
            (None, None) => Source::Disk(disk::name(volume.iscsi.as_ref(), volume.fc.as_ref())?),
        };
        Some(PodVolume { name: volume.name, source })
    };
    Ok(volumes.into_iter().filter_map(known).collect())
}

// === impl Pod ===

impl Kind for Pod {
    const RESOURCE: Resource = resource::PODS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes() -> Vec<Index<Self>> {
        vec![
            claim::orphans(),
            Index { name: NODE, values: |pod| vec![pod.spec.node_name.clone()] },
            Index {
                name: CLAIM,
                values: |pod| {
                    let namespace = &pod.metadata.namespace;
                    pod.claims().map(|name| format!("{namespace}/{name}").into()).collect()
                },
            },
            Index { name: JOB_TRACKED, values: |pod| pod.counting_job().into_iter().collect() },
        ]
    }
}

impl PodResourceClaim {
    /// The template that a claim is to be made of.
    pub fn template(&self) -> Option<&str> {
        Some(&*self.resource_claim_template_name).filter(|name| !name.is_empty())
    }
}

impl Pod {
    /// The condition of a type.
    pub fn condition(&self, which: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| &*condition.r#type == which)
    }

    /// The key of the Job that must still count it.
    fn counting_job(&self) -> Option<Box<str>> {
        let name = match self.metadata.controller() {
            Some(owner) if resource::JOBS.is_kind(&owner.api_version, &owner.kind) => &*owner.name,
            Some(_) => return None,
            None => "",
        };
        let tracked = self.metadata.has_finalizer("batch.kubernetes.io/job-tracking");
        tracked.then(|| format!("{}/{name}", self.metadata.namespace).into())
    }

    /// The names of the claims it uses, with those that are made for it.
    pub fn claims(&self) -> impl Iterator<Item = Box<str>> + '_ {
        self.spec.volumes.iter().filter_map(|volume| match &volume.source {
            Source::Claim(name) => Some(name.clone()),
            Source::Ephemeral(_) => Some(format!("{}-{}", self.metadata.name, volume.name).into()),
            Source::Disk(_) => None,
        })
    }

    /// The node it is bound to, or else the one it can only be bound to.
    pub fn target_node(&self) -> Option<&str> {
        let bound = Some(&*self.spec.node_name).filter(|name| !name.is_empty());
        bound.or(Some(&*self.spec.affinity.pinned_to).filter(|name| !name.is_empty()))
    }

    /// It has done its work or failed to, for good.
    pub fn is_finished(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }

    /// It is neither finished nor on its way out.
    pub fn is_active(&self) -> bool {
        !self.is_finished() && !self.metadata.is_terminating()
    }

    /// It is on its way out and still runs.
    pub fn is_terminating(&self) -> bool {
        !self.is_finished() && self.metadata.is_terminating()
    }

    /// It is finished, or on its way out with nothing of it running any more: its volumes are free.
    pub fn needs_no_volumes(&self) -> bool {
        let status = &self.status;
        let all = [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ];
        let stands_still = |it: &ContainerStatus| it.state.terminated.is_some() || it.state.waiting;
        self.is_finished() || self.metadata.is_terminating() && all.into_iter().flatten().all(stands_still)
    }

    /// It can serve.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|ready| &*ready.status == "True")
    }

    /// Since when it can serve.
    pub fn ready_since(&self) -> Option<Timestamp> {
        self.condition("Ready").filter(|ready| &*ready.status == "True")?.last_transition_time
    }
}
