//! What a look at an object costs that is as it is wanted: by far the most looks are such, after a relist above all.
//!
//! The objects are those of a simulated cluster that has come to rest, so that a plan that writes anything would be a bug;
//! each look reads them from caches and decides. `cargo bench -p simulator`

#![expect(clippy::print_stdout, reason = "figures and traces are for whoever runs it")]
#![expect(missing_docs, reason = "a macro of criterion makes functions")]

use std::{sync::Arc, time::Duration};

use client::{
    Api, Caches, Controller, Key, Kind,
    api::{Page, Selection},
    resource,
    testing::Filled,
};
use controller_manager::{
    controllers::{
        daemon_set::DaemonSets, deployment::Deployments, endpoint_slice::EndpointSlices, job::Jobs,
        replica_set::ReplicaSets, stateful_set::StatefulSets,
    },
    kinds::{
        Pod, controller_revision::ControllerRevision, daemon_set::DaemonSet, deployment::Deployment,
        endpoint_slice::EndpointSlice, job::Job, node::Node, persistent_volume_claim::PersistentVolumeClaim,
        replica_set::ReplicaSet, service::Service, stateful_set::StatefulSet,
    },
};
use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use runtime::SimulatedClock;
use serde_json::{Value, json};
use simulator::{
    cluster::{Options, play},
    hollow::stages::{Match, Stage, Stages},
    safety::rest::unrest,
    workloads,
};

/// So many ReplicaSets are relisted.
const RELISTED: usize = 10_000;

/// The objects of a cluster at rest, and what time it is there.
struct Settled {
    objects: Vec<(client::Resource, Vec<Value>)>,
    now: Timestamp,
}

/// Plays a cluster to its rest.
fn settled() -> Settled {
    let long = Stage {
        matches: Match { owner: Some("Job".to_owned()), ..Match::default() },
        complete: Some(Duration::from_secs(1_000_000)),
        ..Stage::default()
    };
    let options = Options { stages: Stages::of_own(vec![long]), ..Options::seed(1) };
    let played = play(options, async |cluster| {
        for (resource, namespace, object) in workloads::standing() {
            if resource != resource::CRON_JOBS {
                let _: Value = cluster.api.create(&resource, namespace, &object).await?;
            }
        }
        let _: Value = cluster.api.create(&resource::JOBS, "default", &workloads::job(1)).await?;
        cluster.run_for(Duration::from_secs(60)).await;
        let left = cluster.look(|safety| unrest(&safety.world));
        // All but the Job, whose Pods run for very long.
        anyhow::ensure!(left.iter().all(|it| it.contains(" default/job-1")), "{left:?}");
        let mut objects = Vec::new();
        for resource in [
            resource::DEPLOYMENTS,
            resource::REPLICA_SETS,
            resource::STATEFUL_SETS,
            resource::DAEMON_SETS,
            resource::JOBS,
            resource::PODS,
            resource::NODES,
            resource::SERVICES,
            resource::ENDPOINT_SLICES,
            resource::CONTROLLER_REVISIONS,
            resource::PERSISTENT_VOLUME_CLAIMS,
        ] {
            objects.push((resource.clone(), all(&cluster.api, &resource).await?));
        }
        Ok(Settled { objects, now: cluster.runtime.clock.now() })
    });
    played.expect("the cluster comes to rest")
}

async fn all(api: &Api, resource: &client::Resource) -> anyhow::Result<Vec<Value>> {
    Ok(api.list::<Value>(resource, &Selection::all(), &Page::default()).await?.items)
}

impl Settled {
    fn of<K: Kind>(&self) -> Vec<Value> {
        let found = self.objects.iter().find(|(resource, _)| *resource == K::RESOURCE);
        found.map(|(_, objects)| objects.clone()).unwrap_or_default()
    }

    fn caches(&self) -> Caches {
        Filled::new()
            .with::<Deployment>(self.of::<Deployment>())
            .with::<ReplicaSet>(self.of::<ReplicaSet>())
            .with::<StatefulSet>(self.of::<StatefulSet>())
            .with::<DaemonSet>(self.of::<DaemonSet>())
            .with::<Job>(self.of::<Job>())
            .with::<Pod>(self.of::<Pod>())
            .with::<Node>(self.of::<Node>())
            .with::<Service>(self.of::<Service>())
            .with::<EndpointSlice>(self.of::<EndpointSlice>())
            .with::<ControllerRevision>(self.of::<ControllerRevision>())
            .with::<PersistentVolumeClaim>(self.of::<PersistentVolumeClaim>())
            .caches()
    }
}

/// One look, which must find nothing to write.
fn look<C: Controller>(controller: &C, key: &Key, caches: &Caches, now: Timestamp) {
    let observed = controller.observe(key, caches).expect("the object is there");
    let plan = controller.reconcile(&observed, now);
    assert!(plan.writes.is_empty(), "{} writes although nothing has changed: {plan:?}", C::NAME);
}

fn unchanged(bench: &mut Criterion) {
    let world = settled();
    let (caches, now) = (world.caches(), world.now);
    let key = |name: &str| Key::new("default", name);
    let set = world.of::<ReplicaSet>();
    let set = set.iter().find_map(|it| it["metadata"]["name"].as_str().filter(|it| it.starts_with("web-")));
    let set = key(set.expect("a ReplicaSet"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let clock = runtime.block_on(async { Arc::new(SimulatedClock::starting_at(now)) });
    let daemon_sets = DaemonSets::new(clock);
    let replica_sets = ReplicaSets::default();
    let endpoint_slices = EndpointSlices::default();
    let mut group = bench.benchmark_group("unchanged");
    group.bench_function("ReplicaSet", |it| it.iter(|| look(&replica_sets, &set, &caches, now)));
    group.bench_function("Deployment", |it| it.iter(|| look(&Deployments, &key("web"), &caches, now)));
    group.bench_function("StatefulSet", |it| it.iter(|| look(&StatefulSets, &key("db"), &caches, now)));
    group.bench_function("DaemonSet", |it| it.iter(|| look(&daemon_sets, &key("agent"), &caches, now)));
    group.bench_function("Job", |it| it.iter(|| look(&Jobs, &key("job-1"), &caches, now)));
    group.bench_function("EndpointSlice", |it| it.iter(|| look(&endpoint_slices, &key("web"), &caches, now)));
    group.finish();
    relisted(&world, &set);
}

/// How much processor time this thread has used.
fn processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or_default();
    Duration::from_nanos(nanoseconds)
}

/// Ten thousand ReplicaSets with two Pods each are listed anew, and each is looked at.
fn relisted(world: &Settled, set: &Key) {
    let sets = world.of::<ReplicaSet>();
    let set = sets.iter().find(|it| it["metadata"]["name"] == *set.name).cloned().expect("it is there");
    let uid = set["metadata"]["uid"].clone();
    let pods: Vec<Value> = world.of::<Pod>();
    let owned = |pod: &&Value| pod["metadata"]["ownerReferences"][0]["uid"] == uid;
    let pods: Vec<Value> = pods.iter().filter(owned).take(2).cloned().collect();
    assert_eq!(pods.len(), 2);
    let name = |number: usize| format!("set-{number}");
    let all_sets = (0..RELISTED).map(|number| {
        let mut set = set.clone();
        set["metadata"]["name"] = json!(name(number));
        set["metadata"]["uid"] = json!(name(number));
        set["spec"]["replicas"] = json!(2);
        for field in ["replicas", "readyReplicas", "availableReplicas", "fullyLabeledReplicas"] {
            set["status"][field] = json!(2);
        }
        set
    });
    let all_pods = (0..RELISTED).flat_map(|number| {
        pods.iter().enumerate().map(move |(at, pod)| {
            let mut pod = pod.clone();
            pod["metadata"]["name"] = json!(format!("set-{number}-{at}"));
            pod["metadata"]["uid"] = json!(format!("set-{number}-{at}"));
            pod["metadata"]["ownerReferences"][0]["name"] = json!(name(number));
            pod["metadata"]["ownerReferences"][0]["uid"] = json!(name(number));
            pod
        })
    });
    let caches =
        Filled::new().with::<ReplicaSet>(all_sets).with::<Pod>(all_pods.collect::<Vec<_>>()).caches();
    let replica_sets = ReplicaSets::default();
    let begun = processor();
    for number in 0..RELISTED {
        look(&replica_sets, &Key::new("default", &name(number)), &caches, world.now);
    }
    let took = processor().saturating_sub(begun);
    println!("{RELISTED} ReplicaSets with two Pods each, all looked at: {took:?} of the processor");
}

criterion_group!(
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(2));
    targets = unchanged
);
criterion_main!(benches);
