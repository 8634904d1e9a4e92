//! What is in the store as the compact JSON the rest of the server works on.
//!
//! We write JSON in one version of each kind. Upstream writes the built-in kinds as protobuf, and some kinds in another
//! version; where a cluster's etcd is shared with it, or taken over, both are found under the same keys.
//!
//! Invariant: bytes of our own are not looked into further than their first few.

use std::sync::Arc;

use api_types::{
    kind::GroupVersionKind,
    schema::{TypeRef, schema},
    wire::{self, protobuf},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, map::Entry};

use super::strategy::Resource;

/// The form in which a kind is stored.
#[derive(Clone, Debug)]
pub struct Form {
    kind: GroupVersionKind,
    schema: Option<TypeRef>,
    /// Who knows what fields are if they are not there: upstream fills them in when it reads, and stores less.
    defaults: Option<Arc<dyn Resource>>,
    /// What our own bytes begin with.
    pub(super) type_meta: String,
}

#[derive(Deserialize)]
struct TypeMeta<'a> {
    #[serde(borrow, default, rename = "apiVersion")]
    api_version: std::borrow::Cow<'a, str>,
}

// === impl Form ===

impl Form {
    /// Of a resource.
    pub fn of(resource: &Arc<dyn Resource>) -> Self {
        Self { defaults: Some(Arc::clone(resource)), ..Self::new(resource.kind(), resource.schema()) }
    }

    /// Of a kind; custom kinds have no schema.
    pub fn new(kind: GroupVersionKind, schema: Option<TypeRef>) -> Self {
        let type_meta = format!(r#"{{"kind":"{}","apiVersion":"{}","#, kind.kind, kind.api_version());
        Self { kind, schema, defaults: None, type_meta }
    }

    /// The same object as JSON in the stored version.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn json(&self, stored: &Bytes) -> Result<Bytes, String> {
        let Some(of) = self.schema else { return Ok(stored.clone()) };
        if stored.starts_with(self.type_meta.as_bytes()) {
            return Ok(stored.clone());
        }
        let mut object = if stored.starts_with(protobuf::MAGIC) {
            self.of_protobuf(stored, of)?
        } else {
            let TypeMeta { api_version } =
                serde_json::from_slice(stored).map_err(|error| error.to_string())?;
            if api_version == self.kind.api_version() || api_version.is_empty() {
                return Ok(stored.clone());
            }
            serde_json::from_slice(stored).map_err(|error| error.to_string())?
        };
        self.convert(&mut object);
        let mut object = wire::typed::coerce(object, of)?.value;
        if let Some(resource) = &self.defaults {
            object = wire::typed::coerce(resource.default(object)?, of)?.value;
        }
        Ok(wire::json::encode(&object, of).into())
    }

    fn of_protobuf(&self, stored: &[u8], of: TypeRef) -> Result<Value, String> {
        let envelope = protobuf::open(stored).map_err(|error| error.to_string())?;
        if envelope.kind != self.kind.kind {
            return Err(format!("it is a {}, not a {}", envelope.kind, self.kind.kind));
        }
        let (group, version) = envelope.api_version.split_once('/').unwrap_or(("", &envelope.api_version));
        // Versions differ in little; one that is no longer known is read as its successor.
        let of = schema().type_of(group, version, &envelope.kind).unwrap_or(of);
        protobuf::decode(stored, of).map_err(|error| error.to_string())
    }

    /// From another version to the stored one.
    fn convert(&self, object: &mut Value) {
        let Value::Object(object) = object else { return };
        let from = object.insert("apiVersion".to_owned(), Value::String(self.kind.api_version()));
        object.insert("kind".to_owned(), Value::String(self.kind.kind.clone()));
        if from.as_ref().and_then(Value::as_str) == Some("apiextensions.k8s.io/v1beta1")
            && let Some(Value::Object(spec)) = object.get_mut("spec")
        {
            definition_from_v1beta1(spec);
        }
    }
}

/// The spec of a CustomResourceDefinition: upstream still stores it as v1beta1, where what all versions have in common stands
/// beside them.
fn definition_from_v1beta1(spec: &mut Map<String, Value>) {
    let version = spec.remove("version");
    let common = [
        ("schema", spec.remove("validation")),
        ("subresources", spec.remove("subresources")),
        ("additionalPrinterColumns", spec.remove("additionalPrinterColumns")),
        ("selectableFields", spec.remove("selectableFields")),
    ];
    if spec.get("versions").and_then(Value::as_array).is_none_or(Vec::is_empty)
        && let Some(name) = version
    {
        let only = serde_json::json!([{"name": name, "served": true, "storage": true}]);
        spec.insert("versions".to_owned(), only);
    }
    for version in spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
        let Value::Object(version) = version else { continue };
        for (field, value) in &common {
            if let (Entry::Vacant(place), Some(value)) = (version.entry(*field), value) {
                place.insert(value.clone());
            }
        }
        let columns = version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut);
        for column in columns.into_iter().flatten().filter_map(Value::as_object_mut) {
            if let Some(path) = column.remove("JSONPath") {
                column.insert("jsonPath".to_owned(), path);
            }
        }
    }
    if let Some(Value::Object(conversion)) = spec.get_mut("conversion") {
        let moved = [
            ("clientConfig", conversion.remove("webhookClientConfig")),
            ("conversionReviewVersions", conversion.remove("conversionReviewVersions")),
        ];
        let webhook: Map<String, Value> =
            moved.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        if conversion.get("strategy").and_then(Value::as_str) == Some("Webhook") {
            conversion.insert("webhook".to_owned(), Value::Object(webhook));
        }
    }
    // There it is true if it is absent; here absent means false.
    match spec.remove("preserveUnknownFields") {
        Some(Value::Bool(false)) => {}
        _ => drop(spec.insert("preserveUnknownFields".to_owned(), Value::Bool(true))),
    }
}

/// The bitmap in a stored RangeAllocation, which is served by nobody and has no schema.
///
/// # Errors
/// What is wrong with the bytes.
pub fn range_allocation(stored: &[u8]) -> Result<Vec<u8>, String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    if stored.starts_with(protobuf::MAGIC) {
        const DATA: u64 = 3;
        let envelope = protobuf::open(stored).map_err(|error| error.to_string())?;
        let data = protobuf::bytes_field(envelope.raw, DATA).map_err(|error| error.to_string())?;
        return Ok(data.unwrap_or_default().to_vec());
    }
    let object: Value = serde_json::from_slice(stored).map_err(|error| error.to_string())?;
    Ok(object
        .get("data")
        .and_then(Value::as_str)
        .and_then(|data| STANDARD.decode(data).ok())
        .unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(group: &str, version: &str, kind: &str) -> Form {
        Form::new(GroupVersionKind::new(group, version, kind), schema().type_of(group, version, kind))
    }

    #[test]
    fn what_we_wrote_is_not_touched() {
        let bytes = Bytes::from_static(br#"{"kind":"Pod","apiVersion":"v1","anything"#);
        assert_eq!(form("", "v1", "Pod").json(&bytes).unwrap().as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn protobuf_becomes_json() {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "uid": "u"}, "data": {"x": "y"}});
        let of = schema().type_of("", "v1", "ConfigMap").unwrap();
        let bytes = Bytes::from(protobuf::encode(&object, of));
        assert!(bytes.starts_with(b"k8s\0"));
        let found = form("", "v1", "ConfigMap").json(&bytes).unwrap();
        let found: Value = serde_json::from_slice(&found).unwrap();
        assert_eq!(found["data"], object["data"]);
        assert_eq!(found["metadata"]["name"], "a");
        let refused = form("", "v1", "Pod").json(&bytes).unwrap_err();
        assert_eq!(refused, "it is a ConfigMap, not a Pod");
        assert!(form("", "v1", "ConfigMap").json(&Bytes::from_static(b"k8s\0\x0a\x05")).is_err());
    }

    #[test]
    fn what_the_versions_of_a_definition_have_in_common_goes_to_each() {
        let check = |before: Value, after: Value| {
            let Value::Object(mut spec) = before else { panic!() };
            definition_from_v1beta1(&mut spec);
            assert_eq!(Value::Object(spec), after);
        };
        check(
            json!({
                "version": "v1", "validation": {"openAPIV3Schema": {"type": "object"}}, "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "A", "JSONPath": ".a"}], "preserveUnknownFields": false,
                "versions": [{"name": "v1", "served": true, "storage": true}, {"name": "v2", "schema": {"x": 1}}],
                "conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "u"}, "conversionReviewVersions": ["v1"]},
            }),
            json!({
                "versions": [
                    {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
                     "subresources": {"status": {}}, "additionalPrinterColumns": [{"name": "A", "jsonPath": ".a"}]},
                    {"name": "v2", "schema": {"x": 1},
                     "subresources": {"status": {}}, "additionalPrinterColumns": [{"name": "A", "jsonPath": ".a"}]},
                ],
                "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "u"}, "conversionReviewVersions": ["v1"]}},
            }),
        );
        check(
            json!({"version": "v1", "conversion": {"strategy": "None"}}),
            json!({
                "versions": [{"name": "v1", "served": true, "storage": true}], "conversion": {"strategy": "None"},
                "preserveUnknownFields": true,
            }),
        );
    }

    #[test]
    fn a_bitmap_is_read_in_either_form() {
        assert_eq!(range_allocation(br#"{"kind":"RangeAllocation","data":"AQI="}"#).unwrap(), [1, 2]);
        let raw = b"\x0a\x00\x12\x01r\x1a\x02\x01\x02";
        let envelope = [&b"k8s\0\x0a\x00\x12"[..], &[u8::try_from(raw.len()).unwrap()], raw].concat();
        assert_eq!(range_allocation(&envelope).unwrap(), [1, 2]);
    }
}
