//! What a schema may say, each of its parts by itself.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use serde_json::Value;

use super::{
    json::{entries, get, is_on, items, schema, text},
    paths::{self, Brackets},
    structural,
};
use crate::custom::schema::{self as custom, default_faults, has_unpruned};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const REASONS: &[&str] =
    &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
const LIST_TYPE: &str = "x-kubernetes-list-type";
const LIST_MAP_KEYS: &str = "x-kubernetes-list-map-keys";
const MAP_TYPE: &str = "x-kubernetes-map-type";

/// The fields of a schema in upstream's order, with its names for them, and whether they may stand at the root next to
/// a `status` subresource.
const FIELDS: &[(&str, &str, bool)] = &[
    ("id", "ID", false),
    ("$schema", "Schema", false),
    ("$ref", "Ref", false),
    ("description", "Description", true),
    ("type", "Type", true),
    ("nullable", "Nullable", false),
    ("format", "Format", true),
    ("title", "Title", true),
    ("default", "Default", false),
    ("maximum", "Maximum", true),
    ("exclusiveMaximum", "ExclusiveMaximum", true),
    ("minimum", "Minimum", true),
    ("exclusiveMinimum", "ExclusiveMinimum", true),
    ("maxLength", "MaxLength", true),
    ("minLength", "MinLength", true),
    ("pattern", "Pattern", true),
    ("maxItems", "MaxItems", true),
    ("minItems", "MinItems", true),
    ("uniqueItems", "UniqueItems", true),
    ("multipleOf", "MultipleOf", true),
    ("enum", "Enum", false),
    ("maxProperties", "MaxProperties", false),
    ("minProperties", "MinProperties", false),
    ("required", "Required", true),
    ("items", "Items", true),
    ("allOf", "AllOf", false),
    ("oneOf", "OneOf", false),
    ("anyOf", "AnyOf", false),
    ("not", "Not", false),
    ("properties", "Properties", true),
    ("additionalProperties", "AdditionalProperties", false),
    ("patternProperties", "PatternProperties", false),
    ("dependencies", "Dependencies", false),
    ("additionalItems", "AdditionalItems", false),
    ("definitions", "Definitions", false),
    ("externalDocs", "ExternalDocs", true),
    ("example", "Example", true),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields", true),
    ("x-kubernetes-embedded-resource", "XEmbeddedResource", false),
    ("x-kubernetes-int-or-string", "XIntOrString", false),
    (LIST_MAP_KEYS, "XListMapKeys", false),
    (LIST_TYPE, "XListType", false),
    (MAP_TYPE, "XMapType", false),
    ("x-kubernetes-validations", "XValidations", true),
];

/// How strict the rules for schemas are, given what stored ones are like.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// Types must be known ones.
    pub(super) types: bool,
    /// Items of sets must be atomic.
    pub(super) atomic_sets: bool,
    /// Keys of lists that are maps must always have a value, and items of sets must not be null.
    pub(super) keys_and_sets: bool,
    /// Schemas must be structural.
    pub(super) structural: bool,
    /// Defaults may have no fields that their schemas do not have.
    pub(super) pruned_defaults: bool,
}

/// Where in a schema the walk is.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Why defaults cannot stand here, if they cannot.
    no_defaults: Option<&'a str>,
    in_metadata: bool,
    root: bool,
}

impl Rules {
    pub(super) fn of_change(old: &[&Value]) -> Self {
        let had = |wrong: &dyn Fn(&Value) -> bool| old.iter().any(|schema| any(schema, wrong));
        Self {
            types: !had(&|it| !is_type(text(it, "type"))),
            atomic_sets: !had(&|it| set_item_wrong(it).is_some()),
            keys_and_sets: !had(&|it| !key_and_set_faults(it, &Path::new("")).is_empty()),
            structural: old.iter().all(|schema| structural::is_structural(schema)),
            pruned_defaults: !old.iter().any(|schema| has_unpruned(schema)),
        }
    }
}

fn is_type(name: &str) -> bool {
    name.is_empty() || TYPES.contains(&name)
}

/// Looks at a schema and all that are in it.
pub(super) fn visit<'a>(schema: &'a Value, look: &mut impl FnMut(&'a Value)) {
    look(schema);
    for (_, child) in children(schema) {
        visit(child, look);
    }
}

/// Whether a schema, or one that is in it, is like that.
pub(super) fn any(schema: &Value, is: &dyn Fn(&Value) -> bool) -> bool {
    is(schema) || children(schema).into_iter().any(|(_, child)| any(child, is))
}

/// The schemas right in this one, with the field that they are in.
fn children(schema: &Value) -> Vec<(&'static str, &Value)> {
    let mut children = Vec::new();
    for field in [
        "items",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "properties",
        "additionalProperties",
        "patternProperties",
        "additionalItems",
        "definitions",
        "dependencies",
    ] {
        let Some(value) = get(schema, field) else { continue };
        let list = value.as_array().into_iter().flatten();
        let is_map = matches!(field, "properties" | "patternProperties" | "definitions" | "dependencies");
        match value.as_object() {
            Some(map) if is_map => {
                children.extend(map.values().filter(|it| it.is_object()).map(|child| (field, child)));
            }
            Some(_) => children.push((field, value)),
            None => children.extend(list.map(|child| (field, child))),
        }
    }
    children
}

/// What is wrong with the schema of a whole object; `status` if that is a subresource.
pub(super) fn root_faults(schema: &Value, status: bool, rules: Rules, path: &Path) -> Faults {
    let mut faults = Vec::from_iter(status.then(|| beside_status_fault(schema, path)).flatten());
    if is_on(schema, "nullable") {
        faults.push(Fault::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let mut has_no_structure = None;
    if rules.structural {
        match structural::faults(schema, path) {
            Ok(found) if found.is_empty() => {
                faults.extend(default_faults(schema, rules.pruned_defaults, path))
            }
            Ok(found) => faults.extend(found),
            Err(why) => has_no_structure = Some(why),
        }
    }
    let place = Place { no_defaults: None, in_metadata: false, root: true };
    faults.extend(schema_faults(schema, place, rules, path));
    // Rules rely on the schema around them.
    if rules.structural && faults.is_empty() && has_no_structure.is_none() {
        faults.extend(custom::rule_faults(schema, path));
    }
    // Mostly the faults say so already, each at its place.
    if let Some(why) = has_no_structure.filter(|_| faults.is_empty()) {
        faults.push(Fault::invalid(path, "", why));
    }
    faults
}

/// The first fault of what stands at the root next to a `status` subresource.
fn beside_status_fault(schema: &Value, path: &Path) -> Option<Fault> {
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    for (field, _, allowed) in FIELDS.iter().filter(|(field, ..)| schema.get(field).is_some_and(is_set)) {
        if *field == "type" && text(schema, "type") != "object" {
            let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            return Some(Fault::invalid(&path.child("type"), text(schema, "type"), detail));
        }
        if !allowed {
            let names: Vec<&str> =
                FIELDS.iter().filter(|(.., allowed)| *allowed).map(|(_, name, _)| *name).collect();
            let detail = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                names.join(" ")
            );
            return Some(Fault::invalid(path, BadValue::Json(schema.clone()), detail));
        }
    }
    None
}

fn schema_faults(schema_value: &Value, place: Place<'_>, rules: Rules, path: &Path) -> Faults {
    let it = schema_value;
    let inner = Place { root: false, ..place };
    let mut faults = unsupported_faults(it, place, rules, path);
    if is_on(it, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        faults.push(Fault::forbidden(&path.child("uniqueItems"), detail));
    }
    if let Some(additional) = get(it, "additionalProperties") {
        let path = path.child("additionalProperties");
        if entries(it, "properties").next().is_some() && *additional != Value::Bool(true) {
            let detail = "additionalProperties and properties are mutual exclusive";
            faults.push(Fault::forbidden(&path, detail));
        }
        if additional.is_object() {
            let mut inner = inner;
            if place.in_metadata {
                inner.no_defaults = Some("inside additionalProperties applying to object metadata");
            }
            faults.extend(schema_faults(additional, inner, rules, &path));
        }
    }
    for (name, property) in entries(it, "properties") {
        let mut inner = inner;
        let top = format!("in top-level {name}");
        let of_object = matches!(name, "metadata" | "kind" | "apiVersion");
        if of_object && (place.root || is_on(it, "x-kubernetes-embedded-resource")) {
            inner.in_metadata = true;
            if place.root {
                inner.no_defaults = Some(&top);
            }
        }
        faults.extend(schema_faults(property, inner, rules, &path.child("properties").key(name)));
    }
    if let Some(not) = schema(it, "not") {
        faults.extend(schema_faults(not, inner, rules, &path.child("not")));
    }
    for field in ["allOf", "oneOf", "anyOf"] {
        for (index, part) in items(it, field).iter().enumerate() {
            faults.extend(schema_faults(part, inner, rules, &path.child(field).index(index)));
        }
    }
    for (name, part) in entries(it, "definitions") {
        faults.extend(schema_faults(part, inner, rules, &path.child("definitions").key(name)));
    }
    if let Some(part) = schema(it, "items") {
        faults.extend(schema_faults(part, inner, rules, &path.child("items")));
    }
    for (index, part) in items(it, "items").iter().enumerate() {
        faults.extend(schema_faults(part, inner, rules, &path.child("items").index(index)));
    }
    for (name, part) in entries(it, "dependencies").filter(|(_, part)| part.is_object()) {
        faults.extend(schema_faults(part, inner, rules, &path.child("dependencies").key(name)));
    }
    faults.extend(extension_faults(it, rules, path));
    for (index, rule) in items(it, "x-kubernetes-validations").iter().enumerate() {
        faults.extend(rule_faults(it, rule, &path.child("x-kubernetes-validations").index(index)));
    }
    faults
}

/// What of JSON schema a schema may not use.
fn unsupported_faults(it: &Value, place: Place<'_>, rules: Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let kind = text(it, "type");
    if rules.types && !is_type(kind) {
        faults.push(Fault::not_supported(&path.child("type"), kind, TYPES));
    }
    if let Some(why) = place.no_defaults.filter(|_| get(it, "default").is_some()) {
        faults.push(Fault::forbidden(&path.child("default"), format!("must not be set {why}")));
    }
    let mut unsupported = |field: &str, there: bool| {
        if there {
            faults.push(Fault::forbidden(&path.child(field), format!("{field} is not supported")));
        }
    };
    unsupported("id", !text(it, "id").is_empty());
    unsupported("additionalItems", get(it, "additionalItems").is_some());
    unsupported("patternProperties", entries(it, "patternProperties").next().is_some());
    unsupported("definitions", entries(it, "definitions").next().is_some());
    unsupported("dependencies", get(it, "dependencies").is_some());
    unsupported("$ref", get(it, "$ref").is_some());
    if kind == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        faults.push(Fault::forbidden(&path.child("type"), detail));
    }
    if !items(it, "items").is_empty() {
        faults.push(Fault::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if place.in_metadata && is_on(it, "x-kubernetes-embedded-resource") {
        let detail = "must not be used inside of resource meta";
        faults.push(Fault::forbidden(&path.child("x-kubernetes-embedded-resource"), detail));
    }
    faults
}

/// The fault of a type that is not the one an extension is for.
fn type_fault(it: &Value, wanted: &str, extension: &str, path: &Path) -> Option<Fault> {
    let (kind, path) = (text(it, "type"), path.child("type"));
    let detail = format!("must be {wanted} if {extension} is specified");
    match kind {
        "" => Some(Fault::required(&path, detail)),
        _ if kind == wanted => None,
        _ => Some(Fault::invalid(&path, kind, detail)),
    }
}

fn extension_faults(it: &Value, rules: Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if get(it, "x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let path = path.child("x-kubernetes-preserve-unknown-fields");
        faults.push(Fault::invalid(&path, false, "must be true or undefined"));
    }
    if let Some(map_type) = get(it, MAP_TYPE).and_then(Value::as_str) {
        faults.extend(type_fault(it, "object", MAP_TYPE, path));
        let types = ["atomic", "granular"];
        if !types.contains(&map_type) {
            faults.push(Fault::not_supported(&path.child(MAP_TYPE), map_type, &types));
        }
    }
    let list_type = get(it, LIST_TYPE).and_then(Value::as_str);
    let type_path = path.child(LIST_TYPE);
    if let Some(list_type) = list_type {
        let wrong_type = type_fault(it, "array", LIST_TYPE, path);
        if wrong_type.is_none()
            && rules.atomic_sets
            && let Some(field) = set_item_wrong(it)
        {
            let item = get(it, "items").unwrap_or(&Value::Null);
            // Upstream prints the type of the list for both.
            let value = BadValue::Json(get(item, LIST_TYPE).cloned().unwrap_or_default());
            let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
            faults.push(Fault::invalid(&path.child("items").child(field), value, detail));
        }
        faults.extend(wrong_type);
        let types = ["atomic", "set", "map"];
        if !types.contains(&list_type) {
            faults.push(Fault::not_supported(&type_path, list_type, &types));
        }
    }
    if !items(it, LIST_MAP_KEYS).is_empty() {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None => faults.push(Fault::required(&type_path, detail)),
            Some("map") => {}
            Some(other) => faults.push(Fault::invalid(&type_path, other, detail)),
        }
    }
    if list_type == Some("map") {
        faults.extend(list_map_faults(it, path));
    }
    if rules.keys_and_sets {
        faults.extend(key_and_set_faults(it, path));
    }
    faults
}

/// The field by which the items of a set are not atomic, if they are not.
fn set_item_wrong(it: &Value) -> Option<&'static str> {
    let item = schema(it, "items").filter(|_| text(it, LIST_TYPE) == "set")?;
    match text(item, "type") {
        // Lists are atomic unless said, objects are not.
        "array" => get(item, LIST_TYPE).is_some_and(|kind| kind != "atomic").then_some(LIST_TYPE),
        "object" => (text(item, MAP_TYPE) != "atomic").then_some(MAP_TYPE),
        _ => None,
    }
}

/// What is wrong with a list that is a map by some keys of its items.
fn list_map_faults(it: &Value, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let (keys, keys_path) = (items(it, LIST_MAP_KEYS), path.child(LIST_MAP_KEYS));
    let items_path = path.child("items");
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        faults.push(Fault::required(&keys_path, detail));
    }
    let Some(value) = get(it, "items") else {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        faults.push(Fault::required(&items_path, detail));
        return faults;
    };
    let Some(item) = schema(it, "items") else {
        let detail = "must only have a single schema if x-kubernetes-list-type is map";
        faults.push(Fault::invalid(&items_path, BadValue::Json(value.clone()), detail));
        return faults;
    };
    let item_type = text(item, "type");
    if item_type != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        faults.push(Fault::invalid(&items_path.child("type"), item_type, detail));
        return faults;
    }
    let mut seen = BTreeSet::new();
    for key in keys.iter().filter_map(Value::as_str) {
        match get(item, "properties").and_then(|properties| properties.get(key)) {
            Some(property) if matches!(text(property, "type"), "array" | "object") => {
                let path = items_path.child("properties").key(key).child("type");
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                faults.push(Fault::invalid(&path, item_type, detail));
            }
            Some(_) => {}
            None => {
                let detail = "entries must all be names of item properties";
                faults.push(Fault::invalid(&keys_path, BadValue::json(&keys), detail));
            }
        }
        if !seen.insert(key) {
            let detail = "must not contain duplicate entries";
            faults.push(Fault::invalid(&keys_path, BadValue::json(&keys), detail));
        }
    }
    faults
}

/// What is wrong with the items of sets, and with the keys of lists that are maps: they must always have a value.
fn key_and_set_faults(it: &Value, path: &Path) -> Faults {
    let list_type = text(it, LIST_TYPE);
    let Some(item) = schema(it, "items").filter(|_| matches!(list_type, "set" | "map")) else {
        return Vec::new();
    };
    let path = path.child("items");
    let mut faults = Vec::new();
    if is_on(item, "nullable") {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        faults.push(Fault::forbidden(&path.child("nullable"), detail));
    }
    if list_type == "set" {
        return faults;
    }
    for key in items(it, LIST_MAP_KEYS).iter().filter_map(Value::as_str) {
        let Some(property) = get(item, "properties").and_then(|properties| properties.get(key)) else {
            continue;
        };
        let path = path.child("properties").key(key);
        let required = items(item, "required").iter().any(|name| name == key);
        if !required && get(property, "default").is_none() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            faults.push(Fault::required(&path.child("default"), detail));
        }
        if is_on(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            faults.push(Fault::forbidden(&path.child("nullable"), detail));
        }
    }
    faults
}

/// What is wrong with a rule, its expression excepted.
fn rule_faults(it: &Value, rule: &Value, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let [expression, message, message_expression, field] =
        ["rule", "message", "messageExpression", "fieldPath"].map(|name| text(rule, name));
    let has_newlines = |text: &str| text.contains(['\n', '\r']);
    let is_blank = |text: &str| !text.is_empty() && text.trim().is_empty();
    let message_path = path.child("message");
    if expression.trim().is_empty() {
        faults.push(Fault::required(&path.child("rule"), "rule is not specified"));
    } else if is_blank(message) {
        faults.push(Fault::invalid(&message_path, message, "must be non-empty if specified"));
    } else if has_newlines(message.trim()) {
        faults.push(Fault::invalid(&message_path, message, "must not contain line breaks"));
    } else if has_newlines(expression.trim()) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        faults.push(Fault::required(&message_path, detail));
    }
    if is_blank(message_expression) {
        let detail = "messageExpression must be non-empty if specified";
        faults.push(Fault::required(&path.child("messageExpression"), detail));
    }
    if let Some(reason) = get(rule, "reason").and_then(Value::as_str).filter(|it| !REASONS.contains(it)) {
        faults.push(Fault::not_supported(&path.child("reason"), reason, REASONS));
    }
    let path = path.child("fieldPath");
    if is_blank(field) {
        faults.push(Fault::invalid(&path, field, "must be non-empty if specified"));
    }
    if has_newlines(field) {
        faults.push(Fault::invalid(&path, field, "must not contain line breaks"));
    }
    if !field.is_empty() && paths::resolve(field, it, Brackets::Allowed).is_err() {
        faults.push(Fault::invalid(&path, field, "must be a valid path"));
    }
    faults
}
