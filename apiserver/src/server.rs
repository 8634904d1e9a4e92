//! The life of a request on one screen: what is it about, who asks, may they, what does it do.
//!
//! Transport (TLS, connections, draining) is `http/serve.rs`; the all-in-one process calls [`Server::serve`] directly,
//! with the caller's identity attached, and takes the same path from there on.

use std::sync::Arc;

use api_types::status::Status;
use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, header, request::Parts};
use parking_lot::Mutex;
use runtime::Runtime;
use serde_json::Value;
use store::Backend;

use crate::{
    admission,
    authn::{bearer, user::User},
    authz::{
        self,
        attributes::Attributes,
        decision::Union,
        mode::{self, Mode},
        node::NodeAuthorizer,
        rbac::Rbac,
    },
    availability, bootstrap,
    components::Components,
    custom::{self, Definitions},
    feeds,
    http::{
        compress,
        info::{self, RequestInfo},
        negotiate::{self, Media},
        query::Query,
        respond::{self, Answer},
    },
    identity::{self, Identity, PeerCertificates},
    nonresource,
    observe::{
        count::Count,
        health::{EVERYWHERE, Health, Hook, READY},
        journal::Journal,
        metrics::Metrics,
    },
    registry::{Registry, addresses::Addresses, catalogue::Catalogue, warnings::Warnings},
    startup,
    storage::{Figures, Measured},
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
    /// Decides what they may do.
    pub authorizer: Arc<Union>,
    /// The roles and bindings, as the authorizer sees them.
    pub rbac: Arc<Rbac>,
    /// What runs where, as the authorizer sees it.
    pub nodes: Arc<NodeAuthorizer>,
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
    /// Discovery and OpenAPI documents.
    pub documents: nonresource::Documents,
    /// The definitions of custom resources.
    pub definitions: Arc<Definitions>,
}

/// The identity of a caller inside the process, who needs no credentials. Only code can attach it to a request; nothing
/// that comes over a connection can.
#[derive(Clone, Debug)]
pub struct InProcess(pub User);

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
        health.add("shutdown", READY, move || {
            if stopping.is_stopping() { Err("process is shutting down".to_owned()) } else { Ok(()) }
        });
        let started = health.hook("rbac/bootstrap-roles");
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
                metrics,
                figures: Figures::default(),
                health,
                components,
                recent_events: forms::Recent::default(),
                started,
                documents,
                definitions: Arc::default(),
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
        availability::start(self);
        self.started.done();
        Ok(())
    }

    /// Answers a request.
    pub async fn serve(self: &Arc<Self>, request: Request<Body>) -> Answer {
        let media = accepted(&request);
        let head = request.method() == Method::HEAD;
        let count = Count::begin(self, &request);
        let audit_id = request.headers().get("audit-id").filter(|id| !id.is_empty()).cloned();
        let encodings = text_of(request.headers(), &header::ACCEPT_ENCODING).to_owned();
        let warnings = Warnings::default();
        let mut answer = match self.answer(request, &warnings).await {
            Ok(answer) => answer,
            Err(status) => respond::failure(&status, media),
        };
        respond::warn(&mut answer, &warnings.all());
        let mut answer = compress::large(answer, &encodings);
        if head {
            *answer.body_mut() = Body::empty();
        }
        if let Some(id) =
            audit_id.or_else(|| HeaderValue::from_str(&self.runtime.random.uuid().to_string()).ok())
        {
            answer.headers_mut().insert("audit-id", id);
        }
        count.end(answer)
    }

    async fn answer(self: &Arc<Self>, request: Request<Body>, warnings: &Warnings) -> Result<Answer, Status> {
        let (mut parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let info = info::resolve(&parts.method, parts.uri.path(), &query)?;
        let user = self.authenticate(&parts, &info, &query, warnings).await?;
        bearer::strip(&mut parts.headers);
        let attributes = attributes_of(&info, &query, &user);
        authz::require(self.authorizer.as_ref(), &attributes)?;
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
        let asked = Asked {
            info,
            query,
            user,
            served,
            media,
            parts,
            body: Mutex::new(body),
            warnings: warnings.clone(),
        };
        // The paths through the verbs are long, and their frames large: they do not go along with every connection.
        Box::pin(verbs::run(self, asked)).await
    }

    /// Who asks: by their credentials, or as whom they may and wish to.
    async fn authenticate(
        &self,
        parts: &Parts,
        info: &RequestInfo,
        query: &Query,
        warnings: &Warnings,
    ) -> Result<User, Status> {
        let user = match parts.extensions.get::<InProcess>() {
            Some(InProcess(user)) => user.clone(),
            None => {
                let shown = parts.extensions.get::<PeerCertificates>();
                let (user, noted) = self.identity.authenticate(&parts.headers, shown).await?;
                warnings.extend(noted);
                user
            }
        };
        let request = attributes_of(info, query, &user);
        let impersonated = self.identity.impersonate(&parts.headers, &request, self.authorizer.as_ref())?;
        Ok(impersonated.unwrap_or(user))
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
