//! The claims of a Pod: made before it, kept when it is gone, and found by its successor.
//!
//! Unless the retention policy says otherwise: then a claim is owned by the StatefulSet, so that it goes with it, or, once
//! the Pod is condemned, by the Pod. Deleting is the garbage collector's.

use std::{collections::BTreeMap, sync::Arc};

use api_types::object::{object_at, object_of};
use client::{
    Kind, Meta, Owner,
    controller::{Report, Request},
    events::Note,
    resource::{PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS},
};
use serde_json::{Value, json};

use super::{Then, Work};
use crate::kinds::{PersistentVolumeClaim, Pod, StatefulSet};

/// Whether a claim of this name is one of a set's.
pub(super) fn is_of(set: &StatefulSet, claim: &str) -> bool {
    set.spec.volume_claim_templates.iter().any(|template| {
        let rest = claim.strip_prefix(&*template.name).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|pod| set.ordinal_of(pod).is_some())
    })
}

fn deletes(policy: &str) -> bool {
    policy == "Delete"
}

/// Whether a claim of a Pod that is to be made is still owned by the Pod's predecessor, and so about to go with it.
pub(super) fn is_stale(
    set: &StatefulSet,
    ordinal: i64,
    claims: &BTreeMap<Arc<str>, Arc<PersistentVolumeClaim>>,
) -> bool {
    let policy = &set.spec.persistent_volume_claim_retention_policy;
    let pod = set.pod_name(ordinal);
    let owned = |claim: &Arc<PersistentVolumeClaim>| {
        claim.metadata.owners.iter().any(|it| PODS.is_kind(&it.api_version, &it.kind) && *it.name == *pod)
    };
    let mut names = set.spec.volume_claim_templates.iter().map(|it| set.claim_name(it, ordinal));
    deletes(&policy.when_scaled) && names.any(|name| claims.get(name.as_str()).is_some_and(owned))
}

/// Who shall own a claim; `None` if it is right, or not ours to say.
fn owners(set: &StatefulSet, pod: &Meta, condemned: bool, there: &[Owner]) -> Option<Vec<Owner>> {
    let policy = &set.spec.persistent_volume_claim_retention_policy;
    let (when_scaled, when_deleted) = (deletes(&policy.when_scaled), deletes(&policy.when_deleted));
    let is_ref = |it: &Owner, kind: &client::Resource, meta: &Meta| {
        *it.kind == *kind.kind && *it.api_version == *kind.api_version() && *it.name == *meta.name
    };
    let of_set = |it: &&Owner| is_ref(it, &STATEFUL_SETS, &set.metadata);
    let of_pod = |it: &&Owner| is_ref(it, &PODS, pod);
    let stale = there
        .iter()
        .any(|it| (of_set(&it) && it.uid != set.metadata.uid) || (of_pod(&it) && it.uid != pod.uid));
    if stale {
        // It belongs to predecessors; whether it goes with them is the garbage collector's.
        return None;
    }
    let mut wanted: Vec<Owner> = there.iter().filter(|it| !of_set(it) && !of_pod(it)).cloned().collect();
    let managed_by_another = (when_scaled || when_deleted) && wanted.iter().any(|it| it.controller);
    if !managed_by_another {
        if when_scaled && condemned {
            wanted.push(Owner::controller_of(&PODS, pod));
        } else if when_deleted && !(when_scaled && condemned) {
            wanted.push(Owner::controller_of(&STATEFUL_SETS, &set.metadata));
        }
    }
    let place = |it: &Owner| (it.uid.clone(), it.controller);
    let mut before: Vec<_> = there.iter().map(place).collect();
    let mut after: Vec<_> = wanted.iter().map(place).collect();
    before.sort_unstable();
    after.sort_unstable();
    (before != after).then_some(wanted)
}

// === impl Work ===

impl Work<'_> {
    /// Makes the claims of a Pod that are missing. Waits if one is on its way out.
    pub(super) fn make_claims(&mut self, ordinal: i64) -> Then {
        let root = self.root;
        let pod = root.pod_name(ordinal);
        for template in &root.spec.volume_claim_templates {
            let name = root.claim_name(template, ordinal);
            match self.claims.get(name.as_str()) {
                None => {
                    let create = self.make_claim(&template.to_value(), &name, &pod);
                    self.new_claims.push(create);
                }
                Some(claim) if claim.metadata.is_terminating() => {
                    let error = format!("failed error: pvc {name} is being deleted");
                    let note = Note::warning("FailedCreate", self.tell("Create", &pod, &error));
                    self.then(client::Write::event(self.about.clone(), note));
                    return self.wait(format!("claim {name} of {pod} is on its way out"));
                }
                Some(_) => {}
            }
        }
        Then::GoOn
    }

    fn make_claim(&self, template: &Value, name: &str, pod: &str) -> Request {
        let root = self.root;
        let mut claim = json!({"metadata": template["metadata"], "spec": template["spec"]});
        let metadata = object_at(object_of(&mut claim), "metadata");
        metadata.insert("name".to_owned(), name.into());
        metadata.insert("namespace".to_owned(), root.metadata.namespace.as_ref().into());
        if let Some(matched) = root.spec.selector.to_value()["matchLabels"].as_object() {
            object_at(metadata, "labels").extend(matched.clone());
        }
        let set = &root.metadata.name;
        let report = Report {
            about: self.about.clone(),
            done: Some(Note::normal(
                "SuccessfulCreate",
                format!("Create Claim {name} Pod {pod} in StatefulSet {set} success"),
            )),
            failed: Some(Note::warning(
                "FailedCreate",
                format!("Create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {{error}}"),
            )),
        };
        Request::create(PERSISTENT_VOLUME_CLAIMS, &root.metadata.namespace, claim)
            .reporting(report)
            .conflict_is_fine()
    }

    /// Gives the claims of a Pod the owners that the retention policy wants; true if that changes any.
    pub(super) fn own_claims(&mut self, ordinal: i64, pod: &Pod, condemned: bool) -> bool {
        let root = self.root;
        let mut changes = false;
        for template in &root.spec.volume_claim_templates {
            let name = root.claim_name(template, ordinal);
            let Some(claim) = self.claims.get(name.as_str()) else { continue };
            let there = &claim.metadata.owners;
            let Some(wanted) = owners(root, &pod.metadata, condemned, there) else { continue };
            let others_manage = wanted
                .iter()
                .any(|it| it.controller && it.uid != root.metadata.uid && it.uid != pod.metadata.uid);
            if others_manage {
                let message = format!(
                    "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, \
                     the retention policy is ignored for this claim"
                );
                self.then(client::Write::event(
                    self.about.clone(),
                    Note::warning("ConflictingController", message),
                ));
            }
            let document = json!({"metadata": {"ownerReferences": wanted}});
            let request = Request::merge(PERSISTENT_VOLUME_CLAIMS, claim.key(), document);
            self.then(request.if_unchanged(&claim.metadata));
            changes = true;
        }
        changes
    }
}

#[cfg(test)]
mod claims_tests {
    use super::*;

    #[test]
    fn a_claim_is_owned_as_the_retention_policy_says() {
        let set = |scaled: &str, deleted: &str| -> StatefulSet {
            serde_json::from_value(json!({
                "metadata": {"name": "web", "uid": "set"},
                "spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": scaled, "whenDeleted": deleted}},
            }))
            .unwrap()
        };
        let pod = Meta { name: "web-0".into(), uid: "pod".into(), ..Meta::default() };
        let by = |kind: &str, name: &str, uid: &str, controller: bool| Owner {
            api_version: if kind == "Pod" { "v1".into() } else { "apps/v1".into() },
            kind: kind.into(),
            name: name.into(),
            uid: uid.into(),
            controller,
            block_owner_deletion: true,
        };
        let mine = || by("StatefulSet", "web", "set", true);
        let pods = || by("Pod", "web-0", "pod", true);
        let other = || by("StatefulSet", "other", "x", true);
        for (scaled, deleted, condemned, there, wanted) in [
            ("Retain", "Retain", false, vec![], None),
            ("Retain", "Retain", false, vec![mine()], Some(vec![])),
            ("Retain", "Retain", true, vec![other()], None),
            ("Retain", "Delete", false, vec![], Some(vec!["set"])),
            ("Retain", "Delete", true, vec![mine()], None),
            ("Delete", "Retain", false, vec![], None),
            ("Delete", "Retain", true, vec![], Some(vec!["pod"])),
            ("Delete", "Retain", false, vec![pods()], Some(vec![])),
            ("Delete", "Delete", false, vec![], Some(vec!["set"])),
            ("Delete", "Delete", true, vec![mine()], Some(vec!["pod"])),
            ("Delete", "Delete", true, vec![other()], None),
            ("Delete", "Delete", true, vec![other(), mine()], Some(vec!["x"])),
            ("Delete", "Delete", false, vec![by("StatefulSet", "web", "older", true)], None),
            ("Retain", "Delete", false, vec![by("StatefulSet", "web", "set", false)], Some(vec!["set"])),
        ] {
            let found = owners(&set(scaled, deleted), &pod, condemned, &there);
            let found = found.map(|all| all.iter().map(|it| it.uid.to_string()).collect::<Vec<_>>());
            let wanted = wanted.map(|all| all.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(found, wanted, "{scaled} {deleted} {condemned} {there:?}");
        }
    }

    #[test]
    fn a_claim_is_recognised_by_its_name() {
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": {"name": "web"}, "spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]},
        }))
        .unwrap();
        for (name, is) in [
            ("data-web-0", true),
            ("data-web-12", true),
            ("data-web", false),
            ("data-web-x", false),
            ("data-other-0", false),
        ] {
            assert_eq!(is_of(&set, name), is, "{name}");
        }
    }
}
