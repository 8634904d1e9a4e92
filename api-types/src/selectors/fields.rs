//! Field selectors: `metadata.name=a,status.phase!=Running`.
//!
//! Which fields a kind has, and what they are called in which version, is the kind's affair: see [`Selector::map`].

use std::{borrow::Cow, fmt};

use super::Malformed;

/// What is demanded of an object's fields. All terms must hold; none means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// In the order of their text.
    terms: Vec<Term>,
}

/// What is demanded of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The field, such as `spec.nodeName`.
    pub field: String,
    /// How it relates to the value.
    pub operator: Operator,
    /// The value, unescaped.
    pub value: String,
}

/// How a field relates to the value of its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=` or `==`.
    Equals,
    /// `!=`.
    NotEquals,
}

// === impl Term ===

impl Term {
    /// Whether a field of this value meets it.
    pub fn matches(&self, value: &str) -> bool {
        (self.value == value) == (self.operator == Operator::Equals)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.operator {
            Operator::Equals => "=",
            Operator::NotEquals => "!=",
        };
        write!(f, "{}{operator}{}", self.field, escape(&self.value))
    }
}

// === impl Selector ===

impl Selector {
    /// Matches all objects.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Demands one value of one field.
    pub fn equal(field: &str, value: &str) -> Self {
        Self {
            terms: vec![Term {
                field: field.to_owned(),
                operator: Operator::Equals,
                value: value.to_owned(),
            }],
        }
    }

    /// Reads the text of a `fieldSelector` parameter.
    ///
    /// # Errors
    /// Upstream's words for a term without operator, a bad escape, or a character that should have been escaped.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let Some((field, operator, value)) = split_term(part) else {
                return Err(Malformed(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            let value = unescape(value)?.into_owned();
            // A term that says nothing of nothing (`=`) demands nothing.
            if !(field.is_empty() && value.is_empty()) {
                terms.push(Term { field: field.to_owned(), operator, value });
            }
        }
        Ok(Self { terms })
    }

    /// The terms, in the order of their text.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether it matches everything.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an object with these fields meets it. A field the object lacks reads as an empty text.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Cow<'a, str>) -> bool {
        self.terms.iter().all(|term| term.matches(&field(&term.field)))
    }

    /// The value it demands of a field, if it does.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.operator == Operator::Equals && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// The same demands under other names, as when a version's fields become those that are indexed. Terms whose field
    /// and value both become empty are dropped.
    ///
    /// # Errors
    /// The first that `rename` gives, which is how a kind refuses fields it does not have.
    pub fn map<E>(
        &self,
        mut rename: impl FnMut(&str, &str) -> Result<(String, String), E>,
    ) -> Result<Self, E> {
        let mut terms = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            let (field, value) = rename(&term.field, &term.value)?;
            if !(field.is_empty() && value.is_empty()) {
                terms.push(Term { field, operator: term.operator, value });
            }
        }
        Ok(Self { terms })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{term}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Selector {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text)
    }
}

/// A value with the characters escaped that mean something in a selector.
pub fn escape(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', ',', '=']) {
        return Cow::Borrowed(value);
    }
    let mut escaped = String::with_capacity(value.len() + 4);
    for character in value.chars() {
        if matches!(character, '\\' | ',' | '=') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    Cow::Owned(escaped)
}

fn unescape(text: &str) -> Result<Cow<'_, str>, Malformed> {
    if !text.contains(['\\', ',', '=']) {
        return Ok(Cow::Borrowed(text));
    }
    let bad_escape =
        |sequence: String| Malformed(format!("invalid field selector: invalid escape sequence: {sequence}"));
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => value.push(escaped),
                Some(other) => return Err(bad_escape(format!("\\{other}"))),
                None => return Err(bad_escape("\\".to_owned())),
            },
            // Upstream prints the character's number.
            ',' | '=' => {
                let number = u32::from(character);
                return Err(Malformed(format!(
                    "invalid field selector: unescaped character in value: {number}"
                )));
            }
            plain => value.push(plain),
        }
    }
    Ok(Cow::Owned(value))
}

/// At commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|character| {
        let separates = !escaped && character == ',';
        escaped = !escaped && character == '\\';
        separates
    })
    .collect()
}

/// At the first operator.
fn split_term(term: &str) -> Option<(&str, Operator, &str)> {
    let at = term.match_indices(['!', '=']).map(|(at, _)| at).find_map(|at| {
        let rest = term.get(at..)?;
        [("!=", Operator::NotEquals), ("==", Operator::Equals), ("=", Operator::Equals)]
            .into_iter()
            .find_map(|(symbol, operator)| Some((at, operator, rest.strip_prefix(symbol)?)))
    });
    let (at, operator, value) = at?;
    Some((term.get(..at)?, operator, value))
}

#[cfg(test)]
mod tests;
