//! Which volume fits a claim.

use std::sync::Arc;

use api_types::quantity::Quantity;
use client::Kind;

use crate::kinds::{PersistentVolume, PersistentVolumeClaim};

fn mode(mode: &str) -> &str {
    if mode.is_empty() { "Filesystem" } else { mode }
}

/// Whether one is a file system and the other a device.
pub(super) fn modes_differ(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    mode(&volume.spec.volume_mode) != mode(&claim.spec.volume_mode)
}

fn bytes(size: Option<&Quantity>) -> i64 {
    size.map(Quantity::value).unwrap_or_default()
}

fn is_mountable(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim.spec.access_modes.iter().all(|mode| volume.spec.access_modes.contains(mode))
}

fn attributes_differ(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.volume_attributes_class_name.as_deref().unwrap_or_default()
        != claim.spec.volume_attributes_class_name.as_deref().unwrap_or_default()
}

/// Why the volume that a claim names cannot be it; `None` if it can.
pub(super) fn fault(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    if volume.metadata.is_terminating() {
        return Some(format!("the volume is marked for deletion {:?}", volume.metadata.name));
    }
    let fault = if bytes(volume.size()) < bytes(claim.size()) {
        "requested PV is too small"
    } else if volume.class() != claim.class() {
        "storageClassName does not match"
    } else if attributes_differ(volume, claim) {
        "volumeAttributesClassName does not match"
    } else if modes_differ(volume, claim) {
        "incompatible volumeMode"
    } else if !is_mountable(volume, claim) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(fault.to_owned())
}

/// The volume for a claim that names none: one that names the claim, or else, unless that is left to the scheduler, the
/// smallest that fits. Of all that can be mounted as wanted those come first that can be mounted in the fewest other ways.
pub(super) fn best(
    volumes: &[Arc<PersistentVolume>],
    claim: &PersistentVolumeClaim,
    only_its_own: bool,
) -> Option<Arc<PersistentVolume>> {
    let fits = |volume: &&Arc<PersistentVolume>| {
        (volume.spec.claim_ref.is_none() || volume.is_for(&claim.metadata))
            && is_mountable(volume, claim)
            && bytes(volume.size()) >= bytes(claim.size())
            && !modes_differ(volume, claim)
            && !attributes_differ(volume, claim)
            && !volume.metadata.is_terminating()
    };
    let is_free = |volume: &&Arc<PersistentVolume>| {
        !only_its_own
            && &*volume.status.phase == "Available"
            && volume.class() == claim.class()
            && claim.spec.selector.as_ref().is_none_or(|it| it.matches(&volume.metadata.labels))
    };
    let rank = |volume: &&Arc<PersistentVolume>| {
        let own = volume.is_for(&claim.metadata);
        (volume.spec.access_modes.len(), !own, bytes(volume.size()), volume.key())
    };
    let fitting = volumes.iter().filter(fits).filter(|it| it.is_for(&claim.metadata) || is_free(it));
    fitting.min_by_key(rank).cloned()
}
