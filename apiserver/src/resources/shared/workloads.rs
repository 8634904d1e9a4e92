//! Rules that the workloads of `apps` share: how many at once, by how much a status counts, what a name is for.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{
    metadata::invalid_each,
    names::{dns1123_label, percent},
    optional::negative,
};

/// A number or a percentage as messages print it.
pub(crate) fn printed(value: &IntOrString) -> BadValue {
    match value {
        IntOrString::Int(number) => (*number).into(),
        IntOrString::String(text) => text.into(),
    }
}

/// Faults of what must be a number not below zero, or a percentage.
pub(crate) fn int_or_percent(value: &IntOrString, path: &Path) -> Faults {
    match value {
        IntOrString::Int(number) => negative(path, *number).into_iter().collect(),
        IntOrString::String(text) => invalid_each(path, text, percent(text)),
    }
}

/// The fault of a percentage above a hundred.
pub(crate) fn above_all(value: &IntOrString, path: &Path) -> Option<Fault> {
    let IntOrString::String(text) = value else { return None };
    if !percent(text).is_empty() || amount(value) <= 100 {
        return None;
    }
    Some(Fault::invalid(path, text, "must not be greater than 100%"))
}

/// The number, be it one of pods or of percents; 0 for what is neither.
pub(crate) fn amount(value: &IntOrString) -> i64 {
    match value {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or(text);
            // Too many digits are too much, not nothing.
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                0
            } else {
                digits.parse().unwrap_or(i64::MAX)
            }
        }
    }
}

/// Faults of counts in a status: none below zero, none above the number of replicas, and no more available than ready.
pub(crate) struct Counts<'a> {
    path: &'a Path,
    faults: Faults,
}

impl<'a> Counts<'a> {
    /// Begins with nothing wrong.
    pub(crate) fn new(path: &'a Path) -> Self {
        Self { path, faults: Vec::new() }
    }

    /// Looks at counts, which must not be below zero.
    pub(crate) fn counted(mut self, counts: &[(&str, i64)]) -> Self {
        for (field, count) in counts {
            self.faults.extend(negative(&self.path.child(field), *count));
        }
        self
    }

    /// Looks at counts that are part of another.
    pub(crate) fn within(mut self, counts: &[(&str, i32)], whole: i32, whole_name: &str) -> Self {
        for (field, count) in counts {
            if *count > whole {
                self.faults.push(Fault::invalid(
                    &self.path.child(field),
                    *count,
                    format!("cannot be greater than {whole_name}"),
                ));
            }
        }
        self
    }

    /// Looks at a count that only grows.
    pub(crate) fn growing(mut self, field: &str, new: Option<i32>, old: Option<i32>) -> Self {
        if new.unwrap_or_default() < old.unwrap_or_default() || (new.is_none() && old.is_some()) {
            let path = self.path.child(field);
            self.faults.push(Fault::invalid(&path, new.unwrap_or_default(), "cannot be decremented"));
        }
        self
    }

    /// What was found.
    pub(crate) fn faults(self) -> Faults {
        self.faults
    }
}

/// The warning for a name that will be part of host names and is not fit for that.
pub(crate) fn name_warning(name: Option<&str>) -> Option<String> {
    let sentences = dns1123_label(name.unwrap_or_default());
    (!sentences.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: {}",
            listed(&sentences)
        )
    })
}

/// A list the way Go prints it.
pub(crate) fn listed(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

/// Whether the raw object has nothing under the path.
pub(crate) fn lacks(raw: &Value, path: &str) -> bool {
    raw.pointer(path).is_none_or(Value::is_null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_of_all() {
        let path = Path::new("p");
        for (value, faults, above, expected) in [
            (IntOrString::Int(3), 0, false, 3),
            (IntOrString::Int(-1), 1, false, -1),
            (IntOrString::String("25%".to_owned()), 0, false, 25),
            (IntOrString::String("101%".to_owned()), 0, true, 101),
            (IntOrString::String("10".to_owned()), 1, false, 10),
            (IntOrString::String("x".to_owned()), 1, false, 0),
        ] {
            assert_eq!(int_or_percent(&value, &path).len(), faults, "{value:?}");
            assert_eq!(above_all(&value, &path).is_some(), above, "{value:?}");
            assert_eq!(amount(&value), expected, "{value:?}");
        }
    }
}
