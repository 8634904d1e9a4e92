//! Where a Service is: `host:port`. The decisions are values'; [`location`] looks the values up.

use std::sync::Arc;

use api_types::{field::go_quote, object::ObjectExt};
use serde_json::Value;

use super::target::Spec;
use crate::{server::Server, webhooks::client};

/// Where requests for an APIService go to right now.
pub(super) async fn location(server: &Server, spec: &Spec) -> Result<String, String> {
    let service = server
        .try_get("", "v1", "services", &spec.namespace, &spec.service)
        .await
        .map_err(|status| status.message)?
        .ok_or_else(|| format!("service {} not found", go_quote(&spec.service)))?;
    if !server.aggregation.config.routes_to_endpoints {
        return client::address_of(&service, &spec.service, spec.port);
    }
    let slices = slices(server, spec).await?;
    let start = server.runtime.random.below(0xffff);
    endpoint(&service, &slices, spec, usize::try_from(start).unwrap_or_default())
}

/// The EndpointSlices of a Service.
pub(super) async fn slices(server: &Server, spec: &Spec) -> Result<Vec<Arc<Value>>, String> {
    let all = server.list("discovery.k8s.io", "v1", "endpointslices", &spec.namespace).await;
    let mut slices = all.map_err(|status| status.message)?;
    slices.retain(|slice| slice.label("kubernetes.io/service-name") == Some(&spec.service));
    Ok(slices)
}

fn list<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Whether an endpoint takes requests.
pub(super) fn is_ready(endpoint: &Value) -> bool {
    endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false)
}

/// The port of a Service, if it has it.
pub(super) fn port(service: &Value, number: u16) -> Option<&Value> {
    let ports = service.pointer("/spec/ports")?.as_array()?;
    ports.iter().find(|it| it.get("port").and_then(Value::as_u64) == Some(number.into()))
}

/// An endpoint that is ready. `start` says which one is tried first. Slices of the Service's first family go first.
fn endpoint(service: &Value, slices: &[Arc<Value>], spec: &Spec, start: usize) -> Result<String, String> {
    let kind = service.pointer("/spec/type").and_then(Value::as_str).unwrap_or_default();
    if !matches!(kind, "ClusterIP" | "LoadBalancer" | "NodePort") {
        return Err(format!("unsupported service type {}", go_quote(kind)));
    }
    let name = go_quote(&spec.service);
    let port = port(service, spec.port)
        .ok_or_else(|| format!("no service port {} found for service {name}", spec.port))?;
    let port_name = text(port, "name");
    let first_family = service.pointer("/spec/ipFamilies/0").and_then(Value::as_str).unwrap_or_default();
    let (first, others): (Vec<_>, Vec<_>) =
        slices.iter().partition(|slice| text(slice, "addressType") == first_family);
    for slice in first.into_iter().chain(others) {
        let port = list(slice, "ports")
            .filter(|it| text(it, "name") == port_name)
            .find_map(|it| it.get("port").and_then(Value::as_u64));
        let Some(port) = port else { continue };
        let ready: Vec<&str> = list(slice, "endpoints")
            .filter(|it| is_ready(it))
            .filter_map(|it| it.pointer("/addresses/0").and_then(Value::as_str))
            .collect();
        if let Some(address) = start.checked_rem(ready.len()).and_then(|at| ready.get(at)) {
            return Ok(match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            });
        }
    }
    Err(format!("no endpoints available for service {name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_that_are_ready_are_taken_of_the_first_family_first() {
        let spec = Spec::read(&json!({"spec": {"service": {"namespace": "n", "name": "s"}}})).unwrap();
        let service = |kind: &str| json!({"spec": {"type": kind, "ipFamilies": ["IPv6"], "ports": [{"name": "https", "port": 443}]}});
        let slice = |family: &str, endpoints: Value| {
            Arc::new(
                json!({"addressType": family, "endpoints": endpoints, "ports": [{"name": "https", "port": 8443}]}),
            )
        };
        let four = slice(
            "IPv4",
            json!([{"addresses": ["10.1.0.1"], "conditions": {"ready": false}}, {"addresses": ["10.1.0.2"]}, {"addresses": ["10.1.0.3"]}]),
        );
        let six = slice("IPv6", json!([{"addresses": ["fd00::1"], "conditions": {"ready": true}}]));
        let check = |kind: &str, slices: &[Arc<Value>], start| endpoint(&service(kind), slices, &spec, start);
        assert_eq!(check("ClusterIP", &[Arc::clone(&four)], 0).as_deref(), Ok("10.1.0.2:8443"));
        assert_eq!(check("ClusterIP", &[Arc::clone(&four)], 1).as_deref(), Ok("10.1.0.3:8443"));
        assert_eq!(check("NodePort", &[four, six], 0).as_deref(), Ok("[fd00::1]:8443"));
        assert_eq!(
            check("ClusterIP", &[], 0).as_ref().map_err(String::as_str),
            Err(r#"no endpoints available for service "s""#)
        );
        assert_eq!(
            check("ExternalName", &[], 0).as_ref().map_err(String::as_str),
            Err(r#"unsupported service type "ExternalName""#)
        );
    }
}
