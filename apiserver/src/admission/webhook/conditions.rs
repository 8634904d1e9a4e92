//! `matchConditions`: expressions by which a webhook says what it is to be asked about.

use std::sync::Arc;

use api_types::field::aggregate;
use cel::{
    Activation, Authority, Environment, MATCH_CONDITIONS_BUDGET, PER_CALL_LIMIT, Program, Question, Type,
    Value as Expressed, Verdict,
};
use serde_json::Value;

use super::{
    Attributes, Hook,
    review::{self, Invocation, Subject, Version},
};
use crate::{
    authn::user::{User, service_account},
    authz::{
        attributes::Attributes as Asked,
        decision::{Authorizer, Decision},
    },
    server::Server,
};

const AUTHORIZER: &str = "authorizer";
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The conditions of a webhook. All must hold.
#[derive(Debug, Default)]
pub(in crate::admission) struct Conditions(Vec<Condition>);

#[derive(Debug)]
struct Condition {
    expression: String,
    program: Result<Program, String>,
}

/// The authorizer, asked on behalf of the writer.
#[derive(Debug)]
struct OnBehalf<'a> {
    authorizer: &'a dyn Authorizer,
    user: &'a User,
}

// === impl Conditions ===

impl Conditions {
    pub(super) fn of(written: Option<&Value>) -> Self {
        let environment = Environment::new()
            .with_variable("object", Type::Dyn)
            .with_variable("oldObject", Type::Dyn)
            .with_variable("request", Type::Dyn)
            .with_variable(AUTHORIZER, Type::named("kubernetes.authorization.Authorizer"))
            .with_variable(
                "authorizer.requestResource",
                Type::named("kubernetes.authorization.ResourceCheck"),
            );
        let expressions = written.and_then(Value::as_array).into_iter().flatten();
        let conditions = expressions.map(|condition| {
            let expression = condition.get("expression").and_then(Value::as_str).unwrap_or_default();
            let program = match environment.compile(expression) {
                Ok(program) if program.output().is(&Type::Bool) => Ok(program),
                Ok(_) => Err("compilation error: must evaluate to bool".to_owned()),
                Err(errors) => Err(format!("compilation error: {}: {errors}", errors.stage())),
            };
            Condition { expression: expression.to_owned(), program }
        });
        Self(conditions.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a webhook is to be asked. What cannot be told counts as its policy for failures says.
///
/// # Errors
/// Why that cannot be told.
pub(super) fn matches(
    hook: &Hook,
    attributes: &Attributes,
    invocation: &Invocation,
    subject: &Subject,
    server: &Server,
) -> Result<bool, String> {
    let mut request = review::request("", Version::V1, attributes, invocation, &Subject::default());
    let mut request = request.get_mut("request").map(Value::take).unwrap_or_default();
    if let Some(request) = request.as_object_mut() {
        for field in ["uid", "object", "oldObject"] {
            request.remove(field);
        }
    }
    let authority = OnBehalf { authorizer: server.authorizer.as_ref(), user: &attributes.user };
    let activation = Activation::default()
        .with("object", Expressed::of(&subject.object))
        .with("oldObject", Expressed::of(&subject.old))
        .with("request", Expressed::of(&request))
        .with(AUTHORIZER, Expressed::authorizer(&authority))
        .with("authorizer.requestResource", Expressed::resource_check(&authority, question(attributes)));
    let mut left = MATCH_CONDITIONS_BUDGET;
    let mut errors = Vec::new();
    for condition in &hook.conditions.0 {
        let program = match &condition.program {
            Ok(program) => program,
            Err(why) => {
                errors.push(why.clone());
                continue;
            }
        };
        let evaluation = program.evaluate_within(&activation, PER_CALL_LIMIT);
        let Some(rest) = left.checked_sub(evaluation.cost) else {
            errors.push(OUT_OF_BUDGET.to_owned());
            break;
        };
        left = rest;
        match evaluation.result {
            Ok(value) if value.as_bool() == Some(true) => {}
            // One that does not hold decides, whatever cannot be told of others.
            Ok(_) => return Ok(false),
            Err(error) => {
                errors.push(format!("expression '{}' resulted in error: {error}", condition.expression));
            }
        }
    }
    if errors.is_empty() {
        return Ok(true);
    }
    if hook.ignores_failure { Ok(false) } else { Err(aggregate(errors)) }
}

/// The question whether the writer may do what is asked, but for the verb.
fn question(attributes: &Attributes) -> Question {
    Question {
        group: attributes.resource.group.as_str().into(),
        resource: attributes.resource.resource.as_str().into(),
        subresource: attributes.subresource.as_str().into(),
        namespace: attributes.namespace.as_str().into(),
        name: attributes.name.as_str().into(),
        ..Question::default()
    }
}

// === impl OnBehalf ===

impl Authority for OnBehalf<'_> {
    fn decide(&self, question: &Question) -> Verdict {
        let user = match &question.service_account {
            None => self.user.clone(),
            Some((namespace, name)) => User {
                name: service_account::user_name(namespace, name),
                groups: service_account::groups(namespace),
                ..User::default()
            },
        };
        let asked = Asked {
            user,
            verb: question.verb.clone(),
            namespace: question.namespace.to_string(),
            group: question.group.to_string(),
            version: "*".to_owned(),
            resource: question.resource.to_string(),
            subresource: question.subresource.to_string(),
            name: question.name.to_string(),
            resource_request: question.path.is_none(),
            path: question.path.as_ref().map(Arc::to_string).unwrap_or_default(),
            field_selector: question.field_selector.to_string(),
            label_selector: question.label_selector.to_string(),
        };
        let (allowed, reason) = match self.authorizer.authorize(&asked) {
            Decision::Allow(reason) => (true, reason),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => (false, reason),
        };
        Verdict { allowed, reason: reason.to_string(), error: None }
    }
}
