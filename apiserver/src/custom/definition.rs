//! A CustomResourceDefinition as the server goes by it: what names, serves and converts, read from its bytes. Schemas and
//! columns stay the bytes they are, shared with the watch cache, until somebody asks for an object of the kind.
//!
//! Invariant: no I/O, and no word on whether a definition is right: what is stored passed validation.

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::webhooks::client::ClientConfig;

/// The finalizer that keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// A definition at one revision.
#[derive(Clone, Debug)]
pub struct Definition {
    /// `foos.example.com`
    pub name: String,
    /// The uid.
    pub uid: String,
    /// As the object has it.
    pub resource_version: String,
    /// The group.
    pub group: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The names it asks for.
    pub requested: NameSet,
    /// The names it has.
    pub accepted: NameSet,
    /// Whether unknown fields stay (only of definitions that came from old versions of the API).
    pub preserve_unknown: bool,
    /// The versions, as they stand.
    pub versions: Vec<Version>,
    /// Who converts between them; `None`: only their names differ.
    pub webhook: Option<Webhook>,
    /// The conditions, as they stand.
    pub conditions: Vec<Condition>,
    /// Whether it is on its way out.
    pub deleting: bool,
    /// Whether its objects go first.
    pub cleans_up: bool,
    /// The annotation that says who let a group of the community be extended.
    pub approval: String,
    /// Grows with every change of the spec.
    generation: i64,
}

/// What a resource is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NameSet {
    /// Such as `foos`.
    pub plural: String,
    /// Such as `foo`.
    pub singular: String,
    /// Such as `fo`.
    #[serde(deserialize_with = "null_is_default")]
    pub short_names: Vec<String>,
    /// Such as `Foo`.
    pub kind: String,
    /// Such as `FooList`.
    pub list_kind: String,
    /// Such as `all`.
    #[serde(deserialize_with = "null_is_default")]
    pub categories: Vec<String>,
}

/// One version.
#[derive(Clone, Debug, Default)]
pub struct Version {
    /// Such as `v1`.
    pub name: String,
    /// Whether it is served.
    pub served: bool,
    /// Whether objects are stored in it.
    pub stored: bool,
    /// What its users are warned of, if it is deprecated; empty stands for the usual text.
    pub deprecated: Option<String>,
    /// `openAPIV3Schema` as JSON.
    pub schema: Option<Bytes>,
    /// Whether there is a status subresource.
    pub status: bool,
    /// The scale subresource.
    pub scale: Option<Scale>,
    /// `additionalPrinterColumns` as JSON.
    pub columns: Option<Bytes>,
    /// The JSON paths of the selectable fields.
    pub selectable: Vec<String>,
}

/// Where a scale finds its numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scale {
    /// Such as `.spec.replicas`.
    pub spec_replicas_path: String,
    /// Such as `.status.replicas`.
    pub status_replicas_path: String,
    /// Such as `.status.labelSelector`.
    pub label_selector_path: Option<String>,
}

/// Who converts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Webhook {
    /// Where it is called.
    #[serde(deserialize_with = "null_is_default")]
    pub client_config: ClientConfig,
    /// The versions of ConversionReview it reads.
    #[serde(deserialize_with = "null_is_default")]
    pub conversion_review_versions: Vec<String>,
}

/// A condition of the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Such as `Established`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When the status last changed, RFC 3339.
    pub last_transition_time: Option<String>,
    /// In one word.
    pub reason: String,
    /// In words.
    pub message: String,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct RawDefinition<'a> {
    #[serde(default)]
    metadata: RawMetadata,
    #[serde(borrow)]
    spec: &'a RawValue,
    #[serde(default, deserialize_with = "null_is_default")]
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMetadata {
    name: String,
    uid: String,
    resource_version: String,
    generation: i64,
    deletion_timestamp: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    finalizers: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    #[serde(deserialize_with = "null_is_default")]
    accepted_names: NameSet,
    #[serde(deserialize_with = "null_is_default")]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec<'a> {
    #[serde(default)]
    group: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    names: NameSet,
    #[serde(default)]
    preserve_unknown_fields: bool,
    #[serde(borrow, default)]
    versions: Vec<RawVersion<'a>>,
    #[serde(default)]
    conversion: Option<RawConversion>,
}

#[derive(Deserialize)]
struct RawConversion {
    #[serde(default)]
    strategy: String,
    #[serde(default)]
    webhook: Option<Webhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawVersion<'a> {
    #[serde(default)]
    name: String,
    #[serde(default)]
    served: bool,
    #[serde(default)]
    storage: bool,
    #[serde(default)]
    deprecated: bool,
    #[serde(default)]
    deprecation_warning: Option<String>,
    #[serde(borrow, default)]
    schema: Option<RawSchema<'a>>,
    #[serde(default)]
    subresources: Option<RawSubresources>,
    #[serde(borrow, default)]
    additional_printer_columns: Option<&'a RawValue>,
    #[serde(default)]
    selectable_fields: Option<Vec<RawSelectable>>,
}

#[derive(Deserialize)]
struct RawSchema<'a> {
    #[serde(borrow, default, rename = "openAPIV3Schema")]
    openapi: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawSubresources {
    #[serde(default)]
    status: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    scale: Option<Scale>,
}

#[derive(Deserialize)]
struct RawSelectable {
    #[serde(rename = "jsonPath", default)]
    json_path: String,
}

// === impl Definition ===

impl Definition {
    /// Reads a definition from its JSON.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn read(bytes: &Bytes) -> Result<Self, serde_json::Error> {
        let raw: RawDefinition<'_> = serde_json::from_slice(bytes)?;
        let spec: RawSpec<'_> = serde_json::from_str(raw.spec.get())?;
        let slice = |part: &RawValue| bytes.slice_ref(part.get().as_bytes());
        let versions = spec.versions.into_iter().map(|version| Version {
            name: version.name,
            served: version.served,
            stored: version.storage,
            deprecated: version.deprecated.then(|| version.deprecation_warning.unwrap_or_default()),
            schema: version.schema.and_then(|schema| schema.openapi).map(slice),
            status: version.subresources.as_ref().is_some_and(|it| it.status.is_some()),
            scale: version.subresources.and_then(|it| it.scale),
            columns: version.additional_printer_columns.map(slice),
            selectable: version.selectable_fields.into_iter().flatten().map(|it| it.json_path).collect(),
        });
        let versions = versions.collect();
        let webhook =
            spec.conversion.filter(|it| it.strategy == "Webhook").map(|it| it.webhook.unwrap_or_default());
        let RawMetadata {
            name,
            uid,
            resource_version,
            generation,
            deletion_timestamp,
            finalizers,
            mut annotations,
        } = raw.metadata;
        Ok(Self {
            name,
            uid,
            resource_version,
            group: spec.group,
            namespaced: spec.scope == "Namespaced",
            requested: spec.names,
            accepted: raw.status.accepted_names,
            preserve_unknown: spec.preserve_unknown_fields,
            versions,
            webhook,
            conditions: raw.status.conditions,
            deleting: deletion_timestamp.is_some(),
            cleans_up: finalizers.iter().any(|it| it == CLEANUP),
            approval: annotations.remove("api-approved.kubernetes.io").unwrap_or_default(),
            generation,
        })
    }

    /// The condition of that type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Whether that condition is true.
    pub fn is(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition.status == "True")
    }

    /// Whether its objects can be asked for.
    pub fn is_served(&self) -> bool {
        let names = &self.accepted;
        let named =
            [&names.plural, &names.singular, &names.kind, &names.list_kind].iter().all(|it| !it.is_empty());
        named && (self.is("NamesAccepted") || self.is("Established"))
    }

    /// The version objects are stored in.
    pub fn stored(&self) -> Option<usize> {
        self.versions.iter().position(|version| version.stored)
    }

    /// Whether the other definition is served in the very same way, so that those who watch need not begin again.
    pub fn serves_as(&self, other: &Self) -> bool {
        self.uid == other.uid && self.accepted == other.accepted && self.generation == other.generation
    }

    /// The revision it was read at.
    pub fn revision(&self) -> u64 {
        self.resource_version.parse().unwrap_or_default()
    }

    /// `GROUP/VERSION` of a version.
    pub fn api_version(&self, version: &str) -> String {
        format!("{}/{version}", self.group)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn read(object: &Value) -> Definition {
        Definition::read(&Bytes::from(object.to_string())).unwrap()
    }

    pub(crate) fn foos() -> Value {
        json!({
            "metadata": {"name": "foos.example.com", "uid": "u", "resourceVersion": "7", "generation": 1},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList", "shortNames": ["fo"]},
                "versions": [
                    {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
                     "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
                     "additionalPrinterColumns": [{"name": "N", "type": "integer", "jsonPath": ".spec.n"}],
                     "selectableFields": [{"jsonPath": ".spec.color"}]},
                    {"name": "v1beta1", "served": false, "storage": false, "deprecated": true, "schema": {"openAPIV3Schema": {"type": "object"}}},
                ],
                "conversion": {"strategy": "None"},
            },
            "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]},
        })
    }

    #[test]
    fn a_definition_is_read_and_its_schemas_are_parts_of_its_bytes() {
        let bytes = Bytes::from(foos().to_string());
        let definition = Definition::read(&bytes).unwrap();
        let [v1, beta] = definition.versions.as_slice() else { panic!("{definition:?}") };
        assert!(v1.served && v1.stored && v1.status && !beta.served && !beta.status);
        assert_eq!(v1.scale.as_ref().unwrap().spec_replicas_path, ".spec.n");
        assert_eq!(v1.selectable, [".spec.color"]);
        assert_eq!((v1.deprecated.as_deref(), beta.deprecated.as_deref()), (None, Some("")));
        let schema = v1.schema.as_ref().unwrap();
        assert_eq!(&schema[..], br#"{"type":"object"}"#);
        assert!(bytes.as_ptr_range().contains(&schema.as_ptr()));
        assert!(!definition.is_served() && definition.webhook.is_none());
    }

    #[test]
    fn what_is_served_changes_with_the_spec_and_the_names_only() {
        let before = read(&foos());
        let mut object = foos();
        object["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
        object["metadata"]["resourceVersion"] = json!("8");
        assert!(before.serves_as(&read(&object)));
        object["spec"]["versions"][1]["served"] = json!(true);
        object["metadata"]["generation"] = json!(2);
        assert!(!before.serves_as(&read(&object)));
        let mut object = foos();
        object["metadata"]["uid"] = json!("v");
        assert!(!before.serves_as(&read(&object)));
    }
}
