//! PersistentVolume binder: a claim gets the smallest volume that fits, or a new one of its class; a volume whose claim is
//! gone is kept or deleted, as it says.
//!
//! Binding is two promises: the volume names the claim (`spec.claimRef`, with its uid), then the claim names the volume
//! (`spec.volumeName`). The first is written only over the volume as it was seen, so that of two claims one gets it.
//! Whatever interrupts that, either side shows what is left to do: [`claim`] looks at it from the claim, [`volume`] from
//! the volume.
//!
//! A claim whose class waits for its first consumer is left to the scheduler, which binds it to a volume that is there or
//! names a node (the annotation `volume.kubernetes.io/selected-node`), for which a volume is then made.
//!
//! [`provision`] makes volumes that are directories of nodes, for clusters to try things on; for every other provisioner
//! the claim is annotated, and waited for. [`recycle`] empties volumes that are given to one claim after the other.

mod claim;
mod matching;
mod provision;
mod recycle;
mod volume;

#[cfg(test)]
mod tests;

use client::{
    Key, Resource,
    controller::{Manager, Options as Workers, Request},
};
use serde_json::{Value, json};

pub use claim::Claims;
pub use volume::Volumes;

use crate::Options;

/// The component in Events.
const NAME: &str = "persistentvolume-controller";
/// The claim is bound, and has been since.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// This controller made the binding, and not a person.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Who made a volume.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The node the scheduler has chosen for the first consumer of a claim.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Starts both halves.
pub(super) fn start(manager: &Manager, workers: Workers, options: &Options) {
    drop(manager.start(Claims { provisions: options.hostpath_provisioner }, workers.clone()));
    drop(manager.start(Volumes, workers));
}

/// Changes an object.
fn change(resource: Resource, key: Key, change: Value) -> Request {
    Request::merge(resource, key, change)
}

/// Sets the phase of a claim or volume, and what goes with it.
fn phase(resource: Resource, key: Key, uid: &str, phase: &str, rest: Value) -> Request {
    let mut status = json!({"phase": phase});
    if let (Value::Object(status), Value::Object(rest)) = (&mut status, rest) {
        status.extend(rest);
    }
    Request::status(resource, key, status).if_same(uid)
}
