//! Goal: a token is good exactly if its issuer, audience, time and signature are, and its bearer is whom its claims say. Method:
//! an issuer on a port of this machine, whose keys change.

use std::{net::Ipv4Addr, sync::atomic::AtomicUsize, sync::atomic::Ordering};

use axum::{Router, routing::get};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use runtime::SharedClock;
use serde_json::json;

use super::{
    super::{Issuers, configuration::AuthenticationConfiguration, keys::tests::Signer},
    *,
};
use crate::tls::{
    authority::{Authority, Subject},
    files::{self, Pair},
    serving::{self, ServingCertificate, Versions},
};

struct Provider {
    url: String,
    pem: String,
    keys: Arc<Mutex<Value>>,
    /// What is told of groups elsewhere.
    groups: Arc<Mutex<String>>,
    fetched: Arc<AtomicUsize>,
    clock: SharedClock,
    tasks: Tasks,
}

impl Provider {
    async fn start() -> Self {
        let runtime = runtime::Runtime::system();
        let (authority, _) = Authority::generate("issuer", runtime.clock.now()).unwrap();
        let issued = authority
            .issue(&Subject::server("issuer", ["127.0.0.1".to_owned()].into()), runtime.clock.now())
            .unwrap();
        let pair = Pair {
            certificates: files::certificates_in(issued.certificate.as_bytes()).unwrap(),
            key: rustls::pki_types::pem::PemObject::from_pem_slice(issued.key.as_bytes()).unwrap(),
        };
        let certificate = Arc::new(ServingCertificate::new(pair).unwrap());
        let tls = Arc::new(serving::config(certificate, &[], Versions::default()).unwrap());
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let keys = Arc::new(Mutex::new(json!({"keys": []})));
        let groups = Arc::new(Mutex::new(String::new()));
        let fetched = Arc::new(AtomicUsize::new(0));
        let (told, served, count, elsewhere) =
            (url.clone(), Arc::clone(&keys), Arc::clone(&fetched), Arc::clone(&groups));
        let router = Router::new()
            .route(
                WELL_KNOWN,
                get(move || async move {
                    json!({"issuer": told, "jwks_uri": format!("{told}/keys")}).to_string()
                }),
            )
            .route("/groups", get(move || async move { elsewhere.lock().clone() }))
            .route(
                "/keys",
                get(move || async move {
                    count.fetch_add(1, Ordering::SeqCst);
                    served.lock().to_string()
                }),
            );
        runtime.tasks.spawn("issuer", async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(tls);
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let service = TowerToHyperService::new(router.clone());
                // One connection after the other would be kept waiting by one that is kept.
                let served = hyper::server::conn::http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(served);
            }
        });
        let pem = files::to_pem(authority.certificate());
        Self { url, pem, keys, groups, fetched, clock: runtime.clock.clone(), tasks: runtime.tasks }
    }

    async fn issuer(&self, rest: Value) -> Arc<Issuer> {
        let mut jwt = json!({
            "issuer": {"url": self.url, "audiences": ["me"], "certificateAuthority": self.pem},
            "claimMappings": {"username": {"claim": "sub", "prefix": "o:"}, "groups": {"claim": "groups", "prefix": "g:"}},
        });
        for (field, value) in rest.as_object().unwrap() {
            jwt[field] = value.clone();
        }
        let text = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt],
        });
        let read = AuthenticationConfiguration::read(text.to_string().as_bytes()).unwrap();
        let compiled = read.compile(&[]).unwrap().remove(0);
        let algorithms = vec!["RS256".to_owned(), "ES256".to_owned()];
        let issuer = Issuer::start(compiled, algorithms, &self.tasks);
        for _ in 0..500 {
            if issuer.health().is_ok() {
                return issuer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", issuer.health());
    }

    fn claims(&self, more: Value) -> Value {
        let now = self.clock.now().as_second();
        let mut claims = json!({"iss": self.url, "aud": "me", "sub": "anna", "exp": now + 600, "iat": now});
        for (claim, value) in more.as_object().unwrap() {
            claims[claim] = value.clone();
        }
        claims
    }
}

fn tell(outcome: Result<Option<User>, String>) -> String {
    match outcome {
        Ok(None) => "not its own".to_owned(),
        Ok(Some(user)) => format!("{} [{}] {}", user.name, user.groups.join(" "), user.uid),
        Err(why) => why,
    }
}

#[tokio::test]
async fn a_token_is_good_if_its_issuer_audience_time_and_signature_are() {
    let provider = Provider::start().await;
    let (ours, theirs) = (Signer::elliptic("ES256"), Signer::elliptic("ES256"));
    let strong = Signer::elliptic("ES384");
    *provider.keys.lock() = json!({"keys": [ours.public("one"), strong.public("strong")]});
    let issuer = provider.issuer(json!({})).await;
    let now = provider.clock.now();
    let past = now.as_second() - 10;
    for (what, signer, claims, wanted) in [
        ("good", &ours, json!({"groups": ["a", "b"]}), "o:anna [g:a g:b] "),
        ("one of two audiences", &ours, json!({"aud": ["you", "me"], "groups": "a"}), "o:anna [g:a] "),
        ("another issuer", &ours, json!({"iss": "https://b.example"}), "not its own"),
        (
            "for others",
            &ours,
            json!({"aud": "you"}),
            r#"oidc: verify token: oidc: expected audience "me" got ["you"]"#,
        ),
        ("expired", &ours, json!({"exp": past}), "oidc: verify token: oidc: token is expired"),
        ("a little early", &ours, json!({"nbf": now.as_second() + 60}), "o:anna [] "),
        ("too early", &ours, json!({"nbf": now.as_second() + 600}), "oidc: verify token: oidc: current time"),
        ("forged", &theirs, json!({}), "oidc: verify token: failed to verify signature"),
        (
            "too strong",
            &strong,
            json!({}),
            "oidc: verify token: oidc: id token signed with unsupported algorithm",
        ),
        (
            "no name",
            &ours,
            json!({"sub": 7}),
            r#"oidc: parse username claims "sub": json: cannot unmarshal number"#,
        ),
    ] {
        let token = signer.token("one", &provider.claims(claims));
        let found = tell(issuer.authenticate(&token, now).await);
        assert!(found.starts_with(wanted), "{what}: {found}");
    }
    assert_eq!(tell(issuer.authenticate("a.b.c", now).await), "not its own");
}

#[tokio::test]
async fn new_keys_are_fetched_when_they_are_needed_and_junk_does_not_fetch_them_every_time() {
    let provider = Provider::start().await;
    let (old, new) = (Signer::rsa("RS256"), Signer::elliptic("ES256"));
    *provider.keys.lock() = json!({"keys": [old.public("old")]});
    let issuer = provider.issuer(json!({})).await;
    let mut now = provider.clock.now();
    let [by_old, by_new] =
        [old.token("old", &provider.claims(json!({}))), new.token("new", &provider.claims(json!({})))];
    for _ in 0..3 {
        assert_eq!(tell(issuer.authenticate(&by_old, now).await), "o:anna [] ");
    }
    assert_eq!(provider.fetched.load(Ordering::SeqCst), 1);
    for _ in 0..20 {
        assert!(issuer.authenticate(&by_new, now).await.is_err());
    }
    assert_eq!(provider.fetched.load(Ordering::SeqCst), 1);
    *provider.keys.lock() = json!({"keys": [new.public("new")]});
    now += KEYS_FRESH;
    assert_eq!(tell(issuer.authenticate(&by_new, now).await), "o:anna [] ");
    assert!(issuer.authenticate(&by_old, now).await.is_err());
    assert_eq!(provider.fetched.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn expressions_and_rules_make_the_user() {
    let provider = Provider::start().await;
    let signer = Signer::elliptic("ES256");
    *provider.keys.lock() = json!({"keys": [signer.public("one")]});
    let issuer = provider
        .issuer(json!({
            "claimMappings": {
                "username": {"expression": "claims.email_verified ? claims.email : 'nobody'"},
                "groups": {"expression": "claims.roles.split(',')"},
                "uid": {"claim": "sub"},
                "extra": [{"key": "example.com/team", "valueExpression": "claims.?team.orValue('')"}],
            },
            "claimValidationRules": [
                {"claim": "hd", "requiredValue": "example.com"},
                {"expression": "claims.level > 1", "message": "too low"},
            ],
            "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "reserved"}],
        }))
        .await;
    let good = json!({
        "email": "a@example.com", "email_verified": true, "roles": "x,y", "hd": "example.com", "level": 2,
        "team": "red", "jti": "j1",
    });
    let now = provider.clock.now();
    let ask = async |change: Value| {
        let mut claims = good.clone();
        for (claim, value) in change.as_object().unwrap() {
            claims[claim] = value.clone();
        }
        issuer.authenticate(&signer.token("one", &provider.claims(claims)), now).await
    };
    let user = ask(json!({})).await.unwrap().unwrap();
    assert_eq!(tell(Ok(Some(user.clone()))), "a@example.com [x y] anna");
    assert_eq!(user.extra["example.com/team"], ["red"]);
    assert_eq!(user.extra[CREDENTIAL_ID], ["JTI=j1"]);
    for (change, wanted) in [
        (json!({"hd": "b"}), "oidc: required claim hd value does not match. Got = b, want = example.com"),
        (
            json!({"level": 1}),
            "oidc: error evaluating claim validation expression: validation expression 'claims.level > 1' failed: too low",
        ),
        (
            json!({"email": "system:admin"}),
            "oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('system:')' failed: reserved",
        ),
        (json!({"email": ""}), "oidc: empty username via CEL expression is not allowed"),
    ] {
        assert_eq!(tell(ask(change).await), wanted);
    }
}

#[tokio::test]
async fn groups_may_be_told_elsewhere() {
    let provider = Provider::start().await;
    let signer = Signer::elliptic("ES256");
    *provider.keys.lock() = json!({"keys": [signer.public("one")]});
    let issuer = provider.issuer(json!({})).await;
    *provider.groups.lock() = signer.token("one", &provider.claims(json!({"groups": ["far"]})));
    let claims = provider.claims(json!({
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": format!("{}/groups", provider.url), "access_token": "t"}},
    }));
    let token = signer.token("one", &claims);
    let issuers = Issuers::new(vec![issuer]);
    assert_eq!(tell(issuers.authenticate(&token, provider.clock.now()).await), "o:anna [g:far] ");
    *provider.groups.lock() =
        Signer::elliptic("ES256").token("one", &provider.claims(json!({"groups": ["far"]})));
    let found = tell(issuers.authenticate(&token, provider.clock.now()).await);
    assert!(
        found.starts_with("oidc: could not expand distributed claims: verify distributed claim token"),
        "{found}"
    );
    issuers.replace(Vec::new());
    assert_eq!(tell(issuers.authenticate(&token, provider.clock.now()).await), "not its own");
}
