//! `--enable-bootstrap-token-auth`: tokens by which new nodes join, kept in secrets of `kube-system`.
//!
//! Reference page: "Authenticating with Bootstrap Tokens".

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use api_types::object::ObjectExt;

use super::{objects::Objects, user::User};

const NAMESPACE: &str = "kube-system";
const NAME_PREFIX: &str = "bootstrap-token-";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const USER_PREFIX: &str = "system:bootstrap:";
/// The group that all of them are in.
const GROUP: &str = "system:bootstrappers";

/// Verifies bootstrap tokens.
pub struct BootstrapTokens {
    objects: Arc<dyn Objects>,
}

// === impl BootstrapTokens ===

impl BootstrapTokens {
    /// Looks for secrets there.
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Self { objects }
    }

    /// Whom the token stands for; nobody if there is no secret that says so.
    pub async fn authenticate(&self, token: &str, now: Timestamp) -> Option<User> {
        let (id, secret) = split(token)?;
        let name = format!("{NAME_PREFIX}{id}");
        let found = self.objects.get("secrets", NAMESPACE, &name).await.ok().flatten()?;
        judge(&found, id, secret, now)
    }
}

impl fmt::Debug for BootstrapTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootstrapTokens")
    }
}

/// `<six characters>.<sixteen characters>`, lower case and digits.
fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

fn judge(object: &Value, id: &str, secret: &str, now: Timestamp) -> Option<User> {
    if object.get("type").and_then(Value::as_str) != Some(TYPE) || object.is_terminating() {
        return None;
    }
    let data = |field: &str| {
        let encoded = object.get("data")?.get(field)?.as_str()?;
        String::from_utf8(BASE64.decode(encoded).ok()?).ok()
    };
    // Digests are compared, so that the time it takes tells nothing about the secret.
    if Sha256::digest(data("token-secret")?) != Sha256::digest(secret) || data("token-id")? != id {
        return None;
    }
    if let Some(expiration) = data("expiration").filter(|it| !it.is_empty()) {
        let expiration: Timestamp = expiration.parse().ok()?;
        if now > expiration {
            return None;
        }
    }
    if data("usage-bootstrap-authentication").as_deref() != Some("true") {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    let extra = data("auth-extra-groups").filter(|it| !it.is_empty());
    for group in extra.iter().flat_map(|it| it.split(',')) {
        if !is_group(group) {
            return None;
        }
        if !groups.iter().any(|it| it == group) {
            groups.push(group.to_owned());
        }
    }
    groups.sort_unstable();
    Some(User { name: format!("{USER_PREFIX}{id}"), groups, ..User::default() })
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`
fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().last().is_some_and(plain)
        && rest.bytes().all(|byte| plain(byte) || byte == b':' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::authn::objects::FixedObjects;

    fn secret(changes: Value) -> Value {
        let mut data = json!({
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        });
        json_patch::merge(&mut data, &changes);
        let encode = |value: &Value| Value::from(BASE64.encode(value.as_str().unwrap()));
        let data: serde_json::Map<String, Value> =
            data.as_object().unwrap().iter().map(|(key, value)| (key.clone(), encode(value))).collect();
        json!({"type": TYPE, "data": data})
    }

    fn groups(token: &str, object: Value) -> Option<String> {
        let objects = FixedObjects::new([("secrets/kube-system/bootstrap-token-abcdef", object)]);
        let now = "2026-07-01T00:00:00Z".parse().unwrap();
        let tokens = BootstrapTokens::new(Arc::new(objects));
        let user = futures::executor::block_on(tokens.authenticate(token, now))?;
        assert_eq!(user.name, "system:bootstrap:abcdef");
        Some(user.groups.join(" "))
    }

    #[test]
    fn a_secret_says_whether_a_token_is_good_and_for_which_groups() {
        let good = "abcdef.0123456789abcdef";
        let plain = Some("system:bootstrappers");
        for (token, object, wanted) in [
            (good, secret(json!({})), plain),
            (good, secret(json!({"expiration": "2026-07-01T00:00:01Z"})), plain),
            (good, secret(json!({"expiration": "2026-06-30T23:59:59Z"})), None),
            (good, secret(json!({"expiration": "soon"})), None),
            (good, secret(json!({"usage-bootstrap-authentication": "false"})), None),
            (good, secret(json!({"token-id": "other0"})), None),
            (good, json!({"type": "Opaque"}), None),
            (
                good,
                secret(json!({"auth-extra-groups": "system:bootstrappers:kubeadm:default"})),
                Some("system:bootstrappers system:bootstrappers:kubeadm:default"),
            ),
            (good, secret(json!({"auth-extra-groups": "system:masters"})), None),
            ("abcdef.0123456789abcdeX", secret(json!({})), None),
            ("abcdef.0123456789abcdee", secret(json!({})), None),
            ("abcde.0123456789abcdef", secret(json!({})), None),
        ] {
            assert_eq!(groups(token, object).as_deref(), wanted, "{token}");
        }
    }
}
