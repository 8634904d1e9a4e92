//! Whether a write is one that a policy or binding speaks of, and in which version.

use std::sync::Arc;

use api_types::{kind::GroupVersion, object::ObjectExt as _, selectors::labels::Selector, status::Status};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::compiled::{items, text};
use crate::{
    admission::{Attributes, Operation},
    registry::catalogue::{Catalogue, Served},
};

/// `matchConstraints` or `matchResources`.
#[derive(Debug)]
pub(super) struct Matching {
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether the rules mean other versions of a resource too.
    equivalent: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    api_groups: Vec<String>,
    api_versions: Vec<String>,
    resources: Vec<String>,
    resource_names: Vec<String>,
    operations: Vec<String>,
    scope: Option<String>,
}

/// The namespace of what is written.
#[derive(Debug)]
pub(super) enum Namespace {
    /// It has none.
    None,
    Known(Arc<Value>),
    Unreadable(Status),
}

/// What is written.
pub(super) struct Subject<'a> {
    pub(super) attributes: &'a Attributes,
    /// The resource as it was addressed.
    pub(super) served: &'a Arc<Served>,
    pub(super) catalogue: &'a Catalogue,
    pub(super) namespace: &'a Namespace,
}

impl Matching {
    pub(super) fn read(written: &Value) -> Self {
        let rules = |field: &str| {
            items(written, field).filter_map(|rule| serde_json::from_value(rule.clone()).ok()).collect()
        };
        Self {
            namespaces: selector(written.get("namespaceSelector")),
            objects: selector(written.get("objectSelector")),
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            equivalent: text(written, "matchPolicy") != "Exact",
        }
    }

    /// The resource in the version the rules name; `None` if they do not mean this write.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> Result<Option<Arc<Served>>, String> {
        let by_namespace = self.namespace_matches(subject);
        if by_namespace == Ok(false) {
            return Ok(None);
        }
        let by_object = self.object_matches(subject.attributes);
        if by_object == Ok(false) {
            return Ok(None);
        }
        if self.version(&self.excluded, subject).is_some() {
            return Ok(None);
        }
        let served = if self.rules.is_empty() {
            Some(Arc::clone(subject.served))
        } else {
            self.version(&self.rules, subject)
        };
        if served.is_some() {
            by_namespace?;
            by_object?;
        }
        Ok(served)
    }

    fn namespace_matches(&self, subject: &Subject<'_>) -> Result<bool, String> {
        let selector = self.namespaces.as_ref().map_err(Clone::clone)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let attributes = subject.attributes;
        if attributes.resource.group.is_empty() && attributes.resource.resource == "namespaces" {
            let object = if attributes.object.is_null() { &attributes.old } else { &attributes.object };
            return Ok(selector.matches(&labels(object)));
        }
        match subject.namespace {
            Namespace::None => Ok(true),
            Namespace::Known(namespace) => Ok(selector.matches(&labels(namespace))),
            Namespace::Unreadable(status) => Err(status.message.clone()),
        }
    }

    fn object_matches(&self, attributes: &Attributes) -> Result<bool, String> {
        let selector = self.objects.as_ref().map_err(Clone::clone)?;
        let selected = |object: &Value| !object.is_null() && selector.matches(&labels(object));
        Ok(selector.is_everything() || selected(&attributes.object) || selected(&attributes.old))
    }

    /// The version in which one of the rules means the write.
    fn version(&self, rules: &[Rule], subject: &Subject<'_>) -> Option<Arc<Served>> {
        let own = subject.served.names();
        if rules.iter().any(|rule| rule.matches(own.group, own.version, subject.attributes)) {
            return Some(Arc::clone(subject.served));
        }
        if !self.equivalent || rules.is_empty() {
            return None;
        }
        let stored = subject.served.storage.resource.kind().api_version();
        let others = subject.served.storage.other_versions.iter().map(|(version, _)| version.clone());
        let version = std::iter::once(stored)
            .chain(others)
            .filter_map(|version| GroupVersion::parse(&version))
            .filter(|version| (version.group.as_str(), version.version.as_str()) != (own.group, own.version))
            .find(|version| {
                rules.iter().any(|rule| rule.matches(&version.group, &version.version, subject.attributes))
            })?;
        subject.catalogue.find(&version.group, &version.version, own.plural)
    }
}

impl Rule {
    fn matches(&self, group: &str, version: &str, attributes: &Attributes) -> bool {
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
            && names(&self.operations, operation(attributes.operation))
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

/// An operation as rules and requests name it.
pub(super) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

fn labels(object: &Value) -> Option<&Map<String, Value>> {
    object.meta().and_then(|meta| meta.get("labels")).and_then(Value::as_object)
}

/// A selector, which matches everything if it is absent.
pub(super) fn selector(written: Option<&Value>) -> Result<Selector, String> {
    let Some(written) = written.filter(|written| !written.is_null()) else {
        return Ok(Selector::everything());
    };
    let written: LabelSelector =
        serde_json::from_value(written.clone()).map_err(|error| error.to_string())?;
    Selector::of_object(Some(&written)).map_err(|error| error.to_string())
}
