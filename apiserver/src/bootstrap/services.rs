//! How the cluster finds its own API: the service `kubernetes` and its endpoints, the service address ranges, and the
//! APIServices that say which groups are served here.

use std::net::IpAddr;

use serde_json::{Value, json};

use api_types::{
    kind::GroupVersion,
    object::{ObjectExt, object_at, object_of},
};

use super::{
    Cluster, Item, Rule, Step,
    cluster::{core, service_ip, whole_seconds},
    update_unless_same,
};

/// The name of the service and of its endpoints.
const KUBERNETES: &str = "kubernetes";
const PORT_NAME: &str = "https";
/// The port of the service.
const PORT: u16 = 443;

const REGISTRATION: &str = "apiregistration.k8s.io";
/// The mark of APIServices that the server sees to: `onstart` for its own groups, `true` for custom ones.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Group, version, and where they stand in discovery: the priority of the group, and of the version in it.
const PRIORITIES: [(&str, &str, u32, u32); 21] = [
    ("", "v1", 18000, 1),
    ("admissionregistration.k8s.io", "v1", 16700, 15),
    ("apiextensions.k8s.io", "v1", 16700, 15),
    ("apps", "v1", 17800, 15),
    ("authentication.k8s.io", "v1", 17700, 15),
    ("authorization.k8s.io", "v1", 17600, 15),
    ("autoscaling", "v1", 17500, 15),
    ("autoscaling", "v2", 17500, 30),
    ("batch", "v1", 17400, 15),
    ("certificates.k8s.io", "v1", 17300, 15),
    ("coordination.k8s.io", "v1", 16500, 15),
    ("discovery.k8s.io", "v1", 16200, 15),
    ("events.k8s.io", "v1", 17750, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
    ("networking.k8s.io", "v1", 17200, 15),
    ("node.k8s.io", "v1", 16300, 15),
    ("policy", "v1", 17100, 15),
    ("rbac.authorization.k8s.io", "v1", 17000, 15),
    ("resource.k8s.io", "v1", 16200, 21),
    ("scheduling.k8s.io", "v1", 16600, 15),
    ("storage.k8s.io", "v1", 16800, 15),
];

pub(super) fn items(cluster: &Cluster<'_>) -> Vec<Item> {
    let api_services = PRIORITIES
        .into_iter()
        .map(|(group, version, of_group, of_version)| {
            (GroupVersion::new(group, version), of_group, of_version)
        })
        // Served elsewhere than here are none of these.
        .filter(|(version, ..)| cluster.versions.contains(version))
        .map(|(version, of_group, of_version)| {
            let object = api_service(&version, of_group, of_version, "onstart");
            let status = json!({"conditions": [{
                "type": "Available",
                "status": "True",
                "lastTransitionTime": whole_seconds(cluster.now),
                "reason": "Local",
                "message": "Local APIServices are always available",
            }]});
            Item::new(GroupVersion::new(REGISTRATION, "v1"), "apiservices", object, Rule::ApiService)
                .with_status(status, super::MANAGER)
        });
    let addresses = addresses(cluster).into_iter().flatten();
    cidr(cluster).into_iter().chain(service(cluster)).chain(addresses).chain(api_services).collect()
}

/// Where the server is. An address that only its own machine can reach is no endpoint: no Pod would get there.
fn addresses(cluster: &Cluster<'_>) -> Option<[Item; 2]> {
    let address = cluster.address.filter(|it| !it.is_loopback() && !it.is_unspecified())?;
    let discovery = GroupVersion::new("discovery.k8s.io", "v1");
    let slice = endpoint_slice(&[address], cluster.port);
    Some([
        Item::new(core(), "endpoints", endpoints(&[address], cluster.port), Rule::Addresses).recurring(),
        Item::new(discovery, "endpointslices", slice, Rule::Addresses).recurring(),
    ])
}

fn cidr(cluster: &Cluster<'_>) -> Option<Item> {
    if cluster.service_ranges.is_empty() {
        return None;
    }
    let ranges: Vec<String> = cluster.service_ranges.iter().map(|range| range.trunc().to_string()).collect();
    let version = GroupVersion::new("networking.k8s.io", "v1");
    let object = json!({
        "kind": "ServiceCIDR",
        "apiVersion": version.to_string(),
        "metadata": {"name": KUBERNETES},
        "spec": {"cidrs": ranges},
    });
    let status = json!({"conditions": [{
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": whole_seconds(cluster.now),
        "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
    }]});
    let item = Item::new(version, "servicecidrs", object, Rule::ServiceCidr).recurring();
    Some(item.with_status(status, "kubernetes-service-cidr-controller"))
}

fn service(cluster: &Cluster<'_>) -> Option<Item> {
    let address = service_ip(*cluster.service_ranges.first()?)?;
    let mut port = json!({"name": PORT_NAME, "protocol": "TCP", "port": PORT, "targetPort": cluster.port});
    let mut kind = "ClusterIP";
    if cluster.node_port > 0 {
        object_of(&mut port).insert("nodePort".to_owned(), cluster.node_port.into());
        kind = "NodePort";
    }
    let object = json!({
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {
            "name": KUBERNETES,
            "namespace": "default",
            "labels": {"provider": "kubernetes", "component": "apiserver"},
        },
        "spec": {
            "ports": [port],
            "clusterIP": address.to_string(),
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "type": kind,
        },
    });
    Some(Item::new(core(), "services", object, Rule::IfMissing).recurring())
}

/// The Endpoints of the service `kubernetes`: the servers that are up, all on one port.
pub fn endpoints(servers: &[IpAddr], port: u16) -> Value {
    let addresses: Vec<Value> = servers.iter().map(|it| json!({"ip": it.to_string()})).collect();
    let mut object = json!({
        "kind": "Endpoints",
        "apiVersion": "v1",
        "metadata": {
            "name": KUBERNETES,
            "namespace": "default",
            // The slice below is made here, not by the controller that copies Endpoints.
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
    });
    if !addresses.is_empty() {
        let subset =
            json!({"addresses": addresses, "ports": [{"name": PORT_NAME, "port": port, "protocol": "TCP"}]});
        object_of(&mut object).insert("subsets".to_owned(), json!([subset]));
    }
    object
}

/// The EndpointSlice of the service `kubernetes`.
pub fn endpoint_slice(servers: &[IpAddr], port: u16) -> Value {
    let family = if servers.first().is_some_and(IpAddr::is_ipv6) { "IPv6" } else { "IPv4" };
    let endpoints: Vec<Value> = servers
        .iter()
        .map(|it| json!({"addresses": [it.to_string()], "conditions": {"ready": true}}))
        .collect();
    json!({
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": KUBERNETES,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": KUBERNETES},
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"name": PORT_NAME, "port": port, "protocol": "TCP"}],
    })
}

/// The APIService of a group version that a CustomResourceDefinition defines.
pub fn custom_api_service(version: &GroupVersion) -> Value {
    api_service(version, 1000, 100, "true")
}

fn api_service(version: &GroupVersion, of_group: u32, of_version: u32, managed: &str) -> Value {
    let mut spec = json!({
        "version": version.version,
        "groupPriorityMinimum": of_group,
        "versionPriority": of_version,
    });
    if !version.group.is_empty() {
        object_of(&mut spec).insert("group".to_owned(), version.group.as_str().into());
    }
    json!({
        "kind": "APIService",
        "apiVersion": format!("{REGISTRATION}/v1"),
        "metadata": {
            "name": format!("{}.{}", version.version, version.group),
            "labels": {AUTOMANAGED: managed},
        },
        "spec": spec,
    })
}

/// What to do about an APIService, given how it is.
pub(super) fn reconcile_api_service(existing: &Value, wanted: &Value) -> Step {
    // Without the mark it is somebody else's, who may serve the group from elsewhere.
    if existing.label(AUTOMANAGED).is_none() {
        return Step::Keep;
    }
    let mut service = existing.clone();
    if let Some(spec) = wanted.get("spec") {
        object_of(&mut service).insert("spec".to_owned(), spec.clone());
    }
    if let Some(mark) = wanted.label(AUTOMANAGED) {
        object_at(service.meta_mut(), "labels").insert(AUTOMANAGED.to_owned(), mark.into());
    }
    update_unless_same(existing, service)
}

/// What to do about the default ServiceCIDR, given how it is: one range may become two, nothing else.
/// The addresses are the server's, the metadata is anybody's.
pub(super) fn reconcile_addresses(existing: &Value, wanted: &Value) -> Step {
    let mut result = existing.clone();
    for (field, value) in wanted.as_object().into_iter().flatten().filter(|(field, _)| *field != "metadata") {
        object_of(&mut result).insert(field.clone(), value.clone());
    }
    update_unless_same(existing, result)
}

pub(super) fn reconcile_cidr(existing: &Value, wanted: &Value) -> Step {
    let ranges =
        |object: &Value| object.pointer("/spec/cidrs").and_then(Value::as_array).cloned().unwrap_or_default();
    match (ranges(existing).as_slice(), ranges(wanted).as_slice()) {
        ([old], [first, second]) if old == first => {
            let mut cidr = existing.clone();
            object_at(object_of(&mut cidr), "spec").insert("cidrs".to_owned(), json!([first, second]));
            Step::Update(cidr)
        }
        _ => Step::Keep,
    }
}
