//! The plugins there are, in the order upstream's default profile runs them.
//!
//! One file and one line each; a test compares the folder with the table.

pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_balanced_allocation;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod pod_topology_spread;
pub mod priority_sort;
pub mod scheduling_gates;
pub mod taint_toleration;

use std::sync::Arc;

use crate::plugin::Plugin;

/// Every plugin, as the default profile has it.
pub fn all() -> Vec<Arc<dyn Plugin>> {
    vec![
        Arc::new(scheduling_gates::SchedulingGates),
        Arc::new(priority_sort::PrioritySort),
        Arc::new(node_unschedulable::NodeUnschedulable),
        Arc::new(node_name::NodeName),
        Arc::new(taint_toleration::TaintToleration),
        Arc::new(node_affinity::NodeAffinity),
        Arc::new(node_ports::NodePorts),
        Arc::new(node_resources_fit::NodeResourcesFit),
        Arc::new(pod_topology_spread::PodTopologySpread),
        Arc::new(inter_pod_affinity::InterPodAffinity),
        Arc::new(node_resources_balanced_allocation::NodeResourcesBalancedAllocation),
        Arc::new(image_locality::ImageLocality),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::{
        node::Node,
        plugin::Filtering,
        pod::Pod,
        snapshot::{Cluster, Row, Snapshot},
    };

    #[test]
    fn every_file_has_its_line() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plugins");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().replace('_', ""))
            .collect();
        let table: BTreeSet<String> = all().iter().map(|plugin| plugin.name().to_lowercase()).collect();
        assert_eq!(files, table);
    }

    pub(crate) fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    pub(crate) fn node(value: Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    /// A snapshot of nodes and the Pods on them.
    pub(crate) fn snapshot(
        nodes: impl IntoIterator<Item = Value>,
        pods: impl IntoIterator<Item = Value>,
    ) -> Snapshot {
        let mut cluster = Cluster::default();
        for value in nodes {
            cluster.set_node(&Arc::new(node(value)));
        }
        for value in pods {
            cluster.place(&Arc::new(pod(value)));
        }
        cluster.snapshot()
    }

    /// What a plugin says of a Pod on each node: `yes`, its reasons, or why none will do.
    pub(crate) fn judged(plugin: &dyn Plugin, pod: &Pod, snapshot: &Snapshot) -> String {
        let filter = match plugin.filter(pod, snapshot) {
            Ok(Filtering::Skip) => return "skip".to_owned(),
            Ok(Filtering::All(filter)) => filter,
            Ok(Filtering::Only(names, filter)) => {
                let rows = snapshot.rows_of(&names);
                return format!("only {names:?}: {}", verdicts(&*filter, &rows));
            }
            Err(rejection) => return format!("never: {}", rejection.reasons.join(", ")),
        };
        verdicts(&*filter, snapshot.rows())
    }

    fn verdicts(filter: &dyn crate::plugin::Filter, rows: &[Row]) -> String {
        let verdict = |row: &Row| match filter.judge(*row) {
            Ok(()) => "yes".to_owned(),
            Err(rejection) => {
                let end = if rejection.preemption_may_help { "" } else { "!" };
                format!("{}{end}", rejection.reasons.join(", "))
            }
        };
        rows.iter().map(verdict).collect::<Vec<_>>().join(" | ")
    }

    /// The scores a plugin gives each node, normalised; none if it does not care.
    pub(crate) fn scored(plugin: &dyn Plugin, pod: &Pod, snapshot: &Snapshot) -> Option<Vec<i64>> {
        let score = plugin.score(pod, snapshot, snapshot.rows())?;
        let mut scores: Vec<i64> = snapshot.rows().iter().map(|row| score.rate(*row)).collect();
        score.normalise(&mut scores);
        Some(scores)
    }
}
