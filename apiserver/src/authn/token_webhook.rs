//! Tokens that somebody else is asked about (`--authentication-token-webhook-config-file`): a TokenReview, remembered for a while.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use runtime::Runtime;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{authenticator::Authenticated, user::User};
use crate::webhooks::{
    answers::Answers,
    kubeconfig::{Reviewer, TIMEOUT},
};

/// How it is asked, and how long its answers are good.
#[derive(Debug)]
pub struct TokenWebhook {
    reviewer: Reviewer,
    /// `v1` or `v1beta1`.
    version: String,
    /// `--authentication-token-webhook-cache-ttl`
    good_for: Duration,
    answers: Answers<Result<Status, String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    user: UserInfo,
    audiences: Vec<String>,
    error: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct UserInfo {
    username: String,
    uid: String,
    groups: Option<Vec<String>>,
    extra: Option<std::collections::BTreeMap<String, Vec<String>>>,
}

// === impl TokenWebhook ===

impl TokenWebhook {
    /// From flags.
    ///
    /// # Errors
    /// A file that cannot be used, a version that is none.
    pub fn new(file: &Path, version: &str, good_for: Duration, runtime: &Runtime) -> Result<Self, String> {
        if !["v1", "v1beta1"].contains(&version) {
            return Err(format!(
                "unsupported authentication webhook version {version:?}, supported versions are \"v1\", \"v1beta1\""
            ));
        }
        Ok(Self {
            reviewer: Reviewer::open(file, TIMEOUT, runtime.random.clone(), &runtime.tasks)?,
            version: version.to_owned(),
            good_for,
            answers: Answers::default(),
        })
    }

    /// Whom a token stands for; `None` if the webhook does not say. `requested` are the audiences that were asked about, `own`
    /// those of this server, which a webhook that knows none is taken to mean.
    ///
    /// # Errors
    /// What it says is wrong, or that it cannot be asked.
    pub async fn authenticate(
        &self,
        token: &str,
        requested: &[String],
        own: &[String],
        now: Timestamp,
    ) -> Result<Option<Authenticated>, String> {
        let wanted = if requested.is_empty() { own } else { requested };
        let review = json!({
            "kind": "TokenReview",
            "apiVersion": format!("authentication.k8s.io/{}", self.version),
            "metadata": {},
            "spec": {"token": token, "audiences": wanted},
            "status": {"user": {}},
        });
        let question = review.to_string();
        let status = match self.answers.get(&question, now) {
            Some(known) => known,
            None => {
                // That it cannot be asked is not remembered.
                let answer = self.reviewer.review(&review).await?;
                let status = Status::deserialize(answer.get("status").unwrap_or(&Value::Null))
                    .map_err(|error| format!("the token webhook's answer cannot be read: {error}"));
                self.answers.put(&question, status.clone(), now, self.good_for);
                status
            }
        }?;
        if !status.authenticated {
            return if status.error.is_empty() { Ok(None) } else { Err(status.error) };
        }
        let got = if status.audiences.is_empty() { own } else { &status.audiences };
        let audiences: Vec<String> = wanted.iter().filter(|it| got.contains(it)).cloned().collect();
        if audiences.is_empty() && !wanted.is_empty() {
            return Ok(None);
        }
        let UserInfo { username, uid, groups, extra } = status.user;
        let user = User {
            name: username,
            uid,
            groups: groups.unwrap_or_default(),
            extra: extra.unwrap_or_default(),
        };
        Ok(Some(Authenticated { audiences, ..Authenticated::of(user) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::testing::Hook;

    #[tokio::test]
    async fn a_webhook_says_whom_a_token_stands_for_and_is_asked_once_while_its_answer_is_good() {
        let hook = Hook::start(|review| {
            let status = match review.pointer("/spec/token").and_then(Value::as_str) {
                Some("anna") => json!({
                    "authenticated": true,
                    "user": {"username": "anna", "uid": "7", "groups": ["dev"], "extra": {"k": ["v"]}},
                }),
                Some("theirs") => {
                    json!({"authenticated": true, "audiences": ["other"], "user": {"username": "eve"}})
                }
                Some("bad") => json!({"error": "expired"}),
                Some("broken") => return Err(403),
                _ => json!({}),
            };
            Ok(json!({"status": status}))
        })
        .await;
        let runtime = Runtime::system();
        let minute = Duration::from_secs(60);
        let webhook = TokenWebhook::new(hook.kubeconfig(), "v1", minute, &runtime).unwrap();
        let own = ["api".to_owned()];
        let now = runtime.clock.now();
        for (token, requested, wanted) in [
            ("anna", vec![], Ok(Some("anna [api]"))),
            ("anna", vec!["other".to_owned()], Ok(None)),
            ("theirs", vec![], Ok(None)),
            ("theirs", vec!["other".to_owned()], Ok(Some("eve [other]"))),
            ("bad", vec![], Err("expired")),
            ("unknown", vec![], Ok(None)),
            ("broken", vec![], Err("unknown")),
        ] {
            let found = webhook.authenticate(token, &requested, &own, now).await;
            let found = found.map(|it| it.map(|it| format!("{} [{}]", it.user.name, it.audiences.join(" "))));
            let wanted = wanted.map(|it| it.map(str::to_owned)).map_err(str::to_owned);
            assert_eq!(found, wanted, "{token} {requested:?}");
        }
        let asked = hook.asked().len();
        webhook.authenticate("anna", &[], &own, now).await.unwrap();
        assert_eq!(hook.asked().len(), asked);
        webhook.authenticate("anna", &[], &own, now + minute).await.unwrap();
        assert_eq!(hook.asked().len(), asked + 1);
        let review = &hook.asked()[0];
        assert_eq!(review["apiVersion"], "authentication.k8s.io/v1");
        assert_eq!(review["spec"], json!({"token": "anna", "audiences": ["api"]}));
        assert!(TokenWebhook::new(hook.kubeconfig(), "v2", minute, &runtime).is_err());
    }
}
