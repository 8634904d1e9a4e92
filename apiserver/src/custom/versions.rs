//! The versions of a custom resource: what objects look like in each, and how they go from one to another.
//!
//! Objects lie in the store in the version that was the one to store when they were written. The watch cache holds them so,
//! pruned and defaulted by that version's schema. Whoever asks for another version gets a conversion, which is made once an
//! object, revision and version, and shared.
//!
//! Invariant: schemas, shapes and columns are made when somebody asks for an object. A definition that nobody uses costs its
//! bytes.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use api_types::{kind::GroupVersion, object::ObjectExt, status::Status, wire};
use bytes::Bytes;
use runtime::Runtime;
use serde_json::Value;
use store::{
    Revision,
    cache::{Describe, Header, Object},
};
use tokio::sync::Mutex;

use super::{
    conversion,
    definition::{Definition, Version},
    schema::{Malformed, Structural},
};
use crate::{
    columns::{self, TableDef, json_path::JsonPath},
    patch::apply::shape::custom::CustomType,
    server::Server,
    verbs::forms,
    webhooks::client::Client,
};

/// The versions of one resource, as one definition has them.
#[derive(Debug)]
pub struct Versions {
    /// The definition when this began to be served. Its conditions may have changed since.
    pub definition: Arc<Definition>,
    stored: usize,
    made: Vec<Made>,
    webhook: OnceLock<Result<Client, String>>,
    terminating: AtomicBool,
    server: Weak<Server>,
    runtime: Runtime,
}

/// What is made of a version when it is first needed.
#[derive(Debug, Default)]
struct Made {
    schema: OnceLock<Structural>,
    shape: OnceLock<CustomType>,
    table: OnceLock<TableDef>,
}

/// An object in the versions that were asked for, by `apiVersion`.
type Converted = Mutex<BTreeMap<String, Arc<Object>>>;

// === impl Versions ===

impl Versions {
    /// Of a definition; `None` if it stores no version, which validation does not let happen.
    pub fn new(definition: Arc<Definition>, server: Weak<Server>, runtime: &Runtime) -> Option<Self> {
        Some(Self {
            stored: definition.stored()?,
            made: definition.versions.iter().map(|_| Made::default()).collect(),
            webhook: OnceLock::new(),
            terminating: AtomicBool::new(definition.is("Terminating")),
            server,
            runtime: runtime.clone(),
            definition,
        })
    }

    /// Whether there may be no new objects, since the definition goes.
    pub fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::Relaxed)
    }

    pub(super) fn set_terminating(&self, terminating: bool) {
        self.terminating.store(terminating, Ordering::Relaxed);
    }

    /// The position of the version that objects are stored in.
    pub fn stored(&self) -> usize {
        self.stored
    }

    /// A version.
    pub fn version(&self, at: usize) -> &Version {
        static NONE: std::sync::LazyLock<Version> = std::sync::LazyLock::new(Version::default);
        self.definition.versions.get(at).unwrap_or(&NONE)
    }

    /// The position of the version with that `apiVersion`.
    pub fn find(&self, api_version: &str) -> Option<usize> {
        let wanted = GroupVersion::parse(api_version).filter(|it| it.group == self.definition.group)?;
        self.definition.versions.iter().position(|version| version.name == wanted.version)
    }

    /// `GROUP/VERSION` of a version.
    pub fn api_version(&self, at: usize) -> String {
        self.definition.api_version(&self.version(at).name)
    }

    /// Whether a webhook converts, so that converting takes time and may fail.
    pub fn by_webhook(&self) -> bool {
        self.definition.webhook.is_some()
    }

    fn made(&self, at: usize) -> &Made {
        static NONE: std::sync::LazyLock<Made> = std::sync::LazyLock::new(Made::default);
        self.made.get(at).unwrap_or(&NONE)
    }

    fn raw_schema(&self, at: usize) -> Value {
        let bytes = self.version(at).schema.as_ref();
        bytes.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_else(|| {
            // Without a schema everything is kept.
            serde_json::json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
        })
    }

    /// What a version keeps, defaults and allows.
    pub fn schema(&self, at: usize) -> &Structural {
        self.made(at).schema.get_or_init(|| Structural::parse(&self.raw_schema(at)))
    }

    /// What server-side apply knows of a version.
    pub fn shape(&self, at: usize) -> &CustomType {
        let open = self.definition.preserve_unknown || self.version(at).schema.is_none();
        self.made(at).shape.get_or_init(|| CustomType::new(&self.raw_schema(at), open))
    }

    /// The columns of a version.
    pub fn table(&self, at: usize) -> &TableDef {
        self.made(at).table.get_or_init(|| {
            let columns = self.version(at).columns.as_ref();
            let columns: Option<Vec<_>> = columns.and_then(|bytes| serde_json::from_slice(bytes).ok());
            columns::custom(&columns.unwrap_or_default())
        })
    }

    /// Fits what was sent to a version: what the schema does not know goes, and is told of.
    ///
    /// # Errors
    /// Metadata that is none.
    pub fn coerce(&self, at: usize, object: &mut Value, malformed: Malformed) -> Result<Vec<String>, String> {
        self.schema(at).coerce(object, malformed, !self.definition.preserve_unknown)
    }

    /// An object as it was stored, in that version: pruned and defaulted as the version's schema says now.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn read(&self, stored: &[u8]) -> Result<Value, String> {
        let mut object: Value = serde_json::from_slice(stored).map_err(|error| error.to_string())?;
        let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let at = self
            .find(api_version)
            .ok_or_else(|| format!("request to convert CR from an invalid group/version: {api_version}"))?;
        self.coerce(at, &mut object, Malformed::Dropped)?;
        if object.generation() == 0 {
            // Those of old had none.
            object.set_meta("generation", 1);
        }
        self.schema(at).default(&mut object);
        Ok(object)
    }

    /// What the watch cache makes of stored bytes.
    pub fn describe(self: &Arc<Self>) -> Describe {
        let versions = Arc::clone(self);
        let mut paths = BTreeMap::new();
        for path in versions.definition.versions.iter().flat_map(|version| &version.selectable) {
            if let Ok(parsed) = JsonPath::parse(path) {
                paths.insert(path.trim_start_matches('.').to_owned(), parsed);
            }
        }
        Arc::new(move |_key: &str, stored: Bytes, revision: Revision| {
            let mut object = versions.read(&stored)?;
            object.set_meta("resourceVersion", revision.to_string());
            let header = header(&object, &paths);
            Ok((Bytes::from(wire::json::encode_untyped(&object)), header))
        })
    }

    /// Objects in the version at `to`. Those that are in it already stay as they are.
    ///
    /// # Errors
    /// 500 in upstream's words, if a webhook fails.
    pub async fn convert(&self, objects: Vec<Value>, to: usize) -> Result<Vec<Value>, Status> {
        let target = self.api_version(to);
        let Some(webhook) = &self.definition.webhook else {
            return objects.into_iter().map(|object| self.rename(object, to)).collect();
        };
        let is_there = |object: &Value| object.get("apiVersion").and_then(Value::as_str) == Some(&*target);
        let wanted: Vec<Value> = objects.iter().filter(|object| !is_there(object)).cloned().collect();
        if wanted.is_empty() {
            return Ok(objects);
        }
        let client = self.webhook.get_or_init(|| {
            let tasks = &self.runtime.tasks;
            Client::new(&webhook.client_config, self.server.clone(), tasks).map_err(|error| error.0)
        });
        let uid = self.runtime.random.uuid().to_string();
        let plain = |why: String| Status::failure(500, "", why);
        let client = client.as_ref().map_err(|why| plain(why.clone()))?;
        let answer =
            conversion::call(client, &webhook.conversion_review_versions, &wanted, &target, &uid).await;
        let mut converted = answer.map_err(plain)?.into_iter();
        objects
            .into_iter()
            .map(|object| {
                if is_there(&object) {
                    return Ok(object);
                }
                let mut object = converted.next().unwrap_or(object);
                self.coerce(to, &mut object, Malformed::Refused).map_err(plain)?;
                Ok(object)
            })
            .collect()
    }

    /// One object in the version at `to`.
    ///
    /// # Errors
    /// As [`Versions::convert`].
    pub async fn convert_one(&self, object: Value, to: usize) -> Result<Value, Status> {
        let converted = self.convert(vec![object], to).await?;
        converted.into_iter().next().ok_or_else(|| Status::internal("a conversion lost its object"))
    }

    /// An object in another version where only the names differ.
    ///
    /// # Errors
    /// 500 for metadata that is none.
    pub fn rename(&self, mut object: Value, to: usize) -> Result<Value, Status> {
        let target = self.api_version(to);
        if object.get("apiVersion").and_then(Value::as_str) == Some(&*target) {
            return Ok(object);
        }
        if let Some(map) = object.as_object_mut() {
            map.insert("apiVersion".to_owned(), Value::String(target));
        }
        let coerced = self.coerce(to, &mut object, Malformed::Refused);
        coerced.map_err(|why| Status::failure(500, "", why))?;
        Ok(object)
    }

    /// An object of the watch cache in the version at `to`.
    ///
    /// # Errors
    /// As [`Versions::convert`].
    pub async fn object(&self, object: &Arc<Object>, to: usize) -> Result<Arc<Object>, Status> {
        let target = self.api_version(to);
        if is_in(object, &target) {
            return Ok(Arc::clone(object));
        }
        let known = forms::versions::<Converted>(object);
        // Whoever else wants the same waits for it here, and asks nobody.
        let mut known = known.lock().await;
        if let Some(found) = known.get(&target) {
            return Ok(Arc::clone(found));
        }
        let value = serde_json::from_slice(&object.bytes).map_err(Status::internal)?;
        let converted = converted(object, &self.convert_one(value, to).await?);
        known.insert(target, Arc::clone(&converted));
        Ok(converted)
    }

    /// Many of them, with one call of a webhook.
    ///
    /// # Errors
    /// As [`Versions::convert`].
    pub async fn objects(&self, objects: &mut [Arc<Object>], to: usize) -> Result<(), Status> {
        let target = self.api_version(to);
        let (mut missing, mut values) = (Vec::new(), Vec::new());
        for (at, object) in objects.iter_mut().enumerate() {
            if is_in(object, &target) {
                continue;
            }
            let known = forms::versions::<Converted>(object);
            let found = known.lock().await.get(&target).cloned();
            match found {
                Some(found) => *object = found,
                None => {
                    missing.push(at);
                    values.push(serde_json::from_slice(&object.bytes).map_err(Status::internal)?);
                }
            }
        }
        let values = self.convert(values, to).await?;
        for (at, value) in missing.into_iter().zip(values) {
            let Some(object) = objects.get_mut(at) else { continue };
            let converted = converted(object, &value);
            forms::versions::<Converted>(object).lock().await.insert(target.clone(), Arc::clone(&converted));
            *object = converted;
        }
        Ok(())
    }
}

/// Whether an object of ours is in that version: it is the first thing its bytes say.
fn is_in(object: &Object, api_version: &str) -> bool {
    object
        .bytes
        .strip_prefix(br#"{"apiVersion":""#)
        .and_then(|rest| rest.strip_prefix(api_version.as_bytes()))
        .is_some_and(|rest| rest.starts_with(b"\""))
}

fn converted(object: &Object, value: &Value) -> Arc<Object> {
    let bytes = Bytes::from(wire::json::encode_untyped(value));
    Arc::new(Object::detached(Arc::clone(&object.key), object.revision, bytes, object.header.clone()))
}

fn header(object: &Value, paths: &BTreeMap<String, JsonPath>) -> Header {
    let labels = object.meta().and_then(|meta| meta.get("labels")).and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    let labels: BTreeMap<String, String> =
        labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
    let fields: Vec<(&str, Cow<'_, str>)> = paths
        .iter()
        .map(|(label, path)| (label.as_str(), path.first(object).map(text).unwrap_or_default()))
        .collect();
    let namespace = Some(object.namespace()).filter(|namespace| !namespace.is_empty());
    Header {
        namespace: namespace.map(Arc::from),
        name: Arc::from(object.name()),
        labels: labels.into(),
        fields: fields.into_iter().map(|(label, value)| (label, value.into_owned())).collect(),
        extra: 0,
    }
}

/// A value as selectors see it.
fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    }
}
