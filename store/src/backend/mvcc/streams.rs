//! A log behind a lock, and the streams that watch it: that of a [`State`], or the recent part of one kept elsewhere.
//!
//! A stream does not queue events: it remembers the first revision of its prefix it has not delivered, and reads the log
//! from there when it is polled. So a slow stream costs nothing but the log it may outlive, and a write wakes only the
//! streams whose prefix it touches.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::{Stream, StreamExt};
use parking_lot::Mutex;

use super::{
    super::{Entry, Event, EventStream, Page, Range, Result, Revision},
    Change, State,
    state::page,
};
use crate::prefix_map::PrefixMap;

/// How many events a stream hands out at once at the most.
const BATCH_MAX: usize = 512;

/// What streams read: a state with a history, as far back as it goes.
pub(in super::super) trait Log: Send + 'static {
    /// What all has been read up to.
    fn revision(&self) -> Revision;

    /// What happened to keys of a prefix after a revision, about `limit` events, and how far that got. A revision is never
    /// split.
    ///
    /// # Errors
    /// [`super::super::Error::Compacted`] with the revision that was asked for
    fn events(&self, prefix: &str, after: Revision, limit: usize) -> Result<(Vec<Event>, Revision)>;
}

/// A log with its watchers. The lock is held for lookups and for appending, never for I/O or across an await.
#[derive(Debug, Default)]
pub(in super::super) struct Shared<L = State> {
    inner: Mutex<Inner<L>>,
}

#[derive(Debug, Default)]
struct Inner<L> {
    log: L,
    streams: Streams,
    next_id: u64,
    /// Set when the backend closes: streams end.
    closed: bool,
}

/// The streams by prefix.
#[derive(Debug, Default)]
struct Streams {
    slots: PrefixMap<BTreeMap<u64, Slot>>,
    /// Who waits to hear of a revision that the log has not reached.
    waiting: Vec<(String, u64)>,
}

/// What a log knows of a stream.
#[derive(Debug, Default)]
struct Slot {
    /// The stream must look at the log after this revision. None: nothing of its prefix has happened since it looked.
    behind: Option<Revision>,
    /// Somebody wants to hear when the stream has come this far.
    wanted: Option<Revision>,
    waker: Option<Waker>,
}

/// Tells the streams which keys a change touches.
pub(in super::super) struct Touch<'a> {
    streams: &'a mut Streams,
    wake: &'a mut Vec<Waker>,
}

struct Watch<L: Log> {
    shared: Arc<Shared<L>>,
    prefix: String,
    /// Nothing up to here is delivered, even if it is still to come.
    after: Revision,
    id: u64,
    done: bool,
}

// === impl Shared ===

impl<L: Log> Shared<L> {
    pub(in super::super) fn new(log: L) -> Self {
        let streams = Streams::default();
        Self { inner: Mutex::new(Inner { log, streams, next_id: 0, closed: false }) }
    }

    /// Looks at the log.
    pub(in super::super) fn read<T>(&self, look: impl FnOnce(&L) -> T) -> T {
        look(&self.inner.lock().log)
    }

    /// Changes the log and wakes who watches. `change` says of each key what it was before.
    pub(in super::super) fn change<T>(&self, change: impl FnOnce(&mut L, &mut Touch<'_>) -> T) -> T {
        let mut wake = Vec::new();
        let result = {
            let inner = &mut *self.inner.lock();
            let result = change(&mut inner.log, &mut Touch { streams: &mut inner.streams, wake: &mut wake });
            let revision = inner.log.revision();
            let Streams { slots, waiting } = &mut inner.streams;
            waiting.retain(|(prefix, id)| {
                let slot = slots.get_mut(prefix).and_then(|slots| slots.get_mut(id));
                let Some(Slot { wanted: Some(wanted), waker, .. }) = slot else { return false };
                if *wanted <= revision {
                    wake.extend(waker.take());
                }
                *wanted > revision
            });
            result
        };
        wake.into_iter().for_each(Waker::wake);
        result
    }

    /// Wakes the streams that have not read up to a revision: if the log no longer goes back that far, they have an error to
    /// deliver.
    pub(in super::super) fn forgotten(&self, revision: Revision) {
        let mut wake = Vec::new();
        for slot in self.inner.lock().streams.slots.values_mut().flat_map(BTreeMap::values_mut) {
            if slot.behind.is_some_and(|behind| behind < revision) {
                wake.extend(slot.waker.take());
            }
        }
        wake.into_iter().for_each(Waker::wake);
    }

    pub(in super::super) fn revision(&self) -> Revision {
        self.read(Log::revision)
    }

    pub(in super::super) fn watch(self: &Arc<Self>, prefix: &str, after: Revision) -> Result<EventStream> {
        let mut inner = self.inner.lock();
        // Reads nothing, but says now what is already known to be lost.
        inner.log.events(prefix, after, 0)?;
        let id = inner.next_id;
        inner.next_id += 1;
        let revision = inner.log.revision();
        let behind = (after < revision).then_some(after.max(Revision::FIRST));
        let slot = Slot { behind, wanted: Some(after.min(revision)), waker: None };
        inner.streams.slots.entry(prefix).insert(id, slot);
        Ok(Watch { shared: Arc::clone(self), prefix: prefix.to_owned(), after, id, done: false }.boxed())
    }

    /// Streams of exactly this prefix say so when they have come to a revision, or as far as the log goes if that is
    /// further.
    pub(in super::super) fn request_progress(&self, prefix: &str, reached: Revision) {
        let mut wake = Vec::new();
        {
            let inner = &mut *self.inner.lock();
            let revision = inner.log.revision();
            if let Some(slots) = inner.streams.slots.get_mut(prefix) {
                for (id, slot) in slots {
                    let waits = slot.wanted.is_some_and(|wanted| wanted > revision);
                    slot.wanted = slot.wanted.max(Some(reached));
                    if reached <= revision {
                        wake.extend(slot.waker.take());
                    } else if !waits {
                        inner.streams.waiting.push((prefix.to_owned(), *id));
                    }
                }
            }
        }
        wake.into_iter().for_each(Waker::wake);
    }

    /// Ends all streams, now and to come.
    pub(in super::super) fn close(&self) {
        let mut wake = Vec::new();
        {
            let mut inner = self.inner.lock();
            inner.closed = true;
            for slot in inner.streams.slots.values_mut().flat_map(BTreeMap::values_mut) {
                wake.extend(slot.waker.take());
            }
        }
        wake.into_iter().for_each(Waker::wake);
    }
}

impl Shared<State> {
    /// Lets `write` decide changes on the state, makes them part of it and wakes who watches.
    pub(in super::super) fn write<T>(&self, write: impl FnOnce(&State) -> (Vec<Change>, T)) -> T {
        self.change(|state, touch| {
            let (changes, result) = write(state);
            for change in changes {
                touch.key(&change.key, state.revision());
                state.apply(Arc::new(change));
            }
            result
        })
    }

    /// See [`State::compact`].
    pub(in super::super) fn compact(&self, revision: Revision) -> Result<()> {
        let forgotten = self.inner.lock().log.compact(revision)?;
        self.forgotten(revision);
        drop(forgotten);
        Ok(())
    }

    pub(in super::super) fn get(&self, key: &str) -> Option<Entry> {
        self.read(|state| state.get(key).cloned()).map(|record| record.entry())
    }

    pub(in super::super) fn range(&self, range: &Range) -> Result<Page> {
        let (records, revision) = self.read(|state| match range.at {
            None => Ok((state.records().clone(), state.revision())),
            Some(at) => Ok((state.records_at(at)?, at)),
        })?;
        Ok(page(&records, revision, range))
    }
}

impl Log for State {
    fn revision(&self) -> Revision {
        Self::revision(self)
    }

    fn events(&self, prefix: &str, after: Revision, limit: usize) -> Result<(Vec<Event>, Revision)> {
        Self::events(self, prefix, after, limit)
    }
}

// === impl Streams ===

impl Streams {
    fn slot(&mut self, prefix: &str, id: u64) -> Option<&mut Slot> {
        self.slots.get_mut(prefix)?.get_mut(&id)
    }
}

// === impl Touch ===

impl Touch<'_> {
    /// A key changes, after the revision `before`.
    pub(in super::super) fn key(&mut self, key: &str, before: Revision) {
        let wake = &mut *self.wake;
        self.streams.slots.for_each_prefix_of(key, |slots| {
            for slot in slots.values_mut() {
                slot.behind.get_or_insert(before);
                wake.extend(slot.waker.take());
            }
        });
    }
}

impl Touch<'_> {
    /// Anything may have changed after the revision `before`.
    pub(in super::super) fn all(&mut self, before: Revision) {
        for slot in self.streams.slots.values_mut().flat_map(BTreeMap::values_mut) {
            slot.behind.get_or_insert(before);
            self.wake.extend(slot.waker.take());
        }
    }
}

// === impl Watch ===

impl<L: Log> Stream for Watch<L> {
    type Item = Result<Vec<Event>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let mut inner = this.shared.inner.lock();
        let inner = &mut *inner;
        let revision = inner.log.revision();
        let Some(slot) = inner.streams.slot(&this.prefix, this.id) else {
            return Poll::Ready(None);
        };
        let mut events = Vec::new();
        if let Some(behind) = slot.behind {
            match inner.log.events(&this.prefix, behind.max(this.after), BATCH_MAX) {
                Ok((found, reached)) => {
                    events = found;
                    slot.behind = (reached < revision).then_some(reached);
                }
                Err(error) => {
                    this.done = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        let due = slot.wanted.is_some_and(|wanted| wanted <= revision);
        if slot.behind.is_none() && (due || !events.is_empty()) {
            slot.wanted = slot.wanted.filter(|_| !due);
            // A stream from a revision the log has not reached has delivered what is before it.
            events.push(Event::Progress(revision.max(this.after)));
        }
        if !events.is_empty() {
            return Poll::Ready(Some(Ok(events)));
        }
        if inner.closed {
            this.done = true;
            return Poll::Ready(None);
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<L: Log> Drop for Watch<L> {
    fn drop(&mut self) {
        let slots = &mut self.shared.inner.lock().streams.slots;
        if let Some(of_prefix) = slots.get_mut(&self.prefix) {
            of_prefix.remove(&self.id);
            if of_prefix.is_empty() {
                slots.remove(&self.prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{
        super::{super::Error, Batch, Op},
        *,
    };

    fn write(shared: &Shared, key: &str) -> Revision {
        shared.write(|state| {
            let mut batch = Batch::on(state);
            let op = match state.get(key) {
                None => Op::Create { key: key.into(), value: Bytes::new(), expires: None },
                Some(record) => Op::Update {
                    key: key.into(),
                    expected: record.revision,
                    value: Bytes::new(),
                    expires: None,
                },
            };
            let revision = batch.push(op).unwrap();
            (batch.into_changes(), revision)
        })
    }

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        futures::FutureExt::now_or_never(future)
    }

    #[test]
    fn a_stream_sleeps_through_writes_to_other_prefixes_and_survives_their_compaction() {
        let shared = Arc::new(Shared::default());
        let mut stream = shared.watch("/a/", Revision(1)).unwrap();
        assert_eq!(now(stream.next()).unwrap().unwrap().unwrap(), [Event::Progress(Revision(1))]);
        assert!(now(stream.next()).is_none());
        for _ in 0..10 {
            write(&shared, "/b/x");
        }
        assert!(now(stream.next()).is_none(), "nothing happened to the prefix");
        shared.compact(Revision(11)).unwrap();
        let revision = write(&shared, "/a/x");
        let events = now(stream.next()).unwrap().unwrap().unwrap();
        assert!(matches!(events.as_slice(), [Event::Put { entry, created: true, .. }, Event::Progress(r)]
            if entry.revision == revision && *r == revision));
    }

    #[test]
    fn a_stream_that_outlives_its_log_says_so_and_ends() {
        let shared = Arc::new(Shared::default());
        let mut stream = shared.watch("/a/", Revision(1)).unwrap();
        write(&shared, "/a/x");
        write(&shared, "/a/x");
        shared.compact(Revision(3)).unwrap();
        assert!(matches!(
            now(stream.next()).unwrap().unwrap(),
            Err(Error::Compacted { oldest: Revision(3), .. })
        ));
        assert!(now(stream.next()).unwrap().is_none());
        assert!(matches!(shared.watch("/a/", Revision(2)), Err(Error::Compacted { .. })));
    }

    #[test]
    fn long_histories_come_in_batches() {
        let shared = Arc::new(Shared::default());
        for _ in 0..2 * BATCH_MAX + 1 {
            write(&shared, "/a/x");
        }
        let mut stream = shared.watch("/a/", Revision(1)).unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let events = now(stream.next()).unwrap().unwrap().unwrap();
            seen.extend(events.into_iter().filter_map(|event| match event {
                Event::Put { entry, .. } => Some(entry.revision.0),
                Event::Delete { .. } | Event::Progress(_) => None,
            }));
        }
        assert_eq!(seen, (2..=2 * BATCH_MAX as u64 + 2).collect::<Vec<_>>());
        assert!(now(stream.next()).is_none());
    }
}
