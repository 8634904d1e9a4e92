//! Pods that were to go and did not: after two minutes their condition `DisruptionTarget` is taken back. Whoever set it may
//! have changed its mind, or died.

use std::sync::Arc;

use client::{
    Caches, Controller, Key, Kind, Plan, Triggers,
    controller::{Patch, Request},
    resource::PODS,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    kinds::{Pod, pod::Reason},
    pods::DISRUPTION_TARGET,
};

/// A Pod that is to go is believed to for so long.
const TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// Takes conditions back.
#[derive(Debug)]
pub struct StaleDisruptions;

impl Controller for StaleDisruptions {
    type Root = Pod;
    type Observed = Arc<Pod>;
    const NAME: &'static str = "controllermanager";

    fn triggers(&self, on: &mut Triggers<Pod>) {
        on.changes::<Pod>(|change, _| {
            let stale = change.after().filter(|pod| since(pod).is_some());
            stale.map(|pod| pod.key()).into_iter().collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Arc<Pod>> {
        caches.read::<Pod>().get(root)
    }

    fn reconcile(&self, pod: &Arc<Pod>, now: Timestamp) -> Plan {
        let Some(since) = since(pod) else {
            return Plan::because("nobody said that the Pod is to go, or it does");
        };
        let due = since.checked_add(TIMEOUT).unwrap_or(Timestamp::MAX);
        if now < due {
            return Plan::because("the Pod is to go").look_again_at(due, now);
        }
        let mut condition = crate::pods::condition(pod, DISRUPTION_TARGET, "False", now);
        condition["reason"] = Value::Null;
        condition["message"] = Value::Null;
        let status = Patch::strategic(json!({"status": {"conditions": [condition]}}));
        Plan::because("the Pod was to go two minutes ago, and nothing came of it")
            .then(Request::patch(PODS, pod.key(), status).on("status").if_unchanged(&pod.metadata))
    }
}

/// Since when a Pod is to go, if it neither goes nor has its kubelet, which takes its time, said so.
fn since(pod: &Pod) -> Option<Timestamp> {
    if pod.metadata.is_terminating() || pod.is_finished() {
        return None;
    }
    let condition = pod
        .condition(DISRUPTION_TARGET)
        .filter(|it| &*it.status == "True" && it.reason != Reason::Kubelet)?;
    condition.last_transition_time
}

#[cfg(test)]
mod tests {
    use client::{Write, controller::Verb};

    use super::*;

    #[test]
    fn who_was_to_go_and_did_not_may_stay_after_two_minutes() {
        let at = "2026-01-01T00:00:00Z";
        let to_go = |reason: &str| json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m", "lastTransitionTime": at});
        for (name, condition, phase, gone, after, resets) in [
            ("evicted", to_go("EvictionByEvictionAPI"), "Running", false, 120, true),
            ("of late", to_go("EvictionByEvictionAPI"), "Running", false, 119, false),
            ("goes", to_go("EvictionByEvictionAPI"), "Running", true, 120, false),
            ("has ended", to_go("EvictionByEvictionAPI"), "Failed", false, 120, false),
            ("by its kubelet", to_go("TerminationByKubelet"), "Running", false, 120, false),
            (
                "taken back",
                json!({"type": "DisruptionTarget", "status": "False", "lastTransitionTime": at}),
                "Running",
                false,
                120,
                false,
            ),
        ] {
            let deleted = if gone { json!(at) } else { Value::Null };
            let pod = json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p", "resourceVersion": "3", "generation": 4, "deletionTimestamp": deleted},
                "status": {"phase": phase, "conditions": [condition]}});
            let pod: Arc<Pod> = Arc::new(serde_json::from_value(pod).unwrap());
            let now = at.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(after);
            let plan = StaleDisruptions.reconcile(&pod, now);
            assert_eq!(!plan.writes.is_empty(), resets, "{name}");
            if let Some(Write::Request(request)) = plan.writes.first() {
                let Verb::Patch(patch) = &request.verb else { panic!("{request:?}") };
                assert_eq!(
                    patch.document()["status"]["conditions"],
                    json!([{"type": "DisruptionTarget", "status": "False", "reason": null, "message": null,
                        "observedGeneration": 4, "lastTransitionTime": "2026-01-01T00:02:00Z"}])
                );
            }
        }
    }
}
