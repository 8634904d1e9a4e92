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
    answer
}

/// Plain text.
pub fn text(code: u16, body: impl Into<String>) -> Answer {
    let mut answer = bytes(code, "text/plain; charset=utf-8", body.into().into_bytes());
    answer.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

/// How many characters of warnings one answer carries before each is cut short, and then all in all.
const WARNINGS_MAX: usize = 4 * 1024;
/// How many characters are left of each, where there are too many.
const WARNING_CUT: usize = 256;

/// Adds `Warning` headers, as upstream writes them: code 299, no agent, the text quoted. Those that hold control
/// characters cannot be sent.
pub fn warn(answer: &mut Answer, warnings: &[String]) {
    let sendable = || warnings.iter().filter(|text| !text.contains(char::is_control));
    let total: usize = sendable().map(|text| text.chars().count()).sum();
    let cut = if total > WARNINGS_MAX { WARNING_CUT } else { usize::MAX };
    let mut written = 0;
    for warning in sendable() {
        if cut != usize::MAX && written >= WARNINGS_MAX {
            return;
        }
        let mut quoted = String::with_capacity(warning.len());
        for character in warning.chars().take(cut) {
            if matches!(character, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(character);
            written += 1;
        }
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            answer.headers_mut().append(header::WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(warnings: &[String]) -> Vec<String> {
        let mut answer = text(200, "");
        warn(&mut answer, warnings);
        let headers = answer.headers().get_all(header::WARNING);
        headers.iter().map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned()).collect()
    }

    #[test]
    fn warnings_are_quoted_and_those_that_cannot_be_sent_are_left_out() {
        let warnings = ["say \"a\\b\"".to_owned(), "two\nlines".to_owned(), "ü".to_owned()];
        assert_eq!(check(&warnings), [r#"299 - "say \"a\\b\"""#, r#"299 - "ü""#]);
    }

    #[test]
    fn many_warnings_are_cut_short_and_in_the_end_left_out() {
        let long = |length: usize, count: usize| vec!["x".repeat(length); count];
        let lengths = |warnings: &[String]| -> Vec<usize> {
            check(warnings).iter().map(|it| it.len() - r#"299 - """#.len()).collect()
        };
        assert_eq!(lengths(&long(1024, 4)), [1024; 4]);
        assert_eq!(lengths(&long(1024, 5)), [256; 5]);
        assert_eq!(lengths(&long(300, 40)), [256; 16]);
    }
}
