//! What every reconcile leaves behind: the learners' window and the operator's debugger.
//!
//! A write's revision is the next reconcile's trigger, so the records of all components join into a graph of causes:
//! [`Records::writer_of`] goes one step back, [`Records::caused_by`] one step forward.
//!
//! Invariant: bounded. When full, the oldest record goes; those of looks that found nothing to do have a room of their own.

use std::{borrow::Cow, collections::VecDeque, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::reflector::caches::Read;
use crate::{Change, Key, Kind, Revision};

/// The records of a process, newest last. Cheap to clone.
#[derive(Clone)]
pub struct Records(Arc<Mutex<Ring>>);

struct Ring {
    /// Of each of the two. When full: its oldest goes.
    capacity: usize,
    next: u64,
    /// Those that wrote or failed.
    busy: VecDeque<Arc<Record>>,
    /// Those that found nothing to do, which are many: they do not push the others out.
    idle: VecDeque<Arc<Record>>,
}

/// One reconcile, or one cycle of a component that works like one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Counts the records of the process.
    pub sequence: u64,
    /// Who.
    pub controller: Cow<'static, str>,
    /// The resource of the key, such as `deployments.apps`; empty if it is of no one resource.
    pub resource: String,
    /// The key that was looked at.
    pub key: Key,
    /// When it was taken from the queue.
    pub started: Timestamp,
    /// How long the caches were waited for, in seconds.
    #[serde(rename = "waitedSeconds", serialize_with = "seconds", deserialize_with = "from_seconds")]
    pub waited: Duration,
    /// How long it took from taking to handing back, in seconds.
    #[serde(rename = "tookSeconds", serialize_with = "seconds", deserialize_with = "from_seconds")]
    pub took: Duration,
    /// What triggered it.
    pub causes: Vec<Cause>,
    /// What it read.
    pub reads: Vec<Read>,
    /// Why it did what it did.
    pub why: String,
    /// What it wrote.
    pub writes: Vec<Written>,
    /// What comes next for the key.
    pub next: Next,
}

/// Why a key was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "cause")]
pub enum Cause {
    /// An object changed.
    Change {
        /// Its resource, such as `replicasets.apps`.
        resource: String,
        /// Which one.
        key: Key,
        /// The revision of the change.
        revision: Revision,
        /// `added`, `modified` or `deleted`.
        what: Cow<'static, str>,
    },
    /// The last look asked for it.
    LookAgain,
    /// The last look failed.
    Retry,
    /// The controller started.
    Start,
}

/// A write and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// `create`, `update`, `patch`, `apply` or `delete`.
    pub verb: Cow<'static, str>,
    /// The resource, with the subresource if it is one: `replicasets.apps/status`.
    pub resource: String,
    /// Which object.
    pub key: Key,
    /// The revision it has since; 0 if the answer did not say.
    pub revision: Revision,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome", content = "message")]
pub enum Outcome {
    /// It was done.
    Done,
    /// A conflict, which is fine.
    ConflictIsFine,
    /// There is nothing to do: the object to delete is gone, or the namespace to create in is going.
    Moot,
    /// Somebody was faster.
    Conflict,
    /// It failed.
    Failed(String),
    /// It was not tried, since one before it failed.
    Skipped,
}

/// What comes next for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "next")]
pub enum Next {
    /// Nothing, until something triggers it.
    Wait,
    /// Another look, as planned.
    LookAgain {
        /// Seconds from now.
        #[serde(rename = "afterSeconds", serialize_with = "seconds", deserialize_with = "from_seconds")]
        after: Duration,
    },
    /// Another look, since this one met a conflict.
    Conflict,
    /// Another look, since this one failed.
    Retry {
        /// Seconds from now.
        #[serde(rename = "afterSeconds", serialize_with = "seconds", deserialize_with = "from_seconds")]
        after: Duration,
        /// What failed.
        message: String,
    },
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn from_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
}

// === impl Cause ===

impl Cause {
    /// A change of an object.
    pub fn of<K: Kind>(change: &Change<K>) -> Self {
        Self::Change {
            resource: K::RESOURCE.to_string(),
            key: change.object().key(),
            revision: change.revision(),
            what: Cow::Borrowed(change.what()),
        }
    }
}

// === impl Records ===

impl Default for Records {
    fn default() -> Self {
        Self::new(4096)
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ring = self.0.lock();
        f.debug_struct("Records").field("capacity", &ring.capacity).field("next", &ring.next).finish()
    }
}

impl Records {
    /// Room for so many.
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(Ring { capacity, next: 0, busy: VecDeque::new(), idle: VecDeque::new() })))
    }

    /// Adds a record; its sequence number is given here.
    pub fn add(&self, mut record: Record) {
        let mut ring = self.0.lock();
        record.sequence = ring.next;
        ring.next += 1;
        let capacity = ring.capacity.max(1);
        let idle = record.writes.is_empty() && matches!(record.next, Next::Wait | Next::LookAgain { .. });
        let room = if idle { &mut ring.idle } else { &mut ring.busy };
        while room.len() >= capacity {
            room.pop_front();
        }
        room.push_back(Arc::new(record));
    }

    /// How many were ever added.
    pub fn taken(&self) -> u64 {
        self.0.lock().next
    }

    /// The records that `wanted` holds for, oldest first.
    pub fn find(&self, wanted: impl Fn(&Record) -> bool) -> Vec<Arc<Record>> {
        let ring = self.0.lock();
        let mut found: Vec<_> =
            ring.busy.iter().chain(&ring.idle).filter(|record| wanted(record)).cloned().collect();
        found.sort_by_key(|record| record.sequence);
        found
    }

    /// All records, oldest first.
    pub fn all(&self) -> Vec<Arc<Record>> {
        self.find(|_| true)
    }

    /// The records since a sequence number, oldest first.
    pub fn since(&self, sequence: u64) -> Vec<Arc<Record>> {
        self.find(|record| record.sequence >= sequence)
    }

    /// The records of a key, whoever looked at it, oldest first.
    pub fn of_key(&self, key: &Key) -> Vec<Arc<Record>> {
        self.find(|record| record.key == *key)
    }

    /// The records in which the object was looked at, was a cause or was written, oldest first.
    pub fn about(&self, resource: &str, key: &Key) -> Vec<Arc<Record>> {
        self.find(|record| {
            let causes = record.causes.iter().any(|cause| match cause {
                Cause::Change { resource: of, key: candidate, .. } => of == resource && candidate == key,
                Cause::LookAgain | Cause::Retry | Cause::Start => false,
            });
            let writes = record
                .writes
                .iter()
                .any(|written| written.key == *key && written.resource.split('/').next() == Some(resource));
            causes || writes
        })
    }

    /// The record of the reconcile that wrote a revision.
    pub fn writer_of(&self, revision: Revision) -> Option<Arc<Record>> {
        let wrote = |record: &Record| record.writes.iter().any(|written| written.revision == revision);
        (!revision.is_none()).then(|| self.find(wrote).into_iter().next())?
    }

    /// The records of the reconciles that a revision triggered, oldest first.
    pub fn caused_by(&self, revision: Revision) -> Vec<Arc<Record>> {
        self.find(|record| {
            record.causes.iter().any(|cause| match cause {
                Cause::Change { revision: of, .. } => *of == revision,
                Cause::LookAgain | Cause::Retry | Cause::Start => false,
            })
        })
    }
}
