//! ResourceQuota: how much of what it allows is used in its namespace.
//!
//! Admission adds what it grants to `status.used` before the object is made; this controller counts what there is. It so
//! gives back what is gone, and sets right what never came. What was granted a moment ago may not be there yet: a count
//! that is lower than what is told is believed only once the quota has not been written for a moment.
//!
//! What an object uses is said by [`quota`]; what is only counted is counted whatever its kind.

mod usage;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use api_types::quota::{self, Amounts, claims, devices, number, pods, services};
use client::{
    Caches, Change, Controller, Key, Kind, Plan, Revision, Triggers,
    controller::{Manager, Options as Workers, Request, record::Cause},
    resource::RESOURCE_QUOTAS,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::SharedClock;
use serde_json::{Map, Value};

use crate::{
    inventory::Inventory,
    kinds::{DeviceClass, PersistentVolumeClaim, Pod, ResourceClaim, ResourceQuota, Service},
};

/// What was granted so long ago is there, or will not come.
const GRANTS_SETTLE: jiff::SignedDuration = jiff::SignedDuration::from_millis(250);

/// Keeps ResourceQuotas.
pub struct ResourceQuotas {
    clock: SharedClock,
    inventory: Inventory,
    /// Which revision of a quota was seen last, and since when.
    seen: Mutex<BTreeMap<Key, (Revision, Timestamp)>>,
}

/// All that matters to a quota.
#[derive(Debug)]
pub struct Observed {
    root: Arc<ResourceQuota>,
    pods: Vec<Arc<Pod>>,
    claims: Vec<Arc<PersistentVolumeClaim>>,
    services: Vec<Arc<Service>>,
    /// The claims of devices, each with the Pod that it was made for because that asks for devices as plain resources.
    devices: Vec<(Arc<ResourceClaim>, Option<Arc<Pod>>)>,
    /// The classes of devices, with the resources by which Pods ask for them without a claim.
    classes: devices::Classes,
    /// How many objects there are of the kinds that are only counted, by the name the quota has for that.
    counts: BTreeMap<Box<str>, i64>,
    /// Since when the quota is known as it is.
    since: Timestamp,
}

/// Starts the controller once it is known which kinds there are.
pub(super) fn start(manager: &Manager, workers: Workers, inventory: &Inventory) {
    inventory.start(manager);
    let (manager, inventory) = (manager.clone(), inventory.clone());
    manager.runtime.clone().tasks.spawn("resourcequota-start", async move {
        inventory.complete().await;
        let controller = ResourceQuotas::new(Arc::clone(&manager.runtime.clock), inventory.clone());
        let inbox = manager.start(controller, workers);
        let caches = manager.caches.clone();
        inventory.watch(move |resource, cache| {
            let Some(cache) = cache.filter(|_| resource.namespaced) else { return };
            let names = quota::count_names(&resource.group, &resource.plural);
            let (caches, inbox) = (caches.clone(), inbox.clone());
            cache.subscribe(move |change| {
                if matches!(change, Change::Modified { .. }) {
                    return;
                }
                let quotas = caches.read::<ResourceQuota>().in_namespace(&change.object().metadata.namespace);
                let counts =
                    |quota: &&Arc<ResourceQuota>| names.iter().any(|name| quota.spec.hard.contains_key(name));
                for quota in quotas.iter().filter(counts) {
                    inbox.add(quota.key(), Cause::of(change));
                }
            });
        });
    });
}

// === impl ResourceQuotas ===

impl fmt::Debug for ResourceQuotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceQuotas").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl ResourceQuotas {
    /// Counts time by this clock, and objects of other kinds in this inventory.
    pub fn new(clock: SharedClock, inventory: Inventory) -> Self {
        Self { clock, inventory, seen: Mutex::default() }
    }
}

impl Controller for ResourceQuotas {
    type Root = ResourceQuota;
    type Observed = Observed;
    const NAME: &'static str = "resourcequota-controller";

    fn triggers(&self, on: &mut Triggers<ResourceQuota>) {
        on.root();
        on.changes::<Pod>(|change, caches| {
            if let Change::Modified { old, new } = change
                && usage::same(old, new)
            {
                return Vec::new();
            }
            quotas_of(&change.object().metadata.namespace, caches)
        });
        on.changes::<PersistentVolumeClaim>(|change, caches| {
            quotas_of(&change.object().metadata.namespace, caches)
        });
        on.changes::<Service>(|change, caches| quotas_of(&change.object().metadata.namespace, caches));
        on.changes::<ResourceClaim>(|change, caches| quotas_of(&change.object().metadata.namespace, caches));
        on.reads::<DeviceClass>();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let mut seen = self.seen.lock();
        let Some(root) = caches.read::<ResourceQuota>().get(root) else {
            seen.remove(root);
            return None;
        };
        let now = self.clock.now();
        let known = seen.entry(root.key()).or_insert((root.metadata.revision, now));
        if known.0 != root.metadata.revision {
            *known = (root.metadata.revision, now);
        }
        let namespace = &root.metadata.namespace;
        let wants = |any: &dyn Fn(&str) -> bool| root.spec.hard.keys().any(|name| any(name));
        let mut counts = BTreeMap::new();
        for name in root.spec.hard.keys() {
            let kind = quota::counted(name)
                .and_then(|(group, plural)| self.inventory.count(group, plural, namespace));
            if let Some(count) = kind {
                counts.insert(name.clone(), i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        let pods =
            if wants(&pods::measures) { caches.read::<Pod>().in_namespace(namespace) } else { Vec::new() };
        let claims = if wants(&claims::measures) {
            caches.read::<PersistentVolumeClaim>().in_namespace(namespace)
        } else {
            Vec::new()
        };
        let services = if wants(&services::measures) {
            caches.read::<Service>().in_namespace(namespace)
        } else {
            Vec::new()
        };
        let classes = caches.read::<DeviceClass>().list();
        let classes: devices::Classes = classes
            .iter()
            .map(|class| {
                let by_name = class.spec.extended_resource_name.clone().unwrap_or_default();
                (class.metadata.name.as_ref().into(), by_name)
            })
            .collect();
        let devices = if wants(&|name| devices::measures(name, &classes)) {
            device_claims(namespace, caches)
        } else {
            Vec::new()
        };
        Some(Observed { pods, claims, services, devices, classes, counts, since: known.1, root })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let root = &*observed.root;
        let (counted, changes_in) = count(observed, now);
        let told = root.status.used.clone().unwrap_or_default();
        let mut used: Amounts = told
            .iter()
            .filter(|(name, _)| root.spec.hard.contains_key(*name))
            .map(|(n, q)| (n.clone(), q.clone()))
            .collect();
        used.extend(counted);
        let mut plan = Plan::because("as much is used as is told");
        if let Some(after) = changes_in {
            plan = plan.look_again(after);
        }
        let hard_is_told = root.status.hard.as_ref() == Some(&root.spec.hard);
        if hard_is_told && root.status.used.as_ref() == Some(&used) {
            return plan;
        }
        let lower = used.iter().any(|(name, amount)| told.get(name).is_some_and(|told| amount < told));
        let settled = observed.since.checked_add(GRANTS_SETTLE).unwrap_or(Timestamp::MAX);
        if hard_is_told && lower && now < settled {
            plan.why = "less is used than is told, and some of it may have been granted just now".into();
            return plan.look_again_at(settled, now);
        }
        plan.why =
            if hard_is_told { "not as much is used as is told" } else { "what is allowed has changed" }
                .into();
        let status = serde_json::json!({
            "hard": merge(root.status.hard.as_ref(), &root.spec.hard),
            "used": merge(root.status.used.as_ref(), &used),
        });
        // Only over what was seen: admission writes here too.
        plan.then(Request::status(RESOURCE_QUOTAS, root.key(), status).if_unchanged(&root.metadata))
    }
}

fn quotas_of(namespace: &str, caches: &Caches) -> Vec<Key> {
    caches.read::<ResourceQuota>().in_namespace(namespace).iter().map(|quota| quota.key()).collect()
}

/// The claims of devices, each with the Pod that it was made for because that asks for devices as plain resources.
fn device_claims(namespace: &str, caches: &Caches) -> Vec<(Arc<ResourceClaim>, Option<Arc<Pod>>)> {
    let claims = caches.read::<ResourceClaim>().in_namespace(namespace);
    let pods = caches.read::<Pod>();
    let is_extended =
        |claim: &ResourceClaim| claim.metadata.annotations.get(devices::EXTENDED) == Some("true");
    fn age(claim: &ResourceClaim) -> (Option<Timestamp>, &str) {
        (claim.metadata.creation_timestamp, &claim.metadata.name)
    }
    let pod_of = |claim: &ResourceClaim| {
        let owner =
            claim.metadata.controller().filter(|it| &*it.kind == "Pod" && &*it.api_version == "v1")?;
        let pod = pods.get_same(&Key::new(namespace, &owner.name), &owner.uid)?;
        let rivals = claims.iter().filter(|it| is_extended(it));
        let rivals = rivals.filter(|it| it.metadata.controller().is_some_and(|it| it.uid == owner.uid));
        let named = &pod.status.extended_resource_claim;
        let is_its = devices::is_the_pods(age(claim), named, rivals.map(|it| age(it)));
        is_its.then_some(pod)
    };
    claims.iter().map(|claim| (Arc::clone(claim), pod_of(claim).filter(|_| is_extended(claim)))).collect()
}

/// Amounts for a merge patch over others.
fn merge(before: Option<&Amounts>, after: &Amounts) -> Value {
    let gone = before.into_iter().flatten().filter(|(name, _)| !after.contains_key(*name));
    let mut fields: Map<String, Value> = gone.map(|(name, _)| (name.to_string(), Value::Null)).collect();
    fields.extend(after.iter().map(|(name, amount)| (name.to_string(), amount.to_string().into())));
    fields.into()
}

/// What is used of all that somebody can count, and when that changes by itself.
fn count(observed: &Observed, now: Timestamp) -> (Amounts, Option<Duration>) {
    let root = &*observed.root;
    let requirements = root.requirements();
    let mut used = Amounts::new();
    let mut changes_in: Option<Duration> = None;
    let has_rules = |name: &str| {
        pods::measures(name)
            || claims::measures(name)
            || services::measures(name)
            || devices::measures(name, &observed.classes)
    };
    let is_counted = |name: &str| has_rules(name) || observed.counts.contains_key(name);
    for name in root.spec.hard.keys().filter(|name| is_counted(name)) {
        used.insert(name.clone(), number(0));
    }
    let mut sum = |amounts: Amounts| {
        let wanted = amounts.into_iter().filter(|(name, _)| root.spec.hard.contains_key(name)).collect();
        quota::add(&mut used, &wanted);
    };
    for pod in observed.pods.iter().map(|pod| usage::pod(pod)) {
        if requirements.iter().all(|scope| pod.is_in(scope)) {
            changes_in = changes_in.into_iter().chain(usage::time_left(&pod, now)).min();
            sum(pod.usage(now));
        }
    }
    for claim in observed.claims.iter().map(|claim| usage::claim(claim)) {
        if requirements.iter().all(|scope| claim.is_in(scope)) {
            sum(claim.usage());
        }
    }
    // Nothing else is in any scope.
    if requirements.is_empty() {
        observed.services.iter().for_each(|service| sum(usage::of_service(service)));
        for (claim, pod) in &observed.devices {
            let counted = pod.as_ref().map(|pod| usage::pod(pod).usage(now)).unwrap_or_default();
            sum(devices::usage(&claim.spec, &observed.classes, &counted));
        }
        let counts = observed.counts.iter().filter(|(name, _)| !has_rules(name));
        sum(counts.map(|(name, count)| (name.clone(), number(*count))).collect());
    }
    (used, changes_in)
}

#[cfg(test)]
mod tests {
    use client::{Write, controller::Verb, testing::Filled};
    use runtime::Runtime;
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn pod(name: &str, phase: &str, spec: Value) -> Value {
        let mut pod = json!({"metadata": {"namespace": "ns", "name": name, "uid": name}, "status": {"phase": phase, "qosClass": "Burstable"},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m", "memory": "1Gi", "example.com/gpu": "2"}, "limits": {"cpu": "1"}}}]}});
        for (field, value) in spec.as_object().unwrap() {
            pod["spec"][field] = value.clone();
        }
        pod
    }

    fn look(quota: Value, seen_for: i64) -> Plan {
        let claim = json!({"metadata": {"namespace": "ns", "name": "c"},
            "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "5Gi"}}}});
        let service = json!({"metadata": {"namespace": "ns", "name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}});
        let caches = Filled::new()
            .with::<ResourceQuota>([quota])
            .with::<Pod>([
                pod("a", "Running", json!({})),
                pod("b", "Pending", json!({"activeDeadlineSeconds": 5, "priorityClassName": "high"})),
                pod("c", "Succeeded", json!({})),
            ])
            .with::<PersistentVolumeClaim>([claim])
            .with::<Service>([service])
            .with::<DeviceClass>([
                json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}}),
                json!({"metadata": {"name": "nic"}}),
            ])
            .with::<ResourceClaim>([
                json!({"metadata": {"namespace": "ns", "name": "d"}, "spec": {"devices": {"requests": [
                    {"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 3}},
                    {"firstAvailable": [{"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
                        {"deviceClassName": "nic", "allocationMode": "All"}]}]}}}),
                json!({"metadata": {"namespace": "ns", "name": "e", "annotations": {devices::EXTENDED: "true"}, "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "a", "controller": true}]}, "spec": {"devices": {"requests": [
                    {"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}}]}}}),
            ])
            .caches();
        let controller = ResourceQuotas::new(Runtime::simulated(now(), 1).clock, Inventory::default());
        let mut observed = controller.observe(&Key::new("ns", "q"), &caches).unwrap();
        observed.since = now() - jiff::SignedDuration::from_secs(seen_for);
        observed.counts.insert("secrets".into(), 7);
        controller.reconcile(&observed, now())
    }

    fn used(spec: Value) -> Value {
        let plan = look(
            json!({"metadata": {"namespace": "ns", "name": "q", "uid": "q", "resourceVersion": "3"}, "spec": spec}),
            10,
        );
        let Some(Write::Request(request)) = plan.writes.first() else { panic!("{plan:?}") };
        let Verb::Merge(document) = &request.verb else { panic!("{plan:?}") };
        document["status"]["used"].clone()
    }

    #[test]
    fn everything_that_is_allowed_is_counted() {
        let all = json!({"pods": "9", "count/pods": "9", "requests.cpu": "9", "cpu": "9", "limits.cpu": "9", "memory": "9Gi",
            "requests.example.com/gpu": "9", "persistentvolumeclaims": "9", "requests.storage": "9Gi",
            "gold.storageclass.storage.k8s.io/requests.storage": "9Gi", "services": "9", "services.nodeports": "9",
            "services.loadbalancers": "9", "secrets": "9", "nonsense": "1"});
        assert_eq!(
            used(json!({"hard": all})),
            json!({"pods": "2", "count/pods": "3", "requests.cpu": "200m", "cpu": "200m", "limits.cpu": "2", "memory": "2Gi",
                "requests.example.com/gpu": "8", "persistentvolumeclaims": "1", "requests.storage": "5Gi",
                "gold.storageclass.storage.k8s.io/requests.storage": "5Gi", "services": "1", "services.nodeports": "2",
                "services.loadbalancers": "0", "secrets": "7"})
        );
    }

    #[test]
    fn devices_are_counted_by_class_and_those_of_pods_once() {
        let all = json!({"gpu.deviceclass.resource.k8s.io/devices": "9", "nic.deviceclass.resource.k8s.io/devices": "99",
            "requests.deviceclass.resource.kubernetes.io/gpu": "9", "requests.example.com/gpu": "9"});
        assert_eq!(
            used(json!({"hard": all})),
            json!({"gpu.deviceclass.resource.k8s.io/devices": "6", "nic.deviceclass.resource.k8s.io/devices": "32",
                "requests.deviceclass.resource.kubernetes.io/gpu": "6", "requests.example.com/gpu": "8"})
        );
    }

    #[test]
    fn a_scope_narrows_what_counts() {
        let one = |scope: &str| used(json!({"hard": {"pods": "9"}, "scopes": [scope]}));
        assert_eq!(one("Terminating"), json!({"pods": "1"}));
        assert_eq!(one("NotTerminating"), json!({"pods": "1"}));
        assert_eq!(one("BestEffort"), json!({"pods": "0"}));
        assert_eq!(one("NotBestEffort"), json!({"pods": "2"}));
        let priority = |operator: &str, values: Value| {
            used(json!({"hard": {"pods": "9"}, "scopeSelector": {"matchExpressions":
                [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}}))
        };
        assert_eq!(priority("In", json!(["high"])), json!({"pods": "1"}));
        assert_eq!(priority("NotIn", json!(["high"])), json!({"pods": "1"}));
        assert_eq!(priority("Exists", json!([])), json!({"pods": "1"}));
        assert_eq!(priority("DoesNotExist", json!([])), json!({"pods": "1"}));
    }

    #[test]
    fn what_was_granted_just_now_is_not_taken_back() {
        let quota = |used: &str| {
            json!({"metadata": {"namespace": "ns", "name": "q", "uid": "q"}, "spec": {"hard": {"pods": "9"}},
                "status": {"hard": {"pods": "9"}, "used": {"pods": used}}})
        };
        assert_eq!(look(quota("2"), 0).writes.len(), 0);
        let early = look(quota("3"), 0);
        assert_eq!((early.writes.len(), early.look_again), (0, Some(Duration::from_millis(250))));
        assert_eq!(look(quota("3"), 1).writes.len(), 1);
        assert_eq!(look(quota("1"), 0).writes.len(), 1, "more is told at once");
    }
}
