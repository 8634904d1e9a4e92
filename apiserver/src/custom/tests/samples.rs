//! Definitions in the shape of those that clusters have most of, written by hand and small: routes of a gateway, certificates,
//! monitors. Each shows what the others do not: rules and list maps, conditions, objects within objects.

use super::*;

fn define(group: &str, plural: &str, kind: &str, version: &str, spec: Value, extra: Value) -> Value {
    let mut it = json!({
        "name": version, "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "spec": spec,
            "status": {"type": "object", "properties": {"conditions": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                "items": {"type": "object", "required": ["type", "status"], "properties": {
                    "type": {"type": "string", "maxLength": 316}, "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                    "lastTransitionTime": {"type": "string", "format": "date-time"},
                }},
            }}},
        }}},
        "subresources": {"status": {}},
    });
    for (field, value) in extra.as_object().into_iter().flatten() {
        it[field] = value.clone();
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"),
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/1"}},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": [it]},
    })
}

fn http_routes() -> Value {
    let matches = json!({
        "type": "array", "maxItems": 64, "default": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "items": {"type": "object", "properties": {"path": {
            "type": "object", "default": {"type": "PathPrefix", "value": "/"},
            "properties": {
                "type": {"type": "string", "default": "PathPrefix", "enum": ["Exact", "PathPrefix", "RegularExpression"]},
                "value": {"type": "string", "default": "/", "maxLength": 1024},
            },
        }}},
    });
    let spec = json!({"type": "object", "properties": {
        "hostnames": {"type": "array", "maxItems": 16, "items": {"type": "string", "minLength": 1, "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"}},
        "parentRefs": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {
            "group": {"type": "string", "default": "gateway.networking.k8s.io"},
            "kind": {"type": "string", "default": "Gateway"}, "name": {"type": "string", "minLength": 1},
            "port": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535},
        }}},
        "rules": {"type": "array", "default": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}], "items": {
            "type": "object", "properties": {"matches": matches, "backendRefs": {"type": "array", "items": {
                "type": "object", "required": ["name"],
                "properties": {"name": {"type": "string"}, "weight": {"type": "integer", "default": 1}},
            }}},
        }},
    }});
    let columns = json!({"additionalPrinterColumns": [
        {"name": "Hostnames", "type": "string", "jsonPath": ".spec.hostnames"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]});
    define("gateway.networking.k8s.io", "httproutes", "HTTPRoute", "v1", spec, columns)
}

fn certificates() -> Value {
    let spec = json!({"type": "object", "required": ["issuerRef", "secretName"], "properties": {
        "dnsNames": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "string"}},
        "duration": {"type": "string"},
        "issuerRef": {"type": "object", "required": ["name"], "properties": {
            "group": {"type": "string"}, "kind": {"type": "string"}, "name": {"type": "string"}}},
        "privateKey": {"type": "object", "properties": {
            "algorithm": {"type": "string", "enum": ["RSA", "ECDSA", "Ed25519"]}, "size": {"type": "integer"}}},
        "secretName": {"type": "string"},
    }});
    let extra = json!({
        "additionalPrinterColumns": [
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type == \"Ready\")].status"},
            {"name": "Secret", "type": "string", "jsonPath": ".spec.secretName"},
        ],
        "selectableFields": [{"jsonPath": ".spec.issuerRef.name"}],
    });
    define("cert-manager.io", "certificates", "Certificate", "v1", spec, extra)
}

fn service_monitors() -> Value {
    let spec = json!({"type": "object", "required": ["endpoints", "selector"], "properties": {
        "endpoints": {"type": "array", "items": {"type": "object", "properties": {
            "interval": {"type": "string", "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"},
            "port": {"type": "string"},
            "targetPort": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true},
            "params": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
        }}},
        "namespaceSelector": {"type": "object", "properties": {"any": {"type": "boolean"}}},
        "selector": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}}},
    }});
    define("monitoring.coreos.com", "servicemonitors", "ServiceMonitor", "v1", spec, json!({}))
}

fn object(api_version: &str, kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": spec})
}

#[tokio::test]
async fn a_route_gets_the_defaults_of_defaults() {
    let world = World::new().await;
    world.define(&http_routes()).await;
    let path = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes";
    let made = world
        .post(path, &object("gateway.networking.k8s.io/v1", "HTTPRoute", &json!({
            "parentRefs": [{"name": "g"}], "hostnames": ["a.example"], "rules": [{"backendRefs": [{"name": "s"}]}],
        })))
        .await;
    let prefix = json!({"path": {"type": "PathPrefix", "value": "/"}});
    assert_eq!(
        made["spec"]["rules"],
        json!([{"matches": [prefix], "backendRefs": [{"name": "s", "weight": 1}]}])
    );
    assert_eq!(made["spec"]["parentRefs"][0]["kind"], "Gateway");
    let (code, refused) = world
        .send("PATCH", &format!("{path}/a"), MERGE, &json!({"spec": {"hostnames": ["Not A Host"]}}))
        .await;
    assert_eq!(code, 422, "{refused}");
    let definition = world.read(&format!("{DEFINITIONS}/httproutes.gateway.networking.k8s.io")).await;
    assert_eq!(condition(&definition, "KubernetesAPIApprovalPolicyConformant"), "True");
}

#[tokio::test]
async fn a_certificate_shows_whether_it_is_ready() {
    let world = World::new().await;
    world.define(&certificates()).await;
    let path = "/apis/cert-manager.io/v1/namespaces/default/certificates";
    let spec = json!({"secretName": "tls", "issuerRef": {"name": "ca"}, "dnsNames": ["a.example"]});
    world.post(path, &object("cert-manager.io/v1", "Certificate", &spec)).await;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    world.patch(&format!("{path}/a/status"), MERGE, &ready).await;
    let headers = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = world.ask("GET", path, &headers, String::new()).await.into_body().collect().await.unwrap();
    let table: Value = serde_json::from_slice(&table.to_bytes()).unwrap();
    assert_eq!(table["rows"][0]["cells"], json!(["a", "True", "tls"]));
    let of_issuer = world.read(&format!("{path}?fieldSelector=spec.issuerRef.name%3Dca")).await;
    assert_eq!(of_issuer["items"].as_array().unwrap().len(), 1);
    let (code, _) = world
        .send(
            "PATCH",
            &format!("{path}/a/status"),
            MERGE,
            &json!({"status": {"conditions": [{"type": "Ready", "status": "Maybe"}]}}),
        )
        .await;
    assert_eq!(code, 422);
}

#[tokio::test]
async fn a_monitor_has_ports_by_number_and_by_name() {
    let world = World::new().await;
    world.define(&service_monitors()).await;
    let path = "/apis/monitoring.coreos.com/v1/namespaces/default/servicemonitors";
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "endpoints": [
        {"targetPort": 8080, "interval": "30s", "params": {"match[]": ["x"]}}, {"targetPort": "web"},
    ]});
    let made = world.post(path, &object("monitoring.coreos.com/v1", "ServiceMonitor", &spec)).await;
    assert_eq!(made["spec"], spec);
    let (code, _) = world
        .send("PATCH", &format!("{path}/a"), MERGE, &json!({"spec": {"endpoints": [{"interval": "soon"}]}}))
        .await;
    assert_eq!(code, 422);
}
