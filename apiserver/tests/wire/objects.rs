//! The full-featured objects: one file a resource in `objects/`, filled by `fill` from the seeds, kept as data.

use std::{fs, path::PathBuf};

use api_types::{object::ObjectExt as _, wire};
use apiserver::registry::catalogue::Served;
use serde_json::{Value, json};

/// An object and, if its kind has one that can be written, its status.
pub(crate) struct Full {
    pub(crate) object: Value,
    pub(crate) status: Option<Value>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

fn file(key: &str) -> PathBuf {
    folder().join("objects").join(format!("{}.json", key.trim_start_matches('/').replace('/', ".")))
}

pub(crate) fn is_there(key: &str) -> bool {
    file(key).exists()
}

/// The objects the filling begins with.
pub(crate) fn seed(key: &str, served: &Served) -> Value {
    let text = fs::read(folder().join("seeds.yaml")).unwrap();
    let seeds = wire::yaml::to_value(&text).unwrap().value;
    let mut object = seeds.get(key).cloned().unwrap_or_else(|| panic!("no seed for {key}"));
    let kind = served.resource.kind();
    object["kind"] = json!(kind.kind);
    object["apiVersion"] = json!(kind.api_version());
    object
}

/// The full-featured object of a resource.
pub(crate) fn full(key: &str) -> Full {
    let path = file(key);
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut whole: Value = serde_json::from_slice(&text).unwrap();
    let status = whole.as_object_mut().and_then(|map| map.remove("status"));
    Full { object: whole["object"].take(), status }
}

pub(crate) fn write(key: &str, full: &Full) {
    let mut whole = json!({"object": full.object});
    if let Some(status) = &full.status {
        whole["status"] = status.clone();
    }
    let mut text = serde_json::to_string_pretty(&whole).unwrap();
    text.push('\n');
    fs::create_dir_all(folder().join("objects")).unwrap();
    fs::write(file(key), text).unwrap();
}

/// Everything in `sent` that is not in `got`.
pub(crate) fn lost(sent: &Value, got: &Value) -> Vec<String> {
    let mut lost = Vec::new();
    compare(sent, got, "", &mut lost);
    lost
}

fn compare(sent: &Value, got: &Value, at: &str, lost: &mut Vec<String>) {
    match (sent, got) {
        (Value::Object(sent), Value::Object(got)) => {
            for (name, value) in sent {
                let at = format!("{at}.{name}");
                match got.get(name) {
                    Some(got) => compare(value, got, &at, lost),
                    None => lost.push(at),
                }
            }
        }
        (Value::Array(sent), Value::Array(got)) if sent.len() <= got.len() => {
            for (index, (sent, got)) in sent.iter().zip(got).enumerate() {
                compare(sent, got, &format!("{at}[{index}]"), lost);
            }
        }
        // `k8s_openapi` writes 10.0 where Go writes 10.
        (Value::Number(sent), Value::Number(got)) if sent.as_f64() == got.as_f64() => {}
        (sent, got) if sent == got => {}
        _ => lost.push(at.to_owned()),
    }
}

/// Finds two values the same, and tells where they are not.
#[track_caller]
pub(crate) fn same(left: &Value, right: &Value, what: &str) {
    let (gone, come) = (lost(left, right), lost(right, left));
    assert!(
        gone.is_empty() && come.is_empty(),
        "{what}: gone or changed: {gone:?}, come or changed: {come:?}"
    );
}

/// An object without what differs between two creations of it.
pub(crate) fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        object.meta_mut().remove(field);
    }
    settle(&mut object);
    object
}

/// The volume of a service account's token has a random name.
fn settle(value: &mut Value) {
    const TOKENS: &str = "kube-api-access-";
    match value {
        Value::Object(map) => map.values_mut().for_each(settle),
        Value::Array(items) => items.iter_mut().for_each(settle),
        Value::String(text) if text.starts_with(TOKENS) => text.truncate(TOKENS.len()),
        _ => {}
    }
}

/// What protobuf carries of an object: those within another one have no kind there, as upstream's have none.
pub(crate) fn carried(object: &Value) -> Value {
    let mut object = object.clone();
    let templates = object.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
    for template in templates.into_iter().flatten().filter_map(Value::as_object_mut) {
        template.retain(|name, _| name != "kind" && name != "apiVersion");
    }
    object
}
