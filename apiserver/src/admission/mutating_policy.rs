//! `MutatingAdmissionPolicy`: expressions that say how an object is to be changed, one policy after the other.

use std::{collections::BTreeMap, sync::Weak};

use api_types::{
    kind::GroupVersionKind,
    status::{Cause, Status},
};
use cel::{List, Map, Value};
use futures::future::BoxFuture;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::{
    Attributes, Plugin,
    conditions::{self, Fault},
    policies::{self, Evaluation, Invocation, Mutation, Policies, Round},
};
use crate::{
    observe::metrics::PolicyLabels,
    patch::{apply, json_patch::Patch},
    server::Server,
};

/// The plugin.
#[derive(Debug)]
pub(super) struct MutatingPolicy(Policies);

impl Plugin for MutatingPolicy {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.change(attributes))
    }
}

impl MutatingPolicy {
    pub(super) fn new(server: Weak<Server>) -> Self {
        Self(Policies::mutating(server))
    }

    async fn change(&self, attributes: &mut Attributes) -> Result<(), Status> {
        match self.0.round(attributes).await? {
            Some(round) => carry_out(&round, attributes).await,
            None => Ok(()),
        }
    }
}

async fn carry_out(round: &Round, attributes: &mut Attributes) -> Result<(), Status> {
    let state = &mut attributes.reinvocation;
    let is_second = state.is_second();
    if is_second && state.policies.left.as_ref() != Some(&attributes.object) {
        state.policies.ask_again();
    }
    let mut refused: Vec<String> = Vec::new();
    for wrong in round.misconfigured.iter().filter(|wrong| !wrong.policy.ignores_failure) {
        refused.push(match &wrong.binding {
            Some(binding) => format!(
                "policy '{}' with binding '{}' denied request: failed to configure binding: {}",
                wrong.policy.name, binding.name, wrong.why
            ),
            None => format!(
                "policy {:?} denied request: failed to configure policy: {}",
                wrong.policy.name, wrong.why
            ),
        });
    }
    let is_config = !refused.is_empty();
    for invocation in &round.invocations {
        let key = invocation.key();
        let before = attributes.object.clone();
        match ask(round, invocation, attributes, is_second, &key).await {
            Ok(()) => {}
            Err(why) if invocation.policy.ignores_failure => {
                tracing::warn!(policy = invocation.policy.name, "failing open: {why}");
            }
            Err(why) => refused.push(format!(
                "policy '{}' with binding '{}' denied request: {why}",
                invocation.policy.name, invocation.binding.name
            )),
        }
        if attributes.object != before {
            attributes.reinvocation.policies.ask_again();
            attributes.reinvocation.require();
        }
        if invocation.policy.is_reinvoked {
            attributes.reinvocation.policies.asked.insert(key);
        }
    }
    attributes.reinvocation.policies.left = Some(attributes.object.clone());
    let Some(first) = refused.first() else { return Ok(()) };
    let mut status = attributes.forbidden("admission request denied by policy");
    status.message = first.clone();
    if !is_config {
        status.reason = "Invalid".to_owned();
    }
    let causes = refused.into_iter().map(|message| Cause { message, ..Cause::default() });
    status.details.get_or_insert_default().causes.extend(causes);
    Err(status)
}

/// Lets one policy change the object.
async fn ask(
    round: &Round,
    invocation: &Invocation,
    attributes: &mut Attributes,
    is_second: bool,
    key: &str,
) -> Result<(), String> {
    let policy = &invocation.policy;
    let namespace = policies::namespace_object(&round.namespace);
    let seen = &invocation.seen;
    let request = conditions::request(attributes, seen);
    let unshown = |status: Status| status.message;
    let mut object = seen.show(&attributes.object).await.map_err(unshown)?.into_owned();
    let old = seen.show(&attributes.old).await.map_err(unshown)?.into_owned();
    let parameter = &invocation.parameter;
    let begun = object.clone();
    let kind = seen.kind();
    let mut wrong = None;
    let metrics = &round.server.metrics.admission;
    {
        let authority = policies::authority(round, attributes);
        let over = |object: &Json, work: &mut dyn FnMut(&Evaluation<'_>) -> Result<Option<Json>, String>| {
            let objects = (object, &old);
            work(&Evaluation::new(policy, attributes, objects, parameter, &namespace, &request, &authority))
        };
        let mut concerned = false;
        over(&object, &mut |evaluation| {
            concerned = evaluation.conditions_hold(metrics, attributes)?;
            Ok(None)
        })?;
        // The second round asks nobody for the first time.
        if !concerned
            || (is_second && !attributes.reinvocation.policies.again.contains(key))
            || object.is_null()
        {
            return Ok(());
        }
        for mutation in &policy.mutations {
            let begun = Instant::now();
            let outcome =
                over(&object, &mut |evaluation| mutated(mutation, evaluation, &object, &kind).map(Some));
            let error = outcome.as_ref().map_or_else(|why| conditions::error_type(why), |_| "no_error");
            let labels = PolicyLabels { policy: &policy.name, binding: &invocation.binding.name, error };
            metrics.mutated(labels, begun.elapsed());
            match outcome {
                Ok(changed) => object = changed.unwrap_or(object),
                Err(why) => {
                    wrong.get_or_insert(why);
                }
            }
        }
    }
    if object != begun {
        attributes.object = seen.take_back(object).await.map_err(unshown)?;
    }
    wrong.map_or(Ok(()), Err)
}

fn mutated(
    mutation: &Mutation,
    evaluation: &Evaluation<'_>,
    object: &Json,
    kind: &GroupVersionKind,
) -> Result<Json, String> {
    let text = |fault: Fault| fault.text().to_owned();
    match mutation {
        Mutation::Apply(expression) => {
            let mut applied = evaluation.with(expression, |value| configuration(&value)).map_err(text)??;
            for field in ["apiVersion", "kind"] {
                if let Some(value) = object.get(field) {
                    applied[field] = value.clone();
                }
            }
            apply::lay_over(object, &applied, kind).map_err(|why| format!("error applying patch: {why}"))
        }
        Mutation::Patch(expression) => {
            let operations = evaluation.with(expression, |value| operations(&value)).map_err(text)??;
            let body = serde_json::to_vec(&operations).map_err(|why| why.to_string())?;
            let (patch, _) = Patch::decode(&body, false)
                .map_err(|status| format!("failed to create JSON patch: {}", status.message))?;
            if patch.is_empty() {
                return Ok(object.clone());
            }
            patch.apply_telling(object.clone()).map_err(|why| format!("JSON Patch: {why}"))
        }
    }
}

/// What an applied configuration says, whose types must be named after where they stand.
fn configuration(value: &Value<'_>) -> Result<Json, String> {
    check_names(value, "Object").map_err(|why| format!("type mismatch: {why}"))?;
    let configuration = value.to_json().map_err(|why| why.to_string())?;
    if configuration.is_object() {
        Ok(configuration)
    } else {
        Err("unsupported return type from ApplyConfiguration expression".to_owned())
    }
}

fn check_names(value: &Value<'_>, path: &str) -> Result<(), String> {
    match value {
        Value::Map(Map::Object(object)) => {
            if *object.name != *path {
                return Err(format!(
                    "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
                    object.name
                ));
            }
            object.fields.iter().try_for_each(|(name, value)| check_names(value, &format!("{path}.{name}")))
        }
        Value::List(List::Made(items, _)) => items.iter().try_for_each(|item| check_names(item, path)),
        _ => Ok(()),
    }
}

/// The operations of a patch.
fn operations(value: &Value<'_>) -> Result<Vec<Json>, String> {
    const MISMATCH: &str = "type mismatch: JSONPatchType.expression should evaluate to array";
    let Value::List(list) = value else { return Err(MISMATCH.to_owned()) };
    let mut operations = Vec::new();
    for item in list.to_vec().map_err(|why| format!("{MISMATCH} of JSONPatch: {why}"))? {
        let Value::Map(Map::Object(made)) = &item else {
            return Err(format!("{MISMATCH} of JSONPatch, got element of {}", item.type_name()));
        };
        let mut operation: BTreeMap<&str, Json> = BTreeMap::new();
        for (name, value) in &made.fields {
            if **name == *"value" {
                check_names(value, "Object")
                    .or_else(|_| anywhere(value))
                    .map_err(|why| format!("type mismatch: {why}"))?;
            }
            let value = value.to_json().map_err(|why| {
                format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {why}")
            })?;
            operation.insert(name, value);
        }
        operations.push(serde_json::to_value(operation).map_err(|why| why.to_string())?);
    }
    Ok(operations)
}

/// In a patch an object may begin at any depth, but what is in it must be named after it.
fn anywhere(value: &Value<'_>) -> Result<(), String> {
    match value {
        Value::Map(Map::Object(object)) => check_names(value, &object.name),
        Value::List(List::Made(items, _)) => items.iter().try_for_each(anywhere),
        _ => Ok(()),
    }
}
