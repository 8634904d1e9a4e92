//! `ValidatingAdmissionPolicy`: expressions that refuse writes, warn of them, or only note them.

use std::{borrow::Cow, collections::BTreeMap, sync::Weak, time::Duration};

use api_types::status::{Cause, Status};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Attributes, Plugin,
    conditions::{self, Fault},
    policies::{self, Binding, Evaluation, Invocation, Policies, Policy, Round},
};
use crate::{
    observe::metrics::{Admission, PolicyLabels},
    server::Server,
};

/// The plugin.
#[derive(Debug)]
pub(super) struct ValidatingPolicy(Policies);

/// What a policy has against a write.
#[derive(Default)]
struct Denial {
    message: String,
    reason: String,
    /// How long it took to find out.
    elapsed: Duration,
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
            Some(round) => {
                let mut shown = Vec::with_capacity(round.invocations.len());
                for Invocation { seen, .. } in &round.invocations {
                    shown.push((seen.show(&attributes.object).await?, seen.show(&attributes.old).await?));
                }
                judge(&round, &shown, attributes)
            }
            None => Ok(()),
        }
    }
}

/// `shown` are the objects, new and old, as each policy sees them.
fn judge(
    round: &Round,
    shown: &[(Cow<'_, Value>, Cow<'_, Value>)],
    attributes: &Attributes,
) -> Result<(), Status> {
    let mut denied: Option<Status> = None;
    let mut deny = |policy: &Policy, binding: Option<&Binding>, denial: &Denial| {
        denied.get_or_insert_with(|| refusal(attributes, policy, binding, denial));
    };
    for wrong in round.misconfigured.iter().filter(|wrong| !wrong.policy.ignores_failure) {
        let what = if wrong.binding.is_some() { "binding" } else { "policy" };
        let message = format!("failed to configure {what}: {}", wrong.why);
        deny(&wrong.policy, wrong.binding.as_deref(), &Denial { message, ..Denial::default() });
    }
    let mut noted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let authority = policies::authority(round, attributes);
    let namespace = policies::namespace_object(&round.namespace);
    for (invocation, (object, old)) in round.invocations.iter().zip(shown) {
        let (policy, binding) = (&invocation.policy, &invocation.binding);
        let request = conditions::request(attributes, &invocation.seen);
        let parameter = &invocation.parameter;
        let evaluation =
            Evaluation::new(policy, attributes, (object, old), parameter, &namespace, &request, &authority);
        let metrics = &round.server.metrics.admission;
        let Judgement { denials, errors, passed, annotations } =
            denials(policy, &evaluation, metrics, attributes);
        let count = |denial: &Denial, action: &str| {
            // Upstream knows no other error of a validation that simply does not hold.
            let error = conditions::error_type(&denial.message);
            let labels = PolicyLabels { policy: &policy.name, binding: &binding.name, error };
            metrics.validated(labels, action, denial.elapsed);
        };
        passed.iter().for_each(|it| count(it, "allow"));
        for (key, value) in annotations {
            let values = noted.entry(format!("{}/{key}", policy.name)).or_default();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        for (index, denial) in &denials {
            for action in &binding.actions {
                match action.as_str() {
                    "Deny" => {
                        deny(policy, Some(binding), denial);
                        count(denial, "deny");
                    }
                    "Warn" => {
                        attributes.warnings.add(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                            policy.name, binding.name, denial.message
                        ));
                        count(denial, "warn");
                    }
                    "Audit" => {
                        note_failure(attributes, policy, binding, *index, denial);
                        count(denial, "audit");
                    }
                    _ => {}
                }
            }
        }
        for error in &errors {
            deny(policy, Some(binding), error);
            count(error, "deny");
        }
    }
    for (key, values) in noted {
        attributes.audit.annotate(key, values.join(", "));
    }
    denied.map_or(Ok(()), Err)
}

/// Notes a denial that only the audit is told of. Of several the first.
fn note_failure(attributes: &Attributes, policy: &Policy, binding: &Binding, index: usize, denial: &Denial) {
    if attributes.audit.is_open() {
        let (message, policy) = (json!(denial.message), json!(policy.name));
        let (binding, actions) = (json!(binding.name), json!(binding.actions));
        attributes.audit.annotate(
            "validation.policy.admission.k8s.io/validation_failure",
            format!(
                r#"[{{"message":{message},"policy":{policy},"binding":{binding},"expressionIndex":{index},"validationActions":{actions}}}]"#
            ),
        );
    }
}

/// What a policy says of a write.
#[derive(Default)]
struct Judgement {
    /// What the validations have against it, with the number of each.
    denials: Vec<(usize, Denial)>,
    /// What went wrong with annotations, which denies whatever the actions.
    errors: Vec<Denial>,
    /// What went wrong and is passed over.
    passed: Vec<Denial>,
    /// What the audit is to note.
    annotations: Vec<(String, String)>,
}

/// How long the value of an annotation may be, in bytes; the rest is cut off.
const ANNOTATION_MAX: usize = 10 * 1024;

fn denials(
    policy: &Policy,
    evaluation: &Evaluation<'_>,
    metrics: &Admission,
    attributes: &Attributes,
) -> Judgement {
    let failed = |message: String, elapsed| Denial { message, elapsed, ..Denial::default() };
    match evaluation.conditions_hold(metrics, attributes) {
        Ok(true) => {}
        Ok(false) => return Judgement::default(),
        Err(why) => {
            return Judgement { denials: vec![(0, failed(why, Duration::ZERO))], ..Judgement::default() };
        }
    }
    let (mut denials, mut passed) = (Vec::new(), Vec::new());
    for (index, validation) in policy.validations.iter().enumerate() {
        let begun = Instant::now();
        let outcome = evaluation.with(&validation.expression, |value| value.as_bool());
        let elapsed = begun.elapsed();
        match outcome {
            Ok(Some(true)) => {}
            Ok(_) => {
                let (message, reason) = (message(validation, evaluation), validation.reason.clone());
                denials.push((index, Denial { message, reason, elapsed }));
            }
            Err(fault) if policy.ignores_failure => {
                let why = fault.text().to_owned();
                tracing::warn!(policy = policy.name, "failing open: {why}");
                if matches!(fault, Fault::Everything(_)) {
                    return Judgement { passed: vec![failed(why, Duration::ZERO)], ..Judgement::default() };
                }
                passed.push(failed(why, elapsed));
            }
            Err(Fault::Everything(why)) => {
                let denials = vec![(index, failed(why, Duration::ZERO))];
                return Judgement { denials, ..Judgement::default() };
            }
            Err(Fault::Expression(why)) => denials.push((index, failed(why, elapsed))),
        }
    }
    let (mut errors, mut annotations) = (Vec::new(), Vec::new());
    for annotation in &policy.annotations {
        let begun = Instant::now();
        match evaluation.with(&annotation.expression, |value| value.as_str().map(|it| it.trim().to_owned())) {
            Ok(Some(mut value)) if !value.is_empty() => {
                value.truncate(value.floor_char_boundary(ANNOTATION_MAX));
                annotations.push((annotation.key.clone(), value));
            }
            Ok(_) => {}
            Err(_) if policy.ignores_failure => {}
            Err(fault) => errors.push(failed(fault.text().to_owned(), begun.elapsed())),
        }
    }
    Judgement { denials, errors, passed, annotations }
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
