//! From one type to another: `int('5')`, `string(1.5)`, `type(x)`.

use super::{Native, Opaque, network, time};
use crate::{
    eval::{EvalError, Outcome},
    value::Value,
};

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "int" => |args| one(args, to_int),
        "uint" => |args| one(args, to_uint),
        "double" => |args| one(args, to_double),
        "bool" => |args| one(args, to_bool),
        "string" => |args| one(args, to_string),
        "bytes" => |args| one(args, to_bytes),
        "duration" => |args| one(args, to_duration),
        "timestamp" => |args| one(args, to_timestamp),
        "dyn" => |args| one(args, |value| Ok(value.clone())),
        "type" => |args| one(args, |value| Ok(Value::Type(value.type_name().into()))),
        _ => return None,
    })
}

fn one<'v>(args: &[Value<'v>], convert: impl FnOnce(&Value<'v>) -> Outcome<'v>) -> Outcome<'v> {
    match args {
        [value] => convert(value),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn not<'v>(value: &Value<'v>, to: &str) -> Outcome<'v> {
    Err(EvalError::new(format!("type conversion error from '{}' to '{to}'", value.type_name())))
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn to_int<'v>(value: &Value<'v>) -> Outcome<'v> {
    let overflow = || EvalError::new("integer overflow");
    Ok(Value::Int(match value {
        Value::Int(value) => *value,
        Value::Uint(value) => i64::try_from(*value).map_err(|_error| overflow())?,
        Value::Double(value) if *value > -9.223_372_036_854_776e18 && *value < 9.223_372_036_854_776e18 => {
            *value as i64
        }
        Value::Double(_) => return Err(overflow()),
        Value::String(text) => match go_integer(text).and_then(|it| it.parse().ok()) {
            Some(value) => value,
            None => return not(value, "int"),
        },
        Value::Timestamp(time) => time.seconds,
        Value::Duration(duration) => duration.0,
        _ => return not(value, "int"),
    }))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
fn to_uint<'v>(value: &Value<'v>) -> Outcome<'v> {
    let overflow = || EvalError::new("unsigned integer overflow");
    Ok(Value::Uint(match value {
        Value::Uint(value) => *value,
        Value::Int(value) => u64::try_from(*value).map_err(|_error| overflow())?,
        Value::Double(value) if *value >= 0.0 && *value < 18_446_744_073_709_551_616.0 => *value as u64,
        Value::Double(_) => return Err(overflow()),
        Value::String(text) if !text.starts_with('+') => match text.parse() {
            Ok(value) => value,
            Err(_) => return not(value, "uint"),
        },
        _ => return not(value, "uint"),
    }))
}

/// Digits with an optional sign.
fn go_integer(text: &str) -> Option<&str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    (!digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit())).then_some(text)
}

#[expect(clippy::cast_precision_loss, reason = "a float is what is asked for")]
fn to_double<'v>(value: &Value<'v>) -> Outcome<'v> {
    Ok(Value::Double(match value {
        Value::Double(value) => *value,
        Value::Int(value) => *value as f64,
        Value::Uint(value) => *value as f64,
        Value::String(text) => match text.parse() {
            Ok(value) if f64::is_finite(value) || !text.contains(|it: char| it.is_ascii_digit()) => value,
            _ => return not(value, "double"),
        },
        _ => return not(value, "double"),
    }))
}

fn to_bool<'v>(value: &Value<'v>) -> Outcome<'v> {
    match value {
        Value::Bool(_) => Ok(value.clone()),
        Value::String(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => not(value, "bool"),
        },
        _ => not(value, "bool"),
    }
}

pub(super) fn to_string<'v>(value: &Value<'v>) -> Outcome<'v> {
    match value {
        Value::String(_) => Ok(value.clone()),
        Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::Timestamp(_)
        | Value::Duration(_) => Ok(Value::string(value.to_string())),
        Value::Type(name) => Ok(Value::string(&**name)),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::string(text)),
            Err(_) => Err(EvalError::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        Value::Opaque(Opaque::Ip(address)) => Ok(Value::string(network::show(*address))),
        Value::Opaque(Opaque::Cidr(address, length)) => {
            Ok(Value::string(format!("{}/{length}", network::show(*address))))
        }
        _ => not(value, "string"),
    }
}

fn to_bytes<'v>(value: &Value<'v>) -> Outcome<'v> {
    match value {
        Value::Bytes(_) => Ok(value.clone()),
        Value::String(text) => Ok(Value::Bytes(text.as_bytes().into())),
        _ => not(value, "bytes"),
    }
}

fn to_duration<'v>(value: &Value<'v>) -> Outcome<'v> {
    match value {
        Value::Duration(_) => Ok(value.clone()),
        Value::String(text) => match time::parse_duration(text) {
            Ok(duration) => Ok(Value::Duration(duration)),
            Err(()) => not(value, "google.protobuf.Duration"),
        },
        _ => not(value, "google.protobuf.Duration"),
    }
}

fn to_timestamp<'v>(value: &Value<'v>) -> Outcome<'v> {
    match value {
        Value::Timestamp(_) => Ok(value.clone()),
        Value::Int(seconds) => match crate::value::Timestamp::from_seconds(*seconds) {
            Some(time) => Ok(Value::Timestamp(time)),
            None => Err(EvalError::new("timestamp overflow")),
        },
        Value::String(text) => match time::parse_timestamp(text) {
            Ok(time) => Ok(Value::Timestamp(time)),
            Err(time::BadTime::Range) => Err(EvalError::new("timestamp overflow")),
            Err(time::BadTime::Form) => not(value, "google.protobuf.Timestamp"),
        },
        _ => not(value, "google.protobuf.Timestamp"),
    }
}

/// A float as Go prints it with `%g`.
pub(crate) fn general(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        return with_exponent(digits, exponent);
    }
    value.to_string()
}

/// Go writes at least two digits of an exponent, and its sign.
pub(crate) fn with_exponent(digits: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
