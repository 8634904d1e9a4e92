//! A process that writes is killed in the middle, again and again, and after each time what it had acknowledged is there.
//!
//! The writing process is this test itself, started with an environment variable. Several tasks write at once, each a
//! sequence of writes that can be computed: so from the last acknowledged one it is known what must be there, and the one
//! in flight is all that may be there besides.
//!
//! `STORE_KILLS` says how often; 5 times if it does not.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, and a program that talks to it")]

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use runtime::{SystemClock, Tasks};
use store::{Backend, Embedded, Options, Range, Revision};

const DIRECTORY: &str = "STORE_KILL_DIRECTORY";
const ROUND: &str = "STORE_KILL_ROUND";
const TASKS: u64 = 8;
const KEYS: u64 = 5;

/// So small that files are begun, snapshots taken and files removed while the process is killed.
fn options() -> Options {
    Options {
        segment_bytes_max: 200_000,
        snapshot_bytes_min: 100_000,
        history_events_max: 200,
        ..Options::default()
    }
}

fn open(directory: &Path) -> Embedded {
    Embedded::open(directory, options(), Arc::new(SystemClock)).unwrap()
}

/// What a task's write number `n` does: the key, and the new value unless it deletes.
fn write(round: u64, task: u64, n: u64) -> (String, Option<Bytes>) {
    let key = format!("/{round}/{task}/{}", n % KEYS);
    let size = usize::try_from(n.wrapping_mul(2_654_435_761) % 5000).unwrap();
    // Each key is created, written and deleted in turn.
    let value = (n / KEYS % 4 != 3).then(|| format!("{round} {task} {n} {}", "x".repeat(size)).into());
    (key, value)
}

/// What a task leaves after its first `count` writes.
fn after(round: u64, task: u64, count: u64) -> BTreeMap<String, Bytes> {
    let mut state = BTreeMap::new();
    for n in 0..count {
        match write(round, task, n) {
            (key, Some(value)) => drop(state.insert(key, value)),
            (key, None) => drop(state.remove(&key)),
        }
    }
    state
}

async fn write_until_killed(store: Arc<Embedded>, round: u64, task: u64) {
    let mut revisions: BTreeMap<String, Revision> = BTreeMap::new();
    for n in 0.. {
        let (key, value) = write(round, task, n);
        let written = match (revisions.get(&key), value) {
            (None, Some(value)) => store.create(&key, value, None).await,
            (Some(at), Some(value)) => store.update(&key, *at, value, None).await,
            (Some(at), None) => store.delete(&key, *at).await,
            (None, None) => unreachable!("a key is created before it is deleted"),
        };
        let revision = written.unwrap();
        if write(round, task, n).1.is_some() {
            revisions.insert(key, revision);
        } else {
            revisions.remove(&key);
        }
        println!("ack {task} {n} {revision}");
    }
}

#[test]
fn kill_minus_nine_loses_no_acknowledged_write() {
    if let Ok(directory) = env::var(DIRECTORY) {
        return be_the_writer(Path::new(&directory), env::var(ROUND).unwrap().parse().unwrap());
    }
    let kills = env::var("STORE_KILLS").map_or(5, |kills| kills.parse().expect("STORE_KILLS is a number"));
    let directory = tempfile::TempDir::new().unwrap();
    let mut expected: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut last = Revision(1);
    for round in 0..kills {
        let acknowledged = run_and_kill(directory.path(), round);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = open(directory.path());
            let revision = store.revision().await.unwrap();
            let newest = acknowledged.values().map(|(_, revision)| *revision).max().unwrap_or(last);
            assert!(revision >= newest && revision >= last, "{revision}, acknowledged {newest}");
            last = revision;
            let page = store.range(Range::default()).await.unwrap();
            let found: BTreeMap<String, Bytes> =
                page.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
            for task in 0..TASKS {
                let prefix = format!("/{round}/{task}/");
                let here: BTreeMap<_, _> = found
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                let count = acknowledged.get(&task).map_or(0, |(n, _)| n + 1);
                let right = here == after(round, task, count) || here == after(round, task, count + 1);
                assert!(
                    right,
                    "round {round} task {task}: acknowledged {count} writes, found {:?}",
                    here.keys()
                );
                expected.extend(here);
            }
            assert!(found == expected, "what earlier rounds left is unchanged");
        });
    }
}

/// Starts the writer, kills it, and returns each task's last acknowledged write with its revision.
fn run_and_kill(directory: &Path, round: u64) -> BTreeMap<u64, (u64, Revision)> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill_minus_nine_loses_no_acknowledged_write", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = BTreeMap::new();
    let mut take = |line: String| {
        let mut words = line.strip_prefix("ack ")?.split(' ').map(|word| word.parse::<u64>().unwrap());
        let (task, n, revision) = (words.next()?, words.next()?, words.next()?);
        acknowledged.insert(task, (n, Revision(revision)));
        Some(())
    };
    // It has begun when the first write is acknowledged; how far it gets then differs from round to round.
    while take(lines.next().expect("the writer writes").unwrap()).is_none() {}
    std::thread::sleep(Duration::from_millis(20 + round * 67 % 300));
    child.kill().unwrap();
    for line in lines {
        take(line.unwrap());
    }
    assert!(!child.wait().unwrap().success(), "it was killed");
    acknowledged
}

fn be_the_writer(directory: &Path, round: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(open(directory));
        let tasks = Tasks::new();
        for task in 0..TASKS {
            tasks.spawn("writer", write_until_killed(Arc::clone(&store), round, task));
        }
        std::future::pending::<()>().await;
    });
}
