//! Every field of every kind is set in some object that the server takes and keeps, but for those that it never does.
//!
//! Goal: a rule that is too strict, a field that is lost and a schema that grew show here by name. Method: the full-featured
//! objects and the further ones of `more.yaml` are written, and what they set is compared with what their schemas have.
//! `NEVER` says of the rest why it is so, and must be true: a field that can be set after all fails the test too.

use std::{collections::BTreeSet, fs, path::PathBuf};

use api_types::{
    object::ObjectExt as _,
    schema::{Shape, TypeRef, schema},
    wire,
};
use apiserver::registry::catalogue::Served;
use serde_json::{Map, Value, json};

use crate::{
    fill::OWN_METADATA,
    objects::{full, lost, seed},
    server::{JSON, World, path},
};

/// Resources with pods' templates, and where those are.
const TEMPLATES: &[(&str, &str)] = &[
    ("/v1/podtemplates", "/template/spec"),
    ("/v1/replicationcontrollers", "/spec/template/spec"),
    ("apps/v1/daemonsets", "/spec/template/spec"),
    ("apps/v1/deployments", "/spec/template/spec"),
    ("apps/v1/replicasets", "/spec/template/spec"),
    ("apps/v1/statefulsets", "/spec/template/spec"),
    ("batch/v1/cronjobs", "/spec/jobTemplate/spec/template/spec"),
    ("batch/v1/jobs", "/spec/template/spec"),
];

/// What no object has: how the keys of the resources begin (none: any), the fields (a `*` at the end stands for any), and
/// why.
const NEVER: &[(&[&str], &[&str], &str)] = &[
    // Features that are off by default.
    (
        &[],
        &["v1.ClusterTrustBundleProjection.*", "v1.VolumeProjection.clusterTrustBundle"],
        "ClusterTrustBundleProjection is off",
    ),
    (
        &[],
        &["v1.PodCertificateProjection.*", "v1.VolumeProjection.podCertificate"],
        "PodCertificateRequest is off",
    ),
    (&[], &["v1.Lifecycle.stopSignal"], "ContainerStopSignals is off"),
    (&[], &["v1.PodSchedulingGroup.*", "v1.PodSpec.schedulingGroup"], "GenericWorkload is off"),
    (
        &["/v1/persistentvolumeclaims"],
        &["v1.TypedObjectReference.namespace"],
        "CrossNamespaceVolumeDataSource is off; templates of claims are not looked at so closely",
    ),
    (
        &["/v1/pods"],
        &["v1.ImageVolumeStatus.*", "v1.VolumeStatus.image", "v1.VolumeMountStatus.volumeStatus"],
        "ImageVolumeWithDigest is off",
    ),
    (
        &["/v1/pods"],
        &["v1.NodeAllocatableResourceClaimStatus.*", "v1.PodStatus.nodeAllocatableResourceClaimStatuses"],
        "DRANodeAllocatableResources is off",
    ),
    (
        &["resource.k8s.io/"],
        &["v1.Device.nodeAllocatableResourceMappings", "v1.NodeAllocatableResourceMapping.*"],
        "DRANodeAllocatableResources is off",
    ),
    (
        &["resource.k8s.io/"],
        &[
            "v1.DeviceAttribute.bools",
            "v1.DeviceAttribute.ints",
            "v1.DeviceAttribute.strings",
            "v1.DeviceAttribute.versions",
        ],
        "DRAListTypeAttributes is off",
    ),
    (
        &["coordination.k8s.io/"],
        &["v1.LeaseSpec.strategy", "v1.LeaseSpec.preferredHolder"],
        "CoordinatedLeaderElection is off",
    ),
    (
        &["apps/v1/statefulsets"],
        &["v1.RollingUpdateStatefulSetStrategy.maxUnavailable"],
        "MaxUnavailableStatefulSet is off",
    ),
    (
        &["storage.k8s.io/v1/csidrivers"],
        &["v1.CSIDriverSpec.preventPodSchedulingIfMissing"],
        "VolumeLimitScaling is off",
    ),
    (
        &["/v1/nodes"],
        &[
            "v1.NodeSpec.configSource",
            "v1.NodeStatus.config",
            "v1.NodeConfigSource.*",
            "v1.NodeConfigStatus.*",
            "v1.ConfigMapNodeConfigSource.*",
        ],
        "dynamic configuration of kubelets is gone",
    ),
    // What is refused.
    (
        &["/v1/pods"],
        &[
            "v1.EphemeralContainer.lifecycle",
            "v1.EphemeralContainer.livenessProbe",
            "v1.EphemeralContainer.ports",
            "v1.EphemeralContainer.readinessProbe",
            "v1.EphemeralContainer.resizePolicy",
            "v1.EphemeralContainer.restartPolicy",
            "v1.EphemeralContainer.restartPolicyRules",
            "v1.EphemeralContainer.startupProbe",
        ],
        "not for debugging containers",
    ),
    (
        &["/v1/podtemplates", "/v1/replicationcontrollers", "apps/v1/", "batch/v1/"],
        &["v1.EphemeralContainer.*", "v1.PodSpec.ephemeralContainers"],
        "templates have no debugging containers",
    ),
    (
        &["/v1/replicationcontrollers", "apps/v1/"],
        &["v1.PodSpec.activeDeadlineSeconds"],
        "these pods run on and on",
    ),
    (&["batch/v1/cronjobs"], &["v1.JobSpec.selector"], "jobs that are made get one of their own"),
    (
        &["events.k8s.io/"],
        &["v1.Event.deprecated*", "v1.EventSource.*"],
        "only events of the older version are made with them",
    ),
    (
        &["apiextensions.k8s.io/"],
        &[
            "v1.CustomResourceDefinitionSpec.preserveUnknownFields",
            "v1.JSONSchemaProps.$ref",
            "v1.JSONSchemaProps.$schema",
            "v1.JSONSchemaProps.additionalItems",
            "v1.JSONSchemaProps.definitions",
            "v1.JSONSchemaProps.dependencies",
            "v1.JSONSchemaProps.id",
            "v1.JSONSchemaProps.patternProperties",
            "v1.JSONSchemaProps.uniqueItems",
        ],
        "schemas are structural, and prune",
    ),
    (
        &["rbac.authorization.k8s.io/v1/roles"],
        &["v1.PolicyRule.nonResourceURLs"],
        "paths are in no namespace",
    ),
    (
        &["storage.k8s.io/v1/volumeattachments"],
        &[
            "v1.AWSElasticBlockStoreVolumeSource.*",
            "v1.AzureDiskVolumeSource.*",
            "v1.AzureFilePersistentVolumeSource.*",
            "v1.CephFSPersistentVolumeSource.*",
            "v1.CinderPersistentVolumeSource.*",
            "v1.FCVolumeSource.*",
            "v1.FlexPersistentVolumeSource.*",
            "v1.FlockerVolumeSource.*",
            "v1.GCEPersistentDiskVolumeSource.*",
            "v1.GlusterfsPersistentVolumeSource.*",
            "v1.HostPathVolumeSource.*",
            "v1.ISCSIPersistentVolumeSource.*",
            "v1.LocalVolumeSource.*",
            "v1.NFSVolumeSource.*",
            "v1.PhotonPersistentDiskVolumeSource.*",
            "v1.PortworxVolumeSource.*",
            "v1.QuobyteVolumeSource.*",
            "v1.RBDPersistentVolumeSource.*",
            "v1.ScaleIOPersistentVolumeSource.*",
            "v1.StorageOSPersistentVolumeSource.*",
            "v1.VsphereVirtualDiskVolumeSource.*",
            "v1.PersistentVolumeSpec.awsElasticBlockStore",
            "v1.PersistentVolumeSpec.azure*",
            "v1.PersistentVolumeSpec.cephfs",
            "v1.PersistentVolumeSpec.cinder",
            "v1.PersistentVolumeSpec.fc",
            "v1.PersistentVolumeSpec.flexVolume",
            "v1.PersistentVolumeSpec.flocker",
            "v1.PersistentVolumeSpec.gcePersistentDisk",
            "v1.PersistentVolumeSpec.glusterfs",
            "v1.PersistentVolumeSpec.hostPath",
            "v1.PersistentVolumeSpec.iscsi",
            "v1.PersistentVolumeSpec.local",
            "v1.PersistentVolumeSpec.nfs",
            "v1.PersistentVolumeSpec.photonPersistentDisk",
            "v1.PersistentVolumeSpec.portworxVolume",
            "v1.PersistentVolumeSpec.quobyte",
            "v1.PersistentVolumeSpec.rbd",
            "v1.PersistentVolumeSpec.scaleIO",
            "v1.PersistentVolumeSpec.storageos",
            "v1.PersistentVolumeSpec.vsphereVolume",
        ],
        "volumes without a claim are those of CSI drivers",
    ),
    (
        &["storage.k8s.io/v1/volumeattachments"],
        &[
            "v1.NodeSelector.*",
            "v1.NodeSelectorRequirement.*",
            "v1.NodeSelectorTerm.*",
            "v1.ObjectReference.*",
            "v1.PersistentVolumeSpec.capacity",
            "v1.PersistentVolumeSpec.claimRef",
            "v1.PersistentVolumeSpec.nodeAffinity",
            "v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy",
            "v1.PersistentVolumeSpec.storageClassName",
            "v1.PersistentVolumeSpec.volumeAttributesClassName",
            "v1.PersistentVolumeSpec.volumeMode",
            "v1.VolumeNodeAffinity.*",
        ],
        "volumes without a claim are not placed, sized or claimed",
    ),
    (
        &["authorization.k8s.io/", "authentication.k8s.io/v1/selfsubjectreviews"],
        &[
            "v1.ObjectMeta.annotations",
            "v1.ObjectMeta.finalizers",
            "v1.ObjectMeta.labels",
            "v1.ObjectMeta.ownerReferences",
            "v1.OwnerReference.*",
        ],
        "questions have no metadata",
    ),
    (
        &["authorization.k8s.io/v1/localsubjectaccessreviews"],
        &["v1.NonResourceAttributes.*", "v1.SubjectAccessReviewSpec.nonResourceAttributes"],
        "paths are in no namespace",
    ),
    // What is dropped, or set by the server from what these tests do not have.
    (&["/v1/secrets"], &["v1.Secret.stringData"], "it is written, and becomes data"),
    (
        &["/v1/serviceaccounts"],
        &[
            "v1.ObjectReference.apiVersion",
            "v1.ObjectReference.fieldPath",
            "v1.ObjectReference.kind",
            "v1.ObjectReference.namespace",
            "v1.ObjectReference.resourceVersion",
            "v1.ObjectReference.uid",
        ],
        "only names of secrets are kept",
    ),
    (
        &["discovery.k8s.io/"],
        &["v1.Endpoint.deprecatedTopology"],
        "it came with the beta version, and went with it",
    ),
    (
        &["flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"],
        &["v1.ExemptPriorityLevelConfiguration.*", "v1.PriorityLevelConfigurationSpec.exempt"],
        "only the level named exempt has it, which the server makes",
    ),
    (
        &["certificates.k8s.io/"],
        &["v1.CertificateSigningRequestSpec.extra", "v1.CertificateSigningRequestSpec.uid"],
        "who asks here has none",
    ),
    (
        &["authentication.k8s.io/v1/selfsubjectreviews"],
        &["v1.UserInfo.extra", "v1.UserInfo.uid"],
        "who asks here has none",
    ),
    (
        &["authentication.k8s.io/v1/tokenreviews"],
        &["v1.TokenReviewStatus.audiences", "v1.TokenReviewStatus.authenticated", "v1.UserInfo.*"],
        "the token is good for nothing",
    ),
    (
        &["authorization.k8s.io/"],
        &["v1.SubjectAccessReviewStatus.denied", "v1.SubjectRulesReviewStatus.evaluationError"],
        "nobody denies here, and all rules are read",
    ),
    (
        &["authorization.k8s.io/v1/selfsubjectaccessreviews"],
        &["v1.SubjectAccessReviewStatus.reason"],
        "administrators need no reason",
    ),
    (
        &["authorization.k8s.io/v1/selfsubjectrulesreviews"],
        &["v1.ResourceRule.resourceNames"],
        "no rule of administrators is about names",
    ),
];

/// A further object of a resource, and what is written of it.
struct More {
    path: String,
    object: Value,
    status: Option<Value>,
    parts: Vec<(String, Value)>,
}

type Seen = std::collections::BTreeSet<(&'static str, &'static str)>;

/// The fields of each type that a value sets.
fn mark(value: &Value, of: TypeRef, seen: &mut Seen) {
    let of = schema().get(of);
    for field in &of.fields {
        if let Some(value) = value.get(field.json).filter(|value| !value.is_null()) {
            seen.insert((of.go_name, field.json));
            mark_shape(value, &field.shape, seen);
        }
    }
}

fn mark_shape(value: &Value, shape: &Shape, seen: &mut Seen) {
    match (shape, value) {
        (Shape::Struct(of), value) => mark(value, *of, seen),
        (Shape::List(of), Value::Array(items)) => items.iter().for_each(|item| mark_shape(item, of, seen)),
        (Shape::Map(of), Value::Object(map)) => map.values().for_each(|value| mark_shape(value, of, seen)),
        _ => {}
    }
}

/// All fields that there are at and below a type, but for metadata the server sets.
fn reach(of: TypeRef, reachable: &mut Seen) {
    let of = schema().get(of);
    if of.name == "ManagedFieldsEntry" {
        return;
    }
    for field in
        of.fields.iter().filter(|field| !(of.name == "ObjectMeta" && OWN_METADATA.contains(&field.json)))
    {
        if reachable.insert((of.go_name, field.json)) {
            let mut shape = &field.shape;
            while let Shape::List(inner) | Shape::Map(inner) = shape {
                shape = inner;
            }
            if let Shape::Struct(of) = shape {
                reach(*of, reachable);
            }
        }
    }
}

/// The further objects of all resources, by key.
fn further() -> Value {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire/more.yaml");
    wire::yaml::to_value(&fs::read(file).unwrap()).unwrap().value
}

/// The further objects of a resource.
fn more(further: &Value, key: &str, served: &Served) -> Vec<More> {
    let list = |key: &str| further.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut entries = list(key);
    if let Some((_, place)) = TEMPLATES.iter().find(|(other, _)| *other == key) {
        let pods = list("/v1/pods").into_iter().filter(|pod| pod["template"] == json!(true));
        entries.extend(
            pods.map(|pod| json!({"object": with_template(key, served, place, &pod["object"]["spec"])})),
        );
    }
    let kind = served.resource.kind();
    let numbered = entries.into_iter().enumerate();
    numbered
        .map(|(index, mut entry)| {
            let mut object = entry["object"].take();
            if object == json!("seed") {
                object = seed(key, served);
            }
            object["kind"] = json!(kind.kind);
            object["apiVersion"] = json!(kind.api_version());
            if served.resource.verbs() != ["create"] {
                let name = entry["name"].as_str().map_or_else(|| format!("more-{index}"), str::to_owned);
                object.set_meta("name", name);
            }
            complete(key, &mut object);
            let namespace = entry["namespace"].as_str().unwrap_or("default");
            let parts = entry["parts"].as_array().cloned().unwrap_or_default();
            More {
                path: path(served).replace("/namespaces/default/", &format!("/namespaces/{namespace}/")),
                object,
                status: entry.get("status").cloned(),
                parts: parts.iter().filter_map(Value::as_object).flat_map(Map::clone).collect(),
            }
        })
        .collect()
}

/// What every object of a kind needs, and its entries need not repeat.
fn complete(key: &str, object: &mut Value) {
    if key == "/v1/persistentvolumes" {
        lay_over(object, json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}));
    }
    if key == "/v1/events" || key == "events.k8s.io/v1/events" {
        object.set_meta("namespace", "default");
    }
    if key == "authorization.k8s.io/v1/localsubjectaccessreviews" {
        object.set_meta("namespace", "default");
    }
}

/// A workload of that pod.
fn with_template(key: &str, served: &Served, place: &str, pod: &Value) -> Value {
    let mut object = seed(key, served);
    let spec = object.pointer_mut(place).unwrap();
    let restarts = spec["restartPolicy"].take();
    *spec = pod.clone();
    // Pods of most workloads may not end by themselves.
    if restarts == json!("Always") && key != "/v1/podtemplates" {
        spec.as_object_mut().unwrap().remove("activeDeadlineSeconds");
    }
    spec["restartPolicy"] = restarts;
    object
}

fn lay_over(object: &mut Value, part: Value) {
    match (object, part) {
        (Value::Object(object), Value::Object(part)) => {
            for (name, value) in part {
                lay_over(object.entry(name).or_insert(Value::Null), value);
            }
        }
        (object, part) => *object = part,
    }
}

/// Writes an object with all its parts, and returns what the server then has of it.
fn written(world: &World, more: More) -> Result<Value, String> {
    let send = |method: &str, path: &str, object: &Value| {
        let answer = world.send(method, path, JSON, JSON, object.to_string().as_bytes());
        if answer.code < 300 { Ok(answer.json()) } else { Err(format!("{method} {path}: {}", answer.text())) }
    };
    let kept = |part: &Value, made: &Value, of: &str| match lost(part, made) {
        lost if lost.is_empty() => Ok(()),
        lost => Err(format!("{of}: lost {}", lost.join(", "))),
    };
    let mut made = send("POST", &more.path, &more.object)?;
    let here = format!("{}/{}", more.path, made.name());
    let status = more.status.map(|status| ("status".to_owned(), json!({"status": status})));
    kept(&more.object, &made, &here)?;
    for (subresource, part) in more.parts.into_iter().chain(status) {
        let mut changed = made.clone();
        lay_over(&mut changed, part.clone());
        made = send("PUT", &format!("{here}/{subresource}"), &changed)?;
        kept(&part, &made, &format!("{here}/{subresource}"))?;
    }
    Ok(made)
}

fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

#[test]
fn every_field_is_set_by_an_object_unless_it_never_is() {
    let world = World::new();
    for (path, body) in [
        (
            "/apis/node.k8s.io/v1/runtimeclasses",
            r#"{"metadata":{"name":"overhead"},"handler":"h","overhead":{"podFixed":{"cpu":"10m"}}}"#,
        ),
        (
            "/api/v1/namespaces",
            r#"{"metadata":{"name":"admin","labels":{"resource.kubernetes.io/admin-access":"true"}}}"#,
        ),
    ] {
        let made = world.send("POST", path, JSON, JSON, body.as_bytes());
        assert_eq!(made.code, 201, "{}", made.text());
    }
    let further = further();
    let mut used: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut wrong: Vec<String> = Vec::new();
    let (mut set, mut all) = (0, 0);
    for (key, served) in world.creatable() {
        let of = served.resource.schema().unwrap();
        let mut seen = Seen::new();
        let it = full(&key);
        mark(&it.object, of, &mut seen);
        if let Some(status) = it.status {
            mark(&json!({"status": status}), of, &mut seen);
        }
        if served.resource.verbs() == ["create"] {
            // What is asked and what is answered.
            let objects = more(&further, &key, &served).into_iter().map(|more| (more.path, more.object));
            for (path, object) in std::iter::once((path(&served), it.object)).chain(objects) {
                mark(&object, of, &mut seen);
                let answer = world.send("POST", &path, JSON, JSON, object.to_string().as_bytes());
                assert_eq!(answer.code, 201, "{key}: {}", answer.text());
                mark(&answer.json(), of, &mut seen);
            }
        } else {
            for more in more(&further, &key, &served) {
                match written(&world, more) {
                    Ok(object) => mark(&object, of, &mut seen),
                    Err(why) => wrong.push(why),
                }
            }
        }
        let mut reachable = Seen::new();
        reach(of, &mut reachable);
        all += reachable.len();
        set += reachable.intersection(&seen).count();
        for (of, name) in reachable {
            let field = format!("{of}.{name}");
            let mut excused = false;
            for (at, (places, patterns, _)) in NEVER.iter().enumerate() {
                let by = patterns.iter().position(|pattern| fits(pattern, &field));
                let is_meant = places.is_empty() || places.iter().any(|place| key.starts_with(place));
                if let Some(by) = by.filter(|_| is_meant) {
                    excused = true;
                    used.insert((at, by));
                    if seen.contains(&(of, name)) && !NEVER[at].1[by].ends_with('*') {
                        wrong.push(format!("{key}: {field} can be set after all"));
                    }
                }
            }
            if !excused && !seen.contains(&(of, name)) {
                wrong.push(format!("{key}: {field} is never set"));
            }
        }
    }
    for (at, (_, patterns, why)) in NEVER.iter().enumerate() {
        let idle = (0..patterns.len()).filter(|&by| !used.contains(&(at, by)));
        wrong.extend(idle.map(|by| format!("{} is not there at all ({why})", patterns[by])));
    }
    println!("{set} of {all}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
