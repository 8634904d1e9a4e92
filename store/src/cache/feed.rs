//! The owner of a cache's state: lists once, follows the backend's watch, tells the watchers.

use std::{
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Error, Object, Shared,
    backfill::{Backfill, Fetched, Fetching},
    state::{LabelKeys, Update},
};
use crate::backend::{self, Event, EventStream, Range, Revision};

/// How many changes are handed out before other tasks get a turn.
const DISPATCH_CHUNK: usize = 64;
/// How many objects are described, or looked at, before other tasks get a turn.
const DESCRIBE_CHUNK: usize = 256;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

pub(super) struct Feed {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Backfill>,
    /// Labels that lists would like an index of.
    labels: mpsc::Receiver<String>,
    /// Requests that wait for `fetching`, or for the next one.
    waiting: Vec<Backfill>,
    fetching: Option<Fetching>,
    backoff: Duration,
    /// When derived forms are looked through; None while there are none.
    sweep_at: Option<Instant>,
    _closing: Closing,
}

/// Ends the watchers when the feed ends, however it does, even if it never ran.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.fanout.lock().close(true);
    }
}

// === impl Feed ===

impl Feed {
    pub(super) fn new(
        shared: Arc<Shared>,
        requests: mpsc::Receiver<Backfill>,
        labels: mpsc::Receiver<String>,
    ) -> Self {
        Self {
            _closing: Closing(Arc::clone(&shared)),
            shared,
            requests,
            labels,
            waiting: Vec::new(),
            fetching: None,
            backoff: BACKOFF_MIN,
            sweep_at: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.list().await {
                Ok(()) => self.follow().await,
                Err(error) => self.back_off("list", &error).await,
            }
        }
    }

    /// Watches from where the state is, again and again, until that is too far back and there must be a new list.
    async fn follow(&mut self) {
        loop {
            let after = self.shared.state.read().revision();
            let lost = match self.shared.backend.watch(&self.shared.prefix, after).await {
                Ok(stream) => self.follow_stream(stream).await,
                Err(error) => Some(error),
            };
            match lost {
                Some(backend::Error::Compacted { .. }) => return,
                Some(error) => self.back_off("watch", &error).await,
                None => {
                    let reason = "the watch ended".to_owned();
                    let error = backend::Error::Unavailable { reason, outcome_unknown: false };
                    self.back_off("watch", &error).await;
                }
            }
        }
    }

    /// Until the stream ends, with the reason if there is one.
    async fn follow_stream(&mut self, mut stream: EventStream) -> Option<backend::Error> {
        loop {
            let trim_at = self.shared.state.read().trim_at(self.shared.config.history_age_max);
            tokio::select! {
                biased;
                Some(request) = self.requests.recv() => self.serve(request),
                older = fetched(&mut self.fetching) => self.prepend(older),
                batch = stream.next() => match batch {
                    Some(Ok(events)) => {
                        self.backoff = BACKOFF_MIN;
                        self.take(events).await;
                    }
                    Some(Err(error)) => return Some(error),
                    None => return None,
                },
                Some(label) = self.labels.recv() => self.index_label(&label).await,
                () = until(trim_at) => self.trim(),
                () = self.shared.upkeep.wanted(), if self.sweep_at.is_none() => {
                    self.sweep_at = Some(Instant::now() + self.shared.config.derived_idle_max);
                }
                () = until(self.sweep_at) => self.sweep().await,
            }
        }
    }

    async fn back_off(&mut self, doing: &str, error: &backend::Error) {
        tracing::warn!(cache = self.shared.name, %error, retry_in = ?self.backoff, "cannot {doing}");
        tokio::time::sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    // --- list ---

    /// Brings the state to the backend's. The first time that fills it; later the differences become events, as if they
    /// had been watched.
    async fn list(&mut self) -> Result<(), backend::Error> {
        let shared = Arc::clone(&self.shared);
        let known = shared.state.read().snapshot();
        let mut range = Range {
            prefix: (*shared.prefix).to_owned(),
            after: None,
            limit: shared.config.list_page_max,
            at: None,
        };
        let mut objects: Vec<Arc<Object>> = Vec::new();
        let revision = loop {
            let page = shared.backend.range(range.clone()).await?;
            range.at = Some(page.revision);
            range.after = page.entries.last().map(|entry| entry.key.clone());
            for (n, entry) in page.entries.into_iter().enumerate() {
                if n % DESCRIBE_CHUNK == DESCRIBE_CHUNK - 1 {
                    tokio::task::yield_now().await;
                }
                match known.get(&entry.key) {
                    Some(object) if object.revision == entry.revision => objects.push(Arc::clone(object)),
                    _ => objects.extend(shared.object(Arc::from(entry.key), entry.value, entry.revision)),
                }
            }
            if page.remaining == 0 {
                break page.revision;
            }
        };
        shared.counts.initializations.inc();
        shared.counts.listed(objects.len());
        if known.revision == Revision(0) || revision < known.revision {
            self.reset(revision, objects);
            return Ok(());
        }
        tracing::info!(cache = shared.name, from = %known.revision, to = %revision, "watch was lost, listed again");
        let updates = differences(&known, objects, revision);
        shared.fanout.lock().close_within(known.revision, revision);
        self.publish(updates, revision, true).await;
        Ok(())
    }

    /// Starts from nothing. If there was something, the store is not the one it was (restored from a backup): what
    /// watchers have seen is void.
    fn reset(&mut self, revision: Revision, objects: Vec<Arc<Object>>) {
        let shared = &self.shared;
        shared.counts.init_events.inc_by(u64::try_from(objects.len()).unwrap_or_default());
        let mut fanout = shared.fanout.lock();
        let (garbage, epoch) = {
            let mut state = shared.state.write();
            (state.reset(revision, objects), state.epoch())
        };
        shared.fed.store(*revision, Ordering::Release);
        shared.reached.update(|known| *known = revision);
        if epoch > 0 {
            tracing::warn!(cache = shared.name, %revision, "the store went back in time, watchers must start anew");
            fanout.close(false);
        }
        drop(fanout);
        drop(garbage);
        // What was fetched, or is wanted, belongs to the past.
        self.fetching = None;
        self.waiting.clear();
    }

    // --- events ---

    async fn take(&mut self, events: Vec<Event>) {
        let shared = Arc::clone(&self.shared);
        let known = shared.state.read().revision();
        let mut reached = known;
        let mut updates = Vec::with_capacity(events.len());
        for (n, event) in events.into_iter().enumerate() {
            if n % DESCRIBE_CHUNK == DESCRIBE_CHUNK - 1 {
                tokio::task::yield_now().await;
            }
            let update = match event {
                Event::Progress(revision) => {
                    shared.counts.progress.inc();
                    reached = reached.max(revision);
                    continue;
                }
                // A backend that resumes a watch may repeat itself.
                Event::Put { entry, .. } if entry.revision <= known => continue,
                Event::Delete { revision, .. } if revision <= known => continue,
                Event::Put { entry, .. } => {
                    // One allocation holds the key as long as the object lives.
                    let key =
                        shared.state.read().objects().get(&entry.key).map(|object| Arc::clone(&object.key));
                    let key = key.unwrap_or_else(|| Arc::from(entry.key.as_str()));
                    match shared.object(key, entry.value, entry.revision) {
                        Some(object) => Update::Put(object),
                        // What cannot be read cannot be served, nor can what it replaced.
                        None => Update::Delete { key: entry.key, revision: entry.revision },
                    }
                }
                Event::Delete { key, revision, .. } => Update::Delete { key, revision },
            };
            reached = reached.max(update.revision());
            updates.push(update);
        }
        shared.counts.received(updates.len());
        self.publish(updates, reached, false).await;
    }

    /// Makes updates visible: first to readers, then to watchers.
    async fn publish(&mut self, updates: Vec<Update>, reached: Revision, lost: bool) {
        let shared = &self.shared;
        let (changes, garbage) = {
            let now = Instant::now();
            let mut state = shared.state.write();
            let changes = state.apply(now, updates, reached, lost);
            (changes, state.trim(now, shared.config.bounds()))
        };
        drop(garbage);
        shared
            .counts
            .resource_version
            .set(i64::try_from(*reached % 1_000_000_000_000_000).unwrap_or_default());
        if reached > shared.reached.get() {
            shared.reached.update(|known| *known = reached);
        }
        let index = shared.config.index.as_deref();
        for chunk in changes.chunks(DISPATCH_CHUNK) {
            {
                let mut fanout = shared.fanout.lock();
                for change in chunk {
                    let taken = fanout.dispatch(change, index, shared.config.watcher_queue_max);
                    shared.counts.dispatched.inc_by(taken);
                }
            }
            if chunk.len() == DISPATCH_CHUNK {
                tokio::task::yield_now().await;
            }
        }
        shared.fed.fetch_max(*reached, Ordering::Release);
    }

    fn trim(&self) {
        let garbage = self.shared.state.write().trim(Instant::now(), self.shared.config.bounds());
        drop(garbage);
    }

    /// Makes the index of a label. Nothing changes meanwhile, since this task makes the changes.
    async fn index_label(&mut self, label: &str) {
        let snapshot = {
            let state = self.shared.state.read();
            if state.objects().has_label(label) {
                return;
            }
            state.objects().clone()
        };
        let mut keys = LabelKeys::default();
        for (n, (key, value)) in snapshot.indexed_by_label(label).enumerate() {
            if n % DESCRIBE_CHUNK == DESCRIBE_CHUNK - 1 {
                tokio::task::yield_now().await;
            }
            keys.insert(value, key);
        }
        self.shared.state.write().objects_mut().add_label(label, keys);
    }

    /// Drops derived forms that were not used since the last time.
    async fn sweep(&mut self) {
        self.shared.upkeep.rest();
        let snapshot = self.shared.state.read().snapshot();
        let mut left = false;
        for (n, object) in snapshot.range("", None).enumerate() {
            if n % DESCRIBE_CHUNK == DESCRIBE_CHUNK - 1 {
                tokio::task::yield_now().await;
            }
            left |= object.sweep_derived();
        }
        // States that are history have theirs from when they were the present.
        let mut after = Revision(0);
        loop {
            let changes = self.shared.state.read().history().after(after, DESCRIBE_CHUNK);
            let Some(last) = changes.last() else { break };
            after = last.revision;
            for previous in changes.iter().filter_map(|change| change.previous.as_ref()) {
                left |= previous.sweep_derived();
            }
            tokio::task::yield_now().await;
        }
        self.sweep_at = left.then(|| Instant::now() + self.shared.config.derived_idle_max);
    }

    // --- backfill ---

    fn serve(&mut self, request: Backfill) {
        self.waiting.push(request);
        self.fetch();
    }

    /// Answers the requests that can be answered, and starts to fetch for the others.
    fn fetch(&mut self) {
        if self.fetching.is_some() {
            return;
        }
        let start = self.shared.state.read().history().start();
        self.answer(|request| request.after >= start, |_| Ok(()));
        self.waiting.retain(|request| !request.done.is_closed());
        let oldest = self.waiting.iter().map(|request| request.after).min();
        self.shared.state.write().history_mut().hold(oldest.is_some());
        self.fetching = oldest.map(|oldest| Arc::clone(&self.shared).fetch(oldest, start).boxed());
    }

    fn prepend(&mut self, fetched: Fetched) {
        self.fetching = None;
        let asked = fetched.asked;
        let oldest = match fetched.result {
            Ok(older) => {
                tracing::debug!(cache = self.shared.name, events = older.changes.len(), from = %older.after, "history fetched back");
                let after = older.after;
                self.shared.state.write().history_mut().prepend(Instant::now(), after, older.changes);
                // If it was cut short, it would be for those, too, who asked for more; some may have come meanwhile. If not,
                // nobody is refused: what they want is fetched next.
                if after > asked { after } else { Revision(0) }
            }
            // Who asked is refused in any case, so that each answer leaves fewer who wait.
            Err(Error::Compacted { oldest, .. }) => oldest.max(asked.next()),
            Err(error) => {
                // The watchers end and their clients come back.
                let reason = error.to_string();
                let failure =
                    || backend::Error::Unavailable { reason: reason.clone(), outcome_unknown: false };
                self.answer(|_| true, |_| Err(Error::Store(failure())));
                return self.fetch();
            }
        };
        self.answer(|request| request.after < oldest, |asked| Err(Error::Compacted { asked, oldest }));
        self.fetch();
    }

    fn answer(&mut self, whom: impl Fn(&Backfill) -> bool, answer: impl Fn(Revision) -> Result<(), Error>) {
        for request in self.waiting.extract_if(.., |request| whom(request)) {
            // Who does not listen any more has gone.
            let _ = request.done.send(answer(request.after));
        }
    }
}

/// What changed between what is known and the objects there are at `revision`, in the order in which it happened as far as
/// that can be told. When something was deleted cannot: it was at the latest at `revision`.
fn differences(known: &super::Snapshot, objects: Vec<Arc<Object>>, revision: Revision) -> Vec<Update> {
    let mut gone = Vec::new();
    let mut listed = objects.iter().map(|object| &object.key).peekable();
    for object in known.range("", None) {
        while listed.next_if(|key| **key < object.key).is_some() {}
        if listed.peek().is_none_or(|key| **key != object.key) {
            gone.push(Update::Delete { key: (*object.key).to_owned(), revision });
        }
    }
    let mut updates: Vec<Update> =
        objects.into_iter().filter(|object| object.revision > known.revision).map(Update::Put).collect();
    updates.sort_by_key(Update::revision);
    updates.extend(gone);
    updates
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

async fn fetched(fetching: &mut Option<Fetching>) -> Fetched {
    match fetching {
        Some(fetching) => fetching.await,
        None => pending().await,
    }
}
