//! `InterPodAffinity`: Pods that must or should be near some Pods and far from others; and the wishes of those already there.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    node::Node,
    plugin::{ClusterEvent, Filtering, Plugin, Point, Rejection, SCORE_MAX, Score},
    pod::{Pod, PodTerm, WeightedPodTerm},
    snapshot::{Row, Snapshot},
};

/// How much it counts for a node that a Pod there must be near to this one.
const HARD_WEIGHT: i64 = 1;

/// Keeps Pods together and apart.
#[derive(Debug)]
pub struct InterPodAffinity;

/// Numbers by label of nodes and its value.
#[derive(Debug, Default)]
struct Counts<'a>(BTreeMap<&'a str, BTreeMap<&'a str, i64>>);

struct Wishes<'a> {
    snapshot: &'a Snapshot,
    counts: Counts<'a>,
}

// === impl Counts ===

impl<'a> Counts<'a> {
    /// Adds to the value a node has of a label, if it has one.
    fn add(&mut self, key: &'a str, node: &'a Node, amount: i64) {
        if let Some(value) = node.metadata.labels.get(key) {
            *self.0.entry(key).or_default().entry(value).or_default() += amount;
        }
    }

    fn get(&self, key: &str, node: &Node) -> i64 {
        let of_value = |value: &str| self.0.get(key)?.get(value).copied();
        node.metadata.labels.get(key).and_then(of_value).unwrap_or_default()
    }

    /// Everything that a node's labels have.
    fn of_node(&self, node: &Node) -> impl Iterator<Item = i64> {
        self.0.iter().filter_map(|(key, values)| values.get(node.metadata.labels.get(key)?).copied())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn matches(term: &PodTerm, pod: &Pod, snapshot: &Snapshot) -> bool {
    term.matches(pod, snapshot.namespace(&pod.metadata.namespace))
}

fn all_match(terms: &[PodTerm], pod: &Pod, snapshot: &Snapshot) -> bool {
    terms.iter().all(|term| matches(term, pod, snapshot))
}

/// Where Pods are that want this one far.
fn unwanted<'a>(pod: &Pod, snapshot: &'a Snapshot) -> Counts<'a> {
    let mut counts = Counts::default();
    for row in snapshot.rows() {
        let node = snapshot.node(*row);
        for other in snapshot.pods_if_choosy(*row) {
            for term in other.far.required.iter().filter(|term| matches(term, pod, snapshot)) {
                counts.add(&term.topology_key, node, 1);
            }
        }
    }
    counts
}

/// Where Pods are that this one wants near, and those that it wants far.
fn wanted<'a>(pod: &'a Pod, snapshot: &'a Snapshot) -> (Counts<'a>, Counts<'a>) {
    let (mut near, mut far) = (Counts::default(), Counts::default());
    if pod.near.required.is_empty() && pod.far.required.is_empty() {
        return (near, far);
    }
    for row in snapshot.rows() {
        let node = snapshot.node(*row);
        for other in snapshot.pods(*row) {
            // One Pod must be all that is wanted near.
            if all_match(&pod.near.required, other, snapshot) {
                pod.near.required.iter().for_each(|term| near.add(&term.topology_key, node, 1));
            }
            for term in pod.far.required.iter().filter(|term| matches(term, other, snapshot)) {
                far.add(&term.topology_key, node, 1);
            }
        }
    }
    (near, far)
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        let unwanted = unwanted(pod, snapshot);
        if unwanted.is_empty() && pod.near.required.is_empty() && pod.far.required.is_empty() {
            return Ok(Filtering::Skip);
        }
        let (near, far) = wanted(pod, snapshot);
        // The first of a group of Pods that want each other near need not wait for the others.
        let is_first = near.is_empty() && all_match(&pod.near.required, pod, snapshot);
        Ok(Filtering::All(Box::new(move |row: Row| {
            let node = snapshot.node(row);
            let has_keys =
                pod.near.required.iter().all(|term| node.metadata.labels.contains(&term.topology_key));
            let is_near = pod.near.required.iter().all(|term| near.get(&term.topology_key, node) > 0);
            if !(has_keys && (is_near || is_first)) {
                Err(Rejection::for_good("node(s) didn't match pod affinity rules"))
            } else if pod.far.required.iter().any(|term| far.get(&term.topology_key, node) > 0) {
                Err(Rejection::for_now("node(s) didn't match pod anti-affinity rules"))
            } else if unwanted.of_node(node).any(|count| count > 0) {
                Err(Rejection::for_now("node(s) didn't satisfy existing pods anti-affinity rules"))
            } else {
                Ok(())
            }
        })))
    }

    fn score<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &'a Snapshot,
        _feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        let mut counts = Counts::default();
        let has_wishes = !(pod.near.preferred.is_empty() && pod.far.preferred.is_empty());
        for row in snapshot.rows() {
            let node = snapshot.node(*row);
            let mut consider = |other: &'a Arc<Pod>| {
                let mut add = |terms: &'a [WeightedPodTerm], about: &Pod, sign: i64| {
                    for WeightedPodTerm { weight, pod_affinity_term: term } in terms {
                        if matches(term, about, snapshot) {
                            counts.add(&term.topology_key, node, sign * weight);
                        }
                    }
                };
                add(&pod.near.preferred, other, 1);
                add(&pod.far.preferred, other, -1);
                add(&other.near.preferred, pod, 1);
                add(&other.far.preferred, pod, -1);
                for term in other.near.required.iter().filter(|term| matches(term, pod, snapshot)) {
                    counts.add(&term.topology_key, node, HARD_WEIGHT);
                }
            };
            if has_wishes {
                snapshot.pods(*row).for_each(&mut consider);
            } else {
                snapshot.pods_if_choosy(*row).for_each(&mut consider);
            }
        }
        (!counts.is_empty()).then(|| Box::new(Wishes { snapshot, counts }) as Box<dyn Score + 'a>)
    }

    fn weight(&self) -> i64 {
        2
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        let is_near = |other: &Pod| pod.near.required.iter().any(|term| term.may_match(other));
        let is_far = |other: &Pod| {
            pod.far.required.iter().any(|term| term.may_match(other))
                || other.far.required.iter().any(|term| term.may_match(pod))
        };
        match event {
            ClusterEvent::PodAssigned(other) => is_near(other),
            ClusterEvent::PodRemoved(other) => is_far(other),
            ClusterEvent::PodUpdated { old, new } => {
                old.metadata.labels != new.metadata.labels && (is_near(new) || is_far(old))
            }
            ClusterEvent::OwnUpdate { old, new } => old.metadata.labels != new.metadata.labels,
            ClusterEvent::NodeAdded(_)
            | ClusterEvent::NodeUpdated { .. }
            | ClusterEvent::NamespaceUpdated(_) => true,
            ClusterEvent::NodeDeleted(_) => false,
        }
    }
}

impl Score for Wishes<'_> {
    fn rate(&self, row: Row) -> i64 {
        self.counts.of_node(self.snapshot.node(row)).sum()
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a share of 100")]
    fn normalise(&self, scores: &mut [i64]) {
        let (Some(least), Some(most)) = (scores.iter().min().copied(), scores.iter().max().copied()) else {
            return;
        };
        let span = (most - least) as f64;
        for score in scores {
            *score =
                if most > least { (SCORE_MAX as f64 * ((*score - least) as f64 / span)) as i64 } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{judged, pod, scored, snapshot};

    fn node(name: &str, zone: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"host": name, "zone": zone}}})
    }

    fn placed(app: &str, node: &str, affinity: Value) -> Value {
        json!({"metadata": {"namespace": "ns", "uid": format!("{app}-{node}"), "labels": {"app": app}},
            "spec": {"nodeName": node, "affinity": affinity}})
    }

    fn term(app: &str, key: &str) -> Value {
        json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key})
    }

    fn must(kind: &str, terms: Value) -> Value {
        json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
    }

    fn should(kind: &str, weight: i32, term: Value) -> Value {
        json!({kind: {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": weight, "podAffinityTerm": term}]}})
    }

    fn wants(app: &str, affinity: Value) -> Pod {
        pod(placed(app, "", affinity))
    }

    fn nodes() -> Snapshot {
        let lonely = must("podAntiAffinity", json!([term("noisy", "zone")]));
        snapshot(
            [node("a", "1"), node("b", "1"), node("c", "2"), node("d", "3")],
            [placed("db", "a", json!(null)), placed("quiet", "c", lonely)],
        )
    }

    fn check(pod: &Pod) -> String {
        judged(&InterPodAffinity, pod, &nodes())
            .replace("node(s) didn't match pod affinity rules!", "affinity")
            .replace("node(s) didn't match pod anti-affinity rules", "anti-affinity")
            .replace("node(s) didn't satisfy existing pods anti-affinity rules", "existing")
    }

    #[test]
    fn what_must_be_near_is_and_what_must_be_far_is_not() {
        for (pod, expected) in [
            (wants("web", json!(null)), "skip"),
            (
                wants("web", must("podAffinity", json!([term("db", "zone")]))),
                "yes | yes | affinity | affinity",
            ),
            (
                wants("web", must("podAffinity", json!([term("db", "host")]))),
                "yes | affinity | affinity | affinity",
            ),
            (
                wants("web", must("podAffinity", json!([term("db", "rack")]))),
                "affinity | affinity | affinity | affinity",
            ),
            (
                wants("web", must("podAntiAffinity", json!([term("db", "zone")]))),
                "anti-affinity | anti-affinity | yes | yes",
            ),
            (wants("noisy", json!(null)), "yes | yes | existing | yes"),
            // Nobody is there yet: the first of its kind may go anywhere, another one nowhere.
            (wants("web", must("podAffinity", json!([term("web", "zone")]))), "yes | yes | yes | yes"),
            (
                wants("web", must("podAffinity", json!([term("api", "zone")]))),
                "affinity | affinity | affinity | affinity",
            ),
        ] {
            assert_eq!(check(&pod), expected);
        }
    }

    #[test]
    fn terms_mean_the_pods_own_namespace_unless_they_say_otherwise() {
        let elsewhere = |more: Value| {
            let mut term = term("db", "zone");
            if let (Some(term), Value::Object(more)) = (term.as_object_mut(), more) {
                term.extend(more);
            }
            let mut pod = placed("web", "", must("podAntiAffinity", json!([term])));
            pod["metadata"]["namespace"] = json!("other");
            check(&super::super::tests::pod(pod))
        };
        assert_eq!(elsewhere(json!({})), "yes | yes | yes | yes");
        assert_eq!(elsewhere(json!({"namespaces": ["ns"]})), "anti-affinity | anti-affinity | yes | yes");
        assert_eq!(elsewhere(json!({"namespaceSelector": {}})), "anti-affinity | anti-affinity | yes | yes");
        assert_eq!(
            elsewhere(json!({"namespaceSelector": {"matchLabels": {"a": "b"}}})),
            "yes | yes | yes | yes"
        );
    }

    #[test]
    fn what_should_be_near_makes_a_node_better() {
        let score = |pod: &Pod| scored(&InterPodAffinity, pod, &nodes());
        assert_eq!(score(&wants("web", json!(null))), None);
        assert_eq!(
            score(&wants("web", should("podAffinity", 5, term("db", "zone")))).unwrap(),
            [100, 100, 0, 0]
        );
        assert_eq!(
            score(&wants("web", should("podAntiAffinity", 5, term("db", "host")))).unwrap(),
            [0, 100, 100, 100]
        );
    }
}
