//! Versions that differ in more than their name: a webhook over TLS, as clusters have them.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use runtime::{Clock as _, SystemClock, Tasks};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tls::authority::{Authority, Subject};

/// In `v1` it is `spec.color`, in `v2` it is `spec.paint.color`.
fn convert(mut object: Value, target: &str) -> Value {
    let color = object.pointer("/spec/color").or_else(|| object.pointer("/spec/paint/color")).cloned();
    object["apiVersion"] = json!(target);
    if let Some(color) = color {
        let spec =
            if target.ends_with("v1") { json!({"color": color}) } else { json!({"paint": {"color": color}}) };
        object["spec"] = spec;
    }
    // Whoever tries is put right.
    object["metadata"]["generation"] = json!(100);
    object
}

struct Webhook {
    url: String,
    bundle: String,
    calls: Arc<AtomicUsize>,
}

/// A webhook that converts; objects called `bad` it will not.
async fn webhook(tasks: &Tasks) -> Webhook {
    let now = SystemClock.now();
    let (authority, _) = Authority::generate("webhooks", now).unwrap();
    let issued =
        authority.issue(&Subject::server("webhook", BTreeSet::from(["localhost".to_owned()])), now).unwrap();
    let certificates =
        rustls_pemfile::certs(&mut issued.certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, children) = (Arc::clone(&calls), tasks.clone());
    tasks.spawn("webhook", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
            children.spawn("webhook connection", async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let counted = Arc::clone(&counted);
                    async move {
                        counted.fetch_add(1, Ordering::Relaxed);
                        let body = request.into_body().collect().await?.to_bytes();
                        Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::from(
                            answer(&body).to_string(),
                        ))))
                    }
                });
                let _closed = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Webhook {
        url: format!("https://localhost:{port}/convert"),
        bundle: BASE64_STANDARD.encode(authority.pem()),
        calls,
    }
}

fn answer(body: &[u8]) -> Value {
    let review: Value = serde_json::from_slice(body).unwrap();
    let request = &review["request"];
    let target = request["desiredAPIVersion"].as_str().unwrap();
    let objects = request["objects"].as_array().unwrap();
    let response = if objects.iter().any(|it| it["metadata"]["name"] == "bad") {
        json!({"uid": request["uid"], "result": {"status": "Failure", "message": "will not"}})
    } else {
        let converted: Vec<Value> = objects.iter().map(|it| convert(it.clone(), target)).collect();
        json!({"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": converted})
    };
    json!({"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": response})
}

fn definition(webhook: &Webhook) -> Value {
    let mut definition = foos();
    let string = json!({"type": "string"});
    let schema = |spec: Value| json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}}});
    definition["spec"]["versions"] = json!([
        {"name": "v1", "served": true, "storage": true, "schema": schema(json!({"color": string}))},
        {"name": "v2", "served": true, "storage": false,
         "schema": schema(json!({"paint": {"type": "object", "properties": {"color": string}}}))},
    ]);
    definition["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": {"url": webhook.url, "caBundle": webhook.bundle},
    }});
    definition
}

#[tokio::test]
async fn a_webhook_converts_what_is_read_and_written() {
    let world = World::new().await;
    let webhook = webhook(&world.server.runtime.tasks).await;
    world.define(&definition(&webhook)).await;
    let made = world.post(&path("v2", ""), &foo("v2", "a", &json!({"paint": {"color": "red"}}))).await;
    assert_eq!(made["spec"], json!({"paint": {"color": "red"}}));
    let object = world.read(&path("v1", "/a")).await;
    assert_eq!((&object["spec"], &object["metadata"]["generation"]), (&json!({"color": "red"}), &json!(1)));
    world.post(&path("v1", ""), &foo("v1", "b", &json!({"color": "blue"}))).await;

    let before = webhook.calls.load(Ordering::Relaxed);
    for _ in 0..3 {
        let list = world.read(&path("v2", "")).await;
        assert_eq!(list["items"][1]["spec"], json!({"paint": {"color": "blue"}}));
    }
    let events = world.events(&path("v2", "?watch=true"), 2).await;
    assert_eq!(events, ["ADDED example.com/v2 a", "ADDED example.com/v2 b"]);
    assert_eq!(webhook.calls.load(Ordering::Relaxed) - before, 1, "asked once for all, and remembered");

    let changed =
        world.patch(&path("v2", "/b"), MERGE, &json!({"spec": {"paint": {"color": "green"}}})).await;
    assert_eq!(
        (&changed["spec"]["paint"]["color"], &changed["metadata"]["generation"]),
        (&json!("green"), &json!(2))
    );
    assert_eq!(world.read(&path("v1", "/b")).await["spec"]["color"], "green");
}

#[tokio::test]
async fn who_owns_a_field_is_known_across_a_webhook() {
    let world = World::new().await;
    let webhook = webhook(&world.server.runtime.tasks).await;
    world.define(&definition(&webhook)).await;
    world.patch(&path("v1", "/a?fieldManager=one"), APPLY, &foo("v1", "a", &json!({"color": "red"}))).await;
    let applied = foo("v2", "a", &json!({"paint": {"color": "blue"}}));
    let (code, conflict) = world.send("PATCH", &path("v2", "/a?fieldManager=two"), APPLY, &applied).await;
    assert_eq!(code, 409, "{conflict}");
    let object = world.patch(&path("v2", "/a?fieldManager=two&force=true"), APPLY, &applied).await;
    let owners: Vec<&str> = object["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["manager"].as_str().unwrap())
        .collect();
    assert_eq!(owners, ["two"], "one has nothing left");
    assert_eq!(world.read(&path("v1", "/a")).await["spec"]["color"], "blue");
}

#[tokio::test]
async fn what_a_webhook_refuses_or_cannot_be_asked_is_told() {
    let world = World::new().await;
    let webhook = webhook(&world.server.runtime.tasks).await;
    world.define(&definition(&webhook)).await;
    world.post(&path("v1", ""), &foo("v1", "bad", &json!({}))).await;
    let (code, refused) = world.get(&path("v2", "/bad")).await;
    let message = "conversion webhook for example.com/v1, Kind=Foo failed: will not";
    assert_eq!((code, &refused["message"]), (500, &json!(message)));
    assert_eq!(world.get(&path("v2", "")).await.0, 500);
    world.read(&path("v1", "/bad")).await;

    let mut unreachable = definition(&webhook);
    unreachable["metadata"]["name"] = json!("bars.example.com");
    unreachable["spec"]["names"] = json!({"plural": "bars", "kind": "Bar"});
    unreachable["spec"]["conversion"]["webhook"]["clientConfig"] =
        json!({"service": {"namespace": "default", "name": "none", "path": "/c"}});
    world.define(&unreachable).await;
    let bars = "/apis/example.com/v2/namespaces/default/bars";
    let (code, refused) = world
        .send(
            "POST",
            bars,
            JSON,
            &json!({"apiVersion": "example.com/v2", "kind": "Bar", "metadata": {"name": "a"}}),
        )
        .await;
    let message = r#"conversion webhook for example.com/v2, Kind=Bar failed: Post "https://none.default.svc:443/c?timeout=30s": service "none" not found"#;
    assert_eq!((code, &refused["message"]), (500, &json!(message)));
}
