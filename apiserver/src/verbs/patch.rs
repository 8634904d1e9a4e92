//! `patch`: an object changed by JSON patch, merge patch, strategic merge patch or apply.

use std::sync::Arc;

use api_types::{
    field::{BadValue, Fault, Path},
    kind::GroupVersionKind,
    object::ObjectExt,
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
    interim,
    registry::{Call, ownership, strategy::Part, update::Plan},
    server::Server,
};

/// The patch types, as messages list them.
const ACCEPTED: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

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
    let patched = Patch::read(server, kind, part, body.to_vec(), &options, &call)?;
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
        .await?;
    let mut warnings = warnings.into_inner();
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
        _ => Err(Status::failure(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                if custom {
                    ACCEPTED.replace("application/strategic-merge-patch+json, ", "")
                } else {
                    ACCEPTED.to_owned()
                }
            ),
        )),
    }
}

/// A patch that was read, ready to be applied as often as races demand.
pub(super) struct Patch<'a> {
    server: &'a Server,
    kind: Kind,
    part: Part,
    call: &'a Call,
    body: Vec<u8>,
    /// The parsed body of all but JSON patches.
    value: Value,
    complaints: Vec<String>,
    validation: FieldValidation,
    force: bool,
}

// === impl Patch ===

impl<'a> Patch<'a> {
    pub(super) fn read(
        server: &'a Server,
        kind: Kind,
        part: Part,
        body: Vec<u8>,
        options: &Write,
        call: &'a Call,
    ) -> Result<Self, Status> {
        let mut complaints = Vec::new();
        let value = match kind {
            Kind::Json => Value::Null,
            Kind::Merge | Kind::Strategic => {
                let (value, duplicates) = wire::json::decode(&body)
                    .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
                complaints.extend(duplicates);
                value
            }
            Kind::Apply => {
                let read = wire::yaml::to_value(&body)
                    .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
                complaints.extend(read.duplicates);
                read.value
            }
        };
        Ok(Self {
            server,
            kind,
            part,
            call,
            body,
            value,
            complaints,
            validation: options.field_validation,
            force: options.force.unwrap_or_default(),
        })
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
    pub(super) fn apply(&self, old: Option<&Value>) -> Result<(Value, Vec<String>), Status> {
        let served = &self.call.served;
        let schema = served.resource.schema();
        if self.kind == Kind::Apply {
            return self.server_side_apply(old);
        }
        let old = old.ok_or_else(|| self.call.not_found())?;
        let patched = match self.kind {
            Kind::Json => interim::json_patch::apply(&self.body, old)?,
            Kind::Merge => interim::merge::apply(&self.value, old)?,
            Kind::Strategic | Kind::Apply => match schema {
                Some(schema) => interim::strategic::apply(&self.value, old, schema)?,
                None => return Err(super::method_not_allowed()),
            },
        };
        let name = patched.name();
        if name != self.call.name && !name.is_empty() {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.call.name
            )));
        }
        self.finish(patched, &self.complaints)
    }

    fn server_side_apply(&self, old: Option<&Value>) -> Result<(Value, Vec<String>), Status> {
        let served = &self.call.served;
        let (applied, warnings) = self.coerce(self.value.clone(), &self.complaints, |why| {
            Status::bad_request(format!("error decoding YAML: {why}"))
        })?;
        let object = ownership::apply(self.call, self.part, old, &applied, self.force)?;
        let object = served.resource.default(object).map_err(Status::internal)?;
        Ok((object, warnings))
    }

    fn finish(&self, patched: Value, complaints: &[String]) -> Result<(Value, Vec<String>), Status> {
        let shown = patch_shown(self.kind, &self.body, &self.value);
        let (object, warnings) = self.coerce(patched, complaints, |why| {
            let fault = Fault::invalid(&Path::new("patch"), shown.clone(), why.to_owned());
            Status::invalid(&GroupVersionKind::default(), "", &[fault])
        })?;
        let object = self.call.served.resource.default(object).map_err(Status::internal)?;
        Ok((object, warnings))
    }

    fn coerce(
        &self,
        value: Value,
        complaints: &[String],
        refuse: impl Fn(&str) -> Status,
    ) -> Result<(Value, Vec<String>), Status> {
        let mut complaints = complaints.to_vec();
        let value = match self.call.served.resource.schema() {
            Some(schema) => {
                let coerced = wire::typed::coerce(value, schema).map_err(|why| refuse(&why))?;
                complaints.extend(coerced.strict);
                coerced.value
            }
            None => value,
        };
        match self.validation {
            FieldValidation::Strict if !complaints.is_empty() => {
                Err(refuse(&format!("strict decoding error: {}", complaints.join(", "))))
            }
            FieldValidation::Ignore => Ok((value, Vec::new())),
            FieldValidation::Strict | FieldValidation::Warn => Ok((value, complaints)),
        }
    }
}

/// The patch as messages show it: strategic ones as Go prints a map, others as they came.
fn patch_shown(kind: Kind, body: &[u8], value: &Value) -> BadValue {
    match kind {
        Kind::Strategic => BadValue::Text(go_print(value)),
        Kind::Json | Kind::Merge | Kind::Apply => BadValue::Text(String::from_utf8_lossy(body).into_owned()),
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
