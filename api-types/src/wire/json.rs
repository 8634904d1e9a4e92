//! JSON: reading it in document order, and writing it in the order and notation of Go.
//!
//! A [`Document`] is a body that has passed the scanner; it is cut once, and then answers what kind of object it
//! says it is, and becomes a value, with a type ([`typed`](super::typed)) or without.

use super::{
    DEPTH_KEPT_MAX, go,
    tape::{At, Kind, Tape},
};
use crate::schema::{Shape, Type, TypeRef, schema};
use serde_json::{Map, Number, Value};
use std::{borrow::Cow, collections::BTreeSet};

/// Why bytes are no JSON, or hold what no value can hold; the texts are Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SyntaxError(pub String);

/// A JSON text that has passed the scanner.
pub struct Document<'a>(pub(super) Tape<'a>);

/// What an object says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeMeta {
    /// `apiVersion`, empty if absent.
    pub api_version: String,
    /// `kind`, empty if absent.
    pub kind: String,
}

/// Reads untyped JSON, and lists the duplicate fields in upstream's words: `duplicate field "data.a"`.
///
/// # Errors
/// Go's message if it is no JSON.
pub fn decode(bytes: &[u8]) -> Result<(Value, Vec<String>), SyntaxError> {
    parse(bytes)?.to_value()
}

/// Cuts a JSON text.
///
/// # Errors
/// Go's message if it is no JSON.
pub fn parse(bytes: &[u8]) -> Result<Document<'_>, SyntaxError> {
    Tape::cut(bytes).map(Document).map_err(SyntaxError)
}

// === impl Document ===

impl Document<'_> {
    /// The kind it claims to be. As upstream's first look at a body, this one does not mind the case of keys.
    ///
    /// # Errors
    /// Go's message if it is no object, or one of the two is no string.
    pub fn type_meta(&self) -> Result<TypeMeta, String> {
        let tape = &self.0;
        let mut found = TypeMeta::default();
        match tape.kind(0) {
            Kind::Object => {}
            Kind::Null => return Ok(found),
            other => {
                let what = describe(other);
                return Err(format!(
                    "json: cannot unmarshal {what} into Go value of type struct {{ \
                     APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
                     Kind string \"json:\\\"kind,omitempty\\\"\" }}"
                ));
            }
        }
        let mut fault = None;
        for (key, value) in tape.members(0) {
            let key = tape.string(key);
            let (name, into) = if key.eq_ignore_ascii_case("apiVersion") {
                ("apiVersion", &mut found.api_version)
            } else if key.eq_ignore_ascii_case("kind") {
                ("kind", &mut found.kind)
            } else {
                continue;
            };
            match tape.kind(value) {
                Kind::String => *into = tape.string(value).into_owned(),
                Kind::Null => {}
                other => {
                    let what = describe(other);
                    fault.get_or_insert_with(|| {
                        format!("json: cannot unmarshal {what} into Go struct field .{name} of type string")
                    });
                }
            }
        }
        fault.map_or(Ok(found), Err)
    }

    /// The whole as untyped value, and its duplicate fields.
    ///
    /// # Errors
    /// A number that is too large, or values nested too deep to be kept.
    pub fn to_value(&self) -> Result<(Value, Vec<String>), SyntaxError> {
        let mut builder = Untyped { tape: &self.0, found_duplicate: false };
        let value = builder.value(0, 0).map_err(SyntaxError)?;
        let mut duplicates = Strict::default();
        if builder.found_duplicate {
            // Rare enough to look again, this time with paths.
            list_duplicates(&self.0, 0, &mut Path::default(), &mut duplicates);
        }
        Ok((value, duplicates.0))
    }
}

// === reading ===

/// What an error message calls a value that does not fit.
pub(super) fn describe(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::True | Kind::False => "bool",
        Kind::Number => "number",
        Kind::String => "string",
        Kind::Array => "array",
        Kind::Object => "object",
    }
}

/// Where a strict error is, as a path from the root.
#[derive(Default)]
pub(super) struct Path(Vec<Step>);

#[derive(Clone, Copy)]
pub(super) enum Step {
    /// A field of the Go struct of this name.
    Field(&'static str, &'static str),
    /// The key of a map: its token.
    Key(At),
    /// The position in a list.
    Index(usize),
}

impl Path {
    pub(super) fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }

    /// The path to `field` below here, as strict errors print it.
    pub(super) fn to(&self, field: &str, tape: &Tape<'_>) -> String {
        let mut text = String::new();
        for step in &self.0 {
            let key = match step {
                Step::Field(_, name) => Cow::Borrowed(*name),
                Step::Key(at) => tape.string(*at),
                Step::Index(index) => {
                    text.push_str(&format!("[{index}]"));
                    continue;
                }
            };
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&key);
        }
        if !text.is_empty() {
            text.push('.');
        }
        text + field
    }

    /// The innermost struct and the struct fields that lead here, as type errors print them.
    pub(super) fn fields(&self) -> Option<String> {
        let fields = self.0.iter().filter_map(|step| match step {
            Step::Field(of, name) => Some((*of, *name)),
            Step::Key(_) | Step::Index(_) => None,
        });
        let (of, _) = fields.clone().next_back()?;
        let names: Vec<&str> = fields.map(|(_, name)| name).collect();
        Some(format!("{of}.{}", names.join(".")))
    }
}

/// Unknown and duplicate fields in the order they were met: each once, and not without end.
#[derive(Default)]
pub(super) struct Strict(pub(super) Vec<String>);

impl Strict {
    const MAX: usize = 100;

    pub(super) fn report(&mut self, what: &str, path: &str) {
        if self.0.len() >= Self::MAX {
            return;
        }
        let text = format!("{what} field {}", go::quote(path));
        if !self.0.contains(&text) {
            self.0.push(text);
        }
    }
}

/// A value without schema. Of duplicates, the last one counts.
pub(super) fn untyped(tape: &Tape<'_>, at: At, depth: usize) -> Result<Value, String> {
    Untyped { tape, found_duplicate: false }.value(at, depth)
}

struct Untyped<'t, 'a> {
    tape: &'t Tape<'a>,
    found_duplicate: bool,
}

impl Untyped<'_, '_> {
    fn value(&mut self, at: At, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_KEPT_MAX {
            return Err("exceeded max depth".to_owned());
        }
        let tape = self.tape;
        Ok(match tape.kind(at) {
            Kind::Null => Value::Null,
            Kind::True => Value::Bool(true),
            Kind::False => Value::Bool(false),
            Kind::Number => Value::Number(number(tape.number(at))?),
            Kind::String => Value::String(tape.string(at).into_owned()),
            Kind::Array => {
                let mut list = Vec::new();
                for element in tape.elements(at) {
                    list.push(self.value(element, depth + 1)?);
                }
                Value::Array(list)
            }
            Kind::Object => {
                let mut map = Map::new();
                for (key, value) in tape.members(at) {
                    let value = self.value(value, depth + 1)?;
                    self.found_duplicate |= map.insert(tape.string(key).into_owned(), value).is_some();
                }
                Value::Object(map)
            }
        })
    }
}

fn list_duplicates(tape: &Tape<'_>, at: At, path: &mut Path, duplicates: &mut Strict) {
    match tape.kind(at) {
        Kind::Array => {
            for (index, element) in tape.elements(at).enumerate() {
                path.push(Step::Index(index));
                list_duplicates(tape, element, path, duplicates);
                path.pop();
            }
        }
        Kind::Object => {
            let mut seen = BTreeSet::new();
            for (key, value) in tape.members(at) {
                let name = tape.string(key);
                if seen.contains(&name) {
                    duplicates.report("duplicate", &path.to(&name, tape));
                }
                seen.insert(name);
                path.push(Step::Key(key));
                list_duplicates(tape, value, path, duplicates);
                path.pop();
            }
        }
        _ => {}
    }
}

/// A number: whole ones as integers whatever their notation, if they fit, since that is what they are once
/// they have been written and read again.
pub(super) fn number(text: &str) -> Result<Number, String> {
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(Number::from(whole));
    }
    let float: f64 = text.parse().unwrap_or(f64::NAN);
    from_float(float)
        .ok_or_else(|| format!("json: cannot unmarshal number {text} into Go value of type float64"))
}

/// A float as number; `None` if it is not finite.
pub(super) fn from_float(float: f64) -> Option<Number> {
    // Below 2^53 every whole float is exactly the integer it prints as.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() <= EXACT {
        return format!("{float:.0}").parse::<i64>().ok().map(Number::from);
    }
    Number::from_f64(float)
}

// === writing ===

/// Compact JSON as Go writes the struct: fields in declaration order, keys of maps sorted, HTML escaped.
/// Without the line break that upstream puts after a response.
pub fn encode(value: &Value, of: TypeRef) -> Vec<u8> {
    let mut into = Vec::with_capacity(1024);
    push_struct(&mut into, value, schema().get(of));
    into
}

/// Compact JSON with sorted keys, in Go's notation.
pub fn encode_untyped(value: &Value) -> Vec<u8> {
    let mut into = Vec::with_capacity(256);
    push_untyped(&mut into, value);
    into
}

/// Appends what [`encode_untyped`] gives.
pub fn push_untyped(into: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => into.extend_from_slice(b"null"),
        Value::Bool(true) => into.extend_from_slice(b"true"),
        Value::Bool(false) => into.extend_from_slice(b"false"),
        Value::Number(number) => push_number(into, number),
        Value::String(text) => go::push_string(into, text),
        Value::Array(list) => push_list(into, list, push_untyped),
        Value::Object(map) => push_map(into, map, push_untyped),
    }
}

/// Appends a string in quotes, as [`encode_untyped`] writes it.
pub fn push_string(into: &mut Vec<u8>, text: &str) {
    go::push_string(into, text);
}

/// Spreads compact JSON over lines, two spaces a level, as upstream answers `?pretty=true`.
pub fn pretty(compact: &[u8]) -> Vec<u8> {
    let mut into = Vec::with_capacity(compact.len() * 2);
    let mut level = 0_usize;
    let mut bytes = compact.iter().copied().peekable();
    let break_line = |into: &mut Vec<u8>, level: usize| {
        into.push(b'\n');
        into.extend(std::iter::repeat_n(b' ', level * 2));
    };
    while let Some(byte) = bytes.next() {
        into.push(byte);
        match byte {
            b'"' => {
                while let Some(inside) = bytes.next() {
                    into.push(inside);
                    match inside {
                        b'\\' => into.extend(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'{' | b'[' => {
                if let Some(end) = bytes.next_if(|next| matches!(next, b'}' | b']')) {
                    into.push(end);
                } else {
                    level += 1;
                    break_line(&mut into, level);
                }
            }
            b',' => break_line(&mut into, level),
            b':' => into.push(b' '),
            _ => {}
        }
        // An empty container was closed above, so an end that comes next is another one's.
        if let Some(b'}' | b']') = bytes.peek() {
            level = level.saturating_sub(1);
            break_line(&mut into, level);
        }
    }
    into
}

fn push_number(into: &mut Vec<u8>, number: &Number) {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) => go::push_float(into, float),
        None => into.extend_from_slice(number.to_string().as_bytes()),
    }
}

fn push_list(into: &mut Vec<u8>, list: &[Value], push: impl Fn(&mut Vec<u8>, &Value)) {
    into.push(b'[');
    for (at, element) in list.iter().enumerate() {
        if at > 0 {
            into.push(b',');
        }
        push(into, element);
    }
    into.push(b']');
}

fn push_map(into: &mut Vec<u8>, map: &Map<String, Value>, push: impl Fn(&mut Vec<u8>, &Value)) {
    into.push(b'{');
    for (at, (key, value)) in map.iter().enumerate() {
        if at > 0 {
            into.push(b',');
        }
        go::push_string(into, key);
        into.push(b':');
        push(into, value);
    }
    into.push(b'}');
}

fn push_struct(into: &mut Vec<u8>, value: &Value, of: &Type) {
    let Value::Object(map) = value else { return push_untyped(into, value) };
    // Both the map and the type's index are sorted by name, so one walk over the two finds every position.
    let mut sorted = of.positions_by_name().peekable();
    let mut known: Vec<(usize, &Value)> = Vec::with_capacity(map.len());
    let mut unknown = Vec::new();
    for (key, value) in map {
        while sorted.next_if(|(name, _)| *name < key.as_str()).is_some() {}
        match sorted.next_if(|(name, _)| *name == key.as_str()) {
            Some((_, position)) => known.push((position, value)),
            None => unknown.push((key, value)),
        }
    }
    known.sort_unstable_by_key(|(position, _)| *position);
    into.push(b'{');
    let start = into.len();
    for (position, value) in known {
        let Some(field) = of.fields.get(position) else { continue };
        if into.len() > start {
            into.push(b',');
        }
        // Field names need no escapes.
        into.push(b'"');
        into.extend_from_slice(field.json.as_bytes());
        into.extend_from_slice(b"\":");
        push_shape(into, value, &field.shape);
    }
    // A value that was not coerced may have more than its type; nothing is lost here.
    for (key, value) in unknown {
        if into.len() > start {
            into.push(b',');
        }
        go::push_string(into, key);
        into.push(b':');
        push_untyped(into, value);
    }
    into.push(b'}');
}

fn push_shape(into: &mut Vec<u8>, value: &Value, shape: &Shape) {
    match (shape, value) {
        (Shape::Struct(of), _) => push_struct(into, value, schema().get(*of)),
        (
            Shape::SchemaOrBool(of) | Shape::SchemaOrArray(of) | Shape::SchemaOrStrings(of),
            Value::Object(_),
        ) => {
            push_struct(into, value, schema().get(*of));
        }
        (Shape::SchemaOrArray(of), Value::Array(list)) => {
            push_list(into, list, |into, element| push_struct(into, element, schema().get(*of)));
        }
        (Shape::List(of), Value::Array(list)) => {
            push_list(into, list, |into, element| push_shape(into, element, of))
        }
        (Shape::Map(of), Value::Object(map)) => {
            push_map(into, map, |into, element| push_shape(into, element, of))
        }
        _ => push_untyped(into, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_reported_with_their_path_once_and_the_last_one_counts() {
        let body = br#"{"a":1,"b":{"c":[{"d":1,"d":2,"d":3}]},"a":{"x":1,"x":1}}"#;
        let (value, duplicates) = decode(body).unwrap();
        assert_eq!(value, json!({"a": {"x": 1}, "b": {"c": [{"d": 3}]}}));
        assert_eq!(
            duplicates,
            [r#"duplicate field "b.c[0].d""#, r#"duplicate field "a""#, r#"duplicate field "a.x""#]
        );
    }

    #[test]
    fn a_deep_body_costs_no_stack() {
        let deep = format!("{}1{}", "[".repeat(9_999), "]".repeat(9_999));
        assert_eq!(decode(deep.as_bytes()), Err(SyntaxError("exceeded max depth".to_owned())));
        let kept = format!("{}1{}", "[".repeat(250), "]".repeat(250));
        assert!(decode(kept.as_bytes()).is_ok());
    }

    #[test]
    fn numbers_are_whole_if_they_can_be() {
        let cases = [
            ("1", "1"),
            ("-0", "0"),
            ("1.0", "1"),
            ("1e3", "1000"),
            ("1.5", "1.5"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "9223372036854776000"),
            ("1e21", "1e+21"),
            ("0.0000001", "1e-7"),
        ];
        for (text, written) in cases {
            let (value, _) = decode(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(encode_untyped(&value)).unwrap(), written, "{text}");
        }
        let error = decode(b"1e400").unwrap_err();
        assert_eq!(error.0, "json: cannot unmarshal number 1e400 into Go value of type float64");
    }

    #[test]
    fn the_first_look_at_a_body_finds_its_kind() {
        let meta = |api_version: &str, kind: &str| {
            Ok(TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() })
        };
        let no_struct = r#" into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        let cases = [
            (r#"{"kind":"Pod","apiVersion":"v1"}"#, meta("v1", "Pod")),
            (r#"{"KIND":"Pod","apiversion":"v1"}"#, meta("v1", "Pod")),
            (r#"{"kind":"Pod","kind":"Node","apiVersion":null}"#, meta("", "Node")),
            ("null", meta("", "")),
            (
                r#"{"kind":1,"apiVersion":[]}"#,
                Err("json: cannot unmarshal number into Go struct field .kind of type string".to_owned()),
            ),
            (r#""str""#, Err(format!("json: cannot unmarshal string{no_struct}"))),
            ("[]", Err(format!("json: cannot unmarshal array{no_struct}"))),
        ];
        for (body, expected) in cases {
            assert_eq!(parse(body.as_bytes()).unwrap().type_meta(), expected, "{body}");
        }
    }

    #[test]
    fn fields_are_written_in_gos_order_and_maps_sorted() {
        let pod = schema().type_of("", "v1", "Pod").unwrap();
        let value = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"annotations": {"z": "1", "a": "<b>"}, "name": "a"},
            "spec": {"containers": [{"image": "i", "name": "c", "zz": 1, "ports": [{"containerPort": 1}]}], "volumes": []},
        });
        assert_eq!(
            String::from_utf8(encode(&value, pod)).unwrap(),
            concat!(
                r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","annotations":{"a":"\u003cb\u003e","z":"1"}},"#,
                r#""spec":{"volumes":[],"containers":[{"name":"c","image":"i","ports":[{"containerPort":1}],"zz":1}]}}"#
            )
        );
    }

    #[test]
    fn pretty_is_two_spaces_a_level() {
        let compact = br#"{"a":{},"b":[],"c":[1,{"d":"},[\"{"}],"e":null}"#;
        let expected = "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1,\n    {\n      \"d\": \"},[\\\"{\"\n    }\n  ],\n  \"e\": null\n}";
        assert_eq!(String::from_utf8(pretty(compact)).unwrap(), expected);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                proptest::collection::btree_map("[a-z\\PC]{0,4}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any_value()) {
            let bytes = encode_untyped(&value);
            prop_assert_eq!(decode(&bytes), Ok((value.clone(), vec![])));
            prop_assert_eq!(&serde_json::from_slice::<Value>(&bytes).unwrap(), &value);
            prop_assert_eq!(serde_json::from_slice::<Value>(&pretty(&bytes)).unwrap(), value);
        }
    }
}
