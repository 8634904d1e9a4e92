//! The event of one request in the making. Every step of the request may add to it; most do not know it.

use std::{net::SocketAddr, sync::Arc};

use api_types::{object::ObjectExt as _, schema::TypeRef, status::Status, wire};
use axum::body::Body;
use bytes::Bytes;
use http::{header, request::Parts};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, value::RawValue};

use super::{
    Audit,
    backend::Done,
    event::{AuthenticationMetadata, Event, ObjectReference, ResponseStatus, UserInfo},
    policy::{Level, Stage, Verdict},
};
use crate::{
    authn::user::User,
    authz::{attributes::Attributes, decision::Decision},
    http::respond::Answer,
};

/// From where a connection comes.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What a request is put on record with. Clones share it. Of requests that no policy names there is none, and everything
/// here does nothing.
#[derive(Clone, Debug, Default)]
pub struct Record(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    audit: Arc<Audit>,
    verdict: Verdict,
    /// Whether the answer lasts as long as the client likes.
    lasts: bool,
    /// Whether it is known who asks. If not, there is one event and no more.
    known: bool,
    event: Mutex<Event>,
}

/// The start of a request, as the record needs it.
#[derive(Debug)]
pub struct Received<'a> {
    /// The request without its body.
    pub parts: &'a Parts,
    /// When it came.
    pub at: Timestamp,
    /// Its id.
    pub id: &'a str,
    /// Whether the answer lasts as long as the client likes.
    pub lasts: bool,
}

const USER_AGENT_MAX: usize = 1024;
/// How much of an answer is looked at for a Status, where nothing else of it is put on record.
const STATUS_MAX: u64 = 64 * 1024;
/// What authorization notes.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

// === impl Record ===

impl Record {
    /// The record of a request by a known caller; nothing if the policy does not name it.
    pub fn begin(audit: &Arc<Audit>, received: &Received<'_>, attributes: &Attributes) -> Self {
        Self::open(audit, received, attributes, true)
    }

    /// The record of a request by somebody whose credentials are not believed.
    pub fn unauthenticated(audit: &Arc<Audit>, received: &Received<'_>, attributes: &Attributes) -> Self {
        Self::open(audit, &Received { lasts: true, ..*received }, attributes, false)
    }

    fn open(audit: &Arc<Audit>, received: &Received<'_>, attributes: &Attributes, known: bool) -> Self {
        let verdict = audit.policy.verdict(attributes, known);
        audit.metrics.levels.with_label_values(&[verdict.level.name()]).inc();
        if verdict.level == Level::None {
            return Self::default();
        }
        let parts = received.parts;
        let event = Event {
            level: verdict.level,
            audit_id: received.id.to_owned(),
            request_uri: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            verb: attributes.verb.clone(),
            user: if known { UserInfo::from(&attributes.user) } else { UserInfo::default() },
            source_ips: source_ips(parts),
            user_agent: user_agent(parts),
            object_ref: attributes.resource_request.then(|| ObjectReference {
                resource: attributes.resource.clone(),
                namespace: attributes.namespace.clone(),
                name: attributes.name.clone(),
                api_group: attributes.group.clone(),
                api_version: attributes.version.clone(),
                subresource: attributes.subresource.clone(),
                ..ObjectReference::default()
            }),
            request_received_timestamp: received.at,
            ..Event::default()
        };
        Self(Some(Arc::new(Open {
            audit: Arc::clone(audit),
            verdict: verdict.clone(),
            lasts: received.lasts,
            known,
            event: Mutex::new(event),
        })))
    }

    /// Whether the request is put on record at all.
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    fn at(&self, level: Level) -> Option<&Open> {
        self.0.as_deref().filter(|open| open.verdict.level >= level)
    }

    /// Notes something of a step on the way, such as an admission plugin. What was noted under that key before stays.
    pub fn annotate(&self, key: impl Into<String>, value: impl Into<String>) {
        self.annotate_from(Level::Metadata, key, value);
    }

    /// The same, if that much is put on record. For what says something of an object's contents.
    pub fn annotate_from(&self, level: Level, key: impl Into<String>, value: impl Into<String>) {
        let Some(open) = self.at(level) else { return };
        let (key, value) = (key.into(), value.into());
        let mut event = open.event.lock();
        match event.annotations.get(&key) {
            Some(noted) if *noted != value => {
                let id = &event.audit_id;
                tracing::warn!(key, value, noted, id, "an annotation of the audit is there already");
            }
            Some(_) => {}
            None => drop(event.annotations.insert(key, value)),
        }
    }

    /// Notes what authorization said.
    pub fn decided(&self, decision: &Decision) {
        if self.is_open() {
            self.annotate(DECISION, if decision.is_allow() { "allow" } else { "forbid" });
            self.annotate(REASON, decision.reason().as_str());
        }
    }

    /// Notes as whom the caller acts, and by which permission if it is not the older kind.
    pub fn impersonated(&self, user: &User, constraint: &str) {
        let Some(open) = self.at(Level::Metadata) else { return };
        let mut event = open.event.lock();
        event.impersonated_user = Some(UserInfo::from(user));
        if !constraint.is_empty() {
            let impersonation_constraint = constraint.to_owned();
            event.authentication_metadata = Some(AuthenticationMetadata { impersonation_constraint });
        }
    }

    /// Notes the object that was sent: which one it is, and at the level Request what it says.
    pub fn request_object(&self, object: &Value, schema: Option<TypeRef>) {
        let Some(open) = self.at(Level::Metadata) else { return };
        let raw = (open.verdict.level >= Level::Request).then(|| open.raw(object, schema)).flatten();
        let mut event = open.event.lock();
        let about = event.object_ref.get_or_insert_default();
        for (field, said) in [
            (&mut about.namespace, object.namespace()),
            (&mut about.name, object.name()),
            (&mut about.uid, object.uid()),
            (&mut about.resource_version, object.resource_version()),
        ] {
            if field.is_empty() {
                said.clone_into(field);
            }
        }
        event.request_object = raw;
    }

    /// Notes options that were sent in place of an object.
    pub fn request_options(&self, options: &Value) {
        let Some(open) = self.at(Level::Request) else { return };
        let raw = open.raw(options, None);
        open.event.lock().request_object = raw;
    }

    /// Notes a patch that was sent, if it is JSON; of YAML the value it stands for.
    pub fn request_patch(&self, patch: &[u8]) {
        let Some(open) = self.at(Level::Request) else { return };
        let text = std::str::from_utf8(patch).ok().map(str::to_owned);
        let raw = text.and_then(|text| RawValue::from_string(text).ok()).map(Arc::from);
        let raw = raw.or_else(|| {
            let read = wire::yaml::to_value(patch).ok()?;
            open.raw(&read.value, None)
        });
        open.event.lock().request_object = raw;
    }

    /// Gives the event of a stage to the backends. Whether it was kept.
    fn stage(&self, stage: Stage) -> Done {
        let Some(open) = &self.0 else { return Done::Now(true) };
        if open.verdict.omit_stages.contains(&stage) {
            return Done::Now(true);
        }
        let event = {
            let mut event = open.event.lock();
            event.stage = stage;
            event.stage_timestamp = match stage {
                Stage::RequestReceived => event.request_received_timestamp,
                _ => open.audit.clock.now(),
            };
            Arc::new(event.clone())
        };
        open.audit.give(&event)
    }

    /// Puts on record that the request came. False if the request must not go on, since that could not be kept.
    pub async fn received(&self) -> bool {
        let kept = self.stage(Stage::RequestReceived).wait().await;
        if let (false, Some(open)) = (kept, &self.0) {
            open.audit.metrics.rejected.inc();
        }
        kept
    }

    /// Puts on record that the handler panicked.
    pub async fn panicked(&self, why: &str) {
        if let Some(open) = &self.0 {
            open.event.lock().response_status = Some(ResponseStatus::panicked(why));
            let _lost_events_are_told_of = self.stage(Stage::Panic).wait().await;
        }
    }

    /// Puts on record how the request ended. Of requests that last, that the answer began; their end is put on record
    /// when the answer's body ends.
    pub async fn answered(self, answer: Answer, failure: Option<&Status>) -> Answer {
        let Some(open) = self.0.clone() else { return answer };
        let code = answer.status().as_u16();
        let mut status = failure.map_or_else(|| ResponseStatus::code(code), ResponseStatus::from);
        status.code = code;
        let wants_object = open.verdict.level >= Level::RequestResponse;
        let is_known = {
            use http_body::Body as _;
            answer.body().size_hint().exact().is_some_and(|size| wants_object || size <= STATUS_MAX)
        };
        let mut answer = answer;
        if is_known {
            let (parts, body) = answer.into_parts();
            let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let media = parts.headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
            if let Some(object) = object_in(media.unwrap_or_default(), &bytes, wants_object) {
                if failure.is_none()
                    && is_status(&object)
                    && let Ok(found) = serde_json::from_value::<Status>(object.clone())
                {
                    status = ResponseStatus::from(&found);
                    status.code = code;
                }
                if wants_object {
                    let raw = open.raw(&object, schema_of(&object));
                    open.event.lock().response_object = raw;
                }
            }
            answer = Answer::from_parts(parts, Body::from(bytes));
        }
        open.event.lock().response_status = Some(status);
        if !open.lasts {
            let _lost_events_are_told_of = self.stage(Stage::ResponseComplete).wait().await;
            return answer;
        }
        let _lost_events_are_told_of = self.stage(Stage::ResponseStarted).wait().await;
        if !open.known {
            return answer;
        }
        let last = Last(self);
        answer.map(|body| Body::new(Ending { body, last: Some(last) }))
    }
}

// === impl Open ===

impl Open {
    fn raw(&self, object: &Value, schema: Option<TypeRef>) -> Option<Arc<RawValue>> {
        let encode = |object: &Value| match schema {
            Some(schema) => wire::json::encode(object, schema),
            None => wire::json::encode_untyped(object),
        };
        let json = if self.verdict.omit_managed_fields {
            let mut object = object.clone();
            drop_managed_fields(&mut object);
            encode(&object)
        } else {
            encode(object)
        };
        String::from_utf8(json).ok().and_then(|text| RawValue::from_string(text).ok()).map(Arc::from)
    }
}

/// Of an object, of the items of a list, and of the objects in the rows of a table.
fn drop_managed_fields(object: &mut Value) {
    fn of_one(object: &mut Value) {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
    }
    of_one(object);
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        of_one(item);
    }
    for row in object.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(object) = row.get_mut("object") {
            of_one(object);
        }
    }
}

fn is_status(object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str) == Some("Status")
}

fn schema_of(object: &Value) -> Option<TypeRef> {
    crate::verbs::meta_schema(object)
}

/// The object that a body is; of bodies that are not wanted for themselves only a Status.
fn object_in(media: &str, body: &Bytes, wanted: bool) -> Option<Value> {
    let media = media.split(';').next().unwrap_or_default();
    let object: Value = match media {
        "application/json" => {
            let is_short = body.get(..64).unwrap_or(body);
            if !wanted && !contains(is_short, b"Status") {
                return None;
            }
            serde_json::from_slice(body).ok()?
        }
        "application/yaml" => {
            if !wanted && !contains(body, b"kind: Status") {
                return None;
            }
            wire::yaml::to_value(body).ok()?.value
        }
        "application/vnd.kubernetes.protobuf" => {
            let envelope = wire::protobuf::open(body).ok()?;
            if !wanted && envelope.kind != "Status" {
                return None;
            }
            let version = api_types::kind::GroupVersion::parse(&envelope.api_version)?;
            let schema = api_types::schema::schema();
            let of = schema.type_of(&version.group, &version.version, &envelope.kind)?;
            wire::protobuf::decode(body, of).ok()?
        }
        _ => return None,
    };
    let is_object = object.get("kind").is_some_and(Value::is_string);
    (is_object && (wanted || is_status(&object))).then_some(object)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What proxies say, each once, and then where the connection comes from.
fn source_ips(parts: &Parts) -> Vec<String> {
    let text = |name: &str| parts.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let address = |text: &str| text.trim().parse::<std::net::IpAddr>().ok().map(|ip| ip.to_canonical());
    let mut ips: Vec<std::net::IpAddr> = text("x-forwarded-for").split(',').filter_map(address).collect();
    if let Some(real) = address(text("x-real-ip"))
        && !ips.contains(&real)
    {
        ips.push(real);
    }
    // Callers within the process come over no connection.
    let peer = parts.extensions.get::<Peer>().map(|Peer(address)| address.ip().to_canonical());
    let peer = peer.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
    if ips.last() != Some(&peer) {
        ips.push(peer);
    }
    ips.iter().map(ToString::to_string).collect()
}

fn user_agent(parts: &Parts) -> String {
    let agent = parts.headers.get(header::USER_AGENT).map(http::HeaderValue::as_bytes).unwrap_or_default();
    match agent.get(..USER_AGENT_MAX) {
        Some(start) if agent.len() > USER_AGENT_MAX => {
            format!("{}...TRUNCATED", String::from_utf8_lossy(start))
        }
        _ => String::from_utf8_lossy(agent).into_owned(),
    }
}

/// Puts the end on record, however it comes.
struct Last(Record);

impl Drop for Last {
    fn drop(&mut self) {
        let record = std::mem::take(&mut self.0);
        let Some(open) = record.0.clone() else { return };
        if let Done::Later(rest) = record.stage(Stage::ResponseComplete) {
            open.audit.runtime.tasks.spawn_draining("audit", async move {
                let _lost_events_are_told_of = rest.await;
            });
        }
    }
}

/// A body whose end is put on record.
struct Ending {
    body: Body,
    last: Option<Last>,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let polled = std::pin::Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, std::task::Poll::Ready(None | Some(Err(_)))) {
            drop(self.last.take());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
