//! `patch`: an object changed by JSON patch, merge patch, strategic merge patch or apply.

use std::sync::Arc;

use api_types::{
    field::{BadValue, Fault, Path},
    kind::GroupVersionKind,
    schema::TypeRef,
    status::Status,
    wire,
};
use http::header;
use serde_json::Value;

use super::{
    Asked,
    options::{FieldValidation, Write},
};
use crate::{
    authz,
    http::respond::Answer,
    patch::{apply, json_patch, merge, strategic},
    registry::{Call, ownership, strategy::Part, update::Plan},
    server::Server,
};

/// The patch types of custom kinds, as messages list them.
const CUSTOM: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

pub(super) async fn patch(server: &Arc<Server>, asked: Asked) -> Result<Answer, Status> {
    patch_part(server, asked, Part::Main).await
}

/// A patch of the object or of its status.
pub(super) async fn patch_part(server: &Arc<Server>, mut asked: Asked, part: Part) -> Result<Answer, Status> {
    let kind = kind(&asked)?;
    let body = asked.body().await?;
    let options = Write::read(&asked.query, "PatchOptions", kind == Kind::Apply)?;
    asked.audit.request_patch(&body);
    let call = asked.call(server, &options);
    let patched = Patch::read(kind, part, &body, &options, &call)?;
    if kind == Kind::Apply {
        // An apply may create: that needs another permission, asked only if it comes to that.
        patched.may_create(server, &asked, &call).await?;
    }
    let plan = Plan { create_missing: kind == Kind::Apply, owned: kind == Kind::Apply, ..Plan::of(part) };
    let written = server.registry.update(&call, plan, &|old| patched.apply(old)).await?;
    asked.answer_written(server, if written.created { 201 } else { 200 }, &written)
}

/// The type of a patch.
pub(super) fn kind(asked: &Asked) -> Result<Kind, Status> {
    let content_type = asked.header(header::CONTENT_TYPE);
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let custom = asked.served.resource.schema().is_none();
    match media {
        "application/json-patch+json" => Ok(Kind::Json),
        "application/merge-patch+json" => Ok(Kind::Merge),
        "application/strategic-merge-patch+json" if !custom => Ok(Kind::Strategic),
        "application/apply-patch+yaml" => Ok(Kind::Apply),
        "application/strategic-merge-patch+json" => Err(Status::failure(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {CUSTOM}"
            ),
        )),
        // Refused before upstream's own code sees it, by its router.
        _ => Err(Status::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type")
            .with_details(api_types::status::Details::default())),
    }
}

/// A patch that was read, ready to be applied as often as races demand.
pub(super) struct Patch<'a> {
    document: Document,
    part: Part,
    call: &'a Call,
    /// The body as messages show it.
    shown: BadValue,
    complaints: Vec<String>,
    validation: FieldValidation,
    force: bool,
}

/// The patch itself, by its format.
pub(super) enum Document {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

// === impl Document ===

impl Document {
    /// Reads a body: the patch, and what field validation has against it.
    pub(super) fn read(
        kind: Kind,
        body: &[u8],
        validation: FieldValidation,
    ) -> Result<(Self, Vec<String>), Status> {
        let validated = validation != FieldValidation::Ignore;
        match kind {
            Kind::Json => {
                json_patch::Patch::decode(body, validated).map(|(it, found)| (Self::Json(it), found))
            }
            Kind::Merge => merge::decode(body, validated).map(|(it, found)| (Self::Merge(it), found)),
            Kind::Strategic => strategic::decode(body).map(|(it, found)| (Self::Strategic(it), found)),
            Kind::Apply => {
                let read = wire::yaml::to_value(body).map_err(|error| {
                    Status::bad_request(format!(
                        "error decoding YAML: error converting YAML to JSON: {error}"
                    ))
                })?;
                let duplicates = read.duplicates.map(|them| format!("error converting YAML to JSON: {them}"));
                let read = wire::yaml::Read { value: read.value, duplicates };
                Ok((Self::Apply(read.value), read.duplicates.into_iter().collect()))
            }
        }
    }

    /// An object with the patch laid over it; for applies see `ownership`.
    pub(super) fn merge(&self, old: &Value, schema: Option<TypeRef>) -> Result<Value, Status> {
        match self {
            Self::Json(patch) => patch.apply(old.clone()),
            Self::Merge(patch) | Self::Apply(patch) => Ok(merge::merge(old.clone(), patch.clone())),
            Self::Strategic(patch) => match schema {
                Some(schema) => strategic::merge(old.clone(), patch.clone(), schema).map_err(Status::from),
                None => Err(strategic::UNSUPPORTED.into()),
            },
        }
    }
}

// === impl Patch ===

impl<'a> Patch<'a> {
    fn read(kind: Kind, part: Part, body: &[u8], options: &Write, call: &'a Call) -> Result<Self, Status> {
        let (document, complaints) = Document::read(kind, body, options.field_validation)?;
        let shown = shown(&document, body);
        let force = options.force.unwrap_or_default();
        Ok(Self { document, part, call, shown, complaints, validation: options.field_validation, force })
    }

    /// Finds that the caller may create the object, if an apply would have to.
    async fn may_create(&self, server: &Server, asked: &Asked, call: &Call) -> Result<(), Status> {
        match server.registry.current(call).await {
            Err(status) if status.is("NotFound") => {
                let mut attributes = server.attributes(asked);
                "create".clone_into(&mut attributes.verb);
                authz::require(server.authorizer.as_ref(), &attributes).await
            }
            Err(status) => Err(status),
            Ok(_) => Ok(()),
        }
    }

    /// The patched object, fitted to its type and defaulted.
    fn apply(&self, old: Option<&Value>) -> Result<Value, Status> {
        let served = &self.call.served;
        let object = match &self.document {
            Document::Apply(applied) => {
                let object = ownership::apply(self.call, self.part, old, applied, self.force)?;
                complain(self.call, &self.complaints, self.validation)?;
                let fitted = served.resource.coerce(object);
                fitted.map(|(object, _)| object).map_err(|why| apply::misfit(applied, &why))?
            }
            document => {
                let old = old.ok_or_else(|| self.call.not_found())?;
                let patched = document.merge(old, served.resource.schema())?;
                self.same_kind(&patched)?;
                self.coerce(patched)?
            }
        };
        served.resource.default(object).map_err(Status::internal)
    }

    /// The patched object as its type has it.
    fn coerce(&self, value: Value) -> Result<Value, Status> {
        let mut complaints = self.complaints.clone();
        let (value, strict) = self.call.served.resource.coerce(value).map_err(|why| self.invalid(why))?;
        complaints.extend(strict);
        match self.validation {
            FieldValidation::Strict if !complaints.is_empty() => {
                return Err(self.invalid(format!("strict decoding error: {}", complaints.join(", "))));
            }
            FieldValidation::Ignore => {}
            FieldValidation::Strict | FieldValidation::Warn => self.call.warnings.extend(complaints),
        }
        Ok(value)
    }

    /// Finds that a patch left the object what it is.
    fn same_kind(&self, patched: &Value) -> Result<(), Status> {
        let text = |field: &str| patched.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, version) = (text("kind"), text("apiVersion"));
        let wanted = self.call.served.resource.kind();
        if self.call.served.resource.custom().is_some() {
            // What is neither is told of by validation.
            return Ok(());
        }
        if version != wanted.api_version() {
            return Err(self.invalid(format!(
                "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
            )));
        }
        if kind != wanted.kind {
            let package = match wanted.group.split('.').next() {
                None | Some("") => "core",
                Some(first) => first,
            };
            return Err(self.invalid(format!(
                "converting ({}.{kind}) to ({package}.{}): unknown conversion",
                wanted.version, wanted.kind
            )));
        }
        Ok(())
    }

    /// 422 for a patch whose result is no object of the kind.
    fn invalid(&self, why: String) -> Status {
        let fault = Fault::invalid(&Path::new("patch"), self.shown.clone(), why);
        Status::invalid(&GroupVersionKind::default(), "", &[fault])
    }
}

/// A patch as messages show it: strategic ones as Go prints a map, others as they came.
pub(super) fn shown(document: &Document, body: &[u8]) -> BadValue {
    BadValue::Text(match document {
        Document::Strategic(patch) => go_print(patch),
        _ => String::from_utf8_lossy(body).into_owned(),
    })
}

/// Says what field validation has against an applied configuration, which is that fields are there twice: unknown ones
/// are no part of its type.
///
/// # Errors
/// 400, if field validation is strict.
pub(super) fn complain(
    call: &Call,
    complaints: &[String],
    validation: FieldValidation,
) -> Result<(), Status> {
    match validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            Err(Status::bad_request(format!("error strict decoding YAML: {}", complaints.join(", "))))
        }
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Strict | FieldValidation::Warn => {
            call.warnings.extend(complaints.iter().cloned());
            Ok(())
        }
    }
}

/// A value as Go's `%v` prints it.
pub(crate) fn go_print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let fields: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", go_print(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        plain => plain.to_string(),
    }
}
