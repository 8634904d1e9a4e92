//! Node lifecycle: says so when a node is no longer heard of, and keeps Pods off nodes that are not well.
//!
//! A node is heard of when its Lease or its Ready condition is renewed; what counts is when that was seen here, not what
//! clock the node has. Taints follow its conditions: those that keep new Pods off at once, those that evict Pods at the
//! pace of the zone, and not at all while every node seems lost: then it is rather the control plane that is.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers, Write,
    controller::{OnFailure, Patch, Request},
    events::{Note, ObjectRef},
    meta::time,
    resource::{NODES, PODS},
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use runtime::SharedClock;
use serde_json::{Value, json};

use crate::kinds::{
    Lease, Node, Pod,
    node::{NodeCondition, Taint},
    pod::NODE,
};

/// The namespace of the nodes' Leases.
const LEASES: &str = "kube-node-lease";
/// A node that was heard of is given up after so long.
const GRACE: SignedDuration = SignedDuration::from_secs(50);
/// A node that has never said how it is is given up after so long.
const STARTUP_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// In a zone that is well, a node begins to lose its Pods so long after another one did.
const EVICTION_PACE: SignedDuration = SignedDuration::from_secs(10);
/// The same in a large zone that is not well.
const EVICTION_PACE_UNWELL: SignedDuration = SignedDuration::from_secs(100);
/// A cluster with more nodes is large.
const LARGE: usize = 50;
/// A node that waits for its turn is looked at again after so long.
const PERIOD: Duration = Duration::from_secs(5);

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

/// The conditions that keep new Pods off a node: type, status, taint.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// The conditions nobody can vouch for once a node is no longer heard of.
const VOUCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Labels that old clients know under another name.
const LABELS: [(&str, &str); 2] =
    [("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

/// Looks after nodes.
pub struct NodeLifecycle {
    clock: SharedClock,
    heard: Arc<Mutex<BTreeMap<Arc<str>, Timestamp>>>,
    /// The nodes that were told of, with their uids.
    known: Mutex<BTreeMap<Arc<str>, Box<str>>>,
}

/// All that matters to a node.
#[derive(Debug)]
pub struct Observed {
    name: Arc<str>,
    node: Option<Arc<Node>>,
    /// When it was heard of last.
    heard: Timestamp,
    /// Its uid, if it was known under another state: new, or gone.
    registered: bool,
    removed: Option<Box<str>>,
    ready_pods: Vec<Arc<Pod>>,
    zone: Zone,
}

/// How the nodes around are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Zone {
    ready: usize,
    not_ready: usize,
    /// No node of any zone is ready.
    all_lost: bool,
    /// The cluster is large.
    large: bool,
    /// When a node of the zone began to lose its Pods.
    last_evicted: Option<Timestamp>,
}

// === impl NodeLifecycle ===

impl fmt::Debug for NodeLifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeLifecycle").field("heard", &self.heard).finish_non_exhaustive()
    }
}

impl NodeLifecycle {
    /// Hears of nodes by this clock.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, heard: Arc::default(), known: Mutex::default() }
    }
}

impl Controller for NodeLifecycle {
    type Root = Node;
    type Observed = Observed;
    const NAME: &'static str = "node-controller";

    fn triggers(&self, on: &mut Triggers<Node>) {
        let (heard, clock) = (Arc::clone(&self.heard), Arc::clone(&self.clock));
        on.changes::<Node>(move |change, caches| {
            let ready = |node: &Arc<Node>| node.condition("Ready").cloned();
            let (before, after) = (change.before().and_then(ready), change.after().and_then(ready));
            let node = change.object();
            if change.after().is_none() {
                heard.lock().remove(&node.metadata.name);
            } else if heartbeat(before.as_ref()) != heartbeat(after.as_ref()) {
                heard.lock().insert(Arc::clone(&node.metadata.name), clock.now());
            }
            let status = |condition: Option<NodeCondition>| condition.map(|condition| condition.status);
            if status(before) == status(after) {
                return vec![node.key()];
            }
            // The zone is different now, for all that are in it.
            let mut keys: Vec<_> = caches.read::<Node>().list().iter().map(|node| node.key()).collect();
            keys.push(node.key());
            keys
        });
        let (heard, clock) = (Arc::clone(&self.heard), Arc::clone(&self.clock));
        on.reads::<Pod>().changes::<Lease>(move |change, _| {
            let renewed = |lease: Option<&Arc<Lease>>| lease.and_then(|lease| lease.spec.renew_time);
            let lease = change.object();
            let newer = matches!(change, Change::Added(_) | Change::Modified { .. })
                && renewed(change.after()) > renewed(change.before());
            if newer && &*lease.metadata.namespace == LEASES {
                heard.lock().insert(Arc::clone(&lease.metadata.name), clock.now());
            }
            // Nothing is to do because a node is alive; that it is not comes to light when its time is up.
            Vec::new()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let name = Arc::clone(&root.name);
        let node = caches.read::<Node>().get(root);
        let uid = node.as_ref().map(|node| node.metadata.uid.clone());
        let mut known = self.known.lock();
        let before = known.get(&name).cloned();
        let removed = before.clone().filter(|before| Some(before) != uid.as_ref());
        let registered = uid.is_some() && uid != before;
        match uid {
            Some(uid) => drop(known.insert(Arc::clone(&name), uid)),
            None => drop(known.remove(&name)),
        }
        let unheard = || match &node {
            Some(node) if node.condition("Ready").is_none() => {
                node.metadata.creation_timestamp.unwrap_or_else(|| self.clock.now())
            }
            _ => self.clock.now(),
        };
        let heard = if node.is_some() {
            *self.heard.lock().entry(Arc::clone(&name)).or_insert_with(unheard)
        } else {
            unheard()
        };
        let pods = caches.read::<Pod>().by_index(NODE, &name);
        Some(Observed {
            zone: node.as_ref().map(|node| zone(node, &caches.read::<Node>().list())).unwrap_or_default(),
            ready_pods: pods.into_iter().filter(|pod| pod.is_ready()).collect(),
            name,
            node,
            heard,
            registered,
            removed,
        })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let Observed { name, node, removed, registered, heard, .. } = observed;
        let mut told = Vec::new();
        if let Some(uid) = removed {
            told.push(tell(
                name,
                uid,
                "RemovingNode",
                format!("Node {name} event: Removing Node {name} from Controller"),
            ));
        }
        let Some(node) = node else {
            return told.into_iter().fold(Plan::because("the node is gone"), Plan::then);
        };
        let uid = &node.metadata.uid;
        if *registered {
            told.push(tell(
                name,
                uid,
                "RegisteredNode",
                format!("Node {name} event: Registered Node {name} in Controller"),
            ));
        }
        let ready = node.condition("Ready");
        let grace = if ready.is_none() { STARTUP_GRACE } else { GRACE };
        let due = heard.checked_add(grace).unwrap_or(Timestamp::MAX);
        let lost = now > due && ready.is_none_or(|ready| &*ready.status != "Unknown");
        let plan = if lost { give_up(observed, node, now) } else { taint(observed, node, now) };
        let mut plan = told.into_iter().fold(plan, Plan::then);
        if now <= due {
            // A little later, so that the time is up then.
            let due = due.checked_add(SignedDuration::from_millis(1)).unwrap_or(due);
            plan = plan.look_again_at(due, now);
        }
        plan
    }
}

fn heartbeat(ready: Option<&NodeCondition>) -> Option<Timestamp> {
    ready.and_then(|ready| ready.last_heartbeat_time)
}

fn tell(name: &str, uid: &str, reason: &'static str, message: String) -> Write {
    let about = ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        ..ObjectRef::default()
    };
    Write::event(about, Note::normal(reason, message))
}

/// Region and zone of a node.
fn zone_key(node: &Node) -> (Option<&str>, Option<&str>) {
    let labels = &node.metadata.labels;
    let label = |stable, beta| labels.get(stable).or_else(|| labels.get(beta));
    (
        label("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
        label("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
    )
}

fn zone(node: &Node, all: &[Arc<Node>]) -> Zone {
    let counts = |node: &&Arc<Node>| !node.metadata.labels.contains("node.kubernetes.io/exclude-disruption");
    let is_ready = |node: &Node| node.condition("Ready").is_some_and(|ready| &*ready.status == "True");
    let mine: Vec<_> = all.iter().filter(|other| zone_key(other) == zone_key(node)).collect();
    let ready = mine.iter().copied().filter(counts).filter(|node| is_ready(node)).count();
    let evicted = mine.iter().flat_map(|node| &node.spec.taints).filter(|taint| evicts(taint));
    Zone {
        ready,
        not_ready: mine.iter().copied().filter(counts).count() - ready,
        all_lost: !all.iter().filter(counts).any(|node| is_ready(node)),
        large: all.len() > LARGE,
        last_evicted: evicted.filter_map(|taint| taint.time_added).max(),
    }
}

fn evicts(taint: &Taint) -> bool {
    &*taint.effect == NO_EXECUTE && matches!(&*taint.key, NOT_READY | UNREACHABLE)
}

/// Says that nobody knows how the node is, and that its Pods are not ready.
fn give_up(observed: &Observed, node: &Node, now: Timestamp) -> Plan {
    let meta = &node.metadata;
    let conditions: Vec<_> = VOUCHED
        .iter()
        .filter_map(|which| match node.condition(which) {
            None => Some(json!({
                "type": which, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": meta.creation_timestamp.map(time), "lastTransitionTime": time(now),
            })),
            Some(condition) if &*condition.status == "Unknown" => None,
            Some(_) => Some(json!({
                "type": which, "status": "Unknown", "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.", "lastTransitionTime": time(now),
            })),
        })
        .collect();
    let patch = Patch::strategic(json!({"status": {"conditions": conditions}}));
    let mut plan = Plan::because("the node was not heard of for too long")
        .then(Request::patch(NODES, node.key(), patch).on("status").if_unchanged(meta));
    if node.condition("Ready").is_some_and(|ready| &*ready.status == "True") {
        let message = format!("Node {} status is now: NodeNotReady", meta.name);
        plan = plan.then(tell(&meta.name, &meta.uid, "NodeNotReady", message));
        let unready = json!({"status": {"conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": time(now)}]}});
        let requests = observed.ready_pods.iter().map(|pod| {
            Request::patch(PODS, pod.key(), Patch::strategic(unready.clone()))
                .on("status")
                .if_same(&pod.metadata.uid)
                .conflict_is_fine()
                .on_failure(OnFailure::GoOn)
        });
        plan = plan.then(Write::all(requests.collect()));
        for pod in &observed.ready_pods {
            let note = Note::warning("NodeNotReady", "Node is not ready");
            plan = plan.then(Write::event(ObjectRef::to(&**pod), note));
        }
    }
    plan
}

/// Brings taints and labels in line with the conditions.
fn taint(observed: &Observed, node: &Node, now: Timestamp) -> Plan {
    let wanted_off: Vec<&str> = TAINTS
        .iter()
        .filter(|(which, status, _)| {
            node.condition(which).is_some_and(|condition| *condition.status == **status)
        })
        .map(|(.., key)| *key)
        .chain(node.spec.unschedulable.then_some(UNSCHEDULABLE))
        .collect();
    let ours = |key: &str| key == UNSCHEDULABLE || TAINTS.iter().any(|(.., taint)| *taint == key);
    let (evict, waits) = eviction(observed, node, now);

    let stays = |taint: &&Taint| match &*taint.effect {
        NO_SCHEDULE if ours(&taint.key) => wanted_off.contains(&&*taint.key),
        NO_EXECUTE if evicts(taint) => evict == Some(&*taint.key),
        _ => true,
    };
    let kept: Vec<_> = node.spec.taints.iter().filter(stays).collect();
    let has =
        |key: &str, effect: &str| kept.iter().any(|taint| &*taint.key == key && &*taint.effect == effect);
    let mut new: Vec<_> =
        wanted_off.iter().filter(|key| !has(key, NO_SCHEDULE)).map(|key| (*key, NO_SCHEDULE)).collect();
    new.extend(evict.filter(|key| !has(key, NO_EXECUTE)).map(|key| (key, NO_EXECUTE)));

    let mut plan = Plan::because("taints and labels say how the node is");
    if !new.is_empty() || kept.len() != node.spec.taints.len() {
        plan.why = "the taints do not say how the node is".into();
        let kept = kept.into_iter().map(|taint| {
            let mut value = json!({"key": taint.key, "effect": taint.effect});
            if !taint.value.is_empty() {
                value["value"] = json!(taint.value);
            }
            if let Some(at) = taint.time_added {
                value["timeAdded"] = json!(time(at));
            }
            value
        });
        let new =
            new.iter().map(|(key, effect)| json!({"key": key, "effect": effect, "timeAdded": time(now)}));
        let taints: Vec<Value> = kept.chain(new).collect();
        let taints = if taints.is_empty() { Value::Null } else { Value::Array(taints) };
        let patch = Patch::merge(json!({"spec": {"taints": taints}}));
        plan = plan.then(Request::patch(NODES, node.key(), patch).if_unchanged(&node.metadata));
    }
    let labels = &node.metadata.labels;
    let stale = LABELS.iter().filter_map(|(stable, beta)| {
        let value = labels.get(stable)?;
        (labels.get(beta) != Some(value)).then(|| ((*beta).to_owned(), Value::from(value)))
    });
    let stale: serde_json::Map<_, _> = stale.collect();
    if !stale.is_empty() {
        let patch = Patch::merge(json!({"metadata": {"labels": stale}}));
        plan = plan.then(Request::patch(NODES, node.key(), patch).if_same(&node.metadata.uid));
    }
    if waits { plan.look_again(PERIOD) } else { plan }
}

/// The taint that makes the node lose its Pods, and whether it is still to wait for its turn.
fn eviction(observed: &Observed, node: &Node, now: Timestamp) -> (Option<&'static str>, bool) {
    let key = match node.condition("Ready").map(|ready| &*ready.status) {
        Some("False") => NOT_READY,
        Some("Unknown") => UNREACHABLE,
        _ => return (None, false),
    };
    let zone = &observed.zone;
    if zone.all_lost {
        return (None, false);
    }
    if node.spec.taints.iter().any(evicts) {
        return (Some(key), false);
    }
    let total = zone.ready + zone.not_ready;
    // 55 in a hundred, and more than two.
    let unwell = zone.ready > 0 && zone.not_ready > 2 && zone.not_ready * 100 >= total * 55;
    let pace = match (unwell, zone.large) {
        (false, _) => EVICTION_PACE,
        (true, true) => EVICTION_PACE_UNWELL,
        (true, false) => return (None, true),
    };
    let turn = zone.last_evicted.is_none_or(|last| now.duration_since(last) >= pace);
    (turn.then_some(key), !turn)
}

#[cfg(test)]
mod tests {
    use client::{controller::Verb, testing::Filled};
    use runtime::Runtime;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn node(name: &str, ready: Option<&str>, taints: Value) -> Value {
        let conditions: Vec<_> =
            ready.iter().map(|status| json!({"type": "Ready", "status": status})).collect();
        json!({"metadata": {"name": name, "uid": name, "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"taints": taints}, "status": {"conditions": conditions}})
    }

    fn plan(nodes: Vec<Value>, silent: i64) -> Plan {
        let pod = json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p"}, "spec": {"nodeName": "a"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let caches = Filled::new().with::<Node>(nodes).with::<Pod>([pod]).with::<Lease>([]).caches();
        let controller = NodeLifecycle::new(Runtime::simulated(now(), 1).clock);
        controller.heard.lock().insert("a".into(), now() - SignedDuration::from_secs(silent));
        controller.known.lock().insert("a".into(), "a".into());
        let observed = controller.observe(&Key::cluster("a"), &caches).unwrap();
        controller.reconcile(&observed, now())
    }

    fn lines(plan: &Plan) -> Vec<String> {
        let line = |request: &Request| match &request.verb {
            Verb::Patch(patch) => {
                let document = patch.document();
                let taints = document["spec"]["taints"].as_array().cloned().unwrap_or_default();
                let taints = taints
                    .iter()
                    .map(|it| format!("{}:{}", it["key"].as_str().unwrap(), it["effect"].as_str().unwrap()));
                let conditions = document["status"]["conditions"].as_array().cloned().unwrap_or_default();
                let conditions = conditions.iter().map(|it| format!("{}={}", it["type"], it["status"]));
                format!("{} {}", request.key.name, taints.chain(conditions).collect::<Vec<_>>().join(" "))
            }
            other => panic!("{other:?}"),
        };
        plan.writes
            .iter()
            .flat_map(|write| match write {
                Write::Request(request) => vec![line(request)],
                Write::Batch { requests, .. } => requests.iter().map(line).collect(),
                Write::Event { note, .. } => vec![note.reason.to_string()],
            })
            .collect()
    }

    #[test]
    fn a_node_that_is_not_heard_of_is_given_up() {
        let well = vec![node("a", Some("True"), json!([])), node("b", Some("True"), json!([]))];
        assert!(lines(&plan(well.clone(), 50)).is_empty());
        assert_eq!(plan(well.clone(), 40).look_again, Some(Duration::from_millis(10_001)));
        assert_eq!(
            lines(&plan(well, 51)),
            [
                r#"a "Ready"="Unknown" "MemoryPressure"="Unknown" "DiskPressure"="Unknown" "PIDPressure"="Unknown""#,
                "NodeNotReady",
                r#"p "Ready"="False""#,
                "NodeNotReady",
            ]
        );
        let new = vec![node("a", None, json!([]))];
        assert!(lines(&plan(new.clone(), 59)).is_empty());
        assert_eq!(lines(&plan(new, 61)).len(), 1, "nothing is told of a node that never was ready");
    }

    #[test]
    fn taints_follow_conditions() {
        let other = || node("b", Some("True"), json!([]));
        let off = json!([{"key": NOT_READY, "effect": NO_SCHEDULE}, {"key": "mine", "effect": NO_SCHEDULE}]);
        let both =
            json!([{"key": UNREACHABLE, "effect": NO_SCHEDULE}, {"key": UNREACHABLE, "effect": NO_EXECUTE}]);
        let mut cordoned = node("a", Some("True"), json!([]));
        cordoned["spec"]["unschedulable"] = json!(true);
        let busy = json!([{"key": NOT_READY, "effect": NO_EXECUTE, "timeAdded": "2026-01-01T00:59:55Z"},
            {"key": NOT_READY, "effect": NO_SCHEDULE}]);
        for (nodes, expected) in [
            (vec![node("a", Some("True"), off), other()], vec!["a mine:NoSchedule".to_owned()]),
            (vec![node("a", Some("True"), both.clone()), other()], vec!["a ".to_owned()]),
            (vec![cordoned, other()], vec![format!("a {UNSCHEDULABLE}:NoSchedule")]),
            (
                vec![node("a", Some("Unknown"), json!([])), other()],
                vec![format!("a {UNREACHABLE}:NoSchedule {UNREACHABLE}:NoExecute")],
            ),
            (
                vec![node("a", Some("False"), both.clone()), other()],
                vec![format!("a {NOT_READY}:NoSchedule {NOT_READY}:NoExecute")],
            ),
            // It is another node's turn.
            (
                vec![node("a", Some("Unknown"), json!([])), node("c", Some("False"), busy), other()],
                vec![format!("a {UNREACHABLE}:NoSchedule")],
            ),
            // Nobody is ready: it is not the nodes that are lost.
            (vec![node("a", Some("Unknown"), both)], vec![format!("a {UNREACHABLE}:NoSchedule")]),
        ] {
            assert_eq!(lines(&plan(nodes, 0)), expected);
        }
    }
}
