//! Whose turn it is: upstream's API priority and fairness (KEP-1040), or, where that is off, a plain limit.
//!
//! Flow schemas say which requests belong together and which priority level they are of; a level has a part of the
//! server's seats, and queues in which flows wait without one holding up another. [`Gate::enter`] stands between who asks
//! and whether they may. The rules are pure ([`queues`], [`work`], [`schema`], [`limits`], [`configuration`]); what has
//! locks and clocks is [`level`], [`dispatcher`] and [`turn`]. Invariant: no lock is held across an await.

pub mod configuration;
pub mod demand;
pub mod dispatcher;
pub mod in_flight;
pub mod level;
pub mod limits;
pub mod queues;
pub mod retry;
pub mod schema;
pub mod shuffle;
pub mod turn;
pub mod watches;
pub mod work;

pub(crate) mod controller;
pub(crate) mod dump;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Method, Uri, header};
use tokio::{sync::oneshot, time::Instant};

use self::{
    dispatcher::Fairness,
    in_flight::{InFlight, Place},
    level::Schema,
    turn::{Asking, Outcome, Turn},
    watches::Watching,
    work::{Collection, Facts},
};
use crate::{
    authn::user::User,
    http::{
        info::RequestInfo,
        query::Query,
        respond::{self, Answer},
    },
    observe::count::SelfDefence,
    server::Server,
};

/// The longest anybody waits.
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// How many objects are looked at to know how large they are.
const SAMPLE: usize = 16;

/// What a server is told about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// `--enable-priority-and-fairness`
    pub enabled: bool,
    /// `--max-requests-inflight`
    pub reading_max: u32,
    /// `--max-mutating-requests-inflight`
    pub writing_max: u32,
}

/// What stands between who asks and whether they may.
#[derive(Debug)]
pub enum Gate {
    /// Priority and fairness.
    Fair(Arc<Fairness>),
    /// A limit.
    Plain(InFlight),
}

/// What a request is let in by; its seats are free when it is dropped.
#[derive(Debug, Default)]
pub enum Pass {
    /// It was not asked for one.
    #[default]
    Free,
    /// Its turn.
    Turn(Turn),
    /// A place under a plain limit.
    Place(Place),
}

/// What is known of a request, for its answer: its time, and its flow.
#[derive(Debug)]
pub struct Seen {
    schema: OnceLock<Arc<Schema>>,
    /// Whether the server protected itself rather than to answer.
    protected: AtomicBool,
    begun: Instant,
    limit: Option<Duration>,
    patience: Duration,
}

/// What goes along with a watch: that it is there, for as long as it is, and its turn, until it has told what there was.
#[derive(Debug, Default)]
pub struct Watcher {
    /// Whoever holds the turn hears when this is dropped.
    telling: Option<oneshot::Sender<()>>,
    _watching: Option<Watching>,
}

/// What estimates are made from.
struct Known<'a> {
    server: &'a Server,
    fairness: &'a Fairness,
    schema: &'a Schema,
    info: &'a RequestInfo,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, reading_max: 400, writing_max: 200 }
    }
}

// === impl Gate ===

impl Gate {
    /// As configured.
    pub fn new(config: Config, metrics: &crate::observe::metrics::Flow, runtime: &runtime::Runtime) -> Self {
        if !config.enabled {
            return Self::Plain(InFlight::new(config.reading_max, config.writing_max));
        }
        let total = config.reading_max.saturating_add(config.writing_max);
        Self::Fair(Fairness::new(total, metrics.clone(), runtime))
    }

    /// Lets a request in, at once or when its turn has come, or says no.
    ///
    /// # Errors
    /// The answer for those who are sent away.
    pub async fn enter(
        &self,
        server: &Server,
        (info, query, user): (&RequestInfo, &Query, &User),
        (method, uri): (&Method, &Uri),
        seen: &Seen,
    ) -> Result<Pass, Answer> {
        let fairness = match self {
            Self::Plain(limit) => {
                return limit.enter(info, user).map(Pass::Place).ok_or_else(|| seen.too_many(1));
            }
            Self::Fair(fairness) => fairness,
        };
        if info.is_long_running() && info.verb != "watch" {
            return Ok(Pass::Free);
        }
        let Some(schema) = fairness.classify(info, user) else { return Ok(Pass::Free) };
        let schema = seen.schema.get_or_init(|| schema);
        let facts = Known { server, fairness, schema, info };
        let until = seen.begun + (seen.patience / 4).min(PATIENCE_MAX);
        let asking = Asking { info, query, user, method, uri, until };
        match fairness.ask(schema, &asking, &facts) {
            Outcome::Now(turn) => Ok(Pass::Turn(turn)),
            Outcome::Later(waiting) => waiting.wait().await.map(Pass::Turn).map_err(|it| seen.too_many(it)),
            Outcome::Never(seconds) => Err(seen.too_many(seconds)),
        }
    }

    /// A watch begins, with the pass it came in with. It keeps it until it has told what there was, but no longer than a
    /// request may take: a client that reads slowly must not keep others from their turn.
    pub fn watch(&self, pass: Pass, info: &RequestInfo, query: &Query, limit: Duration) -> Watcher {
        let Self::Fair(fairness) = self else { return Watcher::default() };
        let (telling, told) = oneshot::channel::<()>();
        fairness.spawn("turn of a watch", async move {
            let _told = tokio::time::timeout(limit, told).await;
            drop(pass);
        });
        Watcher { telling: Some(telling), _watching: fairness.watches.begin(info, query) }
    }

    /// Brings metrics up to date.
    pub fn publish(&self) {
        if let Self::Fair(fairness) = self {
            fairness.publish();
        }
    }

    /// One of the tables for operators.
    pub fn dump(&self, path: &str, query: &Query) -> Option<String> {
        let Self::Fair(fairness) = self else { return None };
        let details = query.get("includeRequestDetails").is_some_and(|it| !it.is_empty());
        dump::table(fairness, path.strip_prefix(dump::PREFIX)?, details)
    }
}

// === impl Watcher ===

impl Watcher {
    /// What was there at the beginning is told: the turn is over.
    pub fn told(&mut self) {
        self.telling = None;
    }
}

// === impl Seen ===

impl Seen {
    /// Of a request that begins now, with a bound of time unless it lasts. A quarter of that it may wait; those that last
    /// a quarter of what others may take.
    pub fn new(limit: Option<Duration>, otherwise: Duration) -> Self {
        Self {
            schema: OnceLock::new(),
            protected: AtomicBool::new(false),
            begun: Instant::now(),
            limit,
            patience: limit.unwrap_or(otherwise),
        }
    }

    /// When it must be answered, if it must.
    pub fn end(&self) -> Option<Instant> {
        self.limit.map(|limit| self.begun + limit)
    }

    /// It is sent away, or ended.
    pub fn protected(&self) {
        self.protected.store(true, Ordering::Relaxed);
    }

    /// Puts into the answer what the request was taken for: by uid, since names are not for everybody.
    pub fn tell(&self, answer: &mut Answer) {
        if let Some(schema) = self.schema.get() {
            let headers = answer.headers_mut();
            headers.insert("x-kubernetes-pf-flowschema-uid", schema.uid.clone());
            headers.insert("x-kubernetes-pf-prioritylevel-uid", schema.level_uid.clone());
        }
        if self.protected.load(Ordering::Relaxed) {
            answer.extensions_mut().insert(SelfDefence);
        }
    }

    /// What those are told who are sent away.
    fn too_many(&self, retry_after: u64) -> Answer {
        self.protected();
        let mut answer = respond::text(429, "Too many requests, please try again later.\n");
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
        answer
    }
}

// === impl Known ===

impl Facts for Known<'_> {
    fn collection(&self) -> Option<Collection> {
        let info = self.info;
        let served = self.server.registry.catalogue.find(&info.group, &info.version, &info.resource)?;
        let cache = served.storage.started().filter(store::Cache::is_ready)?;
        let snapshot = cache.snapshot();
        let sizes = || snapshot.range(&served.storage.prefix, None).take(SAMPLE).map(|it| it.bytes.len());
        let (count, bytes) = sizes().fold((0_u64, 0_u64), |(count, bytes), size| {
            (count + 1, bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX)))
        });
        Some(Collection {
            objects: u64::try_from(snapshot.len()).unwrap_or(u64::MAX),
            mean_bytes: bytes.checked_div(count).unwrap_or_default(),
        })
    }

    fn watchers(&self) -> u32 {
        let watchers = self.fairness.watches.interested(self.info);
        self.schema.counts.watchers(watchers);
        watchers
    }
}

#[cfg(test)]
mod tests;
