//! Protobuf, by the schema table, in the bytes of Go's generated code.
//!
//! Objects stay [`Value`]s: [`decode`] gives what the JSON decoder would give for the same object, and
//! [`encode`] takes that form. Go writes every field that is no pointer, zero or not, in ascending order of
//! numbers; maps by sorted keys; lists of numbers unpacked. An inlined struct is a message of its own.
//!
//! An object travels in an envelope: four magic bytes and a message with its kind and its own bytes. Types that
//! have no protobuf form, such as tables and custom resources, have no fields with numbers in the table.

mod encode;
mod reader;

use super::{
    DEPTH_KEPT_MAX, base64, json,
    time::{Instant, Layout, ZERO},
    typed::{Fields, is_omitted, zero},
};
use crate::{
    quantity::Quantity,
    schema::{Field, Part, Shape, Type, TypeRef, schema},
};
use reader::{Payload, Reader};
use serde_json::{Map, Value};

pub use encode::{
    ENVELOPE_END, encode, encode_message, event_frame, frame, item_head, list_head, watch_event,
};

/// What an object's bytes begin with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Why bytes are no such object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is nothing.
    #[error("empty data")]
    Empty,
    /// There are only the magic bytes.
    #[error("empty body")]
    EmptyBody,
    /// It does not begin with the magic bytes.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// A length or a number goes on after the end.
    #[error("unexpected EOF")]
    End,
    /// A number has more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field has an impossible number or wire type.
    #[error("proto: illegal tag {0}")]
    Tag(u64),
    /// A field does not have the wire type of its type.
    #[error("proto: wrong wireType = {found} for field {field}")]
    WireType {
        /// The wire type found.
        found: u8,
        /// The field, by its Go name.
        field: String,
    },
    /// Messages stand in messages too deep to be kept.
    #[error("exceeded max depth")]
    Depth,
    /// Bytes that should be JSON are not.
    #[error("{0}")]
    Json(String),
    /// A text that should be a quantity is none.
    #[error("{0}")]
    Quantity(#[from] crate::quantity::ParseError),
}

/// The envelope of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `apiVersion`, empty if absent.
    pub api_version: String,
    /// `kind`, empty if absent.
    pub kind: String,
    /// The object's own message.
    pub raw: &'a [u8],
    /// `contentEncoding`, empty as a rule.
    pub content_encoding: String,
    /// `contentType`, empty for protobuf.
    pub content_type: String,
}

/// Opens an envelope.
///
/// # Errors
/// The magic bytes are missing, or what follows is no envelope.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, Error> {
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    let body = bytes.strip_prefix(MAGIC).ok_or(Error::Magic)?;
    if body.is_empty() {
        return Err(Error::EmptyBody);
    }
    let mut found = Envelope::default();
    for field in Reader::new(body) {
        match field? {
            (1, Payload::Bytes(meta)) => {
                for field in Reader::new(meta) {
                    match field? {
                        (1, Payload::Bytes(text)) => found.api_version = lossy(text),
                        (2, Payload::Bytes(text)) => found.kind = lossy(text),
                        _ => {}
                    }
                }
            }
            (2, Payload::Bytes(raw)) => found.raw = raw,
            (3, Payload::Bytes(text)) => found.content_encoding = lossy(text),
            (4, Payload::Bytes(text)) => found.content_type = lossy(text),
            _ => {}
        }
    }
    Ok(found)
}

/// Reads an object of this type from its envelope.
///
/// # Errors
/// The bytes are no envelope, or what is in it does not fit the type.
pub fn decode(bytes: &[u8], of: TypeRef) -> Result<Value, Error> {
    let envelope = open(bytes)?;
    let mut value = decode_message(envelope.raw, of)?;
    if let Value::Object(map) = &mut value {
        for (name, text) in [("apiVersion", envelope.api_version), ("kind", envelope.kind)] {
            if !text.is_empty() {
                map.insert(name.to_owned(), Value::String(text));
            }
        }
    }
    Ok(value)
}

/// Reads a message of this type, without envelope.
///
/// # Errors
/// The bytes do not fit the type.
pub fn decode_message(bytes: &[u8], of: TypeRef) -> Result<Value, Error> {
    structure(bytes, schema().get(of), None, 0)
}

/// The last bytes of a message's field by its number, for messages that have no schema.
///
/// # Errors
/// The bytes are no message.
pub fn bytes_field(message: &[u8], number: u64) -> Result<Option<&[u8]>, Error> {
    let mut found = None;
    for field in Reader::new(message) {
        if let (at, Payload::Bytes(bytes)) = field?
            && u64::from(at) == number
        {
            found = Some(bytes);
        }
    }
    Ok(found)
}

/// Reads a watch event: its type and the bytes of its object, which have an envelope of their own.
///
/// # Errors
/// The bytes are no such message.
pub fn open_watch_event(message: &[u8]) -> Result<(String, &[u8]), Error> {
    let (mut kind, mut object) = (String::new(), &[][..]);
    for field in Reader::new(message) {
        match field? {
            (1, Payload::Bytes(text)) => kind = lossy(text),
            (2, Payload::Bytes(raw)) => object = raw_bytes(raw)?,
            _ => {}
        }
    }
    Ok((kind, object))
}

// === messages ===

fn structure(bytes: &[u8], of: &'static Type, old: Option<Value>, depth: usize) -> Result<Value, Error> {
    let mut into = Fields::new(of, old);
    message(bytes, of, &mut into, depth)?;
    Ok(into.complete())
}

/// Reads the message of `of` into the fields of the type that inlines it, or of itself.
fn message(bytes: &[u8], of: &'static Type, into: &mut Fields, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_KEPT_MAX {
        return Err(Error::Depth);
    }
    for found in Reader::new(bytes) {
        let (number, payload) = found?;
        let number_of = |part: &&Part| match part {
            Part::Field(at) => of.fields.get(*at).map(|field| field.number) == Some(number),
            Part::Inlined { number: its, .. } => *its == number,
        };
        // Numbers are dense as a rule, so that the place is known.
        let guess = usize::try_from(number - 1).ok().and_then(|at| of.parts.get(at)).filter(number_of);
        match guess.or_else(|| of.parts.iter().find(number_of)) {
            // Upstream skips what it does not know, too.
            None => {}
            Some(Part::Inlined { of: inlined, .. }) => {
                let inlined = schema().get(*inlined);
                let bytes = payload.bytes().ok_or_else(|| wrong(&payload, inlined.name))?;
                message(bytes, inlined, into, depth + 1)?;
            }
            Some(Part::Field(at)) => {
                let Some((rank, field)) = of.fields.get(*at).and_then(|field| into.ranked(field.json)) else {
                    continue;
                };
                let old = into.take(rank, field);
                let value = value(&payload, field, &field.shape, old, depth + 1)?;
                if let Some(value) = value.filter(|value| !is_omitted(field, value)) {
                    into.put(rank, field, value);
                }
            }
        }
    }
    Ok(())
}

fn wrong(payload: &Payload<'_>, field: &str) -> Error {
    Error::WireType { found: payload.wire_type(), field: field.to_owned() }
}

/// A field's value after this payload; `None` is Go's nil.
fn value(
    payload: &Payload<'_>,
    field: &Field,
    shape: &Shape,
    old: Option<Value>,
    depth: usize,
) -> Result<Option<Value>, Error> {
    let misfit = || wrong(payload, &field.go_name());
    let bytes = || payload.bytes().ok_or_else(misfit);
    let varint = || payload.varint().ok_or_else(misfit);
    Ok(Some(match shape {
        Shape::String => Value::String(lossy(bytes()?)),
        Shape::Bool => Value::Bool(varint()? != 0),
        Shape::Int32 => Value::from(low_32(varint()?)),
        Shape::Int64 => Value::from(varint()?.cast_signed()),
        Shape::Float64 => {
            let bits = payload.fixed_64().ok_or_else(misfit)?;
            // What JSON cannot say is dropped.
            return Ok(json::from_float(f64::from_bits(bits)).map(Value::Number));
        }
        Shape::Bytes => Value::String(base64::encode(bytes()?)),
        Shape::List(of) if field.list_message => {
            let mut list = list(old);
            for element in Reader::new(bytes()?) {
                if let (1, payload) = element? {
                    list.push(element_value(&payload, field, of, depth)?);
                }
            }
            // Go makes no slice for no element.
            return Ok(
                Some(Value::Array(list)).filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
            );
        }
        Shape::List(of) => {
            let mut list = list(old);
            match (payload, of.as_ref()) {
                // A client may pack numbers.
                (Payload::Bytes(packed), Shape::Int32 | Shape::Int64) => {
                    for number in reader::varints(packed) {
                        list.push(element_value(&Payload::Varint(number?), field, of, depth)?);
                    }
                }
                _ => list.push(element_value(payload, field, of, depth)?),
            }
            Value::Array(list)
        }
        Shape::Map(of) => {
            let mut map = match old {
                Some(Value::Object(map)) => map,
                _ => Map::new(),
            };
            let (mut key, mut element) = (String::new(), None);
            for entry in Reader::new(bytes()?) {
                match entry? {
                    (1, Payload::Bytes(text)) => key = lossy(text),
                    (2, payload) => element = Some(element_value(&payload, field, of, depth)?),
                    _ => {}
                }
            }
            let element = match (element, of.as_ref()) {
                (Some(element), _) => element,
                // Go makes an empty slice here, not nil.
                (None, Shape::Bytes) => Value::String(String::new()),
                (None, of) => zero(of),
            };
            map.insert(key, element);
            Value::Object(map)
        }
        Shape::Struct(of) => structure(bytes()?, schema().get(*of), old, depth)?,
        Shape::Time => return time(bytes()?, Layout::Seconds),
        Shape::MicroTime => return time(bytes()?, Layout::Micros),
        Shape::Quantity => {
            let mut text = String::new();
            for part in Reader::new(bytes()?) {
                if let (1, Payload::Bytes(found)) = part? {
                    text = lossy(found);
                }
            }
            // Upstream's zero quantity writes itself; a message without text is not read as an error, either.
            let quantity = if text.is_empty() { Quantity::default() } else { text.parse()? };
            Value::String(quantity.to_string())
        }
        Shape::IntOrString => int_or_string(bytes()?)?,
        Shape::RawExtension | Shape::Json | Shape::FieldsV1 => return raw(bytes()?),
        Shape::SchemaOrBool(of) | Shape::SchemaOrArray(of) | Shape::SchemaOrStrings(of) => {
            schema_or(bytes()?, shape, *of, depth)?
        }
    }))
}

fn element_value(payload: &Payload<'_>, field: &Field, of: &Shape, depth: usize) -> Result<Value, Error> {
    Ok(value(payload, field, of, None, depth + 1)?.unwrap_or_else(|| zero(of)))
}

fn list(old: Option<Value>) -> Vec<Value> {
    match old {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The low half of a number, as Go truncates it.
fn low_32(number: u64) -> i32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default().cast_signed()
}

// === types with a form of their own ===

fn time(bytes: &[u8], layout: Layout) -> Result<Option<Value>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut instant = Instant { seconds: 0, nanos: 0 };
    for part in Reader::new(bytes) {
        match part? {
            (1, Payload::Varint(seconds)) => instant.seconds = seconds.cast_signed(),
            (2, Payload::Varint(nanos)) => instant.nanos = u32::try_from(low_32(nanos)).unwrap_or_default(),
            _ => {}
        }
    }
    // Beyond these years nothing can be written in the API's layouts.
    const YEAR_10000: i64 = 253_402_300_800;
    let fits = (ZERO.seconds + 1..YEAR_10000).contains(&instant.seconds) && instant.nanos < 1_000_000_000;
    Ok(fits.then(|| Value::String(layout.format(instant))))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Error> {
    let (mut is_string, mut number, mut text) = (false, 0, String::new());
    for part in Reader::new(bytes) {
        match part? {
            (1, Payload::Varint(kind)) => is_string = kind == 1,
            (2, Payload::Varint(found)) => number = low_32(found),
            (3, Payload::Bytes(found)) => text = lossy(found),
            _ => {}
        }
    }
    Ok(if is_string { Value::String(text) } else { Value::from(number) })
}

fn raw_bytes(bytes: &[u8]) -> Result<&[u8], Error> {
    let mut raw = &[][..];
    for part in Reader::new(bytes) {
        if let (1, Payload::Bytes(found)) = part? {
            raw = found;
        }
    }
    Ok(raw)
}

/// JSON inside protobuf; or, inside a raw extension, an object in its envelope.
fn raw(bytes: &[u8]) -> Result<Option<Value>, Error> {
    let raw = raw_bytes(bytes)?;
    if raw.is_empty() {
        return Ok(None);
    }
    if raw.starts_with(MAGIC) {
        let envelope = open(raw)?;
        let (group, version) = envelope.api_version.split_once('/').unwrap_or(("", &envelope.api_version));
        let of = schema().type_of(group, version, &envelope.kind);
        let unknown = || Error::Json(format!("no kind {:?} in {:?}", envelope.kind, envelope.api_version));
        return decode(raw, of.ok_or_else(unknown)?).map(Some);
    }
    let (value, _) = json::decode(raw).map_err(|error| Error::Json(error.0))?;
    Ok(Some(value))
}

fn schema_or(bytes: &[u8], shape: &Shape, of: TypeRef, depth: usize) -> Result<Value, Error> {
    let of = schema().get(of);
    let (mut allows, mut schema, mut list) = (false, None, Vec::new());
    for part in Reader::new(bytes) {
        match (part?, shape) {
            ((1, Payload::Varint(yes)), Shape::SchemaOrBool(_)) => allows = yes != 0,
            ((2, Payload::Bytes(found)), Shape::SchemaOrBool(_)) | ((1, Payload::Bytes(found)), _) => {
                schema = Some(structure(found, of, schema, depth)?);
            }
            ((2, Payload::Bytes(found)), Shape::SchemaOrArray(_)) => {
                list.push(structure(found, of, None, depth)?)
            }
            ((2, Payload::Bytes(found)), Shape::SchemaOrStrings(_)) => list.push(Value::String(lossy(found))),
            _ => {}
        }
    }
    Ok(match (shape, schema) {
        _ if !list.is_empty() => Value::Array(list),
        (_, Some(schema)) => schema,
        (Shape::SchemaOrBool(_), None) => Value::Bool(allows),
        (_, None) => Value::Null,
    })
}

#[cfg(test)]
mod tests;
