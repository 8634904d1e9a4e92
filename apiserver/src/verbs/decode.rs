//! From a body to an object of the expected kind, with upstream's complaints on the way.

use std::{fmt::Write as _, sync::Arc};

use api_types::{
    kind::{GroupVersion, GroupVersionKind},
    schema::{TypeRef, schema},
    status::Status,
    wire,
};
use serde_json::Value;

use super::options::FieldValidation;
use crate::{
    http::negotiate::{self, Format},
    registry::{
        catalogue::{Catalogue, Served},
        strategy::Resource,
    },
};

/// What a body shall be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The kind the path is about.
    pub kind: GroupVersionKind,
    /// Its schema; custom kinds bring their own.
    pub schema: Option<TypeRef>,
    /// A custom kind.
    pub custom: Option<Arc<dyn Resource>>,
}

impl Expected {
    /// The objects of a resource.
    pub fn of(served: &Served) -> Self {
        let resource = &served.resource;
        let custom = resource.custom().is_some().then(|| Arc::clone(resource));
        Self { kind: resource.kind(), schema: resource.schema(), custom }
    }
}

/// A body that was read.
#[derive(Debug)]
pub struct Decoded {
    /// The object, coerced to its schema.
    pub object: Value,
    /// What was dropped, for `Warning` headers.
    pub warnings: Vec<String>,
}

/// A body that is cut or read, but not fitted to a type yet.
enum Source<'a> {
    Json(wire::json::Document<'a>),
    Protobuf(wire::protobuf::Envelope<'a>),
    /// A value, and what its form complains about.
    Value(Value, Vec<String>),
}

/// How much of an unreadable body a message shows.
const SUMMARY_BYTES: usize = 30;

/// Reads a body.
///
/// # Errors
/// 400 in upstream's words.
pub fn decode(
    catalogue: &Catalogue,
    body: &[u8],
    format: Format,
    expected: &Expected,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let unreadable = |why: &dyn std::fmt::Display| {
        unrecognized(expected, body, &format!("couldn't get version/kind; json parse error: {why}"))
    };
    let source = match format {
        Format::Json => Source::Json(wire::json::parse(body).map_err(|error| unreadable(&error))?),
        Format::Yaml => {
            let read = wire::yaml::to_value(body).map_err(|error| unreadable(&error))?;
            Source::Value(read.value, read.duplicates.into_iter().collect())
        }
        Format::Protobuf => Source::Protobuf(
            wire::protobuf::open(body).map_err(|error| unrecognized(expected, body, &error.to_string()))?,
        ),
    };
    let (api_version, kind) = source.type_meta().map_err(|error| unreadable(&error))?;
    let found = claimed(&api_version, &kind, expected);
    let cannot = |why: &str| {
        Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: {why}",
            found.kind, found.version, expected.kind.kind
        ))
    };
    if let Some(custom) = &expected.custom {
        return decode_custom(custom.as_ref(), source, body, &found, expected, validation);
    }
    let same_kind = found.kind == expected.kind.kind && found.group == expected.kind.group;
    let built_in = schema().type_of(&found.group, &found.version, &found.kind);
    if found != expected.kind && !same_kind {
        return Err(
            match built_in.or_else(|| {
                catalogue
                    .find_kind(&found.group, &found.version, &found.kind)
                    .and_then(|served| served.resource.schema())
            }) {
                None => cannot(&format!(
                    "no kind \"{}\" is registered for version \"{}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
                    found.kind,
                    GroupVersion::new(&found.group, &found.version)
                )),
                Some(schema) => match source.decode(Some(schema)) {
                    Err(error) => cannot(&error),
                    Ok(_) => cannot(&format!(
                        "converting ({}.{}) to ({}.{}): unknown conversion",
                        found.version,
                        found.kind,
                        internal_package(&expected.kind.group),
                        expected.kind.kind
                    )),
                },
            },
        );
    }
    if found != expected.kind {
        return Err(Status::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            found.api_version(),
            expected.kind.api_version()
        )));
    }
    let (mut value, complaints) = source.decode(expected.schema).map_err(|error| cannot(&error))?;
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), Value::from(expected.kind.api_version()));
        map.insert("kind".to_owned(), Value::from(expected.kind.kind.as_str()));
    }
    let warnings = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn => complaints,
        FieldValidation::Strict if complaints.is_empty() => complaints,
        FieldValidation::Strict => {
            return Err(cannot(&format!("strict decoding error: {}", complaints.join(", "))));
        }
    };
    Ok(Decoded { object: value, warnings })
}

/// A body of a custom kind. What kind it says it is, is judged with the rest of it.
fn decode_custom(
    custom: &dyn Resource,
    source: Source<'_>,
    body: &[u8],
    found: &GroupVersionKind,
    expected: &Expected,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let cannot = |why: &str| {
        Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: {why}",
            found.kind, found.version, expected.kind.kind
        ))
    };
    let (api_version, kind) = source.type_meta().map_err(|error| cannot(&error))?;
    let (value, mut complaints) = source.decode(None).map_err(|error| cannot(&error))?;
    if kind.is_empty() {
        let shown = String::from_utf8_lossy(body);
        return Err(cannot(&format!("Object 'Kind' is missing in '{}'", shown.trim_end())));
    }
    if found.group != expected.kind.group || found.version != expected.kind.version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            if api_version.is_empty() { found.api_version() } else { api_version },
            expected.kind.api_version()
        )));
    }
    let (object, strict) = if kind == expected.kind.kind {
        custom.coerce(value).map_err(|why| cannot(&why))?
    } else {
        (value, Vec::new())
    };
    complaints.extend(strict);
    let warnings = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Strict if !complaints.is_empty() => {
            return Err(cannot(&format!("strict decoding error: {}", complaints.join(", "))));
        }
        FieldValidation::Warn | FieldValidation::Strict => complaints,
    };
    Ok(Decoded { object, warnings })
}

/// What the body says it is; what it leaves open, the path says.
fn claimed(api_version: &str, kind: &str, expected: &Expected) -> GroupVersionKind {
    let mut found = expected.kind.clone();
    if !kind.is_empty() {
        kind.clone_into(&mut found.kind);
    }
    if !api_version.is_empty() {
        let version = GroupVersion::parse(api_version).unwrap_or_default();
        found.group = version.group;
        found.version = version.version;
    }
    found
}

// === impl Source ===

impl Source<'_> {
    /// `apiVersion` and `kind`, or Go's complaint about them.
    fn type_meta(&self) -> Result<(String, String), String> {
        match self {
            Self::Json(document) => document.type_meta().map(|meta| (meta.api_version, meta.kind)),
            Self::Protobuf(envelope) => Ok((envelope.api_version.clone(), envelope.kind.clone())),
            Self::Value(value, _) => {
                let text = wire::json::encode_untyped(value);
                let document = wire::json::parse(&text).map_err(|error| error.to_string())?;
                document.type_meta().map(|meta| (meta.api_version, meta.kind))
            }
        }
    }

    /// The object as its type has it, and what strict validation has against it.
    fn decode(self, schema: Option<TypeRef>) -> Result<(Value, Vec<String>), String> {
        let (value, complaints) = match (self, schema) {
            (Self::Json(document), Some(schema)) => {
                let decoded = wire::typed::decode_document(&document, schema)?;
                (decoded.value, decoded.strict)
            }
            (Self::Protobuf(envelope), Some(schema)) => {
                let value = wire::protobuf::decode_message(envelope.raw, schema)
                    .map_err(|error| error.to_string())?;
                (value, Vec::new())
            }
            (Self::Protobuf(_), None) => return Err(negotiate::no_protobuf("Unstructured").message),
            (Self::Json(document), None) => document.to_value().map_err(|error| error.to_string())?,
            (Self::Value(value, mut complaints), Some(schema)) => {
                let decoded = wire::typed::coerce(value, schema)?;
                complaints.extend(decoded.strict);
                (decoded.value, complaints)
            }
            (Self::Value(value, complaints), None) => (value, complaints),
        };
        let value = if value.is_null() { Value::Object(serde_json::Map::new()) } else { value };
        Ok((value, complaints))
    }
}

/// The Go package of a group's internal types, as conversion errors name it.
fn internal_package(group: &str) -> &str {
    match group.split('.').next() {
        None | Some("") => "core",
        Some(first) => first,
    }
}

fn unrecognized(expected: &Expected, body: &[u8], why: &str) -> Status {
    let shown = body.get(..SUMMARY_BYTES).unwrap_or(body);
    let summary = match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
        Some(_) => shown.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }),
    };
    let more = if body.len() > SUMMARY_BYTES { " ..." } else { "" };
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({summary}{more})",
        expected.kind.kind
    ))
}
