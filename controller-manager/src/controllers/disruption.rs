//! Disruption: how many Pods of a PodDisruptionBudget may be evicted now.
//!
//! The API server grants evictions out of `status.disruptionsAllowed` and notes the Pods there; this controller counts anew
//! whenever a Pod or the budget changes. It writes only over the status it saw, so that no eviction granted meanwhile is
//! forgotten. How large somebody is whose kind is not known here is [asked](scales); a Pod that was to be disrupted and is
//! not is [no longer said](stale) to be; and people are told where [several budgets](overlap) select one Pod.

mod overlap;
mod scales;
mod stale;

use std::{collections::BTreeMap, sync::Arc};

use client::{
    Caches, Controller, Key, Kind, Owner, Plan, Triggers, Write,
    controller::{Manager, Options as Workers, Request},
    events::{Note, ObjectRef},
    meta::time,
    resource::{self, POD_DISRUPTION_BUDGETS},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub use overlap::Overlaps;
pub use stale::StaleDisruptions;

use self::scales::Scales;
use crate::{
    conditions::{self, Condition},
    int_or_percent::IntOrPercent,
    inventory::Inventory,
    kinds::{
        Deployment, Pod, PodDisruptionBudget, ReplicaSet, ReplicationController, StatefulSet,
        pod_disruption_budget::PodDisruptionBudgetStatus,
    },
};

/// A Pod whose eviction was granted is believed to go for so long.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);
/// The condition that tells whether Pods may be evicted.
const ALLOWED: &str = "DisruptionAllowed";

/// Keeps PodDisruptionBudgets.
#[derive(Debug, Default)]
pub struct Disruption {
    scales: Scales,
}

/// All that matters to a PodDisruptionBudget.
#[derive(Debug)]
pub struct Observed {
    root: Arc<PodDisruptionBudget>,
    pods: Vec<Arc<Pod>>,
    /// `None` if nobody needs it, or it is not known yet.
    scale: Option<Result<Scale, String>>,
}

/// How many Pods there shall be, by those who manage them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scale {
    pods: i32,
    /// Some Pods are managed by nobody.
    unmanaged: bool,
}

/// Who manages a Pod in the end.
enum Manages {
    /// Somebody with this uid who shall have so many Pods.
    Somebody(Box<str>, i32),
    Nobody,
    Failed(String),
    /// It was asked for.
    Asked,
}

/// Starts the controller.
pub(super) fn start(manager: &Manager, workers: Workers, inventory: &Inventory) {
    let disruption = Disruption::default();
    let scales = disruption.scales.clone();
    let api = workers.api.clone().unwrap_or_else(|| manager.api.clone());
    let inbox = manager.start(disruption, workers.clone());
    scales.start(manager, api, inventory, inbox);
    drop(manager.start(StaleDisruptions, workers.clone()));
    drop(manager.start(Overlaps, workers));
}

impl Controller for Disruption {
    type Root = PodDisruptionBudget;
    type Observed = Observed;
    const NAME: &'static str = "controllermanager";

    fn triggers(&self, on: &mut Triggers<PodDisruptionBudget>) {
        on.root().mapped::<Pod>(|pod, caches| {
            let budgets = caches.read::<PodDisruptionBudget>().in_namespace(&pod.metadata.namespace);
            let selects = |budget: &&Arc<PodDisruptionBudget>| {
                budget.spec.selector.selector.matches(&pod.metadata.labels)
            };
            budgets.iter().filter(selects).map(|budget| budget.key()).collect()
        });
        on.reads::<ReplicaSet>()
            .reads::<Deployment>()
            .reads::<StatefulSet>()
            .reads::<ReplicationController>();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let Some(budget) = caches.read::<PodDisruptionBudget>().get(root) else {
            self.scales.forget(root);
            return None;
        };
        let pods = caches.read::<Pod>().select(&budget.metadata.namespace, &budget.spec.selector.selector);
        let scale = if needs_scale(&budget) {
            scale(&pods, |owner| self.manages(root, owner, caches))
        } else {
            Some(Ok(Scale::default()))
        };
        Some(Observed { root: budget, pods, scale })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let Observed { root, pods, scale } = observed;
        let Some(scale) = scale else {
            return Plan::because("it is asked how many Pods there shall be");
        };
        let about = ObjectRef::to(&**root);
        let mut plan = Plan::because("it is counted anew how many Pods may go");
        if pods.is_empty() {
            plan = plan.then(Write::event(about.clone(), Note::normal("NoPods", "No matching pods found")));
        }
        let (expected, desired, unmanaged) = match expectation(root, pods, scale.as_ref()) {
            Ok(found) => found,
            Err(error) => {
                let message = format!("Failed to calculate the number of expected pods: {error}");
                let note = Note::warning("CalculateExpectedPodCountFailed", message);
                let mut status = root.status.clone();
                status.disruptions_allowed = 0;
                let generation = status.observed_generation;
                tell(&mut status.conditions, "False", "SyncFailed", error, generation, now);
                plan.why = "nobody knows how many Pods there shall be: none may go".into();
                return write(plan.then(Write::event(about, note)), root, &status);
            }
        };
        if unmanaged {
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
                go_selector(&root.spec.selector.to_value())
            );
            plan = plan.then(Write::event(about, Note::warning("UnmanagedPods", message)));
        }

        let mut disrupted = BTreeMap::new();
        for pod in pods.iter().filter(|pod| !pod.metadata.is_terminating()) {
            let Some(since) = root.status.disrupted_pods.get(&*pod.metadata.name).copied() else { continue };
            let left = DELETION_TIMEOUT - now.duration_since(since);
            if left.is_negative() {
                let namespace = &root.metadata.namespace;
                let message =
                    format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't");
                plan = plan.then(Write::event(ObjectRef::to(&**pod), Note::warning("NotDeleted", message)));
            } else {
                plan = plan.look_again(std::time::Duration::try_from(left).unwrap_or_default());
                disrupted.insert(pod.metadata.name.as_ref().to_owned(), since);
            }
        }
        let healthy = |pod: &&Arc<Pod>| {
            !pod.metadata.is_terminating() && !disrupted.contains_key(&*pod.metadata.name) && pod.is_ready()
        };
        let healthy = i32::try_from(pods.iter().filter(healthy).count()).unwrap_or(i32::MAX);

        // A budget that has seen no Pods yet allows nothing: it may just not know them.
        let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
        let mut status = PodDisruptionBudgetStatus {
            observed_generation: root.metadata.generation,
            disrupted_pods: disrupted,
            disruptions_allowed: allowed,
            current_healthy: healthy,
            desired_healthy: desired,
            expected_pods: expected,
            conditions: root.status.conditions.clone(),
        };
        let (answer, reason) =
            if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        tell(&mut status.conditions, answer, reason, "", root.metadata.generation, now);
        plan.why =
            format!("{healthy} of {expected} Pods are healthy, {desired} shall be: {allowed} may go").into();
        write(plan, root, &status)
    }
}

/// How many Pods there shall be, how many of them healthy, and whether some are managed by nobody.
fn expectation<'a>(
    root: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    scale: Result<&'a Scale, &'a String>,
) -> Result<(i32, i32, bool), &'a str> {
    match (root.spec.max_unavailable, root.spec.min_available) {
        (Some(max), _) => {
            let Scale { pods: expected, unmanaged } = scale.map_err(String::as_str)?;
            Ok((*expected, (expected - max.of_rounded_up(*expected)).max(0), *unmanaged))
        }
        (None, Some(IntOrPercent::Int(min))) => {
            Ok((i32::try_from(pods.len()).unwrap_or(i32::MAX), min, false))
        }
        (None, Some(min)) => {
            let Scale { pods: expected, unmanaged } = scale.map_err(String::as_str)?;
            Ok((*expected, min.of_rounded_up(*expected), *unmanaged))
        }
        (None, None) => Ok((0, 0, false)),
    }
}

/// Whether it matters for a budget how many Pods there shall be.
fn needs_scale(root: &PodDisruptionBudget) -> bool {
    root.spec.max_unavailable.is_some() || matches!(root.spec.min_available, Some(IntOrPercent::Percent(_)))
}

/// Adds up the sizes of all that manage these Pods; `None` if one of them is asked for.
fn scale(pods: &[Arc<Pod>], manages: impl Fn(&Owner) -> Manages) -> Option<Result<Scale, String>> {
    let (mut unmanaged, mut asked) = (false, false);
    let mut sizes = BTreeMap::<Box<str>, i32>::new();
    for pod in pods {
        let Some(owner) = pod.metadata.controller() else {
            unmanaged = true;
            continue;
        };
        if sizes.contains_key(&owner.uid) {
            continue;
        }
        match manages(owner) {
            Manages::Somebody(uid, size) => drop(sizes.insert(uid, size)),
            Manages::Nobody => {
                return Some(Err(format!("found no controllers for pod \"{}\"", pod.metadata.name)));
            }
            Manages::Failed(error) => return Some(Err(error)),
            Manages::Asked => asked = true,
        }
    }
    (!asked).then(|| Ok(Scale { pods: sizes.values().sum(), unmanaged }))
}

impl Disruption {
    /// Who manages a Pod: somebody of a kind that is known here, or else whoever the server says.
    fn manages(&self, root: &Key, owner: &Owner, caches: &Caches) -> Manages {
        if let Some((uid, size)) = size_of(&root.namespace, owner, caches) {
            return Manages::Somebody(uid, size);
        }
        match self.scales.take(root, (Arc::clone(&root.namespace), owner.clone())) {
            Some(Ok(Some((uid, size)))) => Manages::Somebody(uid, size),
            Some(Ok(None)) => Manages::Nobody,
            Some(Err(error)) => Manages::Failed(error),
            None => Manages::Asked,
        }
    }
}

/// Who manages a Pod in the end, and how many Pods that shall have.
fn size_of(namespace: &str, owner: &Owner, caches: &Caches) -> Option<(Box<str>, i32)> {
    let key = Key::new(namespace, &owner.name);
    let is = |resource: &client::Resource| resource.is_kind(&owner.api_version, &owner.kind);
    if is(&resource::REPLICA_SETS) {
        let set = caches.read::<ReplicaSet>().get_same(&key, &owner.uid)?;
        let Some(owner) = set.metadata.controller().filter(|owner| &*owner.kind == "Deployment") else {
            return Some((set.metadata.uid.clone(), set.spec.replicas));
        };
        let root = caches.read::<Deployment>().get_same(&Key::new(namespace, &owner.name), &owner.uid)?;
        return Some((root.metadata.uid.clone(), root.spec.replicas));
    }
    if is(&resource::STATEFUL_SETS) {
        let set = caches.read::<StatefulSet>().get_same(&key, &owner.uid)?;
        return Some((set.metadata.uid.clone(), set.spec.replicas));
    }
    if is(&resource::REPLICATION_CONTROLLERS) {
        let controller = caches.read::<ReplicationController>().get_same(&key, &owner.uid)?;
        return Some((controller.metadata.uid.clone(), controller.spec.replicas));
    }
    None
}

/// Sets the condition in its place; its transition time stays if its status does.
fn tell(
    conditions: &mut Vec<Condition>,
    status: &'static str,
    reason: &'static str,
    message: &str,
    generation: i64,
    now: Timestamp,
) {
    let mut new = Condition {
        observed_generation: generation,
        ..Condition::new(ALLOWED, status, reason, message, now)
    };
    match conditions.iter_mut().find(|old| old.r#type == ALLOWED) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time;
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

fn write(plan: Plan, root: &PodDisruptionBudget, status: &PodDisruptionBudgetStatus) -> Plan {
    if *status == root.status {
        return plan;
    }
    let gone = root.status.disrupted_pods.keys().filter(|pod| !status.disrupted_pods.contains_key(*pod));
    let mut disrupted: BTreeMap<&str, Value> = gone.map(|pod| (pod.as_str(), Value::Null)).collect();
    disrupted.extend(status.disrupted_pods.iter().map(|(pod, since)| (pod.as_str(), time(*since).into())));
    let mut conditions = conditions::to_value(&status.conditions);
    for condition in conditions.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        // In conditions of this kind the message is there even if it is empty.
        condition.entry("message").or_insert_with(|| "".into());
    }
    let told = json!({
        "observedGeneration": status.observed_generation,
        "disruptedPods": if disrupted.is_empty() { Value::Null } else { json!(disrupted) },
        "disruptionsAllowed": status.disruptions_allowed,
        "currentHealthy": status.current_healthy,
        "desiredHealthy": status.desired_healthy,
        "expectedPods": status.expected_pods,
        "conditions": conditions,
    });
    plan.then(Request::status(POD_DISRUPTION_BUDGETS, root.key(), told).if_unchanged(&root.metadata))
}

/// A selector as Go prints it.
fn go_selector(selector: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let labels: String = labels.map(|(key, value)| format!("{key}: {},", text(Some(value)))).collect();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    let expressions: String = expressions
        .map(|it| {
            let values = it.get("values").and_then(Value::as_array).into_iter().flatten();
            let values: Vec<String> = values.map(|value| text(Some(value))).collect();
            let (key, operator) = (text(it.get("key")), text(it.get("operator")));
            format!(
                "LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},",
                values.join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ready: bool) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"namespace": "ns", "name": name, "uid": name},
                "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
            }))
            .unwrap(),
        )
    }

    fn decide(spec: &Value, status: &Value, pods: Vec<Arc<Pod>>, scale: Result<Scale, String>) -> Plan {
        let root = json!({
            "metadata": {"namespace": "ns", "name": "b", "uid": "b", "resourceVersion": "5", "generation": 3},
            "spec": spec, "status": status,
        });
        let root = Arc::new(serde_json::from_value(root).unwrap());
        Disruption::default()
            .reconcile(&Observed { root, pods, scale: Some(scale) }, "2026-01-01T00:01:00Z".parse().unwrap())
    }

    fn told(plan: &Plan) -> Value {
        let Some(Write::Request(request)) = plan.writes.last() else { panic!("nothing is told: {plan:?}") };
        let client::controller::Verb::Merge(document) = &request.verb else { panic!("no status") };
        assert_eq!(document["metadata"]["resourceVersion"], "5", "only over the status that was seen");
        document["status"].clone()
    }

    #[test]
    fn so_many_pods_may_go() {
        let of_four = || Ok(Scale { pods: 4, unmanaged: false });
        for (spec, ready, expected) in [
            (json!({"maxUnavailable": 1}), 4, (4, 3, 1)),
            (json!({"maxUnavailable": 1}), 3, (4, 3, 0)),
            (json!({"maxUnavailable": "30%"}), 4, (4, 2, 2)),
            (json!({"minAvailable": "50%"}), 4, (4, 2, 2)),
            (json!({"minAvailable": 1}), 3, (4, 1, 2)),
            (json!({"minAvailable": 9}), 4, (4, 9, 0)),
        ] {
            let pods = (0..4).map(|at| pod(&format!("p{at}"), at < ready)).collect();
            let status = told(&decide(&spec, &json!({}), pods, of_four()));
            let (total, desired, allowed) = expected;
            assert_eq!(
                [&status["expectedPods"], &status["desiredHealthy"], &status["disruptionsAllowed"]],
                [&json!(total), &json!(desired), &json!(allowed)],
                "{spec} {ready}"
            );
            let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
            assert_eq!(
                (&status["conditions"][0]["reason"], &status["conditions"][0]["message"]),
                (&json!(reason), &json!(""))
            );
        }
    }

    #[test]
    fn pods_whose_eviction_was_granted_count_as_gone_for_two_minutes() {
        let granted = json!({"disruptedPods": {"a": "2026-01-01T00:00:00Z", "b": "2025-12-31T23:00:00Z", "c": "2026-01-01T00:00:00Z"}});
        let plan = decide(
            &json!({"minAvailable": 1}),
            &granted,
            vec![pod("a", true), pod("b", true)],
            Ok(Scale::default()),
        );
        let status = told(&plan);
        assert_eq!((&status["currentHealthy"], &status["disruptionsAllowed"]), (&json!(1), &json!(0)));
        assert_eq!(status["disruptedPods"], json!({"a": "2026-01-01T00:00:00Z", "b": null, "c": null}));
        assert_eq!(plan.look_again, Some(std::time::Duration::from_secs(60)));
    }

    #[test]
    fn when_nobody_knows_how_many_pods_there_shall_be_none_may_go() {
        let failed = Err("found no controllers for pod \"a\"".to_owned());
        let status = told(&decide(
            &json!({"maxUnavailable": 1}),
            &json!({"disruptionsAllowed": 2}),
            vec![pod("a", true)],
            failed,
        ));
        assert_eq!(status["disruptionsAllowed"], 0);
        assert_eq!(status["conditions"][0]["reason"], "SyncFailed");
    }

    #[test]
    fn the_scale_of_a_kind_that_is_not_known_is_asked_for_and_serves_one_look() {
        let owner = json!({"apiVersion": "example.com/v1", "kind": "Fleet", "name": "f", "uid": "f", "controller": true});
        let pod = json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p", "labels": {"a": "b"}, "ownerReferences": [owner]}});
        let budget = json!({"metadata": {"namespace": "ns", "name": "b", "uid": "b"},
            "spec": {"maxUnavailable": "50%", "selector": {"matchLabels": {"a": "b"}}}});
        let caches = client::testing::Filled::new()
            .with::<Pod>([pod])
            .with::<PodDisruptionBudget>([budget])
            .with::<ReplicaSet>([])
            .with::<Deployment>([])
            .with::<StatefulSet>([])
            .with::<ReplicationController>([])
            .caches();
        let (controller, key) = (Disruption::default(), Key::new("ns", "b"));
        let question = || ("ns".into(), serde_json::from_value::<Owner>(owner.clone()).unwrap());
        let look = || controller.observe(&key, &caches).unwrap().scale;
        assert_eq!(look(), None);
        controller.scales.answered(&key, question(), Ok(Some(("f".into(), 5))));
        assert_eq!(look(), Some(Ok(Scale { pods: 5, unmanaged: false })));
        assert_eq!(look(), None, "asked anew");
        controller.scales.answered(&key, question(), Ok(None));
        assert_eq!(look(), Some(Err("found no controllers for pod \"p\"".to_owned())));
        controller.scales.answered(&key, question(), Err("nobody knows".to_owned()));
        assert_eq!(look(), Some(Err("nobody knows".to_owned())));
    }

    #[test]
    fn selectors_are_told_as_go_prints_them() {
        assert_eq!(
            go_selector(
                &json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]})
            ),
            "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}"
        );
    }
}
