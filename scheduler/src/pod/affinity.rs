//! Which nodes a Pod must or should have.

use std::collections::BTreeSet;

use api_types::selectors::labels::{Operator, Requirement};
use client::meta::null_is_default;
use serde::Deserialize;

use crate::node::Node;

/// One of the terms must match; none matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    #[serde(deserialize_with = "null_is_default")]
    node_selector_terms: Box<[NodeTerm]>,
}

/// All of it must match; nothing at all matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "RawTerm")]
pub struct NodeTerm {
    labels: Box<[Requirement]>,
    names: Box<[NameRequirement]>,
    /// It says something, and all of that makes sense.
    matchable: bool,
}

/// A term and how much it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PreferredTerm {
    /// From 1 to 100.
    pub weight: i32,
    /// The term.
    pub preference: NodeTerm,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct NameRequirement {
    name: Box<str>,
    is: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawTerm {
    #[serde(deserialize_with = "null_is_default")]
    match_expressions: Vec<RawRequirement>,
    #[serde(deserialize_with = "null_is_default")]
    match_fields: Vec<RawRequirement>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawRequirement {
    key: String,
    operator: String,
    #[serde(deserialize_with = "null_is_default")]
    values: Vec<String>,
}

// === impl NodeTerm ===

impl From<RawTerm> for NodeTerm {
    fn from(raw: RawTerm) -> Self {
        let mut matchable = !(raw.match_expressions.is_empty() && raw.match_fields.is_empty());
        let mut labels = Vec::new();
        for requirement in raw.match_expressions {
            let operator = match &*requirement.operator {
                "In" => Some(Operator::In),
                "NotIn" => Some(Operator::NotIn),
                "Exists" => Some(Operator::Exists),
                "DoesNotExist" => Some(Operator::DoesNotExist),
                "Gt" => Some(Operator::GreaterThan),
                "Lt" => Some(Operator::LessThan),
                _ => None,
            };
            match operator.map(|operator| Requirement::new(&requirement.key, operator, requirement.values)) {
                Some(Ok(requirement)) => labels.push(requirement),
                Some(Err(_)) | None => matchable = false,
            }
        }
        let mut names = Vec::new();
        for requirement in raw.match_fields {
            match (&*requirement.key, &*requirement.operator, requirement.values.as_slice()) {
                ("metadata.name", "In", [name]) => {
                    names.push(NameRequirement { name: (&**name).into(), is: true })
                }
                ("metadata.name", "NotIn", [name]) => {
                    names.push(NameRequirement { name: (&**name).into(), is: false })
                }
                _ => matchable = false,
            }
        }
        Self { labels: labels.into(), names: names.into(), matchable }
    }
}

impl NodeTerm {
    /// Whether a node is what the term says.
    pub fn matches(&self, node: &Node) -> bool {
        self.matchable
            && self.labels.iter().all(|requirement| requirement.matches(&node.metadata.labels))
            && self.names.iter().all(|name| (*name.name == *node.metadata.name) == name.is)
    }

    /// The names a node must have by this term; `None` if any will do.
    fn node_names(&self) -> Option<BTreeSet<&str>> {
        let mut required = self.names.iter().filter(|name| name.is).map(|name| &*name.name);
        let first = required.next()?;
        let mut names = BTreeSet::from([first]);
        for other in required {
            names.retain(|name| *name == other);
        }
        Some(names)
    }
}

// === impl NodeSelector ===

impl NodeSelector {
    /// Whether one of the terms matches a node.
    pub fn matches(&self, node: &Node) -> bool {
        self.node_selector_terms.iter().any(|term| term.matches(node))
    }

    /// Whether every term says something that makes sense.
    pub fn is_valid(&self) -> bool {
        self.node_selector_terms.iter().all(|term| term.matchable)
    }

    /// The only names a node can have; `None` if any will do.
    pub fn node_names(&self) -> Option<BTreeSet<&str>> {
        if self.node_selector_terms.is_empty() {
            return None;
        }
        let mut all = BTreeSet::new();
        for term in &self.node_selector_terms {
            all.extend(term.node_names()?);
        }
        Some(all)
    }
}
