//! What is true of every path there is.

use std::collections::BTreeSet;

use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::*;
use crate::{authn::user::AUTHENTICATED, launch};

async fn ask(server: &Arc<Server>, user: Option<&User>, method: &str, path: &str) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(path).body(Body::from("{}")).unwrap();
    if let Some(user) = user {
        request.extensions_mut().insert(InProcess(user.clone()));
    }
    let answer = Box::pin(server.serve(request)).await;
    let (parts, body) = answer.into_parts();
    let body = tokio::time::timeout(Duration::from_secs(5), body.collect()).await;
    let text = body.map(|body| String::from_utf8_lossy(&body.unwrap().to_bytes()).into_owned());
    (parts.status.as_u16(), text.unwrap_or_else(|_endless| "a stream".to_owned()))
}

/// Every path that is served: those that are told at the root, every resource and its parts, and those that are told nowhere.
async fn paths(server: &Arc<Server>) -> BTreeSet<String> {
    let admin = User::new("admin", &[crate::authn::user::MASTERS, AUTHENTICATED]);
    let (_, root) = ask(server, Some(&admin), "GET", "/").await;
    let root: Value = serde_json::from_str(&root).unwrap();
    let mut paths: BTreeSet<String> =
        root["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned()).collect();
    for path in [
        "/",
        "/debug/journal",
        "/debug/why",
        "/debug/api_priority_and_fairness/dump_requests",
        "/debug/pprof/",
        "/logs/",
        "/statusz",
        "/flagz",
        "/configz",
        "/nothing",
    ] {
        paths.insert(path.to_owned());
    }
    for served in server.registry.catalogue.all() {
        let (names, kind) = (served.names(), served.resource.kind());
        let base = if kind.group.is_empty() {
            format!("/api/{}", kind.version)
        } else {
            format!("/apis/{}/{}", kind.group, kind.version)
        };
        let plural = served.resource.resource().resource;
        paths.insert(format!("{base}/{plural}"));
        paths.insert(format!("{base}/{plural}?watch=1&timeoutSeconds=1"));
        let within = if names.namespaced {
            format!("{base}/namespaces/default/{plural}")
        } else {
            format!("{base}/{plural}")
        };
        paths.insert(within.clone());
        paths.insert(format!("{within}/x"));
        for part in [
            "status",
            "scale",
            "log",
            "exec",
            "attach",
            "portforward",
            "proxy",
            "eviction",
            "binding",
            "ephemeralcontainers",
            "resize",
            "token",
            "approval",
            "finalize",
        ] {
            paths.insert(format!("{within}/x/{part}"));
        }
    }
    paths
}

#[tokio::test]
async fn nobody_without_credentials_gets_more_than_health_and_the_version() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    let paths = paths(&server).await;
    assert!(paths.len() > 500, "{}", paths.len());
    let open = |path: &str| {
        let health = ["/healthz", "/livez", "/readyz"];
        // Single checks are not for everybody: the role names the three paths themselves.
        path == "/version" || health.contains(&path)
    };
    for path in &paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let (code, body) = ask(&server, None, method, path).await;
            if method == "GET" && open(path) {
                assert_eq!(code, 200, "{path}: {body}");
            } else {
                assert_eq!(code, 403, "{method} {path}: {body}");
            }
        }
    }
}

#[tokio::test]
async fn who_is_known_but_has_no_role_gets_what_describes_the_server_and_nothing_that_is_in_it() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    let nobody = User::new("nobody", &[AUTHENTICATED]);
    let open = |path: &str| {
        let described = ["/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz"];
        let about = ["/.well-known/openid-configuration", "/openid/v1/jwks"];
        let is_below =
            |top: &str| path == top || path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'));
        (described.iter().any(|top| is_below(top)) || path == "/version/") && !about.contains(&path)
    };
    for path in paths(&server).await {
        let resource =
            info::resolve(&Method::GET, path.split('?').next().unwrap(), &Query::default()).unwrap();
        let (code, body) = ask(&server, Some(&nobody), "GET", &path).await;
        if resource.resource_request || !open(&path) {
            assert_eq!(code, 403, "{path}: {body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_last_is_ended_in_time() {
    let server = launch::in_memory(&Runtime::system()).await.unwrap();
    let mut request = Request::post("/api/v1/namespaces?timeout=3s")
        .header("content-type", "application/json")
        // A client that never sends what it promised.
        .body(Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>()))
        .unwrap();
    let admin = User::new("admin", &[crate::authn::user::MASTERS, AUTHENTICATED]);
    request.extensions_mut().insert(InProcess(admin));
    let begun = Instant::now();
    let answer = Box::pin(server.serve(request)).await;
    assert_eq!((answer.status().as_u16(), begun.elapsed().as_secs()), (504, 3));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let status: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status["reason"], "Timeout");
    assert_eq!(status["message"], "Timeout: request did not complete within the allotted timeout");
}
