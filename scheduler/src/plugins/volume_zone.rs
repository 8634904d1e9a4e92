//! `VolumeZone`: a volume that is in zones, by its labels, is for nodes there.

use std::collections::BTreeSet;

use client::{Key, Labels};

use crate::{
    plugin::{ClusterEvent, Filtering, Plugin, Point, Rejection, StorageEvent, WhatIf},
    pod::Pod,
    snapshot::{Row, Snapshot},
};

/// The labels of regions and zones, each with what is said today.
const LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

/// Between the zones of a volume that is in several.
const BETWEEN: &str = "__";

/// Keeps Pods with their volumes.
#[derive(Debug)]
pub struct VolumeZone;

/// A label that nodes must have, and one of its values.
type Wanted = (&'static str, &'static str, BTreeSet<Box<str>>);

fn wanted(pod: &Pod, snapshot: &Snapshot) -> Result<Vec<Wanted>, Rejection> {
    let mut wanted = Vec::new();
    for key in pod.volumes.iter().filter_map(|volume| volume.claim(&pod.metadata.namespace)) {
        let no = |why: String| Rejection::for_good(why);
        let others = &snapshot.others;
        let claim = others
            .claims
            .get(&key)
            .ok_or_else(|| no(format!("persistentvolumeclaim {:?} not found", key.name)))?;
        if claim.volume.is_empty() {
            let Some(class) = claim.class.as_deref().filter(|class| !class.is_empty()) else {
                return Err(no("PersistentVolumeClaim had no pv name and storageClass name".to_owned()));
            };
            let known = others.classes.get(&Key::cluster(class));
            let known =
                known.ok_or_else(|| no(format!("storageclass.storage.k8s.io {class:?} not found")))?;
            if known.waits_for_pod() {
                continue;
            }
            return Err(no("PersistentVolume had no name".to_owned()));
        }
        let volume = others.volumes.get(&Key::cluster(&claim.volume));
        let volume = volume.ok_or_else(|| no(format!("persistentvolume {:?} not found", claim.volume)))?;
        for (label, today) in LABELS {
            if let Some(values) = volume.metadata.labels.get(label) {
                let values = values.split(BETWEEN).map(Into::into).collect();
                wanted.push((label, today, values));
            }
        }
    }
    Ok(wanted)
}

fn has_one(labels: &Labels, (label, today, values): &Wanted) -> bool {
    labels.get(label).or_else(|| labels.get(today)).is_some_and(|value| values.contains(value))
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        if pod.volumes.is_empty() {
            return Ok(Filtering::Skip);
        }
        let wanted = wanted(pod, snapshot)?;
        if wanted.is_empty() {
            return Ok(Filtering::Skip);
        }
        Ok(Filtering::All(Box::new(move |row: Row, _: &WhatIf<'_>| {
            let labels = &snapshot.node(row).metadata.labels;
            // A cluster without zones is in one.
            let is_nowhere = !LABELS.iter().any(|(label, _)| labels.contains(label));
            if is_nowhere || wanted.iter().all(|wanted| has_one(labels, wanted)) {
                Ok(())
            } else {
                Err(Rejection::for_good("node(s) had no available volume zone"))
            }
        })))
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        let mine = |key: &Key| {
            pod.volumes
                .iter()
                .filter_map(|volume| volume.claim(&pod.metadata.namespace))
                .any(|claim| claim == *key)
        };
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated { old, new } => old.metadata.labels != new.metadata.labels,
            ClusterEvent::Storage(StorageEvent::Claim(key)) => mine(key),
            ClusterEvent::Storage(StorageEvent::Volume | StorageEvent::Class) => true,
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

    #[test]
    fn a_volume_in_zones_is_for_nodes_there() {
        let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
        let nodes = with_objects(
            [
                node("a", json!({"topology.kubernetes.io/zone": "z1"})),
                node("b", json!({"topology.kubernetes.io/zone": "z2"})),
                node("c", json!({"failure-domain.beta.kubernetes.io/zone": "z1"})),
                node("d", json!({})),
            ],
            [],
            |others| {
                for (name, zone) in [("one", "z1"), ("two", "z1__z2")] {
                    let volume = json!({"metadata": {"name": name,
                        "labels": {"failure-domain.beta.kubernetes.io/zone": zone}}});
                    others.volumes.set(Arc::new(serde_json::from_value(volume).unwrap()));
                }
                for (name, volume, class) in [
                    ("one", "one", "x"),
                    ("two", "two", "x"),
                    ("lost", "gone", "x"),
                    ("later", "", "later"),
                    ("now", "", "now"),
                    ("none", "", "unknown"),
                ] {
                    let claim = json!({"metadata": {"namespace": "ns", "name": name},
                        "spec": {"volumeName": volume, "storageClassName": class}});
                    others.claims.set(Arc::new(serde_json::from_value(claim).unwrap()));
                }
                for (name, mode) in [("later", "WaitForFirstConsumer"), ("now", "Immediate")] {
                    let class = json!({"metadata": {"name": name}, "volumeBindingMode": mode});
                    others.classes.set(Arc::new(serde_json::from_value(class).unwrap()));
                }
            },
        );
        let check = |claim: &str| {
            let pod = pod(json!({"metadata": {"namespace": "ns"},
                "spec": {"volumes": [{"persistentVolumeClaim": {"claimName": claim}}]}}));
            judged(&VolumeZone, &pod, &nodes).replace("node(s) had no available volume zone!", "no")
        };
        for (claim, expected) in [
            ("two", "yes | yes | yes | yes"),
            ("lost", "never: persistentvolume \"gone\" not found"),
            ("later", "skip"),
            ("now", "never: PersistentVolume had no name"),
            ("none", "never: storageclass.storage.k8s.io \"unknown\" not found"),
            ("missing", "never: persistentvolumeclaim \"missing\" not found"),
        ] {
            assert_eq!(check(claim), expected, "{claim}");
        }
        assert_eq!(check("one").matches("no").count(), 1);
    }
}
