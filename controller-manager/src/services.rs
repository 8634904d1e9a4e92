//! Rules that both controllers of endpoints share: which Pods serve, on which ports, and since when that is so.
//!
//! Invariant: values only.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use client::{Caches, Change, Key, Kind, Triggers};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::kinds::{
    Pod, Service,
    endpoint_slice::TargetRef,
    service::{ServicePort, Target},
};

/// When what the endpoints tell came about; from it the delay to the network is measured.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Says that the Service has no address of its own.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// A change of the Service, or of a Pod that makes a difference to it, concerns it.
pub fn triggers(on: &mut Triggers<Service>) {
    on.root().changes::<Pod>(|change, caches| {
        if let Change::Modified { old, new } = change
            && same_to_services(old, new)
        {
            return Vec::new();
        }
        let sides = [change.before(), change.after()];
        let services = caches.read::<Service>().in_namespace(&change.object().metadata.namespace);
        let concerned = services
            .iter()
            .filter(|service| sides.iter().flatten().any(|pod| service.matches(&pod.metadata.labels)));
        concerned.map(|service| service.key()).collect()
    });
}

fn same_to_services(old: &Pod, new: &Pod) -> bool {
    old.metadata.uid == new.metadata.uid
        && old.metadata.labels == new.metadata.labels
        && old.metadata.is_terminating() == new.metadata.is_terminating()
        && old.is_ready() == new.is_ready()
        && old.is_finished() == new.is_finished()
        && old.spec == new.spec
        && old.status.pod_ip == new.status.pod_ip
        && old.status.pod_ips == new.status.pod_ips
}

/// The Pods of a Service.
pub fn pods(service: &Service, caches: &Caches) -> Vec<Arc<Pod>> {
    let mut pods = caches.read::<Pod>().in_namespace(&service.metadata.namespace);
    pods.retain(|pod| service.matches(&pod.metadata.labels));
    pods
}

/// Whether a Pod is an endpoint at all.
pub fn may_serve(pod: &Pod, terminating_too: bool) -> bool {
    let has_address = !pod.status.pod_ip.is_empty() || !pod.status.pod_ips.is_empty();
    let stays = terminating_too || !pod.metadata.is_terminating();
    has_address && stays && !pod.is_finished()
}

/// The name of a Pod in the DNS of a Service.
pub fn hostname(pod: &Pod, service: &Service) -> Option<Box<str>> {
    let named = !pod.spec.hostname.is_empty()
        && *pod.spec.subdomain == *service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace;
    named.then(|| pod.spec.hostname.clone())
}

/// The addresses of a Pod in a family, as they are written usually.
pub fn addresses(pod: &Pod, family: &str) -> Vec<Box<str>> {
    let parsed = pod.status.pod_ips.iter().filter_map(|it| it.ip.parse::<IpAddr>().ok());
    let of_family = parsed.filter(|ip| ip.is_ipv6() == (family == "IPv6"));
    of_family.map(|ip| ip.to_string().into()).collect()
}

/// The number of a Service's port in a Pod.
pub fn port_of(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        Target::Number(number) => return Some(*number),
        Target::Name(name) => name,
    };
    let sidecars = pod.spec.init_containers.iter().filter(|it| &*it.restart_policy == "Always");
    let ports = pod.spec.containers.iter().map(|it| &it.ports).chain(sidecars.map(|it| &it.ports));
    ports.flatten().find(|it| it.name == *name && it.protocol == port.protocol).map(|it| it.container_port)
}

/// The reference to a Pod.
pub fn reference(pod: &Pod) -> TargetRef {
    TargetRef {
        kind: "Pod".into(),
        namespace: pod.metadata.namespace.as_ref().into(),
        name: pod.metadata.name.as_ref().into(),
        uid: pod.metadata.uid.clone(),
    }
}

/// Remembers, by Service, which changes have been told already.
#[derive(Debug, Default)]
pub struct TriggerTimes(Mutex<BTreeMap<Key, Told>>);

#[derive(Debug, Default)]
struct Told {
    service: Option<Timestamp>,
    pods: BTreeMap<Arc<str>, Timestamp>,
}

// === impl TriggerTimes ===

impl TriggerTimes {
    /// The first of the changes that have not been told yet. Of a Service that is new: when it was made.
    pub fn next(&self, service: &Service, pods: &[Arc<Pod>]) -> Option<Timestamp> {
        let created = service.metadata.creation_timestamp;
        let of_pods: BTreeMap<_, _> = pods
            .iter()
            .filter_map(|pod| {
                let ready = pod.condition("Ready")?.last_transition_time?;
                Some((Arc::clone(&pod.metadata.name), ready))
            })
            .collect();
        let mut all = self.0.lock();
        let told = all.get(&service.key());
        let first = match told {
            None => created,
            Some(told) => {
                let new =
                    of_pods.iter().filter(|(name, at)| told.pods.get(*name).is_none_or(|told| *at > told));
                let new_service = created.filter(|at| told.service.is_none_or(|told| *at > told));
                new.map(|(_, at)| *at).chain(new_service).min()
            }
        };
        all.insert(service.key(), Told { service: created, pods: of_pods });
        first
    }

    /// A Service is gone.
    pub fn forget(&self, service: &Key) {
        self.0.lock().remove(service);
    }
}
