//! How much of a request is put on record: `Policy` of `audit.k8s.io/v1`, by the first rule that matches. Pure.

use std::{collections::BTreeSet, path::Path as FilePath};

use api_types::{
    field::{BadValue, Fault, Path, aggregate, go_quote},
    wire,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{authz::attributes::Attributes, resources::shared::names};

/// The group and version of policies and events.
pub const VERSION: &str = "audit.k8s.io/v1";

/// How much is put on record. Later ones say all that earlier ones say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who asked for what and how it ended.
    Metadata,
    /// The object of the request too.
    Request,
    /// The object of the answer too.
    RequestResponse,
}

/// When an event is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Stage {
    /// Before anything is done.
    RequestReceived,
    /// The head of the answer is on its way; of requests that last only.
    #[default]
    ResponseStarted,
    /// The answer is through.
    ResponseComplete,
    /// The handler panicked.
    Panic,
}

/// What the policy says about one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How much is put on record.
    pub level: Level,
    /// Of which stages nothing is.
    pub omit_stages: BTreeSet<Stage>,
    /// Whether objects go without their managed fields.
    pub omit_managed_fields: bool,
}

/// A policy that was read and is sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<(Rule, Verdict)>,
    /// Of requests that no rule matches.
    otherwise: Verdict,
}

/// A policy as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    rules: Vec<Rule>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

const POLICY_FIELDS: &[&str] =
    &["apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"];
const RULE_FIELDS: &[&str] = &[
    "level",
    "users",
    "userGroups",
    "verbs",
    "resources",
    "namespaces",
    "nonResourceURLs",
    "omitStages",
    "omitManagedFields",
];
const RESOURCES_FIELDS: &[&str] = &["group", "resources", "resourceNames"];

// === impl Level, Stage ===

impl Level {
    const ALL: [Self; 4] = [Self::None, Self::Metadata, Self::Request, Self::RequestResponse];

    /// As policies and events name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

impl Stage {
    const ALL: [Self; 4] =
        [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    /// As policies and events name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

// === impl Policy ===

impl Policy {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub fn load(file: &FilePath) -> Result<Self, String> {
        let shown = file.display();
        let text = std::fs::read(file)
            .map_err(|error| format!("failed to read file path {}: {error}", go_quote(&shown.to_string())))?;
        Self::parse(&text).map_err(|why| format!("{why}: from file {shown}"))
    }

    /// Reads a document in YAML or JSON. What it says beside what policies say is warned of and left out.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let read = wire::yaml::to_value(text).map_err(|error| format!("failed decoding: {error}"))?;
        let value = read.value;
        let named = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (named("apiVersion"), named("kind"));
        for (name, found) in [("Kind", kind), ("apiVersion", version)] {
            if found.is_empty() {
                return Err(format!("failed decoding: Object '{name}' is missing in '{value}'"));
            }
        }
        if version != VERSION || kind != "Policy" {
            let (kind, version) = (go_quote(kind), go_quote(version));
            return Err(format!(
                "failed decoding: no kind {kind} is registered for version {version} in scheme"
            ));
        }
        let mut odd: Vec<String> = read.duplicates.into_iter().collect();
        odd.extend(unknown_fields(&value));
        if !odd.is_empty() {
            let odd = odd.join(", ");
            tracing::warn!(
                "Audit policy contains errors, falling back to lenient decoding: strict decoding error: {odd}"
            );
        }
        let document: Document =
            serde_json::from_value(value).map_err(|error| format!("failed decoding: {error}"))?;
        Self::of(document)
    }

    fn of(document: Document) -> Result<Self, String> {
        let faults = document.faults();
        if !faults.is_empty() {
            return Err(aggregate(&faults));
        }
        if document.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        let stages = |names: &[String]| -> BTreeSet<Stage> {
            names.iter().filter_map(|name| Stage::named(name)).collect()
        };
        let otherwise = Verdict {
            level: Level::None,
            omit_stages: stages(&document.omit_stages),
            omit_managed_fields: document.omit_managed_fields,
        };
        let rules = document.rules.into_iter().map(|rule| {
            let mut omit_stages = stages(&rule.omit_stages);
            omit_stages.extend(&otherwise.omit_stages);
            let verdict = Verdict {
                level: Level::named(&rule.level).unwrap_or_default(),
                omit_stages,
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(document.omit_managed_fields),
            };
            (rule, verdict)
        });
        Ok(Self { rules: rules.collect(), otherwise })
    }

    /// What is put on record of a request. `anybody` is false for callers whom nobody knows.
    pub fn verdict(&self, attributes: &Attributes, anybody: bool) -> &Verdict {
        let matching = self.rules.iter().find(|(rule, _)| rule.matches(attributes, anybody));
        matching.map_or(&self.otherwise, |(_, verdict)| verdict)
    }
}

// === impl Document ===

impl Document {
    fn faults(&self) -> Vec<Fault> {
        let mut faults = stage_faults(&self.omit_stages, &Path::new("omitStages"));
        for (index, rule) in self.rules.iter().enumerate() {
            faults.extend(rule.faults(&Path::new("rules").index(index)));
        }
        faults
    }
}

fn stage_faults(names: &[String], path: &Path) -> Vec<Fault> {
    let known = Stage::ALL.map(Stage::name).join(",");
    let wrong = names.iter().enumerate().filter(|(_, name)| Stage::named(name).is_none());
    wrong
        .map(|(index, name)| {
            Fault::invalid(&path.index(index), name.as_str(), format!("allowed stages are {known}"))
        })
        .collect()
}

// === impl Rule ===

impl Rule {
    fn faults(&self, path: &Path) -> Vec<Fault> {
        let mut faults = Vec::new();
        let level = path.child("level");
        if self.level.is_empty() {
            faults.push(Fault::required(&level, ""));
        } else if Level::named(&self.level).is_none() {
            faults.push(Fault::not_supported(&level, self.level.as_str(), &Level::ALL.map(Level::name)));
        }
        let urls = path.child("nonResourceURLs");
        for (index, url) in self.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let mut wrong = |why: &str| faults.push(Fault::invalid(&urls.index(index), url.as_str(), why));
            if !url.starts_with('/') {
                wrong("non-resource URL rules must begin with a '/' character");
            }
            if url.strip_suffix('*').unwrap_or(url).contains('*') {
                wrong("non-resource URL wildcards '*' must be the final character of the rule");
            }
        }
        let resources = path.child("resources");
        for of_group in &self.resources {
            if !matches!(of_group.group.as_str(), "" | "*") {
                let wrong = names::dns_subdomain(&of_group.group, false);
                if !wrong.is_empty() {
                    let group = of_group.group.as_str();
                    faults.push(Fault::invalid(&resources.child("group"), group, wrong.join(",")));
                }
            }
            if !of_group.resource_names.is_empty() && of_group.resources.is_empty() {
                faults.push(Fault::invalid(
                    &resources.child("resourceNames"),
                    BadValue::json(&of_group.resource_names),
                    "using resourceNames requires at least one resource",
                ));
            }
        }
        faults.extend(stage_faults(&self.omit_stages, &path.child("omitStages")));
        let is_about_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if is_about_resources && !self.non_resource_urls.is_empty() {
            faults.push(Fault::invalid(
                &urls,
                BadValue::json(&self.non_resource_urls),
                "rules cannot apply to both regular resources and non-resource URLs",
            ));
        }
        faults
    }

    fn matches(&self, asked: &Attributes, anybody: bool) -> bool {
        let has = |list: &[String], word: &str| list.iter().any(|it| it == word);
        let user = &asked.user;
        let is_named = anybody && has(&self.users, &user.name);
        if !self.users.is_empty() && !is_named {
            return false;
        }
        if !self.user_groups.is_empty() && !user.groups.iter().any(|group| has(&self.user_groups, group)) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, &asked.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return asked.resource_request
                && (self.namespaces.is_empty() || has(&self.namespaces, &asked.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|it| it.matches(asked)));
        }
        if !self.non_resource_urls.is_empty() {
            return !asked.resource_request
                && self.non_resource_urls.iter().any(|url| is_below(&asked.path, url));
        }
        true
    }
}

fn is_below(path: &str, url: &str) -> bool {
    url == "*" || url == path || (url.ends_with('*') && path.starts_with(url.trim_end_matches('*')))
}

// === impl GroupResources ===

impl GroupResources {
    fn matches(&self, asked: &Attributes) -> bool {
        if self.group != asked.group && self.group != "*" {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.contains(&asked.name) {
            return false;
        }
        let (resource, subresource) = (asked.resource.as_str(), asked.subresource.as_str());
        self.resources.iter().any(|pattern| {
            let exactly = match pattern.split_once('/') {
                None => subresource.is_empty() && pattern == resource,
                Some((of, part)) => !subresource.is_empty() && of == resource && part == subresource,
            };
            exactly
                || pattern == "*"
                || (!subresource.is_empty() && pattern.strip_prefix("*/") == Some(subresource))
                || pattern.strip_suffix("/*") == Some(resource)
        })
    }
}

/// What a document says beside what a policy says.
fn unknown_fields(document: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut look = |value: &Value, path: &str, known: &[&str]| {
        for field in value.as_object().into_iter().flat_map(serde_json::Map::keys) {
            if !known.contains(&field.as_str()) {
                unknown.push(format!("unknown field {}", go_quote(&format!("{path}{field}"))));
            }
        }
    };
    look(document, "", POLICY_FIELDS);
    let items = |value: &Value, field: &str| -> Vec<Value> {
        value.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    for (index, rule) in items(document, "rules").iter().enumerate() {
        look(rule, &format!("rules[{index}]."), RULE_FIELDS);
        for (at, resources) in items(rule, "resources").iter().enumerate() {
            look(resources, &format!("rules[{index}].resources[{at}]."), RESOURCES_FIELDS);
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::user::User;

    fn policy(rules: &str) -> Result<Policy, String> {
        Policy::parse(format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}").as_bytes())
    }

    fn of_resource(line: &str) -> Attributes {
        let words: Vec<&str> = line.split(' ').collect();
        let [user, verb, group, namespace, resource, name] = words.as_slice() else { panic!("{line}") };
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let word = |word: &str| word.trim_matches('-').to_owned();
        Attributes {
            user: User::new(user, &["devs", "system:authenticated"]),
            verb: (*verb).to_owned(),
            group: word(group),
            namespace: word(namespace),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: word(name),
            resource_request: true,
            ..of_path("")
        }
    }

    fn of_path(path: &str) -> Attributes {
        Attributes {
            user: User::new("jane", &["devs"]),
            verb: "get".to_owned(),
            namespace: String::new(),
            group: String::new(),
            version: "v1".to_owned(),
            resource: String::new(),
            subresource: String::new(),
            name: String::new(),
            resource_request: false,
            path: path.to_owned(),
            field_selector: String::new(),
            label_selector: String::new(),
        }
    }

    #[test]
    fn a_rule_matches_if_all_it_says_does() {
        for (rule, asked, expected) in [
            ("", "jane get - ns pods a", true),
            ("users: [jane]", "jane get - ns pods a", true),
            ("users: [john]", "jane get - ns pods a", false),
            ("userGroups: [ops, devs]", "jane get - ns pods a", true),
            ("userGroups: [ops]", "jane get - ns pods a", false),
            ("verbs: [list, get]", "jane get - ns pods a", true),
            ("verbs: [list]", "jane get - ns pods a", false),
            ("namespaces: [ns]", "jane get - ns pods a", true),
            ("namespaces: ['']", "jane get - ns pods a", false),
            ("namespaces: ['']", "jane get - - nodes a", true),
            ("resources: [{}]", "jane get - ns pods a", true),
            ("resources: [{}]", "jane get apps ns deployments a", false),
            ("resources: [{group: '*'}]", "jane get apps ns deployments a", true),
            ("resources: [{resources: [pods]}]", "jane get - ns pods a", true),
            ("resources: [{resources: [pods]}]", "jane get - ns pods/log a", false),
            ("resources: [{resources: [pods/log]}]", "jane get - ns pods/log a", true),
            ("resources: [{resources: [pods/log]}]", "jane get - ns pods a", false),
            ("resources: [{resources: ['*']}]", "jane get - ns pods/log a", true),
            ("resources: [{resources: ['*/log']}]", "jane get - ns pods/log a", true),
            ("resources: [{resources: ['*/log']}]", "jane get - ns pods a", false),
            ("resources: [{resources: ['pods/*']}]", "jane get - ns pods a", true),
            ("resources: [{resources: ['pods/*']}]", "jane get - ns pods/exec a", true),
            ("resources: [{resources: ['pods/*']}]", "jane get - ns secrets a", false),
            ("resources: [{resources: [pods], resourceNames: [a]}]", "jane get - ns pods a", true),
            ("resources: [{resources: [pods], resourceNames: [b]}]", "jane get - ns pods a", false),
            ("resources: [{group: apps}, {resources: [pods]}]", "jane get - ns pods a", true),
            ("nonResourceURLs: ['*']", "jane get - ns pods a", false),
        ] {
            let policy = policy(&format!("rules: [{{level: Metadata, {rule}}}]")).unwrap();
            let found = policy.verdict(&of_resource(asked), true).level == Level::Metadata;
            assert_eq!(found, expected, "{rule} {asked}");
        }
        for (rule, path, expected) in [
            ("nonResourceURLs: ['*']", "/healthz", true),
            ("nonResourceURLs: [/healthz]", "/healthz", true),
            ("nonResourceURLs: [/healthz]", "/healthz/etcd", false),
            ("nonResourceURLs: ['/healthz*']", "/healthz/etcd", true),
            ("nonResourceURLs: ['/api*', /version]", "/version", true),
            ("resources: [{group: '*'}]", "/version", false),
            ("namespaces: ['']", "/version", false),
            ("", "/version", true),
        ] {
            let policy = policy(&format!("rules: [{{level: Metadata, {rule}}}]")).unwrap();
            let found = policy.verdict(&of_path(path), true).level == Level::Metadata;
            assert_eq!(found, expected, "{rule} {path}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_nobody_else_does() {
        let policy = policy(
            "omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [jane]}
- {level: Request, resources: [{resources: [secrets]}], omitStages: [Panic], omitManagedFields: false}
- {level: RequestResponse, verbs: [create]}",
        )
        .unwrap();
        let verdict = |line: &str| policy.verdict(&of_resource(line), true).clone();
        assert_eq!(verdict("jane get - ns secrets a").level, Level::None);
        let secret = verdict("john get - ns secrets a");
        assert_eq!(secret.level, Level::Request);
        assert_eq!(Vec::from_iter(secret.omit_stages), [Stage::RequestReceived, Stage::Panic]);
        assert!(!secret.omit_managed_fields);
        let made = verdict("john create - ns pods -");
        assert_eq!((made.level, made.omit_managed_fields), (Level::RequestResponse, true));
        let rest = verdict("john get - ns pods a");
        assert_eq!((rest.level, rest.omit_stages.len()), (Level::None, 1));
    }

    #[test]
    fn callers_nobody_knows_match_no_rule_about_users() {
        let policy = policy("rules: [{level: Metadata, users: ['']}, {level: Request}]").unwrap();
        let nobody = Attributes { user: User::default(), ..of_path("/api") };
        assert_eq!(policy.verdict(&nobody, false).level, Level::Request);
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_told_in_upstreams_words() {
        for (text, expected) in [
            ("rules: []", "loaded illegal policy with 0 rules"),
            ("rules: [{}]", "rules[0].level: Required value"),
            (
                "rules: [{level: Some}]",
                r#"rules[0].level: Unsupported value: "Some": supported values: "None", "Metadata", "Request", "RequestResponse""#,
            ),
            (
                "rules: [{level: None, nonResourceURLs: [a]}]",
                r#"rules[0].nonResourceURLs[0]: Invalid value: "a": non-resource URL rules must begin with a '/' character"#,
            ),
            (
                "rules: [{level: None, nonResourceURLs: ['/a*b']}]",
                r#"rules[0].nonResourceURLs[0]: Invalid value: "/a*b": non-resource URL wildcards '*' must be the final character of the rule"#,
            ),
            (
                "rules: [{level: None, resources: [{resourceNames: [a]}]}]",
                r#"rules[0].resources.resourceNames: Invalid value: ["a"]: using resourceNames requires at least one resource"#,
            ),
            (
                "rules: [{level: None, omitStages: [Done]}]",
                r#"rules[0].omitStages[0]: Invalid value: "Done": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic"#,
            ),
            (
                "rules: [{level: None, namespaces: [a], nonResourceURLs: [/a]}]",
                r#"rules[0].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs"#,
            ),
        ] {
            assert_eq!(policy(text).unwrap_err(), expected, "{text}");
        }
        let group = policy("rules: [{level: None, resources: [{group: apps/v1}]}]").unwrap_err();
        assert!(
            group.starts_with(r#"rules[0].resources.group: Invalid value: "apps/v1": a lowercase RFC 1123"#)
        );
        let other = |text: &str| Policy::parse(text.as_bytes()).unwrap_err();
        assert_eq!(
            other("kind: Policy"),
            r#"failed decoding: Object 'apiVersion' is missing in '{"kind":"Policy"}'"#
        );
        assert!(
            other("kind: Policy\napiVersion: audit.k8s.io/v1beta1").contains("is registered for version")
        );
        assert!(
            other("kind: Policy\napiVersion: audit.k8s.io/v1\nrules: 1").starts_with("failed decoding: ")
        );
        let file = Policy::load(FilePath::new("/nowhere/policy.yaml")).unwrap_err();
        assert!(file.starts_with(r#"failed to read file path "/nowhere/policy.yaml": "#), "{file}");
    }

    #[test]
    fn fields_of_nobody_are_left_out() {
        assert!(policy("colour: red\nrules: [{level: None, colour: red}]").is_ok());
        let document = serde_json::json!({"rules": [{"colour": 1, "resources": [{"size": 1}]}], "x": 1});
        assert_eq!(
            unknown_fields(&document),
            [
                r#"unknown field "x""#,
                r#"unknown field "rules[0].colour""#,
                r#"unknown field "rules[0].resources[0].size""#
            ]
        );
    }
}
