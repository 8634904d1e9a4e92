//! `MutatingAdmissionWebhook`: asks webhooks, one after the other, what to change about a write.
//!
//! If one changed something, the whole chain runs once more, and in that second round those webhooks are asked again that
//! say so (`reinvocationPolicy: IfNeeded`) and were asked before the change.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};

use api_types::{field::go_quote, status::Status};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{
    Attributes, Plugin,
    webhook::{self, Failure, Hook, Hooks, Round, Subject, Type},
};
use crate::{audit::policy::Level, patch::json_patch::Patch, server::Server};

const JSON_PATCH: &str = "JSONPatch";

/// The plugin.
#[derive(Debug)]
pub(super) struct MutatingWebhook(Hooks);

/// What the second round of changes needs to know of the first.
#[derive(Clone, Debug, Default)]
pub struct Reinvocation {
    required: bool,
    second: bool,
    /// Webhooks that were asked, and may be asked again.
    asked: BTreeSet<String>,
    /// Those that are to be asked again.
    again: BTreeSet<String>,
    /// The object as the webhooks left it.
    left: Option<Value>,
    /// The same of policies.
    pub(super) policies: super::policies::Asked,
}

// === impl Reinvocation ===

impl Reinvocation {
    /// Asks for a second round, because something changed that earlier plugins did not see.
    pub fn require(&mut self) {
        self.required = true;
    }

    /// Whether this is the second round.
    pub fn is_second(&self) -> bool {
        self.second
    }

    /// Begins the second round if there is to be one. There is no third.
    pub(super) fn begin(&mut self) -> bool {
        let begins = self.required && !self.second;
        self.second |= begins;
        begins
    }

    fn ask_again(&mut self) {
        self.again.append(&mut self.asked);
    }
}

// === impl MutatingWebhook ===

impl Plugin for MutatingWebhook {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.change(attributes))
    }
}

impl MutatingWebhook {
    pub(super) fn new(server: Weak<Server>) -> Self {
        Self(Hooks::new(server, Type::Mutating))
    }

    async fn change(&self, attributes: &mut Attributes) -> Result<(), Status> {
        let Some(round) = self.0.round(attributes).await? else { return Ok(()) };
        let state = &attributes.reinvocation;
        if state.second && state.left.as_ref() != Some(&attributes.object) {
            // The plugins changed what the webhooks left.
            attributes.reinvocation.ask_again();
        }
        for (index, hook) in round.hooks.iter().enumerate() {
            ask(&round, hook, index, attributes).await?;
        }
        if !attributes.reinvocation.second {
            attributes.reinvocation.left = Some(attributes.object.clone());
        }
        Ok(())
    }
}

async fn ask(
    round: &Round,
    hook: &Arc<Hook>,
    index: usize,
    attributes: &mut Attributes,
) -> Result<(), Status> {
    let Some(seen) = round.invocation(hook, attributes).await? else { return Ok(()) };
    let state = &attributes.reinvocation;
    // The second round asks nobody for the first time.
    if state.second && !state.again.contains(&hook.uid) {
        return Ok(());
    }
    let subject = Subject::of(attributes, &seen).await?;
    let outcome = match round.ask(hook, attributes, &seen, &subject).await {
        Err(failure) => Err(failure),
        Ok(verdict) if verdict.patch.is_empty() => Ok(None),
        Ok(verdict) => patched(hook, &verdict, subject.object.clone()),
    };
    let mut changed = false;
    let place = format!("round_{}_index_{index}", u8::from(attributes.reinvocation.second));
    match outcome {
        Err(failure) => {
            note_change(attributes, hook, &place, false);
            webhook::settle(
                hook,
                failure,
                attributes,
                &format!("mutation.webhook.admission.k8s.io/{place}"),
            )?;
        }
        Ok(None) => note_change(attributes, hook, &place, false),
        Ok(Some((object, patch))) => {
            let object = seen.take_back(object).await?;
            changed = object != attributes.object;
            attributes.object = object;
            note_change(attributes, hook, &place, changed);
            note_patch(attributes, hook, &place, &patch);
        }
    }
    if changed {
        attributes.reinvocation.ask_again();
        attributes.reinvocation.require();
    }
    if hook.is_reinvoked {
        attributes.reinvocation.asked.insert(hook.uid.clone());
    }
    Ok(())
}

/// Notes whether a webhook changed something.
fn note_change(attributes: &Attributes, hook: &Hook, place: &str, mutated: bool) {
    if attributes.audit.is_open() {
        let (configuration, webhook) = (json!(hook.configuration), json!(hook.name));
        attributes.audit.annotate(
            format!("mutation.webhook.admission.k8s.io/{place}"),
            format!(r#"{{"configuration":{configuration},"webhook":{webhook},"mutated":{mutated}}}"#),
        );
    }
}

/// Notes what a webhook changed. That says something of the object, so it is for the level Request.
fn note_patch(attributes: &Attributes, hook: &Hook, place: &str, patch: &[u8]) {
    if !attributes.audit.is_open() {
        return;
    }
    let Ok(patch) = serde_json::from_slice::<Value>(patch) else { return };
    let (configuration, webhook) = (json!(hook.configuration), json!(hook.name));
    attributes.audit.annotate_from(
        Level::Request,
        format!("patch.webhook.admission.k8s.io/{place}"),
        format!(
            r#"{{"configuration":{configuration},"webhook":{webhook},"patch":{patch},"patchType":"{JSON_PATCH}"}}"#
        ),
    );
}

/// The object as a webhook wants it, and its patch; none if it wants nothing.
fn patched(
    hook: &Hook,
    verdict: &webhook::Verdict,
    object: Value,
) -> Result<Option<(Value, Vec<u8>)>, Failure> {
    let calling = |reason: String| Failure::Calling { reason, code: 503 };
    let (patch, _) = Patch::decode(&verdict.patch, false).map_err(|status| {
        calling(format!("received undecodable patch in webhook response: {}", status.message))
    })?;
    if patch.is_empty() {
        return Ok(None);
    }
    if object.is_null() {
        let name = go_quote(&hook.name);
        let why = format!(
            "admission webhook {name} attempted to modify the object, which is not supported for this operation"
        );
        return Err(Failure::Internal(Status::internal(why)));
    }
    if verdict.patch_type != JSON_PATCH {
        return Err(calling(format!("unsupported patch type {}", go_quote(&verdict.patch_type))));
    }
    let object = patch.apply_telling(object).map_err(|why| Failure::Internal(Status::internal(why)))?;
    Ok(Some((object, verdict.patch.clone())))
}
