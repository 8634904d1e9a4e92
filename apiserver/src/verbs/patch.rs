//! `patch`: an object changed by JSON patch, merge patch, strategic merge patch or apply.

use std::sync::Arc;

use api_types::{
    field::{BadValue, Fault, Path},
    kind::GroupVersionKind,
    object::ObjectExt,
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
    http::respond::{self, Answer},
    patch::{json_patch, merge, strategic},
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
    let call = asked.call(server, &options);
    let patched = Patch::read(kind, part, &body, &options, &call)?;
    if kind == Kind::Apply {
        // An apply may create: that needs another permission, asked only if it comes to that.
        patched.may_create(server, &asked, &call).await?;
    }
    let plan = Plan {
        part,
        create_missing: kind == Kind::Apply,
        uid_precondition: false,
        owned: kind == Kind::Apply,
    };
    let warnings = parking_lot::Mutex::new(Vec::new());
    let written = server
        .registry
        .update(&call, plan, &|old| {
            let (object, dropped) = patched.apply(old)?;
            *warnings.lock() = dropped;
            Ok(object)
        })
        .await;
    let mut warnings = warnings.into_inner();
    let written = match written {
        Ok(written) => written,
        Err(status) => return Err(status.with_warnings(warnings)),
    };
    warnings.extend(written.warnings);
    let mut answer = asked.answer(server, if written.created { 201 } else { 200 }, &written.object)?;
    respond::warn(&mut answer, &warnings);
    Ok(answer)
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
                Some(schema) => strategic::merge(old.clone(), patch.clone(), schema)
                    .map_err(|failure| unmergeable(&failure)),
                None => Err(unmergeable(&strategic::UNSUPPORTED)),
            },
        }
    }
}

/// What a strategic merge that cannot be is answered with.
fn unmergeable(failure: &strategic::Failure) -> Status {
    match failure {
        strategic::Failure::Malformed(why) => Status::bad_request(*why),
        strategic::Failure::Unsuitable(why) => Status::failure(422, "Invalid", *why),
        strategic::Failure::Other(why) => Status::failure(500, "", why.clone()),
    }
}

// === impl Patch ===

impl<'a> Patch<'a> {
    fn read(kind: Kind, part: Part, body: &[u8], options: &Write, call: &'a Call) -> Result<Self, Status> {
        let (document, complaints) = Document::read(kind, body, options.field_validation)?;
        let shown = match &document {
            // Strategic ones are shown as Go prints a map, others as they came.
            Document::Strategic(patch) => BadValue::Text(go_print(patch)),
            _ => BadValue::Text(String::from_utf8_lossy(body).into_owned()),
        };
        let force = options.force.unwrap_or_default();
        Ok(Self { document, part, call, shown, complaints, validation: options.field_validation, force })
    }

    /// Finds that the caller may create the object, if an apply would have to.
    async fn may_create(&self, server: &Server, asked: &Asked, call: &Call) -> Result<(), Status> {
        match server.registry.current(call).await {
            Err(status) if status.is("NotFound") => {
                let mut attributes = server.attributes(asked);
                "create".clone_into(&mut attributes.verb);
                authz::require(server.authorizer.as_ref(), &attributes)
            }
            Err(status) => Err(status),
            Ok(_) => Ok(()),
        }
    }

    /// The patched object, coerced and defaulted, with what was dropped on the way.
    fn apply(&self, old: Option<&Value>) -> Result<(Value, Vec<String>), Status> {
        let served = &self.call.served;
        let (object, warnings) = match &self.document {
            Document::Apply(applied) => {
                let object = ownership::apply(self.call, self.part, old, applied, self.force)?;
                self.named(applied)?;
                let warnings = self.check(applied)?;
                (self.coerced(object).map_err(|why| Status::failure(500, "", why))?, warnings)
            }
            document => {
                let old = old.ok_or_else(|| self.call.not_found())?;
                let patched = document.merge(old, served.resource.schema())?;
                self.same_kind(&patched)?;
                self.coerce(patched)?
            }
        };
        let object = served.resource.default(object).map_err(Status::internal)?;
        Ok((object, warnings))
    }

    /// The patched object as its type has it, and what was dropped.
    fn coerce(&self, value: Value) -> Result<(Value, Vec<String>), Status> {
        let mut complaints = self.complaints.clone();
        let value = match self.call.served.resource.schema() {
            Some(schema) => {
                let coerced = wire::typed::coerce(value, schema).map_err(|why| self.invalid(why))?;
                complaints.extend(coerced.strict);
                coerced.value
            }
            None => value,
        };
        match self.validation {
            FieldValidation::Strict if !complaints.is_empty() => {
                Err(self.invalid(format!("strict decoding error: {}", complaints.join(", "))))
            }
            FieldValidation::Ignore => Ok((value, Vec::new())),
            FieldValidation::Strict | FieldValidation::Warn => Ok((value, complaints)),
        }
    }

    /// Finds that an applied configuration names the object of the URL.
    fn named(&self, applied: &Value) -> Result<(), Status> {
        let (name, url) = (applied.name(), &self.call.name);
        if name.is_empty() {
            return Err(Status::bad_request(format!(
                "the name of the object ({url} based on URL) was undeterminable: name must be provided"
            )));
        }
        if name != url {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({url})"
            )));
        }
        Ok(())
    }

    /// What field validation has against an applied configuration.
    fn check(&self, applied: &Value) -> Result<Vec<String>, Status> {
        let mut complaints = self.complaints.clone();
        if let Some(schema) = self.call.served.resource.schema() {
            let read = wire::typed::coerce(applied.clone(), schema)
                .map_err(|why| Status::bad_request(format!("error decoding YAML: {why}")))?;
            complaints.extend(read.strict);
        }
        match self.validation {
            FieldValidation::Strict if !complaints.is_empty() => {
                Err(Status::bad_request(format!("error strict decoding YAML: {}", complaints.join(", "))))
            }
            FieldValidation::Ignore => Ok(Vec::new()),
            FieldValidation::Strict | FieldValidation::Warn => Ok(complaints),
        }
    }

    fn coerced(&self, value: Value) -> Result<Value, String> {
        match self.call.served.resource.schema() {
            Some(schema) => wire::typed::coerce(value, schema).map(|read| read.value),
            None => Ok(value),
        }
    }

    /// Finds that a patch left the object what it is.
    fn same_kind(&self, patched: &Value) -> Result<(), Status> {
        let text = |field: &str| patched.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, version) = (text("kind"), text("apiVersion"));
        let wanted = self.call.served.resource.kind();
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

/// A value as Go's `%v` prints it.
pub(super) fn go_print(value: &Value) -> String {
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
