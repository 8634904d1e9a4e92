//! Answers as bytes: objects, failures, plain text.

use api_types::{
    object::object_of,
    schema::{TypeRef, schema},
    status::Status,
    wire,
};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use super::negotiate::{Format, Media};

/// An answer.
pub type Answer = Response<Body>;

/// An answer of those bytes.
pub fn bytes(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::from(body.into()));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}

/// An object in the form the caller wants. `schema` gives the order of the fields; without one they are sorted.
pub fn object(code: u16, media: Media, value: &Value, schema: Option<TypeRef>) -> Answer {
    match media.format {
        Format::Json => {
            let mut body = match schema {
                Some(schema) => wire::json::encode(value, schema),
                None => wire::json::encode_untyped(value),
            };
            if media.pretty {
                // Indented answers are for people, and end without a line break, as upstream's do.
                body = wire::json::pretty(&body);
            } else {
                body.push(b'\n');
            }
            bytes(code, "application/json", body)
        }
        Format::Yaml => bytes(code, "application/yaml", wire::yaml::from_value(value).into_bytes()),
        Format::Protobuf => match schema.map(|schema| wire::protobuf::encode(value, schema)) {
            Some(body) => bytes(code, "application/vnd.kubernetes.protobuf", body),
            None => object(code, Media { format: Format::Json, ..media }, value, schema),
        },
    }
}

/// An object that is encoded already (JSON, in field order).
pub fn encoded(code: u16, media: Media, json: &Bytes, schema: Option<TypeRef>) -> Answer {
    match (media.format, media.pretty) {
        (Format::Json, false) => {
            let mut body = Vec::with_capacity(json.len() + 1);
            body.extend_from_slice(json);
            body.push(b'\n');
            bytes(code, "application/json", body)
        }
        (Format::Json, true) => bytes(code, "application/json", wire::json::pretty(json)),
        (Format::Yaml | Format::Protobuf, _) => match serde_json::from_slice::<Value>(json) {
            Ok(value) => object(code, media, &value, schema),
            Err(error) => failure(&Status::internal(error), Media::JSON),
        },
    }
}

/// A failure, or a success that is a Status.
pub fn failure(status: &Status, media: Media) -> Answer {
    let code = if status.code == 0 { 200 } else { status.code };
    let mut value = status.to_value();
    if status.code == 0 {
        object_of(&mut value).remove("code");
    }
    let media = Media { transform: None, ..media };
    let mut answer = object(code, media, &value, schema().type_of("", "v1", "Status"));
    if let Some(seconds) =
        status.details.as_ref().map(|details| details.retry_after_seconds).filter(|&it| it > 0)
    {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if code == 401 {
        answer.headers_mut().remove(header::WWW_AUTHENTICATE);
    }
    if let Some(warnings) = &status.warnings {
        warn(&mut answer, &warnings.0);
    }
    answer
}

/// Plain text.
pub fn text(code: u16, body: impl Into<String>) -> Answer {
    let mut answer = bytes(code, "text/plain; charset=utf-8", body.into().into_bytes());
    answer.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

/// Adds `Warning` headers, as upstream writes them: code 299, no agent, the text quoted.
pub fn warn(answer: &mut Answer, warnings: &[String]) {
    let mut seen: Vec<&str> = Vec::new();
    for warning in warnings {
        if seen.contains(&warning.as_str()) {
            continue;
        }
        seen.push(warning);
        let quoted: String = warning
            .chars()
            .flat_map(|character| match character {
                '"' | '\\' => vec!['\\', character],
                control if control.is_control() => vec![' '],
                plain => vec![plain],
            })
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            answer.headers_mut().append(header::WARNING, value);
        }
    }
}
