//! What decoding a body into the Go struct and encoding it again makes of it.
//!
//! Fields that the type does not have are dropped, and reported. A null, and what `omitempty` would leave out,
//! is dropped; what Go writes even when empty is put in. Quantities and times become canonical. A value of the
//! wrong type fails with Go's message: most such errors are remembered, the first one wins, and decoding goes
//! on; those of types that decode themselves (quantities, times) end it at once and win over all.

use super::{
    DEPTH_KEPT_MAX, base64,
    json::{self, Document, Path, Step, Strict, describe},
    tape::{At, Kind, Tape},
    time::{self, Layout},
};
use crate::{
    quantity::{ParseError, Quantity},
    schema::{Field, Omit, Shape, Type, TypeRef, schema},
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

mod canonical;

/// An object as its type has it, and what strict field validation objects to.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object.
    pub value: Value,
    /// In document order: `unknown field "spec.replicaz"`, `duplicate field "data.a"`. At most 100.
    pub strict: Vec<String>,
}

/// Reads an object of this type from JSON.
///
/// # Errors
/// Go's message: a syntax error, or a value that does not fit its field.
pub fn decode(bytes: &[u8], of: TypeRef) -> Result<Decoded, String> {
    decode_document(&json::parse(bytes).map_err(|error| error.0)?, of)
}

/// Reads an object of this type from a text that is already cut.
///
/// # Errors
/// Go's message: a value that does not fit its field.
pub fn decode_document(document: &Document<'_>, of: TypeRef) -> Result<Decoded, String> {
    let mut decoder = Decoder::new(&document.0, Some(Strict::default()));
    let of = schema().get(of);
    let whole = decoder.structure(0, of, of.go_name, None, 0);
    let value = decoder.finish(whole)?;
    Ok(Decoded {
        value: value.unwrap_or_else(|| zero_struct(of)),
        strict: decoder.strict.unwrap_or_default().0,
    })
}

/// The same for a value, such as the outcome of a patch. Without document order, strict errors are sorted by path.
///
/// # Errors
/// Go's message: a value that does not fit its field.
pub fn coerce(value: Value, of: TypeRef) -> Result<Decoded, String> {
    if canonical::fits(&value, of) {
        return Ok(Decoded { value, strict: Vec::new() });
    }
    decode(&json::encode_untyped(&value), of)
}

/// Turns lists and maps that are empty, but always written, into null: upstream stores protobuf, which cannot
/// tell the two apart, and answers a write with what it stored. Definitions of custom resources and API services
/// are stored as JSON, so this is not for them.
pub fn as_stored(value: &mut Value, of: TypeRef) {
    settle(value, &Shape::Struct(of));
}

fn settle(value: &mut Value, shape: &Shape) {
    match (shape, value) {
        (Shape::Struct(of), Value::Object(map)) => {
            let of = schema().get(*of);
            for (name, value) in map {
                let Some(field) = of.field(name) else { continue };
                let is_empty = match (&field.shape, &*value) {
                    (Shape::List(_), Value::Array(list)) => list.is_empty(),
                    (Shape::Map(_), Value::Object(map)) => map.is_empty(),
                    _ => false,
                };
                if is_empty {
                    *value = Value::Null;
                } else {
                    settle(value, &field.shape);
                }
            }
        }
        (Shape::List(of), Value::Array(list)) => list.iter_mut().for_each(|element| settle(element, of)),
        (Shape::Map(of), Value::Object(map)) => {
            for element in map.values_mut() {
                match (of.as_ref(), &*element) {
                    (Shape::List(_), Value::Array(list)) if list.is_empty() => *element = Value::Null,
                    // Bytes in a map are never nil again.
                    (Shape::Bytes, Value::Null) => *element = Value::String(String::new()),
                    _ => settle(element, of),
                }
            }
        }
        _ => {}
    }
}

/// What went wrong, before it is known where.
enum Fault {
    /// A value of this description does not fit this Go type.
    Type(String, &'static str),
    /// A message that does not say where.
    Message(String),
}

struct Decoder<'t, 'a> {
    tape: &'t Tape<'a>,
    path: Path,
    /// The first error that does not end decoding.
    saved: Option<Fault>,
    saved_context: Option<String>,
    /// `None` inside types that decode themselves, which are never strict.
    strict: Option<Strict>,
}

// === impl Decoder ===

impl<'t, 'a> Decoder<'t, 'a> {
    fn new(tape: &'t Tape<'a>, strict: Option<Strict>) -> Self {
        Self { tape, path: Path::default(), saved: None, saved_context: None, strict }
    }

    /// The outcome of the whole: an error that ended decoding wins over a saved one.
    fn finish<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, String> {
        let value = outcome.map_err(|fault| fault.message(self.path.fields()))?;
        match self.saved.take() {
            Some(fault) => Err(fault.message(self.saved_context.take())),
            None => Ok(value),
        }
    }

    fn save(&mut self, fault: Fault) {
        if self.saved.is_none() {
            self.saved = Some(fault);
            self.saved_context = self.path.fields();
        }
    }

    /// Remembers that the value does not fit.
    fn misfit(&mut self, at: At, go_type: &'static str) {
        self.save(Fault::Type(describe(self.tape.kind(at)).to_owned(), go_type));
    }

    /// A value of this shape; `None` is Go's nil or zero. `old` is what a duplicate field held before.
    fn value(
        &mut self,
        at: At,
        shape: &Shape,
        go_types: &[&'static str],
        old: Option<Value>,
        depth: usize,
    ) -> Result<Option<Value>, Fault> {
        let tape = self.tape;
        let kind = tape.kind(at);
        let go_type = go_types.first().copied().unwrap_or_default();
        Ok(match (shape, kind) {
            (Shape::Struct(of), _) => return self.structure(at, schema().get(*of), go_type, old, depth),
            (Shape::List(of), Kind::Array) => {
                Some(self.list(at, of, go_types.get(1..).unwrap_or_default(), old, depth)?)
            }
            (Shape::Map(of), Kind::Object) => {
                Some(self.map(at, of, go_types.get(1..).unwrap_or_default(), old, depth)?)
            }

            (Shape::Quantity, Kind::Null) => None,
            (Shape::Quantity, _) => Some(Value::String(quantity(tape.raw(at))?)),
            (Shape::Time, Kind::Null) | (Shape::MicroTime, Kind::Null) => None,
            (Shape::Time, _) => self.time(at, Layout::Seconds)?,
            (Shape::MicroTime, _) => self.time(at, Layout::Micros)?,
            (Shape::IntOrString, Kind::String) => Some(Value::String(tape.string(at).into_owned())),
            (Shape::IntOrString, Kind::Number) => {
                Some(Value::from(int32(tape.number(at)).map_err(|what| Fault::Type(what, "int32"))?))
            }
            (Shape::IntOrString, Kind::Null) => None,
            (Shape::IntOrString, _) => return Err(Fault::Type(describe(kind).to_owned(), "int32")),
            (Shape::RawExtension | Shape::Json | Shape::FieldsV1, Kind::Null) => old,
            (Shape::RawExtension | Shape::Json | Shape::FieldsV1, _) => {
                Some(json::untyped(tape, at, depth).map_err(Fault::Message)?)
            }
            (
                Shape::SchemaOrBool(of) | Shape::SchemaOrArray(of) | Shape::SchemaOrStrings(of),
                Kind::Object,
            ) => self.nested(at, &Shape::Struct(*of), &["v1.JSONSchemaProps"], depth)?,
            (Shape::SchemaOrBool(_), Kind::True) => Some(Value::Bool(true)),
            (Shape::SchemaOrBool(_), Kind::False) => Some(Value::Bool(false)),
            (Shape::SchemaOrBool(_), _) => {
                return Err(Fault::Message("boolean or JSON schema expected".to_owned()));
            }
            (Shape::SchemaOrArray(of), Kind::Array) => {
                let list = Shape::List(Box::new(Shape::Struct(*of)));
                let list = self.nested(at, &list, &["[]v1.JSONSchemaProps", "v1.JSONSchemaProps"], depth)?;
                Some(list.filter(|list| !is_empty(list)).unwrap_or_default())
            }
            (Shape::SchemaOrStrings(_), Kind::Array) => {
                let list = Shape::List(Box::new(Shape::String));
                let list = self.nested(at, &list, &["[]string", "string"], depth)?;
                Some(list.filter(|list| !is_empty(list)).unwrap_or_default())
            }
            // Anything else is taken for nothing.
            (Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_), _) => Some(Value::Null),

            (Shape::List(_) | Shape::Map(_) | Shape::Bytes, Kind::Null) => None,
            (_, Kind::Null) => old,
            (Shape::String, Kind::String) => Some(Value::String(tape.string(at).into_owned())),
            (Shape::Bool, Kind::True) => Some(Value::Bool(true)),
            (Shape::Bool, Kind::False) => Some(Value::Bool(false)),
            (Shape::Int32, Kind::Number) => self.number(int32(tape.number(at)), go_type),
            (Shape::Int64, Kind::Number) => self.number(int64(tape.number(at)), go_type),
            (Shape::Float64, Kind::Number) => {
                let text = tape.number(at);
                let number = text.parse::<f64>().ok().and_then(json::from_float);
                self.number(number.ok_or_else(|| format!("number {text}")), go_type)
            }
            (Shape::Bytes, Kind::String) => {
                let text = tape.string(at);
                match base64::decode(text.as_bytes()) {
                    Ok(bytes) => Some(Value::String(base64::encode(&bytes))),
                    Err(at) => {
                        self.save(Fault::Message(format!("illegal base64 data at input byte {at}")));
                        None
                    }
                }
            }
            (Shape::Bytes, Kind::Array) => Some(self.byte_list(at)),
            _ => {
                self.misfit(at, go_type);
                old
            }
        })
    }

    fn number(&mut self, number: Result<impl Into<Value>, String>, go_type: &'static str) -> Option<Value> {
        match number {
            Ok(number) => Some(number.into()),
            Err(what) => {
                self.save(Fault::Type(what, go_type));
                None
            }
        }
    }

    fn structure(
        &mut self,
        at: At,
        of: &'static Type,
        go_type: &'static str,
        old: Option<Value>,
        depth: usize,
    ) -> Result<Option<Value>, Fault> {
        match self.tape.kind(at) {
            Kind::Object => {}
            Kind::Null => return Ok(old),
            _ => {
                self.misfit(at, go_type);
                return Ok(old);
            }
        }
        if depth > DEPTH_KEPT_MAX {
            return Err(Fault::Message("exceeded max depth".to_owned()));
        }
        let mut into = Fields::new(of, old);
        let mut seen = Seen::default();
        for (key, value) in self.tape.members(at) {
            let name = self.tape.string(key);
            let Some((rank, field)) = of.ranked(&name) else {
                self.report("unknown", &name);
                continue;
            };
            if seen.mark(rank) {
                self.report("duplicate", field.json);
            }
            let old = into.take(rank, field);
            self.path.push(Step::Field(of.name, field.json));
            let value = if field.pointer && self.tape.kind(value) == Kind::Null {
                None
            } else {
                self.value(value, &field.shape, &field.go_types, old, depth + 1)?
            };
            self.path.pop();
            if let Some(value) = value.filter(|value| !is_omitted(field, value)) {
                into.put(rank, field, value);
            }
        }
        Ok(Some(into.complete()))
    }

    fn list(
        &mut self,
        at: At,
        of: &Shape,
        go_types: &[&'static str],
        old: Option<Value>,
        depth: usize,
    ) -> Result<Value, Fault> {
        // Go decodes into the elements that are there: those of a duplicate field merge one by one.
        let mut old = match old {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        }
        .into_iter();
        let mut list = Vec::new();
        for (index, element) in self.tape.elements(at).enumerate() {
            self.path.push(Step::Index(index));
            let element = self.value(element, of, go_types, old.next(), depth + 1)?;
            self.path.pop();
            list.push(element.unwrap_or_else(|| zero(of)));
        }
        Ok(Value::Array(list))
    }

    fn map(
        &mut self,
        at: At,
        of: &Shape,
        go_types: &[&'static str],
        old: Option<Value>,
        depth: usize,
    ) -> Result<Value, Fault> {
        // The second of two duplicate fields adds to the first.
        let mut map = match old {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        // Duplicates are counted within one pair of braces, so what was there before is no duplicate.
        let mut before: BTreeSet<String> = map.keys().cloned().collect();
        for (key, value) in self.tape.members(at) {
            let name = self.tape.string(key);
            if map.contains_key(name.as_ref()) && !before.remove(name.as_ref()) {
                self.report("duplicate", &name);
            }
            self.path.push(Step::Key(key));
            let value = self.value(value, of, go_types, None, depth + 1)?;
            self.path.pop();
            map.insert(name.into_owned(), value.unwrap_or_else(|| zero(of)));
        }
        Ok(Value::Object(map))
    }

    /// A part that decodes itself with a decoder of its own: not strict, its first error ends everything, and
    /// is reported for the field out here.
    fn nested(
        &self,
        at: At,
        shape: &Shape,
        go_types: &[&'static str],
        depth: usize,
    ) -> Result<Option<Value>, Fault> {
        let mut inner = Decoder::new(self.tape, None);
        let value = inner.value(at, shape, go_types, None, depth + 1)?;
        inner.saved.map_or(Ok(value), Err)
    }

    fn time(&self, at: At, layout: Layout) -> Result<Option<Value>, Fault> {
        let kind = self.tape.kind(at);
        if kind != Kind::String {
            return Err(Fault::Type(describe(kind).to_owned(), "string"));
        }
        let instant = layout.parse(&self.tape.string(at)).map_err(Fault::Message)?;
        Ok((instant != time::ZERO).then(|| Value::String(layout.format(instant))))
    }

    /// Bytes written as a list of numbers.
    fn byte_list(&mut self, at: At) -> Value {
        let mut bytes = Vec::new();
        for element in self.tape.elements(at) {
            let byte = match self.tape.kind(element) {
                Kind::Null => 0,
                Kind::Number => {
                    let text = self.tape.number(element);
                    text.parse::<u8>().unwrap_or_else(|_| {
                        self.save(Fault::Type(format!("number {text}"), "uint8"));
                        0
                    })
                }
                _ => {
                    self.misfit(element, "uint8");
                    0
                }
            };
            bytes.push(byte);
        }
        Value::String(base64::encode(&bytes))
    }

    fn report(&mut self, what: &str, name: &str) {
        if let Some(strict) = &mut self.strict {
            strict.report(what, &self.path.to(name, self.tape));
        }
    }
}

// === impl Fault ===

impl Fault {
    fn message(self, context: Option<String>) -> String {
        match (self, context) {
            (Fault::Message(text), _) => text,
            (Fault::Type(what, of), Some(field)) => {
                format!("json: cannot unmarshal {what} into Go struct field {field} of type {of}")
            }
            (Fault::Type(what, of), None) => {
                format!("json: cannot unmarshal {what} into Go value of type {of}")
            }
        }
    }
}

/// Which fields of a struct were met.
#[derive(Default)]
struct Seen(u128);

impl Seen {
    /// Marks a field, and says whether it was marked before.
    fn mark(&mut self, rank: usize) -> bool {
        let before = self.is_marked(rank);
        self.0 |= Self::bit(rank);
        before
    }

    fn bit(rank: usize) -> u128 {
        // No type has more fields than bits; a test of the table says so.
        1_u128.checked_shl(u32::try_from(rank).unwrap_or(u32::MAX)).unwrap_or(0)
    }

    fn is_marked(&self, rank: usize) -> bool {
        self.0 & Self::bit(rank) != 0
    }

    /// Takes a mark away, and says whether it was there.
    fn unmark(&mut self, rank: usize) -> bool {
        let before = self.is_marked(rank);
        self.0 &= !Self::bit(rank);
        before
    }
}

/// The fields of a struct that have a value.
pub(super) struct Fields {
    of: &'static Type,
    map: Map<String, Value>,
    has: Seen,
}

impl Fields {
    pub(super) fn new(of: &'static Type, old: Option<Value>) -> Self {
        let mut it = Self { of, map: Map::new(), has: Seen::default() };
        if let Some(Value::Object(old)) = old {
            for (rank, _) in old.keys().filter_map(|name| of.ranked(name)) {
                it.has.mark(rank);
            }
            it.map = old;
        }
        it
    }

    /// A field by JSON name, with its rank.
    pub(super) fn ranked(&self, json_name: &str) -> Option<(usize, &'static Field)> {
        self.of.ranked(json_name)
    }

    /// Takes out what a duplicate field is decoded into.
    pub(super) fn take(&mut self, rank: usize, field: &Field) -> Option<Value> {
        self.has.unmark(rank).then(|| self.map.remove(field.json)).flatten()
    }

    /// Sets a field.
    pub(super) fn put(&mut self, rank: usize, field: &Field, value: Value) {
        self.has.mark(rank);
        self.map.insert(field.json.to_owned(), value);
    }

    /// Puts in what Go writes although it was not set.
    pub(super) fn complete(mut self) -> Value {
        for (rank, field) in self.of.always_written() {
            if !self.has.is_marked(rank) {
                let value = if field.pointer { Value::Null } else { zero(&field.shape) };
                self.put(rank, field, value);
            }
        }
        Value::Object(self.map)
    }
}

// === scalars ===

fn int32(text: &str) -> Result<i32, String> {
    text.parse().ok().ok_or_else(|| format!("number {text}"))
}

fn int64(text: &str) -> Result<i64, String> {
    text.parse().ok().ok_or_else(|| format!("number {text}"))
}

/// Upstream reads a quantity from the source text, quotes aside: so a number will do, and an escape will not.
fn quantity(source: &[u8]) -> Result<String, Fault> {
    let text = std::str::from_utf8(source).map_err(|_not_ascii| ParseError::Format);
    let quantity = text.and_then(|text| text.trim().parse::<Quantity>());
    quantity.map(|quantity| quantity.to_string()).map_err(|error| Fault::Message(error.to_string()))
}

// === zeros ===

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Encoding leaves this value of the field out.
pub(super) fn is_omitted(field: &Field, value: &Value) -> bool {
    match field.omit {
        Omit::Never => false,
        Omit::Empty => {
            !field.pointer && !field.shape.is_go_struct() && is_empty(value) && !says_none(field, value)
        }
        Omit::Zero => !field.pointer && *value == zero(&field.shape),
    }
}

/// Whether an empty list of this field is a word against the default, and not an absence. Validation refuses it later,
/// so that it is never encoded.
fn says_none(field: &Field, value: &Value) -> bool {
    value.is_array() && (field.owner_go_name, field.json) == ("HPAScalingRules", "policies")
}

/// How Go writes the zero of a shape.
pub(super) fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::String => Value::String(String::new()),
        Shape::Bool | Shape::SchemaOrBool(_) => Value::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::IntOrString => Value::from(0),
        Shape::Quantity => Value::String("0".to_owned()),
        Shape::Struct(of) => zero_struct(schema().get(*of)),
        Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::RawExtension
        | Shape::Json
        | Shape::FieldsV1
        | Shape::SchemaOrArray(_)
        | Shape::SchemaOrStrings(_)
        | Shape::List(_)
        | Shape::Map(_) => Value::Null,
    }
}

fn zero_struct(of: &'static Type) -> Value {
    Fields::new(of, None).complete()
}

#[cfg(test)]
pub(in crate::wire) mod tests;
