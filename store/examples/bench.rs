//! Figures of the store on this machine: `cargo run --release -p store --example bench [directory [part]]`, the parts being
//! `memory`, `writes`, `watch` and `reads`.
//!
//! Durable writes a second and their latency, beside what the disk itself does at that moment; time to open, memory an object, cost of an event with many watchers. The
//! figures are printed, never asserted.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use runtime::{SystemClock, Tasks};
use store::{
    Backend, Embedded, Memory, Options, Range,
    cache::{self, Cache, Config, Filter, Header, WatchFrom},
};
use tokio::time::Instant;

const VALUE_BYTES: usize = 2048;
const OBJECTS: usize = 100_000;
/// Makes this program fill a store and end, so that what that leaves in memory is not counted.
const FILL: &str = "fill";

fn main() {
    let mut args = std::env::args().skip(1);
    let directory = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let part = args.next();
    if part.as_deref() == Some(FILL) {
        return runtime.block_on(fill(&directory, OBJECTS));
    }
    let wanted = |name| part.as_deref().is_none_or(|part| part == name);
    let path = directory.join(format!("store-bench-{}", std::process::id()));
    runtime.block_on(async {
        if wanted("memory") {
            memory(&path).await;
        }
        if wanted("writes") {
            disk(&path, Duration::from_secs(2));
            for writers in [1, 8, 64, 256] {
                writes(&path, writers, Duration::from_secs(3)).await;
            }
        }
        if wanted("watch") {
            for watchers in [0, 1, 1000, 10_000] {
                fan_out(watchers, Watched::Namespace).await;
            }
            fan_out(1000, Watched::OneNodeEach).await;
        }
        if wanted("reads") {
            reads().await;
        }
    });
    if let Err(error) = fs::remove_dir_all(&path) {
        say(&format!("cannot remove {}: {error}", path.display()));
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn say(line: &str) {
    println!("{line}");
}

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default(), Arc::new(SystemClock)).expect("the store opens")
}

/// What the disk does at this moment, for comparison: a file is appended to and synced, as often as it goes.
fn disk(path: &Path, duration: Duration) {
    use std::io::Write;
    fs::create_dir_all(path).expect("a directory");
    let mut file = fs::File::create(path.join("disk")).expect("a file");
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < duration {
        file.write_all(&[b'x'; VALUE_BYTES]).expect("a write");
        file.sync_data().expect("a sync");
        count += 1;
    }
    say(&format!(
        "the bare disk: {:.0} appends with a sync each /s",
        f64::from(count) / start.elapsed().as_secs_f64()
    ));
}

async fn writes(path: &Path, writers: usize, duration: Duration) {
    let store = Arc::new(open(&path.join(format!("writes-{writers}"))));
    let end = Instant::now() + duration;
    let start = Instant::now();
    let cpu = cpu_seconds();
    let latencies = join_all((0..writers).map(|writer| {
        let store = Arc::clone(&store);
        async move {
            let mut latencies = Vec::new();
            let mut n = 0_usize;
            let mut revisions = vec![None; 100];
            while Instant::now() < end {
                let (slot, key) =
                    (n % revisions.len(), format!("/registry/pods/default/{writer}-{}", n % revisions.len()));
                let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
                let start = Instant::now();
                let written = match revisions[slot] {
                    None => store.create(&key, value, None).await,
                    Some(at) => store.update(&key, at, value, None).await,
                };
                latencies.push(start.elapsed());
                revisions[slot] = Some(written.expect("the write succeeds"));
                n += 1;
            }
            latencies
        }
    }))
    .await;
    let seconds = start.elapsed().as_secs_f64();
    let mut latencies: Vec<Duration> = latencies.into_iter().flatten().collect();
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
    let count = latencies.len() as f64;
    say(&format!(
        "{writers:>4} writers: {:>7.0} durable writes/s, p50 {:?}, p99 {:?}, {:.1} us cpu each, {} MB on disk",
        count / seconds,
        at(50),
        at(99),
        (cpu_seconds() - cpu) * 1e6 / count,
        store.size().unwrap_or_default() >> 20,
    ));
}

fn describe() -> cache::Describe {
    Arc::new(|key, value, _| {
        let name = key.rsplit('/').next().unwrap_or_default();
        let number = name.rsplit('-').next().unwrap_or_default();
        let header = Header {
            namespace: Some("default".into()),
            name: name.into(),
            labels: [("app", "web"), ("pod-template-hash", "5f7d8b6c4"), ("tier", "front")].into(),
            fields: [
                ("spec.nodeName", number.get(..number.len().min(3)).unwrap_or_default()),
                ("status.phase", "Running"),
            ]
            .into(),
            extra: 0,
        };
        Ok((Bytes::copy_from_slice(&value), header))
    })
}

async fn cache_of(backend: Arc<dyn Backend>, tasks: &Tasks) -> Cache {
    let config = Config { index: Some("spec.nodeName".to_owned()), ..Config::default() };
    let cache = cache::start("pods", backend, "/registry/pods/", describe(), config, tasks);
    cache.ready().await;
    cache
}

async fn fill(path: &Path, objects: usize) {
    let store = open(path);
    for chunk in (0..objects).collect::<Vec<_>>().chunks(1000) {
        let creates = chunk.iter().map(|n| {
            let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
            let store = &store;
            async move { store.create(&format!("/registry/pods/ns-{}/pod-{n}", n % 100), value, None).await }
        });
        for created in join_all(creates).await {
            created.expect("the write succeeds");
        }
    }
}

async fn memory(path: &Path) {
    let (objects, path) = (OBJECTS, path.join("memory"));
    let this = std::env::current_exe().expect("this program");
    let filled = std::process::Command::new(this).arg(&path).arg(FILL).status().expect("it runs");
    assert!(filled.success());
    let before = resident_bytes();
    let start = Instant::now();
    let store: Arc<dyn Backend> = Arc::new(open(&path));
    let opened = start.elapsed();
    let with_store = resident_bytes();
    let tasks = Tasks::new();
    let start = Instant::now();
    let cache = cache_of(Arc::clone(&store), &tasks).await;
    let listed = start.elapsed();
    let with_cache = resident_bytes();
    let each = |bytes: usize| bytes / objects;
    say(&format!(
        "{objects} objects of {VALUE_BYTES} B: open {opened:?}, list into the cache {listed:?}; an object takes {} B in the store and {} B in the cache",
        each(with_store.saturating_sub(before)),
        each(with_cache.saturating_sub(with_store)),
    ));
    let start = Instant::now();
    let snapshot = cache.snapshot();
    let bytes: usize = snapshot.range("/registry/pods/", None).map(|object| object.bytes.len()).sum();
    say(&format!("walk over {} objects ({} MB): {:?}", snapshot.len(), bytes >> 20, start.elapsed()));
    let start = Instant::now();
    let small = open_small(&path.with_file_name("small")).await;
    say(&format!("open a store of 3000 objects: {small:?} (with writing them: {:?})", start.elapsed()));
    tasks.drain(Duration::from_secs(1)).await;
}

async fn open_small(path: &Path) -> Duration {
    {
        let store = open(path);
        let creates = (0..3000).map(|n| {
            let store = &store;
            async move {
                store
                    .create(&format!("/registry/pods/a/{n}"), Bytes::from(vec![b'x'; VALUE_BYTES]), None)
                    .await
            }
        });
        for created in join_all(creates).await {
            created.expect("the write succeeds");
        }
    }
    let start = Instant::now();
    let store = open(path);
    let opened = start.elapsed();
    let page = store.range(Range { limit: 1, ..Range::default() }).await.expect("a page");
    assert_eq!(page.remaining, 2999);
    opened
}

#[derive(Clone, Copy, Debug)]
enum Watched {
    Namespace,
    OneNodeEach,
}

async fn fan_out(watchers: usize, watched: Watched) {
    const EVENTS: usize = 2000;
    let tasks = Tasks::new();
    let store: Arc<dyn Backend> = Arc::new(Memory::new(&tasks));
    let cache = cache_of(Arc::clone(&store), &tasks).await;
    let reading = Tasks::new();
    let (done, mut finished) = tokio::sync::mpsc::channel(watchers.max(1));
    for n in 0..watchers {
        let (filter, expected) = match watched {
            Watched::Namespace => (Filter::prefix("/registry/pods/default/"), EVENTS),
            Watched::OneNodeEach => (Filter::indexed("/registry/pods/", &format!("{n:03}")), 1),
        };
        let mut watcher = cache.watch(WatchFrom::Now, filter).expect("a watcher");
        let done = done.clone();
        reading.spawn("watcher", async move {
            let mut seen = 0;
            while seen < expected
                && let Some(Ok(_)) = watcher.next().await
            {
                seen += 1;
            }
            let _ = done.send(()).await;
        });
    }
    drop(done);
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    for n in 0..EVENTS {
        store
            .create(&format!("/registry/pods/default/{n}"), value.clone(), None)
            .await
            .expect("the write succeeds");
        // About as a busy cluster does: not all at once.
        if n % 20 == 19 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    match watched {
        Watched::Namespace => while finished.recv().await.is_some() {},
        Watched::OneNodeEach => {
            // The first three digits of 2000 names of four are 200 nodes.
            for _ in 0..EVENTS / 10 {
                finished.recv().await;
            }
        }
    }
    let cpu = cpu_seconds() - cpu;
    say(&format!(
        "{watchers:>6} watchers ({watched:?}): {EVENTS} events in {:?}, {:.1} us cpu an event, {:.0} ns an event and watcher",
        start.elapsed(),
        cpu * 1e6 / EVENTS as f64,
        cpu * 1e9 / EVENTS as f64 / watchers.max(1) as f64,
    ));
    reading.drain(Duration::from_secs(5)).await;
    tasks.drain(Duration::from_secs(5)).await;
}

async fn reads() {
    const READS: u32 = 200_000;
    let tasks = Tasks::new();
    let store: Arc<dyn Backend> = Arc::new(Memory::new(&tasks));
    for n in 0..10_000 {
        let key = format!("/registry/pods/default/{n}");
        store.create(&key, Bytes::from_static(b"{}"), None).await.expect("the write succeeds");
    }
    let cache = cache_of(Arc::clone(&store), &tasks).await;
    let start = Instant::now();
    for n in 0..READS {
        let found =
            cache.get(&format!("/registry/pods/default/{}", n % 10_000), true).await.expect("a fresh read");
        assert!(found.is_some());
    }
    say(&format!("consistent get: {:?}", start.elapsed() / READS));
    let start = Instant::now();
    for n in 0..2000 {
        store.create(&format!("/registry/other/{n}"), Bytes::new(), None).await.expect("the write succeeds");
        cache.fresh().await.expect("a fresh read");
    }
    say(&format!("consistent read after a write elsewhere, with the write: {:?}", start.elapsed() / 2000));
    tasks.drain(Duration::from_secs(1)).await;
}

/// The memory of this process, on Linux.
fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}

/// The processor time of this process, on Linux with its usual 100 ticks a second.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
