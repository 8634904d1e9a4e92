//! `ExtendedResourceToleration`: Pods that ask for a device put up with the taint that keeps others away from its nodes.

use std::collections::BTreeSet;

use api_types::{
    object::{object_at, object_of},
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};
use crate::resources::shared::quantities::is_extended;

/// The plugin.
#[derive(Debug)]
pub(super) struct ExtendedResourceToleration;

impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        if matches!(attributes.operation, Operation::Create | Operation::Update)
            && attributes.is("", "pods", "")
        {
            tolerate(&mut attributes.object);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

fn devices(pod: &Value) -> BTreeSet<String> {
    let containers = ["/spec/containers", "/spec/initContainers"].into_iter();
    let containers = containers.filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    let requests = containers.filter_map(|container| container.pointer("/resources/requests")?.as_object());
    requests.flatten().map(|(name, _)| name.clone()).filter(|name| is_extended(name)).collect()
}

fn tolerate(pod: &mut Value) {
    for device in devices(pod) {
        let toleration = json!({"key": device, "operator": "Exists", "effect": "NoSchedule"});
        let spec = object_at(object_of(pod), "spec");
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        if tolerations.is_null() {
            *tolerations = json!([]);
        }
        let Some(tolerations) = tolerations.as_array_mut() else { return };
        // One that is there already, for some time perhaps, is there for ever.
        let is_same = |it: &Value| {
            let text = |field: &str| it.get(field).and_then(Value::as_str).unwrap_or_default();
            text("key") == device
                && text("operator") == "Exists"
                && text("effect") == "NoSchedule"
                && text("value").is_empty()
        };
        let mut there = false;
        for it in tolerations.iter_mut().filter(|it| is_same(it)) {
            *it = toleration.clone();
            there = true;
        }
        if !there {
            tolerations.push(toleration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_for_a_device_tolerates_its_nodes() {
        let asks = |name: &str| json!({"resources": {"requests": {name: "1", "cpu": "1"}}});
        let of = |tolerations: Value| {
            let mut pod = json!({"spec": {"tolerations": tolerations, "containers": [asks("example.com/b"), {"name": "c"}],
                "initContainers": [asks("example.com/a"), asks("kubernetes.io/native")]}});
            tolerate(&mut pod);
            pod["spec"]["tolerations"].clone()
        };
        let toleration = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoSchedule"});
        let (a, b) = (toleration("example.com/a"), toleration("example.com/b"));
        assert_eq!(of(Value::Null), json!([a, b]));
        assert_eq!(of(json!([{"operator": "Exists"}, b])), json!([{"operator": "Exists"}, b, a]));
        let mut plain = json!({"spec": {"containers": [{"name": "c"}]}});
        tolerate(&mut plain);
        assert_eq!(plain, json!({"spec": {"containers": [{"name": "c"}]}}));
    }
}
