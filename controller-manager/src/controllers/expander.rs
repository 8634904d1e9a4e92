//! Expander: says who makes a volume larger whose claim asks for more than it has.
//!
//! None of the volumes that Kubernetes itself still knows can be made larger by it: those of CSI drivers are by their
//! resizer, those that a driver has taken over by that one, whose name is put on the claim. So nothing is made larger
//! here, but people are told whom they wait for.

use std::{sync::Arc, time::Duration};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers, Write,
    controller::{Patch, Request},
    events::{Note, ObjectRef},
    resource::PERSISTENT_VOLUME_CLAIMS,
};
use jiff::Timestamp;
use serde_json::json;

use crate::kinds::{PersistentVolume, PersistentVolumeClaim};

/// Who makes the volume of a claim larger.
const RESIZER: &str = "volume.kubernetes.io/storage-resizer";
/// How large a volume was before it was made larger, until its node has seen that.
const BEFORE: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";
/// How long to wait for news of volumes.
const NEWS: Duration = Duration::from_secs(1);

/// Looks after claims that ask for more than they have.
#[derive(Debug)]
pub struct Expander;

/// All that matters to the size of a claim's volume.
#[derive(Debug)]
pub struct Observed {
    claim: Arc<PersistentVolumeClaim>,
    /// Its volume, if that is for it.
    volume: Option<Arc<PersistentVolume>>,
}

impl Controller for Expander {
    type Root = PersistentVolumeClaim;
    type Observed = Observed;
    const NAME: &'static str = "volume_expand";

    fn triggers(&self, on: &mut Triggers<PersistentVolumeClaim>) {
        // Only a change of the sizes: of others people need not be told again.
        on.changes::<PersistentVolumeClaim>(|change, _| {
            let claim = change.object();
            let grows = match change {
                Change::Added(_) => true,
                Change::Modified { old, new } => {
                    let capacity = |claim: &PersistentVolumeClaim| claim.status.capacity.storage.clone();
                    new.size() > old.size() || capacity(new) > capacity(old)
                }
                Change::Deleted { .. } => false,
            };
            if grows && &*claim.status.phase == "Bound" { vec![claim.key()] } else { Vec::new() }
        });
        on.reads::<PersistentVolume>();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let claim = caches.read::<PersistentVolumeClaim>().get(root)?;
        let volume = caches.read::<PersistentVolume>().get(&Key::cluster(&claim.spec.volume_name));
        let volume = volume.filter(|volume| {
            let reference = volume.spec.claim_ref.as_ref();
            reference.is_some_and(|it| *it.namespace == *root.namespace && it.uid == claim.metadata.uid)
        });
        Some(Observed { claim, volume })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { claim, volume } = observed;
        let Some(volume) = volume else {
            return Plan::because("the volume of the claim is not known yet").look_again(NEWS);
        };
        let asks_for_more = claim.size() > claim.status.capacity.storage.as_ref();
        if !asks_for_more && volume.metadata.annotations.get(BEFORE).is_none() {
            return Plan::because("the claim has all it asks for");
        }
        let about = ObjectRef::to(&**claim);
        let told = |message: String| Write::event(about, Note::normal("ExternalExpanding", message));
        let Some((plugin, driver)) = volume.spec.migrated() else {
            return Plan::because("whoever made the volume has to make it larger")
                .then(told("waiting for an external controller to expand this PVC".to_owned()));
        };
        let message =
            format!("CSI migration enabled for {plugin}; waiting for external resizer to expand the pvc");
        let plan = Plan::because(format!("{driver} has to make the volume larger")).then(told(message));
        if claim.metadata.annotations.get(RESIZER) == Some(driver) {
            return plan;
        }
        let resizer = Patch::merge(json!({"metadata": {"annotations": {RESIZER: driver}}}));
        let request = Request::patch(PERSISTENT_VOLUME_CLAIMS, claim.key(), resizer).on("status");
        plan.then(request.if_same(&claim.metadata.uid))
    }
}

#[cfg(test)]
mod tests {
    use client::testing::Filled;
    use serde_json::Value;

    use super::*;

    #[test]
    fn people_are_told_whom_a_larger_volume_waits_for() {
        let waiting = "waiting for an external controller to expand this PVC";
        let migrated =
            "CSI migration enabled for kubernetes.io/aws-ebs; waiting for external resizer to expand the pvc";
        for (name, asks, has, source, annotations, expected) in [
            ("enough", "1Gi", "1Gi", json!({"csi": {"driver": "d"}}), json!({}), vec![]),
            ("the same in other words", "1024Mi", "1Gi", json!({"csi": {"driver": "d"}}), json!({}), vec![]),
            ("more", "2Gi", "1Gi", json!({"csi": {"driver": "d"}}), json!({}), vec![waiting]),
            ("a directory", "2Gi", "1Gi", json!({"hostPath": {"path": "/x"}}), json!({}), vec![waiting]),
            (
                "of old",
                "2Gi",
                "1Gi",
                json!({"awsElasticBlockStore": {"volumeID": "v"}}),
                json!({}),
                vec![migrated, "ebs.csi.aws.com"],
            ),
            (
                "of old, told",
                "2Gi",
                "1Gi",
                json!({"awsElasticBlockStore": {"volumeID": "v"}}),
                json!({RESIZER: "ebs.csi.aws.com"}),
                vec![migrated],
            ),
        ] {
            let claim = json!({"metadata": {"namespace": "ns", "name": "c", "uid": "c", "annotations": annotations},
                "spec": {"volumeName": "v", "resources": {"requests": {"storage": asks}}},
                "status": {"phase": "Bound", "capacity": {"storage": has}}});
            let mut spec = source.clone();
            spec["claimRef"] = json!({"namespace": "ns", "name": "c", "uid": "c"});
            let volume = json!({"metadata": {"name": "v"}, "spec": spec});
            let caches = Filled::new()
                .with::<PersistentVolumeClaim>([claim])
                .with::<PersistentVolume>([volume])
                .caches();
            let observed = Expander.observe(&Key::new("ns", "c"), &caches).unwrap();
            let plan = Expander.reconcile(&observed, Timestamp::UNIX_EPOCH);
            let did: Vec<String> = plan
                .writes
                .iter()
                .map(|write| match write {
                    Write::Event { note, .. } => note.message.to_string(),
                    Write::Request(request) => {
                        assert_eq!(request.subresource, "status");
                        let client::controller::Verb::Patch(patch) = &request.verb else {
                            panic!("{request:?}")
                        };
                        let resizer: &Value = &patch.document()["metadata"]["annotations"][RESIZER];
                        resizer.as_str().unwrap().to_owned()
                    }
                    Write::Batch { .. } => panic!("{write:?}"),
                })
                .collect();
            assert_eq!(did, expected, "{name}");
        }
    }
}
