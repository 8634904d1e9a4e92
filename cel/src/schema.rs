//! Declarations from the schema of a custom resource, with the limits that costs are estimated from: as `x-kubernetes-
//! validations` of that schema see its data.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;

use crate::{
    declared::{Declared, Field, ListKind, MAX_REQUEST, Shape},
    escaping,
};

/// The declaration of a schema; `None` if it says no type, so that expressions cannot look into it. `root` adds what every
/// resource has, unless the schema says that much itself: `apiVersion`, `kind` and some of `metadata`. Nested types are named
/// after `name`.
pub fn declare(schema: &Json, root: bool, name: &str) -> Option<Arc<Declared>> {
    let mut declared = shape(schema, root || truth(schema, "x-kubernetes-embedded-resource"), name)?;
    declared.nullable = truth(schema, "nullable");
    Some(Arc::new(declared))
}

/// How often data of at least that size can occur in one request: how often a rule on it may run.
pub fn max_cardinality(declared: &Declared) -> u64 {
    MAX_REQUEST / (declared.min_size + 1)
}

fn truth(schema: &Json, key: &str) -> bool {
    schema.get(key).and_then(Json::as_bool).unwrap_or_default()
}

fn limit(schema: &Json, key: &str) -> Option<u64> {
    schema.get(key).and_then(Json::as_i64).map(|it| u64::try_from(it).unwrap_or_default())
}

fn shape(schema: &Json, root: bool, name: &str) -> Option<Declared> {
    let bytes = || limit(schema, "maxLength").map(|it| it.saturating_mul(4));
    if truth(schema, "x-kubernetes-int-or-string") {
        return Some(Declared::new(Shape::IntOrString, bytes().unwrap_or(MAX_REQUEST - 2), 1));
    }
    match schema.get("type").and_then(Json::as_str)? {
        "array" => {
            let of = declare(schema.get("items")?, false, &format!("{name}.@idx"))?;
            let max = limit(schema, "maxItems").unwrap_or_else(|| (MAX_REQUEST - 2) / (of.min_size + 1));
            Some(Declared::new(Shape::List { of, kind: list_kind(schema) }, max, 2))
        }
        "object" => {
            if let Some(values) = schema.get("additionalProperties").filter(|it| it.is_object()) {
                let of = declare(values, false, &format!("{name}.@elem"))?;
                let max =
                    limit(schema, "maxProperties").unwrap_or_else(|| (MAX_REQUEST - 2) / (of.min_size + 6));
                return Some(Declared::new(Shape::Map(of), max, 2));
            }
            Some(object(schema, root, name))
        }
        "string" => Some(text(schema)),
        "boolean" => Some(Declared::new(Shape::Bool, 0, 4)),
        "number" => Some(Declared::new(Shape::Double, 0, 1)),
        "integer" => Some(Declared::new(Shape::Int, 0, 1)),
        _ => None,
    }
}

fn text(schema: &Json) -> Declared {
    let max = || limit(schema, "maxLength").map(|it| it.saturating_mul(4));
    match schema.get("format").and_then(Json::as_str).unwrap_or_default() {
        "byte" => {
            let max = limit(schema, "maxLength").unwrap_or(MAX_REQUEST - 2);
            Declared::new(Shape::Bytes, max, 2)
        }
        "duration" => Declared::new(Shape::Duration, 32, 3),
        "date" => Declared::new(Shape::Timestamp { date: true }, 12, 12),
        "date-time" => Declared::new(Shape::Timestamp { date: false }, 32, 21),
        _ => {
            let of_enum = || {
                let values = schema.get("enum").and_then(Json::as_array).filter(|it| !it.is_empty())?;
                let longest = values.iter().filter_map(Json::as_str).map(str::len).max().unwrap_or_default();
                u64::try_from(longest).ok()
            };
            let max = max().or_else(of_enum).unwrap_or(MAX_REQUEST - 2);
            Declared::new(Shape::String, max, 2)
        }
    }
}

fn list_kind(schema: &Json) -> ListKind {
    match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array).map(Vec::as_slice);
            let keys = keys.unwrap_or_default().iter().filter_map(Json::as_str);
            ListKind::Map(keys.filter_map(escaping::escape).map(Into::into).collect())
        }
        _ => ListKind::Atomic,
    }
}

fn object(schema: &Json, root: bool, name: &str) -> Declared {
    let none = serde_json::Map::new();
    let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&none);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Json::as_array)
        .map(|it| it.iter().filter_map(Json::as_str).collect())
        .unwrap_or_default();
    let root = root && !says_what_every_resource_has(properties);
    let mut fields: BTreeMap<Arc<str>, Field> = BTreeMap::new();
    let mut min_size = 2;
    for (json, property) in properties {
        if root && matches!(json.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let escaped = escaping::escape(json);
        let Some(of) = declare(property, false, &format!("{name}.{}", escaped.as_deref().unwrap_or(json)))
        else {
            continue;
        };
        if required.contains(&json.as_str()) && property.get("default").is_none_or(Json::is_null) {
            min_size += u64::try_from(json.len()).unwrap_or_default() + of.min_size + 4;
        }
        if let Some(escaped) = escaped {
            fields.insert(escaped.into(), Field { json: json.as_str().into(), of });
        }
    }
    if root {
        let text = Declared::string(MAX_REQUEST - 2);
        let known = [("name", Arc::clone(&text)), ("generateName", Arc::clone(&text))];
        let metadata = Declared::object(&format!("{name}.metadata"), known);
        for (json, of) in [("apiVersion", Arc::clone(&text)), ("kind", text), ("metadata", metadata)] {
            if required.contains(&json) {
                min_size += u64::try_from(json.len()).unwrap_or_default() + of.min_size + 4;
            }
            fields.insert(json.into(), Field { json: json.into(), of });
        }
    }
    Declared::new(Shape::Object { name: name.into(), fields }, 0, min_size)
}

fn says_what_every_resource_has(properties: &serde_json::Map<String, Json>) -> bool {
    let is = |property: Option<&Json>, of: &str| {
        property.and_then(|it| it.get("type")).and_then(Json::as_str) == Some(of)
    };
    let metadata = properties.get("metadata");
    let within = |name: &str| metadata?.get("properties")?.get(name);
    is(properties.get("apiVersion"), "string")
        && is(properties.get("kind"), "string")
        && is(metadata, "object")
        && ["name", "generateName"].iter().all(|name| is(within(name), "string"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_root_has_what_every_resource_has_unless_it_says_so_itself() {
        let text = json!({"type": "string"});
        let schema = |metadata: Json| json!({"type": "object", "properties": {"apiVersion": text, "kind": text, "metadata": metadata}});
        let whole =
            json!({"type": "object", "properties": {"name": text, "generateName": text, "uid": text}});
        let bounded = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}});
        for (schema, known, unknown) in [
            (json!({"type": "object"}), "generateName", "uid"),
            (schema(json!({"type": "object"})), "generateName", "uid"),
            (schema(bounded), "generateName", "uid"),
            (schema(whole), "uid", "labels"),
        ] {
            let declared = declare(&schema, true, "Foo").unwrap();
            let metadata = declared.step("metadata").unwrap();
            assert!(metadata.step(known).is_some(), "{schema}");
            assert!(metadata.step(unknown).is_none(), "{schema}");
        }
    }
}
