//! Paths that are not about a resource: discovery, OpenAPI, health, version, metrics.

use std::{collections::BTreeSet, sync::Arc};

use api_types::{
    kind::GroupVersion,
    status::{Details, Status},
};
use bytes::Bytes;
use http::{HeaderValue, Method, header, request::Parts};
use parking_lot::Mutex;

use crate::{
    authn::openid,
    discovery::{self, Discovery, ServedVersion, builtin},
    fairness,
    http::{
        info::RequestInfo,
        negotiate::{self, Format, Media},
        query::Query,
        respond::{self, Answer},
    },
    observe::{health::Endpoint, metrics},
    openapi::{self, OpenApi, Part},
    registry::catalogue::Catalogue,
    server::Server,
};

/// The documents that describe what is served.
#[derive(Debug)]
pub struct Documents {
    discovery: Mutex<Arc<Discovery>>,
    openapi: Mutex<Arc<OpenApi>>,
    /// What is there from the start, and stays.
    built_in: BTreeSet<GroupVersion>,
    built_in_groups: BTreeSet<String>,
}

// === impl Documents ===

impl Documents {
    /// The documents of a catalogue.
    pub fn new(catalogue: &Catalogue) -> Self {
        let resources: Vec<_> = catalogue.all().iter().map(|served| Arc::clone(&served.resource)).collect();
        let discovery = builtin::discovery(&resources);
        let built_in: BTreeSet<_> = discovery.versions().map(|it| it.group_version().clone()).collect();
        Self {
            built_in_groups: built_in.iter().map(|it| it.group.clone()).collect(),
            built_in,
            openapi: Mutex::new(Arc::new(OpenApi::built_in(&discovery))),
            discovery: Mutex::new(Arc::new(discovery)),
        }
    }

    /// Whether a group and version is there from the start.
    pub fn is_built_in(&self, group: &str, version: &str) -> bool {
        self.built_in.contains(&GroupVersion::new(group, version))
    }

    /// Describes groups and versions that are served now, and takes others out. Costs what changes.
    pub fn exchange(
        &self,
        present: Vec<(Arc<ServedVersion>, Part)>,
        absent: &[GroupVersion],
        groups_absent: &[String],
    ) {
        if present.is_empty() && absent.is_empty() && groups_absent.is_empty() {
            return;
        }
        let mut parts = Vec::new();
        let mut versions = Vec::new();
        let mut groups = BTreeSet::new();
        for (version, part) in present {
            let group = &version.group_version().group;
            if !self.built_in_groups.contains(group) && groups.insert(group.clone()) {
                parts.push(Part::group(group));
            }
            parts.push(part);
            versions.push(version);
        }
        let gone = groups_absent.iter().filter(|group| !self.built_in_groups.contains(*group));
        let gone: Vec<String> =
            gone.map(|group| format!("apis/{group}")).chain(absent.iter().map(openapi::path_of)).collect();
        {
            let mut openapi = self.openapi.lock();
            *openapi = Arc::new(openapi.exchange(&gone, parts));
        }
        let mut discovery = self.discovery.lock();
        *discovery = Arc::new(discovery.exchange(absent, versions));
    }

    /// Tells discovery alone of groups and versions that other servers serve. Those that are built in stay.
    pub fn exchange_discovery(&self, absent: &[GroupVersion], present: Vec<Arc<ServedVersion>>) {
        let absent: Vec<_> = absent.iter().filter(|it| !self.built_in.contains(*it)).cloned().collect();
        let present = present.into_iter().filter(|it| !self.built_in.contains(it.group_version())).collect();
        let mut discovery = self.discovery.lock();
        *discovery = Arc::new(discovery.exchange(&absent, present));
    }

    /// Tells OpenAPI alone.
    pub fn exchange_openapi(&self, absent: &[String], present: impl IntoIterator<Item = Part>) {
        let is_built_in = |path: &str| self.built_in.iter().any(|it| openapi::path_of(it) == path);
        let absent: Vec<_> = absent.iter().filter(|path| !is_built_in(path)).cloned().collect();
        let present = present.into_iter().filter(|part| !is_built_in(part.path()));
        let mut openapi = self.openapi.lock();
        *openapi = Arc::new(openapi.exchange(&absent, present));
    }

    /// How it is described now.
    pub fn openapi(&self) -> Arc<OpenApi> {
        Arc::clone(&self.openapi.lock())
    }

    /// What is served now.
    pub fn discovery(&self) -> Arc<Discovery> {
        Arc::clone(&self.discovery.lock())
    }
}

/// Answers a request that is not about a resource.
///
/// # Errors
/// 404, 405, 406
pub(crate) async fn answer(
    server: &Arc<Server>,
    parts: &Parts,
    info: &RequestInfo,
    query: &Query,
) -> Result<Answer, Status> {
    let path = info.path.trim_end_matches('/');
    let mut segments = path.trim_start_matches('/').split('/');
    let get = matches!(parts.method, Method::GET | Method::HEAD);
    match segments.next().unwrap_or_default() {
        "api" | "apis" => describe(server, parts, path, query),
        _ if !get => Ok(respond::text(404, "404 page not found\n")),
        "healthz" | "livez" | "readyz" => Ok(health(server, path, query).await),
        "version" => document(parts, query, &discovery::version::document()),
        "metrics" if path == "/metrics" => {
            server.metrics.requests.publish_in_flight();
            server.gate.publish();
            server.figures.publish(server).await;
            Ok(respond::bytes(200, metrics::CONTENT_TYPE, server.metrics.render()))
        }
        "metrics" if path == "/metrics/slis" => {
            Ok(respond::bytes(200, metrics::CONTENT_TYPE, server.metrics.slis.render()))
        }
        "debug" if path == "/debug/why" => {
            let asked = |name| query.get(name).unwrap_or_default();
            let whole = asked("all") == "true";
            match server.components.explain(asked("resource"), asked("namespace"), asked("name"), whole) {
                Some(story) => Ok(respond::bytes(200, "application/json", story.to_string())),
                None => Ok(respond::text(404, "404 page not found\n")),
            }
        }
        "debug" if path.starts_with(fairness::dump::PREFIX) => Ok(match server.gate.dump(path, query) {
            Some(table) => respond::bytes(200, "text/plain; charset=utf-8", table),
            None => respond::text(404, "404 page not found\n"),
        }),
        "debug" if path == "/debug/journal" && server.registry.journal.is_kept() => {
            let entries = serde_json::to_string(&server.registry.journal.all()).unwrap_or_default();
            Ok(respond::bytes(200, "application/json", entries))
        }
        "openapi" => openapi(server, parts, path, query).await,
        "" | "index.html" => {
            let mut paths = server.documents.discovery().paths();
            paths.extend(server.health.paths());
            paths.extend(
                [
                    "/.well-known/openid-configuration",
                    "/metrics",
                    "/metrics/slis",
                    "/openid/v1/jwks",
                    "/version",
                ]
                .map(str::to_owned),
            );
            paths.extend(server.documents.openapi().paths());
            Ok(respond::bytes(200, "application/json", discovery::root_paths(paths)))
        }
        ".well-known" if path == openid::CONFIGURATION_PATH => {
            let keys = format!("https://{}{}", server.config.advertise, openid::KEYS_PATH);
            match server.identity.openid_configuration(&keys) {
                Some(document) => Ok(published("application/json", document)),
                None => Ok(respond::text(404, "404 page not found\n")),
            }
        }
        "openid" if path == openid::KEYS_PATH => {
            Ok(published(openid::KEYS_CONTENT_TYPE, server.identity.jwks()))
        }
        _ => Ok(respond::text(404, "404 page not found\n")),
    }
}

/// A document for relying parties, who may keep it for a while.
fn published(content_type: &'static str, document: Bytes) -> Answer {
    let mut answer = respond::bytes(200, content_type, document);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(openid::CACHE_CONTROL));
    answer
}

/// What probes are told.
async fn health(server: &Server, path: &str, query: &Query) -> Answer {
    // Checks read what was last found, so the store is asked first. What it says is told by the check.
    let _told_by_the_check = server.components.store.ask().await;
    let mut steps = path.trim_start_matches('/').splitn(2, '/');
    let endpoint = steps.next().and_then(|name| Endpoint::at(&format!("/{name}")));
    let found = match (endpoint, steps.next()) {
        (Some(endpoint), None) => {
            Some(server.health.answer(endpoint, query.get("verbose").is_some(), query.all("exclude")))
        }
        (Some(endpoint), Some(check)) => server.health.answer_check(endpoint, check),
        (None, _) => None,
    };
    let Some(found) = found else { return respond::text(404, "404 page not found\n") };
    let mut answer = respond::text(found.code, found.body);
    if !found.nosniff {
        answer.headers_mut().remove("x-content-type-options");
    }
    answer
}

/// OpenAPI documents: made off the reactor, since the first asking costs computing.
async fn openapi(server: &Arc<Server>, parts: &Parts, path: &str, query: &Query) -> Result<Answer, Status> {
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (accept, documents) = (text(header::ACCEPT), server.documents.openapi());
    let (path, hash) = (path.to_owned(), query.get("hash").map(str::to_owned));
    let found = tokio::task::spawn_blocking(move || match path.strip_prefix("/openapi/v3/") {
        _ if path == "/openapi/v2" => documents.v2(accept.as_deref()),
        _ if path == "/openapi/v3" => documents.index(accept.as_deref()),
        Some(part) => documents.part(part, accept.as_deref(), hash.as_deref()),
        None => openapi::Answer::NotFound,
    })
    .await
    .map_err(Status::internal)?;
    let (content_type, document, immutable) = match found {
        openapi::Answer::NotFound => return Ok(respond::text(404, "404 page not found\n")),
        openapi::Answer::NotAcceptable => return Ok(respond::bytes(406, "text/plain; charset=utf-8", "")),
        openapi::Answer::Moved { location } => {
            let mut answer = respond::bytes(301, "text/plain; charset=utf-8", "");
            if let Ok(location) = HeaderValue::from_str(&location) {
                answer.headers_mut().insert(header::LOCATION, location);
            }
            return Ok(answer);
        }
        openapi::Answer::Found { content_type, document, immutable } => (content_type, document, immutable),
    };
    let mut answer = if text(header::IF_NONE_MATCH).as_deref() == Some(document.etag.as_str()) {
        respond::bytes(304, content_type, "")
    } else if text(header::ACCEPT_ENCODING).is_some_and(|encodings| encodings.contains("gzip")) {
        let mut answer = respond::bytes(200, content_type, document.gzip.clone());
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        answer
    } else {
        respond::bytes(200, content_type, document.plain())
    };
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        headers.insert(header::ETAG, etag);
    }
    if immutable {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let expires = server.runtime.clock.now().saturating_add(jiff::SignedDuration::from_hours(24 * 365));
        if let Ok(at) = expires
            && let Ok(value) = HeaderValue::from_str(&at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        {
            headers.insert(header::EXPIRES, value);
        }
    }
    Ok(answer)
}

/// Discovery: groups, versions, resources.
fn describe(server: &Arc<Server>, parts: &Parts, path: &str, query: &Query) -> Result<Answer, Status> {
    let discovery = server.documents.discovery();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let found = match segments.as_slice() {
        ["api" | "apis"] => None,
        ["api", version] => discovery.resource_list("", version),
        ["apis", group] => discovery.group(group),
        ["apis", group, version] => discovery.resource_list(group, version),
        _ => return Ok(respond::text(404, "404 page not found\n")),
    };
    if found.is_none() && segments.len() > 1 {
        return Ok(respond::text(404, "404 page not found\n"));
    }
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Status::failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(Details::default()));
    }
    if let Some(body) = found {
        return document(parts, query, &body);
    }
    let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut answer = match wants_aggregated(accept) {
        Wanted::Aggregated => {
            let document =
                if path == "/api" { discovery.aggregated_core() } else { discovery.aggregated_groups() };
            aggregated(parts, document)
        }
        Wanted::Plain if path == "/api" => {
            document(parts, query, &discovery.api_versions(&server.config.advertise.to_string()))?
        }
        Wanted::Plain => document(parts, query, &discovery.group_list())?,
        Wanted::Impossible => return Err(negotiate::not_acceptable()),
    };
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(answer)
}

enum Wanted {
    Aggregated,
    Plain,
    Impossible,
}

/// Which form of discovery an `Accept` header asks for: its first clause that can be followed decides.
fn wants_aggregated(accept: &str) -> Wanted {
    if accept.trim().is_empty() {
        return Wanted::Plain;
    }
    for clause in accept.split(',') {
        let mut parameters = clause.split(';').map(str::trim);
        let media = parameters.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parameters.filter_map(|it| it.split_once('=')).collect();
        let get = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        match (get("g"), get("v"), get("as")) {
            (None, _, None) => return Wanted::Plain,
            (Some(group), Some(version), Some(kind))
                if media == "application/json" && discovery::is_aggregated(group, version, kind) =>
            {
                return Wanted::Aggregated;
            }
            _ => {}
        }
    }
    Wanted::Impossible
}

fn aggregated(parts: &Parts, document: discovery::Document) -> Answer {
    let known = parts.headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut answer = if known == Some(document.etag.as_str()) {
        respond::bytes(304, discovery::AGGREGATED_CONTENT_TYPE, "")
    } else {
        respond::bytes(200, discovery::AGGREGATED_CONTENT_TYPE, document.body)
    };
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        answer.headers_mut().insert(header::ETAG, etag);
    }
    answer
}

/// A JSON document in the form that was asked for.
fn document(parts: &Parts, query: &Query, body: &bytes::Bytes) -> Result<Answer, Status> {
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = negotiate::output(header(header::ACCEPT), query, header(header::USER_AGENT))?;
    let media = match media.format {
        // These have no protobuf form here; the next best is what every client reads.
        Format::Protobuf => Media { format: Format::Json, ..media },
        _ => media,
    };
    Ok(respond::encoded(200, Media { transform: None, ..media }, body, None))
}
