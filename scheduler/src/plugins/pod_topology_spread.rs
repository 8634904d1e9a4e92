//! `PodTopologySpread`: Pods of a kind are spread over zones, nodes or whatever else labels of nodes tell apart (KEP-895).
//!
//! Only what a Pod says itself is followed: the softer rule upstream has for Pods that say nothing, which needs to know of
//! Services and workloads, is not here.

use std::collections::BTreeMap;

use api_types::selectors::labels::Selector;

use super::node_affinity;
use crate::{
    node::Node,
    plugin::{ClusterEvent, Filtering, Plugin, Point, Rejection, SCORE_MAX, Score},
    pod::{Pod, Policy, SpreadConstraint, WhenUnsatisfiable, untolerated},
    snapshot::{Row, Snapshot},
};

/// The label that every node has to itself.
const HOST: &str = "kubernetes.io/hostname";

/// Spreads Pods.
#[derive(Debug)]
pub struct PodTopologySpread;

/// A constraint and how many Pods each value of its label has.
struct Spread<'a> {
    constraint: &'a SpreadConstraint,
    selector: Selector,
    counts: BTreeMap<&'a str, i64>,
}

struct Spreads<'a> {
    pod: &'a Pod,
    snapshot: &'a Snapshot,
    spreads: Vec<Spread<'a>>,
    /// How much a Pod counts: more where there are more values, lest few of them water it down.
    weights: Vec<f64>,
    /// Which of the nodes lack a label.
    ignored: Vec<(Row, bool)>,
}

fn constraints(pod: &Pod, when: WhenUnsatisfiable) -> Vec<&SpreadConstraint> {
    pod.spread.iter().filter(|constraint| constraint.when_unsatisfiable == when).collect()
}

fn has_keys(node: &Node, constraints: &[&SpreadConstraint]) -> bool {
    constraints.iter().all(|constraint| node.metadata.labels.contains(&constraint.topology_key))
}

/// Whether a node's Pods are counted.
fn counts_for(constraint: &SpreadConstraint, pod: &Pod, node: &Node) -> bool {
    let honors = |policy: Option<Policy>, default: Policy| policy.unwrap_or(default) == Policy::Honor;
    (!honors(constraint.node_affinity_policy, Policy::Honor) || node_affinity::matches(pod, node))
        && (!honors(constraint.node_taints_policy, Policy::Ignore)
            || untolerated(&node.taints, &pod.tolerations).is_none())
}

/// How many Pods of a node a selector counts.
fn count(snapshot: &Snapshot, row: Row, selector: &Selector, namespace: &str) -> i64 {
    if selector.is_everything() {
        return 0;
    }
    let counted = snapshot.pods(row).filter(|other| {
        !other.metadata.is_terminating()
            && *other.metadata.namespace == *namespace
            && selector.matches(&other.metadata.labels)
    });
    i64::try_from(counted.count()).unwrap_or(i64::MAX)
}

/// Counts the Pods of every value of every constraint's label.
fn spreads<'a>(
    pod: &'a Pod,
    snapshot: &'a Snapshot,
    constraints: &[&'a SpreadConstraint],
    is_wanted: impl Fn(&SpreadConstraint, &str) -> bool,
) -> Vec<Spread<'a>> {
    let mut spreads: Vec<Spread<'a>> = constraints
        .iter()
        .map(|constraint| Spread {
            constraint,
            selector: constraint.selector(&pod.metadata.labels),
            counts: BTreeMap::new(),
        })
        .collect();
    for row in snapshot.rows() {
        let node = snapshot.node(*row);
        if !has_keys(node, constraints) {
            continue;
        }
        for Spread { constraint, selector, counts } in &mut spreads {
            let Some(value) = node.metadata.labels.get(&constraint.topology_key) else { continue };
            if counts_for(constraint, pod, node) && is_wanted(constraint, value) {
                *counts.entry(value).or_default() += count(snapshot, *row, selector, &pod.metadata.namespace);
            }
        }
    }
    spreads
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        let constraints = constraints(pod, WhenUnsatisfiable::DoNotSchedule);
        if constraints.is_empty() {
            return Ok(Filtering::Skip);
        }
        let spreads: Vec<(Spread<'a>, i64, i64)> = spreads(pod, snapshot, &constraints, |_, _| true)
            .into_iter()
            .map(|spread| {
                let least = spread.counts.values().copied().min();
                let least =
                    if spread.counts.len() < spread.constraint.domains_min() { Some(0) } else { least };
                let itself = i64::from(spread.selector.matches(&pod.metadata.labels));
                // Without any value to compare with, none has too many.
                (spread, least.unwrap_or(i64::from(i32::MAX)), itself)
            })
            .collect();
        Ok(Filtering::All(Box::new(move |row: Row| {
            let labels = &snapshot.node(row).metadata.labels;
            for (Spread { constraint, counts, .. }, least, itself) in &spreads {
                let Some(value) = labels.get(&constraint.topology_key) else {
                    return Err(Rejection::for_good(
                        "node(s) didn't match pod topology spread constraints (missing required label)",
                    ));
                };
                let there = counts.get(value).copied().unwrap_or_default();
                if there + itself - least > constraint.max_skew {
                    return Err(Rejection::for_now("node(s) didn't match pod topology spread constraints"));
                }
            }
            Ok(())
        })))
    }

    fn score<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &'a Snapshot,
        feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        let constraints = constraints(pod, WhenUnsatisfiable::ScheduleAnyway);
        if constraints.is_empty() {
            return None;
        }
        let ignored: Vec<(Row, bool)> =
            feasible.iter().map(|row| (*row, !has_keys(snapshot.node(*row), &constraints))).collect();
        let candidates =
            || ignored.iter().filter(|(_, ignored)| !ignored).map(|(row, _)| snapshot.node(*row));
        let values: BTreeMap<&str, std::collections::BTreeSet<&str>> = constraints
            .iter()
            .map(|constraint| {
                let key = &*constraint.topology_key;
                (key, candidates().filter_map(|node| node.metadata.labels.get(key)).collect())
            })
            .collect();
        let of = |key: &str| values.get(key);
        let spreads = spreads(pod, snapshot, &constraints, |constraint, value| {
            let key = &*constraint.topology_key;
            key != HOST && of(key).is_some_and(|values| values.contains(value))
        });
        let weights = constraints
            .iter()
            .map(|constraint| {
                let key = &*constraint.topology_key;
                weight(if key == HOST {
                    candidates().count()
                } else {
                    of(key).map_or(0, |values| values.len())
                })
            })
            .collect();
        Some(Box::new(Spreads { pod, snapshot, spreads, weights, ignored }))
    }

    fn weight(&self) -> i64 {
        2
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        let hard = constraints(pod, WhenUnsatisfiable::DoNotSchedule);
        let counted = |other: &Pod| {
            hard.iter()
                .any(|constraint| constraint.selector(&pod.metadata.labels).matches(&other.metadata.labels))
        };
        let near = |other: &Pod| other.metadata.namespace == pod.metadata.namespace;
        match event {
            ClusterEvent::NodeAdded(node) | ClusterEvent::NodeDeleted(node) => has_keys(node, &hard),
            ClusterEvent::NodeUpdated { old, new } => {
                let value = |node: &Node, key: &str| node.metadata.labels.get(key).map(str::to_owned);
                has_keys(old, &hard) != has_keys(new, &hard)
                    || has_keys(new, &hard)
                        && (old.taints != new.taints
                            || hard.iter().any(|constraint| {
                                value(old, &constraint.topology_key) != value(new, &constraint.topology_key)
                            }))
            }
            ClusterEvent::PodAssigned(other) | ClusterEvent::PodRemoved(other) => {
                near(other) && counted(other)
            }
            ClusterEvent::PodUpdated { old, new } => near(new) && counted(old) != counted(new),
            ClusterEvent::OwnUpdate { old, new } => {
                old.metadata.labels != new.metadata.labels || old.tolerations != new.tolerations
            }
            ClusterEvent::NamespaceUpdated(_) => false,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of nodes")]
fn weight(values: usize) -> f64 {
    ((values + 2) as f64).ln()
}

impl Score for Spreads<'_> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "numbers of Pods")]
    fn rate(&self, row: Row) -> i64 {
        let node = self.snapshot.node(row);
        if self.ignored.iter().any(|(candidate, ignored)| *ignored && *candidate == row) {
            return 0;
        }
        let mut score = 0.0;
        for (Spread { constraint, selector, counts }, weight) in self.spreads.iter().zip(&self.weights) {
            let Some(value) = node.metadata.labels.get(&constraint.topology_key) else { continue };
            let there = if &*constraint.topology_key == HOST {
                count(self.snapshot, row, selector, &self.pod.metadata.namespace)
            } else {
                counts.get(value).copied().unwrap_or_default()
            };
            score += there as f64 * weight + (constraint.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalise(&self, scores: &mut [i64]) {
        let counted = |scores: &[i64]| {
            let pairs = scores.iter().copied().zip(&self.ignored);
            pairs.filter(|(_, (_, ignored))| !ignored).map(|(score, _)| score).collect::<Vec<_>>()
        };
        let counted = counted(scores);
        let (least, most) = (counted.iter().min().copied(), counted.iter().max().copied());
        let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
        for (score, (_, ignored)) in scores.iter_mut().zip(&self.ignored) {
            *score = match (ignored, most) {
                (true, _) => 0,
                (false, 0) => SCORE_MAX,
                (false, most) => SCORE_MAX * (most + least - *score) / most,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{judged, pod, scored, snapshot};

    fn node(name: &str, zone: &str) -> Value {
        let mut labels = json!({HOST: name});
        if !zone.is_empty() {
            labels["zone"] = json!(zone);
        }
        json!({"metadata": {"name": name, "labels": labels}})
    }

    fn placed(uid: &str, node: &str) -> Value {
        json!({"metadata": {"namespace": "ns", "uid": uid, "labels": {"app": "web"}}, "spec": {"nodeName": node}})
    }

    fn spread(key: &str, when: &str, more: Value) -> Pod {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when,
            "labelSelector": {"matchLabels": {"app": "web"}}});
        json_merge(&mut constraint, more);
        pod(json!({"metadata": {"namespace": "ns", "labels": {"app": "web"}},
            "spec": {"nodeSelector": {}, "topologySpreadConstraints": [constraint]}}))
    }

    fn json_merge(into: &mut Value, more: Value) {
        if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
            into.extend(more);
        }
    }

    fn nodes() -> Snapshot {
        snapshot(
            [node("a", "1"), node("b", "1"), node("c", "2"), node("d", "")],
            [placed("1", "a"), placed("2", "b"), placed("3", "c")],
        )
    }

    const NO: &str = "node(s) didn't match pod topology spread constraints";

    fn check(pod: &Pod) -> String {
        // Rows go zone by zone, and without upstream's zone label that is by name.
        judged(&PodTopologySpread, pod, &nodes()).replace(NO, "no")
    }

    #[test]
    fn a_node_whose_zone_has_too_many_will_not_do() {
        let hard = |more| spread("zone", "DoNotSchedule", more);
        assert_eq!(check(&hard(json!({}))), "no | no | yes | no (missing required label)!");
        assert_eq!(check(&hard(json!({"maxSkew": 2}))), "yes | yes | yes | no (missing required label)!");
        // With fewer zones than wanted, the least is 0.
        assert_eq!(check(&hard(json!({"minDomains": 3}))), "no | no | no | no (missing required label)!");
        assert_eq!(
            check(&hard(json!({"labelSelector": {"matchLabels": {"app": "db"}}}))),
            "yes | yes | yes | no (missing required label)!"
        );
        assert_eq!(check(&spread("zone", "ScheduleAnyway", json!({}))), "skip");
    }

    #[test]
    fn a_node_whose_zone_has_fewer_is_better() {
        let soft = |key| spread(key, "ScheduleAnyway", json!({}));
        assert_eq!(scored(&PodTopologySpread, &soft("zone"), &nodes()).unwrap(), [33, 33, 100, 0]);
        assert_eq!(scored(&PodTopologySpread, &soft(HOST), &nodes()).unwrap(), [0, 0, 0, 100]);
        assert_eq!(scored(&PodTopologySpread, &spread("zone", "DoNotSchedule", json!({})), &nodes()), None);
    }

    #[test]
    fn pods_with_other_values_of_the_match_label_keys_are_not_counted() {
        let alike = spread("zone", "DoNotSchedule", json!({"matchLabelKeys": ["version"]}));
        assert_eq!(check(&alike), "no | no | yes | no (missing required label)!", "it has no version itself");
        let mut labelled = json!({"metadata": {"namespace": "ns", "labels": {"app": "web", "version": "2"}},
            "spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
                "whenUnsatisfiable": "DoNotSchedule", "matchLabelKeys": ["version"],
                "labelSelector": {"matchLabels": {"app": "web"}}}]}});
        assert_eq!(check(&pod(labelled.take())), "yes | yes | yes | no (missing required label)!");
    }
}
