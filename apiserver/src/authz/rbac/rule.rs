//! One rule of a role, and what it allows.
//!
//! The rules of matching are those of the RBAC reference page ("Referring to resources", "Aggregated ClusterRoles").

use serde::{Deserialize, Deserializer, Serialize};

use api_types::field::go_quote;

use crate::authz::attributes::Attributes;

/// Who may do what with which resources, or with which paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// The verbs, `*` for all.
    #[serde(deserialize_with = "nullable")]
    pub verbs: Vec<String>,
    /// The API groups, the empty one for core, `*` for all.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// `pods`, `pods/log`, `*/scale`, `*`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Only objects of these names; empty for all.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// `/healthz`, `/apis/*`, `*`.
    #[serde(
        rename = "nonResourceURLs",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub non_resource_urls: Vec<String>,
}

/// Reads null as empty: Go writes a nil list so.
pub(super) fn nullable<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The question with its resource and subresource joined once for all rules.
#[derive(Debug)]
pub(super) struct Question<'a> {
    asked: &'a Attributes,
    combined: Option<String>,
}

// === impl Question ===

impl<'a> Question<'a> {
    pub(super) fn new(asked: &'a Attributes) -> Self {
        let combined =
            (!asked.subresource.is_empty()).then(|| format!("{}/{}", asked.resource, asked.subresource));
        Self { asked, combined }
    }
}

// === impl Rule ===

impl Rule {
    /// A rule on resources.
    pub fn on_resources(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Self {
        Self {
            verbs: owned(verbs),
            api_groups: owned(groups),
            resources: owned(resources),
            ..Self::default()
        }
    }

    /// A rule on paths.
    pub fn on_paths(verbs: &[&str], urls: &[&str]) -> Self {
        Self { verbs: owned(verbs), non_resource_urls: owned(urls), ..Self::default() }
    }

    /// Whether it says yes.
    pub fn allows(&self, asked: &Attributes) -> bool {
        self.answers(&Question::new(asked))
    }

    pub(super) fn answers(&self, Question { asked, combined }: &Question<'_>) -> bool {
        if !names(&self.verbs, &asked.verb) {
            return false;
        }
        if !asked.resource_request {
            return self.non_resource_urls.iter().any(|url| url_covers(url, &asked.path));
        }
        names(&self.api_groups, &asked.group)
            && self.names_resource(combined.as_deref().unwrap_or(&asked.resource), &asked.subresource)
            && (self.resource_names.is_empty() || self.resource_names.contains(&asked.name))
    }

    fn names_resource(&self, combined: &str, subresource: &str) -> bool {
        self.resources.iter().any(|it| {
            it == "*"
                || it == combined
                || (!subresource.is_empty() && it.strip_prefix("*/").is_some_and(|rest| rest == subresource))
        })
    }

    /// The rule as refused escalations print it, such as `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
    pub fn compact(&self) -> String {
        let parts: Vec<String> = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ]
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(title, values)| format!("{title}:{}", quoted_list(values)))
        .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Whether the list has the word, or `*`.
pub(crate) fn names(list: &[String], word: &str) -> bool {
    list.iter().any(|it| it == "*" || it == word)
}

/// Whether a path pattern covers a path or another pattern: equal, or a prefix before a star at its end.
pub(crate) fn url_covers(pattern: &str, path: &str) -> bool {
    pattern == path || (pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*')))
}

/// Strings as Go's `%q` prints a slice of them: `["a" "b"]`.
pub(crate) fn quoted_list(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().map(|it| go_quote(it)).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `verb group/resource[/subresource] [name]`, or `verb /path`
    fn asked(text: &str) -> Attributes {
        let mut words = text.split(' ');
        let verb = words.next().unwrap().to_owned();
        let what = words.next().unwrap();
        if what.starts_with('/') {
            return Attributes { verb, path: what.to_owned(), ..Attributes::default() };
        }
        let (group, resource) = what.split_once(':').unwrap();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            verb,
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: words.next().unwrap_or_default().to_owned(),
            resource_request: true,
            ..Attributes::default()
        }
    }

    #[test]
    fn a_rule_allows_what_its_words_and_stars_name() {
        let names = |names: &[&str]| Rule {
            resource_names: owned(names),
            ..Rule::on_resources(&["get"], &[""], &["secrets"])
        };
        for (rule, question, wanted) in [
            (Rule::on_resources(&["get"], &[""], &["pods"]), "get :pods", true),
            (Rule::on_resources(&["get"], &[""], &["pods"]), "list :pods", false),
            (Rule::on_resources(&["*"], &[""], &["pods"]), "list :pods", true),
            (Rule::on_resources(&["get"], &[""], &["pods"]), "get apps:pods", false),
            (Rule::on_resources(&["get"], &["*"], &["pods"]), "get apps:pods", true),
            (Rule::on_resources(&["get"], &[""], &["pods"]), "get :pods/log", false),
            (Rule::on_resources(&["get"], &[""], &["pods/log"]), "get :pods/log", true),
            (Rule::on_resources(&["get"], &[""], &["pods/log"]), "get :pods", false),
            (Rule::on_resources(&["get"], &[""], &["*/scale"]), "get :pods/scale", true),
            (Rule::on_resources(&["get"], &[""], &["*/scale"]), "get :pods/rescale", false),
            (Rule::on_resources(&["get"], &[""], &["*/scale"]), "get :pods", false),
            (Rule::on_resources(&["get"], &[""], &["*"]), "get :pods/log", true),
            (Rule::on_resources(&["get"], &["*"], &["*"]), "get /healthz", false),
            (names(&["open"]), "get :secrets open", true),
            (names(&["open"]), "get :secrets shut", false),
            (names(&["open"]), "get :secrets", false),
            (names(&[""]), "get :secrets", true),
            (Rule::on_paths(&["get"], &["/healthz"]), "get /healthz", true),
            (Rule::on_paths(&["get"], &["/healthz"]), "get /healthz/etcd", false),
            (Rule::on_paths(&["get"], &["/apis/*"]), "get /apis/apps", true),
            (Rule::on_paths(&["get"], &["/apis/*"]), "get /apis", false),
            (Rule::on_paths(&["get"], &["*"]), "get /x", true),
            (Rule::on_paths(&["*"], &["*"]), "get :pods", false),
        ] {
            assert_eq!(rule.allows(&asked(question)), wanted, "{rule:?} {question}");
        }
    }

    #[test]
    fn null_lists_read_as_empty_and_empty_lists_are_not_written() {
        let rule: Rule =
            serde_json::from_value(json!({"verbs": null, "apiGroups": null, "nonResourceURLs": ["/a"]}))
                .unwrap();
        assert_eq!(rule, Rule::on_paths(&[], &["/a"]));
        assert_eq!(serde_json::to_value(rule).unwrap(), json!({"verbs": [], "nonResourceURLs": ["/a"]}));
    }

    #[test]
    fn a_rule_prints_compactly() {
        let rule = Rule {
            resource_names: owned(&["n"]),
            ..Rule::on_resources(&["get", "list"], &["", "apps"], &["a"])
        };
        assert_eq!(
            rule.compact(),
            r#"{APIGroups:["" "apps"], Resources:["a"], ResourceNames:["n"], Verbs:["get" "list"]}"#
        );
    }
}
