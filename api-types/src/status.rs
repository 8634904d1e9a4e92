//! The answer to a request that failed: upstream's `Status` object, made here and nowhere else.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    field::{Fault, aggregate, go_quote},
    kind::{GroupResource, GroupVersionKind},
};

/// A failure (or, for some deletes, a success) as the API tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// `Success` or `Failure`.
    pub status: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// For machines, such as `NotFound`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// More, for machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// The HTTP status code.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u16,
    /// `metadata.continue`: where an expired list can go on.
    #[serde(skip)]
    pub continuation: String,
}

/// What a [`Status`] is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The kind or, as upstream has it in most answers, the resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The single faults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again, in seconds.
    #[serde(skip_serializing_if = "is_zero_seconds")]
    pub retry_after_seconds: u32,
}

/// One cause of a failure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// For machines.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(code: &u16) -> bool {
    *code == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero_seconds(seconds: &u32) -> bool {
    *seconds == 0
}

// === impl Status ===

impl Status {
    /// A failure without details.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            status: "Failure".to_owned(),
            message: message.into(),
            reason: reason.to_owned(),
            details: None,
            code,
            continuation: String::new(),
        }
    }

    /// The success that answers deletes of objects that are gone.
    pub fn success(details: Option<Details>) -> Self {
        Self { status: "Success".to_owned(), details: details.map(Box::new), ..Self::default() }
    }

    /// With details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    fn about(self, resource: &GroupResource, name: &str) -> Self {
        self.with_details(Details {
            name: name.to_owned(),
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            ..Details::default()
        })
    }

    /// 404: there is no such object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::failure(404, "NotFound", format!("{resource} {} not found", go_quote(name)))
            .about(resource, name)
    }

    /// 404: there is no such path.
    pub fn no_such_path() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource")
            .with_details(Details::default())
    }

    /// 409: a create met an object of that name.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::failure(409, "AlreadyExists", format!("{resource} {} already exists", go_quote(name)))
            .about(resource, name)
    }

    /// 409: the object is not what the writer thought.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", go_quote(name));
        Self::failure(409, "Conflict", message).about(resource, name)
    }

    /// 409: an update met another resourceVersion.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409: server-side apply met fields of other managers.
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        Self::failure(409, "Conflict", message).with_details(Details { causes, ..Details::default() })
    }

    /// 403: policy does not let this happen.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource.resource.is_empty() && resource.group.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {} is forbidden: {why}", go_quote(name)),
        };
        Self::failure(403, "Forbidden", message).about(resource, name)
    }

    /// 401: the caller is nobody we know.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 422: the object has faults.
    pub fn invalid(kind: &GroupVersionKind, name: &str, faults: &[Fault]) -> Self {
        let what = format!("{} {} is invalid", kind.group_kind(), go_quote(name));
        let message = if faults.is_empty() { what } else { format!("{what}: {}", aggregate(faults)) };
        Self::failure(422, "Invalid", message).with_details(Details {
            name: name.to_owned(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes: faults.iter().map(Cause::from).collect(),
            ..Details::default()
        })
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 405: not that verb on that resource.
    pub fn method_not_supported(resource: &GroupResource, action: &str) -> Self {
        let message =
            format!("{action} is not supported on resources of kind {}", go_quote(&resource.to_string()));
        Self::failure(405, "MethodNotAllowed", message).about(resource, "")
    }

    /// 410: that revision is gone; list again.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 413: the body is larger than the server reads.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::failure(413, "RequestEntityTooLarge", message)
    }

    /// 429: try again later.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::failure(429, "TooManyRequests", message)
            .with_details(Details { retry_after_seconds, ..Details::default() })
    }

    /// 500: our fault.
    pub fn internal(why: impl fmt::Display) -> Self {
        Self::failure(500, "InternalError", format!("Internal error occurred: {why}")).with_details(Details {
            causes: vec![Cause { message: why.to_string(), ..Cause::default() }],
            ..Details::default()
        })
    }

    /// 503: not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// 504: it took too long.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {message}"))
            .with_details(Details { retry_after_seconds, ..Details::default() })
    }

    /// Whether it tells of a failure.
    pub fn is_failure(&self) -> bool {
        self.status == "Failure"
    }

    /// Whether the failure has this reason.
    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }

    /// The object as it goes over the wire.
    pub fn to_value(&self) -> Value {
        let mut object = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}});
        if let (Some(object), Ok(Value::Object(fields))) =
            (object.as_object_mut(), serde_json::to_value(self))
        {
            object.extend(fields);
            if !self.continuation.is_empty() {
                object.insert("metadata".to_owned(), json!({"continue": self.continuation}));
            }
        }
        object
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl From<&Fault> for Cause {
    fn from(fault: &Fault) -> Self {
        Self { reason: fault.kind.reason().to_owned(), message: fault.body(), field: fault.field.clone() }
    }
}
