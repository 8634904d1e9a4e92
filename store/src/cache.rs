//! The watch cache: every read of the control plane is served from here.
//!
//! One cache a prefix (a kind's objects). One owner task, the feed, lists the prefix once and then follows the
//! backend's watch; it alone changes the state. Readers take snapshots, which cost a pointer, and watchers follow the
//! history:
//!
//! ```text
//! backend ──watch──> feed ──apply──> state (objects, history) <──snapshot── readers
//!                      │                        ▲
//!                      └──offer──> inbox ──> watcher ──catches up from── history <──backfill── backend
//! ```
//!
//! Invariants:
//! - Who sees a snapshot of revision R sees all that happened up to R and nothing after it.
//! - A watcher is a position in the history. Replayed onto the state at its start, what it delivers up to R gives the
//!   state at R, restricted to its filter.
//! - Readers and watchers never make the feed wait. A watcher that is slower than the history is long is closed.
//! - A cache that nobody writes to or reads from uses no CPU: there are timers only for what is waited for.
//!
//! It never decodes an object: [`Describe`], given by the owner of the kind, tells it what it must know.

mod backfill;
mod exact_read;
mod fanout;
mod feed;
mod fresh_read;
mod history;
mod metrics;
mod object;
mod state;
#[cfg(test)]
mod tests;
mod watcher;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use runtime::{Signal, Tasks};
use tokio::sync::mpsc;

use self::{backfill::Backfill, fanout::Fanout, feed::Feed, history::Bounds, object::Upkeep, state::State};
pub use self::{
    metrics::Metrics,
    object::{Header, Object, Pairs},
    state::Snapshot,
    watcher::{Filter, Predicate, Scope, WatchEvent, WatchFrom, Watcher},
};
use crate::backend::{self, Backend, Revision};

/// Turns the bytes of the store into the bytes to serve, with the resource version in place, and what the cache must know
/// of the object. It is given the key, the stored bytes and the revision that wrote them. An object it cannot read is
/// left out of the cache, with an error in the log: it must not keep the others from being served.
pub type Describe = Arc<dyn Fn(&str, Bytes, Revision) -> Result<(Bytes, Header), String> + Send + Sync>;

/// How much a cache remembers, and for how long it waits.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many events the history holds at the most. When full: the oldest are forgotten, and watchers that had not
    /// read them are closed.
    pub history_events_max: usize,
    /// How many bytes of overwritten and deleted objects the history keeps at the most. When full: as above.
    pub history_bytes_max: usize,
    /// How old an event of the history becomes at the most.
    pub history_age_max: Duration,
    /// How many older events are fetched back from the backend at the most, for watchers that resume further back than
    /// the history goes, such as after a restart. If there are more, they are told to list again.
    pub backfill_events_max: usize,
    /// How many events wait for one watcher. When full: the watcher reads on from the history, at its own pace, and is
    /// fed again when it has caught up.
    pub watcher_queue_max: usize,
    /// How often a watcher that wants bookmarks gets one.
    pub bookmark_period: Duration,
    /// How long a consistent read waits for the cache to reach the store's revision.
    pub fresh_read_patience: Duration,
    /// How many objects are read from the backend in one page.
    pub list_page_max: usize,
    /// How long a derived form of an object (see [`Object::derived`]) is kept without being used.
    pub derived_idle_max: Duration,
    /// The field of [`Header::fields`] by which objects can be looked up, and watched without waking other watchers.
    pub index: Option<String>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Why a read or a watch cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cache has not come as far as asked in the time given.
    #[error("the watch cache is at revision {current} and has not reached {asked}")]
    NotReached {
        /// What was asked for.
        asked: Revision,
        /// Where the cache is.
        current: Revision,
    },
    /// The revision is no longer remembered, neither here nor by the backend: list again.
    #[error("revision {asked} is no longer in the history, which begins at {oldest}")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// The oldest revision that can be read or watched from.
        oldest: Revision,
    },
    /// The revision lies in the future.
    #[error("revision {asked} is in the future, the watch cache is at {current}")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// Where the cache is.
        current: Revision,
    },
    /// The store had to be asked and did not answer.
    #[error("cannot read from the store")]
    Store(#[source] backend::Error),
}

/// Reads and watches of one prefix. Cloning it is cheap and shares the cache.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

/// What the feed, the readers and the watchers share.
///
/// Lock order: `fanout`, then `state`, then a watcher's inbox. None is held across an await, and `state` is held for
/// writing only while a batch of events is put in place.
struct Shared {
    name: String,
    prefix: Arc<str>,
    backend: Arc<dyn Backend>,
    describe: Describe,
    config: Config,
    counts: metrics::Counts,
    state: RwLock<State>,
    fanout: Mutex<Fanout>,
    /// How far the state is, for those who wait; revision 0 until the first list is done.
    reached: Signal<Revision>,
    /// How far all watchers that are fed have been fed. Behind `reached` while a batch is handed out.
    fed: AtomicU64,
    backfill: mpsc::Sender<Backfill>,
    labels: mpsc::Sender<String>,
    upkeep: Arc<Upkeep>,
}

/// How many labels wait for an index at the most.
const LABEL_REQUESTS_MAX: usize = 4;

/// Starts a cache of `prefix`, named for the log and the metrics (`pods`, `deployments.apps`). It ends with `tasks`;
/// then its watchers end too, and snapshots stay as they are.
pub fn start(
    name: impl Into<String>,
    backend: Arc<dyn Backend>,
    prefix: impl Into<String>,
    describe: Describe,
    config: Config,
    tasks: &Tasks,
) -> Cache {
    let (name, prefix) = (name.into(), Arc::<str>::from(prefix.into()));
    let (backfill, requests) = mpsc::channel(backfill::REQUESTS_MAX);
    let (labels, wanted_labels) = mpsc::channel(LABEL_REQUESTS_MAX);
    let shared = Arc::new(Shared {
        counts: config.metrics.of(&name),
        state: RwLock::new(State::new(Arc::clone(&prefix), config.index.as_deref())),
        fanout: Mutex::default(),
        reached: Signal::new(Revision(0)),
        fed: AtomicU64::new(0),
        upkeep: Arc::default(),
        name,
        prefix,
        backend,
        describe,
        config,
        backfill,
        labels,
    });
    tasks.spawn("watch-cache", Feed::new(Arc::clone(&shared), requests, wanted_labels).run());
    Cache { shared }
}

// === impl Cache ===

impl Cache {
    /// What the cache is called.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What all its keys start with.
    pub fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// Waits for the first list to be done. A cache that was stopped before that is never ready.
    pub async fn ready(&self) {
        self.shared.ready().await;
    }

    /// Whether the first list is done.
    pub fn is_ready(&self) -> bool {
        self.shared.reached.get() > Revision(0)
    }

    /// How far the cache is; 0 before it is ready.
    pub fn revision(&self) -> Revision {
        self.shared.reached.get()
    }

    /// How many watchers there are.
    pub fn watchers(&self) -> usize {
        self.shared.fanout.lock().len()
    }

    /// What is there now; empty, at revision 0, before the cache is ready.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.state.read().snapshot()
    }

    /// One object. With `fresh`, as it is in the store now; otherwise as the cache knows it.
    ///
    /// # Errors
    /// Of [`Cache::fresh`].
    pub async fn get(&self, key: &str, fresh: bool) -> Result<Option<Arc<Object>>, Error> {
        if fresh {
            return self.fresh_object(key).await;
        }
        Ok(self.shared.state.read().objects().get(key).cloned())
    }

    /// Asks for an index of a label, for lists to come that select by it. It is there a moment later; where many are asked
    /// for at once some are not made, and asked for again by the next list.
    pub fn index_label(&self, label: &str) {
        let _asked = self.shared.labels.try_send(label.to_owned());
    }

    /// Follows what happens to the objects `filter` selects.
    ///
    /// A start the history does not go back to is looked for in the backend when the watcher is first polled. Only if it
    /// is not there either does the watcher yield [`Error::Compacted`].
    ///
    /// # Errors
    /// None now: the result is there for starts that can be refused at once.
    pub fn watch(&self, from: WatchFrom, filter: Filter) -> Result<Watcher, Error> {
        Ok(Watcher::new(Arc::clone(&self.shared), from, filter))
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("name", &self.shared.name).field("revision", &self.revision()).finish()
    }
}

// === impl Shared ===

impl Shared {
    async fn ready(&self) {
        self.reached.wait(|reached| *reached > Revision(0)).await;
    }

    fn fed(&self) -> Revision {
        Revision(self.fed.load(Ordering::Acquire))
    }

    /// Describes stored bytes as an object of this cache.
    fn object(&self, key: Arc<str>, value: Bytes, revision: Revision) -> Option<Arc<Object>> {
        match (self.describe)(&key, value, revision) {
            Ok((bytes, header)) => {
                Some(Arc::new(Object::new(key, revision, bytes, header, Some(Arc::clone(&self.upkeep)))))
            }
            Err(reason) => {
                self.counts.unreadable.inc();
                tracing::error!(cache = self.name, %key, %revision, reason, "object cannot be read, it is left out");
                None
            }
        }
    }
}

// === impl Config ===

impl Config {
    fn bounds(&self) -> Bounds {
        Bounds {
            events_max: self.history_events_max,
            bytes_max: self.history_bytes_max,
            age_max: self.history_age_max,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            history_events_max: 50_000,
            history_bytes_max: 32 << 20,
            history_age_max: Duration::from_secs(120),
            backfill_events_max: 50_000,
            watcher_queue_max: 1000,
            // Upstream's: about once a minute.
            bookmark_period: Duration::from_secs(60),
            // Upstream's: a consistent read gives up after three seconds.
            fresh_read_patience: Duration::from_secs(3),
            list_page_max: 10_000,
            derived_idle_max: Duration::from_secs(60),
            index: None,
            metrics: Metrics::default(),
        }
    }
}

// === impl Error ===

impl From<backend::Error> for Error {
    fn from(error: backend::Error) -> Self {
        match error {
            backend::Error::Compacted { asked, oldest } => Self::Compacted { asked, oldest },
            backend::Error::Future { asked, current } => Self::Future { asked, current },
            error @ (backend::Error::Exists(_)
            | backend::Error::NotFound(_)
            | backend::Error::Conflict(_)
            | backend::Error::Unavailable { .. }
            | backend::Error::NoSpace { .. }
            | backend::Error::TooLarge(_)
            | backend::Error::Corrupt(_)
            | backend::Error::Unreadable(_)) => Self::Store(error),
        }
    }
}
