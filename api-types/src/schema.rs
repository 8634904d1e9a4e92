//! What every built-in type looks like: its fields, in the order and under the names the wire has them.
//!
//! One table serves decoding, encoding, protobuf, strategic merge patch, server-side apply and the published
//! OpenAPI, so that they cannot disagree. The facts stand as plain text in `schema/tables/`, one file a group
//! and version; this module reads them once and hands out views.
//!
//! It knows nothing of objects, requests or validation: only shapes. Descriptions are not here either, they
//! come from `k8s_openapi`.

mod parse;
mod tables;

use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, sync::LazyLock};

/// Every type of Kubernetes 1.36 that this server or its clients speak.
pub fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| parse::parse(tables::TABLES));
    &SCHEMA
}

/// The handle of a type in [`schema()`]. Cheap to copy and to compare; good only for this process.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub struct TypeRef(u16);

/// The whole table.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    by_kind: BTreeMap<(&'static str, &'static str, &'static str), TypeRef>,
    by_openapi_name: BTreeMap<String, TypeRef>,
}

/// One Go struct: an API kind or a part of one.
#[derive(Debug)]
pub struct Type {
    /// The name as Go prints it: `v1.Pod`.
    pub go_name: &'static str,
    /// The name without its package, `Pod`; the kind, if [`is_kind`](Self::is_kind).
    pub name: &'static str,
    /// The key of its definition in OpenAPI: `io.k8s.api.core.v1.Pod`.
    pub openapi_name: String,
    /// Group and version of the package it is declared in; `None` for the few outside any.
    pub group_version: Option<(&'static str, &'static str)>,
    /// It has `apiVersion` and `kind`, so it can stand alone in a request or a response.
    pub is_kind: bool,
    /// Apply replaces it whole (`x-kubernetes-map-type: atomic` on the type).
    pub atomic: bool,
    /// Unions published as `x-kubernetes-unions`.
    pub unions: Vec<Union>,
    /// Its fields in declaration order, which is the order Go encodes them in. Inlined structs are flattened.
    pub fields: Vec<Field>,
    /// Its protobuf message, by ascending number. Inlined structs are messages of their own here.
    pub parts: Vec<Part>,
    /// Positions in `fields`, sorted by JSON name.
    by_name: Vec<u16>,
    /// A rank in `by_name` by [`hash`] of the name: a guess that is right for most names. Its length is a power of two.
    by_hash: Vec<u16>,
    /// Ranks in `by_name` of the fields that are written even when they were never set.
    always_written: Vec<u16>,
}

/// One JSON field of a type.
#[derive(Debug, Clone)]
pub struct Field {
    /// The JSON name.
    pub json: &'static str,
    /// The Go name, if it is not the JSON name with a capital.
    own_go_name: Option<&'static str>,
    /// The struct that declares it, without package; differs from the type's own name for inlined structs.
    pub owner_go_name: &'static str,
    /// Its protobuf number within the struct that declares it; 0 when it is not on the protobuf wire.
    pub number: u32,
    /// How its value looks.
    pub shape: Shape,
    /// Its Go type as error messages print it, without the pointer: `int32`, `[]v1.Container`.
    pub go_type: &'static str,
    /// The Go type at each depth of containers: for `map[string]v1.ExtraValue` that, `v1.ExtraValue`, `string`.
    pub go_types: Vec<&'static str>,
    /// It is a pointer in Go, so that a zero is a value and not an absence.
    pub pointer: bool,
    /// When encoding leaves it out.
    pub omit: Omit,
    /// How apply merges it, if a list.
    pub list: ListKind,
    /// The list type is published (an undeclared one is atomic too).
    pub list_declared: bool,
    /// Apply replaces it whole, if a map.
    pub map_atomic: bool,
    /// Apply replaces it whole, if a struct: by the field's own marker, or else by its type's.
    pub struct_atomic: bool,
    /// The field's own `x-kubernetes-map-type`, as published.
    pub map_type: Option<&'static str>,
    /// How strategic merge patch treats it.
    pub patch: Patch,
    /// The default published for it.
    pub default: Option<Value>,
    /// OpenAPI lists it as required.
    pub required: bool,
    /// The values OpenAPI publishes for it, sorted; empty if it is no enumeration.
    pub enumeration: Vec<&'static str>,
    /// The list (itself or as a map's value) is a message of its own on the protobuf wire (`ExtraValue`, `Verbs`).
    pub list_message: bool,
}

/// How a value looks on the JSON wire, and what Go makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    String,
    /// A boolean.
    Bool,
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// A floating point number.
    Float64,
    /// Bytes, in base64.
    Bytes,
    /// `metav1.Time`: RFC 3339, whole seconds; null when zero.
    Time,
    /// `metav1.MicroTime`: RFC 3339 with six digits of a second.
    MicroTime,
    /// `resource.Quantity`.
    Quantity,
    /// An integer of 32 bits or a string.
    IntOrString,
    /// `runtime.RawExtension`: any object, kept as it came.
    RawExtension,
    /// `apiextensions.JSON`: any value, kept as it came.
    Json,
    /// `metav1.FieldsV1`: an object of field paths, kept as it came.
    FieldsV1,
    /// A `JSONSchemaProps` or a boolean.
    SchemaOrBool(TypeRef),
    /// A `JSONSchemaProps` or a list of them.
    SchemaOrArray(TypeRef),
    /// A `JSONSchemaProps` or a list of strings.
    SchemaOrStrings(TypeRef),
    /// Another type of the table.
    Struct(TypeRef),
    /// A list.
    List(Box<Shape>),
    /// A map with string keys.
    Map(Box<Shape>),
}

/// When encoding leaves a field out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Omit {
    /// Never: a zero is written.
    Never,
    /// `omitempty`: when false, 0, "", a nil pointer, or an empty list or map. Never a struct.
    Empty,
    /// `omitzero`: when it is the zero of its type, structs included.
    Zero,
}

/// How server-side apply merges a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListKind {
    /// Replaced whole.
    Atomic,
    /// A set of scalars.
    Set,
    /// A map by these keys.
    Map(Vec<&'static str>),
}

/// How strategic merge patch treats a field (the struct tags `patchStrategy` and `patchMergeKey`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    /// `patchStrategy` has `merge`: a list is merged, by `merge_key` or as a set.
    pub merge: bool,
    /// `patchStrategy` has `retainKeys`: keys the patch does not list are dropped.
    pub retain_keys: bool,
    /// `patchStrategy` has `replace`: the value is replaced whole.
    pub replace: bool,
    /// `patchMergeKey`.
    pub merge_key: Option<&'static str>,
}

/// One entry of `x-kubernetes-unions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Union {
    /// The field that says which member is set, if there is one.
    pub discriminator: Option<&'static str>,
    /// JSON name and discriminator value of each member.
    pub fields: Vec<(&'static str, &'static str)>,
}

/// One field of a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The field at this position of [`Type::fields`].
    Field(usize),
    /// An inlined struct: a message under this number whose fields sit in the same JSON object.
    Inlined {
        /// Its protobuf number.
        number: u32,
        /// Its type.
        of: TypeRef,
    },
}

/// Kinds of meta/v1 that belong to every group and version.
const OF_EVERY_VERSION: &[&str] = &[
    "WatchEvent",
    "ListOptions",
    "GetOptions",
    "DeleteOptions",
    "CreateOptions",
    "UpdateOptions",
    "PatchOptions",
];
/// Kinds of meta/v1 that say plain `v1`.
const OF_CORE_V1: &[&str] = &["Status", "APIVersions", "APIGroup", "APIGroupList", "APIResourceList", "List"];

// === impl Schema ===

impl Schema {
    /// The type of a kind, as a request names it. Kinds of meta/v1 are found where clients write them:
    /// `Status` in `v1`, `DeleteOptions` in any group and version.
    pub fn type_of(&self, group: &str, version: &str, kind: &str) -> Option<TypeRef> {
        let meta = || self.by_openapi_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
        if let Some(found) = self.by_kind.get(&(group, version, kind)) {
            return Some(*found);
        }
        if OF_EVERY_VERSION.contains(&kind)
            || (group.is_empty() && version == "v1" && OF_CORE_V1.contains(&kind))
        {
            return meta();
        }
        // v1beta1 of the meta group is v1 under an older name, but for one list.
        let meta_kind = group == "meta.k8s.io" && version == "v1beta1";
        meta().filter(|of| meta_kind && self.get(*of).is_kind)
    }

    /// The type under an OpenAPI definition's name.
    pub fn by_openapi_name(&self, name: &str) -> Option<TypeRef> {
        self.by_openapi_name.get(name).copied()
    }

    /// What a handle stands for.
    ///
    /// # Panics
    /// Never: handles come only from this table.
    pub fn get(&self, of: TypeRef) -> &Type {
        &self.types[usize::from(of.0)]
    }

    /// All types, file by file, each file in declaration order.
    pub fn types(&self) -> impl Iterator<Item = (TypeRef, &Type)> {
        (0_u16..).map(TypeRef).zip(&self.types)
    }
}

// === impl Type ===

impl Type {
    /// The field under a JSON name. Names are case-sensitive, as they are for upstream's decoder.
    pub fn field(&self, json_name: &str) -> Option<&Field> {
        self.position(json_name).and_then(|at| self.fields.get(at))
    }

    /// The fields that Go writes even when they were never set, with their ranks.
    pub(crate) fn always_written(&self) -> impl Iterator<Item = (usize, &Field)> {
        self.always_written.iter().map(|rank| (usize::from(*rank), self.at_rank(usize::from(*rank))))
    }

    /// A field by JSON name, and its rank among all the names.
    pub(crate) fn ranked(&self, json_name: &str) -> Option<(usize, &Field)> {
        let rank = self.rank(json_name)?;
        Some((rank, self.at_rank(rank)))
    }

    /// The fields by name, with their ranks.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = (usize, &Field)> {
        self.by_name.iter().map(|at| &self.fields[usize::from(*at)]).enumerate()
    }

    /// JSON names and positions of all fields, by name.
    pub(crate) fn positions_by_name(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.by_name.iter().map(|at| (self.fields[usize::from(*at)].json, usize::from(*at)))
    }

    fn at_rank(&self, rank: usize) -> &Field {
        &self.fields[usize::from(self.by_name[rank])]
    }

    fn rank(&self, json_name: &str) -> Option<usize> {
        let guess = self.by_hash.get(hash(json_name) & (self.by_hash.len().wrapping_sub(1)))?;
        let guess = usize::from(*guess);
        if self.by_name.get(guess).is_some_and(|at| self.fields[usize::from(*at)].json == json_name) {
            return Some(guess);
        }
        self.by_name.binary_search_by(|at| self.fields[usize::from(*at)].json.cmp(json_name)).ok()
    }

    /// Where in [`fields`](Self::fields) a JSON name stands.
    pub fn position(&self, json_name: &str) -> Option<usize> {
        self.by_name.get(self.rank(json_name)?).map(|at| usize::from(*at))
    }
}

/// Three letters and the length tell most names of a type apart.
fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let at = |position: usize| bytes.get(position).copied().map_or(0, usize::from);
    let last = bytes.len().saturating_sub(1);
    let sum = at(0) + 31 * at(last / 2) + 131 * at(last) + 7 * bytes.len();
    sum ^ (sum >> 5)
}

// === impl Field ===

impl Field {
    /// The Go name.
    pub fn go_name(&self) -> Cow<'static, str> {
        if let Some(own) = self.own_go_name {
            return Cow::Borrowed(own);
        }
        let mut letters = self.json.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        Cow::Owned(first.into_iter().chain(letters).collect())
    }

    /// Go writes it even when it was never set: `omitempty` does not leave out structs.
    pub fn is_always_written(&self) -> bool {
        match self.omit {
            Omit::Never => true,
            Omit::Empty => !self.pointer && self.shape.is_go_struct(),
            Omit::Zero => false,
        }
    }
}

// === impl Shape ===

impl Shape {
    /// It is a struct in Go, whatever its JSON looks like.
    pub fn is_go_struct(&self) -> bool {
        match self {
            Shape::String
            | Shape::Bool
            | Shape::Int32
            | Shape::Int64
            | Shape::Float64
            | Shape::Bytes
            | Shape::List(_)
            | Shape::Map(_) => false,
            Shape::Time
            | Shape::MicroTime
            | Shape::Quantity
            | Shape::IntOrString
            | Shape::RawExtension
            | Shape::Json
            | Shape::FieldsV1
            | Shape::SchemaOrBool(_)
            | Shape::SchemaOrArray(_)
            | Shape::SchemaOrStrings(_)
            | Shape::Struct(_) => true,
        }
    }

    /// Its zero, or that of a pointer to it, is written as null.
    pub(crate) fn is_null_when_zero(&self, pointer: bool) -> bool {
        match self {
            Shape::String
            | Shape::Bool
            | Shape::Int32
            | Shape::Int64
            | Shape::Float64
            | Shape::Quantity
            | Shape::IntOrString
            | Shape::SchemaOrBool(_)
            | Shape::Struct(_) => pointer,
            Shape::Bytes
            | Shape::Time
            | Shape::MicroTime
            | Shape::RawExtension
            | Shape::Json
            | Shape::FieldsV1
            | Shape::SchemaOrArray(_)
            | Shape::SchemaOrStrings(_)
            | Shape::List(_)
            | Shape::Map(_) => true,
        }
    }

    /// The type of the struct this is, or is a list or map of.
    pub fn innermost_struct(&self) -> Option<TypeRef> {
        match self {
            Shape::Struct(of) => Some(*of),
            Shape::List(of) | Shape::Map(of) => of.innermost_struct(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
