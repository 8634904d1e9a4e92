//! Whether a write is one that the rules of a webhook name.

use serde::Deserialize;

/// A rule: everything in it must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rule {
    api_groups: Vec<String>,
    api_versions: Vec<String>,
    resources: Vec<String>,
    operations: Vec<String>,
    scope: Option<String>,
}

/// What a rule is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) resource: &'a str,
    /// Empty for the main resource.
    pub(super) subresource: &'a str,
    pub(super) operation: &'a str,
    /// Empty for cluster-scoped resources; of a Namespace, its name.
    pub(super) namespace: &'a str,
}

impl Rule {
    pub(super) fn matches(&self, asked: &Asked<'_>) -> bool {
        let names = |list: &[String], name: &str| list.iter().any(|it| it == "*" || it == name);
        let is_namespace = (asked.group, asked.version, asked.resource) == ("", "v1", "namespaces");
        let is_cluster_scoped = is_namespace || asked.namespace.is_empty();
        let scope = match self.scope.as_deref() {
            None | Some("*") => true,
            Some("Namespaced") => !is_cluster_scoped,
            Some("Cluster") => is_cluster_scoped,
            Some(_) => false,
        };
        scope
            && names(&self.operations, asked.operation)
            && names(&self.api_groups, asked.group)
            && names(&self.api_versions, asked.version)
            && self.resources.iter().any(|resource| {
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                (resource == "*" || resource == asked.resource)
                    && (subresource == "*" || subresource == asked.subresource)
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_names_operations_groups_versions_resources_and_a_scope() {
        let pod = Asked {
            group: "",
            version: "v1",
            resource: "pods",
            subresource: "",
            operation: "CREATE",
            namespace: "n",
        };
        let status = Asked { subresource: "status", ..pod };
        let namespace = Asked { resource: "namespaces", ..pod };
        for (resources, scope, asked, matches) in [
            (json!(["pods"]), "*", pod, true),
            (json!(["pods"]), "*", status, false),
            (json!(["pods/*"]), "*", status, true),
            (json!(["pods/*"]), "*", pod, true),
            (json!(["*"]), "*", status, false),
            (json!(["*/*"]), "*", status, true),
            (json!(["*/status"]), "*", status, true),
            (json!(["*"]), "Namespaced", pod, true),
            (json!(["*"]), "Cluster", pod, false),
            (json!(["*"]), "Namespaced", namespace, false),
            (json!(["*"]), "Cluster", namespace, true),
            (json!(["secrets"]), "*", pod, false),
        ] {
            let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": resources, "scope": scope});
            let rule: Rule = serde_json::from_value(rule).unwrap();
            assert_eq!(rule.matches(&asked), matches, "{rule:?} {asked:?}");
            assert!(!rule.matches(&Asked { operation: "DELETE", ..asked }));
            assert!(!rule.matches(&Asked { version: "v2", ..asked }));
            assert!(!rule.matches(&Asked { group: "apps", ..asked }));
        }
    }
}
