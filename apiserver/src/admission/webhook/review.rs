//! What a webhook is sent, and what its answer means: `AdmissionReview` of `admission.k8s.io`, `v1` and `v1beta1`.

use std::collections::BTreeMap;

use api_types::{
    field::go_quote,
    status::Status,
    wire::json::{self, SyntaxError},
};
use base64::Engine as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Attributes, Type};
use crate::admission::{conditions, seen::Seen};

const GROUP: &str = "admission.k8s.io";
const JSON_PATCH: &str = "JSONPatch";

/// The version of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V1Beta1,
}

/// The objects of a write; null if there is none.
#[derive(Clone, Debug, Default)]
pub(in crate::admission) struct Subject {
    pub(in crate::admission) object: Value,
    pub(in crate::admission) old: Value,
}

/// What a webhook said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::admission) struct Verdict {
    pub(super) allowed: bool,
    /// A JSON patch, if it wants a change.
    pub(in crate::admission) patch: Vec<u8>,
    pub(in crate::admission) patch_type: String,
    pub(super) status: Option<Status>,
    pub(super) warnings: Vec<String>,
    /// For the audit.
    pub(super) annotations: BTreeMap<String, String>,
}

/// An answer as it came.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Review {
    kind: String,
    api_version: String,
    response: Option<Response>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    uid: String,
    allowed: bool,
    status: Option<Status>,
    patch: Option<String>,
    patch_type: Option<String>,
    audit_annotations: Option<BTreeMap<String, String>>,
    warnings: Option<Vec<String>>,
}

impl Subject {
    /// As a webhook is shown them.
    ///
    /// # Errors
    /// 500 if they cannot be converted.
    pub(in crate::admission) async fn of(attributes: &Attributes, seen: &Seen) -> Result<Self, Status> {
        let object = seen.show(&attributes.object).await?.into_owned();
        Ok(Self { object, old: seen.show(&attributes.old).await?.into_owned() })
    }
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1Beta1 => "v1beta1",
        }
    }
}

/// The first version that both sides know.
pub(super) fn version(wanted: &[String]) -> Option<Version> {
    wanted.iter().find_map(|version| match version.as_str() {
        "v1" => Some(Version::V1),
        "v1beta1" => Some(Version::V1Beta1),
        _ => None,
    })
}

/// The question.
pub(super) fn request(
    uid: &str,
    version: Version,
    attributes: &Attributes,
    seen: &Seen,
    subject: &Subject,
) -> Value {
    let mut request = conditions::request(attributes, seen);
    request["uid"] = json!(uid);
    request["object"] = subject.object.clone();
    request["oldObject"] = subject.old.clone();
    json!({"kind": "AdmissionReview", "apiVersion": format!("{GROUP}/{}", version.name()), "request": request})
}

/// Reads an answer.
///
/// # Errors
/// That it is no review.
pub(super) fn response(body: &[u8]) -> Result<Review, String> {
    let (value, _) = json::decode(body)
        .map_err(|SyntaxError(why)| format!("couldn't get version/kind; json parse error: {why}"))?;
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = text("kind");
    if !matches!(kind.as_str(), "" | "AdmissionReview") {
        let version = text("apiVersion");
        return Err(format!("no kind {} is registered for version {}", go_quote(&kind), go_quote(&version)));
    }
    serde_json::from_value(value).map_err(|error| format!("couldn't decode the response: {error}"))
}

/// What an answer means.
///
/// # Errors
/// That it does not answer the question, in upstream's words.
pub(super) fn verdict(review: Review, uid: &str, version: Version, of: Type) -> Result<Verdict, String> {
    let Some(response) = review.response else { return Err("webhook response was absent".to_owned()) };
    let patch = response.patch.unwrap_or_default();
    let patch = base64::prelude::BASE64_STANDARD
        .decode(&patch)
        .map_err(|error| format!("illegal base64 data in response.patch: {error}"))?;
    let mut verdict = Verdict {
        allowed: response.allowed,
        status: response.status,
        warnings: response.warnings.unwrap_or_default(),
        annotations: response.audit_annotations.unwrap_or_default(),
        ..Verdict::default()
    };
    if version == Version::V1Beta1 {
        // The older version is not held to anything more.
        if of == Type::Mutating && !patch.is_empty() {
            verdict.patch = patch;
            JSON_PATCH.clone_into(&mut verdict.patch_type);
        }
        return Ok(verdict);
    }
    if response.uid != uid {
        return Err(format!("expected response.uid={}, got {}", go_quote(uid), go_quote(&response.uid)));
    }
    let expected = format!("{GROUP}/v1");
    if review.api_version != expected || review.kind != "AdmissionReview" {
        let version = if review.api_version.is_empty() { "/" } else { &review.api_version };
        return Err(format!(
            "expected webhook response of {expected}, Kind=AdmissionReview, got {version}, Kind={}",
            review.kind
        ));
    }
    let refuse = |why: &str| Err(why.to_owned());
    match (of, patch.is_empty(), response.patch_type) {
        (Type::Mutating, false, None) => refuse("webhook returned response.patch but not response.patchType"),
        (Type::Mutating, true, Some(_)) => {
            refuse("webhook returned response.patchType but not response.patch")
        }
        (Type::Mutating, false, Some(kind)) if kind.is_empty() => {
            refuse(r#"webhook returned invalid response.patchType of """#)
        }
        (Type::Validating, false, _) => refuse("validating webhook may not return response.patch"),
        (Type::Validating, true, Some(_)) => refuse("validating webhook may not return response.patchType"),
        (_, _, kind) => {
            verdict.patch = patch;
            verdict.patch_type = kind.unwrap_or_default();
            Ok(verdict)
        }
    }
}

/// The answer to a request that a webhook denied.
pub(super) fn denial(hook: &str, status: Option<Status>) -> Status {
    let denied = format!("admission webhook {} denied the request", go_quote(hook));
    let mut status = status.unwrap_or_default();
    // Whoever says no does not say so with a code of success.
    status.code = status.code.max(400);
    if matches!(status.status.as_str(), "" | "Success") {
        "Failure".clone_into(&mut status.status);
    }
    status.message = match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: Value, version: Version, of: Type) -> Result<Verdict, String> {
        verdict(response(body.to_string().as_bytes())?, "u", version, of)
    }

    fn v1(response: Value) -> Value {
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
    }

    #[test]
    fn an_answer_must_answer_the_question() {
        for (body, of, expected) in [
            (v1(json!({"uid": "u", "allowed": true})), Type::Mutating, Ok(true)),
            (v1(json!({"uid": "u"})), Type::Mutating, Ok(false)),
            (v1(Value::Null), Type::Mutating, Err("webhook response was absent")),
            (v1(json!({"uid": "x"})), Type::Mutating, Err(r#"expected response.uid="u", got "x""#)),
            (
                json!({"response": {"uid": "u"}}),
                Type::Mutating,
                Err("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="),
            ),
            (
                v1(json!({"uid": "u", "patch": "W10="})),
                Type::Mutating,
                Err("webhook returned response.patch but not response.patchType"),
            ),
            (
                v1(json!({"uid": "u", "patchType": "JSONPatch"})),
                Type::Mutating,
                Err("webhook returned response.patchType but not response.patch"),
            ),
            (
                v1(json!({"uid": "u", "patch": "W10="})),
                Type::Validating,
                Err("validating webhook may not return response.patch"),
            ),
            (
                v1(json!({"uid": "u", "patchType": "JSONPatch"})),
                Type::Validating,
                Err("validating webhook may not return response.patchType"),
            ),
            (
                json!({"kind": "Pod", "apiVersion": "v1"}),
                Type::Validating,
                Err(r#"no kind "Pod" is registered for version "v1""#),
            ),
        ] {
            let verdict = check(body, Version::V1, of).map(|verdict| verdict.allowed);
            assert_eq!(verdict, expected.map_err(str::to_owned));
        }
        assert!(
            response(b"<html>").unwrap_err().starts_with("couldn't get version/kind; json parse error: ")
        );
    }

    #[test]
    fn the_older_version_is_not_held_to_the_rules_of_the_newer() {
        let verdict =
            check(json!({"response": {"allowed": true, "patch": "W10="}}), Version::V1Beta1, Type::Mutating);
        let verdict = verdict.unwrap();
        assert_eq!((verdict.patch.as_slice(), verdict.patch_type.as_str()), (b"[]".as_slice(), "JSONPatch"));
    }

    #[test]
    fn a_denial_names_the_webhook_and_its_reason() {
        let status = |value: Value| serde_json::from_value::<Status>(value).unwrap();
        for (given, code, message) in [
            (None, 400, r#"admission webhook "w" denied the request without explanation"#),
            (
                Some(json!({"code": 200})),
                400,
                r#"admission webhook "w" denied the request without explanation"#,
            ),
            (
                Some(json!({"code": 403, "message": "no"})),
                403,
                r#"admission webhook "w" denied the request: no"#,
            ),
            (Some(json!({"reason": "Because"})), 400, r#"admission webhook "w" denied the request: Because"#),
        ] {
            let denied = denial("w", given.map(status));
            assert_eq!(
                (denied.code, denied.message.as_str(), denied.status.as_str()),
                (code, message, "Failure")
            );
        }
    }
}
