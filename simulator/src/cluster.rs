//! A whole cluster in one thread: the real server over a store in memory, the real controllers and scheduler, hollow nodes,
//! and time that passes only when nobody has anything to do.
//!
//! [`play`] makes the world of one seed and runs a scenario in it. Two plays of one seed and one scenario write the same
//! log, byte for byte.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use apiserver::{
    admission::Selection,
    authn::{
        authenticator::Outside,
        keys::{PublicKeys, SigningKey},
        user::MASTERS,
    },
    authz::mode,
    identity,
    server::{Config, Server},
    tls::authority::Authority,
};
use client::{
    Api, Key,
    controller::{Manager, Options as Workers, Records},
};
use futures::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::{Random, Runtime, Tasks};
use store::{Backend, Event, Memory, Revision};
use tokio::time::Instant;

use crate::{
    clock::LeapingClock,
    hollow::{self, Hollow, Silence, stages::Stages},
    in_process::Direct,
    link::Link,
    log::{Change, Log},
    safety::{Safety, object::Object, world::Wishes},
};

/// How often the store forgets what was overwritten a while ago, as an apiserver over etcd sees to.
const COMPACTION: Duration = Duration::from_secs(300);
/// How long the components may take to end.
const DRAIN: Duration = Duration::from_secs(60);

/// How many changes are told when something does not come to be.
const LAST_CHANGES: usize = 20;

/// What a world is made of.
#[derive(Clone)]
pub struct Options {
    /// Every uid, name and jitter comes from it.
    pub seed: u64,
    /// How many hollow nodes there are.
    pub nodes: u16,
    /// What Pods do on them.
    pub stages: Stages,
    /// Which controllers run, as `--controllers` has it; all if empty.
    pub controllers: Vec<String>,
    /// A controller that runs beside them, or instead of one of them.
    pub also: Option<Also>,
}

/// Starts a controller of one's own, as the service account that it asks for by name.
pub type Also = Arc<dyn Fn(&Manager, &dyn Fn(&str) -> Workers) + Send + Sync>;

/// A part of the control plane that can crash and come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The controllers.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// All hollow nodes.
    Nodes,
}

/// All of them.
pub const COMPONENTS: [Component; 3] = [Component::ControllerManager, Component::Scheduler, Component::Nodes];

/// A cluster that runs as long as its world does.
#[derive(Debug)]
pub struct Cluster {
    /// Time, randomness, tasks.
    pub runtime: Runtime,
    /// The administrator's client, which no fault reaches.
    pub api: Api,
    server: Arc<Server>,
    backend: Arc<dyn Backend>,
    options: Options,
    began: Instant,
    history: Arc<Mutex<History>>,
    controllers: Mutex<Incarnation>,
    scheduler: Mutex<Incarnation>,
    nodes: Mutex<Incarnation>,
    hollow: Mutex<Hollow>,
    silence: Silence,
    clock: LeapingClock,
    wishes: Wishes,
    admin: Link,
    /// Requests of incarnations that are gone.
    requests_before: Mutex<u64>,
}

/// What was seen of the store.
#[derive(Debug)]
struct History {
    log: Log,
    safety: Safety,
}

/// One life of a component.
#[derive(Debug)]
struct Incarnation {
    runtime: Runtime,
    link: Link,
    records: Option<Records>,
}

/// The figures of a play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// How much time passed in the world.
    pub simulated: Duration,
    /// How many requests the server was sent.
    pub requests: u64,
    /// How many changes the store saw.
    pub events: usize,
    /// The digest of the log.
    pub digest: String,
}

/// Makes the world of a seed and plays a scenario in it, on this thread alone. Must not be called from within another
/// runtime.
///
/// # Errors
/// What the scenario says, or why there is no world.
pub fn play<T>(
    options: Options,
    scenario: impl AsyncFnOnce(&Cluster) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let world = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("cannot make a world")?;
    world.block_on(async move {
        let cluster = Cluster::start(options).await?;
        let outcome = scenario(&cluster).await;
        cluster.runtime.tasks.drain(DRAIN).await;
        outcome
    })
}

/// When worlds begin.
fn beginning() -> Timestamp {
    jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0).in_tz("UTC").map(|it| it.timestamp()).unwrap_or_default()
}

// === impl Options ===

impl Options {
    /// Three nodes on which Pods do the usual.
    pub fn seed(seed: u64) -> Self {
        Self { seed, nodes: 3, stages: Stages::default(), controllers: Vec::new(), also: None }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("seed", &self.seed)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

// === impl Cluster ===

impl Cluster {
    async fn start(options: Options) -> anyhow::Result<Self> {
        let clock = LeapingClock::starting_at(beginning());
        let runtime = Runtime {
            clock: Arc::new(clock.clone()),
            random: Random::from_seed(options.seed),
            tasks: Tasks::new(),
        };
        let began = Instant::now();
        let backend: Arc<dyn Backend> = Arc::new(Memory::new(&runtime.tasks));
        let wishes = Wishes::default();
        let history = History { log: Log::default(), safety: Safety::with(wishes.clone()) };
        let history = Arc::new(Mutex::new(history));
        let changes = backend.watch("/registry/", Revision::FIRST).await?;
        runtime.tasks.spawn("simulator/history", write_down(changes, began, Arc::clone(&history)));
        runtime.tasks.spawn("simulator/compaction", compact(Arc::clone(&backend)));
        let server = Server::new(config()?, identity(&runtime)?, Arc::clone(&backend), runtime.clone());
        server.start().await.map_err(|status| anyhow::anyhow!("the server cannot start: {status}"))?;
        let admin = Link::telling(wishes.clone());
        let silence = Silence::default();
        let (nodes, hollow) = start_nodes(&server, &runtime, &options, &silence, &wishes);
        Ok(Self {
            api: api(&server, &admin, "kubernetes-admin", &[MASTERS]),
            controllers: Mutex::new(start_controllers(&server, &runtime, &options, &wishes)),
            scheduler: Mutex::new(start_scheduler(&server, &runtime, &wishes)),
            nodes: Mutex::new(nodes),
            hollow: Mutex::new(hollow),
            silence,
            clock,
            wishes,
            requests_before: Mutex::new(0),
            runtime,
            server,
            backend,
            options,
            began,
            history,
            admin,
        })
    }

    /// Lets time pass.
    pub async fn run_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Lets time pass until something holds, and says how long that took.
    ///
    /// # Errors
    /// When it does not hold after `patience`.
    pub async fn run_until(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Safety) -> bool,
    ) -> anyhow::Result<Duration> {
        let start = Instant::now();
        while !self.look(&holds) {
            let waited = start.elapsed();
            if waited >= patience {
                anyhow::bail!(
                    "not {what} after {} s; the last changes:\n  {}",
                    patience.as_secs(),
                    self.last_changes()
                );
            }
            self.run_for(Duration::from_millis(100)).await;
        }
        Ok(start.elapsed())
    }

    /// Looks at the cluster as its history tells it.
    pub fn look<T>(&self, look: impl FnOnce(&Safety) -> T) -> T {
        look(&self.history.lock().safety)
    }

    /// The lines of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.history.lock().log.lines().to_vec()
    }

    /// How many changes the store has seen.
    pub fn changes(&self) -> usize {
        self.history.lock().log.lines().len()
    }

    /// The lines of the log after the first so many that `wanted` holds for.
    pub fn log_since(&self, changes: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let history = self.history.lock();
        history.log.lines().iter().skip(changes).filter(|line| wanted(line)).cloned().collect()
    }

    /// The last lines of the log, but for the heartbeats of the nodes.
    pub fn last_changes(&self) -> String {
        let history = self.history.lock();
        let telling = |line: &&String| !line.contains(" Lease ") && !line.contains(" Node ");
        let mut lines: Vec<&str> =
            history.log.lines().iter().rev().filter(telling).take(LAST_CHANGES).map(String::as_str).collect();
        lines.reverse();
        lines.join("\n  ")
    }

    /// What must hold after every change held so far.
    ///
    /// # Errors
    /// What did not, first things first.
    pub fn check(&self) -> anyhow::Result<()> {
        let history = self.history.lock();
        let violations = history.safety.violations();
        let some = violations.iter().take(10).cloned().collect::<Vec<_>>().join("\n  ");
        anyhow::ensure!(violations.is_empty(), "{} promises were broken:\n  {some}", violations.len());
        Ok(())
    }

    /// The figures so far.
    pub fn figures(&self) -> Figures {
        let links = COMPONENTS.map(|component| self.incarnation(component).lock().link.requests());
        let history = self.history.lock();
        Figures {
            simulated: self.began.elapsed(),
            requests: links.iter().sum::<u64>() + self.admin.requests() + *self.requests_before.lock(),
            events: history.log.lines().len(),
            digest: history.log.digest(),
        }
    }

    /// The connection of a component, to break.
    pub fn link(&self, component: Component) -> Link {
        self.incarnation(component).lock().link.clone()
    }

    /// Why a component did what it did, in its present life; `None` if it is not made of controllers.
    pub fn records(&self, component: Component) -> Option<Records> {
        self.incarnation(component).lock().records.clone()
    }

    /// A component is gone from one moment to the next, and starts again after `pause`, knowing nothing.
    pub async fn crash(&self, component: Component, pause: Duration) {
        let incarnation = self.incarnation(component);
        let (old, requests) = {
            let life = incarnation.lock();
            life.link.go_down();
            (life.runtime.tasks.clone(), life.link.requests())
        };
        *self.requests_before.lock() += requests;
        old.stop();
        self.run_for(pause).await;
        let next = match component {
            Component::ControllerManager => {
                start_controllers(&self.server, &self.runtime, &self.options, &self.wishes)
            }
            Component::Scheduler => start_scheduler(&self.server, &self.runtime, &self.wishes),
            Component::Nodes => {
                let (life, hollow) =
                    start_nodes(&self.server, &self.runtime, &self.options, &self.silence, &self.wishes);
                *self.hollow.lock() = hollow;
                life
            }
        };
        *incarnation.lock() = next;
    }

    /// The store forgets all that was overwritten: watches that are behind must list again.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn compact(&self) -> anyhow::Result<()> {
        let latest = self.backend.revision().await?;
        Ok(self.backend.compact(latest).await?)
    }

    /// A node is lost: it is not heard of until all return.
    pub fn lose_node(&self, name: &str) {
        self.silence.fall_on(name);
    }

    /// All nodes that were lost return.
    pub fn return_nodes(&self) {
        for node in self.silence.lift() {
            let pods: Vec<Key> = self.look(|safety| {
                let of_node = safety.of_kind("Pod").filter(|pod| pod.spec.node_name == node);
                of_node.map(|pod| Key::new(&pod.metadata.namespace, &pod.metadata.name)).collect()
            });
            self.hollow.lock().wake(&node, pods);
        }
    }

    /// The wall clock leaps ahead, and no timer notices.
    pub fn leap(&self, time: Duration) {
        self.clock.leap(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    }

    /// A client of a user of these groups, whom no fault reaches.
    pub fn client(&self, user: &str, groups: &[&str]) -> Api {
        api(&self.server, &self.admin, user, groups)
    }

    fn incarnation(&self, component: Component) -> &Mutex<Incarnation> {
        match component {
            Component::ControllerManager => &self.controllers,
            Component::Scheduler => &self.scheduler,
            Component::Nodes => &self.nodes,
        }
    }
}

fn api(server: &Arc<Server>, link: &Link, user: &str, groups: &[&str]) -> Api {
    Api::new(Arc::new(link.through(Arc::new(Direct::new(server, user, groups)), user)), user)
}

fn life(runtime: &Runtime) -> Runtime {
    Runtime { tasks: runtime.tasks.child(), ..runtime.clone() }
}

/// The controllers, each as its own service account, which may do what upstream's role for it allows.
fn start_controllers(
    server: &Arc<Server>,
    runtime: &Runtime,
    options: &Options,
    wishes: &Wishes,
) -> Incarnation {
    let (runtime, link) = (life(runtime), Link::telling(wishes.clone()));
    let (its_server, its_link) = (Arc::clone(server), link.clone());
    let api_for: controller_manager::launch::ApiFor = Arc::new(move |account: &str| {
        let user = format!("system:serviceaccount:kube-system:{account}");
        let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
        api(&its_server, &its_link, &user, &groups)
    });
    let wanted = controller_manager::Options {
        api_for: Some(Arc::clone(&api_for)),
        controllers: options.controllers.clone(),
        hostpath_provisioner: true,
        ..controller_manager::Options::default()
    };
    let component = api(server, &link, "system:kube-controller-manager", &[]);
    let manager = controller_manager::start(&runtime, component, &wanted);
    if let Some(also) = &options.also {
        also(&manager, &|account| Workers { api: Some(api_for(account)), ..Workers::default() });
    }
    Incarnation { runtime, link, records: Some(manager.records) }
}

fn start_scheduler(server: &Arc<Server>, runtime: &Runtime, wishes: &Wishes) -> Incarnation {
    let (runtime, link) = (life(runtime), Link::telling(wishes.clone()));
    let its_api = api(server, &link, "system:kube-scheduler", &[]);
    scheduler::start(&runtime, its_api, scheduler::Options::default());
    Incarnation { runtime, link, records: None }
}

fn start_nodes(
    server: &Arc<Server>,
    runtime: &Runtime,
    options: &Options,
    silence: &Silence,
    wishes: &Wishes,
) -> (Incarnation, Hollow) {
    let (runtime, link) = (life(runtime), Link::telling(wishes.clone()));
    let nodes =
        hollow::Options { nodes: options.nodes, stages: options.stages.clone(), silence: silence.clone() };
    let hollow = hollow::start(&runtime, api(server, &link, "system:hollow-nodes", &[MASTERS]), nodes);
    (Incarnation { runtime, link, records: Some(hollow.manager.records.clone()) }, hollow)
}

fn config() -> anyhow::Result<Config> {
    Ok(Config {
        modes: mode::parse("Node,RBAC")?,
        service_cidrs: vec!["10.0.0.0/24".parse()?],
        node_ports: 30000..=32767,
        aggregation: apiserver::aggregation::Config::default(),
        kubelets: apiserver::kubelet::Config::default(),
        advertise: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6443),
        allow_privileged: true,
        admission: Selection::default(),
        audit: None,
        encryption: None,
        fairness: apiserver::fairness::Config::default(),
        request_timeout: std::time::Duration::from_secs(60),
        watch_timeout: std::time::Duration::from_secs(1800),
        livez_grace: std::time::Duration::ZERO,
    })
}

/// Callers are who their transport says; only tokens for service accounts need a key. Nothing made of it is stored.
fn identity(runtime: &Runtime) -> anyhow::Result<identity::Config> {
    let (_, issued) = Authority::generate("simulated", runtime.clock.now())?;
    let signing_key = SigningKey::from_pem("the simulated key", issued.key.as_bytes())?;
    let mut public_keys = PublicKeys::from_files([])?;
    public_keys.add(signing_key.public().clone());
    let issuer = "https://kubernetes.default.svc".to_owned();
    Ok(identity::Config {
        client_authorities: None,
        token_file: None,
        signing_key: Arc::new(signing_key),
        public_keys,
        issuers: vec![issuer.clone()],
        audiences: vec![issuer],
        outside: Outside::default(),
        anonymous: false.into(),
    })
}

/// Writes down and checks everything that happens to the store.
async fn write_down(mut changes: store::backend::EventStream, began: Instant, history: Arc<Mutex<History>>) {
    while let Some(batch) = changes.next().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, "the history breaks off");
                return;
            }
        };
        let mut history = history.lock();
        for event in batch {
            let change = match event {
                Event::Put { entry, created, .. } => Change {
                    object: Arc::new(Object::read(&entry.value)),
                    key: entry.key,
                    revision: entry.revision.0,
                    at: began.elapsed(),
                    created,
                    deleted: false,
                    bytes: entry.value,
                },
                Event::Delete { key, revision, previous } => Change {
                    object: Arc::new(previous.map(|entry| Object::read(&entry.value)).unwrap_or_default()),
                    key,
                    revision: revision.0,
                    at: began.elapsed(),
                    created: false,
                    deleted: true,
                    bytes: bytes::Bytes::new(),
                },
                Event::Progress(_) => continue,
            };
            history.safety.observe(&change);
            history.log.add(&change);
        }
    }
}

/// Lets the store forget what was overwritten more than one period ago.
async fn compact(backend: Arc<dyn Backend>) {
    let mut marks = VecDeque::new();
    loop {
        if let Ok(revision) = backend.revision().await {
            marks.push_back(revision);
        }
        if marks.len() > 1
            && let Some(mark) = marks.pop_front()
            && let Err(error) = backend.compact(mark).await
        {
            tracing::warn!(%error, "cannot compact");
        }
        tokio::time::sleep(COMPACTION).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_that_is_over_leaves_nothing_behind() {
        let held = play(Options::seed(1), async |cluster| {
            cluster.run_for(Duration::from_secs(30)).await;
            cluster.crash(Component::ControllerManager, Duration::from_secs(1)).await;
            cluster.run_for(Duration::from_secs(30)).await;
            Ok((
                Arc::downgrade(&cluster.server),
                Arc::downgrade(&cluster.backend),
                Arc::downgrade(&cluster.history),
            ))
        });
        let (server, backend, history) = held.unwrap();
        assert_eq!(history.strong_count(), 0, "the history is held");
        assert_eq!(server.strong_count(), 0, "the server is held");
        assert_eq!(backend.strong_count(), 0, "the store is held");
    }
}
