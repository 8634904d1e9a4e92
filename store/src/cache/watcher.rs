//! A watcher: a position in the history, and a filter.
//!
//! A watcher that has caught up is *fed*: the feed puts what matches into its inbox and wakes it. A watcher that has not,
//! because it has just begun or because its inbox ran full, reads the history by itself and the feed leaves it alone.
//! Changing from one to the other loses nothing and repeats nothing, because the history holds whole revisions only, and
//! the inbox says after which revision it is fed:
//!
//! ```text
//!  Start ──> Initial (objects of a snapshot) ──┐
//!    │                                         v        inbox empty, history read to its end
//!    └─────────────────────────────────────> Behind ──────────────────────────────────────────> Fed
//!              Beyond <── begins before the history ┤ ▲                                          │
//!     (backfill, and back)                          │ └──────────────── inbox ran full ──────────┘
//!             Refused <── begins inside a gap ──────┤
//!               Ended <── the history went past it ─┘
//! ```

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Poll, Waker},
};

use futures::Stream;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

use super::{
    Error, Header, Object, Shared, Snapshot, backfill,
    history::{Change, Reach},
};
use crate::backend::Revision;

/// How many changes or objects a watcher looks at in one go.
const CHUNK: usize = 256;

/// Decides by the header whether an object is selected. It must answer the same for the same header.
pub type Predicate = Arc<dyn Fn(&Header) -> bool + Send + Sync>;

/// What is watched.
#[derive(Clone)]
pub struct Filter {
    /// Where the objects are.
    pub scope: Scope,
    /// Which of them: label and field selectors.
    pub predicate: Option<Predicate>,
    /// Whether the watcher gets [`WatchEvent::Bookmark`]s.
    pub bookmarks: bool,
}

/// Where watched objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All whose keys start with this: the whole cache, or a namespace.
    Prefix(Arc<str>),
    /// One key.
    Key(Arc<str>),
    /// Those whose indexed field has a value, among a prefix. The objects of one node, for instance.
    Indexed {
        /// What the keys start with.
        prefix: Arc<str>,
        /// The value of the indexed field.
        value: Arc<str>,
    },
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFrom {
    /// With what happens after a revision.
    After(Revision),
    /// With what happens from now on.
    Now,
    /// With all objects there are, as added, then [`WatchEvent::InitialEventsEnd`], then what happens.
    InitialState,
}

/// What a watcher is told.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// The object is there now, or is selected now.
    Added(Arc<Object>),
    /// The object changed, and was selected before and is still.
    Modified(Arc<Object>),
    /// The object is gone, or is not selected any more.
    Deleted {
        /// Its last selected state. For an object that is not selected any more that is the one before.
        object: Arc<Object>,
        /// When that happened: the resource version to send with it.
        revision: Revision,
    },
    /// All up to this revision has been told.
    Bookmark(Revision),
    /// The initial state, as of this revision, has been told.
    InitialEventsEnd(Revision),
}

/// Follows a selection of objects. It ends (yields nothing more) when it was too slow, when the cache had to start anew
/// because the store is another one, and when the cache stops; the client comes back with its last revision.
pub struct Watcher {
    shared: Arc<Shared>,
    watch: Arc<Watch>,
    id: u64,
    phase: Phase,
    /// Events decided but not yet taken, with their places in the history.
    ready: VecDeque<(Revision, WatchEvent)>,
    epoch: u64,
    /// Whether the history has been read once: being older than it then means being slow.
    attached: bool,
    /// All up to here that is selected has been taken, or is in `ready`.
    told: Revision,
    bookmark: Option<Pin<Box<Sleep>>>,
    /// The answer to come, while older history is fetched back.
    backfill: Option<backfill::Answer>,
}

#[derive(Debug)]
enum Phase {
    /// The cache may not be ready yet.
    Start(WatchFrom),
    /// Objects of the snapshot after this key are still to be told.
    Initial {
        snapshot: Snapshot,
        after: Option<Arc<str>>,
    },
    /// Reads the history.
    Behind {
        after: Revision,
    },
    /// Must read the history from before it begins: it has to be fetched back.
    Beyond {
        after: Revision,
    },
    /// Cannot begin where it wants to.
    Refused {
        asked: Revision,
        oldest: Revision,
    },
    /// Reads the inbox.
    Fed,
    Ended,
}

/// What a watcher must wait for.
enum Pause {
    Ready,
    Backfill(Revision),
    Inbox,
    Refuse(Error),
    End,
}

/// The part of a watcher that the feed knows.
pub(super) struct Watch {
    pub(super) filter: Filter,
    /// The name of the indexed field, for scopes that need it.
    index: Option<Arc<str>>,
    inbox: Mutex<Inbox>,
}

#[derive(Debug)]
struct Inbox {
    mode: Mode,
    /// Events with their places in the history.
    queue: VecDeque<(Revision, WatchEvent)>,
    /// The place of the last one that was put in.
    last: Revision,
    waker: Option<Waker>,
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    /// The feed passes by. If the watcher was fed before, it must read on after this revision.
    Behind { after: Revision },
    /// The feed puts in what comes after this revision.
    Fed { after: Revision },
}

// === impl Filter ===

impl Filter {
    /// All objects whose keys start with `prefix`.
    pub fn prefix(prefix: &str) -> Self {
        Self { scope: Scope::Prefix(prefix.into()), predicate: None, bookmarks: false }
    }

    /// One object.
    pub fn key(key: &str) -> Self {
        Self { scope: Scope::Key(key.into()), predicate: None, bookmarks: false }
    }

    /// The objects of `prefix` whose indexed field has this value. In a cache without index it selects nothing.
    pub fn indexed(prefix: &str, value: &str) -> Self {
        Self {
            scope: Scope::Indexed { prefix: prefix.into(), value: value.into() },
            predicate: None,
            bookmarks: false,
        }
    }

    /// Only those the predicate selects.
    #[must_use]
    pub fn selecting(self, predicate: impl Fn(&Header) -> bool + Send + Sync + 'static) -> Self {
        Self { predicate: Some(Arc::new(predicate)), ..self }
    }

    /// With bookmarks.
    #[must_use]
    pub fn with_bookmarks(self) -> Self {
        Self { bookmarks: true, ..self }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("scope", &self.scope).finish_non_exhaustive()
    }
}

// === impl WatchEvent ===

impl WatchEvent {
    /// The revision of what happened.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Added(object) | Self::Modified(object) => object.revision,
            Self::Deleted { revision, .. } | Self::Bookmark(revision) | Self::InitialEventsEnd(revision) => {
                *revision
            }
        }
    }

    /// The object it is about.
    pub fn object(&self) -> Option<&Arc<Object>> {
        match self {
            Self::Added(object) | Self::Modified(object) | Self::Deleted { object, .. } => Some(object),
            Self::Bookmark(_) | Self::InitialEventsEnd(_) => None,
        }
    }
}

// === impl Watch ===

impl Watch {
    /// What a change means to this watcher: an object may enter the selection, change inside it, or leave it.
    fn translate(&self, change: &Change) -> Option<WatchEvent> {
        let selected = |object: &Arc<Object>| self.selects(object);
        let (before, after) = match (&change.previous, &change.current) {
            (Some(_), Some(current)) if change.same_header => {
                let selected = selected(current);
                (selected, selected)
            }
            (previous, current) => {
                (previous.as_ref().is_some_and(selected), current.as_ref().is_some_and(selected))
            }
        };
        match (&change.previous, &change.current) {
            (_, Some(current)) if after && before => Some(WatchEvent::Modified(Arc::clone(current))),
            (_, Some(current)) if after => Some(WatchEvent::Added(Arc::clone(current))),
            (Some(previous), current) if before => {
                let revision = current.as_ref().map_or(change.revision, |current| current.revision);
                Some(WatchEvent::Deleted { object: Arc::clone(previous), revision })
            }
            _ => None,
        }
    }

    fn selects(&self, object: &Object) -> bool {
        let in_scope = match &self.filter.scope {
            Scope::Prefix(prefix) => object.key.starts_with(&**prefix),
            Scope::Key(key) => object.key == *key,
            Scope::Indexed { prefix, value } => {
                let field = self.index.as_ref().and_then(|index| object.header.fields.get(index));
                field == Some(value) && object.key.starts_with(&**prefix)
            }
        };
        in_scope && self.filter.predicate.as_ref().is_none_or(|predicate| predicate(&object.header))
    }

    /// Puts a change into the inbox, if the watcher is fed and it concerns it.
    pub(super) fn offer(&self, change: &Change, queue_max: usize) -> bool {
        // The filter runs before the lock is taken, and for watchers that are behind it may run in vain: those are few.
        let Some(event) = self.translate(change) else { return false };
        let waker = {
            let mut inbox = self.inbox.lock();
            match inbox.mode {
                Mode::Fed { after } if after <= change.follows => {}
                Mode::Fed { .. } | Mode::Behind { .. } => return false,
            }
            // What stands at one place in the history is told as a whole.
            if inbox.queue.len() < queue_max || inbox.last == change.revision {
                inbox.queue.push_back((change.revision, event));
                inbox.last = change.revision;
            } else {
                inbox.mode = Mode::Behind { after: change.follows };
            }
            inbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Closes a watch that began at a revision then still to come, and now that turns out to be in a stretch that was lost.
    pub(super) fn close_within(&self, from: Revision, to: Revision) {
        let inbox = self.inbox.lock();
        let within = matches!(inbox.mode, Mode::Fed { after } if from < after && after < to);
        drop(inbox);
        if within {
            self.close();
        }
    }

    /// Waits until the cache ends the watch.
    async fn closed(&self) {
        std::future::poll_fn(|cx| {
            let mut inbox = self.inbox.lock();
            if inbox.closed {
                return Poll::Ready(());
            }
            inbox.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(super) fn close(&self) {
        let waker = {
            let mut inbox = self.inbox.lock();
            inbox.closed = true;
            inbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("filter", &self.filter).finish_non_exhaustive()
    }
}

// === impl Watcher ===

impl Watcher {
    pub(super) fn new(shared: Arc<Shared>, from: WatchFrom, filter: Filter) -> Self {
        let bookmark = filter.bookmarks.then(|| Box::pin(tokio::time::sleep(shared.config.bookmark_period)));
        let watch = Arc::new(Watch {
            filter,
            index: shared.config.index.as_deref().map(Arc::from),
            inbox: Mutex::new(Inbox {
                mode: Mode::Behind { after: Revision(0) },
                queue: VecDeque::new(),
                last: Revision(0),
                waker: None,
                closed: false,
            }),
        });
        let id = shared.fanout.lock().add(&watch);
        let mut watcher = Self {
            shared,
            watch,
            id,
            phase: Phase::Start(from),
            ready: VecDeque::new(),
            epoch: 0,
            attached: false,
            told: Revision(0),
            bookmark,
            backfill: None,
        };
        // "Now" is now, not when the watcher is first polled.
        watcher.begin();
        watcher
    }

    /// The next event. None when the watch has ended; after an error nothing more comes. May be dropped while it waits
    /// and called again.
    pub async fn next(&mut self) -> Option<Result<WatchEvent, Error>> {
        loop {
            if let Some(event) = self.try_next() {
                return Some(Ok(event));
            }
            match self.pause() {
                Pause::End => return None,
                Pause::Refuse(error) => {
                    self.end();
                    return Some(Err(error));
                }
                Pause::Ready => {
                    tokio::select! {
                        biased;
                        () = self.shared.ready() => self.begin(),
                        () = self.watch.closed() => {}
                    }
                }
                Pause::Backfill(after) => {
                    if let Err(error) = self.backfill(after).await {
                        self.end();
                        return Some(Err(error));
                    }
                    self.phase = Phase::Behind { after };
                }
                Pause::Inbox => self.wait().await,
            }
        }
    }

    /// The next event if it is there already. For writing many in one go; that there is none now does not mean that the
    /// watch has ended.
    pub fn try_next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some((_, event)) = self.ready.pop_front() {
                return Some(event);
            }
            match &mut self.phase {
                Phase::Start(_) | Phase::Beyond { .. } | Phase::Refused { .. } | Phase::Ended => return None,
                Phase::Initial { .. } => self.read_initial(),
                Phase::Behind { after } => {
                    let after = *after;
                    self.read_history(after);
                }
                Phase::Fed => {
                    if !self.read_inbox() {
                        return self.bookmark();
                    }
                }
            }
        }
    }

    /// The watcher as a stream of its events.
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchEvent, Error>> + Send {
        futures::stream::unfold(self, async |mut watcher| {
            let event = watcher.next().await?;
            Some((event, watcher))
        })
    }

    /// How far the watcher is known to have been told everything: the revision of a bookmark sent now. None while it is
    /// not caught up.
    pub fn caught_up(&self) -> Option<Revision> {
        if !matches!(self.phase, Phase::Fed) || !self.ready.is_empty() {
            return None;
        }
        // In this order: what was fed up to here is in the inbox by now.
        let fed = self.shared.fed();
        let inbox = self.watch.inbox.lock();
        let fed_now = match inbox.mode {
            Mode::Fed { after } if inbox.queue.is_empty() => fed.max(after),
            Mode::Fed { .. } | Mode::Behind { .. } => return None,
        };
        (fed_now >= self.told).then_some(fed_now)
    }

    /// Has the history fetched back. The request outlives a call that is dropped, so that the answer is not lost.
    async fn backfill(&mut self, after: Revision) -> Result<(), Error> {
        let answer = match &mut self.backfill {
            Some(answer) => answer,
            None => {
                let answer = self.shared.request_backfill(after).await?;
                self.backfill.insert(answer)
            }
        };
        let answered = answer.await.unwrap_or_else(|_| Err(backfill::stopped()));
        self.backfill = None;
        answered
    }

    fn begin(&mut self) {
        let Phase::Start(from) = self.phase else { return };
        let state = self.shared.state.read();
        if state.revision() == Revision(0) {
            return;
        }
        self.epoch = state.epoch();
        self.phase = match from {
            WatchFrom::After(after) => Phase::Behind { after },
            WatchFrom::Now => Phase::Behind { after: state.revision() },
            WatchFrom::InitialState => Phase::Initial { snapshot: state.snapshot(), after: None },
        };
        if let Phase::Behind { after } = self.phase {
            self.told = after;
        }
    }

    fn pause(&self) -> Pause {
        match self.phase {
            Phase::Start(_) if self.watch.inbox.lock().closed => Pause::End,
            Phase::Start(_) => Pause::Ready,
            Phase::Beyond { after } => Pause::Backfill(after),
            Phase::Refused { asked, oldest } => Pause::Refuse(Error::Compacted { asked, oldest }),
            Phase::Initial { .. } | Phase::Behind { .. } | Phase::Fed => Pause::Inbox,
            Phase::Ended => Pause::End,
        }
    }

    fn read_initial(&mut self) {
        let Phase::Initial { snapshot, after } = &mut self.phase else { return };
        let (watch, ready, revision) = (&self.watch, &mut self.ready, snapshot.revision);
        let mut last = None;
        let mut looked_at = 0;
        let mut take = |object: &Arc<Object>| {
            last = Some(Arc::clone(&object.key));
            looked_at += 1;
            if watch.selects(object) {
                ready.push_back((revision, WatchEvent::Added(Arc::clone(object))));
            }
        };
        match &watch.filter.scope {
            Scope::Prefix(prefix) => snapshot.range(prefix, after.as_deref()).take(CHUNK).for_each(&mut take),
            Scope::Key(key) => snapshot.get(key).filter(|_| after.is_none()).into_iter().for_each(&mut take),
            Scope::Indexed { prefix, value } => {
                // Few objects share an indexed value, so they come in one go.
                let objects = snapshot.by_index(value, prefix).filter(|_| after.is_none());
                objects.into_iter().flatten().for_each(&mut take);
            }
        }
        let more = matches!(watch.filter.scope, Scope::Prefix(_)) && looked_at == CHUNK;
        if more {
            *after = last;
        } else {
            self.ready.push_back((revision, WatchEvent::InitialEventsEnd(revision)));
            self.told = revision;
            self.phase = Phase::Behind { after: revision };
        }
    }

    /// Reads on in the history, or at its end begins to be fed.
    fn read_history(&mut self, after: Revision) {
        let changes = {
            let state = self.shared.state.read();
            if state.epoch() != self.epoch {
                drop(state);
                return self.end();
            }
            match state.history().reach(after) {
                Reach::Whole => {}
                Reach::Gap { end } => {
                    self.phase = Phase::Refused { asked: after, oldest: end };
                    return;
                }
                Reach::Beyond if self.attached => {
                    drop(state);
                    self.shared.counts.terminated.inc();
                    tracing::debug!(cache = self.shared.name, scope = ?self.watch.filter.scope, "watcher too slow, closed");
                    return self.end();
                }
                Reach::Beyond => {
                    self.phase = Phase::Beyond { after };
                    return;
                }
            }
            self.attached = true;
            let changes = state.history().after(after, CHUNK);
            if changes.is_empty() {
                // Under the state's lock: what is applied later is offered to the inbox, and only that.
                self.watch.inbox.lock().mode = Mode::Fed { after: state.revision().max(after) };
                self.phase = Phase::Fed;
                return;
            }
            changes
        };
        let told = changes.iter().filter_map(|change| Some((change.revision, self.watch.translate(change)?)));
        self.ready.extend(told);
        if let Some(last) = changes.last() {
            self.told = last.revision;
            self.phase = Phase::Behind { after: last.revision };
        }
    }

    /// Takes what is in the inbox. False if there is nothing to do.
    fn read_inbox(&mut self) -> bool {
        let mut inbox = self.watch.inbox.lock();
        if !inbox.queue.is_empty() {
            std::mem::swap(&mut inbox.queue, &mut self.ready);
            if let Some((last, _)) = self.ready.back() {
                self.told = *last;
            }
            return true;
        }
        match inbox.mode {
            Mode::Behind { after } => {
                self.phase = Phase::Behind { after };
                true
            }
            Mode::Fed { .. } if inbox.closed => {
                drop(inbox);
                self.end();
                false
            }
            Mode::Fed { .. } => false,
        }
    }

    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.bookmark = None;
    }

    /// A bookmark, if it is time for one.
    fn bookmark(&mut self) -> Option<WatchEvent> {
        let due = self
            .bookmark
            .as_ref()
            .is_some_and(|sleep| sleep.is_elapsed() || sleep.deadline() <= Instant::now());
        if !due {
            return None;
        }
        // So that the next one is of use even if nothing happens here: a resumed watch needs no older history.
        self.shared.backend.request_progress(&self.shared.prefix);
        if let Some(sleep) = &mut self.bookmark {
            sleep.as_mut().reset(Instant::now() + self.shared.config.bookmark_period);
        }
        self.caught_up().map(WatchEvent::Bookmark)
    }

    /// Waits until the inbox has something, or a bookmark is due.
    async fn wait(&mut self) {
        let (watch, bookmark) = (&self.watch, &mut self.bookmark);
        std::future::poll_fn(|cx| {
            if let Some(sleep) = bookmark
                && sleep.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(());
            }
            let mut inbox = watch.inbox.lock();
            let idle = inbox.queue.is_empty() && matches!(inbox.mode, Mode::Fed { .. }) && !inbox.closed;
            if !idle {
                return Poll::Ready(());
            }
            inbox.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.fanout.lock().remove(self.id, &self.watch);
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("watch", &self.watch)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
