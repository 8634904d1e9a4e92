//! What expressions are evaluated to and over. JSON is looked into where it lies: a value borrows it and carries along
//! how it was declared, so that a string of format `date-time` is a timestamp and lists know how they are compared.

use std::{collections::BTreeMap, fmt, ops::Deref, sync::Arc};

use serde_json::{Map as JsonMap, Value as Json};

use crate::{
    declared::{Declared, ListKind, Shape},
    escaping,
    eval::EvalError,
    library,
    library::Opaque,
};

/// A value of an expression. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Value<'v> {
    /// `null`
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer without sign.
    Uint(u64),
    /// A floating point number.
    Double(f64),
    /// Text.
    String(Text<'v>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A point in time.
    Timestamp(Timestamp),
    /// A span of time.
    Duration(Duration),
    /// A list.
    List(List<'v>),
    /// A map or an object.
    Map(Map<'v>),
    /// A type, by name.
    Type(Arc<str>),
    /// An optional value.
    Optional(Option<Arc<Value<'v>>>),
    /// A value of a library.
    Opaque(Opaque<'v>),
    /// The object whose fields [`crate::Lazy`] evaluates.
    Lazy,
}

/// Text, borrowed or shared.
#[derive(Clone)]
pub enum Text<'v> {
    /// Of the JSON that is looked into.
    Borrowed(&'v str),
    /// Made while evaluating.
    Shared(Arc<str>),
}

/// A list, where it lies or made.
#[derive(Clone, Debug)]
pub enum List<'v> {
    /// Of JSON.
    Json {
        /// Its elements.
        items: &'v [Json],
        /// Its declaration.
        declared: Option<&'v Declared>,
    },
    /// Made while evaluating; if by adding to a declared list, then of its kind.
    Made(Arc<Vec<Value<'v>>>, Option<&'v ListKind>),
}

/// A map or object, where it lies or made.
#[derive(Clone, Debug)]
pub enum Map<'v> {
    /// Of JSON.
    Json {
        /// Its fields.
        fields: &'v JsonMap<String, Json>,
        /// Its declaration.
        declared: Option<&'v Declared>,
    },
    /// Made while evaluating.
    Made(Arc<Made<'v>>),
    /// An object of a named type, made while evaluating.
    Object(Arc<MadeObject<'v>>),
}

/// A map with its index.
#[derive(Clone, Debug, Default)]
pub struct Made<'v> {
    pub(crate) entries: Vec<(Value<'v>, Value<'v>)>,
    index: BTreeMap<Key, usize>,
    /// What keys lead to that are not there; nowhere if none.
    absent: Option<Box<Value<'v>>>,
}

/// An object with the type it was made of.
#[derive(Clone, Debug)]
pub struct MadeObject<'v> {
    /// The name of its type.
    pub name: Arc<str>,
    /// Its fields, in the order written.
    pub fields: Vec<(Arc<str>, Value<'v>)>,
}

/// What can be a key; numbers are one whatever their type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Bool(bool),
    Number(i128),
    String(Box<str>),
}

/// A point in time between the years 1 and 9999, with the offset it was written in.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp {
    /// Since 1970, in seconds.
    pub seconds: i64,
    /// Further nanoseconds.
    pub nanos: u32,
    /// East of UTC, in seconds; only shows when it is written.
    pub offset: i32,
}

/// A span of time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub i64);

const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;

impl Timestamp {
    /// A time, if the year is between 1 and 9999.
    pub fn new(seconds: i64, nanos: u32, offset: i32) -> Option<Self> {
        (FIRST_SECOND..=LAST_SECOND).contains(&seconds).then_some(Self { seconds, nanos, offset })
    }

    pub(crate) fn from_seconds(seconds: i64) -> Option<Self> {
        Self::new(seconds, 0, 0)
    }

    pub(crate) fn key(self) -> (i64, u32) {
        (self.seconds, self.nanos)
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<'v> Value<'v> {
    /// JSON of no declared shape.
    pub fn of(json: &'v Json) -> Self {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::String(Text::Borrowed(text)),
            Json::Array(items) => Value::List(List::Json { items, declared: None }),
            Json::Object(fields) => Value::Map(Map::Json { fields, declared: None }),
        }
    }

    /// JSON of a declared shape.
    ///
    /// # Errors
    /// It does not have that shape.
    pub fn declared(json: &'v Json, declared: &'v Declared) -> Result<Self, EvalError> {
        let mismatch = |what: &str| Err(EvalError::new(format!("invalid data, expected {what}")));
        if json.is_null() && !matches!(declared.shape, Shape::Dyn) {
            return if declared.nullable {
                Ok(Value::Null)
            } else {
                Err(EvalError::new("invalid data, got null for schema with nullable=false"))
            };
        }
        match &declared.shape {
            Shape::Dyn => Ok(Self::of(json)),
            Shape::IntOrString => match json {
                Json::String(_) => Ok(Self::of(json)),
                Json::Number(number) if number.is_i64() => Ok(Self::of(json)),
                _ => mismatch("XIntOrString value to be either a string or integer"),
            },
            Shape::Bool => json.as_bool().map_or_else(|| mismatch("bool"), |it| Ok(Value::Bool(it))),
            Shape::Int => json.as_i64().map_or_else(|| mismatch("int"), |it| Ok(Value::Int(it))),
            Shape::Double => json.as_f64().map_or_else(|| mismatch("float"), |it| Ok(Value::Double(it))),
            Shape::String | Shape::Bytes | Shape::Timestamp { .. } | Shape::Duration => match json.as_str() {
                Some(text) => Self::declared_text(text, &declared.shape),
                None => mismatch("string"),
            },
            Shape::List { .. } => match json.as_array() {
                Some(items) => Ok(Value::List(List::Json { items, declared: Some(declared) })),
                None => mismatch("an array for the provided schema with type=array"),
            },
            Shape::Map(_) | Shape::Object { .. } | Shape::Open { .. } => match json.as_object() {
                Some(fields) => Ok(Value::Map(Map::Json { fields, declared: Some(declared) })),
                None => mismatch("a map for the provided schema with type=object"),
            },
            Shape::Named(of) => match (of.bare_name(), json.as_str()) {
                ("kubernetes.Quantity", Some(text)) => library::quantity::parse(text),
                ("kubernetes.Semver", Some(text)) => library::semver::parse(text),
                _ => Ok(Self::of(json)),
            },
        }
    }

    fn declared_text(text: &'v str, shape: &Shape) -> Result<Self, EvalError> {
        match shape {
            Shape::Bytes => match base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text) {
                Ok(bytes) => Ok(Value::Bytes(bytes.into())),
                Err(why) => Err(EvalError::new(format!("Invalid byte formatted string {text}: {why}"))),
            },
            Shape::Timestamp { date: true } => match library::time::parse_date(text) {
                Some(time) => Ok(Value::Timestamp(time)),
                None => Err(EvalError::new(format!("Invalid date formatted string {text}"))),
            },
            Shape::Timestamp { date: false } => match library::time::parse_date_time(text) {
                Some(time) => Ok(Value::Timestamp(time)),
                None => Err(EvalError::new(format!("Invalid date-time formatted string {text}"))),
            },
            Shape::Duration => match library::time::parse_loose_duration(text) {
                Some(duration) => Ok(Value::Duration(duration)),
                None => Err(EvalError::new(format!("Invalid duration {text}"))),
            },
            _ => Ok(Value::String(Text::Borrowed(text))),
        }
    }

    fn part(json: &'v Json, declared: Option<&'v Declared>) -> Result<Self, EvalError> {
        match declared {
            Some(declared) => Self::declared(json, declared),
            None => Ok(Self::of(json)),
        }
    }

    /// Text.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Value::String(Text::Shared(text.into()))
    }

    pub(crate) fn list(items: Vec<Self>) -> Self {
        Value::List(List::Made(Arc::new(items), None))
    }

    pub(crate) fn some(value: Self) -> Self {
        Value::Optional(Some(Arc::new(value)))
    }

    /// The text it is, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value it is, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The name of its type.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) => "list",
            Value::Map(Map::Object(object)) => &object.name,
            Value::Map(_) | Value::Lazy => "map",
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Opaque(opaque) => opaque.type_name(),
        }
    }

    /// How large it is, as costs count: characters, bytes, elements; 1 for what has no size.
    pub(crate) fn size(&self) -> u64 {
        let count = |it: usize| u64::try_from(it).unwrap_or(u64::MAX);
        match self {
            Value::String(text) => count(text.chars().count()),
            Value::Bytes(bytes) => count(bytes.len()),
            Value::List(list) => count(list.len()),
            Value::Map(map) => count(map.len()),
            Value::Optional(Some(value)) => value.size(),
            Value::Opaque(opaque) => opaque.size(),
            _ => 1,
        }
    }

    /// As JSON.
    ///
    /// # Errors
    /// It has no form in JSON, such as a type.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        Ok(match self {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Uint(value) => Json::from(*value),
            Value::Double(value) => serde_json::Number::from_f64(*value)
                .map(Json::Number)
                .ok_or_else(|| EvalError::new("unsupported value: a number that is none"))?,
            Value::String(text) => Json::String((**text).to_owned()),
            Value::Bytes(bytes) => {
                Json::String(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes))
            }
            Value::Timestamp(time) => Json::String(library::time::show(*time)),
            Value::Duration(duration) => Json::String(library::time::show_duration(*duration)),
            Value::List(List::Json { items, .. }) => Json::Array(items.to_vec()),
            Value::List(List::Made(items, _)) => {
                Json::Array(items.iter().map(Self::to_json).collect::<Result<_, _>>()?)
            }
            Value::Map(Map::Json { fields, .. }) => Json::Object((*fields).clone()),
            Value::Map(Map::Made(made)) => {
                let mut object = JsonMap::new();
                for (key, value) in &made.entries {
                    let key =
                        key.as_str().ok_or_else(|| EvalError::new("keys of objects must be strings"))?;
                    object.insert(key.to_owned(), value.to_json()?);
                }
                Json::Object(object)
            }
            Value::Map(Map::Object(object)) => {
                let mut fields = JsonMap::new();
                for (name, value) in &object.fields {
                    fields.insert((**name).to_owned(), value.to_json()?);
                }
                Json::Object(fields)
            }
            Value::Optional(Some(value)) => value.to_json()?,
            Value::Opaque(opaque) => match opaque.to_text() {
                Some(text) => Json::String(text),
                None => return Err(EvalError::new(format!("{} has no form in JSON", self.type_name()))),
            },
            Value::Optional(None) | Value::Type(_) | Value::Lazy => {
                return Err(EvalError::new(format!("{} has no form in JSON", self.type_name())));
            }
        })
    }
}

/// As Go prints a value with `%v`, for messages.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Uint(value) => write!(f, "{value}"),
            Value::Double(value) => f.write_str(&library::conversions::general(*value)),
            Value::String(text) => f.write_str(text),
            Value::Bytes(bytes) => write!(f, "{}", String::from_utf8_lossy(bytes)),
            Value::Timestamp(time) => f.write_str(&library::time::show(*time)),
            Value::Duration(duration) => f.write_str(&library::time::show_duration(*duration)),
            Value::Type(name) => f.write_str(name),
            other => f.write_str(other.type_name()),
        }
    }
}

impl<'v> List<'v> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json { items, .. } => items.len(),
            Self::Made(items, _) => items.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Result<Value<'v>, EvalError>> {
        match self {
            Self::Json { items, declared } => {
                items.get(index).map(|item| Value::part(item, declared.and_then(|it| element(it))))
            }
            Self::Made(items, _) => items.get(index).cloned().map(Ok),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<Value<'v>, EvalError>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// All of it.
    ///
    /// # Errors
    /// An element does not have its declared shape.
    pub fn to_vec(&self) -> Result<Vec<Value<'v>>, EvalError> {
        self.iter().collect()
    }

    pub(crate) fn kind(&self) -> Option<&'v ListKind> {
        match self {
            Self::Json { declared: Some(declared), .. } => match &declared.shape {
                Shape::List { kind, .. } => Some(kind),
                _ => None,
            },
            Self::Json { declared: None, .. } => None,
            Self::Made(_, kind) => *kind,
        }
    }
}

fn element(list: &Declared) -> Option<&Declared> {
    match &list.shape {
        Shape::List { of, .. } => Some(of),
        _ => None,
    }
}

impl<'v> Map<'v> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json { fields, .. } => fields.len(),
            Self::Made(made) => made.entries.len(),
            Self::Object(object) => object.fields.len(),
        }
    }

    /// What a key leads to, if it is there.
    pub(crate) fn get(&self, key: &Value<'_>) -> Option<Result<Value<'v>, EvalError>> {
        match self {
            Self::Made(made) => made.get(key).cloned().map(Ok),
            _ => self.field(key.as_str()?),
        }
    }

    /// Whether a key is there.
    pub(crate) fn has(&self, key: &Value<'_>) -> bool {
        match self {
            Self::Made(made) => made.has(key),
            _ => self.get(key).is_some(),
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<Result<Value<'v>, EvalError>> {
        match self {
            Self::Json { fields, declared: None } => fields.get(name).map(|json| Ok(Value::of(json))),
            Self::Json { fields, declared: Some(declared) } => {
                let (json, of) = match &declared.shape {
                    Shape::Map(of) => (fields.get(name)?, Some(&**of)),
                    Shape::Object { .. } => {
                        let field = declared.field(name)?;
                        // A null in an object is the same as nothing.
                        let json = fields.get(&*field.json).filter(|json| !json.is_null())?;
                        (json, Some(&*field.of))
                    }
                    _ => (fields.get(name)?, None),
                };
                Some(Value::part(json, of))
            }
            Self::Made(made) => {
                let there = made.index.get(&Key::String(name.into())).and_then(|at| made.at(*at));
                there.or(made.absent.as_deref()).cloned().map(Ok)
            }
            Self::Object(object) => {
                object.fields.iter().find(|(known, _)| **known == *name).map(|(_, value)| Ok(value.clone()))
            }
        }
    }

    /// Its keys; those of an object as an expression writes them.
    pub(crate) fn keys(&self) -> Vec<Value<'v>> {
        match self {
            Self::Json { fields, declared } => {
                let object = declared.is_some_and(|it| matches!(it.shape, Shape::Object { .. }));
                let keys = fields.keys().filter_map(|key| {
                    if !object {
                        return Some(Value::String(Text::Borrowed(key)));
                    }
                    let escaped = escaping::escape(key)?;
                    (*declared)?.field(&escaped)?;
                    Some(Value::string(escaped))
                });
                keys.collect()
            }
            Self::Made(made) => made.entries.iter().map(|(key, _)| key.clone()).collect(),
            Self::Object(object) => {
                object.fields.iter().map(|(name, _)| Value::String(Text::Shared(Arc::clone(name)))).collect()
            }
        }
    }
}

impl<'v> Made<'v> {
    fn at(&self, index: usize) -> Option<&Value<'v>> {
        self.entries.get(index).map(|(_, value)| value)
    }

    fn get(&self, key: &Value<'_>) -> Option<&Value<'v>> {
        let there = key_of(key).and_then(|key| self.at(*self.index.get(&key)?));
        there.or(self.absent.as_deref())
    }

    fn has(&self, key: &Value<'_>) -> bool {
        key_of(key).is_some_and(|key| self.index.contains_key(&key))
    }

    /// Lets all keys that are not there lead to a value.
    pub(crate) fn with_absent(mut self, value: Value<'v>) -> Self {
        self.absent = Some(Box::new(value));
        self
    }

    /// Adds an entry; `false` if the key is there already.
    ///
    /// # Errors
    /// The key is of a type that cannot be one.
    pub(crate) fn insert(&mut self, key: Value<'v>, value: Value<'v>) -> Result<bool, EvalError> {
        let Some(plain) = key_of(&key) else {
            return Err(EvalError::new(format!("unsupported key type: {}", key.type_name())));
        };
        if self.index.contains_key(&plain) {
            return Ok(false);
        }
        self.index.insert(plain, self.entries.len());
        self.entries.push((key, value));
        Ok(true)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the number was found to be whole and small enough")]
fn key_of(value: &Value<'_>) -> Option<Key> {
    match value {
        Value::Bool(value) => Some(Key::Bool(*value)),
        Value::Int(value) => Some(Key::Number(i128::from(*value))),
        Value::Uint(value) => Some(Key::Number(i128::from(*value))),
        Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e19 => {
            Some(Key::Number(*value as i128))
        }
        Value::String(text) => Some(Key::String((**text).into())),
        _ => None,
    }
}
