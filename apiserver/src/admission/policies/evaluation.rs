//! The expressions of a policy, evaluated over one write: within a budget, with variables evaluated when they are asked for.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use cel::{
    Activation, Authority, EvalError, Lazy, MATCH_CONDITIONS_BUDGET, Program, Question, RUNTIME_BUDGET,
    Value, Verdict,
};
use serde_json::{Value as Json, json};

use super::{
    Round,
    compiled::{Expression, Policy},
    matching::operation,
};
use crate::{
    admission::Attributes,
    authn::user::User,
    authz::{attributes::Attributes as Asked, decision::Authorizer},
    expressions::Variable,
    registry::catalogue::Served,
};

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Why an expression gave nothing.
#[derive(Debug, PartialEq)]
pub(in crate::admission) enum Fault {
    /// This expression went wrong.
    Expression(String),
    /// No further one is evaluated.
    Everything(String),
}

impl Fault {
    pub(in crate::admission) fn text(&self) -> &str {
        match self {
            Self::Expression(text) | Self::Everything(text) => text,
        }
    }
}

/// What expressions are evaluated over.
pub(in crate::admission) struct Evaluation<'a> {
    policy: &'a Policy,
    object: &'a Json,
    old: &'a Json,
    parameter: &'a Json,
    namespace: &'a Json,
    request: &'a Json,
    asks: &'a Asks<'a>,
    question: Question,
    budget: Cell<u64>,
}

/// The authorizer, asked on behalf of the writer.
#[derive(Debug)]
pub(in crate::admission) struct Asks<'a> {
    authorizer: &'a dyn Authorizer,
    user: &'a User,
}

impl<'a> Asks<'a> {
    pub(in crate::admission) fn new(round: &'a Round, attributes: &'a Attributes) -> Self {
        Self { authorizer: round.server.authorizer.as_ref(), user: &attributes.user }
    }
}

impl Authority for Asks<'_> {
    fn decide(&self, question: &Question) -> Verdict {
        let user = match &question.service_account {
            None => self.user.clone(),
            Some((namespace, name)) => User::new(
                &format!("system:serviceaccount:{namespace}:{name}"),
                &["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")],
            ),
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

/// The variable `request`, with the resource as the policy speaks of it.
pub(in crate::admission) fn request(attributes: &Attributes, served: &Served) -> Json {
    let names = served.names();
    let requested = &attributes.resource;
    let kind = json!({"group": names.group, "version": names.version, "kind": names.kind});
    let resource = json!({"group": names.group, "version": names.version, "resource": names.plural});
    let mut user = json!({});
    let mut put = |field: &str, value: Json, empty: bool| {
        if !empty {
            user[field] = value;
        }
    };
    put("username", attributes.user.name.as_str().into(), attributes.user.name.is_empty());
    put("uid", attributes.user.uid.as_str().into(), attributes.user.uid.is_empty());
    put("groups", json!(attributes.user.groups), attributes.user.groups.is_empty());
    put("extra", json!(attributes.user.extra), attributes.user.extra.is_empty());
    let mut request = json!({
        "kind": kind,
        "resource": resource,
        "requestKind": {"group": requested.group, "version": attributes.version, "kind": names.kind},
        "requestResource": {"group": requested.group, "version": attributes.version, "resource": requested.resource},
        "operation": operation(attributes.operation),
        "userInfo": user,
        "dryRun": attributes.dry_run,
        "options": attributes.options,
    });
    for (field, value) in [
        ("subResource", &attributes.subresource),
        ("requestSubResource", &attributes.subresource),
        ("name", &attributes.name),
        ("namespace", &attributes.namespace),
    ] {
        if !value.is_empty() {
            request[field] = value.as_str().into();
        }
    }
    request
}

/// The variable `namespaceObject`: of the namespace, what expressions may see.
pub(in crate::admission) fn namespace_object(namespace: &Json) -> Json {
    if namespace.is_null() {
        return Json::Null;
    }
    let mut shown = json!({});
    for part in ["metadata", "spec", "status"] {
        if let Some(value) = namespace.get(part) {
            shown[part] = value.clone();
        }
    }
    if let Some(meta) = shown.get_mut("metadata").and_then(Json::as_object_mut) {
        meta.remove("managedFields");
        meta.remove("ownerReferences");
    }
    shown
}

impl<'a> Evaluation<'a> {
    /// Over `object` and `old` as the policy is to see them.
    pub(in crate::admission) fn new(
        policy: &'a Policy,
        attributes: &Attributes,
        (object, old): (&'a Json, &'a Json),
        parameter: &'a Json,
        namespace: &'a Json,
        request: &'a Json,
        asks: &'a Asks<'a>,
    ) -> Self {
        let question = Question {
            group: attributes.resource.group.as_str().into(),
            resource: attributes.resource.resource.as_str().into(),
            subresource: attributes.subresource.as_str().into(),
            namespace: attributes.namespace.as_str().into(),
            name: attributes.name.as_str().into(),
            ..Question::default()
        };
        let budget = Cell::new(RUNTIME_BUDGET);
        Self { policy, object, old, parameter, namespace, request, asks, question, budget }
    }

    /// Whether the policy is to be asked at all.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(in crate::admission) fn conditions_hold(&self) -> Result<bool, String> {
        if self.policy.conditions.is_empty() {
            return Ok(true);
        }
        let budget = Cell::new(MATCH_CONDITIONS_BUDGET);
        let activation = self.activation(&Json::Null, None);
        let mut wrong = Vec::new();
        for condition in &self.policy.conditions {
            match evaluate(condition, &activation, None, &budget) {
                Ok(Value::Bool(false)) => return Ok(false),
                Ok(_) => {}
                Err(Fault::Expression(why)) => wrong.push(why),
                Err(Fault::Everything(why)) => {
                    return if self.policy.ignores_failure { Ok(false) } else { Err(why) };
                }
            }
        }
        match wrong.as_slice() {
            [] => Ok(true),
            _ if self.policy.ignores_failure => Ok(false),
            [only] => Err(only.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    /// Evaluates one expression and gives its value to `then`.
    ///
    /// # Errors
    /// What went wrong, in upstream's words.
    pub(in crate::admission) fn with<T>(
        &self,
        expression: &Expression,
        then: impl FnOnce(Value<'_>) -> T,
    ) -> Result<T, Fault> {
        let variables = Rc::new(Variables::new(&self.policy.variables));
        let activation = self.activation(self.namespace, Some(&variables));
        evaluate(expression, &activation, Some(&variables), &self.budget).map(then)
    }

    fn activation<'v>(
        &'v self,
        namespace: &'v Json,
        variables: Option<&Rc<Variables<'v>>>,
    ) -> Activation<'v> {
        let activation = Activation::default()
            .with("object", Value::of(self.object))
            .with("oldObject", Value::of(self.old))
            .with("params", Value::of(self.parameter))
            .with("request", Value::of(self.request))
            .with("namespaceObject", Value::of(namespace))
            .with("authorizer", Value::authorizer(self.asks))
            .with("authorizer.requestResource", Value::resource_check(self.asks, self.question.clone()));
        match variables {
            Some(variables) => {
                let lazy: Rc<dyn Lazy<'v> + 'v> = Rc::<Variables<'v>>::clone(variables);
                activation.with_lazy("variables", lazy)
            }
            None => activation,
        }
    }
}

fn evaluate<'v>(
    expression: &Expression,
    activation: &Activation<'v>,
    variables: Option<&Variables<'v>>,
    budget: &Cell<u64>,
) -> Result<Value<'v>, Fault> {
    let program: &Program = match &expression.program {
        Ok(program) => program,
        Err(why) => return Err(Fault::Expression(format!("compilation error: {why}"))),
    };
    let evaluation = program.evaluate(activation);
    let cost = evaluation.cost.saturating_add(variables.map_or(0, |it| it.spent.get()));
    let Some(left) = budget.get().checked_sub(cost) else {
        return Err(Fault::Everything(OUT_OF_BUDGET.to_owned()));
    };
    budget.set(left);
    evaluation.result.map_err(|why| {
        Fault::Expression(format!("expression '{}' resulted in error: {why}", expression.source))
    })
}

/// The variables of a policy, each evaluated at most once an expression.
struct Variables<'v> {
    all: &'v [Variable],
    known: RefCell<BTreeMap<String, Result<Value<'v>, EvalError>>>,
    spent: Cell<u64>,
}

impl<'v> Variables<'v> {
    fn new(all: &'v [Variable]) -> Self {
        Self { all, known: RefCell::default(), spent: Cell::new(0) }
    }
}

impl<'v> Lazy<'v> for Variables<'v> {
    fn field(&self, name: &str, activation: &Activation<'v>) -> Option<Result<Value<'v>, EvalError>> {
        if let Some(known) = self.known.borrow().get(name) {
            return Some(known.clone());
        }
        let variable = self.all.iter().find(|it| it.name == name)?;
        let value = match &variable.program {
            Err(why) => Err(EvalError::new(format!(
                "composited variable {name:?} fails to compile: compilation error: {why}"
            ))),
            Ok(program) => {
                let evaluation = program.evaluate(activation);
                self.spent.set(self.spent.get().saturating_add(evaluation.cost));
                evaluation.result.map_err(|why| {
                    EvalError::new(format!("composited variable {name:?} fails to evaluate: {why}"))
                })
            }
        };
        self.known.borrow_mut().insert(name.to_owned(), value.clone());
        Some(value)
    }
}
