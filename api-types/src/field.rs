//! Where in an object something is wrong, and what: the faults that validation returns.
//!
//! Texts follow upstream's `field.Error`, since clients and people match on them.

use std::fmt::{self, Write as _};

use serde_json::Value;

/// A path to a field, such as `spec.containers[0].ports[1].name`. Cheap to extend, never modified in place.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(String);

/// The machine-readable kind of a fault: the `reason` of a Status cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A referenced value does not exist.
    NotFound,
    /// A value that must be given is not.
    Required,
    /// A value that must be unique is not.
    Duplicate,
    /// A malformed value.
    Invalid,
    /// A value outside an enumeration.
    NotSupported,
    /// A well-formed value that is not allowed here or now.
    Forbidden,
    /// Too many bytes.
    TooLong,
    /// Too many items.
    TooMany,
    /// Too few items.
    TooFew,
    /// Too few bytes.
    TooShort,
    /// Not the user's fault.
    Internal,
    /// A value of the wrong type.
    TypeInvalid,
}

/// The offending value as messages print it.
#[derive(Clone, Debug, PartialEq)]
pub enum BadValue {
    /// Not printed.
    Omitted,
    /// Printed as it stands: numbers, booleans.
    Plain(String),
    /// Printed in quotes.
    Text(String),
    /// Printed as JSON.
    Json(Value),
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What sort of fault it is.
    pub kind: FaultKind,
    /// The field's path; empty for the object as a whole.
    pub field: String,
    /// The offending value.
    pub value: BadValue,
    /// What would be right.
    pub detail: String,
}

/// The faults of an object, in the order they were found.
pub type Faults = Vec<Fault>;

// === impl Path ===

impl Path {
    /// The object itself, which messages print as nothing.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// A top-level field.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// A field of this one. Dotted names descend several levels at once.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { self.with(&[".", name]) }
    }

    /// An item of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(&["[", &index.to_string(), "]"])
    }

    /// An entry of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(&["[", key, "]"])
    }

    /// Validation makes a path for every field it looks at, so it is put together without the machinery of formatting.
    fn with(&self, parts: &[&str]) -> Self {
        let mut text =
            String::with_capacity(self.0.len() + parts.iter().map(|part| part.len()).sum::<usize>());
        text.push_str(&self.0);
        parts.iter().for_each(|part| text.push_str(part));
        Self(text)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Upstream prints a nil path so; it shows in messages about whole objects.
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

// === impl FaultKind ===

impl FaultKind {
    /// The `reason` of the cause in a Status.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::TooShort => "FieldValueTooShort",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    /// How a message begins.
    pub fn title(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::TooShort => "Too short",
            Self::Internal => "Internal error",
        }
    }

    fn prints_value(self) -> bool {
        match self {
            Self::Required | Self::Forbidden | Self::TooLong | Self::TooShort | Self::Internal => false,
            Self::NotFound
            | Self::Duplicate
            | Self::Invalid
            | Self::NotSupported
            | Self::TooMany
            | Self::TooFew
            | Self::TypeInvalid => true,
        }
    }
}

// === impl BadValue ===

impl From<&str> for BadValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for BadValue {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for BadValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for BadValue {
    fn from(value: bool) -> Self {
        Self::Plain(value.to_string())
    }
}

macro_rules! plain_numbers {
    ($($number:ty),*) => {$(
        impl From<$number> for BadValue {
            fn from(value: $number) -> Self {
                Self::Plain(value.to_string())
            }
        }
    )*};
}

plain_numbers!(i32, i64, u16, u32, u64, usize, f64);

impl From<Value> for BadValue {
    fn from(value: Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            other => Self::Json(other),
        }
    }
}

impl BadValue {
    /// Any value that has a JSON form, printed as that.
    pub fn json(value: &impl serde::Serialize) -> Self {
        serde_json::to_value(value).map_or(Self::Omitted, Self::Json)
    }
}

// === impl Fault ===

impl Fault {
    fn of(kind: FaultKind, path: &Path, value: BadValue, detail: impl Into<String>) -> Self {
        Self { kind, field: path.to_string(), value, detail: detail.into() }
    }

    /// A value that must be given is not.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::of(FaultKind::Required, path, BadValue::Omitted, detail)
    }

    /// A malformed value.
    pub fn invalid(path: &Path, value: impl Into<BadValue>, detail: impl Into<String>) -> Self {
        Self::of(FaultKind::Invalid, path, value.into(), detail)
    }

    /// A value of the wrong type.
    pub fn type_invalid(path: &Path, value: impl Into<BadValue>, detail: impl Into<String>) -> Self {
        Self::of(FaultKind::TypeInvalid, path, value.into(), detail)
    }

    /// A value outside an enumeration; `supported` in the order it shall be printed.
    pub fn not_supported(path: &Path, value: impl Into<BadValue>, supported: &[&str]) -> Self {
        let detail = if supported.is_empty() {
            String::new()
        } else {
            let quoted: Vec<String> = supported.iter().map(|it| go_quote(it)).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Self::of(FaultKind::NotSupported, path, value.into(), detail)
    }

    /// A well-formed value that is not allowed here or now.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::of(FaultKind::Forbidden, path, BadValue::Omitted, detail)
    }

    /// A value that must be unique is not.
    pub fn duplicate(path: &Path, value: impl Into<BadValue>) -> Self {
        Self::of(FaultKind::Duplicate, path, value.into(), "")
    }

    /// A referenced value does not exist.
    pub fn not_found(path: &Path, value: impl Into<BadValue>) -> Self {
        Self::of(FaultKind::NotFound, path, value.into(), "")
    }

    /// More than `max` bytes.
    pub fn too_long(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::of(FaultKind::TooLong, path, BadValue::Omitted, format!("may not be more than {max} {unit}"))
    }

    /// `actual` items where `max` are allowed.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::of(FaultKind::TooMany, path, actual.into(), format!("must have at most {max} {unit}"))
    }

    /// Not the user's fault.
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::of(FaultKind::Internal, path, BadValue::Omitted, detail)
    }

    /// The message without the field, as it stands in a Status cause.
    pub fn body(&self) -> String {
        let mut text = self.kind.title().to_owned();
        if self.kind.prints_value() {
            // Writing to a String cannot fail.
            let _ = match &self.value {
                BadValue::Omitted => Ok(()),
                BadValue::Plain(value) => write!(text, ": {value}"),
                BadValue::Text(value) => write!(text, ": {}", go_quote(value)),
                BadValue::Json(value) => write!(text, ": {value}"),
            };
        }
        if !self.detail.is_empty() {
            let _ = write!(text, ": {}", self.detail);
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// Several messages as one: alone as it stands, more in brackets, repetitions once.
pub fn aggregate<T: fmt::Display>(messages: impl IntoIterator<Item = T>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for message in messages {
        let message = message.to_string();
        if !seen.contains(&message) {
            seen.push(message);
        }
    }
    match seen.as_slice() {
        [only] => only.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// A string in double quotes the way Go's `%q` prints it.
pub fn go_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            control if u32::from(control) < 0x20 || u32::from(control) == 0x7f => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(control));
            }
            hidden
                if hidden.is_control()
                    || (hidden.is_whitespace() && hidden != ' ')
                    || hidden == '\u{feff}' =>
            {
                let _ = write!(quoted, "\\u{:04x}", u32::from(hidden));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_print_as_upstreams_do() {
        let path = Path::new("spec").child("ports").index(1).child("name");
        for (fault, text) in [
            (Fault::required(&path, ""), "spec.ports[1].name: Required value"),
            (Fault::invalid(&path, "A\"b", "no"), r#"spec.ports[1].name: Invalid value: "A\"b": no"#),
            (Fault::invalid(&path, 70_000, "too big"), "spec.ports[1].name: Invalid value: 70000: too big"),
            (
                Fault::not_supported(&path, "X", &["A", "B"]),
                r#"spec.ports[1].name: Unsupported value: "X": supported values: "A", "B""#,
            ),
            (Fault::duplicate(&path, "a"), r#"spec.ports[1].name: Duplicate value: "a""#),
            (Fault::too_long(&path, 63), "spec.ports[1].name: Too long: may not be more than 63 bytes"),
            (Fault::forbidden(&Path::new("a").key("k"), "not now"), "a[k]: Forbidden: not now"),
        ] {
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn an_aggregate_names_repetitions_once() {
        assert_eq!(aggregate(["a", "a"]), "a");
        assert_eq!(aggregate(["a", "b", "a"]), "[a, b]");
    }
}
