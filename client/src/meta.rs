//! Metadata as caches hold it: compact, deserialised straight from an object's bytes.
//!
//! Invariant: values only. `managedFields` and the last applied configuration are never kept: they are most of an
//! object's bytes and no reconcile decides on them.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use api_types::selectors::labels::Selector;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};

/// What kubectl leaves for itself on objects; a copy of the whole object, so caches drop it.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object's place within its resource. Orders by namespace, then name. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace, empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

/// A resourceVersion as a number, so that two can be compared (KEP-5504). 0 means none, or one that is no number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// Labels or annotations: sorted, immutable, and packed, since a cache holds so many of them.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels {
    /// Keys and values one after the other, without anything between.
    text: Box<str>,
    /// Where each of them ends.
    ends: Box<[u32]>,
}

/// An owner reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// The owner's `apiVersion`.
    pub api_version: Box<str>,
    /// The owner's kind.
    pub kind: Box<str>,
    /// The owner's name.
    pub name: Box<str>,
    /// The owner's uid.
    pub uid: Box<str>,
    /// Whether this owner manages the object; at most one does.
    #[serde(deserialize_with = "null_is_default")]
    pub controller: bool,
    /// Whether a foreground deletion of the owner waits for this object.
    #[serde(deserialize_with = "null_is_default")]
    pub block_owner_deletion: bool,
}

/// The metadata every projection begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// The namespace, empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// The uid: tells this object from an earlier one of the same name.
    pub uid: Box<str>,
    /// The resourceVersion.
    #[serde(rename = "resourceVersion")]
    pub revision: Revision,
    /// Counts changes of the desired state.
    pub generation: i64,
    /// When it was created.
    pub creation_timestamp: Option<Timestamp>,
    /// Set once deletion was asked for.
    pub deletion_timestamp: Option<Timestamp>,
    /// Seconds a graceful deletion may take.
    pub deletion_grace_period_seconds: Option<i64>,
    /// The labels.
    #[serde(deserialize_with = "null_is_default")]
    pub labels: Labels,
    /// The annotations, without kubectl's last applied configuration.
    #[serde(deserialize_with = "annotations")]
    pub annotations: Labels,
    /// The owners.
    #[serde(rename = "ownerReferences", deserialize_with = "null_is_default")]
    pub owners: Box<[Owner]>,
    /// What must be done before the object may go.
    #[serde(deserialize_with = "null_is_default")]
    pub finalizers: Box<[Box<str>]>,
}

/// A time as most of the API's fields have it: to the second.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time as leases and new Events have it: to the microsecond.
pub fn micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads `null` as the default, as Kubernetes' decoders do; for `#[serde(deserialize_with)]` in projections.
///
/// # Errors
/// When the value is neither null nor of the type.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a `LabelSelector` object into what matches labels; for `#[serde(deserialize_with)]` in projections, together with
/// `default = "Selector::nothing"`. One that is not valid matches nothing, and so does null.
///
/// # Errors
/// When the value is no selector.
pub fn selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Selector, D::Error> {
    let object = Option::<LabelSelector>::deserialize(deserializer)?;
    Ok(Selector::of_object(object.as_ref()).unwrap_or_else(|_malformed| Selector::nothing()))
}

fn annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
    struct Annotations;

    impl<'de> Visitor<'de> for Annotations {
        type Value = Labels;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of strings")
        }

        fn visit_unit<E>(self) -> Result<Labels, E> {
            Ok(Labels::default())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
            let mut pairs = Vec::new();
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                if key == LAST_APPLIED {
                    map.next_value::<serde::de::IgnoredAny>()?;
                } else {
                    pairs.push((key, map.next_value::<Cow<'de, str>>()?));
                }
            }
            Ok(pairs.into_iter().collect())
        }
    }

    deserializer.deserialize_any(Annotations)
}

// === impl Key ===

impl Key {
    /// A key; the namespace is empty for cluster-scoped objects.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of a cluster-scoped object.
    pub fn cluster(name: &str) -> Self {
        Self::new("", name)
    }

    /// Reads `namespace/name` or `name`.
    pub fn parse(text: &str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self::new(namespace, name),
            None => Self::cluster(text),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::parse(&text))
    }
}

// === impl Revision ===

impl Revision {
    /// Reads a resourceVersion.
    pub fn parse(text: &str) -> Self {
        Self(text.parse().unwrap_or_default())
    }

    /// Whether there is none.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Revision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Revision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
        Ok(text.map_or(Self::default(), |text| Self::parse(&text)))
    }
}

// === impl Labels ===

impl Labels {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        // Few enough that a search would not be quicker.
        self.iter().find(|(candidate, _)| *candidate == key).map(|(_, value)| value)
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let mut start = 0;
        let mut piece = move |end: u32| {
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            self.text.get(std::mem::replace(&mut start, end)..end).unwrap_or_default()
        };
        self.ends.chunks_exact(2).map(move |pair| match pair {
            [key, value] => (piece(*key), piece(*value)),
            _ => ("", ""),
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len() / 2
    }

    fn pack<'a>(pairs: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut text = String::new();
        let mut ends = Vec::with_capacity(pairs.len() * 2);
        for (key, value) in pairs {
            for piece in [key, value] {
                text.push_str(piece);
                // An object is smaller by far than 4 GiB.
                ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
            }
        }
        Self { text: text.into_boxed_str(), ends: ends.into_boxed_slice() }
    }
}

impl api_types::selectors::labels::Labels for Labels {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs: Vec<(K, V)> = pairs.into_iter().collect();
        // The last of a repeated key counts.
        let map: BTreeMap<&str, &str> =
            pairs.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        Self::pack(map.into_iter())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<Cow<'de, str>, Option<Cow<'de, str>>>::deserialize(deserializer)?;
        Ok(Self::pack(map.iter().map(|(key, value)| (&**key, value.as_deref().unwrap_or_default()))))
    }
}

// === impl Owner ===

impl Owner {
    /// The controller reference of an object that `resource`'s object with this metadata manages.
    pub fn controller_of(resource: &crate::Resource, meta: &Meta) -> Self {
        Self {
            api_version: resource.api_version().into(),
            kind: resource.kind.as_ref().into(),
            name: meta.name.as_ref().into(),
            uid: meta.uid.clone(),
            controller: true,
            block_owner_deletion: true,
        }
    }
}

// === impl Meta ===

impl Meta {
    /// The object's place.
    pub fn key(&self) -> Key {
        Key { namespace: Arc::clone(&self.namespace), name: Arc::clone(&self.name) }
    }

    /// The owner that manages the object.
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }

    /// Whether the owner with this uid manages the object.
    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|owner| &*owner.uid == uid)
    }

    /// Whether deletion was asked for.
    pub fn is_terminating(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// Whether deletion was asked for and nothing holds the object any more: no finalizer, no grace period. An answer that
    /// shows an object so shows it for the last time.
    pub fn is_ending(&self) -> bool {
        self.is_terminating()
            && self.finalizers.is_empty()
            && self.deletion_grace_period_seconds.is_none_or(|seconds| seconds == 0)
    }

    /// Whether the finalizer is set.
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|candidate| &**candidate == finalizer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_without_what_nobody_decides_on() {
        let meta: Meta = serde_json::from_str(
            r#"{"name":"web","namespace":"default","uid":"u1","resourceVersion":"42","generation":3,
                "creationTimestamp":"2026-01-01T00:00:00Z","labels":{"b":"2","a":"1"},
                "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","note":"x"},
                "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"rs","uid":"r1","controller":true}],
                "managedFields":[{"manager":"kubectl"}],"finalizers":["f"]}"#,
        )
        .unwrap();
        assert_eq!(meta.key().to_string(), "default/web");
        assert_eq!(meta.revision, Revision(42));
        assert_eq!(meta.labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(meta.annotations.iter().collect::<Vec<_>>(), [("note", "x")]);
        assert!(meta.is_controlled_by("r1") && meta.has_finalizer("f") && !meta.is_terminating());
    }

    #[test]
    fn times_are_written_as_the_api_writes_them() {
        let at: Timestamp = "2026-01-01T00:00:01.0203049Z".parse().unwrap();
        assert_eq!(time(at), "2026-01-01T00:00:01Z");
        assert_eq!(micro_time(at), "2026-01-01T00:00:01.020304Z");
    }

    #[test]
    fn packed_labels_are_what_was_packed() {
        let labels: Labels = [("b", "2"), ("empty", ""), ("a", "1"), ("a", "ä")].into_iter().collect();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "ä"), ("b", "2"), ("empty", "")]);
        assert_eq!(
            (labels.len(), labels.get("b"), labels.get("empty"), labels.get("c")),
            (3, Some("2"), Some(""), None)
        );
        assert_eq!(serde_json::to_string(&labels).unwrap(), r#"{"a":"ä","b":"2","empty":""}"#);
        assert!(Labels::default().is_empty());
    }

    #[test]
    fn null_reads_as_absent() {
        let meta: Meta = serde_json::from_str(
            r#"{"name":"n","labels":null,"annotations":null,"creationTimestamp":null,"ownerReferences":null,
                "finalizers":null,"resourceVersion":null}"#,
        )
        .unwrap();
        assert_eq!(meta, Meta { name: "n".into(), ..Meta::default() });
    }

    #[test]
    fn a_selector_is_read_from_its_object() {
        #[derive(Deserialize)]
        struct Spec {
            #[serde(default = "Selector::nothing", deserialize_with = "selector")]
            selector: Selector,
        }

        let check = |text: &str| {
            let spec: Spec = serde_json::from_str(text).unwrap();
            let labels: Labels = [("app", "web"), ("tier", "front")].into_iter().collect();
            spec.selector.matches(&labels)
        };
        assert!(check(r#"{"selector": {"matchLabels": {"app": "web"}}}"#));
        assert!(!check(r#"{"selector": {"matchLabels": {"app": "db"}}}"#));
        assert!(check(r#"{"selector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}}"#));
        assert!(!check(r#"{"selector": {"matchExpressions": [{"key": "tier", "operator": "Maybe"}]}}"#));
        assert!(check(r#"{"selector": {}}"#), "an empty one means everything");
        assert!(!check(r#"{"selector": null}"#) && !check("{}"), "none means nothing");
    }

    #[test]
    fn keys_order_by_namespace_then_name() {
        let mut keys = vec![Key::new("b", "a"), Key::cluster("z"), Key::new("a", "z"), Key::new("a", "b")];
        keys.sort();
        assert_eq!(format!("{keys:?}"), "[z, a/b, a/z, b/a]");
        assert_eq!(Key::parse("a/b"), Key::new("a", "b"));
    }
}
