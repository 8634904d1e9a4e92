//! What the rules of quotas look at ([`api_types::quota`]), filled in from what caches keep.

use std::time::Duration;

use api_types::quota::{
    Amounts,
    claims::Claim,
    pods::{self, Container, Granted},
    services::{self, Service},
};
use jiff::Timestamp;

use crate::{
    kinds::{self, PersistentVolumeClaim, Pod, pod::ContainerStatus, pod::Reason},
    resources,
};

/// Whether a change of a Pod makes no difference to what it uses.
pub(super) fn same(old: &Pod, new: &Pod) -> bool {
    let facts = |pod: &Pod| {
        (pod.is_finished(), pod.metadata.is_terminating(), pod.spec.active_deadline_seconds, infeasible(pod))
    };
    let granted = |pod: &'_ Pod| -> Vec<(Box<str>, Box<str>)> {
        let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        statuses.map(|it| (it.resources.clone(), it.allocated_resources.clone())).collect()
    };
    facts(old) == facts(new)
        && old.status.qos_class == new.status.qos_class
        && old.spec.resources == new.spec.resources
        && old.spec.containers == new.spec.containers
        && old.spec.init_containers == new.spec.init_containers
        && granted(old) == granted(new)
}

fn infeasible(pod: &Pod) -> bool {
    let mut conditions = pod.status.conditions.iter();
    conditions.any(|it| &*it.r#type == "PodResizePending" && it.reason == Reason::Infeasible)
}

/// A Pod as quotas look at it.
pub(super) fn pod(pod: &Pod) -> pods::Pod {
    let container = |name: &str, asks: &str, is_sidecar: bool, statuses: &[ContainerStatus]| Container {
        name: name.into(),
        resources: resources::read(asks),
        is_sidecar,
        granted: statuses.iter().find(|it| &*it.name == name && !it.resources.is_empty()).map(|it| Granted {
            resources: resources::read(&it.resources),
            allocated: serde_json::from_str(&it.allocated_resources).unwrap_or_default(),
        }),
    };
    let (spec, status) = (&pod.spec, &pod.status);
    let containers = spec.containers.iter();
    let init_containers = spec.init_containers.iter();
    pods::Pod {
        deletion: pod.metadata.deletion_timestamp.zip(pod.metadata.deletion_grace_period_seconds),
        phase: status.phase.clone(),
        qos_class: status.qos_class.clone(),
        active_deadline_seconds: spec.active_deadline_seconds,
        priority_class_name: spec.priority_class_name.clone(),
        crosses_namespaces: spec.affinity.crosses_namespaces,
        containers: containers
            .map(|it| container(&it.name, &it.resources, false, &status.container_statuses))
            .collect(),
        init_containers: init_containers
            .map(|it| {
                let is_sidecar = &*it.restart_policy == "Always";
                container(&it.name, &it.resources, is_sidecar, &status.init_container_statuses)
            })
            .collect(),
        resources: resources::read(&spec.resources),
        overhead: serde_json::from_str(&spec.overhead).unwrap_or_default(),
        resize_is_infeasible: infeasible(pod),
    }
}

/// How long a Pod will still use what it does if it is on its way out and nobody ends it.
pub(super) fn time_left(pod: &pods::Pod, now: Timestamp) -> Option<Duration> {
    let end = pod.ends().filter(|_| !pod.is_over(now))?;
    Some(Duration::try_from(end.duration_since(now)).unwrap_or_default() + Duration::from_millis(1))
}

/// A claim as quotas look at it.
pub(super) fn claim(claim: &PersistentVolumeClaim) -> Claim<'_> {
    Claim {
        class: claim.class(),
        requested: claim.size().cloned(),
        allocated: claim.status.allocated_resources.storage.clone(),
        attributes_classes: [
            claim.spec.volume_attributes_class_name.as_deref().unwrap_or_default(),
            claim.status.current_volume_attributes_class_name.as_deref().unwrap_or_default(),
            &claim.status.modify_volume_status.target_volume_attributes_class_name,
        ],
    }
}

/// What a Service uses.
pub(super) fn of_service(service: &kinds::Service) -> Amounts {
    let spec = &service.spec;
    let ports = spec.ports.iter().map(|port| services::Port { node_port: port.node_port }).collect();
    let spec = services::Spec {
        r#type: spec.r#type.clone(),
        ports,
        allocate_load_balancer_node_ports: spec.allocate_load_balancer_node_ports,
    };
    Service { spec }.usage()
}
