//! What another server says of its group and version, put in among ours.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::v2::Sink;

/// A group and version as its server describes it.
#[derive(Debug)]
pub(super) struct Described {
    /// The URL that names the content of `v3`.
    pub url: Option<String>,
    /// The document of OpenAPI 3.0, in JSON.
    pub v3: Option<Bytes>,
    paths: Map<String, Value>,
    definitions: Map<String, Value>,
    parameters: Map<String, Value>,
}

// === impl Described ===

impl Described {
    /// Of the document of OpenAPI 2.0 only what is beneath the path of the group and version is taken, and what that needs.
    pub(super) fn new(path: &str, url: Option<String>, v3: Option<Bytes>, v2: Option<Value>) -> Self {
        let prefix = format!("/{path}/");
        let mut v2 = v2.unwrap_or_default();
        let mut part = |name: &str| match v2.get_mut(name).map(Value::take) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let (mut paths, mut definitions, mut parameters) =
            (part("paths"), part("definitions"), part("parameters"));
        paths.retain(|path, _| path.starts_with(&prefix));
        let mut needed = BTreeSet::new();
        let mut open: Vec<&Value> = paths.values().collect();
        while let Some(value) = open.pop() {
            match value {
                Value::Array(list) => open.extend(list),
                Value::Object(map) => {
                    if let Some(Value::String(reference)) = map.get("$ref")
                        && needed.insert(reference.clone())
                    {
                        open.extend(
                            reference.strip_prefix("#/definitions/").and_then(|name| definitions.get(name)),
                        );
                        open.extend(
                            reference.strip_prefix("#/parameters/").and_then(|name| parameters.get(name)),
                        );
                    }
                    open.extend(map.values());
                }
                _ => {}
            }
        }
        definitions.retain(|name, _| needed.contains(&format!("#/definitions/{name}")));
        parameters.retain(|name, _| needed.contains(&format!("#/parameters/{name}")));
        Self { url, v3, paths, definitions, parameters }
    }

    /// Writes what was not written yet.
    pub(super) fn write_v2(
        &self,
        definitions: &mut BTreeSet<String>,
        parameters: &mut BTreeSet<String>,
        sink: &mut dyn Sink,
    ) {
        for (path, item) in &self.paths {
            sink.path(path, item);
        }
        for (name, schema) in &self.definitions {
            if definitions.insert(name.clone()) {
                sink.definition(name, schema);
            }
        }
        for (name, parameter) in &self.parameters {
            if parameters.insert(name.clone()) {
                sink.parameter(name, parameter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_a_group_and_version_needs_is_taken() {
        let reference = |name: &str| json!({"schema": {"$ref": format!("#/definitions/{name}")}});
        let v2 = json!({
            "paths": {"/apis/g/v1/things": {"get": reference("A")}, "/apis/g/v2/things": {"get": reference("C")}},
            "definitions": {"A": reference("B"), "B": reference("A"), "C": {}},
            "parameters": {"p": {}},
        });
        let described = Described::new("apis/g/v1", None, None, Some(v2));
        let names = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&described.paths), ["/apis/g/v1/things"]);
        assert_eq!(names(&described.definitions), ["A", "B"]);
        assert!(described.parameters.is_empty());
    }
}
