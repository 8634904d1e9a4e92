//! `PodResizeValidator`: a Pod does not grow, where it runs, beyond what its Node has for Pods (KEP-1287).

use std::{str::FromStr as _, sync::Weak};

use api_types::{
    field::go_quote,
    object::ObjectExt,
    quantity::Quantity,
    status::{Cause, Status},
    typed::Typed as _,
};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::{Attributes, Operation, Plugin};
use crate::{resources::shared::quantities::requests_of_pod, server::Server};

/// The plugin.
#[derive(Debug)]
pub(super) struct PodResizeValidator(pub(super) Weak<Server>);

/// Why a Node cannot have the Pod resized: in a word and a sentence.
type Refusal = (&'static str, String);

impl Plugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl PodResizeValidator {
    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        if attributes.operation != Operation::Update
            || !attributes.is("", "pods", "resize")
            || attributes.object.generation() == attributes.old.generation()
        {
            return Ok(());
        }
        let pod = &attributes.object;
        let name = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        let (false, Some(server)) = (name.is_empty(), self.0.upgrade()) else { return Ok(()) };
        let Some(node) = server.get("", "v1", "nodes", "", name).await else {
            return Err(attributes.forbidden(format!("node {} not found", go_quote(name))));
        };
        let pod = Pod::from_value(pod).map_err(Status::internal)?;
        fits(&pod, &node).map_err(|(reason, why)| {
            let mut status = attributes.forbidden(why);
            if let Some(details) = &mut status.details {
                details.causes.push(Cause { reason: reason.to_owned(), ..Cause::default() });
            }
            status
        })
    }
}

fn fits(pod: &Pod, node: &Value) -> Result<(), Refusal> {
    if let Some(os) = node.label("kubernetes.io/os").filter(|os| *os != "linux") {
        let why = format!(
            "pod resize is only supported on linux nodes, node {} is {}",
            go_quote(node.name()),
            go_quote(os)
        );
        return Err(("UnsupportedPlatform", why));
    }
    let requests = pod.spec.as_ref().map(requests_of_pod).unwrap_or_default();
    let mut missing = Vec::new();
    for (resource, unit) in
        [("cpu", Quantity::milli_value as fn(&Quantity) -> i64), ("memory", Quantity::value)]
    {
        let there =
            node.pointer("/status/allocatable").and_then(|it| it.get(resource)).and_then(Value::as_str);
        let there = Quantity::from_str(there.unwrap_or_default()).unwrap_or_default();
        let asked = requests.get(resource).cloned().unwrap_or_default();
        if asked > there {
            missing.push(format!("{resource}, requested: {}, allocatable: {}", unit(&asked), unit(&there)));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join("; ");
    Err(("NodeCapacity", format!("node didn't have enough allocatable resources: {missing}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_fits_into_what_its_node_can_give() {
        let node = |os: &str| {
            json!({"metadata": {"name": "n", "labels": {"kubernetes.io/os": os}},
                "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}})
        };
        let pod = |cpu: &str, memory: &str| {
            Pod::from_value(&json!({"spec": {"containers": [
                {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}}))
            .unwrap()
        };
        assert_eq!(fits(&pod("2", "1Gi"), &node("linux")), Ok(()));
        assert_eq!(
            fits(&pod("2500m", "2Gi"), &node("linux")),
            Err((
                "NodeCapacity",
                "node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824".to_owned()
            ))
        );
        assert_eq!(
            fits(&pod("1", "1"), &node("windows")),
            Err((
                "UnsupportedPlatform",
                r#"pod resize is only supported on linux nodes, node "n" is "windows""#.to_owned()
            ))
        );
    }
}
