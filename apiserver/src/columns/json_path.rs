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

/// How many values one path may pass on its way. `..` after `..` passes a value once for each pair of its ancestors, and so on:
/// without a bound a few dots more would keep a processor busy for hours.
pub const PASSES_MAX: usize = 100_000;

/// How deep filters may stand in filters. Reading them recurses.
const FILTERS_MAX: usize = 16;

/// How many values may still be passed.
struct Passes(usize);

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
        let mut parser = Parser { rest: text, filters: 0 };
        let steps = parser.steps().filter(|_| parser.rest.is_empty());
        steps.map(Self).ok_or_else(|| Malformed(text.to_owned()))
    }

    /// Everything the path finds; nothing if it would pass more than [`PASSES_MAX`] values.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        self.follow(value, &mut Passes(PASSES_MAX)).unwrap_or_default()
    }

    /// The first thing the path finds.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find(value).into_iter().next()
    }

    /// `None` when it takes too long.
    fn follow<'a>(&self, value: &'a Value, passes: &mut Passes) -> Option<Vec<&'a Value>> {
        let mut found = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.apply(value, &mut next, passes)?;
            }
            found = next;
        }
        Some(found)
    }
}

// === impl Passes ===

impl Passes {
    fn one(&mut self) -> Option<()> {
        self.0 = self.0.checked_sub(1)?;
        Some(())
    }
}

// === impl Step ===

impl Step {
    /// Adds what the step leads to. `None` when it takes too long.
    fn apply<'a>(&self, value: &'a Value, found: &mut Vec<&'a Value>, passes: &mut Passes) -> Option<()> {
        passes.one()?;
        let before = found.len();
        match self {
            Self::Field(name) => found.extend(value.get(name)),
            Self::All => found.extend(children(value)),
            Self::Descend => {
                found.push(value);
                for child in children(value) {
                    self.apply(child, found, passes)?;
                }
                return Some(());
            }
            Self::Index(at) => {
                let items = items(value);
                found.extend(position(*at, items.len()).and_then(|at| items.get(at)));
            }
            Self::Slice { start, end, step } => {
                let items = items(value);
                let bound = |at: Option<i64>, absent: usize| match at {
                    None => absent,
                    Some(at) => position(at, items.len()).unwrap_or(if at < 0 { 0 } else { items.len() }),
                };
                let (start, end) = (bound(*start, 0), bound(*end, items.len()));
                let slice = items.get(start..end.min(items.len())).unwrap_or_default();
                found.extend(slice.iter().step_by(*step));
            }
            Self::Filter { left, test } => {
                for item in items(value) {
                    passes.one()?;
                    if holds(item, left, test.as_ref(), passes)? {
                        found.push(item);
                    }
                }
            }
        }
        passes.0 = passes.0.checked_sub(found.len() - before)?;
        Some(())
    }
}

fn children(value: &Value) -> impl Iterator<Item = &Value> {
    let fields = value.as_object().into_iter().flat_map(|map| map.values());
    items(value).iter().chain(fields)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn position(at: i64, length: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add(i64::try_from(length).ok()?)? } else { at };
    usize::try_from(at).ok()
}

/// Whether an item passes a filter. `None` when it takes too long to say.
fn holds(
    item: &Value,
    left: &Operand,
    test: Option<&(Comparison, Operand)>,
    passes: &mut Passes,
) -> Option<bool> {
    let mut value = |operand: &Operand| -> Option<Option<Value>> {
        match operand {
            Operand::Literal(value) => Some(Some(value.clone())),
            Operand::Path(path) => Some(path.follow(item, passes)?.first().map(|found| (*found).clone())),
        }
    };
    let Some((comparison, right)) = test else { return Some(value(left)?.is_some()) };
    let (Some(left), Some(right)) = (value(left)?, value(right)?) else { return Some(false) };
    let order = match (&left, &right) {
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right))
        }
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (left, right) => (left == right).then_some(Ordering::Equal),
    };
    Some(match comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::Unequal => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    })
}

/// Reads a path; `None` anywhere means that it is none.
struct Parser<'a> {
    rest: &'a str,
    /// How many filters this stands in.
    filters: usize,
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
            self.filters += 1;
            let filter = if self.filters > FILTERS_MAX { None } else { self.filter() };
            self.filters -= 1;
            return filter;
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

    fn nested(filters: usize) -> String {
        format!(".a{}.b{}", "[?(@".repeat(filters), ")]".repeat(filters))
    }

    #[test]
    fn a_path_that_passes_too_much_finds_nothing_and_soon() {
        let deep = (0..60).fold(json!({"a": [1]}), |inner, _| json!({"a": [inner]}));
        for path in ["..a..a..a..a..a..a..a..a..zz", "..*..*..*..*..*", "..a[?(@..a..a..a..a..a..a==1)]"] {
            assert!(JsonPath::parse(path).unwrap().find(&deep).is_empty(), "{path}");
        }
        assert_eq!(JsonPath::parse("..a").unwrap().find(&deep).len(), 61);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let (within, deep) = (nested(FILTERS_MAX), nested(100_000));
        assert!(JsonPath::parse(&within).is_ok());
        for path in [
            &*deep,
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
