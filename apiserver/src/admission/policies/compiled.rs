//! Policies and bindings as they are written down, with their expressions compiled.

use cel::{Environment, Type};
use serde_json::Value;

use super::matching::Matching;
use crate::admission::conditions::Expression;
use cel::admission::{self as expressions, Setting, Variable};

/// A policy.
#[derive(Debug)]
pub(in crate::admission) struct Policy {
    pub(in crate::admission) name: String,
    /// Whether writes go on if it cannot be asked.
    pub(in crate::admission) ignores_failure: bool,
    /// Whether it may be asked again about what others changed after it.
    pub(in crate::admission) is_reinvoked: bool,
    pub(super) matching: Matching,
    pub(super) parameter_kind: Option<ParameterKind>,
    pub(super) conditions: Vec<Expression>,
    pub(super) variables: Vec<Variable>,
    pub(in crate::admission) validations: Vec<Validation>,
    pub(in crate::admission) annotations: Vec<Annotation>,
    pub(in crate::admission) mutations: Vec<Mutation>,
}

/// The kind of the objects a policy takes.
#[derive(Debug)]
pub(super) struct ParameterKind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

#[derive(Debug)]
pub(in crate::admission) struct Validation {
    pub(in crate::admission) expression: Expression,
    pub(in crate::admission) message: String,
    pub(in crate::admission) message_expression: Option<Expression>,
    pub(in crate::admission) reason: String,
}

#[derive(Debug)]
pub(in crate::admission) struct Annotation {
    pub(in crate::admission) key: String,
    pub(in crate::admission) expression: Expression,
}

#[derive(Debug)]
pub(in crate::admission) enum Mutation {
    Apply(Expression),
    Patch(Expression),
}

/// What says where a policy applies, with which parameters, and what then happens.
#[derive(Debug)]
pub(in crate::admission) struct Binding {
    pub(in crate::admission) name: String,
    pub(super) policy: String,
    pub(super) matching: Option<Matching>,
    /// `spec.paramRef`; null if there is none.
    pub(super) reference: Value,
    pub(in crate::admission) actions: Vec<String>,
}

/// A policy that validates.
pub(in crate::admission) fn validating(object: &Value) -> Policy {
    let mut policy = common(object);
    let spec = &object["spec"];
    let environment = policy.environment(true, false);
    let messages = policy.environment(false, false);
    policy.validations = items(spec, "validations")
        .map(|it| Validation {
            expression: Expression::compile(&environment, text(it, "expression"), &[Type::Bool]),
            message: text(it, "message").trim().to_owned(),
            message_expression: Some(text(it, "messageExpression"))
                .filter(|source| !source.trim().is_empty())
                .map(|source| Expression::compile(&messages, source, &[Type::String])),
            reason: text(it, "reason").to_owned(),
        })
        .collect();
    policy.annotations = items(spec, "auditAnnotations")
        .map(|it| Annotation {
            key: text(it, "key").to_owned(),
            expression: Expression::compile(
                &environment,
                text(it, "valueExpression").trim(),
                &[Type::String, Type::Null],
            ),
        })
        .collect();
    policy
}

/// A policy that changes objects.
pub(in crate::admission) fn mutating(object: &Value) -> Policy {
    let mut policy = common(object);
    let environment = policy.environment(true, true);
    policy.mutations = items(&object["spec"], "mutations")
        .map(|it| {
            if text(it, "patchType") == "JSONPatch" {
                let source = text(&it["jsonPatch"], "expression").trim();
                Mutation::Patch(Expression::compile(&environment, source, &[expressions::patch_type()]))
            } else {
                let source = text(&it["applyConfiguration"], "expression").trim();
                Mutation::Apply(Expression::compile(&environment, source, &[expressions::object_type()]))
            }
        })
        .collect();
    policy
}

fn common(object: &Value) -> Policy {
    let spec = &object["spec"];
    let parameter_kind = spec.get("paramKind").filter(|it| it.is_object()).map(|kind| {
        let version = text(kind, "apiVersion");
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        ParameterKind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text(kind, "kind").to_owned(),
        }
    });
    let params = parameter_kind.is_some();
    let setting = Setting { params, authorizer: true, patches: false };
    let conditions = expressions::environment(setting);
    let mut variables: Vec<Variable> = Vec::new();
    for variable in items(spec, "variables") {
        let environment = expressions::with_variables(expressions::environment(setting), &variables);
        variables.push(Variable {
            name: text(variable, "name").to_owned(),
            program: expressions::compile(&environment, text(variable, "expression"), &[]),
        });
    }
    Policy {
        name: text(&object["metadata"], "name").to_owned(),
        ignores_failure: text(spec, "failurePolicy") == "Ignore",
        is_reinvoked: text(spec, "reinvocationPolicy") == "IfNeeded",
        matching: Matching::read(&spec["matchConstraints"]),
        parameter_kind,
        conditions: Expression::conditions(&conditions, spec.get("matchConditions")),
        variables,
        validations: Vec::new(),
        annotations: Vec::new(),
        mutations: Vec::new(),
    }
}

impl Policy {
    fn environment(&self, authorizer: bool, patches: bool) -> Environment {
        let setting = Setting { params: self.parameter_kind.is_some(), authorizer, patches };
        expressions::with_variables(expressions::environment(setting), &self.variables)
    }
}

impl Binding {
    pub(super) fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        Self {
            name: text(&object["metadata"], "name").to_owned(),
            policy: text(spec, "policyName").to_owned(),
            matching: spec.get("matchResources").filter(|it| it.is_object()).map(Matching::read),
            reference: spec.get("paramRef").cloned().unwrap_or_default(),
            actions: items(spec, "validationActions").filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}

pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}
