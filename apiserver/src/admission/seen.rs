//! As what a webhook or a policy sees a write: by its rules, of which resource in which version, and the objects of which
//! kind. What both have in common stands here; what a subresource takes has a kind of its own, the same in all versions.

use std::{borrow::Cow, sync::Arc};

use api_types::{
    kind::{GroupVersion, GroupVersionKind},
    object::ObjectExt as _,
    schema::schema,
    selectors::labels::Selector,
    status::Status,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Attributes;
use crate::registry::catalogue::{Catalogue, Served};

/// A rule: everything in it must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rule {
    api_groups: Vec<String>,
    api_versions: Vec<String>,
    resources: Vec<String>,
    /// Only policies have names in their rules.
    resource_names: Vec<String>,
    operations: Vec<String>,
    scope: Option<String>,
}

/// A write as it is seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The resource in the version that the rules name.
    served: Arc<Served>,
    /// The resource as it was addressed.
    addressed: Arc<Served>,
    /// The kind of the objects, if it is not that of the resource.
    own_kind: Option<GroupVersionKind>,
}

impl Rule {
    /// Whether this means a write, if its resource is taken as of that version.
    pub(super) fn matches(&self, group: &str, version: &str, attributes: &Attributes) -> bool {
        let names = |list: &[String], name: &str| list.iter().any(|it| it == "*" || it == name);
        let resource = attributes.resource.resource.as_str();
        let is_namespace = (group, version, resource) == ("", "v1", "namespaces");
        let is_cluster_scoped = is_namespace || attributes.namespace.is_empty();
        let scope = match self.scope.as_deref() {
            None | Some("*") => true,
            Some("Namespaced") => !is_cluster_scoped,
            Some("Cluster") => is_cluster_scoped,
            Some(_) => false,
        };
        scope
            && names(&self.operations, attributes.operation.name())
            && names(&self.api_groups, group)
            && names(&self.api_versions, version)
            && (self.resource_names.is_empty() || self.resource_names.contains(&attributes.name))
            && self.resources.iter().any(|it| {
                let (wanted, subresource) = it.split_once('/').unwrap_or((it, ""));
                (wanted == "*" || wanted == resource)
                    && (subresource == "*" || subresource == attributes.subresource)
            })
    }
}

impl Seen {
    /// A write as it was made.
    pub(super) fn as_made(addressed: &Arc<Served>, attributes: &Attributes) -> Self {
        let is_own = attributes.kind.kind != addressed.names().kind;
        Self {
            served: Arc::clone(addressed),
            addressed: Arc::clone(addressed),
            own_kind: is_own.then(|| attributes.kind.clone()),
        }
    }

    /// A write as one of the rules means it: in the version it was made in, or in another if rules mean those too.
    pub(super) fn by_rules(
        rules: &[Rule],
        mean_others: bool,
        addressed: &Arc<Served>,
        catalogue: &Catalogue,
        attributes: &Attributes,
    ) -> Option<Self> {
        let own = addressed.names();
        let mut seen = Self::as_made(addressed, attributes);
        if rules.iter().any(|rule| rule.matches(own.group, own.version, attributes)) {
            return Some(seen);
        }
        if !mean_others || rules.is_empty() {
            return None;
        }
        let others: Vec<GroupVersion> = addressed
            .equivalents()
            .iter()
            .filter_map(|version| GroupVersion::parse(version))
            .filter(|version| (version.group.as_str(), version.version.as_str()) != (own.group, own.version))
            .collect();
        // The first rule that means any of them says which.
        let version = rules.iter().find_map(|rule| {
            others.iter().find(|version| rule.matches(&version.group, &version.version, attributes))
        })?;
        seen.served = catalogue.find(&version.group, &version.version, own.plural)?;
        Some(seen)
    }

    /// The resource in the version of the rules.
    pub(super) fn served(&self) -> &Served {
        &self.served
    }

    /// The resource as it was addressed.
    pub(super) fn addressed(&self) -> &Served {
        &self.addressed
    }

    /// The kind of the objects.
    pub(super) fn kind(&self) -> GroupVersionKind {
        self.own_kind.clone().unwrap_or_else(|| self.served.resource.kind())
    }

    /// The kind as the request has it.
    pub(super) fn request_kind(&self) -> GroupVersionKind {
        self.own_kind.clone().unwrap_or_else(|| self.addressed.resource.kind())
    }

    /// An object of the write, null if there is none.
    ///
    /// # Errors
    /// 500 if a webhook that converts fails.
    pub(super) async fn show<'a>(&self, object: &'a Value) -> Result<Cow<'a, Value>, Status> {
        if object.is_null() || self.own_kind.is_some() {
            return Ok(Cow::Borrowed(object));
        }
        if self.is_as_made() {
            return Ok(self.served.serve_borrowed(object));
        }
        let object = self.served.after_reading(object.clone()).await?;
        Ok(Cow::Owned(self.served.serve(object)))
    }

    /// A changed object, as the chain goes on with it.
    ///
    /// # Errors
    /// 500 for what does not fit its type, or if a webhook that converts fails.
    pub(super) async fn take_back(&self, changed: Value) -> Result<Value, Status> {
        let of = match &self.own_kind {
            Some(kind) => schema().type_of(&kind.group, &kind.version, &kind.kind),
            None => self.served.resource.schema(),
        };
        let changed = match of {
            Some(of) => api_types::wire::typed::coerce(changed, of).map_err(Status::internal)?.value,
            None => changed,
        };
        if self.own_kind.is_some() {
            return Ok(changed);
        }
        let changed = self.served.resource.default(changed).map_err(Status::internal)?;
        let changed = self.served.store(changed);
        if self.is_as_made() { Ok(changed) } else { self.addressed.after_reading(changed).await }
    }

    /// Whether the rules mean the version that the write was made in.
    fn is_as_made(&self) -> bool {
        Arc::ptr_eq(&self.served, &self.addressed)
    }
}

/// The labels of an object.
pub(super) fn labels(object: &Value) -> Option<&Map<String, Value>> {
    object.meta().and_then(|meta| meta.get("labels")).and_then(Value::as_object)
}

/// A selector, which matches everything if it is absent.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn selector(written: Option<&Value>) -> Result<Selector, String> {
    let Some(written) = written.filter(|written| !written.is_null()) else {
        return Ok(Selector::everything());
    };
    let written: LabelSelector =
        serde_json::from_value(written.clone()).map_err(|error| error.to_string())?;
    Selector::of_object(Some(&written)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{Operation, testing},
        *,
    };

    #[test]
    fn a_rule_names_operations_groups_versions_resources_and_a_scope() {
        let of = |resource: &str, subresource: &str| {
            let create = Operation::Create;
            let mut attributes = testing::of("", resource, subresource, create, json!({}), Value::Null);
            attributes.namespace = "n".to_owned();
            attributes.name = "x".to_owned();
            attributes
        };
        for (resources, scope, asked, matches) in [
            (json!(["pods"]), "*", of("pods", ""), true),
            (json!(["pods"]), "*", of("pods", "status"), false),
            (json!(["pods/*"]), "*", of("pods", "status"), true),
            (json!(["pods/*"]), "*", of("pods", ""), true),
            (json!(["*"]), "*", of("pods", "status"), false),
            (json!(["*/*"]), "*", of("pods", "status"), true),
            (json!(["*/status"]), "*", of("pods", "status"), true),
            (json!(["*"]), "Namespaced", of("pods", ""), true),
            (json!(["*"]), "Cluster", of("pods", ""), false),
            (json!(["*"]), "Namespaced", of("namespaces", ""), false),
            (json!(["*"]), "Cluster", of("namespaces", ""), true),
            (json!(["secrets"]), "*", of("pods", ""), false),
        ] {
            let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": resources, "scope": scope, "resourceNames": []});
            let rule: Rule = serde_json::from_value(rule).unwrap();
            assert_eq!(rule.matches("", "v1", &asked), matches, "{rule:?} {asked:?}");
            let deleted = Attributes { operation: Operation::Delete, ..asked.clone() };
            assert!(!rule.matches("", "v1", &deleted));
            assert!(!rule.matches("", "v2", &asked));
            assert!(!rule.matches("apps", "v1", &asked));
            let named = Rule { resource_names: vec!["y".to_owned()], ..rule };
            assert!(!named.matches("", "v1", &asked));
        }
    }
}
