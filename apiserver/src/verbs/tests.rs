//! What is true of requests whatever the kind, asked of a whole server without a socket.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, Request, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use runtime::Runtime;
use serde_json::{Value, json};

use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    launch,
    server::{InProcess, Server},
};

struct Said {
    code: u16,
    headers: HeaderMap,
    /// What the head says of its length, if anything.
    length: Option<u64>,
    body: Bytes,
}

// === impl Said ===

impl Said {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error}: {} {:?}", self.code, String::from_utf8_lossy(&self.body))
        })
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    fn warnings(&self) -> Vec<String> {
        let values = self.headers.get_all(header::WARNING);
        values.iter().map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned()).collect()
    }
}

async fn server() -> Arc<Server> {
    launch::in_memory(&Runtime::system()).await.unwrap()
}

async fn send(
    server: &Arc<Server>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Said {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::from(body)).unwrap();
    request.extensions_mut().insert(InProcess(User::new("tester", &[MASTERS, AUTHENTICATED])));
    let answer = Box::pin(server.serve(request)).await;
    let length = answer.body().size_hint().exact();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Said { code: parts.status.as_u16(), headers: parts.headers, length, body }
}

async fn get(server: &Arc<Server>, path: &str) -> Said {
    send(server, "GET", path, &[], String::new()).await
}

async fn post(server: &Arc<Server>, path: &str, body: &Value) -> Said {
    send(server, "POST", path, &[("content-type", "application/json")], body.to_string()).await
}

async fn patch(server: &Arc<Server>, path: &str, form: &str, body: &Value) -> Said {
    let form = format!("application/{form}");
    send(server, "PATCH", path, &[("content-type", &form)], body.to_string()).await
}

async fn made(server: &Arc<Server>, path: &str, body: &Value) {
    let said = post(server, path, body).await;
    assert_eq!(said.code, 201, "{path}: {}", said.message());
}

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2m"}}}]}})
}

/// A default service account, without which there are no Pods.
async fn with_account(server: &Arc<Server>) {
    made(server, "/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}))
        .await;
}

/// Goal: that no reader is ever given half a list. Method: readers of every form list all the time while many objects
/// are made, changed and deleted in the foreground, which takes two writes each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_whole_while_everything_goes() {
    const COUNT: usize = 400;
    let server = server().await;
    let done = Arc::new(AtomicBool::new(false));
    let finished = {
        let done = Arc::clone(&done);
        move || done.load(Ordering::Acquire)
    };
    let filling = "x".repeat(2000);
    // How much each reader has seen at once.
    let most: [AtomicUsize; 5] = Default::default();
    let write = async {
        let names: Vec<String> = (0..COUNT).map(|index| format!("s-{index}")).collect();
        for some in names.chunks(20) {
            let body = |name: &str| json!({"metadata": {"name": name}, "stringData": {"k": filling}});
            join_all(some.iter().map(async |name| made(&server, SECRETS, &body(name)).await)).await;
        }
        // A reader of the watch cache may be behind.
        while most.iter().any(|most| most.load(Ordering::Relaxed) == 0) {
            tokio::task::yield_now().await;
        }
        let options = r#"{"propagationPolicy":"Foreground"}"#.to_owned();
        let headers = [("content-type", "application/json")];
        let gone = send(&server, "DELETE", SECRETS, &headers, options).await;
        assert_eq!(gone.code, 200, "{}", gone.message());
        for some in names.chunks(20) {
            let free = json!({"metadata": {"finalizers": null}});
            let each = some.iter().map(async |name| {
                patch(&server, &format!("{SECRETS}/{name}"), "merge-patch+json", &free).await.code
            });
            assert!(join_all(each).await.into_iter().all(|code| code == 200));
        }
        done.store(true, Ordering::Release);
    };
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let forms: [(&str, &str, &str); 5] = [
        ("", "", "items"),
        ("?resourceVersion=0", "", "items"),
        ("?limit=50", "", "items"),
        ("?pretty=1", "", "items"),
        ("", table, "rows"),
    ];
    let read = forms.iter().zip(&most).map(async |((query, accept, list), most)| {
        while !finished() {
            let said =
                send(&server, "GET", &format!("{SECRETS}{query}"), &[("accept", accept)], String::new())
                    .await;
            assert_eq!(said.code, 200, "{query}: {}", said.message());
            assert_eq!(said.length, Some(said.body.len() as u64), "{query}");
            let answer = said.json();
            let Some(items) = answer[list].as_array() else { panic!("{query}: no {list}: {answer}") };
            most.fetch_max(items.len(), Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    tokio::join!(write, join_all(read));
    let left = get(&server, SECRETS).await.json();
    assert_eq!(left["items"], json!([]));
}

/// Patches are changes, not states: however many come at once, each is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_that_meet_are_all_made() {
    let server = server().await;
    made(&server, MAPS, &json!({"metadata": {"name": "m"}})).await;
    let path = format!("{MAPS}/m");
    let one = async |index: usize| {
        let (form, body) = match index % 3 {
            0 => ("merge-patch+json", json!({"data": {format!("k{index}"): "v"}})),
            1 => ("strategic-merge-patch+json", json!({"data": {format!("k{index}"): "v"}})),
            _ => (
                "apply-patch+yaml",
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"},
                    "data": {format!("k{index}"): "v"}}),
            ),
        };
        let said = patch(&server, &format!("{path}?fieldManager=f{index}"), form, &body).await;
        assert_eq!(said.code, 200, "{index}: {}", said.message());
    };
    join_all((0..30).map(one)).await;
    let object = get(&server, &path).await.json();
    assert_eq!(object["data"].as_object().map(serde_json::Map::len), Some(30));
}

#[tokio::test]
async fn a_resource_version_in_a_patch_is_a_condition() {
    let server = server().await;
    made(&server, MAPS, &json!({"metadata": {"name": "m"}})).await;
    let path = format!("{MAPS}/m");
    let version = get(&server, &path).await.json()["metadata"]["resourceVersion"].clone();
    let change = |value: &str| json!({"metadata": {"resourceVersion": version}, "data": {"k": value}});
    assert_eq!(patch(&server, &path, "merge-patch+json", &change("a")).await.code, 200);
    assert_eq!(patch(&server, &path, "merge-patch+json", &change("b")).await.code, 409);
}

#[tokio::test]
async fn warnings_come_with_failures_too() {
    let server = server().await;
    let unknown = json!({"metadata": {"name": "NOT A NAME"}, "nosuch": 1});
    let said = post(&server, MAPS, &unknown).await;
    assert_eq!(said.code, 422);
    assert_eq!(said.warnings(), [r#"299 - "unknown field \"nosuch\"""#]);

    let said = get(&server, "/api/v1/namespaces/default/endpoints/nosuch").await;
    assert_eq!(said.code, 404);
    assert_eq!(
        said.warnings(),
        [r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#]
    );

    made(&server, DEPLOYMENTS, &deployment()).await;
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": -1, "nosuch": 2}});
    let said = patch(&server, &format!("{DEPLOYMENTS}/d/scale"), "merge-patch+json", &scale).await;
    assert_eq!(said.code, 422);
    assert_eq!(said.warnings(), [r#"299 - "unknown field \"spec.nosuch\"""#]);
}

#[tokio::test]
async fn an_applied_configuration_is_not_made_to_fit_its_type() {
    let server = server().await;
    let apply = async |path: &str, body: Value| {
        let said =
            patch(&server, &format!("{path}?fieldManager=f&force=true"), "apply-patch+yaml", &body).await;
        (said.code, said.message())
    };
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data});
    let (code, message) = apply(&format!("{MAPS}/m"), map(json!({"a": 1}))).await;
    assert_eq!(code, 500);
    assert_eq!(
        message,
        "failed to create typed patch object (/m; /v1, Kind=ConfigMap): .data.a: expected string, got &value.valueUnstructured{Value:1}"
    );
    made(&server, DEPLOYMENTS, &deployment()).await;
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"},
        "spec": {"replicas": "3"}});
    let (code, message) = apply(&format!("{DEPLOYMENTS}/d/scale"), scale).await;
    assert_eq!(code, 500);
    assert_eq!(
        message,
        "failed to create typed patch object (/d; autoscaling/v1, Kind=Scale): .spec.replicas: expected numeric (int or float), got string"
    );
    // It fits the type's outline, but not the type.
    let wide = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"},
        "spec": {"replicas": 3_000_000_000_u64}});
    let (code, message) = apply(&format!("{DEPLOYMENTS}/d/scale"), wide).await;
    assert_eq!(code, 500);
    assert!(
        message.starts_with(
            "failed to convert new object (/d; autoscaling/v1, Kind=Scale) to proper version: unable to convert unstructured object to autoscaling/v1, Kind=Scale: "
        ),
        "{message}"
    );
}

#[tokio::test]
async fn an_object_must_be_the_one_the_url_names() {
    let server = server().await;
    made(&server, MAPS, &json!({"metadata": {"name": "m"}})).await;
    let path = format!("{MAPS}/m");
    let put = async |body: Value| {
        let headers = [("content-type", "application/json")];
        let said = send(&server, "PUT", &path, &headers, body.to_string()).await;
        (said.code, said.message())
    };
    let undeterminable =
        "the name of the object (m based on URL) was undeterminable: name must be provided".to_owned();
    let other = "the name of the object (n) does not match the name on the URL (m)".to_owned();
    assert_eq!(put(json!({"metadata": {}})).await, (400, undeterminable.clone()));
    assert_eq!(put(json!({"metadata": {"name": "n"}})).await, (400, other));
    let nameless = json!([{"op": "remove", "path": "/metadata/name"}]);
    let said = patch(&server, &path, "json-patch+json", &nameless).await;
    assert_eq!((said.code, said.message()), (400, undeterminable));
}

/// Goal: that a dry run stores nothing, whatever it is asked of. Method: the store's revision does not move.
#[tokio::test]
async fn a_dry_run_stores_nothing_through_any_route() {
    let server = server().await;
    with_account(&server).await;
    made(&server, DEPLOYMENTS, &deployment()).await;
    made(&server, MAPS, &json!({"metadata": {"name": "m"}})).await;
    let pods = "/api/v1/namespaces/default/pods";
    made(&server, pods, &pod("p")).await;
    made(&server, "/api/v1/nodes", &json!({"metadata": {"name": "n"}})).await;
    made(&server, "/api/v1/namespaces", &json!({"metadata": {"name": "going"}})).await;
    let json = "application/json";
    let merge = "application/merge-patch+json";
    let apply = "application/apply-patch+yaml";
    let strategic = "application/strategic-merge-patch+json";
    let scale = |replicas: i32| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}});
    let configuration = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}});
    let ephemeral = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}});
    let resize = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1m"}}}]}});
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let finalized = json!({"metadata": {"name": "going"}, "spec": {"finalizers": []}});
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "type": "NodePort"}});
    let map = format!("{MAPS}/m");
    let deployment = format!("{DEPLOYMENTS}/d");
    let pod = format!("{pods}/p");
    let routes: Vec<(&str, String, &str, Value)> = vec![
        ("POST", MAPS.to_owned(), json, json!({"metadata": {"name": "new"}})),
        ("POST", "/api/v1/namespaces/default/services".to_owned(), json, service),
        ("PUT", map.clone(), json, json!({"metadata": {"name": "m"}, "data": {"a": "b"}})),
        ("PATCH", map.clone(), merge, json!({"data": {"a": "b"}})),
        ("PATCH", map.clone(), apply, configuration("m")),
        ("PATCH", format!("{MAPS}/fresh"), apply, configuration("fresh")),
        ("DELETE", map, json, Value::Null),
        ("DELETE", MAPS.to_owned(), json, Value::Null),
        ("PATCH", format!("{deployment}/scale"), merge, json!({"spec": {"replicas": 2}})),
        ("PATCH", format!("{deployment}/scale"), apply, scale(3)),
        ("PUT", format!("{deployment}/scale"), json, scale(4)),
        ("PATCH", format!("{deployment}/status"), merge, json!({"status": {"replicas": 2}})),
        ("PATCH", format!("{pod}/ephemeralcontainers"), strategic, ephemeral),
        ("PATCH", format!("{pod}/resize"), strategic, resize),
        ("POST", format!("{pod}/binding"), json, binding.clone()),
        ("POST", "/api/v1/namespaces/default/bindings".to_owned(), json, binding),
        ("POST", format!("{pod}/eviction"), json, json!({"metadata": {"name": "p"}})),
        ("PUT", "/api/v1/namespaces/going/finalize".to_owned(), json, finalized),
        ("DELETE", pod, json, Value::Null),
        ("DELETE", "/api/v1/namespaces/going".to_owned(), json, Value::Null),
    ];
    for (method, path, form, body) in routes {
        let before = server.registry.backend.revision().await.unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let query = if form == apply { "?dryRun=All&fieldManager=f&force=true" } else { "?dryRun=All" };
        let said = send(&server, method, &format!("{path}{query}"), &[("content-type", form)], body).await;
        assert!((200..300).contains(&said.code), "{method} {path}: {} {}", said.code, said.message());
        assert_eq!(server.registry.backend.revision().await.unwrap(), before, "{method} {path}");
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_cannot_be_reached() {
    let server = server().await;
    with_account(&server).await;
    let pods = "/api/v1/namespaces/default/pods";
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = json!("gone");
    made(&server, pods, &bound).await;
    made(&server, pods, &pod("q")).await;
    for (path, code, message) in [
        ("p/log", 404, r#"nodes "gone" not found"#),
        ("p/exec?command=ls", 404, r#"nodes "gone" not found"#),
        ("p/attach", 404, r#"nodes "gone" not found"#),
        ("p/portforward", 404, r#"nodes "gone" not found"#),
        ("p/exec?container=x", 400, "container x is not valid for pod p"),
        ("q/portforward", 400, "pod q does not have a host assigned"),
        ("q/exec?command=ls", 400, "pod q does not have a host assigned"),
        ("q/proxy", 400, "address not allowed"),
        ("a:b:c:d/proxy", 400, r#"invalid pod request "a:b:c:d""#),
        ("nosuch/proxy", 404, r#"pods "nosuch" not found"#),
    ] {
        let said = get(&server, &format!("{pods}/{path}")).await;
        assert_eq!((said.code, said.message().as_str()), (code, message), "{path}");
    }
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    made(&server, "/api/v1/namespaces/default/services", &service).await;
    for (path, code, message) in [
        ("s:81", 503, r#"no service port 81 found for service "s""#),
        ("s", 404, r#"endpoints "s" not found"#),
        ("nosuch", 404, r#"services "nosuch" not found"#),
    ] {
        let said = get(&server, &format!("/api/v1/namespaces/default/services/{path}/proxy")).await;
        assert_eq!((said.code, said.message().as_str()), (code, message), "{path}");
    }
}

/// Both APIs of events show the same ones, each in its own words.
#[tokio::test]
async fn events_of_either_api_are_events_of_the_other() {
    let server = server().await;
    let core = "/api/v1/namespaces/default/events";
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = json!({
        "metadata": {"name": "e"}, "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/c",
        "reportingInstance": "i", "action": "Did", "reason": "Because", "note": "a note", "type": "Normal",
    });
    made(&server, new, &event).await;
    let shown = get(&server, &format!("{core}/e")).await.json();
    assert_eq!((&shown["kind"], &shown["apiVersion"]), (&json!("Event"), &json!("v1")));
    assert_eq!((&shown["message"], &shown["involvedObject"]["name"]), (&json!("a note"), &json!("p")));
    let again = get(&server, &format!("{new}/e")).await.json();
    assert_eq!((&again["note"], &again["regarding"]["name"]), (&json!("a note"), &json!("p")));
    assert_eq!(again["metadata"]["resourceVersion"], shown["metadata"]["resourceVersion"]);
    let found = get(&server, &format!("{new}?fieldSelector=regarding.name%3Dp")).await.json();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    let gone = send(&server, "DELETE", &format!("{core}/e"), &[], String::new()).await;
    assert_eq!(gone.code, 200);
    assert_eq!(get(&server, &format!("{new}/e")).await.code, 404);
}

/// Goal: that a client who comes too late with a page's token can go on. Method: a token of the first revision, once the
/// store has forgotten that.
#[tokio::test]
async fn a_token_that_expired_comes_back_as_one_that_goes_on() {
    let server = server().await;
    for name in ["a", "b", "c", "d"] {
        made(&server, MAPS, &json!({"metadata": {"name": name}})).await;
    }
    let latest = server.registry.backend.revision().await.unwrap();
    server.registry.backend.compact(latest).await.unwrap();
    let said = get(&server, &format!("{MAPS}?resourceVersion=1&resourceVersionMatch=Exact")).await;
    assert_eq!((said.code, said.json()["reason"].clone()), (410, json!("Expired")));
    assert_eq!(said.message(), "The resourceVersion for the provided list is too old.");

    let token = |rv: i64| {
        URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": rv, "start": "a\0"}).to_string())
    };
    let late = get(&server, &format!("{MAPS}?limit=2&continue={}", token(1))).await;
    assert_eq!((late.code, late.json()["reason"].clone()), (410, json!("Expired")));
    let next = late.json()["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().into_iter().flatten();
        items.map(|it| it["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let rest = get(&server, &format!("{MAPS}?limit=2&continue={next}")).await.json();
    assert_eq!(names(&rest), ["b", "c"]);
    // From there on the pages hang together again.
    let next = rest["metadata"]["continue"].as_str().unwrap_or_default();
    made(&server, MAPS, &json!({"metadata": {"name": "e"}})).await;
    let last = get(&server, &format!("{MAPS}?limit=2&continue={next}")).await.json();
    assert_eq!(names(&last), ["d"]);
    assert_eq!(last["metadata"]["resourceVersion"], rest["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn what_a_collection_had_is_shown_as_it_is_asked_for() {
    let server = server().await;
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        made(&server, MAPS, &json!({"metadata": {"name": name, "labels": {"color": color}}})).await;
    }
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let path = format!("{MAPS}?labelSelector=color%3Dred");
    let said = send(&server, "DELETE", &path, &table, String::new()).await.json();
    assert_eq!((said["kind"].clone(), said["rows"].as_array().map(Vec::len)), (json!("Table"), Some(2)));
    let left = get(&server, MAPS).await.json();
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1));
}

/// A watch that is about to end says how far it has come, if its client wants to know.
#[tokio::test]
async fn a_watch_says_goodbye_with_a_bookmark() {
    let server = server().await;
    made(&server, MAPS, &json!({"metadata": {"name": "m"}})).await;
    let latest = server.registry.backend.revision().await.unwrap();
    for (query, wanted) in [("&allowWatchBookmarks=true", 1), ("", 0)] {
        let path = format!("{MAPS}?watch=true&resourceVersion={latest}&timeoutSeconds=3{query}");
        let said = get(&server, &path).await;
        let events: Vec<Value> = String::from_utf8_lossy(&said.body)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_default())
            .collect();
        assert_eq!(events.len(), wanted, "{events:?}");
        for event in events {
            assert_eq!(event["type"], "BOOKMARK");
            let at = event["object"]["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            assert!(at.parse::<u64>().unwrap() >= latest.0, "{event}");
        }
    }
}

/// A namespace is looked up in the cache, which may not know it yet, or not know yet that it goes.
#[tokio::test]
async fn nothing_is_made_in_a_namespace_that_is_not_there_or_goes() {
    let server = server().await;
    let map = json!({"metadata": {"name": "a"}});
    let maps = |namespace: &str| format!("/api/v1/namespaces/{namespace}/configmaps");
    let refused = post(&server, &maps("nosuch"), &map).await;
    assert_eq!((refused.code, refused.message()), (404, "namespaces \"nosuch\" not found".to_owned()));
    for round in 0..20 {
        let name = format!("n-{round}");
        made(&server, "/api/v1/namespaces", &json!({"metadata": {"name": name}})).await;
        // At once, whatever the cache has seen.
        made(&server, &maps(&name), &map).await;
        let gone = send(&server, "DELETE", &format!("/api/v1/namespaces/{name}"), &[], String::new()).await;
        assert_eq!(gone.code, 200, "{}", gone.message());
        let refused = post(&server, &maps(&name), &json!({"metadata": {"name": "b"}})).await;
        assert_eq!(refused.code, 403, "{}", refused.message());
        assert!(refused.message().ends_with("because it is being terminated"), "{}", refused.message());
        assert_eq!(refused.json()["details"]["causes"][0]["reason"], "NamespaceTerminating");
        // What is there can still be changed, so that it can be cleaned up.
        let changed =
            patch(&server, &format!("{}/a", maps(&name)), "merge-patch+json", &json!({"data": {"k": "v"}}))
                .await;
        assert_eq!(changed.code, 200, "{}", changed.message());
    }
}
