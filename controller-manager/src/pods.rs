//! Rules about Pods that several controllers share: when one is available, and which to give up first.
//!
//! Invariant: values only; the time is an argument.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use client::{
    Meta, Resource,
    controller::{OnFailure, Report, Request},
    events::{Note, ObjectRef},
    meta::time,
    resource::PODS,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::kinds::Pod;

/// Says how cheap it is to lose a Pod, to those who choose one: the lower, the sooner it goes.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The condition that says that a Pod is to go, and why.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// A condition of a Pod, to be told in its status.
pub fn condition(pod: &Pod, which: &str, status: &str, now: Timestamp) -> Value {
    let mut condition = json!({"type": which, "status": status, "lastTransitionTime": time(now)});
    if pod.metadata.generation > 0 {
        condition["observedGeneration"] = pod.metadata.generation.into();
    }
    condition
}

/// A Pod is available once it has been ready for so many seconds.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    pod.is_ready() && available_in(pod, min_ready_seconds, now).is_none()
}

/// How long until a ready Pod becomes available if it stays ready; `None` if it is, or if nobody can tell.
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    if min_ready_seconds <= 0 {
        return None;
    }
    let since = pod.ready_since()?;
    let left = SignedDuration::from_secs(min_ready_seconds.into()) - now.duration_since(since);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// When the first of these Pods becomes available that is ready and not yet available.
pub fn next_available_in(pods: &[Arc<Pod>], min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    pods.iter().filter_map(|pod| available_in(pod, min_ready_seconds, now)).min()
}

/// How many active Pods there are on each node.
pub fn count_by_node<'a>(pods: impl IntoIterator<Item = &'a Arc<Pod>>) -> BTreeMap<Box<str>, usize> {
    let mut counts = BTreeMap::new();
    for pod in pods.into_iter().filter(|pod| pod.is_active()) {
        *counts.entry(pod.spec.node_name.clone()).or_default() += 1;
    }
    counts
}

/// Puts the Pods to give up first in front. `neighbours` counts, by node, the Pods that do the same work: of two Pods the
/// one with more of them near is given up first.
///
/// In order: unassigned before assigned, pending before unknown before running, unready before ready, cheap before dear,
/// crowded before lonely, recently ready before long ready, often restarted before seldom, young before old. Ages count by
/// their magnitude (KEP-2185), so that those of one magnitude are chosen among at random: by uid.
pub fn rank_for_deletion(pods: &mut [Arc<Pod>], neighbours: &BTreeMap<Box<str>, usize>, now: Timestamp) {
    pods.sort_by_cached_key(|pod| {
        let assigned = !pod.spec.node_name.is_empty();
        let phase = phase_rank(pod);
        let crowd = neighbours.get(&pod.spec.node_name).copied().unwrap_or_default();
        let ready_for = pod.ready_since().map(|since| magnitude(since, now));
        let age = pod.metadata.creation_timestamp.map(|since| magnitude(since, now));
        let (restarts, sidecar_restarts) = restarts(pod);
        (
            (assigned, phase, pod.is_ready(), deletion_cost(pod), Reverse(crowd)),
            (ready_for, Reverse(restarts), Reverse(sidecar_restarts), age, pod.metadata.uid.clone()),
        )
    });
}

/// Puts the Pods that are least far in front, for controllers whose Pods are not alike in age alone: unassigned before
/// assigned, pending before unknown before running, unready before ready, recently ready before long ready, often restarted
/// before seldom, young before old.
pub fn rank_youngest_first(pods: &mut [Arc<Pod>]) {
    pods.sort_by_cached_key(|pod| {
        let assigned = !pod.spec.node_name.is_empty();
        let (restarts, sidecar_restarts) = restarts(pod);
        (
            (assigned, phase_rank(pod), pod.is_ready(), pod.ready_since().map(Reverse)),
            (Reverse(restarts), Reverse(sidecar_restarts), pod.metadata.creation_timestamp.map(Reverse)),
            Arc::clone(&pod.metadata.name),
        )
    });
}

fn phase_rank(pod: &Pod) -> u8 {
    match &*pod.status.phase {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

/// The whole part of the binary logarithm of an age in nanoseconds; -1 if it is none.
fn magnitude(since: Timestamp, now: Timestamp) -> i64 {
    let age = u128::try_from(now.duration_since(since).as_nanos()).unwrap_or_default();
    age.checked_ilog2().map_or(-1, i64::from)
}

fn deletion_cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.get(DELETION_COST).unwrap_or_default();
    // Plain decimal numbers only: no plus sign, no leading zero.
    text.parse::<i32>().ok().filter(|cost| cost.to_string() == text).unwrap_or_default()
}

/// The most restarts of a container, and of a sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let containers = pod.status.container_statuses.iter().map(|status| status.restart_count).max();
    let is_sidecar = |name: &str| {
        pod.spec.init_containers.iter().any(|it| *it.name == *name && &*it.restart_policy == "Always")
    };
    let sidecars = pod.status.init_container_statuses.iter().filter(|status| is_sidecar(&status.name));
    (containers.unwrap_or_default(), sidecars.map(|status| status.restart_count).max().unwrap_or_default())
}

/// Makes a Pod, and tells of it at its owner.
pub fn create(pod: Arc<Value>, namespace: &str, about: &ObjectRef) -> Request {
    Request::create(PODS, namespace, pod).on_failure(OnFailure::GoOn).reporting(Report {
        about: about.clone(),
        done: Some(Note::normal("SuccessfulCreate", "Created pod: {name}")),
        failed: Some(Note::warning("FailedCreate", "Error creating: {error}")),
    })
}

/// Deletes a Pod, and tells of it at its owner.
pub fn delete(pod: &Pod, about: &ObjectRef) -> Request {
    Request::delete(PODS, &pod.metadata).on_failure(OnFailure::GoOn).reporting(Report {
        about: about.clone(),
        done: Some(Note::normal("SuccessfulDelete", "Deleted pod: {name}")),
        failed: Some(Note::warning("FailedDelete", "Error deleting: {error}")),
    })
}

/// The object an Event is about.
pub fn about(resource: &Resource, meta: &Meta) -> ObjectRef {
    ObjectRef::new(resource, meta)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn pod(name: &str, change: &Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "n1"},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"},
            ]},
        });
        for (part, fields) in change.as_object().unwrap() {
            for (name, value) in fields.as_object().unwrap() {
                pod[part][name] = value.clone();
            }
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn of_two_pods_this_one_is_given_up_first() {
        let ready_at = |at: &str| json!([{"type": "Ready", "status": "True", "lastTransitionTime": at}]);
        for (why, first, second) in [
            (
                "unassigned",
                json!({"spec": {"nodeName": ""}, "metadata": {"annotations": {DELETION_COST: "9"}}}),
                json!({}),
            ),
            ("pending", json!({"status": {"phase": "Pending"}}), json!({"status": {"phase": "Unknown"}})),
            ("unknown", json!({"status": {"phase": "Unknown"}}), json!({})),
            ("unready", json!({"status": {"conditions": []}}), json!({})),
            ("cheap", json!({"metadata": {"annotations": {DELETION_COST: "-3"}}}), json!({})),
            (
                "cost that is none",
                json!({"spec": {"nodeName": "crowded"}}),
                json!({"metadata": {"annotations": {DELETION_COST: "+7"}}}),
            ),
            ("crowded", json!({"spec": {"nodeName": "crowded"}}), json!({})),
            (
                "recently ready",
                json!({"status": {"conditions": ready_at("2026-01-01T00:50:00Z")}}),
                json!({}),
            ),
            (
                "restarted",
                json!({"status": {"containerStatuses": [{"name": "c", "restartCount": 2}]}}),
                json!({}),
            ),
            ("young", json!({"metadata": {"creationTimestamp": "2026-01-01T00:59:00Z"}}), json!({})),
            (
                "one of its magnitude: by uid",
                json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", "uid": "0"}}),
                json!({"metadata": {"creationTimestamp": "2026-01-01T00:01:00Z"}}),
            ),
        ] {
            for swapped in [false, true] {
                let mut pods = vec![pod("second", &second), pod("first", &first)];
                if swapped {
                    pods.reverse();
                }
                let neighbours = BTreeMap::from([("crowded".into(), 2), ("n1".into(), 1)]);
                rank_for_deletion(&mut pods, &neighbours, now());
                assert_eq!(&*pods[0].metadata.name, "first", "{why}");
            }
        }
    }

    #[test]
    fn a_pod_is_available_when_it_was_ready_for_long_enough() {
        let ready = pod("a", &json!({}));
        let unready = pod("b", &json!({"status": {"conditions": []}}));
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(is_available(&ready, 0, at("2026-01-01T00:00:10Z")));
        assert!(!is_available(&ready, 30, at("2026-01-01T00:00:39Z")));
        assert_eq!(available_in(&ready, 30, at("2026-01-01T00:00:39Z")), Some(Duration::from_secs(1)));
        assert!(is_available(&ready, 30, at("2026-01-01T00:00:40Z")));
        assert!(!is_available(&unready, 0, now()));
        assert_eq!(available_in(&unready, 30, now()), None);
    }
}
