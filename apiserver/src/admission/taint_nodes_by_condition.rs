//! `TaintNodesByCondition`: a new Node takes no Pods until it has said that it is ready.

use api_types::{
    object::{object_at, object_of},
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};

/// The taint of Nodes that are not ready.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The plugin.
#[derive(Debug)]
pub(super) struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        if attributes.operation == Operation::Create && attributes.is("", "nodes", "") {
            taint(&mut attributes.object);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

fn taint(node: &mut Value) {
    let spec = object_at(object_of(node), "spec");
    let taints = spec.entry("taints").or_insert_with(|| json!([]));
    if taints.is_null() {
        *taints = json!([]);
    }
    if let Some(taints) = taints.as_array_mut() {
        let there = taints.iter().any(|taint| {
            taint.get("key").and_then(Value::as_str) == Some(NOT_READY)
                && taint.get("effect").and_then(Value::as_str) == Some("NoSchedule")
        });
        if !there {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_node_is_tainted_once() {
        let mut node = json!({});
        taint(&mut node);
        taint(&mut node);
        assert_eq!(node, json!({"spec": {"taints": [{"key": NOT_READY, "effect": "NoSchedule"}]}}));
    }
}
