//! A Pod template: kept as the bytes it came in, compared and hashed by what it means, made into Pods.
//!
//! Invariant: values only. A template is copied, never interpreted; what it may contain is the server's business.

use std::{fmt, sync::Arc};

use api_types::object::{ObjectExt, object_at, object_of};
use client::{Labels, Meta, Owner, Resource, meta::null_is_default};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json, value::RawValue};

/// The label that tells the Pods of a Deployment's ReplicaSets apart.
pub const HASH_LABEL: &str = "pod-template-hash";

/// These letters and digits make no words.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A Pod template. Cheap to clone.
#[derive(Clone)]
pub struct Template {
    json: Arc<str>,
    labels: Labels,
    restart_policy: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    #[serde(deserialize_with = "null_is_default")]
    metadata: HeadMetadata,
    #[serde(deserialize_with = "null_is_default")]
    spec: HeadSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HeadMetadata {
    #[serde(deserialize_with = "null_is_default")]
    labels: Labels,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HeadSpec {
    #[serde(deserialize_with = "null_is_default")]
    restart_policy: Box<str>,
}

// === impl Template ===

impl Default for Template {
    fn default() -> Self {
        Self { json: "{}".into(), labels: Labels::default(), restart_policy: "".into() }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let Head { metadata, spec } = serde_json::from_str::<Option<Head>>(raw.get())
            .map_err(serde::de::Error::custom)?
            .unwrap_or_default();
        Ok(Self { json: raw.get().into(), labels: metadata.labels, restart_policy: spec.restart_policy })
    }
}

impl Template {
    /// The labels of its Pods.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Whether the containers of its Pods are started again.
    pub fn restart_policy(&self) -> &str {
        &self.restart_policy
    }

    /// The whole template.
    pub fn to_value(&self) -> Value {
        let mut value = serde_json::from_str(&self.json).unwrap_or_default();
        object_of(&mut value);
        value
    }

    /// The part of the spec that somebody decides on; nothing of it if it does not fit.
    pub fn spec<T: serde::de::DeserializeOwned + Default>(&self) -> T {
        #[derive(Deserialize)]
        struct Whole<T> {
            spec: Option<T>,
        }

        serde_json::from_str::<Whole<T>>(&self.json).ok().and_then(|whole| whole.spec).unwrap_or_default()
    }

    /// Whether Pods made from both would be alike, but for the hash among their labels.
    pub fn is_like(&self, other: &Self) -> bool {
        self.json == other.json || self.meaning() == other.meaning()
    }

    /// What it means: without the hash, and without what says nothing.
    fn meaning(&self) -> Value {
        let mut value = self.to_value();
        if let Some(Value::Object(labels)) = value.meta_mut().get_mut("labels") {
            labels.remove(HASH_LABEL);
        }
        drop_nothing(&mut value);
        value
    }

    /// A hash of what it means, and of how often it has met another template with the same one.
    ///
    /// It is stable over releases of ours, but not upstream's, which hashes the memory of a Go program: both are names
    /// that only their own controller makes (`docs/differences.md`).
    pub fn hash(&self, collisions: Option<i32>) -> String {
        let mut hash = Fnv::default();
        hash.write(self.meaning().to_string().as_bytes());
        if let Some(collisions) = collisions {
            hash.write(&collisions.to_le_bytes());
        }
        safe_encode(&hash.0.to_string())
    }

    /// A Pod, for an owner that manages it.
    pub fn pod(&self, resource: &Resource, owner: &Meta) -> Value {
        let template = self.to_value();
        let part = |path: &[&str]| path.iter().try_fold(&template, |here, step| here.get(step)).cloned();
        let mut metadata = Map::new();
        metadata.insert("generateName".to_owned(), format!("{}-", owner.name).into());
        metadata.insert("ownerReferences".to_owned(), json!([Owner::controller_of(resource, owner)]));
        for field in ["labels", "annotations", "finalizers"] {
            if let Some(value) = part(&["metadata", field]).filter(|value| !value.is_null()) {
                metadata.insert(field.to_owned(), value);
            }
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": part(&["spec"]).unwrap_or_else(|| json!({})),
        })
    }

    /// The template with the hash among the labels of its Pods.
    pub fn with_hash(&self, hash: &str) -> Value {
        let mut value = self.to_value();
        object_at(value.meta_mut(), "labels").insert(HASH_LABEL.to_owned(), hash.into());
        value
    }
}

/// Drops null, empty lists, and maps of the metadata that are empty: to the API they are the same as nothing.
fn drop_nothing(value: &mut Value) {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, field| {
                    walk(field);
                    !field.is_null() && field.as_array().is_none_or(|list| !list.is_empty())
                });
            }
            Value::Array(list) => list.iter_mut().for_each(walk),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    walk(value);
    for part in ["metadata", "spec"] {
        let fields = object_at(object_of(value), part);
        for map in ["labels", "annotations", "nodeSelector"] {
            if fields.get(map).and_then(Value::as_object).is_some_and(Map::is_empty) {
                fields.remove(map);
            }
        }
    }
}

/// Writes a text in letters and digits that make no words.
pub fn safe_encode(text: &str) -> String {
    text.bytes()
        .filter_map(|byte| SAFE.get(usize::from(byte) % SAFE.len()))
        .map(|byte| char::from(*byte))
        .collect()
}

/// FNV-1a with 32 bits: as long a name as upstream's.
struct Fnv(u32);

// === impl Fnv ===

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(value: Value) -> Template {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn templates_are_alike_if_their_pods_would_be() {
        let base = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        for (change, alike) in [
            (json!({"metadata": {"labels": {"a": "b", "pod-template-hash": "x"}}}), true),
            (json!({"metadata": {"creationTimestamp": null}}), true),
            (json!({"metadata": {"annotations": {}}}), true),
            (json!({"metadata": {"annotations": {"restarted": "now"}}}), false),
            (json!({"spec": {"tolerations": []}}), true),
            (json!({"spec": {"securityContext": {}}}), false),
            (json!({"metadata": {"labels": {"a": "c"}}}), false),
        ] {
            let mut other = base.clone();
            merge(&mut other, &change);
            let (base, other) = (template(base.clone()), template(other));
            assert_eq!(base.is_like(&other), alike, "{change}");
            assert_eq!(base.hash(None) == other.hash(None), alike, "{change}");
            assert_ne!(base.hash(None), base.hash(Some(0)));
        }
    }

    fn merge(value: &mut Value, change: &Value) {
        match (value, change) {
            (Value::Object(fields), Value::Object(changes)) => {
                for (name, change) in changes {
                    merge(fields.entry(name.clone()).or_insert(Value::Null), change);
                }
            }
            (value, change) => *value = change.clone(),
        }
    }

    #[test]
    fn a_hash_makes_no_words() {
        let hash = template(json!({"spec": {}})).hash(Some(3));
        assert!(hash.len() <= 10 && hash.bytes().all(|byte| SAFE.contains(&byte)), "{hash}");
        assert_eq!(safe_encode("0123456789"), "456789bcdf", "digit by digit, as upstream");
    }

    #[test]
    fn a_pod_has_what_the_template_says_and_an_owner() {
        let template = template(json!({
            "metadata": {"labels": {"a": "b"}, "finalizers": ["x/y"], "name": "ignored"}, "spec": {"nodeName": "n"},
        }));
        let owner = Meta { name: "web".into(), uid: "u".into(), ..Meta::default() };
        assert_eq!(
            template.pod(&client::resource::REPLICA_SETS, &owner),
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "generateName": "web-", "labels": {"a": "b"}, "finalizers": ["x/y"],
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u",
                        "controller": true, "blockOwnerDeletion": true}],
                },
                "spec": {"nodeName": "n"},
            })
        );
    }
}
