//! What is wrong with an object's metadata, and with a change of it.
//!
//! Metadata is judged as JSON, before and apart from what a kind says, since custom kinds have it too. Types are right
//! already (the schema saw to that); what has the wrong type here reads as absent.
//!
//! Invariant: pure; the caller filled in what the server owns (name, uid, timestamps) before.

use std::collections::{BTreeMap, BTreeSet};

use api_types::field::{BadValue, Fault, Faults, Path};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    names::{dns_label, qualified_name},
    selectors,
};

/// All keys and values of the annotations together, in bytes.
pub const ANNOTATIONS_SIZE_MAX: usize = 256 * 1024;
/// The longest name of a field manager, in bytes.
pub const MANAGER_LENGTH_MAX: usize = 128;
/// The longest subresource in managed fields, in bytes.
const SUBRESOURCE_LENGTH_MAX: usize = 256;

/// Everything that is wrong with the metadata of a new object. Names are generated already.
pub fn validate(meta: &Value, namespaced: bool, name_rule: &dyn Fn(&str, bool) -> Vec<String>) -> Faults {
    let path = Path::new("metadata");
    let mut faults = Vec::new();
    let generate_name = text(meta, "generateName");
    if !generate_name.is_empty() {
        let path = path.child("generateName");
        faults.extend(invalid_each(&path, generate_name, name_rule(generate_name, true)));
    }
    let name = text(meta, "name");
    if name.is_empty() {
        faults.push(Fault::required(&path.child("name"), "name or generateName is required"));
    } else {
        faults.extend(invalid_each(&path.child("name"), name, name_rule(name, false)));
    }
    let namespace = text(meta, "namespace");
    let namespace_path = path.child("namespace");
    match (namespaced, namespace) {
        (true, "") => faults.push(Fault::required(&namespace_path, "")),
        (true, _) => faults.extend(invalid_each(&namespace_path, namespace, dns_label(namespace, false))),
        (false, "") => {}
        (false, _) => faults.push(Fault::forbidden(&namespace_path, "not allowed on this type")),
    }
    let generation = generation(meta);
    if generation < 0 {
        faults.push(Fault::invalid(
            &path.child("generation"),
            generation,
            "must be greater than or equal to 0",
        ));
    }
    faults.extend(labels(meta, &path));
    faults.extend(annotations(meta, &path));
    faults.extend(owner_references(meta, &path));
    faults.extend(finalizers(meta, &path.child("finalizers")));
    faults.extend(managed_fields(meta, &path.child("managedFields")));
    faults
}

/// Everything that is wrong with changed metadata and with the change.
pub fn validate_update(new: &Value, old: &Value) -> Faults {
    let path = Path::new("metadata");
    let mut faults = Vec::new();
    if !field(old, "deletionTimestamp").is_null() {
        faults.extend(no_new_finalizers(new, old, &path.child("finalizers")));
    }
    if text(new, "resourceVersion").is_empty() {
        faults.push(Fault::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    let (new_generation, old_generation) = (generation(new), generation(old));
    if new_generation < old_generation {
        faults.push(Fault::invalid(&path.child("generation"), new_generation, "must not be decremented"));
    }
    for name in ["name", "namespace", "uid"] {
        let value = text(new, name);
        if value != text(old, name) {
            faults.push(Fault::invalid(&path.child(name), value, "field is immutable"));
        }
    }
    for name in ["creationTimestamp", "deletionTimestamp"] {
        let value = field(new, name);
        if !same_time(value, field(old, name)) {
            faults.push(Fault::invalid(&path.child(name), value.clone(), "field is immutable"));
        }
    }
    let grace = field(new, "deletionGracePeriodSeconds");
    if grace != field(old, "deletionGracePeriodSeconds") {
        faults.push(Fault::invalid(
            &path.child("deletionGracePeriodSeconds"),
            grace.clone(),
            "field is immutable",
        ));
    }
    faults.extend(labels(new, &path));
    faults.extend(annotations(new, &path));
    faults.extend(owner_references(new, &path));
    faults.extend(managed_fields(new, &path.child("managedFields")));
    faults
}

/// What built-in kinds have against finalizers besides: those without a domain must be known ones.
pub fn validate_known_finalizers(meta: &Value) -> Faults {
    let path = Path::new("metadata").child("finalizers");
    let names = list(meta, "finalizers").iter().filter_map(Value::as_str).enumerate();
    names.filter_map(|(index, name)| unknown_finalizer(name, &path.index(index))).collect()
}

/// The fault of a finalizer without a domain that nobody knows.
pub fn unknown_finalizer(name: &str, path: &Path) -> Option<Fault> {
    (!name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion")).then(|| {
        Fault::invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified")
    })
}

/// What is wrong with annotations: their keys, whose case does not matter, and their size.
pub fn validate_annotations(annotations: Option<&BTreeMap<String, String>>, path: &Path) -> Faults {
    let pairs = annotations.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
    annotation_pairs(pairs, path)
}

/// What is wrong with finalizers in metadata.
pub fn validate_finalizers(finalizers: &[&str], path: &Path) -> Faults {
    let mut faults: Faults =
        finalizers.iter().flat_map(|&name| invalid_each(path, name, qualified_name(name))).collect();
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        faults.push(Fault::invalid(
            path,
            BadValue::json(&finalizers),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
    faults
}

/// What is wrong with the name of a field manager. It may be empty.
pub fn validate_field_manager(manager: &str, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if manager.len() > MANAGER_LENGTH_MAX {
        faults.push(Fault::too_long(path, MANAGER_LENGTH_MAX));
    }
    for (position, character) in manager.char_indices() {
        if !is_printable(character) {
            let code = u32::from(character);
            // Go prints the character itself only if it is printable, and here it never is.
            let detail = format!("invalid character U+{code:04X} (at position {position})");
            faults.push(Fault::invalid(path, manager, detail));
        }
    }
    faults
}

/// Makes the metadata in a write of a status what it was, where that write may not touch it. What the server itself
/// keeps (managed fields) stays.
pub(crate) fn keep_for_status(
    new: &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    old: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) {
    new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    new.generation = old.generation;
    new.self_link.clone_from(&old.self_link);
    new.labels.clone_from(&old.labels);
    new.annotations.clone_from(&old.annotations);
    new.finalizers.clone_from(&old.finalizers);
    new.owner_references.clone_from(&old.owner_references);
}

/// One fault of the value for each sentence.
pub fn invalid_each(path: &Path, value: &str, sentences: Vec<String>) -> Faults {
    sentences.into_iter().map(|sentence| Fault::invalid(path, value, sentence)).collect()
}

fn is_printable(character: char) -> bool {
    // Go's unicode.IsPrint: letters, marks, numbers, punctuation, symbols and the ASCII space.
    character == ' '
        || !(character.is_control()
            || character.is_whitespace()
            || matches!(
                u32::from(character),
                0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f | 0x202a..=0x202e
                    | 0x2060..=0x206f | 0xe000..=0xf8ff | 0xfeff | 0xfff0..=0xfffb | 0xe0000..=0xe0fff
                    | 0xf_0000..=0x10_ffff
            ))
}

fn field<'a>(meta: &'a Value, name: &str) -> &'a Value {
    meta.get(name).unwrap_or(&Value::Null)
}

fn text<'a>(meta: &'a Value, name: &str) -> &'a str {
    field(meta, name).as_str().unwrap_or_default()
}

fn generation(meta: &Value) -> i64 {
    field(meta, "generation").as_i64().unwrap_or_default()
}

/// Equal as points in time, however they are written.
fn same_time(one: &Value, other: &Value) -> bool {
    let instant = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    one == other || matches!((instant(one), instant(other)), (Some(one), Some(other)) if one == other)
}

fn pairs<'a>(meta: &'a Value, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let map = field(meta, name).as_object();
    map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

fn labels(meta: &Value, path: &Path) -> Faults {
    selectors::label_pairs(pairs(meta, "labels"), &path.child("labels"))
}

fn annotations(meta: &Value, path: &Path) -> Faults {
    annotation_pairs(pairs(meta, "annotations"), &path.child("annotations"))
}

fn annotation_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut size = 0;
    for (key, value) in pairs {
        faults.extend(invalid_each(path, key, qualified_name(&key.to_lowercase())));
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_SIZE_MAX {
        faults.push(Fault::too_long(path, ANNOTATIONS_SIZE_MAX));
    }
    faults
}

fn list<'a>(meta: &'a Value, name: &str) -> &'a [Value] {
    field(meta, name).as_array().map(Vec::as_slice).unwrap_or_default()
}

fn owner_references(meta: &Value, path: &Path) -> Faults {
    let path = path.child("ownerReferences");
    let references = list(meta, "ownerReferences");
    let mut faults = Vec::new();
    let mut first_controller: Option<String> = None;
    for reference in references {
        faults.extend(owner_reference(reference, &path));
        if field(reference, "controller") != &Value::Bool(true) {
            continue;
        }
        let controller = format!("{}/{}", text(reference, "kind"), text(reference, "name"));
        match &first_controller {
            None => first_controller = Some(controller),
            Some(first) => faults.push(Fault::invalid(
                &path,
                Value::Array(references.to_vec()),
                format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {controller}"
                ),
            )),
        }
    }
    faults
}

fn owner_reference(reference: &Value, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let api_version = text(reference, "apiVersion");
    // More than one slash makes no group and version at all.
    let (group, version) = match api_version.split_once('/') {
        None => ("", api_version),
        Some((_, rest)) if rest.contains('/') => ("", ""),
        Some(both) => both,
    };
    if version.is_empty() {
        faults.push(Fault::invalid(&path.child("apiVersion"), api_version, "version must not be empty"));
    }
    for name in ["kind", "name", "uid"] {
        if text(reference, name).is_empty() {
            faults.push(Fault::invalid(&path.child(name), "", "must not be empty"));
        }
    }
    // Events come and go too fast to own anything.
    if (group, version, text(reference, "kind")) == ("", "v1", "Event") {
        faults.push(Fault::invalid(
            path,
            reference.clone(),
            "/v1, Kind=Event is disallowed from being an owner",
        ));
    }
    faults
}

fn finalizers(meta: &Value, path: &Path) -> Faults {
    let names: Vec<&str> = list(meta, "finalizers").iter().filter_map(Value::as_str).collect();
    validate_finalizers(&names, path)
}

fn no_new_finalizers(new: &Value, old: &Value, path: &Path) -> Option<Fault> {
    let names =
        |meta| -> BTreeSet<&str> { list(meta, "finalizers").iter().filter_map(Value::as_str).collect() };
    let old = names(old);
    let extra: Vec<String> =
        names(new).difference(&old).map(|name| api_types::field::go_quote(name)).collect();
    (!extra.is_empty()).then(|| {
        Fault::forbidden(
            path,
            format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                extra.join(", ")
            ),
        )
    })
}

fn managed_fields(meta: &Value, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, entry) in list(meta, "managedFields").iter().enumerate() {
        let path = path.index(index);
        let operation = text(entry, "operation");
        if !matches!(operation, "Apply" | "Update") {
            faults.push(Fault::invalid(&path.child("operation"), operation, "must be `Apply` or `Update`"));
        }
        let fields_type = text(entry, "fieldsType");
        if !matches!(fields_type, "" | "FieldsV1") {
            faults.push(Fault::invalid(&path.child("fieldsType"), fields_type, "must be `FieldsV1`"));
        }
        faults.extend(validate_field_manager(text(entry, "manager"), &path.child("manager")));
        if text(entry, "subresource").len() > SUBRESOURCE_LENGTH_MAX {
            faults.push(Fault::too_long(&path.child("subresource"), SUBRESOURCE_LENGTH_MAX));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::names::dns_subdomain, *};

    fn texts(faults: &Faults) -> Vec<String> {
        faults.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn check(meta: &Value, namespaced: bool, expected: &[&str]) {
        assert_eq!(texts(&validate(meta, namespaced, &dns_subdomain)), expected, "{meta}");
    }

    #[track_caller]
    fn check_update(new: &Value, old: &Value, expected: &[&str]) {
        assert_eq!(texts(&validate_update(new, old)), expected, "{new} from {old}");
    }

    #[test]
    fn new_metadata_is_judged_field_by_field_in_order() {
        check(&json!({"name": "a", "namespace": "b"}), true, &[]);
        check(
            &json!({}),
            true,
            &[
                "metadata.name: Required value: name or generateName is required",
                "metadata.namespace: Required value",
            ],
        );
        check(
            &json!({"name": "a", "namespace": "b"}),
            false,
            &["metadata.namespace: Forbidden: not allowed on this type"],
        );
        check(
            &json!({"name": "a", "namespace": "b.c"}),
            true,
            &[r#"metadata.namespace: Invalid value: "b.c": must not contain dots"#],
        );
        check(
            &json!({"name": "a", "generation": -1}),
            false,
            &["metadata.generation: Invalid value: -1: must be greater than or equal to 0"],
        );
        check(
            &json!({"name": "a", "annotations": {"Example.COM/Aa": "x"}, "labels": {"a/": ""}}),
            false,
            &[
                r#"metadata.labels: Invalid value: "a/": name part must be non-empty"#,
                r#"metadata.labels: Invalid value: "a/": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
            ],
        );
        check(
            &json!({"name": "a", "annotations": {"a": "x".repeat(ANNOTATIONS_SIZE_MAX)}}),
            false,
            &["metadata.annotations: Too long: may not be more than 262144 bytes"],
        );
        check(
            &json!({"name": "a", "finalizers": ["orphan", "foregroundDeletion"]}),
            false,
            &[
                r#"metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set"#,
            ],
        );
    }

    #[test]
    fn an_owner_reference_names_its_owner_whole_and_only_one_controls() {
        let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u", "controller": true});
        check(&json!({"name": "a", "ownerReferences": [owner("x")]}), false, &[]);
        check(
            &json!({"name": "a", "ownerReferences": [{"apiVersion": "a/b/c", "kind": "", "name": "", "uid": ""}]}),
            false,
            &[
                r#"metadata.ownerReferences.apiVersion: Invalid value: "a/b/c": version must not be empty"#,
                r#"metadata.ownerReferences.kind: Invalid value: "": must not be empty"#,
                r#"metadata.ownerReferences.name: Invalid value: "": must not be empty"#,
                r#"metadata.ownerReferences.uid: Invalid value: "": must not be empty"#,
            ],
        );
        check(
            &json!({"name": "a", "ownerReferences": [owner("x"), owner("y")]}),
            false,
            &[
                r#"metadata.ownerReferences: Invalid value: [{"apiVersion":"v1","controller":true,"kind":"Pod","name":"x","uid":"u"},{"apiVersion":"v1","controller":true,"kind":"Pod","name":"y","uid":"u"}]: Only one reference can have Controller set to true. Found "true" in references for Pod/x and Pod/y"#,
            ],
        );
        let event = json!({"apiVersion": "v1", "kind": "Event", "name": "n", "uid": "u"});
        check(
            &json!({"name": "a", "ownerReferences": [event]}),
            false,
            &[
                r#"metadata.ownerReferences: Invalid value: {"apiVersion":"v1","kind":"Event","name":"n","uid":"u"}: /v1, Kind=Event is disallowed from being an owner"#,
            ],
        );
    }

    #[test]
    fn what_the_server_set_cannot_be_changed() {
        let old = json!({
            "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "5", "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        });
        check_update(&old, &old, &[]);
        let mut new = old.clone();
        new["creationTimestamp"] = json!("2026-01-01T01:00:00+01:00");
        check_update(&new, &old, &[]);
        check_update(
            &json!({"name": "b", "namespace": "m", "generation": 1, "deletionGracePeriodSeconds": 5}),
            &old,
            &[
                r#"metadata.resourceVersion: Invalid value: "": must be specified for an update"#,
                "metadata.generation: Invalid value: 1: must not be decremented",
                r#"metadata.name: Invalid value: "b": field is immutable"#,
                r#"metadata.namespace: Invalid value: "m": field is immutable"#,
                r#"metadata.uid: Invalid value: "": field is immutable"#,
                "metadata.creationTimestamp: Invalid value: null: field is immutable",
                "metadata.deletionGracePeriodSeconds: Invalid value: 5: field is immutable",
            ],
        );
    }

    #[test]
    fn an_object_that_is_going_takes_no_new_finalizers() {
        let meta = |finalizers: &[&str]| json!({"name": "a", "resourceVersion": "1", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers});
        check_update(&meta(&["a/b"]), &meta(&["a/b", "a/c"]), &[]);
        check_update(
            &meta(&["a/b", "a/z", "a/c"]),
            &meta(&["a/b"]),
            &[
                r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"a/c", "a/z"}"#,
            ],
        );
    }

    #[test]
    fn managed_fields_have_a_known_operation_and_a_printable_manager() {
        check(
            &json!({"name": "a", "managedFields": [{"operation": "Delete", "fieldsType": "V2", "manager": "a\tb"}]}),
            false,
            &[
                r#"metadata.managedFields[0].operation: Invalid value: "Delete": must be `Apply` or `Update`"#,
                r#"metadata.managedFields[0].fieldsType: Invalid value: "V2": must be `FieldsV1`"#,
                r#"metadata.managedFields[0].manager: Invalid value: "a\tb": invalid character U+0009 (at position 1)"#,
            ],
        );
    }
}
