//! Looking into objects. What is absent reads as null, empty or zero, the way the printers' typed objects do.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

pub(super) use api_types::object::ObjectExt;

static NULL: Value = Value::Null;

/// What stands at a dotted path.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').try_fold(value, |value, step| value.get(step)).unwrap_or(&NULL)
}

/// A string, or empty.
pub(super) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// A string, or `absent` if it is not there or empty.
pub(super) fn text_or<'a>(value: &'a Value, path: &str, absent: &'a str) -> &'a str {
    match text(value, path) {
        "" => absent,
        text => text,
    }
}

/// A string, or `absent` if it is not there; for fields that are pointers in the typed object.
pub(super) fn optional_text<'a>(value: &'a Value, path: &str, absent: &'a str) -> &'a str {
    at(value, path).as_str().unwrap_or(absent)
}

/// An integer, or zero.
pub(super) fn integer(value: &Value, path: &str) -> i64 {
    at(value, path).as_i64().unwrap_or_default()
}

/// A boolean, or false.
pub(super) fn flag(value: &Value, path: &str) -> bool {
    at(value, path).as_bool().unwrap_or_default()
}

/// A list, or none.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// How many items a list, or entries a map, has.
pub(super) fn count(value: &Value, path: &str) -> usize {
    match at(value, path) {
        Value::Array(items) => items.len(),
        Value::Object(entries) => entries.len(),
        _ => 0,
    }
}

/// A quantity, or an integer or string, as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The time since `metadata.creationTimestamp`.
pub(super) fn age(object: &Value, now: jiff::Timestamp) -> Value {
    super::human::since(object.meta_str("creationTimestamp"), now).into()
}

/// Whether there is a condition of this type that is `True`.
pub(super) fn is_true(conditions: &[Value], kind: &str) -> bool {
    conditions
        .iter()
        .find(|condition| text(condition, "type") == kind)
        .is_some_and(|condition| text(condition, "status") == "True")
}

/// The strings of a list with commas between.
pub(super) fn joined(items: &[Value]) -> String {
    items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// The names and the images of containers, each with commas between.
pub(super) fn containers(list: &[Value]) -> (Value, Value) {
    let column = |field| -> Value {
        list.iter().map(|container| text(container, field)).collect::<Vec<_>>().join(",").into()
    };
    (column("name"), column("image"))
}

/// Addresses and hostnames of a load balancer, sorted, each once.
pub(super) fn load_balancer(status: &Value) -> String {
    let ingress: std::collections::BTreeSet<_> = list(status, "loadBalancer.ingress")
        .iter()
        .map(|point| text_or(point, "ip", text(point, "hostname")))
        .filter(|address| !address.is_empty())
        .collect();
    ingress.into_iter().collect::<Vec<_>>().join(",")
}

/// The first three, and how many more there are.
pub(super) fn first_three(items: impl IntoIterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let items: Vec<String> = items.into_iter().collect();
    let shown = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    match items.len() {
        more if more > SHOWN => format!("{shown} + {} more...", more - SHOWN),
        _ if shown.is_empty() => "<unset>".to_owned(),
        _ => shown,
    }
}

/// An object without `metadata.managedFields`, which is often half of it and never shown.
pub(super) fn without_managed_fields(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let object = Object { inside_metadata: false }.deserialize(&mut source)?;
    source.end()?;
    Ok(object)
}

struct Object {
    inside_metadata: bool,
}

impl<'de> DeserializeSeed<'de> for Object {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            match (self.inside_metadata, key.as_str()) {
                (true, "managedFields") => {
                    entries.next_value::<IgnoredAny>()?;
                }
                (false, "metadata") => {
                    let metadata = entries.next_value_seed(Self { inside_metadata: true })?;
                    map.insert(key, metadata);
                }
                _ => {
                    map.insert(key, entries.next_value::<Inner>()?.0);
                }
            }
        }
        Ok(Value::Object(map))
    }
}

/// Any value, whole.
struct Inner(Value);

impl<'de> Deserialize<'de> for Inner {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        Value::deserialize(source).map(Self)
    }
}
