//! The expressions of a policy, evaluated over one write: within a budget, with variables evaluated when they are asked for.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use cel::{Activation, EvalError, Lazy, Question, RUNTIME_BUDGET, Value};
use serde_json::{Value as Json, json};

use super::compiled::Policy;
use crate::{
    admission::{
        Attributes,
        conditions::{self, Expression, Fault, OnBehalf},
    },
    observe::metrics::{Admission, ConditionLabels},
};
use cel::admission::Variable;

/// What expressions are evaluated over.
pub(in crate::admission) struct Evaluation<'a> {
    policy: &'a Policy,
    object: &'a Json,
    old: &'a Json,
    parameter: &'a Json,
    namespace: &'a Json,
    request: &'a Json,
    authority: &'a OnBehalf<'a>,
    question: Question,
    budget: Cell<u64>,
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
        authority: &'a OnBehalf<'a>,
    ) -> Self {
        let question = conditions::question(attributes);
        let budget = Cell::new(RUNTIME_BUDGET);
        Self { policy, object, old, parameter, namespace, request, authority, question, budget }
    }

    /// Whether the policy is to be asked at all, which is counted.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(in crate::admission) fn conditions_hold(
        &self,
        metrics: &Admission,
        attributes: &Attributes,
    ) -> Result<bool, String> {
        let policy = self.policy;
        // "validate" for policies that change objects too, as upstream has it.
        let labels = ConditionLabels {
            name: &policy.name,
            kind: "policy",
            of: "validate",
            operation: attributes.operation.name(),
        };
        let activation = self.activation(&Json::Null);
        conditions::hold(&policy.conditions, &activation, policy.ignores_failure, (metrics, labels))
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
        let lazy: Rc<dyn Lazy<'_> + '_> = Rc::<Variables<'_>>::clone(&variables);
        let activation = self.activation(self.namespace).with_lazy("variables", lazy);
        expression.evaluate(&activation, &|| variables.spent.get(), &self.budget).map(then)
    }

    fn activation<'v>(&'v self, namespace: &'v Json) -> Activation<'v> {
        let seen = (self.object, self.old);
        conditions::activation(seen, self.request, namespace, self.authority, self.question.clone())
            .with("params", Value::of(self.parameter))
    }
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
