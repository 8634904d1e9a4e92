//! A cluster in memory: the server, every controller of the table, and a kubelet that lets Pods run.

use std::time::Duration;

use client::{
    Key, Resource,
    controller::Manager,
    resource::{DEPLOYMENTS, JOBS, PODS, REPLICA_SETS},
    testing::FakeServer,
};
use controller_manager::Options;
use jiff::Timestamp;
use runtime::Runtime;
use serde_json::{Value, json};

/// How often the world moves and is looked at.
const TICK: Duration = Duration::from_millis(100);

/// When every simulation begins.
const BEGIN: &str = "2026-01-01T00:00:00Z";

pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) server: FakeServer,
    pub(crate) manager: Manager,
    /// Containers of this image never become ready.
    pub(crate) broken: &'static str,
    /// Pods of Jobs end so, by turns.
    pub(crate) ends: Vec<&'static str>,
    ended: usize,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let runtime = Runtime::simulated(BEGIN.parse().expect("a time"), seed);
        let server = FakeServer::new(&runtime);
        let controllers = [
            "replicaset",
            "replicationcontroller",
            "deployment",
            "job",
            "cronjob",
            "disruption",
            "ttl-after-finished",
        ];
        let controllers = controllers.map(str::to_owned).to_vec();
        let options = Options { controllers, ..Options::default() };
        let manager = controller_manager::start(&runtime, server.api(), &options);
        Self { runtime, server, manager, broken: "broken", ends: Vec::new(), ended: 0 }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.runtime.clock.now()
    }

    pub(crate) fn get(&self, resource: &Resource, name: &str) -> Value {
        self.server.get(resource, &Key::new("ns", name)).unwrap_or_default()
    }

    pub(crate) fn deployment(&self) -> Value {
        self.get(&DEPLOYMENTS, "web")
    }

    pub(crate) fn job(&self) -> Value {
        self.get(&JOBS, "sum")
    }

    pub(crate) fn sets(&self) -> Vec<Value> {
        self.server.list(&REPLICA_SETS)
    }

    pub(crate) fn pods(&self) -> Vec<Value> {
        self.server.list(&PODS)
    }

    pub(crate) fn active(&self) -> Vec<Value> {
        let mut pods = self.pods();
        pods.retain(|pod| {
            pod["metadata"]["deletionTimestamp"].is_null()
                && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
        });
        pods
    }

    pub(crate) fn ready(&self) -> usize {
        self.active().iter().filter(|pod| is_ready(pod)).count()
    }

    /// Lets time pass, looks after every tick whether `invariant` holds, and stops once `done` does.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        seconds: u64,
        invariant: impl Fn(&Self),
        done: impl Fn(&Self) -> bool,
    ) {
        let ticks = seconds * 10;
        for _ in 0..ticks {
            tokio::time::sleep(TICK).await;
            self.kubelet();
            invariant(self);
            if done(self) {
                return;
            }
        }
        let tell = |name: &str, objects: Vec<Value>| {
            objects.iter().map(|it| format!("{name} {it}\n")).collect::<String>()
        };
        panic!(
            "{what} has not come about after {seconds} s\n{}\n{}{}{}{}",
            self.deployment()["status"],
            self.job()["status"],
            tell("set", self.sets()),
            tell("pod", self.pods()),
            self.manager
                .records
                .all()
                .iter()
                .rev()
                .take(12)
                .map(|record| format!("{}\n", serde_json::to_string(&**record).unwrap_or_default()))
                .collect::<String>()
        );
    }

    /// Binds Pods, makes them ready a second later, ends those of Jobs after another one, and lets go what was deleted.
    fn kubelet(&mut self) {
        let now = self.now();
        for pod in self.pods() {
            let key = Key::new("ns", pod["metadata"]["name"].as_str().unwrap_or_default());
            if pod["spec"]["nodeName"].is_null() {
                self.server.change(
                    &PODS,
                    &key,
                    &json!({"spec": {"nodeName": "n"}, "status": {"phase": "Pending"}}),
                );
                continue;
            }
            let age = since(&pod["metadata"]["creationTimestamp"], now);
            let phase = pod["status"]["phase"].as_str().unwrap_or_default();
            if let Some(deleted) = pod["metadata"]["deletionTimestamp"].as_str() {
                if since(&json!(deleted), now) >= 1 {
                    // A kubelet ends the containers, then says that no grace is needed any more.
                    if !matches!(phase, "Succeeded" | "Failed") {
                        self.server.change(&PODS, &key, &json!({"status": {"phase": "Failed"}}));
                    }
                    let done = json!({"metadata": {"deletionGracePeriodSeconds": 0}});
                    self.server.change(&PODS, &key, &done);
                }
                continue;
            }
            let image = &pod["spec"]["containers"][0]["image"];
            if phase == "Pending" && age >= 1 && *image != self.broken {
                let at = client::meta::time(now);
                let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": at}]);
                self.server.change(
                    &PODS,
                    &key,
                    &json!({"status": {"phase": "Running", "conditions": ready}}),
                );
            } else if phase == "Running" && age >= 2 && !self.ends.is_empty() {
                let end = self.ends[self.ended % self.ends.len()];
                self.ended += 1;
                let at = client::meta::time(now);
                let unready = json!([{"type": "Ready", "status": "False", "lastTransitionTime": at}]);
                self.server.change(&PODS, &key, &json!({"status": {"phase": end, "conditions": unready}}));
            }
        }
    }
}

fn since(time: &Value, now: Timestamp) -> i64 {
    let time: Option<Timestamp> = time.as_str().and_then(|text| text.parse().ok());
    time.map_or(0, |time| now.duration_since(time).as_secs())
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|it| it["type"] == "Ready" && it["status"] == "True")
}
