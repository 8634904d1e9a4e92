//! An API server in memory: one revision for all, a history to watch, preconditions, finalizers, graceful pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api_types::{
    kind::GroupResource,
    object::{ObjectExt, object_at, object_of},
    selectors::{fields, labels},
    status::Status,
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, stream};
use http::{Method, Request, Response, header};
use http_body_util::StreamBody;
use parking_lot::Mutex;
use runtime::{Runtime, Signal};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{
    Api, Key, Resource,
    transport::{Body, BoxError, Transport, TransportError, boxed, full},
};

/// Bookmarks are sent this often to watches that allow them.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// An API server in memory. Cheap to clone.
#[derive(Clone)]
pub struct FakeServer {
    state: Arc<Mutex<State>>,
    /// Wakes watches: something happened, or they shall end.
    signal: Arc<Signal<News>>,
    runtime: Runtime,
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered so, and does nothing.
    Answer(Status),
    /// It does not arrive.
    Unreachable,
    /// It is carried out, but the answer is lost.
    LoseReply,
}

#[derive(Clone, Copy, Default, PartialEq)]
struct News {
    revision: u64,
    /// Watches opened in an earlier generation end.
    generation: u64,
    /// Counts requests for a bookmark at once.
    bookmarks: u64,
    /// Counts releases of what was held back.
    releases: u64,
}

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<GroupResourceKey, BTreeMap<Key, Value>>,
    history: Vec<Entry>,
    /// What happened up to here is forgotten.
    compacted: u64,
    held: BTreeSet<String>,
    streams_refused: bool,
    faults: Vec<(String, Fault)>,
    latency: Duration,
    requests: Vec<String>,
    watches: usize,
}

type GroupResourceKey = (String, String);

#[derive(Clone)]
struct Entry {
    revision: u64,
    of: GroupResourceKey,
    object: Value,
    previous: Option<Value>,
    deleted: bool,
}

/// What a path and query mean.
#[derive(Clone)]
struct Target {
    of: GroupResourceKey,
    namespace: String,
    name: String,
    subresource: String,
    query: BTreeMap<String, String>,
    labels: labels::Selector,
    fields: fields::Selector,
    metadata_only: bool,
}

// === impl FakeServer ===

impl FakeServer {
    /// An empty cluster.
    pub fn new(runtime: &Runtime) -> Self {
        let state = State { revision: 1, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), signal: Arc::default(), runtime: runtime.clone() }
    }

    /// A client.
    pub fn api(&self) -> Api {
        Api::new(Arc::new(self.clone()), "test")
    }

    // The world's hand: what is done here meets no fault, is not logged, and may set status.

    /// Puts an object in place as it is, or replaces it.
    pub fn put(&self, resource: &Resource, object: Value) -> Value {
        let of = group_resource_key(resource);
        let key = Key::new(object.namespace(), object.name());
        let mut state = self.state.lock();
        let stored = match state.get(&of, &key) {
            Some(old) => {
                let mut new = object;
                for field in ["uid", "creationTimestamp"] {
                    let value = old.meta_str(field).to_owned();
                    new.set_meta(field, value);
                }
                state.replace(&of, &key, old, new)
            }
            None => state.insert(&of, key, object, &self.runtime),
        };
        self.publish(&state);
        stored
    }

    /// An object, if it is there.
    pub fn get(&self, resource: &Resource, key: &Key) -> Option<Value> {
        self.state.lock().get(&group_resource_key(resource), key)
    }

    /// All objects of a resource.
    pub fn list(&self, resource: &Resource) -> Vec<Value> {
        let state = self.state.lock();
        state
            .objects
            .get(&group_resource_key(resource))
            .into_iter()
            .flat_map(|of| of.values().cloned())
            .collect()
    }

    /// Changes an object with a merge patch, status and all.
    ///
    /// # Panics
    /// When it is not there.
    pub fn change(&self, resource: &Resource, key: &Key, patch: &Value) -> Value {
        let of = group_resource_key(resource);
        let mut state = self.state.lock();
        let old = state.get(&of, key);
        let Some(old) = old else { panic!("there is no {resource} {key}") };
        let mut new = old.clone();
        json_patch::merge(&mut new, patch);
        let stored = state.replace(&of, key, old, new);
        self.publish(&state);
        stored
    }

    /// Removes an object at once, whatever holds it. False if it is not there.
    pub fn remove(&self, resource: &Resource, key: &Key) -> bool {
        let mut state = self.state.lock();
        let removed = state.remove(&group_resource_key(resource), key).is_some();
        self.publish(&state);
        removed
    }

    /// The revision of the last write.
    pub fn revision(&self) -> u64 {
        self.state.lock().revision
    }

    // Faults and delays.

    /// From now on watches of a resource (by its plural name) tell nothing, until it is released.
    pub fn hold_watches(&self, plural: &str) {
        self.state.lock().held.insert(plural.to_owned());
    }

    /// Watches of a resource tell what they held back.
    pub fn release_watches(&self, plural: &str) {
        self.state.lock().held.remove(plural);
        self.signal.update(|news| news.releases += 1);
    }

    /// Ends all watches.
    pub fn drop_watches(&self) {
        self.signal.update(|news| news.generation += 1);
    }

    /// Sends a bookmark on all watches.
    pub fn bookmark(&self) {
        self.signal.update(|news| news.bookmarks += 1);
    }

    /// Forgets the history: a watch from before now answers that it expired.
    pub fn compact(&self) {
        let mut state = self.state.lock();
        state.compacted = state.revision;
        state.history.clear();
    }

    /// From now on lists cannot be streamed, as with servers that do not know `sendInitialEvents`.
    pub fn refuse_streams(&self) {
        self.state.lock().streams_refused = true;
    }

    /// The next request whose `METHOD /path?query` contains `text` fails.
    pub fn fail_next(&self, text: &str, fault: Fault) {
        self.state.lock().faults.push((text.to_owned(), fault));
    }

    /// Every request takes so long.
    pub fn set_latency(&self, latency: Duration) {
        self.state.lock().latency = latency;
    }

    /// The requests so far, as `METHOD /path?query`, and forgets them.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().requests)
    }

    /// How many watches are open.
    pub fn watches(&self) -> usize {
        self.state.lock().watches
    }

    fn publish(&self, state: &State) {
        let revision = state.revision;
        self.signal.update(|news| news.revision = revision);
    }

    fn answer(
        &self,
        method: &Method,
        target: &Target,
        content_type: &str,
        body: &[u8],
    ) -> Result<(u16, Value), Status> {
        let mut state = self.state.lock();
        let answer = state.serve(method, target, content_type, body, &self.runtime);
        self.publish(&state);
        answer
    }

    fn open_watch(&self, target: &Target) -> Result<Response<Body>, Status> {
        let query = &target.query;
        let flag = |name: &str| query.get(name).is_some_and(|value| value == "true" || value == "1");
        let state = self.state.lock();
        let streamed = flag("sendInitialEvents");
        if streamed && state.streams_refused {
            return Err(Status::failure(422, "Invalid", "sendInitialEvents is forbidden for watch"));
        }
        let mut cursor = state.revision;
        let mut pending = Vec::new();
        if streamed {
            pending.extend(state.selected(target).into_iter().map(|object| frame("ADDED", &object, target)));
            pending.push(bookmark(state.revision, true));
        } else {
            let from: u64 =
                query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default();
            if from == 0 {
                pending
                    .extend(state.selected(target).into_iter().map(|object| frame("ADDED", &object, target)));
            } else if from < state.compacted {
                return Err(expired(from, state.compacted));
            } else {
                cursor = from;
            }
        }
        drop(state);
        let seconds = query.get("timeoutSeconds").and_then(|text| text.parse().ok()).unwrap_or(1800);
        self.state.lock().watches += 1;
        let seen = self.signal.get();
        let watcher = Watcher {
            server: self.clone(),
            target: target.clone(),
            generation: seen.generation,
            bookmarks: seen.bookmarks,
            allow_bookmarks: flag("allowWatchBookmarks"),
            cursor,
            pending: pending.into(),
            ends: Instant::now() + Duration::from_secs(seconds),
            next_bookmark: Instant::now() + BOOKMARK_PERIOD,
        };
        let frames = stream::unfold(watcher, |mut watcher| async move {
            let frame = watcher.next().await?;
            Some((Ok::<_, BoxError>(http_body::Frame::data(frame)), watcher))
        });
        Ok(respond(200, boxed(StreamBody::new(frames))))
    }
}

impl std::fmt::Debug for FakeServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeServer").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl Transport for FakeServer {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let (fault, latency) = {
                let mut state = self.state.lock();
                state.requests.push(line.clone());
                let at = state.faults.iter().position(|(text, _)| line.contains(text));
                (at.map(|at| state.faults.remove(at).1), state.latency)
            };
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            match &fault {
                Some(Fault::Answer(status)) => return Ok(failure(status)),
                Some(Fault::Unreachable) => return Err(TransportError::Unreachable("refused".into())),
                Some(Fault::LoseReply) | None => {}
            }
            let head =
                |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let response = match Target::of(request.uri(), head(header::ACCEPT)) {
                None => failure(&Status::no_such_path()),
                Some(target) if target.is_watch() => {
                    self.open_watch(&target).unwrap_or_else(|status| failure(&status))
                }
                Some(target) => {
                    let content_type = head(header::CONTENT_TYPE);
                    match self.answer(request.method(), &target, content_type, request.body()) {
                        Ok((code, value)) => respond(code, full(value.to_string())),
                        Err(status) => failure(&status),
                    }
                }
            };
            match fault {
                Some(Fault::LoseReply) => Err(TransportError::Interrupted("the reply was lost".into())),
                _ => Ok(response),
            }
        }
        .boxed()
    }
}

fn respond(code: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn failure(status: &Status) -> Response<Body> {
    respond(status.code, full(status.to_value().to_string()))
}

fn expired(from: u64, compacted: u64) -> Status {
    Status::expired(format!("too old resource version: {from} ({compacted})"))
}

fn group_resource_key(resource: &Resource) -> GroupResourceKey {
    (resource.group.clone().into_owned(), resource.plural.clone().into_owned())
}

// === impl Watcher ===

/// One watch under way.
struct Watcher {
    server: FakeServer,
    target: Target,
    generation: u64,
    bookmarks: u64,
    allow_bookmarks: bool,
    /// Everything up to here was told.
    cursor: u64,
    pending: std::collections::VecDeque<Bytes>,
    ends: Instant,
    next_bookmark: Instant,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.server.state.lock().watches -= 1;
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                return Some(frame);
            }
            let news = self.server.signal.get();
            if news.generation != self.generation {
                return None;
            }
            if self.read_history() {
                continue;
            }
            if self.allow_bookmarks && news.bookmarks != self.bookmarks {
                self.bookmarks = news.bookmarks;
                self.pending.push_back(bookmark(self.cursor, false));
                continue;
            }
            tokio::select! {
                biased;
                _ = self.server.signal.wait(|now| *now != news) => {}
                () = tokio::time::sleep_until(self.ends) => return None,
                () = tokio::time::sleep_until(self.next_bookmark), if self.allow_bookmarks => {
                    self.next_bookmark += BOOKMARK_PERIOD;
                    self.pending.push_back(bookmark(self.cursor, false));
                }
            }
        }
    }

    /// True if there is something to send.
    fn read_history(&mut self) -> bool {
        let state = self.server.state.lock();
        if state.held.contains(&self.target.of.1) {
            return false;
        }
        if self.cursor < state.compacted {
            let status = expired(self.cursor, state.compacted).to_value();
            self.cursor = state.revision;
            self.pending.push_back(line(&json!({"type": "ERROR", "object": status})));
            return true;
        }
        for entry in state.history.iter().filter(|entry| entry.revision > self.cursor) {
            if entry.of == self.target.of {
                self.pending.extend(entry.told_to(&self.target));
            }
        }
        self.cursor = state.revision;
        !self.pending.is_empty()
    }
}

impl Entry {
    /// A watch with selectors sees objects come into its selection and leave it.
    fn told_to(&self, target: &Target) -> Option<Bytes> {
        let is = !self.deleted && target.selects(&self.object);
        let was = self.previous.as_ref().is_some_and(|previous| target.selects(previous));
        match (was, is) {
            (false, false) => None,
            (false, true) => Some(frame("ADDED", &self.object, target)),
            (true, true) => Some(frame("MODIFIED", &self.object, target)),
            (true, false) => {
                let mut last = self.previous.clone().unwrap_or_default();
                last.set_meta("resourceVersion", self.revision.to_string());
                Some(frame("DELETED", &last, target))
            }
        }
    }
}

fn frame(kind: &str, object: &Value, target: &Target) -> Bytes {
    line(&json!({"type": kind, "object": target.shown(object)}))
}

fn bookmark(revision: u64, ends_initial_events: bool) -> Bytes {
    let mut object = json!({"metadata": {"resourceVersion": revision.to_string()}});
    if ends_initial_events {
        object.set_meta("annotations", json!({"k8s.io/initial-events-end": "true"}));
    }
    line(&json!({"type": "BOOKMARK", "object": object}))
}

fn line(value: &Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    text.into()
}

// === impl Target ===

impl Target {
    fn of(uri: &http::Uri, accept: &str) -> Option<Self> {
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let parts: Vec<String> = uri.path().trim_matches('/').split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _version, rest @ ..] => ("", rest),
            ["apis", group, _version, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, plural, name, subresource) = match rest {
            ["namespaces"] => ("", "namespaces", "", ""),
            ["namespaces", name] => ("", "namespaces", *name, ""),
            ["namespaces", name, sub @ ("status" | "finalize")] => ("", "namespaces", *name, *sub),
            ["namespaces", namespace, plural] => (*namespace, *plural, "", ""),
            ["namespaces", namespace, plural, name] => (*namespace, *plural, *name, ""),
            ["namespaces", namespace, plural, name, sub] => (*namespace, *plural, *name, *sub),
            [plural] => ("", *plural, "", ""),
            [plural, name] => ("", *plural, *name, ""),
            [plural, name, sub] => ("", *plural, *name, *sub),
            _ => return None,
        };
        let query = uri.query().unwrap_or_default();
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let query: BTreeMap<_, _> = query.map(|(name, value)| (name.to_owned(), decode(value))).collect();
        let text = |name: &str| query.get(name).map_or("", String::as_str);
        Some(Self {
            labels: labels::Selector::parse(text("labelSelector")).ok()?,
            fields: fields::Selector::parse(text("fieldSelector")).ok()?,
            of: (group.to_owned(), plural.to_owned()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
            query,
            metadata_only: accept.contains("as=PartialObjectMetadata"),
        })
    }

    fn is_watch(&self) -> bool {
        self.query.get("watch").is_some_and(|value| value == "true" || value == "1")
    }

    fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }

    fn resource(&self) -> GroupResource {
        GroupResource::new(&self.of.0, &self.of.1)
    }

    fn selects(&self, object: &Value) -> bool {
        let labels = object.meta().and_then(|meta| meta.get("labels")).and_then(Value::as_object);
        (self.namespace.is_empty() || object.namespace() == self.namespace)
            && self.labels.matches(&labels)
            && self.fields.matches(|path| field(object, path).into())
    }

    fn shown(&self, object: &Value) -> Value {
        if !self.metadata_only {
            return object.clone();
        }
        json!({
            "apiVersion": "meta.k8s.io/v1",
            "kind": "PartialObjectMetadata",
            "metadata": object.get("metadata"),
        })
    }
}

fn field(object: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(object, |here, step| here.get(step));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(other) if !other.is_null() => other.to_string(),
        _ => String::new(),
    }
}

// === impl State ===

impl State {
    fn get(&self, of: &GroupResourceKey, key: &Key) -> Option<Value> {
        self.objects.get(of)?.get(key).cloned()
    }

    fn selected(&self, target: &Target) -> Vec<Value> {
        let all = self.objects.get(&target.of).into_iter().flat_map(BTreeMap::values);
        all.filter(|object| target.selects(object)).cloned().collect()
    }

    fn insert(&mut self, of: &GroupResourceKey, key: Key, mut object: Value, runtime: &Runtime) -> Value {
        self.revision += 1;
        if object.uid().is_empty() {
            object.set_meta("uid", runtime.random.uuid().to_string());
        }
        object.set_meta("creationTimestamp", crate::meta::time(runtime.clock.now()));
        object.set_meta("resourceVersion", self.revision.to_string());
        if object.get("spec").is_some() && object.generation() == 0 {
            object.set_meta("generation", 1);
        }
        self.record(of, object.clone(), None, false);
        self.objects.entry(of.clone()).or_default().insert(key, object.clone());
        object
    }

    /// Stores a change, unless it is none. An object marked for deletion that nothing holds any more goes.
    fn replace(&mut self, of: &GroupResourceKey, key: &Key, old: Value, mut new: Value) -> Value {
        new.set_meta("resourceVersion", old.resource_version());
        if new == old {
            return old;
        }
        if new.get("spec") != old.get("spec") {
            new.set_meta("generation", old.generation() + 1);
        }
        let graceful =
            new.meta().and_then(|meta| meta.get("deletionGracePeriodSeconds")).and_then(Value::as_i64);
        if new.is_terminating() && new.finalizers().is_empty() && graceful.unwrap_or_default() == 0 {
            self.objects.entry(of.clone()).or_default().insert(key.clone(), new);
            return self.remove(of, key).unwrap_or_default();
        }
        self.revision += 1;
        new.set_meta("resourceVersion", self.revision.to_string());
        self.record(of, new.clone(), Some(old), false);
        self.objects.entry(of.clone()).or_default().insert(key.clone(), new.clone());
        new
    }

    fn remove(&mut self, of: &GroupResourceKey, key: &Key) -> Option<Value> {
        let last = self.objects.get_mut(of)?.remove(key)?;
        self.revision += 1;
        self.record(of, last.clone(), Some(last.clone()), true);
        Some(last)
    }

    fn record(&mut self, of: &GroupResourceKey, object: Value, previous: Option<Value>, deleted: bool) {
        self.history.push(Entry { revision: self.revision, of: of.clone(), object, previous, deleted });
    }

    fn serve(
        &mut self,
        method: &Method,
        target: &Target,
        content_type: &str,
        body: &[u8],
        runtime: &Runtime,
    ) -> Result<(u16, Value), Status> {
        let parsed =
            || serde_json::from_slice::<Value>(body).map_err(|error| Status::bad_request(error.to_string()));
        let (key, resource) = (target.key(), target.resource());
        let existing =
            || self.get(&target.of, &key).ok_or_else(|| Status::not_found(&resource, &target.name));
        match (method.as_str(), target.name.is_empty(), target.subresource.as_str()) {
            ("GET", true, _) => self.list(target),
            ("GET", false, "" | "status") => Ok((200, target.shown(&existing()?))),
            ("POST", true, _) => self.create(target, parsed()?, runtime),
            ("POST", false, "binding") => {
                let pod = existing()?;
                let binding = parsed()?;
                if !field(&pod, "spec.nodeName").is_empty() {
                    return Err(Status::conflict(
                        &resource,
                        &target.name,
                        "pod is already assigned to a node",
                    ));
                }
                let node = field(&binding, "target.name");
                let mut new = pod.clone();
                json_patch::merge(&mut new, &json!({"spec": {"nodeName": node}}));
                self.replace(&target.of, &key, pod, new);
                Ok((201, Status::success(None).to_value()))
            }
            ("POST", false, "eviction") => {
                let pod = existing()?;
                self.delete(target, pod, &json!({}), runtime)?;
                Ok((201, Status::success(None).to_value()))
            }
            ("PUT", false, subresource @ ("" | "status" | "finalize")) => {
                let old = existing()?;
                let new = merged(&old, parsed()?, subresource);
                self.update(target, old, new)
            }
            ("PATCH", false, subresource @ ("" | "status")) => {
                let patch = parsed()?;
                if content_type.contains("apply") && self.get(&target.of, &key).is_none() {
                    return self.create(target, patch, runtime);
                }
                let old =
                    self.get(&target.of, &key).ok_or_else(|| Status::not_found(&resource, &target.name))?;
                let mut new = old.clone();
                if content_type.contains("json-patch") {
                    let operations: json_patch::Patch = serde_json::from_value(patch)
                        .map_err(|error| Status::bad_request(error.to_string()))?;
                    json_patch::patch(&mut new, &operations)
                        .map_err(|error| Status::failure(422, "Invalid", error.to_string()))?;
                } else {
                    json_patch::merge(&mut new, &patch);
                }
                let new = merged(&old, new, subresource);
                self.update(target, old, new)
            }
            ("DELETE", false, "") => {
                let old = existing()?;
                let options = if body.is_empty() { json!({}) } else { parsed()? };
                self.delete(target, old, &options, runtime)
            }
            ("DELETE", true, _) => {
                for object in self.selected(target) {
                    let one = Target {
                        name: object.name().to_owned(),
                        namespace: object.namespace().to_owned(),
                        ..target.clone()
                    };
                    self.delete(&one, object, &json!({}), runtime)?;
                }
                Ok((200, Status::success(None).to_value()))
            }
            _ => Err(Status::method_not_supported(&resource, method.as_str())),
        }
    }

    fn list(&self, target: &Target) -> Result<(u16, Value), Status> {
        let mut objects = self.selected(target);
        let limit =
            target.query.get("limit").and_then(|text| text.parse::<usize>().ok()).unwrap_or(usize::MAX);
        let mut revision = self.revision;
        // A token is the revision of the first page and the key after which to go on.
        if let Some((at, after)) = target.query.get("continue").and_then(|token| token.split_once(' ')) {
            revision = at.parse().unwrap_or_default();
            if revision < self.compacted {
                return Err(Status::expired("The provided continue parameter is too old"));
            }
            let after = Key::parse(after);
            objects.retain(|object| Key::new(object.namespace(), object.name()) > after);
        }
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if objects.len() > limit {
            objects.truncate(limit);
            if let Some(last) = objects.last() {
                let after = Key::new(last.namespace(), last.name());
                object_of(&mut metadata).insert("continue".to_owned(), format!("{revision} {after}").into());
            }
        }
        let items: Vec<Value> = objects.iter().map(|object| target.shown(object)).collect();
        Ok((200, json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items})))
    }

    fn create(
        &mut self,
        target: &Target,
        mut object: Value,
        runtime: &Runtime,
    ) -> Result<(u16, Value), Status> {
        if !target.namespace.is_empty() {
            object.set_meta("namespace", target.namespace.as_str());
        }
        if object.name().is_empty() {
            let name = match object.meta_str("generateName") {
                "" => target.name.clone(),
                prefix => format!("{prefix}{}", runtime.random.name_suffix(5)),
            };
            object.set_meta("name", name);
        }
        for field in ["uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"] {
            object.set_meta(field, Value::Null);
        }
        object_of(&mut object).remove("status");
        let key = Key::new(object.namespace(), object.name());
        if self.get(&target.of, &key).is_some() {
            return Err(Status::already_exists(&target.resource(), object.name()));
        }
        Ok((201, self.insert(&target.of, key, object, runtime)))
    }

    fn update(&mut self, target: &Target, old: Value, new: Value) -> Result<(u16, Value), Status> {
        let wanted = |field: &str| (new.meta_str(field).to_owned(), old.meta_str(field).to_owned());
        let (revision, now) = wanted("resourceVersion");
        if !revision.is_empty() && revision != now {
            return Err(Status::modified(&target.resource(), &target.name));
        }
        let (uid, now) = wanted("uid");
        if !uid.is_empty() && uid != now {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {now}");
            return Err(Status::conflict(&target.resource(), &target.name, why));
        }
        Ok((200, self.replace(&target.of, &target.key(), old, new)))
    }

    fn delete(
        &mut self,
        target: &Target,
        old: Value,
        options: &Value,
        runtime: &Runtime,
    ) -> Result<(u16, Value), Status> {
        let required =
            |name: &str| options.get("preconditions").and_then(|it| it.get(name)).and_then(Value::as_str);
        for (precondition, actual) in [("uid", old.uid()), ("resourceVersion", old.resource_version())] {
            if required(precondition).is_some_and(|wanted| wanted != actual) {
                let why = format!("the {precondition} in the precondition does not match {actual}");
                return Err(Status::conflict(&target.resource(), &target.name, why));
            }
        }
        let grace = match options.get("gracePeriodSeconds").and_then(Value::as_i64) {
            _ if target.of.1 != "pods" || field(&old, "spec.nodeName").is_empty() => 0,
            Some(asked) => asked,
            None => 30,
        };
        let mut new = old.clone();
        let finalizer = match options.get("propagationPolicy").and_then(Value::as_str) {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = finalizer {
            let meta: &mut Map<String, Value> = object_at(object_of(&mut new), "metadata");
            if let Value::Array(list) = meta.entry("finalizers").or_insert_with(|| json!([])) {
                list.push(finalizer.into());
            }
        }
        if new.finalizers().is_empty() && grace == 0 {
            let last = self.remove(&target.of, &target.key()).unwrap_or_default();
            let details = api_types::status::Details {
                name: last.name().to_owned(),
                group: target.of.0.clone(),
                kind: target.of.1.clone(),
                uid: last.uid().to_owned(),
                ..Default::default()
            };
            return Ok((200, Status::success(Some(details)).to_value()));
        }
        if !old.is_terminating() {
            new.set_meta("deletionTimestamp", crate::meta::time(runtime.clock.now()));
        }
        new.set_meta("deletionGracePeriodSeconds", grace);
        Ok((200, self.replace(&target.of, &target.key(), old, new)))
    }
}

/// The new object as a write through a subresource may make it: status alone, or all but status.
fn merged(old: &Value, mut new: Value, subresource: &str) -> Value {
    let take_status = |from: &Value, to: &mut Value| match from.get("status") {
        Some(status) => {
            object_of(to).insert("status".to_owned(), status.clone());
        }
        None => {
            object_of(to).remove("status");
        }
    };
    for field in ["namespace", "creationTimestamp", "deletionTimestamp", "generation"] {
        let value = old.meta().and_then(|meta| meta.get(field)).cloned().unwrap_or_default();
        new.set_meta(field, value);
    }
    if subresource == "status" {
        let mut whole = old.clone();
        take_status(&new, &mut whole);
        for precondition in ["uid", "resourceVersion"] {
            if !new.meta_str(precondition).is_empty() {
                whole.set_meta(precondition, new.meta_str(precondition).to_owned());
            }
        }
        return whole;
    }
    take_status(old, &mut new);
    if new.uid().is_empty() {
        new.set_meta("uid", old.uid());
    }
    new
}
