//! `InterPodAffinity`: Pods that must or should be near some Pods and far from others; and the wishes of those already there.

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    plugin::{ClusterEvent, Filtering, Plugin, Point, Rejection, SCORE_MAX, Score, WhatIf},
    pod::{Pod, PodTerm, WeightedPodTerm},
    snapshot::{Crowd, Row, Snapshot, Topology},
};

/// Keeps Pods together and apart.
#[derive(Debug, Default)]
pub struct InterPodAffinity {
    settings: Settings,
}

/// What can be set of it (`InterPodAffinityArgs`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// How much it counts for a node that a Pod there must be near to this one.
    hard_pod_affinity_weight: i64,
    /// Whether the wishes of those already there count only for a Pod that has wishes itself.
    ignore_preferred_terms_of_existing_pods: bool,
}

/// Numbers by label of nodes and its value.
struct Counts<'a> {
    snapshot: &'a Snapshot,
    labels: Vec<(&'a str, Arc<Topology>, Vec<i64>)>,
}

struct Wishes<'a>(Counts<'a>);

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

// === impl Counts ===

impl<'a> Counts<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, labels: Vec::new() }
    }

    /// Adds to the values of a label that the nodes of a crowd have.
    fn add(&mut self, key: &'a str, crowd: &Crowd, amount: i64) {
        let at = self.labels.iter().position(|(label, ..)| *label == key).unwrap_or_else(|| {
            let topology = self.snapshot.topology(key);
            let counts = vec![0; topology.len()];
            self.labels.push((key, topology, counts));
            self.labels.len() - 1
        });
        let Some((_, topology, counts)) = self.labels.get_mut(at) else { return };
        for (row, members) in crowd.rows() {
            if let Some(count) = topology.value(row).and_then(|value| counts.get_mut(value)) {
                *count += amount * members;
            }
        }
    }

    /// The number of a node's value of a label.
    fn get(&self, key: &str, row: Row) -> i64 {
        let label = self.labels.iter().find(|(label, ..)| *label == key);
        label.and_then(|(_, topology, counts)| counts.get(topology.value(row)?).copied()).unwrap_or_default()
    }

    /// The numbers of a node's values of all labels.
    fn of_node(&self, row: Row) -> impl Iterator<Item = (&str, i64)> {
        self.labels.iter().filter_map(move |(key, topology, counts)| {
            Some((*key, counts.get(topology.value(row)?).copied()?))
        })
    }

    /// Whether all numbers are 0.
    fn is_empty(&self) -> bool {
        self.labels.iter().all(|(_, _, counts)| counts.iter().all(|count| *count == 0))
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
    let mut counts = Counts::new(snapshot);
    for crowd in snapshot.choosy_crowds() {
        for term in crowd.pod.far.required.iter().filter(|term| matches(term, pod, snapshot)) {
            counts.add(&term.topology_key, crowd, 1);
        }
    }
    counts
}

/// Where Pods are that this one wants near, and those that it wants far.
fn wanted<'a>(pod: &'a Pod, snapshot: &'a Snapshot) -> (Counts<'a>, Counts<'a>) {
    let (mut near, mut far) = (Counts::new(snapshot), Counts::new(snapshot));
    if pod.near.required.is_empty() && pod.far.required.is_empty() {
        return (near, far);
    }
    for crowd in snapshot.crowds() {
        // One Pod must be all that is wanted near.
        if all_match(&pod.near.required, &crowd.pod, snapshot) {
            pod.near.required.iter().for_each(|term| near.add(&term.topology_key, crowd, 1));
        }
        for term in pod.far.required.iter().filter(|term| matches(term, &crowd.pod, snapshot)) {
            far.add(&term.topology_key, crowd, 1);
        }
    }
    (near, far)
}

/// What filters have counted, and what it would be if something were so.
struct Required<'a> {
    pod: &'a Pod,
    snapshot: &'a Snapshot,
    near: Counts<'a>,
    near_is_empty: bool,
    far: Counts<'a>,
    unwanted: Counts<'a>,
    is_like_itself: bool,
}

impl Required<'_> {
    /// How many Pods there are near a node that this one wants near, by one of the terms.
    fn near(&self, key: &str, row: Row, what_if: &WhatIf<'_>) -> i64 {
        let is_all = |other: &Pod| i64::from(all_match(&self.pod.near.required, other, self.snapshot));
        // Every term counts every Pod that is all that is wanted.
        let terms = self.pod.near.required.iter().filter(|term| *term.topology_key == *key).count();
        self.near.get(key, row) + what_if.more(is_all) * i64::try_from(terms).unwrap_or_default()
    }

    fn far(&self, term: &PodTerm, row: Row, what_if: &WhatIf<'_>) -> i64 {
        let of_key = || self.pod.far.required.iter().filter(|other| other.topology_key == term.topology_key);
        let is_far = |other: &Pod| {
            let terms = of_key().filter(|term| matches(term, other, self.snapshot)).count();
            i64::try_from(terms).unwrap_or_default()
        };
        self.far.get(&term.topology_key, row) + what_if.more(is_far)
    }

    fn is_unwanted(&self, row: Row, what_if: &WhatIf<'_>) -> bool {
        if what_if.is_nothing() {
            return self.unwanted.of_node(row).any(|(_, count)| count > 0);
        }
        let labels = &self.snapshot.node(row).metadata.labels;
        let of_pod = |other: &Pod, key: &str| {
            let terms = other
                .far
                .required
                .iter()
                .filter(|term| *term.topology_key == *key && matches(term, self.pod, self.snapshot));
            i64::try_from(terms.count()).unwrap_or_default()
        };
        let counted = self
            .unwanted
            .of_node(row)
            .any(|(key, count)| count + what_if.more(|other| of_pod(other, key)) > 0);
        // Those that would come may have labels in mind that nobody there has.
        let new = what_if.come.iter().flat_map(|other| &other.far.required).any(|term| {
            let key = &*term.topology_key;
            labels.contains(key) && self.unwanted.get(key, row) + what_if.more(|other| of_pod(other, key)) > 0
        });
        counted || new
    }

    fn judge(&self, row: Row, what_if: &WhatIf<'_>) -> Result<(), Rejection> {
        let labels = &self.snapshot.node(row).metadata.labels;
        let wanted = &self.pod.near.required;
        if !wanted.is_empty() {
            let has_keys = wanted.iter().all(|term| labels.contains(&term.topology_key));
            let is_near = || wanted.iter().all(|term| self.near(&term.topology_key, row, what_if) > 0);
            // The first of a group of Pods that want each other near need not wait for the others.
            let is_first = || {
                let is_empty = if what_if.is_nothing() {
                    self.near_is_empty
                } else {
                    let all = |other: &Pod| i64::from(all_match(wanted, other, self.snapshot));
                    let there: i64 = self.near.labels.iter().flat_map(|(_, _, counts)| counts).sum();
                    let terms = i64::try_from(wanted.len()).unwrap_or_default();
                    there + what_if.more(all) * terms <= 0
                };
                is_empty && self.is_like_itself
            };
            if !(has_keys && (is_near() || is_first())) {
                return Err(Rejection::for_good("node(s) didn't match pod affinity rules"));
            }
        }
        if self
            .pod
            .far
            .required
            .iter()
            .any(|term| labels.contains(&term.topology_key) && self.far(term, row, what_if) > 0)
        {
            Err(Rejection::for_now("node(s) didn't match pod anti-affinity rules"))
        } else if self.is_unwanted(row, what_if) {
            Err(Rejection::for_now("node(s) didn't satisfy existing pods anti-affinity rules"))
        } else {
            Ok(())
        }
    }
}

// === impl InterPodAffinity ===

impl InterPodAffinity {
    /// With settings.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let weight = settings.hard_pod_affinity_weight;
        if !(0..=100).contains(&weight) {
            return Err(format!(
                "hardPodAffinityWeight: Invalid value: {weight}: not in valid range [0, 100]"
            ));
        }
        Ok(Self { settings })
    }
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
        let required = Required {
            pod,
            snapshot,
            near_is_empty: near.is_empty(),
            near,
            far,
            unwanted,
            is_like_itself: all_match(&pod.near.required, pod, snapshot),
        };
        Ok(Filtering::All(Box::new(move |row: Row, what_if: &WhatIf<'_>| required.judge(row, what_if))))
    }

    fn score<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &'a Snapshot,
        _feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        let has_wishes = !(pod.near.preferred.is_empty() && pod.far.preferred.is_empty());
        if self.settings.ignore_preferred_terms_of_existing_pods && !has_wishes {
            return None;
        }
        let mut counts = Counts::new(snapshot);
        let mut consider = |crowd: &'a Crowd| {
            let other = &*crowd.pod;
            let mut add = |terms: &'a [WeightedPodTerm], about: &Pod, sign: i64| {
                for WeightedPodTerm { weight, pod_affinity_term: term } in terms {
                    if matches(term, about, snapshot) {
                        counts.add(&term.topology_key, crowd, sign * weight);
                    }
                }
            };
            add(&pod.near.preferred, other, 1);
            add(&pod.far.preferred, other, -1);
            add(&other.near.preferred, pod, 1);
            add(&other.far.preferred, pod, -1);
            let hard = self.settings.hard_pod_affinity_weight;
            for term in other.near.required.iter().filter(|term| hard > 0 && matches(term, pod, snapshot)) {
                counts.add(&term.topology_key, crowd, hard);
            }
        };
        if has_wishes {
            snapshot.crowds().for_each(&mut consider);
        } else {
            snapshot.choosy_crowds().for_each(&mut consider);
        }
        (!counts.labels.is_empty()).then(|| Box::new(Wishes(counts)) as Box<dyn Score + 'a>)
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
            ClusterEvent::NodeDeleted(_) | ClusterEvent::Storage(_) | ClusterEvent::Devices(_) => false,
        }
    }
}

impl Score for Wishes<'_> {
    fn rate(&self, row: Row) -> i64 {
        self.0.of_node(row).map(|(_, count)| count).sum()
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
        judged(&InterPodAffinity::default(), pod, &nodes())
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
        let score = |pod: &Pod| scored(&InterPodAffinity::default(), pod, &nodes());
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

    #[test]
    fn what_is_imagined_counts_like_what_is() {
        let nodes = nodes();
        let row = |name: &str| nodes.row(name).unwrap();
        let there = |name: &str| nodes.pods(row(name)).next().unwrap();
        let plugin = InterPodAffinity::default();
        let judge = |pod: &Pod, name: &str, what_if: &WhatIf<'_>| match plugin.filter(pod, &nodes).unwrap() {
            Filtering::All(filter) => filter.judge(row(name), what_if).is_ok(),
            Filtering::Skip | Filtering::Only(..) => true,
        };
        let gone = |name: &str| WhatIf { gone: vec![there(name)], come: Vec::new() };
        let noisy = wants("noisy", json!(null));
        assert!(!judge(&noisy, "c", &WhatIf::default()) && judge(&noisy, "c", &gone("c")));
        let alone = wants("web", must("podAntiAffinity", json!([term("db", "zone")])));
        assert!(!judge(&alone, "a", &WhatIf::default()) && judge(&alone, "a", &gone("a")));
        let company = wants("web", must("podAffinity", json!([term("db", "zone")])));
        assert!(judge(&company, "a", &WhatIf::default()) && !judge(&company, "a", &gone("a")));
        let friend = Arc::new(wants("db", json!(null)));
        let come = WhatIf { come: vec![&friend], gone: Vec::new() };
        assert!(!judge(&company, "d", &WhatIf::default()) && judge(&company, "d", &come));
    }
}
