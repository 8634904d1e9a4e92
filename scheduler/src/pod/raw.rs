//! The fields of a Pod that scheduling reads, as the wire has them, and what is made of them.

use client::{Labels, Meta, meta::null_is_default};
use serde::Deserialize;

use super::{
    Condition, ContainerAsk, DeviceClaim, HostPort, POD_SCHEDULED, PREEMPTED,
    affinity::{NodeSelector, PreferredTerm},
    requests,
    spread::{PodTerms, SpreadConstraint},
    tolerations::Toleration,
    volumes::RawVolume,
};
use crate::{node::with_tag, resources::ResourceList};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    scheduler_name: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    node_name: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    priority: i32,
    #[serde(deserialize_with = "null_is_default")]
    scheduling_gates: Vec<Named>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) containers: Vec<Container>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) init_containers: Vec<Container>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) overhead: ResourceList,
    pub(super) resources: Option<Requirements>,
    #[serde(deserialize_with = "null_is_default")]
    node_selector: Labels,
    affinity: Option<Affinity>,
    #[serde(deserialize_with = "null_is_default")]
    topology_spread_constraints: Vec<SpreadConstraint>,
    #[serde(deserialize_with = "null_is_default")]
    tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "null_is_default")]
    volumes: Vec<RawVolume>,
    #[serde(deserialize_with = "null_is_default")]
    preemption_policy: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    host_network: bool,
    host_users: Option<bool>,
    #[serde(deserialize_with = "null_is_default")]
    resource_claims: Vec<RawClaim>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawClaim {
    name: Box<str>,
    resource_claim_name: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    pub(super) name: Box<str>,
    image: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    restart_policy: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    restart_policy_rules: Vec<RestartRule>,
    #[serde(deserialize_with = "null_is_default")]
    ports: Vec<Port>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) resources: Requirements,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RestartRule {
    action: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    #[serde(deserialize_with = "null_is_default")]
    host_port: i32,
    #[serde(rename = "hostIP", deserialize_with = "null_is_default")]
    host_ip: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    protocol: Box<str>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Requirements {
    pub(super) requests: ResourceList,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Affinity {
    node_affinity: Option<NodeAffinity>,
    pod_affinity: Option<PodTerms>,
    pod_anti_affinity: Option<PodTerms>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<NodeSelector>,
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        deserialize_with = "null_is_default"
    )]
    preferred: Vec<PreferredTerm>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    #[serde(deserialize_with = "null_is_default")]
    phase: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    nominated_node_name: Box<str>,
    start_time: Option<jiff::Timestamp>,
    #[serde(deserialize_with = "null_is_default")]
    resource_claim_statuses: Vec<RawClaim>,
    #[serde(deserialize_with = "null_is_default")]
    conditions: Vec<AnyCondition>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AnyCondition {
    r#type: Box<str>,
    #[serde(flatten)]
    condition: Condition,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatus {
    pub(super) name: Box<str>,
    pub(super) resources: Option<Requirements>,
    pub(super) allocated_resources: ResourceList,
}

// === impl Container ===

impl Container {
    /// It starts before the others and stays.
    pub(super) fn is_sidecar(&self) -> bool {
        &*self.restart_policy == "Always"
    }

    fn host_ports(&self) -> impl Iterator<Item = HostPort> {
        self.ports.iter().filter(|port| port.host_port > 0).map(|port| HostPort {
            port: port.host_port,
            protocol: if port.protocol.is_empty() { "TCP".into() } else { port.protocol.clone() },
            address: if port.host_ip.is_empty() { "0.0.0.0".into() } else { port.host_ip.clone() },
        })
    }
}

// === impl Status ===

impl Status {
    /// A resize that the node cannot grant: only what it has granted before counts.
    pub(super) fn resize_is_infeasible(&self) -> bool {
        self.conditions.iter().any(|condition| {
            &*condition.r#type == "PodResizePending" && &*condition.condition.reason == "Infeasible"
        })
    }
}

// === impl Spec ===

impl Spec {
    /// The ResourceClaims by name; none for one that is yet to be made.
    fn claims(&self, status: &Status) -> Box<[DeviceClaim]> {
        let made = |claim: &RawClaim| {
            let known = status.resource_claim_statuses.iter().find(|known| known.name == claim.name)?;
            Some(known.resource_claim_name.clone())
        };
        let claims = self.resource_claims.iter().filter_map(|claim| {
            let is_of_pod = claim.resource_claim_name.is_none();
            let object = match &claim.resource_claim_name {
                Some(name) => Some(name.clone()),
                // One that is known to need no claim has none.
                None => match made(claim) {
                    Some(None) => return None,
                    Some(Some(name)) => Some(name),
                    None => None,
                },
            };
            Some(DeviceClaim { name: claim.name.clone(), object, is_of_pod })
        });
        claims.collect()
    }

    /// What not every node knows (`component-helpers/nodedeclaredfeatures`), by name.
    fn features(&self) -> Box<[&'static str]> {
        let mut rules = self
            .containers
            .iter()
            .chain(&self.init_containers)
            .flat_map(|container| &container.restart_policy_rules);
        let restarts_all = rules.any(|rule| &*rule.action == "RestartAllContainers");
        let maps_users = self.host_network && self.host_users == Some(false);
        [
            ("RestartAllContainersOnContainerExits", restarts_all),
            ("UserNamespacesHostNetworkSupport", maps_users),
        ]
        .into_iter()
        .filter_map(|(name, uses)| uses.then_some(name))
        .collect()
    }

    /// What containers ask for, if any of them asks for what may be devices.
    fn extended(&self) -> Box<[ContainerAsk]> {
        let all = || self.init_containers.iter().chain(&self.containers);
        let may_be_devices =
            |container: &Container| container.resources.requests.0.keys().any(|name| name.contains('/'));
        if !all().any(may_be_devices) {
            return Box::default();
        }
        let ask = |(number, container): (usize, &Container)| ContainerAsk {
            name: container.name.clone(),
            number,
            ends_before_others: number < self.init_containers.len() && !container.is_sidecar(),
            requests: container
                .resources
                .requests
                .0
                .iter()
                .map(|(name, amount)| (name.clone(), amount.value()))
                .collect(),
        };
        all().enumerate().map(ask).collect()
    }
}

// === impl Pod ===

impl From<Pod> for super::Pod {
    fn from(pod: Pod) -> Self {
        let Pod { metadata, spec, mut status } = pod;
        let requests = requests::of_pod(&spec, &status, false).resources();
        let scored = requests::of_pod(&spec, &status, true).resources();
        let sidecars = spec.init_containers.iter().filter(|container| container.is_sidecar());
        let host_ports = spec.containers.iter().chain(sidecars).flat_map(Container::host_ports).collect();
        let images = spec
            .init_containers
            .iter()
            .chain(&spec.containers)
            .map(|container| &container.image)
            .chain(spec.volumes.iter().filter_map(|volume| Some(&volume.image.as_ref()?.reference)))
            .map(|image| with_tag(image))
            .collect();
        let claims = spec.claims(&status);
        let extended = spec.extended();
        let features = spec.features();
        let Affinity { node_affinity, pod_affinity, pod_anti_affinity } = spec.affinity.unwrap_or_default();
        let affinity = node_affinity.unwrap_or_default();
        let near = pod_affinity.unwrap_or_default().in_namespace(&metadata.namespace);
        let far = pod_anti_affinity.unwrap_or_default().in_namespace(&metadata.namespace);
        let is_preempted = status.conditions.iter().any(|condition| {
            &*condition.r#type == "DisruptionTarget"
                && &*condition.condition.status == "True"
                && &*condition.condition.reason == PREEMPTED
        });
        let volumes = spec.volumes.iter().filter_map(|volume| volume.limiting(&metadata)).collect();
        let scheduled = status.conditions.iter().position(|condition| &*condition.r#type == POD_SCHEDULED);
        Self {
            metadata,
            scheduler_name: spec.scheduler_name,
            node_name: spec.node_name,
            nominated_node_name: status.nominated_node_name,
            priority: spec.priority,
            gates: spec.scheduling_gates.into_iter().map(|gate| gate.name).collect(),
            requests,
            scored: (scored.cpu, scored.memory),
            node_selector: spec.node_selector,
            required_nodes: affinity.required,
            preferred_nodes: affinity.preferred.into_boxed_slice(),
            spread: spec.topology_spread_constraints.into_boxed_slice(),
            near,
            far,
            tolerations: spec.tolerations.into_boxed_slice(),
            host_ports,
            images,
            containers: spec.containers.len() + spec.init_containers.len(),
            volumes,
            claims,
            extended,
            features,
            never_preempts: &*spec.preemption_policy == "Never",
            started: status.start_time,
            is_preempted,
            ended: matches!(&*status.phase, "Succeeded" | "Failed"),
            condition: scheduled.map(|at| status.conditions.swap_remove(at).condition),
        }
    }
}
