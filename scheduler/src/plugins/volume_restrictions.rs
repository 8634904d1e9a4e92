//! `VolumeRestrictions`: some volumes can be had once on a node, and some claims once in the cluster.

use client::Key;

use crate::{
    plugin::{ClusterEvent, Filtering, Plugin, Point, Rejection, StorageEvent, WhatIf},
    pod::{Pod, PodVolume},
    snapshot::{Row, Snapshot},
};

/// Keeps Pods apart that cannot share a volume.
#[derive(Debug)]
pub struct VolumeRestrictions;

fn needs_check(volume: &PodVolume) -> bool {
    !matches!(volume, PodVolume::Claim { .. } | PodVolume::Inline { .. })
}

fn claims(pod: &Pod) -> impl Iterator<Item = Key> {
    pod.volumes.iter().filter_map(|volume| volume.claim(&pod.metadata.namespace))
}

/// Whether two Pods cannot be on one node.
fn conflict(pod: &Pod, other: &Pod) -> bool {
    let of_other = |volume: &PodVolume| other.volumes.iter().any(|taken| taken.conflicts_with(volume));
    pod.volumes.iter().filter(|volume| needs_check(volume)).any(of_other)
}

/// How many of these claims a Pod uses.
fn uses(pod: &Pod, wanted: &[Key]) -> i64 {
    let count = claims(pod).filter(|claim| wanted.contains(claim)).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        let mut for_one: Vec<Key> = Vec::new();
        for key in claims(pod) {
            let name = &key.name;
            let claim =
                snapshot.others.claims.get(&key).ok_or_else(|| {
                    Rejection::for_good(format!("persistentvolumeclaim {name:?} not found"))
                })?;
            if claim.is_for_one_pod() {
                for_one.push(key);
            }
        }
        let in_use: i64 = if for_one.is_empty() {
            0
        } else {
            snapshot
                .rows()
                .iter()
                .flat_map(|row| snapshot.pods(*row))
                .map(|other| uses(other, &for_one))
                .sum()
        };
        if in_use == 0 && !pod.volumes.iter().any(needs_check) {
            return Ok(Filtering::Skip);
        }
        Ok(Filtering::All(Box::new(move |row: Row, what_if: &WhatIf<'_>| {
            let taken = if what_if.is_nothing() {
                snapshot.pods(row).any(|other| conflict(pod, other))
            } else {
                what_if.pods(snapshot, row).any(|other| conflict(pod, other))
            };
            if taken {
                return Err(Rejection::for_now("node(s) had no available disk"));
            }
            if in_use + what_if.more(|other| uses(other, &for_one)) > 0 {
                return Err(Rejection::for_now(
                    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already \
                     in-use by another pod",
                ));
            }
            Ok(())
        })))
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::PodRemoved(gone) => {
                let wanted: Vec<Key> = claims(pod).collect();
                conflict(pod, gone) || uses(gone, &wanted) > 0
            }
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::Storage(StorageEvent::Claim(key)) => claims(pod).any(|claim| claim == *key),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{judged, pod, with_objects};

    fn with(uid: &str, on: &str, volume: Value) -> Value {
        json!({"metadata": {"namespace": "ns", "name": uid, "uid": uid},
            "spec": {"nodeName": on, "volumes": [volume]}})
    }

    #[test]
    fn a_disk_can_be_written_to_by_one_pod_of_a_node() {
        let gce = |read_only: bool| json!({"gcePersistentDisk": {"pdName": "d", "readOnly": read_only}});
        let aws = || json!({"awsElasticBlockStore": {"volumeID": "v"}});
        let iscsi = |read_only: bool| json!({"iscsi": {"iqn": "i", "readOnly": read_only}});
        let rbd =
            |monitor: &str, pool: &str| json!({"rbd": {"monitors": [monitor], "pool": pool, "image": "i"}});
        let disk = "node(s) had no available disk | yes";
        for (there, wanted, expected) in [
            (gce(false), gce(true), disk),
            (gce(true), gce(true), "yes | yes"),
            (aws(), aws(), disk),
            (iscsi(true), iscsi(true), "yes | yes"),
            (iscsi(true), iscsi(false), disk),
            (rbd("a", "p"), rbd("a", "p"), disk),
            (rbd("a", "p"), rbd("b", "p"), "yes | yes"),
            (rbd("a", "rbd"), rbd("a", ""), disk),
            (gce(false), json!({"emptyDir": {}}), "skip"),
        ] {
            let nodes = with_objects(
                [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}})],
                [with("1", "a", there)],
                |_| {},
            );
            assert_eq!(
                judged(&VolumeRestrictions, &pod(with("2", "", wanted.clone())), &nodes),
                expected,
                "{wanted}"
            );
        }
    }

    #[test]
    fn a_claim_for_one_pod_is_had_once_in_the_cluster() {
        let claim = |name: &str| json!({"name": "v", "persistentVolumeClaim": {"claimName": name}});
        let nodes = with_objects(
            [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}})],
            [with("1", "a", claim("one"))],
            |others| {
                for (name, mode) in
                    [("one", "ReadWriteOncePod"), ("free", "ReadWriteOncePod"), ("many", "ReadWriteOnce")]
                {
                    let claim = json!({"metadata": {"namespace": "ns", "name": name}, "spec": {"accessModes": [mode]}});
                    others.claims.set(std::sync::Arc::new(serde_json::from_value(claim).unwrap()));
                }
            },
        );
        let used = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";
        for (name, expected) in [
            ("one", format!("{used} | {used}")),
            ("free", "skip".to_owned()),
            ("many", "skip".to_owned()),
            ("none", "never: persistentvolumeclaim \"none\" not found".to_owned()),
        ] {
            assert_eq!(judged(&VolumeRestrictions, &pod(with("2", "", claim(name))), &nodes), expected);
        }
    }
}
