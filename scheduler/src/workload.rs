//! What decides on Pods beside their nodes: how many may be disrupted, and which belong together.

use std::collections::{BTreeMap, BTreeSet};

use api_types::selectors::labels::{Operator, Requirement, Selector};
use client::{
    Key, Kind, Labels, Meta, Resource,
    meta::{null_is_default, selector},
    resource,
};
use serde::Deserialize;

use crate::{pod::Pod, snapshot::Others};

/// A PodDisruptionBudget.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawBudget")]
pub struct Budget {
    /// The metadata.
    pub metadata: Meta,
    selector: Selector,
    /// How many Pods may go.
    pub allowed: i64,
    /// Those that are on their way already.
    disrupted: BTreeSet<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawBudget {
    metadata: Meta,
    spec: BudgetSpec,
    status: BudgetStatus,
}

#[derive(Deserialize)]
struct BudgetSpec {
    #[serde(default = "Selector::nothing", deserialize_with = "selector")]
    selector: Selector,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BudgetStatus {
    #[serde(deserialize_with = "null_is_default")]
    disruptions_allowed: i64,
    #[serde(deserialize_with = "null_is_default")]
    disrupted_pods: BTreeMap<Box<str>, serde::de::IgnoredAny>,
}

/// A Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "RawByLabels")]
pub struct Service {
    /// The metadata.
    pub metadata: Meta,
    selector: Labels,
}

/// A ReplicationController.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "RawByLabels")]
pub struct ReplicationController {
    /// The metadata.
    pub metadata: Meta,
    selector: Labels,
}

/// A ReplicaSet.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawBySelector")]
pub struct ReplicaSet {
    /// The metadata.
    pub metadata: Meta,
    selector: Selector,
}

/// A StatefulSet.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawBySelector")]
pub struct StatefulSet {
    /// The metadata.
    pub metadata: Meta,
    selector: Selector,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawByLabels {
    metadata: Meta,
    spec: LabelsSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LabelsSpec {
    #[serde(deserialize_with = "null_is_default")]
    selector: Labels,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawBySelector {
    metadata: Meta,
    spec: BudgetSpec,
}

macro_rules! kind {
    ($($name:ident = $resource:ident;)*) => {$(
        impl Kind for $name {
            const RESOURCE: Resource = resource::$resource;

            fn meta(&self) -> &Meta {
                &self.metadata
            }
        }
    )*};
}

kind! {
    Budget = POD_DISRUPTION_BUDGETS;
    Service = SERVICES;
    ReplicationController = REPLICATION_CONTROLLERS;
    ReplicaSet = REPLICA_SETS;
    StatefulSet = STATEFUL_SETS;
}

// === impl BudgetSpec ===

impl Default for BudgetSpec {
    fn default() -> Self {
        Self { selector: Selector::nothing() }
    }
}

// === impl Budget ===

impl From<RawBudget> for Budget {
    fn from(raw: RawBudget) -> Self {
        Self {
            metadata: raw.metadata,
            selector: raw.spec.selector,
            allowed: raw.status.disruptions_allowed,
            disrupted: raw.status.disrupted_pods.into_keys().collect(),
        }
    }
}

impl Budget {
    /// Whether the eviction of a Pod would count against it: one that is on its way already counts no more, and a budget for
    /// everything is for nothing.
    pub fn counts(&self, pod: &Pod) -> bool {
        self.metadata.namespace == pod.metadata.namespace
            && !pod.metadata.labels.is_empty()
            && !self.selector.is_everything()
            && self.selector.matches(&pod.metadata.labels)
            && !self.disrupted.contains(&*pod.metadata.name)
    }
}

// === impl Service ===

impl From<RawByLabels> for Service {
    fn from(raw: RawByLabels) -> Self {
        Self { metadata: raw.metadata, selector: raw.spec.selector }
    }
}

// === impl ReplicationController ===

impl From<RawByLabels> for ReplicationController {
    fn from(raw: RawByLabels) -> Self {
        Self { metadata: raw.metadata, selector: raw.spec.selector }
    }
}

// === impl ReplicaSet ===

impl From<RawBySelector> for ReplicaSet {
    fn from(raw: RawBySelector) -> Self {
        Self { metadata: raw.metadata, selector: raw.spec.selector }
    }
}

// === impl StatefulSet ===

impl From<RawBySelector> for StatefulSet {
    fn from(raw: RawBySelector) -> Self {
        Self { metadata: raw.metadata, selector: raw.spec.selector }
    }
}

/// Which Pods are of one kind with this one: those its Services and the workload that owns it select. Nothing said selects
/// everything.
pub fn kin(pod: &Pod, others: &Others) -> Selector {
    let mut requirements: Vec<Requirement> = Vec::new();
    let mut add = |labels: &Labels| {
        for (key, value) in labels.iter() {
            // What the server has validated can be read.
            requirements.extend(Requirement::new(key, Operator::In, vec![value.to_owned()]).ok());
        }
    };
    let labels = &pod.metadata.labels;
    for service in others.services.in_namespace(&pod.metadata.namespace) {
        let selects = !service.selector.is_empty()
            && service.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        if selects {
            add(&service.selector);
        }
    }
    if let Some(owner) = pod.metadata.controller() {
        let key = Key::new(&pod.metadata.namespace, &owner.name);
        match (&*owner.api_version, &*owner.kind) {
            ("v1", "ReplicationController") => {
                if let Some(owner) = others.replication_controllers.get(&key) {
                    add(&owner.selector);
                }
            }
            ("apps/v1", "ReplicaSet") => {
                if let Some(owner) = others.replica_sets.get(&key) {
                    requirements.extend(owner.selector.requirements().iter().cloned());
                }
            }
            ("apps/v1", "StatefulSet") => {
                if let Some(owner) = others.stateful_sets.get(&key) {
                    requirements.extend(owner.selector.requirements().iter().cloned());
                }
            }
            _ => {}
        }
    }
    requirements.dedup();
    Selector::of(requirements)
}
