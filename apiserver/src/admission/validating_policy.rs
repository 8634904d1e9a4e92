//! `ValidatingAdmissionPolicy`: expressions that refuse writes, warn of them, or only note them.

use std::sync::Weak;

use api_types::status::{Cause, Status};
use futures::future::BoxFuture;

use super::{
    Attributes, Plugin,
    policies::{self, Binding, Evaluation, Fault, Policies, Policy, Round},
};
use crate::server::Server;

/// The plugin.
#[derive(Debug)]
pub(super) struct ValidatingPolicy(Policies);

/// What a policy has against a write.
struct Denial {
    message: String,
    reason: String,
}

impl Plugin for ValidatingPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl ValidatingPolicy {
    pub(super) fn new(server: Weak<Server>) -> Self {
        Self(Policies::validating(server))
    }

    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        match self.0.round(attributes).await? {
            Some(round) => judge(&round, attributes),
            None => Ok(()),
        }
    }
}

fn judge(round: &Round, attributes: &Attributes) -> Result<(), Status> {
    let mut denied: Option<Status> = None;
    let mut deny = |policy: &Policy, binding: Option<&Binding>, denial: &Denial| {
        denied.get_or_insert_with(|| refusal(attributes, policy, binding, denial));
    };
    for wrong in round.misconfigured.iter().filter(|wrong| !wrong.policy.ignores_failure) {
        let what = if wrong.binding.is_some() { "binding" } else { "policy" };
        let message = format!("failed to configure {what}: {}", wrong.why);
        deny(&wrong.policy, wrong.binding.as_deref(), &Denial { message, reason: String::new() });
    }
    let asks = policies::asks(round, attributes);
    let namespace = policies::namespace_object(&round.namespace);
    for invocation in &round.invocations {
        let (policy, binding) = (&invocation.policy, &invocation.binding);
        let request = policies::request(attributes, &invocation.served);
        let (object, old) = policies::shown(attributes, &invocation.served);
        let parameter = &invocation.parameter;
        let evaluation =
            Evaluation::new(policy, attributes, (&object, &old), parameter, &namespace, &request, &asks);
        let (denials, errors) = denials(policy, &evaluation);
        for denial in &denials {
            for action in &binding.actions {
                match action.as_str() {
                    "Deny" => deny(policy, Some(binding), denial),
                    "Warn" => attributes.warnings.add(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, denial.message
                    )),
                    _ => {}
                }
            }
        }
        for error in &errors {
            deny(policy, Some(binding), error);
        }
    }
    denied.map_or(Ok(()), Err)
}

/// What the validations have against a write; and what went wrong with annotations, which denies whatever the actions.
fn denials(policy: &Policy, evaluation: &Evaluation<'_>) -> (Vec<Denial>, Vec<Denial>) {
    let failed = |message: String| Denial { message, reason: String::new() };
    match evaluation.conditions_hold() {
        Ok(true) => {}
        Ok(false) => return (Vec::new(), Vec::new()),
        Err(why) if policy.ignores_failure => {
            tracing::warn!(policy = policy.name, "failing open: {why}");
            return (Vec::new(), Vec::new());
        }
        Err(why) => return (vec![failed(why)], Vec::new()),
    }
    let mut denials = Vec::new();
    for validation in &policy.validations {
        match evaluation.with(&validation.expression, |value| value.as_bool()) {
            Ok(Some(true)) => {}
            Ok(_) => denials
                .push(Denial { message: message(validation, evaluation), reason: validation.reason.clone() }),
            Err(fault) if policy.ignores_failure => {
                tracing::warn!(policy = policy.name, "failing open: {}", fault.text());
                if matches!(fault, Fault::Everything(_)) {
                    return (Vec::new(), Vec::new());
                }
            }
            Err(Fault::Everything(why)) => return (vec![failed(why)], Vec::new()),
            Err(Fault::Expression(why)) => denials.push(failed(why)),
        }
    }
    let mut errors = Vec::new();
    for annotation in &policy.annotations {
        if let Err(fault) = evaluation.with(&annotation.expression, |_| ())
            && !policy.ignores_failure
        {
            errors.push(failed(fault.text().to_owned()));
        }
    }
    (denials, errors)
}

/// From the message's own expression if that gives a good one, or else what is written, or else the expression.
fn message(validation: &policies::Validation, evaluation: &Evaluation<'_>) -> String {
    let made = validation.message_expression.as_ref().and_then(|expression| {
        let text = evaluation.with(expression, |value| value.as_str().map(|it| it.trim().to_owned()));
        text.ok().flatten().filter(|text| text.len() <= cel::LONGEST_MESSAGE && !text.contains('\n'))
    });
    [made.unwrap_or_default(), validation.message.clone()]
        .into_iter()
        .find(|it| !it.is_empty())
        .unwrap_or_else(|| format!("failed expression: {}", validation.expression.source.trim()))
}

fn refusal(attributes: &Attributes, policy: &Policy, binding: Option<&Binding>, denial: &Denial) -> Status {
    let with = binding.map(|it| format!(" with binding '{}'", it.name)).unwrap_or_default();
    let message =
        format!("ValidatingAdmissionPolicy '{}'{with} denied request: {}", policy.name, denial.message);
    let mut status = attributes.forbidden(&message);
    let reason = if denial.reason.is_empty() { "Invalid" } else { &denial.reason };
    status.reason = reason.to_owned();
    status.code = match reason {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status.details.get_or_insert_default().causes.push(Cause { message, ..Cause::default() });
    status
}
