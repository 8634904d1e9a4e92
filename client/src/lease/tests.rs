//! Goal: one leads, never two, and a lead passes on. Method: the decision as a table; two candidates against the server in
//! memory with time paused.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::{
    resource::EVENTS,
    testing::{FakeServer, Fault},
};

fn lease() -> Key {
    Key::new("kube-system", "tester")
}

fn runtime() -> Runtime {
    Runtime::simulated("2026-01-01T00:00:00Z".parse().unwrap(), 1)
}

fn election(server: &FakeServer, runtime: &Runtime, identity: &str) -> Election {
    Election::new(server.api(), runtime, Settings::new(lease(), identity.to_owned()))
}

#[test]
fn a_candidate_takes_only_what_nobody_holds() {
    let settings = Settings::new(lease(), "me".to_owned());
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let held_by = |holder: &str| Spec {
        holder_identity: holder.to_owned(),
        lease_duration_seconds: 15,
        acquire_time: None,
        renew_time: None,
        lease_transitions: 3,
    };
    let transitions = |decision: Move| match decision {
        Move::Create(spec) | Move::Write(spec) => Some(spec.lease_transitions),
        Move::StandBy => None,
    };
    let check = |holder: &str, unchanged: u64| {
        transitions(decide(&settings, Some((&held_by(holder), Duration::from_secs(unchanged))), now))
    };
    assert_eq!(check("other", 0), None, "held");
    assert_eq!(check("other", 14), None, "held still");
    assert_eq!(check("other", 15), Some(4), "run out");
    assert_eq!(check("", 0), Some(4), "released");
    assert_eq!(check("me", 0), Some(3), "mine: renewed, it does not change hands");
    assert_eq!(transitions(decide(&settings, None, now)), Some(0), "made");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_written_as_upstream_writes_it() {
    let runtime = runtime();
    let server = FakeServer::new(&runtime);
    let events = Recorder::start(&runtime, server.api(), "tester");
    let metrics = Metrics::new();
    election(&server, &runtime, "a").telling(events).measured(&metrics).acquire().await;
    assert_eq!(metrics.0.with_label_values(&["tester"]).get(), 1);
    assert_eq!(
        server.get(&LEASES, &lease()).unwrap()["spec"],
        json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "acquireTime": "2026-01-01T00:00:00.000000Z",
               "renewTime": "2026-01-01T00:00:00.000000Z", "leaseTransitions": 0})
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let events = server.list(&EVENTS);
    assert_eq!(events[0]["message"], "a became leader");
    assert_eq!(events[0]["reason"], "LeaderElection");
}

#[tokio::test(start_paused = true)]
async fn a_lead_that_is_not_renewed_passes_on_after_it_has_run_out() {
    let runtime = runtime();
    let server = FakeServer::new(&runtime);
    let (mut one, mut two) = (election(&server, &runtime, "one"), election(&server, &runtime, "two"));
    one.acquire().await;
    let start = Instant::now();
    // One dies without a word.
    drop(one);
    two.acquire().await;
    let waited = start.elapsed().as_secs();
    assert!((15..20).contains(&waited), "{waited}");
    let spec = server.get(&LEASES, &lease()).unwrap()["spec"].clone();
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("two"), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_lead_that_is_renewed_does_not_pass_on_and_a_released_one_does_soon() {
    let runtime = runtime();
    let server = FakeServer::new(&runtime);
    let leading = Arc::new(Mutex::new(Vec::new()));
    let candidate = |name: &'static str, tasks: runtime::Tasks| {
        let runtime = Runtime { tasks: tasks.clone(), ..runtime.clone() };
        let election = election(&server, &runtime, name);
        let log = Arc::clone(&leading);
        tasks.spawn_draining("candidate", async move {
            let ended = election.run({
                let log = Arc::clone(&log);
                move |led| {
                    log.lock().push(format!("{name} leads"));
                    let stopping = led.tasks.stopping();
                    led.tasks.spawn_draining("work", async move {
                        stopping.cancelled().await;
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        log.lock().push(format!("{name} has finished"));
                    });
                }
            });
            let _ = ended.await;
        });
    };
    let (one, two) = (runtime::Tasks::new(), runtime::Tasks::new());
    candidate("one", one.clone());
    tokio::time::sleep(Duration::from_secs(1)).await;
    candidate("two", two.clone());
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(*leading.lock(), ["one leads"]);
    let start = Instant::now();
    assert!(one.drain(Duration::from_secs(30)).await);
    while leading.lock().len() < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(*leading.lock(), ["one leads", "one has finished", "two leads"]);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    two.stop();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_another_may_begin() {
    let runtime = runtime();
    let server = FakeServer::new(&runtime);
    let mut one = election(&server, &runtime, "one");
    one.acquire().await;
    let start = Instant::now();
    for _ in 0..100 {
        server.fail_next("leases", Fault::Unreachable);
    }
    one.hold().await;
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    let mut two = election(&server, &runtime, "two");
    for _ in 0..100 {
        server.take_requests();
    }
    two.acquire().await;
    assert!(start.elapsed() >= Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_sees_another_one_stops_at_once() {
    let runtime = runtime();
    let server = FakeServer::new(&runtime);
    let mut one = election(&server, &runtime, "one");
    one.acquire().await;
    server.change(&LEASES, &lease(), &json!({"spec": {"holderIdentity": "two"}}));
    let start = Instant::now();
    one.hold().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(one.leader(), Some("two"));
}
