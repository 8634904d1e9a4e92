//! Somebody else is asked what users may do (`--authorization-webhook-config-file`): a SubjectAccessReview, remembered for a
//! while. A request waits for the answer; whoever cannot wait asks on a thread that may stand still.

use std::{path::Path, sync::Arc, time::Duration};

use api_types::selectors::{fields, labels};
use futures::{FutureExt as _, future::BoxFuture};
use runtime::{Runtime, SharedClock};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::{
    attributes::Attributes,
    decision::{Authorizer, Decision, Rules},
};
use crate::{
    authn::user::User,
    webhooks::{answers::Answers, kubeconfig::Reviewer},
};

/// What is larger than this is not remembered: whoever asks for it could fill the memory.
const REMEMBERED_BYTES_MAX: usize = 10_000;

/// How it is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `v1` or `v1beta1`.
    pub version: String,
    /// How long a yes is good.
    pub authorized_ttl: Duration,
    /// How long anything else is good.
    pub unauthorized_ttl: Duration,
    /// How long one try may take.
    pub timeout: Duration,
    /// Whether nobody else is asked when it cannot be asked.
    pub deny_on_failure: bool,
}

/// A webhook that authorizes.
#[derive(Debug)]
pub struct Webhook {
    reviewer: Reviewer,
    settings: Settings,
    answers: Answers<Status>,
    clock: SharedClock,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    allowed: bool,
    denied: bool,
    reason: String,
}

// === impl Webhook ===

impl Webhook {
    /// The webhook that a kubeconfig leads to.
    ///
    /// # Errors
    /// A file that cannot be used, a version that is none.
    pub fn new(kubeconfig: &Path, settings: Settings, runtime: &Runtime) -> Result<Self, String> {
        if !["v1", "v1beta1"].contains(&settings.version.as_str()) {
            return Err(format!(
                "unsupported webhook authorizer version {:?}, supported versions are \"v1\", \"v1beta1\"",
                settings.version
            ));
        }
        Ok(Self {
            reviewer: Reviewer::open(kubeconfig, settings.timeout, runtime.random.clone(), &runtime.tasks)?,
            settings,
            answers: Answers::default(),
            clock: Arc::clone(&runtime.clock),
        })
    }

    fn known(&self, question: &str) -> Option<Decision> {
        self.answers.get(question, self.clock.now()).map(Status::decision)
    }

    async fn decide(&self, spec: Value) -> Decision {
        let question = spec.to_string();
        if let Some(known) = self.known(&question) {
            return known;
        }
        let review = json!({
            "kind": "SubjectAccessReview",
            "apiVersion": format!("authorization.k8s.io/{}", self.settings.version),
            "metadata": {},
            "spec": spec,
            "status": {"allowed": false},
        });
        let answer = self.reviewer.review(&review).await.and_then(|answer| {
            Status::deserialize(answer.get("status").unwrap_or(&Value::Null))
                .map_err(|error| error.to_string())
        });
        match answer {
            Ok(status) => {
                let good_for = if status.allowed {
                    self.settings.authorized_ttl
                } else {
                    self.settings.unauthorized_ttl
                };
                if question.len() <= REMEMBERED_BYTES_MAX {
                    self.answers.put(&question, status.clone(), self.clock.now(), good_for);
                }
                status.decision()
            }
            Err(why) => {
                tracing::error!(why, "the authorization webhook cannot be asked");
                self.failed()
            }
        }
    }

    fn failed(&self) -> Decision {
        if self.settings.deny_on_failure { Decision::Deny("".into()) } else { Decision::NO_OPINION }
    }
}

impl Authorizer for Webhook {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        let spec = spec(attributes, &self.settings.version);
        if let Some(known) = self.known(&spec.to_string()) {
            return known;
        }
        match Handle::try_current() {
            Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(|| handle.block_on(self.decide(spec)))
            }
            _ => {
                tracing::error!("the authorization webhook cannot be waited for here");
                self.failed()
            }
        }
    }

    fn ask<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        self.decide(spec(attributes, &self.settings.version)).boxed()
    }

    fn waits(&self) -> bool {
        true
    }

    fn rules_for(&self, _: &User, _: &str) -> Rules {
        Rules {
            incomplete: true,
            errors: vec!["webhook authorizer does not support user rule resolution".to_owned()],
            ..Rules::default()
        }
    }
}

// === impl Status ===

impl Status {
    fn decision(self) -> Decision {
        let reason = self.reason.as_str().into();
        match (self.denied, self.allowed) {
            (true, _) => Decision::Deny(reason),
            (false, true) => Decision::Allow(reason),
            (false, false) => Decision::NoOpinion(reason),
        }
    }
}

/// The question as a review puts it.
fn spec(asked: &Attributes, version: &str) -> Value {
    let mut spec = Map::new();
    let mut set = |field: &str, value: Value| {
        let is_empty = match &value {
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        if !is_empty {
            spec.insert(field.to_owned(), value);
        }
    };
    if asked.resource_request {
        let mut of = Map::new();
        for (field, value) in [
            ("namespace", &asked.namespace),
            ("verb", &asked.verb),
            ("group", &asked.group),
            ("version", &asked.version),
            ("resource", &asked.resource),
            ("subresource", &asked.subresource),
            ("name", &asked.name),
        ] {
            if !value.is_empty() {
                of.insert(field.to_owned(), value.as_str().into());
            }
        }
        for (field, requirements) in [
            ("fieldSelector", by_fields(&asked.field_selector)),
            ("labelSelector", by_labels(&asked.label_selector)),
        ] {
            if !requirements.is_empty() {
                of.insert(field.to_owned(), json!({"requirements": requirements}));
            }
        }
        set("resourceAttributes", Value::Object(of));
    } else {
        set("nonResourceAttributes", json!({"path": asked.path, "verb": asked.verb}));
    }
    set("user", asked.user.name.as_str().into());
    set(if version == "v1beta1" { "group" } else { "groups" }, json!(asked.user.groups));
    set("extra", json!(asked.user.extra));
    set("uid", asked.user.uid.as_str().into());
    Value::Object(spec)
}

/// A selector only narrows, so one that cannot be read may be left out.
fn by_fields(selector: &str) -> Vec<Value> {
    let Ok(selector) = fields::Selector::parse(selector) else { return Vec::new() };
    let terms = selector.terms().iter().map(|term| {
        let operator = if term.operator == fields::Operator::Equals { "In" } else { "NotIn" };
        json!({"key": term.field, "operator": operator, "values": [term.value]})
    });
    terms.collect()
}

fn by_labels(selector: &str) -> Vec<Value> {
    let Ok(selector) = labels::Selector::parse(selector) else { return Vec::new() };
    let terms = selector.requirements().iter().filter_map(|term| {
        let operator = match term.operator() {
            labels::Operator::In | labels::Operator::Equals | labels::Operator::DoubleEquals => "In",
            labels::Operator::NotIn | labels::Operator::NotEquals => "NotIn",
            labels::Operator::Exists => "Exists",
            labels::Operator::DoesNotExist => "DoesNotExist",
            _ => return None,
        };
        let mut requirement = json!({"key": term.key(), "operator": operator});
        if !term.values().is_empty() {
            api_types::object::object_of(&mut requirement).insert("values".to_owned(), json!(term.values()));
        }
        Some(requirement)
    });
    terms.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::testing::Hook;

    fn settings() -> Settings {
        Settings {
            version: "v1".to_owned(),
            authorized_ttl: Duration::from_secs(300),
            unauthorized_ttl: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            deny_on_failure: false,
        }
    }

    fn asked(user: &str) -> Attributes {
        Attributes {
            user: User::new(user, &["dev"]),
            verb: "list".to_owned(),
            namespace: "a".to_owned(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            resource_request: true,
            field_selector: "spec.nodeName=n1".to_owned(),
            label_selector: "app in (x,y),!old".to_owned(),
            ..Attributes::default()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_webhook_allows_denies_or_has_no_opinion_and_its_answers_are_remembered() {
        let hook = Hook::start(|review| {
            let status = match review.pointer("/spec/user").and_then(Value::as_str) {
                Some("alice") => json!({"allowed": true, "reason": "hers"}),
                Some("eve") => json!({"allowed": true, "denied": true, "reason": "never"}),
                Some("broken") => return Err(403),
                _ => json!({"allowed": false, "reason": "not mine"}),
            };
            Ok(json!({"status": status}))
        })
        .await;
        let runtime = Runtime::system();
        let webhook = Webhook::new(hook.kubeconfig(), settings(), &runtime).unwrap();
        for (user, wanted) in [
            ("alice", Decision::Allow("hers".into())),
            ("eve", Decision::Deny("never".into())),
            ("bob", Decision::NoOpinion("not mine".into())),
            ("broken", Decision::NO_OPINION),
        ] {
            assert_eq!(webhook.ask(&asked(user)).await, wanted, "{user}");
            assert_eq!(webhook.authorize(&asked(user)), wanted, "{user}");
        }
        assert_eq!(hook.asked().len(), 5, "only what failed is asked again");
        let strict = Settings { deny_on_failure: true, ..settings() };
        let strict = Webhook::new(hook.kubeconfig(), strict, &runtime).unwrap();
        assert_eq!(strict.ask(&asked("broken")).await, Decision::Deny("".into()));
        assert_eq!(
            hook.asked()[0]["spec"],
            json!({
                "resourceAttributes": {
                    "namespace": "a", "verb": "list", "version": "v1", "resource": "pods",
                    "fieldSelector": {"requirements": [
                        {"key": "spec.nodeName", "operator": "In", "values": ["n1"]},
                    ]},
                    "labelSelector": {"requirements": [
                        {"key": "app", "operator": "In", "values": ["x", "y"]},
                        {"key": "old", "operator": "DoesNotExist"},
                    ]},
                },
                "user": "alice",
                "groups": ["dev"],
            })
        );
        assert!(webhook.rules_for(&User::default(), "a").incomplete);
    }
}
