//! The verbs of the API over a transport: paths, queries, content types and errors in one place.
//!
//! Objects are whatever the caller can read: a projection, a typed object, a `Value`. There is no rate limit of our own:
//! the server's priority and fairness says whose turn it is, and its 429s are passed on.
//!
//! Invariant: no retry and no cache; one call is one request.

pub mod watch;

pub mod discovery;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use api_types::status::Status;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Key, Resource, Revision,
    meta::null_is_default,
    transport::{Body, Transport, TransportError},
};

/// No request but a watch takes longer: a server gives up after 60 seconds itself.
const PATIENCE: Duration = Duration::from_secs(75);

/// More than any list page or object; keeps a broken server from filling our memory.
const ANSWER_BYTES_MAX: usize = 512 << 20;

const JSON: &str = "application/json";
const PARTIAL_OBJECT: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const PARTIAL_OBJECTS: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Letters of a path segment or query value that stand for themselves.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

/// A client of one API server. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    transport: Arc<dyn Transport>,
    user_agent: HeaderValue,
}

/// A request did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server says why.
    #[error("{0}")]
    Status(#[source] Box<Status>),
    /// There is no answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The answer cannot be read.
    #[error("cannot read the answer to {what}")]
    Decode {
        /// Method and path.
        what: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The object cannot be written as JSON.
    #[error("cannot encode the request")]
    Encode(#[source] serde_json::Error),
    /// The request cannot be formed, such as with a name that no path can hold.
    #[error("cannot form the request")]
    Request(#[source] http::Error),
}

/// Which objects of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only of this namespace; all if empty.
    pub namespace: String,
    /// A label selector; all if empty.
    pub labels: String,
    /// A field selector; all if empty.
    pub fields: String,
    /// Ask for the metadata only.
    pub metadata_only: bool,
}

/// Which page of a list, and how fresh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most so many items; all if 0.
    pub limit: u32,
    /// The `continue` token of the page before; the first page if empty.
    pub token: String,
    /// The resourceVersion to list at; the most recent, by consistent read, if empty.
    pub resource_version: String,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub struct List<T> {
    /// What the list says of itself.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects.
    #[serde(default = "Vec::new", deserialize_with = "null_is_default")]
    pub items: Vec<T>,
}

/// What a list says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// The revision the list shows, to watch from.
    pub resource_version: String,
    /// Names the next page; empty on the last.
    #[serde(rename = "continue")]
    pub token: String,
}

/// A change to an object, in one of the API's formats.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// RFC 7396: objects merge, everything else is replaced, null removes.
    Merge(Arc<Value>),
    /// Lists merge by the keys of their kind; built-in kinds only.
    Strategic(Arc<Value>),
    /// RFC 6902: a list of operations.
    Json(Arc<Value>),
    /// Server-side apply.
    Apply {
        /// The fields this manager wants, with `apiVersion` and `kind`.
        object: Arc<Value>,
        /// Who owns the fields.
        manager: &'static str,
        /// Take fields from other managers.
        force: bool,
    },
}

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteOptions {
    /// Seconds the object may take to end; the kind's default if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i64>,
    /// Delete only if the object is still this one.
    #[serde(skip_serializing_if = "Preconditions::is_empty")]
    pub preconditions: Preconditions,
    /// What becomes of what the object owns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<Propagation>,
}

/// What must hold for a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    /// The object has this uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The object has this resourceVersion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// What becomes of what a deleted object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Propagation {
    /// It is left alone, without the owner reference.
    Orphan,
    /// It is collected after the owner is gone.
    Background,
    /// It is collected before the owner is gone.
    Foreground,
}

/// What a delete did.
#[derive(Clone, Debug, PartialEq)]
pub enum Deleted {
    /// The object is still there, marked: finalizers or a grace period hold it. Its revision after the mark.
    Marked(Revision),
    /// The object is gone.
    Gone {
        /// Its uid, if the server tells.
        uid: Box<str>,
    },
}

// === impl Error ===

impl Error {
    /// The server's explanation, if there is one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            Self::Transport(_) | Self::Decode { .. } | Self::Encode(_) | Self::Request(_) => None,
        }
    }

    fn is(&self, reason: &str) -> bool {
        self.status().is_some_and(|status| status.is(reason))
    }

    /// There is no such object.
    pub fn is_not_found(&self) -> bool {
        self.is("NotFound")
    }

    /// The caller may not do that.
    pub fn is_forbidden(&self) -> bool {
        self.is("Forbidden")
    }

    /// There is an object of that name already.
    pub fn is_already_exists(&self) -> bool {
        self.is("AlreadyExists")
    }

    /// The object is not what the writer thought.
    pub fn is_conflict(&self) -> bool {
        self.is("Conflict")
    }

    /// The revision asked for is no longer there (`Expired`, `Gone`): list again.
    pub fn is_expired(&self) -> bool {
        self.status().is_some_and(|status| status.code == 410 || status.is("Expired") || status.is("Gone"))
    }

    /// The request makes no sense to this server, such as with an option it does not know.
    pub fn is_invalid(&self) -> bool {
        self.status().is_some_and(|status| matches!(status.code, 400 | 422))
    }

    /// The namespace is going away, so nothing new can be made in it.
    pub fn is_namespace_terminating(&self) -> bool {
        self.status()
            .and_then(|status| status.details.as_deref())
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.status()?.details.as_deref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
    }

    /// Whether the request may have been carried out although it failed for us.
    pub fn may_have_happened(&self) -> bool {
        match self {
            // A server that timed out or broke down may have written first.
            Self::Status(status) => matches!(status.code, 500 | 502 | 504),
            Self::Transport(TransportError::Interrupted(_)) | Self::Decode { .. } => true,
            Self::Transport(TransportError::Unreachable(_)) | Self::Encode(_) | Self::Request(_) => false,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

// === impl Selection ===

impl Selection {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Everything of one namespace.
    pub fn of_namespace(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..Self::default() }
    }

    /// Only the metadata of it.
    #[must_use]
    pub fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }

    fn query(&self) -> Query {
        Query::default().text("labelSelector", &self.labels).text("fieldSelector", &self.fields)
    }
}

// === impl Preconditions ===

impl Preconditions {
    /// The object is still the one with this uid.
    pub fn uid(uid: &str) -> Self {
        Self { uid: Some(uid.to_owned()), resource_version: None }
    }

    fn is_empty(&self) -> bool {
        self.uid.is_none() && self.resource_version.is_none()
    }
}

// === impl Patch ===

impl Patch {
    /// An RFC 7396 merge patch.
    pub fn merge(value: impl Into<Arc<Value>>) -> Self {
        Self::Merge(value.into())
    }

    /// A strategic merge patch.
    pub fn strategic(value: impl Into<Arc<Value>>) -> Self {
        Self::Strategic(value.into())
    }

    fn content_type(&self) -> &'static str {
        match self {
            Self::Merge(_) => "application/merge-patch+json",
            Self::Strategic(_) => "application/strategic-merge-patch+json",
            Self::Json(_) => "application/json-patch+json",
            Self::Apply { .. } => "application/apply-patch+yaml",
        }
    }

    /// The document that is sent.
    pub fn document(&self) -> &Value {
        match self {
            Self::Merge(value) | Self::Strategic(value) | Self::Json(value) => value,
            Self::Apply { object, .. } => object,
        }
    }
}

/// A query string in the making.
#[derive(Default)]
struct Query(String);

impl Query {
    fn text(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            // Writing to a String cannot fail.
            let _ = write!(self.0, "{name}={}", utf8_percent_encode(value, &PLAIN));
        }
        self
    }

    fn flag(self, name: &str, set: bool) -> Self {
        self.text(name, if set { "true" } else { "" })
    }

    fn number(self, name: &str, value: u64) -> Self {
        if value == 0 { self } else { self.text(name, &value.to_string()) }
    }
}

/// The path of a resource's collection.
pub fn collection_path(resource: &Resource, namespace: &str) -> String {
    let mut path = resource.base_path();
    if resource.namespaced && !namespace.is_empty() {
        let _ = write!(path, "/namespaces/{}", utf8_percent_encode(namespace, &PLAIN));
    }
    let _ = write!(path, "/{}", resource.plural);
    path
}

/// The path of an object, or of its subresource if that is not empty.
pub fn object_path(resource: &Resource, key: &Key, subresource: &str) -> String {
    let mut path = collection_path(resource, &key.namespace);
    let _ = write!(path, "/{}", utf8_percent_encode(&key.name, &PLAIN));
    if !subresource.is_empty() {
        let _ = write!(path, "/{subresource}");
    }
    path
}

// === impl Api ===

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("user_agent", &self.user_agent).finish_non_exhaustive()
    }
}

impl Api {
    /// A client that names itself `user_agent`.
    pub fn new(transport: Arc<dyn Transport>, user_agent: &str) -> Self {
        let user_agent =
            HeaderValue::from_str(user_agent).unwrap_or_else(|_| HeaderValue::from_static("binnacle"));
        Self { transport, user_agent }
    }

    /// The same server under another name, as upstream's controllers add theirs to the user agent.
    #[must_use]
    pub fn named(&self, user_agent: &str) -> Self {
        Self::new(Arc::clone(&self.transport), user_agent)
    }

    /// Reads an object.
    ///
    /// # Errors
    /// `NotFound` and whatever else the server says.
    pub async fn get<T: DeserializeOwned>(&self, resource: &Resource, key: &Key) -> Result<T, Error> {
        self.get_subresource(resource, key, "").await
    }

    /// Reads a subresource, such as `scale`.
    ///
    /// # Errors
    /// `NotFound` and whatever else the server says.
    pub async fn get_subresource<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        key: &Key,
        subresource: &str,
    ) -> Result<T, Error> {
        let path = object_path(resource, key, subresource);
        decode(Method::GET, &path, &self.request(Method::GET, &path, JSON, None).await?)
    }

    /// Reads a page of a list.
    ///
    /// # Errors
    /// `Expired` for a page of a list that is too old; whatever else the server says.
    pub async fn list<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        selection: &Selection,
        page: &Page,
    ) -> Result<List<T>, Error> {
        let query = selection
            .query()
            .number("limit", u64::from(page.limit))
            .text("continue", &page.token)
            .text("resourceVersion", &page.resource_version);
        let path = collection_path(resource, &selection.namespace) + &query.0;
        let accept = if selection.metadata_only { PARTIAL_OBJECTS } else { JSON };
        decode(Method::GET, &path, &self.request(Method::GET, &path, accept, None).await?)
    }

    /// Creates an object in a namespace (empty for cluster-scoped kinds).
    ///
    /// # Errors
    /// `AlreadyExists` and whatever else the server says.
    pub async fn create<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        object: &impl Serialize,
    ) -> Result<T, Error> {
        let path = collection_path(resource, namespace);
        self.write(Method::POST, &path, JSON, serde_json::to_vec(object)).await
    }

    /// Creates a subresource, such as `binding`, `eviction` or `token`.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn create_subresource<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        key: &Key,
        subresource: &str,
        object: &impl Serialize,
    ) -> Result<T, Error> {
        let path = object_path(resource, key, subresource);
        self.write(Method::POST, &path, JSON, serde_json::to_vec(object)).await
    }

    /// Replaces an object, or its subresource if that is not empty. The object's resourceVersion is the precondition.
    ///
    /// # Errors
    /// `Conflict`, `NotFound` and whatever else the server says.
    pub async fn update<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        key: &Key,
        subresource: &str,
        object: &impl Serialize,
    ) -> Result<T, Error> {
        let path = object_path(resource, key, subresource);
        self.write(Method::PUT, &path, JSON, serde_json::to_vec(object)).await
    }

    /// Patches an object, or its subresource if that is not empty.
    ///
    /// # Errors
    /// `Conflict`, `NotFound` and whatever else the server says.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        key: &Key,
        subresource: &str,
        patch: &Patch,
    ) -> Result<T, Error> {
        let mut path = object_path(resource, key, subresource);
        if let Patch::Apply { manager, force, .. } = patch {
            path += &Query::default().text("fieldManager", manager).flag("force", *force).0;
        }
        let document = serde_json::to_vec(patch.document());
        self.write(Method::PATCH, &path, patch.content_type(), document).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` when a precondition does not hold, and whatever else the server says.
    pub async fn delete(
        &self,
        resource: &Resource,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<Deleted, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            kind: Option<String>,
            #[serde(default)]
            metadata: crate::Meta,
            #[serde(default)]
            details: Details,
        }

        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Details {
            uid: Box<str>,
        }

        let path = object_path(resource, key, "");
        // The answer is the object as it was or is, or a Status that says it is gone.
        let answer: Answer = self.write(Method::DELETE, &path, JSON, serde_json::to_vec(options)).await?;
        if answer.kind.as_deref() == Some("Status") {
            return Ok(Deleted::Gone { uid: answer.details.uid });
        }
        // A pod without a node ends at once, though the answer is the pod, marked.
        Ok(if answer.metadata.is_terminating() && !answer.metadata.is_ending() {
            Deleted::Marked(answer.metadata.revision)
        } else {
            Deleted::Gone { uid: answer.metadata.uid }
        })
    }

    /// Deletes every object of a selection.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn delete_collection(
        &self,
        resource: &Resource,
        selection: &Selection,
        options: &DeleteOptions,
    ) -> Result<(), Error> {
        let path = collection_path(resource, &selection.namespace) + &selection.query().0;
        let body = serde_json::to_vec(options).map_err(Error::Encode)?;
        self.request(Method::DELETE, &path, JSON, Some((JSON, body.into()))).await.map(drop)
    }

    async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Result<Vec<u8>, serde_json::Error>,
    ) -> Result<T, Error> {
        let body = (content_type, body.map_err(Error::Encode)?.into());
        let what = method.clone();
        decode(what, path, &self.request(method, path, JSON, Some(body)).await?)
    }

    /// Sends any request and returns the body of its answer, for paths that are no resource: discovery, health.
    ///
    /// # Errors
    /// Whatever the server says, for an answer that is no 2xx.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Bytes, Error> {
        let whole = async {
            let response = self.send(method, path, accept, body).await?;
            collect(response.into_body()).await
        };
        match tokio::time::timeout(PATIENCE, whole).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(TransportError::Interrupted(elapsed.into()).into()),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<http::Response<Body>, Error> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, accept)
            .header(header::USER_AGENT, self.user_agent.clone());
        let body = match body {
            Some((content_type, body)) => {
                request = request.header(header::CONTENT_TYPE, content_type);
                body
            }
            None => Bytes::new(),
        };
        let response = self.transport.send(request.body(body).map_err(Error::Request)?).await?;
        if response.status().is_success() { Ok(response) } else { Err(failure(response).await) }
    }
}

fn decode<T: DeserializeOwned>(method: Method, path: &str, answer: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(answer)
        .map_err(|source| Error::Decode { what: format!("{method} {path}"), source })
}

async fn collect(mut body: Body) -> Result<Bytes, Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(TransportError::Interrupted)?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
        if whole.len() > ANSWER_BYTES_MAX {
            let why = format!("the answer is longer than {ANSWER_BYTES_MAX} bytes");
            return Err(TransportError::Interrupted(why.into()).into());
        }
    }
    Ok(whole.freeze())
}

/// The Status an answer carries, or one made from its code: proxies and old servers answer in plain text.
async fn failure(response: http::Response<Body>) -> Error {
    let code = response.status();
    let wait = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse::<u32>().ok())
        .unwrap_or_default();
    let body = match collect(response.into_body()).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    let mut status = match serde_json::from_slice::<Status>(&body) {
        Ok(status) if status.code != 0 => status,
        _ => {
            let text = String::from_utf8_lossy(body.get(..body.len().min(1024)).unwrap_or_default());
            Status::failure(code.as_u16(), reason_of(code), text.trim())
        }
    };
    if wait > 0 {
        status.details.get_or_insert_default().retry_after_seconds = wait;
    }
    status.into()
}

fn reason_of(code: StatusCode) -> &'static str {
    match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        410 => "Gone",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource;

    #[test]
    fn paths_hold_any_name() {
        assert_eq!(
            object_path(&resource::PODS, &Key::new("default", "web-1"), "status"),
            "/api/v1/namespaces/default/pods/web-1/status"
        );
        assert_eq!(
            object_path(&resource::CLUSTER_ROLES, &Key::cluster("system:a b?"), ""),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%20b%3F"
        );
        assert_eq!(collection_path(&resource::PODS, ""), "/api/v1/pods");
        // A namespace means nothing to a cluster-scoped kind.
        assert_eq!(collection_path(&resource::NODES, "default"), "/api/v1/nodes");
    }

    #[test]
    fn a_query_names_only_what_is_set() {
        let selection = Selection { fields: "spec.nodeName=n1".to_owned(), ..Selection::default() };
        assert_eq!(selection.query().number("limit", 0).0, "?fieldSelector=spec.nodeName%3Dn1");
        assert_eq!(Selection::all().query().0, "");
    }

    #[test]
    fn delete_options_say_only_what_is_meant() {
        let options = DeleteOptions {
            preconditions: Preconditions::uid("u"),
            propagation_policy: Some(Propagation::Background),
            ..DeleteOptions::default()
        };
        assert_eq!(
            serde_json::to_string(&options).unwrap(),
            r#"{"preconditions":{"uid":"u"},"propagationPolicy":"Background"}"#
        );
        assert_eq!(serde_json::to_string(&DeleteOptions::default()).unwrap(), "{}");
    }

    #[tokio::test]
    async fn an_answer_in_plain_text_becomes_a_status() {
        let response = http::Response::builder()
            .status(503)
            .header("retry-after", "7")
            .body(crate::transport::full("down\n"))
            .unwrap();
        let error = failure(response).await;
        let status = error.status().unwrap();
        assert_eq!((status.code, &*status.message, &*status.reason), (503, "down", "ServiceUnavailable"));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    }
}
