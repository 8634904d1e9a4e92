//! OpenAPI 3.0 as protobuf: the messages of gnostic's `OpenAPIv3.proto`, for as much of OpenAPI as we publish.
//!
//! Made from the JSON document, since few clients ask for it. What can be a reference stands in a choice: the thing
//! itself under 1, a reference under 2.

use serde_json::Value;

use super::message::{Form, Message, Numbers, entries, list, named, only};

/// The document as protobuf.
pub(super) fn document(json: &Value) -> Vec<u8> {
    let mut message = Message::default();
    message.text_of(1, json, "openapi");
    if let Some(info) = json.get("info") {
        let mut part = Message::default();
        part.text_of(1, info, "title");
        part.text_of(6, info, "version");
        message.message(2, &part);
    }
    let mut paths = Message::default();
    for (path, item) in entries(json, "paths") {
        paths.message(1, &named(path, &path_item(item)));
    }
    message.message(4, &paths);
    let components = json.get("components").unwrap_or(&Value::Null);
    let mut schemas = Message::default();
    for (name, value) in entries(components, "schemas") {
        schemas.message(1, &named(name, &schema(value)));
    }
    let mut schemes = Message::default();
    for (name, value) in entries(components, "securitySchemes") {
        schemes.message(1, &named(name, &only(1, &security_scheme(value))));
    }
    let mut part = Message::default();
    part.message(1, &schemas);
    part.message(7, &schemes);
    message.message(5, &part);
    message.finish()
}

fn path_item(item: &Value) -> Message {
    let mut message = Message::default();
    let methods =
        [(4, "get"), (5, "put"), (6, "post"), (7, "delete"), (8, "options"), (9, "head"), (10, "patch")];
    for (number, method) in methods {
        if let Some(value) = item.get(method) {
            message.message(number, &operation(value));
        }
    }
    for value in list(item, "parameters") {
        message.message(13, &parameter(value));
    }
    message.extensions(14, item);
    message
}

fn operation(value: &Value) -> Message {
    let mut message = Message::default();
    message.texts(1, value, "tags");
    message.text_of(3, value, "description");
    message.text_of(5, value, "operationId");
    for it in list(value, "parameters") {
        message.message(6, &parameter(it));
    }
    if let Some(body) = value.get("requestBody") {
        let mut part = Message::default();
        part.text_of(1, body, "description");
        part.message(2, &content(body));
        part.flag_of(3, body, "required");
        message.message(7, &only(1, &part));
    }
    let mut responses = Message::default();
    for (code, response) in entries(value, "responses") {
        let mut part = Message::default();
        part.text_of(1, response, "description");
        if response.get("content").is_some() {
            part.message(3, &content(response));
        }
        responses.message(2, &named(code, &only(1, &part)));
    }
    message.message(8, &responses);
    message.extensions(13, value);
    message
}

/// The media types of a body or a response.
fn content(value: &Value) -> Message {
    let mut message = Message::default();
    for (media, described) in entries(value, "content") {
        let mut part = Message::default();
        if let Some(of) = described.get("schema") {
            part.message(1, &schema(of));
        }
        message.message(1, &named(media, &part));
    }
    message
}

fn parameter(value: &Value) -> Message {
    if let Some(reference) = reference(value) {
        return reference;
    }
    let mut message = Message::default();
    for (number, field) in [(1, "name"), (2, "in"), (3, "description")] {
        message.text_of(number, value, field);
    }
    message.flag_of(4, value, "required");
    if let Some(of) = value.get("schema") {
        message.message(10, &schema(of));
    }
    message.extensions(14, value);
    only(1, &message)
}

fn security_scheme(value: &Value) -> Message {
    let mut message = Message::default();
    for (number, field) in [(1, "type"), (2, "description"), (3, "name"), (4, "in"), (5, "scheme")] {
        message.text_of(number, value, field);
    }
    message
}

/// The choice of a reference, if the value is one.
fn reference(value: &Value) -> Option<Message> {
    let mut message = Message::default();
    message.text_of(1, value, "$ref");
    (!message.is_empty()).then(|| only(2, &message))
}

/// A schema or a reference to one.
fn schema(value: &Value) -> Message {
    reference(value).unwrap_or_else(|| only(1, &bare_schema(value)))
}

/// The fields of a schema that hold no other schema.
const SCHEMA: &Numbers = &[
    (1, "nullable", Form::Flag),
    (3, "readOnly", Form::Flag),
    (4, "writeOnly", Form::Flag),
    (7, "example", Form::Any),
    (9, "title", Form::Text),
    (10, "multipleOf", Form::Double),
    (11, "maximum", Form::Double),
    (12, "exclusiveMaximum", Form::Flag),
    (13, "minimum", Form::Double),
    (14, "exclusiveMinimum", Form::Flag),
    (15, "maxLength", Form::Integer),
    (16, "minLength", Form::Integer),
    (17, "pattern", Form::Text),
    (18, "maxItems", Form::Integer),
    (19, "minItems", Form::Integer),
    (20, "uniqueItems", Form::Flag),
    (21, "maxProperties", Form::Integer),
    (22, "minProperties", Form::Integer),
    (23, "required", Form::Texts),
    (24, "enum", Form::Anys),
    (25, "type", Form::Text),
    (34, "description", Form::Text),
    (35, "format", Form::Text),
];

fn bare_schema(value: &Value) -> Message {
    let mut message = Message::default();
    message.fields(value, SCHEMA);
    if let Some(docs) = value.get("externalDocs") {
        let mut external = Message::default();
        external.text_of(1, docs, "description");
        external.text_of(2, docs, "url");
        message.message(6, &external);
    }
    for (number, field) in [(26, "allOf"), (27, "oneOf"), (28, "anyOf")] {
        for of in list(value, field) {
            message.message(number, &schema(of));
        }
    }
    if let Some(not) = value.get("not") {
        message.message(29, &bare_schema(not));
    }
    if let Some(items) = value.get("items") {
        message.message(30, &only(1, &schema(items)));
    }
    let mut properties = Message::default();
    for (name, property) in entries(value, "properties") {
        properties.message(1, &named(name, &schema(property)));
    }
    if !properties.is_empty() {
        message.message(31, &properties);
    }
    match value.get("additionalProperties") {
        None => {}
        Some(Value::Bool(allowed)) => {
            let mut choice = Message::default();
            choice.flag(2, *allowed);
            message.message(32, &choice);
        }
        Some(of) => message.message(32, &only(1, &schema(of))),
    }
    if let Some(default) = value.get("default") {
        message.message(33, &default_of(default));
    }
    message.extensions(36, value);
    message
}

/// A default: a number, a boolean or a string. The message has no room for others, and is empty for them.
fn default_of(value: &Value) -> Message {
    let mut message = Message::default();
    match value {
        Value::Number(number) => message.double(1, number.as_f64().unwrap_or_default()),
        Value::Bool(flag) => message.flag(2, *flag),
        Value::String(text) => message.text(3, text),
        Value::Null | Value::Array(_) | Value::Object(_) => {}
    }
    message
}

#[cfg(test)]
mod tests {
    use api_types::wire::protobuf::bytes_field;
    use serde_json::json;

    use super::*;

    fn field(message: &[u8], number: u64) -> Vec<u8> {
        bytes_field(message, number).unwrap().unwrap_or_default().to_vec()
    }

    fn path(message: &[u8], numbers: &[u64]) -> String {
        let found = numbers.iter().fold(message.to_vec(), |message, number| field(&message, *number));
        String::from_utf8_lossy(&found).into_owned()
    }

    #[test]
    fn what_stands_in_json_stands_under_its_number() {
        let bytes = document(&json!({
            "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1"},
            "paths": {"/a": {"get": {"operationId": "getA", "responses": {"200": {"description": "OK", "content":
                {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}}}}},
            "components": {"schemas": {"A": {"type": "object", "properties": {"b": {"type": "string", "default": "x"}}}},
                "securitySchemes": {"BearerToken": {"type": "apiKey", "in": "header"}}},
        }));
        assert_eq!(path(&bytes, &[1]), "3.0.0");
        assert_eq!(path(&bytes, &[2, 6]), "v1");
        assert_eq!(path(&bytes, &[4, 1, 1]), "/a");
        let operation = [4, 1, 2, 4];
        assert_eq!(path(&bytes, &[&operation[..], &[5]].concat()), "getA");
        let response = [&operation[..], &[8, 2, 2, 1]].concat();
        assert_eq!(path(&bytes, &[&response[..], &[1]].concat()), "OK");
        assert_eq!(path(&bytes, &[&response[..], &[3, 1, 1]].concat()), "application/json");
        assert_eq!(path(&bytes, &[&response[..], &[3, 1, 2, 1, 2, 1]].concat()), "#/components/schemas/A");
        let property = [5, 1, 1, 2, 1, 31, 1];
        assert_eq!(path(&bytes, &[&property[..], &[1]].concat()), "b");
        assert_eq!(path(&bytes, &[&property[..], &[2, 1, 25]].concat()), "string");
        assert_eq!(path(&bytes, &[&property[..], &[2, 1, 33, 3]].concat()), "x");
        assert_eq!(path(&bytes, &[5, 7, 1, 2, 1, 1]), "apiKey");
    }
}
