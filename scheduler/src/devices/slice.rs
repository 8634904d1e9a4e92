//! A ResourceSlice: some of the devices of a pool.

use std::{collections::BTreeMap, sync::Arc};

use api_types::quantity::Quantity;
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;

use super::{Nodes, Reach, Taint};

/// A ResourceSlice.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Raw")]
pub struct Slice {
    /// The metadata.
    pub metadata: Meta,
    /// The driver and the pool.
    pub pool: PoolId,
    /// Of the slices of a pool only those of the newest generation count.
    pub generation: i64,
    /// How many slices the pool has.
    pub slices: i64,
    /// Which nodes reach its devices, unless each device says so.
    pub reach: Reach,
    /// Each device says which nodes reach it.
    pub reach_by_device: bool,
    /// The devices.
    pub devices: Box<[Device]>,
    /// What devices of the pool share.
    pub counters: Box<[CounterSet]>,
}

/// A pool among all of a cluster. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolId {
    /// The driver.
    pub driver: Arc<str>,
    /// Its name for the pool.
    pub pool: Arc<str>,
}

/// A device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "RawDevice")]
pub struct Device {
    /// Its name in the pool.
    pub name: Arc<str>,
    /// What is said of it, by qualified names.
    pub attributes: BTreeMap<Box<str>, Attribute>,
    /// What there is of it, by qualified names.
    pub capacity: BTreeMap<Box<str>, Capacity>,
    /// What it takes of what the pool shares.
    pub consumes: Box<[CounterSet]>,
    /// Which nodes reach it, if it says so and not its slice.
    pub reach: Reach,
    /// Its taints.
    pub taints: Box<[Taint]>,
    /// Whoever has it can use it on one node only.
    pub binds_to_node: bool,
    /// What must hold of it before a Pod is bound.
    pub binding_conditions: Box<[Box<str>]>,
    /// What must not.
    pub binding_failure_conditions: Box<[Box<str>]>,
    /// Several claims may have parts of it.
    pub is_divisible: bool,
}

/// Something that is said of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "RawAttribute")]
pub enum Attribute {
    /// A number.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(Box<str>),
    /// A semantic version.
    Version(Box<str>),
    /// Something we do not know.
    #[default]
    Unknown,
}

/// What there is of something, and in which parts it may be had.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capacity {
    /// All of it.
    pub value: Quantity,
    /// In which parts.
    pub request_policy: Option<Policy>,
}

/// In which parts a capacity may be had.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// What those get who do not say.
    #[serde(rename = "default")]
    pub unsaid: Option<Quantity>,
    /// Only these.
    #[serde(deserialize_with = "null_is_default")]
    pub valid_values: Box<[Quantity]>,
    /// Only those between.
    pub valid_range: Option<Range>,
}

/// Amounts from one to another, by steps.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Range {
    /// The least.
    pub min: Option<Quantity>,
    /// The most.
    pub max: Option<Quantity>,
    /// From the least in multiples of that.
    pub step: Option<Quantity>,
}

/// Counters: what there is, or what is taken.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "RawCounterSet")]
pub struct CounterSet {
    /// Its name in the pool.
    pub name: Box<str>,
    /// The counters.
    pub counters: BTreeMap<Box<str>, Quantity>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: Meta,
    spec: RawSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    driver: Arc<str>,
    pool: RawPool,
    node_name: Option<Box<str>>,
    node_selector: Option<Nodes>,
    #[serde(deserialize_with = "null_is_default")]
    all_nodes: bool,
    #[serde(deserialize_with = "null_is_default")]
    per_device_node_selection: bool,
    #[serde(deserialize_with = "null_is_default")]
    devices: Vec<Device>,
    #[serde(deserialize_with = "null_is_default")]
    shared_counters: Vec<CounterSet>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPool {
    name: Arc<str>,
    #[serde(deserialize_with = "null_is_default")]
    generation: i64,
    #[serde(deserialize_with = "null_is_default")]
    resource_slice_count: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawDevice {
    name: Arc<str>,
    #[serde(deserialize_with = "null_is_default")]
    attributes: BTreeMap<Box<str>, Attribute>,
    #[serde(deserialize_with = "null_is_default")]
    capacity: BTreeMap<Box<str>, Capacity>,
    #[serde(deserialize_with = "null_is_default")]
    consumes_counters: Vec<CounterSet>,
    node_name: Option<Box<str>>,
    node_selector: Option<Nodes>,
    #[serde(deserialize_with = "null_is_default")]
    all_nodes: bool,
    #[serde(deserialize_with = "null_is_default")]
    taints: Vec<Taint>,
    #[serde(deserialize_with = "null_is_default")]
    binds_to_node: bool,
    #[serde(deserialize_with = "null_is_default")]
    binding_conditions: Vec<Box<str>>,
    #[serde(deserialize_with = "null_is_default")]
    binding_failure_conditions: Vec<Box<str>>,
    #[serde(deserialize_with = "null_is_default")]
    allow_multiple_allocations: bool,
}

#[derive(Deserialize)]
struct RawAttribute {
    int: Option<i64>,
    bool: Option<bool>,
    string: Option<Box<str>>,
    version: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawCounterSet {
    name: Box<str>,
    counter_set: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    counters: BTreeMap<Box<str>, RawCounter>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCounter {
    value: Quantity,
}

// === impl Slice ===

impl From<Raw> for Slice {
    fn from(raw: Raw) -> Self {
        let Raw { metadata, spec } = raw;
        Self {
            metadata,
            pool: PoolId { driver: spec.driver, pool: spec.pool.name },
            generation: spec.pool.generation,
            slices: spec.pool.resource_slice_count,
            reach: Reach {
                node: spec.node_name.unwrap_or_default(),
                nodes: spec.node_selector,
                all: spec.all_nodes,
            },
            reach_by_device: spec.per_device_node_selection,
            devices: spec.devices.into(),
            counters: spec.shared_counters.into(),
        }
    }
}

impl Kind for Slice {
    const RESOURCE: Resource = resource::RESOURCE_SLICES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Slice {
    /// Which nodes reach one of its devices.
    pub fn reach_of<'a>(&'a self, device: &'a Device) -> &'a Reach {
        if self.reach_by_device { &device.reach } else { &self.reach }
    }
}

// === impl PoolId ===

impl std::fmt::Display for PoolId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.driver, self.pool)
    }
}

// === impl Device ===

impl From<RawDevice> for Device {
    fn from(raw: RawDevice) -> Self {
        Self {
            name: raw.name,
            attributes: raw.attributes,
            capacity: raw.capacity,
            consumes: raw.consumes_counters.into(),
            reach: Reach {
                node: raw.node_name.unwrap_or_default(),
                nodes: raw.node_selector,
                all: raw.all_nodes,
            },
            taints: raw.taints.into(),
            binds_to_node: raw.binds_to_node,
            binding_conditions: raw.binding_conditions.into(),
            binding_failure_conditions: raw.binding_failure_conditions.into(),
            is_divisible: raw.allow_multiple_allocations,
        }
    }
}

impl Device {
    /// What is said of it under a fully qualified name. What a driver says without a domain is of its own.
    pub fn attribute(&self, driver: &str, name: &str) -> Option<&Attribute> {
        self.attributes.get(name).or_else(|| {
            let (domain, name) = name.split_once('/')?;
            if domain == driver { self.attributes.get(name) } else { None }
        })
    }

    /// As selectors see it.
    pub fn seen_by_selectors<'a>(&'a self, driver: &'a str) -> cel::device::Device<'a> {
        let attribute = |attribute: &'a Attribute| match attribute {
            Attribute::Int(value) => cel::device::Attribute::Int(*value),
            Attribute::Bool(value) => cel::device::Attribute::Bool(*value),
            Attribute::Text(text) => cel::device::Attribute::Text(text),
            Attribute::Version(text) => cel::device::Attribute::Version(text),
            Attribute::Unknown => cel::device::Attribute::Unknown,
        };
        cel::device::Device {
            driver,
            attributes: self.attributes.iter().map(|(name, value)| (&**name, attribute(value))).collect(),
            capacity: self.capacity.iter().map(|(name, capacity)| (&**name, &capacity.value)).collect(),
            allow_multiple_allocations: self.is_divisible,
        }
    }
}

// === impl Attribute ===

impl From<RawAttribute> for Attribute {
    fn from(raw: RawAttribute) -> Self {
        match raw {
            RawAttribute { int: Some(value), .. } => Self::Int(value),
            RawAttribute { bool: Some(value), .. } => Self::Bool(value),
            RawAttribute { string: Some(text), .. } => Self::Text(text),
            RawAttribute { version: Some(text), .. } => Self::Version(text),
            _ => Self::Unknown,
        }
    }
}

// === impl CounterSet ===

impl From<RawCounterSet> for CounterSet {
    fn from(raw: RawCounterSet) -> Self {
        // One list calls it so, the other so.
        let name = if raw.name.is_empty() { raw.counter_set } else { raw.name };
        let counters = raw.counters.into_iter().map(|(name, counter)| (name, counter.value)).collect();
        Self { name, counters }
    }
}
