//! What keeps a value from being taken for its type.

use std::fmt;

use super::element::Element;

/// A value that does not fit its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Where, as in `.spec.replicas`; empty for the object itself.
    path: String,
    text: String,
}

/// Everything found, in the order of the object's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Problems(pub(super) Vec<Problem>);

// === impl Problem ===

impl Problem {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { path: String::new(), text: text.into() }
    }

    /// The same, seen from one step further up.
    #[must_use]
    pub(super) fn under(self, element: &Element) -> Self {
        Self { path: format!("{element}{}", self.path), text: self.text }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.text) } else { write!(f, "{}: {}", self.path, self.text) }
    }
}

// === impl Problems ===

impl Problems {
    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl From<Problem> for Problems {
    fn from(only: Problem) -> Self {
        Self(vec![only])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "{only}"),
            many => {
                f.write_str("errors:")?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
