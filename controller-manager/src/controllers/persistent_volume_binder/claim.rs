//! From the claim: find it a volume, or have one made; finish its binding; tell when its volume is lost.

use std::sync::Arc;

use client::{
    Caches, Controller, Key, Kind, Plan, Triggers, Write,
    events::{Note, ObjectRef},
    resource::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER, NAME, SELECTED_NODE, change, matching, phase, provision};
use crate::kinds::{Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass, pod};

/// Keeps claims.
#[derive(Debug)]
pub struct Claims {
    /// Whether volumes that are directories of nodes are made.
    pub provisions: bool,
}

/// All that matters to a claim.
#[derive(Debug)]
pub struct Observed {
    pub(super) claim: Arc<PersistentVolumeClaim>,
    /// The volume it names.
    volume: Option<Arc<PersistentVolume>>,
    /// Its class, if there is such a one.
    class: Option<Arc<StorageClass>>,
    /// The class of claims that name none.
    default: Option<Arc<StorageClass>>,
    /// All volumes that are free or its own, while it names none.
    volumes: Vec<Arc<PersistentVolume>>,
    /// The volume that was made for it, if one was.
    made: Option<Arc<PersistentVolume>>,
    /// The names of its Pods that have no node.
    waiting: Vec<String>,
    /// The node its volume is to be made for, if that matters; the name alone if there is no such node.
    pub(super) node: Option<(Box<str>, Option<Arc<Node>>)>,
}

// === impl Claims ===

impl Controller for Claims {
    type Root = PersistentVolumeClaim;
    type Observed = Observed;
    const NAME: &'static str = NAME;

    fn triggers(&self, on: &mut Triggers<PersistentVolumeClaim>) {
        on.root();
        on.changes::<PersistentVolume>(|change, caches| {
            let claims = caches.read::<PersistentVolumeClaim>();
            let volume = change.object();
            let index = crate::kinds::persistent_volume_claim::VOLUME;
            let naming = claims.by_index(index, &volume.metadata.name);
            let mut keys: Vec<Key> = naming.iter().map(|it| it.key()).collect();
            for side in [change.before(), change.after()].into_iter().flatten() {
                keys.extend(side.spec.claim_ref.iter().map(|it| Key::new(&it.namespace, &it.name)));
            }
            if change.after().is_some_and(|it| &*it.status.phase == "Available") {
                // It may be what somebody waits for.
                keys.extend(unbound(caches, |claim| claim.class() == volume.class()));
            }
            keys
        });
        on.changes::<StorageClass>(|change, caches| {
            let Some(class) = change.after() else { return Vec::new() };
            let has_none = |it: &PersistentVolumeClaim| class.is_default() && !has_class(it);
            unbound(caches, |claim| claim.class() == &*class.metadata.name || has_none(claim))
        });
        on.reads::<Pod>().reads::<Node>();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let claim = caches.read::<PersistentVolumeClaim>().get(root)?;
        let volumes = caches.read::<PersistentVolume>();
        let classes = caches.read::<StorageClass>();
        let named = (!claim.spec.volume_name.is_empty())
            .then(|| volumes.get(&Key::cluster(&claim.spec.volume_name)))
            .flatten();
        let searching =
            claim.spec.volume_name.is_empty() && !claim.metadata.annotations.contains(BIND_COMPLETED);
        let mut free = if searching { volumes.list() } else { Vec::new() };
        free.retain(|it| it.spec.claim_ref.is_none() || it.is_for(&claim.metadata));
        let class = Some(claim.class()).filter(|it| !it.is_empty());
        let mut defaults = if has_class(&claim) { Vec::new() } else { classes.list() };
        defaults.retain(|class| class.is_default());
        // Of several the newest.
        defaults.sort_by_cached_key(|it| {
            (std::cmp::Reverse(it.metadata.creation_timestamp), Arc::clone(&it.metadata.name))
        });
        let waiting = if searching {
            let pods = caches.read::<Pod>().by_index(pod::CLAIM, &root.to_string());
            let waits = |pod: &&Arc<Pod>| !pod.is_finished() && pod.spec.node_name.is_empty();
            pods.iter().filter(waits).map(|pod| pod.metadata.name.as_ref().to_owned()).collect()
        } else {
            Vec::new()
        };
        let node = claim.metadata.annotations.get(SELECTED_NODE).filter(|_| searching);
        Some(Observed {
            volume: named,
            class: class.and_then(|name| classes.get(&Key::cluster(name))),
            default: defaults.into_iter().next(),
            volumes: free,
            made: volumes.get(&Key::cluster(&provision::name(&claim))),
            waiting,
            node: node.map(|name| (name.into(), caches.read::<Node>().get(&Key::cluster(name)))),
            claim,
        })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let claim = &*observed.claim;
        match (claim.metadata.annotations.contains(BIND_COMPLETED), &observed.volume) {
            (true, volume) => keep(claim, volume.as_deref()),
            (false, Some(volume)) => bind_to_named(claim, volume),
            (false, None) if !claim.spec.volume_name.is_empty() => {
                pending(claim, Plan::because("the volume the claim names is not there"))
            }
            (false, None) => self.search(observed),
        }
    }
}

/// The claims that have no volume yet.
fn unbound(caches: &Caches, concerned: impl Fn(&PersistentVolumeClaim) -> bool) -> Vec<Key> {
    let claims = caches.read::<PersistentVolumeClaim>().list();
    let unbound = claims.iter().filter(|it| it.spec.volume_name.is_empty() && concerned(it));
    unbound.map(|it| it.key()).collect()
}

/// Whether somebody has said which class a claim has, be it none.
fn has_class(claim: &PersistentVolumeClaim) -> bool {
    claim.spec.storage_class_name.is_some()
        || claim.metadata.annotations.contains("volume.beta.kubernetes.io/storage-class")
}

fn warn(claim: &PersistentVolumeClaim, reason: &'static str, message: String) -> Write {
    Write::event(ObjectRef::to(claim), Note::warning(reason, message))
}

fn tell(claim: &PersistentVolumeClaim, reason: &'static str, message: String) -> Write {
    Write::event(ObjectRef::to(claim), Note::normal(reason, message))
}

/// And the claim is pending, unless it says so.
fn pending(claim: &PersistentVolumeClaim, plan: Plan) -> Plan {
    let status = &claim.status;
    if &*status.phase == "Pending" && status.access_modes.is_empty() && status.capacity.storage.is_none() {
        return plan;
    }
    let nothing = json!({"accessModes": null, "capacity": null, "currentVolumeAttributesClassName": null});
    plan.then(phase(PERSISTENT_VOLUME_CLAIMS, claim.key(), &claim.metadata.uid, "Pending", nothing))
}

/// The claim has lost its volume for good.
fn lost(claim: &PersistentVolumeClaim, reason: &'static str, message: &str) -> Plan {
    if &*claim.status.phase == "Lost" {
        return Plan::because("the claim has lost its volume");
    }
    let nothing = json!({"accessModes": null, "capacity": null, "currentVolumeAttributesClassName": null});
    Plan::because("the claim has lost its volume")
        .then(phase(PERSISTENT_VOLUME_CLAIMS, claim.key(), &claim.metadata.uid, "Lost", nothing))
        .then(warn(claim, reason, message.to_owned()))
}

/// A claim that was bound before stays so, or has lost its volume.
fn keep(claim: &PersistentVolumeClaim, volume: Option<&PersistentVolume>) -> Plan {
    let Some(volume) = volume else {
        return if claim.spec.volume_name.is_empty() {
            let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
            lost(claim, "ClaimLost", message)
        } else {
            lost(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
        };
    };
    match &volume.spec.claim_ref {
        Some(claim_ref) if claim_ref.uid != claim.metadata.uid => {
            let message = "Two claims are bound to the same volume, this one is bound incorrectly";
            lost(claim, "ClaimMisbound", message)
        }
        _ => bind(claim, volume, Plan::because("the claim is bound")),
    }
}

/// The claim names a volume, as a person or the scheduler said.
fn bind_to_named(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Plan {
    let name = &volume.metadata.name;
    if volume.spec.claim_ref.is_none() {
        return match matching::fault(volume, claim) {
            None => bind(claim, volume, Plan::because("the volume the claim names is free")),
            Some(fault) => {
                let message = format!("Cannot bind to requested volume {name:?}: {fault}");
                pending(claim, Plan::because("the volume the claim names does not fit")).then(warn(
                    claim,
                    "VolumeMismatch",
                    message,
                ))
            }
        };
    }
    if volume.is_for(&claim.metadata) {
        return bind(claim, volume, Plan::because("the volume the claim names is for it"));
    }
    let message = format!("volume {name:?} already bound to a different claim.");
    pending(claim, Plan::because("the volume the claim names is another one's")).then(warn(
        claim,
        "FailedBinding",
        message,
    ))
}

/// Makes both promises, as far as they are not made.
fn bind(claim: &PersistentVolumeClaim, volume: &PersistentVolume, plan: Plan) -> Plan {
    let (meta, spec) = (&claim.metadata, &claim.spec);
    let mut plan = plan;
    let theirs = volume.spec.claim_ref.as_ref();
    if theirs
        .is_none_or(|it| it.uid != meta.uid || *it.name != *meta.name || *it.namespace != *meta.namespace)
    {
        let claim_ref = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta.namespace, "name": meta.name,
            "uid": meta.uid, "resourceVersion": meta.revision,
        });
        let mut patch = json!({"spec": {"claimRef": claim_ref}});
        if !volume.is_for(meta) && !volume.metadata.annotations.contains(BOUND_BY_CONTROLLER) {
            patch["metadata"] = json!({"annotations": {BOUND_BY_CONTROLLER: "yes"}});
        }
        let request = change(PERSISTENT_VOLUMES, volume.key(), patch);
        plan = plan.then(request.if_unchanged(&volume.metadata));
    }
    if &*volume.status.phase != "Bound" {
        let uid = &volume.metadata.uid;
        plan = plan.then(phase(PERSISTENT_VOLUMES, volume.key(), uid, "Bound", json!({"message": null})));
    }
    let mut annotations = serde_json::Map::new();
    let mut patch = json!({});
    if spec.volume_name.is_empty() {
        patch["spec"] = json!({"volumeName": volume.metadata.name});
        if !meta.annotations.contains(BOUND_BY_CONTROLLER) {
            annotations.insert(BOUND_BY_CONTROLLER.to_owned(), "yes".into());
        }
    }
    if !meta.annotations.contains(BIND_COMPLETED) {
        annotations.insert(BIND_COMPLETED.to_owned(), "yes".into());
    }
    if !annotations.is_empty() {
        patch["metadata"] = json!({"annotations": annotations});
        plan = plan.then(change(PERSISTENT_VOLUME_CLAIMS, claim.key(), patch).if_unchanged(meta));
    }
    let is_bound = &*claim.status.phase == "Bound";
    if is_bound && claim.status.access_modes == volume.spec.access_modes {
        return plan;
    }
    let mut rest = json!({"accessModes": volume.spec.access_modes});
    if !is_bound && claim.status.capacity != volume.spec.capacity {
        rest["capacity"] = volume.size().map_or(Value::Null, |size| json!({"storage": size}));
    }
    if let (false, Some(class)) = (is_bound, &volume.spec.volume_attributes_class_name) {
        rest["currentVolumeAttributesClassName"] = class.as_ref().into();
    }
    plan.then(phase(PERSISTENT_VOLUME_CLAIMS, claim.key(), &meta.uid, "Bound", rest))
}

impl Claims {
    /// Finds a volume for a claim that names none, or has one made.
    fn search(&self, observed: &Observed) -> Plan {
        let claim = &*observed.claim;
        let waits = observed.class.as_ref().is_some_and(|class| class.waits());
        if let Some(volume) = matching::best(&observed.volumes, claim, waits) {
            let why = format!("volume {} fits the claim", volume.metadata.name);
            return bind(claim, &volume, Plan::because(why));
        }
        if let (false, Some(class)) = (has_class(claim), &observed.default) {
            let name = &class.metadata.name;
            let patch = json!({"spec": {"storageClassName": name}});
            return Plan::because("the claim names no class, and there is one for those")
                .then(change(PERSISTENT_VOLUME_CLAIMS, claim.key(), patch).if_unchanged(&claim.metadata));
        }
        if waits && observed.node.is_none() {
            let plan = Plan::because("the claim waits until a Pod that uses it has a node");
            let (reason, message) = match observed.waiting.as_slice() {
                [] => (
                    "WaitForFirstConsumer",
                    "waiting for first consumer to be created before binding".to_owned(),
                ),
                [pod] => ("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
                pods => {
                    ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", pods.join(",")))
                }
            };
            return pending(claim, plan.then(tell(claim, reason, message)));
        }
        if claim.class().is_empty() {
            let message = "no persistent volumes available for this claim and no storage class is set";
            let plan = Plan::because("no volume fits the claim, and it has no class to make one of");
            return pending(claim, plan.then(tell(claim, "FailedBinding", message.to_owned())));
        }
        if claim.metadata.is_terminating() {
            return Plan::because("the claim is on its way out");
        }
        if observed.made.is_some() {
            return Plan::because("a volume has been made for the claim");
        }
        let Some(class) = &observed.class else {
            let message = format!("storageclass.storage.k8s.io {:?} not found", claim.class());
            return Plan::because("the class of the claim is not there").then(warn(
                claim,
                "ProvisioningFailed",
                message,
            ));
        };
        provision::provision(observed, class, self.provisions)
    }
}

/// Notes on a claim whose business it is to make its volume, unless that stands there.
pub(super) fn notes(claim: &PersistentVolumeClaim, provisioner: &str) -> Option<client::controller::Request> {
    const ANNOTATIONS: [&str; 2] =
        ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
    if claim.metadata.annotations.get(ANNOTATIONS[0]) == Some(provisioner) {
        return None;
    }
    let annotations = ANNOTATIONS.map(|name| (name.to_owned(), Value::from(provisioner)));
    let annotations: serde_json::Map<_, _> = annotations.into_iter().collect();
    let patch = json!({"metadata": {"annotations": annotations}});
    Some(change(PERSISTENT_VOLUME_CLAIMS, claim.key(), patch).if_same(&claim.metadata.uid))
}

impl Observed {
    /// The claim as an Event's object.
    pub(super) fn about(&self) -> ObjectRef {
        ObjectRef::to(&*self.claim)
    }
}
