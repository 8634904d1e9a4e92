//! One priority level while requests come and go: its queues behind a lock that is never held across an await.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Method, Uri};
use parking_lot::{Mutex, MutexGuard};
use prometheus::{Histogram, IntCounter};
use tokio::sync::oneshot;

use super::{
    configuration::{LevelSpec, SchemaSpec},
    queues::{Discipline, QueueSet, Ticket},
    schema::Matcher,
};
use crate::observe::metrics;

/// What is known of a request that waits or is served: enough to show it to people.
#[derive(Debug)]
pub struct Entry {
    /// What it matched.
    pub schema: Arc<Schema>,
    /// Whose it is.
    pub user: Box<str>,
    /// What it asks for.
    pub method: Method,
    /// Likewise.
    pub uri: Uri,
    /// Where its turn is told, if it waits.
    pub wake: Option<oneshot::Sender<()>>,
}

/// A priority level.
pub struct Level {
    /// Its name.
    pub name: String,
    set: Mutex<QueueSet<Entry>>,
    /// Whether somebody sees to the seats that linger.
    pub ticking: AtomicBool,
    request_seats_max: AtomicU32,
    queues: AtomicBool,
}

/// A flow schema, ready for requests.
pub struct Schema {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub matcher: Matcher,
    /// Where its requests go.
    pub level: Arc<Level>,
    /// Its uid, for answers.
    pub uid: HeaderValue,
    /// Its level's.
    pub level_uid: HeaderValue,
    /// What is counted.
    pub counts: Counts,
}

/// What is counted of a schema. Made when there is something to count: a schema nobody matched is not shown.
pub struct Counts {
    metrics: metrics::Flow,
    labels: [String; 2],
    hot: OnceLock<Hot>,
}

/// What moves with every request.
pub struct Hot {
    /// Requests whose turn came.
    pub dispatched: IntCounter,
    /// How long they waited.
    pub wait: Histogram,
    /// How long they were served.
    pub execution: Histogram,
    /// How many seats they took.
    pub seats: Histogram,
    /// How many waited in a queue after each came.
    pub queue_length: Histogram,
}

// === impl Level ===

impl Level {
    /// A level with nobody in it.
    pub fn new(now: Duration, spec: &LevelSpec, limit: u32) -> Self {
        let level = Self {
            name: spec.name.clone(),
            set: Mutex::new(QueueSet::new(now, spec.discipline, limit)),
            ticking: AtomicBool::new(false),
            request_seats_max: AtomicU32::new(0),
            queues: AtomicBool::new(false),
        };
        level.is_of(spec.discipline);
        level
    }

    /// Follows a change of its spec.
    pub fn configure(&self, now: Duration, discipline: Discipline) {
        self.is_of(discipline);
        self.change(|set| set.configure(now, discipline));
    }

    fn is_of(&self, discipline: Discipline) {
        let queues = matches!(discipline, Discipline::Queue { queues, .. } if queues > 1);
        self.queues.store(queues, Ordering::Relaxed);
    }

    /// Whether it matters which flow a request is of.
    pub fn has_queues(&self) -> bool {
        self.queues.load(Ordering::Relaxed)
    }

    /// The most seats one request may take; 0 if nothing bounds them.
    pub fn request_seats_max(&self) -> u32 {
        self.request_seats_max.load(Ordering::Relaxed)
    }

    /// Sets that.
    pub fn bound_requests(&self, seats: u32) {
        self.request_seats_max.store(seats, Ordering::Relaxed);
    }

    /// For a look. What changes goes through [`Level::change`].
    pub fn look(&self) -> MutexGuard<'_, QueueSet<Entry>> {
        self.set.lock()
    }

    /// Changes something, and tells those whose turn has come by it.
    pub fn change<R>(&self, change: impl FnOnce(&mut QueueSet<Entry>) -> R) -> R {
        let mut set = self.set.lock();
        let result = change(&mut set);
        for turn in set.turns() {
            if let Some(wake) = set.payload_mut(turn).and_then(|entry| entry.wake.take()) {
                // Who is gone already gives its seats back when it is dropped.
                let _gone = wake.send(());
            }
        }
        result
    }

    /// A way to hear of one's turn, and how many wait in the same queue.
    pub fn listen(set: &mut QueueSet<Entry>, ticket: Ticket) -> (oneshot::Receiver<()>, usize) {
        let (wake, turn) = oneshot::channel();
        if let Some(entry) = set.payload_mut(ticket) {
            entry.wake = Some(wake);
        }
        let queue = set.get(ticket).and_then(|request| set.queues().get(request.queue?));
        (turn, queue.map_or(0, |queue| queue.waiting().len()))
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Level").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Schema ===

impl Schema {
    /// A schema of a level.
    pub fn new(spec: SchemaSpec, level: Arc<Level>, level_uid: &str, metrics: &metrics::Flow) -> Self {
        let header = |uid: &str| HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""));
        Self {
            counts: Counts {
                metrics: metrics.clone(),
                labels: [level.name.clone(), spec.name.clone()],
                hot: OnceLock::new(),
            },
            uid: header(&spec.uid),
            level_uid: header(level_uid),
            name: spec.name,
            matcher: spec.matcher,
            level,
        }
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema")
            .field("name", &self.name)
            .field("level", &self.level.name)
            .finish_non_exhaustive()
    }
}

// === impl Counts ===

impl Counts {
    fn labels(&self) -> [&str; 2] {
        let [level, schema] = &self.labels;
        [level, schema]
    }

    /// What moves with every request.
    pub fn hot(&self) -> &Hot {
        let [level, schema] = self.labels();
        self.hot.get_or_init(|| Hot {
            dispatched: self.metrics.dispatched.with_label_values(&[level, schema]),
            wait: self.metrics.wait.with_label_values(&[level, schema, "true"]),
            execution: self.metrics.execution.with_label_values(&[level, schema, "regular"]),
            seats: self.metrics.estimated_seats.with_label_values(&[level, schema]),
            queue_length: self.metrics.queue_length.with_label_values(&[level, schema]),
        })
    }

    /// Whether anything was counted.
    pub fn any(&self) -> bool {
        self.hot.get().is_some()
    }

    /// A request was sent away.
    pub fn rejected(&self, reason: &str) {
        let [level, schema] = self.labels();
        self.metrics.rejected.with_label_values(&[level, schema, reason]).inc();
    }

    /// It waited in vain.
    pub fn gave_up(&self, waited: Duration) {
        let [level, schema] = self.labels();
        self.metrics.wait.with_label_values(&[level, schema, "false"]).observe(waited.as_secs_f64());
    }

    /// A watch has begun to tell what happens.
    pub fn watch_began(&self, after: Duration) {
        let [level, schema] = self.labels();
        self.metrics.execution.with_label_values(&[level, schema, "watch"]).observe(after.as_secs_f64());
    }

    /// So many watchers will hear of a write.
    pub fn watchers(&self, watchers: u32) {
        self.metrics.watchers.with_label_values(&self.labels()).observe(f64::from(watchers));
    }
}
