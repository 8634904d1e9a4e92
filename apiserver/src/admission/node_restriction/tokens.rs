//! Tokens that a node asks for: they are bound to a Pod that runs on it, and good for nobody but those the Pod, or a driver
//! of its volumes, names; or else somebody has granted the node more (KEP-4193).

use std::sync::Arc;

use api_types::{field::go_quote, kind::GroupResource, object::ObjectExt as _, status::Status};
use serde_json::Value;

use super::text;
use crate::{
    admission::Attributes,
    authz::{
        attributes::Attributes as Question,
        decision::{Authorizer as _, Decision},
    },
    server::Server,
};

/// Kinds of volumes that CSI drivers have taken over, with the drivers.
const TAKEN_OVER: &[(&str, &str)] = &[
    ("awsElasticBlockStore", "ebs.csi.aws.com"),
    ("azureDisk", "disk.csi.azure.com"),
    ("azureFile", "file.csi.azure.com"),
    ("cinder", "cinder.csi.openstack.org"),
    ("gcePersistentDisk", "pd.csi.storage.gke.io"),
    ("portworxVolume", "pxd.portworx.com"),
    ("vsphereVolume", "csi.vsphere.vmware.com"),
];

/// The Pod that a token is bound to.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) name: String,
    uid: String,
}

/// The Pod that a token shall be bound to.
///
/// # Errors
/// That it shall be bound to none.
pub(super) fn bound(request: &Value) -> Result<Bound, String> {
    let at = |field: &str| text(request, &format!("/spec/boundObjectRef/{field}"));
    if at("apiVersion") != "v1" || at("kind") != "Pod" || at("name").is_empty() {
        return Err("node requested token not bound to a pod".to_owned());
    }
    if at("uid").is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    Ok(Bound { name: at("name").to_owned(), uid: at("uid").to_owned() })
}

/// That a Pod is the one that was meant, and runs on the node.
///
/// # Errors
/// What it is instead.
pub(super) fn is_of(node: &str, bound: &Bound, pod: &Value) -> Result<(), String> {
    if bound.uid != pod.uid() {
        return Err(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            bound.uid
        ));
    }
    if text(pod, "/spec/nodeName") != node {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    Ok(())
}

/// That a token is for somebody the Pod has to do with, or whom the node may ask tokens for.
///
/// # Errors
/// Why not.
pub(super) async fn audience(server: &Server, attributes: &Attributes, pod: &Value) -> Result<(), String> {
    let audiences = attributes.object.pointer("/spec/audiences").and_then(Value::as_array);
    let audience = match audiences.map(Vec::as_slice).unwrap_or_default() {
        [] => "",
        [only] => only.as_str().unwrap_or_default(),
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    let quoted = go_quote(audience);
    let named = pod_names(server, pod, audience).await;
    if named.map_err(|why| format!("error validating audience {quoted}: {why}"))? {
        return Ok(());
    }
    let question = Question {
        user: attributes.user.clone(),
        verb: "request-serviceaccounts-token-audience".to_owned(),
        namespace: attributes.namespace.clone(),
        version: "v1".to_owned(),
        resource: audience.to_owned(),
        name: attributes.name.clone(),
        resource_request: true,
        ..Question::default()
    };
    match server.authorizer.authorize(&question) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(_) | Decision::NoOpinion(_) => Err(format!(
            "audience {quoted} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            attributes.user.name
        )),
    }
}

/// Whether the Pod, or a driver of one of its volumes, wants tokens for this audience.
async fn pod_names(server: &Server, pod: &Value, audience: &str) -> Result<bool, String> {
    let mut troubles = Vec::new();
    for volume in pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten() {
        if projects(volume, audience) {
            return Ok(true);
        }
        let wanted = match driver(server, pod, volume).await {
            Ok(None) => continue,
            Ok(Some(driver)) => {
                let found = find(server, "storage.k8s.io", "csidriver", "", &driver).await;
                found.map(|driver| wants(&driver, audience))
            }
            Err(why) => Err(why),
        };
        match wanted {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(why) => troubles.push(why),
        }
    }
    match troubles.as_slice() {
        [] => Ok(false),
        [only] => Err(only.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

/// Whether a volume has a token for this audience projected into it.
fn projects(volume: &Value, audience: &str) -> bool {
    let sources = volume.pointer("/projected/sources").and_then(Value::as_array);
    let tokens = sources.into_iter().flatten().filter_map(|source| source.get("serviceAccountToken"));
    tokens.filter(|token| !token.is_null()).any(|token| text(token, "/audience") == audience)
}

/// Whether a driver wants tokens for this audience.
fn wants(driver: &Value, audience: &str) -> bool {
    let requests = driver.pointer("/spec/tokenRequests").and_then(Value::as_array);
    requests.into_iter().flatten().any(|request| text(request, "/audience") == audience)
}

/// The driver that mounts a volume of a Pod, if it is one's business.
async fn driver(server: &Server, pod: &Value, volume: &Value) -> Result<Option<String>, String> {
    let has = |kind: &str| volume.get(kind).is_some_and(|it| !it.is_null());
    let claim = if volume.pointer("/ephemeral/volumeClaimTemplate").is_some_and(|it| !it.is_null()) {
        format!("{}-{}", pod.name(), text(volume, "/name"))
    } else if has("persistentVolumeClaim") {
        text(volume, "/persistentVolumeClaim/claimName").to_owned()
    } else {
        return Ok(driver_of(volume));
    };
    let claim = find(server, "", "persistentvolumeclaim", pod.namespace(), &claim).await?;
    let name = text(&claim, "/spec/volumeName");
    let volume = find(server, "", "persistentvolume", "", name).await?;
    Ok(volume.get("spec").and_then(driver_of))
}

/// The driver of what says where a volume is.
fn driver_of(source: &Value) -> Option<String> {
    let named = source.pointer("/csi/driver").and_then(Value::as_str);
    let taken_over = || {
        let mut taken_over = TAKEN_OVER.iter();
        let is = |kind: &str| source.get(kind).is_some_and(|it| !it.is_null());
        taken_over.find(|(kind, _)| is(kind)).map(|(_, driver)| *driver)
    };
    named.or_else(taken_over).map(str::to_owned)
}

async fn find(
    server: &Server,
    group: &str,
    singular: &str,
    namespace: &str,
    name: &str,
) -> Result<Arc<Value>, String> {
    let found = server.try_get(group, "v1", &format!("{singular}s"), namespace, name).await;
    let found = found.map_err(|status| status.message)?;
    found.ok_or_else(|| Status::not_found(&GroupResource::new(group, singular), name).message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_bound_to_a_pod_of_the_node() {
        let pod = json!({"metadata": {"uid": "u"}, "spec": {"nodeName": "n"}});
        for (reference, node, expected) in [
            (json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}), "n", ""),
            (json!(null), "n", "node requested token not bound to a pod"),
            (
                json!({"apiVersion": "v1", "kind": "Secret", "name": "p", "uid": "u"}),
                "n",
                "node requested token not bound to a pod",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "name": "p"}),
                "n",
                "node requested token with a pod binding without a uid",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "v"}),
                "n",
                "the UID in the bound object reference (v) does not match the UID in record. The object might have been deleted and then recreated",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}),
                "m",
                "node requested token bound to a pod scheduled on a different node",
            ),
        ] {
            let request = json!({"spec": {"boundObjectRef": reference}});
            let outcome = bound(&request).and_then(|bound| is_of(node, &bound, &pod));
            assert_eq!(outcome.err().unwrap_or_default(), expected);
        }
    }

    #[test]
    fn volumes_have_tokens_and_drivers() {
        let token = json!({"projected": {"sources": [{"configMap": {}}, {"serviceAccountToken": {"audience": "a", "path": "p"}}]}});
        assert!(projects(&token, "a") && !projects(&token, "b") && !projects(&token, ""));
        let plain = json!({"projected": {"sources": [{"serviceAccountToken": {"path": "p"}}]}});
        assert!(projects(&plain, ""));
        assert_eq!(driver_of(&json!({"csi": {"driver": "d"}})).as_deref(), Some("d"));
        assert_eq!(driver_of(&json!({"gcePersistentDisk": {}})).as_deref(), Some("pd.csi.storage.gke.io"));
        assert_eq!(driver_of(&json!({"emptyDir": {}})), None);
        assert!(wants(&json!({"spec": {"tokenRequests": [{"audience": "a"}]}}), "a"));
    }
}
