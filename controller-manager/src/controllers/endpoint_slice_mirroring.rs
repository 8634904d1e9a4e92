//! EndpointSlice mirroring: the Endpoints that somebody writes for a Service without a selector are told as EndpointSlices
//! too, which is where readers look today.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use client::{
    Caches, Controller, Key, Kind, Owner, Plan, Triggers, Write,
    controller::Request,
    events::{Note, ObjectRef},
    resource::{ENDPOINT_SLICES, ENDPOINTS},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::endpoints::pack;
use crate::{
    kinds::{
        EndpointSlice, Endpoints, Service,
        endpoint_slice::{BY_SERVICE, Conditions, Endpoint, Port, SERVICE_NAME},
        endpoints::Address,
    },
    services::TRIGGER_TIME,
};

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Old leader elections keep their lock in Endpoints.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// At most so many addresses of a subset are told.
const ENDPOINTS_MAX: usize = 1000;

/// Mirrors Endpoints.
#[derive(Debug)]
pub struct EndpointSliceMirroring;

/// All that matters to the mirror of Endpoints.
#[derive(Debug)]
pub struct Observed {
    /// The Endpoints, if they are to be mirrored.
    endpoints: Option<Arc<Endpoints>>,
    /// The slices that mirror them.
    slices: Vec<Arc<EndpointSlice>>,
}

/// What a slice is for: addresses of one family, behind the same ports.
type Place = (&'static str, Vec<Port>);

// === impl EndpointSliceMirroring ===

impl Controller for EndpointSliceMirroring {
    type Root = Endpoints;
    type Observed = Observed;
    const NAME: &'static str = "endpoint-slice-mirroring-controller";

    fn triggers(&self, on: &mut Triggers<Endpoints>) {
        on.root().mapped::<Service>(|service, _| vec![service.key()]).mapped::<EndpointSlice>(|slice, _| {
            let labels = &slice.metadata.labels;
            let service = labels.get(SERVICE_NAME).filter(|_| labels.get(MANAGED_BY) == Some(MANAGER));
            service.map(|name| Key::new(&slice.metadata.namespace, name)).into_iter().collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let service = caches.read::<Service>().get(root);
        let mirrors = |endpoints: &Arc<Endpoints>| {
            endpoints.metadata.labels.get(SKIP) != Some("true")
                && !endpoints.metadata.annotations.contains(LEADER)
                && service.as_ref().is_some_and(|service| !service.selects())
        };
        let endpoints = caches.read::<Endpoints>().get(root).filter(mirrors);
        let mut slices = caches.read::<EndpointSlice>().by_index(BY_SERVICE, &root.to_string());
        slices.retain(|slice| slice.metadata.labels.get(MANAGED_BY) == Some(MANAGER));
        Some(Observed { endpoints, slices })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Some(endpoints) = &observed.endpoints else {
            let plan = Plan::because("these Endpoints are not mirrored");
            let delete = |slice: &Arc<EndpointSlice>| Request::delete(ENDPOINT_SLICES, &slice.metadata);
            return observed.slices.iter().map(delete).fold(plan, Plan::then);
        };
        let (wanted, invalid, skipped) = wanted(endpoints);
        let mut plan = Plan::because("the slices say what the Endpoints say");
        let tell =
            |reason, message| Write::event(ObjectRef::to(&**endpoints), Note::warning(reason, message));
        if invalid > 0 {
            let message = format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
            plan = plan.then(tell("InvalidIPAddress", message));
        }
        if skipped > invalid {
            let message = format!(
                "A max of {ENDPOINTS_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. \
                 {skipped} addresses were skipped"
            );
            plan = plan.then(tell("TooManyAddressesToMirror", message));
        }
        let mut spare = observed.slices.clone();
        let mut missing = Vec::new();
        for (place, all) in wanted {
            let fits = |slice: &Arc<EndpointSlice>| *slice.address_type == *place.0 && slice.ports == place.1;
            match spare.iter().position(fits).map(|at| spare.remove(at)) {
                Some(slice) if is_right(endpoints, &slice, &all) => {}
                Some(slice) => plan = plan.then(write(endpoints, Some(&slice), &place, &all)),
                None => missing.push((place, all)),
            }
        }
        for (place, all) in missing {
            // One that is of no use any more gets a new one.
            let fits = |slice: &Arc<EndpointSlice>| *slice.address_type == *place.0;
            let reused = spare.iter().position(fits).map(|at| spare.remove(at));
            plan = plan.then(write(endpoints, reused.as_deref(), &place, &all));
        }
        for slice in spare {
            plan = plan.then(Request::delete(ENDPOINT_SLICES, &slice.metadata));
        }
        if !plan.writes.is_empty() {
            plan.why = "the slices do not say what the Endpoints say".into();
        }
        plan
    }
}

/// What the slices shall say, how many addresses are none, and how many are left out, these among them.
fn wanted(endpoints: &Endpoints) -> (BTreeMap<Place, Vec<Endpoint>>, usize, usize) {
    let mut all = BTreeMap::<Place, Vec<Endpoint>>::new();
    let (mut invalid, mut skipped) = (0, 0);
    for subset in pack(endpoints.subsets.clone()) {
        let mut ports: Vec<Port> = subset
            .ports
            .iter()
            .map(|port| Port {
                name: Some(port.name.clone()),
                protocol: Some(port.protocol.clone()),
                port: Some(port.port),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        ports.sort();
        let ready = subset.addresses.iter().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().map(|address| (address, false));
        let mut added = 0;
        for (address, is_ready) in ready.chain(not_ready) {
            if added >= ENDPOINTS_MAX {
                skipped += 1;
                continue;
            }
            let Some((family, endpoint)) = endpoint(address, is_ready) else {
                invalid += 1;
                skipped += 1;
                continue;
            };
            added += 1;
            all.entry((family, ports.clone())).or_default().push(endpoint);
        }
    }
    (all, invalid, skipped)
}

fn endpoint(address: &Address, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip: IpAddr = address.ip.parse().ok()?;
    let endpoint = Endpoint {
        addresses: vec![ip.to_string().into()],
        conditions: Conditions { ready: Some(ready), ..Conditions::default() },
        hostname: Some(address.hostname.clone()).filter(|name| !name.is_empty()),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        ..Endpoint::default()
    };
    Some((if ip.is_ipv6() { "IPv6" } else { "IPv4" }, endpoint))
}

/// The labels or annotations of a slice, of those of the Endpoints.
fn labels(endpoints: &Endpoints) -> Value {
    let mut labels = json!(endpoints.metadata.labels);
    labels[SERVICE_NAME] = endpoints.metadata.name.as_ref().into();
    labels[MANAGED_BY] = MANAGER.into();
    labels
}

fn annotations(endpoints: &Endpoints) -> Value {
    let all = endpoints.metadata.annotations.iter().filter(|(name, _)| *name != TRIGGER_TIME);
    all.map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<serde_json::Map<_, _>>().into()
}

fn is_right(endpoints: &Endpoints, slice: &EndpointSlice, wanted: &[Endpoint]) -> bool {
    let sorted = |all: &[Endpoint]| {
        let mut all: Vec<String> = all.iter().map(|it| json!(it).to_string()).collect();
        all.sort_unstable();
        all
    };
    json!(slice.metadata.labels) == labels(endpoints)
        && json!(slice.metadata.annotations) == annotations(endpoints)
        && sorted(&slice.endpoints) == sorted(wanted)
}

fn write(endpoints: &Endpoints, slice: Option<&EndpointSlice>, place: &Place, all: &[Endpoint]) -> Request {
    let (family, ports) = place;
    let meta = &endpoints.metadata;
    let mut object = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": meta.namespace,
            "labels": labels(endpoints),
            "annotations": annotations(endpoints),
            "ownerReferences": [Owner::controller_of(&ENDPOINTS, meta)],
        },
        "addressType": family,
        "endpoints": all,
        "ports": ports,
    });
    let Some(slice) = slice else {
        object["metadata"]["generateName"] = format!("{}-", meta.name).into();
        return Request::create(ENDPOINT_SLICES, &meta.namespace, object);
    };
    object["metadata"]["name"] = slice.metadata.name.as_ref().into();
    object["metadata"]["resourceVersion"] = slice.metadata.revision.to_string().into();
    Request::update(ENDPOINT_SLICES, object)
}

#[cfg(test)]
mod tests {
    use client::{controller::Verb, testing::Filled};

    use super::*;

    fn endpoints(change: &Value) -> Value {
        let mut endpoints = json!({
            "metadata": {"namespace": "ns", "name": "db", "uid": "e", "labels": {"a": "b"}},
            "subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.0.0.2", "hostname": "h"}],
                "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]}],
        });
        for (field, value) in change.as_object().unwrap() {
            endpoints["metadata"][field] = value.clone();
        }
        endpoints
    }

    fn look(endpoints: Vec<Value>, selector: Value, slices: Vec<Value>) -> Plan {
        let caches = Filled::new()
            .with::<Endpoints>(endpoints)
            .with::<Service>([
                json!({"metadata": {"namespace": "ns", "name": "db"}, "spec": {"selector": selector}}),
            ])
            .with::<EndpointSlice>(slices)
            .caches();
        let observed = EndpointSliceMirroring.observe(&Key::new("ns", "db"), &caches).unwrap();
        EndpointSliceMirroring.reconcile(&observed, Timestamp::UNIX_EPOCH)
    }

    fn written(plan: &Plan) -> Vec<Value> {
        let object = |write: &Write| match write {
            Write::Request(request) => match &request.verb {
                Verb::Create(object) | Verb::Update(object) => (**object).clone(),
                Verb::Delete(_) => json!({"deleted": request.key.name}),
                Verb::Patch(_) | Verb::Merge(_) => panic!("{write:?}"),
            },
            Write::Event { note, .. } => json!({"event": note.reason}),
            Write::Batch { .. } => panic!("{write:?}"),
        };
        plan.writes.iter().map(object).collect()
    }

    #[test]
    fn endpoints_of_a_service_without_a_selector_are_mirrored() {
        let plan = look(vec![endpoints(&json!({}))], Value::Null, vec![]);
        let slices = written(&plan);
        assert_eq!(slices.len(), 2, "one a family");
        let slice = &slices[0];
        assert_eq!(
            (&slice["addressType"], &slice["metadata"]["generateName"]),
            (&json!("IPv4"), &json!("db-"))
        );
        assert_eq!(
            slice["endpoints"],
            json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}, "hostname": "h"}])
        );
        assert_eq!(
            slice["metadata"]["labels"],
            json!({"a": "b", "kubernetes.io/service-name": "db", "endpointslice.kubernetes.io/managed-by": MANAGER})
        );
        let known: Vec<Value> = slices
            .into_iter()
            .enumerate()
            .map(|(number, mut slice)| {
                slice["metadata"]["name"] = format!("db-{number}").into();
                slice
            })
            .collect();
        assert!(look(vec![endpoints(&json!({}))], Value::Null, known.clone()).writes.is_empty());
        let changed = look(vec![endpoints(&json!({"labels": {"a": "c"}}))], Value::Null, known.clone());
        assert_eq!(written(&changed).len(), 2, "labels follow");
        for (endpoints, selector) in [
            (vec![], Value::Null),
            (vec![endpoints(&json!({}))], json!({"app": "db"})),
            (vec![endpoints(&json!({"labels": {SKIP: "true"}}))], Value::Null),
            (vec![endpoints(&json!({"annotations": {LEADER: "x"}}))], Value::Null),
        ] {
            let plan = look(endpoints, selector, known.clone());
            assert_eq!(written(&plan), [json!({"deleted": "db-0"}), json!({"deleted": "db-1"})]);
        }
    }

    #[test]
    fn what_is_no_address_is_told() {
        let mut odd = endpoints(&json!({}));
        odd["subsets"][0]["addresses"][0]["ip"] = json!("nonsense");
        let plan = look(vec![odd], Value::Null, vec![]);
        assert_eq!(written(&plan)[0], json!({"event": "InvalidIPAddress"}));
    }
}
