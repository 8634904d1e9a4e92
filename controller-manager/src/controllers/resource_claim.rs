//! ResourceClaim: a Pod that names a template of a claim gets a claim of its own; and whoever no longer uses a claim gives
//! it back.
//!
//! The Pod's half ([`PodClaims`]) makes claims and tells their names in the Pod's status; and where a Pod came to its node
//! without the scheduler it enters it as a user of its claims. The claim's half ([`ClaimUses`]) takes Pods that have ended off `status.reservedFor`; when nobody is left, the devices are free again, and the claim that
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
/// A claim has at most so many users.
const USERS_MAX: usize = 256;
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
    /// The claims it names, if it is on a node.
    named: Vec<Arc<ResourceClaim>>,
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
            let needs = |pod: &&Arc<Pod>| !pod.spec.resource_claims.is_empty();
            change.after().filter(needs).map(|pod| pod.key()).into_iter().collect()
        });
        on.owned::<ResourceClaim>();
        // A Pod on a node is entered once the claim has devices.
        on.mapped::<ResourceClaim>(|claim, caches| {
            let pods = caches.read::<Pod>().in_namespace(&claim.metadata.namespace);
            let names = |pod: &&Arc<Pod>| {
                let mut claims = pod.spec.resource_claims.iter();
                !pod.spec.node_name.is_empty()
                    && claims.any(|it| *it.resource_claim_name == *claim.metadata.name)
            };
            pods.iter().filter(names).map(|pod| pod.key()).collect()
        });
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
        let wanted: Vec<_> = pod.spec.resource_claims.iter().filter_map(|it| it.template()).collect();
        let claims = caches.read::<ResourceClaim>();
        let of_name = |name: &str| claims.get(&Key::new(&root.namespace, name));
        let named: Vec<_> = if pod.spec.node_name.is_empty() {
            // The scheduler sees to it.
            Vec::new()
        } else {
            pod.spec.resource_claims.iter().filter_map(|it| of_name(&it.resource_claim_name)).collect()
        };
        if wanted.is_empty() && named.is_empty() {
            return None;
        }
        let templates = caches.read::<ResourceClaimTemplate>();
        let template = |name: &str| Some((name.into(), templates.get(&Key::new(&root.namespace, name))?));
        let templates = wanted.into_iter().filter_map(template).collect();
        let claims = claims.controlled_by(&pod.metadata.uid);
        let of =
            |claim: Arc<ResourceClaim>| Some((claim.metadata.annotations.get(POD_CLAIM)?.to_owned(), claim));
        Some(Needs { made: claims.into_iter().filter_map(of).collect(), templates, named, pod })
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
            return reserve(plan, needs);
        }
        let object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": pod.metadata.namespace, "name": pod.metadata.name},
            "status": {"resourceClaimStatuses": told},
        });
        let patch = Patch::Apply { object: Arc::new(object), manager: MANAGER, force: true };
        plan.why = "the Pod does not know its claims yet".into();
        let tell = Request::patch(PODS, pod.key(), patch).on("status").if_same(&pod.metadata.uid);
        reserve(plan.then(tell), needs)
    }
}

/// Enters a Pod that is on a node as a user of those of its claims that have devices, where the scheduler has not.
fn reserve(mut plan: Plan, needs: &Needs) -> Plan {
    let pod = &needs.pod;
    if pod.spec.node_name.is_empty() {
        return plan;
    }
    for claim in needs.named.iter().chain(needs.made.values()) {
        let users = &claim.status.reserved_for;
        let is_user = users.iter().any(|it| it.uid == pod.metadata.uid);
        if claim.status.allocation.is_none() || is_user || users.len() >= USERS_MAX {
            continue;
        }
        plan.why = format!("the Pod is on a node and no user of claim {} yet", claim.metadata.name).into();
        let mut all: Vec<Value> = users.iter().map(to_value).collect();
        all.push(json!({"resource": "pods", "name": pod.metadata.name, "uid": pod.metadata.uid}));
        let status = Request::status(RESOURCE_CLAIMS, claim.key(), json!({ "reservedFor": all }));
        plan = plan.then(status.if_unchanged(&claim.metadata));
    }
    plan
}

fn to_value(user: &Consumer) -> Value {
    let mut value = json!({"resource": user.resource, "name": user.name, "uid": user.uid});
    if !user.api_group.is_empty() {
        value["apiGroup"] = user.api_group.as_ref().into();
    }
    value
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
            // One that is to go before it came to a node never will.
            let never_was = |pod: &Pod| pod.metadata.is_terminating() && pod.spec.node_name.is_empty();
            pod.is_some_and(|pod| !pod.is_finished() && !never_was(&pod))
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
        let ours = meta.has_finalizer(FINALIZER);
        let let_go = || protection::without_then(&RESOURCE_CLAIMS, meta, FINALIZER);
        let write = |status: Value| Request::status(RESOURCE_CLAIMS, claim.key(), status).if_unchanged(meta);
        if users.len() < before {
            let plan = Plan::because(format!("{} Pods no longer use the claim", before - users.len()));
            if !users.is_empty() {
                let left: Vec<Value> = users.iter().map(to_value).collect();
                return plan.then(write(json!({"reservedFor": left})));
            }
            if !ours {
                return plan.then(write(json!({"reservedFor": null})));
            }
            // What the scheduler has allocated is free again with its last user.
            let free = json!({"reservedFor": null, "allocation": null, "devices": null});
            return plan.then(write(free)).then(let_go());
        }
        if ours && meta.is_terminating() && users.is_empty() {
            let mut plan = Plan::because("the claim is to go, and nobody uses it");
            if allocated {
                plan = plan.then(write(json!({"allocation": null, "devices": null})));
            }
            return plan.then(let_go());
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
        let going = |status: Value| {
            let mut claim = finalized(status);
            claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
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
            // The scheduler puts the finalizer on before it says which devices.
            (
                "about to be allocated",
                "Running",
                finalized(json!({})),
                "the claim is used, or nobody has to give it back",
            ),
            ("free", "Running", going(json!({"allocation": {}})), "the claim is to go, and nobody uses it"),
            ("done", "Succeeded", claim(&json!({})), "the Pod that the claim was made for has ended"),
        ] {
            let caches =
                Filled::new().with::<Pod>([pod(phase, json!([]))]).with::<ResourceClaim>([claim]).caches();
            let uses = ClaimUses.observe(&Key::new("ns", "p-gpu-1"), &caches).unwrap();
            assert_eq!(ClaimUses.reconcile(&uses, Timestamp::UNIX_EPOCH).why.to_string(), why, "{name}");
        }
    }

    #[test]
    fn only_what_the_scheduler_allocated_is_freed_with_its_last_user() {
        let reserved = json!([{"resource": "pods", "name": "p", "uid": "p"}]);
        for (finalizers, expected) in [
            (
                json!([FINALIZER]),
                vec![json!({"reservedFor": null, "allocation": null, "devices": null}), json!([])],
            ),
            (json!([]), vec![json!({"reservedFor": null})]),
        ] {
            let mut claim = claim(&json!({"status": {"allocation": {}, "reservedFor": reserved}}));
            claim["metadata"]["finalizers"] = finalizers.clone();
            let caches =
                Filled::new().with::<Pod>([pod("Failed", json!([]))]).with::<ResourceClaim>([claim]).caches();
            let uses = ClaimUses.observe(&Key::new("ns", "p-gpu-1"), &caches).unwrap();
            let plan = ClaimUses.reconcile(&uses, Timestamp::UNIX_EPOCH);
            let did: Vec<Value> = plan
                .writes
                .iter()
                .map(|write| match write {
                    Write::Request(request) => match &request.verb {
                        Verb::Merge(document) if request.subresource == "status" => {
                            document["status"].clone()
                        }
                        Verb::Merge(document) => document["metadata"]["finalizers"].clone(),
                        other => panic!("{other:?}"),
                    },
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(did, expected, "{finalizers}");
        }
    }

    #[test]
    fn a_pod_on_a_node_is_entered_as_a_user_of_what_has_devices() {
        let look = |node: &str, status: Value| {
            let mut pod = pod("Pending", json!([]));
            pod["spec"] =
                json!({"nodeName": node, "resourceClaims": [{"name": "own", "resourceClaimName": "x"}]});
            let claim = json!({"metadata": {"namespace": "ns", "name": "x", "uid": "x", "resourceVersion": "3"}, "status": status});
            let caches = Filled::new()
                .with::<Pod>([pod])
                .with::<ResourceClaim>([claim])
                .with::<ResourceClaimTemplate>([])
                .caches();
            let needs = PodClaims.observe(&Key::new("ns", "p"), &caches)?;
            let plan = PodClaims.reconcile(&needs, Timestamp::UNIX_EPOCH);
            plan.writes.first().map(|write| match write {
                Write::Request(request) => match &request.verb {
                    Verb::Merge(document) => document["status"]["reservedFor"].clone(),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            })
        };
        let me = || json!({"resource": "pods", "name": "p", "uid": "p"});
        let other = || json!({"resource": "pods", "name": "o", "uid": "o"});
        assert_eq!(
            look("n", json!({"allocation": {}, "reservedFor": [other()]})),
            Some(json!([other(), me()]))
        );
        assert_eq!(look("n", json!({"allocation": {}, "reservedFor": [me()]})), None, "it is");
        assert_eq!(look("n", json!({})), None, "there are no devices yet");
        assert_eq!(look("", json!({"allocation": {}})), None, "the scheduler sees to it");
    }
}
