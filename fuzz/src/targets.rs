//! What is tried, and what must hold. One target, one file, one line here.

mod apply;
mod continue_tokens;
mod cron;
mod expressions;
mod json;
mod json_path;
mod patches;
mod protobuf;
mod quantities;
mod requests;
mod selectors;
mod yaml;

use serde_json::Value;

/// Something that takes bytes from outside.
pub trait Target {
    /// Inputs to begin with.
    fn seeds(&self) -> Vec<Vec<u8>>;

    /// Words of its language.
    fn words(&self) -> Vec<&'static str>;

    /// Plays one case. What it gives tells outcomes apart: its kind, then, behind a unit separator, its details.
    ///
    /// # Panics
    /// When something that must hold does not.
    fn play(&mut self, input: &[u8]) -> String;
}

/// A line of [`ALL`].
pub struct Entry {
    /// What it is called.
    pub name: &'static str,
    /// Makes it, with all it needs.
    pub make: fn() -> Box<dyn Target>,
}

/// All targets.
pub const ALL: &[Entry] = &[
    Entry { name: "requests", make: || Box::new(requests::Requests::new()) },
    Entry { name: "selectors", make: || Box::new(selectors::Selectors) },
    Entry { name: "patches", make: || Box::new(patches::Patches) },
    Entry { name: "apply", make: || Box::new(apply::Apply) },
    Entry { name: "continue-tokens", make: || Box::new(continue_tokens::ContinueTokens::new()) },
    Entry { name: "protobuf", make: || Box::new(protobuf::Protobuf) },
    Entry { name: "json", make: || Box::new(json::Json) },
    Entry { name: "yaml", make: || Box::new(yaml::Yaml) },
    Entry { name: "json-path", make: || Box::new(json_path::JsonPaths) },
    Entry { name: "cron", make: || Box::new(cron::Cron) },
    Entry { name: "expressions", make: || Box::new(expressions::Expressions) },
    Entry { name: "quantities", make: || Box::new(quantities::Quantities) },
];

/// A line with its numbers and quoted texts taken out, so that messages of one kind are one outcome.
fn gist(text: &str) -> String {
    let mut gist = String::new();
    let mut quoted = None;
    for letter in text.chars().take(400) {
        match (quoted, letter) {
            (Some(end), letter) if letter == end => quoted = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => {
                quoted = Some(letter);
                gist.push('"');
            }
            (None, '0'..='9') => {
                if !gist.ends_with('0') {
                    gist.push('0');
                }
            }
            (None, plain) => gist.push(plain),
        }
    }
    gist.chars().take(120).collect()
}

/// The input as text, whatever its bytes.
fn text(input: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(input)
}

/// Whether values are the same, a large float and the integer it prints as being one number.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, value)| right.get(name).is_some_and(|right| same(value, right)))
        }
        (left, right) => left == right,
    }
}
