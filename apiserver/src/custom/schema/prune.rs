//! Dropping fields that the schema does not have, and telling of them.

use serde_json::Value;

use super::{Additional, Structural};

/// The fields of every object, which no schema has to name.
const OF_OBJECT: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Where the walk is, and what it found.
#[derive(Default)]
struct Walk {
    path: String,
    unknown: Vec<String>,
}

/// Whether the fields of every object are let alone here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Object,
    Part,
}

impl Structural {
    /// Drops the fields of an object that the schema does not have. Answers their paths, sorted.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut walk = Walk::default();
        walk.prune(object, Some(self), Level::Object);
        walk.unknown.sort();
        walk.unknown
    }

    /// The same for a value that is a part of an object.
    pub(super) fn prune_part(&self, value: &mut Value) {
        Walk::default().prune(value, Some(self), Level::Part);
    }
}

// === impl Walk ===

impl Walk {
    fn prune(&mut self, value: &mut Value, schema: Option<&Structural>, level: Level) {
        if let Some(schema) = schema.filter(|schema| schema.preserves_unknown()) {
            self.prune_known(value, schema, level);
            return;
        }
        match value {
            Value::Object(map) => {
                let is_object = level == Level::Object || schema.is_some_and(Structural::is_embedded);
                let at_root = self.path.is_empty();
                let mut dropped = Vec::new();
                for (name, value) in map.iter_mut() {
                    if is_object && schema.is_some() && OF_OBJECT.contains(&name.as_str()) {
                        continue;
                    }
                    match schema.and_then(|schema| child(schema, name)) {
                        Some(child) => self.within_field(name, |walk| walk.prune(value, child, Level::Part)),
                        None => dropped.push(name.clone()),
                    }
                }
                for name in dropped {
                    map.remove(&name);
                    if schema.is_none() || !at_root || !OF_OBJECT.contains(&name.as_str()) {
                        let path = self.field_path(&name);
                        self.unknown.push(path);
                    }
                }
            }
            Value::Array(list) => {
                let items = schema.and_then(Structural::items);
                for (index, item) in list.iter_mut().enumerate() {
                    self.within_item(index, |walk| walk.prune(item, items, Level::Part));
                }
            }
            _ => {}
        }
    }

    /// Keeps unknown fields here, and prunes in those that are known.
    fn prune_known(&mut self, value: &mut Value, schema: &Structural, level: Level) {
        match value {
            Value::Object(map) => {
                let is_object = level == Level::Object || schema.is_embedded();
                for (name, value) in map.iter_mut() {
                    if is_object && OF_OBJECT.contains(&name.as_str()) {
                        continue;
                    }
                    if let Some(child) = child(schema, name) {
                        self.within_field(name, |walk| walk.prune(value, child, Level::Part));
                    }
                }
            }
            Value::Array(list) => {
                let Some(items) = schema.items() else { return };
                for (index, item) in list.iter_mut().enumerate() {
                    self.within_item(index, |walk| walk.prune_known(item, items, Level::Part));
                }
            }
            _ => {}
        }
    }

    fn field_path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn within_field(&mut self, name: &str, act: impl FnOnce(&mut Self)) {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        act(self);
        self.path.truncate(before);
    }

    fn within_item(&mut self, index: usize, act: impl FnOnce(&mut Self)) {
        let before = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        act(self);
        self.path.truncate(before);
    }
}

/// The schema of a field that is kept; `Some(None)` if it is kept without one.
fn child<'a>(schema: &'a Structural, name: &str) -> Option<Option<&'a Structural>> {
    if let Some(property) = schema.property(name) {
        return Some(Some(property));
    }
    match schema.additional() {
        Additional::Unsaid => None,
        // Even `false` keeps the field itself: validation refuses it. What is in it has no schema.
        Additional::Allowed(_) => Some(None),
        Additional::Schema(schema) => Some(Some(schema)),
    }
}
