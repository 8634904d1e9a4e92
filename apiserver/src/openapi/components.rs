//! Types as OpenAPI schemas: the shape and the merge facts from [`api_types::schema`], the words from
//! [`Descriptions`].

use std::collections::{BTreeMap, BTreeSet};

use api_types::{
    kind::GroupVersionKind,
    schema::{Field, ListKind, Omit, Shape, Type, TypeRef, schema},
};
use serde_json::{Map, Value, json};

use super::{descriptions::Descriptions, operations::meta};

/// The two forms of OpenAPI. They differ in where definitions are, in what may stand beside a reference, and in that
/// the older one publishes no defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// 2.0
    V2,
    /// 3.0
    V3,
}

/// The definitions of the types that documents have no Go struct for.
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const FIELDS_V1: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const JSON: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";
const SCHEMA_OR_BOOL: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool";
const SCHEMA_OR_ARRAY: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray";
const SCHEMA_OR_STRINGS: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray";

/// Kinds that belong to no group and version of their own, and are published with every one they are used in.
const OF_EVERY_VERSION: &[&str] = &["DeleteOptions", "WatchEvent"];

// === impl Dialect ===

impl Dialect {
    /// A reference to a definition.
    pub(super) fn reference(self, openapi_name: &str) -> Value {
        let place = match self {
            Self::V2 => "definitions",
            Self::V3 => "components/schemas",
        };
        json!({"$ref": format!("#/{place}/{openapi_name}")})
    }
}

/// The definitions of these types and of all they are made of, by name. `group_versions` are those the document is
/// about.
pub(super) fn definitions(
    dialect: Dialect,
    roots: impl IntoIterator<Item = String>,
    group_versions: &[(String, String)],
    descriptions: &Descriptions,
) -> BTreeMap<String, Value> {
    let mut wanted: Vec<String> = roots.into_iter().collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut definitions = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let definition = match schema().by_openapi_name(&name) {
            Some(of) if special(dialect, &name).is_none() => {
                let of = schema().get(of);
                for field in &of.fields {
                    wanted.extend(referenced(&field.shape));
                }
                structure(dialect, of, group_versions, descriptions)
            }
            _ => {
                let Some(mut definition) = special(dialect, &name) else { continue };
                describe(&mut definition, descriptions.of_type(&name));
                definition
            }
        };
        definitions.insert(name, Value::Object(definition));
    }
    definitions
}

/// The definitions that a shape names.
fn referenced(shape: &Shape) -> Vec<String> {
    match shape {
        Shape::List(of) | Shape::Map(of) => referenced(of),
        other => definition_of(other).into_iter().collect(),
    }
}

fn definition_of(shape: &Shape) -> Option<String> {
    let name = match shape {
        Shape::Time => TIME,
        Shape::MicroTime => MICRO_TIME,
        Shape::Quantity => QUANTITY,
        Shape::IntOrString => INT_OR_STRING,
        Shape::RawExtension => RAW_EXTENSION,
        Shape::Json => JSON,
        Shape::FieldsV1 => FIELDS_V1,
        Shape::SchemaOrBool(_) => SCHEMA_OR_BOOL,
        Shape::SchemaOrArray(_) => SCHEMA_OR_ARRAY,
        Shape::SchemaOrStrings(_) => SCHEMA_OR_STRINGS,
        Shape::Struct(of) => return Some(name_of(*of)),
        Shape::String
        | Shape::Bool
        | Shape::Int32
        | Shape::Int64
        | Shape::Float64
        | Shape::Bytes
        | Shape::List(_)
        | Shape::Map(_) => return None,
    };
    Some(name.to_owned())
}

/// The name of a type's definition.
pub(super) fn name_of(of: TypeRef) -> String {
    schema().get(of).openapi_name.clone()
}

/// The definitions that are no structs.
fn special(dialect: Dialect, name: &str) -> Option<Map<String, Value>> {
    let definition = match (name, dialect) {
        (TIME | MICRO_TIME, _) => json!({"type": "string", "format": "date-time"}),
        (QUANTITY, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (QUANTITY, Dialect::V2) => json!({"type": "string"}),
        (INT_OR_STRING, Dialect::V3) => {
            json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
        }
        (INT_OR_STRING, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
        (RAW_EXTENSION | FIELDS_V1 | PATCH, _) => json!({"type": "object"}),
        (JSON | SCHEMA_OR_BOOL | SCHEMA_OR_ARRAY | SCHEMA_OR_STRINGS, _) => json!({}),
        _ => return None,
    };
    match definition {
        Value::Object(definition) => Some(definition),
        _ => None,
    }
}

fn structure(
    dialect: Dialect,
    of: &Type,
    group_versions: &[(String, String)],
    descriptions: &Descriptions,
) -> Map<String, Value> {
    let mut definition = Map::new();
    describe(&mut definition, descriptions.of_type(&of.openapi_name));
    definition.insert("type".to_owned(), "object".into());
    let properties: Map<String, Value> = of
        .fields
        .iter()
        .map(|field| {
            let mut property = property(dialect, field);
            describe(&mut property, descriptions.of_field(&of.openapi_name, field.json));
            wrap_reference(dialect, &mut property);
            (field.json.to_owned(), Value::Object(property))
        })
        .collect();
    if !properties.is_empty() {
        definition.insert("properties".to_owned(), Value::Object(properties));
    }
    let required: Vec<&str> =
        of.fields.iter().filter(|field| field.required).map(|field| field.json).collect();
    if !required.is_empty() {
        definition.insert("required".to_owned(), required.into());
    }
    if of.atomic {
        definition.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    if !of.unions.is_empty() {
        let unions: Vec<Value> = of
            .unions
            .iter()
            .map(|union| {
                let fields: Map<String, Value> = union
                    .fields
                    .iter()
                    .map(|(field, value)| ((*field).to_owned(), (*value).into()))
                    .collect();
                let mut published = json!({"fields-to-discriminateBy": fields});
                if let (Some(discriminator), Some(map)) = (union.discriminator, published.as_object_mut()) {
                    map.insert("discriminator".to_owned(), discriminator.into());
                }
                published
            })
            .collect();
        definition.insert("x-kubernetes-unions".to_owned(), unions.into());
    }
    if of.is_kind || is_of_every_version(of) {
        definition.insert("x-kubernetes-group-version-kind".to_owned(), kinds(of, group_versions).into());
    }
    definition
}

fn is_of_every_version(of: &Type) -> bool {
    OF_EVERY_VERSION.iter().any(|name| of.openapi_name == meta(name))
}

/// The kinds a type is, in the document at hand.
fn kinds(of: &Type, group_versions: &[(String, String)]) -> Vec<Value> {
    let mut kinds: Vec<(&str, &str)> = Vec::new();
    if is_of_every_version(of) {
        kinds.push(("", "v1"));
        kinds.extend(group_versions.iter().map(|(group, version)| (group.as_str(), version.as_str())));
        kinds.sort_unstable();
        kinds.dedup();
    } else {
        match of.group_version {
            // The other kinds of meta/v1 say plain v1.
            None | Some(("meta.k8s.io", _)) => kinds.push(("", "v1")),
            Some(own) => kinds.push(own),
        }
    }
    kinds.iter().map(|(group, version)| kind(&GroupVersionKind::new(group, version, of.name))).collect()
}

/// A kind as extensions name it.
pub(super) fn kind(kind: &GroupVersionKind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

pub(super) fn describe(definition: &mut Map<String, Value>, text: Option<String>) {
    if let Some(text) = text {
        definition.insert("description".to_owned(), text.into());
    }
}

/// In 3.0 nothing may stand beside a reference.
fn wrap_reference(dialect: Dialect, property: &mut Map<String, Value>) {
    if dialect == Dialect::V3
        && property.len() > 1
        && let Some(reference) = property.remove("$ref")
    {
        property.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
}

fn property(dialect: Dialect, field: &Field) -> Map<String, Value> {
    let mut property = shape(dialect, &field.shape);
    if dialect == Dialect::V3
        && let Some(default) = default(field)
    {
        property.insert("default".to_owned(), default);
    }
    if !field.enumeration.is_empty() {
        property.insert("enum".to_owned(), field.enumeration.clone().into());
    }
    if field.list_declared {
        let (list_type, keys) = match &field.list {
            ListKind::Atomic => ("atomic", None),
            ListKind::Set => ("set", None),
            ListKind::Map(keys) => ("map", Some(keys)),
        };
        property.insert("x-kubernetes-list-type".to_owned(), list_type.into());
        if let Some(keys) = keys {
            property.insert("x-kubernetes-list-map-keys".to_owned(), keys.clone().into());
        }
    }
    if let Some(map_type) = field.map_type {
        property.insert("x-kubernetes-map-type".to_owned(), map_type.into());
    }
    let patch = &field.patch;
    let strategies: Vec<&str> =
        [(patch.merge, "merge"), (patch.retain_keys, "retainKeys"), (patch.replace, "replace")]
            .into_iter()
            .filter(|(set, _)| *set)
            .map(|(_, name)| name)
            .collect();
    if !strategies.is_empty() {
        property.insert("x-kubernetes-patch-strategy".to_owned(), strategies.join(",").into());
    }
    if let Some(key) = patch.merge_key {
        property.insert("x-kubernetes-patch-merge-key".to_owned(), key.into());
    }
    property
}

/// What is published as the default: one of the API's, or the zero that Go writes anyway.
fn default(field: &Field) -> Option<Value> {
    if field.default.is_some() {
        return field.default.clone();
    }
    if field.pointer {
        return None;
    }
    let written = field.omit == Omit::Never;
    match &field.shape {
        Shape::Struct(_) => Some(json!({})),
        Shape::String if written => Some("".into()),
        Shape::Bool if written => Some(false.into()),
        Shape::Int32 | Shape::Int64 | Shape::Float64 if written => Some(0.into()),
        _ => None,
    }
}

fn shape(dialect: Dialect, of: &Shape) -> Map<String, Value> {
    if let Some(name) = definition_of(of) {
        return object(dialect.reference(&name));
    }
    object(match of {
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Float64 => json!({"type": "number", "format": "double"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::List(items) => json!({"type": "array", "items": shape(dialect, items)}),
        Shape::Map(values) => json!({"type": "object", "additionalProperties": shape(dialect, values)}),
        _ => json!({"type": "string"}),
    })
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
