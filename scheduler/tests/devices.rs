//! Goal: no device is ever given to two claims, and in the end every Pod that can have its devices has them, whatever fails on the
//! way. Method: a whole scheduler against the server in memory, with time paused; news is held back, answers are lost.

use std::{collections::BTreeMap, time::Duration};

use client::{
    Key,
    resource::{DEVICE_CLASSES, NEW_EVENTS, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES},
    testing::{FakeServer, Fault},
};
use runtime::{Random, Runtime};
use scheduler::Options;
use serde_json::{Value, json};

struct World {
    server: FakeServer,
    random: Random,
}

fn node(name: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "64", "memory": "64Gi", "pods": "110"}}})
}

fn slice(name: &str, place: Value, devices: &[&str]) -> Value {
    let devices: Vec<Value> = devices.iter().map(|name| json!({"name": name})).collect();
    let mut spec = json!({"driver": "gpu.example.com", "devices": devices,
        "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}});
    for (key, value) in place.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

fn claim(name: &str, count: i64) -> Value {
    json!({"metadata": {"namespace": "ns", "name": name}, "spec": {"devices": {"requests": [
        {"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count}}]}}})
}

fn pod(name: &str, claim: &str) -> Value {
    json!({
        "metadata": {"namespace": "ns", "name": name},
        "spec": {"schedulerName": "default-scheduler",
            "containers": [{"name": "c", "image": "i", "resources": {"claims": [{"name": "d"}]}}],
            "resourceClaims": [{"name": "d", "resourceClaimName": claim}]},
        "status": {"phase": "Pending"},
    })
}

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

impl World {
    async fn new(seed: u64) -> Self {
        let runtime = Runtime::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), seed);
        let server = FakeServer::new(&runtime);
        for name in ["n1", "n2", "n3"] {
            server.put(&NODES, node(name));
        }
        for name in ["n1", "n2"] {
            server.put(&RESOURCE_SLICES, slice(name, json!({"nodeName": name}), &["x", "y"]));
        }
        server.put(&RESOURCE_SLICES, slice("net", json!({"allNodes": true}), &["x", "y"]));
        server.put(&DEVICE_CLASSES, json!({"metadata": {"name": "gpu"}, "spec": {}}));
        drop(scheduler::start(&runtime, server.api(), Options::default()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        Self { server, random: runtime.random.clone() }
    }

    /// Who has which devices.
    fn owners(&self) -> BTreeMap<String, Vec<String>> {
        let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for claim in self.server.list(&RESOURCE_CLAIMS) {
            let results = claim["status"]["allocation"]["devices"]["results"].as_array();
            for result in results.into_iter().flatten() {
                let id = format!("{}/{}", result["pool"], result["device"]);
                owners.entry(id).or_default().push(claim["metadata"]["name"].to_string());
            }
        }
        owners
    }

    fn check(&self, when: &str) {
        for (device, owners) in self.owners() {
            assert_eq!(owners.len(), 1, "{when}: {device} is given to {owners:?}");
        }
        for pod in self.server.list(&PODS) {
            let name = pod["spec"]["resourceClaims"][0]["resourceClaimName"].as_str().unwrap_or_default();
            let Some(node) = pod["spec"]["nodeName"].as_str() else { continue };
            let claim = self.server.get(&RESOURCE_CLAIMS, &key(name)).expect("a claim in use stays");
            let reserved = claim["status"]["reservedFor"].as_array().cloned().unwrap_or_default();
            let is_mine = |consumer: &Value| consumer["uid"] == pod["metadata"]["uid"];
            assert!(reserved.iter().any(is_mine), "{when}: {name} is not reserved: {claim}");
            let nodes = &claim["status"]["allocation"]["nodeSelector"];
            assert!(
                nodes.is_null() || nodes.to_string().contains(node),
                "{when}: {node} does not reach {nodes}"
            );
        }
    }

    fn is_bound(&self, name: &str) -> bool {
        self.server.get(&PODS, &key(name)).is_some_and(|pod| pod["spec"]["nodeName"].is_string())
    }

    /// What the kubelet and the controller of claims do when a Pod ends: nobody uses its claim, so its devices are free.
    fn end(&self, pod: &str, claim: &str) {
        self.server.remove(&PODS, &key(pod));
        let free = json!({"status": {"allocation": null, "reservedFor": null}});
        self.server.change(&RESOURCE_CLAIMS, &key(claim), &free);
    }

    fn messages(&self, name: &str) -> Vec<String> {
        let events = self.server.list(&NEW_EVENTS);
        let about = events.iter().filter(|event| event["regarding"]["name"] == name);
        about.map(|event| event["note"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_gets_devices_before_its_pod_gets_its_node() {
    let world = World::new(1).await;
    world.server.put(&PODS, pod("p", "c"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.messages("p").is_empty(), "nothing is said of a Pod whose claim is yet to be made");
    world.server.put(&RESOURCE_CLAIMS, claim("c", 2));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.is_bound("p"));
    world.check("bound");
    let claim = world.server.get(&RESOURCE_CLAIMS, &key("c")).unwrap();
    assert_eq!(claim["metadata"]["finalizers"], json!(["resource.kubernetes.io/delete-protection"]));
    assert_eq!(claim["status"]["reservedFor"][0]["name"], "p");
    assert_eq!(claim["status"]["allocation"]["devices"]["results"].as_array().map(Vec::len), Some(2));
    // Others may use it beside the first; devices they do not get.
    world.server.put(&PODS, pod("q", "c"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.is_bound("q"));
    world.check("shared");
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_devices_and_gets_those_that_become_free() {
    let world = World::new(2).await;
    for number in 0..7 {
        world.server.put(&RESOURCE_CLAIMS, claim(&format!("c{number}"), 1));
        world.server.put(&PODS, pod(&format!("p{number}"), &format!("c{number}")));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let waiting: Vec<u32> = (0..7).filter(|number| !world.is_bound(&format!("p{number}"))).collect();
    let [last] = waiting.as_slice() else { panic!("{waiting:?} wait") };
    let message = &world.messages(&format!("p{last}"))[0];
    assert_eq!(
        message,
        "0/3 nodes are available: 3 cannot allocate all claims. still not schedulable, preemption: 0/3 nodes are \
         available: 3 Preemption is not helpful for scheduling."
    );
    let first = (0..7).find(|number| number != last).unwrap();
    world.end(&format!("p{first}"), &format!("c{first}"));
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(world.is_bound(&format!("p{last}")));
    world.check("the last");
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_once_its_devices_are_ready() {
    let world = World::new(3).await;
    let mut slow = slice("slow", json!({"allNodes": true}), &["z"]);
    slow["spec"]["devices"][0]["bindingConditions"] = json!(["attached"]);
    slow["spec"]["devices"][0]["bindingFailureConditions"] = json!(["broken"]);
    world.server.put(&RESOURCE_SLICES, slow);
    world.server.put(&RESOURCE_CLAIMS, claim("c", 7));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut all = claim("c", 1);
    all["spec"]["devices"]["requests"][0]["exactly"]["selectors"] =
        json!([{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]);
    for name in ["n1", "n2", "net"] {
        world.server.remove(&RESOURCE_SLICES, &Key::cluster(name));
    }
    world.server.put(&RESOURCE_CLAIMS, all);
    world.server.put(&PODS, pod("p", "c"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!world.is_bound("p"));
    assert!(
        world
            .messages("p")
            .iter()
            .any(|note| note.starts_with("waiting for binding conditions for device on node"))
    );
    let ready = json!({"status": {"devices": [{"driver": "gpu.example.com", "pool": "slow", "device": "z",
        "conditions": [{"type": "attached", "status": "True"}]}]}});
    world.server.change(&RESOURCE_CLAIMS, &key("c"), &ready);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.is_bound("p"));
}

#[tokio::test(start_paused = true)]
async fn extended_resources_that_are_devices_get_a_claim() {
    let world = World::new(4).await;
    world.server.put(
        &DEVICE_CLASSES,
        json!({"metadata": {"name": "ext"}, "spec": {"extendedResourceName": "example.com/gpu"}}),
    );
    world.server.put(
        &PODS,
        json!({
            "metadata": {"namespace": "ns", "name": "p"},
            "spec": {"schedulerName": "default-scheduler", "containers": [
                {"name": "c", "image": "i", "resources": {"requests": {"example.com/gpu": "2"}}}]},
            "status": {"phase": "Pending"},
        }),
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.is_bound("p"));
    let claims = world.server.list(&RESOURCE_CLAIMS);
    let [made] = claims.as_slice() else { panic!("{claims:?}") };
    assert_eq!(made["metadata"]["annotations"]["resource.kubernetes.io/extended-resource-claim"], "true");
    assert_eq!(made["status"]["allocation"]["devices"]["results"].as_array().map(Vec::len), Some(2));
    assert_eq!(made["status"]["reservedFor"][0]["name"], "p");
    let pod = world.server.get(&PODS, &key("p")).unwrap();
    let status = &pod["status"]["extendedResourceClaimStatus"];
    assert_eq!(status["resourceClaimName"], made["metadata"]["name"]);
    assert_eq!(status["requestMappings"][0]["requestName"], "container-0-request-0");
}

/// Goal: however old news is and whichever answers are lost, no device is given twice; and when all is well again, nobody waits
/// while devices are free. The same seed is the same history.
#[tokio::test(start_paused = true)]
async fn no_device_is_given_twice_under_old_news_and_lost_replies() {
    async fn history(seed: u64) -> Vec<String> {
        const CLAIMS: &str = "PUT /apis/resource.k8s.io";
        let world = World::new(seed).await;
        let chance = |one_in: u64| world.random.below(one_in) == 0;
        let mut living: Vec<u32> = Vec::new();
        for number in 0..24 {
            if chance(3) {
                world.server.hold_watches("resourceclaims");
            }
            if chance(2) {
                world.server.release_watches("resourceclaims");
            }
            for (text, one_in) in
                [(CLAIMS, 2), (CLAIMS, 3), ("/binding", 3), ("GET /apis/resource.k8s.io", 4)]
            {
                if chance(one_in) {
                    let lost = chance(2);
                    world.server.fail_next(text, if lost { Fault::LoseReply } else { Fault::Unreachable });
                }
            }
            if chance(6) {
                world.server.drop_watches();
            }
            world.server.put(&RESOURCE_CLAIMS, claim(&format!("c{number}"), 1));
            world.server.put(&PODS, pod(&format!("p{number}"), &format!("c{number}")));
            living.push(number);
            tokio::time::sleep(Duration::from_millis(5 + world.random.below(3000))).await;
            world.check(&format!("seed {seed}, {number}"));
            let at = usize::try_from(world.random.below(24)).unwrap();
            if let Some(number) = living.get(at).copied()
                && world.is_bound(&format!("p{number}"))
            {
                living.remove(at);
                world.end(&format!("p{number}"), &format!("c{number}"));
            } else if chance(5)
                && let Some(number) = living.pop()
            {
                // One goes in the middle of everything.
                world.server.remove(&PODS, &key(&format!("p{number}")));
            }
        }
        world.server.release_watches("resourceclaims");
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(40)).await;
            // The controller of claims: who is not used has no devices.
            for claim in world.server.list(&RESOURCE_CLAIMS) {
                let name = claim["metadata"]["name"].as_str().unwrap_or_default();
                let is_used = world.server.get(&PODS, &key(&name.replace('c', "p"))).is_some();
                if !is_used && claim["status"]["allocation"].is_object() {
                    let free = json!({"status": {"allocation": null, "reservedFor": null}});
                    world.server.change(&RESOURCE_CLAIMS, &key(name), &free);
                }
            }
            world.check(&format!("seed {seed}, in the end"));
        }
        let pods = world.server.list(&PODS);
        let bound = pods.iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count();
        assert_eq!(bound, pods.len().min(6), "seed {seed}: {} devices are taken", world.owners().len());
        world.server.take_requests().into_iter().filter(|line| line.starts_with("PUT")).collect()
    }
    for seed in 0..12 {
        history(seed).await;
    }
    assert_eq!(history(3).await, history(3).await);
}
