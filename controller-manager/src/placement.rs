//! Which nodes fit: required node affinity, node selectors, taints and tolerations, as far as controllers judge them.
//!
//! Invariant: values only.

use api_types::selectors::labels::{Operator, Requirement};
use client::{Labels, Meta, meta::null_is_default};
use serde::Deserialize;

use crate::kinds::{node::Taint, pod::Toleration};

/// A node selector: one of its terms must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// The terms.
    #[serde(deserialize_with = "null_is_default")]
    pub node_selector_terms: Vec<Term>,
}

/// What a node must be: all requirements must hold. A term without any matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Term {
    /// What its labels must be.
    #[serde(deserialize_with = "null_is_default")]
    pub match_expressions: Vec<Expression>,
    /// What its fields must be; there is one, `metadata.name`.
    #[serde(deserialize_with = "null_is_default")]
    pub match_fields: Vec<Expression>,
}

/// A requirement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Expression {
    /// Of what.
    pub key: Box<str>,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: Box<str>,
    /// The values.
    #[serde(deserialize_with = "null_is_default")]
    pub values: Vec<String>,
}

/// What a Pod's spec says of where it may run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Placement {
    /// The only node, if it names one.
    pub node_name: Box<str>,
    /// Labels the node must have.
    #[serde(deserialize_with = "null_is_default")]
    pub node_selector: Labels,
    /// What else the node must be.
    #[serde(deserialize_with = "null_is_default")]
    pub affinity: Affinity,
    /// Which taints it puts up with.
    #[serde(deserialize_with = "null_is_default")]
    pub tolerations: Vec<Toleration>,
    /// It uses the network of the node.
    pub host_network: bool,
}

/// The part of a Pod's affinity that is about nodes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// What it wants of nodes.
    #[serde(deserialize_with = "null_is_default")]
    pub node_affinity: NodeAffinity,
}

/// What a Pod wants of nodes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAffinity {
    /// What it insists on.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
}

// === impl NodeSelector ===

impl NodeSelector {
    /// Whether one of the terms matches a node.
    pub fn matches(&self, node: &Meta) -> bool {
        self.node_selector_terms.iter().any(|term| term.matches(node))
    }

    /// The one node that a term names by its name, as the affinity of a DaemonSet's Pods does.
    pub fn pinned(&self) -> Option<&str> {
        let fields = self.node_selector_terms.iter().flat_map(|term| &term.match_fields);
        let names = fields.filter(|it| &*it.key == "metadata.name" && &*it.operator == "In");
        match names.map(|it| it.values.as_slice()).next() {
            Some([only]) => Some(only),
            _ => None,
        }
    }
}

impl Term {
    fn matches(&self, node: &Meta) -> bool {
        !(self.match_expressions.is_empty() && self.match_fields.is_empty())
            && self.match_expressions.iter().all(|it| it.matches_labels(&node.labels))
            && self.match_fields.iter().all(|it| it.matches_name(&node.name))
    }
}

impl Expression {
    fn matches_labels(&self, labels: &Labels) -> bool {
        let operator = match &*self.operator {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::GreaterThan,
            "Lt" => Operator::LessThan,
            _ => return false,
        };
        Requirement::new(&self.key, operator, self.values.clone())
            .is_ok_and(|requirement| requirement.matches(labels))
    }

    fn matches_name(&self, name: &str) -> bool {
        match (&*self.key, &*self.operator, self.values.as_slice()) {
            ("metadata.name", "In", [only]) => only == name,
            ("metadata.name", "NotIn", [only]) => only != name,
            _ => false,
        }
    }
}

// === impl Placement ===

impl Placement {
    /// Whether the node is what the Pod insists on, whatever its taints.
    pub fn wants(&self, node: &Meta) -> bool {
        (self.node_name.is_empty() || *self.node_name == *node.name)
            && self.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
            && self.affinity.node_affinity.required.as_ref().is_none_or(|required| required.matches(node))
    }

    /// Whether it puts up with every taint that has one of these effects.
    pub fn tolerates(&self, taints: &[Taint], effects: &[&str]) -> bool {
        let relevant = taints.iter().filter(|taint| effects.contains(&&*taint.effect));
        relevant.into_iter().all(|taint| self.tolerations.iter().any(|it| tolerates(it, taint)))
    }
}

/// Whether a taint is put up with.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| number.to_string() == text);
    (toleration.effect.is_empty() || toleration.effect == taint.effect)
        && (toleration.key.is_empty() || toleration.key == taint.key)
        && match &*toleration.operator {
            "" | "Equal" => toleration.value == taint.value,
            "Exists" => true,
            "Lt" => number(&taint.value)
                .zip(number(&toleration.value))
                .is_some_and(|(taint, value)| taint < value),
            "Gt" => number(&taint.value)
                .zip(number(&toleration.value))
                .is_some_and(|(taint, value)| taint > value),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_fits_if_all_that_is_insisted_on_holds() {
        let node: Meta =
            serde_json::from_value(json!({"name": "n1", "labels": {"zone": "a", "cores": "8"}})).unwrap();
        let required = |expressions: serde_json::Value, fields: serde_json::Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": expressions, "matchFields": fields}]}}}})
        };
        let name = |operator: &str, value: &str| json!([{"key": "metadata.name", "operator": operator, "values": [value]}]);
        for (spec, fits) in [
            (json!({}), true),
            (json!({"nodeName": "n2"}), false),
            (json!({"nodeSelector": {"zone": "a"}}), true),
            (json!({"nodeSelector": {"zone": "b"}}), false),
            (required(json!([{"key": "cores", "operator": "Gt", "values": ["7"]}]), json!(null)), true),
            (required(json!([{"key": "cores", "operator": "Lt", "values": ["7"]}]), json!(null)), false),
            (required(json!([{"key": "gpu", "operator": "DoesNotExist"}]), name("In", "n1")), true),
            (required(json!([]), name("NotIn", "n1")), false),
            (required(json!([]), json!([])), false),
        ] {
            let placement: Placement = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(placement.wants(&node), fits, "{spec}");
        }
    }
}
