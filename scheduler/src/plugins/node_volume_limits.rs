//! `NodeVolumeLimits`: a node takes no more volumes of a CSI driver than the driver says.

use std::collections::{BTreeMap, BTreeSet};

use client::Key;

use crate::{
    plugin::{ClusterEvent, Filtering, Plugin, Point, Rejection, StorageEvent, WhatIf},
    pod::{Pod, PodVolume},
    snapshot::{Others, Row, Snapshot},
    storage::Claim,
};

/// Keeps nodes from having too many volumes.
#[derive(Debug)]
pub struct NodeVolumeLimits;

/// Volumes of drivers: each once, by driver and handle.
type Volumes = BTreeSet<(Box<str>, Box<str>)>;

/// The volume of a claim; one that is yet to be made has the claim's name for a handle.
fn volume_of(claim: &Claim, others: &Others) -> Option<(Box<str>, Box<str>)> {
    if !claim.volume.is_empty()
        && let Some(volume) = others.volumes.get(&Key::cluster(&claim.volume))
    {
        return volume.csi.clone();
    }
    let class = others.classes.get(&Key::cluster(claim.class.as_deref()?))?;
    // Built-in kinds have no driver of their name.
    let provisioner = &class.provisioner;
    (!provisioner.starts_with("kubernetes.io/"))
        .then(|| (provisioner.clone(), format!("claim {}", claim.key()).into()))
}

fn collect(pod: &Pod, others: &Others, volumes: &mut Volumes) -> Result<(), Key> {
    for volume in &pod.volumes {
        let Some(key) = volume.claim(&pod.metadata.namespace) else { continue };
        match others.claims.get(&key) {
            Some(claim) => volumes.extend(volume_of(claim, others)),
            None => return Err(key),
        }
    }
    Ok(())
}

fn per_driver(volumes: &Volumes) -> BTreeMap<&str, i64> {
    let mut counts = BTreeMap::new();
    for (driver, _) in volumes {
        *counts.entry(&**driver).or_default() += 1;
    }
    counts
}

fn judge(wanted: &Volumes, snapshot: &Snapshot, row: Row, what_if: &WhatIf<'_>) -> Result<(), Rejection> {
    let others = &snapshot.others;
    let name = snapshot.name(row);
    let Some(drivers) = others.node_drivers.get(&Key::cluster(&name)) else { return Ok(()) };
    let limited = per_driver(wanted).into_keys().any(|driver| drivers.limit(driver).is_some());
    if !limited {
        return Ok(());
    }
    let mut there = Volumes::new();
    for pod in what_if.pods(snapshot, row) {
        // A claim that is gone counts for nothing.
        let _ = collect(pod, others, &mut there);
    }
    for attached in others.attached.iter().filter(|it| *it.spec.node_name == *name) {
        let volume = attached.spec.source.persistent_volume_name.as_deref();
        let known = volume.and_then(|volume| others.volumes.get(&Key::cluster(volume)));
        there.extend(known.and_then(|volume| volume.csi.clone()));
    }
    let new: Volumes = wanted.difference(&there).cloned().collect();
    let taken = per_driver(&there);
    for (driver, count) in per_driver(&new) {
        let taken = taken.get(driver).copied().unwrap_or_default();
        if drivers.limit(driver).is_some_and(|limit| taken + count > limit) {
            return Err(Rejection::for_now("node(s) exceed max volume count"));
        }
    }
    Ok(())
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        if !pod.volumes.iter().any(|volume| matches!(volume, PodVolume::Claim { .. })) {
            return Ok(Filtering::Skip);
        }
        let mut wanted = Volumes::new();
        if let Err(missing) = collect(pod, &snapshot.others, &mut wanted) {
            let name = &missing.name;
            return Err(Rejection::for_good(format!(
                "looking up PVC {missing}: persistentvolumeclaim {name:?} not found"
            )));
        }
        if wanted.is_empty() {
            return Ok(Filtering::Skip);
        }
        Ok(Filtering::All(Box::new(move |row: Row, what_if: &WhatIf<'_>| {
            judge(&wanted, snapshot, row, what_if)
        })))
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::PodRemoved(gone) => !gone.volumes.is_empty(),
            ClusterEvent::Storage(StorageEvent::Claim(key)) => {
                let mut mine = pod.volumes.iter().filter_map(|volume| volume.claim(&pod.metadata.namespace));
                mine.any(|claim| claim == *key)
            }
            ClusterEvent::Storage(
                StorageEvent::NodeDrivers | StorageEvent::Detached | StorageEvent::Volume,
            ) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{judged, pod, with_objects};

    fn user(uid: &str, node: &str, claims: &[&str]) -> Value {
        let volumes: Vec<Value> =
            claims.iter().map(|name| json!({"persistentVolumeClaim": {"claimName": name}})).collect();
        json!({"metadata": {"namespace": "ns", "uid": uid}, "spec": {"nodeName": node, "volumes": volumes}})
    }

    #[test]
    fn a_volume_counts_once_a_node_and_no_more_than_the_driver_takes() {
        let nodes = with_objects(
            ["a", "b", "c"].map(|name| json!({"metadata": {"name": name}})),
            [user("1", "a", &["one"]), user("2", "a", &["one"])],
            |others| {
                let class = json!({"metadata": {"name": "made"}, "provisioner": "d"});
                others.classes.set(Arc::new(serde_json::from_value(class).unwrap()));
                for name in ["one", "two", "held"] {
                    let volume = json!({"metadata": {"name": name}, "spec": {"csi": {"driver": "d", "volumeHandle": name}}});
                    others.volumes.set(Arc::new(serde_json::from_value(volume).unwrap()));
                    let claim =
                        json!({"metadata": {"namespace": "ns", "name": name}, "spec": {"volumeName": name}});
                    others.claims.set(Arc::new(serde_json::from_value(claim).unwrap()));
                }
                for name in ["new", "newer"] {
                    let claim = json!({"metadata": {"namespace": "ns", "name": name}, "spec": {"storageClassName": "made"}});
                    others.claims.set(Arc::new(serde_json::from_value(claim).unwrap()));
                }
                for (name, count) in [("a", 2), ("b", 1)] {
                    let drivers = json!({"metadata": {"name": name},
                        "spec": {"drivers": [{"name": "d", "allocatable": {"count": count}}]}});
                    others.node_drivers.set(Arc::new(serde_json::from_value(drivers).unwrap()));
                }
                let attached = json!({"metadata": {"name": "x"}, "spec": {"attacher": "d", "nodeName": "b",
                    "source": {"persistentVolumeName": "held"}}});
                others.attached.set(Arc::new(serde_json::from_value(attached).unwrap()));
            },
        );
        let no = "node(s) exceed max volume count";
        for (claims, expected) in [
            (&["two"][..], format!("yes | {no} | yes")),
            (&["one"], format!("yes | {no} | yes")),
            (&["held"], "yes | yes | yes".to_owned()),
            (&["two", "new"], format!("{no} | {no} | yes")),
            (&["new", "newer"], format!("{no} | {no} | yes")),
            (&["none"], "never: looking up PVC ns/none: persistentvolumeclaim \"none\" not found".to_owned()),
            (&[], "skip".to_owned()),
        ] {
            assert_eq!(
                judged(&NodeVolumeLimits, &pod(user("3", "", claims)), &nodes),
                expected,
                "{claims:?}"
            );
        }
    }
}
