//! Goal: a component answers whom upstream's would, in its words. Method: real connections over TLS to a component whose API
//! server is a table of reviews.

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http_body_util::BodyExt as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::json;

use super::*;
use crate::transport::{Body, Transport, TransportError, full};

/// Knows the token `anna's`; anna and bert may read metrics.
struct Reviews;

impl Transport for Reviews {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        let review: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let answer = match request.uri().path() {
            "/apis/authentication.k8s.io/v1/tokenreviews" => {
                let known = review.pointer("/spec/token") == Some(&json!("anna's"));
                let user = json!({"username": "anna", "groups": ["system:authenticated"]});
                json!({"status": if known { json!({"authenticated": true, "user": user}) } else { json!({}) }})
            }
            "/apis/authorization.k8s.io/v1/subjectaccessreviews" => {
                let user = review.pointer("/spec/user").and_then(Value::as_str).unwrap_or_default();
                let path = review.pointer("/spec/nonResourceAttributes/path").and_then(Value::as_str);
                let allowed = ["anna", "bert"].contains(&user) && path == Some("/metrics");
                json!({"status": {"allowed": allowed, "reason": if user == "eve" { "never" } else { "" }}})
            }
            other => panic!("nobody asks for {other}"),
        };
        async move { Ok(Response::new(full(answer.to_string()))) }.boxed()
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn client(&self, name: &str, group: Option<&str>) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().clone()
    }
}

#[derive(clap::Parser)]
struct Words {
    #[command(flatten)]
    flags: Flags,
}

fn flags(words: &[&str]) -> Flags {
    <Words as clap::Parser>::try_parse_from(["component"].iter().chain(words)).unwrap().flags
}

async fn ask(access: &Access, path: &str, token: Option<&str>, shown: &[CertificateDer<'static>]) -> String {
    let asked = access::Asked { method: &Method::GET, path, token, certificates: shown };
    match access.check(&asked).await {
        Ok(()) => "yes".to_owned(),
        Err(refusal) => {
            let answer = refusal.answer(path);
            let code = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let status: Value = serde_json::from_slice(&body).unwrap();
            format!("{code} {}", status.pointer("/message").and_then(Value::as_str).unwrap_or_default())
        }
    }
}

#[tokio::test]
async fn who_asks_and_whether_they_may_is_for_the_api_server_to_say() {
    let (own, other) = (Authority::new(), Authority::new());
    let api = || Some(Api::new(Arc::new(Reviews), "test"));
    let clock = Runtime::system().clock;
    let mut access = Access::new(&flags(&["--authentication-skip-lookup"]), api(), api(), clock).unwrap();
    access.believe(own.certificate.clone());
    let anonymous = "403 forbidden: User \"system:anonymous\" cannot get path";
    let (bert, eve, root) =
        (own.client("bert", None), own.client("eve", None), own.client("root", Some("system:masters")));
    let stranger = other.client("bert", None);
    for (path, token, shown, expected) in [
        ("/healthz", None, None, "yes".to_owned()),
        ("/healthz/ping", None, None, format!("{anonymous} \"/healthz/ping\"")),
        ("/metrics", None, None, format!("{anonymous} \"/metrics\"")),
        ("/metrics", Some("anna's"), None, "yes".to_owned()),
        (
            "/configz",
            Some("anna's"),
            None,
            "403 forbidden: User \"anna\" cannot get path \"/configz\"".to_owned(),
        ),
        ("/metrics", Some("stolen"), None, "401 Unauthorized".to_owned()),
        ("/healthz", Some("stolen"), None, "401 Unauthorized".to_owned()),
        ("/metrics", None, Some(bert), "yes".to_owned()),
        (
            "/metrics",
            None,
            Some(eve),
            "403 forbidden: User \"eve\" cannot get path \"/metrics\": never".to_owned(),
        ),
        (RECORDS_PATH, None, Some(root), "yes".to_owned()),
        ("/metrics", None, Some(stranger), "401 Unauthorized".to_owned()),
    ] {
        let shown: Vec<_> = shown.into_iter().collect();
        assert_eq!(ask(&access, path, token, &shown).await, expected, "{path} {token:?}");
    }
}

#[tokio::test]
async fn without_kubeconfigs_everybody_is_anonymous_and_may_only_ask_for_health() {
    let access = Access::new(&flags(&[]), None, None, Runtime::system().clock).unwrap();
    assert_eq!(ask(&access, "/readyz", Some("anna's"), &[]).await, "yes");
    let expected = "403 forbidden: User \"system:anonymous\" cannot get path \"/metrics\"";
    assert_eq!(ask(&access, "/metrics", Some("anna's"), &[]).await, expected);
}

#[tokio::test]
async fn a_component_serves_over_tls_with_a_certificate_of_its_own_making() {
    let runtime = Runtime::system();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let words = [format!("--secure-port={port}"), "--bind-address=127.0.0.1".to_owned()];
    let flags = flags(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let site = Site::new(&runtime);
    let address = site.serve(&flags, SCHEDULER_PORT, &runtime).await.unwrap().unwrap();
    assert_eq!(address.port(), port);
    let mut config = kube::Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
    config.accept_invalid_certs = true;
    let api = Api::new(Arc::new(Remote::from_config(config).unwrap()), "test");
    for (path, expected) in [("/healthz", "ok"), ("/readyz", "ok")] {
        let answer = api.request(Method::GET, path, "*/*", None).await.unwrap();
        assert_eq!(answer, expected.as_bytes(), "{path}");
    }
    let refused = api.request(Method::GET, "/metrics", "*/*", None).await.unwrap_err();
    assert!(refused.to_string().contains("cannot get path \"/metrics\""), "{refused}");
    runtime.tasks.stop();
}

#[tokio::test]
async fn port_zero_serves_nothing() {
    let runtime = Runtime::system();
    let served = Site::new(&runtime).serve(&flags(&["--secure-port=0"]), SCHEDULER_PORT, &runtime).await;
    assert!(served.unwrap().is_none());
}
