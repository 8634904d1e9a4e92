//! Which requests webhooks and policies are about.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use cel::Type;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, RuleWithOperations,
};

use crate::resources::shared::{
    metadata::invalid_each,
    names::{path_segment, qualified_name},
    optional::Items,
    selectors::{self, Leniency},
};
use cel::admission::{self as expressions, Setting};

const CONDITIONS_MAX: usize = 64;
/// Sorted as they are listed in faults.
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// What of them can be changed on its way in.
const MUTATING_OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const EQUIVALENT: &str = "Equivalent";
const ALL_SCOPES: &str = "*";

/// What both kinds of rules have.
struct Rule<'a> {
    operations: &'a [String],
    groups: &'a [String],
    versions: &'a [String],
    resources: &'a [String],
    scope: Option<&'a str>,
}

impl<'a> From<&'a RuleWithOperations> for Rule<'a> {
    fn from(rule: &'a RuleWithOperations) -> Self {
        Self {
            operations: rule.operations.items(),
            groups: rule.api_groups.items(),
            versions: rule.api_versions.items(),
            resources: rule.resources.items(),
            scope: rule.scope.as_deref(),
        }
    }
}

impl<'a> From<&'a NamedRuleWithOperations> for Rule<'a> {
    fn from(rule: &'a NamedRuleWithOperations) -> Self {
        Self {
            operations: rule.operations.items(),
            groups: rule.api_groups.items(),
            versions: rule.api_versions.items(),
            resources: rule.resources.items(),
            scope: rule.scope.as_deref(),
        }
    }
}

pub(super) fn default_rules(rules: &mut [RuleWithOperations]) {
    for rule in rules {
        rule.scope.get_or_insert_with(|| ALL_SCOPES.to_owned());
    }
}

pub(super) fn default_match_policy(policy: &mut Option<String>) {
    policy.get_or_insert_with(|| EQUIVALENT.to_owned());
}

pub(super) fn default_resources(resources: &mut MatchResources) {
    default_match_policy(&mut resources.match_policy);
    resources.namespace_selector.get_or_insert_default();
    resources.object_selector.get_or_insert_default();
    let rules = [&mut resources.resource_rules, &mut resources.exclude_resource_rules];
    for rule in rules.into_iter().flat_map(Items::items_mut) {
        rule.scope.get_or_insert_with(|| ALL_SCOPES.to_owned());
    }
}

pub(super) fn match_policy_fault(policy: &str, path: &Path) -> Option<Fault> {
    let fault = || Fault::not_supported(&path.child("matchPolicy"), policy, MATCH_POLICIES);
    (!MATCH_POLICIES.contains(&policy)).then(fault)
}

/// What is wrong with the resources that a policy or a binding is about.
pub(super) fn resources_faults(resources: &MatchResources, path: &Path) -> Faults {
    let mut faults = Vec::new();
    match &resources.match_policy {
        None => faults.push(Fault::required(&path.child("matchPolicy"), "")),
        Some(policy) => faults.extend(match_policy_fault(policy, path)),
    }
    for (field, selector) in
        [("namespaceSelector", &resources.namespace_selector), ("objectSelector", &resources.object_selector)]
    {
        let path = path.child(field);
        match selector {
            None => faults.push(Fault::required(&path, "")),
            some => faults.extend(selectors::validate(some.as_ref(), Leniency::default(), &path)),
        }
    }
    for (field, rules) in [
        ("resourceRules", &resources.resource_rules),
        ("excludeResourceRules", &resources.exclude_resource_rules),
    ] {
        for (index, rule) in rules.items().iter().enumerate() {
            faults.extend(named_rule_faults(rule, &path.child(field).index(index)));
        }
    }
    faults
}

/// The faults of operations that come too late to change anything.
pub(super) fn mutating_operation_faults(resources: &MatchResources, path: &Path) -> Faults {
    let rules = resources.resource_rules.items().iter();
    rules
        .flat_map(|rule| rule.operations.items())
        .filter(|operation| !MUTATING_OPERATIONS.contains(&operation.as_str()))
        .map(|operation| {
            Fault::not_supported(&path.child("resourceRules.operations"), operation, MUTATING_OPERATIONS)
        })
        .collect()
}

fn named_rule_faults(rule: &NamedRuleWithOperations, path: &Path) -> Faults {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (index, name) in rule.resource_names.items().iter().enumerate() {
        let path = path.child("resourceNames").index(index);
        faults.extend(invalid_each(&path, name, path_segment(name, false)));
        if !seen.insert(name) {
            faults.push(Fault::duplicate(&path, name));
        }
    }
    faults.extend(any_rule_faults(&rule.into(), path));
    faults
}

pub(super) fn rule_faults(rule: &RuleWithOperations, path: &Path) -> Faults {
    any_rule_faults(&rule.into(), path)
}

fn any_rule_faults(rule: &Rule<'_>, path: &Path) -> Faults {
    let mut faults = list_faults(rule.operations, &path.child("operations"), "operations");
    for (index, operation) in rule.operations.iter().enumerate() {
        if !OPERATIONS.contains(&operation.as_str()) {
            let path = path.child("operations").index(index);
            faults.push(Fault::not_supported(&path, operation, OPERATIONS));
        }
    }
    faults.extend(list_faults(rule.groups, &path.child("apiGroups"), "API groups"));
    let versions = path.child("apiVersions");
    faults.extend(list_faults(rule.versions, &versions, "API versions"));
    for (index, _) in rule.versions.iter().enumerate().filter(|(_, version)| version.is_empty()) {
        faults.push(Fault::required(&versions.index(index), ""));
    }
    faults.extend(resource_faults(rule.resources, &path.child("resources")));
    let scopes = ["*", "Cluster", "Namespaced"];
    if let Some(scope) = rule.scope.filter(|scope| !scopes.contains(scope)) {
        faults.push(Fault::not_supported(&path.child("scope"), scope, &scopes));
    }
    faults
}

/// The faults of a list that is empty, or that names everything and something besides.
fn list_faults(list: &[String], path: &Path, what: &str) -> Faults {
    if list.is_empty() {
        return vec![Fault::required(path, "")];
    }
    if list.len() > 1 && list.iter().any(|it| it == "*") {
        let detail = format!("if '*' is present, must not specify other {what}");
        return vec![Fault::invalid(path, BadValue::json(&list), detail)];
    }
    Vec::new()
}

/// The faults of a list of resources, with or without subresources.
fn resource_faults(resources: &[String], path: &Path) -> Faults {
    let mut faults = Vec::new();
    if resources.is_empty() {
        faults.push(Fault::required(path, ""));
    }
    let (mut with_all_subresources, mut of_all_resources) = (BTreeSet::new(), BTreeSet::new());
    // Upstream lets the last resource without a subresource decide.
    let mut last_is_named = false;
    for (index, resource) in resources.iter().enumerate() {
        let path = path.index(index);
        if resource.is_empty() {
            faults.push(Fault::required(&path, ""));
            continue;
        }
        let Some((main, sub)) = resource.split_once('/') else {
            last_is_named = resource != "*";
            continue;
        };
        if with_all_subresources.contains(main) {
            let detail = format!("if '{main}/*' is present, must not specify {resource}");
            faults.push(Fault::invalid(&path, resource, detail));
        }
        if of_all_resources.contains(sub) {
            let detail = format!("if '*/{sub}' is present, must not specify {resource}");
            faults.push(Fault::invalid(&path, resource, detail));
        }
        if sub == "*" {
            with_all_subresources.insert(main);
        }
        if main == "*" {
            of_all_resources.insert(sub);
        }
    }
    let has = |what: &str| resources.iter().any(|resource| resource == what);
    if resources.len() > 1 && has("*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        faults.push(Fault::invalid(path, BadValue::json(&resources), detail));
    }
    if has("*") && last_is_named {
        let detail = "if '*' is present, must not specify other resources without subresources";
        faults.push(Fault::invalid(path, BadValue::json(&resources), detail));
    }
    faults
}

/// What is wrong with the conditions under which a webhook or a policy is asked.
pub(super) fn condition_faults(conditions: &[MatchCondition], params: bool, path: &Path) -> Faults {
    let environment = expressions::environment(Setting { params, authorizer: true, patches: false });
    let mut faults = Vec::new();
    if conditions.len() > CONDITIONS_MAX {
        faults.push(Fault::too_many(path, conditions.len(), CONDITIONS_MAX));
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        if condition.expression.trim().is_empty() {
            faults.push(Fault::required(&path.child("expression"), ""));
        } else if let Err(why) = expressions::compile(&environment, &condition.expression, &[Type::Bool]) {
            faults.push(Fault::invalid(&path.child("expression"), &condition.expression, why));
        }
        let (name, path) = (&condition.name, path.child("name"));
        if name.is_empty() {
            faults.push(Fault::required(&path, ""));
            continue;
        }
        faults.extend(invalid_each(&path, name, qualified_name(name)));
        if !seen.insert(name) {
            faults.push(Fault::duplicate(&path, name));
        }
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
    fn a_rule_names_operations_groups_versions_and_resources() {
        let check = |rule: Value| {
            let rule: NamedRuleWithOperations = serde_json::from_value(rule).unwrap();
            texts(&named_rule_faults(&rule, &Path::new("r")))
        };
        let good = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods", "pods/log"]});
        assert_eq!(check(good), [""; 0]);
        assert_eq!(
            check(json!({})),
            [
                "r.operations: Required value",
                "r.apiGroups: Required value",
                "r.apiVersions: Required value",
                "r.resources: Required value",
            ]
        );
        assert_eq!(
            check(
                json!({"operations": ["*", "ODD"], "apiGroups": ["*", "a"], "apiVersions": ["*", ""], "scope": "Odd",
                "resources": ["a/*", "a/b", "*/c", "d/c", "", "*", "e"], "resourceNames": ["a/b", "c", "c"]})
            ),
            [
                r#"r.resourceNames[0]: Invalid value: "a/b": may not contain '/'"#,
                r#"r.resourceNames[2]: Duplicate value: "c""#,
                r#"r.operations: Invalid value: ["*","ODD"]: if '*' is present, must not specify other operations"#,
                r#"r.operations[1]: Unsupported value: "ODD": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE""#,
                r#"r.apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other API groups"#,
                r#"r.apiVersions: Invalid value: ["*",""]: if '*' is present, must not specify other API versions"#,
                "r.apiVersions[1]: Required value",
                r#"r.resources[1]: Invalid value: "a/b": if 'a/*' is present, must not specify a/b"#,
                r#"r.resources[3]: Invalid value: "d/c": if '*/c' is present, must not specify d/c"#,
                "r.resources[4]: Required value",
                r#"r.resources: Invalid value: ["a/*","a/b","*/c","d/c","","*","e"]: if '*' is present, must not specify other resources without subresources"#,
                r#"r.scope: Unsupported value: "Odd": supported values: "*", "Cluster", "Namespaced""#,
            ]
        );
    }

    #[test]
    fn conditions_have_names_of_their_own() {
        let conditions: Vec<MatchCondition> = serde_json::from_value(json!([
            {"name": "a", "expression": "true"}, {"name": "a", "expression": " "}, {"name": "", "expression": "true"},
            {"name": "-", "expression": "true"}]))
        .unwrap();
        assert_eq!(
            texts(&condition_faults(&conditions, false, &Path::new("c"))),
            [
                "c[1].expression: Required value",
                r#"c[1].name: Duplicate value: "a""#,
                "c[2].name: Required value",
                r#"c[3].name: Invalid value: "-": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
            ]
        );
        let many = vec![MatchCondition::default(); 65];
        assert!(
            texts(&condition_faults(&many, false, &Path::new("c")))
                .contains(&"c: Too many: 65: must have at most 64 items".to_owned())
        );
    }

    #[test]
    fn deletions_cannot_be_changed() {
        let resources: MatchResources =
            serde_json::from_value(json!({"resourceRules": [{"operations": ["DELETE", "CREATE"]}]})).unwrap();
        assert_eq!(
            texts(&mutating_operation_faults(&resources, &Path::new("m"))),
            [
                r#"m.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE""#
            ]
        );
    }
}
