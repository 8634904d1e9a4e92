//! The structural schema of a custom resource, and what it decides about objects: which fields are kept, what is
//! defaulted, what is wrong.
//!
//! A schema is parsed once from its definition into a compact tree and shared. Titles, descriptions and examples are
//! for readers of the definition and are left out: they are most of its bytes.
//!
//! Invariant: everything here is a function of values. No I/O, no clock, no registry.

mod defaults;
mod formats;
mod lists;
mod messages;
mod metadata;
mod numbers;
mod own_defaults;
mod own_rules;
mod parse;
pub mod pattern;
mod prune;
mod ratchet;
mod rules;
mod validate;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use self::{metadata::Malformed, validate::Change};
pub(crate) use own_defaults::{faults as default_faults, has_unpruned};
pub(crate) use own_rules::faults as rule_faults;

/// A schema, or a part of one: what a value may be at some place of an object.
#[derive(Debug, Default)]
pub struct Structural {
    types: Types,
    flags: Flags,
    list_type: ListType,
    additional: Additional,
    /// Sorted by name.
    properties: Box<[(Box<str>, Structural)]>,
    items: Option<Box<Structural>>,
    default: Option<Box<Value>>,
    limits: Box<[Limit]>,
}

/// The types that a value may have: one, or an integer and a string, or any if none is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Types(u8);

/// The switches of a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags(u8);

/// How the items of a list belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Not said, which means atomic.
    #[default]
    Unsaid,
    /// Replaced as a whole.
    Atomic,
    /// Each item once.
    Set,
    /// Items are found by keys.
    Map,
}

/// What holds for fields that are not among the properties.
#[derive(Debug, Default)]
pub enum Additional {
    /// Nothing is said of them.
    #[default]
    Unsaid,
    /// `additionalProperties: false`, or true.
    Allowed(bool),
    /// They have this schema.
    Schema(Box<Structural>),
}

/// One thing that narrows values. Few schemas have many, so they are a list.
#[derive(Debug)]
enum Limit {
    Maximum {
        bound: f64,
        exclusive: bool,
    },
    Minimum {
        bound: f64,
        exclusive: bool,
    },
    MultipleOf(f64),
    LengthMax(i64),
    LengthMin(i64),
    Pattern(Box<str>),
    Format(Box<str>),
    ItemsMax(i64),
    ItemsMin(i64),
    UniqueItems,
    PropertiesMax(i64),
    PropertiesMin(i64),
    Required(Box<[Box<str>]>),
    Enum(Box<[Value]>),
    AllOf(Box<[Structural]>),
    AnyOf(Box<[Structural]>),
    OneOf(Box<[Structural]>),
    Not(Box<Structural>),
    ListMapKeys(Box<[Box<str>]>),
    /// `x-kubernetes-validations`.
    Rules(Box<rules::Rules>),
}

// === impl Types ===

impl Types {
    const ARRAY: Self = Self(1);
    const BOOLEAN: Self = Self(1 << 1);
    const INTEGER: Self = Self(1 << 2);
    const NUMBER: Self = Self(1 << 3);
    const OBJECT: Self = Self(1 << 4);
    const STRING: Self = Self(1 << 5);
    const NULL: Self = Self(1 << 6);
    /// A type that nothing has.
    const UNKNOWN: Self = Self(1 << 7);
    const INTEGER_OR_STRING: Self = Self(Self::INTEGER.0 | Self::STRING.0);

    const NAMES: [(Self, &'static str); 7] = [
        (Self::ARRAY, "array"),
        (Self::BOOLEAN, "boolean"),
        (Self::INTEGER, "integer"),
        (Self::NUMBER, "number"),
        (Self::OBJECT, "object"),
        (Self::STRING, "string"),
        (Self::NULL, "null"),
    ];

    fn named(name: &str) -> Self {
        match name {
            "" => Self::default(),
            _ => Self::NAMES.iter().find(|(_, other)| *other == name).map_or(Self::UNKNOWN, |(it, _)| *it),
        }
    }

    fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn is_unsaid(self) -> bool {
        self == Self::default()
    }

    /// The only type, if there is exactly one.
    fn single(self) -> Option<Self> {
        (self.0.count_ones() == 1).then_some(self)
    }

    /// The names, as messages say them.
    fn text(self) -> String {
        let names: Vec<&str> =
            Self::NAMES.iter().filter(|(it, _)| self.contains(*it)).map(|(_, name)| *name).collect();
        names.join(",")
    }
}

// === impl Flags ===

impl Flags {
    const NULLABLE: Self = Self(1);
    const PRESERVE_UNKNOWN: Self = Self(1 << 1);
    const EMBEDDED: Self = Self(1 << 2);
    const INT_OR_STRING: Self = Self(1 << 3);
    const ATOMIC_MAP: Self = Self(1 << 4);
    /// This schema, or one that is in it, has rules.
    const HAS_RULES: Self = Self(1 << 5);

    fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    fn set(&mut self, flag: Self, on: bool) {
        if on {
            self.0 |= flag.0;
        }
    }
}

// === impl Structural ===

impl Structural {
    /// The schema of a property.
    pub fn property(&self, name: &str) -> Option<&Self> {
        let at = self.properties.binary_search_by(|(other, _)| other.as_ref().cmp(name)).ok()?;
        self.properties.get(at).map(|(_, property)| property)
    }

    /// The properties, by name.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.properties.iter().map(|(name, property)| (name.as_ref(), property))
    }

    /// The schema of a field, a property or not.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.property(name).or_else(|| self.additional_schema())
    }

    /// What holds for fields that are not among the properties.
    pub fn additional(&self) -> &Additional {
        &self.additional
    }

    fn additional_schema(&self) -> Option<&Self> {
        match &self.additional {
            Additional::Schema(schema) => Some(schema),
            Additional::Unsaid | Additional::Allowed(_) => None,
        }
    }

    /// The schema of the items of a list.
    pub fn items(&self) -> Option<&Self> {
        self.items.as_deref()
    }

    /// The one type of values, if exactly one is said.
    pub fn type_name(&self) -> Option<&'static str> {
        let single = self.types.single()?;
        Types::NAMES.iter().find(|(it, _)| *it == single).map(|(_, name)| *name)
    }

    /// How the items of a list belong together.
    pub fn list_type(&self) -> ListType {
        self.list_type
    }

    /// The fields by which items of a list are found, in the order of the definition.
    pub fn list_map_keys(&self) -> &[Box<str>] {
        self.limits
            .iter()
            .find_map(|limit| if let Limit::ListMapKeys(keys) = limit { Some(keys.as_ref()) } else { None })
            .unwrap_or_default()
    }

    /// Whether an object is replaced as a whole.
    pub fn is_atomic_map(&self) -> bool {
        self.flags.has(Flags::ATOMIC_MAP)
    }

    /// Whether null is a value.
    pub fn is_nullable(&self) -> bool {
        self.flags.has(Flags::NULLABLE)
    }

    /// Whether fields without a schema are kept.
    pub fn preserves_unknown(&self) -> bool {
        self.flags.has(Flags::PRESERVE_UNKNOWN)
    }

    /// Whether the value is a whole object, with kind and metadata.
    pub fn is_embedded(&self) -> bool {
        self.flags.has(Flags::EMBEDDED)
    }

    /// Whether the value is an integer or a string.
    pub fn is_int_or_string(&self) -> bool {
        self.flags.has(Flags::INT_OR_STRING)
    }

    /// What the value is if nothing is given.
    pub fn default_value(&self) -> Option<&Value> {
        self.default.as_deref()
    }

    /// The rules of `x-kubernetes-validations`, as written.
    fn rules(&self) -> &[rules::Rule] {
        self.limits
            .iter()
            .find_map(|limit| if let Limit::Rules(rules) = limit { Some(rules.written()) } else { None })
            .unwrap_or_default()
    }
}
