//! What can be told from a write alone: whether it is of something that is the node's.

use api_types::{field::go_quote, object::ObjectExt as _};
use serde_json::Value;

use super::{labels, text};
use crate::{
    admission::{Attributes, Operation},
    resources::{certificates::certificatesigningrequests::common_name, shared::internal},
};

/// The namespace of the Leases of nodes.
const LEASES: &str = "kube-node-lease";
/// Who signs what kubelets show to others, and to the API server.
const KUBELETS_SIGNERS: [&str; 2] =
    ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
/// What a kubelet tells of a claim.
const TOLD_OF_CLAIMS: [&str; 4] =
    ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"];

/// Whether a node may write this.
///
/// # Errors
/// Why not.
pub(super) fn check(node: &str, attributes: &Attributes) -> Result<(), String> {
    let resource = &attributes.resource;
    match (resource.group.as_str(), resource.resource.as_str(), attributes.subresource.as_str()) {
        ("", "pods", "") => pod(node, attributes),
        ("", "pods", "status") => pod_status(node, attributes),
        ("", "pods", "eviction") => Err(format!("unexpected operation {}", attributes.operation.name())),
        ("", "pods", subresource) => Err(format!(
            "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
            go_quote(subresource)
        )),
        ("", "nodes", _) => of_node(node, attributes),
        ("", "persistentvolumeclaims", "status") => claim_status(node, attributes),
        ("", "persistentvolumeclaims", _) => Err("may only update PVC status".to_owned()),
        ("certificates.k8s.io", "podcertificaterequests", _) => {
            Err("PodCertificateRequest feature gate is disabled".to_owned())
        }
        ("coordination.k8s.io", "leases", _) => lease(node, attributes),
        ("storage.k8s.io", "csinodes", _) => {
            if attributes.name == node {
                Ok(())
            } else {
                Err("can only access CSINode with the same name as the requesting node".to_owned())
            }
        }
        ("resource.k8s.io", "resourceslices", _) => slice(node, attributes),
        ("certificates.k8s.io", "certificatesigningrequests", _) => certificate(node, attributes),
        _ => Ok(()),
    }
}

/// Whether a node may evict a Pod.
///
/// # Errors
/// Why not.
pub(super) fn eviction(node: &str, pod: &Value) -> Result<(), String> {
    if text(pod, "/spec/nodeName") == node {
        Ok(())
    } else {
        Err(format!("node {node} can only evict pods with spec.nodeName set to itself"))
    }
}

/// The value without what says nothing: two that are the same to Go are so, too.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), bare(value)));
            fields.filter(|(_, value)| !says_nothing(value)).collect()
        }
        Value::Array(list) => list.iter().map(bare).collect(),
        other => other.clone(),
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn same(now: &Value, before: &Value, path: &str) -> bool {
    let at = |object: &Value| object.pointer(path).map(bare).filter(|it| !says_nothing(it));
    at(now) == at(before)
}

fn pod(node: &str, attributes: &Attributes) -> Result<(), String> {
    let quoted = go_quote(node);
    if attributes.operation != Operation::Delete {
        return Err(format!(
            "unexpected operation {}, node {quoted} can only create and delete mirror pods",
            go_quote(attributes.operation.name())
        ));
    }
    if text(&attributes.old, "/spec/nodeName") != node {
        return Err(format!("node {quoted} can only delete pods with spec.nodeName set to itself"));
    }
    Ok(())
}

fn pod_status(node: &str, attributes: &Attributes) -> Result<(), String> {
    let (now, before) = (&attributes.object, &attributes.old);
    let quoted = go_quote(node);
    if attributes.operation != Operation::Update {
        return Err(format!("unexpected operation {}", go_quote(attributes.operation.name())));
    }
    if text(before, "/spec/nodeName") != node {
        return Err(format!(
            "node {quoted} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if labels::labels(now) != labels::labels(before) {
        return Err(format!("node {quoted} cannot update labels through pod status"));
    }
    if !same(now, before, "/status/resourceClaimStatuses") {
        // The word is upstream's.
        return Err(format!("node {quoted} cannot update resource claim statues"));
    }
    if !same(now, before, "/status/extendedResourceClaimStatus") {
        return Err(format!("node {quoted} cannot update extended resource claim status"));
    }
    Ok(())
}

fn claim_status(node: &str, attributes: &Attributes) -> Result<(), String> {
    if attributes.operation != Operation::Update {
        return Err(format!("unexpected operation {}", go_quote(attributes.operation.name())));
    }
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        claim.meta_mut().remove("resourceVersion");
        claim.meta_mut().remove("managedFields");
        if let Some(status) = claim.get_mut("status").and_then(Value::as_object_mut) {
            TOLD_OF_CLAIMS.iter().for_each(|field| drop(status.remove(*field)));
        }
        bare(&claim)
    };
    let (now, before) = (rest(&attributes.object), rest(&attributes.old));
    if now == before {
        return Ok(());
    }
    Err(format!(
        "node {} is not allowed to update fields other than status.quantity and status.conditions: {}",
        go_quote(node),
        internal::difference("PersistentVolumeClaim", &before, &now)
    ))
}

fn of_node(node: &str, attributes: &Attributes) -> Result<(), String> {
    let (now, before) = (&attributes.object, &*attributes.old);
    let quoted = go_quote(node);
    if attributes.name != node {
        return Err(format!("node {quoted} is not allowed to modify node {}", go_quote(&attributes.name)));
    }
    let has_source = now.pointer("/spec/configSource").is_some_and(|source| !source.is_null());
    match attributes.operation {
        Operation::Create => {
            if has_source {
                return Err(format!(
                    "node {quoted} is not allowed to create pods with a non-nil configSource"
                ));
            }
            let forbidden = labels::forbidden(now, &Value::Null);
            if !forbidden.is_empty() {
                return Err(format!(
                    "node {quoted} is not allowed to set the following labels: {}",
                    forbidden.join(", ")
                ));
            }
        }
        Operation::Update => {
            if has_source && !same(now, before, "/spec/configSource") {
                return Err(format!(
                    "node {quoted} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            if !same(now, before, "/spec/taints") {
                return Err(format!("node {quoted} is not allowed to modify taints"));
            }
            if !same(now, before, "/metadata/ownerReferences") {
                return Err(format!("node {quoted} is not allowed to modify ownerReferences"));
            }
            let forbidden = labels::forbidden(now, before);
            if !forbidden.is_empty() {
                return Err(format!("is not allowed to modify labels: {}", forbidden.join(", ")));
            }
        }
        Operation::Delete | Operation::Connect => {}
    }
    Ok(())
}

fn lease(node: &str, attributes: &Attributes) -> Result<(), String> {
    if attributes.namespace != LEASES {
        return Err(format!("can only access leases in the {} system namespace", go_quote(LEASES)));
    }
    if attributes.name != node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

fn slice(node: &str, attributes: &Attributes) -> Result<(), String> {
    let (object, verb) = match attributes.operation {
        Operation::Create => (&attributes.object, "create"),
        Operation::Delete => (&*attributes.old, "delete"),
        Operation::Update | Operation::Connect => return Ok(()),
    };
    if text(object, "/spec/nodeName") == node {
        Ok(())
    } else {
        Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
    }
}

fn certificate(node: &str, attributes: &Attributes) -> Result<(), String> {
    let request = &attributes.object;
    if attributes.operation != Operation::Create
        || !KUBELETS_SIGNERS.contains(&text(request, "/spec/signerName"))
    {
        return Ok(());
    }
    let name =
        common_name(text(request, "/spec/request")).map_err(|why| format!("unable to parse csr: {why}"))?;
    let expected = crate::authn::user::node::user_name(node);
    if name == expected { Ok(()) } else { Err(format!("can only create a node CSR with CN={expected}")) }
}
