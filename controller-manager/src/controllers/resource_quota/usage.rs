//! What an object uses, and in which scopes it is.

use std::{collections::BTreeMap, time::Duration};

use api_types::quantity::{Format, Quantity};
use jiff::{SignedDuration, Timestamp};

use crate::{
    kinds::{PersistentVolumeClaim, Pod, ResourceClaim, Service, resource_quota::ScopeRequirement},
    resources::{Amounts, Requirements},
};

const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
/// What counts the devices of a class, after the class' name.
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// What counts the devices of a class that Pods ask for without a claim, before the class' name.
const IMPLICIT_DEVICES: &str = "requests.deviceclass.resource.kubernetes.io/";

fn one(count: usize) -> Quantity {
    Quantity::new(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi)
}

/// Whether a name is of what Pods use.
pub(super) fn is_of_pods(name: &str) -> bool {
    matches!(
        name,
        "count/pods"
            | "pods"
            | "cpu"
            | "memory"
            | "ephemeral-storage"
            | "requests.cpu"
            | "requests.memory"
            | "requests.ephemeral-storage"
            | "limits.cpu"
            | "limits.memory"
            | "limits.ephemeral-storage"
    ) || name.starts_with("hugepages-")
        || name
            .strip_prefix("requests.")
            .is_some_and(|name| name.starts_with("hugepages-") || is_extended(name))
}

/// Whether a resource is one that somebody has added to nodes.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
        || name.starts_with("deviceclass.resource.kubernetes.io/")
}

/// Whether a name is of what claims use.
pub(super) fn is_of_claims(name: &str) -> bool {
    let plain = |name: &str| matches!(name, "persistentvolumeclaims" | "requests.storage");
    name == "count/persistentvolumeclaims"
        || plain(name)
        || name.split_once(BY_CLASS).is_some_and(|(_, name)| plain(name))
}

/// Whether a name is of what Services use.
pub(super) fn is_of_services(name: &str) -> bool {
    matches!(name, "count/services" | "services" | "services.nodeports" | "services.loadbalancers")
}

/// Whether a name is of what claims of devices use. `extended` are the resources by which Pods ask for devices without a
/// claim, by class.
pub(super) fn is_of_devices(name: &str, extended: &BTreeMap<Box<str>, Box<str>>) -> bool {
    name.ends_with(DEVICES)
        || name.strip_prefix(IMPLICIT_DEVICES).is_some_and(|class| extended.contains_key(class))
        || name.strip_prefix("requests.").is_some_and(|name| extended.values().any(|it| **it == *name))
}

/// Whether a name is counted by rules of its own.
pub(super) fn is_special(name: &str) -> bool {
    is_of_pods(name) || is_of_claims(name) || is_of_services(name)
}

/// Whether a change of a Pod makes no difference to what it uses.
pub(super) fn same(old: &Pod, new: &Pod) -> bool {
    let facts =
        |pod: &Pod| (pod.is_finished(), pod.metadata.is_terminating(), pod.spec.active_deadline_seconds);
    facts(old) == facts(new)
        && old.status.qos_class == new.status.qos_class
        && old.spec.resources == new.spec.resources
        && old.spec.containers == new.spec.containers
        && old.spec.init_containers == new.spec.init_containers
}

/// What a Pod uses, and how long it will still do so if it is on its way out and nobody ends it.
pub(super) fn of_pod(pod: &Pod, now: Timestamp) -> (Amounts, Option<Duration>) {
    let mut all = Amounts::from([("count/pods".into(), one(1))]);
    if pod.is_finished() {
        return (all, None);
    }
    let mut until = None;
    if let (Some(at), Some(grace)) =
        (pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds)
    {
        let end = at.checked_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
        if now > end {
            return (all, None);
        }
        until =
            Some(Duration::try_from(end.duration_since(now)).unwrap_or_default() + Duration::from_millis(1));
    }
    let Requirements { requests, limits } = Requirements::of_pod(pod);
    all.insert("pods".into(), one(1));
    for (name, amount) in requests {
        match &*name {
            "cpu" | "memory" | "ephemeral-storage" => {
                all.insert(format!("requests.{name}").into(), amount.clone());
                all.insert(name, amount);
            }
            _ if name.starts_with("hugepages-") => {
                all.insert(format!("requests.{name}").into(), amount.clone());
                all.insert(name, amount);
            }
            _ if is_extended(&name) => {
                all.insert(format!("requests.{name}").into(), amount);
            }
            _ => {}
        }
    }
    for (name, amount) in limits {
        if matches!(&*name, "cpu" | "memory" | "ephemeral-storage") {
            all.insert(format!("limits.{name}").into(), amount);
        }
    }
    (all, until)
}

/// What a claim uses.
pub(super) fn of_claim(claim: &PersistentVolumeClaim) -> Amounts {
    let mut plain = vec![("persistentvolumeclaims", one(1))];
    plain.extend(claim.size().map(|size| ("requests.storage", size.clone())));
    let class = claim.class();
    let mut all = Amounts::from([("count/persistentvolumeclaims".into(), one(1))]);
    for (name, amount) in plain {
        if !class.is_empty() {
            all.insert(format!("{class}{BY_CLASS}{name}").into(), amount.clone());
        }
        all.insert(name.into(), amount);
    }
    all
}

/// What a claim of devices uses, besides what was counted for its Pod already.
pub(super) fn of_devices(
    claim: &ResourceClaim,
    extended: &BTreeMap<Box<str>, Box<str>>,
    pod: &Amounts,
) -> Amounts {
    let mut all = Amounts::new();
    let amount = |count: i64| Quantity::new(count, Format::DecimalSi);
    for (class, count) in &claim.spec.by_class {
        all.insert(format!("{class}{DEVICES}").into(), amount(*count));
        let by_name = extended.get(class).map(|name| format!("requests.{name}"));
        for name in std::iter::once(format!("{IMPLICIT_DEVICES}{class}")).chain(by_name) {
            let mut left = amount(*count);
            if let Some(counted) = pod.get(&*name) {
                left -= counted;
            }
            if left > amount(0) {
                *all.entry(name.into()).or_default() += &left;
            }
        }
    }
    all
}

/// What a Service uses.
pub(super) fn of_service(service: &Service) -> Amounts {
    let spec = &service.spec;
    let balanced = &*spec.r#type == "LoadBalancer";
    let ports = match &*spec.r#type {
        "LoadBalancer" if spec.allocate_load_balancer_node_ports == Some(false) => {
            spec.ports.iter().filter(|port| port.node_port != 0).count()
        }
        "NodePort" | "LoadBalancer" => spec.ports.len(),
        _ => 0,
    };
    Amounts::from([
        ("count/services".into(), one(1)),
        ("services".into(), one(1)),
        ("services.nodeports".into(), one(ports)),
        ("services.loadbalancers".into(), one(usize::from(balanced))),
    ])
}

/// Whether a Pod meets all requirements.
pub(super) fn pod_is_in(pod: &Pod, requirements: &[ScopeRequirement]) -> bool {
    let ends = pod.spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0);
    let best_effort = &*pod.status.qos_class == "BestEffort";
    requirements.iter().all(|it| match &*it.scope_name {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => holds(it, &[&pod.spec.priority_class_name]),
        "CrossNamespacePodAffinity" => pod.spec.affinity.crosses_namespaces,
        _ => false,
    })
}

/// Whether a claim meets all requirements.
pub(super) fn claim_is_in(claim: &PersistentVolumeClaim, requirements: &[ScopeRequirement]) -> bool {
    let class = claim.spec.volume_attributes_class_name.as_deref().unwrap_or_default();
    let current = claim.status.current_volume_attributes_class_name.as_deref().unwrap_or_default();
    requirements.iter().all(|it| &*it.scope_name == "VolumeAttributesClass" && holds(it, &[class, current]))
}

/// Whether a requirement holds of one of these values, of which empty ones are none.
fn holds(requirement: &ScopeRequirement, values: &[&str]) -> bool {
    let mut there = values.iter().filter(|value| !value.is_empty()).peekable();
    let among = |value: &&&str| requirement.values.iter().any(|it| **it == ***value);
    match &*requirement.operator {
        "Exists" => there.peek().is_some(),
        "DoesNotExist" => there.peek().is_none(),
        "In" => there.any(|value| among(&value)),
        "NotIn" => !there.any(|value| among(&value)),
        _ => false,
    }
}
