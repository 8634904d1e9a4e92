//! Requests for tokens, and the tokens.

use futures::executor::block_on;

use super::*;
use crate::authn::{keys::PublicKeys, objects::FixedObjects, service_account_tokens::ServiceAccountTokens};

const API: &str = "https://kubernetes.default.svc";

fn now() -> Timestamp {
    "2026-07-01T00:00:00.7Z".parse().unwrap()
}

fn issuer() -> Issuer {
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    Issuer {
        key: Arc::new(SigningKey::from_pem("test", pem.as_bytes()).unwrap()),
        issuer: API.to_owned(),
        api_audiences: vec![API.to_owned()],
        lifetime_max: None,
        extend: true,
        random: Random::from_seed(7),
    }
}

fn objects() -> FixedObjects {
    let pod = |name: &str, account: &str, node: &str| {
        json!({
            "metadata": {"name": name, "uid": format!("u-{name}")},
            "spec": {"serviceAccountName": account, "nodeName": node},
        })
    };
    FixedObjects::new([
        ("serviceaccounts/a/x", json!({"metadata": {"name": "x", "namespace": "a", "uid": "u-x"}})),
        ("pods/a/p", pod("p", "x", "n")),
        ("pods/a/lost", pod("lost", "x", "gone")),
        ("pods/a/waiting", pod("waiting", "x", "")),
        ("pods/a/other", pod("other", "y", "")),
        ("secrets/a/s", json!({"metadata": {"name": "s", "uid": "u-s"}})),
        ("nodes//n", json!({"metadata": {"name": "n", "uid": "u-n"}})),
    ])
}

fn ask(issuer: &Issuer, request: &Value) -> Result<Issued, Status> {
    block_on(issuer.issue(request, "a", "x", &objects(), now()))
}

fn claims(issuer: &Issuer, issued: &Issued) -> Value {
    let mut keys = PublicKeys::default();
    keys.add(issuer.key.public().clone());
    let token = issued.object["status"]["token"].as_str().unwrap();
    let tokens = ServiceAccountTokens::new(
        keys.clone(),
        vec![API.to_owned()],
        vec![API.to_owned()],
        true,
        Arc::new(objects()),
    );
    let audiences: Vec<String> = issued.object["spec"]["audiences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap().to_owned())
        .collect();
    let user = block_on(tokens.authenticate(token, &audiences, now())).unwrap().unwrap().user;
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:a:x", "u-x"));
    Value::Object(keys.verify(token).unwrap())
}

#[test]
fn a_plain_request_gets_an_hour_for_this_server() {
    let issuer = issuer();
    let mut issued = ask(&issuer, &json!({})).unwrap();
    let claims = claims(&issuer, &issued);
    let start = now().as_second();
    let id = claims["jti"].as_str().unwrap().to_owned();
    assert_eq!(
        claims,
        json!({
            "aud": [API], "exp": start + 3600, "iat": start, "nbf": start, "iss": API, "jti": id,
            "sub": "system:serviceaccount:a:x",
            "kubernetes.io": {"namespace": "a", "serviceaccount": {"name": "x", "uid": "u-x"}},
        })
    );
    assert_eq!(
        issued.audit,
        [("authentication.kubernetes.io/issued-credential-id".to_owned(), format!("JTI={id}"))]
    );
    issued.object["status"]["token"].take();
    assert_eq!(
        issued.object,
        json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": "x", "namespace": "a", "uid": "u-x", "creationTimestamp": "2026-07-01T00:00:00Z"},
            "spec": {"audiences": [API], "expirationSeconds": 3600, "boundObjectRef": null},
            "status": {"token": null, "expirationTimestamp": "2026-07-01T01:00:00Z"},
        })
    );
}

#[test]
fn a_token_is_bound_to_what_the_request_names() {
    let issuer = issuer();
    for (reference, wanted) in [
        (
            json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u-p"}),
            json!({"pod": {"name": "p", "uid": "u-p"}, "node": {"name": "n", "uid": "u-n"}}),
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "name": "lost"}),
            json!({"pod": {"name": "lost", "uid": "u-lost"}, "node": {"name": "gone"}}),
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "name": "waiting"}),
            json!({"pod": {"name": "waiting", "uid": "u-waiting"}}),
        ),
        (
            json!({"kind": "Secret", "apiVersion": "v1", "name": "s"}),
            json!({"secret": {"name": "s", "uid": "u-s"}}),
        ),
        (
            json!({"kind": "Node", "apiVersion": "v1", "name": "n"}),
            json!({"node": {"name": "n", "uid": "u-n"}}),
        ),
    ] {
        let issued =
            ask(&issuer, &json!({"spec": {"boundObjectRef": reference, "audiences": ["a", "b"]}})).unwrap();
        assert_eq!(issued.object["spec"]["boundObjectRef"], reference);
        let mut bound = claims(&issuer, &issued)["kubernetes.io"].take();
        for own in ["namespace", "serviceaccount"] {
            bound.as_object_mut().unwrap().remove(own);
        }
        assert_eq!(bound, wanted);
    }
}

#[test]
fn a_projected_token_lives_on_and_is_watched() {
    let issuer = issuer();
    let request = |lifetime: i64, audience: &str| {
        json!({"spec": {
            "expirationSeconds": lifetime,
            "audiences": [audience],
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"},
        }})
    };
    let start = now().as_second();
    for (request, lifetime, warnafter) in [
        (request(3607, API), LIFETIME_EXTENDED, json!(start + 3607)),
        (request(3606, API), 3606, json!(null)),
        (request(3607, "other"), 3607, json!(null)),
    ] {
        let issued = ask(&issuer, &request).unwrap();
        assert_eq!(issued.object["spec"]["expirationSeconds"], request["spec"]["expirationSeconds"]);
        let claims = claims(&issuer, &issued);
        assert_eq!(claims["exp"], json!(start + lifetime));
        assert_eq!(claims["kubernetes.io"]["warnafter"], warnafter);
    }
}

#[test]
fn a_longer_life_than_allowed_is_cut_with_a_warning() {
    let issuer = Issuer { lifetime_max: Some(Duration::from_secs(7200)), ..issuer() };
    let issued = ask(&issuer, &json!({"spec": {"expirationSeconds": 8000}})).unwrap();
    assert_eq!(issued.warnings, ["requested expiration of 8000 seconds shortened to 7200 seconds"]);
    assert_eq!(issued.object["spec"]["expirationSeconds"], json!(7200));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let bind = |kind: &str, name: &str, uid: &str| json!({"spec": {"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name, "uid": uid}}});
    let kind = "TokenRequest.authentication.k8s.io";
    for (request, code, wanted) in [
        (
            json!({"spec": {"expirationSeconds": 60}}),
            422,
            format!("{kind} \"\" is invalid: spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes"),
        ),
        (
            json!({"spec": {"expirationSeconds": 4_294_967_297_i64}}),
            422,
            format!("{kind} \"\" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds"),
        ),
        (
            json!({"metadata": {"name": "y"}}),
            422,
            format!("{kind} \"x\" is invalid: metadata.name: Invalid value: \"y\": must match the service account name if specified"),
        ),
        (
            json!({"metadata": {"uid": "u-0"}}),
            409,
            format!("Operation cannot be fulfilled on {kind} \"x\": the UID in the token request (u-0) does not match the UID of the service account (u-x)"),
        ),
        (bind("Pod", "nosuch", ""), 404, "pods \"nosuch\" not found".to_owned()),
        (
            bind("Pod", "p", "u-0"),
            409,
            "Operation cannot be fulfilled on Pod \"p\": the UID in the bound object reference (u-0) does not match the UID in record. The object might have been deleted and then recreated".to_owned(),
        ),
        (
            bind("Pod", "other", ""),
            400,
            "cannot bind token for serviceaccount \"x\" to pod running with different serviceaccount name.".to_owned(),
        ),
        (bind("ConfigMap", "c", ""), 400, "cannot bind token to object of type /v1, Kind=ConfigMap".to_owned()),
    ] {
        let status = ask(&issuer(), &request).unwrap_err();
        assert_eq!((status.code, status.message), (code, wanted));
    }
    let status = block_on(issuer().issue(&json!({}), "a", "nosuch", &objects(), now())).unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (404, "serviceaccounts \"nosuch\" not found"));
}
