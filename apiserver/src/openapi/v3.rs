//! OpenAPI 3.0: one document a group and version.

use serde_json::{Map, Value, json};

use super::{
    components::{self, Dialect},
    operations::{Body, Content, Media, Operation, PathItem, Paths},
};

/// The document as JSON text, put together piece by piece: a whole tree of it would be ten times as large.
pub(super) fn document(paths: &Paths, schemas: impl IntoIterator<Item = (String, String)>) -> String {
    let mut out = format!(
        "{{\"openapi\":\"3.0.0\",\"info\":{{\"title\":\"Kubernetes\",\"version\":\"{}\"}},\"paths\":{{",
        crate::discovery::version::GIT_VERSION
    );
    let mut separate = super::separator();
    for (path, item) in paths {
        separate(&mut out);
        super::push_entry(&mut out, path, &path_item(item).to_string());
    }
    out.push_str("},\"components\":{\"schemas\":{");
    let mut separate = super::separator();
    for (name, schema) in schemas {
        separate(&mut out);
        super::push_entry(&mut out, &name, &schema);
    }
    let schemes = json!({"BearerToken": super::bearer_token()});
    out.push_str("},\"securitySchemes\":");
    out.push_str(&schemes.to_string());
    out.push_str("}}");
    out
}

fn path_item(item: &PathItem) -> Value {
    let mut value = Map::new();
    if !item.parameters.is_empty() {
        let parameters: Vec<Value> = item.parameters.iter().map(|parameter| parameter.v3()).collect();
        value.insert("parameters".to_owned(), parameters.into());
    }
    for it in &item.operations {
        value.insert(it.method.to_owned(), operation(it));
    }
    Value::Object(value)
}

fn operation(operation: &Operation) -> Value {
    let mut value = Map::new();
    value.insert("tags".to_owned(), json!([operation.tag]));
    value.insert("description".to_owned(), operation.description.clone().into());
    value.insert("operationId".to_owned(), operation.id.clone().into());
    if !operation.parameters.is_empty() {
        let parameters: Vec<Value> = operation.parameters.iter().map(|parameter| parameter.v3()).collect();
        value.insert("parameters".to_owned(), parameters.into());
    }
    if let Some((body, definition)) = &operation.body {
        value.insert("requestBody".to_owned(), request_body(*body, definition));
    }
    let mut responses = Map::new();
    for (code, content) in &operation.responses {
        let schema = match content {
            Content::Object(definition) => Dialect::V3.reference(definition),
            Content::Text => json!({"type": "string"}),
        };
        let content: Map<String, Value> = media_types(operation.media)
            .iter()
            .map(|media| ((*media).to_owned(), json!({"schema": schema})))
            .collect();
        let response = json!({"description": super::reason_phrase(*code), "content": content});
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

fn request_body(body: Body, definition: &str) -> Value {
    let schema = json!({"schema": Dialect::V3.reference(definition)});
    let (media, required) = match body {
        Body::Object { required } => (vec!["*/*"], required),
        Body::Custom { required } => (media_types(Media::Custom).to_vec(), required),
        Body::Patch { strategic } => (super::patch_types(strategic), true),
    };
    let content: Map<String, Value> =
        media.into_iter().map(|media| (media.to_owned(), schema.clone())).collect();
    let mut value = json!({"content": content});
    if let (true, Some(map)) = (required, value.as_object_mut()) {
        map.insert("required".to_owned(), true.into());
    }
    value
}

pub(super) fn media_types(media: Media) -> &'static [&'static str] {
    match media {
        Media::Objects => &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"],
        Media::ObjectsAndWatches => &[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
            "application/json;stream=watch",
            "application/vnd.kubernetes.protobuf;stream=watch",
        ],
        Media::Log => {
            &["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
        }
        Media::Any => &["*/*"],
        Media::Json => &["application/json"],
        Media::Custom => &["application/json", "application/yaml"],
    }
}
