//! The plugins there are, in the order upstream's default profile runs them.
//!
//! One file and one line each; a test compares the folder with the table.

pub mod default_preemption;
pub mod dynamic_resources;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_declared_features;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_balanced_allocation;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod node_volume_limits;
pub mod pod_topology_spread;
pub mod priority_sort;
pub mod scheduling_gates;
pub mod taint_toleration;
pub mod volume_binding;
pub mod volume_restrictions;
pub mod volume_zone;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::plugin::Plugin;

/// Makes a plugin with settings, or says why these make no sense.
type Make = fn(Option<&Value>) -> Result<Arc<dyn Plugin>, String>;

/// Every plugin by name, in the order of upstream's default profile.
const TABLE: &[(&str, Make)] = &[
    ("SchedulingGates", |it| plain(it, scheduling_gates::SchedulingGates)),
    ("PrioritySort", |it| plain(it, priority_sort::PrioritySort)),
    ("NodeUnschedulable", |it| plain(it, node_unschedulable::NodeUnschedulable)),
    ("NodeName", |it| plain(it, node_name::NodeName)),
    ("TaintToleration", |it| plain(it, taint_toleration::TaintToleration)),
    ("NodeAffinity", |it| set(it, node_affinity::NodeAffinity::new)),
    ("NodePorts", |it| plain(it, node_ports::NodePorts)),
    ("NodeResourcesFit", |it| set(it, node_resources_fit::NodeResourcesFit::new)),
    ("VolumeRestrictions", |it| plain(it, volume_restrictions::VolumeRestrictions)),
    ("NodeVolumeLimits", |it| plain(it, node_volume_limits::NodeVolumeLimits)),
    ("VolumeBinding", |it| set(it, volume_binding::VolumeBinding::new)),
    ("VolumeZone", |it| plain(it, volume_zone::VolumeZone)),
    ("PodTopologySpread", |it| set(it, pod_topology_spread::PodTopologySpread::new)),
    ("InterPodAffinity", |it| set(it, inter_pod_affinity::InterPodAffinity::new)),
    ("DynamicResources", |it| set(it, dynamic_resources::DynamicResources::new)),
    ("DefaultPreemption", |it| set(it, default_preemption::DefaultPreemption::new)),
    ("NodeResourcesBalancedAllocation", |it| {
        set(it, node_resources_balanced_allocation::NodeResourcesBalancedAllocation::new)
    }),
    ("ImageLocality", |it| plain(it, image_locality::ImageLocality)),
    ("NodeDeclaredFeatures", |it| plain(it, node_declared_features::NodeDeclaredFeatures)),
];

/// A plugin that has no settings.
fn plain(settings: Option<&Value>, plugin: impl Plugin + 'static) -> Result<Arc<dyn Plugin>, String> {
    match settings {
        None => Ok(Arc::new(plugin)),
        Some(_) => Err("it has no arguments".to_owned()),
    }
}

/// A plugin with the settings it is given, or its own if it is given none.
fn set<S: DeserializeOwned + Default, P: Plugin + 'static>(
    settings: Option<&Value>,
    make: fn(S) -> Result<P, String>,
) -> Result<Arc<dyn Plugin>, String> {
    let settings = match settings {
        Some(settings) => serde_json::from_value(settings.clone()).map_err(|error| error.to_string())?,
        None => S::default(),
    };
    Ok(Arc::new(make(settings)?))
}

/// A plugin by name; none if there is no such.
///
/// # Errors
/// When the settings make no sense.
pub fn with(name: &str, settings: Option<&Value>) -> Result<Option<Arc<dyn Plugin>>, String> {
    let known = TABLE.iter().find(|(known, _)| *known == name);
    known.map(|(_, make)| make(settings)).transpose()
}

/// Every plugin, as the default profile has it.
///
/// # Panics
/// Never: settings that are not given make sense.
pub fn all() -> Vec<Arc<dyn Plugin>> {
    let make = |(name, make): &(&str, Make)| match make(None) {
        Ok(plugin) => plugin,
        Err(error) => unreachable!("{name} without settings: {error}"),
    };
    TABLE.iter().map(make).collect()
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
        for ((name, _), plugin) in TABLE.iter().zip(all()) {
            assert_eq!(*name, plugin.name());
        }
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

    /// A snapshot of nodes, the Pods on them, and what else there is.
    pub(crate) fn with_objects(
        nodes: impl IntoIterator<Item = Value>,
        pods: impl IntoIterator<Item = Value>,
        add: impl FnOnce(&mut crate::snapshot::Others),
    ) -> Snapshot {
        let mut snapshot = snapshot(nodes, pods);
        add(&mut snapshot.others);
        snapshot
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
        let verdict = |row: &Row| match filter.judge(*row, &crate::plugin::WhatIf::default()) {
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
