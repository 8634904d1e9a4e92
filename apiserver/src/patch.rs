//! How a request changes an object that is there: the four patch formats, and who is on record for which field.
//!
//! Everything here is a pure function of JSON values and of what is known of their types. Invariant: no store, no
//! request, no clock; the time of a change is an argument.

use api_types::{
    status::{Details, Status},
    wire::json,
};
use serde_json::Value;

pub mod apply;
pub mod json_patch;
pub mod merge;
pub mod strategic;

mod print;

/// 422: the patch can be read, but not be carried out. Upstream does not say why.
fn rejected() -> Status {
    Status::failure(422, "Invalid", "the server rejected our request due to an error in our request")
        .with_details(Details::default())
}

/// A JSON object, empty for null, and the duplicate fields in it; else Go's message.
fn object(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let (value, duplicates) = json::decode(body).map_err(|error| error.to_string())?;
    match value {
        Value::Object(_) => Ok((value, duplicates)),
        Value::Null => Ok((Value::Object(serde_json::Map::new()), duplicates)),
        other => Err(misfit(&other, "value of type map[string]interface {}")),
    }
}

/// Go's message for a value that does not go into a variable.
fn misfit(value: &Value, into: &str) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {kind} into Go {into}")
}

#[cfg(test)]
mod tests;
