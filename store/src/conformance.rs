//! What every backend must do, as a suite: memory, embedded and etcd mean the same, and so do reads through the cache.
//!
//! Each case gets an empty store and panics where the store breaks the contract of [`Backend`].

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

pub mod histories;
mod model;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
pub use model::{Step, check as check_against_model};

use crate::backend::{Backend, Entry, Error, Event, EventStream, Range, Revision};

/// One rule and how to check it.
pub struct Case {
    /// The rule, as a sentence.
    pub rule: &'static str,
    /// Whether the case needs reads to fail as soon as their revision is compacted, which a cache with a history of its
    /// own rightly does not do.
    pub compaction_shows: bool,
    run: fn(Arc<dyn Backend>) -> BoxFuture<'static, ()>,
}

/// Runs all cases, each on a store of its own.
pub async fn run<B: Backend>(make: impl AsyncFn() -> Arc<B>) {
    for case in cases() {
        case.run(make().await).await;
    }
}

/// All cases, for those who choose among them.
pub fn cases() -> Vec<Case> {
    macro_rules! cases {
        ($($name:ident $(if $needs:ident)?: $rule:literal,)*) => {
            vec![$(Case {
                rule: $rule,
                compaction_shows: cases!(@ $($needs)?),
                run: |store| Box::pin($name(store)),
            }),*]
        };
        (@ compaction_shows) => { true };
        (@) => { false };
    }
    cases! {
        first_revision: "an empty store is at revision 1 and the first write takes 2",
        create_once: "a key is created once",
        update_expected: "an update needs the current revision, and is told the current entry otherwise",
        delete_expected: "a delete needs the current revision, and is told the current entry otherwise",
        one_counter: "one counter of revisions spans all keys, and failed writes take none",
        range_pages: "a range comes in the order of the keys, in pages, with the count of what remains",
        range_at: "a range at a revision shows what was there then, whatever happened since",
        range_future: "a range at a revision still to come fails",
        range_bytes: "prefixes are bytes, and a key is not its neighbour's prefix",
        watch_order: "a watch sees every revision of its prefix once and in order, and no other",
        watch_catches_up: "a watch from the past replays it, then says that it has caught up",
        watch_future: "a watch from a revision still to come is silent until then",
        watch_many: "watches do not disturb each other",
        watch_gap_free: "a watch that starts among writes misses none",
        progress: "progress asked for comes although nothing happens to the prefix",
        compacted if compaction_shows: "what is compacted can be neither read nor watched, what is left can",
        compact_twice: "compacting again, or less, changes nothing, and the future cannot be compacted",
        compact_keeps: "compaction never touches what is current",
        ttl: "a key with a time to live vanishes, and the watch says so",
        ttl_renewed: "each write sets the time to live anew, or takes it away",
        concurrent: "concurrent updates of one key do not lose any",
        large: "a large value comes back whole",
    }
}

impl Case {
    /// Checks the rule.
    ///
    /// # Panics
    /// If the store breaks it.
    pub async fn run(&self, store: Arc<dyn Backend>) {
        tracing::debug!(rule = self.rule, "conformance");
        (self.run)(store).await;
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.rule)
    }
}

/// Longer than any correct answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn prefix(prefix: &str) -> Range {
    Range { prefix: prefix.to_owned(), ..Range::default() }
}

async fn create(store: &Arc<dyn Backend>, key: &str, text: &str) -> Revision {
    store.create(key, value(text), None).await.expect("create")
}

async fn keys(store: &Arc<dyn Backend>, range: Range) -> Vec<String> {
    store.range(range).await.expect("range").entries.into_iter().map(|entry| entry.key).collect()
}

/// The next `count` events without signs of progress.
async fn events(stream: &mut EventStream, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let batch = tokio::time::timeout(PATIENCE, stream.next()).await.expect("an event comes in time");
        let batch = batch.expect("the watch goes on").expect("the watch is well");
        events.extend(batch.into_iter().filter(|event| !matches!(event, Event::Progress(_))));
    }
    assert_eq!(events.len(), count, "no more than expected: {events:?}");
    events
}

/// Waits for progress to a revision; nothing else may come.
async fn quiet_until(stream: &mut EventStream, revision: Revision) {
    loop {
        let batch = tokio::time::timeout(PATIENCE, stream.next()).await.expect("progress comes in time");
        for event in batch.expect("the watch goes on").expect("the watch is well") {
            match event {
                Event::Progress(reached) if reached >= revision => return,
                Event::Progress(_) => {}
                Event::Put { .. } | Event::Delete { .. } => panic!("unexpected {event:?}"),
            }
        }
    }
}

/// A short form for comparing: what, which key, value or nothing, revision.
fn short(event: &Event) -> (&'static str, String, String, u64) {
    let text = |entry: &Entry| String::from_utf8_lossy(&entry.value).into_owned();
    match event {
        Event::Put { entry, created, .. } => {
            (if *created { "created" } else { "updated" }, entry.key.clone(), text(entry), entry.revision.0)
        }
        Event::Delete { key, revision, previous } => {
            ("deleted", key.clone(), previous.as_ref().map(text).unwrap_or_default(), revision.0)
        }
        Event::Progress(revision) => ("progress", String::new(), String::new(), revision.0),
    }
}

async fn first_revision(store: Arc<dyn Backend>) {
    assert_eq!(store.revision().await.unwrap(), Revision(1));
    let page = store.range(prefix("/")).await.unwrap();
    assert_eq!((page.entries.len(), page.revision, page.remaining), (0, Revision(1), 0));
    assert_eq!(create(&store, "/a", "1").await, Revision(2));
    assert_eq!(store.revision().await.unwrap(), Revision(2));
}

async fn create_once(store: Arc<dyn Backend>) {
    let revision = create(&store, "/a", "1").await;
    assert!(matches!(store.create("/a", value("2"), None).await, Err(Error::Exists(key)) if key == "/a"));
    let entry = store.get("/a").await.unwrap().unwrap();
    assert_eq!(entry, Entry { key: "/a".into(), value: value("1"), revision });
    store.delete("/a", revision).await.unwrap();
    assert_eq!(store.get("/a").await.unwrap(), None);
    let again = create(&store, "/a", "3").await;
    assert_eq!(store.get("/a").await.unwrap().unwrap().revision, again);
}

async fn update_expected(store: Arc<dyn Backend>) {
    assert!(
        matches!(store.update("/a", Revision(1), value("x"), None).await, Err(Error::NotFound(key)) if key == "/a")
    );
    let first = create(&store, "/a", "1").await;
    let second = store.update("/a", first, value("2"), None).await.unwrap();
    assert!(second > first);
    match store.update("/a", first, value("3"), None).await {
        Err(Error::Conflict(entry)) => {
            assert_eq!(*entry, Entry { key: "/a".into(), value: value("2"), revision: second });
        }
        other => panic!("expected a conflict, got {other:?}"),
    }
    assert_eq!(store.get("/a").await.unwrap().unwrap().value, value("2"));
}

async fn delete_expected(store: Arc<dyn Backend>) {
    assert!(matches!(store.delete("/a", Revision(1)).await, Err(Error::NotFound(_))));
    let first = create(&store, "/a", "1").await;
    let second = store.update("/a", first, value("2"), None).await.unwrap();
    assert!(
        matches!(store.delete("/a", first).await, Err(Error::Conflict(entry)) if entry.revision == second)
    );
    let deleted = store.delete("/a", second).await.unwrap();
    assert!(deleted > second);
    assert!(matches!(store.delete("/a", second).await, Err(Error::NotFound(_))));
    assert_eq!(keys(&store, prefix("/")).await, Vec::<String>::new());
}

async fn one_counter(store: Arc<dyn Backend>) {
    let a = create(&store, "/a", "1").await;
    let b = create(&store, "/b", "1").await;
    assert_eq!(b, a.next());
    store.create("/a", value("x"), None).await.unwrap_err();
    store.update("/b", a, value("x"), None).await.unwrap_err();
    store.delete("/c", a).await.unwrap_err();
    assert_eq!(store.revision().await.unwrap(), b);
    assert_eq!(store.delete("/a", a).await.unwrap(), b.next());
}

async fn range_pages(store: Arc<dyn Backend>) {
    for key in ["/p/c", "/p/a", "/q/x", "/p/e", "/p/b", "/p/d", "/o/x"] {
        create(&store, key, key).await;
    }
    let mut range = Range { limit: 2, ..prefix("/p/") };
    let mut pages = Vec::new();
    loop {
        let page = store.range(range.clone()).await.unwrap();
        range.at = Some(page.revision);
        range.after = page.entries.last().map(|entry| entry.key.clone());
        pages.push((page.entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>(), page.remaining));
        if page.remaining == 0 {
            break;
        }
        // A page is of one revision, so later writes do not show.
        create(&store, &format!("/p/{}z", pages.len()), "late").await;
    }
    let expected = [(vec!["/p/a", "/p/b"], 3), (vec!["/p/c", "/p/d"], 1), (vec!["/p/e"], 0)];
    let pages: Vec<_> = pages
        .iter()
        .map(|(keys, rest)| (keys.iter().map(String::as_str).collect::<Vec<_>>(), *rest))
        .collect();
    assert_eq!(pages, expected);
    assert_eq!(keys(&store, Range { after: Some("/p/".into()), limit: 1, ..prefix("/p/") }).await, ["/p/1z"]);
    assert_eq!(
        keys(&store, Range { after: Some("/p/e".into()), ..prefix("/p/") }).await,
        Vec::<String>::new()
    );
}

async fn range_at(store: Arc<dyn Backend>) {
    let mut at = Vec::new();
    let a = create(&store, "/a", "1").await;
    at.push((a, vec![("/a", "1")]));
    at.push((create(&store, "/b", "1").await, vec![("/a", "1"), ("/b", "1")]));
    let a = store.update("/a", a, value("2"), None).await.unwrap();
    at.push((a, vec![("/a", "2"), ("/b", "1")]));
    at.push((store.delete("/a", a).await.unwrap(), vec![("/b", "1")]));
    at.push((create(&store, "/a", "3").await, vec![("/a", "3"), ("/b", "1")]));
    for (revision, expected) in at {
        let page = store.range(Range { at: Some(revision), ..prefix("/") }).await.unwrap();
        assert_eq!(page.revision, revision);
        let found: Vec<_> =
            page.entries.iter().map(|e| (e.key.as_str(), std::str::from_utf8(&e.value).unwrap())).collect();
        assert_eq!(found, expected, "at {revision}");
        assert!(page.entries.iter().all(|entry| entry.revision <= revision));
    }
}

async fn range_future(store: Arc<dyn Backend>) {
    let now = create(&store, "/a", "1").await;
    match store.range(Range { at: Some(Revision(now.0 + 5)), ..prefix("/") }).await {
        Err(Error::Future { asked, current }) => assert_eq!((asked, current), (Revision(now.0 + 5), now)),
        other => panic!("expected the future to be refused, got {other:?}"),
    }
}

async fn range_bytes(store: Arc<dyn Backend>) {
    for key in ["/p/a", "/p/a/x", "/p/a-b/x", "/p/ab", "/p/ä", "/p0", "/p"] {
        create(&store, key, key).await;
    }
    assert_eq!(keys(&store, prefix("/p/a/")).await, ["/p/a/x"]);
    assert_eq!(keys(&store, prefix("/p/a")).await, ["/p/a", "/p/a-b/x", "/p/a/x", "/p/ab"]);
    assert_eq!(keys(&store, prefix("/p/")).await.len(), 5);
    assert_eq!(store.get("/p/a").await.unwrap().unwrap().value, value("/p/a"));
    assert_eq!(store.get("/p/").await.unwrap(), None);
}

async fn watch_order(store: Arc<dyn Backend>) {
    let mut stream = store.watch("/p/", Revision(1)).await.unwrap();
    let a = create(&store, "/p/a", "1").await;
    create(&store, "/q/a", "1").await;
    let a2 = store.update("/p/a", a, value("2"), None).await.unwrap();
    store.update("/p/a", a, value("no"), None).await.unwrap_err();
    let b = create(&store, "/p/b", "1").await;
    let gone = store.delete("/p/a", a2).await.unwrap();
    let back = create(&store, "/p/a", "3").await;
    let expected = [
        ("created", "/p/a", "1", a),
        ("updated", "/p/a", "2", a2),
        ("created", "/p/b", "1", b),
        ("deleted", "/p/a", "2", gone),
        ("created", "/p/a", "3", back),
    ];
    let seen = events(&mut stream, expected.len()).await;
    // What was deleted is told if the backend still has it, and not in part.
    let told = seen.iter().map(|event| !matches!(event, Event::Delete { previous: None, .. }));
    let expected: Vec<_> = expected
        .into_iter()
        .zip(told)
        .map(|((what, key, text, at), told)| {
            (what, key.to_owned(), if told { text.to_owned() } else { String::new() }, at.0)
        })
        .collect();
    assert_eq!(seen.iter().map(short).collect::<Vec<_>>(), expected);
}

async fn watch_catches_up(store: Arc<dyn Backend>) {
    let a = create(&store, "/p/a", "1").await;
    let b = create(&store, "/p/b", "1").await;
    let gone = store.delete("/p/a", a).await.unwrap();
    let last = create(&store, "/other", "1").await;
    for (after, expected) in
        [(Revision(1), vec![a, b, gone]), (a, vec![b, gone]), (b, vec![gone]), (gone, vec![])]
    {
        let mut stream = store.watch("/p/", after).await.unwrap();
        let seen: Vec<_> =
            events(&mut stream, expected.len()).await.iter().map(|event| short(event).3).collect();
        assert_eq!(seen, expected.iter().map(|revision| revision.0).collect::<Vec<_>>(), "after {after}");
    }
    let mut stream = store.watch("/p/", gone).await.unwrap();
    quiet_until(&mut stream, last).await;
}

async fn watch_future(store: Arc<dyn Backend>) {
    let a = create(&store, "/p/a", "1").await;
    let mut stream = store.watch("/p/", Revision(a.0 + 2)).await.unwrap();
    for n in 0..4 {
        create(&store, &format!("/p/n{n}"), "1").await;
    }
    let seen: Vec<_> = events(&mut stream, 2).await.iter().map(|event| short(event).3).collect();
    assert_eq!(seen, [a.0 + 3, a.0 + 4]);
}

async fn watch_many(store: Arc<dyn Backend>) {
    let mut all = store.watch("/", Revision(1)).await.unwrap();
    let mut none = store.watch("/nowhere/", Revision(1)).await.unwrap();
    let mut one = store.watch("/p/", Revision(1)).await.unwrap();
    drop(store.watch("/p/", Revision(1)).await.unwrap());
    let p = create(&store, "/p/a", "1").await;
    let q = create(&store, "/q/a", "1").await;
    let seen: Vec<_> = events(&mut all, 2).await.iter().map(|event| short(event).3).collect();
    assert_eq!(seen, [p.0, q.0]);
    assert_eq!(short(&events(&mut one, 1).await[0]).3, p.0);
    store.request_progress("/nowhere/");
    quiet_until(&mut none, q).await;
}

async fn watch_gap_free(store: Arc<dyn Backend>) {
    const WRITES: u64 = 200;
    let writer = async {
        for n in 0..WRITES {
            create(&store, &format!("/p/{n}"), "1").await;
            tokio::task::yield_now().await;
        }
    };
    let reader = async {
        while store.revision().await.unwrap() < Revision(20) {
            tokio::task::yield_now().await;
        }
        let page = store.range(prefix("/p/")).await.unwrap();
        let mut stream = store.watch("/p/", page.revision).await.unwrap();
        let rest = usize::try_from(WRITES).unwrap() - page.entries.len();
        let mut seen: Vec<_> = page.entries.iter().map(|entry| entry.revision.0).collect();
        seen.sort_unstable();
        seen.extend(events(&mut stream, rest).await.iter().map(|event| short(event).3));
        assert_eq!(seen, (2..WRITES + 2).collect::<Vec<_>>());
    };
    futures::join!(writer, reader);
}

async fn progress(store: Arc<dyn Backend>) {
    let mut stream = store.watch("/p/", Revision(1)).await.unwrap();
    quiet_until(&mut stream, Revision(1)).await;
    for n in 0..5 {
        let revision = create(&store, &format!("/q/{n}"), "1").await;
        store.request_progress("/p/");
        quiet_until(&mut stream, revision).await;
    }
}

async fn compacted(store: Arc<dyn Backend>) {
    let a = create(&store, "/p/a", "1").await;
    let b = store.update("/p/a", a, value("2"), None).await.unwrap();
    let c = store.update("/p/a", b, value("3"), None).await.unwrap();
    store.compact(b).await.unwrap();
    match store.range(Range { at: Some(a), ..prefix("/p/") }).await {
        Err(Error::Compacted { asked, oldest }) => assert_eq!((asked, oldest), (a, b)),
        other => panic!("expected compacted, got {other:?}"),
    }
    let page = store.range(Range { at: Some(b), ..prefix("/p/") }).await.unwrap();
    assert_eq!(page.entries[0].value, value("2"));
    let refused = match store.watch("/p/", a).await {
        Err(error) => error,
        Ok(mut stream) => loop {
            match tokio::time::timeout(PATIENCE, stream.next()).await.expect("an answer in time") {
                Some(Err(error)) => break error,
                Some(Ok(events)) => assert!(events.iter().all(|event| matches!(event, Event::Progress(_)))),
                None => panic!("the watch ended without saying why"),
            }
        },
    };
    assert!(matches!(refused, Error::Compacted { .. }), "{refused:?}");
    let mut stream = store.watch("/p/", b).await.unwrap();
    assert_eq!(short(&events(&mut stream, 1).await[0]).3, c.0);
}

async fn compact_twice(store: Arc<dyn Backend>) {
    let a = create(&store, "/p/a", "1").await;
    let b = store.update("/p/a", a, value("2"), None).await.unwrap();
    assert!(matches!(store.compact(Revision(b.0 + 1)).await, Err(Error::Future { .. })));
    store.compact(b).await.unwrap();
    store.compact(b).await.unwrap();
    store.compact(a).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), b);
    assert_eq!(create(&store, "/p/b", "1").await, b.next());
}

async fn compact_keeps(store: Arc<dyn Backend>) {
    let mut stream = store.watch("/p/", Revision(1)).await.unwrap();
    let a = create(&store, "/p/a", "1").await;
    let b = create(&store, "/p/b", "1").await;
    events(&mut stream, 2).await;
    let gone = store.delete("/p/a", a).await.unwrap();
    events(&mut stream, 1).await;
    store.compact(gone).await.unwrap();
    assert_eq!(keys(&store, prefix("/p/")).await, ["/p/b"]);
    // Unless it is a tombstone, a compacted revision is still what an update expects.
    let next = store.update("/p/b", b, value("2"), None).await.unwrap();
    let seen = events(&mut stream, 1).await;
    assert_eq!(short(&seen[0]).3, next.0);
}

async fn ttl(store: Arc<dyn Backend>) {
    let mut stream = store.watch("/p/", Revision(1)).await.unwrap();
    let ttl = Some(Duration::from_secs(1));
    let short_lived = store.create("/p/a", value("1"), ttl).await.unwrap();
    let stays = create(&store, "/p/b", "1").await;
    events(&mut stream, 2).await;
    let seen = events(&mut stream, 1).await;
    match &seen[0] {
        Event::Delete { key, revision, previous } => {
            assert_eq!((key.as_str(), *revision > stays), ("/p/a", true));
            assert!(previous.as_ref().is_none_or(|entry| entry.revision == short_lived));
        }
        other => panic!("expected the end of the key, got {other:?}"),
    }
    assert_eq!(store.get("/p/a").await.unwrap(), None);
    assert_eq!(keys(&store, prefix("/p/")).await, ["/p/b"]);
    assert!(matches!(store.update("/p/a", short_lived, value("2"), None).await, Err(Error::NotFound(_))));
}

async fn ttl_renewed(store: Arc<dyn Backend>) {
    let ttl = |seconds| Some(Duration::from_secs(seconds));
    let mut stream = store.watch("/p/", Revision(1)).await.unwrap();
    let kept = store.create("/p/kept", value("1"), ttl(1)).await.unwrap();
    let longer = store.create("/p/longer", value("1"), ttl(1)).await.unwrap();
    store.create("/p/short", value("1"), ttl(1)).await.unwrap();
    store.update("/p/kept", kept, value("2"), None).await.unwrap();
    store.update("/p/longer", longer, value("2"), ttl(2)).await.unwrap();
    events(&mut stream, 5).await;
    assert_eq!(short(&events(&mut stream, 1).await[0]).1, "/p/short");
    assert_eq!(keys(&store, prefix("/p/")).await, ["/p/kept", "/p/longer"]);
    assert_eq!(short(&events(&mut stream, 1).await[0]).1, "/p/longer");
    assert_eq!(keys(&store, prefix("/p/")).await, ["/p/kept"]);
}

async fn concurrent(store: Arc<dyn Backend>) {
    create(&store, "/n", "0").await;
    let add = async || {
        for _ in 0..25 {
            loop {
                let entry = store.get("/n").await.unwrap().unwrap();
                tokio::task::yield_now().await;
                let count: u32 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                match store.update("/n", entry.revision, value(&(count + 1).to_string()), None).await {
                    Ok(_) => break,
                    Err(Error::Conflict(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    futures::join!(add(), add(), add(), add());
    assert_eq!(store.get("/n").await.unwrap().unwrap().value, value("100"));
    assert_eq!(store.revision().await.unwrap(), Revision(102));
}

async fn large(store: Arc<dyn Backend>) {
    let bytes: Bytes = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut stream = store.watch("/p/", Revision(1)).await.unwrap();
    store.create("/p/a", bytes.clone(), None).await.unwrap();
    assert!(store.get("/p/a").await.unwrap().unwrap().value == bytes);
    let seen = events(&mut stream, 1).await;
    assert!(matches!(&seen[0], Event::Put { entry, .. } if entry.value == bytes));
}

#[cfg(test)]
pub(crate) use model::strategy::steps;
