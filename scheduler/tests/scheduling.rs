//! Goal: Pods get the nodes they should, through the API alone, whatever fails on the way. Method: a whole scheduler against
//! the server in memory, with time paused. That server knows no bindings: here each POST is carried out by the test, as the
//! real one does.

use std::time::Duration;

use api_types::status::Status;
use client::{
    Key,
    resource::{NEW_EVENTS, NODES, PODS},
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

async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

impl World {
    async fn new(seed: u64) -> Self {
        let runtime = Runtime::simulated("2026-01-01T00:00:00Z".parse().unwrap(), seed);
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
        self.server.get(&PODS, &Key::new("ns", name)).unwrap()
    }

    fn condition(&self, name: &str) -> String {
        let pod = self.pod(name);
        let Some(condition) = pod["status"]["conditions"].get(0) else { return String::new() };
        format!("{}: {}", condition["reason"].as_str().unwrap(), condition["message"].as_str().unwrap())
    }

    fn events(&self, name: &str) -> Vec<String> {
        let events = self.server.list(&NEW_EVENTS);
        let about = events.iter().filter(|event| event["regarding"]["name"] == name);
        about
            .map(|event| format!("{} {}", event["reason"].as_str().unwrap(), event["note"].as_str().unwrap()))
            .collect()
    }
}
