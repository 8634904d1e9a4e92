//! As many Pods of one template as wanted: the loop of ReplicaSets and ReplicationControllers.
//!
//! A look claims Pods, makes those that are missing or gives up those that are too many, and tells how many there are.
//! What the last look failed with is told as the condition `ReplicaFailure` until a look does not fail.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc, time::Duration};

use client::{
    Caches, Controller, Key, Plan, Triggers, Write,
    controller::{OnFailure, Request},
    events::ObjectRef,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    claim::{self, Claimed, Selects},
    conditions::{self, Condition},
    kinds::{
        Pod,
        replica_set::{ReplicaSetSpec, ReplicaSetStatus},
    },
    pods,
};

/// At most so many Pods are made or given up in one look.
const BURST: usize = 500;

/// A kind that wants a number of Pods.
pub trait Replicated: Selects {
    /// The controller's name, as Events have it.
    const CONTROLLER: &'static str;
    /// Whether the status tells how many Pods are on their way out.
    const TELLS_TERMINATING: bool;

    /// What is wanted.
    fn wants(&self) -> &ReplicaSetSpec;
    /// What is.
    fn status(&self) -> &ReplicaSetStatus;
}

/// Keeps the Pods of a kind.
pub struct Replicas<R>(PhantomData<fn() -> R>);

/// All that matters to one of these objects.
pub struct Observed<R> {
    root: Arc<R>,
    /// Its Pods, and those it might adopt.
    candidates: Vec<Arc<Pod>>,
    /// Pods of all objects of the same owner, by node: whoever gives up Pods begins where most are.
    neighbours: BTreeMap<Box<str>, usize>,
    last_failure: Option<String>,
}

// === impl Replicas ===

impl<R> Default for Replicas<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R: Replicated> Controller for Replicas<R> {
    type Root = R;
    type Observed = Observed<R>;
    const NAME: &'static str = R::CONTROLLER;

    fn triggers(&self, on: &mut Triggers<R>) {
        claim::triggers::<R, Pod>(on);
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed<R>> {
        let root = caches.read::<R>().get(root)?;
        let candidates = claim::candidates::<Pod>(root.meta(), caches);
        let own = candidates.iter().filter(|pod| pod.metadata.is_controlled_by(&root.meta().uid)).count();
        let too_many = own > usize::try_from(root.wants().replicas).unwrap_or_default();
        Some(Observed {
            neighbours: if too_many { neighbours(&*root, caches) } else { BTreeMap::new() },
            candidates,
            last_failure: caches.last_failure().map(str::to_owned),
            root,
        })
    }

    fn reconcile(&self, observed: &Observed<R>, now: Timestamp) -> Plan {
        let Observed { root, candidates, neighbours, last_failure } = observed;
        let active: Vec<_> = candidates.iter().filter(|pod| pod.is_active()).cloned().collect();
        let Claimed { objects: mut own, writes: claims } = claim::claim(&**root, &active, &[]);
        let terminating = candidates.iter().filter(|pod| {
            pod.is_terminating()
                && pod.metadata.is_controlled_by(&root.meta().uid)
                && root.selector().matches(&pod.metadata.labels)
        });
        let terminating = terminating.count();

        let wanted = usize::try_from(root.wants().replicas).unwrap_or_default();
        let about = ObjectRef::to(&**root);
        let mut plan = if root.meta().is_terminating() {
            Plan::because("it is being deleted; its Pods are the garbage collector's")
        } else if own.len() < wanted {
            let missing = wanted - own.len();
            let pod = Arc::new(root.wants().template.pod(&R::RESOURCE, root.meta()));
            let create = pods::create(pod, &root.meta().namespace, &about);
            Plan::because(format!("{missing} of {wanted} Pods are missing"))
                .then(Write::slow_start(vec![create; missing.min(BURST)]))
        } else if own.len() > wanted {
            let surplus = own.len() - wanted;
            if wanted > 0 {
                pods::rank_for_deletion(&mut own, neighbours, now);
            }
            let deletes = own.iter().take(surplus.min(BURST)).map(|pod| pods::delete(pod, &about)).collect();
            Plan::because(format!("there are {surplus} Pods too many, {wanted} are wanted"))
                .then(Write::all(deletes))
        } else {
            Plan::because(format!("there are as many Pods as wanted, {wanted}"))
        };
        if !claims.is_empty() {
            plan.why = format!("{}; Pods are adopted or released", plan.why).into();
            plan.writes.splice(0..0, claims.into_iter().map(Write::from));
        }

        let failure =
            last_failure.as_deref().filter(|_| own.len() != wanted && !root.meta().is_terminating());
        let status = status(&**root, &own, terminating, failure, now);
        if status.ready_replicas != status.available_replicas {
            let left = pods::next_available_in(&own, root.wants().min_ready_seconds, now);
            let whole = u64::try_from(root.wants().min_ready_seconds).unwrap_or_default();
            plan = plan.look_again(left.unwrap_or(Duration::from_secs(whole)));
        }
        if status == *root.status() {
            return plan;
        }
        plan.then(
            Request::status(R::RESOURCE, root.key(), to_value(&status))
                .if_same(&root.meta().uid)
                .on_failure(OnFailure::GoOn),
        )
    }
}

/// Pods of all objects of the same owner, by node.
fn neighbours<R: Replicated>(root: &R, caches: &Caches) -> BTreeMap<Box<str>, usize> {
    let Some(owner) = root.meta().controller() else { return BTreeMap::new() };
    let siblings = caches.read::<R>().controlled_by(&owner.uid);
    let pods: Vec<_> =
        siblings.iter().flat_map(|sibling| caches.read::<Pod>().controlled_by(&sibling.meta().uid)).collect();
    pods::count_by_node(&pods)
}

fn status<R: Replicated>(
    root: &R,
    own: &[Arc<Pod>],
    terminating: usize,
    failure: Option<&str>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let count = |condition: &dyn Fn(&Pod) -> bool| clamp(own.iter().filter(|pod| condition(pod)).count());
    let labels = root.wants().template.labels();
    let mut conditions = root.status().conditions.clone();
    match failure {
        None => conditions::remove(&mut conditions, "ReplicaFailure"),
        // It stays as it is while looks keep failing.
        Some(message) if conditions::find(&conditions, "ReplicaFailure").is_none() => {
            let wanted = usize::try_from(root.wants().replicas).unwrap_or_default();
            let reason = if own.len() < wanted { "FailedCreate" } else { "FailedDelete" };
            conditions::set(&mut conditions, Condition::new("ReplicaFailure", "True", reason, message, now));
        }
        Some(_) => {}
    }
    ReplicaSetStatus {
        replicas: clamp(own.len()),
        fully_labeled_replicas: count(&|pod| {
            labels.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
        }),
        ready_replicas: count(&Pod::is_ready),
        available_replicas: count(&|pod| pods::is_available(pod, root.wants().min_ready_seconds, now)),
        terminating_replicas: R::TELLS_TERMINATING.then(|| clamp(terminating)),
        observed_generation: root.meta().generation,
        conditions,
    }
}

fn clamp(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn to_value(status: &ReplicaSetStatus) -> Value {
    json!({
        "replicas": status.replicas,
        "fullyLabeledReplicas": conditions::count(status.fully_labeled_replicas),
        "readyReplicas": conditions::count(status.ready_replicas),
        "availableReplicas": conditions::count(status.available_replicas),
        "terminatingReplicas": status.terminating_replicas,
        "observedGeneration": status.observed_generation,
        "conditions": conditions::to_value(&status.conditions),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::ReplicaSet;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn set(change: &Value) -> Value {
        let mut set = json!({
            "metadata": {"namespace": "ns", "name": "web", "uid": "rs", "resourceVersion": "1", "generation": 1},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b", "full": "yes"}}, "spec": {}}},
        });
        for (part, fields) in change.as_object().unwrap() {
            for (name, value) in fields.as_object().unwrap() {
                set[part][name] = value.clone();
            }
        }
        set
    }

    fn pod(name: &str, owned: bool, label: &str, ready: bool) -> Value {
        let owners = if owned {
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}])
        } else {
            json!([])
        };
        json!({
            "metadata": {"namespace": "ns", "name": name, "uid": name, "labels": {"a": label, "full": "yes"},
                "ownerReferences": owners, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
                "lastTransitionTime": "2026-01-01T00:59:50Z"}]},
        })
    }

    fn decide(set: Value, pods: Vec<Value>, failure: Option<&str>) -> Plan {
        let root: ReplicaSet = serde_json::from_value(set).unwrap();
        let candidates = pods.into_iter().map(|pod| Arc::new(serde_json::from_value(pod).unwrap())).collect();
        let observed = Observed {
            root: Arc::new(root),
            candidates,
            neighbours: BTreeMap::new(),
            last_failure: failure.map(str::to_owned),
        };
        Replicas::<ReplicaSet>::default().reconcile(&observed, now())
    }

    /// One line a write.
    fn writes(plan: &Plan) -> Vec<String> {
        use client::controller::Verb;

        let line = |request: &Request| {
            let verb = match &request.verb {
                Verb::Create(_) => "create".to_owned(),
                Verb::Update(_) => "update".to_owned(),
                Verb::Patch(patch) => format!("patch {}", patch.document()),
                Verb::Merge(document) => format!("update {document}"),
                Verb::Delete(_) => "delete".to_owned(),
            };
            format!("{}/{} {verb}", request.key.name, request.subresource)
        };
        plan.writes
            .iter()
            .flat_map(|write| match write {
                Write::Request(request) => vec![line(request)],
                Write::Batch { requests, .. } => requests.iter().map(line).collect(),
                Write::Event { .. } => Vec::new(),
            })
            .collect()
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_too_much_is_given_up() {
        for (replicas, pods, why, expected) in [
            (2, vec![], "2 of 2 Pods are missing", vec!["/ create", "/ create"]),
            (
                1,
                vec![pod("a", true, "b", true), pod("b", true, "b", false)],
                "there are 1 Pods too many, 1 are wanted",
                vec!["b/ delete"],
            ),
            (
                0,
                vec![pod("a", true, "b", true), pod("b", true, "b", false)],
                "there are 2 Pods too many, 0 are wanted",
                vec!["a/ delete", "b/ delete"],
            ),
            (1, vec![pod("a", true, "b", true)], "there are as many Pods as wanted, 1", vec![]),
        ] {
            let plan = decide(set(&json!({"spec": {"replicas": replicas}})), pods, None);
            assert_eq!(plan.why.to_string(), why);
            let mut lines = writes(&plan);
            assert!(lines.pop().unwrap().starts_with("web/status update"), "the status is new");
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn orphans_that_match_are_adopted_and_strangers_released() {
        let pods =
            vec![pod("a", false, "b", true), pod("b", true, "other", true), pod("c", false, "other", true)];
        let plan = decide(set(&json!({"spec": {"replicas": 1}})), pods, None);
        let lines = writes(&plan);
        assert_eq!(
            lines[..3],
            [
                r#"web/ update {"metadata":{"resourceVersion":"1","uid":"rs"}}"#,
                r#"a/ patch {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web","uid":"rs"}],"uid":"a"}}"#,
                r#"b/ patch {"metadata":{"ownerReferences":[{"$patch":"delete","uid":"rs"}],"uid":"b"}}"#,
            ]
        );
        assert!(lines[3].contains(r#""replicas":1"#), "an adopted Pod counts at once: {}", lines[3]);
        let terminating = set(&json!({"metadata": {"namespace": "ns", "name": "web", "uid": "rs",
            "deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        let plan = decide(terminating, vec![pod("a", false, "b", true), pod("b", true, "other", true)], None);
        assert_eq!(writes(&plan).len(), 1, "one that goes neither adopts nor releases nor creates");
    }

    #[test]
    fn the_status_counts_what_is_labelled_ready_and_available() {
        let mut late = pod("c", true, "b", true);
        late["metadata"]["labels"] = json!({"a": "b"});
        let mut going = pod("d", true, "b", true);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let mut long = pod("a", true, "b", true);
        long["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
        let pods = vec![long, pod("b", true, "b", false), late, going];
        let plan = decide(set(&json!({"spec": {"replicas": 3, "minReadySeconds": 15}})), pods.clone(), None);
        let status = json!({"replicas": 3, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 1,
            "terminatingReplicas": 1, "observedGeneration": 1, "conditions": null});
        assert_eq!(
            writes(&plan),
            [format!("web/status update {}", json!({"metadata": {"uid": "rs"}, "status": status}))]
        );
        assert_eq!(plan.look_again, Some(Duration::from_secs(5)), "when the next one becomes available");
        let known = set(&json!({"spec": {"replicas": 3, "minReadySeconds": 15}, "status": status}));
        assert!(writes(&decide(known, pods, None)).is_empty(), "what is known is not written again");
    }

    #[test]
    fn a_failure_is_told_until_a_look_does_not_fail() {
        let full = "pods \"web-\" is forbidden: exceeded quota";
        let plan = decide(set(&json!({})), vec![], Some(full));
        let told = writes(&plan).pop().unwrap();
        assert!(
            told.contains(r#""type":"ReplicaFailure""#) && told.contains(r#""reason":"FailedCreate""#),
            "{told}"
        );
        let status = json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": full}]});
        let plan = decide(set(&json!({"status": status})), vec![], None);
        assert!(writes(&plan).pop().unwrap().contains(r#""conditions":null"#));
    }
}
