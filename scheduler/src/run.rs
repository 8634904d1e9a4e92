//! The shell around the decisions: news from caches in, bindings out.
//!
//! One task decides, one Pod at a time; a binding is a task of its own, against assumed state. News goes to the cluster and
//! the queue in one step, so that what the queue was told has always happened in the snapshot that follows.
//!
//! Invariant: nothing is decided here.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use client::{Api, Cache, Caches, Change, events::Recorder};
use parking_lot::Mutex;
use runtime::Runtime;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    bind::Statuses,
    cycle::{self, Question},
    metrics::Metrics,
    node::{Namespace, Node},
    plugin::ClusterEvent,
    pod::Pod,
    profile::Profiles,
    queue::{Counts, Queue, Turn, Waits},
    record::{Record, Records},
    snapshot::{Cluster, Snapshot},
};

/// So many Pods are bound at a time. When full: nothing more is decided until one is done.
const BINDINGS_MAX: usize = 256;

/// How to schedule.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who decides for which Pods.
    pub profiles: Profiles,
    /// How many of the nodes are looked at, in percent; adaptive if 0.
    pub percentage_of_nodes_to_score: u32,
    /// How long Pods wait.
    pub waits: Waits,
    /// Which scheduler of that name this is, such as the host's name: Events tell it.
    pub instance: String,
}

/// A running scheduler. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) runtime: Runtime,
    pub(crate) api: Api,
    pub(crate) pods: Cache<Pod>,
    pub(crate) statuses: Arc<Statuses>,
    pub(crate) metrics: Metrics,
    options: Options,
    records: Records,
    recorders: BTreeMap<String, Recorder>,
    origin: Instant,
    wake: Notify,
    bindings: Arc<Semaphore>,
}

/// What decisions are made on.
pub(crate) struct State {
    pub(crate) cluster: Cluster,
    pub(crate) queue: Queue<Profiles>,
    next_start: usize,
}

/// A decision that was carried out in memory and must now be carried out in the cluster.
pub(crate) struct Binding {
    pub(crate) turn: Turn,
    pub(crate) node: Arc<str>,
    pub(crate) begun: Instant,
    pub(crate) _slot: OwnedSemaphorePermit,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            profiles: Profiles::default(),
            percentage_of_nodes_to_score: 0,
            waits: Waits::default(),
            instance: "binnacle".to_owned(),
        }
    }
}

/// Starts a scheduler; it runs until the runtime's tasks are told to stop.
pub fn start(runtime: &Runtime, api: Api, options: Options) -> Handle {
    let caches = Caches::new(api.clone(), runtime);
    let recorders = options
        .profiles
        .iter()
        .map(|profile| {
            let name = &profile.scheduler_name;
            let instance = format!("{name}-{}", options.instance);
            (name.clone(), Recorder::start_series(runtime, api.clone(), name, &instance))
        })
        .collect();
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            cluster: Cluster::default(),
            queue: Queue::new(options.profiles.clone(), options.waits),
            next_start: 0,
        }),
        runtime: runtime.clone(),
        api,
        pods: caches.want::<Pod>(),
        statuses: Arc::default(),
        metrics: Metrics::new(),
        options,
        records: Records::default(),
        recorders,
        origin: Instant::now(),
        wake: Notify::new(),
        bindings: Arc::new(Semaphore::new(BINDINGS_MAX)),
    });
    let hear = Arc::clone(&shared);
    caches.want::<Node>().subscribe(move |change| hear.node_changed(change));
    let hear = Arc::clone(&shared);
    caches.want::<Namespace>().subscribe(move |change| hear.namespace_changed(change));
    let hear = Arc::clone(&shared);
    shared.pods.subscribe(move |change| hear.pod_changed(change));
    runtime.tasks.spawn("pod-statuses", Arc::clone(&shared).write_statuses());
    runtime.tasks.spawn("scheduler", Arc::clone(&shared).run(caches));
    Handle { shared }
}

// === impl Handle ===

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("queue", &self.counts()).finish_non_exhaustive()
    }
}

impl Handle {
    /// The latest decisions.
    pub fn records(&self) -> Records {
        self.shared.records.clone()
    }

    /// How it goes.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics.clone()
    }

    /// How many Pods wait where.
    pub fn counts(&self) -> Counts {
        self.shared.state.lock().queue.counts()
    }
}

// === impl Shared ===

impl Shared {
    /// The time of queues.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Somebody's turn may have come.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Who tells people about a Pod.
    pub(crate) fn recorder(&self, pod: &Pod) -> Option<&Recorder> {
        self.recorders.get(&*pod.scheduler_name)
    }

    fn node_changed(&self, change: &Change<Node>) {
        let mut state = self.state.lock();
        let event = match change {
            Change::Added(new) => {
                state.cluster.set_node(new);
                Some(ClusterEvent::NodeAdded(Arc::clone(new)))
            }
            Change::Modified { old, new } => {
                state.cluster.set_node(new);
                let event = || ClusterEvent::NodeUpdated { old: Arc::clone(old), new: Arc::clone(new) };
                (!old.schedules_like(new)).then(event)
            }
            Change::Deleted { last, .. } => {
                state.cluster.remove_node(last.name());
                Some(ClusterEvent::NodeDeleted(Arc::clone(last)))
            }
        };
        if let Some(event) = event {
            self.happened(&mut state, &event);
        }
    }

    fn namespace_changed(&self, change: &Change<Namespace>) {
        let mut state = self.state.lock();
        match change.after() {
            Some(namespace) => state.cluster.set_namespace(&namespace.metadata),
            None => state.cluster.remove_namespace(&change.object().metadata.name),
        }
        if let Change::Modified { old, new } = change
            && old.metadata.labels != new.metadata.labels
        {
            let event = ClusterEvent::NamespaceUpdated(Arc::clone(new));
            self.happened(&mut state, &event);
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let mut state = self.state.lock();
        let alive = |pod: &&Arc<Pod>| !pod.ended;
        match (change.before().filter(alive), change.after().filter(alive)) {
            (before, Some(pod)) if pod.is_assigned() => {
                state.queue.remove(pod.uid());
                self.statuses.forget(pod.uid());
                state.cluster.place(pod);
                let event = match before.filter(|before| before.is_assigned()) {
                    None => Some(ClusterEvent::PodAssigned(Arc::clone(pod))),
                    Some(old) if old.schedules_like(pod) => None,
                    Some(old) => {
                        Some(ClusterEvent::PodUpdated { old: Arc::clone(old), new: Arc::clone(pod) })
                    }
                };
                if let Some(event) = event {
                    self.happened(&mut state, &event);
                }
            }
            (_, Some(pod)) => {
                // An assumed Pod waits for nothing, unless it is to be deleted: then its place is free.
                if state.cluster.is_assumed(pod.uid()) {
                    if pod.metadata.is_terminating() {
                        self.leave(&mut state, pod.uid());
                    }
                } else if self.options.profiles.of(pod).is_some() {
                    state.queue.set(pod, self.now());
                    self.wake();
                }
            }
            (_, None) => {
                let uid = change.object().uid();
                state.queue.remove(uid);
                self.statuses.forget(uid);
                self.leave(&mut state, uid);
            }
        }
    }

    /// A Pod takes no place any more.
    fn leave(&self, state: &mut State, uid: &str) {
        if let Some(pod) = state.cluster.remove(uid) {
            self.happened(state, &ClusterEvent::PodRemoved(pod));
        }
    }

    /// Something may have helped those who wait.
    pub(crate) fn happened(&self, state: &mut State, event: &ClusterEvent) {
        if state.queue.happened(event, self.now()) > 0 {
            self.wake();
        }
    }

    async fn run(self: Arc<Self>, caches: Caches) {
        caches.synced().await;
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&self.bindings).acquire_owned().await else { return };
            match self.next() {
                Ok((turn, snapshot, start)) => {
                    Arc::clone(&self).attempt(turn, &snapshot, start, slot);
                    // Bindings and news have their turn too.
                    tokio::task::yield_now().await;
                }
                Err(next_at) => {
                    drop(slot);
                    self.rest(next_at).await;
                }
            }
        }
    }

    /// The next Pod and what to decide on, or when there will be one by itself.
    fn next(&self) -> Result<(Turn, Snapshot, usize), Option<Duration>> {
        let mut state = self.state.lock();
        let turn = state.queue.pop(self.now());
        let (pods, assumed) = state.cluster.pods();
        let snapshot = state.cluster.snapshot();
        self.metrics.sizes(state.queue.counts(), snapshot.len(), pods, assumed);
        turn.map(|turn| (turn, snapshot, state.next_start)).ok_or_else(|| state.queue.next_at())
    }

    async fn rest(&self, until: Option<Duration>) {
        let time = async {
            match until {
                Some(until) => tokio::time::sleep_until(self.origin + until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.wake.notified() => {}
            () = time => {}
        }
    }

    /// Decides on one Pod and begins to carry it out.
    fn attempt(self: Arc<Self>, turn: Turn, snapshot: &Snapshot, start: usize, slot: OwnedSemaphorePermit) {
        let begun = Instant::now();
        let pod = Arc::clone(&turn.pod);
        let Some(profile) = self.options.profiles.of(&pod) else {
            self.state.lock().queue.done(pod.uid());
            return;
        };
        if pod.metadata.is_terminating() {
            self.state.lock().queue.done(pod.uid());
            self.tell_skipped(&pod);
            return;
        }
        let decision = cycle::decide(&Question {
            pod: &pod,
            snapshot,
            profile,
            percentage_of_nodes_to_score: self.options.percentage_of_nodes_to_score,
            start,
            lot: self.runtime.random.below(u64::MAX),
        });
        self.metrics.algorithm_duration.observe(begun.elapsed().as_secs_f64());
        let outcome = decision.outcome.clone();
        let next_start = decision.next_start;
        let record = Record {
            at: self.runtime.clock.now(),
            pod: pod.key(),
            uid: pod.uid().into(),
            profile: profile.scheduler_name.clone(),
            attempt: turn.attempts,
            took: begun.elapsed(),
            nodes: snapshot.len(),
            feasible: 0,
            node: None,
            message: String::new(),
            rejected: Vec::new(),
            scores: cycle::Scores::default(),
        };
        let record = self.records.push(record.decided(decision));
        let mut state = self.state.lock();
        state.next_start = next_start;
        match outcome {
            Ok(chosen) => {
                // It may have gone, or somebody else may have bound it, while this was decided.
                let wanted = state.queue.is_in_flight(pod.uid());
                state.queue.done(pod.uid());
                if wanted {
                    state.cluster.assume(&pod, &chosen.node);
                    drop(state);
                    self.statuses.forget(pod.uid());
                    let binding = Binding { turn, node: chosen.node, begun, _slot: slot };
                    let tasks = self.runtime.tasks.clone();
                    tasks.spawn("bind", self.bind(binding));
                }
            }
            Err(diagnosis) => {
                let now = self.now();
                let current = state.queue.give_back(turn, diagnosis.plugins(), now);
                drop(state);
                self.count("unschedulable", &pod, begun);
                if let Some(pod) = current {
                    self.tell_failure(&pod, "Unschedulable", &record.message);
                }
            }
        }
    }

    pub(crate) fn count(&self, result: &str, pod: &Pod, begun: Instant) {
        let labels = [result, &*pod.scheduler_name];
        self.metrics.schedule_attempts.with_label_values(&labels).inc();
        self.metrics.attempt_duration.with_label_values(&labels).observe(begun.elapsed().as_secs_f64());
    }
}
