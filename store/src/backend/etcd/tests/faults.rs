//! What goes wrong between an etcd and us.

use super::*;

/// Patience for what needs a reconnection.
const LONG: Duration = Duration::from_secs(30);

async fn until_written(store: &Etcd, key: &str) -> Revision {
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        match store.create(key, Bytes::new(), None).await {
            Ok(revision) => return revision,
            Err(Error::Unavailable { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_watch_outlives_its_etcd() {
    if !installed() {
        return;
    }
    let mut server = Server::start().await;
    let tasks = Tasks::new();
    let store = Etcd::connect(options(&server), &tasks).await.unwrap();
    let other = Etcd::connect(options(&server), &tasks).await.unwrap();
    let mut stream = store.watch("/p/", Revision(1)).await.unwrap();
    let mut expected = Vec::new();
    for round in 0..3 {
        expected.push(put(&store, &format!("/p/{round}/before"), "1").await.0);
        server.kill();
        let refused = store.create("/p/none", Bytes::new(), None).await.unwrap_err();
        assert!(matches!(&refused, Error::Unavailable { .. }), "{refused:?}");
        assert!(matches!(store.revision().await, Err(Error::Unavailable { .. })));
        server.resume().await;
        expected.push(until_written(&other, &format!("/p/{round}/after")).await.0);
    }
    assert_eq!(revisions(&mut stream, expected.len()).await, expected);
    // Fresh reads too.
    let last = put(&other, "/q/last", "1").await;
    store.revision().await.unwrap();
    store.request_progress("/p/");
    loop {
        let batch = tokio::time::timeout(LONG, stream.next()).await.unwrap().unwrap().unwrap();
        if batch.iter().any(|event| matches!(event, Event::Progress(reached) if *reached >= last)) {
            break;
        }
    }
}

#[tokio::test]
async fn a_compaction_behind_our_back_is_told() {
    if !installed() {
        return;
    }
    let mut server = Server::start().await;
    let tasks = Tasks::new();
    let first = put(&Etcd::connect(options(&server), &tasks).await.unwrap(), "/p/a", "1").await;
    // A proxy that can be cut, so that this store is away while the other compacts.
    let (proxy, gate) = gate(&server).await;
    let store = Etcd::connect(Options { endpoints: vec![proxy], ..options(&server) }, &tasks).await.unwrap();
    let mut stream = store.watch("/p/", first).await.unwrap();
    let mut quiet = store.watch("/quiet/", first).await.unwrap();
    gate.close();
    let other = Etcd::connect(options(&server), &tasks).await.unwrap();
    for n in 0..10 {
        put(&other, "/p/a", &n.to_string()).await;
    }
    let now = put(&other, "/p/b", "1").await;
    other.compact(now).await.unwrap();
    gate.open();
    for stream in [&mut stream, &mut quiet] {
        let told = loop {
            match tokio::time::timeout(LONG, stream.next()).await.expect("it is told") {
                Some(Ok(events)) => {
                    assert!(
                        events
                            .iter()
                            .all(|event| matches!(event, Event::Progress(reached) if *reached <= first))
                    );
                }
                other => break other,
            }
        };
        assert!(matches!(told, Some(Err(Error::Compacted { .. }))), "{told:?}");
    }
    // And then it goes on.
    let mut stream = store.watch("/p/", now).await.unwrap();
    let next = put(&store, "/p/c", "1").await;
    assert_eq!(revisions(&mut stream, 1).await, [next.0]);
    server.kill();
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    if !installed() {
        return;
    }
    let server = Server::start().await;
    let endpoints = vec!["http://127.0.0.1:1".to_owned(), server.url(), "http://127.0.0.1:2".to_owned()];
    let store = Etcd::connect(Options { endpoints, ..options(&server) }, &Tasks::new()).await.unwrap();
    let mut stream = store.watch("/", Revision(1)).await.unwrap();
    let mut expected = Vec::new();
    for n in 0..20 {
        expected.push(put(&store, &format!("/{n}"), "1").await.0);
    }
    assert_eq!(revisions(&mut stream, 20).await, expected);
}

#[tokio::test]
async fn a_stream_that_falls_behind_misses_nothing() {
    if !installed() {
        return;
    }
    let server = Server::start().await;
    let tasks = Tasks::new();
    let small = Options { recent_events_max: 10, ..options(&server) };
    let store = Etcd::connect(small, &tasks).await.unwrap();
    let mut stream = store.watch("/p/", Revision(1)).await.unwrap();
    let mut quiet = store.watch("/quiet/", Revision(1)).await.unwrap();
    let (mut expected, mut seen) = (Vec::new(), Vec::new());
    for n in 0..300 {
        expected.push(put(&store, &format!("/p/{}", n % 7), &n.to_string()).await.0);
        put(&store, "/other", &n.to_string()).await;
        // Now and then it catches up, in part or wholly.
        if n % 70 == 0 {
            seen.extend(revisions(&mut stream, 1).await);
        }
    }
    while seen.len() < expected.len() {
        seen.extend(revisions(&mut stream, 1).await);
    }
    assert_eq!(seen, expected);
    let last = put(&store, "/quiet/now", "1").await;
    assert_eq!(revisions(&mut quiet, 1).await, [last.0]);
}

/// An etcd that is killed, and one that cannot be reached, in turn.
struct Failing {
    server: tokio::sync::Mutex<Server>,
    gate: Arc<Gate>,
    store: Arc<Etcd>,
    times: AtomicU64,
}

impl conformance::histories::Place for Failing {
    fn store(&self) -> Option<Arc<dyn Backend>> {
        Some(Arc::clone(&self.store) as Arc<dyn Backend>)
    }

    fn fault(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if self.times.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                self.gate.close();
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.gate.open();
            } else {
                let mut server = self.server.lock().await;
                server.kill();
                server.resume().await;
            }
            // So that something happens in between.
            tokio::time::sleep(Duration::from_millis(300)).await;
        })
    }
}

async fn a_history(program: PathBuf, recent_events_max: usize) {
    let server = Server::start_program(program).await;
    let tasks = Tasks::new();
    let (proxy, gate) = gate(&server).await;
    let reached = Options { endpoints: vec![proxy], recent_events_max, ..options(&server) };
    let store = Arc::new(Etcd::connect(reached, &tasks).await.unwrap());
    let server = tokio::sync::Mutex::new(server);
    let place = Arc::new(Failing { server, gate, store, times: AtomicU64::new(0) });
    let summary = conformance::histories::check(place, 2 * conformance::histories::length()).await;
    // Its streams outlive all that, so that none need be broken.
    summary.tried();
    assert!(summary.faults > 1 && summary.unknown > 0, "{summary:?}");
    tasks.drain(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_fit_together_although_etcd_comes_and_goes() {
    if installed() {
        a_history("etcd".into(), 10_000).await;
        a_history("etcd".into(), 20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_fit_together_on_an_etcd_that_is_asked_for_progress() {
    if let Some(program) = server::newer() {
        a_history(program.clone(), 10_000).await;
        a_history(program, 20).await;
    }
}

/// A way to an etcd that can be closed.
struct Gate {
    open: Arc<tokio::sync::Semaphore>,
    connections: Tasks,
    cut: parking_lot::Mutex<Tasks>,
}

impl Gate {
    fn close(&self) {
        self.open.forget_permits(usize::MAX);
        self.cut.lock().stop();
    }

    fn open(&self) {
        *self.cut.lock() = self.connections.child();
        self.open.add_permits(1);
    }
}

async fn gate(server: &Server) -> (String, Arc<Gate>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let target = server.url().trim_start_matches("http://").to_owned();
    let connections = Tasks::new();
    let gate = Arc::new(Gate {
        open: Arc::new(tokio::sync::Semaphore::new(1)),
        cut: parking_lot::Mutex::new(connections.child()),
        connections: connections.clone(),
    });
    let accepting = Arc::clone(&gate);
    connections.spawn("gate", async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            if accepting.open.available_permits() == 0 {
                continue;
            }
            let target = target.clone();
            accepting.cut.lock().clone().spawn("gate/connection", async move {
                if let Ok(mut far) = tokio::net::TcpStream::connect(target).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    (url, gate)
}
