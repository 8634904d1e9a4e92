//! The core group, pods and events excepted.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, NodeStatus, NodeSystemInfo, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus,
    PersistentVolumeSpec, PersistentVolumeStatus, ReplicationControllerSpec, ReplicationControllerStatus,
    Secret, ServiceSpec,
};
use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, integer, of, says, text, wide, wider},
    events, pods,
    read::{self, ObjectExt as _, age, at, containers, count, list, optional_text, scalar, text_or},
    selector,
};

pub(super) const CONTAINERS: super::Column =
    wide("Containers", says("Names of each container in the template."));
pub(super) const IMAGES: super::Column =
    wide("Images", says("Images referenced by each container in the template."));

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    Some(match resource {
        "componentstatuses" => &COMPONENT_STATUSES,
        "configmaps" => &CONFIG_MAPS,
        "endpoints" => &ENDPOINTS,
        "events" => &events::EVENTS,
        "namespaces" => &NAMESPACES,
        "nodes" => &NODES,
        "persistentvolumeclaims" => &PERSISTENT_VOLUME_CLAIMS,
        "persistentvolumes" => &PERSISTENT_VOLUMES,
        "pods" => &pods::PODS,
        "podtemplates" => &POD_TEMPLATES,
        "replicationcontrollers" => &REPLICATION_CONTROLLERS,
        "resourcequotas" => &RESOURCE_QUOTAS,
        "secrets" => &SECRETS,
        "serviceaccounts" => &SERVICE_ACCOUNTS,
        "services" => &SERVICES,
        _ => return None,
    })
}

static COMPONENT_STATUSES: TableDef = TableDef::new(
    &[
        NAME,
        text("Status", says("Status of the component conditions")),
        text("Message", says("Message of the component conditions")),
        text("Error", says("Error of the component conditions")),
    ],
    |status, _| {
        let healthy = list(status, "conditions").iter().find(|it| read::text(it, "type") == "Healthy");
        let word = match healthy.map(|it| read::text(it, "status")) {
            None => "Unknown",
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
        };
        let field = |name| healthy.map(|it| read::text(it, name)).unwrap_or_default();
        vec![status.name().into(), word.into(), field("message").into(), field("error").into()]
    },
);

static CONFIG_MAPS: TableDef =
    TableDef::new(&[NAME, text("Data", of::<ConfigMap>("data")), AGE], |map, now| {
        vec![map.name().into(), (count(map, "data") + count(map, "binaryData")).into(), age(map, now)]
    });

static ENDPOINTS: TableDef =
    TableDef::new(&[NAME, text("Endpoints", of::<Endpoints>("subsets")), AGE], |endpoints, now| {
        vec![endpoints.name().into(), addresses(endpoints).into(), age(endpoints, now)]
    });

/// The first three addresses, each with each port of its subset.
fn addresses(endpoints: &Value) -> String {
    const SHOWN: usize = 3;
    let subsets = list(endpoints, "subsets");
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let ips = list(subset, "addresses").iter().map(|address| read::text(address, "ip"));
        let ports = list(subset, "ports");
        if ports.is_empty() {
            // A headless service without ports.
            all.extend(ips.clone().map(str::to_owned));
        }
        for port in ports {
            let port = read::integer(port, "port");
            all.extend(
                ips.clone().map(|ip| {
                    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
                }),
            );
        }
    }
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    if all.len() > SHOWN { format!("{shown} + {} more...", all.len() - SHOWN) } else { shown }
}

static NAMESPACES: TableDef =
    TableDef::new(&[NAME, text("Status", says("The status of the namespace")), AGE], |namespace, now| {
        vec![namespace.name().into(), read::text(namespace, "status.phase").into(), age(namespace, now)]
    });

static NODES: TableDef = TableDef::new(
    &[
        NAME,
        text("Status", says("The status of the node")),
        text("Roles", says("The roles of the node")),
        AGE,
        text("Version", of::<NodeSystemInfo>("kubeletVersion")),
        wide("Internal-IP", of::<NodeStatus>("addresses")),
        wide("External-IP", of::<NodeStatus>("addresses")),
        wide("OS-Image", of::<NodeSystemInfo>("osImage")),
        wide("Kernel-Version", of::<NodeSystemInfo>("kernelVersion")),
        wide("Container-Runtime", of::<NodeSystemInfo>("containerRuntimeVersion")),
    ],
    node_cells,
);

fn node_cells(node: &Value, now: Timestamp) -> Vec<Value> {
    // Of several Ready conditions the last one counts.
    let ready = list(node, "status.conditions").iter().rfind(|it| read::text(it, "type") == "Ready");
    let mut status = match ready.map(|it| read::text(it, "status")) {
        None => "Unknown".to_owned(),
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
    };
    if read::flag(node, "spec.unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let info = at(node, "status.nodeInfo");
    let known = |field| text_or(info, field, "<unknown>");
    let mut kernel = known("kernelVersion").to_owned();
    match read::text(info, "architecture") {
        "" => {}
        architecture => kernel = format!("{kernel} ({architecture})"),
    }
    vec![
        node.name().into(),
        status.into(),
        roles(node).into(),
        age(node, now),
        read::text(info, "kubeletVersion").into(),
        address(node, "InternalIP").into(),
        address(node, "ExternalIP").into(),
        known("osImage").into(),
        kernel.into(),
        known("containerRuntimeVersion").into(),
    ]
}

/// From the labels `node-role.kubernetes.io/ROLE` and `kubernetes.io/role: ROLE`.
fn roles(node: &Value) -> String {
    let roles: BTreeSet<&str> = at(node, "metadata.labels")
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    list(node, "status.addresses")
        .iter()
        .find(|address| read::text(address, "type") == kind)
        .map_or("<none>", |address| read::text(address, "address"))
}

static PERSISTENT_VOLUMES: TableDef = TableDef::new(
    &[
        NAME,
        text("Capacity", of::<PersistentVolumeSpec>("capacity")),
        text("Access Modes", of::<PersistentVolumeSpec>("accessModes")),
        text("Reclaim Policy", of::<PersistentVolumeSpec>("persistentVolumeReclaimPolicy")),
        text("Status", of::<PersistentVolumeStatus>("phase")),
        text("Claim", of::<PersistentVolumeSpec>("claimRef")),
        text("StorageClass", says("StorageClass of the pv")),
        text("VolumeAttributesClass", says("VolumeAttributesClass of the pv")),
        text("Reason", of::<PersistentVolumeStatus>("reason")),
        AGE,
        wide("VolumeMode", of::<PersistentVolumeSpec>("volumeMode")),
    ],
    |volume, now| {
        let claim = at(volume, "spec.claimRef");
        let claim = if claim.is_object() {
            format!("{}/{}", read::text(claim, "namespace"), read::text(claim, "name"))
        } else {
            String::new()
        };
        vec![
            volume.name().into(),
            quantity(at(volume, "spec.capacity.storage")).into(),
            access_modes(list(volume, "spec.accessModes")).into(),
            read::text(volume, "spec.persistentVolumeReclaimPolicy").into(),
            phase(volume).into(),
            claim.into(),
            storage_class(volume).into(),
            optional_text(volume, "spec.volumeAttributesClassName", "<unset>").into(),
            read::text(volume, "status.reason").into(),
            age(volume, now),
            optional_text(volume, "spec.volumeMode", "<unset>").into(),
        ]
    },
);

static PERSISTENT_VOLUME_CLAIMS: TableDef = TableDef::new(
    &[
        NAME,
        text("Status", of::<PersistentVolumeClaimStatus>("phase")),
        text("Volume", of::<PersistentVolumeClaimSpec>("volumeName")),
        text("Capacity", of::<PersistentVolumeClaimStatus>("capacity")),
        text("Access Modes", of::<PersistentVolumeClaimStatus>("accessModes")),
        text("StorageClass", says("StorageClass of the pvc")),
        text("VolumeAttributesClass", says("VolumeAttributesClass of the pvc")),
        AGE,
        wide("VolumeMode", of::<PersistentVolumeClaimSpec>("volumeMode")),
    ],
    |claim, now| {
        let volume = read::text(claim, "spec.volumeName");
        let (capacity, modes) = if volume.is_empty() {
            (String::new(), String::new())
        } else {
            (quantity(at(claim, "status.capacity.storage")), access_modes(list(claim, "status.accessModes")))
        };
        vec![
            claim.name().into(),
            phase(claim).into(),
            volume.into(),
            capacity.into(),
            modes.into(),
            storage_class(claim).into(),
            optional_text(claim, "spec.volumeAttributesClassName", "<unset>").into(),
            age(claim, now),
            optional_text(claim, "spec.volumeMode", "<unset>").into(),
        ]
    },
);

fn phase(object: &Value) -> &str {
    if object.is_terminating() { "Terminating" } else { read::text(object, "status.phase") }
}

fn quantity(value: &Value) -> String {
    scalar(value).unwrap_or_else(|| "0".to_owned())
}

fn storage_class(object: &Value) -> &str {
    object
        .annotation("volume.beta.kubernetes.io/storage-class")
        .unwrap_or_else(|| read::text(object, "spec.storageClassName"))
}

/// In a fixed order, whatever order they were given in.
fn access_modes(modes: &[Value]) -> String {
    [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ]
    .into_iter()
    .filter(|(mode, _)| modes.iter().any(|it| it.as_str() == Some(mode)))
    .map(|(_, short)| short)
    .collect::<Vec<_>>()
    .join(",")
}

static POD_TEMPLATES: TableDef = TableDef::new(
    &[
        NAME,
        text("Containers", says("Names of each container in the template.")),
        text("Images", says("Images referenced by each container in the template.")),
        text("Pod Labels", says("The labels for the pod template.")),
    ],
    |object, _| {
        let (names, images) = containers(list(object, "template.spec.containers"));
        vec![
            object.name().into(),
            names,
            images,
            selector::labels(at(object, "template.metadata.labels")).into(),
        ]
    },
);

static REPLICATION_CONTROLLERS: TableDef = TableDef::new(
    &[
        NAME,
        integer("Desired", of::<ReplicationControllerSpec>("replicas")),
        integer("Current", of::<ReplicationControllerStatus>("replicas")),
        integer("Ready", of::<ReplicationControllerStatus>("readyReplicas")),
        AGE,
        CONTAINERS,
        IMAGES,
        wider(text("Selector", of::<ReplicationControllerSpec>("selector"))),
    ],
    |object, now| {
        let (names, images) = containers(list(object, "spec.template.spec.containers"));
        vec![
            object.name().into(),
            read::integer(object, "spec.replicas").into(),
            read::integer(object, "status.replicas").into(),
            read::integer(object, "status.readyReplicas").into(),
            age(object, now),
            names,
            images,
            selector::labels(at(object, "spec.selector")).into(),
        ]
    },
);

static RESOURCE_QUOTAS: TableDef = TableDef::new(
    &[
        NAME,
        text(
            "Request",
            says("Request represents a minimum amount of cpu/memory that a container may consume."),
        ),
        text(
            "Limit",
            says(
                "Limits control the maximum amount of cpu/memory that a container may use independent of \
                 contention on the node.",
            ),
        ),
        AGE,
    ],
    |quota, now| {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let used = at(quota, "status.used");
        for (resource, hard) in at(quota, "status.hard").as_object().into_iter().flatten() {
            let used = quantity(used.get(resource).unwrap_or(&Value::Null));
            let column = if resource.starts_with("limits.") { &mut limits } else { &mut requests };
            column.push(format!("{resource}: {used}/{}", quantity(hard)));
        }
        vec![quota.name().into(), requests.join(", ").into(), limits.join(", ").into(), age(quota, now)]
    },
);

static SECRETS: TableDef = TableDef::new(
    &[NAME, text("Type", of::<Secret>("type")), text("Data", of::<Secret>("data")), AGE],
    |secret, now| {
        vec![
            secret.name().into(),
            read::text(secret, "type").into(),
            count(secret, "data").into(),
            age(secret, now),
        ]
    },
);

static SERVICE_ACCOUNTS: TableDef =
    TableDef::new(&[NAME, AGE], |account, now| vec![account.name().into(), age(account, now)]);

static SERVICES: TableDef = TableDef::new(
    &[
        NAME,
        text("Type", of::<ServiceSpec>("type")),
        text("Cluster-IP", of::<ServiceSpec>("clusterIP")),
        text("External-IP", of::<ServiceSpec>("externalIPs")),
        text("Port(s)", of::<ServiceSpec>("ports")),
        AGE,
        wide("Selector", of::<ServiceSpec>("selector")),
    ],
    |service, now| {
        let cluster_ip = list(service, "spec.clusterIPs").first().and_then(Value::as_str).unwrap_or("<none>");
        vec![
            service.name().into(),
            read::text(service, "spec.type").into(),
            cluster_ip.into(),
            external_ips(service).into(),
            ports(list(service, "spec.ports")).into(),
            age(service, now),
            selector::labels(at(service, "spec.selector")).into(),
        ]
    },
);

fn external_ips(service: &Value) -> String {
    let own = read::joined(list(service, "spec.externalIPs"));
    let or = |text: String, absent: &str| if text.is_empty() { absent.to_owned() } else { text };
    match read::text(service, "spec.type") {
        "ClusterIP" | "NodePort" => or(own, "<none>"),
        "LoadBalancer" => {
            let given = read::load_balancer(at(service, "status"));
            let both = [given, own].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(",");
            or(both, "<pending>")
        }
        "ExternalName" => read::text(service, "spec.externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(ports: &[Value]) -> String {
    if ports.is_empty() {
        return "<none>".to_owned();
    }
    ports
        .iter()
        .map(|port| {
            let (number, protocol) = (read::integer(port, "port"), read::text(port, "protocol"));
            match read::integer(port, "nodePort") {
                0 => format!("{number}/{protocol}"),
                node_port => format!("{number}:{node_port}/{protocol}"),
            }
        })
        .collect::<Vec<_>>()
        .join(",")
}
