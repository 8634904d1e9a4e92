//! ResourceClaim: a Pod that names a template of a claim gets a claim of its own; and whoever no longer uses a claim gives
//! it back.
//!
//! The Pod's half ([`PodClaims`]) makes claims and tells their names in the Pod's status. The claim's half ([`ClaimUses`])
//! takes Pods that have ended off `status.reservedFor`; when nobody is left, the devices are free again, and the claim that
//! was made for one Pod goes.

use std::{collections::BTreeMap, sync::Arc};

use client::{
    Caches, Controller, Key, Kind, Owner, Plan, Triggers,
    controller::{Manager, Options as Workers, Patch, Report, Request},
    events::{Note, ObjectRef},
    resource::{PODS, RESOURCE_CLAIMS},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    kinds::{Pod, ResourceClaim, ResourceClaimTemplate, resource_claim::Consumer},
    protection,
};

/// Which of a Pod's claims a claim was made for.
const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// Keeps a claim while it has devices.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// Who owns the part of a Pod's status that names its claims.
const MANAGER: &str = "ResourceClaimController";

/// Makes the claims of Pods.
#[derive(Debug)]
pub struct PodClaims;

/// All that matters to the claims of a Pod.
#[derive(Debug)]
pub struct Needs {
    pod: Arc<Pod>,
    /// The claims that were made for it, by which of its claims they are.
    made: BTreeMap<String, Arc<ResourceClaim>>,
    /// The templates it names, by name.
    templates: BTreeMap<Box<str>, Arc<ResourceClaimTemplate>>,
}

/// Gives claims back.
#[derive(Debug)]
pub struct ClaimUses;

/// All that matters to a claim.
#[derive(Debug)]
pub struct Uses {
    claim: Arc<ResourceClaim>,
    /// Those who still use it.
    users: Vec<Consumer>,
    /// It was made for one Pod, and that has ended or is gone.
    is_done: bool,
    /// Whether the Pods are known up to the claim's last change.
    certain: bool,
}

/// Starts both halves.
pub(super) fn start(manager: &Manager, workers: Workers) {
    drop(manager.start(PodClaims, workers.clone()));
    drop(manager.start(ClaimUses, workers));
}

// === impl PodClaims ===

impl Controller for PodClaims {
    type Root = Pod;
    type Observed = Needs;
    const NAME: &'static str = "resource_claim";

    fn triggers(&self, on: &mut Triggers<Pod>) {
        on.changes::<Pod>(|change, _| {
            let needs = |pod: &&Arc<Pod>| pod.spec.resource_claims.iter().any(|it| it.template().is_some());
            change.after().filter(needs).map(|pod| pod.key()).into_iter().collect()
        });
        on.owned::<ResourceClaim>();
        // Somebody may wait for it.
        on.mapped::<ResourceClaimTemplate>(|template, caches| {
            let pods = caches.read::<Pod>().in_namespace(&template.metadata.namespace);
            let names = |pod: &&Arc<Pod>| {
                pod.spec.resource_claims.iter().any(|it| it.template() == Some(&template.metadata.name))
            };
            pods.iter().filter(names).map(|pod| pod.key()).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Needs> {
        let pod = caches.read::<Pod>().get(root)?;
        let named: Vec<_> = pod.spec.resource_claims.iter().filter_map(|it| it.template()).collect();
        if named.is_empty() {
            return None;
        }
        let templates = caches.read::<ResourceClaimTemplate>();
        let template = |name: &str| Some((name.into(), templates.get(&Key::new(&root.namespace, name))?));
        let templates = named.into_iter().filter_map(template).collect();
        let claims = caches.read::<ResourceClaim>().controlled_by(&pod.metadata.uid);
        let of =
            |claim: Arc<ResourceClaim>| Some((claim.metadata.annotations.get(POD_CLAIM)?.to_owned(), claim));
        Some(Needs { made: claims.into_iter().filter_map(of).collect(), templates, pod })
    }

    fn reconcile(&self, needs: &Needs, _now: Timestamp) -> Plan {
        let pod = &*needs.pod;
        if pod.metadata.is_terminating() || pod.is_finished() {
            return Plan::because("the Pod has ended or is on its way out");
        }
        let mut plan = Plan::because("every claim of the Pod is there");
        let mut told = Vec::new();
        for wanted in &pod.spec.resource_claims {
            let Some(template) = wanted.template() else { continue };
            if let Some(claim) = needs.made.get(&*wanted.name) {
                told.push(json!({"name": wanted.name, "resourceClaimName": claim.metadata.name}));
                continue;
            }
            let about = ObjectRef::to(pod);
            let failed = |error: &str| {
                let message = format!("PodResourceClaim {}: {error}", wanted.name);
                Note::warning("FailedResourceClaimCreation", message)
            };
            let Some(template) = needs.templates.get(template) else {
                let error = format!("resourceclaimtemplate.resource.k8s.io {template:?} not found");
                let error = format!("resource claim template {template:?}: {error}");
                plan.why = format!("a claim of the Pod has no template: {error}").into();
                plan = plan.then(client::Write::event(about, failed(&error)));
                continue;
            };
            plan.why = format!("claim {} of the Pod is missing", wanted.name).into();
            let report = Report { about, done: None, failed: Some(failed("{error}")) };
            plan = plan.then(create(pod, &wanted.name, template).reporting(report));
        }
        let known: Vec<Value> = pod
            .status
            .resource_claim_statuses
            .iter()
            .map(|it| json!({"name": it.name, "resourceClaimName": it.resource_claim_name}))
            .collect();
        if told.is_empty() || told.iter().all(|it| known.contains(it)) {
            return plan;
        }
        let object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": pod.metadata.namespace, "name": pod.metadata.name},
            "status": {"resourceClaimStatuses": told},
        });
        let patch = Patch::Apply { object: Arc::new(object), manager: MANAGER, force: true };
        plan.why = "the Pod does not know its claims yet".into();
        plan.then(Request::patch(PODS, pod.key(), patch).on("status").if_same(&pod.metadata.uid))
    }
}

fn create(pod: &Pod, name: &str, template: &ResourceClaimTemplate) -> Request {
    let template = template.claim();
    let mut metadata = json!({
        "generateName": format!("{}-{name}-", pod.metadata.name),
        "namespace": pod.metadata.namespace,
        "ownerReferences": [Owner::controller_of(&PODS, &pod.metadata)],
    });
    for field in ["labels", "annotations"] {
        if let Some(given) = template.pointer(&format!("/metadata/{field}")).filter(|it| it.is_object()) {
            metadata[field] = given.clone();
        }
    }
    metadata["annotations"][POD_CLAIM] = name.into();
    let claim = json!({"metadata": metadata, "spec": template["spec"]});
    Request::create(RESOURCE_CLAIMS, &pod.metadata.namespace, claim)
}

// === impl ClaimUses ===

impl Controller for ClaimUses {
    type Root = ResourceClaim;
    type Observed = Uses;
    const NAME: &'static str = "resource_claim";

    fn triggers(&self, on: &mut Triggers<ResourceClaim>) {
        on.root();
        on.mapped::<Pod>(|pod, _| {
            let namespace = &pod.metadata.namespace;
            let named = pod.spec.resource_claims.iter().filter(|it| !it.resource_claim_name.is_empty());
            let named = named.map(|it| &it.resource_claim_name);
            let made = pod.status.resource_claim_statuses.iter().map(|it| &it.resource_claim_name);
            let extended = Some(&pod.status.extended_resource_claim).filter(|name| !name.is_empty());
            named.chain(made).chain(extended).map(|name| Key::new(namespace, name)).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Uses> {
        let claim = caches.read::<ResourceClaim>().get(root)?;
        let pods = caches.read::<Pod>();
        let at_work = |name: &str, uid: &str| {
            let pod = pods.get_same(&Key::new(&root.namespace, name), uid);
            pod.is_some_and(|pod| !pod.is_finished())
        };
        let uses = |it: &&Consumer| {
            // Only Pods are known here.
            !it.api_group.is_empty() || &*it.resource != "pods" || at_work(&it.name, &it.uid)
        };
        let users = claim.status.reserved_for.iter().filter(uses).cloned().collect();
        let maker = claim.metadata.controller().filter(|it| PODS.is_kind(&it.api_version, &it.kind));
        let is_done = maker.is_some_and(|it| !at_work(&it.name, &it.uid));
        let certain = pods.revision() >= claim.metadata.revision;
        Some(Uses { users, is_done, certain, claim })
    }

    fn reconcile(&self, uses: &Uses, _now: Timestamp) -> Plan {
        let Uses { claim, users, is_done, certain } = uses;
        let meta = &claim.metadata;
        let (before, allocated) = (claim.status.reserved_for.len(), claim.status.allocation.is_some());
        if !certain && (users.len() < before || *is_done) {
            return Plan::because("a Pod that uses the claim may be new")
                .look_again(std::time::Duration::from_secs(1));
        }
        if users.len() < before {
            let left: Vec<Value> = users
                .iter()
                .map(|it| {
                    let mut value = json!({"resource": it.resource, "name": it.name, "uid": it.uid});
                    if !it.api_group.is_empty() {
                        value["apiGroup"] = it.api_group.as_ref().into();
                    }
                    value
                })
                .collect();
            let status = if left.is_empty() {
                json!({"reservedFor": null, "allocation": null, "devices": null})
            } else {
                json!({"reservedFor": left})
            };
            return Plan::because(format!("{} Pods no longer use the claim", before - users.len()))
                .then(Request::status(RESOURCE_CLAIMS, claim.key(), status).if_unchanged(meta));
        }
        if !allocated && users.is_empty() && meta.has_finalizer(FINALIZER) {
            return Plan::because("the claim has no devices to be kept for").then(protection::without(
                &RESOURCE_CLAIMS,
                meta,
                FINALIZER,
            ));
        }
        if *is_done && users.is_empty() && !meta.is_terminating() {
            return Plan::because("the Pod that the claim was made for has ended")
                .then(Request::delete(RESOURCE_CLAIMS, meta));
        }
        Plan::because("the claim is used, or nobody has to give it back")
    }
}

#[cfg(test)]
mod tests {
    use client::{Write, controller::Verb, testing::Filled};

    use super::*;

    fn pod(phase: &str, status: Value) -> Value {
        json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p"},
            "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}, {"name": "own", "resourceClaimName": "x"}]},
            "status": {"phase": phase, "resourceClaimStatuses": status}})
    }

    fn claim(change: &Value) -> Value {
        let owners =
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
        let mut claim = json!({"metadata": {"namespace": "ns", "name": "p-gpu-1", "uid": "c", "ownerReferences": owners, "annotations": {POD_CLAIM: "gpu"}}});
        for (field, value) in change.as_object().unwrap() {
            claim[field] = value.clone();
        }
        claim
    }

    fn template() -> Value {
        json!({"metadata": {"namespace": "ns", "name": "t"}, "spec": {"metadata": {"labels": {"a": "b"}}, "spec": {"devices": {}}}})
    }

    fn look(pod: Value, claims: Vec<Value>, templates: Vec<Value>) -> Vec<Value> {
        let caches = Filled::new()
            .with::<Pod>([pod])
            .with::<ResourceClaim>(claims)
            .with::<ResourceClaimTemplate>(templates)
            .caches();
        let needs = PodClaims.observe(&Key::new("ns", "p"), &caches).unwrap();
        let plan = PodClaims.reconcile(&needs, Timestamp::UNIX_EPOCH);
        let line = |write: &Write| match write {
            Write::Request(request) => match &request.verb {
                Verb::Create(object) => (**object).clone(),
                Verb::Patch(patch) => patch.document()["status"].clone(),
                other => panic!("{other:?}"),
            },
            Write::Event { note, .. } => json!(note.message),
            Write::Batch { .. } => panic!("{write:?}"),
        };
        plan.writes.iter().map(line).collect()
    }

    #[test]
    fn a_pod_gets_a_claim_of_the_template_it_names() {
        let made = look(pod("Pending", json!([])), vec![], vec![template()]);
        assert_eq!(made[0]["metadata"]["generateName"], "p-gpu-");
        assert_eq!(made[0]["metadata"]["annotations"], json!({POD_CLAIM: "gpu"}));
        assert_eq!(
            (&made[0]["metadata"]["labels"], &made[0]["spec"]),
            (&json!({"a": "b"}), &json!({"devices": {}}))
        );
        let told = json!([{"name": "gpu", "resourceClaimName": "p-gpu-1"}]);
        let there = || vec![claim(&json!({}))];
        assert_eq!(
            look(pod("Pending", json!([])), there(), vec![]),
            [json!({"resourceClaimStatuses": told})]
        );
        assert!(look(pod("Pending", told), there(), vec![]).is_empty());
        assert_eq!(
            look(pod("Pending", json!([])), vec![], vec![]),
            [json!(
                "PodResourceClaim gpu: resource claim template \"t\": resourceclaimtemplate.resource.k8s.io \"t\" not found"
            )]
        );
        assert!(look(pod("Succeeded", json!([])), vec![], vec![template()]).is_empty());
    }

    #[test]
    fn who_has_ended_gives_a_claim_back() {
        let reserved = || json!([{"resource": "pods", "name": "p", "uid": "p"}]);
        let finalized = |status: Value| {
            let mut claim = claim(&json!({"status": status}));
            claim["metadata"]["finalizers"] = json!([FINALIZER]);
            claim
        };
        for (name, phase, claim, why) in [
            (
                "used",
                "Running",
                claim(&json!({"status": {"allocation": {}, "reservedFor": reserved()}})),
                "the claim is used, or nobody has to give it back",
            ),
            (
                "ended",
                "Succeeded",
                claim(&json!({"status": {"allocation": {}, "reservedFor": reserved()}})),
                "1 Pods no longer use the claim",
            ),
            ("free", "Succeeded", finalized(json!({})), "the claim has no devices to be kept for"),
            ("done", "Succeeded", claim(&json!({})), "the Pod that the claim was made for has ended"),
        ] {
            let caches =
                Filled::new().with::<Pod>([pod(phase, json!([]))]).with::<ResourceClaim>([claim]).caches();
            let uses = ClaimUses.observe(&Key::new("ns", "p-gpu-1"), &caches).unwrap();
            assert_eq!(ClaimUses.reconcile(&uses, Timestamp::UNIX_EPOCH).why.to_string(), why, "{name}");
        }
    }
}
