//! Objects in an etcd, under upstream's keys, so that either can read what the other wrote.
//!
//! ```text
//! create, update, delete ──> link ──> etcd          one transaction each, with a comparison
//! get, range             ──> link ──> etcd          in pages, at one revision
//! watch                  <── recent <── feed <── etcd      one watch for all; what is older comes from etcd directly
//! ```
//!
//! Invariants:
//! - Every read is linearizable. Nothing is read from a member that may lag.
//! - A stream sees each revision once and in order, also over reconnections and changes of endpoint.
//! - A write is never sent twice. If it is not known whether it happened, the caller is told so.
//! - Nothing but the position of the feed is remembered here: any number of processes can share an etcd.
//!
//! It speaks the protocol itself, over tonic: the messages that are needed are few ([`wire`]), and a build needs no protoc.

mod compactor;
mod feed;
mod keys;
mod leases;
mod link;
mod recent;
mod replay;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use runtime::Tasks;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use tonic::Code;

pub use self::feed::Progress;
use self::{
    keys::{Keys, Span},
    leases::Leases,
    link::{Failure, Link, Repeat, path, signed, unsigned},
    recent::Recent,
    replay::Following,
    wire::{
        CompactionRequest, CompactionResponse, Compare, DeleteRequest, Expected, KeyValue, Operation,
        PutRequest, RangeRequest, RangeResponse, Request, Response as _, StatusRequest, StatusResponse,
        TimeToLiveRequest, TimeToLiveResponse, TxnRequest, TxnResponse,
    },
};
use super::{Backend, Entry, Error, EventStream, Page, Range, Result, Revision, mvcc::Shared};

/// How many keys are asked for at once.
const PAGE_MAX: usize = 1000;
/// A range that is compacted away between two of its pages is begun again so often.
const RANGE_AGAIN: u32 = 3;
/// How long a watch of the past may be silent.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

/// Which etcd, and how it is used.
#[derive(Clone)]
pub struct Options {
    /// URLs such as `https://10.0.0.1:2379`. One is used at a time; when it fails, the next.
    pub endpoints: Vec<String>,
    /// Whose certificates etcd may have, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show etcd, in PEM.
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate.
    pub key_file: Option<PathBuf>,
    /// Name and password, if etcd wants those.
    pub user: Option<(String, String)>,
    /// What keys begin with here.
    pub prefix_here: String,
    /// What the same keys begin with in etcd.
    pub prefix_there: String,
    /// How often the past is forgotten: what happened in the last such period can always be read. Zero: never.
    pub compaction_period: Duration,
    /// How long etcd is waited for at the start.
    pub patience: Duration,
    /// How it is found out how far a watch is.
    pub progress: Progress,
    /// How many events are kept at hand for streams that begin or fall behind; more are read from etcd again.
    pub recent_events_max: usize,
    /// How many bytes of events.
    pub recent_bytes_max: usize,
}

/// A store in an etcd. It lives as long as the tasks it was given.
pub struct Etcd {
    core: Arc<Core>,
}

struct Core {
    link: Link,
    keys: Keys,
    shared: Arc<Shared<Recent>>,
    leases: Leases,
    /// Whether to watch our keys and to ask how far the watch is, instead of watching everything.
    by_requests: AtomicBool,
    /// Whether etcd answers when asked.
    answers: bool,
    /// Somebody wants to know how far the watch is.
    ask: Notify,
    /// The feed's place in the history has been compacted.
    lost: AtomicBool,
    size: AtomicU64,
    /// The feed does not follow etcd now, which has been said.
    failing: AtomicBool,
    revisions: Revisions,
}

/// Those who want to know the revision. One question answers all who came before it was asked.
#[derive(Default)]
struct Revisions {
    waiting: Mutex<Vec<oneshot::Sender<Result<Revision>>>>,
    asked: Notify,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            user: None,
            prefix_here: "/registry/".to_owned(),
            prefix_there: "/registry/".to_owned(),
            compaction_period: Duration::from_secs(300),
            // As long as upstream's apiserver tries at its start.
            patience: Duration::from_secs(60),
            progress: Progress::Auto,
            recent_events_max: 10_000,
            recent_bytes_max: 8 << 20,
        }
    }
}

/// Without the password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix_there)
            .finish_non_exhaustive()
    }
}

// === impl Etcd ===

impl Etcd {
    /// Waits for etcd and begins to follow it. Its tasks run in `tasks`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if etcd does not answer in [`Options::patience`], or refuses us.
    pub async fn connect(mut options: Options, tasks: &Tasks) -> Result<Self> {
        for endpoint in &mut options.endpoints {
            if !endpoint.contains("://") {
                *endpoint = format!("http://{endpoint}");
            }
        }
        let link = Link::new(options.clone());
        let (version, revision) = reach(&link, &options).await?;
        let answers = match options.progress {
            Progress::Auto => feed::answers_progress(&version),
            Progress::Requests => true,
            Progress::Everything => false,
        };
        tracing::info!(endpoints = link.name(), version, %revision, "connected to etcd");
        let recent = Recent::new(revision, options.recent_events_max, options.recent_bytes_max);
        let core = Arc::new(Core {
            link,
            keys: Keys::new(&options.prefix_here, &options.prefix_there),
            shared: Arc::new(Shared::new(recent)),
            leases: Leases::default(),
            by_requests: AtomicBool::new(answers),
            answers,
            ask: Notify::new(),
            lost: AtomicBool::new(false),
            size: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            revisions: Revisions::default(),
        });
        tasks.spawn("store/etcd/feed", feed::run(Arc::clone(&core)));
        tasks.spawn("store/etcd/revision", Arc::clone(&core).answer_revisions());
        tasks.spawn("store/etcd/size", compactor::measure(Arc::clone(&core)));
        if !options.compaction_period.is_zero() {
            tasks.spawn("store/etcd/compactor", compactor::run(Arc::clone(&core), options.compaction_period));
        }
        Ok(Self { core })
    }
}

/// Asks until there is an answer: the version of etcd, and the revision it is at.
async fn reach(link: &Link, options: &Options) -> Result<(String, Revision)> {
    if options.endpoints.is_empty() {
        return Err(Error::Unavailable {
            reason: "no etcd servers given".to_owned(),
            outcome_unknown: false,
        });
    }
    let deadline = Instant::now() + options.patience;
    let mut told = false;
    loop {
        let status = link.call::<_, StatusResponse>(path::STATUS, StatusRequest {}, Repeat::Harmless).await;
        let version = match status {
            Ok(status) => Ok(status.version),
            // Only late ones keep their status to administrators.
            Err(failure) if failure.status.code() == Code::PermissionDenied => Ok(feed::SECRETIVE.to_owned()),
            Err(failure) => Err(failure),
        };
        let failure: Failure = match version {
            Ok(version) => {
                let key = Keys::new(&options.prefix_here, &options.prefix_there).none();
                let request = RangeRequest { key, ..RangeRequest::default() };
                match link.call::<_, RangeResponse>(path::RANGE, request, Repeat::Harmless).await {
                    Ok(answer) => return Ok((version, Revision(unsigned(answer.revision())))),
                    Err(failure) => failure,
                }
            }
            Err(failure) => failure,
        };
        let reason = link::describe(&failure.status);
        let hopeless = matches!(
            failure.status.code(),
            Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented
        );
        if hopeless || Instant::now() + CONNECT_AGAIN > deadline {
            let reason = format!("etcd at {} cannot be used: {reason}", link.name());
            return Err(Error::Unavailable { reason, outcome_unknown: false });
        }
        if !told {
            tracing::warn!(
                endpoints = link.name(),
                reason,
                patience = ?options.patience,
                "etcd does not answer, trying again"
            );
            told = true;
        }
        tokio::time::sleep(CONNECT_AGAIN).await;
    }
}

impl Backend for Etcd {
    fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> BoxFuture<'_, Result<Revision>> {
        let key = key.to_owned();
        Box::pin(async move {
            let there = self.core.there(&key)?;
            let answer = self.core.put(&there, 0, value, ttl, Vec::new()).await?;
            if answer.succeeded { Ok(revision(&answer)) } else { Err(Error::Exists(key)) }
        })
    }

    fn update(
        &self,
        key: &str,
        expected: Revision,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, Result<Revision>> {
        let key = key.to_owned();
        Box::pin(async move {
            let there = self.core.there(&key)?;
            // No key has revision 0, and in etcd those that are not there do.
            if expected == Revision(0) {
                return Err(self.core.refused(&key, self.core.get(&there).await?));
            }
            let otherwise = vec![Operation { request: Some(Request::Range(get(there.clone()))) }];
            let answer = self.core.put(&there, signed(expected.0), value, ttl, otherwise).await?;
            if answer.succeeded { Ok(revision(&answer)) } else { Err(self.core.refused(&key, found(answer))) }
        })
    }

    fn delete(&self, key: &str, expected: Revision) -> BoxFuture<'_, Result<Revision>> {
        let key = key.to_owned();
        Box::pin(async move {
            let there = self.core.there(&key)?;
            if expected == Revision(0) {
                return Err(self.core.refused(&key, self.core.get(&there).await?));
            }
            let request = TxnRequest {
                compare: vec![modified_at(&there, signed(expected.0))],
                success: vec![Operation {
                    request: Some(Request::Delete(DeleteRequest { key: there.clone() })),
                }],
                failure: vec![Operation { request: Some(Request::Range(get(there))) }],
            };
            let answer: TxnResponse =
                self.core.link.call(path::TXN, request, Repeat::Never).await.map_err(Failure::into_error)?;
            if answer.succeeded { Ok(revision(&answer)) } else { Err(self.core.refused(&key, found(answer))) }
        })
    }

    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>>> {
        let key = key.to_owned();
        Box::pin(async move {
            let Some(there) = self.core.keys.there(&key) else { return Ok(None) };
            Ok(self.core.get(&there).await?.and_then(|kv| self.core.keys.entry(kv)))
        })
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<Page>> {
        Box::pin(async move {
            let Range { prefix, after, limit, at } = range;
            let mut tries = 0;
            let (kvs, revision, count) = loop {
                tries += 1;
                match self.core.read(&prefix, after.as_deref(), limit, at).await {
                    Err(Error::Compacted { .. }) if at.is_none() && tries < RANGE_AGAIN => {}
                    other => break other?,
                }
            };
            let remaining = count.saturating_sub(u64::try_from(kvs.len()).unwrap_or(u64::MAX));
            let entries = kvs.into_iter().filter_map(|kv| self.core.keys.entry(kv)).collect();
            Ok(Page { entries, revision, remaining })
        })
    }

    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, Result<EventStream>> {
        Box::pin(Following::open(Arc::clone(&self.core), prefix.to_owned(), after))
    }

    fn request_progress(&self, prefix: &str) {
        let core = &self.core;
        let seen = Revision(unsigned(core.link.seen()));
        core.shared.request_progress(prefix, seen);
        if core.by_requests() && core.shared.revision() < seen {
            core.ask.notify_one();
        }
    }

    fn collectors(&self) -> Vec<Box<dyn prometheus::core::Collector>> {
        vec![Box::new(self.core.leases.keys.clone())]
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move {
            let (tell, told) = oneshot::channel();
            self.core.revisions.waiting.lock().push(tell);
            self.core.revisions.asked.notify_one();
            let closed =
                |_| Error::Unavailable { reason: "the store is closed".to_owned(), outcome_unknown: false };
            told.await.map_err(closed)?
        })
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.core.compact(revision))
    }

    fn times_to_live(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<(String, Duration)>>> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            let mut known = BTreeMap::new();
            let mut found = Vec::new();
            let (kvs, _, _) = self.core.read(&prefix, None, 0, None).await?;
            for kv in kvs.into_iter().filter(|kv| kv.lease != 0) {
                let left = match known.get(&kv.lease) {
                    Some(left) => *left,
                    None => {
                        let left = self.core.time_to_live(kv.lease).await?;
                        known.insert(kv.lease, left);
                        left
                    }
                };
                found.extend(self.core.keys.here(&kv.key).map(|key| (key, left)));
            }
            Ok(found)
        })
    }

    fn size(&self) -> Option<u64> {
        Some(self.core.size.load(Ordering::Relaxed)).filter(|size| *size > 0)
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").field("link", &self.core.link).finish_non_exhaustive()
    }
}

fn get(key: Vec<u8>) -> RangeRequest {
    RangeRequest { key, ..RangeRequest::default() }
}

fn modified_at(key: &[u8], revision: i64) -> Compare {
    Compare { target: Compare::MOD, key: key.to_owned(), expected: Some(Expected::ModRevision(revision)) }
}

fn revision(answer: &TxnResponse) -> Revision {
    Revision(unsigned(answer.revision()))
}

/// What a transaction found instead of what it expected.
fn found(answer: TxnResponse) -> Option<KeyValue> {
    answer
        .responses
        .into_iter()
        .find_map(|answer| answer.range)
        .and_then(|range| range.kvs.into_iter().next())
}

// === impl Core ===

impl Core {
    fn by_requests(&self) -> bool {
        self.by_requests.load(Ordering::Acquire)
    }

    /// We may not watch everything. False if watching only our keys would not do.
    fn watch_only_ours(&self) -> bool {
        if !self.answers {
            tracing::error!(
                "etcd lets us watch only our own keys, and this version does not tell reliably how far such a watch is: \
                 grant the right to read all keys, or use etcd 3.4.31, 3.5.13 or newer"
            );
        }
        self.answers && !self.by_requests.swap(true, Ordering::AcqRel)
    }

    fn there(&self, key: &str) -> Result<Vec<u8>> {
        self.keys.there(key).ok_or_else(|| Error::Unavailable {
            reason: format!("key {key} is outside of what is kept in etcd"),
            outcome_unknown: false,
        })
    }

    /// Writes a key if its revision is the expected one, 0 if it is not to be there.
    async fn put(
        &self,
        key: &[u8],
        expected: i64,
        value: Bytes,
        ttl: Option<Duration>,
        otherwise: Vec<Operation>,
    ) -> Result<TxnResponse> {
        let mut again = true;
        loop {
            let lease = self.leases.lease(&self.link, ttl).await?;
            let put = PutRequest { key: key.to_owned(), value: value.clone(), lease };
            let request = TxnRequest {
                compare: vec![modified_at(key, expected)],
                success: vec![Operation { request: Some(Request::Put(put)) }],
                failure: otherwise.clone(),
            };
            match self.link.call(path::TXN, request, Repeat::Never).await {
                Ok(answer) => return Ok(answer),
                // The lease ended before it was used.
                Err(failure) if failure.status.code() == Code::NotFound && lease != 0 && again => {
                    again = false;
                    self.leases.forget(lease).await;
                }
                Err(failure) => return Err(failure.into_error()),
            }
        }
    }

    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>> {
        let answer: RangeResponse = self
            .link
            .call(path::RANGE, get(key.to_owned()), Repeat::Harmless)
            .await
            .map_err(Failure::into_error)?;
        Ok(answer.kvs.into_iter().next())
    }

    /// Why a write did not happen: what was found instead of the expected.
    fn refused(&self, key: &str, found: Option<KeyValue>) -> Error {
        match found.and_then(|kv| self.keys.entry(kv)) {
            Some(entry) => Error::Conflict(Box::new(entry)),
            None => Error::NotFound(key.to_owned()),
        }
    }

    /// Up to `limit` keys of a prefix (0 for all), the revision they are of, and how many there are altogether from there on.
    async fn read(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<(Vec<KeyValue>, Revision, u64)> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let span = self.keys.span(prefix).map(|span| match after {
            Some(after) if after >= prefix => match self.keys.there(after) {
                Some(after) => span.after(after),
                None => span,
            },
            _ => span,
        });
        // If there is nothing to read there is still a revision to be told.
        let mut span = span
            .filter(|span| !span.is_empty())
            .unwrap_or_else(|| Span { start: self.keys.none(), end: Vec::new() });
        let mut kvs: Vec<KeyValue> = Vec::new();
        let (mut revision, mut count) = (at, None);
        loop {
            let page = PAGE_MAX.min(limit - kvs.len());
            let request = RangeRequest {
                key: span.start.clone(),
                range_end: span.end.clone(),
                limit: i64::try_from(page).unwrap_or(i64::MAX),
                revision: revision.map_or(0, |revision| signed(revision.0)),
            };
            let answer: RangeResponse = match self.link.call(path::RANGE, request, Repeat::Harmless).await {
                Ok(answer) => answer,
                Err(failure) => return Err(self.range_failed(failure, revision).await),
            };
            revision = revision.or(Some(Revision(unsigned(answer.revision()))));
            let count = *count.get_or_insert(unsigned(answer.count));
            if let Some(last) = answer.kvs.last() {
                span = span.after(last.key.clone());
            }
            kvs.extend(answer.kvs);
            if !answer.more || kvs.len() >= limit {
                return Ok((kvs, revision.unwrap_or_default(), count));
            }
        }
    }

    async fn range_failed(&self, failure: Failure, at: Option<Revision>) -> Error {
        let asked = at.unwrap_or_default();
        if failure.status.code() != Code::OutOfRange {
            return failure.into_error();
        }
        if failure.status.message().contains("compacted") {
            let oldest = replay::compacted(self).await.unwrap_or_else(|| asked.next());
            return Error::Compacted { asked, oldest };
        }
        match self.ask_revision().await {
            Ok(current) => Error::Future { asked, current },
            Err(error) => error,
        }
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let request = CompactionRequest { revision: signed(revision.0) };
        let compacted: std::result::Result<CompactionResponse, Failure> =
            self.link.call(path::COMPACT, request, Repeat::Harmless).await;
        match compacted {
            Ok(_) => {}
            Err(failure) if failure.status.code() == Code::OutOfRange => {
                // Others may have gone further, which is as good.
                if !failure.status.message().contains("compacted") {
                    let current = self.ask_revision().await?;
                    return Err(Error::Future { asked: revision, current });
                }
            }
            Err(failure) => return Err(failure.into_error()),
        }
        self.shared.change(|log, _| log.forget(revision));
        self.shared.forgotten(revision);
        Ok(())
    }

    async fn time_to_live(&self, lease: i64) -> Result<Duration> {
        let request = TimeToLiveRequest { id: lease };
        let answer: TimeToLiveResponse = self
            .link
            .call(path::LEASE_TIME_TO_LIVE, request, Repeat::Harmless)
            .await
            .map_err(Failure::into_error)?;
        Ok(Duration::from_secs(unsigned(answer.ttl)))
    }

    async fn ask_revision(&self) -> Result<Revision> {
        let answer: RangeResponse = self
            .link
            .call(path::RANGE, get(self.keys.none()), Repeat::Harmless)
            .await
            .map_err(Failure::into_error)?;
        Ok(Revision(unsigned(answer.revision())))
    }

    async fn answer_revisions(self: Arc<Self>) {
        loop {
            self.revisions.asked.notified().await;
            let waiting = std::mem::take(&mut *self.revisions.waiting.lock());
            if waiting.is_empty() {
                continue;
            }
            let answer = self.ask_revision().await;
            for tell in waiting {
                // Who does not listen any more has gone.
                let _ = tell.send(match &answer {
                    Ok(revision) => Ok(*revision),
                    Err(error) => Err(Error::Unavailable {
                        reason: match error {
                            Error::Unavailable { reason, .. } => reason.clone(),
                            other => other.to_string(),
                        },
                        outcome_unknown: false,
                    }),
                });
            }
        }
    }
}
