//! What validation finds, and the faults that it becomes: the texts are upstream's.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, FaultKind, Faults, Path, go_quote};
use serde_json::Value;

use super::metadata::printed;

/// One thing that is wrong. Two with one message are one.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    message: String,
    place: Option<Place>,
}

#[derive(Clone, Debug)]
struct Place {
    /// The path that the message names, which may begin with a dot.
    name: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Required,
    TooLong(i64),
    TooMany { actual: usize, max: i64 },
    Enum { value: Value, values: Vec<String> },
    Type(String),
    Invalid(Value),
}

/// What came of judging a value: what is wrong, and how much of the schema was met. The second decides which of
/// several alternatives is told of.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) findings: Vec<Finding>,
    pub(super) matches: u64,
}

// === impl Outcome ===

impl Outcome {
    /// One that met nothing.
    pub(super) fn of(finding: Finding) -> Self {
        Self { findings: vec![finding], matches: 0 }
    }

    pub(super) fn is_valid(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.matches += other.matches;
    }

    /// Drops repetitions, which come of alternatives that say the same.
    pub(super) fn dedup(&mut self) {
        if self.findings.len() < 2 {
            return;
        }
        let mut seen = BTreeSet::new();
        self.findings.retain(|finding| seen.insert(finding.message.clone()));
    }

    /// The faults, in the order they were found.
    pub(super) fn into_faults(self, base: &Path) -> Faults {
        self.findings.into_iter().map(|finding| finding.into_fault(base)).collect()
    }
}

// === impl Finding ===

impl Finding {
    /// A message that belongs to no field.
    pub(super) fn plain(message: String) -> Self {
        Self { message, place: None }
    }

    fn at(name: String, kind: Kind, says: &str) -> Self {
        Self { message: format!("{name} in body {says}"), place: Some(Place { name, kind }) }
    }

    /// A value that does not keep a limit.
    pub(super) fn invalid(name: String, value: Value, says: &str) -> Self {
        Self::at(name, Kind::Invalid(value), says)
    }

    /// A value of another type than `wanted`.
    pub(super) fn wrong_type(name: String, wanted: &str, value: &str) -> Self {
        let says = format!("must be of type {wanted}: {}", go_quote(value));
        Self::at(name, Kind::Type(value.to_owned()), &says)
    }

    pub(super) fn required(name: String) -> Self {
        Self::at(name, Kind::Required, "is required")
    }

    pub(super) fn too_long(name: String, max: i64) -> Self {
        let says = format!("should be at most {max} chars long");
        Self::at(name, Kind::TooLong(max), &says)
    }

    pub(super) fn too_many_items(name: String, actual: usize, max: i64) -> Self {
        let says = format!("should have at most {max} items");
        Self::at(name, Kind::TooMany { actual, max }, &says)
    }

    pub(super) fn too_many_properties(name: String, actual: usize, max: i64) -> Self {
        let says = format!("should have at most {max} properties");
        Self::at(name, Kind::TooMany { actual, max }, &says)
    }

    pub(super) fn not_in_enum(name: String, value: &Value, allowed: &[Value]) -> Self {
        let values: Vec<String> = allowed
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
            .collect();
        let says = format!("should be one of [{}]", values.join(" "));
        Self::at(name, Kind::Enum { value: value.clone(), values }, &says)
    }

    pub(super) fn forbidden_property(name: String, key: &str) -> Self {
        let message = format!("{name}.{key} in body is a forbidden property");
        Self { message, place: Some(Place { name, kind: Kind::Invalid(Value::from(key)) }) }
    }

    pub(super) fn negative_factor(name: String, factor: BadFactor<'_>) -> Self {
        let message = format!("factor MultipleOf declared for {name} must be positive: {}", factor.text);
        Self { message, place: Some(Place { name, kind: Kind::Invalid(factor.value) }) }
    }

    fn into_fault(self, base: &Path) -> Fault {
        let Some(Place { name, kind }) = self.place else {
            return Fault::invalid(base, "", self.message);
        };
        let path = match name.as_str() {
            "" | "." => base.clone(),
            name => base.child(name.strip_prefix('.').unwrap_or(name)),
        };
        match kind {
            Kind::Required => Fault::required(&path, ""),
            Kind::TooLong(max) => Fault {
                kind: FaultKind::TooLong,
                field: path.to_string(),
                value: BadValue::Omitted,
                detail: format!("may not be more than {}", counted(max, "byte")),
            },
            Kind::TooMany { actual, max } => Fault {
                kind: FaultKind::TooMany,
                field: path.to_string(),
                value: BadValue::Plain(actual.to_string()),
                detail: format!("must have at most {}", counted(max, "item")),
            },
            Kind::Enum { value, values } => {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                Fault::not_supported(&path, printed(&value), &values)
            }
            Kind::Type(value) => Fault::type_invalid(&path, value, self.message),
            Kind::Invalid(Value::Null) => Fault::invalid(&path, "", self.message),
            Kind::Invalid(value) => Fault::invalid(&path, printed(&value), self.message),
        }
    }
}

/// A factor that nothing can be a multiple of.
pub(super) struct BadFactor<'a> {
    pub(super) text: &'a str,
    pub(super) value: Value,
}

fn counted(max: i64, unit: &str) -> String {
    format!("{max} {unit}{}", if max == 1 { "" } else { "s" })
}
