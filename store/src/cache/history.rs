//! What happened lately, bounded in number, size and age.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::object::Object;
use crate::backend::Revision;

/// One object before and after.
#[derive(Debug)]
pub(super) struct Change {
    /// Where in the history this stands. That is the revision at which it happened; but what a relist found stands at the
    /// list's revision, all of it, because only the whole leads from the state before to the state after.
    pub(super) revision: Revision,
    /// Who has read up to here, has read all before this.
    pub(super) follows: Revision,
    pub(super) previous: Option<Arc<Object>>,
    pub(super) current: Option<Arc<Object>>,
    /// The header did not change, so neither did what selects the object.
    pub(super) same_header: bool,
}

/// How a revision relates to the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All that happened after it is here.
    Whole,
    /// It lies in a stretch that was lost. Only the sum of what happened in it is known.
    Gap { end: Revision },
    /// The history begins later.
    Beyond,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Changes.
    pub(super) events_max: usize,
    /// Bytes of states that were overwritten: what would be free without the history.
    pub(super) bytes_max: usize,
    pub(super) age_max: Duration,
}

/// Invariant: every change after `start`, up to the state it belongs to, is in here, in the order of revisions. Several
/// may share a revision (a relist finds deletions it cannot date; other backends delete many keys at once); such are
/// added and forgotten together.
#[derive(Debug, Default)]
pub(super) struct History {
    start: Revision,
    changes: VecDeque<(Instant, Arc<Change>)>,
    /// Stretches, from and to, that a relist bridged: who was at the beginning is brought to the end by the changes
    /// here, but who was somewhere between, by another server's account, may have seen what they do not mention.
    gaps: Vec<(Revision, Revision)>,
    /// The size of all changes.
    bytes: usize,
    /// How many of the oldest came from a backfill, beyond what the configuration allows, and their size.
    backfilled: usize,
    backfilled_bytes: usize,
    /// While a backfill is on its way nothing is forgotten, so that it fits in front.
    held: bool,
}

// === impl Change ===

impl Change {
    pub(super) fn new(
        follows: Revision,
        revision: Revision,
        previous: Option<Arc<Object>>,
        current: Option<Arc<Object>>,
    ) -> Self {
        let same_header = match (&previous, &current) {
            (Some(previous), Some(current)) => previous.header == current.header,
            (None, _) | (_, None) => false,
        };
        Self { revision, follows, previous, current, same_header }
    }

    /// How many bytes are kept for its sake.
    fn size(&self) -> usize {
        self.previous.as_ref().map_or(0, |previous| previous.bytes.len())
    }

    /// The object after, or for a deletion the last one.
    pub(super) fn object(&self) -> Option<&Arc<Object>> {
        self.current.as_ref().or(self.previous.as_ref())
    }
}

// === impl History ===

impl History {
    pub(super) fn starting_at(start: Revision) -> Self {
        Self { start, ..Self::default() }
    }

    /// All changes after this revision are here.
    pub(super) fn start(&self) -> Revision {
        self.start
    }

    pub(super) fn reach(&self, revision: Revision) -> Reach {
        if revision < self.start {
            return Reach::Beyond;
        }
        let gap = self.gaps.iter().find(|(from, to)| *from < revision && revision < *to);
        gap.map_or(Reach::Whole, |(_, end)| Reach::Gap { end: *end })
    }

    pub(super) fn bridge(&mut self, from: Revision, to: Revision) {
        self.gaps.push((from, to));
    }

    pub(super) fn push(&mut self, now: Instant, change: Arc<Change>) {
        self.bytes += change.size();
        self.changes.push_back((now, change));
    }

    /// Puts older changes in front: all that happened after `start`.
    pub(super) fn prepend(&mut self, now: Instant, start: Revision, older: Vec<Arc<Change>>) {
        let bytes = older.iter().map(|change| change.size()).sum::<usize>();
        self.backfilled += older.len();
        self.backfilled_bytes += bytes;
        self.bytes += bytes;
        for change in older.into_iter().rev() {
            self.changes.push_front((now, change));
        }
        self.start = start;
    }

    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// The changes after a revision, `limit` of them and those that share the last one's revision.
    pub(super) fn after(&self, revision: Revision, limit: usize) -> Vec<Arc<Change>> {
        let first = self.changes.partition_point(|(_, change)| change.revision <= revision);
        let mut found: Vec<Arc<Change>> = Vec::new();
        for (_, change) in self.changes.range(first..) {
            if found.len() >= limit && found.last().is_some_and(|last| last.revision < change.revision) {
                break;
            }
            found.push(Arc::clone(change));
        }
        found
    }

    /// The changes after a revision, newest first.
    pub(super) fn back_to(&self, revision: Revision) -> Vec<Arc<Change>> {
        let newest_first = self.changes.iter().rev().map(|(_, change)| change);
        newest_first.take_while(|change| change.revision > revision).cloned().collect()
    }

    /// Forgets what is too old or too much. What was forgotten is handed back, to be freed without a lock held.
    pub(super) fn trim(&mut self, now: Instant, bounds: Bounds) -> Vec<Arc<Change>> {
        let mut forgotten = Vec::new();
        while !self.held
            && let Some((at, change)) = self.changes.front()
            && (change.revision <= self.start
                || self.changes.len() > bounds.events_max + self.backfilled
                || self.bytes > bounds.bytes_max + self.backfilled_bytes
                || now.duration_since(*at) >= bounds.age_max)
        {
            let size = change.size();
            self.start = change.revision;
            self.bytes -= size;
            self.backfilled = self.backfilled.saturating_sub(1);
            self.backfilled_bytes = self.backfilled_bytes.saturating_sub(size);
            forgotten.extend(self.changes.pop_front().map(|(_, change)| change));
        }
        let start = self.start;
        self.gaps.retain(|(_, to)| *to > start);
        forgotten
    }

    /// When the oldest change came.
    pub(super) fn oldest_at(&self) -> Option<Instant> {
        self.changes.front().map(|(at, _)| *at)
    }
}
