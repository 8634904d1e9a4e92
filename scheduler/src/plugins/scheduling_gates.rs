//! `SchedulingGates`: a Pod with gates is not looked at until all of them are gone (KEP-3521).

use crate::{
    plugin::{ClusterEvent, Plugin, Point},
    pod::Pod,
    snapshot::Others,
};

/// Holds Pods back.
#[derive(Debug)]
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreEnqueue]
    }

    fn gate(&self, pod: &Pod, _others: &Others) -> Option<String> {
        (!pod.gates.is_empty()).then(|| format!("waiting for scheduling gates: [{}]", pod.gates.join(" ")))
    }

    fn may_help(&self, _pod: &Pod, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::OwnUpdate { new, .. } if new.gates.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugins::tests::pod;

    #[test]
    fn a_gated_pod_waits_for_its_gates() {
        assert_eq!(SchedulingGates.gate(&pod(json!({})), &Others::default()), None);
        let gated = pod(json!({"spec": {"schedulingGates": [{"name": "a"}, {"name": "b"}]}}));
        assert_eq!(
            SchedulingGates.gate(&gated, &Others::default()).as_deref(),
            Some("waiting for scheduling gates: [a b]")
        );
    }
}
