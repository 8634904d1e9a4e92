//! The cache over a memory store, with faults where they matter.
//!
//! Stored values are texts `labels|fields|anything`, such as `app=web,tier=a|node=n1|x`; what is served is the revision and
//! the text.

mod property;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use parking_lot::Mutex;
use runtime::Tasks;
use tokio::{sync::Notify, time::Instant};

use super::*;
use crate::{
    Memory,
    backend::{Entry, Event, EventStream, Page, Range},
    conformance,
};

fn pairs(text: &str) -> Pairs {
    text.split(',').filter_map(|pair| pair.split_once('=')).collect()
}

fn describe() -> Describe {
    Arc::new(|key, value, revision| {
        let text = std::str::from_utf8(&value).map_err(|error| error.to_string())?;
        if text == "unreadable" {
            return Err("it says so itself".to_owned());
        }
        let mut parts = text.split('|');
        let mut next = || pairs(parts.next().unwrap_or_default());
        let header = Header {
            name: key.rsplit('/').next().unwrap_or_default().into(),
            labels: next(),
            fields: next(),
            ..Header::default()
        };
        Ok((format!("{revision}:{text}").into(), header))
    })
}

/// A cache of `/k/`, indexed by `node`, with short limits.
struct Rig {
    store: Arc<Faulty>,
    cache: Cache,
    tasks: Tasks,
}

/// A store whose watches can be cut, as if what they want next had been compacted, and that can be replaced.
#[derive(Debug)]
struct Faulty {
    store: Mutex<Arc<Memory>>,
    cut: Arc<Notify>,
    /// What watches answer while this is set.
    down: Mutex<bool>,
    /// How long watches take to open.
    slow: Mutex<Duration>,
}

fn small() -> Config {
    Config { index: Some("node".to_owned()), ..Config::default() }
}

impl Rig {
    async fn new(config: Config) -> Self {
        let tasks = Tasks::new();
        Self::over(Arc::new(Faulty::new(&tasks)), config).await
    }

    async fn over(store: Arc<Faulty>, config: Config) -> Self {
        let tasks = Tasks::new();
        let cache =
            start("things.test", Arc::clone(&store) as Arc<dyn Backend>, "/k/", describe(), config, &tasks);
        cache.ready().await;
        Self { store, cache, tasks }
    }

    /// Writes, whatever is there.
    async fn put(&self, key: &str, text: &str) -> Revision {
        let store = self.store.store();
        let value = Bytes::copy_from_slice(text.as_bytes());
        match store.get(key).await.unwrap() {
            Some(entry) => store.update(key, entry.revision, value, None).await.unwrap(),
            None => store.create(key, value, None).await.unwrap(),
        }
    }

    async fn delete(&self, key: &str) -> Revision {
        let store = self.store.store();
        let entry = store.get(key).await.unwrap().unwrap();
        store.delete(key, entry.revision).await.unwrap()
    }

    fn watch(&self, from: WatchFrom, filter: Filter) -> Watcher {
        self.cache.watch(from, filter).unwrap()
    }
}

impl Faulty {
    fn new(tasks: &Tasks) -> Self {
        Self {
            store: Mutex::new(Arc::new(Memory::new(tasks))),
            cut: Arc::default(),
            down: Mutex::new(false),
            slow: Mutex::default(),
        }
    }

    fn store(&self) -> Arc<Memory> {
        Arc::clone(&self.store.lock())
    }
}

impl Backend for Faulty {
    fn create(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, backend::Result<Revision>> {
        let (store, key) = (self.store(), key.to_owned());
        async move { store.create(&key, value, ttl).await }.boxed()
    }

    fn update(
        &self,
        key: &str,
        expected: Revision,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, backend::Result<Revision>> {
        let (store, key) = (self.store(), key.to_owned());
        async move { store.update(&key, expected, value, ttl).await }.boxed()
    }

    fn delete(&self, key: &str, expected: Revision) -> BoxFuture<'_, backend::Result<Revision>> {
        let (store, key) = (self.store(), key.to_owned());
        async move { store.delete(&key, expected).await }.boxed()
    }

    fn get(&self, key: &str) -> BoxFuture<'_, backend::Result<Option<Entry>>> {
        let (store, key) = (self.store(), key.to_owned());
        async move { store.get(&key).await }.boxed()
    }

    fn range(&self, range: Range) -> BoxFuture<'_, backend::Result<Page>> {
        let store = self.store();
        async move { store.range(range).await }.boxed()
    }

    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, backend::Result<EventStream>> {
        let (store, prefix, cut) = (self.store(), prefix.to_owned(), Arc::clone(&self.cut));
        let (down, slow) = (*self.down.lock(), *self.slow.lock());
        async move {
            if !slow.is_zero() {
                tokio::time::sleep(slow).await;
            }
            if down {
                return Err(backend::Error::Unavailable {
                    reason: "down".to_owned(),
                    outcome_unknown: false,
                });
            }
            let stream = store.watch(&prefix, after).await?;
            let compacted = backend::Error::Compacted { asked: after, oldest: store.revision().await? };
            let cut = async move { cut.notified().await };
            let stream = stream.take_until(cut).chain(futures::stream::once(async move { Err(compacted) }));
            Ok(stream.boxed())
        }
        .boxed()
    }

    fn request_progress(&self, prefix: &str) {
        self.store().request_progress(prefix);
    }

    fn revision(&self) -> BoxFuture<'_, backend::Result<Revision>> {
        let store = self.store();
        async move { store.revision().await }.boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, backend::Result<()>> {
        let store = self.store();
        async move { store.compact(revision).await }.boxed()
    }
}

/// What a watcher is told, in short: `+a` added, `*a` modified, `-a` deleted, `=` end of the initial state, `b` bookmark, each
/// with its revision.
fn short(event: &WatchEvent) -> String {
    let name = event.object().map(|object| object.header.name.to_string()).unwrap_or_default();
    let sign = match event {
        WatchEvent::Added(_) => "+",
        WatchEvent::Modified(_) => "*",
        WatchEvent::Deleted { .. } => "-",
        WatchEvent::Bookmark(_) => "b",
        WatchEvent::InitialEventsEnd(_) => "=",
    };
    format!("{sign}{name}@{}", event.revision())
}

/// What comes without anybody waiting for more than the tasks that are ready.
async fn told(watcher: &mut Watcher) -> Vec<String> {
    let mut events = Vec::new();
    let mut quiet = 0;
    while quiet < 20 {
        match watcher.next().now_or_never() {
            Some(Some(Ok(event))) => {
                events.push(short(&event));
                quiet = 0;
            }
            Some(Some(Err(error))) => {
                events.push(format!("error: {error}"));
                quiet = 0;
            }
            Some(None) => {
                events.push("end".to_owned());
                return events;
            }
            None => {
                quiet += 1;
                tokio::task::yield_now().await;
            }
        }
    }
    events
}

fn names<'a>(objects: impl Iterator<Item = &'a Arc<Object>>) -> Vec<String> {
    objects.map(|object| format!("{}@{}", object.header.name, object.revision)).collect()
}

#[tokio::test(start_paused = true)]
async fn reads_and_watches_through_a_cache_mean_what_the_store_means() {
    for case in conformance::cases() {
        if case.compaction_shows {
            continue;
        }
        case.run(Arc::new(Through::new().await)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_after_a_write_sees_it_without_waiting_for_a_timer() {
    let rig = Rig::new(small()).await;
    let start = Instant::now();
    rig.put("/k/a", "").await;
    assert_eq!(names(rig.cache.fresh().await.unwrap().range("/k/", None)), ["a@2"]);
    // Nothing happens under the prefix, and the cache still comes to know the revision.
    let other = rig.put("/other/a", "").await;
    assert_eq!(rig.cache.fresh().await.unwrap().revision, other);
    assert!(rig.cache.get("/k/a", true).await.unwrap().is_some_and(|object| object.bytes == "2:"));
    assert!(rig.cache.get("/k/b", true).await.unwrap().is_none());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_read_asks_the_store_itself_when_the_cache_does_not_follow() {
    let rig = Rig::new(small()).await;
    *rig.store.down.lock() = true;
    rig.store.cut.notify_waiters();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let written = rig.put("/k/a", "").await;
    let start = Instant::now();
    let patience = Config::default().fresh_read_patience;
    let read = rig.cache.fresh().await.unwrap();
    assert_eq!((names(read.range("/k/", None)), read.revision), (vec!["a@2".to_owned()], written));
    assert_eq!(start.elapsed(), patience);
    assert!(rig.cache.get("/k/a", true).await.unwrap().is_some_and(|object| object.bytes == "2:"));
    assert!(rig.cache.get("/k/a", false).await.unwrap().is_none(), "the cache knows no better");
    let refused = rig.cache.wait_for(written, Instant::now() + patience).await.unwrap_err();
    assert!(
        matches!(refused, Error::NotReached { asked, current: Revision(1) } if asked == written),
        "{refused}"
    );
    *rig.store.down.lock() = false;
    assert_eq!(rig.cache.fresh().await.unwrap_or_else(|_| panic!("it follows again")).revision, written);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_stays_as_it_is() {
    let rig = Rig::new(small()).await;
    rig.put("/k/x/a", "").await;
    rig.put("/k/y/b", "").await;
    let before = rig.cache.fresh().await.unwrap();
    rig.put("/k/x/a", "").await;
    rig.delete("/k/y/b").await;
    rig.put("/k/x/c", "").await;
    let after = rig.cache.fresh().await.unwrap();
    assert_eq!(names(before.range("/k/", None)), ["a@2", "b@3"]);
    assert_eq!(names(after.range("/k/", None)), ["a@4", "c@6"]);
    assert_eq!(
        (before.count("/k/"), before.count("/k/x/"), before.count("/k/y/"), before.count("/k/z/")),
        (2, 1, 1, 0)
    );
    assert_eq!(
        (after.count("/k/"), after.count("/k/x/"), after.count("/k/y/"), after.count("/k/x/a")),
        (2, 2, 0, 1)
    );
    assert_eq!((after.count("/"), after.count("/other/"), after.len(), before.len()), (2, 0, 2, 2));
    assert_eq!(names(after.range("/k/x/", Some("/k/x/a"))), ["c@6"]);
    assert_eq!(after.count_after("/k/x/", "/k/x/c"), 0);
    assert_eq!(names(after.range("/k/x/", Some("/k/y/b"))), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn objects_are_found_by_the_indexed_field() {
    let rig = Rig::new(small()).await;
    rig.put("/k/x/a", "|node=n1").await;
    rig.put("/k/y/b", "|node=n1").await;
    rig.put("/k/x/c", "|node=").await;
    rig.put("/k/x/d", "").await;
    let find =
        |snapshot: &Snapshot, value: &str, prefix: &str| names(snapshot.by_index(value, prefix).unwrap());
    let first = rig.cache.fresh().await.unwrap();
    assert_eq!(find(&first, "n1", "/k/"), ["a@2", "b@3"]);
    assert_eq!(find(&first, "n1", "/k/x/"), ["a@2"]);
    assert_eq!(find(&first, "", "/k/"), ["c@4"]);
    rig.put("/k/x/c", "|node=n1").await;
    rig.delete("/k/x/a").await;
    let second = rig.cache.fresh().await.unwrap();
    assert_eq!(find(&second, "n1", "/k/"), ["c@6", "b@3"]);
    assert_eq!(find(&second, "", "/k/"), Vec::<String>::new());
    assert_eq!(find(&first, "n1", "/k/"), ["a@2", "b@3"]);
}

#[tokio::test(start_paused = true)]
async fn an_index_of_a_label_finds_what_a_walk_finds() {
    let rig = Rig::new(small()).await;
    for n in 0..40 {
        rig.put(&format!("/k/{}/{n}", n % 3), &format!("app=a{},tier=t{}", n % 4, n % 2)).await;
    }
    assert!(rig.cache.snapshot().by_label("app", "a1", "/k/").is_none());
    for label in ["app", "tier", "none"] {
        rig.cache.index_label(label);
    }
    let check = |snapshot: &Snapshot| {
        for prefix in ["/k/", "/k/1/", "/k/9/"] {
            for (label, value) in [("app", "a1"), ("app", "a9"), ("tier", "t0"), ("none", "")] {
                let has = |object: &&Arc<Object>| object.header.labels.get(label) == Some(value);
                let walked = names(snapshot.range(prefix, None).filter(has));
                assert_eq!(
                    names(snapshot.by_label(label, value, prefix).unwrap()),
                    walked,
                    "{label} {prefix}"
                );
            }
        }
    };
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = rig.cache.fresh().await.unwrap();
    check(&before);
    rig.put("/k/1/1", "app=a2").await;
    rig.put("/k/1/4", "app=a0,tier=t0|same").await;
    rig.put("/k/1/new", "app=a1").await;
    rig.delete("/k/2/5").await;
    check(&rig.cache.fresh().await.unwrap());
    check(&before);
}

#[tokio::test(start_paused = true)]
async fn the_index_of_a_label_that_is_not_used_makes_room() {
    let rig = Rig::new(small()).await;
    rig.put("/k/x/a", "").await;
    let there = |label: &str| rig.cache.snapshot().by_label(label, "", "/k/").is_some();
    for n in 0..20 {
        rig.cache.index_label(&format!("l{n}"));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(there(&format!("l{n}")) && there("l0"), "what is used stays");
    }
    assert!(!there("l1"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_selection_translates_entering_and_leaving() {
    let rig = Rig::new(small()).await;
    let web = |header: &Header| header.labels.get("app") == Some("web");
    let mut selected = rig.watch(WatchFrom::Now, Filter::prefix("/k/x/").selecting(web));
    let mut node = rig.watch(WatchFrom::Now, Filter::indexed("/k/", "n1"));
    let mut key = rig.watch(WatchFrom::Now, Filter::key("/k/x/a"));
    rig.put("/k/x/a", "app=db").await;
    rig.put("/k/x/a", "app=web|node=n1").await;
    rig.put("/k/x/a", "app=web|node=n1|more").await;
    rig.put("/k/x/b", "app=web").await;
    rig.put("/k/y/c", "app=web").await;
    rig.put("/k/x/a", "app=db|node=n2").await;
    rig.delete("/k/x/a").await;
    rig.delete("/k/x/b").await;
    assert_eq!(told(&mut selected).await, ["+a@3", "*a@4", "+b@5", "-a@7", "-b@9"]);
    assert_eq!(told(&mut node).await, ["+a@3", "*a@4", "-a@7"]);
    assert_eq!(told(&mut key).await, ["+a@2", "*a@3", "*a@4", "*a@7", "-a@8"]);
}

#[tokio::test(start_paused = true)]
async fn leaving_shows_the_last_selected_state_at_the_revision_of_leaving() {
    let rig = Rig::new(small()).await;
    rig.put("/k/a", "app=web||old").await;
    let web = |header: &Header| header.labels.get("app") == Some("web");
    rig.cache.fresh().await.unwrap();
    let mut watcher = rig.watch(WatchFrom::Now, Filter::prefix("/k/").selecting(web));
    let left = rig.put("/k/a", "app=db||new").await;
    match watcher.next().await {
        Some(Ok(WatchEvent::Deleted { object, revision })) => {
            assert_eq!((object.bytes.as_ref(), revision), (b"2:app=web||old".as_slice(), left));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_initial_state_comes_first_and_then_what_happens() {
    let rig = Rig::new(small()).await;
    for n in 0..600 {
        rig.put(&format!("/k/x/{n:03}"), "").await;
    }
    rig.put("/k/y/z", "|node=n1").await;
    let end = rig.cache.fresh().await.unwrap().revision;
    let mut all = rig.watch(WatchFrom::InitialState, Filter::prefix("/k/x/"));
    let mut one = rig.watch(WatchFrom::InitialState, Filter::key("/k/x/007"));
    let mut node = rig.watch(WatchFrom::InitialState, Filter::indexed("/k/", "n1"));
    let mut none = rig.watch(WatchFrom::InitialState, Filter::prefix("/k/q/"));
    let first = all.next().await.unwrap().unwrap();
    assert_eq!(short(&first), "+000@2");
    rig.put("/k/x/007", "").await;
    let rest = told(&mut all).await;
    assert_eq!((rest.len(), rest[598].as_str(), rest[599].clone()), (601, "+599@601", format!("=@{end}")));
    assert_eq!(rest[600], format!("*007@{}", end.next()));
    assert_eq!(
        told(&mut one).await,
        ["+007@9".to_owned(), format!("=@{end}"), format!("*007@{}", end.next())]
    );
    assert_eq!(told(&mut node).await, [format!("+z@{end}"), format!("=@{end}")]);
    assert_eq!(told(&mut none).await, [format!("=@{end}")]);
}

#[tokio::test(start_paused = true)]
async fn an_event_reaches_only_the_watchers_it_concerns() {
    let rig = Rig::new(small()).await;
    let mut watchers: Vec<Watcher> =
        (0..100).map(|n| rig.watch(WatchFrom::Now, Filter::indexed("/k/", &format!("n{n}")))).collect();
    watchers.extend((0..100).map(|n| rig.watch(WatchFrom::Now, Filter::key(&format!("/k/x/{n}")))));
    watchers.extend((0..100).map(|n| rig.watch(WatchFrom::Now, Filter::prefix(&format!("/k/{n}/")))));
    for watcher in &mut watchers {
        assert!(told(watcher).await.is_empty());
    }
    assert_eq!(rig.cache.watchers(), 300);
    rig.put("/k/x/7", "|node=n7").await;
    rig.put("/k/8/a", "|node=n8").await;
    rig.cache.fresh().await.unwrap();
    assert_eq!(rig.cache.shared.counts.dispatched.get(), 4);
    drop(watchers);
    assert_eq!(rig.cache.watchers(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_whose_queue_runs_full_reads_on_from_the_history_and_misses_nothing() {
    let rig = Rig::new(Config { watcher_queue_max: 3, ..small() }).await;
    let mut watcher = rig.watch(WatchFrom::Now, Filter::prefix("/k/"));
    assert!(told(&mut watcher).await.is_empty());
    for round in 0..3 {
        for n in 0..1000 {
            rig.put(&format!("/k/{n}"), "").await;
        }
        rig.cache.fresh().await.unwrap();
        let events = told(&mut watcher).await;
        assert_eq!(events.len(), 1000, "round {round}");
        assert!(events.iter().zip(2 + 1000 * round..).all(|(event, at)| event.ends_with(&format!("@{at}"))));
    }
    assert_eq!(rig.cache.shared.counts.terminated.get(), 0);
}

/// Real threads, for what one thread cannot show: watchers change between reading and being fed while the feed goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn among_threads_too_each_watcher_sees_each_revision_once() {
    const WRITERS: u64 = 3;
    const WRITES: u64 = 1500;
    let rig = Rig::new(Config { watcher_queue_max: 4, ..small() }).await;
    let end = Revision(1 + WRITERS * WRITES);
    let watch = async |n: u64| {
        // They begin here and there in the course of the writing.
        while rig.cache.revision().0 < n * 100 {
            tokio::task::yield_now().await;
        }
        let after = Revision(n * 100 + 1);
        let from = if n.is_multiple_of(2) { WatchFrom::After(after) } else { WatchFrom::InitialState };
        let mut watcher = rig.watch(from, Filter::prefix("/k/").with_bookmarks());
        let mut seen = BTreeSet::new();
        let mut listing = from == WatchFrom::InitialState;
        while listing || seen.last() != Some(&end) {
            match watcher.next().await.expect("it goes on").unwrap() {
                WatchEvent::Added(object) => {
                    assert!(listing || seen.last() < Some(&object.revision), "{} late", object.revision);
                    assert!(seen.insert(object.revision), "{} twice", object.revision);
                }
                WatchEvent::InitialEventsEnd(_) => listing = false,
                other => panic!("unexpected {other:?}"),
            }
        }
        let first = if from == WatchFrom::InitialState { Revision(2) } else { after.next() };
        assert_eq!(seen.first(), Some(&first));
        assert_eq!(u64::try_from(seen.len()).unwrap(), end.0 - first.0 + 1, "none is missing");
    };
    let write = async |writer: u64| {
        for n in 0..WRITES {
            rig.store.store().create(&format!("/k/{writer}-{n}"), Bytes::new(), None).await.unwrap();
            if n.is_multiple_of(16) {
                tokio::task::yield_now().await;
            }
        }
    };
    let watching = futures::future::join_all((0..40).map(watch));
    let writing = futures::future::join_all((0..WRITERS).map(write));
    tokio::time::timeout(Duration::from_secs(60), futures::future::join(watching, writing)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watcher_slower_than_the_history_is_long_is_closed() {
    let rig = Rig::new(Config { watcher_queue_max: 3, history_events_max: 10, ..small() }).await;
    let mut slow = rig.watch(WatchFrom::Now, Filter::prefix("/k/"));
    let mut idle = rig.watch(WatchFrom::Now, Filter::prefix("/k/idle/"));
    assert!(told(&mut slow).await.is_empty());
    assert!(told(&mut idle).await.is_empty());
    for n in 0..20 {
        rig.put(&format!("/k/{n}"), "").await;
    }
    rig.cache.fresh().await.unwrap();
    // What was in its queue it still gets, and its client can come back with the last revision.
    assert_eq!(told(&mut slow).await, ["+0@2", "+1@3", "+2@4", "end"]);
    assert_eq!(rig.cache.shared.counts.terminated.get(), 1);
    rig.put("/k/idle/a", "").await;
    assert_eq!(told(&mut idle).await, ["+a@22"]);
    let mut again = rig.watch(WatchFrom::After(Revision(4)), Filter::prefix("/k/"));
    assert_eq!(told(&mut again).await.len(), 18);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_watches_resume_from_the_stores_history() {
    let rig = Rig::new(small()).await;
    rig.put("/k/a", "app=web").await;
    let resume = rig.put("/k/b", "app=web").await;
    rig.put("/k/a", "app=db").await;
    rig.put("/k/b", "app=web").await;
    rig.put("/other", "").await;
    rig.put("/k/c", "app=web").await;
    rig.delete("/k/b").await;
    rig.tasks.stop();
    let rig = Rig::over(Arc::clone(&rig.store), small()).await;
    let web = |header: &Header| header.labels.get("app") == Some("web");
    let mut selected = rig.watch(WatchFrom::After(resume), Filter::prefix("/k/").selecting(web));
    let mut all = rig.watch(WatchFrom::After(Revision(2)), Filter::prefix("/k/"));
    assert_eq!(told(&mut selected).await, ["-a@4", "*b@5", "+c@7", "-b@8"]);
    assert_eq!(told(&mut all).await, ["+b@3", "*a@4", "*b@5", "+c@7", "-b@8"]);
    rig.put("/k/c", "app=db").await;
    assert_eq!(told(&mut selected).await, ["-c@9"]);
    assert_eq!(told(&mut all).await, ["*c@9"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_what_the_store_has_compacted_is_told_to_list_again() {
    let rig = Rig::new(small()).await;
    for n in 0..10 {
        rig.put(&format!("/k/{n}"), "").await;
    }
    rig.store.compact(Revision(6)).await.unwrap();
    rig.tasks.stop();
    let rig = Rig::over(Arc::clone(&rig.store), small()).await;
    let mut lost = rig.watch(WatchFrom::After(Revision(4)), Filter::prefix("/k/"));
    let mut found = rig.watch(WatchFrom::After(Revision(6)), Filter::prefix("/k/"));
    let (lost, found) = futures::join!(told(&mut lost), told(&mut found));
    assert_eq!(lost, ["error: revision 4 is no longer in the history, which begins at 6", "end"]);
    assert_eq!(found, ["+5@7", "+6@8", "+7@9", "+8@10", "+9@11"]);
}

#[tokio::test(start_paused = true)]
async fn a_backfill_brings_back_no_more_than_it_may() {
    let rig = Rig::new(small()).await;
    for n in 0..20 {
        rig.put(&format!("/k/{n}"), "").await;
    }
    rig.tasks.stop();
    let rig = Rig::over(
        Arc::clone(&rig.store),
        Config { backfill_events_max: 5, history_events_max: 2, ..small() },
    )
    .await;
    let mut lost = rig.watch(WatchFrom::After(Revision(15)), Filter::prefix("/k/"));
    let mut found = rig.watch(WatchFrom::After(Revision(16)), Filter::prefix("/k/"));
    let (lost, found) = futures::join!(told(&mut lost), told(&mut found));
    assert_eq!(lost, ["error: revision 15 is no longer in the history, which begins at 16", "end"]);
    assert_eq!(found, ["+15@17", "+16@18", "+17@19", "+18@20", "+19@21"]);
}

#[tokio::test(start_paused = true)]
async fn who_resumes_while_the_history_is_fetched_for_one_who_is_further_resumes_too() {
    let rig = Rig::new(small()).await;
    for n in 0..5 {
        rig.put("/k/a", &format!("n={n}")).await;
    }
    let again = Rig::over(Arc::clone(&rig.store), small()).await;
    *rig.store.slow.lock() = Duration::from_secs(1);
    let watch = |after| again.watch(WatchFrom::After(Revision(after)), Filter::prefix("/k/"));
    let (mut further, mut behind, mut between) = (watch(5), watch(2), watch(4));
    let late = async |watcher: &mut Watcher, by: u64| {
        tokio::time::sleep(Duration::from_millis(by)).await;
        let next = tokio::time::timeout(Duration::from_secs(10), watcher.next()).await;
        next.unwrap().unwrap().map_err(|error| error.to_string())
    };
    let (a, b, c) = futures::join!(late(&mut further, 0), late(&mut behind, 300), late(&mut between, 600));
    assert_eq!([a, b, c].map(|event| short(&event.unwrap())), ["*a@6", "*a@3", "*a@5"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_watch_becomes_a_list_and_its_differences_events() {
    let rig = Rig::new(small()).await;
    for key in ["/k/a", "/k/b", "/k/c"] {
        rig.put(key, "").await;
    }
    rig.cache.fresh().await.unwrap();
    let mut watcher = rig.watch(WatchFrom::Now, Filter::prefix("/k/"));
    assert!(told(&mut watcher).await.is_empty());
    *rig.store.down.lock() = true;
    rig.store.cut.notify_waiters();
    tokio::time::sleep(Duration::from_millis(1)).await;
    rig.put("/k/e", "").await;
    rig.put("/k/a", "").await;
    rig.delete("/k/b").await;
    rig.put("/k/d", "").await;
    rig.delete("/k/d").await;
    rig.put("/other", "").await;
    rig.store.compact(Revision(10)).await.unwrap();
    *rig.store.down.lock() = false;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(told(&mut watcher).await, ["+e@5", "*a@6", "-b@10"]);
    assert_eq!(names(rig.cache.snapshot().range("/k/", None)), ["a@6", "c@4", "e@5"]);
    rig.put("/k/c", "").await;
    assert_eq!(told(&mut watcher).await, ["*c@11"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_within_a_lost_stretch_is_told_to_list_again() {
    let rig = Rig::new(small()).await;
    rig.put("/k/a", "").await;
    rig.cache.fresh().await.unwrap();
    *rig.store.down.lock() = true;
    rig.store.cut.notify_waiters();
    tokio::time::sleep(Duration::from_millis(1)).await;
    // A client of another server may have seen this one, which the cache never will.
    let within = rig.put("/k/b", "").await;
    rig.delete("/k/b").await;
    let end = rig.put("/k/c", "").await;
    rig.store.compact(end).await.unwrap();
    *rig.store.down.lock() = false;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut lost = rig.watch(WatchFrom::After(within), Filter::prefix("/k/"));
    assert_eq!(
        told(&mut lost).await,
        ["error: revision 3 is no longer in the history, which begins at 5", "end"]
    );
    assert!(matches!(rig.cache.at(within).await, Err(Error::Compacted { .. })));
    let mut before = rig.watch(WatchFrom::After(Revision(2)), Filter::prefix("/k/"));
    assert_eq!(told(&mut before).await, ["+c@5"]);
    let mut after = rig.watch(WatchFrom::After(end), Filter::prefix("/k/"));
    rig.put("/k/c", "").await;
    assert_eq!(told(&mut after).await, ["*c@6"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_store_goes_back_in_time_watchers_end() {
    let rig = Rig::new(small()).await;
    for key in ["/k/a", "/k/b", "/k/c"] {
        rig.put(key, "").await;
    }
    rig.cache.fresh().await.unwrap();
    let mut fed = rig.watch(WatchFrom::Now, Filter::prefix("/k/"));
    assert!(told(&mut fed).await.is_empty());
    let mut unread = rig.watch(WatchFrom::After(Revision(2)), Filter::prefix("/k/"));
    *rig.store.store.lock() = Arc::new(Memory::new(&rig.tasks));
    rig.put("/k/z", "").await;
    rig.store.cut.notify_waiters();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(told(&mut fed).await, ["end"]);
    assert_eq!(told(&mut unread).await, ["end"]);
    assert_eq!(names(rig.cache.snapshot().range("/k/", None)), ["z@2"]);
    let mut new = rig.watch(WatchFrom::InitialState, Filter::prefix("/k/"));
    assert_eq!(told(&mut new).await, ["+z@2", "=@2"]);
}

#[tokio::test(start_paused = true)]
async fn watchers_end_with_the_cache() {
    let rig = Rig::new(small()).await;
    let mut watcher = rig.watch(WatchFrom::Now, Filter::prefix("/k/"));
    assert!(told(&mut watcher).await.is_empty());
    rig.tasks.drain(Duration::from_secs(1)).await;
    assert_eq!(told(&mut watcher).await, ["end"]);
    let mut late = rig.watch(WatchFrom::Now, Filter::prefix("/k/"));
    assert_eq!(told(&mut late).await, ["end"]);
    let tasks = Tasks::new();
    let store = Arc::new(Faulty::new(&tasks));
    tasks.stop();
    let never = start("never", store, "/k/", describe(), small(), &tasks);
    let mut watcher = never.watch(WatchFrom::Now, Filter::prefix("/k/")).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), watcher.next()).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_to_those_who_want_them_and_say_how_far_the_store_is() {
    let rig = Rig::new(small()).await;
    let mut with = rig.watch(WatchFrom::Now, Filter::prefix("/k/").with_bookmarks());
    let mut without = rig.watch(WatchFrom::Now, Filter::prefix("/k/"));
    assert!(told(&mut with).await.is_empty());
    let start = Instant::now();
    rig.put("/other", "").await;
    let first = with.next().await.unwrap().unwrap();
    assert_eq!((short(&first).starts_with("b@"), start.elapsed().as_secs()), (true, 60));
    // The first one asked how far the store is, the second one tells it.
    assert_eq!(short(&with.next().await.unwrap().unwrap()), "b@2");
    rig.put("/k/a", "").await;
    assert_eq!(short(&with.next().await.unwrap().unwrap()), "+a@3");
    assert_eq!(short(&with.next().await.unwrap().unwrap()), "b@3");
    assert_eq!((with.caught_up(), start.elapsed().as_secs()), (Some(Revision(3)), 180));
    assert_eq!(told(&mut without).await, ["+a@3"]);
}

#[tokio::test(start_paused = true)]
async fn reads_at_older_revisions_undo_the_history_and_then_ask_the_store() {
    let rig = Rig::new(Config { history_events_max: 3, ..small() }).await;
    rig.put("/k/a", "|node=n1").await;
    rig.put("/k/b", "").await;
    rig.put("/k/a", "|node=n2").await;
    rig.delete("/k/b").await;
    rig.put("/k/c", "").await;
    rig.cache.fresh().await.unwrap();
    for (at, expected) in [
        (1, vec![]),
        (2, vec!["a@2"]),
        (3, vec!["a@2", "b@3"]),
        (4, vec!["a@4", "b@3"]),
        (5, vec!["a@4"]),
        (6, vec!["a@4", "c@6"]),
    ] {
        for _ in 0..2 {
            let snapshot = rig.cache.at(Revision(at)).await.unwrap();
            assert_eq!(
                (snapshot.revision.0, names(snapshot.range("/k/", None))),
                (at, expected.iter().map(|&n| n.to_owned()).collect())
            );
            assert_eq!((snapshot.len(), snapshot.count("/k/")), (expected.len(), expected.len()));
        }
    }
    let three = rig.cache.at(Revision(3)).await.unwrap();
    assert_eq!(names(three.by_index("n1", "/k/").unwrap()), ["a@2"]);
    assert!(matches!(rig.cache.at(Revision(7)).await, Err(Error::Future { current: Revision(6), .. })));
    let elsewhere = rig.put("/other", "").await;
    assert_eq!(names(rig.cache.at(elsewhere).await.unwrap().range("/k/", None)), ["a@4", "c@6"]);
    rig.store.compact(Revision(5)).await.unwrap();
    assert_eq!(names(rig.cache.at(Revision(4)).await.unwrap().range("/k/", None)), ["a@4", "b@3"]);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(matches!(
        rig.cache.at(Revision(4)).await,
        Err(Error::Compacted { asked: Revision(4), oldest: Revision(5) })
    ));
    assert_eq!(names(rig.cache.at(Revision(5)).await.unwrap().range("/k/", None)), ["a@4"]);
}

#[tokio::test(start_paused = true)]
async fn the_history_does_not_outlive_its_age() {
    let rig = Rig::new(small()).await;
    rig.put("/k/a", "").await;
    rig.put("/k/a", "").await;
    rig.cache.fresh().await.unwrap();
    let old = Arc::downgrade(rig.cache.at(Revision(2)).await.unwrap().get("/k/a").unwrap());
    assert!(old.upgrade().is_some());
    tokio::time::sleep(Config::default().history_age_max + Duration::from_secs(1)).await;
    assert!(old.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_history_keeps_no_more_bytes_of_the_past_than_it_may() {
    let rig = Rig::new(Config { history_bytes_max: 1000, ..small() }).await;
    let labels = "x=".to_owned() + &"y".repeat(400);
    for n in 0..6 {
        rig.put(&format!("/k/{n}"), &labels).await;
    }
    let start = || rig.cache.shared.state.read().history().start();
    rig.cache.fresh().await.unwrap();
    assert_eq!(start(), Revision(1), "what is still there costs nothing more");
    rig.put("/k/0", &labels).await;
    rig.delete("/k/1").await;
    rig.cache.fresh().await.unwrap();
    assert_eq!(start(), Revision(1));
    rig.put("/k/2", &labels).await;
    rig.cache.fresh().await.unwrap();
    assert_eq!(start(), Revision(8), "forgotten up to the first that freed something");
    // Further back the store remembers, and that may be more.
    let mut watcher = rig.watch(WatchFrom::After(Revision(1)), Filter::prefix("/k/"));
    assert_eq!(told(&mut watcher).await.len(), 9);
    rig.put("/k/3", &labels).await;
    assert_eq!(told(&mut watcher).await, ["*3@11"]);
}

#[tokio::test(start_paused = true)]
async fn derived_forms_of_the_past_are_dropped_too() {
    let rig = Rig::new(Config { history_age_max: Duration::from_secs(600), ..small() }).await;
    rig.put("/k/a", "").await;
    let object = Arc::clone(rig.cache.fresh().await.unwrap().get("/k/a").unwrap());
    let form = Arc::downgrade(&object.derived(0, |object| object.bytes.len()));
    rig.put("/k/a", "").await;
    rig.cache.fresh().await.unwrap();
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert!(Arc::strong_count(&object) > 1, "the history still has it");
    assert!(form.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn derived_forms_are_dropped_when_nobody_uses_them() {
    let rig = Rig::new(small()).await;
    rig.put("/k/a", "").await;
    let object = Arc::clone(rig.cache.fresh().await.unwrap().get("/k/a").unwrap());
    let form = Arc::downgrade(&object.derived(0, |object| object.bytes.len()));
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(form.upgrade().is_some(), "used lately");
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(form.upgrade().is_none());
    let form = Arc::downgrade(&object.derived(0, |object| object.bytes.len()));
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert!(form.upgrade().is_none(), "the next ones are looked after too");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_does_not_keep_others_from_being_served() {
    let rig = Rig::new(small()).await;
    rig.put("/k/a", "unreadable").await;
    rig.put("/k/b", "").await;
    rig.put("/k/c", "").await;
    rig.cache.fresh().await.unwrap();
    let mut watcher = rig.watch(WatchFrom::Now, Filter::prefix("/k/"));
    rig.put("/k/c", "unreadable").await;
    rig.put("/k/a", "now it can be read").await;
    assert_eq!(told(&mut watcher).await, ["-c@5", "+a@6"]);
    assert_eq!(names(rig.cache.snapshot().range("/k/", None)), ["a@6", "b@3"]);
    rig.delete("/k/c").await;
    assert_eq!(told(&mut watcher).await, Vec::<String>::new());
    let again = Rig::over(Arc::clone(&rig.store), small()).await;
    assert_eq!(names(again.cache.snapshot().range("/k/", None)), ["a@6", "b@3"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_revision_to_come_is_silent_until_then() {
    let rig = Rig::new(small()).await;
    let mut watcher = rig.watch(WatchFrom::After(Revision(3)), Filter::prefix("/k/").with_bookmarks());
    for key in ["/k/a", "/k/b", "/k/c"] {
        rig.put(key, "").await;
        tokio::task::yield_now().await;
    }
    assert_eq!(told(&mut watcher).await, ["+c@4"]);
}

#[test]
fn futures_and_watchers_can_be_sent_to_other_threads() {
    fn send<T: Send>(_: &T) {}
    fn check(cache: &Cache, watcher: &mut Watcher) {
        send(&cache.fresh());
        send(&cache.at(Revision(1)));
        send(&cache.get("", true));
        send(&cache.ready());
        send(&cache.wait_for(Revision(1), Instant::now()));
        send(&watcher.next());
        send(watcher);
        send(cache);
    }
    let _ = check;
}

#[test]
fn metrics_register_once_under_upstreams_names() {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    metrics.of("deployments.apps").initializations.inc();
    let shown = registry.gather();
    let family =
        shown.iter().find(|family| family.name() == "apiserver_watch_cache_initializations_total").unwrap();
    let labels: Vec<_> =
        family.get_metric()[0].get_label().iter().map(|label| (label.name(), label.value())).collect();
    assert_eq!(labels, [("group", "apps"), ("resource", "deployments")]);
    assert!(Metrics::register(&registry).is_err());
}

/// A store whose reads and watches come from a cache, to hold the cache to the contract of a store.
#[derive(Debug)]
struct Through {
    store: Arc<Memory>,
    cache: Cache,
    tasks: Tasks,
}

impl Through {
    async fn new() -> Self {
        Self::over(Arc::new(Memory::new(&Tasks::new()))).await
    }

    async fn over(store: Arc<Memory>) -> Self {
        let tasks = Tasks::new();
        let verbatim: Describe = Arc::new(|_, value, _| Ok((value, Header::default())));
        // Bookmarks stand for progress here.
        let config = Config { bookmark_period: Duration::from_millis(1), ..Config::default() };
        let cache = start("all", Arc::clone(&store) as Arc<dyn Backend>, "/", verbatim, config, &tasks);
        cache.ready().await;
        Self { store, cache, tasks }
    }

    /// An answer, unless the server has ended.
    async fn serve<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> backend::Result<T> {
        let stopping = self.tasks.stopping();
        tokio::select! {
            biased;
            () = stopping.cancelled() => {
                let reason = "the server has ended".to_owned();
                Err(backend::Error::Unavailable { reason, outcome_unknown: false })
            }
            answer = answer => answer.map_err(failure),
        }
    }
}

fn entry(object: &Object) -> Entry {
    Entry { key: (*object.key).to_owned(), value: object.bytes.clone(), revision: object.revision }
}

fn failure(error: Error) -> backend::Error {
    match error {
        Error::Compacted { asked, oldest } => backend::Error::Compacted { asked, oldest },
        Error::Future { asked, current } => backend::Error::Future { asked, current },
        Error::Store(error) => error,
        Error::NotReached { .. } => panic!("{error}"),
    }
}

impl Backend for Through {
    fn create(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, backend::Result<Revision>> {
        self.store.create(key, value, ttl)
    }

    fn update(
        &self,
        key: &str,
        expected: Revision,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, backend::Result<Revision>> {
        self.store.update(key, expected, value, ttl)
    }

    fn delete(&self, key: &str, expected: Revision) -> BoxFuture<'_, backend::Result<Revision>> {
        self.store.delete(key, expected)
    }

    fn get(&self, key: &str) -> BoxFuture<'_, backend::Result<Option<Entry>>> {
        let key = key.to_owned();
        async move {
            let found = self.serve(self.cache.get(&key, true)).await?;
            Ok(found.map(|object| entry(&object)))
        }
        .boxed()
    }

    fn range(&self, range: Range) -> BoxFuture<'_, backend::Result<Page>> {
        async move {
            let fresh = self.serve(self.cache.fresh()).await?;
            let snapshot = match range.at {
                Some(at) => self.serve(self.cache.at(at)).await?,
                None => fresh,
            };
            let limit = if range.limit == 0 { usize::MAX } else { range.limit };
            let after = range.after.as_deref();
            let entries: Vec<Entry> =
                snapshot.range(&range.prefix, after).take(limit).map(|object| entry(object)).collect();
            let remaining = match entries.last() {
                Some(last) => snapshot.count_after(&range.prefix, &last.key),
                None => 0,
            };
            Ok(Page { entries, revision: snapshot.revision, remaining: u64::try_from(remaining).unwrap() })
        }
        .boxed()
    }

    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, backend::Result<EventStream>> {
        let filter = Filter { bookmarks: true, ..Filter::prefix(prefix) };
        let watcher = self.cache.watch(WatchFrom::After(after), filter).unwrap();
        let events = watcher.into_stream().map(|event| {
            Ok(match event.map_err(failure)? {
                WatchEvent::Added(object) => {
                    Event::Put { entry: entry(&object), created: true, previous: None }
                }
                WatchEvent::Modified(object) => {
                    Event::Put { entry: entry(&object), created: false, previous: None }
                }
                WatchEvent::Deleted { object, revision } => {
                    Event::Delete { key: (*object.key).to_owned(), revision, previous: Some(entry(&object)) }
                }
                WatchEvent::Bookmark(revision) | WatchEvent::InitialEventsEnd(revision) => {
                    Event::Progress(revision)
                }
            })
        });
        let batches = events.ready_chunks(100).map(|events| events.into_iter().collect());
        async move { Ok(batches.boxed()) }.boxed()
    }

    fn revision(&self) -> BoxFuture<'_, backend::Result<Revision>> {
        self.store.revision()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, backend::Result<()>> {
        self.store.compact(revision)
    }
}

/// Servers that come and go over one store, each with a cache of its own that has a list and no history.
struct Servers {
    store: Arc<Memory>,
    now: Mutex<Arc<Through>>,
}

impl conformance::histories::Place for Servers {
    fn store(&self) -> Option<Arc<dyn Backend>> {
        Some(Arc::clone(&*self.now.lock()) as Arc<dyn Backend>)
    }

    fn fault(&self) -> BoxFuture<'_, ()> {
        async {
            let next = Arc::new(Through::over(Arc::clone(&self.store)).await);
            let before = std::mem::replace(&mut *self.now.lock(), next);
            before.tasks.stop();
        }
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_fit_together_through_caches_that_come_and_go() {
    let store = Arc::new(Memory::new(&Tasks::new()));
    let now = Mutex::new(Arc::new(Through::over(Arc::clone(&store)).await));
    let place = Arc::new(Servers { store, now });
    let summary = conformance::histories::check(place, conformance::histories::length()).await.tried();
    assert!(summary.faults > 0 && summary.broken > 0, "{summary:?}");
}
