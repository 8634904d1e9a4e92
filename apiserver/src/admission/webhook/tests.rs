//! Webhooks that are asked: a real server of reviews behind TLS, and whole requests.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use axum::body::Body;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use runtime::Runtime;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    launch,
    server::{InProcess, Server},
    tls::authority::{Authority, Subject},
};

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// How the webhook answers at a path: from the request in the review to the response, or to bytes that are no review.
enum Reply {
    Review(Value),
    Raw(u16, &'static [u8]),
    Never,
}

/// A webhook server, and what it was asked.
struct Webhook {
    url: String,
    authority: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// Whom it writes to before it answers, if it is asked to.
    calls_back: Arc<Mutex<Option<Arc<Server>>>>,
}

fn reply(path: &str, request: &Value) -> Reply {
    let patch = |patch: Value| {
        let patch = BASE64_STANDARD.encode(patch.to_string());
        Reply::Review(json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
    };
    match path {
        "/allow" => Reply::Review(json!({"allowed": true, "warnings": ["mind the gap"]})),
        "/deny" => Reply::Review(json!({"allowed": false, "status": {"code": 418, "message": "not today"}})),
        "/label" => patch(json!([{"op": "add", "path": "/metadata/labels", "value": {"by": "webhook"}}])),
        "/count" => match request["object"]["kind"].as_str().unwrap() {
            "Scale" => patch(json!([{"op": "replace", "path": "/spec/replicas", "value": 5}])),
            "PodExecOptions" => patch(json!([{"op": "replace", "path": "/container", "value": "nosuch"}])),
            "Binding" => {
                patch(json!([{"op": "add", "path": "/metadata/annotations", "value": {"by": "webhook"}}]))
            }
            _ => Reply::Review(json!({"allowed": true})),
        },
        "/data" if request["object"]["data"]["n"].is_null() => {
            patch(json!([{"op": "add", "path": "/data", "value": {"n": "1"}}]))
        }
        "/data" => Reply::Review(json!({"allowed": true})),
        "/bad-patch" => patch(json!([{"op": "remove", "path": "/nosuch/field"}])),
        "/nonsense" => Reply::Raw(200, b"<html>"),
        "/empty" => Reply::Raw(200, b"{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\"}"),
        "/broken" => Reply::Raw(500, b"oops"),
        "/loop" => Reply::Review(json!({"allowed": true})),
        "/hang" => Reply::Never,
        "/many" if request["name"] == "large" => {
            patch(json!([{"op": "add", "path": "/data", "value": {"n": "x".repeat(2 << 20)}}]))
        }
        "/many" => patch(vec![json!({"op": "test", "path": "/kind", "value": "ConfigMap"}); 10_001].into()),
        other => panic!("{other}"),
    }
}

async fn answer(
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    calls_back: Arc<Mutex<Option<Arc<Server>>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut review: Value = serde_json::from_slice(&body).unwrap();
    let request = review["request"].take();
    if path == "/loop" {
        asked.lock().push((path.clone(), Value::Null));
        let server = calls_back.lock().clone().unwrap();
        let name = format!("{}-again", asked.lock().len());
        Box::pin(create(&server, &name)).await;
    }
    let (code, body) = match reply(&path, &request) {
        Reply::Raw(code, body) => (code, body.to_vec()),
        Reply::Never => std::future::pending().await,
        Reply::Review(mut response) => {
            response["uid"] = request["uid"].clone();
            review["response"] = response;
            (200, review.to_string().into_bytes())
        }
    };
    asked.lock().push((path, request));
    Ok(Response::builder().status(code).body(Full::new(Bytes::from(body))).unwrap())
}

async fn webhook(runtime: &Runtime) -> Webhook {
    let now = runtime.clock.now();
    let (authority, _) = Authority::generate("webhooks", now).unwrap();
    let names = BTreeSet::from(["127.0.0.1".to_owned(), "localhost".to_owned()]);
    let issued = authority.issue(&Subject::server("webhook", names), now).unwrap();
    let chain = rustls_pemfile::certs(&mut issued.certificate.as_bytes()).map(Result::unwrap).collect();
    let key = rustls_pemfile::private_key(&mut issued.key.as_bytes()).unwrap().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (tasks, asked_there) = (runtime.tasks.clone(), Arc::clone(&asked));
    let calls_back = Arc::default();
    let calls_back_there = Arc::clone(&calls_back);
    runtime.tasks.spawn("webhook of a test", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, asked) = (acceptor.clone(), Arc::clone(&asked_there));
            let calls_back = Arc::clone(&calls_back_there);
            tasks.spawn("connection of a test", async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service =
                    service_fn(move |request| answer(Arc::clone(&asked), Arc::clone(&calls_back), request));
                let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Webhook { url, authority: BASE64_STANDARD.encode(authority.pem()), asked, calls_back }
}

impl Webhook {
    /// A webhook of a configuration: about ConfigMaps, unless `more` says otherwise.
    fn hook(&self, name: &str, path: &str, more: Value) -> Value {
        let mut hook = json!({
            "name": format!("{name}.example.com"),
            "clientConfig": {"url": format!("{}{path}", self.url), "caBundle": self.authority},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                "operations": ["CREATE", "UPDATE", "DELETE"]}],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 1,
        });
        crate::resources::shared::testing::merge(&mut hook, more);
        hook
    }

    fn times(&self, path: &str) -> usize {
        self.asked.lock().iter().filter(|(asked, _)| asked == path).count()
    }

    fn last(&self) -> Value {
        self.asked.lock().last().unwrap().1.clone()
    }
}

async fn send(server: &Arc<Server>, method: &str, path: &str, body: &Value) -> (u16, Value, Vec<String>) {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let mut request = request.body(body).unwrap();
    request.extensions_mut().insert(InProcess(User::new("tester", &[MASTERS, AUTHENTICATED])));
    let answer = Box::pin(server.serve(request)).await;
    let code = answer.status().as_u16();
    let warnings = answer.headers().get_all("warning").iter();
    let warnings = warnings.map(|it| it.to_str().unwrap().to_owned()).collect();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap(), warnings)
}

/// Configures webhooks, and waits until they are known.
async fn configure(server: &Arc<Server>, kind: &str, name: &str, hooks: Vec<Value>) {
    let plural = format!("{}s", kind.to_lowercase());
    let body = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": name}, "webhooks": hooks});
    let (code, answer, _) = send(server, "POST", &format!("{CONFIGURATIONS}/{plural}"), &body).await;
    assert_eq!(code, 201, "{answer}");
    server.list("admissionregistration.k8s.io", "v1", &plural, "").await.unwrap();
}

const MUTATING: &str = "MutatingWebhookConfiguration";
const VALIDATING: &str = "ValidatingWebhookConfiguration";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

async fn create(server: &Arc<Server>, name: &str) -> (u16, Value, Vec<String>) {
    send(server, "POST", MAPS, &map(name)).await
}

async fn fresh() -> (Runtime, Arc<Server>, Webhook) {
    let runtime = Runtime::system();
    let server = launch::in_memory(&runtime).await.unwrap();
    let webhook = webhook(&runtime).await;
    (runtime, server, webhook)
}

#[tokio::test]
async fn a_webhook_changes_what_is_written_and_sees_it_as_it_was() {
    let (_runtime, server, webhook) = fresh().await;
    let hooks = vec![webhook.hook("a", "/label", json!({}))];
    configure(&server, MUTATING, "w", hooks).await;
    let (code, made, _) = create(&server, "m").await;
    assert_eq!((code, &made["metadata"]["labels"]["by"]), (201, &json!("webhook")));
    let asked = webhook.last();
    assert_eq!(asked["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(asked["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!(asked["operation"], "CREATE");
    assert_eq!(asked["namespace"], "default");
    assert_eq!(asked["name"], "m");
    assert_eq!(asked["oldObject"], Value::Null);
    assert_eq!(asked["object"]["kind"], "ConfigMap");
    assert_eq!(asked["userInfo"]["username"], "tester");
    assert_eq!(asked["options"]["kind"], "CreateOptions");
    let (code, ..) = send(&server, "DELETE", &format!("{MAPS}/m"), &Value::Null).await;
    assert_eq!(code, 500, "a patch of what goes is an error");
    let asked = webhook.last();
    assert_eq!((&asked["object"], &asked["oldObject"]["metadata"]["name"]), (&Value::Null, &json!("m")));
}

#[tokio::test]
async fn a_webhook_is_asked_again_about_what_others_changed_if_it_wants_to() {
    let (_runtime, server, webhook) = fresh().await;
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    let hooks = vec![webhook.hook("a", "/allow", again), webhook.hook("b", "/data", json!({}))];
    configure(&server, MUTATING, "w", hooks).await;
    let (code, made, warnings) = create(&server, "m").await;
    assert_eq!((code, &made["data"]["n"]), (201, &json!("1")));
    assert_eq!((webhook.times("/allow"), webhook.times("/data")), (2, 1));
    assert_eq!(warnings, [r#"299 - "mind the gap""#]);
    assert_eq!(webhook.last()["object"]["data"]["n"], "1", "the second time it sees the change");
}

#[tokio::test]
async fn a_webhook_refuses_in_its_own_words() {
    let (_runtime, server, webhook) = fresh().await;
    configure(&server, VALIDATING, "w", vec![webhook.hook("d", "/deny", json!({}))]).await;
    let (code, status, _) = create(&server, "m").await;
    assert_eq!(code, 418);
    assert_eq!(status["message"], r#"admission webhook "d.example.com" denied the request: not today"#);
}

#[tokio::test]
async fn failures_refuse_the_write_unless_they_are_to_be_ignored() {
    let (_runtime, server, webhook) = fresh().await;
    for (path, why) in [
        ("/nonsense", "failed to call webhook: couldn't get version/kind; json parse error: "),
        ("/empty", "received invalid webhook response: webhook response was absent"),
        (
            "/broken",
            r#"failed to call webhook: an error on the server ("oops") has prevented the request from succeeding"#,
        ),
        ("/hang", "context deadline exceeded"),
    ] {
        let name = path.trim_start_matches('/');
        configure(&server, VALIDATING, name, vec![webhook.hook("f", path, json!({}))]).await;
        let (code, status, _) = create(&server, "m").await;
        let message = status["message"].as_str().unwrap();
        assert_eq!(code, 500, "{message}");
        assert!(
            message.starts_with(r#"Internal error occurred: failed calling webhook "f.example.com": "#),
            "{message}"
        );
        assert!(message.contains(why), "{message}");
        let configuration = format!("{CONFIGURATIONS}/validatingwebhookconfigurations/{name}");
        let (code, ..) = send(&server, "DELETE", &configuration, &Value::Null).await;
        assert_eq!(code, 200);
        let open = webhook.hook("f", path, json!({"failurePolicy": "Ignore"}));
        configure(&server, VALIDATING, &format!("{name}-open"), vec![open]).await;
        assert_eq!(create(&server, name).await.0, 201, "{path}");
        let configuration = format!("{configuration}-open");
        assert_eq!(send(&server, "DELETE", &configuration, &Value::Null).await.0, 200);
    }
    configure(
        &server,
        MUTATING,
        "p",
        vec![webhook.hook("p", "/bad-patch", json!({"failurePolicy": "Ignore"}))],
    )
    .await;
    let (code, status, _) = create(&server, "patched").await;
    assert_eq!(
        (code, &status["reason"]),
        (500, &json!("InternalError")),
        "a patch that cannot be applied is no failure to call"
    );
}

#[tokio::test]
async fn who_cannot_be_reached_is_told_of_by_name() {
    let (_runtime, server, webhook) = fresh().await;
    let service = json!({"url": null, "service": {"namespace": "default", "name": "nosuch", "path": "/m"}});
    let mut hook = webhook.hook("s", "/m", json!({"clientConfig": service}));
    hook["clientConfig"].as_object_mut().unwrap().remove("url");
    configure(&server, VALIDATING, "w", vec![hook]).await;
    let (code, status, _) = create(&server, "m").await;
    assert_eq!(code, 500);
    assert_eq!(
        status["message"],
        r#"Internal error occurred: failed calling webhook "s.example.com": failed to call webhook: Post "https://nosuch.default.svc:443/m?timeout=1s": service "nosuch" not found"#
    );
    // Configurations are exempt: they could not be removed otherwise.
    let all = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}]);
    let mut hook = webhook.hook("all", "/hang", json!({}));
    hook["rules"] = all;
    configure(&server, VALIDATING, "all", vec![hook]).await;
    for name in ["w", "all"] {
        let path = format!("{CONFIGURATIONS}/validatingwebhookconfigurations/{name}");
        assert_eq!(send(&server, "DELETE", &path, &Value::Null).await.0, 200);
    }
}

#[tokio::test]
async fn selectors_and_dry_runs_keep_webhooks_from_being_asked() {
    let (_runtime, server, webhook) = fresh().await;
    let elsewhere =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}});
    let labelled =
        json!({"objectSelector": {"matchLabels": {"asked": "yes"}}, "sideEffects": "NoneOnDryRun"});
    let hooks = vec![webhook.hook("n", "/deny", elsewhere), webhook.hook("o", "/deny", labelled)];
    configure(&server, VALIDATING, "w", hooks).await;
    assert_eq!(create(&server, "m").await.0, 201);
    let mut asked = map("asked");
    asked["metadata"]["labels"] = json!({"asked": "yes"});
    assert_eq!(send(&server, "POST", MAPS, &asked).await.0, 418);
    assert_eq!(send(&server, "POST", &format!("{MAPS}?dryRun=All"), &asked).await.0, 418);
    assert_eq!(webhook.last()["dryRun"], true);
}

#[tokio::test]
async fn rules_mean_other_versions_too_and_the_object_is_shown_in_theirs() {
    let (_runtime, server, webhook) = fresh().await;
    let rules = json!([{"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["horizontalpodautoscalers"]}]);
    let with = |policy: &str| {
        let mut hook = webhook.hook("v", "/label", json!({"matchPolicy": policy}));
        hook["rules"] = rules.clone();
        hook
    };
    configure(&server, MUTATING, "w", vec![with("Equivalent")]).await;
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
    let (code, made, _) = send(&server, "POST", path, &scaler).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["metadata"]["labels"]["by"], "webhook");
    assert_eq!(made["apiVersion"], "autoscaling/v2");
    let asked = webhook.last();
    assert_eq!(asked["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(asked["object"]["spec"]["targetCPUUtilizationPercentage"], 50);
    assert_eq!(asked["kind"]["version"], "v1");
    assert_eq!(asked["requestKind"]["version"], "v2");
}

#[tokio::test]
async fn rules_mean_other_versions_of_custom_resources_too() {
    let (_runtime, server, webhook) = fresh().await;
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version = |name: &str, stored: bool, served: bool| json!({"name": name, "served": served, "storage": stored, "schema": schema});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [version("v1", true, true), version("v1beta1", false, true), version("v1alpha1", false, false)]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(send(&server, "POST", definitions, &definition).await.0, 201);
    let thing = |name: &str| json!({"apiVersion": "example.com/v1beta1", "kind": "Thing", "metadata": {"name": name}});
    let path = "/apis/example.com/v1beta1/namespaces/default/things";
    while send(&server, "POST", path, &thing("first")).await.0 == 404 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let hook = |version: &str, policy: &str| {
        let mut hook = webhook.hook("v", "/label", json!({"matchPolicy": policy}));
        hook["rules"] = json!([{"apiGroups": ["example.com"], "apiVersions": [version], "operations": ["CREATE"],
            "resources": ["things"]}]);
        hook
    };
    for (name, meant, policy, shown) in [
        ("a", "v1", "Equivalent", Some("v1")),
        ("b", "v1beta1", "Equivalent", Some("v1beta1")),
        ("c", "v1", "Exact", None),
        ("d", "v1alpha1", "Equivalent", None),
    ] {
        configure(&server, MUTATING, name, vec![hook(meant, policy)]).await;
        let (code, made, _) = send(&server, "POST", path, &thing(name)).await;
        assert_eq!((code, &made["apiVersion"]), (201, &json!("example.com/v1beta1")), "{made}");
        assert_eq!(made["metadata"]["labels"]["by"], json!(shown.map(|_| "webhook")), "{name}");
        if let Some(shown) = shown {
            let asked = webhook.last();
            assert_eq!(asked["object"]["apiVersion"], format!("example.com/{shown}"));
            assert_eq!(asked["kind"]["version"], shown);
            assert_eq!(asked["requestKind"]["version"], "v1beta1");
        }
        let configuration =
            format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}");
        assert_eq!(send(&server, "DELETE", &configuration, &Value::Null).await.0, 200);
    }
}

#[tokio::test]
async fn conditions_say_what_a_webhook_is_asked_about() {
    let (_runtime, server, webhook) = fresh().await;
    let with = |name: &str, expression: &str, more: Value| {
        let mut hook = webhook.hook(name, "/deny", more);
        hook["matchConditions"] = json!([{"name": "c", "expression": expression}]);
        hook
    };
    let hooks = vec![
        with("big", "object.metadata.name.startsWith('big')", json!({})),
        with(
            "may",
            "!authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()",
            json!({}),
        ),
        with("who", "request.userInfo.username == 'somebody else'", json!({})),
        with("open", "object.data.nosuch == 'x'", json!({"failurePolicy": "Ignore"})),
    ];
    configure(&server, VALIDATING, "w", hooks).await;
    assert_eq!(create(&server, "small").await.0, 201);
    assert_eq!(create(&server, "big").await.0, 418);
    configure(&server, VALIDATING, "x", vec![with("closed", "object.data.nosuch == 'x'", json!({}))]).await;
    let (code, status, _) = create(&server, "other").await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        r#"configmaps "other" is forbidden: expression 'object.data.nosuch == 'x'' resulted in error: no such key: data"#
    );
    let text = String::from_utf8(server.metrics.render()).unwrap();
    let labels = |name: &str| {
        format!(r#"{{kind="webhook",name="{name}.example.com",operation="CREATE",type="validating"}}"#)
    };
    for (metric, name, count) in [
        ("exclusions_total", "who", 3),
        ("exclusions_total", "big", 2),
        ("exclusions_total", "open", 3),
        ("evaluation_errors_total", "open", 3),
        ("evaluation_errors_total", "closed", 1),
        ("evaluation_seconds_count", "who", 3),
    ] {
        let line = format!("apiserver_admission_match_condition_{metric}{} {count}\n", labels(name));
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[tokio::test]
async fn a_webhook_that_writes_what_it_is_asked_about_ends_with_its_time() {
    let (_runtime, server, webhook) = fresh().await;
    *webhook.calls_back.lock() = Some(Arc::clone(&server));
    configure(&server, VALIDATING, "w", vec![webhook.hook("l", "/loop", json!({}))]).await;
    let (code, status, _) = create(&server, "m").await;
    assert_eq!(code, 500);
    assert!(status["message"].as_str().unwrap().contains("context deadline exceeded"), "{status}");
    // Whoever was asked last waits no longer than a webhook may take, and then nobody asks any more.
    let mut count = webhook.times("/loop");
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let now = webhook.times("/loop");
        if now == count {
            break;
        }
        count = now;
        assert!(count < 10_000, "it goes on and on");
    }
}

#[tokio::test]
async fn a_patch_may_be_large_but_not_have_too_many_operations() {
    let (_runtime, server, webhook) = fresh().await;
    configure(&server, MUTATING, "w", vec![webhook.hook("h", "/many", json!({}))]).await;
    let (code, status, _) = create(&server, "m").await;
    assert_eq!(code, 500, "{status}");
    let (code, status, _) = create(&server, "large").await;
    assert_eq!(code, 422, "what a webhook makes of an object is judged as any other: {status}");
}

#[tokio::test]
async fn what_subresources_take_is_shown_and_changed_in_its_own_kind() {
    let (_runtime, server, webhook) = fresh().await;
    let rules = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"],
        "resources": ["*/scale", "pods/binding", "pods/eviction", "serviceaccounts/token", "pods/exec"]}]);
    let mut hook = webhook.hook("s", "/count", json!({}));
    hook["rules"] = rules.clone();
    configure(&server, MUTATING, "w", vec![hook]).await;
    let mut hook = webhook.hook("v", "/allow", json!({}));
    hook["rules"] = rules;
    configure(&server, VALIDATING, "v", vec![hook]).await;

    let labels = json!({"a": "b"});
    let containers = json!([{"name": "one", "image": "i"}, {"name": "two", "image": "i"}]);
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": containers}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}});
    let apps = "/apis/apps/v1/namespaces/default/deployments";
    assert_eq!(send(&server, "POST", apps, &deployment).await.0, 201);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let made = send(&server, "POST", accounts, &account).await.0;
    assert!(matches!(made, 201 | 409));
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": containers}});
    let pods = "/api/v1/namespaces/default/pods";
    let (code, made, _) = send(&server, "POST", pods, &pod).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!((webhook.times("/count"), webhook.times("/allow")), (0, 0));

    let check = |resource: &str, kind: [&str; 3], operation: &str, validated: bool| {
        let path = if validated { "/allow" } else { "/count" };
        let asked = webhook.asked.lock().iter().rev().find(|(it, _)| it == path).unwrap().1.clone();
        let [group, version, kind] = kind;
        let (resource, subresource) = resource.split_once('/').unwrap();
        assert_eq!(asked["kind"], json!({"group": group, "version": version, "kind": kind}));
        assert_eq!(asked["requestKind"], asked["kind"]);
        assert_eq!(
            (&asked["resource"]["resource"], &asked["subResource"]),
            (&json!(resource), &json!(subresource))
        );
        assert_eq!(asked["operation"], operation);
        assert_eq!(asked["object"]["kind"], kind);
        asked
    };
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 2}});
    let (code, answer, _) = send(&server, "PUT", &format!("{apps}/d/scale"), &scale).await;
    assert_eq!((code, &answer["spec"]["replicas"]), (200, &json!(5)), "{answer}");
    let asked = check("deployments/scale", ["autoscaling", "v1", "Scale"], "UPDATE", false);
    assert_eq!(
        (&asked["object"]["spec"]["replicas"], &asked["oldObject"]["spec"]["replicas"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(asked["resource"]["group"], "apps");
    assert_eq!(asked["options"]["kind"], "UpdateOptions");
    let asked = check("deployments/scale", ["autoscaling", "v1", "Scale"], "UPDATE", true);
    assert_eq!(asked["object"]["spec"]["replicas"], 5);
    let (_, found, _) = send(&server, "GET", &format!("{apps}/d"), &Value::Null).await;
    assert_eq!(found["spec"]["replicas"], 5);

    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["a"]}});
    let (code, answer, _) = send(&server, "POST", &format!("{accounts}/default/token"), &token).await;
    assert_eq!(code, 201, "{answer}");
    let asked =
        check("serviceaccounts/token", ["authentication.k8s.io", "v1", "TokenRequest"], "CREATE", true);
    assert_eq!(asked["name"], "default");

    let (code, answer, _) =
        send(&server, "GET", &format!("{pods}/p/exec?command=sh&container=one"), &Value::Null).await;
    assert_eq!(code, 400, "{answer}");
    assert_eq!(answer["message"], "container nosuch is not valid for pod p", "a webhook chose another");
    let asked = check("pods/exec", ["", "v1", "PodExecOptions"], "CONNECT", false);
    assert_eq!(asked["object"]["command"], json!(["sh"]));
    assert_eq!((&asked["oldObject"], &asked["options"]), (&Value::Null, &Value::Null));

    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let (code, answer, _) = send(&server, "POST", &format!("{pods}/p/binding"), &binding).await;
    assert_eq!(code, 201, "{answer}");
    check("pods/binding", ["", "v1", "Binding"], "CREATE", true);
    let (_, found, _) = send(&server, "GET", &format!("{pods}/p"), &Value::Null).await;
    assert_eq!(found["metadata"]["annotations"]["by"], "webhook");

    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let (code, answer, _) = send(&server, "POST", &format!("{pods}/p/eviction"), &eviction).await;
    assert_eq!(code, 201, "{answer}");
    check("pods/eviction", ["policy", "v1", "Eviction"], "CREATE", true);
    assert_eq!((webhook.times("/count"), webhook.times("/allow")), (5, 5));
}

#[tokio::test]
async fn policies_judge_and_change_what_subresources_take() {
    let (_runtime, server, _webhook) = fresh().await;
    let group = "admissionregistration.k8s.io/v1";
    let matching = json!({"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
        "operations": ["UPDATE"], "resources": ["deployments/scale"]}]});
    for (kind, spec) in [
        (
            "ValidatingAdmissionPolicy",
            json!({"matchConstraints": matching, "validations": [
            {"expression": "object.kind == 'Scale' && request.kind.kind == 'Scale' && object.spec.replicas < 7"}]}),
        ),
        ("ValidatingAdmissionPolicyBinding", json!({"policyName": "p", "validationActions": ["Deny"]})),
        (
            "MutatingAdmissionPolicy",
            json!({"matchConstraints": matching, "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration":
                {"expression": "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}"}}]}),
        ),
        ("MutatingAdmissionPolicyBinding", json!({"policyName": "p"})),
    ] {
        let plural =
            kind.to_lowercase().replace("policy", "policies").replace("policiesbinding", "policybindings");
        let body = json!({"apiVersion": group, "kind": kind, "metadata": {"name": "p"}, "spec": spec});
        let (code, answer, _) = send(&server, "POST", &format!("{CONFIGURATIONS}/{plural}"), &body).await;
        assert_eq!(code, 201, "{answer}");
        server.list("admissionregistration.k8s.io", "v1", &plural, "").await.unwrap();
    }
    let labels = json!({"a": "b"});
    let template =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}});
    let apps = "/apis/apps/v1/namespaces/default/deployments";
    assert_eq!(send(&server, "POST", apps, &deployment).await.0, 201);
    for (wanted, code, message) in
        [(4, 200, ""), (6, 422, "failed expression: object.kind == 'Scale' && request.kind.kind == 'Scale'")]
    {
        let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": wanted}});
        let (found, answer, _) = send(&server, "PUT", &format!("{apps}/d/scale"), &scale).await;
        assert_eq!(found, code, "{answer}");
        if code == 200 {
            assert_eq!(answer["spec"]["replicas"], 5);
        } else {
            assert!(answer["message"].as_str().unwrap().contains(message), "{answer}");
        }
    }
}
