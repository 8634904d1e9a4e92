//! Requests to a whole server, and what is on record of them.

use std::{path::Path, time::Duration};

use axum::{body::Body, extract::State, routing::post};
use clap::Parser;
use http::Request;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    launch,
    server::{InProcess, Server},
};

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    audit: AuditFlags,
}

struct World {
    folder: tempfile::TempDir,
    server: Arc<Server>,
}

async fn world(policy: &str, flags: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{policy}")).unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let log = at("audit.log");
    let mut words = vec!["x".to_owned(), format!("--audit-policy-file={}", file.display())];
    if !flags.contains("--audit-log-path") {
        words.push(format!("--audit-log-path={log}"));
    }
    words.extend(flags.split_whitespace().map(str::to_owned));
    let setup = Program::try_parse_from(words).unwrap().audit.setup().unwrap();
    let runtime = Runtime::simulated("2026-01-02T03:04:05Z".parse().unwrap(), 1);
    let server = launch::in_memory_audited(&runtime, setup).await.unwrap();
    World { folder, server }
}

const ALL: &str = "rules: [{level: RequestResponse}]";
const ADMIN: &str = "admin";

impl World {
    async fn ask(&self, user: &str, line: &str, headers: &[(&str, &str)], body: &Value) -> u16 {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("audit-id", "the-id")
            .header("user-agent", "tester");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let mut request = request.body(body).unwrap();
        let groups: &[&str] = if user == ADMIN { &[MASTERS, AUTHENTICATED] } else { &[AUTHENTICATED] };
        if !user.is_empty() {
            request.extensions_mut().insert(InProcess(User::new(user, groups)));
        }
        let answer = Box::pin(self.server.serve(request)).await;
        assert_eq!(answer.headers()["audit-id"], "the-id");
        let code = answer.status().as_u16();
        // Of a watch only what there is at once.
        let _rest = tokio::time::timeout(Duration::from_secs(1), answer.into_body().collect()).await;
        code
    }

    /// What is on record, in order, without what changes from one run to the next.
    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The same of stages after the first.
    fn ends(&self) -> Vec<Value> {
        self.events().into_iter().filter(|it| it["stage"] != "RequestReceived").collect()
    }
}

fn secret() -> Value {
    json!({
        "kind": "Secret", "apiVersion": "v1",
        "metadata": {"name": "s", "namespace": "default"}, "stringData": {"key": "very-private"},
    })
}

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

#[tokio::test(start_paused = true)]
async fn a_get_is_on_record_when_it_comes_and_when_it_is_answered() {
    let world = world("rules: [{level: Metadata}]", "").await;
    let line = "GET /api/v1/namespaces/default?pretty=true";
    assert_eq!(world.ask(ADMIN, line, &[("x-forwarded-for", "192.0.2.7, x")], &Value::Null).await, 200);
    let found = world.events();
    let mut expected = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "the-id",
        "stage": "RequestReceived", "requestURI": "/api/v1/namespaces/default?pretty=true", "verb": "get",
        "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": ["192.0.2.7", "127.0.0.1"], "userAgent": "tester",
        "objectRef": {"resource": "namespaces", "namespace": "default", "name": "default", "apiVersion": "v1"},
        "requestReceivedTimestamp": found[0]["requestReceivedTimestamp"],
        "stageTimestamp": found[0]["requestReceivedTimestamp"],
    });
    assert_eq!(found[0], expected);
    expected["stage"] = json!("ResponseComplete");
    expected["stageTimestamp"] = found[1]["stageTimestamp"].clone();
    expected["responseStatus"] = json!({"metadata": {}, "code": 200});
    expected["annotations"] =
        json!({"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""});
    assert_eq!(found[1], expected);
    assert_eq!(found.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_create_names_its_object_and_shows_both_objects_at_the_highest_level() {
    let world = world(ALL, "").await;
    let body =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "b"}});
    let path = "/api/v1/namespaces/default/configmaps";
    assert_eq!(world.ask(ADMIN, &format!("POST {path}"), &[], &body).await, 201);
    let end = world.ends().remove(0);
    assert_eq!(end["objectRef"]["name"], "c");
    assert_eq!(end["requestObject"]["data"], json!({"a": "b"}));
    assert!(end["responseObject"]["metadata"]["uid"].is_string());
    assert_eq!(end["responseStatus"], json!({"metadata": {}, "code": 201}));
    // An update says which object it means.
    let mut object = end["responseObject"].clone();
    object["data"]["a"] = json!("c");
    assert_eq!(world.ask(ADMIN, &format!("PUT {path}/c"), &[], &object).await, 200);
    let end = world.ends().remove(1);
    assert_eq!(end["verb"], "update");
    assert_eq!(end["objectRef"]["uid"], object["metadata"]["uid"]);
    assert_eq!(end["objectRef"]["resourceVersion"], object["metadata"]["resourceVersion"]);
    assert_eq!(end["responseObject"]["data"], json!({"a": "c"}));
    // A patch is shown as it came.
    let patch = [("content-type", "application/merge-patch+json")];
    world.server.runtime.random.uuid();
    let answered = {
        let request =
            Request::patch(format!("{path}/c")).header(patch[0].0, patch[0].1).header("audit-id", "p");
        let mut request = request.body(Body::from(r#"{"data":{"a":null}}"#)).unwrap();
        request.extensions_mut().insert(InProcess(User::new(ADMIN, &[MASTERS])));
        Box::pin(world.server.serve(request)).await.status()
    };
    assert_eq!(answered, 200);
    assert_eq!(world.ends()[2]["requestObject"], json!({"data": {"a": null}}));
    // A list, in any form, as JSON.
    let protobuf = [("accept", "application/vnd.kubernetes.protobuf")];
    assert_eq!(world.ask(ADMIN, &format!("GET {path}"), &protobuf, &Value::Null).await, 200);
    assert_eq!(world.ends()[3]["responseObject"]["kind"], "ConfigMapList");
    // A delete: its options, and the Status that answers it.
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    assert_eq!(world.ask(ADMIN, &format!("DELETE {path}/c"), &[], &options).await, 200);
    let end = world.ends().remove(4);
    assert_eq!(end["requestObject"]["propagationPolicy"], "Background");
    assert_eq!(end["responseStatus"]["status"], "Success");
    assert_eq!(end["responseStatus"]["details"]["name"], "c");
}

#[tokio::test(start_paused = true)]
async fn a_secrets_value_is_on_record_only_where_objects_are() {
    for (level, shown) in [("Metadata", false), ("Request", true), ("RequestResponse", true)] {
        let world = world(&format!("rules: [{{level: {level}}}]"), "").await;
        assert_eq!(world.ask(ADMIN, &format!("POST {SECRETS}"), &[], &secret()).await, 201);
        assert_eq!(world.ask(ADMIN, &format!("GET {SECRETS}/s"), &[], &Value::Null).await, 200);
        assert_eq!(world.ask(ADMIN, &format!("POST {SECRETS}"), &[], &secret()).await, 409);
        let text = std::fs::read_to_string(world.folder.path().join("audit.log")).unwrap();
        let encoded = "dmVyeS1wcml2YXRl";
        assert_eq!(text.contains("very-private") || text.contains(encoded), shown, "{level}");
        assert!(text.contains(r#""name":"s""#), "{level}");
    }
}

#[tokio::test(start_paused = true)]
async fn managed_fields_may_be_left_out() {
    for (policy, there) in [("", true), ("omitManagedFields: true\n", false)] {
        let world = world(&format!("{policy}{ALL}"), "").await;
        world.ask(ADMIN, &format!("POST {SECRETS}"), &[], &secret()).await;
        world.ask(ADMIN, &format!("GET {SECRETS}"), &[], &Value::Null).await;
        let ends = world.ends();
        assert_eq!(ends[0]["responseObject"]["metadata"]["managedFields"].is_array(), there);
        assert_eq!(ends[1]["responseObject"]["items"][0]["metadata"]["managedFields"].is_array(), there);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_who_was_refused_what() {
    let world = world("rules: [{level: Metadata}]", "").await;
    assert_eq!(world.ask("jane", &format!("GET {SECRETS}"), &[], &Value::Null).await, 403);
    let end = world.ends().remove(0);
    assert_eq!(end["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(end["responseStatus"]["status"], "Failure");
    assert_eq!(end["responseStatus"]["reason"], "Forbidden");
    assert_eq!(end["responseStatus"]["code"], 403);
    assert_eq!(end["responseStatus"]["details"], json!({"kind": "secrets"}));
    assert!(end["responseStatus"]["message"].as_str().unwrap().contains("User \"jane\" cannot list"));
}

#[tokio::test(start_paused = true)]
async fn acting_as_somebody_else_is_on_record_with_both() {
    let world = world("rules: [{level: Metadata}]", "").await;
    let headers = [("impersonate-user", "jane"), ("impersonate-group", "devs")];
    assert_eq!(world.ask(ADMIN, &format!("GET {SECRETS}"), &headers, &Value::Null).await, 403);
    let [first, end] = world.events().try_into().unwrap();
    assert_eq!(first["impersonatedUser"], Value::Null);
    assert_eq!(end["user"]["username"], "admin");
    assert_eq!(
        end["impersonatedUser"],
        json!({"username": "jane", "groups": ["devs", "system:authenticated"]})
    );
    // Who may not is refused, which is on record too.
    assert_eq!(world.ask("john", &format!("GET {SECRETS}"), &headers, &Value::Null).await, 403);
    assert_eq!(world.ends()[1]["impersonatedUser"], Value::Null);
    assert_eq!(world.ends()[1]["responseStatus"]["code"], 403);
}

#[tokio::test(start_paused = true)]
async fn of_callers_nobody_believes_there_is_one_event() {
    let world = world("rules: [{level: RequestResponse}]", "").await;
    let headers = [("authorization", "Bearer nonsense")];
    assert_eq!(world.ask("", "GET /api/v1/pods", &headers, &Value::Null).await, 401);
    let [only] = world.events().try_into().unwrap();
    assert_eq!(only["stage"], "ResponseStarted");
    assert_eq!(only["user"], json!({}));
    assert_eq!(only["responseStatus"]["reason"], "Unauthorized");
    assert_eq!(only["responseStatus"]["code"], 401);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_on_record_when_it_begins_and_when_it_ends() {
    let world = world(ALL, "").await;
    let line = "GET /api/v1/namespaces/default/pods?watch=true&timeoutSeconds=60";
    assert_eq!(world.ask(ADMIN, line, &[], &Value::Null).await, 200);
    let events = world.events();
    let stages: Vec<&Value> = events.iter().map(|it| &it["stage"]).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    assert_eq!(events[2]["verb"], "watch");
    assert_eq!(events[2]["responseStatus"], json!({"metadata": {}, "code": 200}));
    assert_eq!(events[2]["responseObject"], Value::Null);
    assert!(events[1]["stageTimestamp"].as_str() < events[2]["stageTimestamp"].as_str());
}

#[tokio::test(start_paused = true)]
async fn stages_that_are_left_out_and_requests_nobody_names_are_not_on_record() {
    let policy = "omitStages: [RequestReceived]\nrules: [{level: None, nonResourceURLs: ['/version']}, {level: Metadata}]";
    let world = world(policy, "").await;
    world.ask(ADMIN, "GET /version", &[], &Value::Null).await;
    world.ask(ADMIN, "GET /api", &[], &Value::Null).await;
    let [only] = world.events().try_into().unwrap();
    assert_eq!(only["requestURI"], "/api");
    let text = String::from_utf8(world.server.metrics.render()).unwrap();
    for line in [
        r#"apiserver_audit_event_total 1"#,
        r#"apiserver_audit_level_total{level="None"} 1"#,
        r#"apiserver_audit_level_total{level="Metadata"} 1"#,
    ] {
        assert!(text.lines().any(|it| it == line), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_pods_would_violate_is_noted() {
    let world = world("rules: [{level: Metadata}]", "").await;
    let labels = json!({"pod-security.kubernetes.io/audit": "baseline"});
    let namespace =
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n", "labels": labels}});
    world.ask(ADMIN, "POST /api/v1/namespaces", &[], &namespace).await;
    let account = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}});
    world.ask(ADMIN, "POST /api/v1/namespaces/n/serviceaccounts", &[], &account).await;
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"},
        "spec": {"hostPID": true, "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(world.ask(ADMIN, "POST /api/v1/namespaces/n/pods", &[], &pod).await, 201);
    let notes = world.ends().remove(2)["annotations"].take();
    assert_eq!(notes["pod-security.kubernetes.io/enforce-policy"], "privileged:latest");
    assert_eq!(
        notes["pod-security.kubernetes.io/audit"],
        r#"would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)"#
    );
}

#[tokio::test(start_paused = true)]
async fn what_policies_only_audit_is_noted() {
    let world = world("rules: [{level: Metadata, verbs: [create]}]", "").await;
    let base = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic";
    let policy = json!({
        "kind": "ValidatingAdmissionPolicy", "apiVersion": "admissionregistration.k8s.io/v1",
        "metadata": {"name": "p.example"},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["configmaps"]}]},
            "validations": [{"expression": "true"}, {"expression": "false", "message": "never <right>"}],
            "auditAnnotations": [{"key": "name", "valueExpression": "string(object.metadata.name)"},
                {"key": "nothing", "valueExpression": "''"}],
        },
    });
    assert_eq!(world.ask(ADMIN, &format!("POST {base}ies"), &[], &policy).await, 201);
    let binding = json!({
        "kind": "ValidatingAdmissionPolicyBinding", "apiVersion": "admissionregistration.k8s.io/v1",
        "metadata": {"name": "b"}, "spec": {"policyName": "p.example", "validationActions": ["Audit"]},
    });
    assert_eq!(world.ask(ADMIN, &format!("POST {base}ybindings"), &[], &binding).await, 201);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}});
    let line = "POST /api/v1/namespaces/default/configmaps";
    assert_eq!(world.ask(ADMIN, line, &[], &object).await, 201);
    let notes = world.ends().pop().unwrap()["annotations"].take();
    assert_eq!(notes["p.example/name"], "c");
    assert_eq!(notes["p.example/nothing"], Value::Null);
    let failure = notes["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(failure).unwrap(),
        json!([{"message": "never <right>", "policy": "p.example", "binding": "b", "expressionIndex": 1,
            "validationActions": ["Audit"]}])
    );
}

#[tokio::test(start_paused = true)]
async fn large_events_lose_their_objects_and_then_themselves() {
    let flags = "--audit-log-truncate-enabled --audit-log-truncate-max-event-size=1500";
    let world = world(ALL, flags).await;
    let object = |size: usize| json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "x".repeat(size)}});
    let line = "POST /api/v1/namespaces/default/configmaps";
    world.ask(ADMIN, line, &[], &object(2000)).await;
    let end = world.ends().remove(0);
    assert_eq!(end["annotations"]["audit.k8s.io/truncated"], "true");
    assert_eq!((&end["requestObject"], &end["responseObject"]), (&Value::Null, &Value::Null));
    let long = format!("GET /api/v1/pods?labelSelector={}", "x".repeat(2000));
    world.ask(ADMIN, &long, &[], &Value::Null).await;
    assert_eq!(world.ends().len(), 1);
    let text = String::from_utf8(world.server.metrics.render()).unwrap();
    assert!(text.contains(r#"apiserver_audit_error_total{plugin="truncate"} 2"#));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_must_be_on_record_fails_if_it_cannot_be() {
    let world =
        world("rules: [{level: Metadata}]", "--audit-log-mode=blocking-strict --audit-log-maxsize=1").await;
    let long = "x".repeat(1024 * 1024);
    let line = "GET /api/v1/pods";
    assert_eq!(world.ask(ADMIN, line, &[("impersonate-extra-a", "b")], &Value::Null).await, 400);
    let before = world.events().len();
    // A line longer than the log may be.
    let answer = {
        let request = Request::get(format!("/api/v1/pods?labelSelector={long}")).header("audit-id", "i");
        match request.body(Body::empty()) {
            Ok(mut request) => {
                request.extensions_mut().insert(InProcess(User::new(ADMIN, &[MASTERS])));
                Some(Box::pin(world.server.serve(request)).await)
            }
            // Such a request cannot even be made.
            Err(_) => None,
        }
    };
    if let Some(answer) = answer {
        assert_eq!(answer.status(), 500);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).ends_with(": failed to store audit event\n"));
    }
    assert_eq!(world.events().len(), before);
}

/// A server that is sent events. It fails the first time.
async fn collector(received: Arc<Mutex<Vec<Value>>>) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new()
        .route(
            "/audit",
            post(async |State(received): State<Arc<Mutex<Vec<Value>>>>, body: bytes::Bytes| {
                let list: Value = serde_json::from_slice(&body).unwrap();
                let mut received = received.lock();
                received.push(list);
                if received.len() == 1 { http::StatusCode::BAD_GATEWAY } else { http::StatusCode::OK }
            }),
        )
        .with_state(received);
    let tasks = runtime::Tasks::new();
    tasks.spawn("collector", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(app.clone());
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        }
    });
    std::mem::forget(tasks);
    address
}

fn kubeconfig(folder: &Path, address: std::net::SocketAddr) -> std::path::PathBuf {
    let file = folder.join("webhook.yaml");
    let text = format!("clusters: [{{name: c, cluster: {{server: 'http://{address}/audit'}}}}]");
    std::fs::write(&file, text).unwrap();
    file
}

#[tokio::test]
async fn events_are_sent_in_batches_and_again_if_they_did_not_arrive() {
    let received = Arc::default();
    let address = collector(Arc::clone(&received)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = kubeconfig(folder.path(), address);
    let flags = format!(
        "--audit-webhook-config-file={} --audit-webhook-batch-max-wait=100ms --audit-webhook-initial-backoff=10ms",
        file.display()
    );
    let world = world("omitStages: [RequestReceived]\nrules: [{level: Metadata}]", &flags).await;
    for _ in 0..3 {
        world.ask(ADMIN, "GET /version", &[], &Value::Null).await;
    }
    let arrived = |received: &Mutex<Vec<Value>>| -> usize {
        received.lock().iter().skip(1).map(|list| list["items"].as_array().unwrap().len()).sum()
    };
    for _ in 0..200 {
        if arrived(&received) >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(arrived(&received), 3);
    let first = received.lock()[0].clone();
    assert_eq!((&first["kind"], &first["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
    assert_eq!(first, received.lock()[1]);
    assert_eq!(world.events().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn events_that_find_the_queue_full_are_lost_and_counted() {
    /// Takes its time.
    #[derive(Debug)]
    struct Slow;

    impl Backend for Slow {
        fn process(&self, _: Vec<Arc<Event>>) -> Done {
            Done::Later(Box::pin(async {
                tokio::time::sleep(Duration::from_secs(60)).await;
                true
            }))
        }
    }

    let metrics = crate::observe::metrics::Metrics::new();
    let complaints = backend::Complaints(metrics.audit.clone());
    let options = batch::Options {
        buffer_size: 2,
        batch_max: 1,
        wait_max: Duration::ZERO,
        throttle: None,
        parallel: false,
    };
    let tasks = runtime::Tasks::new();
    let batching = batch::Batching::start(Arc::new(Slow), options, complaints, &tasks);
    for _ in 0..6 {
        batching.process(vec![Arc::default()]);
        tokio::task::yield_now().await;
    }
    // One is on its way, two wait.
    assert_eq!(metrics.audit.errors.with_label_values(&["buffered"]).get(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_sent_before_the_end() {
    #[derive(Debug, Default)]
    struct Keeps(Arc<Mutex<Vec<usize>>>);

    impl Backend for Keeps {
        fn process(&self, events: Vec<Arc<Event>>) -> Done {
            self.0.lock().push(events.len());
            Done::Now(true)
        }
    }

    let metrics = crate::observe::metrics::Metrics::new();
    let complaints = backend::Complaints(metrics.audit.clone());
    let options = batch::Options {
        buffer_size: 100,
        batch_max: 2,
        wait_max: Duration::from_secs(600),
        throttle: Some((1.0, 1.0)),
        parallel: false,
    };
    let tasks = runtime::Tasks::new();
    let kept = Keeps::default();
    let sizes = Arc::clone(&kept.0);
    let batching = batch::Batching::start(Arc::new(kept), options, complaints, &tasks);
    for _ in 0..5 {
        batching.process(vec![Arc::default()]);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(*sizes.lock(), [2, 2]);
    tasks.drain(Duration::from_secs(10)).await;
    assert_eq!(*sizes.lock(), [2, 2, 1]);
}
