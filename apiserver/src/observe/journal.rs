//! Who wrote what, and at which revision: the spine of every answer to "why". Controllers and the scheduler remember why
//! they decided something and which revisions came of it; what people and kubelets wrote stands here alone.
//!
//! Nothing is kept until somebody asks for it ([`Journal::keep`]), as every binary does: `binnacle why` reads it.
//!
//! Invariant: bounded. When full: the oldest entry goes.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use api_types::object::ObjectExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::Revision;

use crate::registry::Call;

/// So many writes are kept by a server that runs.
pub const CAPACITY: usize = 16_384;
/// So many differences of an object are told of one write.
const DIFFERENCES_MAX: usize = 6;
/// Signs of life and news, of which there are too many and which nobody asks about.
const UNTOLD: [&str; 2] = ["leases", "events"];

/// The writes of a server, newest last. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<State>);

#[derive(Debug, Default)]
struct State {
    capacity: AtomicUsize,
    entries: Mutex<VecDeque<Arc<Entry>>>,
}

/// One write.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The revision of the store since.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// Who, such as `kubernetes-admin`.
    pub user: String,
    /// By which program, as it owns fields: `kubectl-create`.
    pub manager: String,
    /// `create`, `update` (however it was asked for), `delete`, or `mark` if the object is only told to go.
    pub verb: Cow<'static, str>,
    /// The resource, with its group: `deployments.apps`.
    pub resource: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// Empty for objects outside namespaces.
    pub namespace: String,
    /// Which object.
    pub name: String,
    /// Which one of that name.
    pub uid: String,
    /// What differs since, in words: `spec.replicas: 3 -> 5`.
    pub differences: Vec<String>,
}

// === impl Journal ===

impl Journal {
    /// From now on keeps so many writes.
    pub fn keep(&self, capacity: usize) {
        self.0.capacity.store(capacity, Ordering::Relaxed);
    }

    /// Notes a write that was done. `before` is the object it changed, nothing for a new one.
    pub(crate) fn note(
        &self,
        call: &Call,
        verb: &'static str,
        before: Option<&Value>,
        object: &Value,
        revision: Revision,
    ) {
        let capacity = self.0.capacity.load(Ordering::Relaxed);
        if capacity == 0 {
            return;
        }
        let resource = call.served.storage.resource.resource();
        if UNTOLD.contains(&resource.resource.as_str()) {
            return;
        }
        let entry = Entry {
            revision: revision.0,
            at: call.now,
            user: call.user.name.clone(),
            manager: call.manager.clone(),
            verb: Cow::Borrowed(verb),
            resource: resource.to_string(),
            subresource: call.subresource.clone(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            // What changed in a secret is one, too.
            differences: before
                .filter(|_| resource.resource != "secrets")
                .map(|before| differences(before, object))
                .unwrap_or_default(),
        };
        let mut entries = self.0.entries.lock();
        while entries.len() >= capacity {
            entries.pop_front();
        }
        entries.push_back(Arc::new(entry));
    }

    /// Whether anything is kept.
    pub fn is_kept(&self) -> bool {
        self.0.capacity.load(Ordering::Relaxed) > 0
    }

    /// All that is kept, oldest first.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.0.entries.lock().iter().cloned().collect()
    }
}

/// What differs between two states of an object, for people: the first few values that are not the same. Times and the
/// server's own books are left out.
fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for part in ["metadata", "spec", "status", "data"] {
        let (before, after) = (before.get(part), after.get(part));
        compare(part, before.unwrap_or(&Value::Null), after.unwrap_or(&Value::Null), &mut found);
    }
    let more = found.len().saturating_sub(DIFFERENCES_MAX);
    found.truncate(DIFFERENCES_MAX);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

/// Fields that say nothing to whoever asks why.
fn is_untold(field: &str) -> bool {
    matches!(
        field,
        "managedFields" | "resourceVersion" | "generation" | "observedGeneration" | "message" | "reason"
    ) || field.ends_with("Time")
        || field.ends_with("ID")
        || field.ends_with("At")
        || field == "annotations"
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    if before == after {
        return;
    }
    let empty = serde_json::Map::new();
    match (before, after) {
        (Value::Object(_) | Value::Null, Value::Object(_) | Value::Null) => {
            let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
            let added = after.keys().filter(|field| !before.contains_key(*field));
            for field in before.keys().chain(added).filter(|field| !is_untold(field)) {
                let of =
                    |object: &serde_json::Map<String, Value>| object.get(field).cloned().unwrap_or_default();
                compare(&format!("{path}.{field}"), &of(before), &of(after), found);
            }
        }
        (Value::Array(_) | Value::Null, Value::Array(_) | Value::Null) => {
            let items = |list: &Value| list.as_array().cloned().unwrap_or_default();
            let (before, after) = (items(before), items(after));
            let (was, is) = (keyed(&before), keyed(&after));
            let gone = was.iter().filter(|(key, _)| !is.iter().any(|(other, _)| other == key));
            for (key, _) in is.iter().chain(gone) {
                let of = |list: &[(String, Value)]| {
                    let mut item = list
                        .iter()
                        .find(|(other, _)| other == key)
                        .map(|(_, it)| it.clone())
                        .unwrap_or_default();
                    if let Some(fields) = item.as_object_mut() {
                        // The path says it already.
                        fields.retain(|_, value| value.as_str() != Some(key.as_str()));
                    }
                    item
                };
                compare(&format!("{path}[{key}]"), &of(&was), &of(&is), found);
            }
        }
        (before, after) => found.push(match (before, after) {
            (Value::Null, after) => format!("{path}: {}", shown(after)),
            (before, Value::Null) => format!("{path}: {} -> none", shown(before)),
            (before, after) => format!("{path}: {} -> {}", shown(before), shown(after)),
        }),
    }
}

/// The items of a list by what tells them apart: their type, their name, or else their place.
fn keyed(list: &[Value]) -> Vec<(String, Value)> {
    let key = |(place, item): (usize, &Value)| {
        let named = ["type", "name", "key"].iter().find_map(|field| item.get(field).and_then(Value::as_str));
        (named.map_or_else(|| place.to_string(), str::to_owned), item.clone())
    };
    list.iter().enumerate().map(key).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(80).collect(),
        other => other.to_string().chars().take(80).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_told_in_words_and_times_are_not() {
        let before = json!({"metadata": {"name": "a", "resourceVersion": "1"}, "spec": {"replicas": 3},
            "status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "x"}], "phase": "Pending"}});
        let after = json!({"metadata": {"name": "a", "resourceVersion": "2", "finalizers": ["f"]}, "spec": {"replicas": 5},
            "status": {"conditions": [{"type": "New", "status": "True"}, {"type": "Ready", "status": "True", "lastTransitionTime": "y"}]}});
        assert_eq!(
            differences(&before, &after),
            [
                "metadata.finalizers[0]: f",
                "spec.replicas: 3 -> 5",
                "status.conditions[New].status: True",
                "status.conditions[Ready].status: False -> True",
                "status.phase: Pending -> none",
            ]
        );
        assert!(differences(&before, &before).is_empty());
        let many = json!({"spec": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8}});
        assert_eq!(differences(&json!({}), &many).last().unwrap(), "and 2 more");
    }
}
