//! What policies that validate and policies that change objects share: which there are with their bindings, whether a
//! write concerns them, the objects they take as parameters, and the evaluation of their expressions.
//!
//! Policies and bindings come out of the watch cache and are compiled once a revision, so that a policy is in force as
//! soon as it is there. Writes of policies themselves never ask policies: one that refuses everything could not be removed.

mod compiled;
mod evaluation;
mod matching;
mod parameters;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

use api_types::{object::ObjectExt as _, status::Status};
use parking_lot::Mutex;
use serde_json::Value;
use store::backend::Revision;

pub(super) use self::{
    compiled::{Binding, Mutation, Policy, Validation},
    evaluation::{Evaluation, namespace_object},
};
use self::{
    compiled::{mutating, validating},
    matching::Subject,
};
use super::{Attributes, conditions::OnBehalf, seen::Seen};
use crate::{server::Server, verbs::forms};

const GROUP: &str = "admissionregistration.k8s.io";
const EXEMPT: &[&str] = &[
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];
/// Questions that are answered and never stored.
const EXEMPT_QUESTIONS: &[(&str, &str)] = &[
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];
/// How long a write waits for the policies to be known.
const READY_MAX: Duration = Duration::from_secs(10);

/// By key: at which revision it was read, and what came of it.
type Known<T> = BTreeMap<Arc<str>, (Revision, Arc<T>)>;

/// The policies of one sort, as they are configured.
#[derive(Debug)]
pub(super) struct Policies {
    server: Weak<Server>,
    policies: &'static str,
    bindings: &'static str,
    compile: fn(&Value) -> Policy,
    known_policies: Mutex<Known<Policy>>,
    known_bindings: Mutex<Known<Binding>>,
}

/// A policy and a binding that concern a write, with one object as parameter or none.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) policy: Arc<Policy>,
    pub(super) binding: Arc<Binding>,
    /// As what the policy sees the write.
    pub(super) seen: Seen,
    pub(super) parameter: Arc<Value>,
}

/// Why a policy that concerns a write cannot be asked.
#[derive(Debug)]
pub(super) struct Misconfigured {
    pub(super) policy: Arc<Policy>,
    pub(super) binding: Option<Arc<Binding>>,
    pub(super) why: String,
}

/// One write on its way past the policies.
pub(super) struct Round {
    pub(super) server: Arc<Server>,
    pub(super) invocations: Vec<Invocation>,
    pub(super) misconfigured: Vec<Misconfigured>,
    /// The namespace of the object; null if it has none.
    pub(super) namespace: Arc<Value>,
}

/// What the second round of changes needs to know of the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Policies that were asked, and may be asked again.
    pub(super) asked: BTreeSet<String>,
    /// Those that are to be asked again.
    pub(super) again: BTreeSet<String>,
    /// The object as the policies left it.
    pub(super) left: Option<Value>,
}

impl Asked {
    pub(super) fn ask_again(&mut self) {
        self.again.append(&mut self.asked);
    }
}

impl Policies {
    pub(super) fn validating(server: Weak<Server>) -> Self {
        Self::new(server, "validatingadmissionpolicies", "validatingadmissionpolicybindings", validating)
    }

    pub(super) fn mutating(server: Weak<Server>) -> Self {
        Self::new(server, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings", mutating)
    }

    fn new(
        server: Weak<Server>,
        policies: &'static str,
        bindings: &'static str,
        compile: fn(&Value) -> Policy,
    ) -> Self {
        Self {
            server,
            policies,
            bindings,
            compile,
            known_policies: Mutex::default(),
            known_bindings: Mutex::default(),
        }
    }

    /// What there is to be asked about a write; none if it concerns no policy.
    ///
    /// # Errors
    /// 403 while the policies are not known yet; what the namespace has against it.
    pub(super) async fn round(&self, attributes: &Attributes) -> Result<Option<Round>, Status> {
        let resource = (attributes.resource.group.as_str(), attributes.resource.resource.as_str());
        let is_exempt =
            (resource.0 == GROUP && EXEMPT.contains(&resource.1)) || EXEMPT_QUESTIONS.contains(&resource);
        let Some(server) = self.server.upgrade().filter(|_| !is_exempt) else { return Ok(None) };
        let bindings = read(&server, self.bindings, &self.known_bindings, Binding::read, attributes).await?;
        if bindings.is_empty() {
            return Ok(None);
        }
        let policies = read(&server, self.policies, &self.known_policies, self.compile, attributes).await?;
        let served = server.registry.catalogue.find(resource.0, &attributes.version, resource.1);
        let Some(served) = served.filter(|_| !policies.is_empty()) else { return Ok(None) };

        let namespace = namespace_of(&server, attributes).await;
        let subject = Subject {
            attributes,
            served: &served,
            catalogue: &server.registry.catalogue,
            namespace: &namespace,
        };
        let (mut invocations, mut misconfigured) = (Vec::new(), Vec::new());
        for policy in policies {
            let own: Vec<&Arc<Binding>> =
                bindings.iter().filter(|binding| binding.policy == policy.name).collect();
            if own.is_empty() {
                continue;
            }
            let mut wrong = |binding: Option<&Arc<Binding>>, why: String| {
                misconfigured.push(Misconfigured {
                    policy: Arc::clone(&policy),
                    binding: binding.cloned(),
                    why,
                });
            };
            let seen = match policy.matching.matches(&subject) {
                Ok(Some(seen)) => seen,
                Ok(None) => continue,
                Err(why) => {
                    wrong(None, why);
                    continue;
                }
            };
            if let Some(why) = parameters::unknown_kind(&server, &policy) {
                wrong(None, why);
                continue;
            }
            for binding in own {
                match binding
                    .matching
                    .as_ref()
                    .map_or(Ok(true), |it| it.matches(&subject).map(|it| it.is_some()))
                {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(why) => {
                        wrong(Some(binding), why);
                        continue;
                    }
                }
                match parameters::collect(&server, &policy, binding, &attributes.namespace).await {
                    Err(why) => wrong(Some(binding), why),
                    Ok(found) => invocations.extend(found.into_iter().map(|parameter| Invocation {
                        policy: Arc::clone(&policy),
                        binding: Arc::clone(binding),
                        seen: seen.clone(),
                        parameter,
                    })),
                }
            }
        }
        if invocations.is_empty() && misconfigured.is_empty() {
            return Ok(None);
        }
        let namespace = match namespace {
            matching::Namespace::Known(namespace) => namespace,
            matching::Namespace::None => Arc::new(Value::Null),
            matching::Namespace::Unreadable(status) => return Err(status),
        };
        Ok(Some(Round { server, invocations, misconfigured, namespace }))
    }
}

/// Everything of a resource, parsed once a revision.
async fn read<T>(
    server: &Server,
    plural: &str,
    known: &Mutex<Known<T>>,
    parse: impl Fn(&Value) -> T,
    attributes: &Attributes,
) -> Result<Vec<Arc<T>>, Status> {
    let Some(served) = server.registry.catalogue.find(GROUP, "v1", plural) else { return Ok(Vec::new()) };
    let cache = served.storage.cache();
    if !cache.is_ready() && tokio::time::timeout(READY_MAX, cache.ready()).await.is_err() {
        return Err(attributes.forbidden("not yet ready to handle request"));
    }
    let snapshot = cache.snapshot();
    if snapshot.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    let mut known = known.lock();
    let mut current = BTreeMap::new();
    for object in snapshot.range(&served.storage.prefix, None) {
        let parsed = known.remove(&object.key).filter(|(revision, _)| *revision == object.revision);
        let parsed = parsed.map_or_else(|| Arc::new(parse(&forms::value(object))), |(_, parsed)| parsed);
        all.push(Arc::clone(&parsed));
        current.insert(Arc::clone(&object.key), (object.revision, parsed));
    }
    *known = current;
    Ok(all)
}

async fn namespace_of(server: &Server, attributes: &Attributes) -> matching::Namespace {
    let is_namespace = attributes.resource.group.is_empty() && attributes.resource.resource == "namespaces";
    if attributes.namespace.is_empty() || is_namespace {
        return matching::Namespace::None;
    }
    if let Some(found) = super::cached(server, ("", "namespaces"), "", &attributes.namespace).await {
        return matching::Namespace::Known(forms::value(&found));
    }
    match server.try_get("", "v1", "namespaces", "", &attributes.namespace).await {
        Ok(Some(namespace)) => matching::Namespace::Known(namespace),
        Ok(None) => {
            let resource =
                api_types::kind::GroupResource { group: String::new(), resource: "namespaces".to_owned() };
            matching::Namespace::Unreadable(Status::not_found(&resource, &attributes.namespace))
        }
        Err(status) => matching::Namespace::Unreadable(status),
    }
}

impl Invocation {
    /// Which policy, binding and parameter this is.
    pub(super) fn key(&self) -> String {
        let parameter = &self.parameter;
        format!("{}/{}/{}/{}", self.policy.name, self.binding.name, parameter.namespace(), parameter.name())
    }
}

/// The authorizer as expressions may ask it.
pub(super) fn authority<'a>(round: &'a Round, attributes: &'a Attributes) -> OnBehalf<'a> {
    OnBehalf { authorizer: round.server.authorizer.as_ref(), user: &attributes.user }
}
