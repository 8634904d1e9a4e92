//! Whether a schema is structural: every part of a value has one type, given where it stands, and the logical
//! junctors (`allOf`, `anyOf`, `oneOf`, `not`) only narrow values of fields that are known already.
//!
//! Only such schemas can prune, default and publish. The rules are those of the API concept "structural schemas".
//!
//! Invariant: expressions and values are not looked at here.

use api_types::field::{Fault, Faults, Path};
use serde_json::Value;

use super::json::{entries, get, is_on, items, schema, text};
use crate::custom::schema::pattern;

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const JUNCTORS: [&str; 3] = ["anyOf", "allOf", "oneOf"];

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What is wrong with the structure of a schema, sorted.
///
/// # Errors
/// Why it has no structure at all, in upstream's words.
pub(super) fn faults(root: &Value, path: &Path) -> Result<Faults, String> {
    convertible(root)?;
    let mut faults = Vec::new();
    invariants(root, Level::Root, path, &mut faults);
    completeness(root, Some(root), path, path, &mut faults);
    faults.sort_by_cached_key(ToString::to_string);
    Ok(faults)
}

/// Whether nothing is wrong with the structure of a schema.
pub(super) fn is_structural(root: &Value) -> bool {
    faults(root, &Path::root()).is_ok_and(|faults| faults.is_empty())
}

/// Whether a schema uses an extension that needs a structure.
pub(super) fn needs_structure(it: &Value) -> bool {
    is_on(it, EMBEDDED)
        || is_on(it, INT_OR_STRING)
        || [PRESERVE, "x-kubernetes-list-type"].iter().any(|field| get(it, field).is_some())
        || ["x-kubernetes-list-map-keys", "x-kubernetes-validations"]
            .iter()
            .any(|field| !items(it, field).is_empty())
}

/// Looks for what a structure has no place for.
fn convertible(it: &Value) -> Result<(), String> {
    let is_filled = |field: &str| match get(it, field) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
        None => false,
    };
    for field in ["id", "$schema", "$ref", "patternProperties", "dependencies"] {
        if is_filled(field) {
            return Err(format!("OpenAPIV3Schema '{}' is not supported", field.replace("$schema", "schema")));
        }
    }
    if get(it, "additionalItems").is_some() {
        return Err("OpenAPIV3Schema 'additionalItems' is not supported".to_owned());
    }
    if is_filled("definitions") {
        return Err("OpenAPIV3Schema 'definitions' is not supported".to_owned());
    }
    schema(it, "not").map_or(Ok(()), convertible)?;
    for junctor in ["allOf", "anyOf", "oneOf"] {
        items(it, junctor).iter().try_for_each(convertible)?;
    }
    if get(it, PRESERVE) == Some(&Value::Bool(false)) {
        return Err(format!("internal error: '{PRESERVE}' must be true or undefined"));
    }
    if !items(it, "items").is_empty() {
        return Err("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    schema(it, "items").map_or(Ok(()), convertible)?;
    entries(it, "properties").try_for_each(|(_, property)| convertible(property))?;
    schema(it, "additionalProperties").map_or(Ok(()), convertible)
}

fn invariants(it: &Value, level: Level, path: &Path, faults: &mut Faults) {
    let kind = text(it, "type");
    let type_path = path.child("type");
    let embedded = is_on(it, EMBEDDED);
    let item = schema(it, "items");
    if kind == "array" && item.is_none() {
        faults.push(Fault::required(&path.child("items"), "must be specified"));
    }
    if let Some(item) = item {
        invariants(item, Level::Item, &path.child("items"), faults);
    }
    let properties = path.child("properties");
    for (name, property) in entries(it, "properties") {
        invariants(property, Level::Field, &properties.key(name), faults);
    }
    let additional_path = path.child("additionalProperties");
    let additional = get(it, "additionalProperties");
    if additional.is_some() && level == Level::Root {
        faults.push(Fault::forbidden(&additional_path, "must not be used at the root"));
    }
    if let Some(additional) = schema(it, "additionalProperties") {
        invariants(additional, Level::Field, &additional_path, faults);
    }
    if is_on(it, INT_OR_STRING) {
        for field in [PRESERVE, EMBEDDED].into_iter().filter(|field| is_on(it, field)) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            faults.push(Fault::invalid(&path.child(field), true, detail));
        }
    }
    let is_all_of = items(it, "allOf").first().is_some_and(says_int_or_string);
    junctors(it, says_int_or_string(it), is_all_of, path, faults);
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        faults.push(if kind.is_empty() {
            Fault::required(&type_path, detail)
        } else {
            Fault::invalid(&type_path, kind, detail)
        });
    } else if kind.is_empty() && !is_on(it, INT_OR_STRING) && !is_on(it, PRESERVE) {
        let place = match level {
            Level::Root => "at the root",
            Level::Item => "for specified array items",
            Level::Field => "for specified object fields",
        };
        faults.push(Fault::required(&type_path, format!("must not be empty {place}")));
    }
    if embedded && additional.is_some() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        faults.push(Fault::forbidden(&additional_path, detail));
    }
    if level == Level::Root && !matches!(kind, "" | "object") {
        faults.push(Fault::invalid(&type_path, kind, "must be object at the root"));
    }
    let is_whole = level == Level::Root || embedded;
    let property = |name: &str| entries(it, "properties").find(|(other, _)| *other == name);
    for (name, property) in ["kind", "apiVersion"].into_iter().filter_map(property) {
        let kind = text(property, "type");
        if is_whole && kind != "string" {
            faults.push(Fault::invalid(&properties.key(name).child("type"), kind, "must be string"));
        }
    }
    if let Some((name, metadata)) = property("metadata") {
        let path = properties.key(name);
        let kind = text(metadata, "type");
        if is_whole && kind != "object" {
            faults.push(Fault::invalid(&path.child("type"), kind, "must be object"));
        }
        if level == Level::Root && says_more_than_names(metadata) {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            faults.push(Fault::forbidden(&path, detail));
        }
    }
    if embedded && !is_on(it, PRESERVE) && entries(it, "properties").next().is_none() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        faults.push(Fault::required(&properties, detail));
    }
}

/// Whether the schema of metadata says more than its type and how it is named.
fn says_more_than_names(metadata: &Value) -> bool {
    let names_only = entries(metadata, "properties").all(|(name, _)| matches!(name, "name" | "generateName"));
    let is_said = |field: &str, value: &Value| match field {
        "type" | "default" => false,
        "properties" => !names_only,
        _ => match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        },
    };
    metadata.as_object().into_iter().flatten().any(|(field, value)| is_said(field, value))
}

/// Whether `anyOf` does nothing but repeat what an integer or a string is. That is redundant, and allowed.
fn says_int_or_string(it: &Value) -> bool {
    let is_only = |part: &Value, kind: &str| {
        text(part, "type") == kind
            && part.as_object().into_iter().flatten().all(|(field, value)| field == "type" || value.is_null())
    };
    matches!(items(it, "anyOf"), [integer, string] if is_only(integer, "integer") && is_only(string, "string"))
}

/// Looks at what narrows values. The `anyOf` of this schema, or of the first part of its `allOf`, may be skipped.
fn junctors(it: &Value, skip_any_of: bool, skip_first: bool, path: &Path, faults: &mut Faults) {
    for junctor in JUNCTORS.into_iter().filter(|junctor| !(skip_any_of && *junctor == "anyOf")) {
        for (index, part) in items(it, junctor).iter().enumerate() {
            let skip = skip_first && junctor == "allOf" && index == 0;
            nested(part, skip, &path.child(junctor).index(index), faults);
        }
    }
    if let Some(not) = schema(it, "not") {
        nested(not, false, &path.child("not"), faults);
    }
    let pattern = text(it, "pattern");
    if let Some(wrong) = pattern::wrong(pattern) {
        let detail = format!("must be a valid regular expression, but isn't: {wrong}");
        faults.push(Fault::invalid(&path.child("pattern"), pattern, detail));
    }
}

/// What is wrong with a schema within a junctor: it must add nothing to the structure.
fn nested(it: &Value, skip_any_of: bool, path: &Path, faults: &mut Faults) {
    junctors(it, skip_any_of, false, path, faults);
    if let Some(item) = schema(it, "items") {
        nested(item, false, &path.child("items"), faults);
    }
    let properties = path.child("properties");
    for (name, property) in entries(it, "properties") {
        nested(property, false, &properties.key(name), faults);
    }
    let is_object = |field: &str| schema(it, field).is_some();
    for (field, is_there, must_be) in [
        ("type", !text(it, "type").is_empty(), "empty"),
        (
            "additionalProperties",
            is_object("additionalProperties") || is_on(it, "additionalProperties"),
            "undefined",
        ),
        ("default", get(it, "default").is_some(), "undefined"),
        ("title", !text(it, "title").is_empty(), "empty"),
        ("description", !text(it, "description").is_empty(), "empty"),
        ("nullable", is_on(it, "nullable"), "false"),
        (PRESERVE, is_on(it, PRESERVE), "false"),
        (EMBEDDED, is_on(it, EMBEDDED), "false"),
        (INT_OR_STRING, is_on(it, INT_OR_STRING), "false"),
        ("x-kubernetes-list-map-keys", !items(it, "x-kubernetes-list-map-keys").is_empty(), "empty"),
        ("x-kubernetes-list-type", get(it, "x-kubernetes-list-type").is_some(), "undefined"),
        ("x-kubernetes-map-type", get(it, "x-kubernetes-map-type").is_some(), "undefined"),
        ("x-kubernetes-validations", !items(it, "x-kubernetes-validations").is_empty(), "empty"),
    ] {
        if is_there {
            faults.push(Fault::forbidden(&path.child(field), format!("must be {must_be} to be structural")));
        }
    }
    if entries(it, "properties").any(|(name, _)| name == "metadata") {
        let detail = "must not be specified in a nested context";
        faults.push(Fault::forbidden(&properties.key("metadata"), detail));
    }
}

/// What junctors name, but the structure does not. `at` is the structure at this place.
fn completeness(it: &Value, at: Option<&Value>, at_path: &Path, path: &Path, faults: &mut Faults) {
    if let Some(not) = schema(it, "not") {
        nested_completeness(not, at, at_path, &path.child("not"), faults);
    }
    for junctor in ["allOf", "anyOf", "oneOf"] {
        for (index, part) in items(it, junctor).iter().enumerate() {
            nested_completeness(part, at, at_path, &path.child(junctor).index(index), faults);
        }
    }
}

fn nested_completeness(it: &Value, at: Option<&Value>, at_path: &Path, path: &Path, faults: &mut Faults) {
    let missing = |at: &Path, path: &Path| Fault::required(at, format!("because it is defined in {path}"));
    let Some(here) = at else {
        faults.push(missing(at_path, path));
        return;
    };
    completeness(it, at, at_path, path, faults);
    if let Some(item) = schema(it, "items") {
        let (at_path, path) = (at_path.child("items"), path.child("items"));
        nested_completeness(item, schema(here, "items"), &at_path, &path, faults);
    }
    for (name, property) in entries(it, "properties") {
        let at_path = at_path.child("properties").key(name);
        let path = path.child("properties").key(name);
        let field = entries(here, "properties").find(|(other, _)| *other == name);
        nested_completeness(property, field.map(|(_, field)| field), &at_path, &path, faults);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: Value) -> Vec<String> {
        match faults(&schema, &Path::new("s")) {
            Ok(faults) => faults.iter().map(ToString::to_string).collect(),
            Err(why) => vec![why],
        }
    }

    fn with_property(property: Value) -> Value {
        json!({"type": "object", "properties": {"p": property}})
    }

    #[test]
    fn every_part_of_a_value_has_a_type() {
        for (schema, expected) in [
            (json!({"type": "object"}), vec![]),
            (json!({}), vec!["s.type: Required value: must not be empty at the root"]),
            (
                json!({"type": "array", "items": {"type": "string"}}),
                vec![r#"s.type: Invalid value: "array": must be object at the root"#],
            ),
            (
                with_property(json!({})),
                vec!["s.properties[p].type: Required value: must not be empty for specified object fields"],
            ),
            (
                with_property(json!({"type": "array"})),
                vec!["s.properties[p].items: Required value: must be specified"],
            ),
            (
                with_property(json!({"type": "array", "items": {}})),
                vec![
                    "s.properties[p].items.type: Required value: must not be empty for specified array items",
                ],
            ),
            (with_property(json!({"x-kubernetes-int-or-string": true})), vec![]),
            (with_property(json!({"x-kubernetes-preserve-unknown-fields": true})), vec![]),
            (
                with_property(json!({
                    "x-kubernetes-int-or-string": true,
                    "x-kubernetes-preserve-unknown-fields": true
                })),
                vec![
                    "s.properties[p].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
                ],
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
                vec!["s.additionalProperties: Forbidden: must not be used at the root"],
            ),
        ] {
            assert_eq!(check(schema), expected);
        }
    }

    #[test]
    fn what_narrows_values_adds_nothing_to_the_structure() {
        let int_or_string = json!([{"type": "integer"}, {"type": "string"}]);
        for (property, expected) in [
            (json!({"x-kubernetes-int-or-string": true, "anyOf": int_or_string}), vec![]),
            (json!({"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": int_or_string}]}), vec![]),
            (json!({"type": "string", "anyOf": [{"minLength": 1}, {"pattern": "^a$"}]}), vec![]),
            (
                json!({"type": "string", "anyOf": [{"type": "string", "description": "d", "default": "a"}]}),
                vec![
                    "s.properties[p].anyOf[0].default: Forbidden: must be undefined to be structural",
                    "s.properties[p].anyOf[0].description: Forbidden: must be empty to be structural",
                    "s.properties[p].anyOf[0].type: Forbidden: must be empty to be structural",
                ],
            ),
            (
                json!({"type": "object", "not": {"properties": {"metadata": {}}}, "properties": {"metadata": {"type": "object"}}}),
                vec![
                    "s.properties[p].not.properties[metadata]: Forbidden: must not be specified in a nested context",
                ],
            ),
        ] {
            assert_eq!(check(with_property(property)), expected);
        }
        let root = json!({"type": "object", "properties": {"a": {"type": "string"}},
            "oneOf": [{"properties": {"a": {"maxLength": 1}, "b": {"maxLength": 1}}}]});
        assert_eq!(
            check(root),
            ["s.properties[b]: Required value: because it is defined in s.oneOf[0].properties[b]"]
        );
    }

    #[test]
    fn objects_in_objects_have_a_kind_and_metadata() {
        for (schema, expected) in [
            (
                json!({"type": "object", "properties": {
                    "kind": {"type": "integer"}, "metadata": {"type": "object", "description": "d"}}}),
                vec![
                    r#"s.properties[kind].type: Invalid value: "integer": must be string"#,
                    "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
                ],
            ),
            (
                json!({"type": "object", "properties": {
                    "metadata": {"type": "object", "properties": {"name": {"type": "string", "pattern": "a"}}}}}),
                vec![],
            ),
            (
                with_property(json!({"x-kubernetes-embedded-resource": true})),
                vec![
                    "s.properties[p].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
                    "s.properties[p].type: Required value: must be object if x-kubernetes-embedded-resource is true",
                ],
            ),
        ] {
            assert_eq!(check(schema), expected);
        }
    }

    #[test]
    fn what_has_no_place_in_a_structure_is_named() {
        for (schema, expected) in [
            (json!({"type": "object", "$schema": "x"}), "OpenAPIV3Schema 'schema' is not supported"),
            (with_property(json!({"$ref": "#/x"})), "OpenAPIV3Schema '$ref' is not supported"),
            (
                with_property(json!({"type": "array", "items": [{"type": "string"}]})),
                "OpenAPIV3Schema 'items' must be a schema, but is an array",
            ),
        ] {
            assert_eq!(check(schema), [expected]);
        }
    }
}
