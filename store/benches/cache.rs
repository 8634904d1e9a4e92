//! What reads and watches of the watch cache cost: `cargo bench -p store --bench cache`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use runtime::Tasks;
use store::{
    Backend, Memory,
    cache::{self, Cache, Config, Filter, Header, WatchFrom, Watcher},
};
use tokio::runtime::Runtime;

const OBJECTS: usize = 10_000;
const PREFIX: &str = "/registry/pods/";

fn describe() -> cache::Describe {
    Arc::new(|key, value, _| {
        let name = key.rsplit('/').next().unwrap_or_default();
        let hundredth = name.len().checked_sub(2).and_then(|at| name.get(at..)).unwrap_or("0");
        let header = Header {
            namespace: Some("default".into()),
            name: name.into(),
            labels: [("app", "web"), ("hundredth", hundredth)].into(),
            fields: [("spec.nodeName", hundredth), ("status.phase", "Running")].into(),
            extra: 0,
        };
        Ok((value, header))
    })
}

/// A cache of so many objects of 2 KiB in a hundred namespaces.
async fn filled(objects: usize, tasks: &Tasks) -> (Arc<Memory>, Cache) {
    let store = Arc::new(Memory::new(tasks));
    let value = Bytes::from(vec![b'x'; 2048]);
    for n in 0..objects {
        let key = format!("{PREFIX}ns-{}/pod-{n:06}", n % 100);
        store.create(&key, value.clone(), None).await.expect("memory takes it");
    }
    let config = Config { index: Some("spec.nodeName".to_owned()), ..Config::default() };
    let backend = Arc::clone(&store) as Arc<dyn Backend>;
    let cache = cache::start("pods", backend, PREFIX, describe(), config, tasks);
    cache.ready().await;
    (store, cache)
}

fn list(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let tasks = Tasks::new();
    let (_store, cache) = runtime.block_on(filled(OBJECTS, &tasks));
    let mut group = criterion.benchmark_group("list of 10,000");
    group.bench_function("snapshot", |bench| bench.iter(|| cache.snapshot()));
    group.throughput(Throughput::Elements(OBJECTS as u64));
    group.bench_function("all", |bench| {
        bench.iter(|| cache.snapshot().range(PREFIX, None).map(|object| object.bytes.len()).sum::<usize>());
    });
    group.bench_function("1 % by label", |bench| {
        bench.iter(|| {
            let snapshot = cache.snapshot();
            let chosen = |header: &Header| header.labels.get("hundredth") == Some("42");
            snapshot.range(PREFIX, None).filter(|object| chosen(&object.header)).count()
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("one namespace", |bench| {
        bench.iter(|| cache.snapshot().range("/registry/pods/ns-42/", None).count());
    });
    group.bench_function("fresh get", |bench| {
        bench.iter(|| runtime.block_on(cache.get("/registry/pods/ns-42/pod-000042", true)));
    });
    group.finish();
}

/// Waits until each has been told so many events.
async fn told(watchers: &mut [Watcher], events: usize) {
    for watcher in watchers {
        for _ in 0..events {
            watcher.next().await.expect("the watch goes on").expect("and is well");
        }
    }
}

fn fan_out(criterion: &mut Criterion) {
    const EVENTS: usize = 10;
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("ten events, written, to watchers of all");
    group.measurement_time(Duration::from_secs(8));
    for watchers in [1, 100, 1000] {
        let tasks = Tasks::new();
        let (store, cache) = runtime.block_on(filled(100, &tasks));
        let mut all: Vec<Watcher> = (0..watchers)
            .map(|_| cache.watch(WatchFrom::Now, Filter::prefix(PREFIX)).expect("a watcher"))
            .collect();
        // What is first polled begins then.
        runtime.block_on(write(&store, EVENTS));
        group.throughput(Throughput::Elements((EVENTS * watchers) as u64));
        group.bench_function(watchers.to_string(), |bench| {
            bench.iter_batched(
                || (),
                |()| {
                    runtime.block_on(async {
                        write(&store, EVENTS).await;
                        told(&mut all, EVENTS).await;
                    });
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

async fn write(store: &Memory, events: usize) {
    for n in 0..events {
        let key = format!("{PREFIX}ns-{n}/pod-{n:06}");
        let at = store.get(&key).await.expect("memory answers").expect("it is there").revision;
        store.update(&key, at, Bytes::from(vec![b'y'; 2048]), None).await.expect("memory takes it");
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    list(&mut criterion);
    fan_out(&mut criterion);
    criterion.final_summary();
}
