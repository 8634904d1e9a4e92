//! Whose request is it: which flow schema it matches, and which flow of that schema it belongs to.
//!
//! The rules are those of `FlowSchemaSpec` (flowcontrol.apiserver.k8s.io/v1). Pure.

use k8s_openapi::api::flowcontrol::v1 as api;

use crate::{authn::user::User, http::info::RequestInfo};

/// The word for everything.
const ALL: &str = "*";

/// What tells the flows of a schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distinguisher {
    /// `ByUser`
    User,
    /// `ByNamespace`
    Namespace,
}

/// What a flow schema is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    rules: Vec<Rule>,
    /// Nothing tells its flows apart if there is none.
    pub distinguisher: Option<Distinguisher>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Everybody,
    User(String),
    Group(String),
    /// What the names of all service accounts of a namespace begin with.
    Accounts(String),
}

/// Some words, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Words {
    All,
    These(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ResourceRule {
    verbs: Words,
    groups: Words,
    /// With subresources, as `pods/status`.
    resources: Words,
    cluster: bool,
    namespaces: Words,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PathRule {
    verbs: Words,
    paths: Vec<String>,
}

// === impl Matcher ===

impl Matcher {
    /// Reads a spec.
    pub fn new(spec: &api::FlowSchemaSpec) -> Self {
        let distinguisher = match spec.distinguisher_method.as_ref().map(|method| method.type_.as_str()) {
            Some("ByUser") => Some(Distinguisher::User),
            Some("ByNamespace") => Some(Distinguisher::Namespace),
            _ => None,
        };
        Self { rules: spec.rules.iter().flatten().map(Rule::new).collect(), distinguisher }
    }

    /// Whether a request of a user matches.
    pub fn matches(&self, info: &RequestInfo, user: &User) -> bool {
        self.rules.iter().any(|rule| rule.matches(info, user))
    }

    /// What tells its flow from others of the schema.
    pub fn distinguish<'a>(&self, info: &'a RequestInfo, user: &'a User) -> &'a str {
        match self.distinguisher {
            None => "",
            Some(Distinguisher::User) => &user.name,
            Some(Distinguisher::Namespace) => &info.namespace,
        }
    }
}

// === impl Rule ===

impl Rule {
    fn new(rule: &api::PolicyRulesWithSubjects) -> Self {
        Self {
            subjects: rule.subjects.iter().filter_map(Subject::new).collect(),
            resources: rule
                .resource_rules
                .iter()
                .flatten()
                .map(|rule| ResourceRule {
                    verbs: Words::new(&rule.verbs),
                    groups: Words::new(&rule.api_groups),
                    resources: Words::new(&rule.resources),
                    cluster: rule.cluster_scope.unwrap_or_default(),
                    namespaces: Words::new(rule.namespaces.as_deref().unwrap_or_default()),
                })
                .collect(),
            paths: rule
                .non_resource_rules
                .iter()
                .flatten()
                .map(|rule| PathRule {
                    verbs: Words::new(&rule.verbs),
                    paths: rule.non_resource_urls.clone(),
                })
                .collect(),
        }
    }

    fn matches(&self, info: &RequestInfo, user: &User) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && if info.resource_request {
                self.resources.iter().any(|rule| rule.matches(info))
            } else {
                self.paths.iter().any(|rule| rule.matches(info))
            }
    }
}

// === impl Subject ===

impl Subject {
    fn new(subject: &api::Subject) -> Option<Self> {
        match subject.kind.as_str() {
            "User" => match &subject.user.as_ref()?.name {
                name if name == ALL => Some(Self::Everybody),
                name => Some(Self::User(name.clone())),
            },
            "Group" => match &subject.group.as_ref()?.name {
                name if name == ALL => Some(Self::Everybody),
                name => Some(Self::Group(name.clone())),
            },
            "ServiceAccount" => {
                let account = subject.service_account.as_ref()?;
                let prefix = format!("system:serviceaccount:{}:", account.namespace);
                Some(if account.name == ALL {
                    Self::Accounts(prefix)
                } else {
                    Self::User(prefix + &account.name)
                })
            }
            _ => None,
        }
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::Everybody => true,
            Self::User(name) => *name == user.name,
            Self::Group(group) => user.is_in(group),
            Self::Accounts(prefix) => user.name.starts_with(prefix.as_str()),
        }
    }
}

// === impl Words ===

impl Words {
    fn new(words: &[String]) -> Self {
        match words {
            [all] if all == ALL => Self::All,
            these => Self::These(these.to_vec()),
        }
    }

    fn have(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(words) => words.iter().any(|it| it == word),
        }
    }

    /// Whether `resource/subresource` is among them.
    fn have_part(&self, resource: &str, subresource: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(words) if subresource.is_empty() => words.iter().any(|it| it == resource),
            Self::These(words) => words.iter().any(|it| it.split_once('/') == Some((resource, subresource))),
        }
    }
}

// === impl ResourceRule, PathRule ===

impl ResourceRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        self.verbs.have(&info.verb)
            && self.resources.have_part(&info.resource, &info.subresource)
            && self.groups.have(&info.group)
            && if info.namespace.is_empty() { self.cluster } else { self.namespaces.have(&info.namespace) }
    }
}

impl PathRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        self.verbs.have(&info.verb)
            && self.paths.iter().any(|path| {
                if path == ALL || *path == info.path {
                    return true;
                }
                // A path also stands for what is below it, with a star or without.
                let above = path.strip_suffix(ALL).unwrap_or(path);
                let above = above.strip_suffix('/').unwrap_or(above);
                info.path.strip_prefix(above).is_some_and(|below| below.starts_with('/'))
            })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::http::{info, query::Query};

    fn matcher(rule: Value) -> Matcher {
        let spec = json!({"priorityLevelConfiguration": {"name": "x"}, "rules": [rule]});
        Matcher::new(&serde_json::from_value(spec).unwrap())
    }

    fn request(method: Method, url: &str) -> RequestInfo {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        info::resolve(&method, path, &Query::parse(query)).unwrap()
    }

    #[test]
    fn subjects_are_users_groups_and_service_accounts() {
        let everything = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
        let user = |name: &str| json!({"kind": "User", "user": {"name": name}});
        let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
        let account = |namespace: &str, name: &str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}});
        let alice = || User::new("alice", &["dev", "system:authenticated"]);
        let robot = || User::new("system:serviceaccount:kube-system:job", &[]);
        for (subject, caller, expected) in [
            (user("alice"), alice(), true),
            (user("bob"), alice(), false),
            (user("*"), alice(), true),
            (group("dev"), alice(), true),
            (group("ops"), alice(), false),
            (group("*"), User::new("nobody", &[]), true),
            (account("kube-system", "job"), robot(), true),
            (account("kube-system", "*"), robot(), true),
            (account("kube-system", "jo"), robot(), false),
            (account("kube", "*"), robot(), false),
            (account("kube-system", "*"), alice(), false),
            // A union that does not hold what its kind says matches nobody.
            (json!({"kind": "User"}), alice(), false),
            (json!({"kind": "Robot"}), alice(), false),
        ] {
            let matcher = matcher(json!({"subjects": [subject], "nonResourceRules": everything}));
            assert_eq!(matcher.matches(&request(Method::GET, "/version"), &caller), expected, "{subject}");
        }
    }

    #[test]
    fn resource_rules_are_about_verb_group_resource_and_scope() {
        let rule = |verbs: &str, groups: &str, resources: &[&str], cluster: bool, namespaces: &[&str]| json!({"verbs": [verbs], "apiGroups": [groups], "resources": resources, "clusterScope": cluster, "namespaces": namespaces});
        let pods = "/api/v1/namespaces/a/pods";
        for (rule, method, url, expected) in [
            (rule("*", "*", &["*"], true, &["*"]), Method::GET, pods, true),
            (rule("list", "", &["pods"], false, &["a"]), Method::GET, pods, true),
            (rule("list", "", &["pods"], false, &["b"]), Method::GET, pods, false),
            (rule("get", "", &["pods"], false, &["a"]), Method::GET, pods, false),
            (rule("list", "apps", &["pods"], false, &["a"]), Method::GET, pods, false),
            (rule("list", "", &["nodes"], false, &["a"]), Method::GET, pods, false),
            // All namespaces are the cluster scope.
            (rule("list", "", &["pods"], false, &["*"]), Method::GET, "/api/v1/pods", false),
            (rule("list", "", &["pods"], true, &[]), Method::GET, "/api/v1/pods", true),
            (rule("list", "", &["pods"], true, &[]), Method::GET, pods, false),
            (rule("watch", "", &["pods"], true, &["*"]), Method::GET, "/api/v1/pods?watch=1", true),
            // Subresources are named, or all are meant.
            (
                rule("update", "", &["pods"], true, &["*"]),
                Method::PUT,
                "/api/v1/namespaces/a/pods/x/status",
                false,
            ),
            (
                rule("update", "", &["pods/status"], true, &["*"]),
                Method::PUT,
                "/api/v1/namespaces/a/pods/x/status",
                true,
            ),
            (
                rule("update", "", &["*"], true, &["*"]),
                Method::PUT,
                "/api/v1/namespaces/a/pods/x/status",
                true,
            ),
            (rule("*", "*", &["*"], true, &["*"]), Method::GET, "/version", false),
        ] {
            let matcher = matcher(
                json!({"subjects": [{"kind": "User", "user": {"name": "*"}}], "resourceRules": [rule]}),
            );
            let info = request(method, url);
            assert_eq!(matcher.matches(&info, &User::new("u", &[])), expected, "{rule} {url}");
        }
    }

    #[test]
    fn paths_stand_for_themselves_and_for_what_is_below_them() {
        for (pattern, path, expected) in [
            ("*", "/metrics", true),
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/etcd", true),
            ("/healthz", "/healthzz", false),
            ("/healthz/*", "/healthz/etcd", true),
            ("/healthz/*", "/healthz/", true),
            ("/healthz/*", "/healthz", false),
            ("/livez", "/healthz", false),
        ] {
            let rule = json!({"verbs": ["get"], "nonResourceURLs": [pattern]});
            let matcher = matcher(
                json!({"subjects": [{"kind": "User", "user": {"name": "*"}}], "nonResourceRules": [rule]}),
            );
            let user = User::new("u", &[]);
            assert_eq!(matcher.matches(&request(Method::GET, path), &user), expected, "{pattern} {path}");
            assert!(!matcher.matches(&request(Method::POST, path), &user));
        }
    }

    #[test]
    fn flows_are_told_apart_by_user_or_namespace_or_not_at_all() {
        let info = request(Method::GET, "/api/v1/namespaces/a/pods");
        let user = User::new("alice", &[]);
        for (distinguisher, expected) in
            [(None, ""), (Some(Distinguisher::User), "alice"), (Some(Distinguisher::Namespace), "a")]
        {
            let matcher = Matcher { distinguisher, ..Matcher::default() };
            assert_eq!(matcher.distinguish(&info, &user), expected);
        }
    }
}
