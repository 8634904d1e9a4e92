//! The durable store on real files, and its writer on a simulated disk that fails and loses power.

mod damage;
mod power;

use std::{fs, sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::{Clock, SystemClock};
use tempfile::TempDir;

use super::*;
use crate::{backend::Event, conformance};

/// A clock that is set by hand.
#[derive(Debug)]
struct HandClock(Mutex<Timestamp>);

impl HandClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())))
    }

    fn advance(&self, by: Duration) {
        let mut now = self.0.lock();
        *now += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default(), Arc::new(SystemClock)).unwrap()
}

/// A store with files and a history so small that they change all the time.
fn tiny() -> Options {
    Options { segment_bytes_max: 500, snapshot_bytes_min: 1, history_events_max: 20, ..Options::default() }
}

async fn put(store: &Embedded, key: &str, text: &str) -> Revision {
    let value = Bytes::copy_from_slice(text.as_bytes());
    match store.get(key).await.unwrap() {
        Some(entry) => store.update(key, entry.revision, value, None).await.unwrap(),
        None => store.create(key, value, None).await.unwrap(),
    }
}

async fn all(store: &Embedded) -> Vec<(String, String, u64)> {
    let page = store.range(Range::default()).await.unwrap();
    let text = |entry: &Entry| String::from_utf8_lossy(&entry.value).into_owned();
    page.entries.iter().map(|entry| (entry.key.clone(), text(entry), entry.revision.0)).collect()
}

fn files(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn log_file(path: &Path) -> PathBuf {
    path.join(files(path).into_iter().rfind(|name| name.starts_with("log-")).unwrap())
}

/// Where the whole frames of a log begin, and where the last one ends.
fn frames(bytes: &[u8]) -> (Vec<usize>, usize) {
    let (mut starts, mut at) = (Vec::new(), format::HEADER_LEN);
    while let format::Frame::Whole { next, .. } = format::frame(bytes, at) {
        starts.push(at);
        at = next;
    }
    (starts, at)
}

/// Makes of a store that was closed one that was killed: it did not get to say that it was closed.
fn as_if_killed(path: &Path) {
    let log = log_file(path);
    let bytes = fs::read(&log).unwrap();
    let closed = *frames(&bytes).0.last().unwrap();
    fs::write(&log, [&bytes[..closed], &[0; 4096]].concat()).unwrap();
}

#[tokio::test]
async fn embedded_means_what_a_store_means() {
    let directory = TempDir::new().unwrap();
    for (n, case) in conformance::cases().into_iter().enumerate() {
        case.run(Arc::new(open(&directory.path().join(n.to_string())))).await;
    }
}

#[tokio::test]
async fn embedded_means_the_same_while_files_come_and_go() {
    let directory = TempDir::new().unwrap();
    for (n, case) in conformance::cases().into_iter().enumerate() {
        let options = Options { history_events_max: 1000, ..tiny() };
        let path = directory.path().join(n.to_string());
        case.run(Arc::new(Embedded::open(path, options, Arc::new(SystemClock)).unwrap())).await;
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let a = put(&store, "/a", "1").await;
    put(&store, "/b", "1").await;
    let c = put(&store, "/c", "1").await;
    let before = put(&store, "/a", "2").await;
    store.delete("/c", c).await.unwrap();
    let (expected, revision) = (all(&store).await, store.revision().await.unwrap());
    drop(store);
    for _ in 0..2 {
        let store = open(directory.path());
        assert_eq!((all(&store).await, store.revision().await.unwrap()), (expected.clone(), revision));
        // The history too: reads of the past, and watches that resume.
        let past = store.range(Range { at: Some(c), ..Range::default() }).await.unwrap();
        assert_eq!(past.entries.iter().map(|entry| entry.revision).collect::<Vec<_>>(), [a, Revision(3), c]);
        let mut stream = store.watch("/", before).await.unwrap();
        let events = stream.next().await.unwrap().unwrap();
        assert!(
            matches!(&events[0], Event::Delete { key, previous: Some(entry), .. } if key == "/c" && entry.revision == c)
        );
    }
    let store = open(directory.path());
    assert_eq!(put(&store, "/d", "1").await, revision.next());
}

#[tokio::test]
async fn the_log_does_not_grow_for_ever_and_nothing_is_lost_with_it() {
    let directory = TempDir::new().unwrap();
    let open = || Embedded::open(directory.path(), tiny(), Arc::new(SystemClock)).unwrap();
    let mut store = open();
    for round in 0..8 {
        for n in 0..50 {
            put(&store, &format!("/{}", n % 7), &format!("{round} {n}")).await;
        }
        let expected = (all(&store).await, store.revision().await.unwrap());
        if round % 3 == 0 {
            drop(store);
            store = open();
        }
        assert_eq!((all(&store).await, store.revision().await.unwrap()), expected);
    }
    // At most: one snapshot finished and one not, the files of the history, some that wait to be removed.
    let names = files(directory.path());
    assert!(names.iter().any(|name| name.starts_with("snapshot-")), "{names:?}");
    assert!(names.len() < 40, "{names:?}");
    let oldest = Revision(store.revision().await.unwrap().0 - 15);
    store.range(Range { at: Some(oldest), ..Range::default() }).await.unwrap();
    let older = Revision(oldest.0 - 30);
    assert!(matches!(
        store.range(Range { at: Some(older), ..Range::default() }).await,
        Err(Error::Compacted { .. })
    ));
    assert!(store.size().unwrap() > 0);
}

#[tokio::test]
async fn a_second_process_is_told_which_directory_is_in_use() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let refused = Embedded::open(directory.path(), Options::default(), Arc::new(SystemClock)).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("in use by another process") && text.contains(directory.path().to_str().unwrap()),
        "{text}"
    );
    drop(store);
    open(directory.path());
}

#[tokio::test]
async fn a_torn_end_is_cut_off() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    put(&store, "/a", "1").await;
    put(&store, "/b", "1").await;
    drop(store);
    as_if_killed(directory.path());
    let path = log_file(directory.path());
    let whole = fs::read(&path).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for cut in [end, end - 10, end - 30] {
        fs::write(&path, &whole[..cut]).unwrap();
        let store = open(directory.path());
        assert_eq!(all(&store).await, [("/a".to_owned(), "1".to_owned(), 2)], "cut at {cut}");
        assert_eq!(put(&store, "/c", "1").await, Revision(3));
        drop(store);
        let store = open(directory.path());
        assert_eq!(all(&store).await.len(), 2);
    }
    // A group of which the end came to the disk but not the beginning.
    let mut bytes = whole.clone();
    bytes[end - 20..end - 16].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(all(&open(directory.path())).await.len(), 1);
}

#[tokio::test]
async fn damage_in_the_middle_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    for key in ["/a", "/b", "/c"] {
        put(&store, key, "a value that is long enough to be found").await;
    }
    drop(store);
    let path = log_file(directory.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 0x40;
    fs::write(&path, &bytes).unwrap();
    let refused = Embedded::open(directory.path(), Options::default(), Arc::new(SystemClock)).unwrap_err();
    assert!(matches!(refused, Error::Corrupt(_)), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("is damaged at byte 32, after revision 1, and goes on at byte"), "{text}");
    assert!(fs::read(&path).unwrap() == bytes, "untouched");
}

#[tokio::test]
async fn missing_and_foreign_files_are_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let open = || {
        Embedded::open(
            directory.path(),
            Options { history_events_max: 10_000, ..tiny() },
            Arc::new(SystemClock),
        )
    };
    let store = open().unwrap();
    for n in 0..60 {
        put(&store, &format!("/{n}"), "1").await;
    }
    drop(store);
    let logs: Vec<String> =
        files(directory.path()).into_iter().filter(|name| name.starts_with("log-")).collect();
    assert!(logs.len() > 3);
    let gone = directory.path().join(&logs[1]);
    let bytes = fs::read(&gone).unwrap();
    fs::remove_file(&gone).unwrap();
    let text = open().unwrap_err().to_string();
    assert!(text.contains("are missing"), "{text}");
    fs::write(&gone, b"something else that is not a log at all").unwrap();
    let text = open().unwrap_err().to_string();
    assert!(text.contains("is not a file of this store") && text.contains(&logs[1]), "{text}");
    fs::write(&gone, &bytes).unwrap();
    assert_eq!(all(&open().unwrap()).await.len(), 60);
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused() {
    let directory = TempDir::new().unwrap();
    let open = || Embedded::open(directory.path(), tiny(), Arc::new(SystemClock));
    let store = open().unwrap();
    for n in 0..500 {
        put(&store, &format!("/{}", n % 40), "1").await;
    }
    drop(store);
    let name = files(directory.path()).into_iter().find(|name| name.starts_with("snapshot-")).unwrap();
    let path = directory.path().join(&name);
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    bytes[good.len() / 2] ^= 1;
    for bad in [bytes, good[..good.len() - 24].to_vec(), good[..40].to_vec(), Vec::new()] {
        fs::write(&path, &bad).unwrap();
        let refused = open().unwrap_err();
        assert!(matches!(&refused, Error::Corrupt(text) if text.contains(&name)), "{refused}");
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(all(&open().unwrap()).await.len(), 40);
}

#[tokio::test]
async fn times_to_live_go_on_over_a_restart() {
    let directory = TempDir::new().unwrap();
    let clock = HandClock::new();
    let open =
        || Embedded::open(directory.path(), Options::default(), Arc::clone(&clock) as SharedClock).unwrap();
    let store = open();
    let ttl = |seconds| Some(Duration::from_secs(seconds));
    store.create("/short", Bytes::new(), ttl(10)).await.unwrap();
    let long = store.create("/long", Bytes::new(), ttl(100)).await.unwrap();
    drop(store);
    clock.advance(Duration::from_secs(50));
    let store = open();
    let mut stream = store.watch("/", long).await.unwrap();
    let gone = loop {
        let events = stream.next().await.unwrap().unwrap();
        if let Some(gone) = events.into_iter().find(|event| !matches!(event, Event::Progress(_))) {
            break gone;
        }
    };
    assert!(matches!(&gone, Event::Delete { key, .. } if key == "/short"), "{gone:?}");
    assert_eq!(all(&store).await.len(), 1);
    clock.advance(Duration::from_secs(60));
    // The writer looks at the clock when it is woken.
    put(&store, "/x", "1").await;
    assert_eq!(store.get("/long").await.unwrap(), None);
}

#[tokio::test]
async fn the_history_ages_with_the_process_and_not_while_it_is_down() {
    let directory = TempDir::new().unwrap();
    let clock = HandClock::new();
    let open =
        || Embedded::open(directory.path(), Options::default(), Arc::clone(&clock) as SharedClock).unwrap();
    let store = open();
    let first = put(&store, "/a", "1").await;
    clock.advance(Duration::from_secs(200));
    let second = put(&store, "/a", "2").await;
    drop(store);
    clock.advance(Duration::from_secs(3600));
    let store = open();
    drop(store.watch("/", first).await.unwrap());
    clock.advance(Duration::from_secs(150));
    // Woken by each write, it forgets afterwards.
    put(&store, "/a", "3").await;
    put(&store, "/a", "4").await;
    while store.watch("/", Revision(1)).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        matches!(store.watch("/", Revision(1)).await, Err(Error::Compacted { oldest, .. }) if oldest == first)
    );
    drop(store.watch("/", second).await.unwrap());
}

#[tokio::test]
async fn the_history_is_bounded_in_bytes() {
    let directory = TempDir::new().unwrap();
    let options = Options { history_bytes_max: 100_000, ..Options::default() };
    let store = Embedded::open(directory.path(), options, Arc::new(SystemClock)).unwrap();
    let text = "x".repeat(10_000);
    for _ in 0..30 {
        put(&store, "/a", &text).await;
    }
    let oldest = loop {
        match store.watch("/", Revision(1)).await {
            Err(Error::Compacted { oldest, .. }) => break oldest,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert!(oldest >= Revision(20), "{oldest}");
}

#[tokio::test]
async fn what_was_compacted_stays_compacted() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    for n in 0..10 {
        put(&store, "/a", &n.to_string()).await;
    }
    store.compact(Revision(8)).await.unwrap();
    drop(store);
    let store = open(directory.path());
    assert!(matches!(store.watch("/", Revision(7)).await, Err(Error::Compacted { oldest: Revision(8), .. })));
    drop(store.watch("/", Revision(8)).await.unwrap());
}

#[tokio::test]
async fn a_backup_is_a_store_at_one_revision() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory.path().join("store"));
    for n in 0..1000 {
        store.create(&format!("/{n:04}"), Bytes::from(vec![b'x'; 3000]), None).await.unwrap();
    }
    let to = directory.path().join("backup");
    let (revision, expected) = (store.backup(&to).unwrap(), all(&store).await);
    put(&store, "/later", "1").await;
    let copy = open(&to);
    assert_eq!((copy.revision().await.unwrap(), all(&copy).await == expected), (revision, true));
    assert_eq!(put(&copy, "/other", "1").await, revision.next());
    let refused = store.backup(&to).unwrap_err();
    assert!(refused.to_string().contains("it is not empty"), "{refused}");
}

#[tokio::test]
async fn a_stamp_is_put_on_each_value_once_and_its_bytes_are_shared() {
    fn stamp(value: &[u8], revision: Revision) -> Option<Bytes> {
        (!value.contains(&b'@')).then(|| [value, format!("@{revision}").as_bytes()].concat().into())
    }
    let directory = TempDir::new().unwrap();
    let open = |stamp| {
        let options = Options { stamp, ..tiny() };
        Embedded::open(directory.path(), options, Arc::new(SystemClock)).unwrap()
    };
    let store = open(None);
    put(&store, "/old", "1").await;
    drop(store);
    // Also what was written before there was a stamp.
    let store = open(Some(stamp));
    let mut stream = store.watch("/", Revision(2)).await.unwrap();
    put(&store, "/new", "1").await;
    assert_eq!(all(&store).await, [("/new".into(), "1@3".into(), 3), ("/old".into(), "1@2".into(), 2)]);
    let events = stream.next().await.unwrap().unwrap();
    let kept = store.get("/new").await.unwrap().unwrap().value;
    assert!(matches!(&events[0], Event::Put { entry, .. } if entry.value.as_ptr() == kept.as_ptr()));
    drop((stream, store));
    let expected = [("/new".to_owned(), "1@3".to_owned(), 3), ("/old".to_owned(), "1@2".to_owned(), 2)];
    assert_eq!(all(&open(Some(stamp))).await, expected);
}

#[tokio::test]
async fn a_directory_can_be_looked_at_and_copied_while_it_is_in_use() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store");
    let store = Embedded::open(&path, tiny(), Arc::new(SystemClock)).unwrap();
    for n in 0..100 {
        put(&store, &format!("/{}", n % 9), &n.to_string()).await;
        if n % 10 == 9 {
            let report = offline::verify(&path).unwrap();
            assert_eq!(
                (report.revision, report.keys.min(9), report.torn),
                (Revision(n + 2), report.keys, false)
            );
            let to = directory.path().join(n.to_string());
            assert_eq!(offline::copy(&path, &to).unwrap(), Revision(n + 2));
            assert_eq!(all(&open(&to)).await, all(&store).await);
            let refused = offline::copy(&path, &to).unwrap_err().to_string();
            assert!(refused.contains("it is not empty"), "{refused}");
        }
    }
    let empty = directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(offline::verify(&empty).unwrap_err().to_string().contains("is no store"));
    let path = directory.path().join("damaged");
    let store = open(&path);
    for key in ["/a", "/b", "/c"] {
        put(&store, key, "a value that is long enough to be found").await;
    }
    drop(store);
    let log = log_file(&path);
    let mut bytes = fs::read(&log).unwrap();
    bytes[100] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let refused = offline::verify(&path).unwrap_err();
    assert!(matches!(&refused, Error::Corrupt(text) if text.contains("is damaged at byte 32")), "{refused}");
}

#[tokio::test]
async fn an_import_has_the_revisions_it_was_given() {
    let directory = TempDir::new().unwrap();
    let entry = |key: &str, at| Entry { key: key.to_owned(), value: "v".into(), revision: Revision(at) };
    let path = directory.path().join("store");
    offline::import(&path, Revision(900), [(entry("/b", 17), None), (entry("/a", 800), None)]).unwrap();
    let store = open(&path);
    assert_eq!(all(&store).await, [("/a".into(), "v".into(), 800), ("/b".into(), "v".into(), 17)]);
    assert_eq!(put(&store, "/c", "1").await, Revision(901));
    let other = directory.path().join("other");
    let refused = offline::import(&other, Revision(5), [(entry("/b", 17), None)]).unwrap_err();
    assert!(refused.to_string().contains("newer than revision 5"), "{refused}");
}

/// Closed and opened again, in the middle of everything.
struct Restarting {
    path: PathBuf,
    store: Mutex<Option<Arc<Embedded>>>,
}

impl conformance::histories::Place for Restarting {
    fn store(&self) -> Option<Arc<dyn Backend>> {
        self.store.lock().clone().map(|store| store as Arc<dyn Backend>)
    }

    fn fault(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let Some(mut store) = self.store.lock().take() else { return };
            let store = loop {
                match Arc::try_unwrap(store) {
                    Ok(store) => break store,
                    Err(shared) => store = shared,
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            };
            drop(store);
            let options =
                Options { segment_bytes_max: 20_000, snapshot_bytes_min: 10_000, ..Options::default() };
            let store = Embedded::open(&self.path, options, Arc::new(SystemClock)).unwrap();
            *self.store.lock() = Some(Arc::new(store));
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_fit_together_over_restarts() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store");
    let store = Mutex::new(Some(Arc::new(open(&path))));
    let place = Arc::new(Restarting { path, store });
    let summary = conformance::histories::check(place, conformance::histories::length()).await;
    summary.tried();
    assert!(summary.faults > 0 && summary.broken > 0 && summary.listed > 0, "{summary:?}");
}

#[tokio::test]
async fn a_closed_store_ends_its_watches_and_finishes_its_writes() {
    let directory = TempDir::new().unwrap();
    let store = Arc::new(open(directory.path()));
    let mut stream = store.watch("/", Revision(1)).await.unwrap();
    let writes: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&store);
            async move { store.create(&format!("/{n}"), Bytes::new(), None).await }
        })
        .collect();
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    drop(store);
    let mut seen = 0;
    while let Some(events) = stream.next().await {
        seen += events.unwrap().iter().filter(|event| matches!(event, Event::Put { .. })).count();
    }
    assert_eq!(seen, 50);
    assert_eq!(all(&open(directory.path())).await.len(), 50);
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, b"").unwrap();
    let text = Embedded::open(&path, Options::default(), Arc::new(SystemClock)).unwrap_err().to_string();
    assert!(text.contains("cannot use data directory") && text.contains(path.to_str().unwrap()), "{text}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn embedded_agrees_with_the_model(steps in conformance::steps()) {
        let directory = TempDir::new().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let options = Options { fsync: false, ..Options::default() };
        let store = Arc::new(Embedded::open(directory.path(), options, Arc::new(SystemClock)).unwrap());
        runtime.block_on(conformance::check_against_model(store, steps));
    }
}
