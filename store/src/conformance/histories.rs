//! Many at once, while things go wrong: what they did and were told is written down, and must fit together.
//!
//! Method: writers, readers and watchers work on a few keys of one store; faults are caused meanwhile (the store restarts,
//! the past is compacted, watches are dropped). Every value is written once only, and a logical clock says which call ended
//! before which began. One watch that is never behind a compaction gives the history as it was. Then:
//!
//! - every acknowledged write is in the history at its revision, after all that were acknowledged before it began; every
//!   refused one is not; one of unknown outcome is there once or not at all; and there is nothing else;
//! - every update and delete follows the very revision it expected, and every create finds no key;
//! - a read shows a state that is no older than any write acknowledged before it began;
//! - every watcher sees every revision of its prefix once and in order, across all resumptions.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, future::join_all};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::{Backend, Entry, Error, Event, Range, Revision};

/// A store that things happen to.
pub trait Place: Send + Sync {
    /// The store, while there is one. Whoever has it gives it back soon.
    fn store(&self) -> Option<Arc<dyn Backend>>;

    /// Causes the next fault, such as a restart, and returns when it is over.
    fn fault(&self) -> BoxFuture<'_, ()>;
}

const WRITERS: u64 = 6;
const READERS: u64 = 3;
const WATCHERS: u64 = 4;
const KEYS: u64 = 8;
const PREFIXES: [&str; 3] = ["/h/", "/h/a/", "/h/b/"];
/// How far back the past is kept when it is compacted.
const KEEP: u64 = 40;

/// How long histories are in a test: two seconds, or what `STORE_HISTORY_SECONDS` says.
pub fn length() -> Duration {
    let seconds = std::env::var("STORE_HISTORY_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

#[derive(Clone, Debug)]
struct Write {
    key: String,
    /// None deletes.
    value: Option<Bytes>,
    /// 0: the key must not be there.
    expected: Revision,
    begun: u64,
    ended: u64,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    At(Revision),
    Refused,
    Unknown,
}

#[derive(Clone, Debug)]
enum Seen {
    /// The store said it was at this revision.
    Revision(Revision),
    Key(String, Option<Entry>),
    /// All keys of a prefix at a revision.
    Range(&'static str, Revision, Vec<Entry>),
}

#[derive(Clone, Debug)]
struct Read {
    begun: u64,
    seen: Seen,
}

#[derive(Clone, Debug)]
enum Watched {
    Event(Event),
    /// It had to list again and goes on from here.
    Listed(Revision, Vec<Entry>),
}

struct World {
    place: Arc<dyn Place>,
    clock: AtomicU64,
    over: AtomicBool,
    writes: Mutex<Vec<Write>>,
    reads: Mutex<Vec<Read>>,
    truth: Mutex<Vec<Event>>,
    /// How far the truth is known.
    known: AtomicU64,
    /// The last revision, when there is one.
    end: AtomicU64,
    summary: Mutex<Summary>,
}

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn key(n: u64) -> String {
    format!("/h/{}/{}", if n.is_multiple_of(2) { "a" } else { "b" }, n / 2)
}

fn revision(event: &Event) -> Revision {
    match event {
        Event::Put { entry, .. } => entry.revision,
        Event::Delete { revision, .. } | Event::Progress(revision) => *revision,
    }
}

fn key_of(event: &Event) -> &str {
    match event {
        Event::Put { entry, .. } => &entry.key,
        Event::Delete { key, .. } => key,
        Event::Progress(_) => "",
    }
}

/// How much happened in a history, so that a test can see that it was put to the test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Revisions of keys that were written.
    pub events: usize,
    /// Writes that were refused because somebody else was there first.
    pub conflicts: usize,
    /// Writes of which it was not told whether they happened.
    pub unknown: usize,
    /// Faults that were caused.
    pub faults: usize,
    /// Compactions that the store did.
    pub compactions: usize,
    /// Watches that were let go and taken up again where they were.
    pub dropped: usize,
    /// Watches that broke, or could not be opened, and were taken up again.
    pub broken: usize,
    /// Watches that had been away for so long that they had to list.
    pub listed: usize,
}

/// Lets everybody loose on an empty store for a while, and checks what they saw. Returns how much happened.
///
/// # Panics
/// If it does not fit together.
pub async fn check(place: Arc<dyn Place>, length: Duration) -> Summary {
    let world = World {
        place,
        clock: AtomicU64::new(1),
        over: AtomicBool::new(false),
        writes: Mutex::default(),
        reads: Mutex::default(),
        truth: Mutex::default(),
        known: AtomicU64::new(1),
        end: AtomicU64::new(u64::MAX),
        summary: Mutex::default(),
    };
    let work = async {
        let writers = join_all((0..WRITERS).map(|n| world.write(n)));
        let readers = join_all((0..READERS).map(|n| world.read(n)));
        futures::join!(writers, readers, world.cause_faults(length));
        let last = world.insist(async |store| store.revision().await).await;
        world.end.store(last.0, Ordering::SeqCst);
    };
    let watchers = join_all((0..WATCHERS).map(|n| world.watch(n)));
    let ((), watched, ()) = futures::join!(work, watchers, world.find_the_truth());
    world.verify(&watched)
}

// === impl World ===

impl World {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Asks until there is an answer.
    async fn insist<T>(&self, ask: impl AsyncFn(&dyn Backend) -> crate::backend::Result<T>) -> T {
        loop {
            if let Some(store) = self.place.store()
                && let Ok(answer) = ask(&*store).await
            {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn cause_faults(&self, length: Duration) {
        let end = Instant::now() + length;
        let mut dice = Dice(99);
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50 + dice.roll(150))).await;
            if dice.roll(3) > 0 {
                self.place.fault().await;
                self.summary.lock().faults += 1;
                continue;
            }
            // Never past what the truth is known up to.
            let known = self.known.load(Ordering::SeqCst);
            if let Some(store) = self.place.store() {
                let compacted = store.compact(Revision(known.saturating_sub(KEEP).max(1))).await;
                // If it is away just now, the next time will do.
                if compacted.is_ok() && known > KEEP {
                    self.summary.lock().compactions += 1;
                }
            }
        }
        self.over.store(true, Ordering::SeqCst);
    }

    async fn write(&self, writer: u64) {
        let mut dice = Dice(writer);
        // What this writer believes: only keys it shares with others, so that there are conflicts.
        let mut believed: BTreeMap<String, Revision> = BTreeMap::new();
        for n in 0.. {
            if self.is_over() {
                return;
            }
            let Some(store) = self.place.store() else {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            let key = key(dice.roll(KEYS));
            let expected = believed.get(&key).copied().unwrap_or_default();
            let value =
                (expected == Revision(0) || dice.roll(4) > 0).then(|| Bytes::from(format!("{writer}-{n}")));
            let begun = self.tick();
            let result = match (&value, expected) {
                (Some(value), Revision(0)) => store.create(&key, value.clone(), None).await,
                (Some(value), expected) => store.update(&key, expected, value.clone(), None).await,
                (None, expected) => store.delete(&key, expected).await,
            };
            let ended = self.tick();
            drop(store);
            let outcome = match &result {
                Ok(revision) => Outcome::At(*revision),
                Err(error) if error.is_outcome_unknown() => Outcome::Unknown,
                Err(_) => Outcome::Refused,
            };
            match result {
                Ok(revision) if value.is_some() => drop(believed.insert(key.clone(), revision)),
                Err(Error::Conflict(entry)) => drop(believed.insert(key.clone(), entry.revision)),
                Err(Error::Exists(_)) => {
                    if let Some(entry) = self.insist(async |store| store.get(&key).await).await {
                        believed.insert(key.clone(), entry.revision);
                    }
                }
                Ok(_) | Err(Error::NotFound(_)) => drop(believed.remove(&key)),
                Err(Error::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
            self.writes.lock().push(Write { key, value, expected, begun, ended, outcome });
            if dice.roll(8) == 0 {
                tokio::time::sleep(Duration::from_millis(dice.roll(5))).await;
            }
        }
    }

    async fn read(&self, reader: u64) {
        let mut dice = Dice(100 + reader);
        while !self.is_over() {
            tokio::time::sleep(Duration::from_millis(1 + dice.roll(5))).await;
            let Some(store) = self.place.store() else { continue };
            let begun = self.tick();
            let seen = match dice.roll(3) {
                0 => store.revision().await.map(Seen::Revision),
                1 => {
                    let key = key(dice.roll(KEYS));
                    store.get(&key).await.map(|entry| Seen::Key(key, entry))
                }
                _ => {
                    let prefix = if dice.roll(2) == 0 { "/h/" } else { "/h/a/" };
                    let range = Range { prefix: prefix.to_owned(), ..Range::default() };
                    store.range(range).await.map(|page| Seen::Range(prefix, page.revision, page.entries))
                }
            };
            match seen {
                Ok(seen) => self.reads.lock().push(Read { begun, seen }),
                Err(Error::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Follows everything, and is back at once when it is cut off.
    async fn find_the_truth(&self) {
        let mut at = Revision::FIRST;
        while at.0 < self.end.load(Ordering::SeqCst) {
            let mut stream = self.insist(async |store| store.watch("/h/", at).await).await;
            while at.0 < self.end.load(Ordering::SeqCst) {
                match tokio::time::timeout(Duration::from_millis(20), stream.next()).await {
                    Ok(Some(Ok(events))) => {
                        for event in events {
                            at = at.max(revision(&event));
                            if !matches!(event, Event::Progress(_)) {
                                self.truth.lock().push(event);
                            }
                        }
                        self.known.store(at.0, Ordering::SeqCst);
                    }
                    Ok(Some(Err(Error::Compacted { .. }))) => panic!("nobody compacts past the truth"),
                    Ok(Some(Err(_)) | None) => break,
                    Err(_) => {
                        if let Some(store) = self.place.store() {
                            store.request_progress("/h/");
                        }
                    }
                }
            }
        }
    }

    /// Follows a prefix, lets go of the watch at times, and resumes.
    async fn watch(&self, watcher: u64) -> (&'static str, Vec<Watched>) {
        let mut dice = Dice(200 + watcher);
        let prefix =
            PREFIXES.into_iter().cycle().nth(usize::try_from(watcher).unwrap_or_default()).unwrap_or("/h/");
        let (mut at, mut seen) = (Revision::FIRST, Vec::new());
        let is_done = |at: Revision| at.0 >= self.end.load(Ordering::SeqCst);
        while !is_done(at) {
            let Some(store) = self.place.store() else {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            let watch = store.watch(prefix, at).await;
            drop(store);
            let lost = match watch {
                Ok(mut stream) => {
                    let mut batches = 1 + dice.roll(40);
                    loop {
                        if batches == 0 || is_done(at) {
                            // Away for a while.
                            drop(stream);
                            self.summary.lock().dropped += 1;
                            // Now and then for so long that the store has forgotten where this was.
                            let away = if dice.roll(5) == 0 { 600 } else { 60 };
                            tokio::time::sleep(Duration::from_millis(dice.roll(away))).await;
                            break None;
                        }
                        match tokio::time::timeout(Duration::from_millis(30), stream.next()).await {
                            Ok(Some(Ok(events))) => {
                                batches -= 1;
                                for event in events {
                                    assert!(revision(&event) >= at, "{event:?} after {at}");
                                    at = revision(&event);
                                    if !matches!(event, Event::Progress(_)) {
                                        seen.push(Watched::Event(event));
                                    }
                                }
                            }
                            Ok(Some(Err(error))) => break Some(error),
                            Ok(None) => {
                                self.summary.lock().broken += 1;
                                break None;
                            }
                            Err(_) => {
                                if let Some(store) = self.place.store() {
                                    store.request_progress(prefix);
                                }
                            }
                        }
                    }
                }
                Err(error) => Some(error),
            };
            match lost {
                Some(Error::Compacted { .. }) => {
                    let range = || Range { prefix: prefix.to_owned(), ..Range::default() };
                    let page = self.insist(async |store| store.range(range()).await).await;
                    assert!(page.revision >= at, "the store is at {} and was at {at}", page.revision);
                    at = page.revision;
                    self.summary.lock().listed += 1;
                    seen.push(Watched::Listed(at, page.entries));
                }
                Some(Error::Unavailable { .. }) => {
                    self.summary.lock().broken += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Some(error) => panic!("{error}"),
                None => {}
            }
        }
        (prefix, seen)
    }

    fn verify(&self, watched: &[(&'static str, Vec<Watched>)]) -> Summary {
        let truth = self.truth.lock();
        assert!(truth.is_sorted_by(|a, b| revision(a) < revision(b)), "each revision is one event");
        verify_writes(&truth, &self.writes.lock());
        verify_reads(&truth, &self.writes.lock(), &self.reads.lock());
        for (prefix, seen) in watched {
            verify_watch(&truth, prefix, seen);
        }
        let count = |outcome| self.writes.lock().iter().filter(|write| write.outcome == outcome).count();
        Summary {
            events: truth.len(),
            conflicts: count(Outcome::Refused),
            unknown: count(Outcome::Unknown),
            ..*self.summary.lock()
        }
    }
}

// === impl Summary ===

impl Summary {
    /// Sees to it that the history was one: with conflicts, compactions, and watches that were let go.
    ///
    /// # Panics
    /// If it was not.
    pub fn tried(self) -> Self {
        assert!(self.events > 100, "{self:?}");
        assert!([self.conflicts, self.compactions, self.dropped].iter().all(|n| *n > 0), "{self:?}");
        self
    }
}

/// What a prefix holds at a revision.
fn state_at(truth: &[Event], prefix: &str, at: Revision) -> Vec<Entry> {
    let mut state: BTreeMap<&str, &Entry> = BTreeMap::new();
    let until = truth.partition_point(|event| revision(event) <= at);
    for event in truth.iter().take(until).filter(|event| key_of(event).starts_with(prefix)) {
        match event {
            Event::Put { entry, .. } => drop(state.insert(&entry.key, entry)),
            Event::Delete { key, .. } => drop(state.remove(key.as_str())),
            Event::Progress(_) => {}
        }
    }
    state.into_values().cloned().collect()
}

/// For points in time, in order: the newest revision that was acknowledged before.
fn floors<T: Clone>(writes: &[Write], mut points: Vec<(u64, T)>) -> Vec<(Revision, T)> {
    let mut ends: Vec<(u64, Revision)> = writes
        .iter()
        .filter_map(|write| match write.outcome {
            Outcome::At(revision) => Some((write.ended, revision)),
            Outcome::Refused | Outcome::Unknown => None,
        })
        .collect();
    ends.sort_unstable();
    points.sort_by_key(|(at, _)| *at);
    let mut ends = ends.into_iter().peekable();
    let mut floor = Revision(0);
    points
        .into_iter()
        .map(|(at, point)| {
            while let Some((_, revision)) = ends.next_if(|(ended, _)| *ended < at) {
                floor = floor.max(revision);
            }
            (floor, point)
        })
        .collect()
}

fn verify_writes(truth: &[Event], writes: &[Write]) {
    // Values tell puts apart; deletions are told by their revision.
    let puts: BTreeMap<Bytes, &Event> = truth
        .iter()
        .filter_map(|event| match event {
            Event::Put { entry, .. } => Some((entry.value.clone(), event)),
            Event::Delete { .. } | Event::Progress(_) => None,
        })
        .collect();
    let count = truth.iter().filter(|event| matches!(event, Event::Put { .. })).count();
    assert_eq!(puts.len(), count, "no write happens twice");
    let by_revision: BTreeMap<Revision, &Event> =
        truth.iter().map(|event| (revision(event), event)).collect();
    let mut deleted = 0;
    for write in writes {
        let found = match (&write.value, write.outcome) {
            (Some(value), _) => puts.get(value).copied(),
            (None, Outcome::At(revision)) => {
                deleted += 1;
                by_revision.get(&revision).copied()
            }
            (None, Outcome::Refused | Outcome::Unknown) => continue,
        };
        match (write.outcome, found) {
            (Outcome::At(at), Some(event)) => {
                assert_eq!((revision(event), key_of(event)), (at, write.key.as_str()), "{write:?}");
                assert_eq!(matches!(event, Event::Delete { .. }), write.value.is_none(), "{write:?}");
            }
            (Outcome::At(_), None) => panic!("acknowledged and lost: {write:?}"),
            (Outcome::Refused, Some(event)) => panic!("refused and done all the same: {write:?} {event:?}"),
            (Outcome::Refused, None) | (Outcome::Unknown, _) => {}
        }
    }
    let known: std::collections::BTreeSet<&Bytes> =
        writes.iter().filter_map(|write| write.value.as_ref()).collect();
    assert!(puts.keys().all(|value| known.contains(value)), "nothing is there that nobody wrote");
    let unknown =
        writes.iter().filter(|write| write.value.is_none() && write.outcome == Outcome::Unknown).count();
    assert!(truth.len() - count <= deleted + unknown, "nothing is deleted that nobody deleted");
    // Each follows what it expected.
    let mut current: BTreeMap<&str, Revision> = BTreeMap::new();
    let expected: BTreeMap<&Bytes, Revision> =
        writes.iter().filter_map(|write| Some((write.value.as_ref()?, write.expected))).collect();
    for event in truth {
        let before = current.get(key_of(event)).copied().unwrap_or_default();
        match event {
            Event::Put { entry, created, .. } => {
                assert_eq!(expected.get(&entry.value), Some(&before), "{event:?} follows what it expected");
                assert_eq!(*created, before == Revision(0), "{event:?}");
                current.insert(&entry.key, entry.revision);
            }
            Event::Delete { key, .. } => {
                assert_ne!(before, Revision(0), "{event:?} deletes what is there");
                current.remove(key.as_str());
            }
            Event::Progress(_) => {}
        }
    }
    // Real time.
    for (floor, write) in floors(writes, writes.iter().map(|write| (write.begun, write)).collect()) {
        if let Outcome::At(at) = write.outcome {
            assert!(at > floor, "{write:?} began after {floor} was acknowledged");
        }
    }
}

fn verify_reads(truth: &[Event], writes: &[Write], reads: &[Read]) {
    let mut of_key: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in truth {
        of_key.entry(key_of(event)).or_default().push(event);
    }
    let mut ranges: Vec<(Revision, &str, &[Entry])> = Vec::new();
    for (floor, seen) in floors(writes, reads.iter().map(|read| (read.begun, &read.seen)).collect()) {
        match seen {
            Seen::Revision(at) => assert!(*at >= floor, "revision {at} after {floor} was acknowledged"),
            Seen::Range(prefix, at, entries) => {
                assert!(*at >= floor, "{prefix} at {at} after {floor} was acknowledged");
                ranges.push((*at, prefix, entries));
            }
            Seen::Key(key, found) => {
                // It held this at the floor, or became so later.
                let events = of_key.get(key.as_str()).map(Vec::as_slice).unwrap_or_default();
                let (before, after) =
                    events.split_at(events.partition_point(|event| revision(event) <= floor));
                let is_found = |event: &&Event| match event {
                    Event::Put { entry, .. } => Some(entry) == found.as_ref(),
                    Event::Delete { .. } => found.is_none(),
                    Event::Progress(_) => false,
                };
                let then = before.last().map_or(found.is_none(), is_found);
                let at = found.as_ref().map(|entry| entry.revision);
                let from = after.partition_point(|event| Some(revision(event)) < at);
                let later = after.iter().skip(from).any(is_found);
                assert!(then || later, "{key} as {found:?} after {floor} was acknowledged");
            }
        }
    }
    ranges.sort_by_key(|(at, _, _)| *at);
    let mut truth = truth.iter().peekable();
    let mut state: BTreeMap<&str, &Entry> = BTreeMap::new();
    for (at, prefix, entries) in ranges {
        while let Some(event) = truth.next_if(|event| revision(event) <= at) {
            match event {
                Event::Put { entry, .. } => drop(state.insert(&entry.key, entry)),
                Event::Delete { key, .. } => drop(state.remove(key.as_str())),
                Event::Progress(_) => {}
            }
        }
        let then = state.values().copied().filter(|entry| entry.key.starts_with(prefix));
        assert!(then.eq(entries), "{prefix} at {at}: {entries:?}, and it was {state:?}");
    }
}

fn verify_watch(truth: &[Event], prefix: &str, seen: &[Watched]) {
    let mut expected = truth.iter().filter(|event| key_of(event).starts_with(prefix)).peekable();
    for watched in seen {
        match watched {
            Watched::Listed(at, entries) => {
                assert_eq!(*entries, state_at(truth, prefix, *at), "{prefix} at {at}");
                while expected.next_if(|event| revision(event) <= *at).is_some() {}
            }
            Watched::Event(event) => {
                let next = expected.next().expect("nothing is seen that did not happen");
                let same = match (event, next) {
                    (
                        Event::Put { entry, created, .. },
                        Event::Put { entry: next, created: next_created, .. },
                    ) => entry == next && created == next_created,
                    (
                        Event::Delete { key, revision, .. },
                        Event::Delete { key: next, revision: next_revision, .. },
                    ) => key == next && revision == next_revision,
                    _ => false,
                };
                assert!(same, "{prefix}: {event:?} was seen where {next:?} happened");
            }
        }
    }
    assert!(expected.next().is_none(), "{prefix}: the end was not seen");
}
