//! Subresources whose bodies and answers are of another kind than the object's, in protobuf.

use api_types::{schema::schema, wire::protobuf};
use serde_json::{Value, json};

use crate::server::{JSON, PROTOBUF, World};

fn encoded(object: &Value) -> Vec<u8> {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    protobuf::encode(object, schema().type_of(group, version, object["kind"].as_str().unwrap()).unwrap())
}

fn made(world: &World, path: &str, object: &Value) {
    let answer = world.send("POST", path, JSON, JSON, object.to_string().as_bytes());
    assert_eq!(answer.code, 201, "{path}: {}", answer.text());
}

#[test]
fn scale_is_read_and_written() {
    let world = World::new();
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let path = "/apis/apps/v1/namespaces/default/deployments";
    made(
        &world,
        path,
        &json!({"metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}}),
    );
    let scale = world.get(&format!("{path}/d/scale"), PROTOBUF).protobuf();
    assert_eq!(scale, world.get(&format!("{path}/d/scale"), JSON).json());
    let mut more = scale;
    more["spec"]["replicas"] = json!(3);
    let answer = world.send("PUT", &format!("{path}/d/scale"), PROTOBUF, PROTOBUF, &encoded(&more));
    assert_eq!((answer.code, &answer.protobuf()["spec"]), (200, &json!({"replicas": 3})));
    // To none: a zero that is no pointer is not there in JSON, and is in protobuf.
    more = answer.protobuf();
    more["spec"] = json!({});
    let answer = world.send("PUT", &format!("{path}/d/scale"), PROTOBUF, JSON, &encoded(&more));
    assert_eq!((answer.code, &answer.json()["spec"]), (200, &json!({})));
    assert_eq!(world.get(&format!("{path}/d"), PROTOBUF).protobuf()["spec"]["replicas"], 0);
}

#[test]
fn pods_are_bound_and_evicted() {
    let world = World::new();
    let path = "/api/v1/namespaces/default/pods";
    made(
        &world,
        path,
        &json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    );
    let binding = json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let answer = world.send("POST", &format!("{path}/p/binding"), PROTOBUF, PROTOBUF, &encoded(&binding));
    assert_eq!((answer.code, answer.protobuf()["status"].as_str()), (201, Some("Success")));
    assert_eq!(world.get(&format!("{path}/p"), PROTOBUF).protobuf()["spec"]["nodeName"], "n");
    let eviction = json!({
        "kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p", "namespace": "default"},
        "deleteOptions": {"gracePeriodSeconds": 0},
    });
    let answer = world.send("POST", &format!("{path}/p/eviction"), PROTOBUF, PROTOBUF, &encoded(&eviction));
    assert_eq!(
        (answer.code, answer.protobuf()["status"].as_str()),
        (201, Some("Success")),
        "{}",
        answer.text()
    );
    let gone = world.get(&format!("{path}/p"), PROTOBUF);
    assert_eq!((gone.code, gone.protobuf()["reason"].as_str()), (404, Some("NotFound")));
}

#[test]
fn tokens_are_issued() {
    let world = World::new();
    let request = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
        "spec": {"audiences": ["a"], "expirationSeconds": 600},
    });
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let answer = world.send("POST", path, PROTOBUF, PROTOBUF, &encoded(&request));
    assert_eq!(answer.code, 201, "{}", answer.text());
    let token = answer.protobuf();
    assert!(
        token["status"]["token"].as_str().is_some_and(|token| token.matches('.').count() == 2),
        "{token}"
    );
    assert_eq!(token["spec"]["audiences"], json!(["a"]));
}

#[test]
fn what_has_no_protobuf_form_is_refused_or_told_in_json() {
    let world = World::new();
    let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
    let answer = world.get("/api/v1/namespaces", table);
    assert_eq!((answer.code, answer.content_type.as_str()), (406, "application/json"), "{}", answer.text());
    // A client that takes JSON as well gets that.
    let either = format!("{table},application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    let answer = world.get("/api/v1/namespaces", &either);
    assert_eq!((answer.code, answer.json()["kind"].as_str()), (200, Some("Table")), "{}", answer.text());
    // Patches are never protobuf.
    let answer = world.send("PATCH", "/api/v1/namespaces/default", PROTOBUF, PROTOBUF, b"k8s\0");
    assert_eq!((answer.code, answer.protobuf()["reason"].as_str()), (415, Some("UnsupportedMediaType")));
    // Nor is there CBOR unless a feature that is off by default is on.
    let answer = world.get("/api/v1/namespaces", "application/cbor");
    assert_eq!(answer.code, 406, "{}", answer.text());
    let answer = world.send("POST", "/api/v1/namespaces", "application/cbor", JSON, b"\xd9\xd9\xf7\xa0");
    assert_eq!(answer.code, 415, "{}", answer.text());
}

#[test]
fn unreadable_bodies_are_told_in_upstreams_words() {
    let world = World::new();
    let says = |body: &[u8]| {
        let answer = world.send("POST", "/api/v1/namespaces/default/configmaps", PROTOBUF, PROTOBUF, body);
        (answer.code, answer.protobuf()["message"].as_str().unwrap_or_default().to_owned())
    };
    let (code, message) = says(b"{}");
    assert_eq!(code, 400);
    assert!(
        message.contains("provided data does not appear to be a protobuf message, expected prefix"),
        "{message}"
    );
    // Fields that the type does not have are skipped, as upstream skips them.
    let config_map =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "b"}});
    let of = schema().type_of("", "v1", "ConfigMap").unwrap();
    let mut raw = protobuf::encode_message(&config_map, of);
    raw.extend_from_slice(&[0xfa, 0x3e, 2, b'h', b'i']);
    let mut body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12".to_vec();
    body.push(u8::try_from(raw.len()).unwrap());
    body.extend_from_slice(&raw);
    let answer = world.send("POST", "/api/v1/namespaces/default/configmaps", PROTOBUF, JSON, &body);
    assert_eq!((answer.code, &answer.json()["data"]), (201, &json!({"a": "b"})), "{}", answer.text());
}
