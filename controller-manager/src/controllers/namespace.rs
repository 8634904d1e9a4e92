//! Namespace: empties a namespace that is on its way out, then lets it go.
//!
//! A look deletes what is there, Pods before all else (KEP-5080), and surveys what remains. What to tell of it and
//! whether the namespace may go is decided on that survey alone, in [`decide`]. It looks again when something in the
//! namespace goes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api_types::object::ObjectExt;
use client::{
    Api, Caches, Error, Key, Plan, Resource,
    api::{Page, Selection},
    controller::{DeleteOptions, Executor, Manager, Options as Workers, Propagation, Request},
    events::Recorder,
    meta::time,
    queue::Queue,
    reflector::Metadata,
    resource::{NAMESPACES, PODS},
};
use futures::{FutureExt, StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    inventory::Inventory,
    kinds::Namespace,
    shell::{self, Look, Looks},
};

/// The finalizer of the namespace's spec that this controller takes off.
const FINALIZER: &str = "kubernetes";
/// What is admitted while the deletion is still news is waited for: deletion times are whole seconds, so this is a second
/// at least.
const SETTLE: SignedDuration = SignedDuration::from_secs(2);
/// So many resources are emptied at once.
const CONCURRENCY: usize = 8;
/// What waits for finalizers is expected to take so long.
const FINALIZERS_SECONDS: u64 = 15;
/// The longest delay after failures: upstream's.
const BACKOFF_MAX: Duration = Duration::from_mins(1);

/// Empties namespaces.
#[derive(Debug)]
pub struct Namespaces {
    api: Api,
    manager: Manager,
    executor: Executor,
}

/// What was found in a namespace, and could not be removed at once.
#[derive(Debug, Default, PartialEq)]
struct Survey {
    /// What is served cannot be told, or not all of it.
    discovery_failure: Option<String>,
    /// Pods remain, so nothing else was looked at.
    pods_first: bool,
    remaining: Vec<Remaining>,
    failures: Vec<String>,
}

/// What remains of one resource.
#[derive(Debug, Default, PartialEq)]
struct Remaining {
    resource: String,
    count: usize,
    finalizers: BTreeMap<String, usize>,
    /// In how many seconds it may be gone.
    estimate: u64,
}

/// Starts the controller.
pub fn start(manager: &Manager, workers: Workers, inventory: &Inventory) {
    inventory.start(manager);
    let api = workers.api.unwrap_or_else(|| manager.api.clone());
    let events = Recorder::start(&manager.runtime, api.clone(), Namespaces::NAME);
    let queue = Queue::with_backoff(Arc::default(), Duration::from_millis(5), BACKOFF_MAX);
    let namespaces = manager.caches.want::<Namespace>();
    let inbox = queue.clone();
    namespaces.subscribe(move |change| {
        if let Some(namespace) = change.after().filter(|namespace| namespace.metadata.is_terminating()) {
            inbox.add(Arc::clone(&namespace.metadata.name));
        }
    });
    let (inbox, caches) = (queue.clone(), manager.caches.clone());
    inventory.watch(move |_, cache| {
        let Some(cache) = cache else { return };
        let (inbox, caches) = (inbox.clone(), caches.clone());
        cache.subscribe(move |change| {
            let object = change.object();
            let goes = change.after().is_none_or(|after| after.metadata.is_terminating());
            if goes && is_terminating(&caches, &object.metadata.namespace) {
                inbox.add_after(Arc::clone(&object.metadata.namespace), Duration::from_millis(20));
            }
        });
    });
    let ready = async move { namespaces.synced().await }.shared();
    let looks = Namespaces { executor: Executor::new(api.clone(), events), api, manager: manager.clone() };
    shell::start(manager, workers.workers, &queue, &Arc::new(looks), ready);
}

fn is_terminating(caches: &Caches, namespace: &str) -> bool {
    !namespace.is_empty()
        && caches
            .read::<Namespace>()
            .get(&Key::cluster(namespace))
            .is_some_and(|namespace| namespace.metadata.is_terminating())
}

// === impl Namespaces ===

impl Looks for Namespaces {
    type Key = Arc<str>;
    const NAME: &'static str = "namespace-controller";

    async fn look(&self, name: &Arc<str>) -> Look {
        let key = Key::cluster(name);
        let namespace = match self.api.get::<Value>(&NAMESPACES, &key).await {
            Ok(namespace) => namespace,
            Err(error) if error.is_not_found() => return Look::because(key, "the namespace is gone"),
            Err(error) => return failed(key, &error),
        };
        if !namespace.is_terminating() || finalizers(&namespace).is_empty() {
            return Look::because(key, "the namespace need not be emptied");
        }
        let survey = self.empty(name, &namespace).await;
        let plan = decide(&namespace, &survey, self.manager.runtime.clock.now());
        let execution = self.executor.execute(&plan).await;
        let failure = survey.failure();
        Look { key, why: plan.why.to_string(), execution, failure, look_again: plan.look_again }
    }
}

fn failed(key: Key, error: &Error) -> Look {
    Look { failure: Some(error.to_string()), ..Look::because(key, "cannot tell yet") }
}

impl Namespaces {
    /// Deletes what is in the namespace, and says what remains.
    async fn empty(&self, name: &str, namespace: &Value) -> Survey {
        let mut survey = Survey::default();
        let resources = match self.api.discover().await {
            Ok(discovery) => {
                survey.discovery_failure = incomplete(discovery.stale.iter().map(String::as_str));
                discovery.resources
            }
            Err(error) => {
                survey.discovery_failure = Some(error.to_string());
                Vec::new()
            }
        };
        let deletable: Vec<_> = resources
            .into_iter()
            .filter(|found| found.preferred && found.resource.namespaced && found.can(&["delete"]))
            .collect();
        if deletable.iter().any(|found| found.resource == PODS) {
            let pods = self.empty_of(&PODS, true, true, name, namespace).await;
            survey.add(&PODS, pods);
            if !survey.remaining.is_empty() {
                survey.pods_first = true;
                return survey;
            }
        }
        let work: Vec<_> = deletable
            .into_iter()
            .filter(|found| found.resource != PODS)
            .map(|found| async move {
                let (list, collection) = (found.can(&["list"]), found.can(&["deletecollection"]));
                let remaining = self.empty_of(&found.resource, list, collection, name, namespace).await;
                (found.resource, remaining)
            })
            .collect();
        let mut emptied: Vec<_> = stream::iter(work).buffer_unordered(CONCURRENCY).collect().await;
        emptied.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (resource, remaining) in emptied {
            survey.add(&resource, remaining);
        }
        survey
    }

    /// Deletes what is there of one resource, and says what remains.
    async fn empty_of(
        &self,
        resource: &Resource,
        list: bool,
        collection: bool,
        name: &str,
        namespace: &Value,
    ) -> Result<Vec<Metadata>, (String, Vec<Metadata>)> {
        let selection = Selection::of_namespace(name);
        let options =
            DeleteOptions { propagation_policy: Some(Propagation::Background), ..DeleteOptions::default() };
        let told = |error: Error| (error.to_string(), Vec::new());
        // Most resources have nothing there, and one list tells.
        let there = if list { self.list(resource, name).await.map_err(told)? } else { Vec::new() };
        if list && there.is_empty() {
            return Ok(Vec::new());
        }
        if collection {
            match self.api.delete_collection(resource, &selection, &options).await {
                Err(error) if !is_unserved(&error) => return Err(told(error)),
                _ => {}
            }
        } else {
            for object in &there {
                match self.api.delete(resource, &object.metadata.key(), &options).await {
                    Err(error) if !is_unserved(&error) => return Err(told(error)),
                    _ => {}
                }
            }
        }
        let remaining = if list { self.list(resource, name).await.map_err(told)? } else { Vec::new() };
        let now = self.manager.runtime.clock.now();
        let unexplained = !remaining.is_empty()
            && remaining.iter().all(|object| object.metadata.finalizers.is_empty())
            && !(*resource == PODS && graceful(&remaining, namespace, now) > 0);
        if unexplained {
            let message = format!(
                "unexpected items still remain in namespace: {name} for gvr: {}/{}, Resource={}",
                resource.group, resource.version, resource.plural
            );
            return Err((message, remaining));
        }
        Ok(remaining)
    }

    async fn list(&self, resource: &Resource, name: &str) -> Result<Vec<Metadata>, Error> {
        let selection = Selection::of_namespace(name).metadata_only();
        match self.api.list::<Metadata>(resource, &selection, &Page::default()).await {
            Ok(list) => Ok(list.items),
            Err(error) if is_unserved(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// The resource has gone meanwhile, or does not do this.
fn is_unserved(error: &Error) -> bool {
    error.is_not_found() || error.status().is_some_and(|status| status.code == 405)
}

/// The longest grace period in seconds that any of these still has, 0 if all should be over since the namespace's deletion.
fn graceful(remaining: &[Metadata], namespace: &Value, now: Timestamp) -> u64 {
    let longest = remaining.iter().filter_map(|object| object.metadata.deletion_grace_period_seconds).max();
    let longest = longest.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default();
    let passed = u64::try_from(now.duration_since(deleted_at(namespace, now)).as_secs()).unwrap_or_default();
    if passed >= longest { 0 } else { longest }
}

fn deleted_at(namespace: &Value, now: Timestamp) -> Timestamp {
    namespace.meta_str("deletionTimestamp").parse().unwrap_or(now)
}

fn finalizers(namespace: &Value) -> Vec<&str> {
    let finalizers = namespace.pointer("/spec/finalizers").and_then(Value::as_array);
    finalizers.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What upstream says of group versions whose server does not answer.
fn incomplete<'a>(stale: impl Iterator<Item = &'a str>) -> Option<String> {
    let stale: Vec<_> =
        stale.map(|version| format!("{version}: stale GroupVersion discovery: {version}")).collect();
    (!stale.is_empty()).then(|| {
        format!(
            "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
            stale.len(),
            stale.join(", ")
        )
    })
}

// === impl Survey ===

impl Survey {
    fn add(&mut self, resource: &Resource, emptied: Result<Vec<Metadata>, (String, Vec<Metadata>)>) {
        let remaining = emptied.unwrap_or_else(|(failure, remaining)| {
            self.failures.push(failure);
            remaining
        });
        if remaining.is_empty() {
            return;
        }
        let mut finalizers = BTreeMap::new();
        for finalizer in remaining.iter().flat_map(|object| &object.metadata.finalizers) {
            *finalizers.entry(finalizer.as_ref().to_owned()).or_default() += 1;
        }
        let grace = remaining.iter().filter_map(|object| object.metadata.deletion_grace_period_seconds).max();
        let grace = grace.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default();
        self.remaining.push(Remaining {
            resource: format!("{}.{}", resource.plural, resource.group),
            count: remaining.len(),
            estimate: if finalizers.is_empty() { grace } else { grace.max(FINALIZERS_SECONDS) },
            finalizers,
        });
    }

    fn failure(&self) -> Option<String> {
        let all: Vec<_> = self.discovery_failure.iter().chain(&self.failures).map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// What is remarkable, by the type of condition: reason and message.
    fn remarks(&self) -> BTreeMap<&'static str, (&'static str, String)> {
        let mut remarks = BTreeMap::new();
        if let Some(message) = &self.discovery_failure {
            remarks.insert("NamespaceDeletionDiscoveryFailure", ("DiscoveryFailed", message.clone()));
        }
        if !self.failures.is_empty() {
            let mut failures = self.failures.clone();
            failures.sort();
            let message = format!(
                "Failed to delete all resource types, {} remaining: {}",
                failures.len(),
                failures.join(", ")
            );
            remarks.insert("NamespaceDeletionContentFailure", ("ContentDeletionFailed", message));
        }
        // Of what remains upstream tells only once it has looked at everything.
        if self.pods_first {
            return remarks;
        }
        let mut resources: Vec<_> = self
            .remaining
            .iter()
            .map(|remaining| format!("{} has {} resource instances", remaining.resource, remaining.count))
            .collect();
        resources.sort();
        if !resources.is_empty() {
            let message = format!("Some resources are remaining: {}", resources.join(", "));
            remarks.insert("NamespaceContentRemaining", ("SomeResourcesRemain", message));
        }
        let mut finalizers = BTreeMap::<&str, usize>::new();
        for (finalizer, count) in self.remaining.iter().flat_map(|remaining| &remaining.finalizers) {
            *finalizers.entry(finalizer).or_default() += count;
        }
        let mut finalizers: Vec<_> = finalizers
            .iter()
            .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
            .collect();
        finalizers.sort();
        if !finalizers.is_empty() {
            let message =
                format!("Some content in the namespace has finalizers remaining: {}", finalizers.join(", "));
            remarks.insert("NamespaceFinalizersRemaining", ("SomeFinalizersRemain", message));
        }
        remarks
    }
}

/// The conditions in upstream's order, with what they say when all is well.
const CONDITIONS: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    (
        "NamespaceDeletionGroupVersionParsingFailure",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

/// The conditions after a survey.
fn conditions(old: &[Value], survey: &Survey, now: Timestamp) -> Vec<Value> {
    let remarks = survey.remarks();
    let mut conditions = old.to_vec();
    for (which, reason, message) in CONDITIONS {
        let (status, reason, message) = match remarks.get(which) {
            Some((reason, message)) => ("True", *reason, message.as_str()),
            None => ("False", reason, message),
        };
        let mut new = json!({"type": which, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": time(now)});
        match conditions.iter_mut().find(|condition| condition.get("type").is_some_and(|it| it == which)) {
            None => conditions.push(new),
            Some(old) => {
                let same_status = old.get("status") == new.get("status");
                if let (true, Some(since)) = (same_status, old.get("lastTransitionTime").cloned()) {
                    api_types::object::object_of(&mut new).insert("lastTransitionTime".to_owned(), since);
                }
                *old = new;
            }
        }
    }
    conditions
}

/// What to tell of a survey, and whether the namespace may go.
fn decide(namespace: &Value, survey: &Survey, now: Timestamp) -> Plan {
    let key = Key::cluster(namespace.name());
    let old = namespace.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let conditions = conditions(&old, survey, now);
    let mut told = Vec::new();
    if conditions != old || namespace.pointer("/status/phase").is_none_or(|phase| phase != "Terminating") {
        let status = json!({
            "metadata": {"uid": namespace.uid(), "resourceVersion": namespace.resource_version()},
            "status": {"phase": "Terminating", "conditions": conditions},
        });
        told.push(Request::merge(NAMESPACES, key, status).on("status").conflict_is_fine());
    }
    let telling = |plan: Plan| told.iter().cloned().fold(plan, Plan::then);
    if survey.failure().is_some() {
        return telling(Plan::because("not everything in the namespace could be deleted"));
    }
    if !survey.remaining.is_empty() {
        let what: Vec<_> =
            survey.remaining.iter().map(|it| format!("{} {}", it.count, it.resource)).collect();
        // Whatever goes triggers a look; this is for what goes unseen.
        let estimate = survey.remaining.iter().map(|remaining| remaining.estimate).max().unwrap_or_default();
        return telling(Plan::because(format!("the namespace still holds {}", what.join(", "))))
            .look_again(Duration::from_secs(estimate / 2 + 1));
    }
    let settled = deleted_at(namespace, now).checked_add(SETTLE).unwrap_or(now);
    if now < settled {
        return Plan::because("the namespace is empty; what was admitted before its deletion may still come")
            .look_again_at(settled, now);
    }
    let kept: Vec<_> =
        finalizers(namespace).into_iter().filter(|finalizer| *finalizer != FINALIZER).collect();
    let mut finalized = namespace.clone();
    api_types::object::object_at(api_types::object::object_of(&mut finalized), "spec")
        .insert("finalizers".to_owned(), json!(kept));
    // What is told of a namespace that goes at once nobody would read.
    if !kept.is_empty() && !told.is_empty() {
        return telling(Plan::because("the namespace is empty, and says so before it goes"))
            .look_again(Duration::ZERO);
    }
    Plan::because("the namespace is empty and may go")
        .then(Request::update(NAMESPACES, finalized).on("finalize"))
}

#[cfg(test)]
mod tests {
    use client::{Write, controller::Verb};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:10Z".parse().unwrap()
    }

    fn namespace(deleted: &str, finalizers: &[&str]) -> Value {
        json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "5", "deletionTimestamp": deleted},
            "spec": {"finalizers": finalizers}, "status": {"phase": "Terminating"}})
    }

    fn configmaps(count: usize, finalizers: &[(&str, usize)]) -> Remaining {
        Remaining {
            resource: "configmaps.".to_owned(),
            count,
            finalizers: finalizers.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            estimate: 15,
        }
    }

    fn lines(plan: &Plan) -> Vec<String> {
        let line = |write: &Write| match write {
            Write::Request(request) => match &request.verb {
                Verb::Update(object) => format!("{} {}", request.subresource, object["spec"]["finalizers"]),
                Verb::Merge(document) => {
                    let conditions = document["status"]["conditions"].as_array().unwrap();
                    let told = conditions.iter().filter(|condition| condition["status"] == "True");
                    told.map(|condition| format!("{}: {}", condition["reason"], condition["message"]))
                        .collect::<Vec<_>>()
                        .join("; ")
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        plan.writes.iter().map(line).collect()
    }

    #[test]
    fn an_empty_namespace_goes_once_its_deletion_is_no_news() {
        let empty = Survey::default();
        let plan = decide(&namespace("2026-01-01T00:00:09Z", &[FINALIZER]), &empty, now());
        assert_eq!((lines(&plan), plan.look_again), (vec![], Some(Duration::from_secs(1))));
        let plan = decide(&namespace("2026-01-01T00:00:01Z", &[FINALIZER]), &empty, now());
        assert_eq!(lines(&plan), ["finalize []"]);
    }

    #[test]
    fn what_remains_is_told_and_holds_the_namespace() {
        let survey = Survey { remaining: vec![configmaps(2, &[("x/y", 1)])], ..Survey::default() };
        let plan = decide(&namespace("2026-01-01T00:00:01Z", &[FINALIZER]), &survey, now());
        assert_eq!(
            lines(&plan),
            [
                r#""SomeResourcesRemain": "Some resources are remaining: configmaps. has 2 resource instances"; "SomeFinalizersRemain": "Some content in the namespace has finalizers remaining: x/y in 1 resource instances""#
            ]
        );
        assert_eq!(plan.look_again, Some(Duration::from_secs(8)));
        let failed = Survey { failures: vec!["b".to_owned(), "a".to_owned()], ..Survey::default() };
        let plan = decide(&namespace("2026-01-01T00:00:01Z", &[FINALIZER]), &failed, now());
        assert_eq!(
            lines(&plan),
            [r#""ContentDeletionFailed": "Failed to delete all resource types, 2 remaining: a, b""#]
        );
    }

    #[test]
    fn a_condition_that_stays_as_it_is_keeps_its_time() {
        let survey = Survey::default();
        let first = conditions(&[], &survey, "2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(first.len(), 5);
        assert_eq!(conditions(&first, &survey, now()), first);
        let changed =
            conditions(&first, &Survey { remaining: vec![configmaps(1, &[])], ..Survey::default() }, now());
        assert_eq!(changed[3]["lastTransitionTime"], "2026-01-01T00:00:10Z");
        assert_eq!(changed[0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
    }

    #[test]
    fn services_that_do_not_answer_are_told() {
        assert_eq!(
            incomplete(["metrics.k8s.io/v1beta1"].into_iter()).unwrap(),
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: \
             metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1"
        );
    }
}
