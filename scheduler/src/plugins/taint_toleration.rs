//! `TaintToleration`: Pods keep away from taints they do not stand, and rather go where there are fewer soft ones.

use crate::{
    plugin::{ClusterEvent, Filtering, OfNode, Plugin, Point, Rejection, Score, WhatIf, normalise},
    pod::{Effect, Pod, Toleration, untolerated},
    snapshot::{Row, Snapshot},
};

/// Keeps Pods away from taints.
#[derive(Debug)]
pub struct TaintToleration;

struct SoftTaints<'a> {
    snapshot: &'a Snapshot,
    tolerations: Vec<&'a Toleration>,
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Filter, Point::PreScore, Point::Score]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        Ok(Filtering::All(Box::new(OfNode(move |row: Row, _: &WhatIf<'_>| {
            match untolerated(&snapshot.node(row).taints, &pod.tolerations) {
                None => Ok(()),
                Some(_) => Err(Rejection::for_good("node(s) had untolerated taint(s)")),
            }
        }))))
    }

    fn score<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &'a Snapshot,
        _feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        let soft = Effect::PreferNoSchedule;
        let tolerations = pod.tolerations.iter().filter(|toleration| toleration.is_for(soft)).collect();
        Some(Box::new(SoftTaints { snapshot, tolerations }))
    }

    fn weight(&self) -> i64 {
        3
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::OwnUpdate { old, new } => old.tolerations != new.tolerations,
            event => event.node_becomes(|node| untolerated(&node.taints, &pod.tolerations).is_none()),
        }
    }
}

impl Score for SoftTaints<'_> {
    fn rate(&self, row: Row) -> i64 {
        let taints = self.snapshot.node(row).taints.iter();
        let soft = taints.filter(|taint| taint.effect == Effect::PreferNoSchedule);
        let untolerated =
            soft.filter(|taint| !self.tolerations.iter().any(|toleration| toleration.tolerates(taint)));
        i64::try_from(untolerated.count()).unwrap_or(i64::MAX)
    }

    fn normalise(&self, scores: &mut [i64]) {
        normalise(scores, true);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{judged, pod, scored, snapshot};

    fn tainted(name: &str, taints: &[(&str, &str)]) -> Value {
        let taints: Vec<Value> =
            taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
        json!({"metadata": {"name": name}, "spec": {"taints": taints}})
    }

    #[test]
    fn hard_taints_reject_and_soft_ones_count() {
        let nodes = snapshot(
            [
                tainted("a", &[]),
                tainted("b", &[("x", "NoSchedule")]),
                tainted("c", &[("y", "PreferNoSchedule")]),
                tainted("d", &[("y", "PreferNoSchedule"), ("z", "PreferNoSchedule")]),
            ],
            [],
        );
        let plain = pod(json!({}));
        assert_eq!(
            judged(&TaintToleration, &plain, &nodes),
            "yes | node(s) had untolerated taint(s)! | yes | yes"
        );
        assert_eq!(scored(&TaintToleration, &plain, &nodes).unwrap(), [100, 100, 50, 0]);
        let tolerant = pod(json!({"spec": {"tolerations": [
            {"key": "x", "operator": "Exists", "effect": "NoSchedule"}, {"key": "y", "operator": "Exists"}]}}));
        assert_eq!(judged(&TaintToleration, &tolerant, &nodes), "yes | yes | yes | yes");
        assert_eq!(scored(&TaintToleration, &tolerant, &nodes).unwrap(), [100, 100, 100, 0]);
    }
}
