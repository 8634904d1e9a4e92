//! ValidatingAdmissionPolicy status: warns where an expression of a policy does not fit what the policy is about.
//!
//! A policy may be about anything, so the server takes its expressions without knowing what `object` is; one that asks for a
//! field that is not there fails when it is evaluated, and refuses what it should not. This controller finds the kinds that
//! a policy [names](matched), learns [what they look like](types), [checks](check) every expression against every one of
//! them, and says in the status what does not fit. Nothing else heeds these warnings (KEP-3488).
//!
//! A policy is checked once a generation. What has changed since then in the kinds themselves does not count, as upstream.

mod check;
mod matched;
mod types;

use std::{collections::BTreeMap, fmt, sync::Arc};

use api_types::kind::{GroupVersion, GroupVersionKind};
use cel::Declared;
use client::{
    Api, Cache, Error, Key, Kind, Plan,
    api::discovery::Discovery,
    controller::{Executor, Manager, Options as Workers, Patch, Request},
    events::Recorder,
    queue::Queue,
    resource::VALIDATING_ADMISSION_POLICIES,
};
use futures::FutureExt;
use serde_json::{Value, json};

use self::check::{Types, Warning};
use crate::{
    kinds::{
        ValidatingAdmissionPolicy,
        validating_admission_policy::{ParamKind, PolicySpec},
    },
    shell::{self, Look, Looks},
};

/// Who owns what this controller writes, and what its queue is called.
const MANAGER: &str = "validatingadmissionpolicy-status";

/// Checks policies.
struct Policies {
    api: Api,
    executor: Executor,
    policies: Cache<ValidatingAdmissionPolicy>,
}

/// What the server says of the kinds of a group and version; `None` if it says nothing.
type Documents = BTreeMap<(String, String), Option<Value>>;

/// Starts the controller.
pub(super) fn start(manager: &Manager, workers: Workers) {
    let api = workers.api.unwrap_or_else(|| manager.api.clone());
    let events = Recorder::start(&manager.runtime, api.clone(), MANAGER);
    let queue = Queue::named(MANAGER, &manager.metrics);
    let policies = manager.caches.want::<ValidatingAdmissionPolicy>();
    let inbox = queue.clone();
    policies.subscribe(move |change| inbox.add(change.object().key()));
    let looks = Policies { executor: Executor::new(api.clone(), events), api, policies: policies.clone() };
    let ready = async move { policies.synced().await };
    shell::start(manager, workers.workers, &queue, &Arc::new(looks), ready.boxed().shared());
}

// === impl Policies ===

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").finish_non_exhaustive()
    }
}

impl Looks for Policies {
    type Key = Key;
    const NAME: &'static str = "validatingadmissionpolicy-status-controller";

    async fn look(&self, key: &Key) -> Look {
        let Some(policy) = self.policies.get(key) else {
            return Look::because(key.clone(), "the policy is gone");
        };
        if policy.metadata.generation <= policy.status.observed_generation {
            return Look::because(key.clone(), "it was checked as it is");
        }
        match self.types(&policy.spec).await {
            Ok(types) => {
                let plan = told(&policy, &check::warnings(&policy.spec, &types), types.objects.len());
                Look {
                    execution: self.executor.execute(&plan).await,
                    ..Look::because(key.clone(), plan.why.to_string())
                }
            }
            Err(error) => Look {
                failure: Some(error.to_string()),
                ..Look::because(key.clone(), "cannot tell what the policy is about")
            },
        }
    }
}

impl Policies {
    /// What the expressions of a policy are about. Kinds that are not known are left out.
    async fn types(&self, spec: &PolicySpec) -> Result<Types, Error> {
        let rules = &spec.match_constraints.resource_rules;
        let discovery = if matched::any(rules) { self.api.discover().await? } else { Discovery::default() };
        let mut documents = Documents::new();
        let mut types = Types::default();
        for kind in matched::kinds(rules, &discovery) {
            if let Some(declared) = self.declared(&kind, &mut documents).await? {
                types.objects.push((kind, declared));
            }
        }
        if let Some(kind) = spec.param_kind.as_ref().and_then(kind_of) {
            let declared = self.declared(&kind, &mut documents).await?;
            types.params = Some(declared.unwrap_or_else(Declared::any));
        }
        Ok(types)
    }

    /// What a kind looks like, if that is known: those that are built in are, others the server is asked for.
    async fn declared(
        &self,
        kind: &GroupVersionKind,
        documents: &mut Documents,
    ) -> Result<Option<Arc<Declared>>, Error> {
        if let Some(declared) = types::built_in(kind) {
            return Ok(Some(declared));
        }
        let group_version = (kind.group.clone(), kind.version.clone());
        if !documents.contains_key(&group_version) {
            let document = match self.api.openapi(&kind.group, &kind.version).await {
                Ok(document) => Some(document),
                // A server that does not describe its kinds now may never: they are not checked.
                Err(error) if error.status().is_some() => None,
                Err(error) => return Err(error),
            };
            documents.insert(group_version.clone(), document);
        }
        let document = documents.get(&group_version).and_then(Option::as_ref);
        Ok(document.and_then(|document| types::published(document, kind)))
    }
}

fn kind_of(params: &ParamKind) -> Option<GroupVersionKind> {
    let GroupVersion { group, version } = GroupVersion::parse(&params.api_version)?;
    Some(GroupVersionKind { group, version, kind: params.kind.clone().into() })
}

/// The status as it shall be. Applied, so that the conditions others may have put there stay.
fn told(policy: &ValidatingAdmissionPolicy, warnings: &[Warning], kinds: usize) -> Plan {
    let mut checking = json!({});
    if !warnings.is_empty() {
        checking["expressionWarnings"] =
            warnings.iter().map(|it| json!({"fieldRef": it.field, "warning": it.text})).collect();
    }
    let object = json!({
        "apiVersion": VALIDATING_ADMISSION_POLICIES.api_version(),
        "kind": VALIDATING_ADMISSION_POLICIES.kind,
        "metadata": {"name": policy.metadata.name},
        "status": {"observedGeneration": policy.metadata.generation, "typeChecking": checking},
    });
    let patch = Patch::Apply { object: Arc::new(object), manager: MANAGER, force: true };
    let request = Request::patch(VALIDATING_ADMISSION_POLICIES, policy.key(), patch).on("status");
    Plan::because(match (kinds, warnings.len()) {
        (0, _) => "no kind is known that the policy is about".to_owned(),
        (kinds, 0) => format!("every expression fits the {kinds} kinds the policy is about"),
        (kinds, wrong) => {
            format!("{wrong} expressions do not fit all of the {kinds} kinds the policy is about")
        }
    })
    .then(request)
}

#[cfg(test)]
mod tests {
    use client::Meta;

    use super::*;

    #[test]
    fn the_status_tells_the_generation_and_what_does_not_fit() {
        let policy = ValidatingAdmissionPolicy {
            metadata: Meta { name: "p".into(), generation: 3, ..Meta::default() },
            ..ValidatingAdmissionPolicy::default()
        };
        let wrong = [Warning { field: "spec.validations[0].expression".to_owned(), text: "no".to_owned() }];
        for (warnings, checking) in [
            (&wrong[..0], json!({})),
            (
                &wrong[..],
                json!({"expressionWarnings": [
                    {"fieldRef": "spec.validations[0].expression", "warning": "no"},
                ]}),
            ),
        ] {
            let patch = Patch::Apply {
                object: Arc::new(json!({
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
                    "metadata": {"name": "p"},
                    "status": {"observedGeneration": 3, "typeChecking": checking},
                })),
                manager: "validatingadmissionpolicy-status",
                force: true,
            };
            let request =
                Request::patch(VALIDATING_ADMISSION_POLICIES, Key::cluster("p"), patch).on("status");
            assert_eq!(told(&policy, warnings, 1).writes, [request.into()]);
        }
    }

    #[test]
    fn the_kind_of_parameters_is_read_off_what_the_policy_says() {
        for (api_version, kind) in [
            ("v1", Some(GroupVersionKind::new("", "v1", "ConfigMap"))),
            ("example.com/v1", Some(GroupVersionKind::new("example.com", "v1", "ConfigMap"))),
            ("a/b/c", None),
        ] {
            let params = ParamKind { api_version: api_version.into(), kind: "ConfigMap".into() };
            assert_eq!(kind_of(&params), kind);
        }
    }
}
