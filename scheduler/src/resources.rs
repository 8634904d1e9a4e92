//! Amounts of resources as decisions count them: whole numbers in one unit each, added and compared without parsing.
//!
//! Invariant: values only. What a Pod asks for is computed once, when it is read.

use std::collections::BTreeMap;

use api_types::quantity::Quantity;
use serde::{Deserialize, Deserializer};

/// What a container without a CPU request counts for in scores, in thousandths of a core.
pub const UNSAID_CPU_MILLI: i64 = 100;
/// What a container without a memory request counts for in scores, in bytes.
pub const UNSAID_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

/// Amounts of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Local ephemeral storage in bytes.
    pub storage: i64,
    /// Extended resources and huge pages, by name.
    pub extended: Box<[(Box<str>, i64)]>,
}

/// A `ResourceList` as the API writes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ResourceList(pub(crate) BTreeMap<Box<str>, Quantity>);

// === impl Resources ===

impl Resources {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.cpu == 0 && self.memory == 0 && self.storage == 0 && self.extended.is_empty()
    }

    /// The amount of an extended resource.
    pub fn extended(&self, name: &str) -> i64 {
        self.extended.iter().find(|(candidate, _)| **candidate == *name).map_or(0, |(_, amount)| *amount)
    }

    /// The amount of a resource by its API name.
    pub fn amount(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.storage,
            name => self.extended(name),
        }
    }
}

/// Whether a resource is neither CPU, memory, storage nor a number of Pods, but counted all the same.
pub(crate) fn is_extended(name: &str) -> bool {
    name.contains('/') || name.starts_with("hugepages-") || name.starts_with("attachable-volumes-")
}

// === impl ResourceList ===

impl<'de> Deserialize<'de> for ResourceList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map =
            Option::<BTreeMap<Box<str>, serde_json::Value>>::deserialize(deserializer)?.unwrap_or_default();
        let quantity = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text.parse().ok(),
            serde_json::Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        };
        // The server has validated quantities; one that cannot be read counts as none.
        Ok(Self(map.into_iter().filter_map(|(name, value)| Some((name, quantity(value)?))).collect()))
    }
}

impl ResourceList {
    /// Adds another list to this one.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            *self.0.entry(name.clone()).or_default() += amount;
        }
    }

    /// Takes the larger amount of each resource.
    pub(crate) fn max(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            match self.0.get_mut(name) {
                Some(mine) if *mine >= *amount => {}
                Some(mine) => *mine = amount.clone(),
                None => {
                    self.0.insert(name.clone(), amount.clone());
                }
            }
        }
    }

    /// What scores count: CPU and memory that are not said are taken for a little.
    pub(crate) fn with_unsaid(&self) -> Self {
        let mut list = self.clone();
        list.0
            .entry("cpu".into())
            .or_insert_with(|| Quantity::from_milli(UNSAID_CPU_MILLI, Default::default()));
        list.0
            .entry("memory".into())
            .or_insert_with(|| Quantity::new(UNSAID_MEMORY_BYTES, Default::default()));
        list
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Quantity> {
        self.0.get(name)
    }

    /// The numbers.
    pub(crate) fn resources(&self) -> Resources {
        let value = |name: &str| self.0.get(name).map_or(0, Quantity::value);
        Resources {
            cpu: self.0.get("cpu").map_or(0, Quantity::milli_value),
            memory: value("memory"),
            storage: value("ephemeral-storage"),
            extended: self
                .0
                .iter()
                .filter(|(name, _)| is_extended(name))
                .map(|(name, amount)| (name.clone(), amount.value()))
                .collect(),
        }
    }
}
