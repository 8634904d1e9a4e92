//! Ephemeral volumes: a Pod's volume that is a template of a claim gets its claim, which goes with the Pod.

use std::sync::Arc;

use client::{
    Caches, Change, Controller, Key, Kind, Owner, Plan, Triggers, Write,
    controller::{Report, Request},
    events::{Note, ObjectRef},
    resource::{PERSISTENT_VOLUME_CLAIMS, PODS},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::{PersistentVolumeClaim, Pod, pod::Source};

/// Makes the claims of ephemeral volumes.
#[derive(Debug)]
pub struct EphemeralVolumes;

/// All that matters to the ephemeral volumes of a Pod.
#[derive(Debug)]
pub struct Observed {
    pod: Arc<Pod>,
    /// Each of them: its name, its template, the name of its claim, and the claim if it is there.
    volumes: Vec<Volume>,
}

#[derive(Debug)]
struct Volume {
    name: Box<str>,
    template: Arc<str>,
    claim: String,
    there: Option<Arc<PersistentVolumeClaim>>,
}

// === impl EphemeralVolumes ===

impl Controller for EphemeralVolumes {
    type Root = Pod;
    type Observed = Observed;
    const NAME: &'static str = "ephemeral_volume";

    fn triggers(&self, on: &mut Triggers<Pod>) {
        on.changes::<Pod>(|change, _| {
            let Change::Added(pod) = change else { return Vec::new() };
            let is_ephemeral = |source: &Source| matches!(source, Source::Ephemeral(_));
            let concerned = pod.spec.volumes.iter().any(|volume| is_ephemeral(&volume.source));
            concerned.then(|| pod.key()).into_iter().collect()
        });
        // A claim that is gone while its Pod is not is made anew.
        on.changes::<PersistentVolumeClaim>(|change, _| {
            let Change::Deleted { last, .. } = change else { return Vec::new() };
            let pod = last.metadata.controller().filter(|it| PODS.is_kind(&it.api_version, &it.kind));
            pod.map(|pod| Key::new(&last.metadata.namespace, &pod.name)).into_iter().collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let pod = caches.read::<Pod>().get(root)?;
        let claims = caches.read::<PersistentVolumeClaim>();
        let volume = |it: &crate::kinds::pod::PodVolume| {
            let Source::Ephemeral(template) = &it.source else { return None };
            let claim = format!("{}-{}", root.name, it.name);
            let there = claims.get(&Key::new(&root.namespace, &claim));
            Some(Volume { name: it.name.clone(), template: Arc::clone(template), claim, there })
        };
        let volumes = pod.spec.volumes.iter().filter_map(volume).collect();
        Some(Observed { pod, volumes })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { pod, volumes } = observed;
        let about = ObjectRef::to(&**pod);
        let failed = |volume: &Volume, error: &str| {
            Note::warning("FailedBinding", format!("ephemeral volume {}: {error}", volume.name))
        };
        let mut plan = Plan::because("every ephemeral volume of the Pod has its claim");
        if pod.metadata.is_terminating() {
            return Plan::because("the Pod is on its way out");
        }
        for volume in volumes {
            match &volume.there {
                None => {
                    plan.why = format!("claim {} of the Pod is missing", volume.claim).into();
                    let error = format!("create PVC {}: {{error}}", volume.claim);
                    let report =
                        Report { about: about.clone(), done: None, failed: Some(failed(volume, &error)) };
                    plan = plan.then(create(pod, volume).reporting(report));
                }
                Some(claim) if !claim.metadata.is_controlled_by(&pod.metadata.uid) => {
                    plan.why = format!("claim {} is not the Pod's", volume.claim).into();
                    let error = format!(
                        "PVC {} was not created for pod {} (pod is not owner)",
                        claim.metadata.key(),
                        pod.metadata.key()
                    );
                    return plan.then(Write::event(about, failed(volume, &error)));
                }
                Some(_) => {}
            }
        }
        plan
    }
}

fn create(pod: &Pod, volume: &Volume) -> Request {
    let template: Value = serde_json::from_str(&volume.template).unwrap_or_default();
    let mut metadata = json!({
        "name": volume.claim,
        "namespace": pod.metadata.namespace,
        "ownerReferences": [Owner::controller_of(&PODS, &pod.metadata)],
    });
    for field in ["labels", "annotations"] {
        if let Some(given) = template.pointer(&format!("/metadata/{field}")).filter(|it| it.is_object()) {
            metadata[field] = given.clone();
        }
    }
    let claim = json!({"metadata": metadata, "spec": template["spec"]});
    Request::create(PERSISTENT_VOLUME_CLAIMS, &pod.metadata.namespace, claim)
}

#[cfg(test)]
mod tests {
    use client::{controller::Verb, testing::Filled};

    use super::*;

    fn look(claims: Vec<Value>) -> Plan {
        let pod = json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p"}, "spec": {"volumes": [
            {"name": "plain", "emptyDir": {}},
            {"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}}},
        ]}});
        let caches = Filled::new().with::<Pod>([pod]).with::<PersistentVolumeClaim>(claims).caches();
        let observed = EphemeralVolumes.observe(&Key::new("ns", "p"), &caches).unwrap();
        EphemeralVolumes.reconcile(&observed, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn an_ephemeral_volume_gets_its_claim() {
        let plan = look(vec![]);
        let Some(Write::Request(request)) = plan.writes.first() else { panic!("{plan:?}") };
        let Verb::Create(claim) = &request.verb else { panic!("{plan:?}") };
        assert_eq!(
            **claim,
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "p-v", "namespace": "ns", "labels": {"a": "b"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true, "blockOwnerDeletion": true}]},
                "spec": {"accessModes": ["ReadWriteOnce"]}})
        );
    }

    #[test]
    fn a_claim_of_somebody_else_is_told_and_left_alone() {
        let claim = |owner: &str| {
            json!({"metadata": {"namespace": "ns", "name": "p-v",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true}]}})
        };
        assert!(look(vec![claim("p")]).writes.is_empty());
        let plan = look(vec![claim("older")]);
        let Some(Write::Event { note, .. }) = plan.writes.first() else { panic!("{plan:?}") };
        assert_eq!(
            note.message,
            "ephemeral volume v: PVC ns/p-v was not created for pod ns/p (pod is not owner)"
        );
    }
}
