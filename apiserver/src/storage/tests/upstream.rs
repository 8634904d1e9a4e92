//! A store that an apiserver of upstream wrote: `upstream-1.36.json` holds keys and values as they lay in the etcd of a
//! kube-apiserver 1.36.2, protobuf and JSON, with the objects it served for them.

use std::sync::Arc;

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Request;
use http_body_util::BodyExt as _;
use runtime::Runtime;
use serde_json::{Value, json};
use store::{Backend, Memory};

use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    launch,
    server::{InProcess, Server},
};

fn sample() -> Vec<Value> {
    serde_json::from_str(include_str!("upstream-1.36.json")).unwrap()
}

async fn server(sample: &[Value]) -> Arc<Server> {
    let runtime = Runtime::system();
    let store = Memory::new(&runtime.tasks);
    for stored in sample {
        let value = STANDARD.decode(stored["value"].as_str().unwrap()).unwrap();
        store.create(stored["key"].as_str().unwrap(), value.into(), None).await.unwrap();
    }
    launch::over(Arc::new(store), &runtime).await.unwrap()
}

async fn ask(server: &Arc<Server>, method: &str, path: &str, body: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let mut request = request.body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(InProcess(User::new("tester", &[MASTERS, AUTHENTICATED])));
    let answer = Box::pin(server.serve(request)).await;
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8_lossy(&body).into_owned())
}

/// Where an object is served.
fn path(server: &Server, object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let api = text("/apiVersion");
    let (group, version) = api.split_once('/').unwrap_or(("", api));
    let served = server.registry.catalogue.find_kind(group, version, text("/kind")).unwrap();
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{api}") };
    let namespace = match text("/metadata/namespace") {
        "" => String::new(),
        namespace => format!("/namespaces/{namespace}"),
    };
    format!("{root}{namespace}/{}/{}", served.names().plural, text("/metadata/name"))
}

#[tokio::test]
async fn what_upstream_stored_is_served_as_upstream_served_it() {
    let sample = sample();
    let server = server(&sample).await;
    let mut wrong = Vec::new();
    for expected in sample.iter().filter_map(|stored| stored["objects"].as_array()).flatten() {
        let path = path(&server, expected);
        let (code, text) = ask(&server, "GET", &path, "").await;
        let (mut expected, mut found) =
            (expected.clone(), serde_json::from_str::<Value>(&text).unwrap_or_default());
        // It was another store, whose revisions were others.
        for object in [&mut expected, &mut found] {
            if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
                metadata.remove("resourceVersion");
            }
        }
        if code != 200 || found != expected {
            wrong.push(format!("{path}: {code}\n  found    {found}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), sample.len(), wrong.join("\n"));
}

#[tokio::test]
async fn what_upstream_stored_can_be_changed_and_is_json_then() {
    let server = server(&sample()).await;
    let pod = "/api/v1/namespaces/shop/pods/lone";
    let (_, before) = ask(&server, "GET", pod, "").await;
    let mut object: Value = serde_json::from_str(&before).unwrap();
    object["metadata"]["labels"] = json!({"seen": "yes"});
    let (code, text) = ask(&server, "PUT", pod, &object.to_string()).await;
    assert_eq!(code, 200, "{text}");
    let stored = server.registry.backend.get("/registry/pods/shop/lone").await.unwrap().unwrap();
    let stored: Value = serde_json::from_slice(&stored.value).unwrap();
    assert_eq!(stored.pointer("/metadata/labels/seen"), Some(&json!("yes")));
    assert_eq!(stored["spec"], object["spec"]);
    let (code, text) = ask(&server, "DELETE", "/apis/apps/v1/namespaces/shop/deployments/web", "").await;
    assert_eq!(code, 200, "{text}");
}

/// The figures of the store under upstream's names, after one of each kind of request.
#[tokio::test]
async fn what_happens_to_the_store_is_shown_to_prometheus() {
    let server = server(&sample()).await;
    let maps = "/api/v1/namespaces/shop/configmaps";
    let (code, text) = ask(&server, "POST", maps, r#"{"metadata":{"name":"one"}}"#).await;
    assert_eq!(code, 201, "{text}");
    ask(&server, "GET", maps, "").await;
    ask(&server, "GET", &format!("{maps}?resourceVersion=0&labelSelector=none=such"), "").await;
    let (_, text) = ask(&server, "GET", "/metrics", "").await;
    let value = |name: &str| -> f64 {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{name} is not shown")).parse().unwrap()
    };
    let of_maps = r#"{group="",resource="configmaps"}"#;
    let in_cache = value(&format!("apiserver_resource_objects{of_maps}"));
    assert!(in_cache >= 2.0, "{in_cache}");
    assert!((value(r#"apiserver_storage_objects{resource="configmaps"}"#) - in_cache).abs() < 0.5);
    assert!(
        value(r#"apiserver_storage_objects{resource="cronjobs.batch"}"#) > 0.0,
        "counted without a cache"
    );
    for (name, least) in [
        ("apiserver_resource_size_estimate_bytes", 100.0),
        ("apiserver_storage_list_total", 1.0),
        ("apiserver_storage_list_fetched_objects_total", 1.0),
        ("apiserver_storage_list_evaluated_objects_total", 1.0),
        ("apiserver_storage_list_returned_objects_total", 1.0),
        ("apiserver_watch_cache_initializations_total", 1.0),
        ("apiserver_watch_cache_events_received_total", 0.0),
        ("apiserver_watch_cache_events_dispatched_total", 0.0),
        ("apiserver_watch_cache_resource_version", 1.0),
        ("apiserver_storage_events_received_total", 0.0),
        ("apiserver_cache_list_returned_objects_total", 1.0),
        ("etcd_bookmark_total", 0.0),
    ] {
        let found = value(&format!("{name}{of_maps}"));
        assert!(found >= least, "{name}: {found}");
    }
    let consistent = r#"apiserver_watch_cache_consistent_read_total{fallback="false",group="",resource="configmaps",success="true"}"#;
    assert!(value(consistent) >= 1.0);
    let asked = |operation: &str| format!(r#"{{group="",operation="{operation}",resource="configmaps"}}"#);
    assert!(value(&format!("etcd_requests_total{}", asked("create"))) >= 1.0);
    assert!(value(&format!("etcd_request_duration_seconds_count{}", asked("list"))) >= 1.0);
    assert!(value(r#"apiserver_cache_list_total{group="",index="",resource="configmaps"}"#) >= 2.0);
    // The second list looked at all objects of the namespace and returned none.
    let looked_at =
        value(r#"apiserver_cache_list_fetched_objects_total{group="",index="",resource="configmaps"}"#);
    let returned = value(&format!("apiserver_cache_list_returned_objects_total{of_maps}"));
    assert!(looked_at >= 2.0 * returned, "{looked_at} {returned}");
}
