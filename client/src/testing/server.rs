//! An API server in memory: one revision for all, a history to watch, preconditions, finalizers, graceful pods.

mod discovery;
mod objects;
mod target;
mod watcher;

use std::{sync::Arc, time::Duration};

use api_types::{object::ObjectExt, status::Status};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, stream};
use http::{Method, Request, Response, header};
use http_body_util::StreamBody;
use parking_lot::Mutex;
use runtime::{Runtime, Signal};
use serde_json::Value;
use tokio::time::Instant;

use self::{
    objects::{Objects, group_resource_key},
    target::Target,
    watcher::{BOOKMARK_PERIOD, Watcher, bookmark, expired, frame},
};
use crate::{
    Api, Key, Resource,
    transport::{Body, BoxError, Transport, TransportError, boxed, full},
};

/// An API server in memory. Cheap to clone.
#[derive(Clone)]
pub struct FakeServer {
    state: Arc<Mutex<Objects>>,
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

// === impl FakeServer ===

impl FakeServer {
    /// An empty cluster.
    pub fn new(runtime: &Runtime) -> Self {
        let state = Objects { revision: 1, ..Objects::default() };
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

    /// Serves a resource in discovery, as a definition of it would; its objects are served anyway.
    pub fn define(&self, resource: Resource) {
        self.state.lock().defined.push(resource);
    }

    /// Serves a resource in discovery no longer, and removes its objects.
    pub fn undefine(&self, resource: &Resource) {
        let mut state = self.state.lock();
        state.defined.retain(|defined| defined != resource);
        let of = group_resource_key(resource);
        let keys: Vec<Key> = state.objects.get(&of).into_iter().flat_map(|all| all.keys().cloned()).collect();
        for key in keys {
            state.remove(&of, &key);
        }
        self.publish(&state);
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

    fn publish(&self, state: &Objects) {
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
                None if matches!(request.uri().path(), "/api" | "/apis") => {
                    let core = request.uri().path() == "/api";
                    let groups = discovery::groups(&self.state.lock().defined, core);
                    respond(200, full(groups.to_string()))
                }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        api::{DeleteOptions, Deleted, Patch, Preconditions},
        resource::{CONFIG_MAPS, PODS},
    };

    fn server() -> FakeServer {
        FakeServer::new(&Runtime::simulated("2026-01-01T00:00:00Z".parse().unwrap(), 1))
    }

    fn key() -> Key {
        Key::new("ns", "a")
    }

    fn meta(name: &str) -> Value {
        json!({"metadata": {"namespace": "ns", "name": name}})
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_with_an_old_revision_conflicts() {
        let server = server();
        let old = server.put(&CONFIG_MAPS, meta("a"));
        server.change(&CONFIG_MAPS, &key(), &json!({"data": {"x": "1"}}));
        let update = server.api().update::<Value>(&CONFIG_MAPS, &key(), "", &old).await;
        assert!(update.is_err_and(|error| error.is_conflict()));
        let patch = Patch::merge(json!({"metadata": {"uid": "other"}}));
        assert!(
            server
                .api()
                .patch::<Value>(&CONFIG_MAPS, &key(), "", &patch)
                .await
                .is_err_and(|error| error.is_conflict())
        );
        let options =
            DeleteOptions { preconditions: Preconditions::uid("other"), ..DeleteOptions::default() };
        assert!(
            server.api().delete(&CONFIG_MAPS, &key(), &options).await.is_err_and(|error| error.is_conflict())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_changes_nothing_has_no_revision_of_its_own() {
        let server = server();
        let object = server.put(&CONFIG_MAPS, meta("a"));
        let same: Value = server.api().update(&CONFIG_MAPS, &key(), "", &object).await.unwrap();
        assert_eq!((same, server.revision()), (object, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn status_is_written_through_its_subresource_only() {
        let server = server();
        server.put(&PODS, json!({"metadata": {"namespace": "ns", "name": "a"}, "spec": {"x": 1}}));
        let both = Patch::merge(json!({"spec": {"x": 2}, "status": {"phase": "Running"}}));
        let main: Value = server.api().patch(&PODS, &key(), "", &both).await.unwrap();
        assert_eq!((&main["spec"]["x"], &main["status"]), (&json!(2), &Value::Null));
        assert_eq!(main["metadata"]["generation"], 2);
        let status: Value = server.api().patch(&PODS, &key(), "status", &both).await.unwrap();
        assert_eq!(status["status"]["phase"], "Running");
        assert_eq!(status["metadata"]["generation"], 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_marked_and_goes_when_nothing_holds_it() {
        let server = server();
        server.put(&CONFIG_MAPS, json!({"metadata": {"namespace": "ns", "name": "a", "finalizers": ["f"]}}));
        let deleted = server.api().delete(&CONFIG_MAPS, &key(), &DeleteOptions::default()).await.unwrap();
        assert_eq!(deleted, Deleted::Marked(crate::Revision(3)));
        let freed = Patch::merge(json!({"metadata": {"finalizers": null}}));
        server.api().patch::<Value>(&CONFIG_MAPS, &key(), "", &freed).await.unwrap();
        assert_eq!(server.get(&CONFIG_MAPS, &key()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_on_a_node_ends_gracefully_and_one_without_at_once() {
        let server = server();
        server.put(&PODS, meta("a"));
        let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
        let api = server.api();
        api.create_subresource::<Value>(&PODS, &key(), "binding", &binding).await.unwrap();
        assert_eq!(server.get(&PODS, &key()).unwrap()["spec"]["nodeName"], "n1");
        assert!(api.create_subresource::<Value>(&PODS, &key(), "binding", &binding).await.is_err());
        assert!(matches!(api.delete(&PODS, &key(), &DeleteOptions::default()).await, Ok(Deleted::Marked(_))));
        let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        assert!(matches!(api.delete(&PODS, &key(), &now).await, Ok(Deleted::Gone { .. })));
        server.put(&PODS, meta("b"));
        let b = Key::new("ns", "b");
        assert!(matches!(api.delete(&PODS, &b, &DeleteOptions::default()).await, Ok(Deleted::Gone { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_defined_is_discovered() {
        let server = server();
        let crontabs = Resource::discovered("stable.example.com", "v1", "crontabs", "CronTab", true);
        server.define(crontabs.clone());
        let found = server.api().discover().await.unwrap().resources;
        let has = |resource: &Resource| {
            found.iter().any(|it| it.resource == *resource && it.can(&["delete", "list"]))
        };
        assert!(has(&crontabs) && has(&PODS) && found.len() > 50);
    }
}
