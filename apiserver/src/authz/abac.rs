//! `--authorization-policy-file`: who may what, one policy of `abac.authorization.kubernetes.io/v1beta1` a line.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{
    attributes::Attributes,
    decision::{Authorizer, Decision, Rules},
    rbac::rule::Rule,
};
use crate::authn::user::User;

/// All policies, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Policies(Vec<Policy>);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Policy {
    user: String,
    group: String,
    readonly: bool,
    #[serde(rename = "apiGroup")]
    api_group: String,
    resource: String,
    namespace: String,
    non_resource_path: String,
}

// === impl Policies ===

impl Policies {
    /// Reads the file; lines of `#` and blank ones are skipped.
    ///
    /// # Errors
    /// A line that is no policy.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("open {}: {error}", path.display()))?;
        let lines = text.lines().enumerate().filter(|(_, line)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        let policies = lines.map(|(index, line)| {
            let number = index + 1;
            policy(line).map_err(|why| {
                format!("error reading policy file {}, line {number}: {line}: {why}", path.display())
            })
        });
        policies.collect::<Result<_, _>>().map(Self)
    }
}

fn policy(line: &str) -> Result<Policy, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let of = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    if (of("apiVersion"), of("kind")) != ("abac.authorization.kubernetes.io/v1beta1", "Policy") {
        return Err("only policies of abac.authorization.kubernetes.io/v1beta1 are supported".to_owned());
    }
    let mut spec =
        Policy::deserialize(value.get("spec").unwrap_or(&Value::Null)).map_err(|error| error.to_string())?;
    // Older than `system:authenticated`: everybody who is known.
    for everybody in [&mut spec.user, &mut spec.group] {
        if everybody == "*" {
            "system:authenticated".clone_into(everybody);
        }
    }
    if spec.user == "system:authenticated" {
        spec.user.clear();
        "system:authenticated".clone_into(&mut spec.group);
    }
    Ok(spec)
}

impl Authorizer for Policies {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        if self.0.iter().any(|policy| policy.allows(attributes)) {
            Decision::ALLOW
        } else {
            Decision::NoOpinion("No policy matched.".into())
        }
    }

    fn rules_for(&self, user: &User, namespace: &str) -> Rules {
        let mut rules = Rules::default();
        let about = |policy: &&Policy| {
            policy.is_for(user) && (policy.namespace == "*" || policy.namespace == namespace)
        };
        for policy in self.0.iter().filter(about) {
            let verbs: &[&str] = if policy.readonly { &["get", "list", "watch"] } else { &["*"] };
            if !policy.resource.is_empty() {
                rules.rules.push(Rule::on_resources(verbs, &[&policy.api_group], &[&policy.resource]));
            }
            if !policy.non_resource_path.is_empty() {
                rules.rules.push(Rule::on_paths(verbs, &[&policy.non_resource_path]));
            }
        }
        rules
    }
}

// === impl Policy ===

impl Policy {
    fn is_for(&self, user: &User) -> bool {
        if self.user.is_empty() && self.group.is_empty() {
            return false;
        }
        (self.user.is_empty() || self.user == user.name) && (self.group.is_empty() || user.is_in(&self.group))
    }

    fn allows(&self, asked: &Attributes) -> bool {
        let reads = matches!(asked.verb.as_str(), "get" | "list" | "watch");
        let any_or = |mine: &str, asked: &str| mine == "*" || mine == asked;
        self.is_for(&asked.user)
            && (reads || !self.readonly)
            && if asked.resource_request {
                any_or(&self.namespace, &asked.namespace)
                    && any_or(&self.resource, &asked.resource)
                    && any_or(&self.api_group, &asked.group)
            } else {
                any_or(&self.non_resource_path, &asked.path)
                    || (self.non_resource_path.ends_with('*')
                        && asked.path.starts_with(self.non_resource_path.trim_end_matches('*')))
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_allows_whom_and_what_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policies");
        let line = |spec: &str| {
            format!(
                r#"{{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{spec}}}"#
            )
        };
        let lines = [
            "# people".to_owned(),
            String::new(),
            line(r#"{"user":"alice","namespace":"*","resource":"*","apiGroup":"*"}"#),
            line(r#"{"group":"dev","namespace":"a","resource":"pods","readonly":true}"#),
            line(r#"{"user":"*","nonResourcePath":"/version*","readonly":true}"#),
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let policies = Policies::read(&path).unwrap();
        let known = |name: &str, groups: &[&str]| {
            let mut user = User::new(name, groups);
            user.join("system:authenticated");
            user
        };
        let on = |user: &User, verb: &str, namespace: &str, group: &str| Attributes {
            user: user.clone(),
            verb: verb.to_owned(),
            namespace: namespace.to_owned(),
            group: group.to_owned(),
            resource: "pods".to_owned(),
            resource_request: true,
            ..Attributes::default()
        };
        let at = |user: &User, verb: &str, path: &str| Attributes {
            user: user.clone(),
            verb: verb.to_owned(),
            path: path.to_owned(),
            ..Attributes::default()
        };
        let (alice, dave, nobody) = (known("alice", &[]), known("dave", &["dev"]), User::anonymous());
        for (asked, allowed) in [
            (on(&alice, "delete", "b", "apps"), true),
            (on(&dave, "get", "a", ""), true),
            (on(&dave, "create", "a", ""), false),
            (on(&dave, "get", "b", ""), false),
            (on(&dave, "get", "a", "apps"), false),
            (at(&dave, "get", "/version/x"), true),
            (at(&dave, "post", "/version"), false),
            (at(&dave, "get", "/metrics"), false),
            (at(&nobody, "get", "/version"), false),
        ] {
            assert_eq!(policies.authorize(&asked).is_allow(), allowed, "{asked:?}");
        }
        assert_eq!(policies.rules_for(&dave, "a").rules.len(), 1);
        std::fs::write(&path, "{}").unwrap();
        assert!(Policies::read(&path).unwrap_err().contains("line 1"));
    }
}
