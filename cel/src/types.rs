//! The types of expressions, and when one can stand for another.

use std::{fmt, sync::Arc};

use crate::declared::Declared;

/// The type of an expression.
#[derive(Clone, Debug)]
pub enum Type {
    /// Anything: checked while evaluating.
    Dyn,
    /// Of an expression that is wrong.
    Error,
    /// `null`
    Null,
    /// `true` and `false`
    Bool,
    /// 64 bits with a sign.
    Int,
    /// 64 bits without one.
    Uint,
    /// A floating point number.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A point in time.
    Timestamp,
    /// A span of time.
    Duration,
    /// A list of one type.
    List(Arc<Type>),
    /// A map of one type to another.
    Map(Arc<Type>, Arc<Type>),
    /// Something with fields, or a type of a library.
    Object(Object),
    /// A type of a library that is never null, and optional values.
    Opaque(&'static str, Vec<Type>),
    /// The type of a type.
    Type(Option<Arc<Type>>),
    /// A type not yet known.
    Variable(u32),
}

/// A type with a name and perhaps fields.
#[derive(Clone, Debug)]
pub struct Object {
    pub(crate) name: Arc<str>,
    pub(crate) declared: Option<Arc<Declared>>,
}

pub(crate) const OPTIONAL: &str = "optional_type";

impl Type {
    /// A list of these.
    pub fn list(of: Self) -> Self {
        Self::List(Arc::new(of))
    }

    /// A map.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    /// An optional value.
    pub fn optional(of: Self) -> Self {
        Self::Opaque(OPTIONAL, vec![of])
    }

    /// A type of a library, by its full name.
    pub fn named(name: &str) -> Self {
        Self::Object(Object { name: name.into(), declared: None })
    }

    /// Whether it is exactly that type.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) => a.is(b),
            (Self::Map(a, b), Self::Map(c, d)) => a.is(c) && b.is(d),
            (Self::Object(a), Self::Object(b)) => a.name == b.name,
            (Self::Opaque(a, x), Self::Opaque(b, y)) => {
                a == b && x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.is(y))
            }
            (Self::Type(Some(a)), Self::Type(Some(b))) => a.is(b),
            (Self::Type(None), Self::Type(None)) => true,
            (Self::Variable(a), Self::Variable(b)) => a == b,
            (Self::List(_) | Self::Map(..) | Self::Object(_) | Self::Opaque(..), _)
            | (Self::Type(_) | Self::Variable(_), _) => false,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// As Go prints the type, which differs from how errors of the checker show it in the full names of some.
    pub fn go_name(&self) -> String {
        match self {
            Self::Null | Self::Timestamp | Self::Duration => self.bare_name().to_owned(),
            Self::List(of) => format!("list({})", of.go_name()),
            Self::Map(key, value) => format!("map({}, {})", key.go_name(), value.go_name()),
            other => other.to_string(),
        }
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// What an optional holds, and whether it is one.
    pub(crate) fn unwrap_optional(&self) -> (Self, bool) {
        match self {
            Self::Opaque(OPTIONAL, parameters) => (parameters.first().cloned().unwrap_or(Self::Dyn), true),
            other => (other.clone(), false),
        }
    }

    fn may_be_null(&self) -> bool {
        matches!(self, Self::Opaque(..) | Self::Object(_) | Self::Duration | Self::Timestamp | Self::Null)
    }

    /// The name alone, without what it is made of.
    pub(crate) fn bare_name(&self) -> &str {
        match self {
            Self::Dyn => "dyn",
            Self::Error => "!error!",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Duration => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(..) => "map",
            Self::Object(object) => &object.name,
            Self::Opaque(name, _) => name,
            Self::Type(_) => "type",
            Self::Variable(_) => "_var",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Opaque(name, parameters) if !parameters.is_empty() => {
                write!(f, "{name}(")?;
                for (index, parameter) in parameters.iter().enumerate() {
                    write!(f, "{}{parameter}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            Self::Type(Some(of)) => write!(f, "type({of})"),
            Self::Variable(number) => write!(f, "_var{number}"),
            plain => f.write_str(plain.bare_name()),
        }
    }
}

/// What the types not yet known have turned out to be. An attempt that fails leaves no trace.
#[derive(Debug, Default)]
pub(crate) struct Unifier {
    known: Vec<Option<Type>>,
    /// What was there before each change.
    trail: Vec<(u32, Option<Type>)>,
}

impl Unifier {
    pub(crate) fn fresh(&mut self) -> Type {
        let number = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        self.known.push(None);
        Type::Variable(number)
    }

    /// Whether a value of `b` can stand where `a` does; if so, remembers what that takes.
    pub(crate) fn assignable(&mut self, a: &Type, b: &Type) -> bool {
        self.attempt(|it| it.fits(a, b))
    }

    pub(crate) fn all_assignable(&mut self, a: &[Type], b: &[Type]) -> bool {
        self.attempt(|it| it.all_fit(a, b))
    }

    fn attempt(&mut self, what: impl FnOnce(&mut Self) -> bool) -> bool {
        let mark = self.trail.len();
        let good = what(self);
        if !good {
            while self.trail.len() > mark {
                if let Some((number, before)) = self.trail.pop() {
                    self.put(number, before);
                }
            }
        }
        good
    }

    fn put(&mut self, number: u32, what: Option<Type>) {
        if let Some(slot) = usize::try_from(number).ok().and_then(|index| self.known.get_mut(index)) {
            *slot = what;
        }
    }

    fn find(&self, number: u32) -> Option<&Type> {
        self.known.get(usize::try_from(number).ok()?)?.as_ref()
    }

    fn learn(&mut self, number: u32, what: Type) {
        self.trail.push((number, self.find(number).cloned()));
        self.put(number, Some(what));
    }

    /// The type with all that is known put in; what is unknown becomes dyn, if asked.
    pub(crate) fn resolve(&self, of: &Type, unknown_is_dyn: bool) -> Type {
        let inner = |of: &Arc<Type>| Arc::new(self.resolve(of, unknown_is_dyn));
        match of {
            Type::Variable(number) => match self.find(*number) {
                Some(known) => self.resolve(known, unknown_is_dyn),
                None if unknown_is_dyn => Type::Dyn,
                None => of.clone(),
            },
            Type::List(of) => Type::List(inner(of)),
            Type::Map(key, value) => Type::Map(inner(key), inner(value)),
            Type::Opaque(name, parameters) => {
                Type::Opaque(name, parameters.iter().map(|it| self.resolve(it, unknown_is_dyn)).collect())
            }
            Type::Type(Some(of)) => Type::Type(Some(inner(of))),
            plain => plain.clone(),
        }
    }

    fn all_fit(&mut self, a: &[Type], b: &[Type]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.fits(a, b))
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Variable(number) = b {
            let (valid, known) = self.stands_for(a, b, *number);
            if valid {
                return true;
            }
            if known {
                return false;
            }
        }
        if let Type::Variable(number) = a {
            return self.stands_for(b, a, *number).0;
        }
        if a.is_dyn_or_error() || b.is_dyn_or_error() {
            return true;
        }
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => other.may_be_null(),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) => self.fits(a, b),
            (Type::Map(a, x), Type::Map(b, y)) => self.fits(a, b) && self.fits(x, y),
            (Type::Opaque(a, x), Type::Opaque(b, y)) => a == b && self.all_fit(x, y),
            _ => a.is(b),
        }
    }

    /// Whether `variable` can stand for `other`, and whether something was known of it before.
    fn stands_for(&mut self, other: &Type, variable: &Type, number: u32) -> (bool, bool) {
        if other.is(variable) {
            return (true, true);
        }
        if let Some(known) = self.find(number).cloned() {
            if other.is(&known) {
                return (true, true);
            }
            if self.fits(other, &known) {
                let general = most_general(other, &known);
                if !self.occurs(number, &general) {
                    self.learn(number, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.occurs(number, other) {
            return (false, false);
        }
        self.learn(number, other.clone());
        (true, false)
    }

    fn occurs(&self, number: u32, within: &Type) -> bool {
        match within {
            Type::Variable(other) => {
                *other == number || self.find(*other).is_some_and(|known| self.occurs(number, known))
            }
            Type::List(of) | Type::Type(Some(of)) => self.occurs(number, of),
            Type::Map(key, value) => self.occurs(number, key) || self.occurs(number, value),
            Type::Opaque(_, parameters) => parameters.iter().any(|it| self.occurs(number, it)),
            _ => false,
        }
    }
}

/// The more general of two types that fit.
pub(crate) fn most_general(a: &Type, b: &Type) -> Type {
    if less_specific(a, b) { a.clone() } else { b.clone() }
}

fn less_specific(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Variable(_), _) | (Type::Type(_), Type::Type(_)) => true,
        (_, Type::Dyn | Type::Variable(_)) => false,
        (Type::List(a), Type::List(b)) => less_specific(a, b),
        (Type::Map(a, x), Type::Map(b, y)) => less_specific(a, b) && less_specific(x, y),
        (Type::Opaque(a, x), Type::Opaque(b, y)) => {
            a == b && x.len() == y.len() && x.iter().zip(y).all(|(x, y)| less_specific(x, y))
        }
        _ => a.is(b),
    }
}
