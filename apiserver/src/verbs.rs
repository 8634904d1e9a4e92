//! What is asked of a resource: one module a verb. Each reads its options and body, calls the registry or the watch
//! cache, and shapes the answer.

pub mod decode;
pub mod options;
pub mod subresources;

mod components;
pub(crate) mod forms;
mod list;
mod patch;
mod read;
mod reviews;
mod shape;
mod watch;
mod write;

use std::sync::Arc;

use api_types::{kind::GroupResource, object::ObjectExt, schema::TypeRef, status::Status};
use axum::body::Body;
use bytes::Bytes;
use http::{header, request::Parts};
use parking_lot::Mutex;
use serde_json::Value;

use crate::{
    audit::Record,
    authn::user::User,
    custom::ownership::Answers,
    fairness,
    http::{
        body,
        info::RequestInfo,
        negotiate::{self, Format, Media},
        query::Query,
        respond::Answer,
    },
    registry::{Call, Written, catalogue::Served, warnings::Warnings},
    server::Server,
};

/// A request that is authenticated, authorized and about a resource that is served.
pub struct Asked {
    /// What it is about.
    pub info: RequestInfo,
    /// Its parameters.
    pub query: Query,
    /// Who asks.
    pub user: User,
    /// The resource.
    pub served: Arc<Served>,
    /// The form the answer shall have.
    pub media: Media,
    /// The request without its body.
    pub parts: Parts,
    /// Its body, taken once.
    pub body: Mutex<Body>,
    /// What the caller should know.
    pub warnings: Warnings,
    /// What the request is put on record with.
    pub audit: Record,
    /// Of watches: what goes along with them.
    pub watcher: Option<fairness::Watcher>,
}

/// Answers a request about a resource.
///
/// # Errors
/// Whatever the verb fails with.
pub async fn run(server: &Arc<Server>, asked: Asked) -> Result<Answer, Status> {
    if let Some(warning) = asked.served.resource.deprecated() {
        asked.warnings.add(warning);
        asked.audit.annotate("k8s.io/deprecated", "true");
    }
    if !asked.info.subresource.is_empty() {
        return Box::pin(subresources::run(server, asked)).await;
    }
    let verbs = asked.served.resource.verbs();
    let verb = asked.info.verb.clone();
    let allowed = match verb.as_str() {
        // A POST to an object, a PUT to a collection: there is no such route.
        "create" if !asked.info.name.is_empty() => false,
        "update" | "patch" if asked.info.name.is_empty() => false,
        verb => verbs.contains(&verb),
    };
    let names = asked.served.names();
    let on_object = !asked.info.name.is_empty() && asked.info.named_by_path;
    let routed = |verb: &&str| match *verb {
        "get" | "update" | "patch" | "delete" => on_object,
        "list" | "create" | "deletecollection" => !on_object,
        _ => false,
    };
    if !verbs.iter().any(routed) {
        return Err(Status::no_such_path());
    }
    if !allowed || (names.namespaced && asked.info.namespace.is_empty() && needs_namespace(&verb)) {
        return Err(method_not_allowed());
    }
    Box::pin(dispatch(server, asked, &verb)).await
}

async fn dispatch(server: &Arc<Server>, asked: Asked, verb: &str) -> Result<Answer, Status> {
    if asked.served.resource.resource() == GroupResource::new("", "componentstatuses") {
        return components::run(server, asked).await;
    }
    match verb {
        "get" => read::get(server, asked).await,
        "list" => list::list(server, asked).await,
        "watch" => watch::watch(server, asked).await,
        "create" => Box::pin(write::create(server, asked)).await,
        "update" => Box::pin(write::update(server, asked)).await,
        "patch" => Box::pin(patch::patch(server, asked)).await,
        "delete" => write::delete(server, asked).await,
        "deletecollection" => write::delete_collection(server, asked).await,
        _ => Err(method_not_allowed()),
    }
}

fn needs_namespace(verb: &str) -> bool {
    !matches!(verb, "list" | "watch")
}

/// 405: the path is there, but not for this method.
pub fn method_not_allowed() -> Status {
    Status::failure(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
    .with_details(api_types::status::Details::default())
}

// === impl Asked ===

impl Asked {
    /// The body, within bounds.
    ///
    /// # Errors
    /// 413, 400
    pub async fn body(&mut self) -> Result<Bytes, Status> {
        body::read(std::mem::take(self.body.get_mut())).await
    }

    /// A header as text, empty if absent.
    pub fn header(&self, name: header::HeaderName) -> &str {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The form of the body.
    ///
    /// # Errors
    /// 415
    pub fn body_format(&self) -> Result<Format, Status> {
        negotiate::input(self.header(header::CONTENT_TYPE))
    }

    /// The write this request asks for.
    pub fn call(&self, server: &Server, options: &options::Write) -> Call {
        Call {
            served: Arc::clone(&self.served),
            namespace: self.info.namespace.clone(),
            name: if self.info.verb == "create" && self.info.subresource.is_empty() {
                String::new()
            } else {
                self.info.name.clone()
            },
            subresource: self.info.subresource.clone(),
            user: self.user.clone(),
            now: server.runtime.clock.now(),
            dry_run: options.dry_run,
            manager: options.manager(self.header(header::USER_AGENT)),
            options: options.raw.clone(),
            warnings: self.warnings.clone(),
            answers: Answers::default(),
            audit: self.audit.clone(),
        }
    }

    /// An object in the form the caller wants it.
    ///
    /// # Errors
    /// 406, 400 for forms that cannot be.
    pub fn answer(&self, server: &Server, code: u16, object: &Value) -> Result<Answer, Status> {
        self.answer_as(server, code, object, self.served.resource.schema())
    }

    /// The same for what a write led to.
    ///
    /// # Errors
    /// As [`Asked::answer`].
    pub fn answer_written(&self, server: &Server, code: u16, written: &Written) -> Result<Answer, Status> {
        match &written.json {
            Some(json) => {
                let schema = self.served.resource.schema();
                shape::Shape::of(self)?.answer(code, json, schema, server.runtime.clock.now())
            }
            None => self.answer(server, code, &written.object),
        }
    }

    /// The same for an object of another schema (of subresources).
    ///
    /// # Errors
    /// As [`Asked::answer`].
    pub fn answer_as(
        &self,
        server: &Server,
        code: u16,
        object: &Value,
        schema: Option<TypeRef>,
    ) -> Result<Answer, Status> {
        let json = shape::encode(object, schema);
        shape::Shape::of(self)?.answer(code, &json, schema, server.runtime.clock.now())
    }
}

pub(crate) use self::patch::go_print;

/// The schema of an object that says itself what it is.
pub fn meta_schema(object: &Value) -> Option<TypeRef> {
    let kind = object.get("kind")?.as_str()?;
    let version = object.get("apiVersion")?.as_str()?;
    let version = api_types::kind::GroupVersion::parse(version)?;
    api_types::schema::schema().type_of(&version.group, &version.version, kind)
}

/// Finds that a resource version is a number.
///
/// # Errors
/// 422, or 400 in a list.
pub fn parse_version(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_error| {
        "strconv.ParseUint: parsing ".to_owned() + &api_types::field::go_quote(text) + ": invalid syntax"
    })
}

/// The name of an object for messages.
pub fn name_of(object: &Value) -> &str {
    object.name()
}

#[cfg(test)]
mod tests;
