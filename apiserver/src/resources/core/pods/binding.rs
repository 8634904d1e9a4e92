//! Bindings: a scheduler's word on which node a pod goes to.

use api_types::{
    field::{Fault, Path, aggregate},
    kind::GroupResource,
    status::Status,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Pod, PodCondition};

use super::status;
use crate::resources::shared::optional::{Items, Text};

/// Checks a binding by itself.
///
/// # Errors
/// When it names no node. Upstream's error has no reason and is taken for a failure of the server.
pub(crate) fn check_binding(binding: &Binding) -> Result<(), Status> {
    let path = Path::new("target");
    let mut faults = Vec::new();
    let kind = binding.target.kind.text();
    if !matches!(kind, "" | "Node") {
        faults.push(Fault::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]));
    }
    if binding.target.name.text().is_empty() {
        faults.push(Fault::required(&path.child("name"), ""));
    }
    if faults.is_empty() { Ok(()) } else { Err(Status::failure(500, "", aggregate(&faults))) }
}

/// Binds a pod to a node.
///
/// # Errors
/// When the pod goes away, has a node, or must not be scheduled yet.
pub(crate) fn bind(pod: &mut Pod, binding: &Binding, now: Timestamp) -> Result<(), Status> {
    let name = pod.metadata.name.text().to_owned();
    let conflict = |why: String| Err(Status::conflict(&GroupResource::new("", "pods/binding"), &name, why));
    let spec = pod.spec.get_or_insert_default();
    if pod.metadata.deletion_timestamp.is_some() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = spec.node_name.text();
    if !node.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {node:?}"));
    }
    if !spec.scheduling_gates.items().is_empty() {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    spec.node_name.clone_from(&binding.target.name);
    let status = pod.status.get_or_insert_default();
    status.nominated_node_name = None;
    let metadata = &mut pod.metadata;
    for (pairs, more) in [
        (&mut metadata.annotations, &binding.metadata.annotations),
        (&mut metadata.labels, &binding.metadata.labels),
    ] {
        if let Some(more) = more {
            pairs.get_or_insert_default().extend(more.clone());
        }
    }
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        ..PodCondition::default()
    };
    status::set_condition(status, condition, now);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_binding_names_a_node() {
        for (target, expected) in [
            (json!({"kind": "Node", "name": "n1"}), Ok(())),
            (json!({"name": "n1"}), Ok(())),
            (json!({"kind": "Node"}), Err("target.name: Required value")),
            (
                json!({"kind": "Pod", "name": "n1"}),
                Err(r#"target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>""#),
            ),
        ] {
            let binding: Binding = serde_json::from_value(json!({"target": target})).unwrap();
            let answer = check_binding(&binding).map_err(|status| (status.code, status.message));
            assert_eq!(answer, expected.map_err(|why| (500, why.to_owned())), "{target}");
        }
    }

    #[test]
    fn binding_sets_the_node_and_says_that_the_pod_is_scheduled() {
        let binding: Binding = serde_json::from_value(json!({
            "metadata": {"annotations": {"a": "2"}, "labels": {"zone": "z"}},
            "target": {"name": "n1"},
        }))
        .unwrap();
        let mut bound = pod(json!({
            "metadata": {"name": "p", "annotations": {"a": "1", "b": "1"}},
            "spec": {"containers": []},
            "status": {"nominatedNodeName": "n2"},
        }));
        bind(&mut bound, &binding, "2025-01-02T03:04:05.6Z".parse().unwrap()).unwrap();
        assert_eq!(
            serde_json::to_value(bound).unwrap(),
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": "p",
                    "annotations": {"a": "2", "b": "1"},
                    "labels": {"zone": "z"},
                },
                "spec": {"containers": [], "nodeName": "n1"},
                "status": {"conditions": [{
                    "type": "PodScheduled", "status": "True", "lastTransitionTime": "2025-01-02T03:04:05Z",
                }]},
            })
        );
    }

    #[test]
    fn pods_that_must_not_be_bound_are_not() {
        let binding: Binding = serde_json::from_value(json!({"target": {"name": "n1"}})).unwrap();
        for (unbindable, why) in [
            (
                json!({"metadata": {"name": "p", "deletionTimestamp": "2025-01-02T03:04:05Z"}}),
                "pod p is being deleted, cannot be assigned to a host",
            ),
            (
                json!({"metadata": {"name": "p"}, "spec": {"containers": [], "nodeName": "n0"}}),
                r#"pod p is already assigned to node "n0""#,
            ),
            (
                json!({"metadata": {"name": "p"}, "spec": {"containers": [], "schedulingGates": [{"name": "g"}]}}),
                "pod p has non-empty .spec.schedulingGates",
            ),
        ] {
            let mut unbindable = pod(unbindable);
            let status = bind(&mut unbindable, &binding, Timestamp::UNIX_EPOCH).unwrap_err();
            assert_eq!(status.code, 409);
            assert_eq!(
                status.message,
                format!(r#"Operation cannot be fulfilled on pods/binding "p": {why}"#)
            );
        }
    }
}
