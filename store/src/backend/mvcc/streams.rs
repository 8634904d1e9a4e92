//! A state behind a lock, and the streams that watch it.
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

/// A state with its watchers. The lock is held for lookups and for appending, never for I/O or across an await.
#[derive(Debug, Default)]
pub(in super::super) struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    streams: PrefixMap<BTreeMap<u64, Slot>>,
    next_id: u64,
    /// Set when the backend closes: streams end.
    closed: bool,
}

/// What a state knows of a stream.
#[derive(Debug, Default)]
struct Slot {
    /// The stream must look at the log after this revision. None: nothing of its prefix has happened since it looked.
    behind: Option<Revision>,
    /// Somebody wants to hear how far the stream is.
    progress: bool,
    waker: Option<Waker>,
}

struct Watch {
    shared: Arc<Shared>,
    prefix: String,
    /// Nothing up to here is delivered, even if it is still to come.
    after: Revision,
    id: u64,
    done: bool,
}

// === impl Shared ===

impl Shared {
    pub(in super::super) fn new(state: State) -> Self {
        Self { inner: Mutex::new(Inner { state, ..Inner::default() }) }
    }

    /// Looks at the state.
    pub(in super::super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.inner.lock().state)
    }

    /// Lets `write` decide changes on the state, makes them part of it and wakes who watches.
    pub(in super::super) fn write<T>(&self, write: impl FnOnce(&State) -> (Vec<Change>, T)) -> T {
        let mut wake = Vec::new();
        let result = {
            let mut inner = self.inner.lock();
            let (changes, result) = write(&inner.state);
            for change in changes {
                inner.append(change, &mut wake);
            }
            result
        };
        wake.into_iter().for_each(Waker::wake);
        result
    }

    /// See [`State::compact`].
    pub(in super::super) fn compact(&self, revision: Revision) -> Result<()> {
        let mut wake = Vec::new();
        let forgotten = {
            let mut inner = self.inner.lock();
            let forgotten = inner.state.compact(revision)?;
            // Streams that were behind the compaction have an error to deliver.
            for slot in inner.streams.values_mut().flat_map(BTreeMap::values_mut) {
                if slot.behind.is_some_and(|behind| behind < revision) {
                    wake.extend(slot.waker.take());
                }
            }
            forgotten
        };
        wake.into_iter().for_each(Waker::wake);
        drop(forgotten);
        Ok(())
    }

    pub(in super::super) fn get(&self, key: &str) -> Option<Entry> {
        self.read(|state| state.get(key).cloned()).map(|record| record.entry())
    }

    pub(in super::super) fn revision(&self) -> Revision {
        self.read(State::revision)
    }

    pub(in super::super) fn range(&self, range: &Range) -> Result<Page> {
        let (records, revision) = self.read(|state| match range.at {
            None => Ok((state.records().clone(), state.revision())),
            Some(at) => Ok((state.records_at(at)?, at)),
        })?;
        Ok(page(&records, revision, range))
    }

    pub(in super::super) fn watch(self: &Arc<Self>, prefix: &str, after: Revision) -> Result<EventStream> {
        let mut inner = self.inner.lock();
        // Reads nothing, but says now what is already known to be lost.
        inner.state.events(prefix, after, 0)?;
        let id = inner.next_id;
        inner.next_id += 1;
        let behind = (after < inner.state.revision()).then_some(after.max(Revision::FIRST));
        inner.streams.entry(prefix).insert(id, Slot { behind, progress: true, waker: None });
        Ok(Watch { shared: Arc::clone(self), prefix: prefix.to_owned(), after, id, done: false }.boxed())
    }

    pub(in super::super) fn request_progress(&self, prefix: &str) {
        let mut wake = Vec::new();
        if let Some(slots) = self.inner.lock().streams.get_mut(prefix) {
            for slot in slots.values_mut() {
                slot.progress = true;
                wake.extend(slot.waker.take());
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
            for slot in inner.streams.values_mut().flat_map(BTreeMap::values_mut) {
                wake.extend(slot.waker.take());
            }
        }
        wake.into_iter().for_each(Waker::wake);
    }
}

// === impl Inner ===

impl Inner {
    fn append(&mut self, change: Change, wake: &mut Vec<Waker>) {
        let before = self.state.revision();
        self.streams.for_each_prefix_of(&change.key, |slots| {
            for slot in slots.values_mut() {
                slot.behind.get_or_insert(before);
                wake.extend(slot.waker.take());
            }
        });
        self.state.apply(Arc::new(change));
    }
}

// === impl Watch ===

impl Stream for Watch {
    type Item = Result<Vec<Event>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let mut inner = this.shared.inner.lock();
        let inner = &mut *inner;
        let Some(slot) = inner.streams.get_mut(&this.prefix).and_then(|slots| slots.get_mut(&this.id)) else {
            return Poll::Ready(None);
        };
        let mut events = Vec::new();
        if let Some(behind) = slot.behind {
            match inner.state.events(&this.prefix, behind.max(this.after), BATCH_MAX) {
                Ok((found, reached)) => {
                    events = found;
                    slot.behind = (reached < inner.state.revision()).then_some(reached);
                }
                Err(error) => {
                    this.done = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        if slot.behind.is_none() && (slot.progress || !events.is_empty()) {
            slot.progress = false;
            events.push(Event::Progress(inner.state.revision()));
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

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.shared.inner.lock();
        if let Some(slots) = inner.streams.get_mut(&self.prefix) {
            slots.remove(&self.id);
            if slots.is_empty() {
                inner.streams.remove(&self.prefix);
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
