//! Reading and writing an object's metadata while it is a plain JSON value.

use serde_json::{Map, Value};

/// Metadata accessors on a JSON object. Absent and null read as empty.
pub trait ObjectExt {
    /// `metadata`, if it is an object.
    fn meta(&self) -> Option<&Map<String, Value>>;
    /// `metadata`, made if absent.
    fn meta_mut(&mut self) -> &mut Map<String, Value>;
    /// A string of the metadata, empty if absent.
    fn meta_str(&self, field: &str) -> &str {
        self.meta().and_then(|meta| meta.get(field)).and_then(Value::as_str).unwrap_or_default()
    }
    /// `metadata.name`
    fn name(&self) -> &str {
        self.meta_str("name")
    }
    /// `metadata.namespace`
    fn namespace(&self) -> &str {
        self.meta_str("namespace")
    }
    /// `metadata.uid`
    fn uid(&self) -> &str {
        self.meta_str("uid")
    }
    /// `metadata.resourceVersion`
    fn resource_version(&self) -> &str {
        self.meta_str("resourceVersion")
    }
    /// `metadata.generation`
    fn generation(&self) -> i64 {
        self.meta().and_then(|meta| meta.get("generation")).and_then(Value::as_i64).unwrap_or_default()
    }
    /// `metadata.deletionTimestamp` is set.
    fn is_terminating(&self) -> bool {
        !self.meta_str("deletionTimestamp").is_empty()
    }
    /// `metadata.finalizers`
    fn finalizers(&self) -> Vec<&str> {
        self.meta()
            .and_then(|meta| meta.get("finalizers"))
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default()
    }
    /// A label's value.
    fn label(&self, key: &str) -> Option<&str> {
        self.meta()?.get("labels")?.get(key)?.as_str()
    }
    /// An annotation's value.
    fn annotation(&self, key: &str) -> Option<&str> {
        self.meta()?.get("annotations")?.get(key)?.as_str()
    }
    /// Sets a field of the metadata; null removes it.
    fn set_meta(&mut self, field: &str, value: impl Into<Value>) {
        let value = value.into();
        if value.is_null() {
            self.meta_mut().remove(field);
        } else {
            self.meta_mut().insert(field.to_owned(), value);
        }
    }
}

impl ObjectExt for Value {
    fn meta(&self) -> Option<&Map<String, Value>> {
        self.get("metadata")?.as_object()
    }

    fn meta_mut(&mut self) -> &mut Map<String, Value> {
        object_at(object_of(self), "metadata")
    }
}

/// The value as an object, replaced by an empty one if it is something else.
pub fn object_of(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// The object under `field`, made if absent or of another type.
pub fn object_at<'a>(map: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    object_of(map.entry(field).or_insert_with(|| Value::Object(Map::new())))
}
