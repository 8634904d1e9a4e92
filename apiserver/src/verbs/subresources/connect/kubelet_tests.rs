//! What is asked of a kubelet through this server: logs as they come, streams passed through, proxies, and what is told when
//! it fails.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use runtime::{Runtime, Tasks};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{launch, proxy::testing, server::Server};

const POD: &str = "/api/v1/namespaces/default/pods/p";

/// A kubelet that says what it was asked.
async fn kubelet(tasks: &Tasks, mut request: Request<Incoming>) -> Response<Body> {
    let asked = format!("{} {}", request.method(), request.uri().path_and_query().unwrap());
    match request.uri().path() {
        "/containerLogs/default/p/c" if request.uri().query() == Some("follow=true") => {
            // It goes on for ever: whoever waits for the end hears nothing.
            let lines = stream::iter([Ok::<_, std::io::Error>(Bytes::from("first\n"))]);
            Response::new(Body::from_stream(lines.chain(stream::pending())))
        }
        "/containerLogs/default/p/broken" => {
            Response::builder().status(500).body(Body::from("it is broken")).unwrap()
        }
        "/exec/default/p/c" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tasks.spawn("echo", async move {
                let Ok(stream) = upgrade.await else { return };
                let mut stream = TokioIo::new(stream);
                let mut heard = [0; 5];
                stream.read_exact(&mut heard).await.unwrap();
                stream.write_all(&heard).await.unwrap();
                stream.write_all(asked.as_bytes()).await.unwrap();
            });
            let protocol = request.headers().get("sec-websocket-protocol").cloned().unwrap();
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "Upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-protocol", protocol)
                .body(Body::empty())
                .unwrap()
        }
        "/attach/default/p/c" => Response::builder().status(403).body(Body::from("not you")).unwrap(),
        _ => Response::builder().header("set-cookie", "a=b").body(Body::from(asked)).unwrap(),
    }
}

async fn send(
    sender: &mut SendRequest<Body>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Response<Incoming> {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    tokio::time::timeout(Duration::from_secs(20), sender.send_request(request.body(body).unwrap()))
        .await
        .unwrap()
        .unwrap()
}

async fn text(response: Response<Incoming>) -> (u16, String) {
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8_lossy(&body).into_owned())
}

/// A server with a node, whose kubelet listens on this port, and a Pod of two containers there.
async fn with_node(port: u16) -> (Arc<Server>, SendRequest<Body>) {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    let mut sender = testing::connect(&server).await;
    let node = json!({"metadata": {"name": "n"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    let container = |name: &str| json!({"name": name, "image": "i"});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [container("c"), container("broken")]}});
    for (path, object) in [
        ("/api/v1/nodes", node),
        ("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})),
        ("/api/v1/namespaces/default/pods", pod),
    ] {
        let (code, made) = text(send(&mut sender, "POST", path, &[], &object).await).await;
        assert!(code == 201 || code == 409, "{made}");
    }
    (server, sender)
}

async fn with_kubelet() -> (Arc<Server>, SendRequest<Body>) {
    let tasks = Runtime::system().tasks;
    let children = tasks.clone();
    let answer = move |request| {
        let tasks = children.clone();
        async move { kubelet(&tasks, request).await }
    };
    let (port, _) = testing::serve(&tasks, "n", answer).await;
    with_node(port).await
}

#[tokio::test]
async fn logs_come_from_the_kubelet_as_they_are_written() {
    let (_server, mut sender) = with_kubelet().await;
    let asked = format!(
        "{POD}/log?container=c&tailLines=5&sinceTime=2026-01-01T00:00:00Z&timestamps=true&pretty=true"
    );
    let response = send(&mut sender, "GET", &asked, &[], &Value::Null).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain");
    assert_eq!(
        text(response).await,
        (
            200,
            "GET /containerLogs/default/p/c?sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=5&timestamps=true"
                .to_owned()
        )
    );
    let (code, failed) =
        text(send(&mut sender, "GET", &format!("{POD}/log?container=broken"), &[], &Value::Null).await).await;
    assert_eq!(code, 500);
    assert!(failed.contains("Internal error occurred: it is broken"), "{failed}");
    let mut followed =
        send(&mut sender, "GET", &format!("{POD}/log?container=c&follow=true"), &[], &Value::Null).await;
    let first = tokio::time::timeout(Duration::from_secs(20), followed.body_mut().frame()).await.unwrap();
    assert_eq!(first.unwrap().unwrap().into_data().unwrap(), "first\n");
}

#[tokio::test]
async fn streams_are_passed_through_to_the_kubelet() {
    let (_server, mut sender) = with_kubelet().await;
    let (code, needed) = text(
        send(
            &mut sender,
            "POST",
            &format!("{POD}/exec?container=c&command=ls&stdout=true"),
            &[],
            &Value::Null,
        )
        .await,
    )
    .await;
    assert_eq!(code, 400);
    assert!(needed.contains("Upgrade request required"), "{needed}");
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ("authorization", "Bearer secret"),
    ];
    let refused =
        send(&mut sender, "GET", &format!("{POD}/attach?container=c&stdout=true"), &headers, &Value::Null)
            .await;
    assert_eq!(text(refused).await, (403, "not you".to_owned()));
    let asked = format!("{POD}/exec?container=c&command=sh&command=-c&stdin=true&stdout=true");
    let mut answer = send(&mut sender, "GET", &asked, &headers, &Value::Null).await;
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut heard = vec![0; "helloGET /exec/default/p/c?command=sh&command=-c&input=1&output=1".len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(
        String::from_utf8(heard).unwrap(),
        "helloGET /exec/default/p/c?command=sh&command=-c&input=1&output=1"
    );
}

#[tokio::test]
async fn a_kubelet_that_cannot_be_reached_is_told_of() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (_server, mut sender) = with_node(free).await;
    let refused = format!("dial tcp 127.0.0.1:{free}: connect: connection refused");
    let (code, said) =
        text(send(&mut sender, "GET", &format!("{POD}/log?container=c"), &[], &Value::Null).await).await;
    let status: Value = serde_json::from_str(&said).unwrap();
    let expected = format!("Get \"https://127.0.0.1:{free}/containerLogs/default/p/c\": {refused}");
    assert_eq!((code, &status["message"]), (500, &json!(expected)));
    let headers = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let (code, said) =
        text(send(&mut sender, "POST", &format!("{POD}/portforward?ports=80"), &headers, &Value::Null).await)
            .await;
    let status: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &status["message"]), (500, &json!(format!("error dialing backend: {refused}"))));
}

#[tokio::test]
async fn proxies_lead_to_nothing_on_this_machine() {
    let (_server, mut sender) = with_kubelet().await;
    for path in ["/api/v1/nodes/n/proxy/pods", "/api/v1/nodes/n:80/proxy/pods", &format!("{POD}/proxy/")] {
        let (code, said) = text(send(&mut sender, "GET", path, &[], &Value::Null).await).await;
        assert_eq!(code, 400, "{said}");
        assert!(said.contains("address not allowed"), "{said}");
    }
}
