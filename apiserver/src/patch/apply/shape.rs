//! What apply must know of a type: which values it may have, which lists have items with a name, what is one piece.
//!
//! Types stand in an arena, since they refer to each other and to themselves; a [`Shape`] is a position in it. Arenas
//! are made from the built-in schema ([`builtin`]) and from what a custom resource publishes ([`custom`]). Where
//! nothing is known, a shape is deduced from the value: maps merge, lists are one piece.

use std::{borrow::Cow, collections::BTreeMap};

use api_types::schema::TypeRef;
use serde_json::Value;

pub mod builtin;
pub mod custom;

/// Types that refer to each other.
#[derive(Debug, Default)]
pub struct Types {
    nodes: Vec<Node>,
}

/// One type of [`Types`].
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    types: &'a Types,
    at: NodeId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(usize);

/// The values a type allows. Where several are allowed the value decides.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) scalar: Option<Scalar>,
    pub(super) list: Option<List>,
    pub(super) map: Option<Map>,
}

/// The scalars a type allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    /// Any.
    Any,
    Number,
    String,
    Boolean,
}

#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) items: Items,
    of: NodeId,
}

/// How the items of a list are told apart.
#[derive(Clone, Debug)]
pub(super) enum Items {
    /// Not at all: the list is one piece.
    Atomic,
    /// By their value.
    Values,
    /// By some of their fields.
    Keys(Vec<Key>),
}

/// A field that tells items apart.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: Cow<'static, str>,
    /// What it counts as where an item leaves it out.
    pub(super) default: Option<Value>,
}

/// A struct, a map, or both.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    /// Sorted by name.
    fields: Vec<(Cow<'static, str>, NodeId)>,
    /// The type of fields that have no type of their own; without it they are not allowed.
    others: Option<NodeId>,
    /// The map is one piece.
    pub(super) atomic: bool,
}

const ATOMIC: NodeId = NodeId(0);
const DEDUCED: NodeId = NodeId(1);
const ANY_SCALAR: NodeId = NodeId(2);
const NUMBER: NodeId = NodeId(3);
const STRING: NodeId = NodeId(4);
const BOOLEAN: NodeId = NodeId(5);
/// What a broken arena would answer with; none of ours is.
static NOTHING: Node = Node { scalar: None, list: None, map: None };

/// Collects types into an arena.
#[derive(Debug)]
pub(super) struct Builder {
    nodes: Vec<Node>,
    /// The nodes of built-in structs, as one piece and not.
    structs: BTreeMap<(TypeRef, bool), NodeId>,
}

// === impl Types ===

impl Types {
    /// A type whose values tell what they are.
    pub fn deduced() -> Shape<'static> {
        use std::sync::LazyLock;
        static DEDUCED_ONLY: LazyLock<Types> = LazyLock::new(|| Builder::new().finish());
        DEDUCED_ONLY.shape(DEDUCED)
    }

    pub(super) fn shape(&self, at: NodeId) -> Shape<'_> {
        Shape { types: self, at }
    }
}

// === impl Shape ===

impl<'a> Shape<'a> {
    pub(super) fn node(self) -> &'a Node {
        self.types.nodes.get(self.at.0).unwrap_or(&NOTHING)
    }

    /// What this shape says of a value: of the kinds it allows, the one that fits.
    pub(super) fn of(self, value: Option<&Value>) -> Form<'a> {
        let node = self.node();
        let fitting = match value {
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => node.scalar.map(Form::Scalar),
            Some(Value::Array(_)) => node.list.as_ref().map(Form::List),
            Some(Value::Object(_)) => node.map.as_ref().map(Form::Map),
            Some(Value::Null) | None => None,
        };
        fitting
            .or(node.map.as_ref().map(Form::Map))
            .or(node.scalar.map(Form::Scalar))
            .or(node.list.as_ref().map(Form::List))
            .unwrap_or(Form::Undeclared)
    }

    /// The type of a field, its own or that of all others.
    pub(super) fn field(self, map: &Map, name: &str) -> Option<Shape<'a>> {
        map.declared(name).or(map.others).map(|at| self.types.shape(at))
    }

    /// The type of the items of a list.
    pub(super) fn item(self, list: &List) -> Shape<'a> {
        self.types.shape(list.of)
    }

    /// Whether maps of this type tell what they are by their values.
    pub(super) fn is_deduced(self, map: &Map) -> bool {
        map.fields.is_empty() && map.others == Some(DEDUCED)
    }
}

/// What a shape says of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form<'a> {
    Scalar(Scalar),
    List(&'a List),
    Map(&'a Map),
    /// No value is allowed.
    Undeclared,
}

impl Form<'_> {
    /// Whether two values of one shape were taken for the same kind.
    pub(super) fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

// === impl Map ===

impl Map {
    fn declared(&self, name: &str) -> Option<NodeId> {
        let at = self.fields.binary_search_by(|(field, _)| field.as_ref().cmp(name)).ok()?;
        self.fields.get(at).map(|(_, node)| *node)
    }

    /// Whether the field has a type of its own.
    pub(super) fn declares(&self, name: &str) -> bool {
        self.declared(name).is_some()
    }
}

// === impl Builder ===

impl Builder {
    pub(super) fn new() -> Self {
        let any = |of: NodeId, atomic: bool| Node {
            scalar: Some(Scalar::Any),
            list: Some(List { items: Items::Atomic, of: ATOMIC }),
            map: Some(Map { fields: Vec::new(), others: Some(of), atomic }),
        };
        let scalar = |scalar: Scalar| Node { scalar: Some(scalar), ..Node::default() };
        // In the order of the constants above.
        let nodes = vec![
            any(ATOMIC, true),
            any(DEDUCED, false),
            scalar(Scalar::Any),
            scalar(Scalar::Number),
            scalar(Scalar::String),
            scalar(Scalar::Boolean),
        ];
        Self { nodes, structs: BTreeMap::new() }
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    fn replace(&mut self, at: NodeId, node: Node) {
        if let Some(place) = self.nodes.get_mut(at.0) {
            *place = node;
        }
    }

    pub(super) fn finish(self) -> Types {
        Types { nodes: self.nodes }
    }
}
