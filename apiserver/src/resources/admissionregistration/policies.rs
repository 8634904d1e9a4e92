//! What policies that validate and policies that change have in common, and their bindings.

use std::collections::BTreeSet;

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, ParamKind, ParamRef, Variable,
};

use cel::{Program, Type};

use super::{
    hooks::failure_policy_fault,
    matching::{condition_faults, resources_faults},
};
use crate::resources::shared::{
    metadata::invalid_each,
    names::{dns_subdomain, dns1035_label, dns1123_subdomain, path_segment},
    optional::{Items, Text, same},
    selectors::{self, Leniency},
};
use cel::admission::{self as expressions, Setting};

/// What both kinds of policies have.
pub(super) struct Policy<'a> {
    pub(super) failure_policy: Option<&'a str>,
    pub(super) parameters: Option<&'a ParamKind>,
    pub(super) resources: Option<&'a MatchResources>,
    pub(super) conditions: &'a Option<Vec<MatchCondition>>,
}

impl Policy<'_> {
    /// Whether neither the conditions nor what they may speak of changed: then they are not judged again.
    fn has_conditions_of(&self, old: &Policy<'_>) -> bool {
        self.parameters == old.parameters && same(self.conditions, old.conditions)
    }

    /// What is wrong with the common part; `more` looks at what the policy is about.
    pub(super) fn faults(
        &self,
        old: Option<&Policy<'_>>,
        path: &Path,
        more: impl FnOnce(&MatchResources, &Path) -> Faults,
    ) -> Faults {
        let mut faults = Vec::new();
        match self.failure_policy {
            None => faults.push(Fault::required(&path.child("failurePolicy"), "")),
            Some(policy) => faults.extend(failure_policy_fault(policy, path)),
        }
        faults.extend(
            self.parameters.iter().flat_map(|kind| param_kind_faults(kind, &path.child("paramKind"))),
        );
        let resources_path = path.child("matchConstraints");
        match self.resources {
            None => faults.push(Fault::required(&resources_path, "")),
            Some(resources) => {
                faults.extend(resources_faults(resources, &resources_path));
                if resources.resource_rules.items().is_empty() {
                    faults.push(Fault::required(&resources_path.child("resourceRules"), ""));
                }
                faults.extend(more(resources, &resources_path));
            }
        }
        if !old.is_some_and(|old| self.has_conditions_of(old)) {
            faults.extend(condition_faults(
                self.conditions.items(),
                self.parameters.is_some(),
                &path.child("matchConditions"),
            ));
        }
        faults
    }
}

fn param_kind_faults(kind: &ParamKind, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let (text, version_path) = (kind.api_version.text(), path.child("apiVersion"));
    let mut wrong = |value: &str, detail: String| {
        faults.push(Fault::invalid(&version_path, value, detail));
    };
    match text.split_once('/').unwrap_or(("", text)) {
        _ if text.is_empty() => faults.push(Fault::required(&version_path, "")),
        (_, version) if version.contains('/') => {
            wrong(text, format!("unexpected GroupVersion string: {text}"));
        }
        (group, version) => {
            let wrongs = dns1123_subdomain(group);
            if !group.is_empty() && !wrongs.is_empty() {
                wrong(group, wrongs.join(","));
            }
            let wrongs = dns1035_label(version);
            if version.is_empty() {
                wrong(text, "version must be specified".to_owned());
            } else if !wrongs.is_empty() {
                wrong(version, wrongs.join(","));
            }
        }
    }
    let (text, kind_path) = (kind.kind.text(), path.child("kind"));
    let wrongs = dns1035_label(&text.to_lowercase());
    if text.is_empty() {
        faults.push(Fault::required(&kind_path, ""));
    } else if !wrongs.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", wrongs.join(","));
        faults.push(Fault::invalid(&kind_path, text, detail));
    }
    faults
}

/// What is wrong with the variables of a policy; and what expressions after them may name.
pub(super) fn variable_faults(
    variables: &[Variable],
    setting: Setting,
    path: &Path,
) -> (Faults, Vec<expressions::Variable>) {
    let mut faults = Vec::new();
    let mut known = Vec::new();
    for (index, variable) in variables.iter().enumerate() {
        let path = path.index(index);
        if variable.name.trim().is_empty() {
            faults.push(Fault::required(&path.child("name"), "name is not specified"));
        } else if !is_identifier(&variable.name) {
            let detail = "must be a valid CEL identifier";
            faults.push(Fault::invalid(&path.child("name"), &variable.name, detail));
        }
        let path = path.child("expression");
        if variable.expression.trim().is_empty() {
            faults.push(Fault::required(&path, "expression is not specified"));
            continue;
        }
        let environment = expressions::with_variables(expressions::environment(setting), &known);
        let program = expressions::compile(&environment, &variable.expression, &[]);
        faults.extend(program_fault(&program, &variable.expression, &path));
        known.push(expressions::Variable { name: variable.name.clone(), program });
    }
    (faults, known)
}

/// What is wrong with an expression of a policy, which may name its variables.
pub(super) fn expression_fault(
    expression: &str,
    types: &[Type],
    setting: Setting,
    variables: &[expressions::Variable],
    path: &Path,
) -> Option<Fault> {
    let environment = expressions::with_variables(expressions::environment(setting), variables);
    program_fault(&expressions::compile(&environment, expression, types), expression, path)
}

fn program_fault(program: &Result<Program, String>, expression: &str, path: &Path) -> Option<Fault> {
    program.as_ref().err().map(|why| Fault::invalid(path, expression, why.as_str()))
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !cel::escaping::RESERVED.contains(&name)
}

/// What is wrong with a binding.
pub(super) fn binding_faults(
    policy: &str,
    parameters: Option<&ParamRef>,
    resources: Option<&MatchResources>,
    path: &Path,
) -> Faults {
    let policy_path = path.child("policyName");
    let mut faults = if policy.is_empty() {
        vec![Fault::required(&policy_path, "")]
    } else {
        invalid_each(&policy_path, policy, dns_subdomain(policy, false))
    };
    faults.extend(parameters.iter().flat_map(|it| param_ref_faults(it, &path.child("paramRef"))));
    faults.extend(resources.iter().flat_map(|it| resources_faults(it, &path.child("matchResources"))));
    faults
}

fn param_ref_faults(reference: &ParamRef, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let (name, selector) = (reference.name.text(), reference.selector.as_ref());
    let exclusive = "name and selector are mutually exclusive";
    if !name.is_empty() {
        faults.extend(invalid_each(&path.child("name"), name, path_segment(name, false)));
        if selector.is_some() {
            faults.push(Fault::forbidden(&path.child("name"), exclusive));
        }
    }
    faults.extend(selectors::validate(selector, Leniency::default(), &path.child("selector")));
    if selector.is_some() && !name.is_empty() {
        faults.push(Fault::forbidden(&path.child("selector"), exclusive));
    }
    if name.is_empty() && selector.is_none() {
        faults.push(Fault::required(path, "one of name or selector must be specified"));
    }
    let (action, action_path) =
        (reference.parameter_not_found_action.text(), path.child("parameterNotFoundAction"));
    match action {
        "" => faults.push(Fault::required(&action_path, "")),
        "Deny" | "Allow" => {}
        _ => faults.push(Fault::not_supported(&action_path, action, &["Deny", "Allow"])),
    }
    faults
}

/// What is wrong with what a binding does about what a policy finds.
pub(super) fn action_faults(actions: &[String], path: &Path) -> Faults {
    let known = ["Audit", "Deny", "Warn"];
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (index, action) in actions.iter().enumerate() {
        if !known.contains(&action.as_str()) {
            faults.push(Fault::not_supported(&path.index(index), action, &known));
        }
        if !seen.insert(action.as_str()) {
            faults.push(Fault::duplicate(&path.index(index), action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        faults.push(Fault::invalid(path, api_types::field::BadValue::json(&actions), detail));
    }
    if seen.is_empty() {
        faults.push(Fault::required(path, "at least one validation action is required"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn texts(faults: &Faults) -> Vec<String> {
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn parameters_have_a_kind() {
        let label = dns1035_label("1").join(",");
        let subdomain = dns1123_subdomain("A").join(",");
        for (version, kind, faults) in [
            ("v1", "ConfigMap", vec![]),
            ("a.b/v1", "X", vec![]),
            ("", "", vec!["k.apiVersion: Required value".to_owned(), "k.kind: Required value".to_owned()]),
            (
                "a/b/c",
                "X",
                vec![
                    r#"k.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#
                        .to_owned(),
                ],
            ),
            (
                "A/",
                "1",
                vec![
                    format!(r#"k.apiVersion: Invalid value: "A": {subdomain}"#),
                    r#"k.apiVersion: Invalid value: "A/": version must be specified"#.to_owned(),
                    format!(
                        r#"k.kind: Invalid value: "1": may have mixed case, but should otherwise match: {label}"#
                    ),
                ],
            ),
            ("a/1", "X", vec![format!(r#"k.apiVersion: Invalid value: "1": {label}"#)]),
        ] {
            let kind = ParamKind { api_version: Some(version.to_owned()), kind: Some(kind.to_owned()) };
            assert_eq!(texts(&param_kind_faults(&kind, &Path::new("k"))), faults);
        }
    }

    #[test]
    fn variables_have_names_that_expressions_can_say() {
        let variables: Vec<Variable> = serde_json::from_value(json!([{"name": "_a1", "expression": "1"},
            {"name": " ", "expression": ""}, {"name": "in", "expression": "1"}, {"name": "1", "expression": "1"}]))
        .unwrap();
        assert_eq!(
            texts(&variable_faults(&variables, Setting::default(), &Path::new("v")).0),
            [
                "v[1].name: Required value: name is not specified",
                "v[1].expression: Required value: expression is not specified",
                r#"v[2].name: Invalid value: "in": must be a valid CEL identifier"#,
                r#"v[3].name: Invalid value: "1": must be a valid CEL identifier"#,
            ]
        );
    }

    #[test]
    fn parameters_are_named_or_selected() {
        let check = |reference: Value| {
            let reference: ParamRef = serde_json::from_value(reference).unwrap();
            texts(&param_ref_faults(&reference, &Path::new("p")))
        };
        assert_eq!(check(json!({"name": "a", "parameterNotFoundAction": "Deny"})), [""; 0]);
        assert_eq!(
            check(json!({})),
            [
                "p: Required value: one of name or selector must be specified",
                "p.parameterNotFoundAction: Required value",
            ]
        );
        assert_eq!(
            check(json!({"name": "a/b", "selector": {}, "parameterNotFoundAction": "X"})),
            [
                r#"p.name: Invalid value: "a/b": may not contain '/'"#,
                "p.name: Forbidden: name and selector are mutually exclusive",
                "p.selector: Forbidden: name and selector are mutually exclusive",
                r#"p.parameterNotFoundAction: Unsupported value: "X": supported values: "Deny", "Allow""#,
            ]
        );
    }
}
