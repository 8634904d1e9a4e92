//! What a request means: path, query and content negotiation, read back into names.

use std::collections::BTreeMap;

use api_types::{
    kind::GroupResource,
    object::ObjectExt,
    selectors::{fields, labels},
};
use serde_json::{Value, json};

use super::objects::{GroupResourceKey, field};
use crate::Key;

/// What a path and query mean.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) of: GroupResourceKey,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) subresource: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) labels: labels::Selector,
    pub(super) fields: fields::Selector,
    pub(super) metadata_only: bool,
}

impl Target {
    pub(super) fn of(uri: &http::Uri, accept: &str) -> Option<Self> {
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let parts: Vec<String> = uri.path().trim_matches('/').split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _version, rest @ ..] => ("", rest),
            ["apis", group, _version, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, plural, name, subresource) = match rest {
            ["namespaces"] => ("", "namespaces", "", ""),
            ["namespaces", name] => ("", "namespaces", *name, ""),
            ["namespaces", name, sub @ ("status" | "finalize")] => ("", "namespaces", *name, *sub),
            ["namespaces", namespace, plural] => (*namespace, *plural, "", ""),
            ["namespaces", namespace, plural, name] => (*namespace, *plural, *name, ""),
            ["namespaces", namespace, plural, name, sub] => (*namespace, *plural, *name, *sub),
            [plural] => ("", *plural, "", ""),
            [plural, name] => ("", *plural, *name, ""),
            [plural, name, sub] => ("", *plural, *name, *sub),
            _ => return None,
        };
        let query = uri.query().unwrap_or_default();
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let query: BTreeMap<_, _> = query.map(|(name, value)| (name.to_owned(), decode(value))).collect();
        let text = |name: &str| query.get(name).map_or("", String::as_str);
        Some(Self {
            labels: labels::Selector::parse(text("labelSelector")).ok()?,
            fields: fields::Selector::parse(text("fieldSelector")).ok()?,
            of: (group.to_owned(), plural.to_owned()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
            query,
            metadata_only: accept.contains("as=PartialObjectMetadata"),
        })
    }

    pub(super) fn is_watch(&self) -> bool {
        self.query.get("watch").is_some_and(|value| value == "true" || value == "1")
    }

    pub(super) fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }

    pub(super) fn resource(&self) -> GroupResource {
        GroupResource::new(&self.of.0, &self.of.1)
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        let labels = object.meta().and_then(|meta| meta.get("labels")).and_then(Value::as_object);
        (self.namespace.is_empty() || object.namespace() == self.namespace)
            && self.labels.matches(&labels)
            && self.fields.matches(|path| field(object, path).into())
    }

    pub(super) fn shown(&self, object: &Value) -> Value {
        if !self.metadata_only {
            return object.clone();
        }
        json!({
            "apiVersion": "meta.k8s.io/v1",
            "kind": "PartialObjectMetadata",
            "metadata": object.get("metadata"),
        })
    }
}
