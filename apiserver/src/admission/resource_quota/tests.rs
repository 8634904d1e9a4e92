//! Quotas of a whole server, without a socket.

use api_types::object::ObjectExt as _;
use axum::body::Body;
use futures::future::join_all;
use http::Request;
use http_body_util::BodyExt as _;
use runtime::Runtime;
use serde_json::{Value, json};

use super::*;
use crate::{launch, server::InProcess};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn ask(server: &Arc<Server>, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let form = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", form);
    let mut request = request.body(Body::from(body.to_string())).unwrap();
    request.extensions_mut().insert(InProcess(User::new("tester", &[MASTERS, AUTHENTICATED])));
    let answer = Box::pin(server.serve(request)).await;
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}

/// A quota that the controller has taken note of.
async fn limit(server: &Arc<Server>, name: &str, hard: Value) {
    let none: Value = hard.as_object().unwrap().keys().map(|key| (key.clone(), json!("0"))).collect();
    let quota = json!({"metadata": {"name": name}, "spec": {"hard": hard}});
    assert_eq!(ask(server, "POST", QUOTAS, &quota).await.0, 201);
    let status = json!({"status": {"hard": hard, "used": none}});
    assert_eq!(ask(server, "PATCH", &format!("{QUOTAS}/{name}/status"), &status).await.0, 200);
    let cache = server.registry.catalogue.find("", "v1", "resourcequotas").unwrap().storage.cache();
    cache.fresh().await.unwrap();
}

async fn used(server: &Arc<Server>, name: &str) -> Value {
    ask(server, "GET", &format!("{QUOTAS}/{name}"), &Value::Null).await.1["status"]["used"].clone()
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

/// Goal: that however many come at once, exactly as many get in as are allowed, and no more is charged. Method: 200
/// creates under two quotas, while somebody else writes to both all the time, as the controller does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_at_once_leave_exactly_as_many_as_are_allowed() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    limit(&server, "plain", json!({"configmaps": "100"})).await;
    limit(&server, "wide", json!({"count/configmaps": "1000", "secrets": "1"})).await;
    let creates = join_all((0..200).map(|index| {
        let server = Arc::clone(&server);
        async move { ask(&server, "POST", MAPS, &map(&format!("m-{index}"))).await }
    }));
    let meddle = async {
        for round in 0..20 {
            for name in ["plain", "wide"] {
                let labels = json!({"metadata": {"labels": {"round": round.to_string()}}});
                let (code, said) = ask(&server, "PATCH", &format!("{QUOTAS}/{name}"), &labels).await;
                assert_eq!(code, 200, "{said}");
            }
            tokio::task::yield_now().await;
        }
    };
    let (answers, ()) = tokio::join!(creates, meddle);
    // Who loses against the meddler again and again is told to come again, and does.
    let mut created = 0;
    for (index, (code, said)) in answers.into_iter().enumerate() {
        let (mut code, mut said) = (code, said);
        while code == 409 {
            (code, said) = ask(&server, "POST", MAPS, &map(&format!("m-{index}"))).await;
        }
        match code {
            201 => created += 1,
            403 => assert_eq!(
                said["message"],
                format!(
                    "configmaps \"m-{index}\" is forbidden: exceeded quota: plain, requested: configmaps=1, used: configmaps=100, limited: configmaps=100"
                )
            ),
            _ => panic!("{code} {said}"),
        }
    }
    let there = server.list("", "v1", "configmaps", "default").await.unwrap();
    let there = there.iter().filter(|it| it.name().starts_with("m-")).count();
    assert_eq!((created, there), (100, 100));
    assert_eq!(used(&server, "plain").await, json!({"configmaps": "100"}));
}

#[tokio::test]
async fn dry_runs_changes_and_what_has_no_quota_are_free() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    limit(&server, "q", json!({"configmaps": "1"})).await;
    assert_eq!(ask(&server, "POST", &format!("{MAPS}?dryRun=All"), &map("a")).await.0, 201);
    assert_eq!(used(&server, "q").await, json!({"configmaps": "0"}));
    assert_eq!(ask(&server, "POST", MAPS, &map("a")).await.0, 201);
    assert_eq!(used(&server, "q").await, json!({"configmaps": "1"}));
    let (code, said) = ask(&server, "POST", &format!("{MAPS}?dryRun=All"), &map("b")).await;
    assert_eq!((code, said["reason"].as_str()), (403, Some("Forbidden")));
    let data = json!({"data": {"k": "v"}});
    assert_eq!(ask(&server, "PATCH", &format!("{MAPS}/a"), &data).await.0, 200);
    assert_eq!(ask(&server, "POST", "/api/v1/namespaces/default/secrets", &map("a")).await.0, 201);
    assert_eq!(ask(&server, "POST", "/api/v1/namespaces/kube-system/configmaps", &map("b")).await.0, 201);
}

#[tokio::test]
async fn a_service_is_charged_when_it_becomes_one_with_ports_of_nodes() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    limit(&server, "q", json!({"services.nodeports": "1", "services": "2"})).await;
    const SERVICES: &str = "/api/v1/namespaces/default/services";
    let service = |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}});
    let ports_of_nodes = json!({"spec": {"type": "NodePort"}});
    for name in ["a", "b"] {
        assert_eq!(ask(&server, "POST", SERVICES, &service(name)).await.0, 201);
    }
    assert_eq!(ask(&server, "PATCH", &format!("{SERVICES}/a"), &ports_of_nodes).await.0, 200);
    assert_eq!(used(&server, "q").await, json!({"services": "2", "services.nodeports": "1"}));
    let (code, said) = ask(&server, "PATCH", &format!("{SERVICES}/b"), &ports_of_nodes).await;
    assert_eq!(
        (code, said["message"].as_str().unwrap()),
        (
            403,
            "services \"b\" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1"
        )
    );
}

#[tokio::test]
async fn a_quota_that_nobody_has_counted_yet_lets_nobody_in() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    limit(&server, "q", json!({"configmaps": "1"})).await;
    let status = json!({"status": {"used": null}});
    assert_eq!(ask(&server, "PATCH", &format!("{QUOTAS}/q/status"), &status).await.0, 200);
    let (_, said) = ask(&server, "POST", MAPS, &map("a")).await;
    assert_eq!(
        said["message"],
        "configmaps \"a\" is forbidden: status unknown for quota: q, resources: configmaps"
    );
}
