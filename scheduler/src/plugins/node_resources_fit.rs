//! `NodeResourcesFit`: a node must have what the Pod asks for, and the emptier one is better, or the fuller one, or as a
//! curve says.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
    devices::class::{DeviceClass, IMPLICIT_PREFIX},
    node::Node,
    plugin::{
        ClusterEvent, DeviceEvent, Filtering, OfNode, Plugin, Point, Rejection, SCORE_MAX, Score, WhatIf,
    },
    pod::Pod,
    resources::is_extended,
    snapshot::{Row, Snapshot},
};

/// The points of a curve give scores up to that.
const CURVE_SCORE_MAX: i64 = 10;

/// Compares what is asked for with what is left.
#[derive(Debug, Default)]
pub struct NodeResourcesFit {
    settings: Settings,
}

/// What can be set of it (`NodeResourcesFitArgs`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    ignored_resources: Vec<Box<str>>,
    ignored_resource_groups: Vec<Box<str>>,
    scoring_strategy: Strategy,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Strategy {
    r#type: Box<str>,
    resources: Vec<Weighed>,
    requested_to_capacity_ratio: Option<Curve>,
}

/// A resource and how much it counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Weighed {
    pub(super) name: Box<str>,
    #[serde(default)]
    pub(super) weight: i64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Curve {
    #[serde(default)]
    shape: Vec<CurvePoint>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CurvePoint {
    utilization: i64,
    score: i64,
}

/// How a node fares.
struct Fullness<'a> {
    strategy: &'a Strategy,
    pod: &'a Pod,
    snapshot: &'a Snapshot,
}

/// CPU and memory, of one weight.
pub(super) fn cpu_and_memory() -> Vec<Weighed> {
    ["cpu", "memory"].map(|name| Weighed { name: name.into(), weight: 1 }).into()
}

// === impl Settings ===

impl Settings {
    fn ignores(&self, resource: &str) -> bool {
        let group = resource.split_once('/').map(|(group, _)| group);
        self.ignored_resources.iter().any(|ignored| **ignored == *resource)
            || group
                .is_some_and(|group| self.ignored_resource_groups.iter().any(|ignored| **ignored == *group))
    }

    fn check(&mut self) -> Result<(), String> {
        if let Some(group) = self.ignored_resource_groups.iter().find(|group| group.contains('/')) {
            return Err(format!(
                "ignoredResourceGroups: Invalid value: {group:?}: resource group name can't contain '/'"
            ));
        }
        let strategy = &mut self.scoring_strategy;
        if strategy.resources.is_empty() {
            strategy.resources = cpu_and_memory();
        }
        for resource in &mut strategy.resources {
            if resource.weight == 0 {
                resource.weight = 1;
            }
            if !(1..=100).contains(&resource.weight) {
                return Err(format!("resource weight of {} not in valid range (0, 100]", resource.name));
            }
        }
        match (&*strategy.r#type, &mut strategy.requested_to_capacity_ratio) {
            ("LeastAllocated" | "MostAllocated", None) => Ok(()),
            ("RequestedToCapacityRatio", Some(curve)) => curve.check(),
            ("RequestedToCapacityRatio", None) => Err(
                "scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is \
                 RequestedToCapacityRatio"
                    .to_owned(),
            ),
            ("LeastAllocated" | "MostAllocated", Some(_)) => {
                Err("scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not \
                 RequestedToCapacityRatio"
                    .to_owned())
            }
            (other, _) => Err(format!(
                "scoringStrategy.type: Unsupported value: {other:?}: supported values: \"LeastAllocated\", \
                 \"MostAllocated\", \"RequestedToCapacityRatio\""
            )),
        }
    }
}

// === impl Strategy ===

impl Default for Strategy {
    fn default() -> Self {
        Self {
            r#type: "LeastAllocated".into(),
            resources: cpu_and_memory(),
            requested_to_capacity_ratio: None,
        }
    }
}

// === impl Curve ===

impl Curve {
    /// Checks the points and brings their scores to those of plugins.
    fn check(&mut self) -> Result<(), String> {
        let path = "scoringStrategy.requestedToCapacityRatio.shape";
        if self.shape.is_empty() {
            return Err(format!("{path}: Required value: at least one point must be specified"));
        }
        if !self.shape.is_sorted_by(|one, next| one.utilization < next.utilization) {
            return Err(format!("{path}: Invalid value: values must be sorted in increasing order"));
        }
        for point in &mut self.shape {
            if !(0..=100).contains(&point.utilization) {
                return Err(format!(
                    "{path}.utilization: Invalid value: {}: not in valid range [0, 100]",
                    point.utilization
                ));
            }
            if !(0..=CURVE_SCORE_MAX).contains(&point.score) {
                return Err(format!(
                    "{path}.score: Invalid value: {}: not in valid range [0, 10]",
                    point.score
                ));
            }
            point.score *= SCORE_MAX / CURVE_SCORE_MAX;
        }
        Ok(())
    }

    /// The score at a utilization in percent, on straight lines between the points.
    fn at(&self, utilization: i64) -> i64 {
        let mut before: Option<&CurvePoint> = None;
        for point in &self.shape {
            if utilization <= point.utilization {
                return before.map_or(point.score, |before| {
                    before.score
                        + (point.score - before.score) * (utilization - before.utilization)
                            / (point.utilization - before.utilization)
                });
            }
            before = Some(point);
        }
        before.map_or(0, |last| last.score)
    }
}

// === impl NodeResourcesFit ===

impl NodeResourcesFit {
    /// With settings.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn new(mut settings: Settings) -> Result<Self, String> {
        settings.check()?;
        Ok(Self { settings })
    }

    fn fit(&self, pod: &Pod, snapshot: &Snapshot, row: Row, what_if: &WhatIf<'_>) -> Result<(), Rejection> {
        let (has, taken) = (snapshot.allocatable(row), snapshot.requested(row));
        let mut reasons: Vec<Cow<'static, str>> = Vec::new();
        let mut preemption_may_help = true;
        if taken.pods() + what_if.more(|_| 1) + 1 > has.pods() {
            reasons.push("Too many pods".into());
        }
        let wanted = &pod.requests;
        if wanted.is_empty() && reasons.is_empty() {
            return Ok(());
        }
        let mut check = |wanted: i64, has: i64, taken: i64, reason: &dyn Fn() -> Cow<'static, str>| {
            if wanted > 0 && wanted > has - taken {
                reasons.push(reason());
                preemption_may_help &= wanted <= has;
            }
        };
        let cpu = taken.cpu() + what_if.more(|pod| pod.requests.cpu);
        check(wanted.cpu, has.cpu(), cpu, &|| "Insufficient cpu".into());
        let memory = taken.memory() + what_if.more(|pod| pod.requests.memory);
        check(wanted.memory, has.memory(), memory, &|| "Insufficient memory".into());
        let devices = &snapshot.others.devices;
        let storage = taken.storage() + what_if.more(|pod| pod.requests.storage);
        check(wanted.storage, has.storage(), storage, &|| "Insufficient ephemeral-storage".into());
        for (name, amount) in &wanted.extended {
            // What a node does not have itself, devices may be.
            let is_delegated = has.extended(name) <= 0 && devices.class_of_resource(name).is_some();
            if !self.settings.ignores(name) && !is_delegated {
                let taken = taken.extended(name) + what_if.more(|pod| pod.requests.extended(name));
                check(*amount, has.extended(name), taken, &|| format!("Insufficient {name}").into());
            }
        }
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(Rejection { reasons, preemption_may_help, is_error: false })
        }
    }
}

/// Whether an empty node would do.
fn fits_empty(pod: &Pod, node: &Node) -> bool {
    let (wanted, has) = (&pod.requests, &node.allocatable);
    node.pods_max > 0
        && wanted.cpu <= has.cpu
        && wanted.memory <= has.memory
        && wanted.storage <= has.storage
        // What a node does not have itself, devices may be.
        && wanted.extended.iter().all(|(name, amount)| {
            let has = has.extended(name);
            has <= 0 || *amount <= has
        })
}

/// Whether a node has more of something the Pod asks for.
fn grew(pod: &Pod, old: &Node, new: &Node) -> bool {
    let wanted = &pod.requests;
    let more = |wanted: i64, old: i64, new: i64| wanted > 0 && new > old;
    new.pods_max > old.pods_max
        || more(wanted.cpu, old.allocatable.cpu, new.allocatable.cpu)
        || more(wanted.memory, old.allocatable.memory, new.allocatable.memory)
        || more(wanted.storage, old.allocatable.storage, new.allocatable.storage)
        || wanted.extended.iter().any(|(name, amount)| {
            more(*amount, old.allocatable.extended(name), new.allocatable.extended(name))
        })
}

/// Whether a class of devices has become an extended resource that the Pod asks for.
fn became(pod: &Pod, old: Option<&DeviceClass>, new: &DeviceClass) -> bool {
    let wants = |resource: &str| pod.requests.extended.iter().any(|(name, _)| **name == *resource);
    match old {
        Some(old) if old.extended_resource == new.extended_resource => false,
        None if wants(&format!("{IMPLICIT_PREFIX}{}", new.metadata.name)) => true,
        _ => !new.extended_resource.is_empty() && wants(&new.extended_resource),
    }
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        let fit = move |row: Row, what_if: &WhatIf<'_>| self.fit(pod, snapshot, row, what_if);
        // Which extended resources are devices, classes say.
        if pod.requests.extended.is_empty() || !snapshot.others.devices.has_classes() {
            Ok(Filtering::All(Box::new(OfNode(fit))))
        } else {
            Ok(Filtering::All(Box::new(fit)))
        }
    }

    fn score<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &'a Snapshot,
        _feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        Some(Box::new(Fullness { strategy: &self.settings.scoring_strategy, pod, snapshot }))
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(node) => fits_empty(pod, node),
            ClusterEvent::NodeUpdated { old, new } => fits_empty(pod, new) && grew(pod, old, new),
            ClusterEvent::PodRemoved(_) => true,
            ClusterEvent::PodUpdated { old, new } | ClusterEvent::OwnUpdate { old, new } => {
                let less = |old: i64, new: i64| new < old;
                less(old.requests.cpu, new.requests.cpu)
                    || less(old.requests.memory, new.requests.memory)
                    || less(old.requests.storage, new.requests.storage)
            }
            ClusterEvent::Devices(DeviceEvent::Class { old, new }) => became(pod, old.as_deref(), new),
            ClusterEvent::NodeDeleted(_)
            | ClusterEvent::PodAssigned(_)
            | ClusterEvent::Storage(_)
            | ClusterEvent::Devices(_)
            | ClusterEvent::NamespaceUpdated(_) => false,
        }
    }
}

/// What a node has of a resource, and what would be taken of it with the Pod there, as scores count; nothing if the Pod has
/// no use for it.
pub(super) fn has_and_taken(snapshot: &Snapshot, row: Row, pod: &Pod, resource: &str) -> (i64, i64) {
    let (has, taken) = (snapshot.allocatable(row), snapshot.requested(row));
    let (cpu, memory) = snapshot.scored(row);
    match resource {
        "cpu" => (has.cpu(), cpu.saturating_add(pod.scored.0)),
        "memory" => (has.memory(), memory.saturating_add(pod.scored.1)),
        "ephemeral-storage" => (has.storage(), taken.storage().saturating_add(pod.requests.storage)),
        name => match pod.requests.extended(name) {
            0 if is_extended(name) => (0, 0),
            more => (has.extended(name), taken.extended(name).saturating_add(more)),
        },
    }
}

impl Score for Fullness<'_> {
    fn rate(&self, row: Row) -> i64 {
        let (mut sum, mut weights) = (0_i64, 0_i64);
        for Weighed { name, weight } in &self.strategy.resources {
            let (has, taken) = has_and_taken(self.snapshot, row, self.pod, name);
            if has == 0 {
                continue;
            }
            let score = match (&*self.strategy.r#type, &self.strategy.requested_to_capacity_ratio) {
                ("MostAllocated", _) => taken.min(has).saturating_mul(SCORE_MAX) / has,
                (_, Some(curve)) => {
                    let utilization = if taken > has { 100 } else { taken.saturating_mul(100) / has };
                    match curve.at(utilization) {
                        // What has no score does not count at all.
                        0 => continue,
                        score => score,
                    }
                }
                _ if taken > has => 0,
                _ => (has - taken).saturating_mul(SCORE_MAX) / has,
            };
            sum += score * weight;
            weights += weight;
        }
        match (weights, &self.strategy.requested_to_capacity_ratio) {
            (0, _) => 0,
            // Rounded to the nearest.
            (weights, Some(_)) => (sum * 2 + weights) / (weights * 2),
            (weights, None) => sum / weights,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{judged, node, pod, scored, snapshot};

    fn machine(name: &str, cpu: &str, memory: &str) -> Value {
        json!({"metadata": {"name": name}, "status": {"allocatable": {
            "cpu": cpu, "memory": memory, "pods": "2", "ephemeral-storage": "10", "example.com/gpu": "1"}}})
    }

    fn asks(uid: &str, node: &str, requests: Value) -> Value {
        json!({"metadata": {"uid": uid}, "spec": {"nodeName": node, "containers": [{"resources": {"requests": requests}}]}})
    }

    #[test]
    fn a_node_must_have_all_that_is_asked_for() {
        let nodes = snapshot(
            [machine("a", "2", "100"), machine("b", "4", "50")],
            [asks("1", "b", json!({"cpu": "3", "memory": "10"})), asks("2", "b", json!({}))],
        );
        for (requests, expected) in [
            (json!({}), "yes | Too many pods"),
            (json!({"cpu": "2"}), "yes | Too many pods, Insufficient cpu"),
            (json!({"cpu": "2001m"}), "Insufficient cpu! | Too many pods, Insufficient cpu"),
            (json!({"memory": "101"}), "Insufficient memory! | Too many pods, Insufficient memory!"),
            (
                json!({"ephemeral-storage": "11"}),
                "Insufficient ephemeral-storage! | Too many pods, Insufficient ephemeral-storage!",
            ),
            (
                json!({"example.com/gpu": "2"}),
                "Insufficient example.com/gpu! | Too many pods, Insufficient example.com/gpu!",
            ),
            (json!({"example.com/gpu": "1"}), "yes | Too many pods"),
        ] {
            assert_eq!(
                judged(&NodeResourcesFit::default(), &pod(asks("3", "", requests.clone())), &nodes),
                expected,
                "{requests}"
            );
        }
    }

    #[test]
    fn the_emptier_node_is_better() {
        let nodes = snapshot(
            [machine("a", "4", "1000Mi"), machine("b", "4", "1000Mi"), machine("c", "0", "0")],
            [asks("1", "b", json!({"cpu": "1", "memory": "500Mi"}))],
        );
        // a: (4-1)/4 and (1000-500)/1000; b: (4-2)/4 and nothing left; c has nothing to compare.
        let incoming = pod(asks("2", "", json!({"cpu": "1", "memory": "500Mi"})));
        assert_eq!(scored(&NodeResourcesFit::default(), &incoming, &nodes).unwrap(), [62, 25, 0]);
        // Who asks for nothing counts as 0.1 cores and 200 MiB.
        let modest = pod(asks("2", "", json!({})));
        assert_eq!(scored(&NodeResourcesFit::default(), &modest, &nodes).unwrap(), [88, 51, 0]);
    }

    #[test]
    fn only_more_of_what_is_asked_for_may_help() {
        let wants = pod(asks("1", "", json!({"cpu": "3"})));
        let node = |cpu: &str, memory: &str| std::sync::Arc::new(node(machine("a", cpu, memory)));
        let updated = |old, new| ClusterEvent::NodeUpdated { old, new };
        for (event, expected) in [
            (ClusterEvent::NodeAdded(node("4", "1")), true),
            (ClusterEvent::NodeAdded(node("2", "1")), false),
            (updated(node("2", "1"), node("4", "1")), true),
            (updated(node("4", "1"), node("4", "2")), false),
            (ClusterEvent::PodRemoved(std::sync::Arc::new(pod(json!({})))), true),
            (ClusterEvent::PodAssigned(std::sync::Arc::new(pod(json!({})))), false),
        ] {
            assert_eq!(NodeResourcesFit::default().may_help(&wants, &event), expected, "{event:?}");
        }
    }

    #[test]
    fn settings_say_what_is_ignored_and_what_is_better() {
        let nodes = snapshot(
            [machine("a", "4", "1000Mi"), machine("b", "4", "1000Mi")],
            [asks("1", "b", json!({"cpu": "2", "memory": "500Mi"}))],
        );
        let with = |settings: Value| {
            let settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
            NodeResourcesFit::new(settings)
        };
        let incoming = pod(asks("2", "", json!({"cpu": "1", "memory": "250Mi", "example.com/gpu": "9"})));
        let ignoring = with(json!({"ignoredResourceGroups": ["example.com"]})).unwrap();
        assert_eq!(judged(&ignoring, &incoming, &nodes), "yes | yes");
        assert_eq!(
            judged(&NodeResourcesFit::default(), &incoming, &nodes),
            "Insufficient example.com/gpu! | Insufficient example.com/gpu!"
        );
        let modest = pod(asks("2", "", json!({"cpu": "1", "memory": "250Mi"})));
        for (strategy, expected) in [
            (json!({"type": "LeastAllocated"}), [75, 25]),
            (json!({"type": "MostAllocated"}), [25, 75]),
            (
                json!({"type": "MostAllocated", "resources": [{"name": "example.com/gpu"}, {"name": "cpu"}]}),
                [25, 75],
            ),
            (
                json!({"type": "RequestedToCapacityRatio", "resources": [{"name": "cpu", "weight": 3}],
                    "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0},
                        {"utilization": 50, "score": 10}, {"utilization": 100, "score": 5}]}}),
                [50, 75],
            ),
        ] {
            let plugin = with(json!({"scoringStrategy": strategy.clone()})).unwrap();
            assert_eq!(scored(&plugin, &modest, &nodes).unwrap(), expected, "{strategy}");
        }
        for (settings, expected) in [
            (json!({"ignoredResourceGroups": ["a/b"]}), "can't contain '/'"),
            (json!({"scoringStrategy": {"type": "Best"}}), "Unsupported value: \"Best\""),
            (json!({"scoringStrategy": {"type": "RequestedToCapacityRatio"}}), "Required value"),
            (
                json!({"scoringStrategy": {"resources": [{"name": "cpu", "weight": 101}]}}),
                "not in valid range",
            ),
            (json!({"scoringStrategies": {}}), "unknown field `scoringStrategies`"),
        ] {
            let error = with(settings.clone()).unwrap_err();
            assert!(error.contains(expected), "{settings}: {error}");
        }
    }

    #[test]
    fn pods_imagined_gone_leave_what_they_took() {
        let nodes = snapshot([machine("a", "2", "100")], [asks("1", "a", json!({"cpu": "2"}))]);
        let row = nodes.row("a").unwrap();
        let there = nodes.pods(row).next().unwrap();
        let incoming = pod(asks("2", "", json!({"cpu": "1"})));
        let plugin = NodeResourcesFit::default();
        let fits = |what_if: &WhatIf<'_>| plugin.fit(&incoming, &nodes, row, what_if).is_ok();
        assert!(!fits(&WhatIf::default()));
        assert!(fits(&WhatIf { gone: vec![there], come: Vec::new() }));
        assert!(!fits(&WhatIf { gone: vec![there], come: vec![there] }));
    }
}
