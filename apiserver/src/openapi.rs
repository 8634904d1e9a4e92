//! The API described for machines: OpenAPI 3.0, a document a group and version, and OpenAPI 2.0, all in one.
//!
//! `kubectl explain`, validation and apply read these, and so do generators of clients. Everything is derived: the
//! operations from what [`discovery`](crate::discovery) serves, the shapes from [`api_types::schema`], the words from
//! `k8s_openapi`. Documents are made when first asked for, which costs some ten milliseconds of computing each (do it
//! off the reactor), and are kept compressed.
//!
//! Invariant: no I/O, no routing. A snapshot never changes; [`OpenApi::exchange`] makes the next.
//! See the API concepts' "OpenAPI V3" and the OpenAPI specifications.

mod components;
mod custom;
mod descriptions;
mod foreign;
mod message;
mod negotiation;
mod operations;
mod parameters;
mod protobuf;
mod protobuf_v3;
mod v2;
mod v3;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    sync::{Arc, OnceLock},
};

use api_types::{
    kind::{GroupVersion, GroupVersionKind},
    schema::schema,
};
use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use imbl::OrdMap;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

pub use self::custom::{CustomKind, definition_name};
use self::{
    components::Dialect,
    descriptions::Descriptions,
    operations::{Content, Media, Operation, PathItem, Paths},
};
use crate::discovery::{Discovery, ServedVersion, version::GIT_VERSION};

/// One document of OpenAPI 3.0.
#[derive(Debug)]
pub struct Part {
    /// Beneath `/openapi/v3/`, such as `apis/apps/v1`.
    path: String,
    hash: String,
    source: Source,
    document: OnceLock<Document>,
    protobuf: OnceLock<Document>,
}

#[derive(Debug)]
enum Source {
    /// A group and version; `None`: built in.
    Version { served: Arc<ServedVersion>, custom: Option<Vec<CustomKind>> },
    /// A document of discovery.
    Document(Box<PathsOfOne>),
    /// Another server's group and version, as that server describes it.
    Foreign(foreign::Described),
}

/// One path with one operation.
#[derive(Debug)]
struct PathsOfOne {
    path: String,
    operation: Operation,
}

/// A document, compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The body with `Content-Encoding: gzip`.
    pub gzip: Bytes,
    /// The `ETag` header, in its quotes.
    pub etag: String,
}

/// All documents, at one moment.
#[derive(Debug, Default)]
pub struct OpenApi {
    parts: OrdMap<String, Arc<Part>>,
    index: OnceLock<Document>,
    v2: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 404, without a body.
    NotFound,
    /// 406, without a body.
    NotAcceptable,
    /// 301: that content is no more, this is.
    Moved {
        /// The `Location`.
        location: String,
    },
    /// 200, or 304 if the client has the same `ETag`. Goes with `Vary: Accept`.
    Found {
        /// The `Content-Type`.
        content_type: &'static str,
        /// The body and its `ETag`.
        document: Document,
        /// The client named the content by its hash: `Cache-Control: public, immutable`, `Expires` in a year.
        immutable: bool,
    },
}

// === impl OpenApi ===

impl OpenApi {
    /// What describes the built-in resources of a snapshot of discovery.
    pub fn built_in(discovery: &Discovery) -> Self {
        let mut parts = vec![
            Part::document("api", "get available API versions", "getCoreAPIVersions", "APIVersions", "core"),
            Part::document("apis", "get available API versions", "getAPIVersions", "APIGroupList", "apis"),
            Part::version_info(),
        ];
        let mut groups = BTreeSet::new();
        for served in discovery.versions() {
            let group = &served.group_version().group;
            if !group.is_empty() && groups.insert(group.clone()) {
                parts.push(Part::group(group));
            }
            parts.push(Part::built_in(Arc::clone(served)));
        }
        Self::of(parts.into_iter().map(Arc::new))
    }

    fn of(parts: impl IntoIterator<Item = Arc<Part>>) -> Self {
        Self { parts: parts.into_iter().map(|part| (part.path.clone(), part)).collect(), ..Self::default() }
    }

    /// The next snapshot, without the parts at some paths, and with these parts in place of those that had theirs.
    #[must_use]
    pub fn exchange(&self, absent: &[String], present: impl IntoIterator<Item = Part>) -> Self {
        let mut parts = self.parts.clone();
        for path in absent {
            parts.remove(path);
        }
        for part in present {
            parts.insert(part.path.clone(), Arc::new(part));
        }
        Self { parts, ..Self::default() }
    }

    /// Answers `/openapi/v3`.
    pub fn index(&self, accept: Option<&str>) -> Answer {
        if negotiation::choose(accept, &[negotiation::JSON]).is_none() {
            return Answer::NotAcceptable;
        }
        let document = self.index.get_or_init(|| {
            let paths: BTreeMap<&str, Value> = self
                .parts
                .values()
                .filter(|part| part.source.has_v3())
                .map(|part| (part.path.as_str(), json!({"serverRelativeURL": part.url()})))
                .collect();
            Document::new(json!({"paths": paths}).to_string().as_bytes(), None)
        });
        found("application/json", document.clone())
    }

    /// Answers `/openapi/v3/PATH`, with the `hash` of the query.
    pub fn part(&self, path: &str, accept: Option<&str>, hash: Option<&str>) -> Answer {
        let Some(form) = negotiation::choose(accept, negotiation::V3) else { return Answer::NotAcceptable };
        let Some(part) = self.parts.get(path).filter(|part| part.source.has_v3()) else {
            return Answer::NotFound;
        };
        let hash = hash.unwrap_or_default();
        if !hash.is_empty() && hash != part.hash {
            return Answer::Moved { location: part.url() };
        }
        let (content_type, document) = match form {
            0 => ("application/json", part.document_of_v3()),
            _ => ("application/com.github.proto-openapi.spec.v3.v1.0+protobuf", part.protobuf_of_v3()),
        };
        Answer::Found { content_type, document, immutable: !hash.is_empty() }
    }

    /// Answers `/openapi/v2`.
    pub fn v2(&self, accept: Option<&str>) -> Answer {
        match negotiation::choose(accept, negotiation::V2) {
            None => Answer::NotAcceptable,
            Some(0) => {
                let document = self.v2.get_or_init(|| {
                    let mut sink = v2::Json::default();
                    self.write_v2(&mut sink);
                    Document::new(sink.finish().as_bytes(), None)
                });
                found("application/json", document.clone())
            }
            Some(_) => {
                let document = self.v2_protobuf.get_or_init(|| {
                    let mut sink = protobuf::Protobuf::default();
                    self.write_v2(&mut sink);
                    Document::new(&sink.finish(), None)
                });
                found("application/com.github.proto-openapi.spec.v2.v1.0+protobuf", document.clone())
            }
        }
    }

    /// Writes paths, definitions and parameters of all parts. A definition that several parts need is the same in all
    /// of them and written once.
    fn write_v2(&self, sink: &mut dyn v2::Sink) {
        let group_versions: Vec<(String, String)> = self
            .parts
            .values()
            .filter_map(|part| match &part.source {
                Source::Version { served, .. } => Some(pair(served.group_version())),
                Source::Document(_) | Source::Foreign(_) => None,
            })
            .collect();
        let mut shared = v2::Shared::new();
        let mut written = BTreeSet::new();
        for part in self.parts.values() {
            let paths = part.source.paths();
            v2::write_paths(&paths, &mut shared, sink);
            let definitions = part.source.definitions(Dialect::V2, &paths, &group_versions);
            for (name, definition) in definitions {
                if written.insert(name.clone()) {
                    sink.definition(&name, &definition);
                }
            }
        }
        // What is ours goes by our names: others' definitions of the same name are taken to be the same.
        let mut parameters: BTreeSet<String> = shared.keys().cloned().collect();
        for part in self.parts.values() {
            if let Source::Foreign(described) = &part.source {
                described.write_v2(&mut written, &mut parameters, sink);
            }
        }
        v2::write_parameters(&shared, sink);
    }

    /// Whether a part is what another server has at that URL.
    pub fn is_from(&self, path: &str, url: Option<&str>) -> bool {
        let part = self.parts.get(path);
        part.is_some_and(|part| matches!(&part.source, Source::Foreign(it) if it.url.as_deref() == url))
    }

    /// The paths of all documents, for `/`.
    pub fn paths(&self) -> Vec<String> {
        ["/openapi/v2", "/openapi/v3", "/openapi/v3/"].map(str::to_owned).to_vec()
    }
}

fn found(content_type: &'static str, document: Document) -> Answer {
    Answer::Found { content_type, document, immutable: false }
}

fn pair(group_version: &GroupVersion) -> (String, String) {
    (group_version.group.clone(), group_version.version.clone())
}

// === impl Part ===

impl Part {
    fn new(path: String, identity: &str, source: Source) -> Self {
        // The content is a function of this build and of what is served, so those are hashed: the documents
        // themselves need not be made to be named.
        let build = option_env!("BINNACLE_GIT_COMMIT").unwrap_or_default();
        let digest = Sha512::digest(format!("{GIT_VERSION} {build} {path} {identity}"));
        Self {
            path,
            hash: format!("{digest:X}"),
            source,
            document: OnceLock::new(),
            protobuf: OnceLock::new(),
        }
    }

    /// The part of a built-in group and version.
    fn built_in(served: Arc<ServedVersion>) -> Self {
        let identity = format!("{:?}", served.resources());
        let path = path_of(served.group_version());
        Self::new(path, &identity, Source::Version { served, custom: None })
    }

    /// The part of a group and version of custom resources.
    pub fn custom(served: Arc<ServedVersion>, kinds: Vec<CustomKind>) -> Self {
        let identity = format!("{:?} {kinds:?}", served.resources());
        let path = path_of(served.group_version());
        Self::new(path, &identity, Source::Version { served, custom: Some(kinds) })
    }

    /// The part of a group and version of another server. The URL names the content, if that server says so.
    pub fn foreign(
        group_version: &GroupVersion,
        url: Option<String>,
        v3: Option<Bytes>,
        v2: Option<Value>,
    ) -> Self {
        let path = path_of(group_version);
        let identity = match &v3 {
            Some(v3) => format!("{:X}", Sha512::digest(v3)),
            None => String::new(),
        };
        let described = foreign::Described::new(&path, url, v3, v2);
        Self::new(path, &identity, Source::Foreign(described))
    }

    /// The part of a group.
    pub fn group(group: &str) -> Self {
        let id = operations::group_id(group);
        Self::document(
            &format!("apis/{group}"),
            "get information of a group",
            &format!("get{id}APIGroup"),
            "APIGroup",
            &operations::tag(&id, None),
        )
    }

    fn document(path: &str, description: &str, id: &str, kind: &str, tag: &str) -> Self {
        let operation =
            operations::document(id.to_owned(), description, &operations::meta(kind), tag.to_owned());
        let source = PathsOfOne { path: format!("/{path}/"), operation };
        Self::new(path.to_owned(), "", Source::Document(Box::new(source)))
    }

    fn version_info() -> Self {
        let mut operation = operations::document(
            "getCodeVersion".to_owned(),
            "get the version information for this server",
            "io.k8s.apimachinery.pkg.version.Info",
            "version".to_owned(),
        );
        operation.media = Media::Json;
        let source = PathsOfOne { path: "/version/".to_owned(), operation };
        Self::new("version".to_owned(), "", Source::Document(Box::new(source)))
    }

    /// The path beneath `/openapi/v3/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn url(&self) -> String {
        format!("/openapi/v3/{}?hash={}", self.path, self.hash)
    }

    fn document_of_v3(&self) -> Document {
        self.document
            .get_or_init(|| {
                if let Source::Foreign(described) = &self.source {
                    return Document::new(described.v3.as_deref().unwrap_or_default(), Some(&self.hash));
                }
                let paths = self.source.paths();
                let group_versions = match &self.source {
                    Source::Version { served, .. } => vec![pair(served.group_version())],
                    Source::Document(_) | Source::Foreign(_) => Vec::new(),
                };
                let schemas = self.source.definitions(Dialect::V3, &paths, &group_versions);
                let schemas = schemas.into_iter().map(|(name, schema)| (name, schema.to_string()));
                let text = v3::document(&paths, schemas);
                Document::new(text.as_bytes(), Some(&self.hash))
            })
            .clone()
    }

    fn protobuf_of_v3(&self) -> Document {
        self.protobuf
            .get_or_init(|| {
                // What was written as JSON a moment ago can be read.
                let json = serde_json::from_slice(&self.document_of_v3().plain()).unwrap_or_default();
                Document::new(&protobuf_v3::document(&json), Some(&self.hash))
            })
            .clone()
    }
}

/// Where a group and version is described, beneath `/openapi/v3/`.
pub fn path_of(group_version: &GroupVersion) -> String {
    operations::root(group_version).trim_start_matches('/').to_owned()
}

// === impl Source ===

impl Source {
    /// Whether there is a document of OpenAPI 3.0.
    fn has_v3(&self) -> bool {
        !matches!(self, Self::Foreign(described) if described.v3.is_none())
    }

    fn paths(&self) -> Paths {
        match self {
            Self::Foreign(_) => Paths::new(),
            Self::Document(one) => {
                let item = PathItem { parameters: Vec::new(), operations: vec![one.operation.clone()] };
                Paths::from([(one.path.clone(), item)])
            }
            Self::Version { served, custom } => {
                let definition = |kind: &GroupVersionKind| match schema().type_of(
                    &kind.group,
                    &kind.version,
                    &kind.kind,
                ) {
                    Some(of) if custom.is_none() || kind.group != served.group_version().group => {
                        components::name_of(of)
                    }
                    _ => definition_name(kind),
                };
                operations::Writer::new(served.group_version(), custom.is_some(), &definition)
                    .finish(served.resources())
            }
        }
    }

    /// The definitions that these paths need.
    fn definitions(
        &self,
        dialect: Dialect,
        paths: &Paths,
        group_versions: &[(String, String)],
    ) -> BTreeMap<String, Value> {
        let mut roots: BTreeSet<String> = BTreeSet::new();
        for operation in paths.values().flat_map(|item| &item.operations) {
            roots.extend(operation.body.iter().map(|(_, definition)| definition.clone()));
            for (_, content) in &operation.responses {
                if let Content::Object(definition) = content {
                    roots.insert(definition.clone());
                }
            }
        }
        match self {
            Self::Version { served, custom } => {
                let GroupVersion { group, version } = served.group_version();
                let descriptions = Descriptions::of(group, version);
                let mut custom_definitions = BTreeMap::new();
                for kind in custom.iter().flatten() {
                    custom_definitions.extend(custom::definitions(
                        dialect,
                        group,
                        version,
                        kind,
                        &descriptions,
                    ));
                    roots.insert(operations::meta("ObjectMeta"));
                    roots.insert(operations::meta("ListMeta"));
                }
                let mut definitions = components::definitions(dialect, roots, group_versions, &descriptions);
                definitions.append(&mut custom_definitions);
                definitions
            }
            Self::Foreign(_) => BTreeMap::new(),
            Self::Document(_) => {
                components::definitions(dialect, roots, group_versions, &Descriptions::of("", ""))
            }
        }
    }
}

// === impl Document ===

impl Document {
    /// Compresses the body. The tag is its digest, unless there is a cheaper name for the content.
    fn new(body: &[u8], hash: Option<&str>) -> Self {
        let etag = match hash {
            Some(hash) => format!("\"{hash}\""),
            None => format!("\"{:X}\"", Sha512::digest(body)),
        };
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::default());
        // Writing to a Vec cannot fail.
        let _ = encoder.write_all(body);
        Self { gzip: encoder.finish().unwrap_or_default().into(), etag }
    }

    /// The body, for clients that do not take it compressed.
    pub fn plain(&self) -> Bytes {
        let mut body = Vec::with_capacity(self.gzip.len() * 8);
        // What was compressed here can be read here.
        let _ = GzDecoder::new(self.gzip.as_ref()).read_to_end(&mut body);
        body.into()
    }
}

fn bearer_token() -> Value {
    json!({
        "type": "apiKey",
        "description": "Bearer Token authentication",
        "name": "authorization",
        "in": "header",
    })
}

fn reason_phrase(code: u16) -> &'static str {
    match code {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        _ => "",
    }
}

fn patch_types(strategic: bool) -> Vec<&'static str> {
    let mut types = vec!["application/json-patch+json", "application/merge-patch+json"];
    if strategic {
        types.push("application/strategic-merge-patch+json");
    }
    types.push("application/apply-patch+yaml");
    types
}

/// Puts commas between.
fn separator() -> impl FnMut(&mut String) {
    let mut first = true;
    move |out| {
        if !first {
            out.push(',');
        }
        first = false;
    }
}

/// Writes `"name":value`.
fn push_entry(out: &mut String, name: &str, value: &str) {
    out.push_str(&Value::from(name).to_string());
    out.push(':');
    out.push_str(value);
}

/// Writes `"name":value`, after a comma if something stands there.
fn push_entry_separated(out: &mut String, name: &str, value: &Value) {
    if !out.is_empty() {
        out.push(',');
    }
    push_entry(out, name, &value.to_string());
}

#[cfg(test)]
mod tests;
