//! How a Pod wants to be spread, and which Pods it wants near or far.

use std::collections::BTreeSet;

use api_types::selectors::labels::{Operator, Requirement, Selector};
use client::{
    Labels,
    meta::{null_is_default, selector},
};
use serde::Deserialize;

use super::Pod;

/// How Pods like this one are to be spread over the values of a node label.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpreadConstraint {
    /// How many more one value may have than another.
    pub max_skew: i64,
    /// The node label.
    pub topology_key: Box<str>,
    /// Whether a node that breaks it will not do, or is only worse.
    pub when_unsatisfiable: WhenUnsatisfiable,
    /// Which Pods are counted.
    #[serde(rename = "labelSelector", default = "Selector::nothing", deserialize_with = "selector")]
    said: Selector,
    /// Labels in which the counted Pods must be like this one.
    #[serde(default, deserialize_with = "null_is_default")]
    match_label_keys: Vec<Box<str>>,
    /// With fewer values than that, the least is taken to be 0.
    #[serde(default)]
    min_domains: Option<usize>,
    /// Whether nodes that the Pod's own node affinity excludes are counted.
    #[serde(default)]
    pub node_affinity_policy: Option<Policy>,
    /// Whether nodes whose taints the Pod does not stand are counted.
    #[serde(default)]
    pub node_taints_policy: Option<Policy>,
}

/// What a broken constraint means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum WhenUnsatisfiable {
    /// The node will not do.
    DoNotSchedule,
    /// The node is worse.
    ScheduleAnyway,
}

/// Whether some nodes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Policy {
    /// They are not.
    Honor,
    /// They are.
    Ignore,
}

/// Pods to be near to, or far from, and what near means.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodTerm {
    #[serde(rename = "labelSelector", default = "Selector::nothing", deserialize_with = "selector")]
    selector: Selector,
    /// Nodes with the same value of this label are near.
    pub topology_key: Box<str>,
    #[serde(default, deserialize_with = "null_is_default")]
    namespaces: BTreeSet<Box<str>>,
    #[serde(default, deserialize_with = "present_selector")]
    namespace_selector: Option<Selector>,
}

/// A term and how much it matters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightedPodTerm {
    /// From 1 to 100.
    pub weight: i64,
    /// The term.
    pub pod_affinity_term: PodTerm,
}

/// Which Pods must and should be near, or far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodTerms {
    /// Must.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "null_is_default")]
    pub required: Vec<PodTerm>,
    /// Should.
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        deserialize_with = "null_is_default"
    )]
    pub preferred: Vec<WeightedPodTerm>,
}

fn present_selector<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Selector>, D::Error> {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    let object = Option::<LabelSelector>::deserialize(deserializer)?;
    Ok(object
        .map(|object| Selector::of_object(Some(&object)).unwrap_or_else(|_malformed| Selector::nothing())))
}

// === impl SpreadConstraint ===

impl SpreadConstraint {
    /// A soft constraint over a label, as the system has it for Pods that say nothing.
    pub fn soft(topology_key: &str, max_skew: i64) -> Self {
        Self {
            max_skew,
            topology_key: topology_key.into(),
            when_unsatisfiable: WhenUnsatisfiable::ScheduleAnyway,
            said: Selector::nothing(),
            match_label_keys: Vec::new(),
            min_domains: None,
            node_affinity_policy: None,
            node_taints_policy: None,
        }
    }

    /// Which Pods are counted for a Pod with these labels.
    pub fn selector(&self, labels: &Labels) -> Selector {
        if self.match_label_keys.is_empty() || self.said.is_nothing() {
            return self.said.clone();
        }
        let alike = self.match_label_keys.iter().filter_map(|key| {
            let value = labels.get(key)?;
            Requirement::new(key, Operator::In, vec![value.to_owned()]).ok()
        });
        Selector::of(self.said.requirements().iter().cloned().chain(alike).collect())
    }

    /// From how many values on the least of them counts.
    pub fn domains_min(&self) -> usize {
        self.min_domains.unwrap_or(1)
    }
}

// === impl PodTerm ===

impl PodTerm {
    /// A term that names no namespace means its Pod's own.
    pub(super) fn in_namespace(mut self, namespace: &str) -> Self {
        if self.namespaces.is_empty() && self.namespace_selector.is_none() {
            self.namespaces.insert(namespace.into());
        }
        self
    }

    /// Whether a Pod is meant, whose namespace has these labels.
    pub fn matches(&self, pod: &Pod, namespace: &Labels) -> bool {
        let here = self.namespaces.contains(&*pod.metadata.namespace)
            || self.namespace_selector.as_ref().is_some_and(|selector| selector.matches(namespace));
        here && self.selector.matches(&pod.metadata.labels)
    }

    /// Whether a Pod may be meant, whatever the labels of its namespace.
    pub fn may_match(&self, pod: &Pod) -> bool {
        let here = self.namespaces.contains(&*pod.metadata.namespace) || self.namespace_selector.is_some();
        here && self.selector.matches(&pod.metadata.labels)
    }
}

// === impl PodTerms ===

impl PodTerms {
    pub(super) fn in_namespace(self, namespace: &str) -> Self {
        Self {
            required: self.required.into_iter().map(|term| term.in_namespace(namespace)).collect(),
            preferred: self
                .preferred
                .into_iter()
                .map(|term| WeightedPodTerm {
                    pod_affinity_term: term.pod_affinity_term.in_namespace(namespace),
                    ..term
                })
                .collect(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.preferred.is_empty()
    }
}
