//! What requests cost from their first byte to the last of the answer, without a socket and on a store in memory: mostly
//! decoding and encoding. `cargo bench -p apiserver --bench encode`.

use std::sync::Arc;

use apiserver::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    launch,
    server::{InProcess, Server},
};
use axum::body::Body;
use criterion::{Criterion, Throughput};
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const PODS: usize = 1000;
const PATH: &str = "/api/v1/namespaces/default/pods";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web", "pod-template-hash": "5f7d8b6c4"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "nginx:1.27", "ports": [{"containerPort": 80}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            "env": [{"name": "A", "value": "b"}, {"name": "C", "value": "d"}]}]}})
}

/// How many bytes the answer has.
async fn ask(server: &Arc<Server>, method: &str, path: &str, accept: &str, body: String) -> usize {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, accept)
        .header(header::CONTENT_TYPE, JSON);
    let mut request = request.body(Body::from(body)).expect("a request");
    request.extensions_mut().insert(InProcess(User::new("bench", &[MASTERS, AUTHENTICATED])));
    let answer = Box::pin(server.serve(request)).await;
    assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    answer.into_body().collect().await.expect("a body").to_bytes().len()
}

fn requests(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(async {
        let server = launch::in_memory(&runtime::Runtime::system()).await.expect("a server");
        let account = r#"{"metadata":{"name":"default"}}"#.to_owned();
        ask(&server, "POST", "/api/v1/namespaces/default/serviceaccounts", JSON, account).await;
        for n in 0..PODS {
            ask(&server, "POST", PATH, JSON, pod(&format!("pod-{n}")).to_string()).await;
        }
        server
    });
    let one = format!("{PATH}/pod-7");
    let go = |method: &str, path: &str, accept: &str, body: &str| {
        runtime.block_on(ask(&server, method, path, accept, body.to_owned()))
    };
    let mut group = criterion.benchmark_group("one Pod");
    group.bench_function("get, JSON", |bench| bench.iter(|| go("GET", &one, JSON, "")));
    group.bench_function("get, protobuf", |bench| bench.iter(|| go("GET", &one, PROTOBUF, "")));
    let dry = format!("{PATH}?dryRun=All");
    let body = pod("another").to_string();
    group.bench_function("create, nothing stored", |bench| bench.iter(|| go("POST", &dry, JSON, &body)));
    group.finish();
    let mut group = criterion.benchmark_group("list of 1,000 Pods");
    group.throughput(Throughput::Elements(PODS as u64));
    for (name, accept) in [("JSON", JSON), ("protobuf", PROTOBUF), ("Table", TABLE)] {
        group.bench_function(name, |bench| bench.iter(|| go("GET", PATH, accept, "")));
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    requests(&mut criterion);
    criterion.final_summary();
}
