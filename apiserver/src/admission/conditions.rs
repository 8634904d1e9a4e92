//! What expressions of webhooks and of policies have in common: the variables they see, the authorizer they may ask, what
//! they may cost, and `matchConditions`, which say what a webhook or policy is asked about.

use std::cell::Cell;

use api_types::{field::aggregate, kind::GroupVersionKind};
use cel::{
    Activation, Authority, Environment, MATCH_CONDITIONS_BUDGET, Program, Question, Type, Value, Verdict,
};
use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;

use super::{Attributes, Operation, seen::Seen};
use crate::{
    authn::user::{User, service_account},
    authz::{attributes::Attributes as Asked, decision::Authorizer},
    observe::metrics::{Admission, ConditionLabels},
    registry::catalogue::Served,
};
use cel::admission as expressions;

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// An expression, or why it does not compile.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) source: String,
    pub(super) program: Result<Program, String>,
}

/// Why an expression gave nothing.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// This expression went wrong.
    Expression(String),
    /// No further one is evaluated.
    Everything(String),
}

/// The authorizer, asked on behalf of the writer.
#[derive(Debug)]
pub(super) struct OnBehalf<'a> {
    pub(super) authorizer: &'a dyn Authorizer,
    pub(super) user: &'a User,
}

// === impl Fault ===

impl Fault {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Expression(text) | Self::Everything(text) => text,
        }
    }
}

// === impl Expression ===

impl Expression {
    pub(super) fn compile(environment: &Environment, source: &str, types: &[Type]) -> Self {
        Self { source: source.to_owned(), program: expressions::compile(environment, source, types) }
    }

    /// The conditions of a webhook or policy.
    pub(super) fn conditions(environment: &Environment, written: Option<&Json>) -> Vec<Self> {
        let written = written.and_then(Json::as_array).into_iter().flatten();
        let source = |condition: &Json| {
            condition.get("expression").and_then(Json::as_str).unwrap_or_default().to_owned()
        };
        written.map(|it| Self::compile(environment, &source(it), &[Type::Bool])).collect()
    }

    /// Its value, which is paid out of a budget; and so is what `spent` says its variables cost.
    ///
    /// # Errors
    /// What went wrong, in upstream's words.
    pub(super) fn evaluate<'v>(
        &self,
        activation: &Activation<'v>,
        spent: &dyn Fn() -> u64,
        budget: &Cell<u64>,
    ) -> Result<Value<'v>, Fault> {
        let program: &Program = match &self.program {
            Ok(program) => program,
            Err(why) => return Err(Fault::Expression(format!("compilation error: {why}"))),
        };
        let evaluation = program.evaluate(activation);
        let Some(left) = budget.get().checked_sub(evaluation.cost.saturating_add(spent())) else {
            return Err(Fault::Everything(OUT_OF_BUDGET.to_owned()));
        };
        budget.set(left);
        evaluation.result.map_err(|why| {
            Fault::Expression(format!("expression '{}' resulted in error: {why}", self.source))
        })
    }
}

/// Whether all conditions hold, which is counted. What cannot be told counts as the policy for failures says; one that does not hold
/// decides, whatever cannot be told of others.
///
/// # Errors
/// Why that cannot be told.
pub(super) fn hold(
    conditions: &[Expression],
    activation: &Activation<'_>,
    ignores_failure: bool,
    (metrics, labels): (&Admission, ConditionLabels<'_>),
) -> Result<bool, String> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let begun = Instant::now();
    let (verdict, errors) = judge(conditions, activation, ignores_failure);
    metrics.conditions(labels, errors, (verdict != Ok(true)).then(|| begun.elapsed()));
    verdict
}

/// The verdict, and how many of the conditions went wrong.
fn judge(
    conditions: &[Expression],
    activation: &Activation<'_>,
    ignores_failure: bool,
) -> (Result<bool, String>, usize) {
    let budget = Cell::new(MATCH_CONDITIONS_BUDGET);
    let mut errors = Vec::new();
    for condition in conditions {
        match condition.evaluate(activation, &|| 0, &budget) {
            Ok(Value::Bool(false)) => return (Ok(false), errors.len()),
            Ok(_) => {}
            Err(Fault::Expression(why)) => errors.push(why),
            // Then upstream knows of no single condition that went wrong.
            Err(Fault::Everything(why)) => return (if ignores_failure { Ok(false) } else { Err(why) }, 0),
        }
    }
    let count = errors.len();
    let verdict = match errors.is_empty() {
        true => Ok(true),
        false if ignores_failure => Ok(false),
        false => Err(aggregate(errors)),
    };
    (verdict, count)
}

/// What upstream's metrics call what went wrong, from how it is told.
pub(super) fn error_type(message: &str) -> &'static str {
    if message.starts_with("compilation") {
        "compile_error"
    } else if message.starts_with("validation failed due to running out of cost budget") {
        "out_of_budget"
    } else {
        "invalid_error"
    }
}

/// The variables that all expressions see.
pub(super) fn activation<'v>(
    (object, old): (&'v Json, &'v Json),
    request: &'v Json,
    namespace: &'v Json,
    authority: &'v OnBehalf<'v>,
    question: Question,
) -> Activation<'v> {
    Activation::default()
        .with("object", Value::of(object))
        .with("oldObject", Value::of(old))
        .with("request", Value::of(request))
        .with("namespaceObject", Value::of(namespace))
        .with("authorizer", Value::authorizer(authority))
        .with("authorizer.requestResource", Value::resource_check(authority, question))
}

/// The question whether the writer may do what is asked, but for the verb.
pub(super) fn question(attributes: &Attributes) -> Question {
    Question {
        group: attributes.resource.group.as_str().into(),
        resource: attributes.resource.resource.as_str().into(),
        subresource: attributes.subresource.as_str().into(),
        namespace: attributes.namespace.as_str().into(),
        name: attributes.name.as_str().into(),
        ..Question::default()
    }
}

/// The variable `request`: an `AdmissionRequest` without its id and objects.
pub(super) fn request(attributes: &Attributes, seen: &Seen) -> Json {
    let kind =
        |kind: GroupVersionKind| json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let resource = |served: &Served| {
        let names = served.names();
        json!({"group": names.group, "version": names.version, "resource": names.plural})
    };
    let user = &attributes.user;
    let mut info = Map::new();
    put(&mut info, "username", &user.name);
    put(&mut info, "uid", &user.uid);
    if !user.groups.is_empty() {
        info.insert("groups".to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        info.insert("extra".to_owned(), json!(user.extra));
    }
    let mut request = Map::new();
    for (field, value) in [
        ("kind", kind(seen.kind())),
        ("resource", resource(seen.served())),
        ("requestKind", kind(seen.request_kind())),
        ("requestResource", resource(seen.addressed())),
        ("operation", json!(attributes.operation.name())),
        ("userInfo", Json::Object(info)),
        ("dryRun", json!(attributes.dry_run)),
        ("options", options(attributes)),
    ] {
        request.insert(field.to_owned(), value);
    }
    put(&mut request, "subResource", &attributes.subresource);
    put(&mut request, "requestSubResource", &attributes.subresource);
    put(&mut request, "name", &attributes.name);
    put(&mut request, "namespace", &attributes.namespace);
    Json::Object(request)
}

fn put(map: &mut Map<String, Json>, field: &str, text: &str) {
    if !text.is_empty() {
        map.insert(field.to_owned(), text.into());
    }
}

/// The options of the request. Those of a patch are told as those of an update, which it is by now.
fn options(attributes: &Attributes) -> Json {
    let kind = match attributes.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Json::Null,
    };
    let mut options = attributes.options.as_object().cloned().unwrap_or_default();
    options.insert("kind".to_owned(), kind.into());
    options.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
    Json::Object(options)
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
        let is_resource = question.path.is_none();
        let decision = self.authorizer.authorize(&Asked {
            user,
            verb: question.verb.clone(),
            path: question.path.as_deref().unwrap_or_default().to_owned(),
            group: (*question.group).to_owned(),
            version: if is_resource { "*" } else { "" }.to_owned(),
            resource: (*question.resource).to_owned(),
            subresource: (*question.subresource).to_owned(),
            namespace: (*question.namespace).to_owned(),
            name: (*question.name).to_owned(),
            field_selector: (*question.field_selector).to_owned(),
            label_selector: (*question.label_selector).to_owned(),
            resource_request: is_resource,
        });
        Verdict { allowed: decision.is_allow(), reason: decision.reason().to_string(), error: None }
    }
}
