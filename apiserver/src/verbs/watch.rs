//! `watch`: events as they happen, from the watch cache's shared bytes.
//!
//! A watch costs its watcher's queue and nothing more: objects are not decoded (unless the caller wants tables or
//! metadata), and frames are put together from bytes that all watchers share.

use std::{sync::Arc, time::Duration};

use api_types::{schema::schema, status::Status, wire};
use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use hyper::upgrade::OnUpgrade;
use serde_json::{Value, json};
use store::{
    Revision,
    cache::{self, Filter, Object, WatchEvent, WatchFrom, Watcher},
};
use tokio::time::Instant;

use super::{
    Asked, forms, list,
    options::List,
    read,
    shape::{self, Shape},
};
use crate::{
    fairness,
    http::{
        negotiate::{self, Format},
        respond::{self, Answer},
        websocket::{self, Message, Received, Socket},
    },
    registry::{catalogue::Served, keys, read_failure, strategy::Resource},
    server::Server,
};

/// The longest a client may ask for: a time that can still be reckoned with.
const LIFETIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How many bytes of events go out at once when many are waiting.
const CHUNK: usize = 64 * 1024;

/// How long before its end a watch that wants bookmarks gets a last one, so that its client knows where to go on.
const FAREWELL: Duration = Duration::from_secs(2);

/// How events are written for one watcher.
struct Frames {
    server: Arc<Server>,
    served: Arc<Served>,
    shape: Shape,
    /// Whether the watcher is told when it has had what was there.
    initial_events_end: bool,
    /// The revision it asked to go on from.
    asked: Option<u64>,
    /// When the last bookmark is due, if it wants any.
    farewell: Option<Instant>,
    /// Whether what comes happens now, and is told to others at the same time.
    live: bool,
    /// Its turn, until what was there is told, and that it is there, as long as it is.
    watcher: fairness::Watcher,
}

/// From how many bytes on an event is shared by those who are told of it, rather than copied for each.
const SHARED_MIN: usize = 1024;

pub(super) async fn watch(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    let mut options = List::read(&asked.query, asked.served.resource.as_ref(), true)?;
    if !asked.served.resource.verbs().contains(&"watch") {
        return Err(super::method_not_allowed());
    }
    let version = match options.resource_version.as_str() {
        "" => None,
        text => Some(super::parse_version(text).map_err(|why| {
            Status::failure(
                500,
                "",
                format!("resourceVersion: Invalid value: {}: {why}", api_types::field::go_quote(text)),
            )
        })?),
    };
    let storage = &asked.served.storage;
    let cache = storage.cache();
    let initial = options.send_initial_events.unwrap_or(version.is_none_or(|version| version == 0));
    let from = match version {
        Some(version) if version > 0 && initial => {
            read::reach(&cache, version).await?;
            WatchFrom::InitialState
        }
        Some(version) if version > 0 => WatchFrom::After(Revision(version)),
        None if initial => {
            // What the watch begins with must be as fresh as a list would be.
            cache.fresh().await.map_err(|error| read_failure(&error))?;
            WatchFrom::InitialState
        }
        _ if initial => {
            cache.ready().await;
            WatchFrom::InitialState
        }
        _ => {
            cache.ready().await;
            WatchFrom::Now
        }
    };
    let namespace = if asked.served.names().namespaced { asked.info.namespace.as_str() } else { "" };
    let prefix = keys::namespace(&storage.prefix, namespace);
    let node =
        options.fields.exact("spec.nodeName").filter(|_| cache.snapshot().index() == Some("spec.nodeName"));
    let mut filter = if asked.info.named_by_path {
        Filter::key(&keys::object(&storage.prefix, namespace, &asked.info.name))
    } else if let Some(node) = node {
        Filter::indexed(&prefix, node)
    } else {
        Filter::prefix(&prefix)
    };
    filter.bookmarks = options.bookmarks;
    let bookmarks = options.bookmarks;
    if !options.selects_everything() {
        let labels = std::mem::take(&mut options.labels);
        let fields = std::mem::take(&mut options.fields);
        filter = filter.selecting(move |header| list::matches(&labels, &fields, header));
    }
    let lifetime = options
        .timeout_seconds
        .filter(|&seconds| seconds > 0)
        .map_or_else(|| server.runtime.random.jitter(server.config.watch_timeout, 1.0), Duration::from_secs)
        .min(LIFETIME_MAX);
    let mut among = asked.watcher.take().unwrap_or_default();
    if !matches!(from, WatchFrom::InitialState) {
        among.told();
    }
    let frames = Frames {
        server: Arc::clone(server),
        served: Arc::clone(&asked.served),
        shape: Shape::of(&asked)?,
        initial_events_end: options.send_initial_events == Some(true) && options.bookmarks,
        asked: version,
        live: !matches!(from, WatchFrom::InitialState),
        farewell: lifetime.checked_sub(FAREWELL).filter(|_| bookmarks).map(|after| Instant::now() + after),
        watcher: among,
    };
    let watcher = match began_after(asked.served.resource.as_ref(), &from) {
        Some(too_old) => Err(too_old),
        None => cache.watch(from, filter),
    };
    let content_type = match asked.media.format {
        Format::Json => "application/json",
        Format::Yaml => return Err(negotiate::not_streamable()),
        Format::Protobuf if asked.served.resource.custom().is_some() && asked.media.transform.is_none() => {
            return Err(negotiate::no_protobuf("Unstructured"));
        }
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
    };
    let watcher = watcher.map_err(|error| too_old(&error, version));
    if websocket::is_asked(&asked.parts.headers)
        && let Some(upgrade) = asked.parts.extensions.remove::<OnUpgrade>()
    {
        return Ok(over_websocket(&asked.parts.headers, upgrade, watcher, frames, lifetime));
    }
    let mut answer = respond::bytes(200, "application/json", Bytes::new());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    *answer.body_mut() = match watcher {
        Ok(watcher) => stream(watcher, frames, lifetime),
        Err(status) => Body::from(frames.error(&status)),
    };
    Ok(answer)
}

/// A custom resource is what it is since its definition became what it is. What was before cannot be followed: its events
/// were of another resource, or read by another schema.
fn began_after(resource: &dyn Resource, from: &WatchFrom) -> Option<cache::Error> {
    let oldest = Revision(resource.custom()?.versions.definition.revision());
    match from {
        WatchFrom::After(asked) if *asked < oldest => Some(cache::Error::Compacted { asked: *asked, oldest }),
        WatchFrom::After(_) | WatchFrom::Now | WatchFrom::InitialState => None,
    }
}

/// The same events as messages, each event one. The answer is the handshake; the rest is a task of its own.
fn over_websocket(
    headers: &HeaderMap,
    upgrade: OnUpgrade,
    watcher: Result<Watcher, Status>,
    frames: Frames,
    lifetime: Duration,
) -> Answer {
    let answer = match websocket::accept(headers) {
        Ok(answer) => answer,
        Err(refused) => return *refused,
    };
    let tasks = frames.server.runtime.tasks.clone();
    tasks.spawn("watch over websocket", async move {
        let Ok(connection) = upgrade.await else { return };
        let mut socket = Socket::new(connection);
        // However it ends, the client is told that it does.
        let _ended = talk(&mut socket, watcher, frames, lifetime).await;
        socket.close().await;
    });
    answer
}

async fn talk(
    socket: &mut Socket,
    watcher: Result<Watcher, Status>,
    mut frames: Frames,
    lifetime: Duration,
) -> std::io::Result<()> {
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(status) => return socket.send(frames.message(frames.error(&status))).await,
    };
    let end = Instant::now() + lifetime;
    let stopping = frames.server.runtime.tasks.stopping();
    loop {
        let event = tokio::select! {
            biased;
            event = watcher.next() => event,
            () = frames.farewell() => {
                frames.farewell = None;
                match watcher.caught_up() {
                    Some(revision) => Some(Ok(WatchEvent::Bookmark(revision))),
                    None => continue,
                }
            }
            received = socket.receive() => match received {
                Received::Gone => None,
                Received::Ping(payload) => {
                    socket.send(Message::Pong(payload)).await?;
                    continue;
                }
            },
            () = tokio::time::sleep_until(end) => None,
            () = stopping.cancelled() => None,
        };
        match event {
            None => return Ok(()),
            Some(Ok(event)) => {
                let mut one = BytesMut::new();
                match frames.served(event).await {
                    Ok(event) => frames.put(&mut one, event),
                    Err(status) => one.put_slice(&frames.error(&status)),
                }
                if !one.is_empty() {
                    socket.send(frames.message(one.freeze())).await?;
                }
            }
            Some(Err(error)) => {
                let last = frames.error(&too_old(&error, frames.asked));
                return socket.send(frames.message(last)).await;
            }
        }
    }
}

fn too_old(error: &cache::Error, asked: Option<u64>) -> Status {
    match error {
        cache::Error::Compacted { oldest, .. } => Status::expired(format!(
            "too old resource version: {} ({})",
            asked.unwrap_or_default(),
            oldest.0.saturating_sub(1)
        )),
        other => read_failure(other),
    }
}

fn stream(watcher: Watcher, frames: Frames, lifetime: Duration) -> Body {
    let end = Instant::now() + lifetime;
    let stopping = frames.server.runtime.tasks.stopping();
    let state = Some((watcher, frames, stopping, None));
    let chunks = futures::stream::unfold(state, move |state| async move {
        let (mut watcher, mut frames, stopping, mut carried) = state?;
        if let Some(shared) = carried.take() {
            return Some((Ok(shared), Some((watcher, frames, stopping, None))));
        }
        let first = tokio::select! {
            biased;
            event = watcher.next() => event?,
            () = frames.farewell() => {
                frames.farewell = None;
                match watcher.caught_up() {
                    Some(revision) => Ok(WatchEvent::Bookmark(revision)),
                    // It is behind and hears of what it misses until the end.
                    None => return Some((Ok(Bytes::new()), Some((watcher, frames, stopping, None)))),
                }
            }
            () = tokio::time::sleep_until(end) => return None,
            () = stopping.cancelled() => return None,
        };
        let mut chunk = BytesMut::new();
        let mut next = Some(first);
        // Whatever waits already goes along, so that a burst costs few writes.
        while let Some(event) = next {
            match event {
                Ok(event) => match frames.served(event).await {
                    Err(status) => chunk.put_slice(&frames.error(&status)),
                    Ok(event) => match frames.shared(&event) {
                        Some(shared) if chunk.is_empty() => {
                            return Some((Ok(shared), Some((watcher, frames, stopping, None))));
                        }
                        Some(shared) => {
                            carried = Some(shared);
                            break;
                        }
                        None => frames.put(&mut chunk, event),
                    },
                },
                Err(error) => {
                    chunk.put_slice(&frames.error(&too_old(&error, frames.asked)));
                    return Some((Ok::<_, std::convert::Infallible>(chunk.freeze()), None));
                }
            }
            next = if chunk.len() < CHUNK { watcher.try_next().map(Ok) } else { None };
        }
        Some((Ok(chunk.freeze()), Some((watcher, frames, stopping, carried))))
    });
    Body::from_stream(chunks.boxed())
}

// === impl Frames ===

impl Frames {
    /// Waits until the last bookmark is due.
    fn farewell(&self) -> impl Future<Output = ()> + use<> {
        let at = self.farewell;
        async move {
            match at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }

    /// The event in the version it is watched in.
    async fn served(&self, event: WatchEvent) -> Result<WatchEvent, Status> {
        if self.served.resource.custom().is_none() {
            return Ok(event);
        }
        Ok(match event {
            WatchEvent::Added(object) => WatchEvent::Added(self.served.serve_cached(object).await?),
            WatchEvent::Modified(object) => WatchEvent::Modified(self.served.serve_cached(object).await?),
            WatchEvent::Deleted { object, revision } => {
                WatchEvent::Deleted { object: self.served.serve_cached(object).await?, revision }
            }
            WatchEvent::Bookmark(_) | WatchEvent::InitialEventsEnd(_) => event,
        })
    }

    fn put(&mut self, chunk: &mut BytesMut, event: WatchEvent) {
        match event {
            WatchEvent::Added(object) => self.put_object(chunk, "ADDED", &object, None),
            WatchEvent::Modified(object) => self.put_object(chunk, "MODIFIED", &object, None),
            WatchEvent::Deleted { object, revision } => {
                self.put_object(chunk, "DELETED", &object, Some(revision));
            }
            WatchEvent::Bookmark(revision) => self.put_bookmark(chunk, revision, false),
            WatchEvent::InitialEventsEnd(revision) => {
                self.live = true;
                self.watcher.told();
                if self.initial_events_end {
                    self.put_bookmark(chunk, revision, true);
                }
            }
        }
    }

    /// An event whose bytes are shared with the others who are told of it, if it is worth it.
    fn shared(&self, event: &WatchEvent) -> Option<Bytes> {
        let (object, added, name) = match event {
            WatchEvent::Added(object) => (object, true, "ADDED"),
            WatchEvent::Modified(object) => (object, false, "MODIFIED"),
            WatchEvent::Deleted { .. } | WatchEvent::Bookmark(_) | WatchEvent::InitialEventsEnd(_) => {
                return None;
            }
        };
        let plain = self.shape.is_plain() && self.served.conversion.is_none();
        if !self.live || !plain || object.bytes.len() < SHARED_MIN {
            return None;
        }
        let protobuf = self.shape.media.format == Format::Protobuf;
        Some(self.server.recent_events.event(object, added, protobuf, || {
            let mut chunk = BytesMut::with_capacity(object.bytes.len() + 40);
            if !self.put_shared(&mut chunk, name, object, None) {
                return Vec::new();
            }
            chunk.into()
        }))
        .filter(|shared| !shared.is_empty())
    }

    fn put_object(&mut self, chunk: &mut BytesMut, kind: &str, object: &Object, deleted: Option<Revision>) {
        if self.put_shared(chunk, kind, object, deleted) {
            return;
        }
        let bytes = match deleted {
            None => object.bytes.clone(),
            Some(revision) => Bytes::clone(&forms::gone(object, revision)),
        };
        let shown = shape::served_bytes(&self.served, &bytes).and_then(|json| self.shaped(&json));
        match shown {
            Ok(json) => self.put_json(chunk, kind, &json),
            Err(status) => chunk.put_slice(&self.error(&status)),
        }
    }

    /// An event of an object whose form is the same for all watchers. False if the watcher wants another one.
    fn put_shared(
        &self,
        chunk: &mut BytesMut,
        event: &str,
        object: &Object,
        deleted: Option<Revision>,
    ) -> bool {
        let (plain, protobuf) = (self.shape.is_plain(), self.shape.media.format == Format::Protobuf);
        if self.served.conversion.is_some() {
            return false;
        }
        match (plain, protobuf, deleted) {
            (true, false, None) => self.put_json(chunk, event, &object.bytes),
            (true, false, Some(revision)) => self.put_json(chunk, event, &forms::gone(object, revision)),
            (true, true, _) => {
                let Some(of) = self.served.resource.schema() else { return false };
                let message = match deleted {
                    None => forms::protobuf(object, of),
                    Some(revision) => forms::gone_protobuf(object, revision, of),
                };
                let kind = self.served.resource.kind();
                return put_frame(chunk, event, &kind.api_version(), &kind.kind, &message);
            }
            (false, false, None) if self.shape.is_metadata() => match forms::metadata(object).as_ref() {
                Ok(json) => self.put_json(chunk, event, json),
                Err(_) => return false,
            },
            (false, true, None) if self.shape.is_metadata() => {
                let Some(of) = self.shape.schema(None) else { return false };
                let message = forms::metadata_protobuf(object, of);
                return put_frame(chunk, event, "meta.k8s.io/v1", "PartialObjectMetadata", &message);
            }
            (false, ..) => return false,
        }
        true
    }

    /// The object in the form the watcher wants; tables carry their columns in the first event only.
    fn shaped(&mut self, json: &Bytes) -> Result<Bytes, Status> {
        if self.shape.is_plain() {
            return Ok(json.clone());
        }
        let shown = self.shape.object(json, self.server.runtime.clock.now())?;
        self.shape.without_headers();
        Ok(Bytes::from(shown))
    }

    fn put_bookmark(&mut self, chunk: &mut BytesMut, revision: Revision, initial_events_end: bool) {
        let kind = self.served.resource.kind();
        let mut meta = json!({"resourceVersion": revision.to_string()});
        if initial_events_end {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": meta});
        // Upstream's bookmarks are empty typed objects, with the fields that are never left out.
        let object = match self.served.resource.schema() {
            Some(schema) => {
                wire::typed::coerce(object, schema).map(|decoded| decoded.value).unwrap_or_default()
            }
            None => object,
        };
        let json = shape::encode(&object, self.served.resource.schema());
        match self.shaped(&json) {
            Ok(json) => self.put_json(chunk, "BOOKMARK", &json),
            Err(status) => chunk.put_slice(&self.error(&status)),
        }
    }

    /// One event of an object that is JSON already.
    fn put_json(&self, chunk: &mut BytesMut, kind: &str, json: &[u8]) {
        if self.shape.media.format == Format::Protobuf
            && let Some(schema) = self.shape.schema(self.served.resource.schema())
            && let Ok(value) = serde_json::from_slice::<Value>(json)
            && let Some(frame) = wire::protobuf::frame(&wire::protobuf::watch_event(
                kind,
                &wire::protobuf::encode(&value, schema),
            ))
        {
            chunk.put_slice(&frame);
            return;
        }
        chunk.reserve(json.len() + 40);
        chunk.put_slice(br#"{"type":""#);
        chunk.put_slice(kind.as_bytes());
        chunk.put_slice(br#"","object":"#);
        chunk.put_slice(json);
        chunk.put_slice(b"}\n");
    }

    /// An event as a message: JSON as text; protobuf as bytes, without the length, as messages have one already.
    fn message(&self, event: Bytes) -> Message {
        match self.shape.media.format {
            Format::Protobuf => Message::Binary(event.slice(event.len().min(4)..)),
            _ => Message::Text(event),
        }
    }

    /// The event that ends a watch with a failure.
    fn error(&self, status: &Status) -> Bytes {
        let mut chunk = BytesMut::new();
        let json = shape::encode(&status.to_value(), schema().type_of("", "v1", "Status"));
        self.put_json(&mut chunk, "ERROR", &json);
        chunk.freeze()
    }
}

/// Appends an event in protobuf. False if it is too long to be one.
fn put_frame(chunk: &mut BytesMut, event: &str, api_version: &str, kind: &str, message: &[u8]) -> bool {
    let frame = wire::protobuf::event_frame(event, api_version, kind, message);
    if let Some(frame) = &frame {
        chunk.put_slice(frame);
    }
    frame.is_some()
}
