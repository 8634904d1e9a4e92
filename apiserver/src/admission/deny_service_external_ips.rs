//! `DenyServiceExternalIPs`: Services get no further external addresses, by which one could take over others' traffic
//! (CVE-2020-8554).

use api_types::status::Status;
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin};

/// The plugin.
#[derive(Debug)]
pub(super) struct DenyServiceExternalIps;

impl Plugin for DenyServiceExternalIps {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(check(attributes)))
    }
}

fn check(attributes: &Attributes) -> Result<(), Status> {
    if !matches!(attributes.operation, Operation::Create | Operation::Update)
        || !attributes.is("", "services", "")
    {
        return Ok(());
    }
    let addresses = |service: &Value| -> Vec<Value> {
        let list = service.pointer("/spec/externalIPs").and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let before = addresses(&attributes.old);
    if addresses(&attributes.object).iter().all(|address| before.contains(address)) {
        return Ok(());
    }
    Err(attributes.forbidden("Use of external IPs is denied by admission control"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::testing, *};

    #[test]
    fn external_addresses_may_stay_and_go_but_not_come() {
        let service =
            |addresses: Value| json!({"metadata": {"name": "s"}, "spec": {"externalIPs": addresses}});
        for (operation, now, old, allowed) in [
            (Operation::Create, json!([]), Value::Null, true),
            (Operation::Create, json!(["192.0.2.1"]), Value::Null, false),
            (Operation::Update, json!(["192.0.2.1"]), json!(["192.0.2.2", "192.0.2.1"]), true),
            (Operation::Update, json!(["192.0.2.3"]), json!(["192.0.2.1"]), false),
            (Operation::Delete, json!(["192.0.2.3"]), json!([]), true),
        ] {
            let attributes = testing::of("", "services", "", operation, service(now), service(old));
            assert_eq!(check(&attributes).is_ok(), allowed, "{attributes:?}");
        }
    }
}
