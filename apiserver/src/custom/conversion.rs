//! Objects converted by a webhook: the ConversionReview that goes out, and what the answer must be.
//!
//! Invariant: metadata is the server's, labels and annotations excepted. Whatever a webhook makes of the rest of it is put
//! back.
//! See "Webhook conversion" among the API concepts of CustomResourceDefinitions.

use api_types::{
    field::{Path, aggregate, go_quote},
    kind::GroupVersion,
    object::{ObjectExt, object_of},
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    resources::shared::{metadata, selectors},
    webhooks::client::{Client, TIMEOUT_DEFAULT},
};

const GROUP: &str = "apiextensions.k8s.io";

/// Has objects of one kind converted.
///
/// # Errors
/// What the message of the failure says.
pub async fn call(
    client: &Client,
    review_versions: &[String],
    objects: &[Value],
    target: &str,
    uid: &str,
) -> Result<Vec<Value>, String> {
    let version = review_versions
        .iter()
        .find(|version| matches!(version.as_str(), "v1" | "v1beta1"))
        .ok_or("no supported conversion review versions")?;
    let of = objects.first().map(kind_of).unwrap_or_default();
    let failed = |why: &str| format!("conversion webhook for {of} failed: {why}");
    let review = request(version, objects, target, uid);
    let body = Bytes::from(review.to_string());
    let answer = client.post(body, TIMEOUT_DEFAULT).await.map_err(|error| failed(&error.0))?;
    let answer: Value = serde_json::from_slice(&answer).map_err(|error| failed(&error.to_string()))?;
    let converted = answered(version, uid, answer).map_err(|why| failed(&why))?;
    if converted.len() != objects.len() {
        let (got, wanted) = (converted.len(), objects.len());
        return Err(format!("conversion webhook for {of} returned {got} objects, expected {wanted}"));
    }
    let alone = objects.len() == 1;
    objects
        .iter()
        .zip(converted)
        .enumerate()
        .map(|(index, (original, converted))| {
            accept(original, converted, target).map_err(|wrong| {
                let place = if alone { String::new() } else { format!(" in object at index {index}") };
                match wrong {
                    Wrong::Object(why) if alone => {
                        format!("conversion webhook for {of} returned invalid object: {why}")
                    }
                    Wrong::Object(why) => format!(
                        "conversion webhook for {of} returned invalid converted object at index {index}: {why}"
                    ),
                    Wrong::Metadata(why) => {
                        format!("conversion webhook for {of} returned invalid metadata{place}: {why}")
                    }
                }
            })
        })
        .collect()
}

/// What is wrong with a converted object.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    Object(String),
    Metadata(String),
}

fn request(version: &str, objects: &[Value], target: &str, uid: &str) -> Value {
    json!({
        "kind": "ConversionReview",
        "apiVersion": format!("{GROUP}/{version}"),
        "request": {"uid": uid, "desiredAPIVersion": target, "objects": objects},
    })
}

/// The objects of an answer.
fn answered(version: &str, uid: &str, mut answer: Value) -> Result<Vec<Value>, String> {
    if version == "v1" {
        let wanted = print_kind(&format!("{GROUP}/v1"), "ConversionReview");
        let found = kind_of(&answer);
        if found != wanted {
            return Err(format!("expected webhook response of {wanted}, got {found}"));
        }
    }
    let response = answer.get_mut("response").filter(|response| response.is_object());
    let Some(response) = response else { return Err("no response provided".to_owned()) };
    let text = |path: &str| response.pointer(path).and_then(Value::as_str).unwrap_or_default();
    if version == "v1" && text("/uid") != uid {
        return Err(format!("expected response.uid={}, got {}", go_quote(uid), go_quote(text("/uid"))));
    }
    let status = text("/result/status");
    if status != "Success" {
        return Err(match text("/result/message") {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    Ok(match response.get_mut("convertedObjects").map(Value::take) {
        Some(Value::Array(objects)) => objects,
        _ => Vec::new(),
    })
}

/// A converted object with the metadata of the original, if it is the same object in the version that was asked for.
fn accept(original: &Value, mut converted: Value, target: &str) -> Result<Value, Wrong> {
    let text = |object: &Value, field: &str| {
        object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let wrong = |why: String| Err(Wrong::Object(why));
    let version = text(&converted, "apiVersion");
    if version != target {
        return wrong(format!("invalid groupVersion (expected {target}, received {version})"));
    }
    let (kind, expected) = (text(&converted, "kind"), text(original, "kind"));
    if kind != expected {
        return wrong(format!("invalid kind (expected {expected}, received {kind})"));
    }
    for (what, was, is) in [
        ("name", original.name(), converted.name()),
        ("namespace", original.namespace(), converted.namespace()),
        ("UID", original.uid(), converted.uid()),
    ] {
        if was != is {
            return wrong(format!("must have the same {what}: {was} != {is}"));
        }
    }
    let answered = match converted.get_mut("metadata").map(Value::take) {
        None => return Err(Wrong::Metadata("missing metadata in converted object".to_owned())),
        Some(Value::Object(meta)) => meta,
        Some(other) => {
            let kind = go_type(&other);
            return Err(Wrong::Metadata(format!("invalid metadata of type {kind} in converted object")));
        }
    };
    let mut meta = original.meta().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match answered.get(field) {
            None | Some(Value::Null) => drop(meta.remove(field)),
            Some(Value::Object(map)) => {
                if meta.get(field).and_then(Value::as_object) != Some(map) {
                    check(field, map).map_err(Wrong::Metadata)?;
                }
                meta.insert(field.to_owned(), Value::Object(map.clone()));
            }
            Some(other) => {
                let kind = go_type(other);
                let why = format!("invalid metadata.{field} of type {kind} in converted object");
                return Err(Wrong::Metadata(why));
            }
        }
    }
    object_of(&mut converted).insert("metadata".to_owned(), Value::Object(meta));
    Ok(converted)
}

/// Finds that labels or annotations are such.
fn check(field: &str, map: &serde_json::Map<String, Value>) -> Result<(), String> {
    let mut texts = std::collections::BTreeMap::new();
    for (key, value) in map {
        let Some(text) = value.as_str() else {
            let kind = go_type(value);
            return Err(format!(
                "metadata.{field}[{key}] must be a string, but is {kind} in converted object"
            ));
        };
        texts.insert(key.clone(), text.to_owned());
    }
    let faults = if field == "labels" {
        let pairs = texts.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        selectors::label_pairs(pairs, &Path::new("metadata").child("labels"))
    } else {
        metadata::validate_annotations(Some(&texts), &Path::new("metadata").child("annotation"))
    };
    if faults.is_empty() { Ok(()) } else { Err(aggregate(faults.iter())) }
}

/// A kind as these messages print it.
fn kind_of(object: &Value) -> String {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    print_kind(text("apiVersion"), text("kind"))
}

fn print_kind(api_version: &str, kind: &str) -> String {
    let version = GroupVersion::parse(api_version).unwrap_or_default();
    format!("{}/{}, Kind={kind}", version.group, version.version)
}

/// The name that Go has for the type of a decoded value.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original() -> Value {
        json!({"apiVersion": "g/v1", "kind": "Foo", "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 3, "labels": {"x": "y"}}, "spec": {"a": 1}})
    }

    #[test]
    fn metadata_stays_but_for_labels_and_annotations() {
        let converted = json!({"apiVersion": "g/v2", "kind": "Foo", "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 9, "annotations": {"b": "c"}}, "spec": {"b": 1}});
        assert_eq!(
            accept(&original(), converted, "g/v2").unwrap(),
            json!({"apiVersion": "g/v2", "kind": "Foo", "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 3, "annotations": {"b": "c"}}, "spec": {"b": 1}})
        );
    }

    #[test]
    fn another_object_is_refused() {
        let good = json!({"apiVersion": "g/v2", "kind": "Foo", "metadata": {"name": "a", "namespace": "n", "uid": "u"}});
        for (path, value, why) in [
            ("/apiVersion", json!("g/v3"), "invalid groupVersion (expected g/v2, received g/v3)"),
            ("/kind", json!("Bar"), "invalid kind (expected Foo, received Bar)"),
            ("/metadata/name", json!("b"), "must have the same name: a != b"),
            ("/metadata/uid", json!("v"), "must have the same UID: u != v"),
        ] {
            let mut converted = good.clone();
            *converted.pointer_mut(path).unwrap() = value;
            assert_eq!(accept(&original(), converted, "g/v2"), Err(Wrong::Object(why.to_owned())));
        }
        let mut converted = good;
        converted["metadata"]["labels"] = json!({"x": 1});
        let why = "metadata.labels[x] must be a string, but is int64 in converted object";
        assert_eq!(accept(&original(), converted, "g/v2"), Err(Wrong::Metadata(why.to_owned())));
    }

    #[test]
    fn an_answer_is_for_the_question_and_successful() {
        let answer = |response: Value| json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
        let good = json!({"uid": "1", "result": {"status": "Success"}, "convertedObjects": [{}]});
        assert_eq!(answered("v1", "1", answer(good)), Ok(vec![json!({})]));
        for (version, given, why) in [
            (
                "v1",
                json!({"kind": "Odd", "apiVersion": "v1"}),
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /v1, Kind=Odd",
            ),
            ("v1", answer(json!(null)), "no response provided"),
            ("v1", answer(json!({"uid": "2"})), r#"expected response.uid="1", got "2""#),
            (
                "v1beta1",
                json!({"response": {"result": {"status": "Failure"}}}),
                "response.result.status was 'Failure', not 'Success'",
            ),
            ("v1", answer(json!({"uid": "1", "result": {"status": "Failure", "message": "no"}})), "no"),
        ] {
            assert_eq!(answered(version, "1", given), Err(why.to_owned()));
        }
    }
}
