//! FlowSchemas: `flowschemas` of `flowcontrol.apiserver.k8s.io/v1`.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaSpec, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule,
    ServiceAccountSubject, Subject,
};

use super::{condition_faults, internal, mandatory, printed};
use crate::{
    patch::apply::Reset,
    registry::strategy::{Context, Generation, Names, Part, Strategy},
    resources::shared::{
        metadata::{invalid_each, keep_for_status},
        names::{dns_label, dns_subdomain},
        optional::{Items, Switch, Text},
    },
};

const PRECEDENCE_DEFAULT: i32 = 1000;
const PRECEDENCE_MAX: i32 = 10_000;
/// Sorted as they are listed in faults.
const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// The strategy of FlowSchemas.
pub(crate) struct FlowSchemas;

impl Strategy for FlowSchemas {
    type Object = FlowSchema;

    const NAMES: Names = Names {
        group: "flowcontrol.apiserver.k8s.io",
        version: "v1",
        kind: "FlowSchema",
        plural: "flowschemas",
        singular: "flowschema",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const REJUDGES_CHANGE: bool = false;
    const STATUS_REJUDGES_CHANGE: bool = false;
    const RESETS: &'static [(Part, Reset<'static>)] =
        &[(Part::Status, Reset::Fields(&[&["spec"], &["metadata"]]))];
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;

    fn default(object: &mut FlowSchema) {
        let precedence = &mut object.spec.get_or_insert_default().matching_precedence;
        if precedence.unwrap_or_default() == 0 {
            *precedence = Some(PRECEDENCE_DEFAULT);
        }
    }

    fn validate(_cx: &Context<'_>, object: &FlowSchema) -> Faults {
        let empty = FlowSchemaSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&empty);
        let name = object.metadata.name.text();
        let path = Path::new("spec");
        let mut faults = spec_faults(spec, name, &path);
        if let Some(fixed) = mandatory::<FlowSchema>(Self::NAMES.plural, name).and_then(|fixed| fixed.spec) {
            let value = internal(&printed::schema(spec));
            if value != internal(&printed::schema(&fixed)) {
                faults.push(Fault::invalid(
                    &path,
                    value,
                    format!("spec of '{name}' must equal the fixed value"),
                ));
            }
        }
        faults.extend(status_faults(object));
        faults
    }

    fn prepare_for_status_update(_cx: &Context<'_>, object: &mut FlowSchema, old: &FlowSchema) {
        keep_for_status(&mut object.metadata, &old.metadata);
    }

    fn validate_status_update(_cx: &Context<'_>, object: &FlowSchema, _old: &FlowSchema) -> Faults {
        status_faults(object)
    }
}

fn status_faults(object: &FlowSchema) -> Faults {
    let conditions = object.status.iter().flat_map(|status| status.conditions.items());
    condition_faults(conditions.map(|condition| condition.type_.text()))
}

fn spec_faults(spec: &FlowSchemaSpec, name: &str, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let precedence = spec.matching_precedence.unwrap_or_default();
    let precedence_path = path.child("matchingPrecedence");
    if precedence <= 0 {
        faults.push(Fault::invalid(&precedence_path, precedence, "must be a positive value"));
    }
    if precedence > PRECEDENCE_MAX {
        let detail = format!("must not be greater than {PRECEDENCE_MAX}");
        faults.push(Fault::invalid(&precedence_path, precedence, detail));
    }
    if precedence == 1 && name != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        faults.push(Fault::invalid(&precedence_path, precedence, detail));
    }
    let methods = ["ByNamespace", "ByUser"];
    if let Some(method) = &spec.distinguisher_method
        && !methods.contains(&method.type_.as_str())
    {
        let value = internal(&printed::method(method));
        faults.push(Fault::not_supported(&path.child("distinguisherMethod.type"), value, &methods));
    }
    let level = &spec.priority_level_configuration.name;
    let level_path = path.child("priorityLevelConfiguration.name");
    if level.is_empty() {
        faults.push(Fault::required(&level_path, "must reference a priority level"));
    } else {
        faults.extend(invalid_each(&level_path, level, dns_subdomain(level, false)));
    }
    for (index, rule) in spec.rules.items().iter().enumerate() {
        faults.extend(rule_faults(rule, &path.child("rules").index(index)));
    }
    faults
}

fn rule_faults(rule: &PolicyRulesWithSubjects, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let subjects = path.child("subjects");
    if rule.subjects.is_empty() {
        faults.push(Fault::required(&subjects, "subjects must contain at least one value"));
    }
    for (index, subject) in rule.subjects.iter().enumerate() {
        faults.extend(subject_faults(subject, &subjects.index(index)));
    }
    let (resource, other) = (rule.resource_rules.items(), rule.non_resource_rules.items());
    if resource.is_empty() && other.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        faults.push(Fault::required(path, detail));
    }
    for (index, rule) in resource.iter().enumerate() {
        faults.extend(resource_rule_faults(rule, &path.child("resourceRules").index(index)));
    }
    for (index, rule) in other.iter().enumerate() {
        faults.extend(non_resource_rule_faults(rule, &path.child("nonResourceRules").index(index)));
    }
    faults
}

fn subject_faults(subject: &Subject, path: &Path) -> Faults {
    let present = [
        ("ServiceAccount", "serviceAccount", subject.service_account.is_some()),
        ("User", "user", subject.user.is_some()),
        ("Group", "group", subject.group.is_some()),
    ];
    let Some((kind, field, there)) = present.into_iter().find(|(kind, ..)| *kind == subject.kind) else {
        let kinds = ["Group", "ServiceAccount", "User"];
        return vec![Fault::not_supported(&path.child("kind"), &subject.kind, &kinds)];
    };
    let mut faults = Vec::new();
    let own = path.child(field);
    if there {
        let named = match kind {
            "User" => subject.user.as_ref().map(|user| &user.name),
            "Group" => subject.group.as_ref().map(|group| &group.name),
            _ => None,
        };
        if named.is_some_and(String::is_empty) {
            faults.push(Fault::required(&own.child("name"), ""));
        }
        if let Some(account) = subject.service_account.as_ref().filter(|_| kind == "ServiceAccount") {
            faults.extend(account_faults(account, &own));
        }
    } else {
        let detail = format!("{field} is required when subject kind is '{kind}'");
        faults.push(Fault::required(&own, detail));
    }
    for (other, field, there) in present {
        if there && other != kind {
            let detail = format!("{field} is forbidden when subject kind is not '{other}'");
            faults.push(Fault::forbidden(&path.child(field), detail));
        }
    }
    faults
}

fn account_faults(account: &ServiceAccountSubject, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let (name, name_path) = (&account.name, path.child("name"));
    match name.as_str() {
        "" => faults.push(Fault::required(&name_path, "")),
        "*" => {}
        _ => faults.extend(invalid_each(&name_path, name, dns_subdomain(name, false))),
    }
    let (namespace, namespace_path) = (&account.namespace, path.child("namespace"));
    if namespace.is_empty() {
        faults.push(Fault::required(&namespace_path, "must specify namespace for service account"));
    } else {
        faults.extend(invalid_each(&namespace_path, namespace, dns_label(namespace, false)));
    }
    faults
}

fn has_wildcard(list: &[String]) -> bool {
    list.iter().any(|it| it == "*")
}

/// The fault of a list that names everything and something besides.
fn more_than_all(list: &[String], path: &Path, what: &str) -> Option<Fault> {
    (has_wildcard(list) && list.len() > 1).then(|| {
        let detail = format!("if '*' is present, must not specify other {what}");
        Fault::invalid(path, BadValue::json(&list), detail)
    })
}

fn verb_faults(verbs: &Vec<String>, path: &Path) -> Faults {
    let path = path.child("verbs");
    if verbs.is_empty() {
        return vec![Fault::required(&path, "verbs must contain at least one value")];
    }
    if has_wildcard(verbs) {
        return Vec::from_iter(more_than_all(verbs, &path, "verbs"));
    }
    let known = verbs.iter().all(|verb| VERBS.contains(&verb.as_str()));
    if known { Vec::new() } else { vec![Fault::not_supported(&path, BadValue::json(verbs), VERBS)] }
}

fn resource_rule_faults(rule: &ResourcePolicyRule, path: &Path) -> Faults {
    let mut faults = verb_faults(&rule.verbs, path);
    for (field, list, one, more) in [
        ("apiGroups", &rule.api_groups, "api group", "api groups"),
        ("resources", &rule.resources, "resource", "resources"),
    ] {
        let path = path.child(field);
        if list.is_empty() {
            let detail = format!("resource rules must supply at least one {one}");
            faults.push(Fault::required(&path, detail));
        }
        faults.extend(more_than_all(list, &path, more));
    }
    let namespaces = rule.namespaces.items();
    let path = path.child("namespaces");
    if namespaces.is_empty() && !rule.cluster_scope.is_on() {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        faults.push(Fault::required(&path, detail));
    } else if has_wildcard(namespaces) {
        faults.extend(more_than_all(namespaces, &path, "namespaces"));
    } else {
        for (index, namespace) in namespaces.iter().enumerate() {
            for sentence in dns_label(namespace, false) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {sentence}");
                faults.push(Fault::invalid(&path.index(index), namespace, detail));
            }
        }
    }
    faults
}

fn non_resource_rule_faults(rule: &NonResourcePolicyRule, path: &Path) -> Faults {
    let mut faults = verb_faults(&rule.verbs, path);
    let urls = &rule.non_resource_urls;
    let path = path.child("nonResourceURLs");
    if urls.is_empty() {
        faults.push(Fault::required(&path, "nonResourceURLs must contain at least one value"));
    } else if has_wildcard(urls) {
        faults.extend(more_than_all(urls, &path, "non-resource URLs"));
    } else {
        for (index, url) in urls.iter().enumerate() {
            faults.extend(url_wrong(url).map(|detail| Fault::invalid(&path.index(index), url, detail)));
        }
    }
    faults
}

fn url_wrong(url: &str) -> Option<&'static str> {
    if url.is_empty() {
        return Some("must not be empty");
    }
    if url == "/" {
        return None;
    }
    if !url.starts_with('/') {
        return Some("must start with slash");
    }
    if url.contains(' ') {
        return Some("must not contain white-space");
    }
    if url.contains("//") {
        return Some("must not contain double slash");
    }
    let stars = url.matches('*').count();
    (stars > 1 || stars == 1 && !url.ends_with("/*")).then_some("wildcard can only do suffix matching")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::FlowSchemas;
    use crate::resources::shared::testing::{check_create, check_status_update, created};

    fn schema(change: Value) -> Value {
        let mut spec = json!({"priorityLevelConfiguration": {"name": "p"}});
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        json!({"metadata": {"name": "f"}, "spec": spec})
    }

    fn rule(rule: Value) -> Value {
        schema(json!({"rules": [rule]}))
    }

    #[test]
    fn precedence_is_in_the_middle_unless_said() {
        let precedence = |object| created::<FlowSchemas>(object).pointer("/spec/matchingPrecedence").cloned();
        assert_eq!(precedence(schema(json!({}))), Some(json!(1000)));
        assert_eq!(precedence(schema(json!({"matchingPrecedence": 0}))), Some(json!(1000)));
        assert_eq!(precedence(schema(json!({"matchingPrecedence": 5}))), Some(json!(5)));
    }

    #[test]
    fn a_schema_leads_requests_it_describes_to_a_level() {
        let group = json!({"kind": "Group", "group": {"name": "g"}});
        let resources =
            json!({"verbs": ["get"], "apiGroups": ["a"], "resources": ["b"], "namespaces": ["c"]});
        for (object, faults) in [
            (rule(json!({"subjects": [group], "resourceRules": [resources]})), vec![]),
            (
                schema(json!({"matchingPrecedence": -1, "priorityLevelConfiguration": {"name": ""},
                    "distinguisherMethod": {"type": "X"}})),
                vec![
                    "spec.matchingPrecedence: Invalid value: -1: must be a positive value",
                    r#"spec.distinguisherMethod.type: Unsupported value: {"Type":"X"}: supported values: "ByNamespace", "ByUser""#,
                    "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
                ],
            ),
            (
                schema(json!({"matchingPrecedence": 10001})),
                vec!["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
            ),
            (
                schema(json!({"matchingPrecedence": 1})),
                vec![
                    "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                ],
            ),
            (
                rule(json!({"subjects": []})),
                vec![
                    "spec.rules[0].subjects: Required value: subjects must contain at least one value",
                    "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
                ],
            ),
            (
                rule(
                    json!({"resourceRules": [{"verbs": [], "apiGroups": [], "resources": ["*", "a"], "namespaces": ["A"]},
                        {"verbs": ["*", "get"], "apiGroups": ["*", "a"], "resources": [], "clusterScope": true}],
                    "nonResourceRules": [{"verbs": ["x"], "nonResourceURLs": []}, {"verbs": ["get"], "nonResourceURLs": ["", "/", "a", "/a b", "//", "/a*", "/*"]}],
                    "subjects": [{"kind": "X"}, {"kind": "User", "group": {"name": "g"}},
                        {"kind": "Group", "group": {"name": ""}, "serviceAccount": {"namespace": "", "name": ""}},
                        {"kind": "ServiceAccount", "serviceAccount": {"namespace": "", "name": "*"}, "user": {"name": "u"}}]}),
                ),
                vec![
                    r#"spec.rules[0].subjects[0].kind: Unsupported value: "X": supported values: "Group", "ServiceAccount", "User""#,
                    "spec.rules[0].subjects[1].user: Required value: user is required when subject kind is 'User'",
                    "spec.rules[0].subjects[1].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                    "spec.rules[0].subjects[2].group.name: Required value",
                    "spec.rules[0].subjects[2].serviceAccount: Forbidden: serviceAccount is forbidden when subject kind is not 'ServiceAccount'",
                    "spec.rules[0].subjects[3].serviceAccount.namespace: Required value: must specify namespace for service account",
                    "spec.rules[0].subjects[3].user: Forbidden: user is forbidden when subject kind is not 'User'",
                    "spec.rules[0].resourceRules[0].verbs: Required value: verbs must contain at least one value",
                    "spec.rules[0].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group",
                    r#"spec.rules[0].resourceRules[0].resources: Invalid value: ["*","a"]: if '*' is present, must not specify other resources"#,
                    r#"spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: "A": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#,
                    r#"spec.rules[0].resourceRules[1].verbs: Invalid value: ["*","get"]: if '*' is present, must not specify other verbs"#,
                    r#"spec.rules[0].resourceRules[1].apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other api groups"#,
                    "spec.rules[0].resourceRules[1].resources: Required value: resource rules must supply at least one resource",
                    r#"spec.rules[0].nonResourceRules[0].verbs: Unsupported value: ["x"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch""#,
                    "spec.rules[0].nonResourceRules[0].nonResourceURLs: Required value: nonResourceURLs must contain at least one value",
                    r#"spec.rules[0].nonResourceRules[1].nonResourceURLs[0]: Invalid value: "": must not be empty"#,
                    r#"spec.rules[0].nonResourceRules[1].nonResourceURLs[2]: Invalid value: "a": must start with slash"#,
                    r#"spec.rules[0].nonResourceRules[1].nonResourceURLs[3]: Invalid value: "/a b": must not contain white-space"#,
                    r#"spec.rules[0].nonResourceRules[1].nonResourceURLs[4]: Invalid value: "//": must not contain double slash"#,
                    r#"spec.rules[0].nonResourceRules[1].nonResourceURLs[5]: Invalid value: "/a*": wildcard can only do suffix matching"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<FlowSchemas>(object), faults);
        }
    }

    #[test]
    fn the_schemas_of_the_server_are_fixed() {
        let everything = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]});
        let fixed = |precedence: i32| {
            json!({"metadata": {"name": "exempt"}, "spec": {"priorityLevelConfiguration": {"name": "exempt"},
                "matchingPrecedence": precedence, "rules": [{"subjects": [{"kind": "Group", "group": {"name": "system:masters"}}],
                    "resourceRules": [everything], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}})
        };
        assert_eq!(check_create::<FlowSchemas>(fixed(1)), [""; 0]);
        assert_eq!(
            check_create::<FlowSchemas>(fixed(2)),
            [concat!(
                r#"spec: Invalid value: {"PriorityLevelConfiguration":{"Name":"exempt"},"MatchingPrecedence":2,"DistinguisherMethod":null,"Rules":"#,
                r#"[{"Subjects":[{"Kind":"Group","User":null,"Group":{"Name":"system:masters"},"ServiceAccount":null}],"#,
                r#""ResourceRules":[{"Verbs":["*"],"APIGroups":["*"],"Resources":["*"],"ClusterScope":true,"Namespaces":["*"]}],"#,
                r#""NonResourceRules":[{"Verbs":["*"],"NonResourceURLs":["*"]}]}]}: spec of 'exempt' must equal the fixed value"#,
            )]
        );
    }

    #[test]
    fn conditions_have_types_of_their_own() {
        let mut object = schema(json!({}));
        object["status"] = json!({"conditions": [{"type": "A"}, {"type": "A"}, {}]});
        assert_eq!(
            check_status_update::<FlowSchemas>(object, schema(json!({}))),
            [
                r#"status.conditions[1].type: Duplicate value: "A""#,
                "status.conditions[2].type: Required value"
            ]
        );
    }
}
