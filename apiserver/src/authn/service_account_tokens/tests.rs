//! Tokens against a few objects.

use serde_json::json;

use super::*;
use crate::authn::{keys::SigningKey, objects::FixedObjects};

const ISSUER: &str = "https://kubernetes.default.svc";

fn now() -> Timestamp {
    "2026-07-01T00:00:00Z".parse().unwrap()
}

fn object(name: &str, uid: &str) -> Value {
    json!({"metadata": {"name": name, "uid": uid}})
}

struct World {
    key: SigningKey,
    objects: FixedObjects,
}

impl World {
    fn new() -> Self {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let key = SigningKey::from_pem("test", pem.as_bytes()).unwrap();
        let objects = FixedObjects::new([
            ("serviceaccounts/a/x", object("x", "u-x")),
            ("pods/a/p", object("p", "u-p")),
            ("secrets/a/s", object("s", "u-s")),
            ("nodes//n", object("n", "u-n")),
        ]);
        Self { key, objects }
    }

    fn delete(mut self, key: &str, seconds_ago: u64) -> Self {
        let when = now() - Duration::from_secs(seconds_ago);
        self.objects.0.get_mut(key).unwrap().set_meta("deletionTimestamp", when.to_string());
        self
    }

    fn check(self, claims: Value, requested: &[&str]) -> Result<Option<Authenticated>, String> {
        let token = self.key.sign(&claims).unwrap();
        self.check_token(&token, requested)
    }

    fn check_token(self, token: &str, requested: &[&str]) -> Result<Option<Authenticated>, String> {
        let mut keys = PublicKeys::default();
        keys.add(self.key.public().clone());
        let api = vec!["api".to_owned()];
        let tokens =
            ServiceAccountTokens::new(keys, vec![ISSUER.to_owned()], api, true, Arc::new(self.objects));
        let requested: Vec<String> = requested.iter().map(|&it| it.to_owned()).collect();
        let check = || futures::executor::block_on(tokens.authenticate(token, &requested, now()));
        let first = check();
        assert_eq!(check(), first, "the second time the signature is remembered");
        first
    }
}

fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "sub": "system:serviceaccount:a:x", "aud": ["api"],
        "nbf": now().as_second(), "iat": now().as_second(), "exp": now().as_second() + 3600,
        "jti": "j-1",
        "kubernetes.io": {"namespace": "a", "serviceaccount": {"name": "x", "uid": "u-x"}},
    });
    json_patch::merge(&mut claims, &changes);
    claims
}

fn bound(to: Value) -> Value {
    claims(json!({"kubernetes.io": to}))
}

#[test]
fn a_token_stands_for_its_account_and_tells_what_it_is_bound_to() {
    let user = |claims: Value| World::new().check(claims, &[]).unwrap().unwrap().user;
    let plain = user(claims(json!({})));
    assert_eq!(plain.name, "system:serviceaccount:a:x");
    assert_eq!(plain.uid, "u-x");
    assert_eq!(plain.groups, ["system:serviceaccounts", "system:serviceaccounts:a"]);
    let extra = |user: &User| -> Vec<String> {
        user.extra
            .iter()
            .map(|(key, it)| format!("{}={}", key.rsplit('/').next().unwrap(), it.join(",")))
            .collect()
    };
    assert_eq!(extra(&plain), ["credential-id=JTI=j-1"]);
    let in_pod = user(bound(json!({"pod": {"name": "p", "uid": "u-p"}, "node": {"name": "gone"}})));
    assert_eq!(extra(&in_pod), ["credential-id=JTI=j-1", "node-name=gone", "pod-name=p", "pod-uid=u-p"]);
    let on_node = user(bound(json!({"node": {"name": "n", "uid": "u-n"}})));
    assert_eq!(extra(&on_node), ["credential-id=JTI=j-1", "node-name=n", "node-uid=u-n"]);
    let with_secret = user(bound(json!({"secret": {"name": "s", "uid": "u-s"}})));
    assert_eq!(extra(&with_secret), ["credential-id=JTI=j-1"]);
    assert!(extra(&user(claims(json!({"jti": null})))).is_empty());
}

#[test]
fn a_token_is_refused_when_its_time_or_its_objects_are_gone() {
    let at = |seconds: i64| json!(now().as_second() + seconds);
    for (claims, wanted) in [
        (claims(json!({"exp": at(-59)})), None),
        (claims(json!({"exp": at(-61)})), Some("service account token has expired")),
        (claims(json!({"exp": 1.5})), Some("service account token has expired")),
        (claims(json!({"nbf": at(61)})), Some("service account token is not valid yet")),
        (claims(json!({"iat": at(61)})), Some("service account token is issued in the future")),
        (bound(json!({"serviceaccount": {"name": "y"}})), Some("serviceaccounts \"y\" not found")),
        (
            bound(json!({"serviceaccount": {"uid": "u-0"}})),
            Some("service account UID (u-x) does not match claim (u-0)"),
        ),
        (
            bound(json!({"pod": {"name": "q", "uid": "u-q"}})),
            Some("service account token has been invalidated"),
        ),
        (
            bound(json!({"pod": {"name": "p", "uid": "u-0"}})),
            Some("pod UID (u-p) does not match service account pod ref claim (u-0)"),
        ),
        (
            bound(json!({"secret": {"name": "s", "uid": "u-0"}})),
            Some("secret UID (u-s) does not match service account secret ref claim (u-0)"),
        ),
        (
            bound(json!({"node": {"name": "m", "uid": "u-m"}})),
            Some("service account token has been invalidated"),
        ),
        (
            bound(json!({"node": {"name": "n", "uid": "u-0"}})),
            Some("node UID (u-n) does not match service account node ref claim (u-0)"),
        ),
    ] {
        let result = World::new().check(claims.clone(), &[]);
        assert_eq!(result.err().as_deref(), wanted, "{claims}");
    }
}

#[test]
fn what_is_being_deleted_still_counts_while_clocks_may_disagree() {
    let in_pod = || bound(json!({"pod": {"name": "p", "uid": "u-p"}}));
    for (key, seconds, wanted) in [
        ("serviceaccounts/a/x", 59, None),
        ("serviceaccounts/a/x", 61, Some("service account a/x has been deleted")),
        ("pods/a/p", 59, None),
        ("pods/a/p", 61, Some("service account token has been invalidated")),
    ] {
        let result = World::new().delete(key, seconds).check(in_pod(), &[]);
        assert_eq!(result.err().as_deref(), wanted, "{key} {seconds}");
    }
}

#[test]
fn audiences_must_meet() {
    for (audience, requested, wanted) in [
        (json!(["api"]), vec![], Ok(vec!["api"])),
        (json!("api"), vec![], Ok(vec!["api"])),
        (json!(["a", "b"]), vec!["b", "c"], Ok(vec!["b"])),
        (json!(null), vec![], Ok(vec!["api"])),
        (json!(["a"]), vec![], Err(r#"token audiences ["a"] is invalid for the target audiences ["api"]"#)),
        (
            json!(["api"]),
            vec!["b"],
            Err(r#"token audiences ["api"] is invalid for the target audiences ["b"]"#),
        ),
    ] {
        let result = World::new().check(claims(json!({"aud": audience})), &requested);
        let result = result.map(|it| it.unwrap().audiences);
        assert_eq!(
            result,
            wanted.map(|it| it.into_iter().map(str::to_owned).collect()).map_err(str::to_owned)
        );
    }
}

#[test]
fn tokens_of_others_are_not_ours_to_refuse_and_forged_ones_are() {
    assert_eq!(World::new().check(claims(json!({"iss": "https://other"})), &[]), Ok(None));
    for token in ["opaque", "a.b.c", "a.b", "{}"] {
        assert_eq!(World::new().check_token(token, &[]), Ok(None), "{token}");
    }
    let forged = World::new().key.sign(&claims(json!({}))).unwrap();
    let error = World::new().check_token(&forged, &[]).unwrap_err();
    assert_eq!(error, "invalid signature, no keys found");
}

#[test]
fn use_after_the_extended_time_is_noted() {
    let noted = |after: i64| {
        let claims = bound(json!({"warnafter": now().as_second() + after}));
        World::new().check(claims, &[]).unwrap().unwrap().audit
    };
    assert!(noted(5).is_empty());
    assert_eq!(
        noted(-5),
        [(
            "authentication.k8s.io/stale-token".to_owned(),
            "subject: system:serviceaccount:a:x, seconds after warning threshold: 5".to_owned()
        )]
    );
}

#[test]
fn tokens_of_the_old_kind_live_as_long_as_their_secret() {
    let claims = |uid: &str| {
        json!({
            "iss": legacy::ISSUER, "sub": "system:serviceaccount:a:x",
            "kubernetes.io/serviceaccount/namespace": "a",
            "kubernetes.io/serviceaccount/secret.name": "s",
            "kubernetes.io/serviceaccount/service-account.name": "x",
            "kubernetes.io/serviceaccount/service-account.uid": uid,
        })
    };
    let check = |uid: &str, secret: &dyn Fn(&str) -> Value| {
        let mut world = World::new();
        let token = world.key.sign(&claims(uid)).unwrap();
        let copy = base64::engine::general_purpose::STANDARD.encode(&token);
        world.objects.0.insert("secrets/a/s".to_owned(), secret(&copy));
        world.check_token(&token, &[]).map(|it| it.unwrap())
    };
    let good = |copy: &str| json!({"metadata": {"name": "s"}, "data": {"token": copy}});
    let fine = check("u-x", &good).unwrap();
    assert_eq!(
        (fine.user.name.as_str(), fine.audiences),
        ("system:serviceaccount:a:x", vec!["api".to_owned()])
    );
    assert_eq!(fine.audit, [("authentication.k8s.io/legacy-token-manual-secret".to_owned(), "s".to_owned())]);
    let other = |_: &str| json!({"metadata": {"name": "s"}, "data": {"token": "eA=="}});
    let leaving = |copy: &str| json!({"metadata": {"deletionTimestamp": "2026-07-01T00:00:00Z"}, "data": {"token": copy}});
    let marked =
        |copy: &str| json!({"metadata": {"labels": {INVALID: "2026-01-01"}}, "data": {"token": copy}});
    const INVALID: &str = "kubernetes.io/legacy-token-invalid-since";
    assert_eq!(check("u-x", &other).unwrap_err(), "Token does not match server's copy");
    assert_eq!(check("u-x", &leaving).unwrap_err(), "Token has been invalidated");
    assert_eq!(check("u-0", &good).unwrap_err(), "ServiceAccount UID (u-x) does not match claim (u-0)");
    assert!(check("u-x", &marked).unwrap_err().contains("has been marked invalid"));
    assert_eq!(check("", &good).unwrap_err(), "serviceAccountUID claim is missing");
}

#[test]
fn a_day_on_which_a_token_of_the_old_kind_is_used_is_noted_once() {
    let claims = json!({
        "sub": "system:serviceaccount:a:x",
        "kubernetes.io/serviceaccount/namespace": "a",
        "kubernetes.io/serviceaccount/secret.name": "s",
        "kubernetes.io/serviceaccount/service-account.name": "x",
        "kubernetes.io/serviceaccount/service-account.uid": "u-x",
    });
    let today = now().strftime("%Y-%m-%d").to_string();
    let tomorrow = (now() + Duration::from_secs(86_400)).strftime("%Y-%m-%d").to_string();
    for (labels, noted) in [
        (json!({}), true),
        (json!({legacy::LAST_USED: "2020-01-01"}), true),
        (json!({legacy::LAST_USED: today}), false),
        (json!({legacy::LAST_USED: tomorrow}), false),
        (json!({"kubernetes.io/legacy-token-invalid-since": "2020-01-01"}), true),
    ] {
        let secret =
            json!({"metadata": {"name": "s", "uid": "u-s", "labels": labels}, "data": {"token": "dG9rZW4="}});
        let objects =
            FixedObjects::new([("serviceaccounts/a/x", object("x", "u-x")), ("secrets/a/s", secret)]);
        let validated = legacy::validate(claims.as_object().unwrap(), "token", Some(&objects), now());
        drop(futures::executor::block_on(validated));
        let expected: Vec<String> = noted.then(|| format!("a/s {today}")).into_iter().collect();
        assert_eq!(*objects.1.lock(), expected, "{labels}");
    }
}
