//! Objects as upstream prints them in messages: in the form its validation works on, which is not the one of any
//! version. Fields stand in another order and under other names, and what was left out is there as nothing.
//!
//! `internal/fields.txt` holds the fields of each type that messages can show, one type a line: its name, then for
//! each field its printed name, after `=` the name it has in objects, and after `:` its kind. A kind is one letter (`s`
//! text, `i` number, `b` switch, `q` quantity, `t` time, `x` number or text, `y` bytes, `r` raw JSON) or the name of a
//! type, behind `*` if it may be nil, `[` for a list, `{` for a map; a `?` at its end says that nothing is left out. `^`
//! stands for the fields of another type.
//!
//! Invariant: this module judges nothing.

mod unified;

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::LazyLock,
};

use api_types::{
    field::{BadValue, Fault, Path},
    quantity::Quantity,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::optional::same;

/// The types, each with its fields.
static TYPES: LazyLock<BTreeMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let lines = include_str!("internal/fields.txt").lines();
    lines
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.filter_map(Field::read).collect()))
        })
        .collect()
});

struct Field {
    /// As it is printed; `^` for the fields of another type.
    printed: &'static str,
    /// As objects have it.
    name: &'static str,
    kind: &'static str,
    /// Whether it is left out where it says nothing.
    omitted: bool,
}

/// A value in the form in which it is printed.
enum Form {
    /// JSON already.
    Plain(String),
    List(Vec<Form>),
    Map(Vec<(String, Form)>),
}

/// A value of this type as messages print it.
pub(crate) fn printed<T: Serialize + ?Sized>(kind: &str, value: &T) -> BadValue {
    BadValue::Plain(escaped(form(kind, value).to_string()))
}

/// What sets two values of this type apart, as messages print it: line by line, with the lines around.
pub(crate) fn difference<T: Serialize + ?Sized>(kind: &str, old: &T, new: &T) -> String {
    let text = |value: &T| {
        let mut text = String::new();
        form(kind, value).indented(0, &mut text);
        escaped(text)
    };
    unified::diff(&text(old), &text(new))
}

/// The fault of a field of this type that must not change and did.
pub(crate) fn immutable<T: PartialEq + Serialize>(
    kind: &str,
    path: &Path,
    new: &T,
    old: &T,
) -> Option<Fault> {
    (!same(new, old)).then(|| Fault::invalid(path, printed(kind, new), "field is immutable"))
}

/// As Go writes JSON: with what HTML would misread escaped. Outside of strings there is no such thing.
fn escaped(text: String) -> String {
    const ESCAPES: [(char, &str); 5] = [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ];
    ESCAPES.into_iter().fold(
        text,
        |text, (from, to)| {
            if text.contains(from) { text.replace(from, to) } else { text }
        },
    )
}

fn form<T: Serialize + ?Sized>(kind: &str, value: &T) -> Form {
    // Only maps with keys that are no strings can fail, and there are none.
    Form::of(kind, &serde_json::to_value(value).unwrap_or_default())
}

// === impl Field ===

impl Field {
    fn read(word: &'static str) -> Option<Self> {
        let (names, kind) = word.split_once(':')?;
        let (printed, name) = names.split_once('=').unwrap_or((names, names));
        let omitted = kind.ends_with('?');
        Some(Self { printed, name, kind: kind.trim_end_matches('?'), omitted })
    }
}

// === impl Form ===

impl Form {
    fn of(kind: &str, value: &Value) -> Self {
        let is_absent = value.is_null();
        let or = |nothing: &str| Self::Plain(if is_absent { nothing.to_owned() } else { value.to_string() });
        if let Some(kind) = kind.strip_prefix('*') {
            return if is_absent { or("null") } else { Self::of(kind, value) };
        }
        if let Some(kind) = kind.strip_prefix('[') {
            return match value {
                Value::Array(items) => Self::List(items.iter().map(|item| Self::of(kind, item)).collect()),
                _ => or("null"),
            };
        }
        if let Some(kind) = kind.strip_prefix('{') {
            return match value {
                Value::Object(map) => {
                    Self::Map(map.iter().map(|(key, value)| (key.clone(), Self::of(kind, value))).collect())
                }
                _ => or("null"),
            };
        }
        match kind {
            "s" => or("\"\""),
            "i" | "x" => or("0"),
            "b" => or("false"),
            "q" => {
                let amount: Quantity = value.as_str().unwrap_or_default().parse().unwrap_or_default();
                Self::Plain(Value::from(amount.to_string()).to_string())
            }
            "t" | "y" | "r" => or("null"),
            "core.PodSpec" => Self::fields(kind, &with_host_in_security_context(value)),
            _ => Self::fields(kind, value),
        }
    }

    fn fields(kind: &str, value: &Value) -> Self {
        let mut fields = Vec::new();
        for field in TYPES.get(kind).into_iter().flatten() {
            if field.printed == "^" {
                if let Self::Map(inner) = Self::of(field.kind, value) {
                    fields.extend(inner);
                }
                continue;
            }
            let value = value.get(field.name).unwrap_or(&Value::Null);
            if !(field.omitted && says_nothing(value)) {
                fields.push((field.printed.to_owned(), Self::of(field.kind, value)));
            }
        }
        Self::Map(fields)
    }

    /// With a line an entry, indented by one.
    fn indented(&self, depth: usize, text: &mut String) {
        let (open, close, entries): (_, _, Vec<(Option<&String>, &Self)>) = match self {
            Self::Plain(plain) => return text.push_str(plain),
            Self::List(items) => ('[', ']', items.iter().map(|item| (None, item)).collect()),
            Self::Map(fields) => ('{', '}', fields.iter().map(|(name, value)| (Some(name), value)).collect()),
        };
        let new_line = |depth: usize| format!("\n{}", " ".repeat(depth));
        text.push(open);
        let count = entries.len();
        for (index, (name, value)) in entries.into_iter().enumerate() {
            text.push_str(&new_line(depth + 1));
            if let Some(name) = name {
                text.push_str(&format!("{}: ", Value::from(name.as_str())));
            }
            value.indented(depth + 1, text);
            text.push_str(if index + 1 < count { "," } else { "" });
        }
        if count > 0 {
            text.push_str(&new_line(depth));
        }
        text.push(close);
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(plain) => f.write_str(plain),
            Self::List(items) => {
                f.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index > 0 { "," } else { "" })?;
                }
                f.write_char(']')
            }
            Self::Map(fields) => {
                f.write_char('{')?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{}:{value}", Value::from(name.as_str()))?;
                }
                f.write_char('}')
            }
        }
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) => false,
    }
}

/// A pod's spec in which what it shares with its node stands in the security context, which is always there.
fn with_host_in_security_context(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let Some(fields) = spec.as_object_mut() else { return spec };
    let shared: Vec<(String, Value)> =
        ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), fields.remove(name)?)))
            .collect();
    let context = fields.entry("securityContext").or_insert(Value::Null);
    if context.is_null() {
        *context = Value::Object(Map::new());
    }
    if let Some(context) = context.as_object_mut() {
        context.extend(shared);
    }
    spec
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: &str, value: Value) -> String {
        form(kind, &value).to_string()
    }

    #[test]
    fn every_field_is_printed_in_order_though_it_says_nothing() {
        for (kind, value, expected) in [
            ("core.EventSource", json!({"host": "h"}), r#"{"Component":"","Host":"h"}"#),
            (
                "core.Toleration",
                json!({"key": "a", "tolerationSeconds": 5}),
                r#"{"Key":"a","Operator":"","Value":"","Effect":"","TolerationSeconds":5}"#,
            ),
            (
                "meta.LabelSelector",
                json!({"matchExpressions": [{"key": "a", "operator": "Exists"}], "matchLabels": {"b": "c"}}),
                r#"{"matchLabels":{"b":"c"},"matchExpressions":[{"key":"a","operator":"Exists"}]}"#,
            ),
            (
                "apps.DeploymentStrategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}),
                r#"{"Type":"RollingUpdate","RollingUpdate":{"MaxUnavailable":0,"MaxSurge":"25%"}}"#,
            ),
            (
                "core.ResourceRequirements",
                json!({"limits": {"cpu": "1000m"}, "claims": []}),
                r#"{"Limits":{"cpu":"1"},"Requests":null,"Claims":[]}"#,
            ),
        ] {
            assert_eq!(check(kind, value), expected);
        }
    }

    #[test]
    fn the_fields_of_an_embedded_type_stand_among_the_others() {
        let volume = check("core.Volume", json!({"name": "v", "emptyDir": {"medium": "Memory"}}));
        assert!(
            volume.starts_with(
                r#"{"Name":"v","HostPath":null,"EmptyDir":{"Medium":"Memory","SizeLimit":null},"#
            )
        );
        let template = check("core.PodTemplateSpec", json!({"metadata": {}, "spec": {"hostNetwork": true}}));
        assert!(template.starts_with(r#"{"Spec":{"Volumes":null,"#), "{template}");
        assert!(template.contains(r#""SecurityContext":{"HostNetwork":true,"HostPID":false,"#), "{template}");
    }

    #[test]
    fn every_type_that_a_field_has_is_known() {
        for (kind, fields) in TYPES.iter() {
            assert!(!fields.is_empty(), "{kind}");
            for field in fields {
                let kind = field.kind.trim_start_matches(['*', '[', '{']);
                assert!(kind.len() == 1 || TYPES.contains_key(kind), "{kind}");
            }
        }
    }

    #[test]
    fn a_difference_shows_the_lines_around() {
        let (old, new) = (json!({"component": "a", "host": "<h>"}), json!({"component": "b", "host": "<h>"}));
        assert_eq!(
            difference("core.EventSource", &old, &new),
            "@@ -1,4 +1,4 @@\n {\n- \"Component\": \"a\",\n+ \"Component\": \"b\",\n  \"Host\": \"\\u003ch\\u003e\"\n }\n"
        );
    }
}
