//! Protobuf messages in the making, for the two forms of OpenAPI that have one.

use serde_json::{Map, Value};

/// A message in the making.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// What a field of JSON becomes: nothing where the field is absent, or has another type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Text,
    /// A list of texts.
    Texts,
    /// Only if it is true.
    Flag,
    Integer,
    Double,
    /// Any value, as YAML.
    Any,
    /// A list of any values.
    Anys,
}

/// Fields of JSON, each with its number and its form.
pub(super) type Numbers = [(u32, &'static str, Form)];

/// An entry of a map.
pub(super) fn named(name: &str, value: &Message) -> Message {
    let mut entry = Message::default();
    entry.text(1, name);
    entry.message(2, value);
    entry
}

/// A message that holds one other: a choice.
pub(super) fn only(number: u32, value: &Message) -> Message {
    let mut choice = Message::default();
    choice.message(number, value);
    choice
}

fn any(value: &Value) -> Message {
    let mut message = Message::default();
    message.text(2, &value.to_string());
    message
}

pub(super) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn entries<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(field).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

// === impl Message ===

impl Message {
    /// Writes those of these fields that the value has.
    pub(super) fn fields(&mut self, value: &Value, numbers: &Numbers) {
        for (number, field, form) in numbers {
            match form {
                Form::Text => self.text_of(*number, value, field),
                Form::Texts => self.texts(*number, value, field),
                Form::Flag => self.flag_of(*number, value, field),
                Form::Integer => self.integer_of(*number, value, field),
                Form::Double => self.double_of(*number, value, field),
                Form::Any => value.get(*field).into_iter().for_each(|it| self.message(*number, &any(it))),
                Form::Anys => list(value, field).iter().for_each(|it| self.message(*number, &any(it))),
            }
        }
    }

    /// The message as bytes.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn double(&mut self, number: u32, double: f64) {
        self.key(number, 1);
        self.0.extend_from_slice(&double.to_le_bytes());
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or_default());
    }

    fn key(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.key(number, 2);
        self.varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, number: u32, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    pub(super) fn message(&mut self, number: u32, message: &Self) {
        self.bytes(number, &message.0);
    }

    pub(super) fn flag(&mut self, number: u32, flag: bool) {
        self.key(number, 0);
        self.varint(u64::from(flag));
    }

    pub(super) fn text_of(&mut self, number: u32, value: &Value, field: &str) {
        if let Some(text) = value.get(field).and_then(Value::as_str) {
            self.text(number, text);
        }
    }

    pub(super) fn texts(&mut self, number: u32, value: &Value, field: &str) {
        for text in list(value, field).iter().filter_map(Value::as_str) {
            self.text(number, text);
        }
    }

    pub(super) fn flag_of(&mut self, number: u32, value: &Value, field: &str) {
        if value.get(field).and_then(Value::as_bool) == Some(true) {
            self.flag(number, true);
        }
    }

    fn integer_of(&mut self, number: u32, value: &Value, field: &str) {
        if let Some(integer) = value.get(field).and_then(Value::as_i64) {
            self.key(number, 0);
            self.varint(integer.cast_unsigned());
        }
    }

    fn double_of(&mut self, number: u32, value: &Value, field: &str) {
        if let Some(double) = value.get(field).and_then(Value::as_f64) {
            self.double(number, double);
        }
    }

    /// All fields that begin with `x-`.
    pub(super) fn extensions(&mut self, number: u32, value: &Value) {
        for (name, extension) in value.as_object().into_iter().flatten() {
            if name.starts_with("x-") {
                self.message(number, &named(name, &any(extension)));
            }
        }
    }
}
