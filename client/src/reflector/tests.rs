//! Goal: whatever breaks, a cache ends up with what the cluster has, and tells each change once. Method: a reflector
//! against the server in memory, with time paused, one fault a test.

use std::{sync::Arc, time::Duration};

use api_types::status::Status;
use parking_lot::Mutex;
use runtime::Runtime;
use serde_json::{Value, json};

use super::*;
use crate::{
    resource::{NODES, PODS},
    testing::{FakeServer, Fault},
};

#[derive(Debug, Deserialize)]
struct Pod {
    metadata: Meta,
    #[serde(default, rename = "spec")]
    _spec: std::collections::BTreeMap<String, Value>,
}

impl Kind for Pod {
    const RESOURCE: Resource = PODS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

struct World {
    server: FakeServer,
    caches: Caches,
    told: Arc<Mutex<Vec<String>>>,
}

fn runtime() -> Runtime {
    Runtime::simulated("2026-01-01T00:00:00Z".parse().unwrap(), 1)
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"namespace": "ns", "name": name}})
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

impl World {
    fn new() -> Self {
        let runtime = runtime();
        let server = FakeServer::new(&runtime);
        let caches = Caches::new(server.api(), &runtime);
        Self { server, caches, told: Arc::default() }
    }

    /// Begins to keep pods.
    async fn start(&self) -> Cache<Pod> {
        let cache = self.caches.want::<Pod>();
        let told = Arc::clone(&self.told);
        cache.subscribe(move |change| {
            told.lock().push(format!("{} {}", change.what(), change.object().metadata.name));
        });
        settle().await;
        cache
    }

    fn put(&self, name: &str) -> Revision {
        let stored = self.server.put(&PODS, pod(name));
        Revision::parse(api_types::object::ObjectExt::resource_version(&stored))
    }

    fn touch(&self, name: &str) {
        let note = self.server.revision().to_string();
        self.server.change(&PODS, &Key::new("ns", name), &json!({"metadata": {"annotations": {"n": note}}}));
    }

    fn delete(&self, name: &str) {
        assert!(self.server.remove(&PODS, &Key::new("ns", name)));
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock())
    }

    /// The requests so far, without the length of watches, which is random.
    fn requests(&self) -> Vec<String> {
        let cut = |line: String| {
            let kept: Vec<&str> =
                line.split('&').filter(|part| !part.starts_with("timeoutSeconds")).collect();
            kept.join("&")
        };
        self.server.take_requests().into_iter().map(cut).collect()
    }
}

fn names(cache: &Cache<Pod>) -> Vec<String> {
    cache.list().iter().map(|pod| pod.metadata.name.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_fills_the_cache_and_goes_on_as_a_watch() {
    let world = World::new();
    world.put("a");
    let cache = world.start().await;
    assert!(cache.is_synced());
    let revision = world.put("b");
    world.touch("a");
    world.delete("a");
    settle().await;
    assert_eq!(names(&cache), ["b"]);
    assert_eq!(world.told(), ["added a", "added b", "modified a", "deleted a"]);
    assert!(cache.revision() > revision);
    assert_eq!(
        world.requests(),
        [
            "GET /api/v1/pods?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_stream_is_listed_by_pages() {
    let world = World::new();
    world.server.refuse_streams();
    for number in 0..1100 {
        world.put(&format!("p{number:04}"));
    }
    let cache = world.start().await;
    assert_eq!(cache.len(), 1100);
    assert_eq!(cache.revision(), Revision(world.server.revision()));
    assert_eq!(
        world.requests().into_iter().skip(1).collect::<Vec<_>>(),
        [
            "GET /api/v1/pods?limit=500",
            "GET /api/v1/pods?limit=500&continue=1101%20ns%2Fp0499",
            "GET /api/v1/pods?limit=500&continue=1101%20ns%2Fp0999",
            "GET /api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=1101",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn pages_that_expire_are_read_in_one_piece() {
    let world = World::new();
    world.server.refuse_streams();
    for number in 0..600 {
        world.put(&format!("p{number:04}"));
    }
    world.server.fail_next("continue=", Fault::Answer(Status::expired("too old")));
    let cache = world.start().await;
    assert_eq!(cache.len(), 600);
    assert_eq!(world.requests().get(3).map(String::as_str), Some("GET /api/v1/pods"));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_watch_resumes_where_it_broke_off() {
    let world = World::new();
    let cache = world.start().await;
    let seen = world.put("a");
    settle().await;
    world.server.hold_watches("pods");
    world.put("b");
    world.server.drop_watches();
    world.server.release_watches("pods");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(names(&cache), ["a", "b"]);
    assert_eq!(world.told(), ["added a", "added b"], "nothing lost, nothing twice");
    let requests = world.requests();
    assert_eq!(
        requests.get(1),
        Some(&format!("GET /api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion={seen}"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_moves_the_place_to_resume_from() {
    let world = World::new();
    let cache = world.start().await;
    for number in 0..5 {
        world.server.put(&NODES, json!({"metadata": {"name": format!("n{number}")}}));
    }
    settle().await;
    assert!(cache.revision() < Revision(world.server.revision()), "nodes are no news for pods");
    world.server.bookmark();
    settle().await;
    let revision = Revision(world.server.revision());
    assert_eq!(cache.revision(), revision);
    // Without the bookmark the history would no longer reach back.
    world.server.compact();
    world.server.drop_watches();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let requests = world.requests();
    assert_eq!(
        requests.get(1..),
        Some(
            [format!("GET /api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion={revision}")]
                .as_slice()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_lists_again_and_tells_only_what_differs() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.put(name);
    }
    let cache = world.start().await;
    world.told();
    world.server.hold_watches("pods");
    world.delete("a");
    world.touch("b");
    world.put("d");
    world.server.compact();
    world.server.drop_watches();
    world.server.release_watches("pods");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(names(&cache), ["b", "c", "d"]);
    assert_eq!(world.told(), ["deleted a", "modified b", "added d"]);
    let requests = world.requests();
    assert!(requests.get(1).is_some_and(|line| line.contains("resourceVersion=4")), "{requests:?}");
    assert!(requests.get(2).is_some_and(|line| line.contains("sendInitialEvents=true")), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_expires_under_way_lists_again() {
    let world = World::new();
    world.put("a");
    let cache = world.start().await;
    world.server.hold_watches("pods");
    world.delete("a");
    world.put("b");
    world.server.compact();
    // The open watch now finds its place gone, and says so by an ERROR event.
    world.server.release_watches("pods");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(names(&cache), ["b"]);
    assert_eq!(world.told(), ["added a", "deleted a", "added b"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_asked_ever_less_often() {
    let world = World::new();
    world.put("a");
    for _ in 0..4 {
        world.server.fail_next("pods", Fault::Unreachable);
    }
    let cache = world.start().await;
    assert!(!cache.is_synced());
    // 0.8, 1.6, 3.2 and 6.4 seconds, each up to twice as long.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(!cache.is_synced());
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(names(&cache), ["a"]);
    assert_eq!(world.requests().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_when_to_come_back_is_not_asked_before() {
    let world = World::new();
    world.server.fail_next("pods", Fault::Answer(Status::too_many_requests("busy", 20)));
    let cache = world.start().await;
    tokio::time::sleep(Duration::from_secs(19)).await;
    assert!(!cache.is_synced());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(cache.is_synced());
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_renewed_when_its_time_is_up() {
    let world = World::new();
    let cache = world.start().await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    world.put("a");
    settle().await;
    assert_eq!(names(&cache), ["a"]);
    let requests = world.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(world.server.watches(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_does_not_hide_the_others() {
    let odd = |name: &str| json!({"metadata": {"namespace": "ns", "name": name}, "spec": "not a map"});
    for streams in [true, false] {
        let world = World::new();
        if !streams {
            world.server.refuse_streams();
        }
        world.put("a");
        world.server.put(&PODS, odd("b"));
        world.put("c");
        let cache = world.start().await;
        assert_eq!(names(&cache), ["a", "c"]);
        world.server.put(&PODS, odd("a"));
        let revision = world.put("d");
        settle().await;
        assert_eq!(names(&cache), ["a", "c", "d"], "a as it was before it became unreadable");
        assert_eq!(cache.revision(), revision);
        world.delete("a");
        settle().await;
        assert_eq!(names(&cache), ["c", "d"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_has_one_reflector_whoever_reads_it() {
    let world = World::new();
    let (one, two) = (world.caches.want::<Pod>(), world.caches.want::<Pod>());
    world.caches.synced().await;
    world.put("a");
    settle().await;
    assert_eq!((one.len(), two.len(), world.server.watches()), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "one projection of a kind")]
async fn a_kind_has_one_projection() {
    #[derive(Deserialize)]
    struct OtherPod {
        metadata: Meta,
    }

    impl Kind for OtherPod {
        const RESOURCE: Resource = PODS;

        fn meta(&self) -> &Meta {
            &self.metadata
        }
    }

    let world = World::new();
    world.caches.want::<Pod>();
    world.caches.want::<OtherPod>();
}

#[tokio::test(start_paused = true)]
async fn metadata_of_any_resource_is_kept_until_it_is_forgotten() {
    let world = World::new();
    let crontabs = Resource::discovered("stable.example.com", "v1", "crontabs", "CronTab", true);
    world.server.put(
        &crontabs,
        json!({"metadata": {"namespace": "ns", "name": "c", "ownerReferences": [{"uid": "u1"}]}, "spec": {"x": 1}}),
    );
    let cache = world.caches.metadata(&crontabs);
    cache.synced().await;
    assert_eq!(cache.owned_by("u1").len(), 1);
    assert_eq!(world.caches.metadata_resources(), std::slice::from_ref(&crontabs));
    world.caches.forget_metadata(&crontabs);
    settle().await;
    assert_eq!(world.server.watches(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_is_noted() {
    let world = World::new();
    world.put("a");
    world.put("b");
    world.caches.want::<Pod>();
    world.caches.synced().await;
    let (caches, log) = world.caches.observed(None);
    let pods = caches.read::<Pod>();
    pods.in_namespace("ns");
    pods.get(&Key::new("ns", "a"));
    pods.get(&Key::new("ns", "nobody"));
    assert_eq!(log.take(), [Read { resource: "pods".to_owned(), revision: Revision(3), objects: 3 }]);
}
