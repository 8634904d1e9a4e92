//! A Pod on a hollow node: one step further at a time, as its stage says.
//!
//! ```text
//! bound ──start──> Running ──ready──> Ready ──complete──> Succeeded or Failed
//!            any of them, deleted ──stop──> containers ended, object removed
//! ```
//!
//! A kubelet knows when it began a step because it was there; so does this one, in [`Steps`]. After a restart it counts
//! from anew, which delays a step and never skips one.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use client::{
    Caches, Controller, Key, Kind, Meta, Plan, Resource, Triggers,
    controller::{
        Request,
        plan::{DeleteOptions, Patch, Preconditions},
    },
    meta::{null_is_default, time},
    resource,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Silence,
    addresses::{self, Addresses},
    stages::{Stage, Stages, Subject},
};

/// How long a container that failed waits before it is started again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// A Pod, as far as its kubelet looks at it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Box<str>,
    restart_policy: Box<str>,
    host_network: bool,
    #[serde(deserialize_with = "null_is_default")]
    containers: Box<[Container]>,
    #[serde(deserialize_with = "null_is_default")]
    init_containers: Box<[Container]>,
    #[serde(deserialize_with = "null_is_default")]
    readiness_gates: Box<[Gate]>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: Box<str>,
    image: Box<str>,
    restart_policy: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Gate {
    condition_type: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Box<str>,
    #[serde(rename = "podIP")]
    pod_ip: Box<str>,
    start_time: Option<Timestamp>,
    #[serde(deserialize_with = "null_is_default")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "null_is_default")]
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    r#type: Box<str>,
    status: Box<str>,
    last_transition_time: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    restart_count: i32,
    state: State,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<Running>,
    waiting: Option<serde::de::IgnoredAny>,
    terminated: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Running {
    started_at: Option<Timestamp>,
}

/// Where a Pod is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// On the node, nothing runs yet.
    Bound,
    /// Containers run.
    Running,
    /// Containers are ready.
    Ready,
    /// Containers failed and wait to be started again.
    BackingOff,
    /// Containers are done.
    Done,
    /// Somebody wants the Pod gone.
    Stopping,
}

/// When each Pod came to the step it is at.
#[derive(Debug, Default)]
struct Steps(Mutex<BTreeMap<Box<str>, Reached>>);

/// A step, how often containers were restarted by then, and since when.
type Reached = (Step, i32, Option<Timestamp>);

/// Runs the Pods of some nodes.
#[derive(Debug)]
pub struct HollowPods {
    nodes: Vec<String>,
    stages: Stages,
    addresses: Arc<Addresses>,
    silence: Silence,
    steps: Steps,
}

/// All that matters to a Pod.
#[derive(Debug)]
pub struct Observed {
    pod: Pod,
    stage: Stage,
    step: Step,
    /// When the step began, if this kubelet was there; it begins now otherwise.
    since: Option<Timestamp>,
    host: Ipv4Addr,
    /// Its address; `None` if there is none left.
    address: Option<Ipv4Addr>,
}

// === impl Pod ===

impl Kind for Pod {
    const RESOURCE: Resource = resource::PODS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Pod {
    fn step(&self) -> Step {
        if self.metadata.is_terminating() {
            return Step::Stopping;
        }
        if matches!(&*self.status.phase, "Succeeded" | "Failed") {
            return Step::Done;
        }
        let Some(status) = self.status.container_statuses.first() else { return Step::Bound };
        if status.state.running.is_some() {
            return if self.is("ContainersReady") { Step::Ready } else { Step::Running };
        }
        if status.state.terminated.is_some() || (status.state.waiting.is_some() && status.restart_count > 0) {
            return Step::BackingOff;
        }
        Step::Bound
    }

    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| &*condition.r#type == kind)
    }

    fn is(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|condition| &*condition.status == "True")
    }

    fn restarts(&self) -> i32 {
        self.status.container_statuses.first().map_or(0, |status| status.restart_count)
    }

    fn started_at(&self, now: Timestamp) -> Timestamp {
        let running = self.status.container_statuses.first().and_then(|status| status.state.running.as_ref());
        running.and_then(|running| running.started_at).unwrap_or(now)
    }

    fn subject<'a>(&'a self, label: &'a dyn Fn(&str) -> Option<String>) -> Subject<'a> {
        Subject {
            owner: self.metadata.controller().map(|owner| &*owner.kind),
            namespace: &self.metadata.namespace,
            restart_policy: &self.spec.restart_policy,
            label,
        }
    }
}

// === impl Steps ===

impl Steps {
    /// When a Pod came to this step, remembering that it is there.
    fn since(&self, pod: &Pod, step: Step) -> Option<Timestamp> {
        let mut steps = self.0.lock();
        let restarts = pod.restarts();
        match steps.get(&pod.metadata.uid) {
            Some((known, times, since)) if *known == step && *times == restarts => *since,
            _ => {
                steps.insert(pod.metadata.uid.clone(), (step, restarts, None));
                None
            }
        }
    }

    fn begin(&self, uid: &str, now: Timestamp) {
        if let Some((_, _, since)) = self.0.lock().get_mut(uid) {
            since.get_or_insert(now);
        }
    }

    fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

// === impl HollowPods ===

impl HollowPods {
    /// Runs the Pods of these nodes.
    pub fn new(nodes: Vec<String>, stages: Stages, addresses: Arc<Addresses>, silence: Silence) -> Self {
        Self { nodes, stages, addresses, silence, steps: Steps::default() }
    }
}

impl Controller for HollowPods {
    type Root = Pod;
    type Observed = Observed;
    const NAME: &'static str = "hollow-kubelet";

    fn triggers(&self, on: &mut Triggers<Pod>) {
        on.root();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let pod = (*caches.read::<Pod>().get(root)?).clone();
        let number = self.nodes.iter().position(|name| **name == *pod.spec.node_name)?;
        if self.silence.is_on(&pod.spec.node_name) {
            return None;
        }
        let host = addresses::node(number);
        let step = pod.step();
        let uid = &pod.metadata.uid;
        let address = match step {
            Step::Done | Step::Stopping => {
                self.addresses.release(number, uid);
                pod.status.pod_ip.parse().ok()
            }
            _ if pod.spec.host_network => Some(host),
            _ => self.addresses.assign(number, uid, pod.status.pod_ip.parse().ok()),
        };
        let since = self.steps.since(&pod, step);
        let stage = {
            let label = |key: &str| pod.metadata.labels.get(key).map(str::to_owned);
            self.stages.of(&pod.subject(&label))
        };
        Some(Observed { pod, stage, step, since, host, address })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let uid = &observed.pod.metadata.uid;
        self.steps.begin(uid, now);
        if observed.step == Step::Done {
            self.steps.forget(uid);
        }
        decide(observed, now)
    }
}

/// The next step of a Pod, or when to look again.
fn decide(observed: &Observed, now: Timestamp) -> Plan {
    let Observed { pod, stage, step, .. } = observed;
    let wait = |needed: Duration| {
        let passed = observed.since.map_or(Duration::ZERO, |since| now.duration_since(since).unsigned_abs());
        needed.checked_sub(passed).filter(|left| !left.is_zero())
    };
    match step {
        Step::Bound => match wait(stage.start()) {
            Some(left) => Plan::because("the images are being pulled").look_again(left),
            None if observed.address.is_none() => {
                Plan::because("the node has no address left").look_again(Duration::from_secs(10))
            }
            None => Plan::because("the containers start").then(set_status(
                observed,
                running(observed, now, false),
                now,
            )),
        },
        Step::Running => match wait(stage.ready()) {
            Some(left) => Plan::because("the containers are not ready yet").look_again(left),
            None => Plan::because("the containers are ready").then(set_status(
                observed,
                running(observed, now, true),
                now,
            )),
        },
        Step::Ready => {
            let complete =
                stage.complete.filter(|_| &*pod.spec.restart_policy != "Always" || stage.exit_code != 0);
            match complete.map(wait) {
                None if gates_changed(pod) => Plan::because("the Pod is not said to be as ready as it is")
                    .then(set_status(observed, running(observed, now, true), now)),
                None => Plan::because("the containers run"),
                Some(Some(left)) => Plan::because("the containers run").look_again(left),
                Some(None) => end(observed, now),
            }
        }
        Step::BackingOff => {
            let doublings = u32::try_from(pod.restarts()).unwrap_or_default().min(5);
            match wait(BACKOFF.0.saturating_mul(1 << doublings).min(BACKOFF.1)) {
                Some(left) => Plan::because("the containers wait to be started again").look_again(left),
                None => Plan::because("the containers start again").then(set_status(
                    observed,
                    running(observed, now, false),
                    now,
                )),
            }
        }
        Step::Done => Plan::because("the Pod is done"),
        Step::Stopping => stop(observed, now, wait),
    }
}

/// The containers end by themselves.
fn end(observed: &Observed, now: Timestamp) -> Plan {
    let code = observed.stage.exit_code;
    let again = match &*observed.pod.spec.restart_policy {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    };
    if again {
        return Plan::because("the containers ended and will be started again").then(set_status(
            observed,
            backing_off(observed, now, code),
            now,
        ));
    }
    Plan::because(if code == 0 { "the containers succeeded" } else { "the containers failed" })
        .then(set_status(observed, ended(observed, now, code), now))
}

/// The containers are ended by somebody's wish; then the object goes.
fn stop(observed: &Observed, now: Timestamp, wait: impl Fn(Duration) -> Option<Duration>) -> Plan {
    let pod = &observed.pod;
    let grace =
        u64::try_from(pod.metadata.deletion_grace_period_seconds.unwrap_or_default()).unwrap_or_default();
    let needed = observed.stage.stop().min(Duration::from_secs(grace));
    if let Some(left) = wait(needed) {
        return Plan::because("the containers are being stopped").look_again(left);
    }
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        preconditions: Preconditions::uid(&pod.metadata.uid),
        ..DeleteOptions::default()
    };
    let remove = Request::delete_with(resource::PODS, pod.key(), options);
    let goes_on = matches!(&*pod.status.phase, "Running" | "Pending");
    if goes_on {
        // Whoever holds the object by a finalizer must learn how it ended before it goes, even if it never began.
        return Plan::because("the containers are stopped and the Pod can go")
            .then(set_status(observed, ended(observed, now, 143), now))
            .then(remove);
    }
    if pod.metadata.deletion_grace_period_seconds == Some(0) && !pod.metadata.finalizers.is_empty() {
        return Plan::because("a finalizer holds the Pod");
    }
    Plan::because("the Pod can go").then(remove)
}

fn set_status(observed: &Observed, status: Value, _now: Timestamp) -> Request {
    let meta = &observed.pod.metadata;
    Request::patch(resource::PODS, meta.key(), Patch::strategic(json!({"status": status})))
        .on("status")
        .if_same(&meta.uid)
}

/// Whether what the Pod says of its readiness is not what its gates say: one has changed, or the node was not heard of for a
/// while, and its Pods were said not to be ready.
fn gates_changed(pod: &Pod) -> bool {
    pod.is("Ready") != gates_open(pod)
}

fn gates_open(pod: &Pod) -> bool {
    pod.spec.readiness_gates.iter().all(|gate| pod.is(&gate.condition_type))
}

fn running(observed: &Observed, now: Timestamp, ready: bool) -> Value {
    let pod = &observed.pod;
    let started = match observed.step {
        Step::Running | Step::Ready => pod.started_at(now),
        _ => now,
    };
    let containers: Vec<Value> = pod
        .spec
        .containers
        .iter()
        .map(|container| {
            container_status(
                pod,
                container,
                json!({"running": {"startedAt": time(started)}}),
                ready,
                pod.restarts(),
            )
        })
        .collect();
    let open = ready && gates_open(pod);
    let mut status = json!({
        "phase": "Running",
        "conditions": conditions(pod, now, ready, open, None),
        "containerStatuses": containers,
        "hostIP": observed.host.to_string(),
        "hostIPs": [{"ip": observed.host.to_string()}],
        "startTime": time(pod.status.start_time.unwrap_or(now)),
        "observedGeneration": pod.metadata.generation,
    });
    if let Some(address) = observed.address {
        status["podIP"] = json!(address.to_string());
        status["podIPs"] = json!([{"ip": address.to_string()}]);
    }
    if !pod.spec.init_containers.is_empty() {
        let ended = json!({"terminated": {
            "exitCode": 0, "reason": "Completed", "startedAt": time(started), "finishedAt": time(started),
        }});
        let initial: Vec<Value> = pod
            .spec
            .init_containers
            .iter()
            .map(|container| {
                let sidecar = &*container.restart_policy == "Always";
                let state =
                    if sidecar { json!({"running": {"startedAt": time(started)}}) } else { ended.clone() };
                container_status(pod, container, state, true, 0)
            })
            .collect();
        status["initContainerStatuses"] = json!(initial);
    }
    status
}

fn ended(observed: &Observed, now: Timestamp, code: i32) -> Value {
    let pod = &observed.pod;
    let succeeded = code == 0;
    let reason = if succeeded { "Completed" } else { "Error" };
    let started = pod.started_at(now);
    let state = json!({"running": null, "waiting": null, "terminated": {
        "exitCode": code, "reason": reason, "startedAt": time(started), "finishedAt": time(now),
    }});
    let containers: Vec<Value> = pod
        .spec
        .containers
        .iter()
        .map(|container| container_status(pod, container, state.clone(), false, pod.restarts()))
        .collect();
    let why = if succeeded { "PodCompleted" } else { "PodFailed" };
    json!({
        "phase": if succeeded { "Succeeded" } else { "Failed" },
        "conditions": conditions(pod, now, false, false, Some(why)),
        "containerStatuses": containers,
        "observedGeneration": pod.metadata.generation,
    })
}

fn backing_off(observed: &Observed, now: Timestamp, code: i32) -> Value {
    let pod = &observed.pod;
    let started = pod.started_at(now);
    let reason = if code == 0 { "Completed" } else { "Error" };
    let containers: Vec<Value> = pod
        .spec
        .containers
        .iter()
        .map(|container| {
            let waiting = json!({"running": null, "waiting": {
                "reason": "CrashLoopBackOff",
                "message": format!("back-off restarting failed container={} pod={}", container.name, pod.metadata.name),
            }});
            let mut status = container_status(pod, container, waiting, false, pod.restarts() + 1);
            status["lastState"] = json!({"terminated": {
                "exitCode": code, "reason": reason, "startedAt": time(started), "finishedAt": time(now),
            }});
            status
        })
        .collect();
    json!({
        "phase": "Running",
        "conditions": conditions(pod, now, false, false, None),
        "containerStatuses": containers,
        "observedGeneration": pod.metadata.generation,
    })
}

fn container_status(pod: &Pod, container: &Container, state: Value, ready: bool, restarts: i32) -> Value {
    let running = state.get("running").is_some_and(|running| !running.is_null());
    json!({
        "name": container.name,
        "image": container.image,
        "imageID": format!("hollow://{}", container.image),
        "containerID": format!("hollow://{}/{}", pod.metadata.uid, container.name),
        "ready": ready,
        "restartCount": restarts,
        "started": running,
        "state": state,
        "lastState": {},
    })
}

/// The conditions a kubelet sets; those of others are left alone by the merge.
fn conditions(pod: &Pod, now: Timestamp, containers_ready: bool, ready: bool, done: Option<&str>) -> Value {
    let condition = |kind: &str, truth: bool, reason: Option<(&str, String)>| {
        let status = if truth { "True" } else { "False" };
        let since = pod
            .condition(kind)
            .filter(|old| &*old.status == status)
            .and_then(|old| old.last_transition_time)
            .unwrap_or(now);
        let mut condition = json!({
            "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": time(since),
            "observedGeneration": pod.metadata.generation,
            "reason": null, "message": null,
        });
        if let Some((reason, message)) = reason {
            condition["reason"] = json!(reason);
            if !message.is_empty() {
                condition["message"] = json!(message);
            }
        }
        condition
    };
    let not_ready = || {
        done.map_or_else(
            || {
                let names: Vec<&str> = pod.spec.containers.iter().map(|container| &*container.name).collect();
                ("ContainersNotReady", format!("containers with unready status: [{}]", names.join(" ")))
            },
            |done| (done, String::new()),
        )
    };
    let gates = || ("ReadinessGatesNotReady", "the readiness gates are not all open".to_owned());
    let pod_reason = match (ready, containers_ready) {
        (true, _) => None,
        (false, true) => Some(gates()),
        (false, false) => Some(not_ready()),
    };
    json!([
        condition("PodReadyToStartContainers", done.is_none(), None),
        condition("Initialized", true, None),
        condition("Ready", ready, pod_reason),
        condition("ContainersReady", containers_ready, (!containers_ready).then(not_ready)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    fn observed(pod: Value, since: Option<&str>) -> Observed {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let label = |_: &str| None;
        let stage = Stages::default().of(&pod.subject(&label));
        let step = pod.step();
        Observed {
            pod,
            stage,
            step,
            since: since.map(|since| since.parse().unwrap()),
            host: addresses::node(0),
            address: Some(Ipv4Addr::new(10, 244, 0, 2)),
        }
    }

    fn pod(restart_policy: &str, status: Value) -> Value {
        json!({
            "metadata": {"name": "a", "namespace": "d", "uid": "u"},
            "spec": {"nodeName": "node-1", "restartPolicy": restart_policy, "containers": [{"name": "c", "image": "i"}]},
            "status": status,
        })
    }

    fn ready() -> Value {
        json!({
            "phase": "Running",
            "conditions": [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "True"}],
            "containerStatuses": [{"restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
        })
    }

    fn why(observed: &Observed) -> String {
        let plan = decide(observed, now());
        format!("{} / {} / {:?}", plan.why, plan.writes.len(), plan.look_again)
    }

    #[test]
    fn a_pod_goes_one_step_at_a_time() {
        let long_ago = Some("2026-01-01T00:00:00Z");
        for (pod, since, expected) in [
            (
                pod("Always", json!({"phase": "Pending"})),
                None,
                "the images are being pulled / 0 / Some(200ms)",
            ),
            (pod("Always", json!({"phase": "Pending"})), long_ago, "the containers start / 1 / None"),
            (pod("Always", ready()), long_ago, "the containers run / 0 / None"),
            (pod("Never", ready()), Some("2026-01-01T00:00:59Z"), "the containers run / 0 / Some(1s)"),
            (pod("Never", ready()), long_ago, "the containers succeeded / 1 / None"),
            (pod("Never", json!({"phase": "Succeeded"})), long_ago, "the Pod is done / 0 / None"),
        ] {
            assert_eq!(why(&observed(pod, since)), expected);
        }
    }

    #[test]
    fn a_deleted_pod_says_how_it_ended_before_it_goes() {
        let mut going = pod("Always", ready());
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:30Z");
        going["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        assert_eq!(why(&observed(going.clone(), None)), "the containers are being stopped / 0 / Some(300ms)");
        let plan = decide(&observed(going, Some("2026-01-01T00:00:59Z")), now());
        assert_eq!(plan.writes.len(), 2);
    }
}
