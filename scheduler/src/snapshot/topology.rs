//! The values of a node label, numbered, so that who counts by value counts in an array.
//!
//! Invariant: a function of the nodes; it is made once a label and set of nodes, when somebody asks.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::{Row, Snapshot};

/// The values of one label.
#[derive(Debug, Default)]
pub struct Topology {
    /// By row; none if the node has no such label.
    values: Vec<Option<u32>>,
    distinct: usize,
}

/// The labels that were asked for since nodes last changed.
#[derive(Debug, Default)]
pub(super) struct Topologies(Mutex<BTreeMap<Box<str>, Arc<Topology>>>);

// === impl Topology ===

impl Topology {
    fn of(snapshot: &Snapshot, key: &str) -> Self {
        let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
        let mut values = vec![None; snapshot.height()];
        for row in snapshot.rows() {
            let Some(value) = snapshot.node(*row).metadata.labels.get(key) else { continue };
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            let number = *numbers.entry(value).or_insert(next);
            if let Some(cell) = values.get_mut(row.0) {
                *cell = Some(number);
            }
        }
        Self { values, distinct: numbers.len() }
    }

    /// The number of a node's value; none if it has none.
    pub fn value(&self, row: Row) -> Option<usize> {
        let number = self.values.get(row.0).copied().flatten()?;
        usize::try_from(number).ok()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.distinct
    }

    /// Whether no node has the label.
    pub fn is_empty(&self) -> bool {
        self.distinct == 0
    }
}

// === impl Topologies ===

impl Topologies {
    pub(super) fn get(&self, snapshot: &Snapshot, key: &str) -> Arc<Topology> {
        let mut known = self.0.lock();
        if let Some(topology) = known.get(key) {
            return Arc::clone(topology);
        }
        let topology = Arc::new(Topology::of(snapshot, key));
        known.insert(key.into(), Arc::clone(&topology));
        topology
    }
}
