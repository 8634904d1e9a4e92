//! EndpointSlice: tells in slices of a hundred where the Pods of a Service are.
//!
//! Endpoints with the same ports share slices, one set of slices for each family of addresses. A look changes as few
//! slices as it can: what is there stays where it is, and new endpoints go first into slices that change anyway. Hints by
//! [`topology`] are of a Service's endpoints together.

mod topology;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use client::{
    Caches, Change, Controller, Key, Kind, Owner, Plan, Triggers, Write,
    controller::{Report, Request, Verb},
    events::{Note, ObjectRef},
    resource::{ENDPOINT_SLICES, SERVICES},
};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use self::topology::Capacity;
use crate::{
    kinds::{
        EndpointSlice, Node, Pod, Service,
        endpoint_slice::{BY_SERVICE, Conditions, Endpoint, Hints, Named, Port, SERVICE_NAME},
    },
    services::{self, HEADLESS, TRIGGER_TIME, TriggerTimes},
};

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";
/// At most so many endpoints are in a slice.
const SLICE_MAX: usize = 100;
/// A Pod whose node is not known yet is looked at again after so long.
const NODE_MISSING: Duration = Duration::from_secs(1);

/// Keeps the EndpointSlices of Services.
#[derive(Debug, Default)]
pub struct EndpointSlices {
    trigger_times: TriggerTimes,
    /// The Services whose endpoints have hints because an annotation asks for them.
    hinted: Mutex<BTreeSet<Key>>,
}

/// All that matters to the slices of a Service.
#[derive(Debug)]
pub struct Observed {
    service: Arc<Service>,
    /// Its Pods, with where each of them is.
    pods: Vec<(Arc<Pod>, Whereabouts)>,
    slices: Vec<Arc<EndpointSlice>>,
    trigger_time: Option<Timestamp>,
    /// What the zones can do, if an annotation asks for hints.
    capacity: Option<Capacity>,
    /// An annotation asked for hints, and does no longer.
    no_longer_hinted: bool,
}

/// The zone of the node of a Pod, if it has one; `None` if the node is not known.
type Whereabouts = Option<Option<Box<str>>>;

/// What shall be of the slices of one family.
#[derive(Debug, Default)]
struct Changes {
    creates: Vec<Draft>,
    updates: Vec<(Arc<EndpointSlice>, Draft)>,
    deletes: Vec<Arc<EndpointSlice>>,
    notes: Vec<Note>,
}

/// What shall be in a slice.
#[derive(Clone, Debug)]
struct Draft {
    family: Box<str>,
    ports: Vec<Port>,
    endpoints: Vec<Endpoint>,
}

/// The endpoints that have the same ports, with these in the order of the Service.
type Group = (Vec<Port>, BTreeMap<Identity, Endpoint>);

/// Tells endpoints apart: addresses, host name and Pod.
type Identity = (Vec<Box<str>>, Option<Box<str>>, Box<str>, Box<str>);

// === impl EndpointSlices ===

impl Controller for EndpointSlices {
    type Root = Service;
    type Observed = Observed;
    const NAME: &'static str = "endpoint-slice-controller";

    fn triggers(&self, on: &mut Triggers<Service>) {
        services::triggers(on);
        on.changes::<Node>(|change, caches| {
            if let Change::Modified { old, new } = change
                && topology::part_of(old) == topology::part_of(new)
            {
                return Vec::new();
            }
            let services = caches.read::<Service>().list();
            let wanted = services.iter().filter(|service| topology::is_wanted(service));
            wanted.map(|service| service.key()).collect()
        });
        on.mapped::<EndpointSlice>(|slice, _| {
            let service = slice.metadata.labels.get(SERVICE_NAME).filter(|_| is_ours(slice));
            service.map(|name| Key::new(&slice.metadata.namespace, name)).into_iter().collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let Some(service) = caches.read::<Service>().get(root) else {
            self.trigger_times.forget(root);
            self.hinted.lock().remove(root);
            return None;
        };
        if !service.selects() {
            return None;
        }
        let pods = services::pods(&service, caches);
        let nodes = caches.read::<Node>();
        let zone_of = |pod: &Pod| {
            let node = nodes.get(&Key::cluster(&pod.spec.node_name))?;
            Some(node.metadata.labels.get(ZONE).filter(|zone| !zone.is_empty()).map(Box::from))
        };
        let slices = caches.read::<EndpointSlice>().by_index(BY_SERVICE, &root.to_string());
        let capacity = topology::is_wanted(&service).then(|| topology::capacity(&nodes.list()));
        let mut hinted = self.hinted.lock();
        let no_longer_hinted = match &capacity {
            Some(_) => {
                hinted.insert(root.clone());
                false
            }
            None => hinted.remove(root),
        };
        Some(Observed {
            capacity,
            no_longer_hinted,
            trigger_time: self.trigger_times.next(&service, &pods),
            pods: pods.into_iter().map(|pod| (Arc::clone(&pod), zone_of(&pod))).collect(),
            slices: slices
                .into_iter()
                .filter(|slice| is_ours(slice) && !slice.metadata.is_terminating())
                .collect(),
            service,
        })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { service, slices, .. } = observed;
        let families = families(service);
        let mut changes = Changes::default();
        let mut node_missing = false;
        for family in &families {
            let of_family: Vec<_> =
                slices.iter().filter(|slice| slice.address_type == *family).cloned().collect();
            node_missing |= reconcile_family(observed, family, &of_family, &mut changes);
        }
        let strangers = slices.iter().filter(|slice| !families.contains(&slice.address_type));
        changes.deletes.extend(strangers.cloned());
        let mut plan = write(service, changes, observed.trigger_time);
        if node_missing {
            plan = plan.look_again(NODE_MISSING);
        }
        plan
    }
}

fn is_ours(slice: &EndpointSlice) -> bool {
    slice.metadata.labels.get(MANAGED_BY) == Some(MANAGER)
}

fn is_owned(slice: &EndpointSlice, service: &Service) -> bool {
    slice.metadata.owners.iter().any(|owner| owner.uid == service.metadata.uid && &*owner.kind == "Service")
}

/// The families of a Service: what it says, or what its address is, or both.
fn families(service: &Service) -> Vec<Box<str>> {
    let told: Vec<_> = service.spec.ip_families.to_vec();
    if !told.is_empty() {
        return told;
    }
    if service.is_headless() {
        return vec!["IPv4".into(), "IPv6".into()];
    }
    vec![if service.spec.cluster_ip.contains(':') { "IPv6".into() } else { "IPv4".into() }]
}

/// Decides the slices of one family. True if the node of a Pod is not known.
fn reconcile_family(
    observed: &Observed,
    family: &str,
    existing: &[Arc<EndpointSlice>],
    changes: &mut Changes,
) -> bool {
    let Observed { service, pods, .. } = observed;
    let mut by_ports: BTreeMap<Vec<Port>, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    let mut deletes = Vec::new();
    for slice in existing {
        if is_owned(slice, service) {
            let mut ports = slice.ports.clone();
            ports.sort();
            by_ports.entry(ports).or_default().push(Arc::clone(slice));
        } else {
            deletes.push(Arc::clone(slice));
        }
    }
    let mut desired: BTreeMap<Vec<Port>, Group> = BTreeMap::new();
    let mut node_missing = false;
    for (pod, zone) in pods.iter().filter(|(pod, _)| services::may_serve(pod, true)) {
        let ports = ports(service, pod);
        let mut key = ports.clone();
        key.sort();
        let (_, endpoints) = desired.entry(key).or_insert_with(|| (ports, BTreeMap::new()));
        if zone.is_none() && !service.spec.publish_not_ready_addresses {
            node_missing = true;
            continue;
        }
        let endpoint = endpoint(service, pod, zone.clone().flatten(), family);
        if !endpoint.addresses.is_empty() {
            endpoints.insert(identity(&endpoint), endpoint);
        }
    }
    hint(observed, family, existing, &mut desired, changes);
    let (creates_before, mut kept) = (changes.creates.len(), existing.len() - deletes.len());
    for (key, (ports, endpoints)) in desired {
        let slices = by_ports.remove(&key).unwrap_or_default();
        let emptied = fill(service, family, &slices, ports, endpoints, changes);
        kept -= emptied.len();
        deletes.extend(emptied);
    }
    let unwanted: Vec<_> = by_ports.into_values().flatten().collect();
    kept -= unwanted.len();
    deletes.extend(unwanted);
    if kept == 0 && changes.creates.len() == creates_before {
        // A Service without endpoints has one slice that says so.
        match deletes.as_slice() {
            [only]
                if only.endpoints.is_empty()
                    && only.ports.is_empty()
                    && is_owned(only, service)
                    && only.metadata.labels == client::Labels::from_iter(labels(service)) =>
            {
                deletes.clear();
            }
            _ => changes.creates.push(Draft {
                family: family.into(),
                ports: Vec::new(),
                endpoints: Vec::new(),
            }),
        }
    }
    // What would be made and what would be deleted make one update.
    for slice in deletes {
        let reusable = is_owned(&slice, service) && changes.creates.len() > creates_before;
        match changes.creates.pop_if(|_| reusable) {
            Some(draft) => changes.updates.push((slice, draft)),
            None => changes.deletes.push(slice),
        }
    }
    node_missing
}

/// Hints where endpoints are to be used if an annotation asks for it, and tells of it.
fn hint(
    observed: &Observed,
    family: &str,
    existing: &[Arc<EndpointSlice>],
    desired: &mut BTreeMap<Vec<Port>, Group>,
    changes: &mut Changes,
) {
    let zone_of = |hints: &Hints| hints.for_zones.first().map(|zone| zone.name.clone());
    let hinted = |slice: &Arc<EndpointSlice>| -> BTreeMap<Identity, Box<str>> {
        let zone = |it: &Endpoint| Some((identity(it), zone_of(it.hints.as_ref()?)?));
        slice.endpoints.iter().filter_map(zone).collect()
    };
    let Some(capacity) = &observed.capacity else {
        if observed.no_longer_hinted {
            let message = format!("Topology Aware Hints has been disabled, addressType: {family}");
            changes.notes.push(Note::warning("TopologyAwareHintsDisabled", message));
        }
        return;
    };
    let before = existing.iter().flat_map(hinted).collect();
    let mut endpoints: Vec<&mut Endpoint> =
        desired.values_mut().flat_map(|(_, endpoints)| endpoints.values_mut()).collect();
    match topology::distribute(&mut endpoints, &before, capacity) {
        Err(why) => {
            let message = format!("{why}, addressType: {family}");
            changes.notes.push(Note::warning("TopologyAwareHintsDisabled", message));
        }
        // News only if nobody had hints.
        Ok(()) if observed.slices.iter().all(|slice| hinted(slice).is_empty()) => {
            let message = format!("Topology Aware Hints has been enabled, addressType: {family}");
            let known = changes.notes.iter().any(|note| note.reason == "TopologyAwareHintsEnabled");
            if !known {
                changes.notes.push(Note::normal("TopologyAwareHintsEnabled", message));
            }
        }
        Ok(()) => {}
    }
}

/// Puts the endpoints of one set of ports into slices; returns the slices that are empty then.
fn fill(
    service: &Service,
    family: &str,
    slices: &[Arc<EndpointSlice>],
    ports: Vec<Port>,
    mut endpoints: BTreeMap<Identity, Endpoint>,
    changes: &mut Changes,
) -> Vec<Arc<EndpointSlice>> {
    let mut emptied = Vec::new();
    let mut unchanged: Vec<(Arc<EndpointSlice>, Draft)> = Vec::new();
    let mut updates: Vec<(Arc<EndpointSlice>, Draft)> = Vec::new();
    let wanted_labels = plain_labels(labels(service));
    for slice in slices {
        let kept: Vec<_> =
            slice.endpoints.iter().filter_map(|old| endpoints.remove(&identity(old))).collect();
        let same = kept == slice.endpoints;
        let draft = Draft { family: family.into(), ports: slice.ports.clone(), endpoints: kept };
        if !same && draft.endpoints.is_empty() {
            emptied.push(Arc::clone(slice));
        } else if !same || plain_labels(slice.metadata.labels.iter()) != wanted_labels {
            updates.push((Arc::clone(slice), draft));
        } else {
            unchanged.push((Arc::clone(slice), draft));
        }
    }
    updates.sort_by_key(|(_, draft)| std::cmp::Reverse(draft.endpoints.len()));
    let mut rest: Vec<_> = endpoints.into_values().rev().collect();
    let top_up = |draft: &mut Draft, rest: &mut Vec<Endpoint>| {
        let room = SLICE_MAX.saturating_sub(draft.endpoints.len()).min(rest.len());
        draft.endpoints.extend(rest.drain(rest.len() - room..).rev());
    };
    for (_, draft) in &mut updates {
        top_up(draft, &mut rest);
    }
    while !rest.is_empty() {
        // The fullest slice that has room for all that is left, if there is one.
        let fits = unchanged
            .iter()
            .enumerate()
            .filter(|(_, (_, draft))| draft.endpoints.len() + rest.len() <= SLICE_MAX)
            .max_by_key(|(_, (_, draft))| draft.endpoints.len())
            .map(|(place, _)| place);
        match fits {
            Some(place) => {
                let (slice, mut draft) = unchanged.remove(place);
                top_up(&mut draft, &mut rest);
                updates.push((slice, draft));
            }
            None => {
                let mut draft = Draft { family: family.into(), ports: ports.clone(), endpoints: Vec::new() };
                top_up(&mut draft, &mut rest);
                changes.creates.push(draft);
            }
        }
    }
    changes.updates.extend(updates);
    emptied
}

fn identity(endpoint: &Endpoint) -> Identity {
    let pod = endpoint.target_ref.clone().unwrap_or_default();
    (endpoint.addresses.clone(), endpoint.hostname.clone(), pod.namespace, pod.name)
}

fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let port = |port: &crate::kinds::service::ServicePort| {
        Some(Port {
            name: Some(port.name.clone()),
            protocol: Some(port.protocol.clone()),
            port: Some(services::port_of(pod, port)?),
            app_protocol: port.app_protocol.clone(),
        })
    };
    service.spec.ports.iter().filter_map(port).collect()
}

fn endpoint(service: &Service, pod: &Pod, zone: Option<Box<str>>, family: &str) -> Endpoint {
    let serving = pod.is_ready();
    let terminating = pod.metadata.is_terminating();
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let node_name = (!pod.spec.node_name.is_empty()).then(|| pod.spec.node_name.clone());
    Endpoint {
        addresses: services::addresses(pod, family),
        conditions: Conditions { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) },
        hostname: services::hostname(pod, service),
        target_ref: Some(services::reference(pod)),
        hints: if ready { hints(service, zone.as_deref(), node_name.as_deref()) } else { None },
        node_name,
        zone,
    }
}

/// Who should use an endpoint, as the Service wants its traffic distributed (KEP-4444, KEP-3015).
fn hints(service: &Service, zone: Option<&str>, node: Option<&str>) -> Option<Hints> {
    let named =
        |name: Option<&str>| name.map(|name| Named { name: name.into() }).into_iter().collect::<Vec<_>>();
    let hints = match service.spec.traffic_distribution.as_deref() {
        Some("PreferClose" | "PreferSameZone") => Hints { for_zones: named(zone), for_nodes: Vec::new() },
        Some("PreferSameNode") => Hints { for_zones: named(zone), for_nodes: named(node) },
        _ => return None,
    };
    (hints != Hints::default()).then_some(hints)
}

/// The labels of the slices of a Service: its own, and those that say what they are.
fn labels(service: &Service) -> Vec<(&str, &str)> {
    let mut labels: Vec<_> = plain_labels(service.metadata.labels.iter());
    if service.is_headless() {
        labels.push((HEADLESS, ""));
    }
    labels.push((SERVICE_NAME, &service.metadata.name));
    labels.push((MANAGED_BY, MANAGER));
    labels
}

/// Without the labels that say what a slice is.
fn plain_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    let mut plain: Vec<_> =
        labels.into_iter().filter(|(key, _)| !matches!(*key, HEADLESS | SERVICE_NAME | MANAGED_BY)).collect();
    plain.sort_unstable();
    plain
}

fn write(service: &Service, changes: Changes, trigger_time: Option<Timestamp>) -> Plan {
    let Changes { mut creates, updates, deletes, notes } = changes;
    if service.metadata.is_terminating() {
        // The garbage collector deletes slices; new ones would be in its way.
        creates.clear();
    }
    let tell = |plan: Plan| {
        let about = || ObjectRef::to(service);
        notes.into_iter().fold(plan, |plan, note| plan.then(Write::event(about(), note)))
    };
    let count = creates.len() + updates.len() + deletes.len();
    if count == 0 {
        return tell(Plan::because("the slices say where the Pods are"));
    }
    let mut plan = Plan::because(format!("{count} slices do not say where the Pods are"));
    let labels: Map<_, _> =
        labels(service).into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let told = trigger_time.map(|at| at.to_string());
    let creates = creates.into_iter().map(|draft| {
        let mut metadata = json!({
            "generateName": format!("{}-", service.metadata.name),
            "namespace": &*service.metadata.namespace,
            "labels": labels,
            "ownerReferences": [Owner::controller_of(&SERVICES, &service.metadata)],
        });
        if let (Some(told), Value::Object(fields)) = (&told, &mut metadata) {
            fields.insert("annotations".to_owned(), json!({ TRIGGER_TIME: told }));
        }
        let slice = json!({
            "metadata": metadata,
            "addressType": draft.family,
            "endpoints": draft.endpoints,
            "ports": draft.ports,
        });
        told_if_failed(service, Request::create(ENDPOINT_SLICES, &service.metadata.namespace, slice))
    });
    let updates = updates.into_iter().map(|(slice, draft)| {
        let mut changed = labels.clone();
        for (key, _) in slice.metadata.labels.iter() {
            changed.entry(key).or_insert(Value::Null);
        }
        let patch = json!({
            "metadata": {"labels": changed, "annotations": {TRIGGER_TIME: told}},
            "endpoints": draft.endpoints,
            "ports": draft.ports,
        });
        let update = Request::merge(ENDPOINT_SLICES, slice.key(), patch).if_unchanged(&slice.metadata);
        told_if_failed(service, update)
    });
    let deletes = deletes
        .iter()
        .map(|slice| told_if_failed(service, Request::delete(ENDPOINT_SLICES, &slice.metadata)));
    for requests in [creates.collect::<Vec<_>>(), updates.collect(), deletes.collect()] {
        if !requests.is_empty() {
            plan = plan.then(Write::all(requests));
        }
    }
    tell(plan)
}

/// With an Event of the Service about a failure.
fn told_if_failed(service: &Service, request: Request) -> Request {
    let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
    let what = match &request.verb {
        Verb::Create(_) => "create".to_owned(),
        Verb::Delete(_) => format!("delete {}", request.key.name),
        Verb::Update(_) | Verb::Patch(_) | Verb::Merge(_) => format!("update {}", request.key.name),
    };
    let message = format!(
        "Error updating Endpoint Slices for Service {namespace}/{name}: failed to {what} EndpointSlice for Service {namespace}/{name}: {{error}}"
    );
    let failed = Some(Note::warning("FailedToUpdateEndpointSlices", message));
    request.reporting(Report { about: ObjectRef::to(service), done: None, failed })
}

#[cfg(test)]
mod tests {
    use client::testing::Filled;

    use super::*;

    fn service(spec: Value) -> Value {
        let mut service = json!({
            "metadata": {"namespace": "ns", "name": "web", "uid": "svc", "labels": {"team": "a"},
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
                "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]},
        });
        for (field, value) in spec.as_object().unwrap() {
            service["spec"][field] = value.clone();
        }
        service
    }

    fn pod(name: &str, ip: &str, ready: bool, more: Value) -> Value {
        let mut pod = json!({
            "metadata": {"namespace": "ns", "name": name, "uid": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "web", "containerPort": 9090, "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
                {"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        });
        for (field, value) in more.as_object().unwrap() {
            pod["metadata"][field] = value.clone();
        }
        pod
    }

    fn slice(name: &str, endpoints: Value, ports: Value) -> Value {
        json!({
            "metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": "4",
                "labels": {"team": "a", SERVICE_NAME: "web", MANAGED_BY: MANAGER},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "web", "uid": "svc"}]},
            "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
        })
    }

    fn plan(service: Value, pods: Vec<Value>, slices: Vec<Value>) -> Plan {
        let node = json!({"metadata": {"name": "n1", "labels": {ZONE: "z1"}}});
        let caches = Filled::new()
            .with::<Service>([service])
            .with::<Pod>(pods)
            .with::<EndpointSlice>(slices)
            .with::<Node>([node])
            .caches();
        let controller = EndpointSlices::default();
        let observed = controller.observe(&Key::new("ns", "web"), &caches).unwrap();
        controller.reconcile(&observed, Timestamp::UNIX_EPOCH)
    }

    fn requests(plan: &Plan) -> Vec<Request> {
        plan.writes
            .iter()
            .flat_map(|write| match write {
                Write::Batch { requests, .. } => requests.clone(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn written(plan: &Plan) -> Vec<(String, Value)> {
        let one = |request: Request| match request.verb {
            Verb::Create(object) => ("create".to_owned(), (*object).clone()),
            Verb::Merge(document) => (format!("update {}", request.key.name), (*document).clone()),
            Verb::Delete(_) => (format!("delete {}", request.key.name), Value::Null),
            other @ (Verb::Update(_) | Verb::Patch(_)) => panic!("{other:?}"),
        };
        requests(plan).into_iter().map(one).collect()
    }

    fn http() -> Value {
        json!([{"name": "http", "protocol": "TCP", "port": 8080}])
    }

    #[test]
    fn a_slice_tells_everything_about_an_endpoint() {
        let written = written(&plan(service(json!({})), vec![pod("a", "10.1.0.1", true, json!({}))], vec![]));
        assert_eq!(written.len(), 1);
        let slice = &written[0].1;
        assert_eq!(
            slice["endpoints"],
            json!([{"addresses": ["10.1.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "n1", "zone": "z1",
                "targetRef": {"kind": "Pod", "namespace": "ns", "name": "a", "uid": "a"}}])
        );
        assert_eq!((&slice["ports"], &slice["addressType"]), (&http(), &json!("IPv4")));
        assert_eq!(
            slice["metadata"]["labels"],
            json!({"team": "a", SERVICE_NAME: "web", MANAGED_BY: MANAGER})
        );
        assert_eq!(slice["metadata"]["annotations"], json!({TRIGGER_TIME: "2026-01-01T00:00:00Z"}));
        assert_eq!(slice["metadata"]["generateName"], "web-");
    }

    #[test]
    fn conditions_tell_who_may_be_used() {
        let terminating = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        for (spec, ready, more, expected) in [
            (json!({}), true, json!({}), [true, true, false]),
            (json!({}), false, json!({}), [false, false, false]),
            (json!({}), true, terminating.clone(), [false, true, true]),
            (json!({"publishNotReadyAddresses": true}), false, terminating, [true, false, true]),
        ] {
            let written = written(&plan(service(spec), vec![pod("a", "10.1.0.1", ready, more)], vec![]));
            let conditions = &written[0].1["endpoints"][0]["conditions"];
            let expected = json!({"ready": expected[0], "serving": expected[1], "terminating": expected[2]});
            assert_eq!(*conditions, expected);
        }
    }

    #[test]
    fn what_is_told_already_is_not_told_again_and_a_hundred_fit_in_a_slice() {
        let pods: Vec<_> = (0..250)
            .map(|i| pod(&format!("p{i:03}"), &format!("10.1.{}.{}", i / 100, i % 100 + 1), true, json!({})))
            .collect();
        let first = written(&plan(service(json!({})), pods.clone(), vec![]));
        let sizes: Vec<_> =
            first.iter().map(|(_, slice)| slice["endpoints"].as_array().unwrap().len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
        let slices: Vec<_> = first
            .iter()
            .enumerate()
            .map(|(i, (_, it))| slice(&format!("s{i}"), it["endpoints"].clone(), it["ports"].clone()))
            .collect();
        assert!(plan(service(json!({})), pods.clone(), slices.clone()).writes.is_empty());
        let mut more = pods;
        more.remove(0);
        more.push(pod("new", "10.2.0.1", true, json!({})));
        let changed = written(&plan(service(json!({})), more, slices));
        assert_eq!(changed.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>(), ["update s0"]);
        assert_eq!(changed[0].1["endpoints"].as_array().unwrap().len(), 100);
    }

    #[test]
    fn a_service_without_endpoints_has_one_empty_slice() {
        let empty = written(&plan(service(json!({})), vec![], vec![]));
        assert_eq!(
            (empty.len(), &empty[0].1["endpoints"], &empty[0].1["ports"]),
            (1, &json!([]), &json!([]))
        );
        assert!(plan(service(json!({})), vec![], vec![slice("s", json!([]), json!([]))]).writes.is_empty());
        let old = json!([{"addresses": ["10.1.0.9"], "conditions": {"ready": true}}]);
        let emptied = written(&plan(service(json!({})), vec![], vec![slice("s", old, http())]));
        assert_eq!(
            (emptied.len(), emptied[0].0.as_str(), &emptied[0].1["ports"]),
            (1, "update s", &json!([]))
        );
    }

    #[test]
    fn ports_go_by_name_and_families_have_their_own_slices() {
        let named = json!({"ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"}],
            "ipFamilies": ["IPv4", "IPv6"], "trafficDistribution": "PreferSameNode"});
        let mut both = pod("a", "10.1.0.1", true, json!({}));
        both["status"]["podIPs"] = json!([{"ip": "10.1.0.1"}, {"ip": "fd00::1"}]);
        let written = written(&plan(service(named), vec![both], vec![]));
        let told: Vec<_> = written
            .iter()
            .map(|(_, slice)| {
                (&slice["addressType"], &slice["endpoints"][0]["addresses"], &slice["ports"][0]["port"])
            })
            .collect();
        assert_eq!(
            told,
            [
                (&json!("IPv4"), &json!(["10.1.0.1"]), &json!(9090)),
                (&json!("IPv6"), &json!(["fd00::1"]), &json!(9090)),
            ]
        );
        assert_eq!(
            written[0].1["endpoints"][0]["hints"],
            json!({"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]})
        );
    }

    #[test]
    fn an_annotation_asks_for_hints_and_says_why_there_are_none() {
        let mut asks = service(json!({}));
        asks["metadata"]["annotations"] = json!({"service.kubernetes.io/topology-mode": "Auto"});
        let nodes = ["n1", "n2"].map(|name| {
            json!({"metadata": {"name": name, "labels": {ZONE: format!("z-{name}")}},
                "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "4"}}})
        });
        let on = |node: &str| {
            let mut pod = pod(node, &format!("10.1.0.{}", &node[1..]), true, json!({}));
            pod["spec"]["nodeName"] = json!(node);
            pod
        };
        let controller = EndpointSlices::default();
        let look = |service: &Value, pods: Vec<Value>, slices: Vec<Value>| {
            let caches = Filled::new()
                .with::<Service>([service.clone()])
                .with::<Pod>(pods)
                .with::<EndpointSlice>(slices)
                .with::<Node>(nodes.clone())
                .caches();
            let observed = controller.observe(&Key::new("ns", "web"), &caches).unwrap();
            let mut plan = controller.reconcile(&observed, Timestamp::UNIX_EPOCH);
            let told: Vec<String> = plan
                .writes
                .extract_if(.., |write| matches!(write, Write::Event { .. }))
                .map(|write| match write {
                    Write::Event { note, .. } => note.message.to_string(),
                    other => panic!("{other:?}"),
                })
                .collect();
            let hints: Vec<Value> = written(&plan)
                .iter()
                .flat_map(|(_, it)| it["endpoints"].as_array().cloned().unwrap())
                .collect();
            (told, hints)
        };
        let (told, endpoints) = look(&asks, vec![on("n1"), on("n2")], vec![]);
        assert_eq!(told, ["Topology Aware Hints has been enabled, addressType: IPv4"]);
        let zones: Vec<_> = endpoints.iter().map(|it| it["hints"]["forZones"][0]["name"].clone()).collect();
        assert_eq!(zones, ["z-n1", "z-n2"]);
        let told_already = || vec![slice("s", endpoints.clone().into(), http())];
        assert_eq!(look(&asks, vec![on("n1"), on("n2")], told_already()), (vec![], vec![]));
        let (told, endpoints) = look(&asks, vec![on("n1")], told_already());
        assert_eq!(told, ["Insufficient number of endpoints (1 endpoints, 2 zones), addressType: IPv4"]);
        assert_eq!(endpoints[0].get("hints"), None);
        let (told, _) = look(&service(json!({})), vec![on("n1"), on("n2")], told_already());
        assert_eq!(told, ["Topology Aware Hints has been disabled, addressType: IPv4"]);
    }

    #[test]
    fn a_pod_whose_node_is_not_known_waits() {
        let mut lost = pod("a", "10.1.0.1", true, json!({}));
        lost["spec"]["nodeName"] = json!("gone");
        let plan = plan(service(json!({})), vec![lost], vec![]);
        assert_eq!(plan.look_again, Some(NODE_MISSING));
        assert_eq!(written(&plan)[0].1["endpoints"], json!([]));
    }
}
