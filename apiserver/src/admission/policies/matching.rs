//! Whether a write is one that a policy or binding speaks of, and in which version.

use std::sync::Arc;

use api_types::{selectors::labels::Selector, status::Status};
use serde_json::Value;

use super::compiled::{items, text};
use crate::{
    admission::{
        Attributes,
        seen::{Rule, Seen, labels, selector},
    },
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

    /// As what the rules mean a write; `None` if they do not mean it.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> Result<Option<Seen>, String> {
        let by_namespace = self.namespace_matches(subject);
        if by_namespace == Ok(false) {
            return Ok(None);
        }
        let by_object = self.object_matches(subject.attributes);
        if by_object == Ok(false) {
            return Ok(None);
        }
        let by_rules = |rules: &[Rule]| {
            Seen::by_rules(rules, self.equivalent, subject.served, subject.catalogue, subject.attributes)
        };
        if by_rules(&self.excluded).is_some() {
            return Ok(None);
        }
        let seen = if self.rules.is_empty() {
            Some(Seen::as_made(subject.served, subject.attributes))
        } else {
            by_rules(&self.rules)
        };
        if seen.is_some() {
            by_namespace?;
            by_object?;
        }
        Ok(seen)
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
}
