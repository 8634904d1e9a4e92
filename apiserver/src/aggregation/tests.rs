//! Another server's group asked of this server: from the APIService to the last byte of a connection that is passed through.
//!
//! Method: a real server over TLS stands behind a Service of type ExternalName, which needs no network of Services.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use runtime::{Runtime, Tasks};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    launch,
    proxy::testing,
    server::{InProcess, Server},
};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

struct Other {
    port: u16,
    bundle: String,
    tasks: Tasks,
}

/// A server of the group `things.example.com`.
async fn other(tasks: &Tasks) -> Other {
    let tasks = tasks.child();
    let children = tasks.clone();
    let answer = move |request| {
        let tasks = children.clone();
        async move { said(&tasks, request).await }
    };
    let (port, authority) = testing::serve(&tasks, "things.default.svc", answer).await;
    Other { port, bundle: BASE64_STANDARD.encode(authority), tasks }
}

fn json_answer(content_type: &str, body: &Value) -> Response<Body> {
    Response::builder().header("content-type", content_type).body(Body::from(body.to_string())).unwrap()
}

async fn said(tasks: &Tasks, mut request: Request<Incoming>) -> Response<Body> {
    let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "things.example.com/v1",
        "resources": [{"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get", "list"]}]});
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/apis" => json_answer(
            AGGREGATED,
            &json!({"items": [{"metadata": {"name": "things.example.com"}, "versions": [{"version": "v1", "resources": [
                {"resource": "things", "responseKind": {"group": "things.example.com", "version": "v1", "kind": "Thing"},
                 "scope": "Namespaced", "singularResource": "thing", "verbs": ["get", "list"]}]}]}]}),
        ),
        "/apis/things.example.com/v1" => json_answer("application/json", &list),
        "/openapi/v3" => json_answer(
            "application/json",
            &json!({"paths": {"apis/things.example.com/v1": {"serverRelativeURL": "/openapi/v3/apis/things.example.com/v1?hash=1"}}}),
        ),
        "/openapi/v3/apis/things.example.com/v1" => json_answer(
            "application/json",
            &json!({"openapi": "3.0.0", "info": {"title": "things"}, "paths": {}}),
        ),
        "/openapi/v2" => json_answer(
            "application/json",
            &json!({"paths": {"/apis/things.example.com/v1/things": {"get": {"responses": {"200": {"schema": {"$ref": "#/definitions/Thing"}}}}}},
                "definitions": {"Thing": {"type": "object"}, "Unneeded": {}}}),
        ),
        "/apis/things.example.com/v1/namespaces/default/things/moved" => Response::builder()
            .status(302)
            .header("location", "https://elsewhere.example/")
            .body(Body::empty())
            .unwrap(),
        "/apis/things.example.com/v1/namespaces/default/things/spoken" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tasks.spawn("echo", async move {
                let Ok(stream) = upgrade.await else { return };
                let mut stream = TokioIo::new(stream);
                let mut heard = [0; 5];
                stream.read_exact(&mut heard).await.unwrap();
                heard.reverse();
                stream.write_all(&heard).await.unwrap();
            });
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "Upgrade")
                .header("upgrade", "SPDY/3.1")
                .body(Body::empty())
                .unwrap()
        }
        _ if request.uri().query() == Some("watch=true") => {
            // The second event never comes by itself: whoever waits for the end waits for ever.
            let events = stream::iter([Ok::<_, std::io::Error>(Bytes::from("{\"type\":\"ADDED\"}\n"))]);
            Response::new(Body::from_stream(events.chain(stream::pending())))
        }
        _ => {
            let headers: serde_json::Map<String, Value> = request
                .headers()
                .keys()
                .map(|name| {
                    let all = request.headers().get_all(name);
                    (name.to_string(), all.iter().map(|it| it.to_str().unwrap()).collect())
                })
                .collect();
            let uri = request.uri().path_and_query().unwrap().to_string();
            let method = request.method().to_string();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            json_answer(
                "application/json",
                &json!({"method": method, "uri": uri, "headers": headers, "body": String::from_utf8_lossy(&body)}),
            )
        }
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut request = request.body(Body::from(body)).unwrap();
    request.extensions_mut().insert(InProcess(User::new("tester", &[MASTERS, AUTHENTICATED])));
    request
}

async fn ask(server: &Arc<Server>, request: Request<Body>) -> (u16, String) {
    let answer = Box::pin(server.serve(request)).await;
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8_lossy(&body).into_owned())
}

async fn get(server: &Arc<Server>, path: &str) -> (u16, Value) {
    let (code, body) = ask(server, request("GET", path, &[], &Value::Null)).await;
    (code, serde_json::from_str(&body).unwrap_or_else(|_| json!(body)))
}

async fn create(server: &Arc<Server>, path: &str, object: &Value) {
    let sent = request("POST", path, &[("content-type", "application/json")], object);
    let (code, body) = ask(server, sent).await;
    assert_eq!(code, 201, "{body}");
}

async fn register(server: &Arc<Server>, port: u16, spec: Value) {
    create(
        server,
        "/api/v1/namespaces/default/services",
        &json!({"metadata": {"name": "things"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}),
    )
    .await;
    let mut service = json!({"metadata": {"name": "v1.things.example.com"}, "spec": {
        "group": "things.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "service": {"namespace": "default", "name": "things", "port": port}}});
    service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    create(server, SERVICES, &service).await;
}

/// Waits until the condition has this reason.
async fn condition(server: &Arc<Server>, name: &str, reason: &str) -> Value {
    for _ in 0..500 {
        let (_, object) = get(server, &format!("{SERVICES}/{name}")).await;
        let condition = &object["status"]["conditions"][0];
        if condition["reason"] == reason {
            return condition.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{name} never is {reason}: {:?}", get(server, &format!("{SERVICES}/{name}")).await)
}

/// What aggregated discovery says of the group.
async fn discovered(server: &Arc<Server>) -> Value {
    let (_, body) = ask(server, request("GET", "/apis", &[("accept", AGGREGATED)], &Value::Null)).await;
    let list: Value = serde_json::from_str(&body).unwrap();
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .find(|it| it["metadata"]["name"] == "things.example.com")
        .map(|it| it["versions"][0].clone())
        .unwrap_or_default()
}

async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(found) = attempt().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}")
}

#[tokio::test]
async fn requests_for_another_servers_group_are_that_servers_to_answer() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    let other = other(&server.runtime.tasks).await;
    register(&server, other.port, json!({"caBundle": other.bundle})).await;
    let told = condition(&server, "v1.things.example.com", "Passed").await;
    assert_eq!((&told["status"], &told["message"]), (&json!("True"), &json!("all checks passed")));

    // Method, path, query and body go as they are; who asks is told by this server alone.
    let things = "/apis/things.example.com/v1/namespaces/default/things";
    let headers = [("x-remote-user", "root"), ("connection", "close"), ("x-custom", "1")];
    let sent = request("POST", &format!("{things}?dryRun=All"), &headers, &json!({"a": 1}));
    let (code, body) = ask(&server, sent).await;
    let heard: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(code, 200);
    assert_eq!(
        (&heard["method"], &heard["uri"], &heard["body"]),
        (&json!("POST"), &json!(format!("{things}?dryRun=All")), &json!(r#"{"a":1}"#))
    );
    let told = |name: &str| heard["headers"][name].clone();
    assert_eq!(told("x-remote-user"), json!(["tester"]));
    assert_eq!(told("x-remote-group"), json!([MASTERS, AUTHENTICATED]));
    assert_eq!(told("x-custom"), json!(["1"]));
    assert_eq!(told("connection"), Value::Null);
    assert_eq!(told("x-forwarded-host"), json!([format!("localhost:{}", other.port)]));

    // Watches come as they are sent.
    let sent = request("GET", &format!("{things}?watch=true"), &[], &Value::Null);
    let mut body = Box::pin(server.serve(sent)).await.into_body();
    let event = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(event, "{\"type\":\"ADDED\"}\n");
    drop(body);

    let (code, body) = ask(&server, request("GET", &format!("{things}/moved"), &[], &Value::Null)).await;
    let refused = "the backend attempted to redirect this request, which is not permitted";
    assert_eq!((code, body.as_str()), (502, refused));

    // It is described as if it were ours.
    let discovered_now = eventually("the resources are in discovery", async || {
        Some(discovered(&server).await).filter(|it| it["freshness"] == "Current")
    })
    .await;
    assert_eq!(discovered_now["resources"][0]["resource"], "things");
    let (_, groups) = get(&server, "/apis").await;
    assert!(groups.to_string().contains("things.example.com/v1"), "{groups}");
    let (code, list) = get(&server, "/apis/things.example.com/v1").await;
    assert_eq!((code, &list["resources"][0]["name"]), (200, &json!("things")));
    eventually("the description is in OpenAPI", async || {
        let (code, part) = get(&server, "/openapi/v3/apis/things.example.com/v1").await;
        (code == 200 && part["info"]["title"] == "things").then_some(())
    })
    .await;
    let (_, v2) = get(&server, "/openapi/v2").await;
    assert!(v2["paths"]["/apis/things.example.com/v1/things"].is_object());
    assert!(v2["definitions"]["Thing"].is_object() && v2["definitions"]["Unneeded"].is_null());

    // Once it is gone that is told, and its resources stay in discovery, marked.
    other.tasks.stop();
    let told = eventually("its absence is told", async || {
        server.aggregation.wake("default", Some("things"));
        let (_, object) = get(&server, &format!("{SERVICES}/v1.things.example.com")).await;
        let condition = object["status"]["conditions"][0].clone();
        (condition["reason"] == "FailedDiscoveryCheck").then_some(condition)
    })
    .await;
    let url = format!("https://localhost:{}/apis/things.example.com/v1", other.port);
    let message = told["message"].as_str().unwrap();
    assert!(
        message.starts_with(&format!("failing or missing response from {url}: Get \"{url}\": ")),
        "{message}"
    );
    eventually("requests are refused", async || {
        let (code, body) = ask(&server, request("GET", things, &[], &Value::Null)).await;
        ((code, body.as_str()) == (503, "service unavailable\n")).then_some(())
    })
    .await;
    let stale = eventually("discovery is stale", async || {
        Some(discovered(&server).await).filter(|it| it["freshness"] == "Stale")
    })
    .await;
    assert_eq!(stale["resources"][0]["resource"], "things");
    let metrics = String::from_utf8(server.metrics.render()).unwrap();
    for line in [
        r#"aggregator_unavailable_apiservice{name="v1.things.example.com"} 1"#,
        r#"aggregator_unavailable_apiservice_total{name="v1.things.example.com",reason="FailedDiscoveryCheck"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}");
    }

    // With the APIService everything goes.
    let (code, _) =
        ask(&server, request("DELETE", &format!("{SERVICES}/v1.things.example.com"), &[], &Value::Null))
            .await;
    assert_eq!(code, 200);
    eventually("the group is gone", async || {
        (get(&server, "/apis/things.example.com/v1").await.0 == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_not_believed_unless_told_so() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    let other = other(&server.runtime.tasks).await;
    let stranger = self::other(&server.runtime.tasks).await;
    register(&server, other.port, json!({"caBundle": stranger.bundle})).await;
    // That somebody is there is found out with any certificate.
    condition(&server, "v1.things.example.com", "Passed").await;
    let things = "/apis/things.example.com/v1/namespaces/default/things";
    let refused = eventually("requests are tried", async || {
        let (code, body) = ask(&server, request("GET", things, &[], &Value::Null)).await;
        (body != "service unavailable\n").then_some((code, body))
    })
    .await;
    assert_eq!(refused.0, 503);
    let text = "error trying to reach service: tls: failed to verify certificate: ";
    assert!(refused.1.starts_with(text), "{}", refused.1);
    let patch = request(
        "PATCH",
        &format!("{SERVICES}/v1.things.example.com"),
        &[("content-type", "application/merge-patch+json")],
        &json!({"spec": {"caBundle": null, "insecureSkipTLSVerify": true}}),
    );
    assert_eq!(ask(&server, patch).await.0, 200);
    eventually("requests are answered", async || {
        (ask(&server, request("GET", things, &[], &Value::Null)).await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_are_passed_through_when_both_sides_upgrade() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    let other = other(&server.runtime.tasks).await;
    register(&server, other.port, json!({"caBundle": other.bundle})).await;
    condition(&server, "v1.things.example.com", "Passed").await;
    eventually("it is served", async || {
        (get(&server, "/apis/things.example.com/v1").await.0 == 200).then_some(())
    })
    .await;
    let mut sender = testing::connect(&server).await;
    let path = "/apis/things.example.com/v1/namespaces/default/things/spoken";
    let headers = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let mut answer = sender.send_request(request("POST", path, &headers, &Value::Null)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.headers()[header::UPGRADE], "SPDY/3.1");
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"olleh");
}

#[tokio::test]
async fn what_leads_nowhere_is_told_and_stays_in_discovery() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    let service = json!({"metadata": {"name": "v1.things.example.com"}, "spec": {
        "group": "things.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "service": {"namespace": "default", "name": "things"}}});
    create(&server, SERVICES, &service).await;
    let told = condition(&server, "v1.things.example.com", "ServiceNotFound").await;
    assert_eq!(told["message"], r#"service/things in "default" is not present"#);
    eventually("the group is there, stale and empty", async || {
        Some(discovered(&server).await).filter(|it| *it == json!({"version": "v1", "freshness": "Stale"}))
    })
    .await;
    let (code, body) = get(&server, "/apis/things.example.com/v1").await;
    assert_eq!((code, body), (503, json!("service unavailable\n")));
}

#[tokio::test]
async fn custom_resources_have_an_api_service_as_long_as_they_are_defined() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    create(
        &server,
        definitions,
        &json!({"metadata": {"name": "foos.acme.com"}, "spec": {
            "group": "acme.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema},
                {"name": "v2", "served": false, "storage": false, "schema": schema}]}}),
    )
    .await;
    let made = eventually("it is made", async || {
        let (code, object) = get(&server, &format!("{SERVICES}/v1.acme.com")).await;
        (code == 200).then_some(object)
    })
    .await;
    assert_eq!(made["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "true"}));
    assert_eq!(
        made["spec"],
        json!({"group": "acme.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 100})
    );
    assert_eq!(made["status"]["conditions"][0]["reason"], "Local");
    assert_eq!(get(&server, &format!("{SERVICES}/v2.acme.com")).await.0, 404);
    let uid = &made["metadata"]["uid"];
    ask(&server, request("DELETE", &format!("{SERVICES}/v1.acme.com"), &[], &Value::Null)).await;
    eventually("it is made again", async || {
        let (code, object) = get(&server, &format!("{SERVICES}/v1.acme.com")).await;
        (code == 200 && object["metadata"]["uid"] != *uid).then_some(())
    })
    .await;
    ask(&server, request("DELETE", &format!("{definitions}/foos.acme.com"), &[], &Value::Null)).await;
    eventually("it is taken away", async || {
        (get(&server, &format!("{SERVICES}/v1.acme.com")).await.0 == 404).then_some(())
    })
    .await;
}
