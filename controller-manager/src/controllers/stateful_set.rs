//! StatefulSet: numbered Pods, each with a name and claims that stay its own.
//!
//! A look names the [revision](crate::revisions) of the wanted template, and takes the Pods in the order of their numbers.
//! `OrderedReady` does one thing at a time: it ends the look at the first Pod that is missing, or that others must wait
//! for. `Parallel` does everything that is to do at once. Only when nothing of this is left do surplus Pods go, highest
//! number first, and then the Pods of older revisions.
//!
//! [`claims`] says which claims a Pod has and who owns them, [`member`] what the Pod of a number looks like.

mod claims;
mod member;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers, Write,
    controller::{OnFailure, Report, Request},
    events::{Note, ObjectRef},
    resource::{PODS, STATEFUL_SETS},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    claim::{self, Claimed},
    conditions,
    kinds::{ControllerRevision, PersistentVolumeClaim, Pod, StatefulSet, stateful_set::StatefulSetStatus},
    pods,
    revisions::{self, Free, Wanted},
    template::Template,
};

/// The label of a Pod that names its revision.
const REVISION: &str = "controller-revision-hash";
/// The label of a revision that carries its hash.
const HASH: &str = "controller.kubernetes.io/hash";
/// A StatefulSet that does not say so keeps so many old revisions.
const HISTORY: i32 = 10;

/// Keeps StatefulSets.
#[derive(Debug)]
pub struct StatefulSets;

/// All that matters to a StatefulSet.
#[derive(Debug)]
pub struct Observed {
    root: Arc<StatefulSet>,
    /// Its Pods, and those it might adopt.
    candidates: Vec<Arc<Pod>>,
    /// Its revisions, and those it might adopt.
    revisions: Vec<Arc<ControllerRevision>>,
    /// What a revision of its template would be named, if it is to be made.
    free: Option<Free>,
    /// The claims of all its Pods that there are, by name.
    claims: BTreeMap<Arc<str>, Arc<PersistentVolumeClaim>>,
}

/// A revision and its template.
#[derive(Clone, Debug)]
struct Version<'a> {
    name: String,
    template: &'a Template,
}

/// A number, and its Pod if there is one.
#[derive(Clone, Debug)]
struct Member {
    ordinal: i64,
    pod: Option<Arc<Pod>>,
}

/// Whether to go on with the next thing in this look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    Wait,
}

/// A StatefulSet in the course of a look.
struct Work<'a> {
    root: &'a StatefulSet,
    now: Timestamp,
    about: ObjectRef,
    claims: &'a BTreeMap<Arc<str>, Arc<PersistentVolumeClaim>>,
    /// The revision all Pods had before the update, and the wanted one; the same if there is none.
    current: Version<'a>,
    update: Version<'a>,
    status: StatefulSetStatus,
    plan: Plan,
    /// What does not wait for each other: claims before Pods.
    new_claims: Vec<Request>,
    new_pods: Vec<Request>,
    deletes: Vec<Request>,
}

// === impl StatefulSets ===

impl Controller for StatefulSets {
    type Root = StatefulSet;
    type Observed = Observed;
    const NAME: &'static str = "statefulset-controller";

    fn triggers(&self, on: &mut Triggers<StatefulSet>) {
        claim::triggers::<StatefulSet, Pod>(on);
        claim::children::<StatefulSet, ControllerRevision>(on);
        // A claim that goes may be what a Pod waits for; another one of its name can be made then.
        on.changes::<PersistentVolumeClaim>(|change, caches| {
            let Change::Deleted { last, .. } = change else { return Vec::new() };
            let sets = caches.read::<StatefulSet>().in_namespace(&last.metadata.namespace);
            sets.iter().filter(|set| claims::is_of(set, &last.metadata.name)).map(|set| set.key()).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let root = caches.read::<StatefulSet>().get(root)?;
        let candidates = claim::candidates::<Pod>(&root.metadata, caches);
        let mut revisions = claim::candidates::<ControllerRevision>(&root.metadata, caches);
        // One whose labels are no longer the set's is left alone.
        revisions.retain(|it| root.spec.selector.selector.matches(&it.metadata.labels));
        let template = &root.spec.template;
        let has = revisions.iter().any(|it| it.is_of(template));
        let free = (!has).then(|| {
            let collisions = root.status.collision_count.unwrap_or_default();
            revisions::free(&root.metadata, template, Some(collisions), caches)
        });
        let mut there = BTreeMap::new();
        if !root.spec.volume_claim_templates.is_empty() {
            let cache = caches.read::<PersistentVolumeClaim>();
            let members = candidates.iter().filter_map(|pod| root.ordinal_of(&pod.metadata.name));
            for ordinal in root.ordinals().chain(members) {
                for template in &root.spec.volume_claim_templates {
                    let name = root.claim_name(template, ordinal);
                    if let Some(claim) = cache.get(&Key::new(&root.metadata.namespace, &name)) {
                        there.insert(Arc::clone(&claim.metadata.name), claim);
                    }
                }
            }
        }
        Some(Observed { root, candidates, revisions, free, claims: there })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let root = &*observed.root;
        let member = |pod: &Pod| root.ordinal_of(&pod.metadata.name).is_some();
        let Claimed { objects: pods, mut writes } = claim::claim_if(root, &observed.candidates, &[], member);
        let Claimed { objects: mut history, writes: more } = claim::claim(root, &observed.revisions, &[]);
        revisions::sort(&mut history);
        writes.extend(more);

        let mut work = Work::new(observed, &history, now);
        work.plan.writes.extend(writes.into_iter().map(Write::from));
        work.name_revision(observed, &history);
        work.count(&pods);
        if root.metadata.is_terminating() {
            work.plan.why = "the StatefulSet is being deleted; its Pods are the garbage collector's".into();
        } else {
            work.step(&pods);
        }
        work.clean_up(&history, &pods);
        work.finish(&pods)
    }
}

fn clamp(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.get(REVISION).unwrap_or_default()
}

fn is_serving(pod: &Pod) -> bool {
    &*pod.status.phase == "Running" && pod.is_ready()
}

// === impl Work ===

impl<'a> Work<'a> {
    fn new(observed: &'a Observed, history: &'a [Arc<ControllerRevision>], now: Timestamp) -> Self {
        let root = &*observed.root;
        let template = &root.spec.template;
        let name = match (revisions::wanted(history, template), &observed.free) {
            (Wanted::Newest(it) | Wanted::Back(it, _), _) => it.metadata.name.as_ref().to_owned(),
            (Wanted::Missing(_), Some(free)) => free.name.clone(),
            (Wanted::Missing(_), None) => root.status.update_revision.as_ref().to_owned(),
        };
        let update = Version { name, template };
        let current = history
            .iter()
            .find(|it| *it.metadata.name == *root.status.current_revision)
            .and_then(|it| Some((it.metadata.name.as_ref().to_owned(), it.template.as_ref()?)))
            .map_or_else(|| update.clone(), |(name, template)| Version { name, template });
        Self {
            root,
            now,
            about: ObjectRef::to(root),
            claims: &observed.claims,
            status: StatefulSetStatus {
                observed_generation: root.metadata.generation,
                current_revision: current.name.as_str().into(),
                update_revision: update.name.as_str().into(),
                collision_count: Some(root.status.collision_count.unwrap_or_default()),
                conditions: root.status.conditions.clone(),
                ..StatefulSetStatus::default()
            },
            current,
            update,
            plan: Plan::because("every Pod is as wanted"),
            new_claims: Vec::new(),
            new_pods: Vec::new(),
            deletes: Vec::new(),
        }
    }

    fn then(&mut self, write: impl Into<Write>) {
        self.plan.writes.push(write.into());
    }

    fn wait(&mut self, why: String) -> Then {
        self.plan.why = why.into();
        Then::Wait
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::is_available(pod, self.root.spec.min_ready_seconds, self.now)
    }

    fn is_unavailable(&self, member: &Member) -> bool {
        member.pod.as_ref().is_none_or(|pod| !self.is_available(pod) || pod.metadata.is_terminating())
    }

    /// Sees to it that the wanted template has the newest revision.
    fn name_revision(&mut self, observed: &Observed, history: &[Arc<ControllerRevision>]) {
        if self.root.metadata.is_terminating() {
            return;
        }
        let meta = &self.root.metadata;
        match revisions::wanted(history, &self.root.spec.template) {
            Wanted::Newest(_) => {}
            Wanted::Back(revision, number) => self.then(revisions::renumber(&revision, number)),
            Wanted::Missing(number) => {
                let Some(free) = &observed.free else { return };
                self.status.collision_count = free.collisions;
                let template = &self.root.spec.template;
                self.then(revisions::create(&STATEFUL_SETS, meta, template, free, number, HASH));
            }
        }
    }

    /// Counts the Pods there are.
    fn count(&mut self, pods: &[Arc<Pod>]) {
        let count =
            |condition: &dyn Fn(&Pod) -> bool| clamp(pods.iter().filter(|pod| condition(pod)).count());
        let of = |pod: &Pod, version: &Version<'_>| {
            !pod.metadata.is_terminating() && revision_of(pod) == version.name
        };
        self.status.replicas = clamp(pods.len());
        self.status.ready_replicas = count(&is_serving);
        self.status.available_replicas = count(&|pod| is_serving(pod) && self.is_available(pod));
        self.status.current_replicas = count(&|pod| of(pod, &self.current));
        self.status.updated_replicas = count(&|pod| of(pod, &self.update));
    }

    /// Does what is next, or all there is to do.
    fn step(&mut self, pods: &[Arc<Pod>]) {
        let root = self.root;
        let range = root.ordinals();
        let mut by_ordinal: BTreeMap<i64, Arc<Pod>> = pods
            .iter()
            .filter_map(|pod| Some((root.ordinal_of(&pod.metadata.name)?, Arc::clone(pod))))
            .collect();
        let members: Vec<Member> =
            range.map(|ordinal| Member { ordinal, pod: by_ordinal.remove(&ordinal) }).collect();
        let mut condemned: Vec<Member> =
            by_ordinal.into_iter().map(|(ordinal, pod)| Member { ordinal, pod: Some(pod) }).collect();
        let first_unavailable =
            members.iter().chain(&condemned).find(|it| self.is_unavailable(it)).map(|it| it.ordinal);
        condemned.reverse();

        let ordered = root.is_ordered();
        for member in &members {
            if self.keep(member) == Then::Wait && ordered {
                return;
            }
        }
        for Member { ordinal, pod } in &condemned {
            let Some(pod) = pod else { continue };
            self.own_claims(*ordinal, pod, true);
        }
        for member in &condemned {
            if self.condemn(member, first_unavailable) == Then::Wait && ordered {
                return;
            }
        }
        if root.is_rolling() {
            self.roll(&members);
        }
    }

    /// Sees to it that the Pod of a number is there and as it should be.
    fn keep(&mut self, member: &Member) -> Then {
        let Member { ordinal, pod } = member;
        let name = self.root.pod_name(*ordinal);
        let Some(pod) = pod else {
            if claims::is_stale(self.root, *ordinal, self.claims) {
                return self.wait(format!("{name} is missing, and its claims of before are still going"));
            }
            if self.make_claims(*ordinal) == Then::GoOn {
                let create = self.create(*ordinal);
                self.new_pods.push(create);
                self.plan.why = format!("{name} is missing").into();
            }
            return Then::Wait;
        };
        if pod.is_finished() {
            if !pod.metadata.is_terminating() {
                self.delete(pod);
                self.plan.why = format!("{name} has ended, and is made anew").into();
            }
            return Then::Wait;
        }
        if &*pod.status.phase == "Pending" && self.make_claims(*ordinal) == Then::Wait {
            return Then::Wait;
        }
        if self.root.is_ordered() {
            if pod.metadata.is_terminating() {
                return self.wait(format!("{name} is on its way out; whatever comes after it waits"));
            }
            if !is_serving(pod) {
                return self.wait(format!("{name} is not ready yet; whatever comes after it waits"));
            }
            if !self.is_available(pod) {
                return self.wait(format!("{name} has not been ready for long enough yet"));
            }
        }
        self.identify(*ordinal, pod);
        if self.own_claims(*ordinal, pod, false) {
            let note = Note::normal("SuccessfulUpdate", self.tell("Update", &name, "successful"));
            self.then(Write::event(self.about.clone(), note));
        }
        Then::GoOn
    }

    /// Gives up a Pod whose number is beyond what is wanted.
    fn condemn(&mut self, member: &Member, first_unavailable: Option<i64>) -> Then {
        let Some(pod) = &member.pod else { return Then::GoOn };
        let name = &pod.metadata.name;
        if pod.metadata.is_terminating() {
            return self.wait(format!("{name} is on its way out; those below it wait"));
        }
        let serves = is_serving(pod) && self.is_available(pod);
        if self.root.is_ordered() && !serves && first_unavailable != Some(member.ordinal) {
            return self.wait(format!("{name} waits for another Pod that is not available"));
        }
        self.plan.why =
            format!("{name} is beyond the {} Pods that are wanted", self.root.spec.replicas).into();
        self.delete(pod);
        Then::Wait
    }

    /// Lets new Pods replace old ones, highest number first.
    fn roll(&mut self, members: &[Member]) {
        let rolling = self.root.spec.update_strategy.rolling_update.clone().unwrap_or_default();
        let partition = usize::try_from(rolling.partition.unwrap_or_default()).unwrap_or_default();
        let affected: Vec<&Member> = members.iter().skip(partition).rev().collect();
        let Some(max) = rolling.max_unavailable else {
            // One at a time: whatever is above is updated and available.
            for member in affected {
                let Some(pod) = &member.pod else { return };
                if self.is_outdated(pod) {
                    self.replace(pod);
                    return;
                }
                if self.is_unavailable(member) {
                    let why = format!("{} is updated and not available yet", pod.metadata.name);
                    self.wait(why);
                    return;
                }
            }
            return;
        };
        let max = max.of_rounded_down(self.root.spec.replicas).max(1);
        let unavailable = clamp(members.iter().filter(|it| self.is_unavailable(it)).count());
        let room = usize::try_from(max - unavailable).unwrap_or_default();
        let outdated = affected.into_iter().filter_map(|it| it.pod.as_ref());
        let outdated: Vec<_> = outdated.filter(|pod| self.is_outdated(pod)).take(room).collect();
        for pod in outdated {
            self.replace(pod);
        }
    }

    fn is_outdated(&self, pod: &Pod) -> bool {
        revision_of(pod) != self.update.name && !pod.metadata.is_terminating()
    }

    fn replace(&mut self, pod: &Arc<Pod>) {
        self.plan.why = format!("{} is of an older revision", pod.metadata.name).into();
        self.delete(pod);
        self.status.current_replicas -= 1;
    }

    fn tell(&self, verb: &str, pod: &str, outcome: &str) -> String {
        format!("{verb} Pod {pod} in StatefulSet {} {outcome}", self.root.metadata.name)
    }

    fn reporting(&self, verb: &'static str, pod: &str, request: Request) -> Request {
        let (done, failed) = match verb {
            "Create" => ("SuccessfulCreate", "FailedCreate"),
            "Update" => ("SuccessfulUpdate", "FailedUpdate"),
            _ => ("SuccessfulDelete", "FailedDelete"),
        };
        request.reporting(Report {
            about: self.about.clone(),
            done: Some(Note::normal(done, self.tell(verb, pod, "successful"))),
            failed: Some(Note::warning(failed, self.tell(verb, pod, "failed error: {error}"))),
        })
    }

    fn delete(&mut self, pod: &Pod) {
        let request = Request::delete(PODS, &pod.metadata);
        let request = self.reporting("Delete", &pod.metadata.name, request);
        self.deletes.push(request);
    }

    /// Old revisions go, the oldest first, but none that a Pod has.
    fn clean_up(&mut self, history: &[Arc<ControllerRevision>], pods: &[Arc<Pod>]) {
        let keep = self.root.spec.revision_history_limit.unwrap_or(HISTORY);
        let Ok(keep) = usize::try_from(keep) else { return };
        let lives = |it: &ControllerRevision| {
            let name = &*it.metadata.name;
            name == self.current.name
                || name == self.update.name
                || pods.iter().any(|pod| revision_of(pod) == name)
        };
        let old: Vec<_> = history.iter().filter(|it| !lives(it)).cloned().collect();
        let deletes = revisions::truncate(&old, old.len().saturating_sub(keep), |_| false);
        self.plan.writes.extend(deletes.into_iter().map(Write::from));
    }

    fn finish(mut self, pods: &[Arc<Pod>]) -> Plan {
        let Self { root, new_claims, new_pods, deletes, mut status, .. } = self;
        for batch in [new_claims, new_pods] {
            if !batch.is_empty() {
                self.plan.writes.push(Write::slow_start(batch));
            }
        }
        if !deletes.is_empty() {
            self.plan.writes.push(Write::all(deletes));
        }
        let wanted = root.spec.replicas;
        if root.is_rolling()
            && (status.replicas, status.ready_replicas, status.updated_replicas) == (wanted, wanted, wanted)
        {
            status.current_replicas = status.updated_replicas;
            status.current_revision = status.update_revision.clone();
        }
        if let Some(after) = pods::next_available_in(pods, root.spec.min_ready_seconds, self.now) {
            self.plan = self.plan.look_again(after);
        }
        if status != root.status {
            let request = Request::status(STATEFUL_SETS, root.key(), to_value(&status));
            let request = request.if_same(&root.metadata.uid).on_failure(OnFailure::GoOn);
            self.plan = self.plan.then(request);
        }
        self.plan
    }
}

fn to_value(status: &StatefulSetStatus) -> Value {
    let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
    json!({
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas,
        "readyReplicas": conditions::count(status.ready_replicas),
        "currentReplicas": conditions::count(status.current_replicas),
        "updatedReplicas": conditions::count(status.updated_replicas),
        "availableReplicas": status.available_replicas,
        "currentRevision": text(&status.current_revision),
        "updateRevision": text(&status.update_revision),
        "collisionCount": status.collision_count,
    })
}
