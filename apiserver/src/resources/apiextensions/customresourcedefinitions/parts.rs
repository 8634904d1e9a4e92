//! What is wrong with the parts of a definition that are no schemas.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path, go_quote};
use serde_json::Value;

use super::{
    json::{get, is_on, items, text},
    paths::{self, Brackets},
};
use crate::resources::shared::names::dns1035_label;

/// How many fields selectors may know.
pub(super) const SELECTABLE_MAX: usize = 8;
const DEPRECATION_LENGTH_MAX: usize = 256;
const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] =
    &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// What is wrong with names that are there.
pub(super) fn name_faults(names: &Value, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for field in ["plural", "singular"] {
        faults.extend(label_fault(text(names, field), &path.child(field)));
    }
    for field in ["kind", "listKind"] {
        let name = text(names, field);
        let wrongs = dns1035_label(&name.to_lowercase());
        if !name.is_empty() && !wrongs.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", wrongs.join(","));
            faults.push(Fault::invalid(&path.child(field), name, detail));
        }
    }
    faults.extend(list_faults(names, "shortNames", path));
    let (kind, list_kind) = (text(names, "kind"), text(names, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        let detail = "kind and listKind may not be the same";
        faults.push(Fault::invalid(&path.child("listKind"), list_kind, detail));
    }
    faults.extend(list_faults(names, "categories", path));
    faults
}

fn label_fault(name: &str, path: &Path) -> Option<Fault> {
    let wrongs = dns1035_label(name);
    (!name.is_empty() && !wrongs.is_empty()).then(|| Fault::invalid(path, name, wrongs.join(",")))
}

fn list_faults(names: &Value, field: &str, path: &Path) -> Faults {
    let names = items(names, field).iter().map(|name| name.as_str().unwrap_or_default());
    names
        .enumerate()
        .filter_map(|(index, name)| {
            let wrongs = dns1035_label(name);
            (!wrongs.is_empty())
                .then(|| Fault::invalid(&path.child(field).index(index), name, wrongs.join(",")))
        })
        .collect()
}

/// What is wrong with what users of an old version are told.
pub(super) fn deprecation_faults(version: &Value, path: &Path) -> Faults {
    let Some(warning) = get(version, "deprecationWarning").and_then(Value::as_str) else { return Vec::new() };
    let mut wrongs = Vec::new();
    if !is_on(version, "deprecated") {
        wrongs.push("can only be set for deprecated versions".to_owned());
    } else {
        if warning.len() > DEPRECATION_LENGTH_MAX {
            wrongs.push("must be <= 256 characters long".to_owned());
        }
        if warning.is_empty() {
            wrongs.push("must not be an empty string".to_owned());
        }
        if let Some((at, _)) = warning.char_indices().find(|(_, it)| !is_print(*it)) {
            wrongs.push(format!(
                "must only contain printable UTF-8 characters; non-printable character found at index {at}"
            ));
        }
    }
    wrongs.into_iter().map(|wrong| Fault::invalid(path, BadValue::json(&warning), wrong)).collect()
}

/// Whether quoting leaves the character as it is.
fn is_print(it: char) -> bool {
    matches!(it, '"' | '\\') || go_quote(&it.to_string()) == format!("\"{it}\"")
}

/// What is wrong with the subresources.
pub(super) fn subresource_faults(subresources: &Value, path: &Path) -> Faults {
    let Some(scale) = get(subresources, "scale") else { return Vec::new() };
    let path = path.child("scale");
    let mut faults = Vec::new();
    for (field, under) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let (value, path) = (text(scale, field), path.child(field));
        if value.is_empty() {
            faults.push(Fault::required(&path, ""));
        } else if let Some(fault) = simple_path_fault(value, &path) {
            faults.push(fault);
        } else if !is_under(value, under) {
            faults.push(Fault::invalid(&path, value, format!("should be a json path under {under}")));
        }
    }
    let (value, path) = (text(scale, "labelSelectorPath"), path.child("labelSelectorPath"));
    if value.is_empty() {
        return faults;
    }
    if let Some(fault) = simple_path_fault(value, &path) {
        faults.push(fault);
    } else if !is_under(value, ".spec") && !is_under(value, ".status") {
        let detail = "should be a json path under either .spec or .status";
        faults.push(Fault::invalid(&path, BadValue::json(&value), detail));
    }
    faults
}

fn is_under(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.starts_with('.'))
}

fn simple_path_fault(value: &str, path: &Path) -> Option<Fault> {
    let detail = "must be a simple json path starting with .";
    (!value.starts_with('.')).then(|| Fault::invalid(path, value, detail))
}

/// What is wrong with a column.
pub(super) fn column_faults(column: &Value, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if text(column, "name").is_empty() {
        faults.push(Fault::required(&path.child("name"), ""));
    }
    let one_of = |known: &[&str]| format!("must be one of {}", known.join(","));
    match text(column, "type") {
        "" => faults.push(Fault::required(&path.child("type"), one_of(COLUMN_TYPES))),
        known if COLUMN_TYPES.contains(&known) => {}
        odd => faults.push(Fault::invalid(&path.child("type"), odd, one_of(COLUMN_TYPES))),
    }
    let format = text(column, "format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        faults.push(Fault::invalid(&path.child("format"), format, one_of(COLUMN_FORMATS)));
    }
    // The field had this name in the beta version.
    let (value, path) = (text(column, "jsonPath"), path.child("JSONPath"));
    if value.is_empty() {
        faults.push(Fault::required(&path, ""));
    } else {
        faults.extend(simple_path_fault(value, &path));
    }
    faults
}

/// What is wrong with the fields that selectors can name.
pub(super) fn field_faults(fields: &[Value], schema: Option<&Value>, many: bool, path: &Path) -> Faults {
    let schema = schema.unwrap_or(&Value::Null);
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let (value, path) = (text(field, "jsonPath"), path.index(index).child("jsonPath"));
        if value.is_empty() {
            faults.push(Fault::required(&path, ""));
            continue;
        }
        let (names, found) = match paths::resolve(value, schema, Brackets::Forbidden) {
            Ok(resolved) => resolved,
            Err(wrong) => {
                faults.push(Fault::invalid(&path, value, format!("is an invalid path: {wrong}")));
                continue;
            }
        };
        if names.first().is_some_and(|name| name == "metadata") {
            faults.push(Fault::invalid(&path, value, "must not point to fields in metadata"));
        }
        if !found.is_some_and(|found| matches!(text(found, "type"), "string" | "boolean" | "integer")) {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            faults.push(Fault::invalid(&path, value, detail));
        }
        if !seen.insert(names) {
            faults.push(Fault::duplicate(&path, value));
        }
    }
    if seen.len() > SELECTABLE_MAX && !many {
        faults.push(Fault::too_many(path, seen.len(), SELECTABLE_MAX));
    }
    faults
}
