//! OpenAPI 2.0 as protobuf, which `kubectl` asks for first: the messages of gnostic's `OpenAPIv2.proto`, for as much
//! of OpenAPI as we publish.
//!
//! Values of any type (defaults, enumerations, extensions) are YAML texts there; JSON is YAML.

use serde_json::Value;

use super::{
    message::{Form, Message, Numbers, entries, list, named, only},
    v2::{self, Sink},
};

/// The document as protobuf. Its parts come as they are made and are put in order at the end.
#[derive(Debug, Default)]
pub(super) struct Protobuf {
    paths: Message,
    definitions: Message,
    parameters: Message,
}

// === impl Protobuf ===

impl Sink for Protobuf {
    fn path(&mut self, path: &str, item: &Value) {
        self.paths.message(2, &named(path, &path_item(item)));
    }

    fn definition(&mut self, name: &str, value: &Value) {
        self.definitions.message(1, &named(name, &schema(value)));
    }

    fn parameter(&mut self, name: &str, value: &Value) {
        self.parameters.message(1, &named(name, &parameter(value)));
    }
}

impl Protobuf {
    /// The document.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut document = Message::default();
        document.text(1, "2.0");
        let mut info = Message::default();
        info.text_of(1, &v2::info(), "title");
        info.text_of(2, &v2::info(), "version");
        document.message(2, &info);
        document.message(8, &self.paths);
        document.message(9, &self.definitions);
        document.message(10, &self.parameters);
        let mut requirement = Message::default();
        requirement.message(1, &named("BearerToken", &Message::default()));
        document.message(12, &requirement);
        let token = super::bearer_token();
        let mut api_key = Message::default();
        for (number, field) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
            api_key.text_of(number, &token, field);
        }
        let mut definitions = Message::default();
        definitions.message(1, &named("BearerToken", &only(2, &api_key)));
        document.message(13, &definitions);
        document.finish()
    }
}

fn path_item(item: &Value) -> Message {
    let mut message = Message::default();
    for (number, method) in
        [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")]
    {
        if let Some(value) = item.get(method) {
            message.message(number, &operation(value));
        }
    }
    for value in list(item, "parameters") {
        message.message(9, &parameter_or_reference(value));
    }
    message.extensions(10, item);
    message
}

fn operation(value: &Value) -> Message {
    let mut message = Message::default();
    message.texts(1, value, "tags");
    message.text_of(3, value, "description");
    message.text_of(5, value, "operationId");
    message.texts(6, value, "produces");
    message.texts(7, value, "consumes");
    for parameter in list(value, "parameters") {
        message.message(8, &parameter_or_reference(parameter));
    }
    let mut responses = Message::default();
    for (code, response) in entries(value, "responses") {
        let mut content = Message::default();
        content.text_of(1, response, "description");
        if let Some(value) = response.get("schema") {
            content.message(2, &only(1, &schema(value)));
        }
        responses.message(1, &named(code, &only(1, &content)));
    }
    message.message(9, &responses);
    message.texts(10, value, "schemes");
    message.extensions(13, value);
    message
}

fn parameter_or_reference(value: &Value) -> Message {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            let mut message = Message::default();
            message.text(1, reference);
            only(2, &message)
        }
        None => only(1, &parameter(value)),
    }
}

fn parameter(value: &Value) -> Message {
    let mut message = Message::default();
    if value.get("in").and_then(Value::as_str) == Some("body") {
        message.text_of(1, value, "description");
        message.text_of(2, value, "name");
        message.text_of(3, value, "in");
        message.flag_of(4, value, "required");
        if let Some(body) = value.get("schema") {
            message.message(5, &schema(body));
        }
        return only(1, &message);
    }
    message.flag_of(1, value, "required");
    for (number, field) in [(2, "in"), (3, "description"), (4, "name")] {
        message.text_of(number, value, field);
    }
    // Query parameters have one field more, so that the others stand one further.
    if value.get("in").and_then(Value::as_str) == Some("query") {
        message.text_of(6, value, "type");
        message.flag_of(20, value, "uniqueItems");
        only(2, &only(3, &message))
    } else {
        message.text_of(5, value, "type");
        message.flag_of(19, value, "uniqueItems");
        only(2, &only(4, &message))
    }
}

/// The fields of a schema that hold no other schema.
const SCHEMA: &Numbers = &[
    (1, "$ref", Form::Text),
    (2, "format", Form::Text),
    (3, "title", Form::Text),
    (4, "description", Form::Text),
    (5, "default", Form::Any),
    (6, "multipleOf", Form::Double),
    (7, "maximum", Form::Double),
    (8, "exclusiveMaximum", Form::Flag),
    (9, "minimum", Form::Double),
    (10, "exclusiveMinimum", Form::Flag),
    (11, "maxLength", Form::Integer),
    (12, "minLength", Form::Integer),
    (13, "pattern", Form::Text),
    (14, "maxItems", Form::Integer),
    (15, "minItems", Form::Integer),
    (16, "uniqueItems", Form::Flag),
    (17, "maxProperties", Form::Integer),
    (18, "minProperties", Form::Integer),
    (19, "required", Form::Texts),
    (20, "enum", Form::Anys),
    (30, "example", Form::Any),
];

fn schema(value: &Value) -> Message {
    let mut message = Message::default();
    message.fields(value, SCHEMA);
    match value.get("additionalProperties") {
        None => {}
        Some(Value::Bool(allowed)) => {
            let mut choice = Message::default();
            choice.flag(2, *allowed);
            message.message(21, &choice);
        }
        Some(of) => message.message(21, &only(1, &schema(of))),
    }
    if let Some(kind) = value.get("type").and_then(Value::as_str) {
        let mut kinds = Message::default();
        kinds.text(1, kind);
        message.message(22, &kinds);
    }
    if let Some(items) = value.get("items") {
        message.message(23, &only(1, &schema(items)));
    }
    for of in list(value, "allOf") {
        message.message(24, &schema(of));
    }
    let mut properties = Message::default();
    for (name, property) in entries(value, "properties") {
        properties.message(1, &named(name, &schema(property)));
    }
    if !properties.is_empty() {
        message.message(25, &properties);
    }
    if let Some(docs) = value.get("externalDocs") {
        let mut external = Message::default();
        external.text_of(1, docs, "description");
        external.text_of(2, docs, "url");
        message.message(29, &external);
    }
    message.extensions(31, value);
    message
}
