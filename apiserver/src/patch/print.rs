//! JSON values the way Go prints them, for messages that quote a value.

use std::fmt::{self, Write as _};

use api_types::field::go_quote;
use serde_json::{Number, Value};

/// As `%v` prints it: `map[a:1 b:[x y]]`.
pub(super) struct Plain<'a>(pub(super) &'a Value);

/// As `%#v` prints it: `map[string]interface {}{"a":1}`.
pub(super) struct Syntax<'a>(pub(super) &'a Value);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("<nil>"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => number(value, f),
            Value::String(value) => f.write_str(value),
            Value::Array(items) => {
                f.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    let space = if index == 0 { "" } else { " " };
                    write!(f, "{space}{}", Plain(item))?;
                }
                f.write_char(']')
            }
            Value::Object(fields) => {
                f.write_str("map[")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    let space = if index == 0 { "" } else { " " };
                    write!(f, "{space}{name}:{}", Plain(value))?;
                }
                f.write_char(']')
            }
        }
    }
}

impl fmt::Display for Syntax<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("interface {}(nil)"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => number(value, f),
            Value::String(value) => f.write_str(&go_quote(value)),
            Value::Array(items) => {
                f.write_str("[]interface {}{")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Syntax(item))?;
                }
                f.write_char('}')
            }
            Value::Object(fields) => {
                f.write_str("map[string]interface {}{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}:{}", go_quote(name), Syntax(value))?;
                }
                f.write_char('}')
            }
        }
    }
}

/// The Go type a decoded JSON value has.
pub(super) fn type_name(value: &Value) -> &'static str {
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

fn number(value: &Number, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value.as_f64() {
        Some(float) if value.is_f64() => self::float(float, f),
        _ => write!(f, "{value}"),
    }
}

/// Shortest digits that read back the same; with an exponent from 1e21 on and below 1e-4.
fn float(value: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let size = value.abs();
    if value == 0.0 || (1e-4..1e21).contains(&size) {
        return write!(f, "{value}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    write!(f, "{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_print_as_go_prints_them() {
        for (value, plain, syntax) in [
            (json!(null), "<nil>", "interface {}(nil)"),
            (json!(true), "true", "true"),
            (json!(-5), "-5", "-5"),
            (json!(1.5), "1.5", "1.5"),
            (json!(2.0), "2", "2"),
            (json!(1e21), "1e+21", "1e+21"),
            (json!(0.00001), "1e-05", "1e-05"),
            (json!(1.25e-7), "1.25e-07", "1.25e-07"),
            (json!("a\"b"), "a\"b", r#""a\"b""#),
            (json!([1, "a"]), "[1 a]", r#"[]interface {}{1, "a"}"#),
            (
                json!({"b": [null], "a": {}}),
                "map[a:map[] b:[<nil>]]",
                r#"map[string]interface {}{"a":map[string]interface {}{}, "b":[]interface {}{interface {}(nil)}}"#,
            ),
        ] {
            assert_eq!(Plain(&value).to_string(), plain);
            assert_eq!(Syntax(&value).to_string(), syntax);
        }
    }
}
