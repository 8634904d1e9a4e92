//! `NodeResourcesBalancedAllocation`: a Pod is good for a node whose CPU and memory it fills to like parts.

use crate::{
    plugin::{Plugin, Point, SCORE_MAX, Score},
    pod::Pod,
    snapshot::{Row, Snapshot},
};

/// Balances CPU and memory.
#[derive(Debug)]
pub struct NodeResourcesBalancedAllocation;

struct Balance<'a> {
    pod: &'a Pod,
    snapshot: &'a Snapshot,
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
        // Pods that ask for nothing would all go to the one node that is balanced best.
        let asks = pod.requests.cpu != 0 || pod.requests.memory != 0;
        asks.then(|| Box::new(Balance { pod, snapshot }) as Box<dyn Score + 'a>)
    }
}

impl Score for Balance<'_> {
    fn rate(&self, row: Row) -> i64 {
        let (has, taken) = (self.snapshot.allocatable(row), self.snapshot.requested(row));
        let wanted = &self.pod.requests;
        let without = balance([(taken.cpu(), has.cpu()), (taken.memory(), has.memory())]);
        let with =
            balance([(taken.cpu() + wanted.cpu, has.cpu()), (taken.memory() + wanted.memory, has.memory())]);
        // What counts is whether the Pod makes it better: 75 if it changes nothing.
        SCORE_MAX / 2 + (SCORE_MAX / 2 + with - without) / 2
    }
}

/// How evenly resources are taken, from 50 to 100: 100 less half the distance between the two parts.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a ratio of amounts, at most 100"
)]
fn balance(resources: [(i64, i64); 2]) -> i64 {
    let mut parts = resources
        .into_iter()
        .filter(|(_, has)| *has != 0)
        .map(|(taken, has)| (taken as f64 / has as f64).min(1.0));
    let deviation = match (parts.next(), parts.next()) {
        (Some(one), Some(other)) => ((one - other) / 2.0).abs(),
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
        let plugin = NodeResourcesBalancedAllocation;
        assert_eq!(scored(&plugin, &pod(asks("3", "", json!({}))), &nodes), None);
        let hungry = pod(asks("3", "", json!({"memory": "40"})));
        // a: 100 to 80; b: 60 to 80; c: 60 to 50.
        assert_eq!(scored(&plugin, &hungry, &nodes).unwrap(), [65, 85, 70]);
    }
}
