//! Mirror Pods: what a kubelet runs from files of its own, made visible. They belong to their Node and must not be a way to
//! anything else.

use api_types::{field::go_quote, object::ObjectExt as _};
use serde_json::Value;

use super::text;
use crate::{authz::node::refers_to, resources::shared::pod_spec::annotations::MIRROR};

/// Kinds of volumes that need nothing of the API.
const HARMLESS: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];
/// Kinds that do, with what they refer to.
const REFERRING: &[(&str, &str)] = &[
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
];
/// The same of what is projected into a volume.
const PROJECTED: &[(&str, &str)] = &[
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

/// The uid that a Pod which a node makes gives its Node. It must be a mirror Pod, bound to the node and its own.
///
/// # Errors
/// What it is not.
pub(super) fn owner<'a>(node: &str, pod: &'a Value) -> Result<&'a str, String> {
    let quoted = go_quote(node);
    if pod.annotation(MIRROR).is_none() {
        return Err(format!(
            "pod does not have {} annotation, node {quoted} can only create mirror pods",
            go_quote(MIRROR)
        ));
    }
    if text(pod, "/spec/nodeName") != node {
        return Err(format!("node {quoted} can only create pods with spec.nodeName set to itself"));
    }
    let owners = pod.meta().and_then(|meta| meta.get("ownerReferences")).and_then(Value::as_array);
    let owner = match owners.map(Vec::as_slice).unwrap_or_default() {
        [owner] => owner,
        [] => {
            return Err(format!("node {quoted} can only create pods with an owner reference set to itself"));
        }
        _ => {
            return Err(format!(
                "node {quoted} can only create pods with a single owner reference set to itself"
            ));
        }
    };
    let says = |field: &str| owner.get(field).and_then(Value::as_bool) == Some(true);
    if text(owner, "/apiVersion") != "v1" || text(owner, "/kind") != "Node" || text(owner, "/name") != node {
        return Err(format!("node {quoted} can only create pods with an owner reference set to itself"));
    }
    if !says("controller") {
        return Err(format!(
            "node {quoted} can only create pods with a controller owner reference set to itself"
        ));
    }
    if says("blockOwnerDeletion") {
        return Err(format!("node {quoted} must not set blockOwnerDeletion on an owner reference"));
    }
    Ok(text(owner, "/uid"))
}

/// That a Pod refers to no object of the API.
///
/// # Errors
/// What it refers to.
pub(super) fn refers_to_nothing(node: &str, pod: &Value) -> Result<(), String> {
    let (secrets, config_maps) = refers_to(pod);
    let list =
        |path: &str| pod.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let what = if !text(pod, "/spec/serviceAccountName").is_empty() {
        Some("serviceaccounts")
    } else if secrets {
        Some("secrets")
    } else if config_maps {
        Some("configmaps")
    } else if !list("/spec/resourceClaims").is_empty() {
        Some("resourceclaims")
    } else {
        let mut found = None;
        for volume in list("/spec/volumes") {
            found = volume_refers_to(volume)
                .map_err(|why| format!("error checking mirror pod for API references: {why}"))?;
            if found.is_some() {
                break;
            }
        }
        found
    };
    match what {
        Some(what) => Err(format!("node {} can not create pods that reference {what}", go_quote(node))),
        None => Ok(()),
    }
}

fn volume_refers_to(volume: &Value) -> Result<Option<&'static str>, String> {
    let has = |object: &Value, kind: &str| object.get(kind).is_some_and(|it| !it.is_null());
    let named = |object: &Value, kinds: &'static [(&'static str, &'static str)]| {
        kinds.iter().find(|(kind, _)| has(object, kind)).map(|(_, what)| *what)
    };
    if HARMLESS.iter().any(|kind| has(volume, kind)) {
        return Ok(None);
    }
    if let Some(what) = named(volume, REFERRING) {
        return Ok(Some(what));
    }
    let name = || go_quote(text(volume, "/name"));
    if !has(volume, "projected") {
        return Err(format!("unknown volume type for volume  {}", name()));
    }
    for source in volume.pointer("/projected/sources").and_then(Value::as_array).into_iter().flatten() {
        if let Some(what) = named(source, PROJECTED) {
            return Ok(Some(what));
        }
        if !has(source, "downwardAPI") {
            return Err(format!("unknown source for projected volume {}", name()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_makes_mirror_pods_of_its_own() {
        let own = json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}]);
        let pod = |annotated: bool, node: &str, owners: Value| {
            let annotations = if annotated { json!({MIRROR: "x"}) } else { json!({}) };
            let pod = json!({"metadata": {"annotations": annotations, "ownerReferences": owners}, "spec": {"nodeName": node}});
            owner("n", &pod).map(str::to_owned).unwrap_or_else(|why| why)
        };
        let with = |field: &str, value: Value| {
            let mut owners = own.clone();
            owners[0][field] = value;
            owners
        };
        let two = json!([own[0], own[0]]);
        for (annotated, node, owners, expected) in [
            (true, "n", own.clone(), "u"),
            (
                false,
                "n",
                own.clone(),
                r#"pod does not have "kubernetes.io/config.mirror" annotation, node "n" can only create mirror pods"#,
            ),
            (true, "m", own.clone(), r#"node "n" can only create pods with spec.nodeName set to itself"#),
            (true, "n", json!([]), r#"node "n" can only create pods with an owner reference set to itself"#),
            (true, "n", two, r#"node "n" can only create pods with a single owner reference set to itself"#),
            (
                true,
                "n",
                with("name", json!("m")),
                r#"node "n" can only create pods with an owner reference set to itself"#,
            ),
            (
                true,
                "n",
                with("controller", json!(false)),
                r#"node "n" can only create pods with a controller owner reference set to itself"#,
            ),
            (
                true,
                "n",
                with("blockOwnerDeletion", json!(true)),
                r#"node "n" must not set blockOwnerDeletion on an owner reference"#,
            ),
        ] {
            assert_eq!(pod(annotated, node, owners), expected);
        }
    }

    #[test]
    fn such_pods_refer_to_no_object() {
        let refers = |spec: Value| {
            let pod = json!({"metadata": {"name": "p", "annotations": {MIRROR: "x"}}, "spec": spec});
            refers_to_nothing("n", &pod).err().unwrap_or_default()
        };
        let volume = |source: Value| {
            let mut volume = source;
            volume["name"] = json!("v");
            json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}, volume]})
        };
        for (spec, what) in [
            (json!({"containers": [{"name": "c"}]}), ""),
            (json!({"serviceAccountName": "a"}), "serviceaccounts"),
            (json!({"imagePullSecrets": [{"name": "s"}]}), "secrets"),
            (
                json!({"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}),
                "secrets",
            ),
            (
                json!({"containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "s"}}]}]}),
                "configmaps",
            ),
            (json!({"resourceClaims": [{"name": "r"}]}), "resourceclaims"),
            (volume(json!({"persistentVolumeClaim": {"claimName": "c"}})), "persistentvolumeclaims"),
            (volume(json!({"ephemeral": {}})), "persistentvolumeclaims (via ephemeral volumes)"),
            (volume(json!({"csi": {"driver": "d"}})), "csidrivers (via CSI volumes)"),
            (volume(json!({"projected": {"sources": [{"downwardAPI": {}}]}})), ""),
            (
                volume(json!({"projected": {"sources": [{"downwardAPI": {}}, {"serviceAccountToken": {}}]}})),
                "serviceaccounts (via projected volumes)",
            ),
        ] {
            let expected = match what {
                "" => String::new(),
                what => format!(r#"node "n" can not create pods that reference {what}"#),
            };
            assert_eq!(refers(spec), expected);
        }
        assert_eq!(
            refers(volume(json!({"odd": {}}))),
            r#"error checking mirror pod for API references: unknown volume type for volume  "v""#
        );
    }
}
