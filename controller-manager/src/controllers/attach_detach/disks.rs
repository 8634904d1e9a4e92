//! Disks of iSCSI and Fibre Channel, which nobody but the kubelet attaches: to attach one is to tell its node that it is.
//!
//! A disk that may be on one node only is told of to the node of the oldest Pod that needs it, and to another one when no node
//! is told of it any more. So two nodes that are looked at at once do not both get it.

use std::{collections::BTreeMap, sync::Arc};

use client::{Caches, Change, Key, Kind};

use super::{claim_of, uses};
use crate::kinds::{
    Node, PersistentVolume, PersistentVolumeClaim, Pod,
    disk::is_disk,
    pod::{self, Source},
};

/// A disk that Pods of a node need.
#[derive(Debug)]
pub(super) struct Disk {
    /// As the status of nodes calls it.
    pub(super) name: Box<str>,
    /// It may be attached there.
    pub(super) is_free: bool,
}

/// The disks that the Pods of a node need.
pub(super) fn needed(node: &Node, caches: &Caches) -> Vec<Disk> {
    let mut disks = BTreeMap::<Box<str>, bool>::new();
    for pod in caches.read::<Pod>().by_index(pod::NODE, &node.metadata.name) {
        if pod.spec.volumes.is_empty() || pod.needs_no_volumes() {
            continue;
        }
        for volume in &pod.spec.volumes {
            if let Source::Disk(name) = &volume.source {
                disks.insert(name.clone(), true);
            }
        }
        for claim in pod.claims().map(|name| Key::new(&pod.metadata.namespace, &name)) {
            let Some((name, volume)) = disk_of(&claim, caches) else { continue };
            let Some(claim) = claim_of(&volume, caches).filter(|claim| uses(&pod, claim)) else { continue };
            let is_free = !volume.is_exclusive() || is_next(node, &name, &claim, caches);
            *disks.entry(name).or_default() |= is_free;
        }
    }
    disks.into_iter().map(|(name, is_free)| Disk { name, is_free }).collect()
}

/// Whether a node is the one to have a disk that only one may have.
fn is_next(node: &Node, name: &str, claim: &PersistentVolumeClaim, caches: &Caches) -> bool {
    let has = |it: &Arc<Node>| it.status.volumes_attached.iter().any(|volume| *volume.name == *name);
    if caches.read::<Node>().list().iter().any(|it| it.metadata.name != node.metadata.name && has(it)) {
        return false;
    }
    let pods = caches.read::<Pod>().by_index(pod::CLAIM, &claim.key().to_string());
    let waiting = pods
        .iter()
        .filter(|pod| !pod.spec.node_name.is_empty() && !pod.needs_no_volumes() && uses(pod, claim));
    let oldest = waiting.min_by_key(|pod| (pod.metadata.creation_timestamp, pod.key()));
    oldest.is_some_and(|pod| *pod.spec.node_name == *node.metadata.name)
}

/// The disk that a claim is bound to.
fn disk_of(claim: &Key, caches: &Caches) -> Option<(Box<str>, Arc<PersistentVolume>)> {
    let claim = caches.read::<PersistentVolumeClaim>().get(claim)?;
    let volume = caches.read::<PersistentVolume>().get(&Key::cluster(&claim.spec.volume_name))?;
    Some((volume.disk()?, volume))
}

/// The nodes of the Pods that use a claim, if it is one for such a disk.
pub(super) fn nodes_with(claim: &Key, caches: &Caches) -> Vec<Key> {
    if disk_of(claim, caches).is_none() {
        return Vec::new();
    }
    let pods = caches.read::<Pod>().by_index(pod::CLAIM, &claim.to_string());
    let bound = pods.iter().filter(|pod| !pod.spec.node_name.is_empty());
    bound.map(|pod| Key::cluster(&pod.spec.node_name)).collect()
}

/// Whether a node has no longer a disk that it had, so that another one may have it.
pub(super) fn are_given_up(change: &Change<Node>) -> bool {
    match change {
        Change::Added(_) => false,
        Change::Modified { old, new } => {
            let gone = |name: &str| new.status.volumes_attached.iter().all(|it| *it.name != *name);
            old.status.volumes_attached.iter().any(|it| is_disk(&it.name) && gone(&it.name))
        }
        Change::Deleted { last, .. } => last.status.volumes_attached.iter().any(|it| is_disk(&it.name)),
    }
}
