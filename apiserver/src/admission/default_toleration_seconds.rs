//! `DefaultTolerationSeconds`: Pods stay on a Node that is not ready or unreachable for five minutes, unless they say
//! otherwise.

use api_types::{
    object::{object_at, object_of},
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};

const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: i64 = 300;

/// The plugin.
#[derive(Debug)]
pub(super) struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
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

fn tolerate(pod: &mut Value) {
    let spec = object_at(object_of(pod), "spec");
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if tolerations.is_null() {
        *tolerations = json!([]);
    }
    let Some(tolerations) = tolerations.as_array_mut() else { return };
    for taint in TAINTS {
        let tolerated = tolerations.iter().any(|toleration| {
            let text = |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
            (text("key") == taint || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
        });
        if !tolerated {
            tolerations.push(json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_says_itself_is_kept() {
        let count = |tolerations: Value| {
            let mut pod = json!({"spec": {"tolerations": tolerations}});
            tolerate(&mut pod);
            pod.pointer("/spec/tolerations").and_then(Value::as_array).map(Vec::len).unwrap()
        };
        assert_eq!(count(Value::Null), 2);
        assert_eq!(count(json!([{"key": TAINTS[0], "operator": "Exists", "effect": "NoExecute"}])), 2);
        assert_eq!(count(json!([{"operator": "Exists"}])), 1);
        assert_eq!(count(json!([{"key": TAINTS[0], "operator": "Exists", "effect": "NoSchedule"}])), 3);
    }
}
