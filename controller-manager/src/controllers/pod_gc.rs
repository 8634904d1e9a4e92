//! Pod garbage collector: removes Pods that nobody else will: those of nodes that are gone or declared out of service,
//! those that never had a node, and the oldest of too many that have ended.
//!
//! The key is the name of a node. The empty name stands for Pods without one, and for those that have ended.

use std::{collections::BTreeMap, fmt, sync::Arc};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers, Write,
    controller::{DeleteOptions, OnFailure, Patch, Preconditions, Request},
    resource::PODS,
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use runtime::SharedClock;
use serde_json::json;

use crate::{
    kinds::{Node, Pod, pod::NODE},
    pods::{self, DISRUPTION_TARGET},
};

/// A node must have been gone for so long: it may be registered anew.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
/// So many Pods that have ended are kept.
const ENDED_MAX: usize = 12_500;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Removes Pods.
pub struct PodGc {
    clock: SharedClock,
    /// Since when a node has been known to be gone.
    gone: Mutex<BTreeMap<Arc<str>, Timestamp>>,
}

/// All that matters to the Pods of a node, or of none.
#[derive(Debug)]
pub struct Observed {
    place: Place,
    pods: Vec<Arc<Pod>>,
}

#[derive(Debug)]
enum Place {
    /// A node that is not there, and since when.
    Gone(Timestamp),
    /// A node that somebody has declared out of service.
    OutOfService,
    /// A node that looks after its Pods itself.
    There,
    /// No node; and the Pods that have ended, if they are too many, oldest first.
    Nowhere { ended: Vec<Arc<Pod>> },
}

// === impl PodGc ===

impl fmt::Debug for PodGc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodGc").field("gone", &self.gone).finish_non_exhaustive()
    }
}

impl PodGc {
    /// Counts time by this clock.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, gone: Mutex::default() }
    }
}

impl Controller for PodGc {
    type Root = Node;
    type Observed = Observed;
    const NAME: &'static str = "pod-garbage-collector-controller";

    fn triggers(&self, on: &mut Triggers<Node>) {
        on.changes::<Node>(|change, _| {
            let taints = |node: &Arc<Node>| (is_out_of_service(node), is_ready(node));
            match change {
                Change::Modified { old, new } if taints(old) == taints(new) => Vec::new(),
                _ => vec![change.object().key()],
            }
        });
        on.changes::<Pod>(|change, caches| {
            let Some(pod) = change.after() else { return Vec::new() };
            let mut keys = Vec::new();
            if pod.is_finished() && caches.read::<Pod>().len() > ENDED_MAX {
                keys.push(Key::cluster(""));
            }
            let node = Key::cluster(&pod.spec.node_name);
            let concerns = if pod.spec.node_name.is_empty() {
                pod.metadata.is_terminating()
            } else {
                caches
                    .read::<Node>()
                    .get(&node)
                    .is_none_or(|node| pod.metadata.is_terminating() && is_out_of_service(&node))
            };
            keys.extend(concerns.then_some(node));
            keys
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let cache = caches.read::<Pod>();
        let pods = cache.by_index(NODE, &root.name);
        if root.name.is_empty() {
            let mut ended = if cache.len() > ENDED_MAX { cache.list() } else { Vec::new() };
            ended.retain(|pod| pod.is_finished());
            // Evicted ones go first, then the oldest.
            ended.sort_by_cached_key(|pod| {
                let evicted = &*pod.status.phase == "Failed" && &*pod.status.reason == "Evicted";
                (!evicted, pod.metadata.creation_timestamp, Arc::clone(&pod.metadata.name))
            });
            ended.truncate(ended.len().saturating_sub(ENDED_MAX));
            return Some(Observed { place: Place::Nowhere { ended }, pods });
        }
        let mut gone = self.gone.lock();
        let place = match caches.read::<Node>().get(root) {
            None if pods.is_empty() => {
                gone.remove(&root.name);
                return None;
            }
            None => Place::Gone(*gone.entry(Arc::clone(&root.name)).or_insert_with(|| self.clock.now())),
            Some(node) => {
                gone.remove(&root.name);
                if is_out_of_service(&node) && !is_ready(&node) { Place::OutOfService } else { Place::There }
            }
        };
        Some(Observed { place, pods })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let terminating = || observed.pods.iter().filter(|pod| pod.metadata.is_terminating());
        match &observed.place {
            Place::There => Plan::because("the node looks after its Pods"),
            Place::Gone(since) => {
                let due = since.checked_add(QUARANTINE).unwrap_or(Timestamp::MAX);
                if now < due {
                    return Plan::because("the node is gone, and may come back").look_again_at(due, now);
                }
                let plan = Plan::because("the node of these Pods no longer exists");
                observed.pods.iter().fold(plan, |plan, pod| remove(plan, pod, true, now))
            }
            Place::OutOfService => {
                let plan = Plan::because("the node of these Pods is out of service and will not end them");
                terminating().fold(plan, |plan, pod| remove(plan, pod, false, now))
            }
            Place::Nowhere { ended } => {
                let plan = Plan::because(
                    "no node will end Pods that have none, and too many ended Pods are not kept",
                );
                terminating().chain(ended).fold(plan, |plan, pod| remove(plan, pod, false, now))
            }
        }
    }
}

fn is_out_of_service(node: &Node) -> bool {
    node.spec.taints.iter().any(|taint| &*taint.key == OUT_OF_SERVICE)
}

fn is_ready(node: &Node) -> bool {
    node.condition("Ready").is_some_and(|ready| &*ready.status == "True")
}

/// Says that a Pod failed unless it has ended, and deletes it without waiting for a kubelet.
fn remove(plan: Plan, pod: &Pod, orphaned: bool, now: Timestamp) -> Plan {
    let mut plan = plan;
    if !pod.is_finished() {
        let status = if orphaned {
            let mut condition = pods::condition(pod, DISRUPTION_TARGET, "True", now);
            condition["reason"] = "DeletionByPodGC".into();
            condition["message"] = "PodGC: node no longer exists".into();
            json!({"status": {"phase": "Failed", "conditions": [condition]}})
        } else {
            json!({"status": {"phase": "Failed"}})
        };
        let request = Request::patch(PODS, pod.key(), Patch::strategic(status)).on("status");
        plan = plan.then(request.if_same(&pod.metadata.uid).conflict_is_fine().on_failure(OnFailure::GoOn));
    }
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        preconditions: Preconditions::uid(&pod.metadata.uid),
        ..DeleteOptions::default()
    };
    let delete = Request::delete_with(PODS, pod.key(), options);
    plan.then(Write::from(delete.conflict_is_fine().on_failure(OnFailure::GoOn)))
}

#[cfg(test)]
mod tests {
    use client::testing::Filled;
    use runtime::Runtime;
    use serde_json::Value;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    #[test]
    fn pods_that_nobody_else_will_remove_are_removed() {
        let going = json!("2026-01-01T00:00:00Z");
        let node = |taint: &str, ready: &str| {
            vec![
                json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": taint, "effect": "NoExecute"}]},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}}),
            ]
        };
        for (nodes, place, deleted, gone_for, why, writes) in [
            (vec![], "n", Value::Null, 39, "the node is gone, and may come back", 0),
            (vec![], "n", Value::Null, 40, "the node of these Pods no longer exists", 2),
            (node("x", "False"), "n", going.clone(), 0, "the node looks after its Pods", 0),
            (
                node(OUT_OF_SERVICE, "False"),
                "n",
                going.clone(),
                0,
                "the node of these Pods is out of service and will not end them",
                2,
            ),
            (node(OUT_OF_SERVICE, "True"), "n", going.clone(), 0, "the node looks after its Pods", 0),
            (
                vec![],
                "",
                going,
                0,
                "no node will end Pods that have none, and too many ended Pods are not kept",
                2,
            ),
            (
                vec![],
                "",
                Value::Null,
                0,
                "no node will end Pods that have none, and too many ended Pods are not kept",
                0,
            ),
        ] {
            let pod = json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p", "deletionTimestamp": deleted},
                "spec": {"nodeName": place}});
            let caches = Filled::new().with::<Pod>([pod]).with::<Node>(nodes).caches();
            let controller = PodGc::new(Runtime::simulated(now(), 1).clock);
            controller.gone.lock().insert("n".into(), now() - SignedDuration::from_secs(gone_for));
            let observed = controller.observe(&Key::cluster(place), &caches).unwrap();
            let plan = controller.reconcile(&observed, now());
            assert_eq!((plan.why.to_string().as_str(), plan.writes.len()), (why, writes));
        }
    }
}
