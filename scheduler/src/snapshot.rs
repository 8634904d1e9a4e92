//! The nodes and what is placed on them, in columns: what one cycle decides on.
//!
//! A snapshot is a value: taking one costs a reference count a column, and the [`Cluster`] that owns the columns copies one
//! only when it must change it while somebody still looks at it. A row is a node; a column holds one number, or one small
//! value, of every node, so that a filter reads memory in order.
//!
//! Invariant: no I/O, no time. Rows mean something only within one snapshot.

mod cluster;
mod column;
mod crowds;
mod others;
mod topology;

pub use cluster::Cluster;
pub use crowds::Crowd;
pub use others::{Objects, Others};
pub use topology::Topology;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use client::Labels;

use self::{column::Column, crowds::Crowds, topology::Topologies};
use crate::{
    node::Node,
    pod::{HostPort, Pod},
    resources::Resources,
};

/// A node's place in the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row(usize);

/// The nodes and what is placed on them.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// In the order nodes are visited: one of each zone in turn.
    order: Arc<Vec<Row>>,
    by_name: Arc<BTreeMap<Arc<str>, Row>>,
    nodes: Column<Option<Arc<Node>>>,
    allocatable: Amounts,
    requested: Amounts,
    scored_cpu: Column<i64>,
    scored_memory: Column<i64>,
    pods: Column<Pods>,
    ports: Column<Ports>,
    /// Tells how a node was from how it is: no two are alike.
    versions: Column<u64>,
    /// How many Pods of a node want others near or far.
    choosy: Column<i64>,
    /// The labels of namespaces.
    namespaces: Arc<BTreeMap<Arc<str>, Labels>>,
    /// How many nodes have an image.
    images: Arc<BTreeMap<Box<str>, usize>>,
    crowds: Crowds,
    topologies: Arc<Topologies>,
    /// The Pods a node is kept free for, by its name.
    nominated: Arc<BTreeMap<Box<str>, Vec<Arc<Pod>>>>,
    /// What else there is.
    pub others: Others,
}

/// The Pods of a node by uid.
type Pods = Arc<BTreeMap<Box<str>, Arc<Pod>>>;
/// The host ports taken on a node, and by how many.
type Ports = Arc<BTreeMap<HostPort, u32>>;

/// Amounts of resources of every node.
#[derive(Clone, Debug, Default)]
struct Amounts {
    cpu: Column<i64>,
    memory: Column<i64>,
    storage: Column<i64>,
    pods: Column<i64>,
    extended: Arc<BTreeMap<Box<str>, Column<i64>>>,
}

/// What one node has, or what is taken of it.
#[derive(Clone, Copy, Debug)]
pub struct Amount<'a> {
    amounts: &'a Amounts,
    row: Row,
}

// === impl Row ===

impl Row {
    /// Its place in a column.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The nodes in the order they are visited.
    pub fn rows(&self) -> &[Row] {
        &self.order
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How long columns are.
    pub(crate) fn height(&self) -> usize {
        self.nodes.len()
    }

    /// Pods that are alike, all over the cluster.
    pub fn crowds(&self) -> impl Iterator<Item = &Crowd> {
        self.crowds.all()
    }

    /// Those that want others near or far.
    pub fn choosy_crowds(&self) -> impl Iterator<Item = &Crowd> {
        self.crowds.choosy()
    }

    /// The values of a node label.
    pub fn topology(&self, key: &str) -> Arc<Topology> {
        self.topologies.get(self, key)
    }

    /// Another number whenever something about the node has changed, the Pods placed there or those it is kept free for.
    pub(crate) fn version(&self, row: Row) -> u64 {
        self.versions.get(row).copied().unwrap_or_default()
    }

    /// The Pods a node is kept free for.
    pub fn nominated(&self, row: Row) -> &[Arc<Pod>] {
        if self.nominated.is_empty() {
            return &[];
        }
        self.nominated.get(self.node(row).name()).map_or(&[], Vec::as_slice)
    }

    /// The row of a node.
    pub fn row(&self, name: &str) -> Option<Row> {
        self.by_name.get(name).copied()
    }

    /// A node.
    ///
    /// # Panics
    /// For a row of another snapshot.
    pub fn node(&self, row: Row) -> &Node {
        match self.nodes.get(row) {
            Some(Some(node)) => node,
            Some(None) | None => panic!("a row of another snapshot"),
        }
    }

    /// The name of a node, to be kept.
    pub fn name(&self, row: Row) -> Arc<str> {
        Arc::clone(&self.node(row).metadata.name)
    }

    /// What a node has for Pods.
    pub fn allocatable(&self, row: Row) -> Amount<'_> {
        Amount { amounts: &self.allocatable, row }
    }

    /// What is asked of it by the Pods placed there.
    pub fn requested(&self, row: Row) -> Amount<'_> {
        Amount { amounts: &self.requested, row }
    }

    /// What scores count as taken: CPU in thousandths, memory in bytes; who asks for nothing counts a little.
    pub fn scored(&self, row: Row) -> (i64, i64) {
        (self.scored_cpu.number(row), self.scored_memory.number(row))
    }

    /// The Pods placed on a node.
    pub fn pods(&self, row: Row) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.get(row).into_iter().flat_map(|pods| pods.values())
    }

    /// The Pods placed on a node, if any of them want others near or far.
    pub fn pods_if_choosy(&self, row: Row) -> impl Iterator<Item = &Arc<Pod>> {
        let choosy = self.choosy.number(row) > 0;
        choosy.then(|| self.pods(row)).into_iter().flatten()
    }

    /// The labels of a namespace.
    pub fn namespace(&self, name: &str) -> &Labels {
        static NONE: std::sync::LazyLock<Labels> = std::sync::LazyLock::new(Labels::default);
        self.namespaces.get(name).unwrap_or(&NONE)
    }

    /// Whether a port can still be had.
    pub fn has_port(&self, row: Row, wanted: &HostPort) -> bool {
        self.ports.get(row).is_none_or(|taken| !taken.keys().any(|port| port.conflicts_with(wanted)))
    }

    /// How many nodes have an image.
    pub fn nodes_with_image(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or_default()
    }

    /// The rows of these nodes, in the order of the names.
    pub(crate) fn rows_of(&self, names: &BTreeSet<&str>) -> Vec<Row> {
        names.iter().filter_map(|name| self.row(name)).collect()
    }
}

// === impl Amounts ===

impl Amounts {
    fn add(&mut self, row: Row, resources: &Resources, pods: i64, sign: i64) {
        let change = |column: &mut Column<i64>, amount: i64| {
            if amount != 0 {
                let cell = column.at(row);
                *cell = cell.saturating_add(amount.saturating_mul(sign));
            }
        };
        change(&mut self.cpu, resources.cpu);
        change(&mut self.memory, resources.memory);
        change(&mut self.storage, resources.storage);
        change(&mut self.pods, pods);
        for (name, amount) in &resources.extended {
            change(Arc::make_mut(&mut self.extended).entry(name.clone()).or_default(), *amount);
        }
    }
}

// === impl Amount ===

impl Amount<'_> {
    /// CPU in thousandths of a core.
    pub fn cpu(self) -> i64 {
        self.amounts.cpu.number(self.row)
    }

    /// Memory in bytes.
    pub fn memory(self) -> i64 {
        self.amounts.memory.number(self.row)
    }

    /// Ephemeral storage in bytes.
    pub fn storage(self) -> i64 {
        self.amounts.storage.number(self.row)
    }

    /// The number of Pods.
    pub fn pods(self) -> i64 {
        self.amounts.pods.number(self.row)
    }

    /// A resource by its API name.
    pub fn amount(self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu(),
            "memory" => self.memory(),
            "ephemeral-storage" => self.storage(),
            name => self.extended(name),
        }
    }

    /// An extended resource.
    pub fn extended(self, name: &str) -> i64 {
        self.amounts.extended.get(name).map_or(0, |column| column.number(self.row))
    }
}
