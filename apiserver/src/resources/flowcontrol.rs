//! The kinds of `flowcontrol.apiserver.k8s.io`.

pub(crate) mod flowschemas;
mod printed;
pub(crate) mod prioritylevelconfigurations;

use std::collections::BTreeSet;

use api_types::{
    field::{BadValue, Fault, Faults, Path},
    typed::Typed,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::bootstrap::flow_control;

/// An object that the server cannot do without, as it must be.
fn mandatory<T: Typed>(resource: &str, name: &str) -> Option<T> {
    if !flow_control::MANDATORY.contains(&name) {
        return None;
    }
    let items = flow_control::items(Timestamp::UNIX_EPOCH);
    let item = items.iter().find(|item| {
        item.resource == resource
            && item.object.pointer("/metadata/name").and_then(serde_json::Value::as_str) == Some(name)
    })?;
    T::from_value(&item.object).ok()
}

/// In the form that upstream prints.
fn internal(printed: &impl Serialize) -> BadValue {
    // Only maps with keys that are no strings can fail, and there are none.
    BadValue::Plain(serde_json::to_string(printed).unwrap_or_default())
}

/// What is wrong with conditions of these types: each must be there, once.
fn condition_faults<'a>(types: impl Iterator<Item = &'a str>) -> Faults {
    let path = Path::new("status.conditions");
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (index, kind) in types.enumerate() {
        let path = path.index(index).child("type");
        if !seen.insert(kind) {
            faults.push(Fault::duplicate(&path, kind));
        }
        if kind.is_empty() {
            faults.push(Fault::required(&path, ""));
        }
    }
    faults
}
