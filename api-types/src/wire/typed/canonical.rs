//! Tells a value that decoding would not change, so that most values need no decoding.
//!
//! Its answer may err on one side only: a "no" costs time, a "yes" must be right.

use super::{Layout, Quantity, base64, is_omitted};
use crate::schema::{Shape, Type, TypeRef, schema};
use crate::wire::DEPTH_KEPT_MAX;
use serde_json::{Map, Value};

/// Decoding the value as this type and encoding it again would give the same value, and no strict errors.
pub(super) fn fits(value: &Value, of: TypeRef) -> bool {
    matches!(value, Value::Object(map) if fits_struct(map, schema().get(of), 0))
}

fn fits_struct(map: &Map<String, Value>, of: &Type, depth: usize) -> bool {
    if depth > DEPTH_KEPT_MAX {
        return false;
    }
    let mut fields = of.by_name();
    let mut always = of.always_written().peekable();
    for (name, value) in map {
        // Both are sorted by name: whatever is passed over is absent.
        let Some((rank, field)) = fields.find(|(_, field)| field.json >= name.as_str()) else { return false };
        if field.json != name.as_str() || always.next_if(|(needed, _)| *needed < rank).is_some() {
            return false;
        }
        let is_always = always.next_if(|(needed, _)| *needed == rank).is_some();
        let fits = match value {
            Value::Null => is_always && field.shape.is_null_when_zero(field.pointer),
            _ => !is_omitted(field, value) && fits_shape(value, &field.shape, depth + 1),
        };
        if !fits {
            return false;
        }
    }
    always.peek().is_none()
}

fn fits_shape(value: &Value, shape: &Shape, depth: usize) -> bool {
    match (shape, value) {
        (Shape::String, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => true,
        (Shape::Int32, Value::Number(number)) => number.as_i64().is_some_and(|it| i32::try_from(it).is_ok()),
        (Shape::Int64, Value::Number(number)) => number.is_i64(),
        (Shape::IntOrString, Value::String(_)) => true,
        (Shape::IntOrString, Value::Number(number)) => {
            number.as_i64().is_some_and(|it| i32::try_from(it).is_ok())
        }
        (Shape::Time, Value::String(text)) => is_time(text, Layout::Seconds),
        (Shape::MicroTime, Value::String(text)) => is_time(text, Layout::Micros),
        (Shape::Quantity, Value::String(text)) => {
            text.parse::<Quantity>().is_ok_and(|quantity| quantity.to_string() == *text)
        }
        (Shape::Bytes, Value::String(text)) => base64::is_canonical(text),
        (Shape::SchemaOrBool(_), Value::Bool(_)) => true,
        (
            Shape::SchemaOrBool(of) | Shape::SchemaOrArray(of) | Shape::SchemaOrStrings(of),
            Value::Object(map),
        ) => fits_struct(map, schema().get(*of), depth),
        (Shape::SchemaOrArray(of), Value::Array(list)) => {
            !list.is_empty() && list.iter().all(|element| fits_shape(element, &Shape::Struct(*of), depth + 1))
        }
        (Shape::SchemaOrStrings(_), Value::Array(list)) => {
            !list.is_empty() && list.iter().all(Value::is_string)
        }
        (Shape::RawExtension | Shape::Json | Shape::FieldsV1, _) => fits_untyped(value, depth),
        (Shape::Struct(of), Value::Object(map)) => fits_struct(map, schema().get(*of), depth),
        (Shape::List(of), Value::Array(list)) => {
            list.iter().all(|element| fits_shape(element, of, depth + 1))
        }
        (Shape::Map(of), Value::Object(map)) => {
            map.values().all(|element| fits_shape(element, of, depth + 1))
        }
        _ => false,
    }
}

/// Nothing in it that would come back in another form.
fn fits_untyped(value: &Value, depth: usize) -> bool {
    match value {
        _ if depth > DEPTH_KEPT_MAX => false,
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.is_i64(),
        Value::Array(list) => list.iter().all(|element| fits_untyped(element, depth + 1)),
        Value::Object(map) => map.values().all(|element| fits_untyped(element, depth + 1)),
    }
}

fn is_time(text: &str, layout: Layout) -> bool {
    layout.parse(text).is_ok_and(|instant| instant != super::time::ZERO && layout.format(instant) == text)
}
