//! The contract between the apiserver and whatever keeps the objects.
//!
//! One counter of revisions spans all keys: every successful write takes the next one. A watcher of a prefix sees every
//! revision of it once and in order. A write that was acknowledged is durable as far as the backend promises durability
//! at all (memory does not, embedded and etcd do).

pub mod embedded;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod memory;
mod mvcc;

use std::{fmt, ops::Deref, time::Duration};

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};

/// A point in the history of the whole store. Revisions start at 1 and only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A key with the value it has at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole key, such as `/registry/pods/default/web`.
    pub key: String,
    /// The bytes as they were written.
    pub value: Bytes,
    /// The revision that wrote these bytes.
    pub revision: Revision,
}

/// What is read of a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Keys that start with this.
    pub prefix: String,
    /// Only keys after this one (exclusive), for the next page.
    pub after: Option<String>,
    /// How many entries at the most; 0 means all.
    pub limit: usize,
    /// The state at this revision instead of the latest.
    pub at: Option<Revision>,
}

/// One page of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries in the order of their keys.
    pub entries: Vec<Entry>,
    /// The revision the page was read at.
    pub revision: Revision,
    /// How many keys of the range come after the last entry; 0 when this is the last page.
    pub remaining: u64,
}

/// Something that happened to a key, or a sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key was created or written.
    Put {
        /// The new state.
        entry: Entry,
        /// Whether the key did not exist before.
        created: bool,
        /// What it overwrote, if the backend still has it. A reader that needs it and does not find it here can read
        /// the key at the revision before.
        previous: Option<Entry>,
    },
    /// The key was deleted, or its time to live ran out.
    Delete {
        /// The key.
        key: String,
        /// The revision of the deletion.
        revision: Revision,
        /// The last value, if the backend still has it.
        previous: Option<Entry>,
    },
    /// Everything up to this revision has been delivered.
    Progress(Revision),
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A create met an existing key.
    #[error("key {0} exists")]
    Exists(String),
    /// An update or delete met a key that is not there.
    #[error("key {0} not found")]
    NotFound(String),
    /// An update or delete met another revision than the expected one; the current entry is here.
    #[error("key {} is at revision {}", .0.key, .0.revision)]
    Conflict(Box<Entry>),
    /// The revision asked for has been compacted away.
    #[error("revision {asked} has been compacted, the oldest is {oldest}")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// The oldest revision still readable.
        oldest: Revision,
    },
    /// The revision asked for lies in the future.
    #[error("revision {asked} is in the future, the store is at {current}")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// Where the store is.
        current: Revision,
    },
    /// The backend cannot take the write now (disk fails, connection lost): nothing was written, or it is not known.
    #[error("store unavailable: {reason}")]
    Unavailable {
        /// What is wrong, for people.
        reason: String,
        /// Whether the write may have happened all the same.
        outcome_unknown: bool,
    },
    /// There is no room for the write, on the disk or within etcd's quota. Reads and deletions may still work.
    #[error("{reason}")]
    NoSpace {
        /// What is full, for people.
        reason: String,
        /// Whether the write may have happened all the same.
        outcome_unknown: bool,
    },
    /// The backend does not take values of this size.
    #[error("too large for the store: {0}")]
    TooLarge(String),
    /// A value is there, but nobody can decrypt or encrypt it. Said as upstream says it.
    #[error("{0}")]
    Unreadable(String),
    /// The data is not readable.
    #[error("store corrupt: {0}")]
    Corrupt(String),
}

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

/// The events of a watch, in batches that are never split in the middle of a revision.
pub type EventStream = BoxStream<'static, Result<Vec<Event>>>;

/// What Kubernetes needs of its store: four transactions, two reads and a watch.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Writes `key` if it does not exist. With `ttl` the key vanishes that long after its last write.
    ///
    /// # Errors
    /// [`Error::Exists`]
    fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> BoxFuture<'_, Result<Revision>>;

    /// Writes `key` if its current revision is `expected`.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the current entry, [`Error::NotFound`]
    fn update(
        &self,
        key: &str,
        expected: Revision,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, Result<Revision>>;

    /// Deletes `key` if its current revision is `expected`.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the current entry, [`Error::NotFound`]
    fn delete(&self, key: &str, expected: Revision) -> BoxFuture<'_, Result<Revision>>;

    /// The latest state of one key.
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>>>;

    /// Whether a key's value is kept in another form than it would be written in now, so that writing it anew makes sense
    /// though it says the same.
    fn is_stale(&self, key: &str) -> BoxFuture<'_, Result<bool>> {
        let _ = key;
        Box::pin(std::future::ready(Ok(false)))
    }

    /// A page of a prefix.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::Future`]
    fn range(&self, range: Range) -> BoxFuture<'_, Result<Page>>;

    /// Everything that happens to keys of `prefix` after the revision, in order, once; with progress when asked for by
    /// [`Backend::request_progress`], and soon after the watch has caught up. A revision still to come is waited for.
    ///
    /// # Errors
    /// [`Error::Compacted`] (at once or later in the stream, which then ends)
    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, Result<EventStream>>;

    /// Asks that open watches of exactly `prefix` be told soon, by [`Event::Progress`], how far they are: with that a
    /// reader of the watch knows that nothing is on its way, without waiting for the next event. Best effort.
    fn request_progress(&self, prefix: &str) {
        let _ = prefix;
    }

    /// The revision of the latest write; 1 for a store that was never written, since 0 means "any" on the wire.
    fn revision(&self) -> BoxFuture<'_, Result<Revision>>;

    /// Forgets what was overwritten before `revision`: reads and watches from earlier ones fail from now on.
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>>;

    /// How long the keys of a prefix have left that have a time to live.
    fn times_to_live(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<(String, Duration)>>> {
        let _ = prefix;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// What the store counts by itself, for who shows it to Prometheus. Most count nothing: what they are asked is counted
    /// by who asks.
    fn collectors(&self) -> Vec<Box<dyn prometheus::core::Collector>> {
        Vec::new()
    }

    /// Bytes the store takes on disk, if it knows (for `apiserver_storage_size_bytes`).
    fn size(&self) -> Option<u64> {
        None
    }
}

// === impl Error ===

impl Error {
    /// Whether a write that ended so may have happened all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { outcome_unknown: true, .. } | Self::NoSpace { outcome_unknown: true, .. }
        )
    }
}

// === impl Revision ===

impl Revision {
    /// Where a store that was never written stands.
    pub const FIRST: Self = Self(1);

    /// The one after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Deref for Revision {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.0
    }
}
