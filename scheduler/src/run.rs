//! The shell around the decisions: news from caches in, bindings out.
//!
//! One task decides, one Pod at a time; a binding is a task of its own, against assumed state. News goes to the cluster and
//! the queue in one step, so that what the queue was told has always happened in the snapshot that follows.
//!
//! Invariant: nothing is decided here.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use client::{Api, Cache, Caches, Change, Kind, events::Recorder};
use parking_lot::Mutex;
use runtime::Runtime;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    bind::{Nomination, Statuses},
    cycle::{self, Chosen, Decision, Diagnosis, Memory, Question},
    devices::{claim::ResourceClaim, class::DeviceClass, slice::Slice},
    metrics::Metrics,
    node::{Namespace, Node},
    plugin::{ClusterEvent, DeviceEvent, Eviction, Holding, Relief, Remedy, StorageEvent},
    plugins::default_preemption,
    pod::Pod,
    profile::{Profile, Profiles},
    queue::{Counts, Queue, Turn, Waits},
    record::{Record, Records},
    snapshot::{Cluster, Others, Snapshot},
    storage::{AttachedVolume, Capacity, Claim, Driver, NodeDrivers, Volume, VolumeClass},
    workload::{Budget, ReplicaSet, ReplicationController, Service, StatefulSet},
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
    pub(crate) claims: Cache<Claim>,
    pub(crate) volumes: Cache<Volume>,
    pub(crate) device_claims: Cache<ResourceClaim>,
    pub(crate) statuses: Arc<Statuses>,
    pub(crate) metrics: Metrics,
    pub(crate) options: Options,
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
    /// What is remembered from cycle to cycle; not there during one.
    memory: Memory,
}

/// A decision that was carried out in memory and must now be carried out in the cluster.
pub(crate) struct Binding {
    pub(crate) turn: Turn,
    pub(crate) node: Arc<str>,
    pub(crate) holdings: Vec<Holding>,
    pub(crate) begun: Instant,
    pub(crate) slot: OwnedSemaphorePermit,
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
            memory: Memory::default(),
        }),
        runtime: runtime.clone(),
        api,
        pods: caches.want::<Pod>(),
        claims: caches.want::<Claim>(),
        volumes: caches.want::<Volume>(),
        device_claims: caches.want::<ResourceClaim>(),
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
    shared.hear_of_others(&caches);
    shared.hear_of_devices(&caches);
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

    /// Takes in what else decisions look at.
    fn hear_of_others(self: &Arc<Self>, caches: &Caches) {
        fn hear<K: Kind>(
            shared: &Arc<Shared>,
            cache: &Cache<K>,
            take: impl Fn(&mut Others, &Change<K>) + Send + 'static,
            event: impl Fn(&Change<K>) -> Option<ClusterEvent> + Send + 'static,
        ) {
            let shared = Arc::clone(shared);
            cache.subscribe(move |change| {
                let mut state = shared.state.lock();
                take(state.cluster.others_mut(), change);
                if let Some(event) = event(change) {
                    shared.happened(&mut state, &event);
                }
            });
        }
        fn comes<K>(event: StorageEvent) -> impl Fn(&Change<K>) -> Option<ClusterEvent> {
            move |change| change.after().is_some().then(|| ClusterEvent::Storage(event.clone()))
        }
        hear(self, &caches.want::<Budget>(), |others, change| others.budgets.take(change), |_| None);
        hear(self, &caches.want::<Service>(), |others, change| others.services.take(change), |_| None);
        let controllers = caches.want::<ReplicationController>();
        hear(self, &controllers, |others, change| others.replication_controllers.take(change), |_| None);
        hear(self, &caches.want::<ReplicaSet>(), |others, change| others.replica_sets.take(change), |_| None);
        hear(
            self,
            &caches.want::<StatefulSet>(),
            |others, change| others.stateful_sets.take(change),
            |_| None,
        );
        let claimed = |change: &Change<Claim>| {
            let claim = change.after()?;
            Some(ClusterEvent::Storage(StorageEvent::Claim(claim.key())))
        };
        hear(self, &self.claims, |others, change| others.claims.take(change), claimed);
        hear(self, &self.volumes, |others, change| others.volumes.take(change), comes(StorageEvent::Volume));
        let classes = caches.want::<VolumeClass>();
        hear(self, &classes, |others, change| others.classes.take(change), comes(StorageEvent::Class));
        let drivers = caches.want::<Driver>();
        hear(self, &drivers, |others, change| others.drivers.take(change), comes(StorageEvent::Driver));
        let of_nodes = caches.want::<NodeDrivers>();
        hear(
            self,
            &of_nodes,
            |others, change| others.node_drivers.take(change),
            comes(StorageEvent::NodeDrivers),
        );
        let capacities = caches.want::<Capacity>();
        hear(
            self,
            &capacities,
            |others, change| others.capacities.take(change),
            comes(StorageEvent::Capacity),
        );
        let detached = |change: &Change<AttachedVolume>| {
            change.after().is_none().then_some(ClusterEvent::Storage(StorageEvent::Detached))
        };
        hear(self, &caches.want::<AttachedVolume>(), |others, change| others.attached.take(change), detached);
    }

    /// Takes in what devices there are, and who has them.
    fn hear_of_devices(self: &Arc<Self>, caches: &Caches) {
        let shared = Arc::clone(self);
        caches.want::<DeviceClass>().subscribe(move |change| {
            let mut state = shared.state.lock();
            state.cluster.others_mut().devices.take_class(change);
            if let Some(new) = change.after() {
                let old = change.before().cloned();
                let event = DeviceEvent::Class { old, new: Arc::clone(new) };
                shared.happened(&mut state, &ClusterEvent::Devices(event));
            }
        });
        let shared = Arc::clone(self);
        caches.want::<Slice>().subscribe(move |change| {
            let mut state = shared.state.lock();
            state.cluster.others_mut().devices.take_slice(change);
            if change.after().is_some() {
                shared.happened(&mut state, &ClusterEvent::Devices(DeviceEvent::Slice));
            }
        });
        let shared = Arc::clone(self);
        self.device_claims.subscribe(move |change| {
            let mut state = shared.state.lock();
            let freed = state.cluster.others_mut().devices.take_claim(change);
            if let Some(new) = change.after() {
                let old = change.before().cloned();
                let event = DeviceEvent::Claim { old, new: Arc::clone(new) };
                shared.happened(&mut state, &ClusterEvent::Devices(event));
            }
            if freed {
                shared.happened(&mut state, &ClusterEvent::Devices(DeviceEvent::Freed));
            }
        });
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let alive = |pod: &&Arc<Pod>| !pod.ended;
        match (change.before().filter(alive), change.after().filter(alive)) {
            (before, Some(pod)) if pod.is_assigned() => {
                state.queue.remove(pod.uid());
                self.statuses.forget(pod.uid());
                state.cluster.forget_nomination(pod.uid());
                state.cluster.place(pod);
                let event = match before.filter(|before| before.is_assigned()) {
                    None => Some(ClusterEvent::PodAssigned(Arc::clone(pod))),
                    Some(old) if old.schedules_like(pod) => None,
                    Some(old) => {
                        Some(ClusterEvent::PodUpdated { old: Arc::clone(old), new: Arc::clone(pod) })
                    }
                };
                if let Some(event) = event {
                    self.happened(state, &event);
                }
            }
            (before, Some(pod)) => {
                // An assumed Pod waits for nothing, unless it is to be deleted: then its place is free.
                if state.cluster.is_assumed(pod.uid()) {
                    if pod.metadata.is_terminating() {
                        self.leave(state, pod.uid());
                    }
                } else if self.options.profiles.of(pod).is_some() {
                    self.nomination_changed(state, before, pod);
                    state.queue.set(pod, self.now(), state.cluster.others());
                    self.wake();
                }
            }
            (_, None) => {
                let uid = change.object().uid();
                state.queue.remove(uid);
                self.statuses.forget(uid);
                // Others yielded to it as if it were there.
                if let Some(pod) = state.cluster.forget_nomination(uid) {
                    self.happened(state, &ClusterEvent::PodRemoved(pod));
                }
                self.leave(state, uid);
            }
        }
    }

    /// A waiting Pod came or changed, and maybe the node that is kept free for it.
    fn nomination_changed(&self, state: &mut State, before: Option<&Arc<Pod>>, pod: &Arc<Pod>) {
        let said_before = before.map(|before| &*before.nominated_node_name).unwrap_or_default();
        let node = if pod.nominated_node_name.is_empty() && said_before.is_empty() {
            // What was decided here may not have been written yet.
            state.cluster.nomination(pod.uid()).unwrap_or_default().to_owned()
        } else {
            (*pod.nominated_node_name).to_owned()
        };
        if state.cluster.nominate(pod, &node) {
            self.happened(state, &ClusterEvent::PodRemoved(Arc::clone(pod)));
        }
    }

    /// A Pod takes no place any more.
    fn leave(&self, state: &mut State, uid: &str) {
        state.cluster.others_mut().release(uid);
        if let Some(pod) = state.cluster.remove(uid) {
            self.happened(state, &ClusterEvent::PodRemoved(pod));
        }
    }

    /// Something may have helped those who wait.
    pub(crate) fn happened(&self, state: &mut State, event: &ClusterEvent) {
        let begun = Instant::now();
        if state.queue.happened(event, self.now(), state.cluster.others()) > 0 {
            self.wake();
        }
        self.metrics.handled(event.label(), begun.elapsed());
    }

    async fn run(self: Arc<Self>, caches: Caches) {
        caches.synced().await;
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&self.bindings).acquire_owned().await else { return };
            match self.next() {
                Ok((turn, snapshot, start)) => {
                    Arc::clone(&self).attempt(turn, snapshot, start, slot);
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
        let state = &mut *self.state.lock();
        state.cluster.others_mut().devices.as_of = self.runtime.clock.now();
        let turn = state.queue.pop(self.now(), state.cluster.others());
        let (pods, assumed) = state.cluster.pods();
        let snapshot = state.cluster.snapshot();
        self.metrics.bindings(BINDINGS_MAX - self.bindings.available_permits().min(BINDINGS_MAX));
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
    fn attempt(self: Arc<Self>, turn: Turn, snapshot: Snapshot, start: usize, slot: OwnedSemaphorePermit) {
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
        let kept_free = self.state.lock().cluster.nomination(pod.uid()).map(str::to_owned);
        let mut memory = std::mem::take(&mut self.state.lock().memory);
        let question = Question {
            pod: &pod,
            snapshot: &snapshot,
            profile,
            nominated: kept_free.as_deref(),
            percentage_of_nodes_to_score: self.options.percentage_of_nodes_to_score,
            start,
            lot: self.runtime.random.below(u64::MAX),
        };
        let mut decision = cycle::decide_with(&question, &mut memory);
        self.state.lock().memory = memory;
        let holdings = reserve(profile, &pod, &snapshot, &mut decision);
        self.metrics.algorithm_duration.observe(begun.elapsed().as_secs_f64());
        let outcome = decision.outcome.clone();
        let relief = decision.relief.take();
        let remedy = decision.remedy.take();
        self.state.lock().next_start = decision.next_start;
        let record =
            Record::new(&turn, profile, &snapshot, self.runtime.clock.now(), begun.elapsed(), decision);
        // What is decided on from now on is another snapshot; this one would make every change a copy.
        drop(snapshot);
        let record = self.records.push(record);
        match outcome {
            Ok(chosen) => self.go_to(turn, chosen, holdings, begun, slot),
            Err(diagnosis) => {
                if let Some(relief) = &relief {
                    self.metrics.tried_preemption(relief);
                }
                let result =
                    if matches!(diagnosis, Diagnosis::Failed(_)) { "error" } else { "unschedulable" };
                self.go_nowhere(turn, &diagnosis, relief, &record.message);
                self.count(result, &pod, begun);
                if let Some(remedy) = remedy {
                    self.apply(pod, remedy);
                }
            }
        }
    }

    fn go_to(
        self: Arc<Self>,
        turn: Turn,
        chosen: Chosen,
        holdings: Vec<Holding>,
        begun: Instant,
        slot: OwnedSemaphorePermit,
    ) {
        let pod = Arc::clone(&turn.pod);
        let mut state = self.state.lock();
        // It may have gone, or somebody else may have bound it, while this was decided.
        let wanted = state.queue.is_in_flight(pod.uid());
        state.queue.done(pod.uid());
        if wanted {
            state.cluster.forget_nomination(pod.uid());
            state.cluster.assume(&pod, &chosen.node);
            state.cluster.others_mut().hold(pod.uid(), holdings.clone());
            drop(state);
            self.statuses.forget(pod.uid());
            let binding = Binding { turn, node: chosen.node, holdings, begun, slot };
            let tasks = self.runtime.tasks.clone();
            tasks.spawn("bind", self.bind(binding));
        }
    }

    fn go_nowhere(
        self: &Arc<Self>,
        turn: Turn,
        diagnosis: &Diagnosis,
        relief: Option<Relief>,
        message: &str,
    ) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let mut eviction: Option<Eviction> = None;
        let nomination = match (diagnosis, relief) {
            (Diagnosis::Failed(_), _) => Nomination::Clear,
            (_, Some(Relief::Room(room))) => {
                let nomination = Nomination::Set(Arc::clone(&room.node));
                eviction = Some(room);
                nomination
            }
            (
                _,
                Some(Relief::None { gives_up: false, .. } | Relief::Later { .. } | Relief::Failed { .. }),
            ) => Nomination::Keep,
            (_, Some(Relief::None { gives_up: true, .. }) | None) => Nomination::Clear,
        };
        // Who is on the way out already needs not be told.
        let victims =
            |eviction: &Eviction| eviction.victims.iter().any(|victim| !victim.metadata.is_terminating());
        let eviction = eviction.filter(victims);
        let uid: Box<str> = turn.pod.uid().into();
        if eviction.is_some() {
            state.queue.hold_back(&uid, default_preemption::NAME);
        }
        let now = self.now();
        let others = state.cluster.others();
        let Some(pod) = state.queue.give_back(turn, diagnosis.plugins(), now, others) else {
            state.queue.let_go(&uid, false, now, state.cluster.others());
            return;
        };
        match &nomination {
            Nomination::Keep => {}
            Nomination::Clear => {
                if state.cluster.nominate(&pod, "") {
                    self.happened(state, &ClusterEvent::PodRemoved(Arc::clone(&pod)));
                }
            }
            Nomination::Set(node) => {
                state.cluster.nominate(&pod, node);
            }
        }
        drop(guard);
        if let Some(eviction) = eviction {
            self.runtime.tasks.spawn("preempt", Arc::clone(self).preempt(Arc::clone(&pod), eviction));
        }
        let reason =
            if matches!(diagnosis, Diagnosis::Failed(_)) { "SchedulerError" } else { "Unschedulable" };
        self.tell_failure(&pod, reason, message, nomination);
    }

    /// Does what may help a Pod later.
    fn apply(self: &Arc<Self>, pod: Arc<Pod>, remedy: Remedy) {
        self.runtime.tasks.spawn("device-claims", Arc::clone(self).remedy(pod, remedy));
    }

    pub(crate) fn count(&self, result: &str, pod: &Pod, begun: Instant) {
        let labels = [result, &*pod.scheduler_name];
        self.metrics.schedule_attempts.with_label_values(&labels).inc();
        self.metrics.attempt_duration.with_label_values(&labels).observe(begun.elapsed().as_secs_f64());
    }
}

/// Takes what a Pod needs on its node beside what nodes are counted by; if it cannot have that, it goes nowhere.
fn reserve(profile: &Profile, pod: &Pod, snapshot: &Snapshot, decision: &mut Decision) -> Vec<Holding> {
    let Ok(chosen) = &decision.outcome else { return Vec::new() };
    let mut holdings = Vec::new();
    for plugin in &profile.reserves {
        match plugin.reserve(pod, chosen.row, snapshot) {
            Ok(more) => holdings.extend(more),
            Err(rejection) if rejection.is_error => {
                let why = rejection.reasons.join(", ");
                let name = plugin.name();
                decision.outcome = Err(Diagnosis::Failed(format!("running Reserve plugin {name:?}: {why}")));
                return Vec::new();
            }
            Err(rejection) => {
                let node = Arc::clone(&chosen.node);
                let rejection = Arc::new(rejection);
                let verdict = cycle::Verdict { node, row: chosen.row, plugin: plugin.name(), rejection };
                decision.outcome = Err(Diagnosis::of_one(verdict.clone()));
                decision.rejected.push(verdict);
                return Vec::new();
            }
        }
    }
    holdings
}
