//! A write that changes nothing but times in the record changes nothing.

use api_types::object::ObjectExt;
use serde_json::Value;

/// Puts the old times back into `new`'s record if times are all that differs from `old`. To be called when `new` is as
/// it would be stored, but for its resourceVersion and generation, which must be the old ones still.
pub fn restore_times(old: &Value, new: &mut Value) {
    let list = |object: &Value| Some(object.meta()?.get("managedFields")?.as_array()?.clone());
    let (Some(before), Some(after)) = (list(old), list(new)) else { return };
    if before == after || before.len() != after.len() {
        return;
    }
    let same_entry = |(before, after): (&Value, &Value)| match (before.as_object(), after.as_object()) {
        (Some(before), Some(after)) => {
            let rest = |(name, _): &(&String, &Value)| *name != "time";
            before.iter().filter(rest).eq(after.iter().filter(rest))
        }
        _ => false,
    };
    if before.iter().zip(&after).all(same_entry) && same_but_for_record(old, new) {
        new.set_meta("managedFields", before);
    }
}

fn same_but_for_record(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return false };
    let metadata = |name: &str| name == "metadata";
    let others = |(name, _): &(&String, &Value)| !metadata(name);
    let record = |(name, _): &(&String, &Value)| *name != "managedFields";
    let meta =
        |object: &serde_json::Map<String, Value>| object.get("metadata").and_then(Value::as_object).cloned();
    let (Some(old_meta), Some(new_meta)) = (meta(old), meta(new)) else { return false };
    old.iter().filter(others).eq(new.iter().filter(others))
        && old_meta.iter().filter(record).eq(new_meta.iter().filter(record))
}

#[cfg(test)]
mod tests;
