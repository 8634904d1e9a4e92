//! DaemonSet: a Pod of one template on every node that fits.
//!
//! A look names the [revision](crate::revisions) of the wanted template (making it if there is none), compares nodes with
//! Pods ([`manage`]), and only where nothing is missing or too much lets new Pods replace old ones ([`rollout`]). What is
//! made says by its affinity which node it is for; binding it there is the scheduler's.
//!
//! A node refuses Pods now and then, by failing them. [`backoff`] remembers how often, so that DaemonSet and node do not
//! fight without end.

mod backoff;
mod manage;
mod rollout;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers, Write,
    controller::{OnFailure, Patch, Request},
    events::{Note, ObjectRef},
    resource::{DAEMON_SETS, PODS},
};
use jiff::Timestamp;
use runtime::SharedClock;
use serde_json::{Value, json};

use self::backoff::Backoff;
use crate::{
    claim::{self, Claimed},
    conditions,
    kinds::{ControllerRevision, DaemonSet, Node, Pod, daemon_set::DaemonSetStatus, node::Taint},
    placement::Placement,
    pods,
    revisions::{self, Free, Wanted},
};

/// The label that tells the Pods of a DaemonSet's templates apart, and their revisions.
const HASH: &str = "controller-revision-hash";
/// The label that did so before there were revisions.
const GENERATION: &str = "pod-template-generation";
/// At most so many Pods are made, and given up, in one look.
const BURST: usize = 250;
/// A DaemonSet that does not say so keeps so many old revisions.
const HISTORY: i32 = 10;

/// Keeps DaemonSets.
pub struct DaemonSets {
    clock: SharedClock,
    backoff: Backoff,
}

/// All that matters to a DaemonSet.
#[derive(Debug)]
pub struct Observed {
    root: Arc<DaemonSet>,
    /// All nodes, by name.
    nodes: Vec<Arc<Node>>,
    /// Its Pods, and those it might adopt.
    candidates: Vec<Arc<Pod>>,
    /// Its revisions, and those it might adopt.
    revisions: Vec<Arc<ControllerRevision>>,
    /// What a revision of its template would be named, if it is to be made.
    free: Option<Free>,
    /// How long each failed Pod stays, by uid, so that its node is not flooded.
    held: BTreeMap<Box<str>, Duration>,
}

/// What a DaemonSet has to do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fit {
    /// It shall have a Pod.
    runs: bool,
    /// A Pod that is there may stay.
    keeps: bool,
}

/// A DaemonSet in the course of a look.
struct Work<'a> {
    root: &'a DaemonSet,
    now: Timestamp,
    about: ObjectRef,
    /// The hash of its newest revision.
    hash: String,
    nodes: BTreeMap<&'a str, Fit>,
    /// Its Pods by the node they are on or meant for, but for those that have ended and go.
    pods: BTreeMap<&'a str, Vec<Arc<Pod>>>,
    held: &'a BTreeMap<Box<str>, Duration>,
    plan: Plan,
}

// === impl DaemonSets ===

impl fmt::Debug for DaemonSets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonSets").field("backoff", &self.backoff).finish_non_exhaustive()
    }
}

impl DaemonSets {
    /// Counts time by this clock.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, backoff: Backoff::default() }
    }
}

impl Controller for DaemonSets {
    type Root = DaemonSet;
    type Observed = Observed;
    const NAME: &'static str = "daemonset-controller";

    fn triggers(&self, on: &mut Triggers<DaemonSet>) {
        claim::triggers::<DaemonSet, Pod>(on);
        claim::children::<DaemonSet, ControllerRevision>(on);
        // Nodes report every few seconds; what makes a difference here is rare.
        on.changes::<Node>(|change, caches| {
            if let Change::Modified { old, new } = change
                && old.metadata.labels == new.metadata.labels
                && same_taints(&old.spec.taints, &new.spec.taints)
            {
                return Vec::new();
            }
            caches.read::<DaemonSet>().list().iter().map(|root| root.key()).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let Some(root) = caches.read::<DaemonSet>().get(root) else {
            self.backoff.forget(root);
            return None;
        };
        let candidates = claim::candidates::<Pod>(&root.metadata, caches);
        let revisions = claim::candidates::<ControllerRevision>(&root.metadata, caches);
        let template = &root.spec.template;
        let has =
            revisions.iter().any(|it| root.spec.selector.matches(&it.metadata.labels) && it.is_of(template));
        let free =
            (!has).then(|| revisions::free(&root.metadata, template, root.status.collision_count, caches));
        let held = self.backoff.held(&root, &candidates, self.clock.now());
        Some(Observed { nodes: caches.read::<Node>().list(), root, candidates, revisions, free, held })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let root = &*observed.root;
        if root.metadata.is_terminating() {
            // Whether its history is still there nobody knows: nothing can be told of it.
            return Plan::because("the DaemonSet is being deleted; its Pods are the garbage collector's");
        }
        if root.spec.selector.is_everything() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            return Plan::because("a DaemonSet that selects all Pods is left alone")
                .then(Write::event(ObjectRef::to(root), Note::warning("SelectingAll", message)));
        }
        let Claimed { objects: pods, mut writes } = claim::claim(root, &observed.candidates, &[]);
        let Claimed { objects: mut history, writes: more } = claim::claim(root, &observed.revisions, &[]);
        revisions::sort(&mut history);
        writes.extend(more);

        let mut status = root.status.clone();
        let mut work = Work::new(observed, &pods, now);
        work.plan.writes.extend(writes.into_iter().map(Write::from));
        work.name_revision(observed, &history, &pods, &mut status);
        work.manage();
        let steady = work.plan.writes.iter().all(|write| !is_of_pods(write));
        if steady && root.is_rolling() {
            work.roll();
        }
        work.clean_up(&history, &pods);
        work.tell(status)
    }
}

/// When a taint came does not matter.
fn same_taints(old: &[Taint], new: &[Taint]) -> bool {
    let same = |(old, new): (&Taint, &Taint)| {
        (&old.key, &old.value, &old.effect) == (&new.key, &new.value, &new.effect)
    };
    old.len() == new.len() && old.iter().zip(new).all(same)
}

fn is_of_pods(write: &Write) -> bool {
    match write {
        Write::Batch { requests, .. } => requests.iter().any(|request| request.resource == PODS),
        Write::Request(_) | Write::Event { .. } => false,
    }
}

fn clamp(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

// === impl Work ===

impl<'a> Work<'a> {
    fn new(observed: &'a Observed, own: &[Arc<Pod>], now: Timestamp) -> Self {
        let root = &*observed.root;
        let mut placement: Placement = root.spec.template.spec();
        placement.tolerations.extend(manage::tolerations(placement.host_network));
        let fit = |node: &'a Arc<Node>| (&*node.metadata.name, fit(&placement, node));
        let mut pods = BTreeMap::<&str, Vec<Arc<Pod>>>::new();
        for pod in &observed.candidates {
            let claimed = own.iter().any(|it| Arc::ptr_eq(it, pod));
            let ended = pod.is_finished() && pod.metadata.is_terminating();
            let Some(node) = pod.target_node().filter(|_| claimed && !ended) else { continue };
            pods.entry(node).or_default().push(Arc::clone(pod));
        }
        // Those on a node first, then the oldest.
        for pods in pods.values_mut() {
            pods.sort_by_cached_key(|pod| {
                let meta = &pod.metadata;
                (pod.spec.node_name.is_empty(), meta.creation_timestamp, Arc::clone(&meta.name))
            });
        }
        Self {
            root,
            now,
            about: ObjectRef::to(root),
            hash: String::new(),
            nodes: observed.nodes.iter().map(fit).collect(),
            pods,
            held: &observed.held,
            plan: Plan::because("every node that shall have a Pod has one"),
        }
    }

    fn then(&mut self, write: impl Into<Write>) {
        self.plan.writes.push(write.into());
    }

    fn look_again(&mut self, after: Duration) {
        self.plan.look_again = Some(self.plan.look_again.map_or(after, |planned| planned.min(after)));
    }

    /// So many nodes shall have a Pod.
    fn wanted(&self) -> i32 {
        clamp(self.nodes.values().filter(|fit| fit.runs).count())
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        let label = |name: &str| pod.metadata.labels.get(name);
        let generation = self.root.template_generation().map(|it| it.to_string());
        label(HASH) == Some(self.hash.as_str())
            || (generation.is_some() && label(GENERATION) == generation.as_deref())
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::is_available(pod, self.root.spec.min_ready_seconds, self.now)
    }

    /// Sees to it that the wanted template has the newest revision, and just one.
    fn name_revision(
        &mut self,
        observed: &Observed,
        history: &[Arc<ControllerRevision>],
        pods: &[Arc<Pod>],
        status: &mut DaemonSetStatus,
    ) {
        for revision in history.iter().filter(|it| !it.metadata.labels.contains(HASH)) {
            let label = json!({"metadata": {"labels": {HASH: revision.metadata.name}}});
            self.then(revisions::patch(revision, label));
        }
        let template = &self.root.spec.template;
        let newest = match revisions::wanted(history, template) {
            Wanted::Newest(revision) => revision,
            Wanted::Back(revision, number) => {
                self.then(revisions::renumber(&revision, number));
                revision
            }
            Wanted::Missing(number) => {
                let Some(free) = &observed.free else { return };
                self.hash.clone_from(&free.hash);
                status.collision_count = free.collisions;
                self.then(revisions::create(&DAEMON_SETS, &self.root.metadata, template, free, number, HASH));
                return;
            }
        };
        let hash = newest.metadata.labels.get(HASH).unwrap_or(&newest.metadata.name).to_owned();
        // Two revisions of one template: the Pods of both become those of the newest.
        let twins: Vec<_> = history
            .iter()
            .filter(|it| it.metadata.uid != newest.metadata.uid && it.is_of(template))
            .collect();
        if !twins.is_empty() {
            for pod in pods.iter().filter(|pod| pod.metadata.labels.get(HASH) != Some(&hash)) {
                let label = Patch::merge(json!({"metadata": {"labels": {HASH: hash}}}));
                self.then(
                    Request::patch(PODS, pod.key(), label).if_same(&pod.metadata.uid).conflict_is_fine(),
                );
            }
        }
        for twin in twins {
            self.then(Request::delete(client::resource::CONTROLLER_REVISIONS, &twin.metadata));
        }
        self.hash = hash;
    }

    /// Old revisions go, the oldest first, but none that a Pod has.
    fn clean_up(&mut self, history: &[Arc<ControllerRevision>], pods: &[Arc<Pod>]) {
        let old: Vec<_> = history.iter().filter(|it| !it.is_of(&self.root.spec.template)).cloned().collect();
        let keep = self.root.spec.revision_history_limit.unwrap_or(HISTORY);
        let surplus = old.len().saturating_sub(usize::try_from(keep).unwrap_or_default());
        let needed = |revision: &ControllerRevision| {
            let hash = revision.metadata.labels.get(HASH);
            hash.is_some() && pods.iter().any(|pod| pod.metadata.labels.get(HASH) == hash)
        };
        for delete in revisions::truncate(&old, surplus, needed) {
            self.then(delete);
        }
    }

    /// Counts, and tells what is new.
    fn tell(mut self, mut status: DaemonSetStatus) -> Plan {
        let (mut current, mut mis, mut ready, mut updated, mut available) = (0, 0, 0, 0, 0);
        for (node, fit) in &self.nodes {
            let Some(first) = self.pods.get(node).and_then(|pods| pods.first()) else { continue };
            if !fit.runs {
                mis += 1;
                continue;
            }
            current += 1;
            ready += i32::from(first.is_ready());
            available += i32::from(self.is_available(first));
            updated += i32::from(self.is_updated(first));
        }
        let wanted = self.wanted();
        status.desired_number_scheduled = wanted;
        status.current_number_scheduled = current;
        status.number_misscheduled = mis;
        status.number_ready = ready;
        status.updated_number_scheduled = updated;
        status.number_available = available;
        status.number_unavailable = wanted - available;
        status.observed_generation = self.root.metadata.generation;
        let all: Vec<_> = self.pods.values().flatten().cloned().collect();
        if let Some(after) = pods::next_available_in(&all, self.root.spec.min_ready_seconds, self.now) {
            self.look_again(after);
        }
        if status != self.root.status {
            let request = Request::status(DAEMON_SETS, self.root.key(), to_value(&status));
            self.then(request.if_same(&self.root.metadata.uid).on_failure(OnFailure::GoOn));
        }
        self.plan
    }
}

/// Whether a Pod belongs on a node.
fn fit(placement: &Placement, node: &Node) -> Fit {
    let taints = &node.spec.taints;
    if !placement.wants(&node.metadata) {
        return Fit { runs: false, keeps: false };
    }
    if placement.tolerates(taints, &["NoSchedule", "NoExecute"]) {
        return Fit { runs: true, keeps: true };
    }
    // Where it may not come, it may stay, unless the taint drives it out.
    Fit { runs: false, keeps: placement.tolerates(taints, &["NoExecute"]) }
}

fn to_value(status: &DaemonSetStatus) -> Value {
    json!({
        "currentNumberScheduled": status.current_number_scheduled,
        "numberMisscheduled": status.number_misscheduled,
        "desiredNumberScheduled": status.desired_number_scheduled,
        "numberReady": status.number_ready,
        "observedGeneration": status.observed_generation,
        "updatedNumberScheduled": conditions::count(status.updated_number_scheduled),
        "numberAvailable": conditions::count(status.number_available),
        "numberUnavailable": conditions::count(status.number_unavailable),
        "collisionCount": status.collision_count,
    })
}
