//! Where Pods wait, and in which order.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use super::Counts;

/// Who comes first: the more urgent; then who came back earlier; then who arrived earlier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    urgency: Reverse<i64>,
    returned: Duration,
    arrival: u64,
    uid: Box<str>,
}

/// Where a Pod waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Ready.
    Active(Order),
    /// Until a time; earlier if nothing else is to be done.
    Backoff((Duration, Order)),
    /// Until a time, and no earlier: something does not work.
    Errors((Duration, Order)),
    /// Since a time, until something happens.
    Unschedulable((Duration, Box<str>)),
    /// Held back by a plugin.
    Gated((&'static str, Box<str>)),
}

#[derive(Debug, Default)]
pub(super) struct Places {
    active: BTreeSet<Order>,
    backoff: BTreeSet<(Duration, Order)>,
    errors: BTreeSet<(Duration, Order)>,
    unschedulable: BTreeSet<(Duration, Box<str>)>,
    gated: BTreeSet<(&'static str, Box<str>)>,
}

// === impl Order ===

impl Order {
    pub(super) fn new(urgency: i64, returned: Duration, arrival: u64, uid: Box<str>) -> Self {
        Self { urgency: Reverse(urgency), returned, arrival, uid }
    }

    pub(super) fn with_urgency(&self, urgency: i64) -> Self {
        Self { urgency: Reverse(urgency), ..self.clone() }
    }
}

// === impl Place ===

impl Place {
    pub(super) fn order_mut(&mut self) -> Option<&mut Order> {
        match self {
            Self::Active(order) | Self::Backoff((_, order)) | Self::Errors((_, order)) => Some(order),
            Self::Unschedulable(_) | Self::Gated(_) => None,
        }
    }
}

// === impl Places ===

impl Places {
    pub(super) fn enter(&mut self, place: &Place) {
        let new = match place {
            Place::Active(order) => self.active.insert(order.clone()),
            Place::Backoff(key) => self.backoff.insert(key.clone()),
            Place::Errors(key) => self.errors.insert(key.clone()),
            Place::Unschedulable(key) => self.unschedulable.insert(key.clone()),
            Place::Gated(key) => self.gated.insert(key.clone()),
        };
        assert!(new, "a Pod waits in one place");
    }

    pub(super) fn leave(&mut self, place: &Place) {
        let there = match place {
            Place::Active(order) => self.active.remove(order),
            Place::Backoff(key) => self.backoff.remove(key),
            Place::Errors(key) => self.errors.remove(key),
            Place::Unschedulable(key) => self.unschedulable.remove(key),
            Place::Gated(key) => self.gated.remove(key),
        };
        assert!(there, "a Pod waits where it says");
    }

    /// Whose turn it is: the first of those that are ready, or else of those whose backoff ends first.
    pub(super) fn next(&self) -> Option<Box<str>> {
        let order = self.active.first().or_else(|| self.backoff.first().map(|(_, order)| order))?;
        Some(order.uid.clone())
    }

    /// Those whose backoff is over at a time.
    pub(super) fn backoff_over(&self, now: Duration) -> Vec<Box<str>> {
        let over = |key: &&(Duration, Order)| key.0 <= now;
        let backoff = self.backoff.iter().take_while(over);
        backoff.chain(self.errors.iter().take_while(over)).map(|(_, order)| order.uid.clone()).collect()
    }

    /// When the first backoff ends that is not cut short.
    pub(super) fn backoff_ends(&self) -> Option<Duration> {
        self.errors.first().map(|(ends, _)| *ends)
    }

    /// Those that wait for something to happen, the longest first.
    pub(super) fn unschedulable(&self) -> impl Iterator<Item = &(Duration, Box<str>)> {
        self.unschedulable.iter()
    }

    /// Those that are held back, and by whom.
    pub(super) fn gated(&self) -> impl Iterator<Item = &(&'static str, Box<str>)> {
        self.gated.iter()
    }

    /// Who waits for something to happen for the longest time.
    pub(super) fn waits_longest(&self) -> Option<(Duration, Box<str>)> {
        self.unschedulable.first().cloned()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            active: self.active.len(),
            backoff: self.backoff.len() + self.errors.len(),
            unschedulable: self.unschedulable.len(),
            gated: self.gated.len(),
            in_flight: 0,
        }
    }
}
