//! `DefaultPreemption`: a Pod that can go nowhere may displace less important ones.
//!
//! For nodes where that could help, from a random one on until there are enough candidates: all less important Pods are imagined
//! gone; if the Pod fits then, those come back that can, first those a PodDisruptionBudget protects, the more important first.
//! Who cannot is a victim. The best candidate breaks the fewest budgets, then has the least important victims.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    cycle::{Diagnosis, Verdict},
    plugin::{ClusterEvent, Eviction, Plugin, Point, Rejection, Relief, Trouble, WhatIf},
    pod::Pod,
    snapshot::Row,
};

/// Who holds Pods back whose victims are being told to go.
pub const NAME: &str = "DefaultPreemption";

/// What is said of nodes where nothing was tried.
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";

/// Displaces Pods.
#[derive(Debug, Default)]
pub struct DefaultPreemption {
    settings: Settings,
}

/// What can be set of it (`DefaultPreemptionArgs`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    min_candidate_nodes_percentage: i64,
    min_candidate_nodes_absolute: i64,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

// === impl DefaultPreemption ===

impl DefaultPreemption {
    /// With settings.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let (percentage, absolute) =
            (settings.min_candidate_nodes_percentage, settings.min_candidate_nodes_absolute);
        if !(0..=100).contains(&percentage) {
            return Err(format!(
                "minCandidateNodesPercentage: Invalid value: {percentage}: not in valid range [0, 100]"
            ));
        }
        if absolute < 0 {
            return Err(format!(
                "minCandidateNodesAbsolute: Invalid value: {absolute}: not in valid range [0, inf)"
            ));
        }
        if percentage == 0 && absolute == 0 {
            return Err("minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as \
                        minCandidateNodesAbsolute"
                .to_owned());
        }
        Ok(Self { settings })
    }

    /// How many candidates are enough of so many nodes.
    fn enough(&self, nodes: usize) -> usize {
        let nodes = i64::try_from(nodes).unwrap_or(i64::MAX);
        let share = nodes.saturating_mul(self.settings.min_candidate_nodes_percentage) / 100;
        let enough = share.max(self.settings.min_candidate_nodes_absolute).min(nodes);
        usize::try_from(enough).unwrap_or_default()
    }

    /// Candidates, those that break no budget first.
    fn candidates(&self, trouble: &Trouble<'_>) -> Vec<Arc<Eviction>> {
        let enough = self.enough(trouble.hopeful.len());
        let (mut gentle, mut rough) = (Vec::new(), Vec::new());
        let count = u64::try_from(trouble.hopeful.len()).unwrap_or(u64::MAX).max(1);
        let start = usize::try_from(trouble.lot % count).unwrap_or_default();
        let (before, after) = trouble.hopeful.split_at(start.min(trouble.hopeful.len()));
        for row in after.iter().chain(before) {
            match (trouble.recall)(*row, &|| evict(trouble, *row)) {
                Ok(eviction) if eviction.violations == 0 => gentle.push(eviction),
                Ok(eviction) => {
                    if rough.len() < enough {
                        rough.push(eviction);
                    }
                }
                Err(_) => {}
            }
            if !gentle.is_empty() && gentle.len() + rough.len() >= enough {
                break;
            }
        }
        gentle.append(&mut rough);
        gentle
    }

    /// What speaks against the nodes, when there are no candidates.
    fn rejected(trouble: &Trouble<'_>) -> Vec<Verdict> {
        let verdict = |row: &Row| {
            let rejection = (trouble.recall)(*row, &|| evict(trouble, *row)).err()?;
            Some(Verdict { node: trouble.snapshot.name(*row), row: *row, plugin: NAME, rejection })
        };
        trouble.hopeful.iter().filter_map(verdict).collect()
    }
}

/// Whether a Pod may displace another.
fn may_displace(pod: &Pod, victim: &Pod) -> bool {
    victim.priority < pod.priority
}

/// Who must go from a node for the Pod to fit.
fn evict(trouble: &Trouble<'_>, row: Row) -> Result<Eviction, Rejection> {
    let mut doubtful: Vec<&Arc<Pod>> =
        trouble.snapshot.pods(row).filter(|other| may_displace(trouble.pod, other)).collect();
    if doubtful.is_empty() {
        return Err(Rejection::for_good("No preemption victims found for incoming pod"));
    }
    let mut what_if = WhatIf { come: Vec::new(), gone: doubtful.clone() };
    (trouble.judge)(row, &what_if)?;
    doubtful.sort_by_key(|pod| std::cmp::Reverse(pod.importance()));
    let (protected, others) = split_by_budgets(trouble, &doubtful);
    let violations_before = protected.len();
    let mut victims: BTreeSet<&str> = BTreeSet::new();
    let mut violations = 0;
    for (at, pod) in protected.iter().chain(&others).enumerate() {
        what_if.gone.retain(|gone| gone.uid() != pod.uid());
        if (trouble.judge)(row, &what_if).is_err() {
            what_if.gone.push(pod);
            victims.insert(pod.uid());
            violations += usize::from(at < violations_before);
        }
    }
    if victims.is_empty() {
        // It would fit as things are: nothing to be done here.
        return Err(Rejection::for_now(format!(
            "expected at least one victim pod on node {:?}",
            trouble.snapshot.node(row).name()
        )));
    }
    let victims = doubtful.into_iter().filter(|pod| victims.contains(pod.uid())).map(Arc::clone).collect();
    Ok(Eviction { node: trouble.snapshot.name(row), victims, violations })
}

/// Those whose eviction would break a budget, and the others; the more important have the first claim to what may be disrupted.
fn split_by_budgets<'a>(
    trouble: &Trouble<'_>,
    pods: &[&'a Arc<Pod>],
) -> (Vec<&'a Arc<Pod>>, Vec<&'a Arc<Pod>>) {
    let budgets = &trouble.snapshot.others.budgets;
    let mut left: BTreeMap<&str, i64> =
        budgets.iter().map(|budget| (&*budget.metadata.uid, budget.allowed)).collect();
    pods.iter().copied().partition(|pod| {
        let mut breaks = false;
        for budget in budgets.in_namespace(&pod.metadata.namespace).filter(|budget| budget.counts(pod)) {
            if let Some(left) = left.get_mut(&*budget.metadata.uid) {
                *left -= 1;
                breaks |= *left < 0;
            }
        }
        breaks
    })
}

/// The best of several: each criterion only counts among those that are equal by all before it.
fn best(candidates: Vec<Arc<Eviction>>) -> Option<Arc<Eviction>> {
    let least = |key: i64| std::cmp::Reverse(key);
    let rank = |eviction: &Eviction| {
        let first = eviction.victims.first();
        let highest = first.map_or(i32::MIN, |pod| pod.priority);
        // Priorities may be negative: more of them must never look like less.
        let sum: i64 =
            eviction.victims.iter().map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1).sum();
        let count = i64::try_from(eviction.victims.len()).unwrap_or(i64::MAX);
        let violations = i64::try_from(eviction.violations).unwrap_or(i64::MAX);
        let most_important = eviction.victims.iter().filter(|pod| pod.priority == highest);
        let since = most_important.map(|pod| pod.started.unwrap_or(Timestamp::MAX)).min();
        (least(violations), least(highest.into()), least(sum), least(count), since)
    };
    let ranked = candidates.into_iter().map(|candidate| (rank(&candidate), candidate));
    let best = ranked.reduce(|best, other| if other.0 > best.0 { other } else { best });
    best.map(|(_, candidate)| candidate)
}

/// Why the Pod may not displace anybody, if so.
fn ineligible(trouble: &Trouble<'_>) -> Option<&'static str> {
    if trouble.pod.never_preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    // Where nothing would help, it may look elsewhere; else it waits for those that are on their way out.
    let row = trouble.snapshot.row(trouble.nominated?)?;
    if !trouble.hopeful.contains(&row) {
        return None;
    }
    let is_leaving = |other: &Pod| {
        may_displace(trouble.pod, other) && other.metadata.is_terminating() && other.is_preempted
    };
    trouble
        .snapshot
        .pods(row)
        .any(|other| is_leaving(other))
        .then_some("not eligible due to a terminating pod on the nominated node.")
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        // That a Pod is held back while its victims are told to go is state, and so the queue's.
        &[Point::PreEnqueue, Point::PostFilter]
    }

    fn relieve(&self, trouble: &Trouble<'_>) -> Relief {
        if let Some(why) = ineligible(trouble) {
            return Relief::none(false, format!("preemption: {why}"));
        }
        match best(self.candidates(trouble)) {
            Some(eviction) => Relief::Room(Arc::unwrap_or_clone(eviction)),
            None => {
                let rejected = Self::rejected(trouble);
                let nodes = trouble.snapshot.len();
                let message = Diagnosis::of(&rejected, NOT_HELPFUL).message(nodes);
                Relief::none(true, format!("preemption: {message}"))
            }
        }
    }

    fn may_help(&self, _pod: &Pod, _event: &ClusterEvent) -> bool {
        // Whoever rejected the Pod says what helps.
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        cycle::{Question, decide},
        profile::Profile,
        snapshot::{Cluster, Snapshot},
    };

    fn machine(name: &str) -> Value {
        json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "110"}}})
    }

    fn pod(name: &str, node: &str, cpu: &str, priority: i32, more: Value) -> Value {
        let mut pod = json!({
            "metadata": {"namespace": "ns", "name": name, "uid": name, "labels": {"app": name}},
            "spec": {"nodeName": node, "priority": priority, "containers": [
                {"resources": {"requests": {"cpu": cpu}}}]},
            "status": {},
        });
        merge(&mut pod, &more);
        pod
    }

    fn merge(into: &mut Value, more: &Value) {
        match (into, more) {
            (Value::Object(into), Value::Object(more)) => {
                for (key, value) in more {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, more) => *into = more.clone(),
        }
    }

    fn cluster(nodes: &[&str], pods: &[Value], budgets: &[Value]) -> Snapshot {
        let mut cluster = Cluster::default();
        for name in nodes {
            cluster.set_node(&Arc::new(serde_json::from_value(machine(name)).unwrap()));
        }
        for pod in pods {
            cluster.place(&Arc::new(serde_json::from_value(pod.clone()).unwrap()));
        }
        for budget in budgets {
            cluster.others_mut().budgets.set(Arc::new(serde_json::from_value(budget.clone()).unwrap()));
        }
        cluster.snapshot()
    }

    /// What comes of a Pod: where it goes, whom it displaces where, or what it is told.
    fn check(snapshot: &Snapshot, incoming: Value, nominated: Option<&str>) -> String {
        let pod: Pod = serde_json::from_value(incoming).unwrap();
        let profile = Profile::default();
        let decision = decide(&Question {
            pod: &pod,
            snapshot,
            profile: &profile,
            nominated,
            percentage_of_nodes_to_score: 0,
            start: 0,
            lot: 0,
        });
        match (decision.outcome, decision.relief) {
            (Ok(chosen), _) => format!("goes to {}", chosen.node),
            (Err(_), Some(Relief::Room(eviction))) => {
                let victims: Vec<&str> = eviction.victims.iter().map(|pod| &*pod.metadata.name).collect();
                format!("{} without {}", eviction.node, victims.join(" "))
            }
            (Err(diagnosis), _) => diagnosis.message(snapshot.len()),
        }
    }

    #[test]
    fn the_fewest_and_least_important_pods_go() {
        let pods = [
            pod("a1", "a", "2", 1, json!({})),
            pod("a2", "a", "2", 2, json!({})),
            pod("b1", "b", "1", 0, json!({})),
            pod("b2", "b", "3", 3, json!({})),
            pod("c1", "c", "4", 9, json!({})),
        ];
        let nodes = cluster(&["a", "b", "c"], &pods, &[]);
        for (cpu, priority, expected) in [
            ("1", 5, "b without b1"),
            ("2", 5, "a without a1"),
            ("3", 5, "a without a2 a1"),
            ("4", 5, "a without a2 a1"),
            ("4", 3, "a without a2 a1"),
            (
                "4",
                2,
                "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: 1 No preemption \
                 victims found for incoming pod, 2 Insufficient cpu.",
            ),
            (
                "5",
                5,
                "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is \
                 not helpful for scheduling.",
            ),
            (
                "1",
                0,
                "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption \
                 victims found for incoming pod.",
            ),
        ] {
            assert_eq!(
                check(&nodes, pod("new", "", cpu, priority, json!({})), None),
                expected,
                "{cpu} {priority}"
            );
        }
    }

    #[test]
    fn of_equals_those_that_run_for_the_shortest_time_go() {
        let started = |at: &str| json!({"status": {"startTime": at}});
        let pods = [
            pod("old", "a", "4", 1, started("2026-01-01T00:00:00Z")),
            pod("young", "b", "4", 1, started("2026-01-02T00:00:00Z")),
        ];
        let nodes = cluster(&["a", "b"], &pods, &[]);
        assert_eq!(check(&nodes, pod("new", "", "1", 5, json!({})), None), "b without young");
        let pods = [
            pod("old", "a", "2", 1, started("2026-01-01T00:00:00Z")),
            pod("young", "a", "2", 1, started("2026-01-02T00:00:00Z")),
        ];
        let nodes = cluster(&["a"], &pods, &[]);
        assert_eq!(check(&nodes, pod("new", "", "1", 5, json!({})), None), "a without young");
    }

    #[test]
    fn a_budget_is_broken_only_if_nothing_else_helps() {
        let budget = |app: &str, allowed: i32| {
            json!({"metadata": {"namespace": "ns", "name": app, "uid": app},
                "spec": {"selector": {"matchLabels": {"app": app}}}, "status": {"disruptionsAllowed": allowed}})
        };
        let pods = [pod("a1", "a", "4", 0, json!({})), pod("b1", "b", "4", 3, json!({}))];
        let incoming = || pod("new", "", "1", 5, json!({}));
        for (budgets, expected) in [
            (vec![], "a without a1"),
            (vec![budget("a1", 0)], "b without b1"),
            (vec![budget("a1", 1)], "a without a1"),
            (vec![budget("a1", 0), budget("b1", 0)], "a without a1"),
        ] {
            assert_eq!(check(&cluster(&["a", "b"], &pods, &budgets), incoming(), None), expected);
        }
        // On one node, too: who is protected comes back first.
        let pods = [pod("one", "a", "2", 3, json!({})), pod("two", "a", "2", 0, json!({}))];
        let nodes = cluster(&["a"], &pods, &[budget("two", 0)]);
        assert_eq!(check(&nodes, pod("new", "", "2", 5, json!({})), None), "a without one");
    }

    #[test]
    fn some_pods_displace_nobody() {
        let leaving = json!({
            "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"conditions": [
                {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
        });
        let pods = [pod("a1", "a", "4", 0, leaving), pod("b1", "b", "4", 0, json!({}))];
        let nodes = cluster(&["a", "b"], &pods, &[]);
        let never = pod("new", "", "1", 5, json!({"spec": {"preemptionPolicy": "Never"}}));
        let told = "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to";
        assert_eq!(check(&nodes, never, None), format!("{told} preemptionPolicy=Never."));
        assert_eq!(
            check(&nodes, pod("new", "", "1", 5, json!({})), Some("a")),
            format!("{told} a terminating pod on the nominated node.")
        );
        assert_eq!(check(&nodes, pod("new", "", "1", 5, json!({})), Some("b")), "a without a1");
        assert_eq!(check(&nodes, pod("new", "", "1", 5, json!({})), Some("gone")), "a without a1");
    }

    #[test]
    fn room_that_was_made_for_one_is_not_taken_by_a_lesser_one() {
        let mut cluster = Cluster::default();
        cluster.set_node(&Arc::new(serde_json::from_value(machine("a")).unwrap()));
        let important = Arc::new(serde_json::from_value(pod("vip", "", "3", 5, json!({}))).unwrap());
        assert!(!cluster.nominate(&important, "a"));
        let nodes = cluster.snapshot();
        assert_eq!(check(&nodes, pod("vip", "", "3", 5, json!({})), Some("a")), "goes to a");
        assert_eq!(check(&nodes, pod("more", "", "3", 6, json!({})), None), "goes to a");
        assert_eq!(check(&nodes, pod("less", "", "1", 4, json!({})), None), "goes to a");
        assert!(
            check(&nodes, pod("less", "", "2", 4, json!({})), None)
                .starts_with("0/1 nodes are available: 1 Insufficient cpu.")
        );
        assert!(check(&nodes, pod("equal", "", "2", 5, json!({})), None).starts_with("0/1 nodes"));
    }

    #[test]
    fn a_tenth_of_the_nodes_but_a_hundred_are_enough() {
        let plugin = DefaultPreemption::default();
        for (nodes, expected) in [(5, 5), (100, 100), (900, 100), (5000, 500)] {
            assert_eq!(plugin.enough(nodes), expected);
        }
        for (settings, expected) in [
            (json!({"minCandidateNodesPercentage": 101}), "[0, 100]"),
            (json!({"minCandidateNodesAbsolute": -1}), "[0, inf)"),
            (json!({"minCandidateNodesAbsolute": 0, "minCandidateNodesPercentage": 0}), "cannot be zero"),
        ] {
            let error = DefaultPreemption::new(serde_json::from_value(settings).unwrap()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
