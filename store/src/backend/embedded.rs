//! A durable store in one directory, inside the process.
//!
//! All data is in memory, in the same multi-version state as the memory backend's; the directory holds what is needed to
//! build it again: a snapshot, and the log of what was written since.
//!
//! ```text
//! create, update, delete ──> queue ──> writer thread: decide, append to the log, sync, apply, answer
//! get, range, watch      ──> state                      └─ now and then: snapshot, drop old log
//! ```
//!
//! Invariants:
//! - A write is acknowledged after it, and all before it, are on disk. What is not on disk is not visible either.
//! - The writes that are waiting when the disk is ready go to it together, so that it is waited for once.
//! - One process has the directory at a time.
//! - Revisions go on where they were; times to live too, by the clock; and the history as far back as the log goes, so
//!   that watches resume after a restart.
//! - Damage is not repaired by guessing. Only the unfinished end of the log is cut off, which no one was told of.
//!
//! The format is described in `format`; what it survives is tested on a simulated disk in `tests`.

mod disk;
mod format;
mod journal;
pub mod offline;
mod recover;
mod snapshot;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    fs::{self, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use runtime::SharedClock;
use tokio::sync::{Semaphore, oneshot};

use self::{
    disk::{Directory, Disk},
    writer::{Action, Queue, Request, Writer},
};
use super::{
    Backend, Entry, Error, EventStream, Page, Range, Result, Revision,
    mvcc::{Deadline, Op, Shared},
};

/// How many writes wait for the writer. When full: the others wait before the door.
const WRITES_MAX: usize = 10_000;
const LOCK: &str = "lock";

/// Makes of a value and the revision that wrote it what is kept of it. None: the value as it is.
pub type Stamp = fn(&[u8], Revision) -> Option<Bytes>;

/// How a store keeps its data.
#[derive(Clone, Debug)]
pub struct Options {
    /// How old the history becomes, in time that the process runs: downtime does not count, so that clients can resume.
    pub history_age_max: Duration,
    /// How many revisions the history has at the most.
    pub history_events_max: usize,
    /// How many bytes of overwritten values the history holds at the most.
    pub history_bytes_max: usize,
    /// A file of the log is not made longer than about this.
    pub segment_bytes_max: u64,
    /// A snapshot is taken when it would free this many bytes of log, or as many as there are bytes of data if that is
    /// more.
    pub snapshot_bytes_min: u64,
    /// Whether a write is acknowledged only when the disk has it. Without that it survives the end of the process but not
    /// that of the machine; for tests.
    pub fsync: bool,
    /// What is kept of values and handed out by every read. So that readers who want the revision in the value share its bytes with the store, instead of making
    /// their own. It must be quick, and leave a value alone that has it already.
    pub stamp: Option<Stamp>,
}

/// A durable store. Dropping it waits for the writes that are under way.
pub struct Embedded {
    path: PathBuf,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    permits: Arc<Semaphore>,
    clock: SharedClock,
    writer: Option<JoinHandle<()>>,
    /// Locked as long as this is open.
    _lock: fs::File,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            // Upstream compacts etcd every five minutes.
            history_age_max: Duration::from_secs(300),
            history_events_max: 100_000,
            history_bytes_max: 64 << 20,
            segment_bytes_max: 16 << 20,
            snapshot_bytes_min: 32 << 20,
            fsync: true,
            stamp: None,
        }
    }
}

// === impl Embedded ===

impl Embedded {
    /// Opens the store in a directory, and makes both if they are not there. It reads all data, and blocks while it does.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the directory cannot be used, or another process uses it; [`Error::Corrupt`] if what is
    /// in it is damaged or of another format. The directory is left as it is then.
    pub fn open(path: impl Into<PathBuf>, options: Options, clock: SharedClock) -> Result<Self> {
        let path = path.into();
        let lock = lock(&path)?;
        let disk: Arc<dyn Disk> = Arc::new(Directory::new(path.clone()));
        let recovered = recover::recover(Arc::clone(&disk), &options).map_err(|error| error.named(&path))?;
        let shared = Arc::new(Shared::new(recovered.state));
        let queue = Arc::new(Queue::new(recovered.journal.size()));
        let writer = Writer::new(
            Arc::clone(&shared),
            Arc::clone(&queue),
            recovered.journal,
            recovered.batches,
            options,
            Arc::clone(&clock),
        );
        let writer =
            std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run()).map_err(
                |error| unavailable(format!("cannot start the writer of {}: {error}", path.display())),
            )?;
        let permits = Arc::new(Semaphore::new(WRITES_MAX));
        Ok(Self { path, shared, queue, permits, clock, writer: Some(writer), _lock: lock })
    }

    /// Writes all that is there now, at one revision, to another directory, from which it can be opened. Writes go on
    /// meanwhile. It blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if that directory cannot be written, or is not empty.
    pub fn backup(&self, to: &Path) -> Result<Revision> {
        let failed =
            |error: std::io::Error| unavailable(format!("cannot back up to {}: {error}", to.display()));
        fs::create_dir_all(to).map_err(failed)?;
        if fs::read_dir(to).map_err(failed)?.next().is_some() {
            return Err(unavailable(format!("cannot back up to {}: it is not empty", to.display())));
        }
        let (records, revision) = self.shared.read(|state| (state.records().clone(), state.revision()));
        let disk = Directory::new(to.to_owned());
        snapshot::write(&disk, revision, &records, &|| false).map_err(failed)?;
        Ok(revision)
    }

    /// Where the data is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn deadline(&self, ttl: Option<Duration>) -> Option<Deadline> {
        let millis = u64::try_from(ttl?.as_millis()).unwrap_or(u64::MAX);
        Some(Deadline(writer::millis(&self.clock).saturating_add(millis)))
    }

    fn submit(&self, action: Action) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move {
            let closed = |outcome_unknown| Error::Unavailable {
                reason: "the store is closed".to_owned(),
                outcome_unknown,
            };
            let Ok(_permit) = Arc::clone(&self.permits).acquire_owned().await else {
                return Err(closed(false));
            };
            let (reply, answer) = oneshot::channel();
            if !self.queue.push(Request { action, reply }) {
                return Err(closed(false));
            }
            answer.await.unwrap_or_else(|_| Err(closed(true)))
        })
    }
}

impl Backend for Embedded {
    fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> BoxFuture<'_, Result<Revision>> {
        self.submit(Action::Write(Op::Create { key: key.into(), value, expires: self.deadline(ttl) }))
    }

    fn update(
        &self,
        key: &str,
        expected: Revision,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, Result<Revision>> {
        self.submit(Action::Write(Op::Update {
            key: key.into(),
            expected,
            value,
            expires: self.deadline(ttl),
        }))
    }

    fn delete(&self, key: &str, expected: Revision) -> BoxFuture<'_, Result<Revision>> {
        self.submit(Action::Write(Op::Delete { key: key.into(), expected }))
    }

    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>>> {
        let key = key.to_owned();
        Box::pin(async move { Ok(self.shared.get(&key)) })
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<Page>> {
        Box::pin(async move { self.shared.range(&range) })
    }

    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, Result<EventStream>> {
        let prefix = prefix.to_owned();
        Box::pin(async move { self.shared.watch(&prefix, after) })
    }

    fn request_progress(&self, prefix: &str) {
        self.shared.request_progress(prefix, Revision::FIRST);
    }

    fn times_to_live(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<(String, Duration)>>> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            let now = Deadline(writer::millis(&self.clock));
            Ok(self.shared.read(|state| state.times_to_live(&prefix, now)))
        })
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move { Ok(self.shared.revision()) })
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.submit(Action::Compact(revision)).await.map(|_| ()) })
    }

    fn size(&self) -> Option<u64> {
        Some(self.queue.size())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.permits.close();
        self.queue.stop();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the store's writer panicked");
        }
        self.shared.close();
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("path", &self.path).finish_non_exhaustive()
    }
}

fn unavailable(reason: String) -> Error {
    Error::Unavailable { reason, outcome_unknown: false }
}

/// Makes the directory, and sure that no other process has it.
fn lock(path: &Path) -> Result<fs::File> {
    let failed = |error| unavailable(format!("cannot use data directory {}: {error}", path.display()));
    fs::create_dir_all(path).map_err(failed)?;
    let lock = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(unavailable(format!("data directory {} is in use by another process", path.display())))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
