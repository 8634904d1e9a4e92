//! `NodeDeclaredFeatureValidator`: a Pod that runs is not changed in a way that its node has not said it knows (KEP-5328).

use std::sync::Weak;

use api_types::{field::go_quote, object::ObjectExt as _, quantity::Quantity, status::Status};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin};
use crate::server::Server;

/// Whether the change from one Pod to another needs something.
type Needs = fn(&Value, &Value) -> bool;

/// The features that changes can need, by their names, in order.
const FEATURES: &[(&str, Needs)] = &[
    ("GuaranteedQoSPodCPUResize", resizes_guaranteed_cpu),
    ("InPlacePodLevelResourcesVerticalScaling", resizes_whole_pod),
];

/// The plugin.
#[derive(Debug)]
pub(super) struct NodeDeclaredFeatureValidator(pub(super) Weak<Server>);

impl Plugin for NodeDeclaredFeatureValidator {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl NodeDeclaredFeatureValidator {
    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        let (pod, old) = (&attributes.object, &*attributes.old);
        if attributes.operation != Operation::Update
            || !(attributes.is("", "pods", "") || attributes.is("", "pods", "resize"))
            || pod.generation() == old.generation()
        {
            return Ok(());
        }
        let name = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        let needed: Vec<&str> =
            FEATURES.iter().filter(|(_, needs)| needs(old, pod)).map(|(name, _)| *name).collect();
        let (false, false, Some(server)) = (name.is_empty(), needed.is_empty(), self.0.upgrade()) else {
            return Ok(());
        };
        let Some(node) = server.try_get("", "v1", "nodes", "", name).await? else {
            return Err(attributes.forbidden(format!("node {} not found", go_quote(name))));
        };
        let missing = missing(&node, &needed);
        if missing.is_empty() {
            return Ok(());
        }
        Err(attributes.forbidden(format!(
            "pod update requires features {} which are not available on node {}",
            missing.join(", "),
            go_quote(name)
        )))
    }
}

/// What of this a node has not said it knows.
fn missing<'a>(node: &Value, needed: &[&'a str]) -> Vec<&'a str> {
    let declared = node.pointer("/status/declaredFeatures").and_then(Value::as_array);
    let declared: Vec<&str> = declared.into_iter().flatten().filter_map(Value::as_str).collect();
    needed.iter().copied().filter(|feature| !declared.contains(feature)).collect()
}

fn resizes_guaranteed_cpu(old: &Value, new: &Value) -> bool {
    if old.pointer("/status/qosClass").and_then(Value::as_str) != Some("Guaranteed") {
        return false;
    }
    let cpus = |pod: &Value| -> Vec<Quantity> {
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        let cpu = |container: &Value| container.pointer("/resources/requests/cpu")?.as_str()?.parse().ok();
        containers.into_iter().flatten().map(|it| cpu(it).unwrap_or_default()).collect()
    };
    cpus(old).iter().zip(cpus(new)).any(|(old, new)| *old != new)
}

fn resizes_whole_pod(old: &Value, new: &Value) -> bool {
    let amounts = |pod: &Value, list: &str| -> Vec<(String, Quantity)> {
        let list = pod.pointer(&format!("/spec/resources/{list}")).and_then(Value::as_object);
        let amount = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        list.into_iter().flatten().map(|(name, value)| (name.clone(), amount(value))).collect()
    };
    ["requests", "limits"].into_iter().any(|list| amounts(old, list) != amounts(new, list))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_needs_what_it_changes() {
        let pod = |qos: &str, cpu: &str, whole: Value| {
            json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": "1"}}}], "resources": whole},
                "status": {"qosClass": qos}})
        };
        let needs = |old: &Value, new: &Value| -> Vec<&str> {
            FEATURES.iter().filter(|(_, needs)| needs(old, new)).map(|(name, _)| *name).collect()
        };
        let (cpu, whole) = (FEATURES[0].0, FEATURES[1].0);
        let none = Value::Null;
        for (old, new, expected) in [
            (pod("Guaranteed", "1", none.clone()), pod("Guaranteed", "1000m", none.clone()), vec![]),
            (pod("Guaranteed", "1", none.clone()), pod("Guaranteed", "2", none.clone()), vec![cpu]),
            (pod("Burstable", "1", none.clone()), pod("Burstable", "2", none), vec![]),
            (
                pod("Burstable", "1", json!({"requests": {"cpu": "1"}})),
                pod("Burstable", "1", json!({"requests": {"cpu": "2"}})),
                vec![whole],
            ),
            (
                pod("Guaranteed", "1", json!({"limits": {"cpu": "1"}})),
                pod("Guaranteed", "2", json!({"limits": {"cpu": "2"}})),
                vec![cpu, whole],
            ),
        ] {
            assert_eq!(needs(&old, &new), expected, "{new}");
        }
        let node = json!({"status": {"declaredFeatures": [cpu]}});
        assert_eq!(missing(&node, &[cpu, whole]), [whole]);
        assert_eq!(missing(&json!({}), &[cpu]), [cpu]);
    }
}
