//! Reading what may be absent the way the API means it: an absent text is empty, an absent list has no items, an
//! absent switch is off.

use std::collections::BTreeMap;

use api_types::field::{BadValue, Fault, Path};
use serde::Serialize;
use serde_json::Value;

/// A text that may be absent.
pub(crate) trait Text {
    /// The text, empty if absent.
    fn text(&self) -> &str;
    /// Puts the text in where there is none or an empty one.
    fn or_set(&mut self, text: &str);
}

/// A list that may be absent.
pub(crate) trait Items<T> {
    /// The items, none if absent.
    fn items(&self) -> &[T];
    /// The items to be changed, none if absent.
    fn items_mut(&mut self) -> &mut [T];
}

/// A map that may be absent.
pub(crate) trait Entries<V> {
    /// What is under a key.
    fn at(&self, key: &str) -> Option<&V>;
    /// The entries by key, none if absent.
    fn entries<'a>(&'a self) -> impl Iterator<Item = (&'a str, &'a V)>
    where
        V: 'a;
}

/// A switch that may be absent.
pub(crate) trait Switch {
    /// Whether it is on.
    fn is_on(&self) -> bool;
}

// === impl Text ===

impl Text for Option<String> {
    fn text(&self) -> &str {
        self.as_deref().unwrap_or_default()
    }

    fn or_set(&mut self, text: &str) {
        if self.text().is_empty() {
            *self = Some(text.to_owned());
        }
    }
}

// === impl Items ===

impl<T> Items<T> for Option<Vec<T>> {
    fn items(&self) -> &[T] {
        self.as_deref().unwrap_or_default()
    }

    fn items_mut(&mut self) -> &mut [T] {
        self.as_deref_mut().unwrap_or_default()
    }
}

// === impl Entries ===

impl<V> Entries<V> for Option<BTreeMap<String, V>> {
    fn at(&self, key: &str) -> Option<&V> {
        self.as_ref()?.get(key)
    }

    fn entries<'a>(&'a self) -> impl Iterator<Item = (&'a str, &'a V)>
    where
        V: 'a,
    {
        self.iter().flatten().map(|(key, value)| (key.as_str(), value))
    }
}

// === impl Switch ===

impl Switch for Option<bool> {
    fn is_on(&self) -> bool {
        self.unwrap_or_default()
    }
}

/// Whether two values mean the same: absent and empty lists and maps of scalars are not told apart.
pub(crate) fn same<T: PartialEq + Serialize>(one: &T, other: &T) -> bool {
    one == other || meaning(one) == meaning(other)
}

fn meaning<T: Serialize>(value: &T) -> Value {
    // Only maps with keys that are no strings can fail, and there are none.
    let mut value = serde_json::to_value(value).unwrap_or_default();
    prune(&mut value);
    value
}

/// Takes out nulls and empty lists, which say nothing. Empty objects stay: a pointer to nothing much is not nil.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| {
                prune(value);
                !(value.is_null() || value.as_array().is_some_and(Vec::is_empty))
            });
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The fault of a field that must not change and did.
pub(crate) fn immutable<T: PartialEq + Serialize>(path: &Path, new: &T, old: &T) -> Option<Fault> {
    (!same(new, old)).then(|| Fault::invalid(path, BadValue::json(new), "field is immutable"))
}

/// The fault of a number below zero.
pub(crate) fn negative(path: &Path, value: impl Into<i64>) -> Option<Fault> {
    let value = value.into();
    (value < 0).then(|| Fault::invalid(path, value, "must be greater than or equal to 0"))
}

/// The fault of a number that is not above zero.
pub(crate) fn not_positive(path: &Path, value: impl Into<i64>) -> Option<Fault> {
    let value = value.into();
    (value <= 0).then(|| Fault::invalid(path, value, "must be greater than zero"))
}

/// The fault of a text that must be given and one of some.
pub(crate) fn one_of(path: &Path, value: &str, supported: &[&str]) -> Option<Fault> {
    if value.is_empty() {
        Some(Fault::required(path, ""))
    } else {
        one_of_or_empty_fault(path, value, supported)
    }
}

/// The fault of a text that must be one of some; nothing special about the empty one.
pub(crate) fn one_of_or_empty_fault(path: &Path, value: &str, supported: &[&str]) -> Option<Fault> {
    (!supported.contains(&value)).then(|| Fault::not_supported(path, value, supported))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_lists_mean_nothing_and_empty_objects_something() {
        for (one, other, expected) in [
            (json!({"a": []}), json!({}), true),
            (json!({"a": null}), json!({}), true),
            (json!({"a": {}}), json!({}), false),
            (json!({"a": {"b": []}}), json!({"a": {}}), true),
            (json!([{"a": []}]), json!([{}]), true),
            (json!({"a": 1}), json!({"a": 2}), false),
        ] {
            assert_eq!(same(&one, &other), expected, "{one} {other}");
        }
    }
}
