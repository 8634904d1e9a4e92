//! From value to bytes, as Go's generated code writes them.

use super::{Layout, MAGIC, base64, json};
use crate::{
    schema::{Field, Part, Shape, Type, TypeRef, schema},
    wire::time::Instant,
};
use serde_json::Value;

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;

/// Writes an object in its envelope, which takes `apiVersion` and `kind` from the object.
pub fn encode(value: &Value, of: TypeRef) -> Vec<u8> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    envelope(text("apiVersion"), text("kind"), |into| message(into, value, schema().get(of)))
}

/// Writes an object's own message, without envelope.
pub fn encode_message(value: &Value, of: TypeRef) -> Vec<u8> {
    let mut into = Vec::with_capacity(512);
    message(&mut into, value, schema().get(of));
    into
}

/// Writes a watch event around an object that has its envelope.
pub fn watch_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut into = Vec::with_capacity(object.len() + 32);
    bytes(&mut into, 1, kind.as_bytes());
    nested(&mut into, 2, |into| bytes(into, 1, object));
    into
}

/// Puts its length before a message, as on a watch's stream; `None` if it has more than 4 GiB.
pub fn frame(message: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(message.len()).ok()?;
    Some([&len.to_be_bytes(), message].concat())
}

/// A watch event with its length, around an object that is a message without envelope; `None` if it has more than 4 GiB.
/// Everything is measured first, so that the object is copied once.
pub fn event_frame(event: &str, api_version: &str, kind: &str, object: &[u8]) -> Option<Vec<u8>> {
    let meta = field_len(api_version.len()) + field_len(kind.len());
    let envelope = MAGIC.len() + field_len(meta) + field_len(object.len()) + ENVELOPE_END.len();
    let raw = field_len(envelope);
    let message = field_len(event.len()) + field_len(raw);
    let mut into = Vec::with_capacity(4 + message);
    into.extend_from_slice(&u32::try_from(message).ok()?.to_be_bytes());
    bytes(&mut into, 1, event.as_bytes());
    tag(&mut into, 2, BYTES);
    varint(&mut into, length(raw));
    tag(&mut into, 1, BYTES);
    varint(&mut into, length(envelope));
    envelope_start(&mut into, api_version, kind);
    bytes(&mut into, 2, object);
    into.extend_from_slice(&ENVELOPE_END);
    Some(into)
}

/// What a list's bytes begin with, up to its items, whose bytes with their heads ([`item_head`]) are `items` long; after
/// them come [`ENVELOPE_END`].
pub fn list_head(api_version: &str, kind: &str, metadata: &Value, items: usize) -> Vec<u8> {
    let mut meta = Vec::new();
    if let Some(of) = schema().by_openapi_name("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta") {
        message(&mut meta, metadata, schema().get(of));
    }
    let mut into = Vec::with_capacity(128);
    envelope_start(&mut into, api_version, kind);
    tag(&mut into, 2, BYTES);
    varint(&mut into, length(field_len(meta.len()) + items));
    // All lists of the API have their metadata and items under these numbers.
    bytes(&mut into, 1, &meta);
    into
}

/// What stands before an item of a list.
pub fn item_head(item: usize) -> Vec<u8> {
    let mut into = Vec::with_capacity(6);
    tag(&mut into, 2, BYTES);
    varint(&mut into, length(item));
    into
}

/// What ends an envelope: encoding and type of the content, nothing special.
pub const ENVELOPE_END: [u8; 4] = [3 << 3 | BYTES, 0, 4 << 3 | BYTES, 0];

fn envelope_start(into: &mut Vec<u8>, api_version: &str, kind: &str) {
    into.extend_from_slice(MAGIC);
    nested(into, 1, |into| {
        bytes(into, 1, api_version.as_bytes());
        bytes(into, 2, kind.as_bytes());
    });
}

/// How long a field of bytes is with its tag and its length; its number is below 16.
fn field_len(len: usize) -> usize {
    let bits = usize::BITS - (len | 1).leading_zeros();
    1 + usize::try_from(bits.div_ceil(7)).unwrap_or_default() + len
}

fn envelope(api_version: &str, kind: &str, raw: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut into = Vec::with_capacity(512);
    envelope_start(&mut into, api_version, kind);
    nested(&mut into, 2, raw);
    into.extend_from_slice(&ENVELOPE_END);
    into
}

// === pieces of a message ===

fn varint(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    into.push(low_byte(number));
}

fn low_byte(number: u64) -> u8 {
    let [byte, ..] = number.to_le_bytes();
    byte
}

fn tag(into: &mut Vec<u8>, number: u32, wire_type: u8) {
    varint(into, u64::from(number) << 3 | u64::from(wire_type));
}

fn bytes(into: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    tag(into, number, BYTES);
    varint(into, length(bytes.len()));
    into.extend_from_slice(bytes);
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn number(into: &mut Vec<u8>, at: u32, value: i64) {
    tag(into, at, VARINT);
    varint(into, value.cast_unsigned());
}

/// A message within the message. Its length is known afterwards, and most are short enough for one byte of it.
fn nested(into: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    tag(into, number, BYTES);
    let at = into.len();
    into.push(0);
    write(into);
    let len = into.len() - at - 1;
    let mut left = length(len);
    let extra = field_len(len) - len - 2;
    if extra > 0 {
        into.resize(into.len() + extra, 0);
        into.copy_within(at + 1..at + 1 + len, at + 1 + extra);
    }
    for place in into.iter_mut().skip(at).take(extra) {
        *place = low_byte(left) | 0x80;
        left >>= 7;
    }
    if let Some(place) = into.get_mut(at + extra) {
        *place = low_byte(left);
    }
}

// === values ===

fn message(into: &mut Vec<u8>, value: &Value, of: &Type) {
    for part in &of.parts {
        match part {
            // Its fields are in the same JSON object.
            Part::Inlined { number, of } => {
                nested(into, *number, |into| message(into, value, schema().get(*of)));
            }
            Part::Field(at) => {
                let Some(field) = of.fields.get(*at) else { continue };
                write(into, value.get(field.json).unwrap_or(&Value::Null), field);
            }
        }
    }
}

fn write(into: &mut Vec<u8>, value: &Value, field: &Field) {
    match (&field.shape, value) {
        (Shape::List(_) | Shape::Map(_) | Shape::Bytes, Value::Null) => {}
        (_, Value::Null) if field.pointer => {}
        (Shape::List(of), Value::Array(list)) if field.list_message => {
            nested(into, field.number, |into| list.iter().for_each(|element| one(into, 1, element, of)));
        }
        (Shape::List(of), Value::Array(list)) => {
            list.iter().for_each(|element| one(into, field.number, element, of));
        }
        (Shape::Map(of), Value::Object(map)) => {
            for (key, element) in map {
                nested(into, field.number, |into| {
                    bytes(into, 1, key.as_bytes());
                    match (of.as_ref(), element) {
                        (Shape::Bytes, Value::Null) => {}
                        (Shape::List(of), element) => nested(into, 2, |into| {
                            element
                                .as_array()
                                .into_iter()
                                .flatten()
                                .for_each(|element| one(into, 1, element, of));
                        }),
                        (of, element) => one(into, 2, element, of),
                    }
                });
            }
        }
        (shape, value) => one(into, field.number, value, shape),
    }
}

/// A value that is no list; null is the zero of its shape.
fn one(into: &mut Vec<u8>, at: u32, value: &Value, shape: &Shape) {
    match shape {
        Shape::String => bytes(into, at, value.as_str().unwrap_or_default().as_bytes()),
        Shape::Bool => number(into, at, i64::from(value.as_bool().unwrap_or_default())),
        Shape::Int32 | Shape::Int64 => number(into, at, value.as_i64().unwrap_or_default()),
        Shape::Float64 => {
            tag(into, at, FIXED_64);
            into.extend_from_slice(&value.as_f64().unwrap_or_default().to_bits().to_le_bytes());
        }
        Shape::Bytes => {
            let text = value.as_str().unwrap_or_default();
            bytes(into, at, &base64::decode(text.as_bytes()).unwrap_or_default());
        }
        Shape::Time => time(into, at, value, Layout::Seconds),
        Shape::MicroTime => time(into, at, value, Layout::Micros),
        Shape::Quantity => nested(into, at, |into| bytes(into, 1, value.as_str().unwrap_or("0").as_bytes())),
        Shape::IntOrString => nested(into, at, |into| {
            let text = value.as_str();
            number(into, 1, i64::from(text.is_some()));
            number(into, 2, value.as_i64().unwrap_or_default());
            bytes(into, 3, text.unwrap_or_default().as_bytes());
        }),
        Shape::RawExtension | Shape::Json | Shape::FieldsV1 => nested(into, at, |into| {
            if !value.is_null() {
                bytes(into, 1, &json::encode_untyped(value));
            }
        }),
        Shape::Struct(of) => nested(into, at, |into| message(into, value, schema().get(*of))),
        Shape::SchemaOrBool(of) => nested(into, at, |into| {
            let is_schema = value.is_object();
            number(into, 1, i64::from(is_schema || value.as_bool().unwrap_or_default()));
            if is_schema {
                nested(into, 2, |into| message(into, value, schema().get(*of)));
            }
        }),
        Shape::SchemaOrArray(of) => nested(into, at, |into| match value {
            Value::Array(list) => list.iter().for_each(|it| one(into, 2, it, &Shape::Struct(*of))),
            Value::Object(_) => one(into, 1, value, &Shape::Struct(*of)),
            _ => {}
        }),
        Shape::SchemaOrStrings(of) => nested(into, at, |into| match value {
            Value::Array(list) => list.iter().for_each(|it| one(into, 2, it, &Shape::String)),
            Value::Object(_) => one(into, 1, value, &Shape::Struct(*of)),
            _ => {}
        }),
        // No list or map stands directly in another one, but for those that `write` has seen to.
        Shape::List(_) | Shape::Map(_) => {}
    }
}

/// A zero time is an empty message, any other one has both its fields.
fn time(into: &mut Vec<u8>, at: u32, value: &Value, layout: Layout) {
    nested(into, at, |into| {
        if let Some(Instant { seconds, nanos }) = value.as_str().and_then(|text| layout.parse(text).ok()) {
            let nanos = if layout == Layout::Micros { nanos - nanos % 1000 } else { 0 };
            number(into, 1, seconds);
            number(into, 2, i64::from(nanos));
        }
    });
}
