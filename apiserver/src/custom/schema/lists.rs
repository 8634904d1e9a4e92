//! Lists that are sets or maps hold each item once.

use std::collections::BTreeMap;

use api_types::field::{BadValue, Fault, Faults, Path};
use serde_json::{Map, Value};

use super::{ListType, Structural};

impl Structural {
    /// The repetitions in lists that are sets or maps.
    pub(super) fn list_faults(&self, object: &Value) -> Faults {
        let mut faults = Vec::new();
        walk(&Path::root(), self, object, &mut faults);
        faults
    }
}

fn walk(path: &Path, schema: &Structural, value: &Value, faults: &mut Faults) {
    match value {
        Value::Object(map) => {
            if let Some(additional) = schema.additional_schema() {
                for (name, value) in map {
                    walk(&path.key(name), additional, value, faults);
                }
            }
            for (name, value) in map {
                if let Some(property) = schema.property(name) {
                    walk(&path.child(name), property, value, faults);
                }
            }
        }
        Value::Array(list) => {
            match schema.list_type {
                ListType::Set => {
                    let repeated = repetitions(list.iter().map(ToString::to_string));
                    faults.extend(
                        repeated
                            .into_iter()
                            .filter_map(|at| Some(duplicate(path, at, list.get(at)?.clone()))),
                    );
                }
                ListType::Map => map_faults(path, schema, list, faults),
                ListType::Unsaid | ListType::Atomic => {}
            }
            if let Some(items) = schema.items() {
                for (index, item) in list.iter().enumerate() {
                    walk(&path.index(index), items, item, faults);
                }
            }
        }
        _ => {}
    }
}

fn duplicate(path: &Path, at: usize, value: Value) -> Fault {
    let value = match value {
        Value::String(text) => BadValue::Text(text),
        other => super::metadata::printed(&other),
    };
    Fault::duplicate(&path.index(at), value)
}

fn map_faults(path: &Path, schema: &Structural, list: &[Value], faults: &mut Faults) {
    let odd = list.iter().enumerate().find(|(_, item)| !item.is_null() && !item.is_object());
    if let Some((index, item)) = odd {
        let detail = "must be an object for an array of list-type map";
        let value = super::metadata::printed(item);
        faults.push(Fault::invalid(&path.index(index), value, detail));
        return;
    }
    let key_of = |item: &Value| -> Map<String, Value> {
        let names = schema.list_map_keys().iter();
        names.filter_map(|name| Some((name.to_string(), item.get(name.as_ref())?.clone()))).collect()
    };
    let keys: Vec<Value> = list.iter().map(|item| Value::Object(key_of(item))).collect();
    for at in repetitions(keys.iter().map(ToString::to_string)) {
        let Some(key) = keys.get(at) else { continue };
        faults.push(Fault::duplicate(&path.index(at), BadValue::Json(key.clone())));
    }
}

/// Where something comes for the second time. A third is not told.
fn repetitions(texts: impl Iterator<Item = String>) -> Vec<usize> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut repeated = Vec::new();
    for (index, text) in texts.enumerate() {
        let times = seen.entry(text).or_default();
        *times += 1;
        if *times == 2 {
            repeated.push(index);
        }
    }
    repeated
}
