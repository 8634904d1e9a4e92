//! Custom kinds: their schemas as their definitions have them, with what every kind has added.
//!
//! In 2.0 what `kubectl` cannot read is left out: it takes a type it does not understand for one without fields.

use api_types::kind::GroupVersionKind;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    components::{Dialect, describe, kind, object},
    descriptions::Descriptions,
    operations::meta,
};

/// A custom kind.
#[derive(Clone, Debug)]
pub struct CustomKind {
    /// The kind.
    pub kind: String,
    /// The kind of lists of it.
    pub list_kind: String,
    /// The name of the resource.
    pub plural: String,
    /// `openAPIV3Schema` as JSON, if it is structural.
    pub schema: Option<Bytes>,
    /// `selectableFields`: the JSON paths.
    pub selectable_fields: Vec<String>,
}

const CONVENTIONS: &str =
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

/// The name of a custom kind's definition: `com.example.v1.Foo` for `example.com/v1, Kind=Foo`.
pub fn definition_name(kind: &GroupVersionKind) -> String {
    let mut group: Vec<&str> = kind.group.split('.').collect();
    group.reverse();
    format!("{}.{}.{}", group.join("."), kind.version, kind.kind)
}

/// The definitions of a custom kind and of its list.
pub(super) fn definitions(
    dialect: Dialect,
    group: &str,
    version: &str,
    custom: &CustomKind,
    descriptions: &Descriptions,
) -> [(String, Value); 2] {
    let own = GroupVersionKind::new(group, version, &custom.kind);
    let list = GroupVersionKind::new(group, version, &custom.list_kind);
    let common = Common { dialect, descriptions };

    let mut definition = match &custom.schema {
        Some(schema) => object(serde_json::from_slice(schema).unwrap_or_default()),
        None => Map::new(),
    };
    let open = definition.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if custom.schema.is_none() || (open && dialect == Dialect::V2) {
        // Naming any field would forbid all others.
        definition = object(json!({"type": "object"}));
    } else {
        if dialect == Dialect::V2 {
            simplify(&mut definition);
        }
        common.embed(&mut definition);
        let metadata = format!("Standard object's metadata. More info: {CONVENTIONS}#metadata");
        common.add(properties_of(&mut definition), "ObjectMeta", &metadata);
    }
    publish(&mut definition, &own, custom);

    let mut list_definition = object(json!({
        "type": "object",
        "description": format!("{} is a list of {}", custom.list_kind, custom.kind),
        "required": ["items"],
        "properties": {"items": {
            "type": "array",
            "description": format!("List of {}. More info: {CONVENTIONS}", custom.plural),
            "items": dialect.reference(&definition_name(&own)),
        }},
    }));
    let metadata = format!("Standard list metadata. More info: {CONVENTIONS}#types-kinds");
    common.add(properties_of(&mut list_definition), "ListMeta", &metadata);
    publish(&mut list_definition, &list, custom);

    [
        (definition_name(&own), Value::Object(definition)),
        (definition_name(&list), Value::Object(list_definition)),
    ]
}

fn publish(definition: &mut Map<String, Value>, of: &GroupVersionKind, custom: &CustomKind) {
    definition.insert("x-kubernetes-group-version-kind".to_owned(), json!([kind(of)]));
    if !custom.selectable_fields.is_empty() {
        let fields: Vec<Value> =
            custom.selectable_fields.iter().map(|path| json!({"fieldPath": path})).collect();
        definition.insert("x-kubernetes-selectable-fields".to_owned(), fields.into());
    }
}

fn properties_of(definition: &mut Map<String, Value>) -> &mut Map<String, Value> {
    api_types::object::object_at(definition, "properties")
}

/// What all kinds have.
struct Common<'a> {
    dialect: Dialect,
    descriptions: &'a Descriptions,
}

impl Common<'_> {
    /// Adds `apiVersion`, `kind` and `metadata`.
    fn add(&self, properties: &mut Map<String, Value>, metadata: &str, description: &str) {
        for field in ["apiVersion", "kind"] {
            let mut property = object(json!({"type": "string"}));
            describe(&mut property, self.descriptions.of_field(&meta("Status"), field));
            properties.insert(field.to_owned(), Value::Object(property));
        }
        let reference = self.dialect.reference(&meta(metadata));
        let mut property = match self.dialect {
            Dialect::V2 => object(reference),
            Dialect::V3 => object(json!({"allOf": [reference]})),
        };
        describe(&mut property, Some(description.to_owned()));
        properties.insert("metadata".to_owned(), Value::Object(property));
    }

    /// Adds the same to the kinds that are embedded in this one.
    fn embed(&self, schema: &mut Map<String, Value>) {
        for_each_child(schema, &mut |child| {
            self.embed(child);
            let is = |extension: &str| child.get(extension) == Some(&Value::Bool(true));
            if !is("x-kubernetes-embedded-resource")
                || (is("x-kubernetes-preserve-unknown-fields") && self.dialect == Dialect::V2)
            {
                return;
            }
            let metadata = format!("Standard object's metadata. More info: {CONVENTIONS}#metadata");
            self.add(properties_of(child), "ObjectMeta", &metadata);
            let required = child.entry("required").or_insert_with(|| json!([]));
            if let Some(required) = required.as_array_mut() {
                for field in ["kind", "apiVersion"] {
                    if !required.iter().any(|it| it == field) {
                        required.push(field.into());
                    }
                }
            }
        });
    }
}

/// The schemas of properties, items and values.
fn for_each_child(schema: &mut Map<String, Value>, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            visit(property);
        }
    }
    for field in ["items", "additionalProperties"] {
        if let Some(child) = schema.get_mut(field).and_then(Value::as_object_mut) {
            visit(child);
        }
    }
}

/// Takes out what 2.0, or what its readers, do not know.
fn simplify(schema: &mut Map<String, Value>) {
    for unknown in ["allOf", "oneOf", "anyOf", "not"] {
        schema.remove(unknown);
    }
    let open = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    let nullable = schema.remove("nullable") == Some(Value::Bool(true));
    let is =
        |schema: &Map<String, Value>, kind: &str| schema.get("type").and_then(Value::as_str) == Some(kind);
    if nullable || open {
        schema.remove("items");
        schema.remove("properties");
    }
    if nullable || (open && is(schema, "object")) || (is(schema, "array") && !schema.contains_key("items")) {
        schema.remove("type");
    }
    let nullable_properties: Vec<String> = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, property)| property.get("nullable") == Some(&Value::Bool(true)))
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| !nullable_properties.iter().any(|name| field == name.as_str()));
        if required.is_empty() {
            schema.remove("required");
        }
    }
    for_each_child(schema, &mut simplify);
}
