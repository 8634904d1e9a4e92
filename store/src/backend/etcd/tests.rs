//! Against real etcds, each on a port and in a directory of its own. Where there is no etcd these tests say so and do
//! nothing.

mod faults;
mod server;

use std::{path::PathBuf, time::Duration};

use futures::StreamExt;
use proptest::{strategy::ValueTree, test_runner::TestRunner};

use self::server::{Server, installed};
use super::*;
use crate::{
    backend::{Event, EventStream},
    conformance,
};

/// How many etcds run at once.
const AT_ONCE: usize = 3;

fn options(server: &Server) -> Options {
    Options {
        endpoints: vec![server.url()],
        prefix_here: String::new(),
        prefix_there: String::new(),
        compaction_period: Duration::ZERO,
        ..Options::default()
    }
}

async fn put(store: &Etcd, key: &str, text: &str) -> Revision {
    let value = Bytes::copy_from_slice(text.as_bytes());
    match store.get(key).await.unwrap() {
        Some(entry) => store.update(key, entry.revision, value, None).await.unwrap(),
        None => store.create(key, value, None).await.unwrap(),
    }
}

/// The revisions of the next events.
async fn revisions(stream: &mut EventStream, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let batch = tokio::time::timeout(Duration::from_secs(30), stream.next()).await.expect("in time");
        for event in batch.expect("the watch goes on").expect("the watch is well") {
            match event {
                Event::Put { entry, .. } => seen.push(entry.revision.0),
                Event::Delete { revision, .. } => seen.push(revision.0),
                Event::Progress(_) => {}
            }
        }
    }
    seen
}

async fn conforms(change: impl Fn(Options) -> Options + Sync) {
    conforms_on("etcd".into(), change).await;
}

async fn conforms_on(program: PathBuf, change: impl Fn(Options) -> Options + Sync) {
    let (change, program) = (&change, &program);
    futures::stream::iter(conformance::cases())
        .for_each_concurrent(AT_ONCE, |case| async move {
            let server = Server::start_program(program.clone()).await;
            let tasks = Tasks::new();
            let store = Etcd::connect(change(options(&server)), &tasks).await.unwrap();
            case.run(Arc::new(store)).await;
            tasks.drain(Duration::from_secs(5)).await;
        })
        .await;
}

#[tokio::test]
async fn etcd_means_what_a_store_means() {
    if installed() {
        conforms(|options| options).await;
    }
}

#[tokio::test]
async fn etcd_means_the_same_under_another_prefix() {
    if installed() {
        conforms(|options| Options { prefix_there: "/some/where".to_owned(), ..options }).await;
    }
}

/// The other way to know how far a watch is, which older etcds cannot be trusted with, and newer ones are found out to have.
#[tokio::test]
async fn etcd_means_the_same_when_it_is_asked_for_progress() {
    let Some(program) = server::newer() else { return };
    let server = Server::start_program(program.clone()).await;
    let tasks = Tasks::new();
    assert!(Etcd::connect(options(&server), &tasks).await.unwrap().core.by_requests(), "it is found out");
    drop(server);
    conforms_on(program.clone(), |options| Options { progress: Progress::Requests, ..options }).await;
    conforms_on(program, |options| Options { recent_events_max: 1, ..options }).await;
}

#[tokio::test]
async fn a_newer_etcd_need_not_be_asked() {
    let Some(program) = server::newer() else { return };
    conforms_on(program, |options| Options { progress: Progress::Everything, ..options }).await;
}

#[tokio::test]
async fn etcd_means_the_same_if_everything_is_read_from_it_again() {
    if installed() {
        conforms(|options| Options { recent_events_max: 1, ..options }).await;
    }
}

#[tokio::test]
async fn etcd_agrees_with_the_model() {
    if !installed() {
        return;
    }
    let mut runner = TestRunner::deterministic();
    for _ in 0..8 {
        let steps =
            proptest::strategy::Strategy::new_tree(&conformance::steps(), &mut runner).unwrap().current();
        let server = Server::start().await;
        let tasks = Tasks::new();
        let store = Etcd::connect(options(&server), &tasks).await.unwrap();
        conformance::check_against_model(Arc::new(store), steps).await;
        tasks.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn large_ranges_come_in_pages_of_one_revision() {
    if !installed() {
        return;
    }
    let server = Server::start().await;
    let tasks = Tasks::new();
    let store = Etcd::connect(options(&server), &tasks).await.unwrap();
    let keys: Vec<String> = (0..2 * PAGE_MAX + 7).map(|n| format!("/p/{n:05}")).collect();
    let value = Bytes::from(vec![b'x'; 4000]);
    let writes = keys.iter().map(|key| store.create(key, value.clone(), None));
    futures::stream::iter(writes)
        .buffer_unordered(64)
        .for_each(|written| async {
            written.unwrap();
        })
        .await;
    let page = store.range(Range { prefix: "/p/".to_owned(), ..Range::default() }).await.unwrap();
    assert!(page.entries.iter().map(|entry| &entry.key).eq(&keys));
    assert_eq!(page.remaining, 0);
    let limit = PAGE_MAX + 1;
    let page = store.range(Range { prefix: "/p/".to_owned(), limit, ..Range::default() }).await.unwrap();
    assert_eq!((page.entries.len(), page.remaining), (limit, PAGE_MAX as u64 + 6));
    // And a watch from the beginning, which is many fragments.
    let mut stream = store.watch("/p/", Revision(1)).await.unwrap();
    assert_eq!(revisions(&mut stream, keys.len()).await, (2..keys.len() as u64 + 2).collect::<Vec<_>>());
}

#[tokio::test]
async fn keys_that_vanish_together_share_a_lease() {
    if !installed() {
        return;
    }
    let server = Server::start().await;
    let tasks = Tasks::new();
    let store = Etcd::connect(options(&server), &tasks).await.unwrap();
    let hour = Some(Duration::from_secs(3600));
    for n in 0..3 {
        store.create(&format!("/e/{n}"), Bytes::new(), hour).await.unwrap();
    }
    let (kvs, _, _) = store.core.read("/e/", None, 0, None).await.unwrap();
    assert!(kvs.iter().all(|kv| kv.lease != 0 && kv.lease == kvs[0].lease), "{kvs:?}");
    let left = store.times_to_live("/e/").await.unwrap();
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|(_, left)| (3590..=3660).contains(&left.as_secs())), "{left:?}");

    store.create("/e/short", Bytes::new(), Some(Duration::from_secs(600))).await.unwrap();
    let counted: Vec<_> = store.collectors().iter().flat_map(|counts| counts.collect()).collect();
    assert_eq!(counted[0].name(), "etcd_lease_object_counts");
    let keys = counted[0].get_metric()[0].get_histogram();
    assert_eq!(
        (keys.get_sample_count(), keys.get_sample_sum()),
        (1, 3.0),
        "the first lease is no longer given out"
    );
}

#[tokio::test]
async fn compactors_take_turns() {
    if !installed() {
        return;
    }
    let server = Server::start().await;
    let tasks = Tasks::new();
    let store = Etcd::connect(options(&server), &tasks).await.unwrap();
    compactor::tests::one_at_a_time(&store.core, async || put(&store, "/a", "x").await).await;
}

#[tokio::test]
async fn what_is_too_large_for_etcd_is_said_so() {
    if !installed() {
        return;
    }
    let server = Server::start_with(&[]).await;
    let store = Etcd::connect(options(&server), &Tasks::new()).await.unwrap();
    let refused = store.create("/a", Bytes::from(vec![b'x'; 2_000_000]), None).await.unwrap_err();
    assert!(matches!(&refused, Error::TooLarge(text) if text.contains("too large")), "{refused:?}");
    put(&store, "/a", "small").await;
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_named() {
    let refused = Etcd::connect(
        Options {
            endpoints: vec!["127.0.0.1:1".to_owned()],
            patience: Duration::from_secs(2),
            ..Options::default()
        },
        &Tasks::new(),
    )
    .await
    .unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("etcd at http://127.0.0.1:1 cannot be used"), "{text}");
    assert!(text.to_lowercase().contains("connection refused"), "{text}");
}

#[tokio::test]
async fn certificates_are_asked_for_and_shown() {
    if !installed() {
        return;
    }
    let certificates = server::Certificates::new();
    let server = Server::start_with_tls(&certificates).await;
    let with = Options {
        ca_file: Some(certificates.path("ca.pem")),
        cert_file: Some(certificates.path("client.pem")),
        key_file: Some(certificates.path("client.key")),
        patience: Duration::from_secs(10),
        ..options(&server)
    };
    let store = Etcd::connect(with.clone(), &Tasks::new()).await.unwrap();
    let revision = put(&store, "/a", "1").await;
    let mut stream = store.watch("/", Revision(1)).await.unwrap();
    assert_eq!(revisions(&mut stream, 1).await, [revision.0]);
    for without in [
        Options { cert_file: None, key_file: None, patience: Duration::ZERO, ..with.clone() },
        Options { ca_file: Some(certificates.path("other.pem")), patience: Duration::ZERO, ..with.clone() },
    ] {
        let refused = Etcd::connect(without, &Tasks::new()).await.unwrap_err();
        assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    }
}

#[tokio::test]
async fn names_and_passwords_are_told() {
    if !installed() {
        return;
    }
    let server = Server::start().await;
    let said = [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "ours"],
        &["role", "grant-permission", "ours", "readwrite", "/registry/", "/registry0"],
        &["user", "add", "us:word"],
        &["user", "grant-role", "us", "ours"],
        &["auth", "enable"],
    ];
    if !server.control(&said).await {
        return;
    }
    let with = |name: &str, password: &str| Options {
        user: Some((name.to_owned(), password.to_owned())),
        patience: Duration::ZERO,
        progress: Progress::Requests,
        prefix_here: "/registry/".to_owned(),
        prefix_there: "/registry/".to_owned(),
        ..options(&server)
    };
    // One who may see everything, and one who may see only our keys.
    for user in [with("root", "secret"), with("us", "word")] {
        let store = Etcd::connect(user, &Tasks::new()).await.unwrap();
        let key = "/registry/a";
        let revision = put(&store, key, "1").await;
        let mut stream = store.watch("/registry/", Revision(revision.0 - 1)).await.unwrap();
        assert_eq!(revisions(&mut stream, 1).await, [revision.0]);
    }
    let refused = Etcd::connect(with("us", "wrong"), &Tasks::new()).await.unwrap_err();
    assert!(refused.to_string().contains("authentication failed"), "{refused}");
}
