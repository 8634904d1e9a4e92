//! `PodTopologySpread`: Pods of a kind are spread over zones, nodes or whatever else labels of nodes tell apart (KEP-895).
//!
//! A Pod that says nothing itself is spread by what the profile says, among the Pods that its Services and its workload select:
//! softly over nodes and zones, if the profile says nothing either.

use std::sync::Arc;

use api_types::selectors::labels::Selector;
use serde::Deserialize;

use super::node_affinity;
use crate::{
    node::Node,
    plugin::{ClusterEvent, Filtering, Plugin, Point, Rejection, SCORE_MAX, Score, WhatIf},
    pod::{Pod, Policy, SpreadConstraint, WhenUnsatisfiable, untolerated},
    snapshot::{Row, Snapshot, Topology},
    workload,
};

/// The label that every node has to itself.
const HOST: &str = "kubernetes.io/hostname";
/// The label of a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Spreads Pods.
#[derive(Debug)]
pub struct PodTopologySpread {
    defaults: Vec<SpreadConstraint>,
    /// The defaults are those every cluster has: nodes that lack their labels are good all the same.
    is_system_default: bool,
}

/// What can be set of it (`PodTopologySpreadArgs`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    default_constraints: Vec<serde_json::Map<String, serde_json::Value>>,
    defaulting_type: Box<str>,
}

/// A constraint and the Pods it counts.
struct Rule<'a> {
    constraint: &'a SpreadConstraint,
    selector: Selector,
    topology: Arc<Topology>,
}

/// A rule and how many Pods each value of its label has.
struct Spread<'a> {
    rule: Rule<'a>,
    /// By value; none for a value that does not count.
    counts: Vec<Option<i64>>,
}

/// A hard rule with what it is compared with.
struct Hard<'a> {
    spread: Spread<'a>,
    /// The value with the fewest, and the fewest of all others.
    least: Option<(usize, i64)>,
    next_least: Option<i64>,
    /// How many values count.
    values: usize,
    itself: i64,
}

struct Soft<'a> {
    spreads: Vec<Spread<'a>>,
    /// How many Pods each row has, for rules about single nodes.
    on_row: Vec<Vec<i64>>,
    /// How much a Pod counts: more where there are more values, lest few of them water it down.
    weights: Vec<f64>,
    /// Which of the nodes, in the order they are normalised, lack a label; and the same by row.
    ignored: Vec<bool>,
    ignored_rows: Vec<bool>,
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

/// How many Pods of each row a selector counts.
fn per_row(snapshot: &Snapshot, selector: &Selector, namespace: &str) -> Vec<i64> {
    let mut counts = vec![0; snapshot.height()];
    if selector.is_everything() {
        return counts;
    }
    for crowd in snapshot.crowds().filter(|crowd| is_counted(selector, &crowd.pod, namespace)) {
        for (row, members) in crowd.rows() {
            if let Some(count) = counts.get_mut(row.index()) {
                *count += members;
            }
        }
    }
    counts
}

fn is_counted(selector: &Selector, other: &Pod, namespace: &str) -> bool {
    !other.metadata.is_terminating()
        && *other.metadata.namespace == *namespace
        && !selector.is_everything()
        && selector.matches(&other.metadata.labels)
}

fn at(numbers: &[i64], row: Row) -> i64 {
    numbers.get(row.index()).copied().unwrap_or_default()
}

// === impl Rule ===

impl<'a> Rule<'a> {
    /// Counts the Pods of every value, on nodes that are wanted and have all labels if they must; and of every row.
    fn count(
        self,
        pod: &Pod,
        snapshot: &Snapshot,
        has_all: impl Fn(Row) -> bool,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Spread<'a> {
        let mut counts = vec![None; self.topology.len()];
        let on_row = per_row(snapshot, &self.selector, &pod.metadata.namespace);
        let everywhere = pod.node_selector.is_empty()
            && pod.required_nodes.is_none()
            && self.constraint.node_taints_policy.is_none();
        for row in snapshot.rows() {
            let Some(value) = self.topology.value(*row) else { continue };
            if !is_wanted(value) || !has_all(*row) {
                continue;
            }
            if (everywhere || counts_for(self.constraint, pod, snapshot.node(*row)))
                && let Some(count) = counts.get_mut(value)
            {
                *count = Some(count.unwrap_or_default() + at(&on_row, *row));
            }
        }
        Spread { rule: self, counts }
    }
}

// === impl Spread ===

impl Spread<'_> {
    fn get(&self, value: usize) -> Option<i64> {
        self.counts.get(value).copied().flatten()
    }
}

// === impl Hard ===

impl<'a> Hard<'a> {
    fn new(spread: Spread<'a>, pod: &Pod) -> Self {
        let mut least: Option<(usize, i64)> = None;
        let mut next_least: Option<i64> = None;
        let counted = spread.counts.iter().enumerate().filter_map(|(value, count)| Some((value, (*count)?)));
        for (value, count) in counted {
            match least {
                Some((_, fewest)) if count >= fewest => {
                    next_least = Some(next_least.map_or(count, |next| next.min(count)));
                }
                before => {
                    next_least = before.map(|(_, fewest)| fewest).or(next_least);
                    least = Some((value, count));
                }
            }
        }
        let itself = i64::from(spread.rule.selector.matches(&pod.metadata.labels));
        let values = spread.counts.iter().flatten().count();
        Self { spread, least, next_least, values, itself }
    }

    /// The fewest Pods that a value has, if one of them has that many more.
    fn least(&self, changed: usize, more: i64) -> i64 {
        if self.values < self.spread.rule.constraint.domains_min() {
            return 0;
        }
        let fewest = match (self.least, self.spread.get(changed)) {
            (Some((value, count)), Some(_)) if value == changed => {
                Some(self.next_least.map_or(count + more, |next| next.min(count + more)))
            }
            (Some((_, fewest)), Some(count)) => Some(fewest.min(count + more)),
            (least, _) => least.map(|(_, fewest)| fewest),
        };
        // Without any value to compare with, none has too many.
        fewest.unwrap_or(i64::from(i32::MAX))
    }

    fn judge(&self, pod: &Pod, snapshot: &Snapshot, row: Row, what_if: &WhatIf<'_>) -> Result<(), Rejection> {
        let Rule { constraint, selector, topology } = &self.spread.rule;
        let Some(value) = topology.value(row) else {
            return Err(Rejection::for_good(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            ));
        };
        let namespace = &pod.metadata.namespace;
        let more = if what_if.is_nothing() || !counts_for(constraint, pod, snapshot.node(row)) {
            0
        } else {
            what_if.more(|other| i64::from(is_counted(selector, other, namespace)))
        };
        let there = self.spread.get(value).unwrap_or_default() + more;
        if there + self.itself - self.least(value, more) > constraint.max_skew {
            return Err(Rejection::for_now("node(s) didn't match pod topology spread constraints"));
        }
        Ok(())
    }
}

// === impl PodTopologySpread ===

impl Default for PodTopologySpread {
    fn default() -> Self {
        Self {
            defaults: vec![SpreadConstraint::soft(HOST, 3), SpreadConstraint::soft(ZONE, 5)],
            is_system_default: true,
        }
    }
}

impl PodTopologySpread {
    /// With settings.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn new(settings: Settings) -> Result<Self, String> {
        match &*settings.defaulting_type {
            "" | "System" if settings.default_constraints.is_empty() => Ok(Self::default()),
            "" | "System" => {
                Err("defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty"
                    .to_owned())
            }
            "List" => {
                let defaults = settings.default_constraints.into_iter().map(constraint);
                let defaults = defaults.collect::<Result<Vec<_>, _>>()?;
                for (at, one) in defaults.iter().enumerate() {
                    let is_same = |other: &SpreadConstraint| {
                        one.topology_key == other.topology_key
                            && one.when_unsatisfiable == other.when_unsatisfiable
                    };
                    if defaults.iter().take(at).any(is_same) {
                        return Err(format!(
                            "defaultConstraints[{at}]: Duplicate value: \"{{{}, {:?}}}\"",
                            one.topology_key, one.when_unsatisfiable
                        ));
                    }
                }
                Ok(Self { defaults, is_system_default: false })
            }
            other => Err(format!(
                "defaultingType: Unsupported value: {other:?}: supported values: \"List\", \"System\""
            )),
        }
    }

    /// The constraints of one sort that hold for a Pod.
    fn rules<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot, when: WhenUnsatisfiable) -> Vec<Rule<'a>> {
        let rule = |constraint: &'a SpreadConstraint, selector: Selector| Rule {
            constraint,
            selector,
            topology: snapshot.topology(&constraint.topology_key),
        };
        let of = move |constraint: &&SpreadConstraint| constraint.when_unsatisfiable == when;
        if !pod.spread.is_empty() {
            let labels = &pod.metadata.labels;
            return pod.spread.iter().filter(of).map(|it| rule(it, it.selector(labels))).collect();
        }
        let mut defaults = self.defaults.iter().filter(of).peekable();
        if defaults.peek().is_none() {
            return Vec::new();
        }
        let kin = workload::kin(pod, &snapshot.others);
        // Who belongs to nobody is spread among nobody.
        if kin.is_everything() {
            return Vec::new();
        }
        defaults.map(|it| rule(it, kin.clone())).collect()
    }
}

/// A default constraint, which must not say which Pods it counts.
fn constraint(raw: serde_json::Map<String, serde_json::Value>) -> Result<SpreadConstraint, String> {
    const FIELDS: [&str; 8] = [
        "maxSkew",
        "topologyKey",
        "whenUnsatisfiable",
        "labelSelector",
        "minDomains",
        "nodeAffinityPolicy",
        "nodeTaintsPolicy",
        "matchLabelKeys",
    ];
    if let Some(unknown) = raw.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(format!("defaultConstraints: unknown field `{unknown}`"));
    }
    if raw.get("labelSelector").is_some_and(|selector| !selector.is_null()) {
        return Err(
            "defaultConstraints.labelSelector: Forbidden: constraint must not define a selector, as they \
                    deduced for each pod"
                .to_owned(),
        );
    }
    let constraint: SpreadConstraint =
        serde_json::from_value(raw.into()).map_err(|error| format!("defaultConstraints: {error}"))?;
    if constraint.max_skew <= 0 {
        return Err(format!(
            "defaultConstraints.maxSkew: Invalid value: {}: not in valid range (0, inf)",
            constraint.max_skew
        ));
    }
    if constraint.topology_key.is_empty() {
        return Err("defaultConstraints.topologyKey: Required value: can not be empty".to_owned());
    }
    Ok(constraint)
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        let rules = self.rules(pod, snapshot, WhenUnsatisfiable::DoNotSchedule);
        if rules.is_empty() {
            return Ok(Filtering::Skip);
        }
        let topologies: Vec<Arc<Topology>> = rules.iter().map(|rule| Arc::clone(&rule.topology)).collect();
        let has_all = |row: Row| topologies.iter().all(|topology| topology.value(row).is_some());
        let hard: Vec<Hard<'a>> = rules
            .into_iter()
            .map(|rule| Hard::new(rule.count(pod, snapshot, has_all, |_| true), pod))
            .collect();
        Ok(Filtering::All(Box::new(move |row: Row, what_if: &WhatIf<'_>| {
            hard.iter().try_for_each(|hard| hard.judge(pod, snapshot, row, what_if))
        })))
    }

    fn score<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &'a Snapshot,
        feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        let rules = self.rules(pod, snapshot, WhenUnsatisfiable::ScheduleAnyway);
        if rules.is_empty() {
            return None;
        }
        let needs_all = !pod.spread.is_empty() || !self.is_system_default;
        let topologies: Vec<Arc<Topology>> = rules.iter().map(|rule| Arc::clone(&rule.topology)).collect();
        let has_all =
            |row: Row| !needs_all || topologies.iter().all(|topology| topology.value(row).is_some());
        let ignored: Vec<bool> = feasible.iter().map(|row| !has_all(*row)).collect();
        let mut ignored_rows = vec![false; snapshot.height()];
        for row in feasible.iter().filter(|row| !has_all(**row)) {
            if let Some(cell) = ignored_rows.get_mut(row.index()) {
                *cell = true;
            }
        }
        let candidates = ignored.iter().filter(|ignored| !**ignored).count();
        let mut soft =
            Soft { spreads: Vec::new(), on_row: Vec::new(), weights: Vec::new(), ignored, ignored_rows };
        for rule in rules {
            let mut wanted = vec![false; rule.topology.len()];
            let mut without = false;
            for row in feasible.iter().filter(|row| has_all(**row)) {
                match rule.topology.value(*row) {
                    Some(value) => {
                        if let Some(cell) = wanted.get_mut(value) {
                            *cell = true;
                        }
                    }
                    // No value is one, too.
                    None => without = true,
                }
            }
            if &*rule.constraint.topology_key == HOST {
                soft.weights.push(weight(candidates));
                soft.on_row.push(per_row(snapshot, &rule.selector, &pod.metadata.namespace));
                soft.spreads.push(Spread { rule, counts: Vec::new() });
            } else {
                let values = wanted.iter().filter(|wanted| **wanted).count() + usize::from(without);
                soft.weights.push(weight(values));
                soft.on_row.push(Vec::new());
                let is_wanted = |value: usize| wanted.get(value).copied().unwrap_or_default();
                soft.spreads.push(rule.count(pod, snapshot, has_all, is_wanted));
            }
        }
        Some(Box::new(soft))
    }

    fn weight(&self) -> i64 {
        2
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        let is_hard = |constraint: &&SpreadConstraint| {
            constraint.when_unsatisfiable == WhenUnsatisfiable::DoNotSchedule
        };
        let is_own = !pod.spread.is_empty();
        let said = if is_own { &*pod.spread } else { &*self.defaults };
        let hard: Vec<&SpreadConstraint> = said.iter().filter(is_hard).collect();
        let counted = |other: &Pod| {
            // Whom a default counts depends on workloads, which are not at hand.
            !is_own
                || hard.iter().any(|constraint| {
                    constraint.selector(&pod.metadata.labels).matches(&other.metadata.labels)
                })
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
            ClusterEvent::PodUpdated { old, new } => {
                near(new)
                    && (counted(old) != counted(new)
                        || !is_own && old.metadata.labels != new.metadata.labels
                        || counted(new) && old.metadata.is_terminating() != new.metadata.is_terminating())
            }
            ClusterEvent::OwnUpdate { old, new } => {
                old.metadata.labels != new.metadata.labels || old.tolerations != new.tolerations
            }
            ClusterEvent::NamespaceUpdated(_) | ClusterEvent::Storage(_) | ClusterEvent::Devices(_) => false,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of nodes")]
fn weight(values: usize) -> f64 {
    ((values + 2) as f64).ln()
}

impl Score for Soft<'_> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "numbers of Pods")]
    fn rate(&self, row: Row) -> i64 {
        if self.ignored_rows.get(row.index()).copied().unwrap_or_default() {
            return 0;
        }
        let mut score = 0.0;
        for ((spread, on_row), weight) in self.spreads.iter().zip(&self.on_row).zip(&self.weights) {
            let constraint = spread.rule.constraint;
            let Some(value) = spread.rule.topology.value(row) else { continue };
            let there = if &*constraint.topology_key == HOST {
                at(on_row, row)
            } else {
                spread.get(value).unwrap_or_default()
            };
            score += there as f64 * weight + (constraint.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalise(&self, scores: &mut [i64]) {
        let pairs = scores.iter().copied().zip(&self.ignored);
        let counted: Vec<i64> = pairs.filter(|(_, ignored)| !**ignored).map(|(score, _)| score).collect();
        let (least, most) = (counted.iter().min().copied(), counted.iter().max().copied());
        let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
        for (score, ignored) in scores.iter_mut().zip(&self.ignored) {
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
        judged(&PodTopologySpread::default(), pod, &nodes()).replace(NO, "no")
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
        assert_eq!(scored(&PodTopologySpread::default(), &soft("zone"), &nodes()).unwrap(), [33, 33, 100, 0]);
        assert_eq!(scored(&PodTopologySpread::default(), &soft(HOST), &nodes()).unwrap(), [0, 0, 0, 100]);
        assert_eq!(
            scored(&PodTopologySpread::default(), &spread("zone", "DoNotSchedule", json!({})), &nodes()),
            None
        );
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
