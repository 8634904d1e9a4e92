//! The life of a request on one screen: what is it about, who asks, may they, what does it do.
//!
//! Transport (TLS, connections, draining) is `http/serve.rs`; the all-in-one process calls [`Server::serve`] directly,
//! with the caller's identity attached, and takes the same path from there on.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use api_types::status::Status;
use axum::body::Body;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, header, request::Parts};
use parking_lot::Mutex;
use runtime::Runtime;
use serde_json::Value;
use store::Backend;

use crate::{
    admission,
    aggregation::{self, Aggregation},
    audit::{self, Audit, Record, record::Received},
    authn::{authenticator::Authenticated, user::User},
    authz::{
        self,
        attributes::Attributes,
        decision::Union,
        mode::{self, Mode},
        node::NodeAuthorizer,
        rbac::Rbac,
    },
    bootstrap,
    components::Components,
    custom::{self, Definitions},
    fairness::{self, Gate, Seen},
    feeds,
    http::{
        compress,
        info::{self, RequestInfo},
        negotiate::{self, Media},
        query::Query,
        respond::{self, Answer},
    },
    identity::{self, Identity, PeerCertificates},
    kubelet::{self, Kubelets},
    nonresource,
    observe::{
        count::Count,
        health::{EVERYWHERE, Health, Hook, READY},
        journal::Journal,
        metrics::Metrics,
    },
    registry::{Registry, addresses::Addresses, catalogue::Catalogue, warnings::Warnings},
    startup,
    storage::{Figures, Measured, encryption::Encryption},
    verbs::{self, Asked, forms},
};

/// What a server is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who decides what callers may do.
    pub modes: Vec<Mode>,
    /// Where service addresses come from.
    pub service_cidrs: Vec<ipnet::IpNet>,
    /// The node ports that may be given out.
    pub node_ports: std::ops::RangeInclusive<u16>,
    /// The address and port that the `kubernetes` Service leads to.
    pub advertise: std::net::SocketAddr,
    /// Whether containers may be privileged.
    pub allow_privileged: bool,
    /// Which admission plugins are on.
    pub admission: admission::Selection,
    /// What is put on record, if anything.
    pub audit: Option<audit::Setup>,
    /// How many requests are served at once, and whose turn it is.
    pub fairness: fairness::Config,
    /// How long a request may take that does not last.
    pub request_timeout: Duration,
    /// What is encrypted in the store, if anything.
    pub encryption: Option<Arc<Encryption>>,
    /// After how long at the earliest the server ends a watch by itself.
    pub watch_timeout: Duration,
    /// For how long after the start it is taken for granted that the start succeeds.
    pub livez_grace: Duration,
    /// How other servers are reached.
    pub aggregation: aggregation::Config,
    /// How kubelets are reached.
    pub kubelets: kubelet::Config,
}

/// An apiserver.
#[derive(Debug)]
pub struct Server {
    /// What it was told.
    pub config: Config,
    /// Time, randomness, tasks.
    pub runtime: Runtime,
    /// The kinds and their objects.
    pub registry: Registry,
    /// Finds out who asks.
    pub identity: Identity,
    /// Whose turn it is.
    pub gate: Gate,
    /// Decides what they may do.
    pub authorizer: Arc<Union>,
    /// The roles and bindings, as the authorizer sees them.
    pub rbac: Arc<Rbac>,
    /// What runs where, as the authorizer sees it.
    pub nodes: Arc<NodeAuthorizer>,
    /// Puts requests on record, if there is a policy.
    pub audit: Option<Arc<Audit>>,
    /// What is counted.
    pub metrics: Metrics,
    /// What probes are told.
    pub health: Health,
    /// How much is stored, as it was last counted.
    pub figures: Figures,
    /// The parts of the control plane and how they are.
    pub components: Components,
    /// The last events of watches, as they went out.
    pub(crate) recent_events: forms::Recent,
    started: Hook,
    leaving: Hook,
    /// Discovery and OpenAPI documents.
    pub documents: nonresource::Documents,
    /// The definitions of custom resources.
    pub definitions: Arc<Definitions>,
    /// The servers that serve other groups.
    pub aggregation: Arc<Aggregation>,
    /// The kubelets of nodes.
    pub kubelets: Kubelets,
}

/// The identity of a caller inside the process, who needs no credentials. Only code can attach it to a request; nothing
/// that comes over a connection can.
#[derive(Clone, Debug)]
pub struct InProcess(pub User);

/// A request whose head was read.
struct Resolved {
    parts: Parts,
    body: Body,
    query: Query,
    info: RequestInfo,
}

/// What the record of a request begins with.
struct Audited<'a> {
    audit: &'a Arc<Audit>,
    at: jiff::Timestamp,
    id: &'a Option<HeaderValue>,
    media: Media,
}

// === impl Server ===

impl Server {
    /// A server over a store; ready once [`Server::start`] is through.
    pub fn new(
        config: Config,
        identity: identity::Config,
        backend: Arc<dyn Backend>,
        runtime: Runtime,
    ) -> Arc<Self> {
        let rbac = Arc::new(Rbac::new());
        let nodes = Arc::new(NodeAuthorizer::new(bootstrap::rbac::cluster_role_rules("system:node")));
        let authorizer = mode::authorizer(&config.modes, &nodes, &rbac);
        let metrics = Metrics::new();
        let mut health = Health::new(metrics.slis.clone());
        let components = Components::new(Arc::clone(&backend));
        metrics.show(backend.collectors());
        let backend = Measured::over(backend, metrics.storage.clone());
        for (name, endpoints) in [("etcd", EVERYWHERE), ("etcd-readiness", READY)] {
            let store = Arc::clone(&components.store);
            health.add(name, endpoints, move || store.last());
        }
        let stopping = runtime.tasks.clone();
        let leaving = Hook::default();
        let leaves = leaving.clone();
        health.add("shutdown", READY, move || {
            if stopping.is_stopping() || leaves.is_done() {
                Err("process is shutting down".to_owned())
            } else {
                Ok(())
            }
        });
        if let Some(encryption) = config.encryption.clone() {
            health.add("kms-providers", EVERYWHERE, move || encryption.health());
        }
        let audit = config.audit.as_ref().map(|setup| Audit::start(setup, &metrics.audit, &runtime));
        let started = health.hook("rbac/bootstrap-roles", config.livez_grace);
        Arc::new_cyclic(|server| {
            let catalogue = Catalogue::built_in(&backend, &runtime.tasks, &metrics.cache.watch);
            let documents = nonresource::Documents::new(&catalogue);
            let registry = Registry {
                catalogue,
                admission: admission::chain(server, &config.admission),
                addresses: Addresses::new(&config),
                backend,
                runtime: runtime.clone(),
                allow_privileged: config.allow_privileged,
                journal: Journal::default(),
            };
            Self {
                identity: Identity::new(identity, server.clone(), &runtime),
                audit,
                gate: Gate::new(config.fairness, &metrics.flow, &runtime),
                metrics,
                figures: Figures::default(),
                health,
                components,
                recent_events: forms::Recent::default(),
                started,
                leaving,
                documents,
                definitions: Arc::default(),
                aggregation: Arc::new(Aggregation::new(config.aggregation.clone())),
                kubelets: Kubelets::new(config.kubelets.clone()),
                registry,
                authorizer,
                rbac,
                nodes,
                runtime,
                config,
            }
        })
    }

    /// Fills what authorization lives on and writes what a fresh cluster needs.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn start(self: &Arc<Self>) -> Result<(), Status> {
        feeds::start(self).await;
        custom::controller::start(self).await;
        startup::start(self).await?;
        fairness::controller::start(self).await;
        aggregation::start(self).await;
        kubelet::start(self);
        self.started.done();
        Ok(())
    }

    /// Says that the server will stop soon: probes that ask whether to send requests are told no from now on.
    pub fn leave(&self) {
        self.leaving.done();
    }

    /// Answers a request.
    pub async fn serve(self: &Arc<Self>, request: Request<Body>) -> Answer {
        let media = accepted(&request);
        let head = request.method() == Method::HEAD;
        let count = Count::begin(self, &request);
        let audit_id = request.headers().get("audit-id").filter(|id| !id.is_empty()).cloned();
        let encodings = text_of(request.headers(), &header::ACCEPT_ENCODING).to_owned();
        let warnings = Warnings::default();
        let seen = Seen::new(count.limit(self.config.request_timeout), self.config.request_timeout);
        let (answer, audit_id) = match &self.audit {
            None => (self.answer(request, &warnings, &seen, None).await, audit_id),
            Some(audit) => {
                let id = audit_id.or_else(|| self.new_id());
                let audited = Audited { audit, at: self.runtime.clock.now(), id: &id, media };
                // What is put on record is not what the others pay for.
                (Box::pin(self.answer(request, &warnings, &seen, Some(audited))).await, id)
            }
        };
        let mut answer = answer.unwrap_or_else(|status| respond::failure(&status, media));
        respond::warn(&mut answer, &warnings.all());
        seen.tell(&mut answer);
        let mut answer = compress::large(answer, &encodings);
        if head {
            *answer.body_mut() = Body::empty();
        }
        if let Some(id) = audit_id.or_else(|| self.new_id()) {
            answer.headers_mut().insert("audit-id", id);
        }
        count.end(answer)
    }

    fn new_id(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.runtime.random.uuid().to_string()).ok()
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Body>,
        warnings: &Warnings,
        seen: &Seen,
        audited: Option<Audited<'_>>,
    ) -> Result<Answer, Status> {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let info = info::resolve(&parts.method, parts.uri.path(), &query)?;
        let known = self.authenticate(&parts, &info, warnings).await;
        let request = Resolved { parts, body, query, info };
        match audited {
            None => self.answer_in_time(request, known?.user, (warnings, seen), Record::default()).await,
            Some(audited) => self.answer_audited(request, known, (warnings, seen), audited).await,
        }
    }

    /// Answers a request and puts it on record, as far as the policy says.
    async fn answer_audited(
        self: &Arc<Self>,
        request: Resolved,
        known: Result<Authenticated, Status>,
        told: (&Warnings, &Seen),
        audited: Audited<'_>,
    ) -> Result<Answer, Status> {
        let Audited { audit, at, id, media } = audited;
        let id = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
        let received = Received { parts: &request.parts, at, id, lasts: request.info.is_long_running() };
        let about = |user: &User| attributes_of(&request.info, &request.query, user);
        let known = match known {
            Ok(known) => known,
            Err(status) => {
                let record = Record::unauthenticated(audit, &received, &about(&User::default()));
                return Ok(record.answered(respond::failure(&status, media), Some(&status)).await);
            }
        };
        let record = Record::begin(audit, &received, &about(&known.user));
        if !record.is_open() {
            return self.answer_in_time(request, known.user, told, record).await;
        }
        for (key, value) in known.audit {
            record.annotate(key, value);
        }
        if !record.received().await {
            let path = request.parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            let path = api_types::field::go_quote(&path);
            return Ok(respond::text(
                500,
                format!("Internal Server Error: {path}: failed to store audit event\n"),
            ));
        }
        let answer = self.answer_in_time(request, known.user, told, record.clone());
        match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(Ok(answer)) => Ok(record.answered(answer, None).await),
            Ok(Err(status)) => Ok(record.answered(respond::failure(&status, media), Some(&status)).await),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|&text| text.to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                record.panicked(&text).await;
                std::panic::resume_unwind(panic)
            }
        }
    }

    /// Answers a request whose caller is known, or says that it took too long.
    async fn answer_in_time(
        self: &Arc<Self>,
        request: Resolved,
        user: User,
        told: (&Warnings, &Seen),
        audit: Record,
    ) -> Result<Answer, Status> {
        let (_, seen) = told;
        let answer = self.answer_known(request, user, told, audit);
        match seen.end() {
            None => answer.await,
            Some(end) => tokio::time::timeout_at(end, answer).await.unwrap_or_else(|_late| {
                seen.protected();
                Err(Status::timeout("request did not complete within the allotted timeout", 0))
            }),
        }
    }

    async fn answer_known(
        self: &Arc<Self>,
        request: Resolved,
        user: User,
        (warnings, seen): (&Warnings, &Seen),
        audit: Record,
    ) -> Result<Answer, Status> {
        let Resolved { mut parts, body, query, info } = request;
        let user = self.impersonate(&parts, &info, &query, user, &audit)?;
        self.identity.strip(&mut parts.headers);
        let of = (&info, &query, &user);
        let mut pass = match self.gate.enter(self, of, (&parts.method, &parts.uri), seen).await {
            Ok(pass) => pass,
            Err(refused) => return Ok(refused),
        };
        let attributes = attributes_of(&info, &query, &user);
        let decision = authz::ask(self.authorizer.as_ref(), &attributes).await;
        audit.decided(&decision);
        authz::require_that(&decision, &attributes)?;
        if let Some(target) = self.aggregation.find(parts.uri.path()) {
            return Ok(aggregation::answer(self, &target, &user, &info, (parts, body)).await);
        }
        if !info.resource_request {
            return nonresource::answer(self, &parts, &info, &query).await;
        }
        let served = match self.registry.catalogue.find(&info.group, &info.version, &info.resource) {
            Some(served) => Some(served),
            None => self.definitions.find_late(self, &info.group, &info.version, &info.resource).await,
        };
        let served = served.filter(|served| served.is_for(&info.verb, &info.namespace));
        let Some(served) = served else {
            let known = self.documents.is_built_in(&info.group, &info.version);
            return if known {
                Err(Status::no_such_path())
            } else {
                Ok(respond::text(404, "404 page not found\n"))
            };
        };
        if parts.method == Method::HEAD {
            return Err(verbs::method_not_allowed());
        }
        query.check_timeout().map_err(Status::bad_request)?;
        let media =
            negotiate::output(text(&parts, &header::ACCEPT), &query, text(&parts, &header::USER_AGENT))?;
        let watcher = (info.verb == "watch").then(|| {
            let pass = std::mem::take(&mut pass);
            self.gate.watch(pass, &info, &query, self.config.request_timeout)
        });
        let asked = Asked {
            info,
            query,
            user,
            served,
            media,
            parts,
            body: Mutex::new(body),
            warnings: warnings.clone(),
            audit,
            watcher,
        };
        // The paths through the verbs are long, and their frames large: they do not go along with every connection.
        Box::pin(verbs::run(self, asked)).await
    }

    /// Who asks, by their credentials.
    async fn authenticate(
        &self,
        parts: &Parts,
        info: &RequestInfo,
        warnings: &Warnings,
    ) -> Result<Authenticated, Status> {
        if let Some(InProcess(user)) = parts.extensions.get::<InProcess>() {
            return Ok(Authenticated::of(user.clone()));
        }
        let shown = parts.extensions.get::<PeerCertificates>();
        let mut known = self.identity.authenticate(&parts.headers, &info.path, shown).await?;
        warnings.extend(std::mem::take(&mut known.warnings));
        Ok(known)
    }

    /// As whom they may and wish to act.
    fn impersonate(
        &self,
        parts: &Parts,
        info: &RequestInfo,
        query: &Query,
        user: User,
        audit: &Record,
    ) -> Result<User, Status> {
        let request = attributes_of(info, query, &user);
        let found = self.identity.impersonate(&parts.headers, &request, self.authorizer.as_ref())?;
        let Some(impersonated) = found else { return Ok(user) };
        audit.impersonated(&impersonated.user, &impersonated.constraint);
        Ok(impersonated.user)
    }

    /// What an authorizer would be asked about a request.
    pub fn attributes(&self, asked: &Asked) -> Attributes {
        attributes_of(&asked.info, &asked.query, &asked.user)
    }

    /// The objects of a resource in a namespace (or in all), as the cache has them.
    ///
    /// # Errors
    /// 500 for damaged objects.
    pub async fn list(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
    ) -> Result<Vec<Arc<Value>>, Status> {
        self.list_some((group, version, plural), namespace, usize::MAX).await.map(|(objects, _)| objects)
    }

    /// The same, but no more than `max`, and how many there are.
    ///
    /// # Errors
    /// As [`Server::list`].
    pub async fn list_some(
        &self,
        (group, version, plural): (&str, &str, &str),
        namespace: &str,
        max: usize,
    ) -> Result<(Vec<Arc<Value>>, usize), Status> {
        let Some(served) = self.registry.catalogue.find(group, version, plural) else {
            return Ok((Vec::new(), 0));
        };
        let cache = served.storage.cache();
        let snapshot = cache.fresh().await.map_err(|error| crate::registry::read_failure(&error))?;
        let prefix = crate::registry::keys::namespace(&served.storage.prefix, namespace);
        let objects = snapshot.range(&prefix, None).take(max).map(|object| forms::value(object)).collect();
        Ok((objects, snapshot.count(&prefix)))
    }

    /// One object, as the cache has it once it is fresh; none also if that cannot be told.
    pub async fn get(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        self.try_get(group, version, plural, namespace, name).await.ok().flatten()
    }

    /// One object, as the cache has it once it is fresh. For decisions that must not take trouble with the store for an
    /// absence.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn try_get(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Status> {
        let Some(served) = self.registry.catalogue.find(group, version, plural) else { return Ok(None) };
        let key = crate::registry::keys::object(&served.storage.prefix, namespace, name);
        let found = served.storage.cache().get(&key, true).await;
        let found = found.map_err(|error| crate::registry::read_failure(&error))?;
        Ok(found.map(|object| forms::value(&object)))
    }
}

fn attributes_of(info: &RequestInfo, query: &Query, user: &User) -> Attributes {
    let selecting = matches!(info.verb.as_str(), "list" | "watch" | "deletecollection");
    let selector = |name: &str| {
        if selecting { query.get(name).unwrap_or_default().to_owned() } else { String::new() }
    };
    Attributes {
        user: user.clone(),
        verb: info.verb.clone(),
        namespace: info.namespace.clone(),
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        name: info.name.clone(),
        resource_request: info.resource_request,
        path: info.path.clone(),
        field_selector: selector("fieldSelector"),
        label_selector: selector("labelSelector"),
    }
}

/// The form failures are told in: what was accepted, or JSON.
fn accepted(request: &Request<Body>) -> Media {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    negotiate::output(header(header::ACCEPT), &query, header(header::USER_AGENT)).unwrap_or(Media::JSON)
}

fn text<'a>(parts: &'a Parts, name: &header::HeaderName) -> &'a str {
    text_of(&parts.headers, name)
}

fn text_of<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
