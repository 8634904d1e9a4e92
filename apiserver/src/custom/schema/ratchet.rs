//! Which old value a new one came from, so that what was wrong already, and did not change, is let through.
//!
//! The rules are those of KEP-4008 (CRD validation ratcheting): fields correlate by name, items of lists that are maps
//! by their keys, other items not at all.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ListType, Structural, Types};

/// A new value, the old one that it came from, and the schema of both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Correlated<'a> {
    pub(super) new: &'a Value,
    pub(super) old: &'a Value,
    pub(super) schema: &'a Structural,
}

/// The old items of a list that is a map, by their keys.
#[derive(Debug)]
pub(super) struct OldItems<'a> {
    schema: &'a Structural,
    items: &'a Structural,
    by_key: BTreeMap<String, &'a Value>,
}

impl<'a> Correlated<'a> {
    /// A field of both.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        let schema = self.schema.field(name)?;
        Some(Self { new: self.new.as_object()?.get(name)?, old: self.old.as_object()?.get(name)?, schema })
    }

    /// The old items, if this is a list that is a map.
    pub(super) fn old_items(&self) -> Option<OldItems<'a>> {
        OldItems::of(self.old, self.schema)
    }

    /// Whether nothing changed. Upstream takes objects with a field that the schema does not have for changed, and
    /// items of lists that are maps for the same in any order.
    pub(super) fn is_unchanged(&self) -> bool {
        match (self.new, self.old) {
            (Value::Null, Value::Null) => true,
            (Value::Null, _) | (_, Value::Null) => false,
            (Value::Object(new), Value::Object(old)) => {
                new.len() == old.len()
                    && new.keys().all(|name| self.field(name).is_some_and(|field| field.is_unchanged()))
            }
            (Value::Array(new), Value::Array(old)) => {
                if new.len() != old.len() {
                    return false;
                }
                match self.old_items() {
                    None => new == old,
                    Some(items) => {
                        new.iter().all(|item| items.of_item(item).is_some_and(|item| item.is_unchanged()))
                    }
                }
            }
            (new, old) => new == old,
        }
    }
}

impl<'a> OldItems<'a> {
    /// The items of an old list by their keys, if its schema says that it is a map.
    pub(super) fn of(old: &'a Value, schema: &'a Structural) -> Option<Self> {
        if schema.list_type != ListType::Map
            || schema.types != Types::ARRAY
            || schema.list_map_keys().is_empty()
        {
            return None;
        }
        let (list, items) = (old.as_array()?, schema.items()?);
        let mut by_key = BTreeMap::new();
        for item in list {
            if let Some(key) = key(item, schema) {
                by_key.entry(key).or_insert(item);
            }
        }
        Some(Self { schema, items, by_key })
    }

    /// The old item that a new one came from.
    pub(super) fn of_item(&self, new: &'a Value) -> Option<Correlated<'a>> {
        let old = self.by_key.get(&key(new, self.schema)?)?;
        Some(Correlated { new, old, schema: self.items })
    }
}

/// The values of an item's keys, if it has them all and they are scalars.
fn key(item: &Value, schema: &Structural) -> Option<String> {
    let item = item.as_object()?;
    let mut key = String::new();
    for name in schema.list_map_keys() {
        let value = item.get(name.as_ref())?;
        if value.is_null() || value.is_object() || value.is_array() {
            return None;
        }
        key.push('\0');
        key.push_str(&value.to_string());
    }
    Some(key)
}
