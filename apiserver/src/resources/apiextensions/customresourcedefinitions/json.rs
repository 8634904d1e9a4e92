//! Reading JSON that has the right shape: what is absent or null is empty, or off.

use serde_json::Value;

/// A field that is there.
pub(super) fn get<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    value.get(field).filter(|field| !field.is_null())
}

/// A text.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    get(value, field).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list.
pub(super) fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    get(value, field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The entries of a map, by key.
pub(super) fn entries<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    get(value, field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

/// A switch.
pub(super) fn is_on(value: &Value, field: &str) -> bool {
    get(value, field) == Some(&Value::Bool(true))
}

/// A schema that may be something else too: a switch, a list of names.
pub(super) fn schema<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    get(value, field).filter(|schema| schema.is_object())
}
