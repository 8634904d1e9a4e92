//! `NodeResourcesBalancedAllocation`: a Pod is good for a node whose CPU and memory it fills to like parts.

use serde::Deserialize;

use super::node_resources_fit::{Weighed, cpu_and_memory};
use crate::{
    plugin::{Plugin, Point, SCORE_MAX, Score},
    pod::Pod,
    resources::is_extended,
    snapshot::{Row, Snapshot},
};

/// Balances resources.
#[derive(Debug, Default)]
pub struct NodeResourcesBalancedAllocation {
    settings: Settings,
}

/// What can be set of it (`NodeResourcesBalancedAllocationArgs`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    resources: Vec<Weighed>,
}

struct Balance<'a> {
    resources: &'a [Weighed],
    pod: &'a Pod,
    snapshot: &'a Snapshot,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self { resources: cpu_and_memory() }
    }
}

// === impl NodeResourcesBalancedAllocation ===

impl NodeResourcesBalancedAllocation {
    /// With settings.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn new(mut settings: Settings) -> Result<Self, String> {
        if settings.resources.is_empty() {
            settings.resources = cpu_and_memory();
        }
        let mut seen = std::collections::BTreeSet::new();
        for resource in &settings.resources {
            if !seen.insert(&resource.name) {
                return Err(format!("resources.name: Duplicate value: {:?}", resource.name));
            }
            if !matches!(resource.weight, 0 | 1) {
                return Err(format!("resources.weight: Invalid value: {}: must be 1", resource.weight));
            }
        }
        Ok(Self { settings })
    }
}

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreScore, Point::Score]
    }

    fn score<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &'a Snapshot,
        _feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        let resources = &self.settings.resources;
        // Pods that ask for nothing would all go to the one node that is balanced best.
        let asks = resources.iter().any(|resource| pod.requests.amount(&resource.name) != 0);
        asks.then(|| Box::new(Balance { resources, pod, snapshot }) as Box<dyn Score + 'a>)
    }
}

impl Score for Balance<'_> {
    fn rate(&self, row: Row) -> i64 {
        let (has, taken) = (self.snapshot.allocatable(row), self.snapshot.requested(row));
        let of = |resource: &Weighed| {
            let name = &*resource.name;
            let wanted = self.pod.requests.amount(name);
            // Devices that the Pod does not ask for are none of its business.
            let has = if wanted == 0 && is_extended(name) { 0 } else { has.amount(name) };
            (has, taken.amount(name), wanted)
        };
        let without = balance(self.resources.iter().map(of).map(|(has, taken, _)| (taken, has)));
        let with = balance(
            self.resources.iter().map(of).map(|(has, taken, wanted)| (taken.saturating_add(wanted), has)),
        );
        // What counts is whether the Pod makes it better: 75 if it changes nothing.
        SCORE_MAX / 2 + (SCORE_MAX / 2 + with - without) / 2
    }
}

/// How evenly resources are taken, from 50 to 100: 100 less the deviation of their parts.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a ratio of amounts, at most 100"
)]
fn balance(resources: impl Iterator<Item = (i64, i64)> + Clone) -> i64 {
    let parts =
        resources.filter(|(_, has)| *has != 0).map(|(taken, has)| (taken as f64 / has as f64).min(1.0));
    let mut first = parts.clone();
    let deviation = match (first.next(), first.next(), first.next()) {
        (Some(one), Some(other), None) => ((one - other) / 2.0).abs(),
        (Some(_), Some(_), Some(_)) => {
            let count = parts.clone().count() as f64;
            let mean = parts.clone().sum::<f64>() / count;
            (parts.map(|part| (part - mean) * (part - mean)).sum::<f64>() / count).sqrt()
        }
        _ => 0.0,
    };
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{pod, scored, snapshot};

    fn asks(uid: &str, node: &str, requests: Value) -> Value {
        json!({"metadata": {"uid": uid}, "spec": {"nodeName": node, "containers": [{"resources": {"requests": requests}}]}})
    }

    #[test]
    fn a_pod_that_evens_out_a_node_is_good_for_it() {
        let machine = |name: &str| json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "10", "memory": "100"}}});
        let nodes = snapshot(
            [machine("a"), machine("b"), machine("c")],
            [asks("1", "b", json!({"cpu": "8"})), asks("2", "c", json!({"memory": "80"}))],
        );
        let plugin = NodeResourcesBalancedAllocation::default();
        assert_eq!(scored(&plugin, &pod(asks("3", "", json!({}))), &nodes), None);
        let hungry = pod(asks("3", "", json!({"memory": "40"})));
        // a: 100 to 80; b: 60 to 80; c: 60 to 50.
        assert_eq!(scored(&plugin, &hungry, &nodes).unwrap(), [65, 85, 70]);
    }
}
