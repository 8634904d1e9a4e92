//! Clients that write and clients that watch, while servers and stores come and go; and whether what they were told fits
//! together.
//!
//! Writers create objects, change and delete them, each step once, and note what was acknowledged. Watchers follow all of
//! it; when a watch ends they go on from the last resource version they saw, at whichever server is there, and never list.
//! In the end:
//!
//! - every acknowledged step is an event of every watcher, once;
//! - every other event is a step that was tried and not answered, once; nothing is there that nobody tried, and nothing that
//!   was refused;
//! - the events of a watcher stand in the order of their revisions, and all watchers saw the same;
//! - the events, replayed, are what a list shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::api::{self, Ask, Watch};

const PATH: &str = "/api/v1/namespaces/default/configmaps";
const SELECTOR: &str = "labelSelector=test%3Dhistory";
const WRITERS: usize = 4;
const WATCHERS: usize = 3;
/// How many objects a writer takes through a step in one go.
const BATCH: usize = 8;
const LAST: &str = "the-last";
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Created,
    Changed,
    Deleted,
}

type Key = (String, Step);

#[derive(Debug, Default)]
struct Told {
    acknowledged: BTreeSet<Key>,
    unanswered: BTreeSet<Key>,
    refused: BTreeMap<Key, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    key: Key,
    revision: u64,
}

#[derive(Debug, Default)]
struct Shared {
    /// Where servers are now.
    urls: Mutex<Vec<String>>,
    over: AtomicBool,
    told: Mutex<Told>,
    resumptions: AtomicUsize,
}

/// Clients at work.
#[derive(Debug)]
pub struct History {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<Vec<Seen>>>,
}

/// How much happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Steps that were acknowledged.
    pub acknowledged: usize,
    /// Steps without an answer that happened all the same.
    pub unanswered: usize,
    /// How often a watcher went on with a new watch.
    pub resumptions: usize,
}

fn object(name: &str, step: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"test": "history"}},
        "data": {"name": name, "step": step}})
}

fn asked((name, step): &Key) -> Ask {
    let one = format!("{PATH}/{name}");
    let (method, path, body) = match step {
        Step::Created => ("POST", PATH.to_owned(), Some(object(name, "created"))),
        Step::Changed => ("PUT", one, Some(object(name, "changed"))),
        Step::Deleted => ("DELETE", one, None),
    };
    Ask { method, path, body }
}

// === impl History ===

impl History {
    /// Lets them begin, at these servers.
    ///
    /// # Panics
    /// When the first server does not answer.
    pub fn begin(urls: &[String]) -> Self {
        let shared = Arc::new(Shared { urls: Mutex::new(urls.to_vec()), ..Shared::default() });
        let (status, list) = api::ask(&urls[0], "GET", &format!("{PATH}?{SELECTOR}"), None);
        assert_eq!(status, 200, "{list}");
        let begun = api::revision(&list);
        let watchers = (0..WATCHERS)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.watch(n, begun))
            })
            .collect();
        let writers = (0..WRITERS)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.write(n))
            })
            .collect();
        Self { shared, writers, watchers }
    }

    /// Servers are elsewhere now, or away.
    pub fn move_to(&self, urls: &[String]) {
        *self.shared.urls.lock() = urls.to_vec();
    }

    /// How many steps were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.shared.told.lock().acknowledged.len()
    }

    /// Ends the writers, waits for the watchers, and compares. There must be a server.
    ///
    /// # Panics
    /// When it does not fit together.
    pub fn end(self) -> Summary {
        let Self { shared, writers, watchers } = self;
        shared.over.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.join().expect("a writer says what is wrong by panicking");
        }
        let url = shared.urls.lock()[0].clone();
        let last = crate::eventually("the last object is made", PATIENCE, || {
            match api::ask(&url, "POST", PATH, Some(&object(LAST, "created"))) {
                (201, made) => Ok(api::revision(&made)),
                // A try that was not answered did it.
                (409, _) => Ok(api::revision(&api::ask(&url, "GET", &format!("{PATH}/{LAST}"), None).1)),
                (status, told) => Err(format!("{status} {told}")),
            }
        });
        let seen: Vec<Vec<Seen>> = watchers
            .into_iter()
            .map(|watcher| watcher.join().expect("a watcher says what is wrong by panicking"))
            .collect();
        let told = std::mem::take(&mut *shared.told.lock());
        for (n, events) in seen.iter().enumerate() {
            check(n, events, &told, last);
            assert!(events == &seen[0], "watchers 0 and {n} saw the same");
        }
        let (status, list) = api::ask(&url, "GET", &format!("{PATH}?{SELECTOR}"), None);
        assert_eq!(status, 200, "{list}");
        let found: BTreeMap<&str, u64> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| (item["metadata"]["name"].as_str().unwrap_or_default(), api::revision(item)))
            .collect();
        let mut replayed = BTreeMap::new();
        for Seen { key: (name, step), revision } in &seen[0] {
            match step {
                Step::Created | Step::Changed => replayed.insert(name.as_str(), *revision),
                Step::Deleted => replayed.remove(name.as_str()),
            };
        }
        assert_eq!(found, replayed, "the events, replayed, are what is there");
        let acknowledged = told.acknowledged.len();
        Summary {
            acknowledged,
            // Besides the last object.
            unanswered: (seen[0].len() - 1).saturating_sub(acknowledged),
            resumptions: shared.resumptions.load(Ordering::SeqCst),
        }
    }
}

/// What one watcher saw against what the writers were told.
fn check(n: usize, events: &[Seen], told: &Told, last: u64) {
    assert!(events.is_sorted_by(|a, b| a.revision < b.revision), "watcher {n}: each revision once, in order");
    let mut seen = BTreeSet::new();
    for Seen { key, revision } in events {
        assert!(seen.insert(key), "watcher {n}: {key:?} happened twice, again at {revision}");
        let tried = told.acknowledged.contains(key) || told.unanswered.contains(key);
        assert!(
            tried || (key.0 == LAST && *revision == last),
            "watcher {n}: {key:?} at {revision}, which nobody was told might be: {:?}",
            told.refused.get(key)
        );
    }
    let missed: Vec<_> = told.acknowledged.iter().filter(|key| !seen.contains(key)).collect();
    assert!(missed.is_empty(), "watcher {n}: acknowledged and not seen: {missed:?}");
}

// === impl Shared ===

impl Shared {
    fn url(&self, n: usize) -> Option<String> {
        let urls = self.urls.lock();
        urls.get(n.checked_rem(urls.len())?).cloned()
    }

    fn write(&self, writer: usize) {
        let mut ready: BTreeMap<Step, Vec<String>> = BTreeMap::new();
        for batch in 0.. {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let Some(url) = self.url(writer + batch) else {
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            let fresh = (0..BATCH).map(|n| format!("h-{writer}-{batch}-{n}")).collect();
            // Of the objects of each batch some stay as they are, some are changed, and some of those are deleted.
            let changing = ready.remove(&Step::Created).unwrap_or_default().into_iter().skip(1).collect();
            let leaving = ready.remove(&Step::Changed).unwrap_or_default().into_iter().skip(1).collect();
            let steps: [(Step, Vec<String>); 3] =
                [(Step::Deleted, leaving), (Step::Changed, changing), (Step::Created, fresh)];
            let keys: Vec<Key> = steps
                .into_iter()
                .flat_map(|(step, names)| names.into_iter().map(move |name| (name, step)))
                .collect();
            let answers = api::ask_all(&url, &keys.iter().map(asked).collect::<Vec<_>>());
            let mut told = self.told.lock();
            for ((name, step), (status, answer)) in keys.into_iter().zip(answers) {
                match status {
                    200 | 201 => {
                        ready.entry(step).or_default().push(name.clone());
                        told.acknowledged.insert((name, step));
                    }
                    // A server that is starting knows nobody yet, and one that is busy refuses; else nothing is wrong with these.
                    401 | 403 | 429 => drop(told.refused.insert((name, step), answer)),
                    0 | 500.. => drop(told.unanswered.insert((name, step))),
                    _ => panic!("{name} {step:?}: {status} {answer}"),
                }
            }
        }
    }

    fn watch(&self, watcher: usize, begun: u64) -> Vec<Seen> {
        let (mut at, mut seen) = (begun, Vec::new());
        for n in 0.. {
            let Some(url) = self.url(watcher + n) else {
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            let path = format!("{PATH}?watch=1&allowWatchBookmarks=true&{SELECTOR}&resourceVersion={at}");
            let mut watch = Watch::open(&url, &path).expect("curl is installed");
            if n > 0 {
                self.resumptions.fetch_add(1, Ordering::SeqCst);
            }
            let mut silent = Duration::ZERO;
            // Until it ends.
            while let Ok(event) = watch.next(Duration::from_secs(1)) {
                let Some(event) = event else {
                    silent += Duration::from_secs(1);
                    assert!(silent < PATIENCE, "watcher {watcher} at {at}: nothing comes any more");
                    // A server that went without a word, such as one that was stopped.
                    if self.url(watcher + n).is_some_and(|now| now != url) {
                        break;
                    }
                    continue;
                };
                silent = Duration::ZERO;
                let object = &event["object"];
                let step = match (event["type"].as_str(), object["data"]["step"].as_str()) {
                    (Some("BOOKMARK"), _) => {
                        at = at.max(api::revision(object));
                        continue;
                    }
                    (Some("ADDED"), _) => Step::Created,
                    (Some("MODIFIED"), Some("changed")) => Step::Changed,
                    (Some("DELETED"), _) => Step::Deleted,
                    // A server that is starting, or away from its store, says so and does not watch.
                    (None, _) if matches!(event["code"].as_u64(), Some(401 | 403 | 429 | 500..)) => break,
                    _ => panic!("watcher {watcher} at {at}: {event}"),
                };
                let (name, revision) =
                    (object["metadata"]["name"].as_str().unwrap_or_default(), api::revision(object));
                assert!(revision > at, "watcher {watcher} was at {at}: {event}");
                at = revision;
                seen.push(Seen { key: (name.to_owned(), step), revision });
                if name == LAST {
                    return seen;
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
        seen
    }
}
