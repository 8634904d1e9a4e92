//! Goal: others say who somebody is and what they may do, and kubectl cannot tell. Method: a webhook on a port of this machine
//! that answers TokenReviews and SubjectAccessReviews.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
};

use e2e::{Cluster, tools};
use serde_json::{Value, json};

#[test]
fn webhooks_say_who_somebody_is_and_what_they_may_do() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("webhook.kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "webhook",
        "contexts": [{"name": "webhook", "context": {"cluster": "webhook", "user": ""}}],
        "clusters": [{"name": "webhook", "cluster": {"server": format!("http://127.0.0.1:{port}/review")}}],
    });
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let flags = [
        "--store=memory".to_owned(),
        flag("authentication-token-webhook-config-file", &kubeconfig),
        "--authorization-mode=Node,RBAC,Webhook".to_owned(),
        flag("authorization-webhook-config-file", &kubeconfig),
        "--authorization-webhook-version=v1".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let cluster = Cluster::up(&tools::kubectl().unwrap(), &flags).unwrap();
    // The administrator's certificate is not shown: the token alone says who asks.
    let admin: Value = serde_json::from_str(&cluster.kubectl("config view --raw -o json")).unwrap();
    let part = |path: &str| admin.pointer(path).and_then(Value::as_str).unwrap().to_owned();
    let server = part("/clusters/0/cluster/server");
    let theirs = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": admin.pointer("/clusters/0/cluster").unwrap()}],
        "users": [{"name": "u", "user": {"token": "anna's"}}],
    });
    let own = folder.path().join("anna.kubeconfig");
    std::fs::write(&own, theirs.to_string()).unwrap();
    let own = own.display();
    let said = cluster.try_kubectl(&format!("--kubeconfig={own} auth whoami -o json")).unwrap();
    assert!(said.whole().contains(r#""username": "anna""#), "{server}: {}", said.whole());
    let said = cluster.try_kubectl(&format!("--kubeconfig={own} get pods -n default")).unwrap();
    assert!(said.whole().contains("No resources found"), "{}", said.whole());
    let said = cluster.try_kubectl(&format!("--kubeconfig={own} get secrets -n default")).unwrap();
    let refused = r#"secrets is forbidden: User "anna" cannot list resource "secrets" in API group "" in the namespace "default": not hers"#;
    assert!(said.whole().contains(refused), "{}", said.whole());
}

/// One question, one answer, one connection.
fn answer(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut review: Value = serde_json::from_slice(&body).unwrap();
    let asked = |path: &str| review.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    review["status"] = if review["kind"] == "TokenReview" {
        let known = asked("/spec/token") == "anna's";
        json!({"authenticated": known, "user": {"username": if known { "anna" } else { "" }}})
    } else {
        let hers = asked("/spec/user") == "anna" && asked("/spec/resourceAttributes/resource") == "pods";
        json!({"allowed": hers, "reason": if hers { "" } else { "not hers" }})
    };
    let body = review.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    let _gone = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
}
