//! Attach and detach: a volume that its CSI driver must attach to a node before it can be mounted there is attached where
//! a Pod needs it, and detached when none does any longer.
//!
//! To attach is to make a VolumeAttachment, which the driver's attacher carries out; to detach is to delete it. [`volumes`]
//! does both, one volume at a time, since most volumes can be attached to one node only. [`nodes`] tells each node which
//! volumes are attached to it (`status.volumesAttached`): its kubelet mounts no others.
//!
//! A volume that is detached while it is written to loses data. So the node says what it has mounted, or is about to
//! (`status.volumesInUse`), *before* it looks whether the volume is attached; and here a volume is taken off
//! `volumesAttached` *before* it is looked whether it is in use. Whoever comes second sees what the other has written. Only
//! a node that has been unwell for six minutes, or that people have declared out of service, is not asked.
//!
//! [`disks`] of iSCSI and Fibre Channel have no driver: their kubelets attach them, and wait for `volumesAttached` all the same.

mod disks;
mod nodes;
mod volumes;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use client::{
    Caches, Change, Key, Kind,
    controller::{Manager, Options as Workers},
};

pub use nodes::Nodes;
pub use volumes::Volumes;

use crate::kinds::{
    CsiDriver, Node, PersistentVolume, PersistentVolumeClaim, Pod, persistent_volume,
    pod::{self, Source},
};

/// The component in Events.
const NAME: &str = "attachdetach-controller";
/// A node with this leaves attaching to this controller.
const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
/// What volumes of CSI drivers are called in the status of nodes: this, and the id.
const PLUGIN: &str = "kubernetes.io/csi/";

/// Who needs a volume on a node.
#[derive(Clone, Debug, Default)]
struct Need {
    /// By which PersistentVolume.
    volume: Arc<str>,
    pods: Vec<Arc<Pod>>,
}

/// Starts both halves.
pub(super) fn start(manager: &Manager, workers: Workers) {
    let clock = Arc::clone(&manager.runtime.clock);
    drop(manager.start(Volumes::new(clock), workers.clone()));
    drop(manager.start(Nodes, workers));
}

/// Who needs the volume with this id, by node.
fn needs(id: &str, caches: &Caches) -> BTreeMap<Arc<str>, Need> {
    let mut needs = BTreeMap::<Arc<str>, Need>::new();
    for volume in caches.read::<PersistentVolume>().by_index(persistent_volume::CSI, id) {
        if !must_attach(&volume, caches) {
            continue;
        }
        let Some(claim) = claim_of(&volume, caches) else { continue };
        for pod in caches.read::<Pod>().by_index(pod::CLAIM, &claim.key().to_string()) {
            if pod.spec.node_name.is_empty() || pod.needs_no_volumes() || !uses(&pod, &claim) {
                continue;
            }
            let need = needs.entry(pod.spec.node_name.as_ref().into()).or_default();
            need.volume = Arc::clone(&volume.metadata.name);
            need.pods.push(pod);
        }
    }
    for need in needs.values_mut() {
        need.pods.sort_by_key(|pod| pod.key());
    }
    needs
}

/// Whether a volume must be attached before it can be mounted: unless its driver says otherwise.
fn must_attach(volume: &PersistentVolume, caches: &Caches) -> bool {
    volume.spec.csi.as_ref().is_some_and(|csi| {
        let driver = caches.read::<CsiDriver>().get(&Key::cluster(&csi.driver));
        driver.is_none_or(|driver| driver.spec.attach_required != Some(false))
    })
}

/// The claim that a volume is bound to, if it is to the volume.
fn claim_of(volume: &PersistentVolume, caches: &Caches) -> Option<Arc<PersistentVolumeClaim>> {
    let reference = volume.spec.claim_ref.as_ref()?;
    let key = Key::new(&reference.namespace, &reference.name);
    let claim = caches.read::<PersistentVolumeClaim>().get_same(&key, &reference.uid)?;
    let is_bound = &*claim.status.phase == "Bound" && *claim.spec.volume_name == *volume.metadata.name;
    is_bound.then_some(claim)
}

/// Whether a Pod uses a claim of that name: one made for a Pod is that Pod's alone.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let name = &*claim.metadata.name;
    pod.spec.volumes.iter().any(|volume| match &volume.source {
        Source::Claim(named) => **named == *name,
        Source::Ephemeral(_) => {
            *format!("{}-{}", pod.metadata.name, volume.name) == *name
                && claim.metadata.controller().is_some_and(|owner| owner.uid == pod.metadata.uid)
        }
        Source::Disk(_) => false,
    })
}

/// The Pod of a change that matters to its volumes.
fn volumes_changed(change: &Change<Pod>) -> Option<&Arc<Pod>> {
    if let Change::Modified { old, new } = change
        && old.spec.node_name == new.spec.node_name
        && old.needs_no_volumes() == new.needs_no_volumes()
    {
        return None;
    }
    let pod = change.object();
    (!pod.spec.node_name.is_empty() && !pod.spec.volumes.is_empty()).then_some(pod)
}

/// The claims of a Pod, if a change of it matters to its volumes.
fn claims_changed(change: &Change<Pod>) -> Vec<Key> {
    let Some(pod) = volumes_changed(change) else { return Vec::new() };
    pod.claims().map(|name| Key::new(&pod.metadata.namespace, &name)).collect()
}

/// Whether attaching to a node is this controller's work.
fn is_managed(node: &Node) -> bool {
    node.metadata.annotations.get(MANAGED).is_some()
}
