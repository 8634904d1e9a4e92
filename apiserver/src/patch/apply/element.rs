//! One step of a field path: a field, an item of a list by its keys or its value, or a position.

use std::{cmp::Ordering, fmt};

use api_types::{field::go_quote, wire::json};
use serde_json::{Map, Number, Value};

use super::shape::{Items, List};
use crate::patch::print;

/// A step, held as the text it has in `fieldsV1`: `f:name`, `k:{"name":"a"}`, `v:"a"` or `i:0`.
///
/// Equal steps have equal texts, and sets are ordered by them. Upstream's order, which shows in messages, is
/// [`Element::upstream_order`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element(Box<str>);

/// What a step says.
enum Parts<'a> {
    Field(&'a str),
    Keys(Map<String, Value>),
    Value(Value),
    Index(i64),
}

impl Element {
    /// A field of a struct or an entry of a map.
    pub fn field(name: &str) -> Self {
        let mut text = String::with_capacity(name.len() + 2);
        text.push_str("f:");
        text.push_str(name);
        Self(text.into())
    }

    /// An item of a set.
    pub(super) fn value(value: &Value) -> Self {
        let mut text = b"v:".to_vec();
        push_value(&mut text, value);
        Self::of_json(text)
    }

    /// An item of a list by its keys, which must be sorted.
    pub(super) fn keys<'v>(keys: impl IntoIterator<Item = (&'v str, &'v Value)>) -> Self {
        let mut text = b"k:{".to_vec();
        for (index, (name, value)) in keys.into_iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            json::push_string(&mut text, name);
            text.push(b':');
            push_value(&mut text, value);
        }
        text.push(b'}');
        Self::of_json(text)
    }

    fn of_json(text: Vec<u8>) -> Self {
        // What encodes to JSON is UTF-8.
        Self(String::from_utf8(text).unwrap_or_default().into())
    }

    /// A position in a list whose items have no names.
    pub(super) fn index(index: usize) -> Self {
        Self(format!("i:{index}").into())
    }

    /// The step of an item in its list.
    ///
    /// # Errors
    /// When the item cannot be told apart; upstream's words.
    pub(super) fn of_item(item: &Value, list: &List) -> Result<Self, String> {
        match &list.items {
            Items::Atomic => Err("invalid indexing of non-associative list".to_owned()),
            Items::Values => match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".to_owned())
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null".to_owned())
                }
                scalar => Ok(Self::value(scalar)),
            },
            Items::Keys(keys) => {
                let fields = match item {
                    Value::Object(fields) => fields,
                    Value::Null => {
                        return Err("associative list with keys may not have a null element".to_owned());
                    }
                    _ => return Err("associative list with keys may not have non-map elements".to_owned()),
                };
                let mut present: Vec<(&str, &Value)> = keys
                    .iter()
                    .filter_map(|key| {
                        let value = fields.get(key.name.as_ref()).or(key.default.as_ref())?;
                        Some((key.name.as_ref(), value))
                    })
                    .collect();
                if present.is_empty() && !keys.is_empty() {
                    let names: Vec<String> = keys.iter().map(|key| go_quote(&key.name)).collect();
                    return Err(format!(
                        "associative list with keys has an element that omits all key fields [{}] (and doesn't have \
                         default values for any key fields)",
                        names.join(" ")
                    ));
                }
                present.sort_by_key(|(name, _)| *name);
                Ok(Self::keys(present))
            }
        }
    }

    /// Reads the text of a step. `None` for kinds of steps nobody knows yet, which are to be skipped.
    ///
    /// # Errors
    /// When the text is no step.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some((kind, rest)) = text.split_at_checked(2) else {
            return Err("key must be 2 characters long:".to_owned());
        };
        if !kind.ends_with(':') {
            return Err(format!("missing colon: {text}"));
        }
        let read = |rest: &str| serde_json::from_str::<Value>(rest).map_err(|error| error.to_string());
        Ok(match kind {
            "f:" => Some(Self(text.into())),
            "v:" => Some(Self::value(&read(rest)?)),
            "k:" => match read(rest)? {
                Value::Object(keys) => {
                    Some(Self::keys(keys.iter().map(|(name, value)| (name.as_str(), value))))
                }
                other => return Err(format!("keys are no object: {other}")),
            },
            "i:" => {
                let index: i64 = rest.parse().map_err(|_invalid| {
                    format!("strconv.Atoi: parsing {}: invalid syntax", go_quote(rest))
                })?;
                Some(Self(format!("i:{index}").into()))
            }
            _ => None,
        })
    }

    /// A step as it was stored, which was made of one of ours.
    pub(super) fn from_stored(text: String) -> Self {
        Self(text.into())
    }

    /// The text in `fieldsV1`.
    pub(super) fn into_string(self) -> String {
        self.0.into()
    }

    /// The text in `fieldsV1`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The field's name, if it is a field.
    pub(super) fn field_name(&self) -> Option<&str> {
        self.0.strip_prefix("f:")
    }

    /// Whether it is an item by its keys.
    pub(super) fn is_keys(&self) -> bool {
        self.0.starts_with("k:")
    }

    fn parts(&self) -> Parts<'_> {
        // The text was made here, so it reads; what does not would be a field with an odd name.
        let whole = Parts::Field(&self.0);
        match self.0.split_at_checked(2) {
            Some(("f:", name)) => Parts::Field(name),
            Some(("v:", value)) => serde_json::from_str(value).map_or(whole, Parts::Value),
            Some(("k:", keys)) => serde_json::from_str(keys).map_or(whole, Parts::Keys),
            Some(("i:", index)) => index.parse().map_or(whole, Parts::Index),
            _ => whole,
        }
    }

    /// The order in which upstream lists steps: fields, then items by keys, by value, by position.
    pub(super) fn upstream_order(&self, other: &Self) -> Ordering {
        let rank = |parts: &Parts<'_>| match parts {
            Parts::Field(_) => 0,
            Parts::Keys(_) => 1,
            Parts::Value(_) => 2,
            Parts::Index(_) => 3,
        };
        match (self.parts(), other.parts()) {
            (Parts::Field(one), Parts::Field(other)) => one.cmp(other),
            (Parts::Index(one), Parts::Index(other)) => one.cmp(&other),
            (Parts::Value(one), Parts::Value(other)) => order_of_values(&one, &other),
            (Parts::Keys(one), Parts::Keys(other)) => order_of_fields(&one, &other),
            (one, other) => rank(&one).cmp(&rank(&other)),
        }
    }
}

/// As paths in messages have it: `.name`, `[port=80,protocol="TCP"]`, `[="a"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            Parts::Field(name) => write!(f, ".{name}"),
            Parts::Index(index) => write!(f, "[{index}]"),
            Parts::Value(value) => write!(f, "[={}]", Quoted(&value)),
            Parts::Keys(keys) => {
                f.write_str("[")?;
                for (index, (name, value)) in keys.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{name}={}", Quoted(value))?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A value in a path.
struct Quoted<'a>(&'a Value);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("null"),
            Value::String(text) => f.write_str(&go_quote(text)),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| Quoted(item).to_string()).collect();
                write!(f, "[{}]", items.join(","))
            }
            Value::Object(fields) => {
                fields.iter().try_for_each(|(name, value)| write!(f, "{name}={}", Quoted(value)))
            }
            other => write!(f, "{}", print::Plain(other)),
        }
    }
}

/// Equal numbers get equal texts, however they were written.
fn push_value(text: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => match whole(number) {
            Some(whole) => text.extend_from_slice(whole.to_string().as_bytes()),
            None => json::push_untyped(text, value),
        },
        other => json::push_untyped(text, other),
    }
}

/// The number as an integer, if it is one that a float holds exactly or that came as an integer.
fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        // 2^53, beyond which floats skip integers.
        if float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0 {
            format!("{float:.0}").parse().ok()
        } else {
            None
        }
    })
}

fn order_of_values(one: &Value, other: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => one.as_f64().partial_cmp(&other.as_f64()).unwrap_or(Ordering::Equal),
        },
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Array(one), Value::Array(other)) => {
            let items = one.iter().zip(other).map(|(one, other)| order_of_values(one, other));
            first_difference(items, one.len().cmp(&other.len()))
        }
        (Value::Object(one), Value::Object(other)) => order_of_fields(one, other),
        (one, other) => rank(one).cmp(&rank(other)),
    }
}

fn order_of_fields(one: &Map<String, Value>, other: &Map<String, Value>) -> Ordering {
    let fields = one
        .iter()
        .zip(other)
        .map(|(one, other)| one.0.cmp(other.0).then_with(|| order_of_values(one.1, other.1)));
    first_difference(fields, one.len().cmp(&other.len()))
}

fn first_difference(mut items: impl Iterator<Item = Ordering>, otherwise: Ordering) -> Ordering {
    items.find(|order| order.is_ne()).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_read_and_print() {
        for (text, canonical, shown) in [
            ("f:a.b/c", "f:a.b/c", ".a.b/c"),
            ("f:", "f:", "."),
            (r#"k:{"name":"a"}"#, r#"k:{"name":"a"}"#, r#"[name="a"]"#),
            (
                r#"k:{ "protocol":"TCP", "port":80.0 }"#,
                r#"k:{"port":80,"protocol":"TCP"}"#,
                r#"[port=80,protocol="TCP"]"#,
            ),
            (r#"v:"a<b""#, r#"v:"a\u003cb""#, r#"[="a<b"]"#),
            ("v:true", "v:true", "[=true]"),
            ("v:1.5", "v:1.5", "[=1.5]"),
            ("i:07", "i:7", "[7]"),
        ] {
            let element = Element::parse(text).unwrap().unwrap();
            assert_eq!(element.as_str(), canonical);
            assert_eq!(element.to_string(), shown);
        }
        assert_eq!(Element::parse("x:later"), Ok(None));
        for bad in ["", "f", "ab", "v:{", "k:1", "i:x"] {
            assert!(Element::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn upstream_lists_fields_before_items_and_numbers_by_size() {
        let ordered =
            ["f:a", "f:b", r#"k:{"port":80}"#, r#"k:{"port":443}"#, "v:9", "v:10", r#"v:"a""#, "i:2", "i:10"];
        let ordered = ordered.map(|text| Element::parse(text).unwrap().unwrap());
        for (one, other) in ordered.iter().zip(ordered.iter().skip(1)) {
            assert_eq!(one.upstream_order(other), Ordering::Less, "{one} {other}");
            assert_eq!(other.upstream_order(one), Ordering::Greater, "{one} {other}");
            assert_eq!(one.upstream_order(one), Ordering::Equal);
        }
    }

    #[test]
    fn large_numbers_stay_as_they_are() {
        assert_eq!(Element::value(&json!(9_007_199_254_740_993_i64)).as_str(), "v:9007199254740993");
        assert_eq!(Element::value(&json!(-0.0)).as_str(), "v:0");
    }
}
