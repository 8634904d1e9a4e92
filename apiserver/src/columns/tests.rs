//! The columns of every resource, and cells of one object a printer.

use serde_json::json;

use super::*;

const NOW: &str = "2026-03-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// An object's cells, separated by bars; every object is five minutes old.
fn check(group: &str, resource: &str, mut object: Value) -> String {
    let meta = object.meta_mut();
    meta.entry("name").or_insert_with(|| "x".into());
    meta.entry("creationTimestamp").or_insert_with(|| "2026-03-01T11:55:00Z".into());
    let cells = columns_for(group, resource).cells(&object, now());
    cells
        .iter()
        .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
        .collect::<Vec<_>>()
        .join(" | ")
}

/// As a default apiserver 1.36 describes them: name, type, format, and a plus for those of `-o wide`.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("", "componentstatuses", "Name:string:name, Status:string, Message:string, Error:string"),
    ("", "configmaps", "Name:string:name, Data:string, Age:string"),
    ("", "endpoints", "Name:string:name, Endpoints:string, Age:string"),
    (
        "",
        "events",
        "Last Seen:string, Type:string, Reason:string, Object:string, Subobject:string+, Source:string+, Message:string, First Seen:string+, Count:string+, Name:string:name+",
    ),
    ("", "limitranges", "Name:string:name, Created At:date"),
    ("", "namespaces", "Name:string:name, Status:string, Age:string"),
    (
        "",
        "nodes",
        "Name:string:name, Status:string, Roles:string, Age:string, Version:string, Internal-IP:string+, External-IP:string+, OS-Image:string+, Kernel-Version:string+, Container-Runtime:string+",
    ),
    (
        "",
        "persistentvolumeclaims",
        "Name:string:name, Status:string, Volume:string, Capacity:string, Access Modes:string, StorageClass:string, VolumeAttributesClass:string, Age:string, VolumeMode:string+",
    ),
    (
        "",
        "persistentvolumes",
        "Name:string:name, Capacity:string, Access Modes:string, Reclaim Policy:string, Status:string, Claim:string, StorageClass:string, VolumeAttributesClass:string, Reason:string, Age:string, VolumeMode:string+",
    ),
    (
        "",
        "pods",
        "Name:string:name, Ready:string, Status:string, Restarts:string, Age:string, IP:string+, Node:string+, Nominated Node:string+, Readiness Gates:string+",
    ),
    ("", "podtemplates", "Name:string:name, Containers:string, Images:string, Pod Labels:string"),
    (
        "",
        "replicationcontrollers",
        "Name:string:name, Desired:integer, Current:integer, Ready:integer, Age:string, Containers:string+, Images:string+, Selector:string+",
    ),
    ("", "resourcequotas", "Name:string:name, Request:string, Limit:string, Age:string"),
    ("", "secrets", "Name:string:name, Type:string, Data:string, Age:string"),
    ("", "serviceaccounts", "Name:string:name, Age:string"),
    (
        "",
        "services",
        "Name:string:name, Type:string, Cluster-IP:string, External-IP:string, Port(s):string, Age:string, Selector:string+",
    ),
    (
        "apiregistration.k8s.io",
        "apiservices",
        "Name:string:name, Service:string, Available:string, Age:string",
    ),
    ("apps", "controllerrevisions", "Name:string:name, Controller:string, Revision:string, Age:string"),
    (
        "apps",
        "daemonsets",
        "Name:string:name, Desired:integer, Current:integer, Ready:integer, Up-to-date:integer, Available:integer, Node Selector:string, Age:string, Containers:string+, Images:string+, Selector:string+",
    ),
    (
        "apps",
        "deployments",
        "Name:string:name, Ready:string, Up-to-date:string, Available:string, Age:string, Containers:string+, Images:string+, Selector:string+",
    ),
    (
        "apps",
        "replicasets",
        "Name:string:name, Desired:integer, Current:integer, Ready:integer, Age:string, Containers:string+, Images:string+, Selector:string+",
    ),
    (
        "apps",
        "statefulsets",
        "Name:string:name, Ready:string, Age:string, Containers:string+, Images:string+",
    ),
    (
        "events.k8s.io",
        "events",
        "Last Seen:string, Type:string, Reason:string, Object:string, Subobject:string+, Source:string+, Message:string, First Seen:string+, Count:string+, Name:string:name+",
    ),
    (
        "autoscaling",
        "horizontalpodautoscalers",
        "Name:string:name, Reference:string, Targets:string, MinPods:string, MaxPods:string, Replicas:string, Age:string",
    ),
    (
        "batch",
        "cronjobs",
        "Name:string:name, Schedule:string, Timezone:string, Suspend:boolean, Active:integer, Last Schedule:string, Age:string, Containers:string+, Images:string+, Selector:string+",
    ),
    (
        "batch",
        "jobs",
        "Name:string:name, Status:string, Completions:string, Duration:string, Age:string, Containers:string+, Images:string+, Selector:string+",
    ),
    (
        "certificates.k8s.io",
        "certificatesigningrequests",
        "Name:string:name, Age:string, SignerName:string, Requestor:string, RequestedDuration:string, Condition:string",
    ),
    (
        "networking.k8s.io",
        "ingressclasses",
        "Name:string:name, Controller:string, Parameters:string, Age:string",
    ),
    (
        "networking.k8s.io",
        "ingresses",
        "Name:string:name, Class:string, Hosts:string, Address:string, Ports:string, Age:string",
    ),
    ("networking.k8s.io", "ipaddresses", "Name:string:name, ParentRef:string"),
    ("networking.k8s.io", "networkpolicies", "Name:string:name, Pod-Selector:string, Age:string"),
    ("networking.k8s.io", "servicecidrs", "Name:string:name, CIDRs:string, Age:string"),
    (
        "policy",
        "poddisruptionbudgets",
        "Name:string:name, Min Available:string, Max Unavailable:string, Allowed Disruptions:integer, Age:string",
    ),
    (
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "Name:string:name, Role:string, Age:string, Users:string+, Groups:string+, ServiceAccounts:string+",
    ),
    ("rbac.authorization.k8s.io", "clusterroles", "Name:string:name, Created At:date"),
    (
        "rbac.authorization.k8s.io",
        "rolebindings",
        "Name:string:name, Role:string, Age:string, Users:string+, Groups:string+, ServiceAccounts:string+",
    ),
    ("rbac.authorization.k8s.io", "roles", "Name:string:name, Created At:date"),
    (
        "storage.k8s.io",
        "csidrivers",
        "Name:string:name, AttachRequired:boolean, PodInfoOnMount:boolean, StorageCapacity:boolean, TokenRequests:string, RequiresRepublish:boolean, Modes:string, Age:string",
    ),
    ("storage.k8s.io", "csinodes", "Name:string:name, Drivers:integer, Age:string"),
    ("storage.k8s.io", "csistoragecapacities", "Name:string:name, Created At:date"),
    (
        "storage.k8s.io",
        "storageclasses",
        "Name:string:name, Provisioner:string, ReclaimPolicy:string, VolumeBindingMode:string, AllowVolumeExpansion:string, Age:string",
    ),
    (
        "storage.k8s.io",
        "volumeattachments",
        "Name:string:name, Attacher:string:name, PV:string, Node:string, Attached:boolean, Age:string",
    ),
    ("storage.k8s.io", "volumeattributesclasses", "Name:string:name, DriverName:string, Age:string"),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicies",
        "Name:string:name, Mutations:integer, ParamKind:string, Age:string",
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings",
        "Name:string:name, PolicyName:string, ParamRef:string, Age:string",
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "Name:string:name, Webhooks:integer, Age:string",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        "Name:string:name, Validations:integer, ParamKind:string, Age:string",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        "Name:string:name, PolicyName:string, ParamRef:string, Age:string",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        "Name:string:name, Webhooks:integer, Age:string",
    ),
    ("apiextensions.k8s.io", "customresourcedefinitions", "Name:string:name, Created At:date"),
    (
        "scheduling.k8s.io",
        "priorityclasses",
        "Name:string:name, Value:integer, Global-Default:boolean, Age:string, PreemptionPolicy:string",
    ),
    ("coordination.k8s.io", "leases", "Name:string:name, Holder:string, Age:string"),
    ("node.k8s.io", "runtimeclasses", "Name:string:name, Handler:string, Age:string"),
    (
        "discovery.k8s.io",
        "endpointslices",
        "Name:string:name, AddressType:string, Ports:string, Endpoints:string, Age:string",
    ),
    ("resource.k8s.io", "deviceclasses", "Name:string:name, Age:string"),
    ("resource.k8s.io", "resourceclaims", "Name:string:name, State:string, Age:string"),
    ("resource.k8s.io", "resourceclaimtemplates", "Name:string:name, Age:string"),
    (
        "resource.k8s.io",
        "resourceslices",
        "Name:string:name, Node:string, Driver:string, Pool:string, Age:string",
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        "flowschemas",
        "Name:string:name, PriorityLevel:string, MatchingPrecedence:string, DistinguisherMethod:string, Age:string, MissingPL:string",
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations",
        "Name:string:name, Type:string, NominalConcurrencyShares:string, Queues:string, HandSize:string, QueueLengthLimit:string, Age:string",
    ),
];

#[test]
fn every_resource_has_upstreams_columns() {
    for (group, resource, expected) in COLUMNS {
        let columns: Vec<String> = columns_for(group, resource)
            .columns
            .iter()
            .map(|column| {
                let format =
                    if column.format.is_empty() { String::new() } else { format!(":{}", column.format) };
                let wide = if column.priority == 0 { "" } else { "+" };
                format!("{}:{}{format}{wide}", column.name, column.kind)
            })
            .collect();
        assert_eq!(columns.join(", "), *expected, "{resource}.{group}");
    }
}

#[test]
fn every_column_is_described_but_the_one_that_upstream_forgot() {
    for (group, resource, _) in COLUMNS {
        for column in columns_for(group, resource).columns {
            let forgotten = *resource == "runtimeclasses" && column.name == "Handler";
            assert_eq!(
                column.description.resolve().is_empty(),
                forgotten,
                "{resource}.{group} {}",
                column.name
            );
        }
    }
}

#[test]
fn every_resource_prints_a_cell_a_column_even_of_an_empty_object() {
    for (group, resource, _) in COLUMNS {
        let def = columns_for(group, resource);
        let cells = def.cells(&json!({}), now()).len();
        let extra = usize::from(*resource == "ipaddresses");
        assert_eq!(cells, def.columns.len() + extra, "{resource}.{group}");
    }
}

#[test]
fn every_resource_of_the_catalogue_has_its_columns_pinned_here() {
    for resource in crate::resources::all() {
        if !resource.verbs().contains(&"list") {
            continue;
        }
        let name = resource.resource();
        assert!(
            COLUMNS.iter().any(|(group, plural, _)| *group == name.group && *plural == name.resource),
            "{name}"
        );
    }
}

#[test]
fn core_resources_print_as_upstreams_do() {
    for (resource, object, expected) in [
        (
            "componentstatuses",
            json!({"conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]}),
            "x | Healthy | ok | ",
        ),
        (
            "componentstatuses",
            json!({"conditions": [{"type": "Healthy", "status": "False", "error": "no"}]}),
            "x | Unhealthy |  | no",
        ),
        ("configmaps", json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": ""}}), "x | 3 | 5m"),
        ("endpoints", json!({}), "x | <none> | 5m"),
        (
            "endpoints",
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}, {"port": 81}]}]}),
            "x | 10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more... | 5m",
        ),
        ("endpoints", json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}]}]}), "x | 10.0.0.1 | 5m"),
        ("limitranges", json!({}), "x | 2026-03-01T11:55:00Z"),
        ("namespaces", json!({"status": {"phase": "Active"}}), "x | Active | 5m"),
        (
            "nodes",
            json!({
                "metadata": {"labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "a", "node-role.kubernetes.io/": "", "b": "c"}},
                "spec": {"unschedulable": true},
                "status": {
                    "conditions": [{"type": "Ready", "status": "Unknown"}],
                    "addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "10.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.0", "kernelVersion": "6.1", "architecture": "arm64", "osImage": "Debian"},
                },
            }),
            "x | NotReady,SchedulingDisabled | a,worker | 5m | v1.36.0 | 10.0.0.1 | <none> | Debian | 6.1 (arm64) | <unknown>",
        ),
        (
            "nodes",
            json!({}),
            "x | Unknown | <none> | 5m |  | <none> | <none> | <unknown> | <unknown> | <unknown>",
        ),
        (
            "persistentvolumes",
            json!({
                "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
                    "claimRef": {"namespace": "n", "name": "c"}, "storageClassName": "fast", "volumeMode": "Block"},
                "status": {"phase": "Bound", "reason": "r"},
            }),
            "x | 1Gi | RWO,RWX | Retain | Bound | n/c | fast | <unset> | r | 5m | Block",
        ),
        (
            "persistentvolumes",
            json!({"metadata": {"deletionTimestamp": NOW, "annotations": {"volume.beta.kubernetes.io/storage-class": "old"}}, "spec": {"storageClassName": "new"}}),
            "x | 0 |  |  | Terminating |  | old | <unset> |  | 5m | <unset>",
        ),
        (
            "persistentvolumeclaims",
            json!({"spec": {"resources": {"requests": {"storage": "5Gi"}}, "volumeAttributesClassName": "gold"}, "status": {"phase": "Pending"}}),
            "x | Pending |  |  |  |  | gold | 5m | <unset>",
        ),
        (
            "persistentvolumeclaims",
            json!({"spec": {"volumeName": "v", "storageClassName": "s", "volumeMode": "Filesystem"},
                "status": {"phase": "Bound", "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOncePod"]}}),
            "x | Bound | v | 5Gi | RWOP | s | <unset> | 5m | Filesystem",
        ),
        (
            "podtemplates",
            json!({"template": {"metadata": {"labels": {"b": "2", "a": "1"}}, "spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}}}),
            "x | c,d | i,j | a=1,b=2",
        ),
        (
            "replicationcontrollers",
            json!({"spec": {"replicas": 3, "selector": {"a": "b"}}, "status": {"replicas": 2, "readyReplicas": 1}}),
            "x | 3 | 2 | 1 | 5m |  |  | a=b",
        ),
        (
            "resourcequotas",
            json!({"status": {"hard": {"pods": "5", "limits.cpu": "2", "requests.cpu": "1"}, "used": {"pods": "1", "requests.cpu": "500m"}}}),
            "x | pods: 1/5, requests.cpu: 500m/1 | limits.cpu: 0/2 | 5m",
        ),
        ("secrets", json!({"type": "Opaque", "data": {"a": ""}}), "x | Opaque | 1 | 5m"),
        ("serviceaccounts", json!({}), "x | 5m"),
        (
            "services",
            json!({"spec": {"type": "NodePort", "clusterIPs": ["10.0.0.1", "fd00::1"], "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
            "x | NodePort | 10.0.0.1 | <none> | 80:30080/TCP,53/UDP | 5m | <none>",
        ),
        (
            "services",
            json!({"spec": {"type": "LoadBalancer", "externalIPs": ["1.2.3.4"]}, "status": {"loadBalancer": {"ingress": [{"hostname": "lb"}, {"ip": "5.6.7.8", "hostname": "no"}]}}}),
            "x | LoadBalancer | <none> | 5.6.7.8,lb,1.2.3.4 | <none> | 5m | <none>",
        ),
        (
            "services",
            json!({"spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"]}}),
            "x | LoadBalancer | 10.0.0.1 | <pending> | <none> | 5m | <none>",
        ),
        (
            "services",
            json!({"spec": {"type": "ExternalName", "externalName": "a.b", "selector": {"a": "b"}}}),
            "x | ExternalName | <none> | a.b | <none> | 5m | a=b",
        ),
    ] {
        assert_eq!(check("", resource, object.clone()), expected, "{resource} {object}");
    }
}

#[test]
fn events_print_alike_under_both_names() {
    let involved = json!({"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"});
    let old = json!({
        "involvedObject": involved, "type": "Normal", "reason": "R", "message": " hello\n", "count": 3,
        "source": {"component": "c", "host": "h"},
        "firstTimestamp": "2026-03-01T11:00:00Z", "lastTimestamp": "2026-03-01T11:59:00Z",
    });
    let new = json!({
        "regarding": involved, "type": "Normal", "reason": "R", "note": " hello\n", "deprecatedCount": 3,
        "deprecatedSource": {"component": "c", "host": "h"},
        "deprecatedFirstTimestamp": "2026-03-01T11:00:00Z", "deprecatedLastTimestamp": "2026-03-01T11:59:00Z",
    });
    let expected = "60s | Normal | R | pod/p | spec.containers{c} | c, h | hello | 60m | 3 | x";
    assert_eq!(check("", "events", old), expected);
    assert_eq!(check("events.k8s.io", "events", new), expected);

    let series = json!({
        "regarding": {"kind": "Node"}, "eventTime": "2026-03-01T11:00:00.000001Z", "reportingController": "k8s.io/x",
        "reportingInstance": "i", "series": {"count": 7, "lastObservedTime": "2026-03-01T11:59:30.000000Z"},
    });
    assert_eq!(
        check("events.k8s.io", "events", series),
        "30s |  |  | node |  | k8s.io/x, i |  | 59m | 7 | x"
    );
    assert_eq!(check("", "events", json!({})), "<unknown> |  |  |  |  |  |  | <unknown> | 1 | x");
}

#[test]
fn workloads_print_as_upstreams_do() {
    let template =
        json!({"spec": {"containers": [{"name": "c", "image": "i"}], "nodeSelector": {"disk": "ssd"}}});
    for (group, resource, object, expected) in [
        (
            "apps",
            "controllerrevisions",
            json!({"metadata": {"ownerReferences": [{"kind": "Odd", "name": "o", "apiVersion": "v1"}, {"kind": "StatefulSet", "name": "s", "apiVersion": "apps/v1", "controller": true}]}, "revision": 3}),
            "x | statefulset.apps/s | 3 | 5m",
        ),
        ("apps", "controllerrevisions", json!({}), "x | <none> | 0 | 5m"),
        (
            "apps",
            "daemonsets",
            json!({"spec": {"template": template, "selector": {"matchLabels": {"a": "b"}}}, "status": {"desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3, "updatedNumberScheduled": 2, "numberAvailable": 1}}),
            "x | 5 | 4 | 3 | 2 | 1 | disk=ssd | 5m | c | i | a=b",
        ),
        (
            "apps",
            "deployments",
            json!({"spec": {"replicas": 3, "template": template, "selector": {}}, "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}}),
            "x | 2/3 | 3 | 1 | 5m | c | i | ",
        ),
        (
            "apps",
            "replicasets",
            json!({"spec": {"replicas": 3, "template": template, "selector": {"matchLabels": {"a": "b"}}}, "status": {"replicas": 2, "readyReplicas": 1}}),
            "x | 3 | 2 | 1 | 5m | c | i | a=b",
        ),
        (
            "apps",
            "statefulsets",
            json!({"spec": {"replicas": 2, "template": template}, "status": {"readyReplicas": 1}}),
            "x | 1/2 | 5m | c | i",
        ),
        (
            "batch",
            "cronjobs",
            json!({"spec": {"schedule": "* * * * *", "suspend": false, "jobTemplate": {"spec": {"template": template}}}, "status": {"active": [{}], "lastScheduleTime": "2026-03-01T11:59:00Z"}}),
            "x | * * * * * | <none> | False | 1 | 60s | 5m | c | i | <none>",
        ),
        (
            "batch",
            "cronjobs",
            json!({"spec": {"timeZone": "Etc/UTC"}}),
            "x |  | Etc/UTC | <unset> | 0 | <none> | 5m |  |  | <none>",
        ),
        (
            "batch",
            "jobs",
            json!({"spec": {"completions": 3, "selector": {"matchLabels": {"a": "b"}}}, "status": {"succeeded": 2, "startTime": "2026-03-01T11:58:00Z"}}),
            "x | Running | 2/3 | 2m | 5m |  |  | a=b",
        ),
        (
            "batch",
            "jobs",
            json!({"spec": {"parallelism": 5}, "status": {"startTime": "2026-03-01T11:50:00Z", "completionTime": "2026-03-01T11:50:07Z", "conditions": [{"type": "Complete", "status": "True"}]}}),
            "x | Complete | 0/1 of 5 | 7s | 5m |  |  | <none>",
        ),
        (
            "batch",
            "jobs",
            json!({"spec": {"parallelism": 1}, "status": {"conditions": [{"type": "Suspended", "status": "True"}]}}),
            "x | Suspended | 0/1 |  | 5m |  |  | <none>",
        ),
        (
            "apps",
            "deployments/scale",
            json!({"spec": {"replicas": 3}, "status": {"replicas": 2}}),
            "x | 3 | 2 | 5m",
        ),
        (
            "policy",
            "poddisruptionbudgets",
            json!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}}),
            "x | 50% | N/A | 1 | 5m",
        ),
        ("policy", "poddisruptionbudgets", json!({"spec": {"maxUnavailable": 1}}), "x | N/A | 1 | 0 | 5m"),
    ] {
        assert_eq!(check(group, resource, object.clone()), expected, "{resource} {object}");
    }
}

#[test]
fn autoscalers_print_current_and_wanted_values() {
    let hpa = |spec: Value, status: Value| {
        check(
            "autoscaling",
            "horizontalpodautoscalers",
            json!({"apiVersion": "autoscaling/v2", "spec": spec, "status": status}),
        )
    };
    assert_eq!(
        hpa(json!({"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3}), json!({})),
        "x | Deployment/d | <none> | <unset> | 3 | 0 | 5m"
    );
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
    let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "5"}}});
    let external = json!({"type": "External", "external": {"target": {"value": "9"}}});
    let average = json!({"type": "Object", "object": {"target": {"averageValue": "9"}}});
    let container = json!({"type": "ContainerResource", "containerResource": {"name": "memory", "target": {"averageValue": "1Gi"}}});
    let spec = |metrics: Value| json!({"scaleTargetRef": {"kind": "D", "name": "d"}, "minReplicas": 1, "maxReplicas": 3, "metrics": metrics});
    for (metrics, current, expected) in [
        (json!([cpu]), json!([]), "cpu: <unknown>/80%"),
        (
            json!([cpu]),
            json!([{"type": "Resource", "resource": {"current": {"averageUtilization": 12}}}]),
            "cpu: 12%/80%",
        ),
        (
            json!([pods, container]),
            json!([{"pods": {"current": {"averageValue": "3"}}}]),
            "3/5, memory: <unknown>/1Gi",
        ),
        (
            json!([external, average, cpu]),
            json!([{"external": {"current": {}}}, {"object": {"current": {"averageValue": "2"}}}]),
            "<nil>/9, 2/9 (avg) + 1 more...",
        ),
        (json!([{"type": "Odd"}]), json!([]), "<unknown type>"),
    ] {
        let expected = format!("x | D/d | {expected} | 1 | 3 | 2 | 5m");
        assert_eq!(hpa(spec(metrics), json!({"currentReplicas": 2, "currentMetrics": current})), expected);
    }
}

#[test]
fn the_older_autoscaler_prints_as_the_newer_one() {
    let object = json!({
        "apiVersion": "autoscaling/v1",
        "metadata": {"annotations": {
            "autoscaling.alpha.kubernetes.io/metrics": r#"[{"type":"Pods","pods":{"metricName":"r","targetAverageValue":"5"}}]"#,
            "autoscaling.alpha.kubernetes.io/current-metrics": r#"[{"type":"Pods","pods":{"metricName":"r","currentAverageValue":"3"}}]"#,
        }},
        "spec": {"scaleTargetRef": {"kind": "D", "name": "d"}, "minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 80},
        "status": {"currentReplicas": 1, "currentCPUUtilizationPercentage": 7},
    });
    assert_eq!(
        check("autoscaling", "horizontalpodautoscalers", object),
        "x | D/d | 3/5, cpu: 7%/80% | 1 | 3 | 1 | 5m"
    );
}

#[test]
fn other_resources_print_as_upstreams_do() {
    for (group, resource, object, expected) in [
        (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            json!({"webhooks": [{}, {}]}),
            "x | 2 | 5m",
        ),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", json!({}), "x | 0 | 5m"),
        (
            "admissionregistration.k8s.io",
            "validatingadmissionpolicies",
            json!({"spec": {"validations": [{}], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}}),
            "x | 1 | v1/ConfigMap | 5m",
        ),
        (
            "admissionregistration.k8s.io",
            "mutatingadmissionpolicies",
            json!({"spec": {"mutations": [{}]}}),
            "x | 1 | <unset> | 5m",
        ),
        (
            "admissionregistration.k8s.io",
            "validatingadmissionpolicybindings",
            json!({"spec": {"policyName": "p", "paramRef": {"name": "a"}}}),
            "x | p | */a | 5m",
        ),
        (
            "admissionregistration.k8s.io",
            "mutatingadmissionpolicybindings",
            json!({"spec": {"policyName": "p", "paramRef": {"namespace": "n", "name": "a"}}}),
            "x | p | n/a | 5m",
        ),
        (
            "apiregistration.k8s.io",
            "apiservices",
            json!({"status": {"conditions": [{"type": "Available", "status": "True", "reason": "Local"}]}}),
            "x | Local | True | 5m",
        ),
        (
            "apiregistration.k8s.io",
            "apiservices",
            json!({"spec": {"service": {"namespace": "n", "name": "s"}}, "status": {"conditions": [{"type": "Available", "status": "False", "reason": "ServiceNotFound"}]}}),
            "x | n/s | False (ServiceNotFound) | 5m",
        ),
        (
            "certificates.k8s.io",
            "certificatesigningrequests",
            json!({"spec": {"signerName": "e.com/s", "username": "u", "expirationSeconds": 7200}}),
            "x | 5m | e.com/s | u | 120m | Pending",
        ),
        (
            "certificates.k8s.io",
            "certificatesigningrequests",
            json!({"status": {"certificate": "eA==", "conditions": [{"type": "Approved"}, {"type": "Failed"}]}}),
            "x | 5m | <none> |  | <none> | Approved,Failed,Issued",
        ),
        ("coordination.k8s.io", "leases", json!({"spec": {"holderIdentity": "me"}}), "x | me | 5m"),
        (
            "discovery.k8s.io",
            "endpointslices",
            json!({"addressType": "IPv4", "ports": [{"port": 80}, {"name": "b"}, {}], "endpoints": [{"addresses": ["1.1.1.1", "1.1.1.2"]}, {"addresses": ["1.1.1.3", "1.1.1.4"]}]}),
            "x | IPv4 | 80,b,* | 1.1.1.1,1.1.1.2,1.1.1.3 + 1 more... | 5m",
        ),
        (
            "discovery.k8s.io",
            "endpointslices",
            json!({"addressType": "IPv6"}),
            "x | IPv6 | <unset> | <unset> | 5m",
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "flowschemas",
            json!({"spec": {"priorityLevelConfiguration": {"name": "p"}, "matchingPrecedence": 500, "distinguisherMethod": {"type": "ByUser"}}, "status": {"conditions": [{"type": "Dangling", "status": "False"}]}}),
            "x | p | 500 | ByUser | 5m | False",
        ),
        ("flowcontrol.apiserver.k8s.io", "flowschemas", json!({}), "x |  | 0 | <none> | 5m | ?"),
        (
            "flowcontrol.apiserver.k8s.io",
            "prioritylevelconfigurations",
            json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 30, "limitResponse": {"queuing": {"queues": 64, "handSize": 6, "queueLengthLimit": 50}}}}}),
            "x | Limited | 30 | 64 | 6 | 50 | 5m",
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "prioritylevelconfigurations",
            json!({"spec": {"type": "Exempt"}}),
            "x | Exempt | <none> | <none> | <none> | <none> | 5m",
        ),
        (
            "networking.k8s.io",
            "ingressclasses",
            json!({"metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}, "spec": {"controller": "c", "parameters": {"kind": "K", "name": "n", "apiGroup": "g"}}}),
            "x (default) | c | K.g/n | 5m",
        ),
        (
            "networking.k8s.io",
            "ingresses",
            json!({"spec": {"ingressClassName": "c", "rules": [{"host": "a"}, {"host": "b"}, {"host": "c"}, {}], "tls": [{}]}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}),
            "x | c | a,b,c + 1 more... | 1.2.3.4 | 80, 443 | 5m",
        ),
        ("networking.k8s.io", "ingresses", json!({"spec": {"rules": [{}]}}), "x | <none> | * |  | 80 | 5m"),
        (
            "networking.k8s.io",
            "ipaddresses",
            json!({"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}}),
            "x | services/n/s | 5m",
        ),
        (
            "networking.k8s.io",
            "ipaddresses",
            json!({"spec": {"parentRef": {"group": "g", "resource": "rs", "name": "s"}}}),
            "x | rs.g/s | 5m",
        ),
        (
            "networking.k8s.io",
            "networkpolicies",
            json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
            "x | a=b | 5m",
        ),
        (
            "networking.k8s.io",
            "servicecidrs",
            json!({"spec": {"cidrs": ["10.0.0.0/24", "fd00::/64"]}}),
            "x | 10.0.0.0/24,fd00::/64 | 5m",
        ),
        ("node.k8s.io", "runtimeclasses", json!({"handler": "h"}), "x | h | 5m"),
        (
            "rbac.authorization.k8s.io",
            "rolebindings",
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}),
            "x | Role/r | 5m | u, v |  | n/s",
        ),
        (
            "rbac.authorization.k8s.io",
            "clusterrolebindings",
            json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "Group", "name": "g"}]}),
            "x | ClusterRole/r | 5m |  | g | ",
        ),
        ("rbac.authorization.k8s.io", "roles", json!({}), "x | 2026-03-01T11:55:00Z"),
        ("resource.k8s.io", "deviceclasses", json!({}), "x | 5m"),
        ("resource.k8s.io", "resourceclaims", json!({}), "x | pending | 5m"),
        (
            "resource.k8s.io",
            "resourceclaims",
            json!({"metadata": {"deletionTimestamp": NOW}, "status": {"allocation": {}, "reservedFor": [{}]}}),
            "x | deleted,allocated,reserved | 5m",
        ),
        (
            "resource.k8s.io",
            "resourceslices",
            json!({"spec": {"nodeName": "n", "driver": "d", "pool": {"name": "p"}}}),
            "x | n | d | p | 5m",
        ),
        (
            "scheduling.k8s.io",
            "priorityclasses",
            json!({"value": -7, "globalDefault": true}),
            "x | -7 | true | 5m | ",
        ),
        (
            "storage.k8s.io",
            "csidrivers",
            json!({"spec": {"podInfoOnMount": true, "tokenRequests": [{"audience": "a"}, {"audience": "b"}], "volumeLifecycleModes": ["Persistent"]}}),
            "x | true | true | false | a,b | false | Persistent | 5m",
        ),
        (
            "storage.k8s.io",
            "csidrivers",
            json!({"spec": {"attachRequired": false}}),
            "x | false | false | false | <unset> | false | <none> | 5m",
        ),
        ("storage.k8s.io", "csinodes", json!({"spec": {"drivers": [{}]}}), "x | 1 | 5m"),
        (
            "storage.k8s.io",
            "csistoragecapacities",
            json!({"metadata": {"creationTimestamp": null}}),
            "x | 0001-01-01T00:00:00Z",
        ),
        (
            "storage.k8s.io",
            "storageclasses",
            json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p"}),
            "x (default) | p | Delete | Immediate | false | 5m",
        ),
        (
            "storage.k8s.io",
            "volumeattachments",
            json!({"spec": {"attacher": "a", "source": {"persistentVolumeName": "v"}, "nodeName": "n"}, "status": {"attached": true}}),
            "x | a | v | n | true | 5m",
        ),
        ("storage.k8s.io", "volumeattributesclasses", json!({"driverName": "d"}), "x | d | 5m"),
        ("example.com", "foos", json!({}), "x | 2026-03-01T11:55:00Z"),
    ] {
        assert_eq!(check(group, resource, object.clone()), expected, "{resource} {object}");
    }
}

const MAP: &[u8] = br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"7","creationTimestamp":"2026-03-01T11:55:00Z","managedFields":[{"manager":"m"}]},"data":{"x":"1"}}"#;

fn render(include: Option<&str>, version: MetaVersion, objects: &[&[u8]]) -> Value {
    let options = TableOptions::from_query(include, version).unwrap();
    let meta = ListMeta {
        resource_version: "9".to_owned(),
        continue_token: "t".to_owned(),
        remaining_item_count: Some(4),
    };
    let bytes = table(columns_for("", "configmaps"), objects.iter().copied(), options, &meta, now()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_table_has_the_metadata_of_its_list_and_rows_with_the_objects_metadata() {
    let table = render(None, MetaVersion::V1, &[MAP]);
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(table["metadata"], json!({"resourceVersion": "9", "continue": "t", "remainingItemCount": 4}));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["columnDefinitions"][0]["format"], "name");
    assert_eq!(
        table["rows"],
        json!([{"cells": ["a", 1, "5m"], "object": {
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"name": "a", "resourceVersion": "7", "creationTimestamp": "2026-03-01T11:55:00Z",
                "managedFields": [{"manager": "m"}]},
        }}])
    );
    assert_eq!(render(None, MetaVersion::V1, &[])["rows"], json!([]));
}

#[test]
fn rows_carry_what_was_asked_for() {
    let row = |include, version| render(Some(include), version, &[MAP])["rows"][0]["object"].clone();
    assert_eq!(row("None", MetaVersion::V1), Value::Null);
    assert_eq!(row("Object", MetaVersion::V1), serde_json::from_slice::<Value>(MAP).unwrap());
    assert_eq!(row("Metadata", MetaVersion::V1beta1)["apiVersion"], "meta.k8s.io/v1beta1");
    let end = br#"{"metadata":{"annotations":{"k8s.io/initial-events-end":"true"}}}"#;
    let row = render(Some("None"), MetaVersion::V1, &[end])["rows"][0]["object"].clone();
    assert_eq!(row["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[test]
fn an_unknown_include_object_is_refused() {
    let status = TableOptions::from_query(Some("Odd"), MetaVersion::V1).unwrap_err();
    assert_eq!(status.code, 400);
    assert_eq!(
        status.message,
        "Unable to convert to Table as requested: includeObject: Invalid value: \"Odd\": must be 'Metadata', \
         'Object', 'None', or empty"
    );
}

#[test]
fn later_events_of_a_watch_have_no_columns() {
    let options = TableOptions::from_query(None, MetaVersion::V1).unwrap().without_headers();
    let meta = ListMeta::of_object(MAP).unwrap();
    let bytes = table(columns_for("", "configmaps"), [MAP], options, &meta, now()).unwrap();
    let table: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(table["columnDefinitions"], Value::Null);
    assert_eq!(table["metadata"], json!({"resourceVersion": "7"}));
}

#[test]
fn the_row_of_a_finished_pod_says_so() {
    let pod = br#"{"metadata":{"name":"p"},"status":{"phase":"Failed"}}"#.as_slice();
    let options = TableOptions::from_query(None, MetaVersion::V1).unwrap();
    let bytes = table(columns_for("", "pods"), [pod], options, &ListMeta::default(), now()).unwrap();
    let table: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        table["rows"][0]["conditions"],
        json!([{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}])
    );
}

#[test]
fn flow_schemas_stand_in_the_order_they_match_in() {
    let schema = |name: &str, precedence: u32| {
        json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": precedence}}).to_string()
    };
    let schemas = [schema("a", 900), schema("c", 100), schema("b", 100)];
    let options = TableOptions::from_query(None, MetaVersion::V1).unwrap();
    let bytes = table(
        columns_for("flowcontrol.apiserver.k8s.io", "flowschemas"),
        schemas.iter().map(String::as_bytes),
        options,
        &ListMeta::default(),
        now(),
    )
    .unwrap();
    let table: Value = serde_json::from_slice(&bytes).unwrap();
    let names: Vec<&Value> = table["rows"].as_array().unwrap().iter().map(|row| &row["cells"][0]).collect();
    assert_eq!(names, ["b", "c", "a"]);
}

#[test]
fn partial_metadata_is_cut_out_of_the_object() {
    assert_eq!(
        String::from_utf8(partial(MAP, MetaVersion::V1).unwrap()).unwrap(),
        r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a","resourceVersion":"7","creationTimestamp":"2026-03-01T11:55:00Z","managedFields":[{"manager":"m"}]}}"#
    );
    let meta = ListMeta { resource_version: "9".to_owned(), ..ListMeta::default() };
    let list = |objects: &[&[u8]]| -> Value {
        let bytes = partial_list(objects.iter().copied(), MetaVersion::V1beta1, &meta).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let two = list(&[MAP, MAP]);
    assert_eq!(two["kind"], "PartialObjectMetadataList");
    assert_eq!(two["apiVersion"], "meta.k8s.io/v1beta1");
    assert_eq!(two["items"].as_array().unwrap().len(), 2);
    assert_eq!(two["items"][1]["kind"], "PartialObjectMetadata");
    assert_eq!(
        list(&[]),
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1beta1",
        "metadata": {"resourceVersion": "9"}, "items": null})
    );
}

#[test]
fn metadata_of_a_list_or_a_list_of_metadata_of_one_object_is_not_acceptable() {
    let kind = |group: &str, kind: &str| GroupVersionKind::new(group, "v1", kind);
    for (kind, name) in [
        (kind("apps", "Deployment"), "*apps.Deployment"),
        (kind("", "Pod"), "*core.Pod"),
        (kind("events.k8s.io", "Event"), "*core.Event"),
        (kind("flowcontrol.apiserver.k8s.io", "FlowSchema"), "*flowcontrol.FlowSchema"),
        (kind("rbac.authorization.k8s.io", "Role"), "*rbac.Role"),
        (kind("example.com", "Foo"), "*unstructured.Unstructured"),
    ] {
        assert_eq!(
            not_a_list(&kind).message,
            format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list ({name})"
            )
        );
        assert_eq!(
            not_an_object(&kind).message,
            format!("you requested PartialObjectMetadata, but the requested object is a list ({name}List)")
        );
        assert_eq!((not_a_list(&kind).code, not_a_list(&kind).reason.as_str()), (406, "NotAcceptable"));
    }
}
