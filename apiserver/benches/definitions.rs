//! What many definitions of custom resources cost: to take in, to describe, to begin with, to use one of, to keep.
//!
//! `cargo bench -p apiserver --bench definitions`; `DEFINITIONS=5000` for more than two thousand of them.

#![expect(clippy::unwrap_used, reason = "what fails is not measured")]
#![expect(clippy::print_stdout, reason = "figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "a measure takes the time")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use apiserver::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    launch,
    server::{InProcess, Server},
};
use axum::body::Body;
use futures::{StreamExt as _, stream};
use http::Request;
use http_body_util::BodyExt as _;
use runtime::Runtime;
use serde_json::{Value, json};
use store::{Backend, Memory};

/// How many are written at a time.
const AT_A_TIME: usize = 32;
/// How many properties a schema has: about 10 KB of them.
const PROPERTIES: usize = 100;

async fn send(
    server: &Arc<Server>,
    method: &str,
    path: &str,
    accept: &str,
    body: String,
) -> (u16, bytes::Bytes) {
    let request = Request::builder().method(method).uri(path).header("accept", accept);
    let mut request = request.header("content-type", "application/json").body(Body::from(body)).unwrap();
    request.extensions_mut().insert(InProcess(User::new("bench", &[MASTERS, AUTHENTICATED])));
    let answer = Box::pin(server.serve(request)).await;
    let code = answer.status().as_u16();
    (code, answer.into_body().collect().await.unwrap().to_bytes())
}

fn definition(number: usize) -> Value {
    let group = format!("g{}.example.com", number / 10);
    let property = |at: usize| {
        let description = "What a field of its kind is for, in about as many words as people take for it.";
        (format!("field{at}"), json!({"type": "string", "description": description, "maxLength": 253}))
    };
    let fields: serde_json::Map<String, Value> = (0..PROPERTIES).map(property).collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things{number}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": format!("things{number}"), "kind": format!("Thing{number}")},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {
                "openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}}}],
        },
    })
}

/// Memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    let begin = Instant::now();
    let done = work.await;
    println!("{what}: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    done
}

async fn until_served(server: &Arc<Server>, number: usize) {
    let path = format!("/apis/g{}.example.com/v1", number / 10);
    let name = format!("\"things{number}\"");
    loop {
        let (_, body) = send(server, "GET", &path, "application/json", String::new()).await;
        if String::from_utf8_lossy(&body).contains(&name) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn measure(count: usize) {
    let runtime = Runtime::system();
    let store: Arc<dyn Backend> = Arc::new(Memory::new(&runtime.tasks));
    let server = launch::over(Arc::clone(&store), &runtime).await.unwrap();
    const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let discover = || send(&server, "GET", "/apis", AGGREGATED, String::new());
    let (_, few) = discover().await;
    let before = resident();
    timed(&format!("{count} definitions, until the last is described"), async {
        let writes = (0..count).map(|number| {
            let server = Arc::clone(&server);
            async move {
                let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
                let body = definition(number).to_string();
                let (code, said) = send(&server, "POST", path, "application/json", body).await;
                assert_eq!(code, 201, "{}", String::from_utf8_lossy(&said));
            }
        });
        stream::iter(writes).buffer_unordered(AT_A_TIME).collect::<Vec<()>>().await;
        for number in 0..count {
            until_served(&server, number).await;
        }
    })
    .await;
    let kept = resident().saturating_sub(before) / u64::try_from(count).unwrap();
    println!("memory a definition, with its place in the store: {kept} KiB");
    let (_, all) = timed("aggregated discovery", discover()).await;
    timed("the same again", discover()).await;
    println!("aggregated discovery has {} KiB, {} without", all.len() / 1024, few.len() / 1024);
    timed("one more definition, until it is described", async {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        send(&server, "POST", path, "application/json", definition(count).to_string()).await;
        until_served(&server, count).await;
    })
    .await;
    let objects = "/apis/g0.example.com/v1/namespaces/default/things0";
    let object = json!({"apiVersion": "g0.example.com/v1", "kind": "Thing0", "metadata": {"name": "a"}, "spec": {"field1": "x"}});
    let create = send(&server, "POST", objects, "application/json", object.to_string());
    let (code, _) = timed("the first object of a kind", create).await;
    assert_eq!(code, 201);
    let one = format!("{objects}/a");
    timed("the first read of it", send(&server, "GET", &one, "application/json", String::new())).await;
    timed("the second", send(&server, "GET", &one, "application/json", String::new())).await;
    timed("another server over all of that, until it is ready", Box::pin(launch::over(store, &runtime)))
        .await
        .unwrap();
    runtime.tasks.stop();
}

fn main() {
    let count = std::env::var("DEFINITIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(2000);
    let reactor = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    reactor.block_on(measure(count));
}
