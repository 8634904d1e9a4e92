//! Current records, the log of changes, and the rules by which one leads to the other.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use imbl::OrdMap;

use super::super::{Entry, Error, Event, Page, Range, Result, Revision, embedded::Stamp};

/// A point in time, in milliseconds on the backend's own scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Deadline(pub(in super::super) u64);

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Record {
    pub(in super::super) key: Arc<str>,
    pub(in super::super) value: Bytes,
    pub(in super::super) revision: Revision,
    /// When the key vanishes, unless it is written again.
    pub(in super::super) expires: Option<Deadline>,
}

/// One revision: a key before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Change {
    pub(in super::super) revision: Revision,
    pub(in super::super) key: Arc<str>,
    pub(in super::super) previous: Option<Arc<Record>>,
    pub(in super::super) current: Option<Arc<Record>>,
}

/// A write that somebody wants.
#[derive(Clone, Debug)]
pub(in super::super) enum Op {
    Create { key: Arc<str>, value: Bytes, expires: Option<Deadline> },
    Update { key: Arc<str>, expected: Revision, value: Bytes, expires: Option<Deadline> },
    Delete { key: Arc<str>, expected: Revision },
}

/// Everything a store knows. Cloning costs the log's pointers; the records are shared.
///
/// Invariants: the log is dense and in order, `log[i].revision == compacted + 1 + i`, and ends at `revision`. Undoing the
/// log from its end on `records` leads to the state at any revision not before `compacted`.
#[derive(Clone, Debug)]
pub(in super::super) struct State {
    revision: Revision,
    compacted: Revision,
    records: OrdMap<Arc<str>, Arc<Record>>,
    log: VecDeque<Arc<Change>>,
    expiring: BTreeSet<(Deadline, Arc<str>)>,
}

/// A state's records now and the way back to the oldest revision it can show. Made under a lock, used without.
#[derive(Debug)]
pub(in super::super) struct Past {
    records: OrdMap<Arc<str>, Arc<Record>>,
    log: Vec<Arc<Change>>,
}

/// Writes decided on top of a state that has not seen them yet. A later one sees the earlier ones.
pub(in super::super) struct Batch<'a> {
    state: &'a State,
    changes: Vec<Change>,
    /// What the changes leave at the keys they touch.
    staged: BTreeMap<Arc<str>, Option<Arc<Record>>>,
    stamp: Option<Stamp>,
}

// === impl Record ===

impl Record {
    pub(in super::super) fn entry(&self) -> Entry {
        Entry { key: (*self.key).to_owned(), value: self.value.clone(), revision: self.revision }
    }
}

// === impl Change ===

impl Change {
    fn event(&self) -> Event {
        let previous = self.previous.as_ref().map(|record| record.entry());
        match &self.current {
            Some(record) => Event::Put { entry: record.entry(), created: previous.is_none(), previous },
            None => Event::Delete { key: (*self.key).to_owned(), revision: self.revision, previous },
        }
    }
}

// === impl Op ===

impl Op {
    fn key(&self) -> &Arc<str> {
        match self {
            Self::Create { key, .. } | Self::Update { key, .. } | Self::Delete { key, .. } => key,
        }
    }
}

// === impl State ===

impl Default for State {
    fn default() -> Self {
        Self {
            revision: Revision::FIRST,
            compacted: Revision::FIRST,
            records: OrdMap::new(),
            log: VecDeque::new(),
            expiring: BTreeSet::new(),
        }
    }
}

impl State {
    /// A state without history: `records` are what there is at `revision`.
    pub(in super::super) fn at(revision: Revision, records: impl IntoIterator<Item = Record>) -> Self {
        let mut state = Self { revision, compacted: revision, ..Self::default() };
        for record in records {
            if let Some(deadline) = record.expires {
                state.expiring.insert((deadline, Arc::clone(&record.key)));
            }
            state.records.insert(Arc::clone(&record.key), Arc::new(record));
        }
        state
    }

    pub(in super::super) fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can be read.
    pub(in super::super) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// All records, in the order of their keys. Cloning it is cheap.
    pub(in super::super) fn records(&self) -> &OrdMap<Arc<str>, Arc<Record>> {
        &self.records
    }

    pub(in super::super) fn get(&self, key: &str) -> Option<&Arc<Record>> {
        self.records.get(key)
    }

    /// The deadline that comes first.
    pub(in super::super) fn next_deadline(&self) -> Option<Deadline> {
        self.expiring.first().map(|(deadline, _)| *deadline)
    }

    /// Deletions of what has outlived its time, the first `limit` of them.
    pub(in super::super) fn expired(&self, now: Deadline, limit: usize) -> Vec<Op> {
        self.expiring
            .iter()
            .take_while(|(deadline, _)| *deadline <= now)
            .take(limit)
            .filter_map(|(_, key)| self.records.get(key))
            .map(|record| Op::Delete { key: Arc::clone(&record.key), expected: record.revision })
            .collect()
    }

    /// How long the keys of a prefix have left that do not stay for ever.
    pub(in super::super) fn times_to_live(&self, prefix: &str, now: Deadline) -> Vec<(String, Duration)> {
        let left = |Deadline(at): &Deadline| Duration::from_millis(at.saturating_sub(now.0));
        self.expiring
            .iter()
            .filter(|(_, key)| key.starts_with(prefix))
            .map(|(at, key)| ((**key).to_owned(), left(at)))
            .collect()
    }

    /// Makes a change part of the state.
    ///
    /// # Panics
    /// If it is not the next revision: that would be a bug of the backend, and everything after it would be wrong.
    pub(in super::super) fn apply(&mut self, change: Arc<Change>) {
        assert_eq!(change.revision, self.revision.next(), "revisions are dense");
        let before = match &change.current {
            Some(record) => {
                assert_eq!(record.revision, change.revision, "a record carries the revision that wrote it");
                if let Some(deadline) = record.expires {
                    self.expiring.insert((deadline, Arc::clone(&record.key)));
                }
                self.records.insert(Arc::clone(&change.key), Arc::clone(record))
            }
            None => self.records.remove(&change.key),
        };
        assert_eq!(
            before.as_ref().map(|record| record.revision),
            change.previous.as_ref().map(|record| record.revision),
            "a change follows the state it was decided on",
        );
        if let Some((deadline, record)) = before.and_then(|record| Some((record.expires?, record)))
            && change.current.as_ref().and_then(|record| record.expires) != Some(deadline)
        {
            self.expiring.remove(&(deadline, Arc::clone(&record.key)));
        }
        self.revision = change.revision;
        self.log.push_back(change);
    }

    /// Forgets what was overwritten before `revision`. What was forgotten is handed back, so that it can be freed
    /// without a lock held.
    ///
    /// # Errors
    /// [`Error::Future`]
    pub(in super::super) fn compact(&mut self, revision: Revision) -> Result<Vec<Arc<Change>>> {
        if revision > self.revision {
            return Err(Error::Future { asked: revision, current: self.revision });
        }
        let count = usize::try_from(revision.saturating_sub(*self.compacted)).unwrap_or(usize::MAX);
        self.compacted = self.compacted.max(revision);
        Ok(self.log.drain(..count.min(self.log.len())).collect())
    }

    /// The records at a revision, as a map of its own.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::Future`]
    pub(in super::super) fn records_at(&self, at: Revision) -> Result<OrdMap<Arc<str>, Arc<Record>>> {
        let at = self.readable(at)?;
        let mut records = self.records.clone();
        undo(&mut records, self.log.iter().rev().take_while(|change| change.revision > at));
        Ok(records)
    }

    /// What is needed to find the records at [`State::compacted`]. It copies the log's pointers.
    pub(in super::super) fn past(&self) -> Past {
        Past { records: self.records.clone(), log: self.log.iter().cloned().collect() }
    }

    /// Changes of a prefix after a revision, no more than `limit` of them, and how far that got.
    ///
    /// # Errors
    /// [`Error::Compacted`]
    pub(in super::super) fn events(
        &self,
        prefix: &str,
        after: Revision,
        limit: usize,
    ) -> Result<(Vec<Event>, Revision)> {
        let after = after.max(Revision::FIRST);
        if after < self.compacted {
            return Err(Error::Compacted { asked: after, oldest: self.compacted });
        }
        let start = usize::try_from(after.saturating_sub(*self.compacted)).unwrap_or(usize::MAX);
        let mut events = Vec::new();
        for change in self.log.range(start.min(self.log.len())..) {
            if change.key.starts_with(prefix) {
                if events.len() == limit {
                    return Ok((events, Revision(change.revision.saturating_sub(1))));
                }
                events.push(change.event());
            }
        }
        Ok((events, self.revision.max(after)))
    }

    fn readable(&self, at: Revision) -> Result<Revision> {
        let at = at.max(Revision::FIRST);
        if at > self.revision {
            return Err(Error::Future { asked: at, current: self.revision });
        }
        if at < self.compacted {
            return Err(Error::Compacted { asked: at, oldest: self.compacted });
        }
        Ok(at)
    }
}

fn undo<'a>(
    records: &mut OrdMap<Arc<str>, Arc<Record>>,
    newest_first: impl Iterator<Item = &'a Arc<Change>>,
) {
    for change in newest_first {
        match &change.previous {
            Some(record) => records.insert(Arc::clone(&change.key), Arc::clone(record)),
            None => records.remove(&change.key),
        };
    }
}

// === impl Past ===

impl Past {
    /// The records at the oldest revision.
    pub(in super::super) fn into_records(mut self) -> OrdMap<Arc<str>, Arc<Record>> {
        undo(&mut self.records, self.log.iter().rev());
        self.records
    }
}

/// Cuts a page out of `records`, which are the state at `revision`.
pub(in super::super) fn page(
    records: &OrdMap<Arc<str>, Arc<Record>>,
    revision: Revision,
    range: &Range,
) -> Page {
    let prefix = range.prefix.as_str();
    let start = match range.after.as_deref() {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let mut rest = records
        .range::<_, str>((start, Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(prefix))
        .map(|(_, record)| record);
    let limit = if range.limit == 0 { usize::MAX } else { range.limit };
    let entries = rest.by_ref().take(limit).map(|record| record.entry()).collect();
    Page { entries, revision, remaining: u64::try_from(rest.count()).unwrap_or(u64::MAX) }
}

// === impl Batch ===

impl<'a> Batch<'a> {
    pub(in super::super) fn on(state: &'a State) -> Self {
        Self { state, changes: Vec::new(), staged: BTreeMap::new(), stamp: None }
    }

    /// With a stamp for each value.
    pub(in super::super) fn stamped(self, stamp: Option<Stamp>) -> Self {
        Self { stamp, ..self }
    }

    /// Decides a write, as if those before it had happened.
    ///
    /// # Errors
    /// What [`super::super::Backend`] says of each operation; then nothing is added to the batch.
    pub(in super::super) fn push(&mut self, op: Op) -> Result<Revision> {
        let previous = match self.staged.get(op.key()) {
            Some(staged) => staged.clone(),
            None => self.state.get(op.key()).cloned(),
        };
        let revision = self.revision().next();
        let check = |key: &Arc<str>, expected: Revision| match &previous {
            None => Err(Error::NotFound((**key).to_owned())),
            Some(record) if record.revision != expected => Err(Error::Conflict(Box::new(record.entry()))),
            Some(_) => Ok(()),
        };
        let (key, current) = match op {
            Op::Create { key, .. } if previous.is_some() => return Err(Error::Exists((*key).to_owned())),
            Op::Create { key, value, expires } => {
                (Arc::clone(&key), Some(Record { key, value, revision, expires }))
            }
            Op::Update { key, expected, value, expires } => {
                check(&key, expected)?;
                (Arc::clone(&key), Some(Record { key, value, revision, expires }))
            }
            Op::Delete { key, expected } => {
                check(&key, expected)?;
                (key, None)
            }
        };
        // One allocation holds the key for as long as it lives, however often it is written.
        let key = previous.as_ref().map_or(key, |record| Arc::clone(&record.key));
        let current = current.map(|record| {
            let stamped = self.stamp.and_then(|stamp| stamp(&record.value, revision));
            Arc::new(Record { key: Arc::clone(&key), value: stamped.unwrap_or(record.value), ..record })
        });
        self.changes.push(Change { revision, key: Arc::clone(&key), previous, current: current.clone() });
        self.staged.insert(key, current);
        Ok(revision)
    }

    /// The revision after all that was decided so far.
    pub(in super::super) fn revision(&self) -> Revision {
        self.changes.last().map_or(self.state.revision, |change| change.revision)
    }

    pub(in super::super) fn into_changes(self) -> Vec<Change> {
        self.changes
    }
}
