//! OpenAPI 2.0: one document for everything. Old clients know nothing else, and `kubectl` still validates with it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    components::{self, Dialect},
    operations::{Body, Content, Media, Operation, PathItem, Paths},
    parameters::{Parameter, Place},
    v3::media_types,
};

/// What a document is written to: as JSON or as protobuf.
pub(super) trait Sink {
    /// The operations of a path.
    fn path(&mut self, path: &str, item: &Value);
    /// A definition.
    fn definition(&mut self, name: &str, schema: &Value);
    /// A parameter that operations refer to.
    fn parameter(&mut self, name: &str, parameter: &Value);
}

/// The document as JSON.
#[derive(Debug, Default)]
pub(super) struct Json {
    paths: String,
    definitions: String,
    parameters: String,
}

/// Parameters that operations refer to, by name in the document.
pub(super) type Shared = BTreeMap<String, Parameter>;

// === impl Json ===

impl Sink for Json {
    fn path(&mut self, path: &str, item: &Value) {
        super::push_entry_separated(&mut self.paths, path, item);
    }

    fn definition(&mut self, name: &str, schema: &Value) {
        super::push_entry_separated(&mut self.definitions, name, schema);
    }

    fn parameter(&mut self, name: &str, parameter: &Value) {
        super::push_entry_separated(&mut self.parameters, name, parameter);
    }
}

impl Json {
    /// The document.
    pub(super) fn finish(self) -> String {
        format!(
            "{{\"swagger\":\"2.0\",\"info\":{},\"paths\":{{{}}},\"definitions\":{{{}}},\"parameters\":{{{}}},\
             \"securityDefinitions\":{},\"security\":{}}}",
            info(),
            self.paths,
            self.definitions,
            self.parameters,
            json!({"BearerToken": super::bearer_token()}),
            json!([{"BearerToken": []}]),
        )
    }
}

/// What the document says of itself.
pub(super) fn info() -> Value {
    json!({"title": "Kubernetes", "version": crate::discovery::version::GIT_VERSION})
}

/// Writes these paths. Query parameters are said once and referred to.
pub(super) fn write_paths(paths: &Paths, shared: &mut Shared, sink: &mut dyn Sink) {
    for (path, item) in paths {
        sink.path(path, &path_item(item, shared));
    }
}

/// Writes the parameters that the paths refer to.
pub(super) fn write_parameters(shared: &Shared, sink: &mut dyn Sink) {
    for (name, parameter) in shared {
        sink.parameter(name, &parameter.v2());
    }
}

/// A parameter where it is used: a reference, if it is a query parameter.
fn parameter(parameter: &Parameter, shared: &mut Shared) -> Value {
    if parameter.place == Place::Path && parameter.name == "name" {
        return parameter.v2();
    }
    // Several parameters of one name and different meaning are told apart by a number.
    let mut name = parameter.name.to_owned();
    let mut number = 1;
    while shared.get(&name).is_some_and(|other| other != parameter) {
        number += 1;
        name = format!("{}-{number}", parameter.name);
    }
    let reference = json!({"$ref": format!("#/parameters/{name}")});
    shared.entry(name).or_insert_with(|| parameter.clone());
    reference
}

fn path_item(item: &PathItem, shared: &mut Shared) -> Value {
    let mut value = Map::new();
    if !item.parameters.is_empty() {
        let parameters: Vec<Value> = item.parameters.iter().map(|it| parameter(it, shared)).collect();
        value.insert("parameters".to_owned(), parameters.into());
    }
    for it in &item.operations {
        value.insert(it.method.to_owned(), operation(it, shared));
    }
    Value::Object(value)
}

fn operation(operation: &Operation, shared: &mut Shared) -> Value {
    let mut value = Map::new();
    let mut parameters: Vec<Value> = Vec::new();
    // What is no object says that it takes what it gives, though it takes nothing.
    let mut consumes =
        if operation.kind.is_some() { vec!["*/*"] } else { media_types(operation.media).to_vec() };
    if let Some((body, definition)) = &operation.body {
        let mut parameter =
            json!({"name": "body", "in": "body", "schema": Dialect::V2.reference(definition)});
        let required = match body {
            Body::Object { required } => *required,
            Body::Custom { required } => {
                consumes = media_types(Media::Custom).to_vec();
                *required
            }
            Body::Patch { strategic } => {
                consumes = super::patch_types(*strategic);
                true
            }
        };
        if let (true, Some(map)) = (required, parameter.as_object_mut()) {
            map.insert("required".to_owned(), true.into());
        }
        parameters.push(parameter);
    }
    parameters.extend(operation.parameters.iter().map(|it| parameter(it, shared)));
    value.insert("tags".to_owned(), json!([operation.tag]));
    value.insert("description".to_owned(), operation.description.clone().into());
    value.insert("operationId".to_owned(), operation.id.clone().into());
    value.insert("schemes".to_owned(), json!(["https"]));
    value.insert("consumes".to_owned(), consumes.into());
    value.insert("produces".to_owned(), media_types(operation.media).into());
    if !parameters.is_empty() {
        value.insert("parameters".to_owned(), parameters.into());
    }
    let mut responses = Map::new();
    for (code, content) in &operation.responses {
        let schema = match content {
            Content::Object(definition) => Dialect::V2.reference(definition),
            Content::Text => json!({"type": "string"}),
        };
        let response = json!({"description": super::reason_phrase(*code), "schema": schema});
        responses.insert(code.to_string(), response);
    }
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    value.insert("responses".to_owned(), responses.into());
    if let Some(action) = operation.action {
        value.insert("x-kubernetes-action".to_owned(), action.into());
    }
    if let Some(kind) = &operation.kind {
        value.insert("x-kubernetes-group-version-kind".to_owned(), components::kind(kind));
    }
    Value::Object(value)
}
