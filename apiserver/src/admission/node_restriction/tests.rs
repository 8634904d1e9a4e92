//! What kubelets may do at a whole server, without a socket.

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use runtime::Runtime;
use serde_json::json;

use super::*;
use crate::{
    admission::Selection,
    authn::user::{AUTHENTICATED, MASTERS, User, node::NODES},
    launch,
    server::InProcess,
};

const ADMIN: (&str, &str) = ("admin", MASTERS);
const NODE: (&str, &str) = ("system:node:n", NODES);
const POD: &str = "/api/v1/namespaces/default/pods";

async fn server() -> Arc<Server> {
    let selection = Selection::default().with("NodeRestriction");
    let server = launch::in_memory_with(&Runtime::system(), selection).await.unwrap();
    for (path, body) in [
        ("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})),
        ("/api/v1/nodes", json!({"metadata": {"name": "n"}})),
        ("/api/v1/nodes", json!({"metadata": {"name": "m"}})),
        (POD, pod("own", "n")),
        (POD, pod("other", "m")),
    ] {
        let (code, said) = ask(&server, ADMIN, "POST", path, &body).await;
        assert_eq!(code, 201, "{said}");
    }
    server
}

fn pod(name: &str, node: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}})
}

async fn ask(
    server: &Arc<Server>,
    (user, group): (&str, &str),
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, Value) {
    let form = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", form);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut request = request.body(Body::from(body)).unwrap();
    request.extensions_mut().insert(InProcess(User::new(user, &[group, AUTHENTICATED])));
    let answer = Box::pin(server.serve(request)).await;
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}

/// What the node is told: nothing for a success.
async fn told(server: &Arc<Server>, method: &str, path: &str, body: Value) -> String {
    let (code, said) = ask(server, NODE, method, path, &body).await;
    if code < 300 {
        String::new()
    } else {
        format!("{code} {}", said["message"].as_str().unwrap_or_default())
    }
}

#[tokio::test]
async fn a_node_writes_itself_but_not_what_keeps_it_apart() {
    let server = server().await;
    for (method, path, body, expected) in [
        ("PATCH", "/api/v1/nodes/n/status", json!({"status": {"phase": "Running"}}), ""),
        (
            "PATCH",
            "/api/v1/nodes/n",
            json!({"metadata": {"labels": {"kubernetes.io/hostname": "n", "example.com/a": "b"}}}),
            "",
        ),
        (
            "PATCH",
            "/api/v1/nodes/n",
            json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "node-restriction.kubernetes.io/a": "b"}}}),
            r#"403 nodes "n" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/a, node-role.kubernetes.io/control-plane"#,
        ),
        (
            "PATCH",
            "/api/v1/nodes/n",
            json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
            r#"403 nodes "n" is forbidden: node "n" is not allowed to modify taints"#,
        ),
        (
            "PATCH",
            "/api/v1/nodes/n",
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}}),
            r#"403 nodes "n" is forbidden: node "n" is not allowed to modify ownerReferences"#,
        ),
    ] {
        assert_eq!(told(&server, method, path, body).await, expected);
    }
    // The authorizer lets nodes create any Node; the plugin does not.
    assert_eq!(
        told(&server, "POST", "/api/v1/nodes", json!({"metadata": {"name": "x"}})).await,
        r#"403 nodes "x" is forbidden: node "n" is not allowed to modify node "x""#
    );
}

#[tokio::test]
async fn a_node_tells_of_and_ends_its_own_pods() {
    let server = server().await;
    let running = json!({"status": {"phase": "Running"}});
    assert_eq!(told(&server, "PATCH", &format!("{POD}/own/status"), running.clone()).await, "");
    let refused = told(&server, "PATCH", &format!("{POD}/other/status"), running).await;
    assert_eq!(
        refused,
        r#"403 pods "other" is forbidden: node "n" can only update pod status for pods with spec.nodeName set to itself"#
    );
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(
        told(&server, "PATCH", &format!("{POD}/own/status"), labels).await,
        r#"403 pods "own" is forbidden: node "n" cannot update labels through pod status"#
    );
    let eviction =
        |pod: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    assert_eq!(
        told(&server, "POST", &format!("{POD}/other/eviction"), eviction("other")).await,
        r#"403 pods "other" is forbidden: node n can only evict pods with spec.nodeName set to itself"#
    );
    assert_eq!(
        told(&server, "POST", &format!("{POD}/gone/eviction"), eviction("gone")).await,
        r#"404 pod "gone" not found"#
    );
    assert_eq!(
        told(&server, "DELETE", &format!("{POD}/other"), Value::Null).await,
        r#"403 pods "other" is forbidden: node "n" can only delete pods with spec.nodeName set to itself"#
    );
    assert_eq!(told(&server, "POST", &format!("{POD}/own/eviction"), eviction("own")).await, "");
    assert_eq!(
        told(&server, "POST", POD, pod("made", "n")).await,
        r#"403 pods "made" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n" can only create mirror pods"#
    );
}

#[tokio::test]
async fn a_node_mirrors_its_own_pods() {
    let server = server().await;
    let node = server.get("", "v1", "nodes", "", "n").await.unwrap();
    let mirror = |uid: &str| {
        let mut pod = pod("mirror", "n");
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        pod["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": uid, "controller": true}]);
        pod
    };
    assert_eq!(
        told(&server, "POST", POD, mirror("odd")).await,
        format!(r#"403 pods "mirror" is forbidden: node n UID mismatch: expected odd got {}"#, node.uid())
    );
    assert_eq!(told(&server, "POST", POD, mirror(node.uid())).await, "");
}

#[tokio::test]
async fn a_node_asks_tokens_for_its_pods_only_and_for_those_they_name() {
    let server = server().await;
    const TOKEN: &str = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = |name: &str, uid: &str, audiences: Value| json!({"spec": {"audiences": audiences, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}}});
    let own = server.get("", "v1", "pods", "default", "own").await.unwrap();
    let other = server.get("", "v1", "pods", "default", "other").await.unwrap();
    for (body, expected) in [
        (
            json!({"spec": {}}),
            r#"403 serviceaccounts "default" is forbidden: node requested token not bound to a pod"#,
        ),
        (request("own", own.uid(), json!([])), ""),
        (
            request("other", other.uid(), json!([])),
            // It does not get beyond the authorizer's idea of what is the node's, or not beyond ours.
            r#"403 serviceaccounts "default" is forbidden: node requested token bound to a pod scheduled on a different node"#,
        ),
        (
            request("own", own.uid(), json!(["vault"])),
            r#"403 serviceaccounts "default" is forbidden: audience "vault" not found in pod spec volume, system:node:n is not authorized to request tokens for this audience"#,
        ),
        (
            request("own", own.uid(), json!(["a", "b"])),
            r#"403 serviceaccounts "default" is forbidden: node may only request 0 or 1 audiences"#,
        ),
    ] {
        assert_eq!(told(&server, "POST", TOKEN, body).await, expected);
    }
}

#[tokio::test]
async fn a_node_keeps_its_own_lease_and_certificate() {
    let server = server().await;
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    assert_eq!(told(&server, "POST", LEASES, lease("n")).await, "");
    let refused = told(&server, "POST", LEASES, lease("m")).await;
    assert!(
        refused.contains("can only access node lease with the same name as the requesting node"),
        "{refused}"
    );
    // Whoever is no node is left alone.
    let (code, said) = ask(&server, ADMIN, "POST", LEASES, &lease("m")).await;
    assert_eq!(code, 201, "{said}");
    let nobody = ("system:node:", NODES);
    let (code, said) =
        ask(&server, nobody, "POST", "/api/v1/nodes", &json!({"metadata": {"name": "x"}})).await;
    assert_eq!(code, 403, "{said}");
}
