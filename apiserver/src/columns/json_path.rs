//! The JSONPath that definitions of custom resources use for columns, scales and selectable fields.
//!
//! It is the part of `kubectl`'s dialect that finds things: `.spec.ports[0].name`, `.metadata.labels.app\.example`,
//! `['a']`, `[*]`, `[-1]`, `[1:3]`, `..name`, `[?(@.type=="Ready")].status`. What is not there finds nothing.
//! See "JSONPath Support" in the kubectl reference.

use std::cmp::Ordering;

use serde_json::Value;

/// A path into an object.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

/// A path that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON path: {0}")]
pub struct Malformed(String);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// All values of a map or a list.
    All,
    /// The value itself and everything beneath it.
    Descend,
    /// `[start:end:step]`; negative positions count from the end.
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: usize,
    },
    /// One item, from the end if negative.
    Index(i64),
    /// The items of a list for which this holds.
    Filter {
        left: Operand,
        test: Option<(Comparison, Operand)>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// Relative to the item.
    Path(JsonPath),
    Literal(Value),
}

// === impl JsonPath ===

impl JsonPath {
    /// Reads a path that begins with a dot or a bracket.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut parser = Parser { rest: text };
        let steps = parser.steps().filter(|_| parser.rest.is_empty());
        steps.map(Self).ok_or_else(|| Malformed(text.to_owned()))
    }

    /// Everything the path finds.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        }
        found
    }

    /// The first thing the path finds.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find(value).into_iter().next()
    }
}

// === impl Step ===

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::All => children(value),
            Self::Descend => {
                let mut found = vec![value];
                for child in children(value) {
                    found.extend(self.apply(child));
                }
                found
            }
            Self::Index(at) => {
                let items = items(value);
                position(*at, items.len()).and_then(|at| items.get(at)).into_iter().collect()
            }
            Self::Slice { start, end, step } => {
                let items = items(value);
                let bound = |at: Option<i64>, absent: usize| match at {
                    None => absent,
                    Some(at) => position(at, items.len()).unwrap_or(if at < 0 { 0 } else { items.len() }),
                };
                let (start, end) = (bound(*start, 0), bound(*end, items.len()));
                items.get(start..end.min(items.len())).unwrap_or_default().iter().step_by(*step).collect()
            }
            Self::Filter { left, test } => {
                items(value).iter().filter(|item| holds(item, left, test.as_ref())).collect()
            }
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn position(at: i64, length: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add(i64::try_from(length).ok()?)? } else { at };
    usize::try_from(at).ok()
}

fn holds(item: &Value, left: &Operand, test: Option<&(Comparison, Operand)>) -> bool {
    let value = |operand: &Operand| -> Option<Value> {
        match operand {
            Operand::Literal(value) => Some(value.clone()),
            Operand::Path(path) => path.first(item).cloned(),
        }
    };
    let Some((comparison, right)) = test else { return value(left).is_some() };
    let (Some(left), Some(right)) = (value(left), value(right)) else { return false };
    let order = match (&left, &right) {
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right))
        }
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (left, right) => (left == right).then_some(Ordering::Equal),
    };
    match comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::Unequal => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    }
}

/// Reads a path; `None` anywhere means that it is none.
struct Parser<'a> {
    rest: &'a str,
}

// === impl Parser ===

impl Parser<'_> {
    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Steps until something comes that is none.
    fn steps(&mut self) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.take("..") {
                steps.push(Step::Descend);
                if !self.rest.starts_with('[') {
                    steps.push(self.field()?);
                }
            } else if self.take(".") {
                // A dot alone is the value itself.
                if !self.rest.is_empty() && !self.rest.starts_with('[') {
                    steps.push(self.field()?);
                }
            } else if self.take("[") {
                steps.push(self.bracket()?);
            } else {
                return Some(steps);
            }
        }
    }

    /// A name up to what cannot be part of one; a backslash makes the next character part of it.
    fn field(&mut self) -> Option<Step> {
        if self.take("*") {
            return Some(Step::All);
        }
        let mut name = String::new();
        let mut characters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => name.push(characters.next()?.1),
                '.' | '[' | ' ' | '=' | '!' | '<' | '>' | ')' | ']' => {
                    end = at;
                    break;
                }
                other => name.push(other),
            }
        }
        self.rest = self.rest.get(end..)?;
        (!name.is_empty()).then_some(Step::Field(name))
    }

    /// What stands between brackets, the first of which is read.
    fn bracket(&mut self) -> Option<Step> {
        if self.take("*]") {
            return Some(Step::All);
        }
        if self.take("?(") {
            return self.filter();
        }
        if self.rest.starts_with(['\'', '"']) {
            let name = self.quoted()?;
            return self.take("]").then_some(Step::Field(name));
        }
        let (inside, rest) = self.rest.split_once(']')?;
        self.rest = rest;
        let number = |text: &str| match text.trim() {
            "" => Some(None),
            text => text.parse::<i64>().ok().map(Some),
        };
        let mut parts = inside.split(':');
        let start = number(parts.next()?)?;
        let Some(end) = parts.next() else { return start.map(Step::Index) };
        let step = match parts.next() {
            None => 1,
            Some(step) => usize::try_from(number(step)?.unwrap_or(1)).ok().filter(|step| *step > 0)?,
        };
        if parts.next().is_some() {
            return None;
        }
        Some(Step::Slice { start, end: number(end)?, step })
    }

    fn filter(&mut self) -> Option<Step> {
        let left = self.operand()?;
        self.spaces();
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let comparison =
            comparisons.into_iter().find_map(|(token, comparison)| self.take(token).then_some(comparison));
        let test = match comparison {
            None => None,
            Some(comparison) => Some((comparison, self.operand()?)),
        };
        self.spaces();
        self.take(")]").then_some(Step::Filter { left, test })
    }

    fn operand(&mut self) -> Option<Operand> {
        self.spaces();
        if self.take("@") {
            return self.steps().map(|steps| Operand::Path(JsonPath(steps)));
        }
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(|text| Operand::Literal(text.into()));
        }
        let end = self.rest.find([' ', ')', '=', '!', '<', '>'])?;
        let (literal, rest) = self.rest.split_at(end);
        let literal = serde_json::from_str::<Value>(literal).ok()?;
        self.rest = rest;
        Some(Operand::Literal(literal))
    }

    fn quoted(&mut self) -> Option<String> {
        let mut characters = self.rest.char_indices();
        let (_, quote) = characters.next()?;
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => text.push(characters.next()?.1),
                end if end == quote => {
                    self.rest = self.rest.get(at + quote.len_utf8()..)?;
                    return Some(text);
                }
                other => text.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, expected: &Value) {
        let object = json!({
            "metadata": {"labels": {"app.example": "x", "a": "y"}},
            "spec": {
                "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}, {"name": "c"}],
                "on": true,
            },
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Odd", "status": "False"}]},
        });
        let found = JsonPath::parse(path).unwrap_or_else(|error| panic!("{error}")).find(&object).to_vec();
        assert_eq!(json!(found), *expected, "{path}");
    }

    #[test]
    fn a_path_finds_what_it_names() {
        for (path, expected) in [
            (".spec.on", json!([true])),
            (".spec.off", json!([])),
            (".spec.ports[0].name", json!(["a"])),
            (".spec.ports[-1].name", json!(["c"])),
            (".spec.ports[7].name", json!([])),
            (".spec.ports[*].name", json!(["a", "b", "c"])),
            (".spec.ports[1:].name", json!(["b", "c"])),
            (".spec.ports[:2].name", json!(["a", "b"])),
            (".spec.ports[-2:].name", json!(["b", "c"])),
            (".spec.ports[::2].name", json!(["a", "c"])),
            (".spec.ports[2:1].name", json!([])),
            (r".metadata.labels.app\.example", json!(["x"])),
            (".metadata.labels['app.example']", json!(["x"])),
            (".metadata.labels[\"a\"]", json!(["y"])),
            (".metadata.labels.*", json!(["y", "x"])),
            (
                "..status",
                json!([{"conditions": [{"type": "Ready", "status": "True"}, {"type": "Odd", "status": "False"}]}, "True", "False"]),
            ),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type == 'Odd')].status", json!(["False"])),
            (".status.conditions[?(@.type!='Odd')].status", json!(["True"])),
            (".spec.ports[?(@.port)].name", json!(["a", "b"])),
            (".spec.ports[?(@.port>80)].name", json!(["b"])),
            (".spec.ports[?(@.port <= 80)].name", json!(["a"])),
        ] {
            check(path, &expected);
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in [
            "spec",
            ".spec[",
            ".spec[x]",
            ".spec..",
            ".a[?(@.b==)]",
            ".a[?(@.b=='c]",
            ".a['b]",
            ".a b",
            ".a[1:2:0]",
        ] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
