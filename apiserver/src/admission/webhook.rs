//! What both plugins that ask webhooks share: which webhooks there are, whether a write concerns them, and the asking.
//!
//! The configurations come out of the watch cache and are parsed once a revision, with one client a webhook, so that
//! connections last as long as the configuration. Writes of configurations themselves never ask webhooks: one that cannot
//! be reached could not be removed.

mod configuration;
mod review;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use api_types::{field::go_quote, selectors::labels::Selector, status::Status};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use store::backend::Revision;
use tokio::time::Instant;

pub(super) use self::{
    configuration::Hook,
    review::{Subject, Verdict},
};
use super::{
    Attributes, Operation, conditions,
    seen::{Seen, labels},
};
use crate::{
    observe::metrics::{AdmissionLabels, ConditionLabels},
    registry::catalogue::Served,
    server::Server,
    verbs::forms,
};

const GROUP: &str = "admissionregistration.k8s.io";
const EXEMPT: &[&str] = &[
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
];
/// How long a write waits for the configurations to be known.
const READY_MAX: Duration = Duration::from_secs(10);

/// Whether a webhook may change objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Mutating,
    Validating,
}

/// The webhooks of one type, as they are configured.
#[derive(Debug)]
pub(super) struct Hooks {
    server: Weak<Server>,
    of: Type,
    /// By key of the configuration. As many as there are configurations.
    parsed: Mutex<BTreeMap<Arc<str>, Parsed>>,
}

/// At which revision a configuration was parsed, and what came of it.
type Parsed = (Revision, Arc<[Arc<Hook>]>);

/// One write on its way past the webhooks.
pub(super) struct Round {
    pub(super) server: Arc<Server>,
    pub(super) hooks: Vec<Arc<Hook>>,
    of: Type,
    /// The resource as it was addressed.
    served: Arc<Served>,
    /// The labels of the namespace, once somebody asked.
    namespace_labels: Mutex<Option<Result<Map<String, Value>, Status>>>,
}

/// Why a webhook let nothing through.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be asked, or did not answer the question; with the code that is counted.
    Calling { reason: String, code: u16 },
    /// It said no.
    Rejected(Status),
    /// It must not be asked, or its answer cannot be carried out.
    Internal(Status),
}

// === impl Hooks ===

impl Hooks {
    pub(super) fn new(server: Weak<Server>, of: Type) -> Self {
        Self { server, of, parsed: Mutex::default() }
    }

    /// The webhooks that there are for a write; none if it does not concern any.
    ///
    /// # Errors
    /// 403 while the configurations are not known yet.
    pub(super) async fn round(&self, attributes: &Attributes) -> Result<Option<Round>, Status> {
        let is_exempt = attributes.kind.group == GROUP && EXEMPT.contains(&attributes.kind.kind.as_str());
        let Some(server) = self.server.upgrade().filter(|_| !is_exempt) else { return Ok(None) };
        let hooks = self.hooks(&server, attributes).await?;
        if hooks.is_empty() {
            return Ok(None);
        }
        let resource = &attributes.resource;
        let served = server.registry.catalogue.find(&resource.group, &attributes.version, &resource.resource);
        let Some(served) = served else { return Ok(None) };
        let of = self.of;
        Ok(Some(Round { server, hooks, of, served, namespace_labels: Mutex::default() }))
    }

    async fn hooks(&self, server: &Arc<Server>, attributes: &Attributes) -> Result<Vec<Arc<Hook>>, Status> {
        let plural = self.of.plural();
        let Some(served) = server.registry.catalogue.find(GROUP, "v1", plural) else { return Ok(Vec::new()) };
        let cache = served.storage.cache();
        if !cache.is_ready() && tokio::time::timeout(READY_MAX, cache.ready()).await.is_err() {
            return Err(attributes.forbidden("not yet ready to handle request"));
        }
        let snapshot = cache.snapshot();
        if snapshot.is_empty() {
            return Ok(Vec::new());
        }
        let mut hooks = Vec::new();
        let mut parsed = self.parsed.lock();
        let mut current = BTreeMap::new();
        for object in snapshot.range(&served.storage.prefix, None) {
            let known = parsed.remove(&object.key).filter(|(revision, _)| *revision == object.revision);
            let of_object = known.map_or_else(
                || configuration::parse(&forms::value(object), &self.server, &server.runtime.tasks),
                |(_, hooks)| hooks,
            );
            hooks.extend(of_object.iter().cloned());
            current.insert(Arc::clone(&object.key), (object.revision, of_object));
        }
        *parsed = current;
        Ok(hooks)
    }
}

// === impl Round ===

impl Round {
    /// How a webhook is to be asked about a write; `None` if the write does not concern it.
    ///
    /// # Errors
    /// What the namespace, a selector or a condition has against it.
    pub(super) async fn invocation(
        &self,
        hook: &Hook,
        attributes: &Attributes,
    ) -> Result<Option<Seen>, Status> {
        let by_namespace = self.namespace_matches(hook, attributes).await;
        if by_namespace == Ok(false) {
            return Ok(None);
        }
        let by_object = object_matches(hook, attributes);
        if by_object == Ok(false) {
            return Ok(None);
        }
        let catalogue = &self.server.registry.catalogue;
        let seen = Seen::by_rules(&hook.rules, hook.equivalent, &self.served, catalogue, attributes);
        let Some(seen) = seen else { return Ok(None) };
        by_namespace?;
        by_object?;
        if hook.conditions.is_empty() {
            return Ok(Some(seen));
        }
        let subject = Subject::of(attributes, &seen).await?;
        match self.conditions_hold(hook, &seen, &subject, attributes) {
            Ok(true) => Ok(Some(seen)),
            Ok(false) => {
                self.server.metrics.admission.excluded(self.condition_labels(hook, attributes));
                Ok(None)
            }
            Err(why) => Err(Status::forbidden(&attributes.resource, &attributes.name, why)),
        }
    }

    fn conditions_hold(
        &self,
        hook: &Hook,
        seen: &Seen,
        Subject { object, old }: &Subject,
        attributes: &Attributes,
    ) -> Result<bool, String> {
        let request = conditions::request(attributes, seen);
        let authorizer = self.server.authorizer.as_ref();
        let authority = conditions::OnBehalf { authorizer, user: &attributes.user };
        let question = conditions::question(attributes);
        let activation = conditions::activation((object, old), &request, &Value::Null, &authority, question);
        let counted = (&self.server.metrics.admission, self.condition_labels(hook, attributes));
        conditions::hold(&hook.conditions, &activation, hook.ignores_failure, counted)
    }

    fn condition_labels<'a>(&self, hook: &'a Hook, attributes: &Attributes) -> ConditionLabels<'a> {
        let operation = attributes.operation.name();
        ConditionLabels { name: &hook.name, kind: "webhook", of: self.of.label(), operation }
    }

    async fn namespace_matches(&self, hook: &Hook, attributes: &Attributes) -> Result<bool, Status> {
        let of_namespaces =
            attributes.resource.group.is_empty() && attributes.resource.resource == "namespaces";
        if attributes.namespace.is_empty() && !of_namespaces {
            return Ok(true);
        }
        let selector = hook.namespaces.as_ref().map_err(Status::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let written = matches!(attributes.operation, Operation::Create | Operation::Update);
        if of_namespaces && attributes.subresource.is_empty() && written {
            return Ok(selector.matches(&labels(&attributes.object)));
        }
        let known = self.namespace_labels.lock().clone();
        let labels = match known {
            Some(labels) => labels,
            None => {
                let labels = self.read_namespace(&attributes.namespace).await;
                self.namespace_labels.lock().insert(labels).clone()
            }
        };
        labels.map(|labels| selector.matches(&labels))
    }

    async fn read_namespace(&self, name: &str) -> Result<Map<String, Value>, Status> {
        if let Some(found) = super::cached(&self.server, ("", "namespaces"), "", name).await {
            let labels = found.header.labels.iter();
            return Ok(labels.map(|(key, value)| (key.to_owned(), value.into())).collect());
        }
        match self.server.try_get("", "v1", "namespaces", "", name).await? {
            Some(namespace) => Ok(labels(&namespace).cloned().unwrap_or_default()),
            None => {
                let resource = api_types::kind::GroupResource {
                    group: String::new(),
                    resource: "namespaces".to_owned(),
                };
                Err(Status::not_found(&resource, name))
            }
        }
    }

    /// Asks a webhook and counts how that went.
    pub(super) async fn ask(
        &self,
        hook: &Hook,
        attributes: &Attributes,
        seen: &Seen,
        subject: &Subject,
    ) -> Result<Verdict, Failure> {
        let begun = Instant::now();
        let outcome = self.exchange(hook, attributes, seen, subject).await;
        let verdict = outcome.as_ref().map_err(|failure| match failure {
            Failure::Calling { code, .. } => ("calling_webhook_error", *code),
            Failure::Rejected(status) => ("no_error", status.code),
            Failure::Internal(_) => ("apiserver_internal_error", 0),
        });
        let is_open = hook.ignores_failure && matches!(outcome, Err(Failure::Calling { .. }));
        let labels = AdmissionLabels {
            name: &hook.name,
            operation: attributes.operation.name(),
            kind: self.of.label(),
            rejected: outcome.is_err() && !is_open,
        };
        let metrics = &self.server.metrics.admission;
        metrics.webhook(labels, verdict.err().map_or(200, |(_, code)| code), begun.elapsed());
        if let Err((error, code)) = verdict {
            if is_open {
                metrics.webhook_failed_open(labels);
            } else {
                metrics.webhook_rejected(labels, error, code);
            }
        }
        outcome
    }

    async fn exchange(
        &self,
        hook: &Hook,
        attributes: &Attributes,
        seen: &Seen,
        subject: &Subject,
    ) -> Result<Verdict, Failure> {
        if attributes.dry_run && !hook.is_without_effects {
            let why = format!("admission webhook {} does not support dry run", go_quote(&hook.name));
            return Err(Failure::Internal(Status::bad_request(why)));
        }
        let calling = |reason: String, code: u16| Failure::Calling { reason, code };
        let Some(version) = review::version(&hook.review_versions) else {
            let why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            return Err(calling(format!("could not create admission objects: {why}"), 400));
        };
        let client = hook
            .client
            .as_ref()
            .map_err(|error| calling(format!("could not get REST client: {error}"), 500))?;
        let uid = self.server.runtime.random.uuid().to_string();
        let body = review::request(&uid, version, attributes, seen, subject);
        let answer = client
            .post(body.to_string().into(), hook.timeout)
            .await
            .map_err(|error| calling(format!("failed to call webhook: {error}"), 503))?;
        let response = review::response(&answer)
            .map_err(|error| calling(format!("failed to call webhook: {error}"), 503))?;
        let verdict = review::verdict(response, &uid, version, self.of)
            .map_err(|error| calling(format!("received invalid webhook response: {error}"), 503))?;
        attributes.warnings.extend(verdict.warnings.iter().cloned());
        for (key, value) in &verdict.annotations {
            attributes.audit.annotate(format!("{}/{key}", hook.name), value);
        }
        if verdict.allowed {
            return Ok(verdict);
        }
        Err(Failure::Rejected(review::denial(&hook.name, verdict.status)))
    }
}

/// What becomes of a failure: nothing if the webhook's policy is to go on without it, but that is put on record. `place` is
/// which webhook of which round it was, as the audit names it.
///
/// # Errors
/// The refusal of the write.
pub(super) fn settle(
    hook: &Hook,
    failure: Failure,
    attributes: &Attributes,
    place: &str,
) -> Result<(), Status> {
    match failure {
        Failure::Rejected(status) | Failure::Internal(status) => Err(status),
        Failure::Calling { reason, .. } => {
            let why = format!("failed calling webhook {}: {reason}", go_quote(&hook.name));
            if hook.ignores_failure {
                attributes.audit.annotate(format!("failed-open.{place}"), &hook.name);
                tracing::warn!(configuration = hook.configuration, "failing open: {why}");
                Ok(())
            } else {
                Err(Status::internal(why))
            }
        }
    }
}

fn object_matches(hook: &Hook, attributes: &Attributes) -> Result<bool, Status> {
    let selector = hook.objects.as_ref().map_err(Status::internal)?;
    Ok(selector.is_everything()
        || [&attributes.object, attributes.old.as_ref()]
            .into_iter()
            .any(|object| is_selected(selector, object)))
}

fn is_selected(selector: &Selector, object: &Value) -> bool {
    !object.is_null() && selector.matches(&labels(object))
}

// === impl Type ===

impl Type {
    /// What metrics call it.
    fn label(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validating",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Mutating => "mutatingwebhookconfigurations",
            Self::Validating => "validatingwebhookconfigurations",
        }
    }
}
