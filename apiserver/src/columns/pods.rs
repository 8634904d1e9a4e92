//! Pods: what one word says best about the state of many containers.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PodSpec, PodStatus};
use serde_json::Value;

use super::{
    Completed, TableDef,
    column::{AGE, NAME, of, says, text, wide},
    human,
    read::{self, ObjectExt as _, at, flag, integer, is_true, list, text_or},
};

pub(super) static PODS: TableDef = TableDef::new(
    &[
        NAME,
        text("Ready", says("The aggregate readiness state of this pod for accepting traffic.")),
        text("Status", says("The aggregate status of the containers in this pod.")),
        text(
            "Restarts",
            says(
                "The number of times the containers in this pod have been restarted and when the last container \
                 in this pod has restarted.",
            ),
        ),
        AGE,
        wide("IP", of::<PodStatus>("podIP")),
        wide("Node", of::<PodSpec>("nodeName")),
        wide("Nominated Node", of::<PodStatus>("nominatedNodeName")),
        wide("Readiness Gates", of::<PodSpec>("readinessGates")),
    ],
    cells,
)
.completed(completed);

fn completed(pod: &Value) -> Option<Completed> {
    match read::text(pod, "status.phase") {
        "Succeeded" => {
            Some(Completed { reason: "Succeeded", message: "The pod has completed successfully." })
        }
        "Failed" => Some(Completed { reason: "Failed", message: "The pod failed." }),
        _ => None,
    }
}

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let state = State::of(pod);
    let none = |path| text_or(pod, path, "<none>");
    let ip = list(pod, "status.podIPs").first().map_or("<none>", |ip| text_or(ip, "ip", "<none>"));
    vec![
        pod.name().into(),
        format!("{}/{}", state.ready, state.containers).into(),
        state.reason.into(),
        state.restarts.show(now).into(),
        read::age(pod, now),
        ip.into(),
        none("spec.nodeName").into(),
        none("status.nominatedNodeName").into(),
        readiness_gates(pod).into(),
    ]
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "spec.readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let conditions = list(pod, "status.conditions");
    let open = gates.iter().filter(|gate| is_true(conditions, read::text(gate, "conditionType"))).count();
    format!("{open}/{}", gates.len())
}

/// What there is to say about a pod's containers.
struct State<'a> {
    ready: usize,
    containers: usize,
    restarts: Restarts<'a>,
    reason: String,
}

/// How often containers were restarted, and when last (RFC 3339 in UTC, so that later is greater; empty if unknown).
#[derive(Clone, Copy, Default)]
struct Restarts<'a> {
    count: i64,
    last: &'a str,
}

/// How far an init container has come.
enum Init {
    /// The next one may run.
    Passed { ready: bool },
    /// The pod waits for it.
    Stuck(String),
}

// === impl State ===

impl<'a> State<'a> {
    fn of(pod: &'a Value) -> Self {
        let conditions = list(pod, "status.conditions");
        let phase = read::text(pod, "status.phase");
        let mut reason = text_or(pod, "status.reason", phase).to_owned();
        if conditions.iter().any(|condition| {
            read::text(condition, "type") == "PodScheduled"
                && read::text(condition, "reason") == "SchedulingGated"
        }) {
            "SchedulingGated".clone_into(&mut reason);
        }

        // Init containers that keep running beside the others ("sidecars") count as containers.
        let init_containers = list(pod, "spec.initContainers");
        let sidecars: BTreeSet<&str> = init_containers
            .iter()
            .filter(|container| read::text(container, "restartPolicy") == "Always")
            .map(|container| read::text(container, "name"))
            .collect();
        let mut state = Self {
            ready: 0,
            containers: list(pod, "spec.containers").len() + sidecars.len(),
            restarts: Restarts::default(),
            reason,
        };

        let mut initializing = false;
        let mut of_sidecars = Restarts::default();
        for (position, status) in list(pod, "status.initContainerStatuses").iter().enumerate() {
            let sidecar = sidecars.contains(read::text(status, "name"));
            state.restarts.add(status);
            if sidecar {
                of_sidecars.add(status);
            }
            match Init::of(status, sidecar, position, init_containers.len()) {
                Init::Passed { ready } => state.ready += usize::from(ready),
                Init::Stuck(reason) => {
                    state.reason = reason;
                    initializing = true;
                    break;
                }
            }
        }

        if !initializing || is_true(conditions, "Initialized") {
            state.restarts = of_sidecars;
            state.look_at_containers(list(pod, "status.containerStatuses"), is_true(conditions, "Ready"));
        }

        if !at(pod, "metadata.deletionTimestamp").is_null() {
            if read::text(pod, "status.reason") == "NodeLost" {
                "Unknown".clone_into(&mut state.reason);
            } else if !matches!(phase, "Failed" | "Succeeded") {
                "Terminating".clone_into(&mut state.reason);
            }
        }
        state
    }

    /// The first container that has something to say decides; a failure says more than a completion.
    fn look_at_containers(&mut self, statuses: &'a [Value], pod_is_ready: bool) {
        let mut running = false;
        let mut failure = None;
        for status in statuses.iter().rev() {
            self.restarts.add(status);
            let terminated = at(status, "state.terminated");
            let waiting = read::text(status, "state.waiting.reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if terminated.is_object() {
                self.reason = termination(terminated, "");
                if integer(terminated, "exitCode") != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if flag(status, "ready") && at(status, "state.running").is_object() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            if running && pod_is_ready {
                "Running".clone_into(&mut self.reason);
            } else if let Some(failure) = failure {
                self.reason = failure;
            } else if running {
                "NotReady".clone_into(&mut self.reason);
            }
        }
    }
}

/// Why a container ended.
fn termination(terminated: &Value, prefix: &str) -> String {
    match (read::text(terminated, "reason"), integer(terminated, "signal")) {
        ("", 0) => format!("{prefix}ExitCode:{}", integer(terminated, "exitCode")),
        ("", signal) => format!("{prefix}Signal:{signal}"),
        (reason, _) => format!("{prefix}{reason}"),
    }
}

// === impl Init ===

impl Init {
    fn of(status: &Value, sidecar: bool, position: usize, of: usize) -> Self {
        let terminated = at(status, "state.terminated");
        let waiting = read::text(status, "state.waiting.reason");
        if terminated.is_object() && integer(terminated, "exitCode") == 0 {
            Self::Passed { ready: false }
        } else if sidecar && flag(status, "started") {
            Self::Passed { ready: flag(status, "ready") }
        } else if terminated.is_object() {
            Self::Stuck(termination(terminated, "Init:"))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            Self::Stuck(format!("Init:{waiting}"))
        } else {
            Self::Stuck(format!("Init:{position}/{of}"))
        }
    }
}

// === impl Restarts ===

impl<'a> Restarts<'a> {
    fn add(&mut self, status: &'a Value) {
        self.count += integer(status, "restartCount");
        self.last = self.last.max(read::text(status, "lastState.terminated.finishedAt"));
    }

    fn show(self, now: Timestamp) -> String {
        match self {
            Self { count, last: "" } | Self { count: count @ 0, .. } => count.to_string(),
            Self { count, last } => format!("{count} ({} ago)", human::since(last, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Ready, Status and Restarts of a pod with the containers `a` and `b`.
    fn check(init: &Value, status: &Value) -> String {
        let mut pod = json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": init},
            "status": status,
        });
        if let Some(deleted) = status.get("deleted") {
            pod["metadata"]["deletionTimestamp"] = deleted.clone();
        }
        let cells = cells(&pod, "2026-01-02T00:00:00Z".parse().unwrap());
        format!("{} {} {}", cells[1], cells[2], cells[3]).replace('"', "")
    }

    fn running(ready: bool, restarts: u32) -> Value {
        json!({"name": "x", "ready": ready, "restartCount": restarts, "state": {"running": {"startedAt": null}}})
    }

    #[test]
    fn a_pod_is_what_its_phase_says_until_a_container_knows_better() {
        let none = json!([]);
        for (status, expected) in [
            (json!({"phase": "Pending"}), "0/2 Pending 0"),
            (json!({"phase": "Failed", "reason": "Evicted"}), "0/2 Evicted 0"),
            (
                json!({"phase": "Pending", "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
                "0/2 SchedulingGated 0",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running(true, 1), running(false, 2)]}),
                "1/2 Running 3",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running(true, 0),
                    {"restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                     "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T23:57:00Z"}}}]}),
                "1/2 CrashLoopBackOff 4 (3m ago)",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [
                    {"state": {"terminated": {"exitCode": 3}}}, running(true, 0)]}),
                "1/2 ExitCode:3 0",
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "signal": 9}}}]}),
                "0/2 Signal:9 0",
            ),
            // The first container completed while the second runs on.
            (
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [{"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, running(true, 0)]}),
                "1/2 Running 0",
            ),
            (
                json!({"phase": "Running",
                    "containerStatuses": [{"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, running(true, 0)]}),
                "1/2 NotReady 0",
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [
                    {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
                    {"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}),
                "0/2 Error 0",
            ),
            (json!({"phase": "Running", "deleted": "2026-01-01T00:00:00Z"}), "0/2 Terminating 0"),
            (
                json!({"phase": "Running", "reason": "NodeLost", "deleted": "2026-01-01T00:00:00Z"}),
                "0/2 Unknown 0",
            ),
            (json!({"phase": "Succeeded", "deleted": "2026-01-01T00:00:00Z"}), "0/2 Succeeded 0"),
        ] {
            assert_eq!(check(&none, &status), expected, "{status}");
        }
    }

    #[test]
    fn while_a_pod_initializes_its_init_containers_speak() {
        let init = json!([{"name": "i"}, {"name": "s", "restartPolicy": "Always"}, {"name": "j"}]);
        let passed = json!({"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 0}}});
        let sidecar = |started: bool| {
            json!({"name": "s", "started": started, "ready": started, "restartCount": 1,
                   "state": {"running": {}}})
        };
        for (statuses, expected) in [
            (json!([]), "0/3 Pending 0"),
            (json!([{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]), "0/3 Init:0/3 0"),
            (
                json!([{"name": "i", "state": {"waiting": {"reason": "ErrImagePull"}}}]),
                "0/3 Init:ErrImagePull 0",
            ),
            (json!([{"name": "i", "state": {"terminated": {"exitCode": 2}}}]), "0/3 Init:ExitCode:2 0"),
            (
                json!([{"name": "i", "state": {"terminated": {"exitCode": 2, "signal": 9}}}]),
                "0/3 Init:Signal:9 0",
            ),
            (
                json!([{"name": "i", "state": {"terminated": {"exitCode": 2, "reason": "Error"}}}]),
                "0/3 Init:Error 0",
            ),
            (json!([passed, sidecar(false)]), "0/3 Init:1/3 3"),
            (json!([passed, sidecar(true), {"name": "j", "state": {"running": {}}}]), "1/3 Init:2/3 3"),
        ] {
            let status = json!({"phase": "Pending", "initContainerStatuses": statuses});
            assert_eq!(check(&init, &status), expected, "{status}");
        }
        // Once initialized, only the sidecars' restarts count on.
        let status = json!({
            "phase": "Running",
            "initContainerStatuses": [passed, sidecar(true), {"name": "j", "state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [running(true, 4), running(true, 0)],
        });
        assert_eq!(check(&init, &status), "3/3 Running 5");
    }

    #[test]
    fn readiness_gates_are_counted_by_their_conditions() {
        let pod = json!({
            "spec": {"readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
            "status": {"conditions": [{"type": "a", "status": "True"}, {"type": "b", "status": "False"}]},
        });
        assert_eq!(readiness_gates(&pod), "1/2");
        assert_eq!(readiness_gates(&json!({})), "<none>");
    }
}
