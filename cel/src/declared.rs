//! The shape of data that expressions look into: which fields there are, of which types, and how large they may grow,
//! which is what the cost of an expression is estimated from.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use crate::types::{Object, Type};

/// A type with what the checker does not need but costs and values do.
#[derive(Clone, Debug)]
pub struct Declared {
    pub(crate) shape: Shape,
    /// The most elements of a list or map, characters of a string, bytes of a value.
    pub(crate) max_elements: u64,
    /// The fewest bytes it takes as JSON.
    pub(crate) min_size: u64,
    /// Null is a value of it.
    pub(crate) nullable: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Dyn,
    /// A string or an integer.
    IntOrString,
    Bool,
    Int,
    Double,
    String,
    /// In base64.
    Bytes,
    /// As `2006-01-02` if a date, or else as RFC 3339.
    Timestamp {
        date: bool,
    },
    Duration,
    List {
        of: Arc<Declared>,
        kind: ListKind,
    },
    Map(Arc<Declared>),
    Object {
        name: Arc<str>,
        fields: BTreeMap<Arc<str>, Field>,
    },
    /// An object with any fields, of dynamic type.
    Open {
        name: Arc<str>,
    },
    /// A type of a library.
    Named(Type),
}

/// How a list of a custom resource is compared and added to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// In order.
    #[default]
    Atomic,
    /// Without order; adding leaves out what is there.
    Set,
    /// By these fields of each element; adding replaces what is there.
    Map(Vec<Arc<str>>),
}

/// A field of an object.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in JSON; the name in expressions may be escaped.
    pub json: Arc<str>,
    /// Its type.
    pub of: Arc<Declared>,
}

/// The size of the largest request; what has no limit of its own cannot be larger.
pub(crate) const MAX_REQUEST: u64 = 3 * 1024 * 1024;

/// The field of an open object.
static ANY: LazyLock<Field> = LazyLock::new(|| Field { json: "".into(), of: Declared::any() });

impl Declared {
    /// An object with any fields, of dynamic type.
    pub fn open(name: &str) -> Arc<Self> {
        Arc::new(Self::new(Shape::Open { name: name.into() }, 0, 2))
    }

    pub(crate) fn new(shape: Shape, max_elements: u64, min_size: u64) -> Self {
        Self { shape, max_elements, min_size, nullable: false }
    }

    /// Anything.
    pub fn any() -> Arc<Self> {
        Arc::new(Self { nullable: true, ..Self::new(Shape::Dyn, MAX_REQUEST - 2, 1) })
    }

    /// Anything of at most this many elements, characters or bytes.
    pub fn any_within(max: u64) -> Arc<Self> {
        Arc::new(Self { nullable: true, ..Self::new(Shape::Dyn, max, 1) })
    }

    /// A string of at most this many bytes.
    pub fn string(max: u64) -> Arc<Self> {
        Arc::new(Self::new(Shape::String, max, 2))
    }

    /// A truth value.
    pub fn bool() -> Arc<Self> {
        Arc::new(Self::new(Shape::Bool, 0, 4))
    }

    /// An integer.
    pub fn int() -> Arc<Self> {
        Arc::new(Self::new(Shape::Int, 0, 1))
    }

    /// A floating point number.
    pub fn double() -> Arc<Self> {
        Arc::new(Self::new(Shape::Double, 0, 1))
    }

    /// A list of at most this many.
    pub fn list(of: Arc<Self>, max: u64) -> Arc<Self> {
        Arc::new(Self::new(Shape::List { of, kind: ListKind::Atomic }, max, 2))
    }

    /// A map from strings with at most this many entries.
    pub fn map(of: Arc<Self>, max: u64) -> Arc<Self> {
        Arc::new(Self::new(Shape::Map(of), max, 2))
    }

    /// A type of a library, such as a quantity.
    pub fn named(of: Type) -> Arc<Self> {
        Arc::new(Self::new(Shape::Named(of), 0, 2))
    }

    /// An object with these fields, by their names in JSON; names that no expression can write are left out.
    pub fn object<'n>(name: &str, fields: impl IntoIterator<Item = (&'n str, Arc<Self>)>) -> Arc<Self> {
        let fields = fields
            .into_iter()
            .filter_map(|(json, of)| {
                Some((crate::escaping::escape(json)?.into(), Field { json: json.into(), of }))
            })
            .collect();
        Arc::new(Self::new(Shape::Object { name: name.into(), fields }, 0, 2))
    }

    /// The type the checker knows it by.
    pub fn to_type(self: &Arc<Self>) -> Type {
        match &self.shape {
            Shape::Dyn | Shape::IntOrString => Type::Dyn,
            Shape::Bool => Type::Bool,
            Shape::Int => Type::Int,
            Shape::Double => Type::Double,
            Shape::String => Type::String,
            Shape::Bytes => Type::Bytes,
            Shape::Timestamp { .. } => Type::Timestamp,
            Shape::Duration => Type::Duration,
            Shape::List { of, .. } => Type::list(of.to_type()),
            Shape::Map(of) => Type::map(Type::String, of.to_type()),
            Shape::Object { name, .. } | Shape::Open { name } => {
                Type::Object(Object { name: Arc::clone(name), declared: Some(Arc::clone(self)) })
            }
            Shape::Named(of) => of.clone(),
        }
    }

    /// The field an expression calls so.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        match &self.shape {
            Shape::Object { fields, .. } => fields.get(name),
            Shape::Open { .. } => Some(&ANY),
            _ => None,
        }
    }

    /// What a step of a path leads to: a field, `@items`, `@values`, `@keys`.
    pub(crate) fn step(&self, name: &str) -> Option<Arc<Self>> {
        match (&self.shape, name) {
            (Shape::List { of, .. }, "@items") | (Shape::Map(of), "@values") => Some(Arc::clone(of)),
            // Keys are strings of any length, which upstream takes for no length at all.
            (Shape::Map(_), "@keys") => Some(Self::string(0)),
            // Values of one bounded size, whatever their names: the attributes of devices.
            (Shape::Map(of), _) if matches!(of.shape, Shape::Dyn) && of.max_elements < MAX_REQUEST - 2 => {
                Some(Arc::clone(of))
            }
            _ => self.field(name).map(|field| Arc::clone(&field.of)),
        }
    }
}
