//! From the volume: say how it is, and when its claim is gone, do with it as it says.

use std::{sync::Arc, time::Duration};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers, Write,
    controller::Request,
    events::{Note, ObjectRef},
    resource::PERSISTENT_VOLUMES,
};
use jiff::Timestamp;
use serde_json::json;

use super::{
    BOUND_BY_CONTROLLER, NAME, PROVISIONED_BY, change, matching, phase, provision,
    recycle::{self, Recycling},
};
use crate::{
    kinds::{PersistentVolume, PersistentVolumeClaim, Pod, persistent_volume},
    protection,
};

/// How long to wait for news of claims, where it is not certain that one is gone.
const NEWS: Duration = Duration::from_secs(1);

/// Keeps volumes.
#[derive(Debug)]
pub struct Volumes;

/// All that matters to a volume.
#[derive(Debug)]
pub struct Observed {
    volume: Arc<PersistentVolume>,
    /// The claim it is for, by name and uid.
    claim: Option<Arc<PersistentVolumeClaim>>,
    /// Whether the claims are known up to the last change of the volume: only then is one that is not there gone.
    certain: bool,
    /// What matters to emptying it, if it is of those that are emptied.
    recycling: Option<Recycling>,
}

// === impl Volumes ===

impl Controller for Volumes {
    type Root = PersistentVolume;
    type Observed = Observed;
    const NAME: &'static str = NAME;

    fn triggers(&self, on: &mut Triggers<PersistentVolume>) {
        on.root().mapped::<PersistentVolumeClaim>(|claim, caches| {
            let volumes = caches.read::<PersistentVolume>();
            let naming = volumes.by_index(persistent_volume::CLAIM, &claim.key().to_string());
            let named = Some(&claim.spec.volume_name).filter(|it| !it.is_empty());
            let named = named.map(|it| Key::cluster(it));
            naming.iter().map(|it| it.key()).chain(named).collect()
        });
        // Volumes that are emptied wait for Pods.
        on.changes::<Pod>(|change, caches| {
            let pod = change.object();
            let emptied = Recycling::volume_of(pod);
            if let Change::Modified { old, new } = change
                && emptied.is_none()
                && old.needs_no_volumes() == new.needs_no_volumes()
            {
                return Vec::new();
            }
            let volumes = caches.read::<PersistentVolume>();
            let namespace = &pod.metadata.namespace;
            let used = pod
                .claims()
                .flat_map(|name| volumes.by_index(persistent_volume::CLAIM, &format!("{namespace}/{name}")));
            let used = used.filter(|volume| recycle::is_recycled(volume)).map(|volume| volume.key());
            emptied.into_iter().chain(used).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let volume = caches.read::<PersistentVolume>().get(root)?;
        let claims = caches.read::<PersistentVolumeClaim>();
        let claim = volume
            .spec
            .claim_ref
            .as_ref()
            .and_then(|it| claims.get_same(&Key::new(&it.namespace, &it.name), &it.uid));
        let known = claims.revision() >= volume.metadata.revision;
        let certain = known || matches!(&*volume.status.phase, "Released" | "Failed");
        let recycling = Recycling::observe(&volume, caches);
        Some(Observed { volume, claim, certain, recycling })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let Observed { volume, claim, certain, recycling } = observed;
        let is = |phase: &'static str, why: &'static str| told(volume, phase, "", Plan::because(why));
        match (&volume.spec.claim_ref, claim) {
            (None, _) => is("Available", "the volume is free"),
            (Some(it), _) if it.uid.is_empty() => {
                is("Available", "the volume is kept for a claim that is not there yet")
            }
            (Some(_), None) if *certain => match recycling {
                Some(recycling) => recycle::recycle(volume, recycling, now),
                None => release(volume, "the claim of the volume is gone"),
            },
            (Some(_), None) => Plan::because("the claim of the volume may be new").look_again(NEWS),
            (Some(_), Some(claim)) if *claim.spec.volume_name == *volume.metadata.name => {
                is("Bound", "the volume is bound")
            }
            (Some(_), Some(claim)) if claim.spec.volume_name.is_empty() => half_bound(volume, claim),
            (Some(_), Some(_)) if deletes(volume) && is_ours_to_delete(volume) => {
                release(volume, "the claim of the volume has another one")
            }
            (Some(_), Some(_)) => unbind(volume),
        }
    }
}

fn deletes(volume: &PersistentVolume) -> bool {
    &*volume.spec.persistent_volume_reclaim_policy == "Delete"
}

fn is_ours_to_delete(volume: &PersistentVolume) -> bool {
    volume.metadata.annotations.contains(PROVISIONED_BY)
}

/// And the volume is in this phase, unless it says so.
pub(super) fn told(volume: &PersistentVolume, wanted: &str, message: &str, plan: Plan) -> Plan {
    if *volume.status.phase == *wanted {
        return plan;
    }
    let message = if message.is_empty() { json!(null) } else { json!(message) };
    let uid = &volume.metadata.uid;
    plan.then(phase(PERSISTENT_VOLUMES, volume.key(), uid, wanted, json!({"message": message})))
}

/// The volume names the claim and not yet the other way round: that is left to the claim.
fn half_bound(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Plan {
    if !matching::modes_differ(volume, claim) {
        return Plan::because("the claim of the volume does not name it yet");
    }
    let (volume_name, claim_name) = (&volume.metadata.name, &claim.metadata.name);
    let of_volume = format!(
        "Cannot bind PersistentVolume to requested PersistentVolumeClaim {claim_name:?} due to incompatible volumeMode."
    );
    let of_claim = format!(
        "Cannot bind PersistentVolume {volume_name:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
    );
    Plan::because("the volume and its claim are of different modes")
        .then(Write::event(ObjectRef::to(volume), Note::warning("VolumeMismatch", of_volume)))
        .then(Write::event(ObjectRef::to(claim), Note::warning("VolumeMismatch", of_claim)))
}

/// Takes the promise of a volume back whose claim has another one.
fn unbind(volume: &PersistentVolume) -> Plan {
    let plan = Plan::because("the claim of the volume has another one").then(unbound(volume));
    told(volume, "Available", "", plan)
}

/// Takes the promise of a volume back.
pub(super) fn unbound(volume: &PersistentVolume) -> Request {
    let patch = if volume.metadata.annotations.contains(BOUND_BY_CONTROLLER) {
        json!({"metadata": {"annotations": {BOUND_BY_CONTROLLER: null}}, "spec": {"claimRef": null}})
    } else {
        // A person has said whom it is for.
        json!({"spec": {"claimRef": {"uid": null}}})
    };
    change(PERSISTENT_VOLUMES, volume.key(), patch).if_unchanged(&volume.metadata)
}

/// The claim is gone: does with the volume as it says.
fn release(volume: &PersistentVolume, why: &'static str) -> Plan {
    let policy = &*volume.spec.persistent_volume_reclaim_policy;
    let plan = Plan::because(why);
    let plan = if &*volume.status.phase == "Failed" { plan } else { told(volume, "Released", "", plan) };
    let failed = |plan: Plan, reason: &'static str, message: &str| {
        if &*volume.status.phase == "Failed" {
            return plan;
        }
        let uid = &volume.metadata.uid;
        plan.then(phase(PERSISTENT_VOLUMES, volume.key(), uid, "Failed", json!({"message": message})))
            .then(Write::event(ObjectRef::to(volume), Note::warning(reason, message.to_owned())))
    };
    match policy {
        "Retain" => plan,
        "Delete" => match deletion(volume) {
            Deletion::Theirs => plan,
            Deletion::Impossible(error) => failed(plan, "VolumeFailedDelete", &error),
            Deletion::Ours => {
                let mut plan = plan;
                if volume.metadata.has_finalizer(provision::FINALIZER) {
                    let finalizer = provision::FINALIZER;
                    plan =
                        plan.then(protection::without_then(&PERSISTENT_VOLUMES, &volume.metadata, finalizer));
                }
                if volume.metadata.is_terminating() {
                    return plan;
                }
                plan.then(Request::delete(PERSISTENT_VOLUMES, &volume.metadata))
            }
        },
        _ => failed(
            plan,
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy",
        ),
    }
}

/// Who can delete what a volume stands for.
enum Deletion {
    Ours,
    Theirs,
    Impossible(String),
}

fn deletion(volume: &PersistentVolume) -> Deletion {
    let name = &volume.metadata.name;
    match volume.metadata.annotations.get(PROVISIONED_BY) {
        Some(by) if !by.is_empty() && !by.starts_with("kubernetes.io/") => return Deletion::Theirs,
        Some(by) if !by.is_empty() && by != provision::HOST_PATH => {
            return Deletion::Impossible(format!("no volume plugin matched name: {by}"));
        }
        _ => {}
    }
    match &volume.spec.host_path {
        // A directory elsewhere may be anything.
        Some(it) if it.path.split_once("/tmp/").is_some_and(|(_, rest)| !rest.is_empty()) => Deletion::Ours,
        Some(it) => Deletion::Impossible(format!(
            "host_path deleter only supports /tmp/.+ but received provided {}",
            it.path
        )),
        None => Deletion::Impossible(format!(
            "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
        )),
    }
}
