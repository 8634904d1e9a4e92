//! Pods that are alike: of one namespace, with one set of labels and the same wishes about other Pods.
//!
//! Who counts Pods by labels asks each crowd once, and not each Pod; and adds up where the crowd is.
//!
//! Invariant: a crowd has as many members on a row as Pods like that are placed there.

use std::{collections::BTreeMap, sync::Arc};

use client::Labels;

use super::Row;
use crate::pod::Pod;

/// All crowds. Copies share everything until one of them changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowds {
    /// Those that want nothing of other Pods.
    plain: Arc<BTreeMap<Alike, Crowd>>,
    /// Those that want some near or far.
    choosy: Arc<BTreeMap<Alike, Crowd>>,
}

/// Pods that are alike.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// One of them, or one that was.
    pub pod: Arc<Pod>,
    rows: Arc<BTreeMap<Row, u32>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    namespace: Arc<str>,
    labels: Labels,
    is_terminating: bool,
    wishes: Box<str>,
}

// === impl Alike ===

impl Alike {
    fn of(pod: &Pod) -> Self {
        let is_choosy = pod.is_choosy();
        Self {
            namespace: Arc::clone(&pod.metadata.namespace),
            labels: pod.metadata.labels.clone(),
            is_terminating: pod.metadata.is_terminating(),
            wishes: if is_choosy { format!("{:?}{:?}", pod.near, pod.far).into() } else { Box::default() },
        }
    }
}

// === impl Crowd ===

impl Crowd {
    /// Where they are, and how many.
    pub fn rows(&self) -> impl Iterator<Item = (Row, i64)> {
        self.rows.iter().map(|(row, count)| (*row, i64::from(*count)))
    }
}

// === impl Crowds ===

impl Crowds {
    pub(super) fn all(&self) -> impl Iterator<Item = &Crowd> {
        self.plain.values().chain(self.choosy.values())
    }

    pub(super) fn choosy(&self) -> impl Iterator<Item = &Crowd> {
        self.choosy.values()
    }

    /// A Pod came to a row, or left it.
    pub(super) fn count(&mut self, row: Row, pod: &Arc<Pod>, comes: bool) {
        let crowds = Arc::make_mut(if pod.is_choosy() { &mut self.choosy } else { &mut self.plain });
        let alike = Alike::of(pod);
        if comes {
            let crowd =
                crowds.entry(alike).or_insert_with(|| Crowd { pod: Arc::clone(pod), rows: Arc::default() });
            *Arc::make_mut(&mut crowd.rows).entry(row).or_default() += 1;
            return;
        }
        let Some(crowd) = crowds.get_mut(&alike) else { return };
        let rows = Arc::make_mut(&mut crowd.rows);
        if let Some(count) = rows.get_mut(&row) {
            *count -= 1;
            if *count == 0 {
                rows.remove(&row);
            }
        }
        if rows.is_empty() {
            crowds.remove(&alike);
        }
    }
}
