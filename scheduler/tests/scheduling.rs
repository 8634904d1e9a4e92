//! Goal: Pods get the nodes they should, through the API alone, whatever fails on the way. Method: a whole scheduler against
//! the server in memory, with time paused.

use std::time::Duration;

use api_types::status::Status;
use client::{
    Key,
    resource::{NEW_EVENTS, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES},
    testing::{FakeServer, Fault},
};
use runtime::Runtime;
use scheduler::{Handle, Options};
use serde_json::{Value, json};

struct World {
    server: FakeServer,
    handle: Handle,
}

fn node(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}})
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({
        "metadata": {"namespace": "ns", "name": name},
        "spec": {"schedulerName": "default-scheduler", "containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"phase": "Pending"},
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

impl World {
    async fn new(seed: u64) -> Self {
        let runtime = Runtime::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), seed);
        let server = FakeServer::new(&runtime);
        let handle = scheduler::start(&runtime, server.api(), Options::default());
        settle().await;
        Self { server, handle }
    }

    /// Where each Pod was sent, by the requests since the last call.
    fn sent(&self) -> Vec<String> {
        let requests = self.server.take_requests();
        requests.into_iter().filter(|line| line.contains("/binding")).collect()
    }

    fn pod(&self, name: &str) -> Value {
        self.server.get(&PODS, &Key::new("ns", name)).expect("the Pod is there")
    }

    /// What a kubelet does with a Pod that was told to go.
    fn end(&self, name: &str) {
        assert!(self.pod(name)["metadata"]["deletionTimestamp"].is_string(), "{name} was told to go");
        self.server.remove(&PODS, &Key::new("ns", name));
    }

    fn condition(&self, name: &str) -> String {
        let pod = self.pod(name);
        let Some(condition) = pod["status"]["conditions"].get(0) else { return String::new() };
        format!("{}: {}", text(&condition["reason"]), text(&condition["message"]))
    }

    fn events(&self, name: &str) -> Vec<String> {
        let events = self.server.list(&NEW_EVENTS);
        let about = events.iter().filter(|event| event["regarding"]["name"] == name);
        about.map(|event| format!("{} {}", text(&event["reason"]), text(&event["note"]))).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_gets_a_node_and_people_are_told() {
    let world = World::new(1).await;
    world.server.put(&NODES, node("n1", "2"));
    world.server.put(&PODS, pod("a", "1"));
    settle().await;
    assert_eq!(world.pod("a")["spec"]["nodeName"], "n1");
    assert_eq!(world.events("a"), ["Scheduled Successfully assigned ns/a to n1"]);
    let records = world.handle.records().of(&Key::new("ns", "a"));
    assert_eq!(records.last().unwrap().node.as_deref(), Some("n1"));
}

#[tokio::test(start_paused = true)]
async fn assumed_places_are_taken_before_the_cluster_says_so() {
    let world = World::new(2).await;
    world.server.put(&NODES, node("n1", "2"));
    settle().await;
    // Nothing is seen of the bindings, but the third Pod finds no room.
    world.server.set_latency(Duration::from_secs(1));
    for name in ["a", "b", "c"] {
        world.server.put(&PODS, pod(name, "1"));
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    let bound = ["a", "b", "c"].map(|name| world.pod(name)["spec"]["nodeName"] == "n1");
    assert_eq!(bound, [true, true, false]);
    assert_eq!(
        world.condition("c"),
        "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No \
         preemption victims found for incoming pod."
    );
    assert_eq!(world.handle.records().list().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_finds_no_node_says_why_and_is_tried_when_that_changes() {
    let world = World::new(3).await;
    let mut tainted = node("n1", "2");
    tainted["spec"] = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
    world.server.put(&NODES, tainted);
    world.server.put(&NODES, node("n2", "500m"));
    world.server.put(&PODS, pod("a", "1"));
    settle().await;
    let why = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/2 nodes \
               are available: 2 Preemption is not helpful for scheduling.";
    assert_eq!(world.condition("a"), format!("Unschedulable: {why}"));
    assert_eq!(world.events("a"), [format!("FailedScheduling {why}")]);
    // A heartbeat helps nobody.
    world.server.change(&NODES, &Key::cluster("n1"), &json!({"metadata": {"annotations": {"beat": "1"}}}));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.handle.records().list().len(), 1);
    world.server.change(&NODES, &Key::cluster("n1"), &json!({"spec": {"taints": null}}));
    settle().await;
    assert_eq!(world.pod("a")["spec"]["nodeName"], "n1");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_makes_room() {
    let world = World::new(4).await;
    world.server.put(&NODES, node("n1", "1"));
    world.server.put(&PODS, pod("a", "1"));
    settle().await;
    world.server.put(&PODS, pod("b", "1"));
    settle().await;
    assert_eq!(world.pod("b")["spec"]["nodeName"], Value::Null);
    world.server.remove(&PODS, &Key::new("ns", "a"));
    settle().await;
    assert_eq!(world.pod("b")["spec"]["nodeName"], "n1");
    // One that has ended takes no place either.
    world.server.put(&PODS, pod("c", "1"));
    settle().await;
    world.server.change(&PODS, &Key::new("ns", "b"), &json!({"status": {"phase": "Succeeded"}}));
    settle().await;
    assert_eq!(world.pod("c")["spec"]["nodeName"], "n1");
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_fails_gives_its_place_back_and_is_tried_again() {
    let world = World::new(5).await;
    world.server.put(&NODES, node("n1", "1"));
    world.server.fail_next("/binding", Fault::Answer(Status::too_many_requests("busy", 1)));
    world.server.put(&PODS, pod("a", "1"));
    settle().await;
    assert_eq!(world.pod("a")["spec"]["nodeName"], Value::Null);
    assert!(world.condition("a").starts_with("SchedulerError: running Bind plugin \"DefaultBinder\": "));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.pod("a")["spec"]["nodeName"], "n1");
    assert_eq!(world.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_binding_whose_reply_is_lost_is_not_made_twice() {
    let world = World::new(6).await;
    world.server.put(&NODES, node("n1", "2"));
    world.server.put(&NODES, node("n2", "2"));
    world.server.fail_next("/binding", Fault::LoseReply);
    world.server.put(&PODS, pod("a", "1"));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(world.pod("a")["spec"]["nodeName"].is_string());
    assert_eq!(world.sent().len(), 1);
    assert_eq!(world.handle.counts(), scheduler::queue::Counts::default());
}

#[tokio::test(start_paused = true)]
async fn a_gated_pod_waits_until_its_gates_are_gone_and_others_pods_are_left_alone() {
    let world = World::new(7).await;
    world.server.put(&NODES, node("n1", "2"));
    let mut gated = pod("a", "1");
    gated["spec"]["schedulingGates"] = json!([{"name": "g"}]);
    world.server.put(&PODS, gated);
    let mut other = pod("b", "1");
    other["spec"]["schedulerName"] = json!("another");
    world.server.put(&PODS, other);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.sent().is_empty());
    assert_eq!(world.handle.counts().gated, 1);
    world.server.change(&PODS, &Key::new("ns", "a"), &json!({"spec": {"schedulingGates": null}}));
    settle().await;
    assert_eq!(world.pod("a")["spec"]["nodeName"], "n1");
    assert_eq!(world.pod("b")["spec"]["nodeName"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn without_nodes_pods_are_told_so_and_the_first_node_takes_them() {
    let world = World::new(8).await;
    world.server.put(&PODS, pod("a", "1"));
    settle().await;
    assert_eq!(world.condition("a"), "Unschedulable: no nodes available to schedule pods");
    world.server.put(&NODES, node("n1", "2"));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(world.pod("a")["spec"]["nodeName"], "n1");
}

fn important(name: &str, cpu: &str, priority: i32) -> Value {
    let mut pod = pod(name, cpu);
    pod["spec"]["priority"] = json!(priority);
    pod
}

#[tokio::test(start_paused = true)]
async fn a_more_important_pod_displaces_others_and_takes_their_place() {
    let world = World::new(10).await;
    world.server.put(&NODES, node("n1", "2"));
    world.server.put(&PODS, important("low", "1", 0));
    world.server.put(&PODS, important("middle", "1", 5));
    settle().await;
    world.server.put(&PODS, important("high", "1", 10));
    settle().await;
    let requests = world.server.take_requests();
    assert_eq!(world.pod("low")["status"]["conditions"][0]["reason"], "PreemptionByScheduler");
    assert_eq!(world.pod("high")["spec"]["nodeName"], Value::Null, "its place is not free yet");
    world.end("low");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.pod("middle")["spec"]["nodeName"], "n1");
    assert_eq!(world.pod("high")["spec"]["nodeName"], "n1");
    assert_eq!(world.pod("high")["status"]["nominatedNodeName"], "n1");
    let uid = text(&world.pod("high")["metadata"]["uid"]).to_owned();
    let told = format!("Preempted Preempted by pod {uid} on node n1");
    assert!(world.events("low").contains(&told), "{:?}", world.events("low"));
    let related = world.server.list(&NEW_EVENTS).into_iter().find(|event| event["reason"] == "Preempted");
    assert_eq!(related.unwrap()["related"]["name"], "high");
    let mark = requests.iter().position(|line| line.starts_with("PATCH") && line.contains("low/status"));
    let delete = requests.iter().position(|line| line.starts_with("DELETE") && line.contains("pods/low"));
    assert!(mark.is_some() && mark < delete, "{requests:?}");
    assert!(
        world.condition("high").starts_with("Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.")
    );
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_cannot_be_told_is_told_again() {
    let world = World::new(11).await;
    world.server.put(&NODES, node("n1", "1"));
    world.server.put(&PODS, important("low", "1", 0));
    settle().await;
    world.server.fail_next("low/status", Fault::Answer(Status::too_many_requests("busy", 1)));
    world.server.put(&PODS, important("high", "1", 10));
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.end("low");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.pod("high")["spec"]["nodeName"], "n1");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_kept_free_is_not_given_to_a_lesser_pod() {
    let world = World::new(12).await;
    world.server.put(&NODES, node("n1", "1"));
    world.server.put(&PODS, important("slow", "1", 0));
    settle().await;
    world.server.put(&PODS, important("high", "1", 10));
    settle().await;
    assert_eq!(world.pod("high")["status"]["nominatedNodeName"], "n1");
    world.server.put(&PODS, important("lesser", "1", 5));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.pod("lesser")["spec"]["nodeName"], Value::Null);
    world.end("slow");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.pod("high")["spec"]["nodeName"], "n1");
    assert_eq!(world.pod("lesser")["spec"]["nodeName"], Value::Null);
}

fn claimed(name: &str, claim: &str) -> Value {
    let mut pod = pod(name, "1");
    pod["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
    pod
}

fn claim(name: &str, class: &str) -> Value {
    json!({"metadata": {"namespace": "ns", "name": name}, "spec": {"storageClassName": class,
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"}})
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_until_a_volume_is_made_on_its_node() {
    let world = World::new(13).await;
    world.server.put(&NODES, node("n1", "2"));
    world.server.put(
        &STORAGE_CLASSES,
        json!({"metadata": {"name": "made"}, "provisioner": "example.com/disk",
        "volumeBindingMode": "WaitForFirstConsumer"}),
    );
    world.server.put(&PERSISTENT_VOLUME_CLAIMS, claim("data", "made"));
    world.server.put(&PODS, claimed("a", "data"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let key = Key::new("ns", "data");
    let asked = world.server.get(&PERSISTENT_VOLUME_CLAIMS, &key).unwrap();
    assert_eq!(asked["metadata"]["annotations"]["volume.kubernetes.io/selected-node"], "n1");
    assert_eq!(world.pod("a")["spec"]["nodeName"], Value::Null);
    assert_eq!(world.pod("a")["status"]["nominatedNodeName"], "n1");
    world.server.put(
        &PERSISTENT_VOLUMES,
        json!({"metadata": {"name": "pv"}, "spec": {"storageClassName": "made",
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Bound"}}),
    );
    let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}});
    world.server.change(&PERSISTENT_VOLUME_CLAIMS, &key, &bound);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.pod("a")["spec"]["nodeName"], "n1");
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_be_made_gives_the_pod_another_turn() {
    let world = World::new(14).await;
    world.server.put(&NODES, node("n1", "2"));
    world.server.put(
        &STORAGE_CLASSES,
        json!({"metadata": {"name": "made"}, "provisioner": "example.com/disk",
        "volumeBindingMode": "WaitForFirstConsumer"}),
    );
    world.server.put(&PERSISTENT_VOLUME_CLAIMS, claim("data", "made"));
    world.server.put(&PODS, claimed("a", "data"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    // The provisioner takes the choice back.
    let key = Key::new("ns", "data");
    let back = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": null}}});
    world.server.change(&PERSISTENT_VOLUME_CLAIMS, &key, &back);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let why = "SchedulerError: running PreBind plugin \"VolumeBinding\": binding volumes: provisioning failed for PVC \"data\"";
    assert_eq!(world.condition("a"), why);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked = world.server.get(&PERSISTENT_VOLUME_CLAIMS, &key).unwrap();
    assert_eq!(asked["metadata"]["annotations"]["volume.kubernetes.io/selected-node"], "n1", "asked again");
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_there_is_given_to_the_claim_before_the_pod_is_bound() {
    let world = World::new(15).await;
    world.server.put(&NODES, node("n1", "2"));
    world.server.put(
        &STORAGE_CLASSES,
        json!({"metadata": {"name": "local"},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}),
    );
    world.server.put(&PERSISTENT_VOLUME_CLAIMS, claim("data", "local"));
    world.server.put(&PODS, claimed("a", "data"));
    settle().await;
    assert!(world.condition("a").contains("1 node(s) didn't find available persistent volumes to bind."));
    world.server.put(
        &PERSISTENT_VOLUMES,
        json!({"metadata": {"name": "pv"}, "spec": {"storageClassName": "local",
        "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Available"}}),
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let volume = world.server.get(&PERSISTENT_VOLUMES, &Key::cluster("pv")).unwrap();
    assert_eq!(volume["spec"]["claimRef"]["name"], "data");
    assert_eq!(world.pod("a")["spec"]["nodeName"], Value::Null);
    let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": "pv"}});
    world.server.change(&PERSISTENT_VOLUME_CLAIMS, &Key::new("ns", "data"), &bound);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.pod("a")["spec"]["nodeName"], "n1");
}

/// Goal: whatever fails, in the end every Pod that fits has a node and no node has too much.
#[tokio::test(start_paused = true)]
async fn a_seed_replays_and_no_node_is_overcommitted_under_faults() {
    async fn history(seed: u64) -> Vec<String> {
        let world = World::new(seed).await;
        for number in 0..5 {
            world.server.put(&NODES, node(&format!("n{number}"), "4"));
        }
        for number in 0..24 {
            if number % 3 == 0 {
                world.server.fail_next("/binding", Fault::Unreachable);
            }
            if number % 5 == 0 {
                world.server.fail_next("/binding", Fault::LoseReply);
            }
            if number == 12 {
                world.server.drop_watches();
            }
            world.server.put(&PODS, pod(&format!("p{number:02}"), "1"));
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        let pods = world.server.list(&PODS);
        for number in 0..5 {
            let there = pods.iter().filter(|pod| pod["spec"]["nodeName"] == format!("n{number}")).count();
            assert!(there <= 4, "n{number} has {there} Pods");
        }
        assert_eq!(pods.iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count(), 20);
        world.sent()
    }
    assert_eq!(history(9).await, history(9).await);
}
