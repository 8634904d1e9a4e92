//! JSON merge patch (RFC 7396): null takes a field away, maps merge, everything else is replaced.

use api_types::{status::Status, wire::json};
use serde_json::{Map as Object, Value};

/// Reads the body of a request: the patch, and the duplicate fields in it. `validated` is whether the client asked for
/// field validation, strict or with warnings; else upstream reads with another reader, which says less.
///
/// # Errors
/// 400 if it is no patch.
pub fn decode(body: &[u8], validated: bool) -> Result<(Value, Vec<String>), Status> {
    let no_patch = || Status::bad_request("Invalid JSON Patch");
    let read = json::decode(body);
    if validated {
        let told = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
        super::object(body).map_err(told)?;
    }
    match read.map_err(|_malformed| no_patch())? {
        (patch @ (Value::Object(_) | Value::Array(_)), duplicates) => Ok((patch, duplicates)),
        _ => Err(no_patch()),
    }
}

/// A value with a patch laid over it. A patch that is no map replaces all there is.
pub fn merge(original: Value, patch: Value) -> Value {
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => Value::Object(merge_maps(original, patch)),
        (_, mut patch) => {
            prune(&mut patch);
            patch
        }
    }
}

fn merge_maps(mut original: Object<String, Value>, patch: Object<String, Value>) -> Object<String, Value> {
    for (name, mut value) in patch {
        match (original.remove(&name), value) {
            (_, Value::Null) => continue,
            (Some(Value::Object(original)), Value::Object(patch)) => {
                value = Value::Object(merge_maps(original, patch));
            }
            // Nulls in what replaces a map stay, as upstream has it.
            (Some(Value::Object(_)), other) => value = other,
            (_, other) => {
                value = other;
                prune(&mut value);
            }
        }
        original.insert(name, value);
    }
    original
}

/// Takes away fields that are null. Nulls that are items of a list stay.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
