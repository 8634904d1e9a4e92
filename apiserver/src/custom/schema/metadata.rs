//! The metadata of custom objects, and of objects within them: it has its own type, whatever the schema says.

use std::sync::LazyLock;

use api_types::{
    field::{BadValue, Fault, Faults, Path},
    schema::{TypeRef, schema},
    wire::typed,
};
use serde_json::Value;

use super::Structural;
use crate::resources::shared::{
    metadata,
    names::{dns1035_label, path_segment},
};

/// What becomes of metadata that does not fit its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is an error: of requests.
    Refused,
    /// It is dropped: of what was stored by a server that did not look.
    Dropped,
}

static OBJECT_META: LazyLock<Option<TypeRef>> =
    LazyLock::new(|| schema().by_openapi_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"));

impl Structural {
    /// What decoding does to a custom object: it drops and tells fields that the schema does not have (unless `prune`
    /// is off), drops nulls that are no values, and brings metadata into its type. Answers the unknown paths, as
    /// `fieldValidation` tells them.
    ///
    /// # Errors
    /// Metadata that does not fit its type, in Go's words.
    pub fn coerce(
        &self,
        object: &mut Value,
        malformed: Malformed,
        prune: bool,
    ) -> Result<Vec<String>, String> {
        let mut unknown = Vec::new();
        let meta = coerced_metadata(object, malformed, "metadata", &mut unknown)?;
        if let Some(map) = object.as_object_mut() {
            // The root's own is neither pruned nor coerced by the schema; it comes back below.
            map.remove("metadata");
        }
        if prune {
            unknown.extend(self.prune(object));
            self.drop_nulls(object);
        }
        let mut embedded = Vec::new();
        self.coerce_embedded(object, malformed, &mut embedded).map_err(|fault| fault.to_string())?;
        embedded.sort();
        unknown.extend(embedded);
        if let (Some(meta), Some(map)) = (meta, object.as_object_mut()) {
            map.insert("metadata".to_owned(), meta);
        }
        Ok(unknown)
    }

    /// Brings metadata of objects within an object into its type.
    pub(super) fn coerce_embedded(
        &self,
        value: &mut Value,
        malformed: Malformed,
        unknown: &mut Vec<String>,
    ) -> Result<(), Box<Fault>> {
        coerce_at(&Path::root(), value, self, self.is_embedded(), malformed, unknown)
    }

    /// The same for a part of an object, at a path.
    pub(super) fn coerce_part(&self, path: &Path, value: &mut Value) -> Result<(), Box<Fault>> {
        coerce_at(path, value, self, self.is_embedded(), Malformed::Refused, &mut Vec::new())
    }

    /// The same for a whole object, the root of which counts as one whatever the schema says.
    pub(super) fn coerce_object(&self, path: &Path, value: &mut Value) -> Result<(), Box<Fault>> {
        coerce_at(path, value, self, true, Malformed::Refused, &mut Vec::new())
    }

    /// What is wrong with kinds and metadata of objects within an object.
    pub(super) fn embedded_faults(&self, path: &Path, value: &Value, is_object: bool) -> Faults {
        let mut faults = Vec::new();
        judge_at(path, value, self, is_object, &mut faults);
        faults
    }
}

/// The metadata of an object as its type has it; none if there is none, or none that can be saved.
fn coerced_metadata(
    object: &Value,
    malformed: Malformed,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<Option<Value>, String> {
    let (Some(given), Some(of)) = (object.get("metadata"), *OBJECT_META) else { return Ok(None) };
    let mut keep = |decoded: typed::Decoded| {
        for message in &decoded.strict {
            // `unknown field "a.b"`: the path is what stands in quotes.
            let field = message.split_once('"').and_then(|(_, rest)| rest.strip_suffix('"'));
            unknown.push(format!("{path}.{}", field.unwrap_or(message)));
        }
        decoded.value
    };
    match typed::coerce(given.clone(), of) {
        Ok(decoded) => return Ok(Some(keep(decoded))),
        Err(error) if malformed == Malformed::Refused => return Err(error),
        Err(_) => {}
    }
    let Some(map) = given.as_object() else {
        return Err(format!("invalid metadata: expected object, got {}", go_type(given)));
    };
    let fits = |name: &String, value: &Value| {
        let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
        typed::coerce(alone, of).is_ok()
    };
    let rest = map.iter().filter(|(name, value)| fits(name, value));
    let rest = Value::Object(rest.map(|(name, value)| (name.clone(), value.clone())).collect());
    Ok(typed::coerce(rest, of).ok().map(keep))
}

fn go_type(value: &Value) -> &'static str {
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

fn coerce_at(
    path: &Path,
    value: &mut Value,
    schema: &Structural,
    is_object: bool,
    malformed: Malformed,
    unknown: &mut Vec<String>,
) -> Result<(), Box<Fault>> {
    match value {
        Value::Object(_) => {
            if is_object {
                coerce_type(path, value, malformed)?;
                let meta_path = path.child("metadata");
                match coerced_metadata(value, malformed, meta_path.as_str(), unknown) {
                    Ok(Some(meta)) => {
                        if let Some(map) = value.as_object_mut() {
                            map.insert("metadata".to_owned(), meta);
                        }
                    }
                    Ok(None) => {}
                    Err(_) if malformed == Malformed::Dropped => {}
                    Err(error) => {
                        let given = value.get("metadata").cloned().unwrap_or_default();
                        return Err(Box::new(Fault::invalid(&meta_path, given, error)));
                    }
                }
            }
            for (name, value) in value.as_object_mut().into_iter().flatten() {
                let (path, child) = match schema.property(name) {
                    Some(property) => (path.child(name), Some(property)),
                    None => (path.key(name), schema.additional_schema()),
                };
                if let Some(child) = child {
                    coerce_at(&path, value, child, child.is_embedded(), malformed, unknown)?;
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = schema.items() else { return Ok(()) };
            for (index, item) in list.iter_mut().enumerate() {
                coerce_at(&path.index(index), item, items, items.is_embedded(), malformed, unknown)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn coerce_type(path: &Path, value: &mut Value, malformed: Malformed) -> Result<(), Box<Fault>> {
    let Some(map) = value.as_object_mut() else { return Ok(()) };
    for field in ["apiVersion", "kind"] {
        let Some(given) = map.get(field).filter(|given| !given.is_string()) else { continue };
        if malformed == Malformed::Refused {
            let given = printed(given);
            return Err(Box::new(Fault::invalid(&path.child(field), given, "must be a string")));
        }
        map.remove(field);
    }
    Ok(())
}

fn judge_at(path: &Path, value: &Value, schema: &Structural, is_object: bool, faults: &mut Faults) {
    match value {
        Value::Object(map) => {
            if is_object {
                judge_object(path, value, faults);
            }
            for (name, value) in map {
                let (path, child) = match schema.property(name) {
                    Some(property) => (path.child(name), Some(property)),
                    None => (path.key(name), schema.additional_schema()),
                };
                if let Some(child) = child {
                    judge_at(&path, value, child, child.is_embedded(), faults);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = schema.items() else { return };
            for (index, item) in list.iter().enumerate() {
                judge_at(&path.index(index), item, items, items.is_embedded(), faults);
            }
        }
        _ => {}
    }
}

/// What is wrong with the kind and the metadata of one object.
fn judge_object(path: &Path, object: &Value, faults: &mut Faults) {
    for field in ["apiVersion", "kind"] {
        if object.get(field).is_none() {
            faults.push(Fault::required(&path.child(field), ""));
        }
    }
    for field in ["apiVersion", "kind"] {
        let (path, Some(given)) = (path.child(field), object.get(field)) else { continue };
        match given.as_str() {
            None => faults.push(Fault::invalid(&path, printed(given), "must be a string")),
            Some("") => faults.push(Fault::invalid(&path, "", "must not be empty")),
            Some(version) if field == "apiVersion" => {
                if version.matches('/').count() > 1 {
                    let detail = format!("unexpected GroupVersion string: {version}");
                    faults.push(Fault::invalid(&path, version, detail));
                }
            }
            Some(kind) => {
                let wrongs = dns1035_label(&kind.to_lowercase());
                if !wrongs.is_empty() {
                    let wrongs = wrongs.join(",");
                    let detail = format!("may have mixed case, but should otherwise match: {wrongs}");
                    faults.push(Fault::invalid(&path, kind, detail));
                }
            }
        }
    }
    if let Some(given) = object.get("metadata") {
        let meta_path = path.child("metadata");
        match coerced_metadata(object, Malformed::Refused, meta_path.as_str(), &mut Vec::new()) {
            Err(error) => faults.push(Fault::invalid(&meta_path, printed(given), error)),
            Ok(None) => {}
            Ok(Some(mut meta)) => {
                let text = |field: &str| meta.get(field).and_then(Value::as_str).unwrap_or_default();
                let namespaced = !text("namespace").is_empty();
                if text("name").is_empty()
                    && let Some(map) = meta.as_object_mut()
                {
                    // A name is not needed here, and any would do.
                    map.insert("name".to_owned(), "fakename".into());
                }
                let found = metadata::validate(&meta, namespaced, &path_segment);
                faults.extend(found.into_iter().map(|mut fault| {
                    fault.field = path.child(&fault.field).to_string();
                    fault
                }));
            }
        }
    }
}

/// A value as faults print it.
pub(super) fn printed(value: &Value) -> BadValue {
    match value {
        Value::Number(number) => BadValue::Plain(super::numbers::text(number)),
        other => BadValue::from(other.clone()),
    }
}
