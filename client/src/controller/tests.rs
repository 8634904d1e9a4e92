//! Goal: the harness does not let a controller act twice on what it has done already, and tells what happened. Method: a
//! replica controller in miniature against the server in memory, with time paused and the pods' watch held back.

use std::{sync::Arc, time::Duration};

use api_types::status::{self, Status};
use runtime::Runtime;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    catch_up::Ledger,
    record::{Next, Outcome},
    *,
};
use crate::{
    Meta, Owner, Resource, Revision,
    events::{Note, ObjectRef, Recorder},
    resource::{EVENTS, PODS, REPLICA_SETS},
    testing::{FakeServer, Fault},
};

#[derive(Debug, Deserialize)]
struct ReplicaSet {
    metadata: Meta,
    spec: ReplicaSetSpec,
}

#[derive(Debug, Deserialize)]
struct ReplicaSetSpec {
    replicas: usize,
}

#[derive(Debug, Deserialize)]
struct Pod {
    metadata: Meta,
}

impl Kind for ReplicaSet {
    const RESOURCE: Resource = REPLICA_SETS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Kind for Pod {
    const RESOURCE: Resource = PODS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// As many pods as wanted: no more and no less.
struct Replicas;

struct Observed {
    root: Arc<ReplicaSet>,
    pods: Vec<Arc<Pod>>,
    failed_before: Option<String>,
}

impl Controller for Replicas {
    type Root = ReplicaSet;
    type Observed = Observed;
    const NAME: &'static str = "replicas";

    fn triggers(&self, on: &mut Triggers<ReplicaSet>) {
        on.root().owned::<Pod>();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let root = caches.read::<ReplicaSet>().get(root)?;
        let pods = caches.read::<Pod>().controlled_by(&root.metadata.uid);
        Some(Observed { root, pods, failed_before: caches.last_failure().map(str::to_owned) })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { root, pods, failed_before } = observed;
        assert!(root.metadata.annotations.get("panic").is_none(), "asked to");
        let wanted = root.spec.replicas;
        let about = ObjectRef::to(&**root);
        let status = |plan: Plan| {
            let status = json!({"replicas": pods.len(), "failure": failed_before});
            plan.then(Request::status(REPLICA_SETS, root.metadata.key(), status).on_failure(OnFailure::GoOn))
        };
        if pods.len() < wanted {
            let owner = Owner::controller_of(&REPLICA_SETS, &root.metadata);
            let object = Arc::new(json!({
                "metadata": {"generateName": format!("{}-", root.metadata.name), "ownerReferences": [owner]},
            }));
            let create = Request::create(PODS, &root.metadata.namespace, object).reporting(Report {
                about,
                done: Some(Note::normal("SuccessfulCreate", "Created pod: {name}")),
                failed: Some(Note::warning("FailedCreate", "Error creating: {error}")),
            });
            let create = create.on_failure(OnFailure::GoOn);
            let missing = wanted - pods.len();
            let plan = Plan::because(format!("{missing} of {wanted} pods are missing"));
            return status(plan.then(Write::slow_start(vec![create; missing])));
        }
        let surplus =
            pods.iter().skip(wanted).map(|pod| Request::delete(PODS, &pod.metadata)).collect::<Vec<_>>();
        if surplus.is_empty() {
            return status(Plan::because("there are as many pods as wanted"));
        }
        status(Plan::because(format!("{} pods too many", surplus.len())).then(Write::all(surplus)))
    }
}

struct World {
    runtime: Runtime,
    server: FakeServer,
    manager: Manager,
}

fn key() -> Key {
    Key::new("ns", "web")
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

impl World {
    fn new() -> Self {
        let runtime = Runtime::simulated("2026-01-01T00:00:00Z".parse().unwrap(), 1);
        let server = FakeServer::new(&runtime);
        let manager = Manager::new(&runtime, server.api());
        Self { runtime, server, manager }
    }

    fn want(&self, replicas: usize) {
        self.server.put(
            &REPLICA_SETS,
            json!({"metadata": {"namespace": "ns", "name": "web"}, "spec": {"replicas": replicas}}),
        );
    }

    /// A change that means nothing, but triggers.
    fn touch(&self) {
        let note = self.server.revision().to_string();
        self.server.change(&REPLICA_SETS, &key(), &json!({"metadata": {"annotations": {"n": note}}}));
    }

    fn pods(&self) -> usize {
        self.server.list(&PODS).len()
    }

    fn status(&self) -> Value {
        self.server.get(&REPLICA_SETS, &key()).unwrap()["status"].clone()
    }

    fn records(&self) -> Vec<Arc<Record>> {
        self.manager.records.all()
    }

    fn writes(&self) -> Vec<String> {
        self.server.take_requests().into_iter().filter(|line| !line.starts_with("GET")).collect()
    }
}

/// What every reconcile loop does first: look at the cache, act, look again. The same controller, without catching up.
async fn naive_looks(world: &World, times: usize, ledger: Option<&Ledger>) {
    let caches = &world.manager.caches;
    let events = Recorder::start(&world.runtime, world.server.api(), "naive");
    let executor = Executor::new(world.server.api(), events);
    for _ in 0..times {
        if ledger.is_some_and(|ledger| ledger.is_behind(&key(), caches)) {
            continue;
        }
        let observed = Replicas.observe(&key(), caches).unwrap();
        let plan = Replicas.reconcile(&observed, world.runtime.clock.now());
        let execution = executor.execute(&plan).await;
        if let Some(ledger) = ledger {
            ledger.mark(&key(), &execution.effects, caches);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_catching_up_a_replica_controller_overshoots_and_with_it_does_not() {
    for (catches_up, pods) in [(false, 9), (true, 3)] {
        let world = World::new();
        world.want(3);
        world.manager.caches.want::<ReplicaSet>();
        world.manager.caches.want::<Pod>();
        world.manager.caches.synced().await;
        world.server.hold_watches("pods");
        let ledger = Ledger::default();
        naive_looks(&world, 3, catches_up.then_some(&ledger)).await;
        assert_eq!(world.pods(), pods, "catches up: {catches_up}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_harness_never_makes_more_pods_than_wanted_however_late_the_watch() {
    let world = World::new();
    world.manager.start(Replicas, Options::workers(4));
    world.server.hold_watches("pods");
    world.want(3);
    for _ in 0..20 {
        world.touch();
        settle().await;
        assert!(world.pods() <= 3);
    }
    assert_eq!(world.pods(), 3);
    world.server.release_watches("pods");
    // A worker that waited in vain lets others go first and comes back.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((world.pods(), world.status()["replicas"].clone()), (3, json!(3)));
    world.want(1);
    settle().await;
    assert_eq!((world.pods(), world.status()["replicas"].clone()), (1, json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_reply_was_lost_is_looked_for_before_it_is_repeated() {
    let world = World::new();
    world.manager.start(Replicas, Options::default());
    settle().await;
    world.server.hold_watches("pods");
    world.server.fail_next("POST /api/v1/namespaces/ns/pods", Fault::LoseReply);
    world.want(3);
    for _ in 0..20 {
        world.touch();
        settle().await;
        assert!(world.pods() <= 3);
    }
    assert_eq!(world.pods(), 1, "the rest of the batch was not tried");
    world.server.release_watches("pods");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.pods(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_the_cache_has_not_seen_is_not_repeated() {
    let world = World::new();
    world.want(2);
    world.manager.start(Replicas, Options::default());
    settle().await;
    world.server.hold_watches("pods");
    world.writes();
    world.want(1);
    settle().await;
    for _ in 0..3 {
        world.touch();
        settle().await;
    }
    let deletions = world.writes().into_iter().filter(|line| line.starts_with("DELETE")).count();
    assert_eq!((deletions, world.pods()), (1, 1));
}

#[test]
fn a_revision_of_before_a_restored_backup_is_not_waited_for() {
    let (mut feed, cache) = crate::reflector::pair::<Pod>();
    let caches = Caches::detached();
    caches.insert(cache);
    feed.replace([], Revision(9));
    let ledger = Ledger::default();
    ledger.mark(&key(), &[execute::Effect::Wrote(PODS, Revision(12))], &caches);
    assert!(ledger.is_behind(&key(), &caches));
    assert!(!ledger.is_behind(&Key::new("ns", "other"), &caches));
    feed.replace([], Revision(4));
    assert!(!ledger.is_behind(&key(), &caches), "12 may now never come, or mean something else");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_controller_begins_with_a_consistent_read() {
    let world = World::new();
    world.want(3);
    world.manager.start(Replicas, Options::default());
    settle().await;
    assert!(world.runtime.tasks.drain(Duration::from_secs(5)).await);
    let restarted = World { manager: Manager::new(&fresh_tasks(&world), world.server.api()), ..world };
    restarted.server.hold_watches("pods");
    restarted.manager.start(Replicas, Options::default());
    restarted.touch();
    settle().await;
    assert_eq!(restarted.pods(), 3);
}

fn fresh_tasks(world: &World) -> Runtime {
    Runtime { tasks: runtime::Tasks::new(), ..world.runtime.clone() }
}

#[tokio::test(start_paused = true)]
async fn a_record_tells_what_triggered_was_read_decided_and_written() {
    let world = World::new();
    world.manager.start(Replicas, Options::default());
    settle().await;
    world.want(2);
    settle().await;
    let records = world.records();
    let first = &records[0];
    let json = serde_json::to_value(&**first).unwrap();
    assert_eq!(json["controller"], "replicas");
    assert_eq!(json["key"], "ns/web");
    assert_eq!(json["why"], "2 of 2 pods are missing");
    assert_eq!(
        json["causes"],
        json!([{"cause": "change", "resource": "replicasets.apps", "key": "ns/web", "revision": "2", "what": "added"}])
    );
    assert_eq!(
        json["reads"],
        json!([{"resource": "replicasets.apps", "revision": "2", "objects": 1},
               {"resource": "pods", "revision": "1", "objects": 0}])
    );
    let writes: Vec<_> =
        first.writes.iter().map(|it| (&*it.verb, it.resource.as_str(), it.revision.0)).collect();
    assert_eq!(
        writes.iter().map(|(verb, resource, _)| (*verb, *resource)).collect::<Vec<_>>(),
        [("create", "pods"), ("create", "pods"), ("update", "replicasets.apps/status")]
    );
    assert!(
        first.writes.iter().all(|written| written.outcome == Outcome::Done && !written.key.name.is_empty())
    );
    assert_eq!(json["next"], json!({"next": "wait"}));

    // The graph of causes: a pod that the first look made triggered a later one.
    let made = first.writes[0].revision;
    assert_eq!(world.manager.records.writer_of(made).unwrap().sequence, first.sequence);
    assert!(world.manager.records.caused_by(made).iter().any(|later| later.sequence > first.sequence));
    assert!(!world.manager.records.about("pods", &first.writes[0].key).is_empty());
    assert_eq!(records.last().unwrap().why, "there are as many pods as wanted");
}

#[tokio::test(start_paused = true)]
async fn a_batch_in_slow_start_stops_at_the_first_failure() {
    let world = World::new();
    world.manager.start(Replicas, Options::default());
    settle().await;
    for _ in 0..2 {
        let full = Status::forbidden(&PODS.group_resource(), "", "exceeded quota");
        world.server.fail_next("POST /api/v1/namespaces/ns/pods", Fault::Answer(full));
    }
    world.server.take_requests();
    world.want(100);
    tokio::time::sleep(Duration::from_millis(2)).await;
    let records = world.records();
    let outcomes: Vec<_> = records[0].writes.iter().map(|written| &written.outcome).collect();
    assert!(
        matches!(outcomes[0], Outcome::Failed(message) if message == "pods is forbidden: exceeded quota")
    );
    assert!(outcomes[1..100].iter().all(|outcome| **outcome == Outcome::Skipped));
    assert_eq!(*outcomes[100], Outcome::Done, "the status is told nevertheless");
    assert!(matches!(&records[0].next, Next::Retry { after, .. } if *after == Duration::from_millis(5)));
    settle().await;
    assert_eq!(world.pods(), 100);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let events: Vec<String> =
        world.server.list(&EVENTS).iter().map(|event| event["reason"].to_string()).collect();
    assert!(
        events.contains(&"\"FailedCreate\"".to_owned())
            && events.contains(&"\"SuccessfulCreate\"".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_in_slow_start_stops_in_a_namespace_that_goes() {
    let world = World::new();
    world.manager.start(Replicas, Options::default());
    settle().await;
    let mut going = Status::forbidden(&PODS.group_resource(), "", "the namespace is being terminated");
    going
        .details
        .get_or_insert_default()
        .causes
        .push(status::Cause { reason: "NamespaceTerminating".to_owned(), ..status::Cause::default() });
    for _ in 0..100 {
        world.server.fail_next("POST /api/v1/namespaces/ns/pods", Fault::Answer(going.clone()));
    }
    world.want(100);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let records = world.records();
    assert_eq!(records[0].writes[0].outcome, Outcome::Moot);
    assert!(records[0].writes[1..100].iter().all(|written| written.outcome == Outcome::Skipped));
    assert_eq!(world.pods(), 0, "nobody tries again until something changes");
}

#[tokio::test(start_paused = true)]
async fn the_next_look_knows_what_the_last_one_failed_with() {
    let world = World::new();
    world.manager.start(Replicas, Options::default());
    settle().await;
    let full = Status::forbidden(&PODS.group_resource(), "", "exceeded quota");
    for _ in 0..6 {
        world.server.fail_next("POST /api/v1/namespaces/ns/pods", Fault::Answer(full.clone()));
    }
    world.want(1);
    tokio::time::sleep(Duration::from_millis(4)).await;
    assert_eq!(world.status()["failure"], "pods is forbidden: exceeded quota");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((world.pods(), &world.status()["failure"]), (1, &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_looked_at_again_at_once() {
    struct Stale;

    impl Controller for Stale {
        type Root = ReplicaSet;
        type Observed = Revision;
        const NAME: &'static str = "stale";

        fn triggers(&self, on: &mut Triggers<ReplicaSet>) {
            on.root();
        }

        fn observe(&self, root: &Key, caches: &Caches) -> Option<Revision> {
            Some(caches.read::<ReplicaSet>().get(root)?.metadata.revision)
        }

        fn reconcile(&self, observed: &Revision, _now: Timestamp) -> Plan {
            let patch = Patch::merge(json!({
                "metadata": {"resourceVersion": observed.to_string(), "labels": {"seen": "yes"}}
            }));
            Plan::because("it shall be labelled").then(Request::patch(REPLICA_SETS, key(), patch))
        }
    }

    let world = World::new();
    world.manager.start(Stale, Options::default());
    settle().await;
    let conflict = Status::modified(&REPLICA_SETS.group_resource(), "web");
    world.server.fail_next("PATCH", Fault::Answer(conflict));
    world.want(0);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let records = world.records();
    assert_eq!(records[0].next, Next::Conflict);
    assert_eq!(records[1].causes, [Cause::Retry]);
    assert_eq!(records[1].writes[0].outcome, Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_goes_with_its_last_finalizer_is_waited_for() {
    /// Takes its finalizer off what is terminating.
    struct Finalizer;

    impl Controller for Finalizer {
        type Root = ReplicaSet;
        type Observed = Arc<ReplicaSet>;
        const NAME: &'static str = "finalizer";

        fn triggers(&self, on: &mut Triggers<ReplicaSet>) {
            on.root();
        }

        fn observe(&self, root: &Key, caches: &Caches) -> Option<Arc<ReplicaSet>> {
            caches.read::<ReplicaSet>().get(root).filter(|root| root.metadata.is_terminating())
        }

        fn reconcile(&self, root: &Arc<ReplicaSet>, _now: Timestamp) -> Plan {
            let patch = Patch::merge(json!({"metadata": {"finalizers": null}}));
            Plan::because("nothing is left to do before it goes")
                .then(Request::patch(REPLICA_SETS, root.metadata.key(), patch).if_same(&root.metadata.uid))
                .look_again(Duration::from_millis(1))
        }
    }

    let world = World::new();
    world.manager.start(Finalizer, Options::default());
    world.server.put(
        &REPLICA_SETS,
        json!({"metadata": {"namespace": "ns", "name": "web", "finalizers": ["f"]}, "spec": {"replicas": 0}}),
    );
    settle().await;
    world.server.api().delete(&REPLICA_SETS, &key(), &DeleteOptions::default()).await.unwrap();
    world.server.take_requests();
    // The patch goes through, its news does not.
    world.server.set_latency(Duration::from_millis(10));
    tokio::time::sleep(Duration::from_millis(5)).await;
    world.server.hold_watches("replicasets");
    settle().await;
    let patches = world.writes();
    assert_eq!((patches.len(), world.server.get(&REPLICA_SETS, &key())), (1, None), "{patches:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_only_the_look_it_happened_in() {
    let world = World::new();
    world.manager.start(Replicas, Options::workers(1));
    world.server.put(
        &REPLICA_SETS,
        json!({"metadata": {"namespace": "ns", "name": "bad", "annotations": {"panic": "please"}}, "spec": {"replicas": 1}}),
    );
    world.want(1);
    settle().await;
    assert_eq!(world.pods(), 1);
    assert!(world.records().iter().any(|record| record.why == "panicked"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_the_look_in_hand() {
    let world = World::new();
    world.manager.start(Replicas, Options::workers(1));
    settle().await;
    world.server.set_latency(Duration::from_secs(1));
    world.want(1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.pods(), 0, "the create is under way");
    assert!(world.runtime.tasks.drain(Duration::from_secs(10)).await);
    assert_eq!((world.pods(), world.status()["replicas"].clone()), (1, json!(0)));
}

#[tokio::test(start_paused = true)]
async fn a_look_planned_for_later_comes_then() {
    struct Clockwork;

    impl Controller for Clockwork {
        type Root = ReplicaSet;
        type Observed = ();
        const NAME: &'static str = "clockwork";

        fn triggers(&self, on: &mut Triggers<ReplicaSet>) {
            on.reads::<ReplicaSet>().start(Key::cluster("tick"));
        }

        fn observe(&self, _root: &Key, _caches: &Caches) -> Option<()> {
            Some(())
        }

        fn reconcile(&self, (): &(), _now: Timestamp) -> Plan {
            Plan::because("it is time").look_again(Duration::from_secs(60))
        }
    }

    let world = World::new();
    world.manager.start(Clockwork, Options::default());
    tokio::time::sleep(Duration::from_secs(150)).await;
    let causes: Vec<_> = world.records().iter().map(|record| record.causes.clone()).collect();
    assert_eq!(causes, [vec![Cause::Start], vec![Cause::LookAgain], vec![Cause::LookAgain]]);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_records() {
    async fn run() -> String {
        let world = World::new();
        world.manager.start(Replicas, Options::workers(4));
        world.want(7);
        settle().await;
        world.want(2);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let records = world.records();
        serde_json::to_string(&records.iter().map(|record| (**record).clone()).collect::<Vec<_>>()).unwrap()
    }

    assert_eq!(run().await, run().await);
}

#[test]
fn records_are_bounded() {
    let records = Records::new(2);
    for name in ["a", "b", "c"] {
        records.add(Record {
            sequence: 0,
            controller: "test".into(),
            resource: "things".to_owned(),
            key: Key::cluster(name),
            started: Timestamp::UNIX_EPOCH,
            waited: Duration::ZERO,
            took: Duration::ZERO,
            causes: Vec::new(),
            reads: Vec::new(),
            why: String::new(),
            writes: Vec::new(),
            next: Next::Wait,
        });
    }
    let kept: Vec<_> = records.all().iter().map(|record| (record.sequence, record.key.to_string())).collect();
    assert_eq!(kept, [(1, "b".to_owned()), (2, "c".to_owned())]);
    assert_eq!(records.since(2).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_merge_replaces_what_is_there_now_unless_it_is_so_already_or_another() {
    let world = World::new();
    world.want(3);
    let uid = world.server.get(&REPLICA_SETS, &key()).unwrap()["metadata"]["uid"].clone();
    let events = Recorder::start(&world.runtime, world.server.api(), "test");
    let executor = Executor::new(world.server.api(), events);
    let put = "PUT /apis/apps/v1/namespaces/ns/replicasets/web/status";
    let there = json!({"replicas": 2});
    for (why, status, uid, revision, puts, outcome) in [
        ("a change", &there, &uid, None, 1, Outcome::Done),
        ("no change", &there, &uid, None, 0, Outcome::Done),
        ("a namesake", &json!({"replicas": 1}), &json!("other"), None, 0, Outcome::Conflict),
        ("seen long ago", &json!({"replicas": 1}), &uid, Some("1"), 0, Outcome::Conflict),
        ("a field that goes", &json!({"replicas": null}), &uid, None, 1, Outcome::Done),
    ] {
        world.server.take_requests();
        let mut request = Request::status(REPLICA_SETS, key(), status.clone());
        request = match revision {
            Some(revision) => {
                let revision = serde_json::from_value::<Revision>(json!(revision)).unwrap();
                let uid = uid.as_str().unwrap().into();
                request.if_unchanged(&Meta { uid, revision, ..Meta::default() })
            }
            None => request.if_same(uid.as_str().unwrap()),
        };
        let execution = executor.execute(&Plan::because(why).then(request)).await;
        assert_eq!(execution.written[0].outcome, outcome, "{why}");
        assert_eq!(execution.written[0].verb, "update", "{why}");
        let sent = world.server.take_requests();
        assert_eq!(sent.iter().filter(|line| line.starts_with(put)).count(), puts, "{why}: {sent:?}");
        assert!(sent.iter().all(|line| !line.starts_with("PATCH")), "{why}: {sent:?}");
    }
    assert_eq!(world.status(), json!({}));
    world.runtime.tasks.stop();
}
