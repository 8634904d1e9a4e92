//! Questions about identity, asked as objects: TokenReview and SelfSubjectReview.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use api_types::{
    object::{object_at, object_of},
    status::Status,
};

use super::{authenticator::Authenticator, user::User};

/// The group of these kinds.
pub const GROUP: &str = "authentication.k8s.io";

/// TokenReview: whom does a token stand for? Takes the object as the client sent it and gives it back with its status.
pub async fn token(review: &Value, authenticator: &Authenticator) -> Result<Value, Status> {
    let token = review.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = review
        .pointer("/spec/audiences")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let mut status = match authenticator.review(token, &audiences).await {
        Ok(authenticated) => {
            let mut status = json!({"authenticated": true, "user": user_info(&authenticated.user)});
            if !authenticated.audiences.is_empty() {
                object_of(&mut status).insert("audiences".to_owned(), json!(authenticated.audiences));
            }
            status
        }
        Err(error) => json!({"user": {}, "error": error.to_string()}),
    };
    let mut review = review.clone();
    object_of(&mut review).insert("status".to_owned(), status.take());
    object_at(object_of(&mut review), "metadata");
    Ok(review)
}

/// SelfSubjectReview: who am I?
pub fn self_subject(caller: &User, now: Timestamp) -> Value {
    json!({
        "kind": "SelfSubjectReview",
        "apiVersion": format!("{GROUP}/v1"),
        "metadata": {"creationTimestamp": whole_seconds(now)},
        "status": {"userInfo": user_info(caller)},
    })
}

/// A user as objects tell of it.
pub fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    let mut set = |field: &str, value: Value, is_empty: bool| {
        if !is_empty {
            info.insert(field.to_owned(), value);
        }
    };
    set("username", json!(user.name), user.name.is_empty());
    set("uid", json!(user.uid), user.uid.is_empty());
    set("groups", json!(user.groups), user.groups.is_empty());
    set("extra", json!(user.extra), user.extra.is_empty());
    Value::Object(info)
}

/// A time as metadata has it.
pub(super) fn whole_seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use runtime::Runtime;

    use super::*;

    fn authenticator() -> Authenticator {
        let alice = User { uid: "1".to_owned(), ..User::new("alice", &["dev"]) };
        Authenticator {
            client_authorities: None,
            token_file: None,
            service_accounts: None,
            bootstrap_tokens: None,
            own_tokens: BTreeMap::from([("alice-token".to_owned(), alice)]),
            outside: crate::authn::authenticator::Outside::default(),
            anonymous: true.into(),
            api_audiences: vec!["api".to_owned()],
            clock: Runtime::simulated(Timestamp::UNIX_EPOCH, 1).clock,
        }
    }

    #[tokio::test]
    async fn a_review_tells_the_user_or_the_error() {
        let authenticator = authenticator();
        let ask = async |spec: Value| {
            let review =
                json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": spec});
            token(&review, &authenticator).await.map_err(|status| (status.code, status.message))
        };
        assert_eq!(
            ask(json!({"token": "alice-token"})).await.unwrap(),
            json!({
                "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
                "spec": {"token": "alice-token"},
                "status": {
                    "authenticated": true,
                    "user": {"username": "alice", "uid": "1", "groups": ["dev", "system:authenticated"]},
                    "audiences": ["api"],
                },
            })
        );
        for spec in [json!({"token": "wrong"}), json!({"token": "alice-token", "audiences": ["other"]})] {
            let answer = ask(spec).await.unwrap();
            assert_eq!(answer["status"], json!({"user": {}, "error": "invalid bearer token"}));
        }
        let refused = (400, "token is required for TokenReview in authentication".to_owned());
        assert_eq!(ask(json!({"token": ""})).await, Err(refused));
    }

    #[test]
    fn callers_learn_who_they_are() {
        let mut user = User::new("dave", &["system:authenticated"]);
        user.extra.insert("acme.com/project".to_owned(), vec!["p".to_owned()]);
        assert_eq!(
            self_subject(&user, "2026-07-01T00:00:00.5Z".parse().unwrap()),
            json!({
                "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1",
                "metadata": {"creationTimestamp": "2026-07-01T00:00:00Z"},
                "status": {"userInfo": {
                    "username": "dave", "groups": ["system:authenticated"], "extra": {"acme.com/project": ["p"]},
                }},
            })
        );
    }
}
