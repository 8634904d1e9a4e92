//! `LimitPodHardAntiAffinityTopology`: Pods that insist on being apart do so by node; whole zones cannot be kept for oneself.

use api_types::{object::ObjectExt as _, status::Status};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin};

const HOSTNAME: &str = "kubernetes.io/hostname";

/// The plugin.
#[derive(Debug)]
pub(super) struct LimitPodHardAntiAffinityTopology;

impl Plugin for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(check(attributes)))
    }
}

fn check(attributes: &Attributes) -> Result<(), Status> {
    if !matches!(attributes.operation, Operation::Create | Operation::Update)
        || !attributes.is("", "pods", "")
    {
        return Ok(());
    }
    let pod = &attributes.object;
    let terms = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    for term in pod.pointer(terms).and_then(Value::as_array).into_iter().flatten() {
        let key = term.get("topologyKey").and_then(Value::as_str).unwrap_or_default();
        if key != HOSTNAME {
            let why = format!(
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is allowed"
            );
            return Err(Status::forbidden(&attributes.resource, pod.name(), why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::testing, *};

    #[test]
    fn pods_insist_on_being_apart_by_node_only() {
        let with = |kind: &str, when: &str, key: &str| {
            let pod = json!({"metadata": {"name": "p"}, "spec": {"affinity": {kind: {when: [{"topologyKey": key}]}}}});
            check(&testing::of("", "pods", "", Operation::Create, pod, Value::Null)).map_err(|it| it.message)
        };
        let (apart, insists) = ("podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution");
        assert_eq!(with(apart, insists, HOSTNAME), Ok(()));
        assert_eq!(with("podAffinity", insists, "zone"), Ok(()));
        assert_eq!(with(apart, "preferredDuringSchedulingIgnoredDuringExecution", "zone"), Ok(()));
        assert_eq!(
            with(apart, insists, "zone"),
            Err(r#"pods "p" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed"#.to_owned())
        );
    }
}
