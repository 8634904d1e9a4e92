//! Whether the expressions of a policy fit the types it is about.
//!
//! Invariant: values only, and no expression is evaluated.

use std::sync::Arc;

use api_types::kind::GroupVersionKind;
use cel::{
    Declared, Environment,
    admission::{self, Setting, Variable},
};

use crate::kinds::validating_admission_policy::PolicySpec;

/// What the expressions of a policy are about.
#[derive(Debug, Default)]
pub(super) struct Types {
    /// What `object` and `oldObject` may be.
    pub(super) objects: Vec<(GroupVersionKind, Arc<Declared>)>,
    /// What `params` is, if there is such a thing.
    pub(super) params: Option<Arc<Declared>>,
}

/// What does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Warning {
    /// Where the expression stands in the policy.
    pub(super) field: String,
    /// What is wrong with it, kind by kind.
    pub(super) text: String,
}

/// Checks what must be true and what is then said, in order. Match conditions, variables and annotations are not checked,
/// as upstream.
pub(super) fn warnings(spec: &PolicySpec, types: &Types) -> Vec<Warning> {
    let environments: Vec<_> =
        types.objects.iter().map(|(kind, of)| (kind, environment(spec, of, types.params.as_ref()))).collect();
    let expressions = spec.validations.iter().enumerate().flat_map(|(index, validation)| {
        [("expression", &validation.expression), ("messageExpression", &validation.message_expression)]
            .map(|(field, source)| (format!("spec.validations[{index}].{field}"), source))
    });
    expressions
        .filter(|(field, source)| !source.is_empty() || field.ends_with(".expression"))
        .filter_map(|(field, source)| {
            let wrong: Vec<String> = environments
                .iter()
                .filter_map(|(kind, environment)| Some(format!("{kind}: {}\n", issues(environment, source)?)))
                .collect();
            (!wrong.is_empty()).then(|| Warning { field, text: wrong.join("\n") })
        })
        .collect()
}

/// What the checker says; that what is constant in an expression cannot be computed is not its business.
fn issues(environment: &Environment, source: &str) -> Option<String> {
    environment.compile(source).err().filter(|why| !why.is_of_planning()).map(|why| why.to_string())
}

/// What expressions may name if the object is one of these. A variable that does not compile is of dynamic type.
fn environment(spec: &PolicySpec, object: &Arc<Declared>, params: Option<&Arc<Declared>>) -> Environment {
    let setting = Setting { params: params.is_some(), authorizer: true, patches: false };
    let mut base =
        admission::environment(setting).with_declared("object", object).with_declared("oldObject", object);
    if let Some(params) = params {
        base = base.with_declared("params", params);
    }
    let mut variables: Vec<Variable> = Vec::new();
    for variable in &spec.variables {
        let environment = admission::with_variables(base.clone(), &variables);
        let program = admission::compile(&environment, &variable.expression, &[]);
        variables.push(Variable { name: variable.name.clone().into(), program });
    }
    admission::with_variables(base, &variables)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::types::built_in, *};

    /// The warnings about a policy, each as its field and text.
    fn check(spec: Value, kinds: &[(&str, &str)], params: Option<Arc<Declared>>, expected: &[(&str, &str)]) {
        let spec: PolicySpec = serde_json::from_value(spec).unwrap();
        let objects = kinds
            .iter()
            .map(|(group, kind)| GroupVersionKind::new(group, "v1", kind))
            .map(|kind| (kind.clone(), built_in(&kind).unwrap()))
            .collect();
        let found = warnings(&spec, &Types { objects, params });
        let found: Vec<_> = found.iter().map(|it| (it.field.as_str(), it.text.as_str())).collect();
        assert_eq!(found, expected);
    }

    const DEPLOYMENT: (&str, &str) = ("apps", "Deployment");
    const JOB: (&str, &str) = ("batch", "Job");

    #[test]
    fn what_fits_is_not_warned_of() {
        let spec = json!({"validations": [
            {"expression": "object.spec.replicas < 5", "messageExpression": "object.metadata.name + ' is too large'"},
            {"expression": "oldObject == null || object.spec.template.spec.containers.all(c, has(c.image))"},
            {"expression": "authorizer.group('').resource('pods').check('get').allowed()"},
            {"expression": "authorizer.requestResource.check('custom').allowed()"},
            {"expression": "request.operation != 'DELETE' && namespaceObject.metadata.name.size() > 0"},
        ]});
        check(spec.clone(), &[DEPLOYMENT], None, &[]);
        check(spec, &[], None, &[]);
    }

    #[test]
    fn what_does_not_fit_is_shown_with_its_place() {
        check(
            json!({"validations": [
                {"expression": "object.foo > 1"},
                {"expression": "true", "messageExpression": "'a' + object.spec.replicas"},
            ]}),
            &[DEPLOYMENT],
            None,
            &[
                (
                    "spec.validations[0].expression",
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'foo'\n | object.foo > 1\n | ......^\n",
                ),
                (
                    "spec.validations[1].messageExpression",
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:5: found no matching overload for '_+_' applied to \
                     '(string, int)'\n | 'a' + object.spec.replicas\n | ....^\n",
                ),
            ],
        );
    }

    #[test]
    fn each_kind_has_its_say() {
        check(
            json!({"validations": [{"expression": "object.spec.replicas > 1"}, {"expression": "object.data == {}"}]}),
            &[DEPLOYMENT, JOB],
            None,
            &[
                (
                    "spec.validations[0].expression",
                    "batch/v1, Kind=Job: ERROR: <input>:1:12: undefined field 'replicas'\n | object.spec.replicas > 1\n \
                     | ...........^\n",
                ),
                (
                    "spec.validations[1].expression",
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'data'\n | object.data == {}\n \
                     | ......^\n\n\
                     batch/v1, Kind=Job: ERROR: <input>:1:7: undefined field 'data'\n | object.data == {}\n | ......^\n",
                ),
            ],
        );
    }

    #[test]
    fn parameters_have_a_type_if_there_are_any() {
        let spec = json!({"validations": [{"expression": "params.data['a'] == '1' && params.nope == 1"}]});
        let field = "spec.validations[0].expression";
        let maps = built_in(&GroupVersionKind::new("", "v1", "ConfigMap"));
        let shown = "params.data['a'] == '1' && params.nope == 1";
        let unknown = format!(
            "apps/v1, Kind=Deployment: ERROR: <input>:1:34: undefined field 'nope'\n | {shown}\n | {}^\n",
            ".".repeat(33)
        );
        check(spec.clone(), &[DEPLOYMENT], maps, &[(field, &unknown)]);
        check(spec.clone(), &[DEPLOYMENT], Some(Declared::any()), &[]);
        let undeclared = |column: usize| {
            let what = "undeclared reference to 'params' (in container '')";
            format!("ERROR: <input>:1:{column}: {what}\n | {shown}\n | {}^", ".".repeat(column - 1))
        };
        let undeclared = format!("apps/v1, Kind=Deployment: {}\n{}\n", undeclared(1), undeclared(28));
        check(spec, &[DEPLOYMENT], None, &[(field, &undeclared)]);
    }

    #[test]
    fn variables_have_the_types_of_their_expressions() {
        check(
            json!({
                "variables": [
                    {"name": "replicas", "expression": "object.spec.replicas"},
                    {"name": "double", "expression": "variables.replicas * 2"},
                    {"name": "spec", "expression": "object.spec"},
                    {"name": "wrong", "expression": "object.nope"},
                ],
                "validations": [
                    {"expression": "variables.double == 2 && variables.spec.nope == 1 && variables.wrong == 'x'"},
                    {"expression": "variables.double == 'x'"},
                ],
            }),
            &[DEPLOYMENT],
            None,
            &[(
                "spec.validations[1].expression",
                "apps/v1, Kind=Deployment: ERROR: <input>:1:18: found no matching overload for '_==_' applied to \
                 '(int, string)'\n | variables.double == 'x'\n | .................^\n",
            )],
        );
    }
}
