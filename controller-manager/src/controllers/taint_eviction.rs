//! Taint eviction: deletes Pods whose node does not want them there, once they have put up with it for as long as they
//! can.

use std::{collections::BTreeMap, fmt, sync::Arc};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers, Write,
    controller::{Patch, Request},
    events::{Note, ObjectRef},
    resource::PODS,
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use runtime::SharedClock;
use serde_json::json;

use crate::{
    kinds::{
        Node, Pod,
        node::Taint,
        pod::{NODE, Toleration},
    },
    placement::tolerates,
    pods::{self, DISRUPTION_TARGET},
};

const NO_EXECUTE: &str = "NoExecute";

/// Evicts Pods.
pub struct TaintEviction {
    clock: SharedClock,
    /// Since when a Pod has been known to put up with the taints of its node.
    since: Mutex<BTreeMap<Key, Timestamp>>,
}

/// All that matters to a Pod's staying.
#[derive(Debug)]
pub struct Observed {
    pod: Key,
    there: Option<Arc<Pod>>,
    taints: Vec<Taint>,
    /// Since when it puts up with them; what was known before if there are none.
    since: Option<Timestamp>,
}

/// How long a Pod stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    ForEver,
    For(SignedDuration),
    NotAtAll,
}

// === impl TaintEviction ===

impl fmt::Debug for TaintEviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaintEviction").field("since", &self.since).finish_non_exhaustive()
    }
}

impl TaintEviction {
    /// Counts time by this clock.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, since: Mutex::default() }
    }
}

impl Controller for TaintEviction {
    type Root = Pod;
    type Observed = Observed;
    const NAME: &'static str = "taint-eviction-controller";

    fn triggers(&self, on: &mut Triggers<Pod>) {
        on.changes::<Pod>(|change, caches| {
            let pod = change.object();
            if let Change::Modified { old, new } = change
                && old.spec.tolerations == new.spec.tolerations
                && old.spec.node_name == new.spec.node_name
            {
                return Vec::new();
            }
            // Most nodes want all their Pods; where taints come later, the node tells.
            let node = caches.read::<Node>().get(&Key::cluster(&pod.spec.node_name));
            if node.is_some_and(|node| node.spec.taints.iter().any(is_no_execute)) {
                vec![pod.key()]
            } else {
                Vec::new()
            }
        });
        on.changes::<Node>(|change, caches| {
            let taints = |node: Option<&Arc<Node>>| -> Vec<Taint> {
                node.map(|node| {
                    node.spec.taints.iter().filter(|taint| is_no_execute(taint)).cloned().collect()
                })
                .unwrap_or_default()
            };
            if taints(change.before()) == taints(change.after()) {
                return Vec::new();
            }
            let pods = caches.read::<Pod>().by_index(NODE, &change.object().metadata.name);
            pods.iter().map(|pod| pod.key()).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let there = caches.read::<Pod>().get(root);
        let node =
            there.as_ref().and_then(|pod| caches.read::<Node>().get(&Key::cluster(&pod.spec.node_name)));
        let taints: Vec<_> = node
            .iter()
            .flat_map(|node| &node.spec.taints)
            .filter(|taint| is_no_execute(taint))
            .cloned()
            .collect();
        let mut since = self.since.lock();
        let waits =
            there.as_ref().is_some_and(|pod| matches!(stay(&taints, &pod.spec.tolerations), Stay::For(_)));
        let since = if waits {
            Some(*since.entry(root.clone()).or_insert_with(|| self.clock.now()))
        } else {
            since.remove(root)
        };
        Some(Observed { pod: root.clone(), there, taints, since })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let Observed { pod: key, there, taints, since } = observed;
        let cancelled = |plan: Plan| match since {
            Some(_) => plan.then(tell(key, format!("Cancelling deletion of Pod {key}"))),
            None => plan,
        };
        let Some(pod) = there else {
            return cancelled(Plan::because("the Pod is gone"));
        };
        if pod.metadata.is_terminating() {
            return Plan::because("the Pod is on its way out");
        }
        match stay(taints, &pod.spec.tolerations) {
            Stay::ForEver => cancelled(Plan::because("the Pod puts up with all taints of its node")),
            Stay::NotAtAll => evict(pod, now),
            Stay::For(long) => {
                let until = since.unwrap_or(now).checked_add(long).unwrap_or(Timestamp::MAX);
                if now >= until {
                    evict(pod, now)
                } else {
                    Plan::because("the Pod puts up with the taints of its node for a while")
                        .look_again_at(until, now)
                }
            }
        }
    }
}

fn is_no_execute(taint: &Taint) -> bool {
    &*taint.effect == NO_EXECUTE
}

/// How long a Pod stays: each taint is put up with by the first toleration that matches, and the shortest counts.
fn stay(taints: &[Taint], tolerations: &[Toleration]) -> Stay {
    let mut shortest = None;
    for taint in taints {
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
            return Stay::NotAtAll;
        };
        let Some(seconds) = toleration.toleration_seconds else { continue };
        let long = SignedDuration::from_secs(seconds.max(0));
        shortest = Some(shortest.map_or(long, |shortest: SignedDuration| shortest.min(long)));
    }
    shortest.map_or(Stay::ForEver, Stay::For)
}

fn tell(pod: &Key, message: String) -> Write {
    let about = ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: pod.namespace.as_ref().to_owned(),
        name: pod.name.as_ref().to_owned(),
        ..ObjectRef::default()
    };
    Write::event(about, Note::normal("TaintManagerEviction", message))
}

fn evict(pod: &Pod, now: Timestamp) -> Plan {
    let key = pod.key();
    let mut condition = pods::condition(pod, DISRUPTION_TARGET, "True", now);
    condition["reason"] = "DeletionByTaintManager".into();
    condition["message"] = "Taint manager: deleting due to NoExecute taint".into();
    let condition = json!({"status": {"conditions": [condition]}});
    Plan::because("the node does not want the Pod there any longer")
        .then(tell(&key, format!("Marking for deletion Pod {key}")))
        .then(Request::patch(PODS, key, Patch::strategic(condition)).on("status").if_same(&pod.metadata.uid))
        .then(Request::delete(PODS, &pod.metadata))
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
    fn a_pod_stays_for_as_long_as_it_tolerates_all_taints() {
        let taint = |key: &str| json!({"key": key, "effect": NO_EXECUTE});
        let tolerate = |key: &str, seconds: Option<i64>| json!({"key": key, "operator": "Exists", "tolerationSeconds": seconds});
        for (taints, tolerations, expected) in [
            (json!([]), json!([]), Stay::ForEver),
            (json!([taint("a")]), json!([]), Stay::NotAtAll),
            (json!([taint("a")]), json!([tolerate("", None)]), Stay::ForEver),
            (
                json!([taint("a")]),
                json!([tolerate("a", Some(300))]),
                Stay::For(SignedDuration::from_secs(300)),
            ),
            (json!([taint("a"), taint("b")]), json!([tolerate("a", Some(300))]), Stay::NotAtAll),
            (
                json!([taint("a"), taint("b")]),
                json!([tolerate("a", Some(300)), tolerate("b", Some(-1))]),
                Stay::For(SignedDuration::ZERO),
            ),
            (
                json!([taint("a")]),
                json!([{"key": "a", "effect": "NoSchedule", "operator": "Exists"}]),
                Stay::NotAtAll,
            ),
        ] {
            let taints: Vec<Taint> = serde_json::from_value(taints).unwrap();
            let tolerations: Vec<Toleration> = serde_json::from_value(tolerations).unwrap();
            assert_eq!(stay(&taints, &tolerations), expected, "{taints:?} {tolerations:?}");
        }
    }

    #[test]
    fn a_pod_is_told_of_before_it_is_deleted_and_when_it_may_stay_after_all() {
        let controller = TaintEviction::new(Runtime::simulated(now(), 1).clock);
        let look = |taints: Value, at: Timestamp| {
            let pod = json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p"}, "spec": {"nodeName": "n",
                "tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 10}]}});
            let node = json!({"metadata": {"name": "n"}, "spec": {"taints": taints}});
            let caches = Filled::new().with::<Pod>([pod]).with::<Node>([node]).caches();
            let observed = controller.observe(&Key::new("ns", "p"), &caches).unwrap();
            let plan = controller.reconcile(&observed, at);
            let told = plan.writes.iter().find_map(|write| match write {
                Write::Event { note, .. } => Some(note.message.to_string()),
                _ => None,
            });
            (told.unwrap_or_default(), plan.writes.len(), plan.look_again.map(|delay| delay.as_secs()))
        };
        let tainted = || json!([{"key": "a", "effect": NO_EXECUTE}]);
        let later = now() + SignedDuration::from_secs(11);
        assert!(matches!(look(tainted(), now()), (told, 0, Some(10)) if told.is_empty()));
        assert_eq!(look(json!([]), now()), ("Cancelling deletion of Pod ns/p".to_owned(), 1, None));
        assert_eq!(look(json!([]), now()), (String::new(), 0, None));
        assert!(matches!(look(tainted(), now()), (told, 0, Some(10)) if told.is_empty()));
        assert_eq!(look(tainted(), later), ("Marking for deletion Pod ns/p".to_owned(), 3, None));
    }
}
