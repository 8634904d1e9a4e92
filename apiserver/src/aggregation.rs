//! Groups that other servers serve, as if they were served here: APIServices that lead to a Service.
//!
//! Requests are authenticated, authorized and counted like all others and then forwarded ([`forward`]) to where the Service is
//! ([`resolve`]), over connections that are kept ([`proxy`](crate::proxy)), with who asks in headers that the other server believes
//! because of our client certificate. Each such APIService has a task that finds out whether it can be reached and what it
//! serves ([`availability`]), and puts that into discovery and OpenAPI ([`describe`]). APIServices of custom resources are made
//! and taken away by [`registration`].
//!
//! Invariant: what an APIService leads to is decided from values ([`target`]).
//! See "Kubernetes API Aggregation Layer".

mod availability;
mod describe;
mod forward;
mod metrics;
mod registration;
mod resolve;
mod target;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use runtime::{Signal, Tasks};
use serde_json::Value;
use store::cache::{Filter, WatchEvent, WatchFrom};

pub(crate) use self::forward::answer;
use self::{
    metrics::Metrics,
    registration::Registration,
    target::{Spec, Target},
};
use crate::{
    proxy::transport::{ClientCertificate, Transport, Trust},
    registry::catalogue::Storage,
    server::Server,
    verbs::forms,
};

/// The group of APIServices.
const GROUP: &str = "apiregistration.k8s.io";
/// Their plural name.
const PLURAL: &str = "apiservices";
/// How long a watch that ended waits before it begins again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the files of the client certificate are read again.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(60);

/// What the flags say about other servers.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `--proxy-client-cert-file` and `--proxy-client-key-file`: what this server shows to others.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// `--enable-aggregator-routing`: Services are reached by their endpoints and not by their own addresses.
    pub routes_to_endpoints: bool,
    /// `--aggregator-reject-forwarding-redirect`, the other way round: redirects of other servers are passed on.
    pub passes_redirects: bool,
}

/// The other servers.
#[derive(Debug)]
pub struct Aggregation {
    config: Config,
    /// By group and version. Read with every request.
    targets: ArcSwap<BTreeMap<(String, String), Arc<Target>>>,
    state: Mutex<State>,
    registration: Registration,
    metrics: Metrics,
    /// Whether all APIServices that were there at the start are known.
    is_filled: Signal<bool>,
}

#[derive(Debug, Default)]
struct State {
    certificate: Option<ClientCertificate>,
    /// What keeps an eye on a target, by the name of its APIService.
    keepers: BTreeMap<String, Keeper>,
}

#[derive(Debug)]
struct Keeper {
    /// Told of everything that could change what is true of the target.
    wake: Arc<Signal<u64>>,
    tasks: Tasks,
}

/// Begins to follow APIServices, and waits until those that are there are known.
pub(crate) async fn start(server: &Arc<Server>) {
    let aggregation = &server.aggregation;
    server.metrics.show(aggregation.metrics.collectors());
    aggregation.read_certificate();
    follow(server, (GROUP, PLURAL), |server, event| match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            server.aggregation.take(server, &object.header.name, Some(&forms::value(&object)));
        }
        WatchEvent::Deleted { object, .. } => server.aggregation.take(server, &object.header.name, None),
        WatchEvent::InitialEventsEnd(_) => server.aggregation.is_filled.update(|filled| *filled = true),
        WatchEvent::Bookmark(_) => {}
    });
    follow(server, ("", "services"), |server, event| {
        if let WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted { object, .. } =
            event
        {
            server
                .aggregation
                .wake(object.header.namespace.as_deref().unwrap_or_default(), Some(&object.header.name));
        }
    });
    follow(server, ("discovery.k8s.io", "endpointslices"), |server, event| {
        if let WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted { object, .. } =
            event
        {
            // Which Service it belongs to is told by a label, for which it would have to be read.
            server.aggregation.wake(object.header.namespace.as_deref().unwrap_or_default(), None);
        }
    });
    aggregation.is_filled.wait(|filled| *filled).await;
    registration::start(server);
    if aggregation.config.client_certificate.is_some() {
        let weak = Arc::downgrade(server);
        server.runtime.tasks.spawn("proxy client certificate", async move {
            loop {
                tokio::time::sleep(CERTIFICATE_PERIOD).await;
                let Some(server) = weak.upgrade() else { return };
                server.aggregation.renew_certificate(&server);
            }
        });
    }
}

/// Follows all objects of a resource.
fn follow(
    server: &Arc<Server>,
    (group, plural): (&str, &str),
    take: impl Fn(&Arc<Server>, WatchEvent) + Send + Sync + 'static,
) {
    let Some(served) = server.registry.catalogue.find(group, "v1", plural) else { return };
    let (storage, weak) = (Arc::clone(&served.storage), Arc::downgrade(server));
    server.runtime.tasks.spawn("aggregation", async move {
        loop {
            if !follow_once(&storage, &weak, &take).await {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
}

/// Until the watch ends; false once the server is gone.
async fn follow_once(
    storage: &Storage,
    weak: &Weak<Server>,
    take: &(impl Fn(&Arc<Server>, WatchEvent) + Send + Sync),
) -> bool {
    let cache = storage.cache();
    cache.ready().await;
    let Ok(mut watcher) = cache.watch(WatchFrom::InitialState, Filter::prefix(&storage.prefix)) else {
        return true;
    };
    while let Some(Ok(event)) = watcher.next().await {
        let Some(server) = weak.upgrade() else { return false };
        take(&server, event);
    }
    true
}

// === impl Aggregation ===

impl Aggregation {
    /// Knows nothing yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            targets: ArcSwap::default(),
            state: Mutex::default(),
            registration: Registration::default(),
            metrics: Metrics::new(),
            is_filled: Signal::new(false),
        }
    }

    /// The other server that requests for a path go to, if another.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<Target>> {
        let targets = self.targets.load();
        if targets.is_empty() {
            return None;
        }
        let mut segments = path.trim_start_matches('/').split('/');
        let (group, version) = match segments.next()? {
            "api" => ("", segments.next()?),
            "apis" => (segments.next()?, segments.next()?),
            _ => return None,
        };
        targets.get(&(group.to_owned(), version.to_owned())).cloned()
    }

    /// Whether a group and version is another server's.
    pub(crate) fn is_elsewhere(&self, group: &str, version: &str) -> bool {
        let targets = self.targets.load();
        !targets.is_empty() && targets.contains_key(&(group.to_owned(), version.to_owned()))
    }

    /// Custom resources of these groups and versions came, changed or went.
    pub(crate) fn definitions_changed(&self, versions: impl IntoIterator<Item = (String, String)>) {
        self.registration.look_at(versions.into_iter().map(|(group, version)| format!("{version}.{group}")));
    }

    fn target(&self, spec: &Spec) -> Option<Arc<Target>> {
        self.targets.load().get(&spec.key()).cloned()
    }

    /// Takes in an APIService as it is now.
    fn take(&self, server: &Arc<Server>, name: &str, object: Option<&Value>) {
        self.registration.look_at([name.to_owned()]);
        let known = self.targets.load().values().find(|it| it.spec.name == name).cloned();
        let spec = object.and_then(Spec::read);
        match (known, spec) {
            (None, None) => {}
            (Some(known), Some(spec)) if known.spec == spec => {
                let available = object.is_some_and(target::is_available);
                if known.available != available {
                    self.put(Target { available, ..Target::clone(&known) });
                }
            }
            (known, spec) => {
                if let Some(known) = known {
                    self.remove(server, &known, spec.is_none());
                }
                if let Some(spec) = spec {
                    let available = object.is_some_and(target::is_available);
                    self.add(server, spec, available);
                }
            }
        }
    }

    fn add(&self, server: &Arc<Server>, spec: Spec, available: bool) {
        let mut state = self.state.lock();
        let certificate = state.certificate.as_ref();
        let with = |trust| Transport::new(trust, certificate, Some(spec.host())).map(Arc::new);
        let unverified = with(Trust::Anybody);
        let transport =
            if spec.insecure { unverified.clone() } else { with(Trust::Authorities(&spec.ca_bundle)) };
        let target = Target { spec: spec.clone(), available, transport, unverified };
        self.put(target);
        let keeper = Keeper { wake: Arc::default(), tasks: server.runtime.tasks.child() };
        let (weak, wake) = (Arc::downgrade(server), Arc::clone(&keeper.wake));
        keeper.tasks.spawn("APIService", availability::keep(weak, spec.clone(), wake));
        if let Some(old) = state.keepers.insert(spec.name, keeper) {
            old.tasks.stop();
        }
    }

    fn remove(&self, server: &Server, target: &Target, for_good: bool) {
        self.targets.rcu(|targets| {
            let mut targets = BTreeMap::clone(targets);
            targets.remove(&target.spec.key());
            targets
        });
        if let Some(keeper) = self.state.lock().keepers.remove(&target.spec.name) {
            keeper.tasks.stop();
        }
        if for_good {
            self.metrics.forget(&target.spec.name);
        }
        describe::forget(server, &target.spec);
    }

    fn put(&self, target: Target) {
        let target = Arc::new(target);
        self.targets.rcu(|targets| {
            let mut targets = BTreeMap::clone(targets);
            targets.insert(target.spec.key(), Arc::clone(&target));
            targets
        });
    }

    /// Something about a Service changed, or, without a name, about one of a namespace.
    fn wake(&self, namespace: &str, name: Option<&str>) {
        let targets = self.targets.load();
        if targets.is_empty() {
            return;
        }
        let state = self.state.lock();
        for target in targets.values() {
            let spec = &target.spec;
            if spec.namespace == namespace
                && name.is_none_or(|name| spec.service == name)
                && let Some(keeper) = state.keepers.get(&spec.name)
            {
                keeper.wake.update(|count| *count += 1);
            }
        }
    }

    /// Reads the client certificate; whether it is another than before.
    fn read_certificate(&self) -> bool {
        let Some((certificate, key)) = &self.config.client_certificate else { return false };
        match ClientCertificate::read(certificate, key) {
            Ok(read) => {
                let mut state = self.state.lock();
                let is_new = state.certificate.as_ref() != Some(&read);
                state.certificate = Some(read);
                is_new
            }
            Err(error) => {
                tracing::warn!(%error, "the proxy client certificate cannot be read");
                false
            }
        }
    }

    fn renew_certificate(&self, server: &Arc<Server>) {
        if !self.read_certificate() {
            return;
        }
        let targets: Vec<_> = self.targets.load().values().cloned().collect();
        for target in targets {
            self.add(server, target.spec.clone(), target.available);
        }
    }
}

#[cfg(test)]
mod tests;
