//! Endpoints: tells in one object where the Pods of a Service are, for clients that know no EndpointSlices.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers,
    controller::{Report, Request},
    events::{Note, ObjectRef},
    resource::ENDPOINTS,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    kinds::{
        Endpoints, Pod, Service,
        endpoints::{Address, Port, Subset},
    },
    services::{self, HEADLESS, TRIGGER_TIME, TriggerTimes},
};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Old leader elections keep their lock in Endpoints; those have no Service and stay.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// At most so many addresses are told.
const ADDRESSES_MAX: usize = 1000;

/// Keeps the Endpoints of Services.
#[derive(Debug, Default)]
pub struct EndpointsOfServices {
    trigger_times: TriggerTimes,
}

/// All that matters to the Endpoints of a Service.
#[derive(Debug)]
pub struct Observed {
    service: Option<Arc<Service>>,
    pods: Vec<Arc<Pod>>,
    endpoints: Option<Arc<Endpoints>>,
    trigger_time: Option<Timestamp>,
}

// === impl EndpointsOfServices ===

impl Controller for EndpointsOfServices {
    type Root = Service;
    type Observed = Observed;
    const NAME: &'static str = "endpoint-controller";

    fn triggers(&self, on: &mut Triggers<Service>) {
        services::triggers(on);
        on.changes::<Endpoints>(|change, caches| {
            let key = change.object().key();
            let left_over =
                change.after().is_some_and(|it| it.metadata.labels.get(MANAGED_BY) == Some(MANAGER));
            let concerns = match change {
                Change::Added(_) => left_over,
                Change::Modified { .. } | Change::Deleted { .. } => {
                    left_over || caches.read::<Service>().get(&key).is_some()
                }
            };
            if concerns { vec![key] } else { Vec::new() }
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let endpoints = caches.read::<Endpoints>().get(root);
        let Some(service) = caches.read::<Service>().get(root) else {
            self.trigger_times.forget(root);
            return Some(Observed { service: None, pods: Vec::new(), endpoints, trigger_time: None });
        };
        if !service.selects() {
            return None;
        }
        let pods = services::pods(&service, caches);
        let trigger_time = self.trigger_times.next(&service, &pods);
        Some(Observed { service: Some(service), pods, endpoints, trigger_time })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { service, pods, endpoints, trigger_time } = observed;
        let Some(service) = service else {
            return match endpoints {
                Some(endpoints) if !endpoints.metadata.annotations.contains(LEADER) => {
                    Plan::because("the Service is gone").then(Request::delete(ENDPOINTS, &endpoints.metadata))
                }
                _ => Plan::because("there is neither a Service nor Endpoints"),
            };
        };
        if service.metadata.is_terminating() && endpoints.is_none() {
            return Plan::because("the Service is on its way out");
        }
        let mut subsets = subsets(service, pods);
        let truncated = truncate(&mut subsets);
        if let Some(endpoints) = endpoints
            && pack(endpoints.subsets.clone()) == pack(subsets.clone())
            && labels_fit(service, endpoints)
            && endpoints.metadata.annotations.contains(OVER_CAPACITY) == truncated
        {
            return Plan::because("the Endpoints say where the Pods are");
        }
        write(service, endpoints.as_deref(), &subsets, truncated, *trigger_time)
    }
}

/// Where the Pods are, one subset for each set of ports that the same addresses have.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<Subset> {
    let not_ready_too = service.spec.publish_not_ready_addresses;
    let family = service.spec.ip_families.first().map_or_else(
        || if service.spec.cluster_ip.contains(':') { "IPv6" } else { "IPv4" },
        |family| &**family,
    );
    let mut single = Vec::new();
    for pod in pods.iter().filter(|pod| services::may_serve(pod, not_ready_too)) {
        let Some(ip) = services::addresses(pod, family).into_iter().next() else { continue };
        let address = Address {
            ip,
            hostname: services::hostname(pod, service).unwrap_or_default(),
            node_name: (!pod.spec.node_name.is_empty()).then(|| pod.spec.node_name.clone()),
            target_ref: Some(services::reference(pod)),
        };
        let mut add = |ports: Vec<Port>| {
            let (ready, waiting) = if not_ready_too || pod.is_ready() {
                (vec![address.clone()], Vec::new())
            } else {
                (Vec::new(), vec![address.clone()])
            };
            single.push(Subset { addresses: ready, not_ready_addresses: waiting, ports });
        };
        if service.spec.ports.is_empty() && &*service.spec.cluster_ip == "None" {
            add(Vec::new());
        }
        for port in &service.spec.ports {
            if let Some(number) = services::port_of(pod, port) {
                add(vec![Port {
                    name: port.name.clone(),
                    port: number,
                    protocol: port.protocol.clone(),
                    app_protocol: port.app_protocol.clone(),
                }]);
            }
        }
    }
    pack(single)
}

/// The same in as few subsets as can be, in a fixed order.
pub(super) fn pack(subsets: Vec<Subset>) -> Vec<Subset> {
    type Addresses = BTreeMap<(Option<IpAddr>, Address), bool>;

    let mut by_port: BTreeMap<Option<Port>, Addresses> = BTreeMap::new();
    for subset in subsets {
        let ports: Vec<_> =
            if subset.ports.is_empty() { vec![None] } else { subset.ports.into_iter().map(Some).collect() };
        let ready = subset.addresses.into_iter().map(|address| (address, true));
        let all: Vec<_> =
            ready.chain(subset.not_ready_addresses.into_iter().map(|address| (address, false))).collect();
        for port in ports {
            let addresses = by_port.entry(port).or_default();
            for (address, ready) in &all {
                // One that is said to be both is not ready.
                let entry = addresses.entry((address.ip.parse().ok(), address.clone())).or_insert(*ready);
                *entry = *entry && *ready;
            }
        }
    }
    let mut by_addresses: BTreeMap<Addresses, Vec<Port>> = BTreeMap::new();
    for (port, addresses) in by_port {
        by_addresses.entry(addresses).or_default().extend(port);
    }
    let subset = |(addresses, ports): (Addresses, Vec<Port>)| {
        let of = |wanted: bool| {
            let matching = addresses.iter().filter(|(_, ready)| **ready == wanted);
            matching.map(|((_, address), _)| address.clone()).collect()
        };
        Subset { addresses: of(true), not_ready_addresses: of(false), ports }
    };
    by_addresses.into_iter().map(subset).collect()
}

/// Leaves out what is too much, of every subset its share; ready addresses are kept before others. Whether there was.
fn truncate(subsets: &mut [Subset]) -> bool {
    let ready: usize = subsets.iter().map(|subset| subset.addresses.len()).sum();
    let not_ready: usize = subsets.iter().map(|subset| subset.not_ready_addresses.len()).sum();
    if ready + not_ready <= ADDRESSES_MAX {
        return false;
    }
    let only_ready = ready > ADDRESSES_MAX;
    let (room, total) = if only_ready { (ADDRESSES_MAX, ready) } else { (ADDRESSES_MAX - ready, not_ready) };
    let mut left = room;
    for subset in subsets {
        if only_ready {
            subset.not_ready_addresses.clear();
        }
        let addresses = if only_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (addresses.len() * room).div_ceil(total).min(left);
        addresses.truncate(share);
        left -= addresses.len();
    }
    true
}

/// The labels of a Service without those that say what the Endpoints are.
fn plain_labels(labels: &client::Labels) -> BTreeMap<&str, &str> {
    labels.iter().filter(|(key, _)| !matches!(*key, HEADLESS | MANAGED_BY)).collect()
}

fn labels_fit(service: &Service, endpoints: &Endpoints) -> bool {
    let labels = &endpoints.metadata.labels;
    labels.get(MANAGED_BY) == Some(MANAGER)
        && labels.contains(HEADLESS) == service.is_headless()
        && plain_labels(labels) == plain_labels(&service.metadata.labels)
}

fn write(
    service: &Service,
    endpoints: Option<&Endpoints>,
    subsets: &[Subset],
    truncated: bool,
    trigger_time: Option<Timestamp>,
) -> Plan {
    let name = &service.metadata.name;
    let namespace = &service.metadata.namespace;
    let mut labels: Map<_, _> = plain_labels(&service.metadata.labels)
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    if service.is_headless() {
        labels.insert(HEADLESS.to_owned(), "".into());
    }
    labels.insert(MANAGED_BY.to_owned(), MANAGER.into());
    let mut annotations = Map::new();
    annotations.insert(TRIGGER_TIME.to_owned(), trigger_time.map(|at| at.to_string()).into());
    annotations.insert(OVER_CAPACITY.to_owned(), if truncated { "truncated".into() } else { Value::Null });
    let about = ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Endpoints".to_owned(),
        namespace: namespace.as_ref().to_owned(),
        name: name.as_ref().to_owned(),
        ..ObjectRef::default()
    };
    let failed = |note: Note| Report { about, done: None, failed: Some(note) };
    let Some(endpoints) = endpoints else {
        annotations.retain(|_, value| !value.is_null());
        let mut metadata = json!({"name": &**name, "namespace": &**namespace, "labels": labels});
        if let (Value::Object(fields), false) = (&mut metadata, annotations.is_empty()) {
            fields.insert("annotations".to_owned(), annotations.into());
        }
        let mut object = json!({ "metadata": metadata });
        if let (Value::Object(fields), false) = (&mut object, subsets.is_empty()) {
            fields.insert("subsets".to_owned(), json!(subsets));
        }
        let message = format!("Failed to create endpoint for service {namespace}/{name}: {{error}}");
        return Plan::because("the Service has no Endpoints yet").then(
            Request::create(ENDPOINTS, namespace, object)
                .reporting(failed(Note::warning("FailedToCreateEndpoint", message))),
        );
    };
    for (key, _) in endpoints.metadata.labels.iter() {
        labels.entry(key).or_insert(Value::Null);
    }
    let subsets = if subsets.is_empty() { Value::Null } else { json!(subsets) };
    let patch = json!({"metadata": {"labels": labels, "annotations": annotations}, "subsets": subsets});
    let message = format!("Failed to update endpoint {namespace}/{name}: {{error}}");
    Plan::because("the Endpoints do not say where the Pods are").then(
        Request::merge(ENDPOINTS, endpoints.key(), patch)
            .if_unchanged(&endpoints.metadata)
            .reporting(failed(Note::warning("FailedToUpdateEndpoint", message))),
    )
}

#[cfg(test)]
mod tests {
    use client::{Write, controller::Verb, testing::Filled};

    use super::*;

    fn service() -> Value {
        json!({
            "metadata": {"namespace": "ns", "name": "web", "uid": "svc", "labels": {"team": "a"}},
            "spec": {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"}, "ports": [
                {"name": "http", "protocol": "TCP", "targetPort": 8080},
                {"name": "dns", "protocol": "UDP", "targetPort": 53}]},
        })
    }

    fn pod(number: usize, ready: bool) -> Value {
        let (name, ip) = (format!("p{number:04}"), format!("10.1.{}.{}", number / 200, number % 200 + 1));
        json!({
            "metadata": {"namespace": "ns", "name": name, "uid": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n1"},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
                {"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        })
    }

    fn plan(services: Vec<Value>, pods: Vec<Value>, endpoints: Vec<Value>) -> Plan {
        let caches =
            Filled::new().with::<Service>(services).with::<Pod>(pods).with::<Endpoints>(endpoints).caches();
        let controller = EndpointsOfServices::default();
        let observed = controller.observe(&Key::new("ns", "web"), &caches).unwrap();
        controller.reconcile(&observed, Timestamp::UNIX_EPOCH)
    }

    fn document(plan: &Plan) -> Value {
        match &plan.writes[..] {
            [Write::Request(request)] => match &request.verb {
                Verb::Create(object) => (**object).clone(),
                Verb::Merge(document) => (**document).clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ports_with_the_same_addresses_share_a_subset() {
        let told = document(&plan(vec![service()], vec![pod(0, true), pod(1, false)], vec![]));
        let address = |name: &str, ip: &str| {
            json!({"ip": ip, "nodeName": "n1",
                "targetRef": {"kind": "Pod", "namespace": "ns", "name": name, "uid": name}})
        };
        assert_eq!(
            told["subsets"],
            json!([{
                "addresses": [address("p0000", "10.1.0.1")],
                "notReadyAddresses": [address("p0001", "10.1.0.2")],
                "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "http", "port": 8080, "protocol": "TCP"}],
            }])
        );
        assert_eq!(told["metadata"]["labels"], json!({"team": "a", MANAGED_BY: MANAGER}));
        let mut known = told;
        known["metadata"]["resourceVersion"] = json!("3");
        assert!(
            plan(vec![service()], vec![pod(0, true), pod(1, false)], vec![known.clone()]).writes.is_empty()
        );
        let changed = document(&plan(vec![service()], vec![], vec![known.clone()]));
        assert_eq!(
            (&changed["subsets"], &changed["metadata"]["resourceVersion"]),
            (&Value::Null, &json!("3"))
        );
        let gone = plan(vec![], vec![], vec![known]);
        assert_eq!((gone.why.to_string().as_str(), gone.writes.len()), ("the Service is gone", 1));
    }

    #[test]
    fn a_thousand_addresses_are_told_and_that_there_are_more() {
        let mut one_port = service();
        one_port["spec"]["ports"].as_array_mut().unwrap().pop();
        let pods: Vec<_> = (0..1200).map(|number| pod(number, number < 900)).collect();
        let told = document(&plan(vec![one_port], pods, vec![]));
        let count = |field: &str| told["subsets"][0][field].as_array().unwrap().len();
        assert_eq!((count("addresses"), count("notReadyAddresses")), (900, 100));
        assert_eq!(told["metadata"]["annotations"][OVER_CAPACITY], "truncated");
    }
}
