//! Shapes of the built-in kinds, from the one schema table; and what an object of them is before anyone wrote to it.

use std::sync::LazyLock;

use api_types::schema::{Field, ListKind, Omit, Shape as Wire, TypeRef, schema};
use serde_json::{Map as Object, Value};

use super::{
    ANY_SCALAR, ATOMIC, BOOLEAN, Builder, DEDUCED, Items, Key, List, Map, NUMBER, Node, NodeId, STRING,
    Shape, Types,
};

/// The shape of a built-in type. All of them are laid out at the first call.
pub fn shape(of: TypeRef) -> Shape<'static> {
    static ALL: LazyLock<(Types, Vec<(TypeRef, NodeId)>)> = LazyLock::new(|| {
        let mut builder = Builder::new();
        let roots =
            schema().types().map(|(of, kind)| (of, builder.structure(of, kind.atomic))).collect::<Vec<_>>();
        (builder.finish(), roots)
    });
    let (types, roots) = &*ALL;
    let at = roots.binary_search_by(|(it, _)| it.cmp(&of)).ok().and_then(|at| roots.get(at));
    at.map_or_else(Types::deduced, |(_, node)| types.shape(*node))
}

/// A new object of a built-in type with nothing set: what Go's encoder writes of a zero struct. Structs in it are
/// there from the start, so that whoever creates the object is not on record for having added them.
pub fn unwritten(of: TypeRef) -> Value {
    let mut object = Object::new();
    for field in &schema().get(of).fields {
        let nothing = match (&field.shape, field.omit) {
            (_, Omit::Zero) => continue,
            (Wire::Struct(of), Omit::Never | Omit::Empty) if !field.pointer => unwritten(*of),
            (_, Omit::Empty) => continue,
            _ if field.pointer => Value::Null,
            (Wire::String | Wire::Bytes, _) => Value::from(""),
            (Wire::Bool, _) => Value::from(false),
            (Wire::Int32 | Wire::Int64 | Wire::Float64 | Wire::IntOrString, _) => Value::from(0),
            (Wire::Quantity, _) => Value::from("0"),
            _ => Value::Null,
        };
        object.insert(field.json.to_owned(), nothing);
    }
    Value::Object(object)
}

// === impl Builder ===

impl Builder {
    /// A struct, as one piece or field by field.
    pub(in super::super) fn structure(&mut self, of: TypeRef, atomic: bool) -> NodeId {
        if let Some(known) = self.structs.get(&(of, atomic)) {
            return *known;
        }
        // The place is taken before the fields are looked at: a type may contain itself.
        let at = self.add(Node::default());
        self.structs.insert((of, atomic), at);
        let mut fields: Vec<_> =
            schema().get(of).fields.iter().map(|field| (field.json.into(), self.field(field))).collect();
        fields.sort_by(|(one, _), (other, _): &(std::borrow::Cow<'static, str>, NodeId)| one.cmp(other));
        // A struct without fields is published as a free-form object.
        let others = fields.is_empty().then_some(DEDUCED);
        self.replace(at, Node { map: Some(Map { fields, others, atomic }), ..Node::default() });
        at
    }

    fn field(&mut self, field: &Field) -> NodeId {
        match &field.shape {
            Wire::Struct(of) => self.structure(*of, field.struct_atomic),
            Wire::List(of) => {
                let items = match &field.list {
                    ListKind::Atomic => Items::Atomic,
                    ListKind::Set => Items::Values,
                    ListKind::Map(keys) => Items::Keys(keys.iter().map(|key| self::key(of, key)).collect()),
                };
                self.list(items, of)
            }
            Wire::Map(of) => {
                let of = self.wire(of);
                self.map(of, field.map_atomic)
            }
            other => self.wire(other),
        }
    }

    /// A type without markers of its own.
    fn wire(&mut self, of: &Wire) -> NodeId {
        match of {
            Wire::String | Wire::Bytes => STRING,
            Wire::Bool => BOOLEAN,
            Wire::Int32 | Wire::Int64 | Wire::Float64 => NUMBER,
            Wire::Time | Wire::MicroTime | Wire::Quantity | Wire::IntOrString => ANY_SCALAR,
            Wire::RawExtension => ATOMIC,
            Wire::Json | Wire::SchemaOrBool(_) | Wire::SchemaOrArray(_) | Wire::SchemaOrStrings(_) => DEDUCED,
            Wire::FieldsV1 => self.map(DEDUCED, false),
            Wire::Struct(of) => self.structure(*of, schema().get(*of).atomic),
            Wire::List(of) => self.list(Items::Atomic, of),
            Wire::Map(of) => {
                let of = self.wire(of);
                self.map(of, false)
            }
        }
    }

    fn list(&mut self, items: Items, of: &Wire) -> NodeId {
        let of = self.wire(of);
        self.add(Node { list: Some(List { items, of }), ..Node::default() })
    }

    fn map(&mut self, of: NodeId, atomic: bool) -> NodeId {
        let map = Map { fields: Vec::new(), others: Some(of), atomic };
        self.add(Node { map: Some(map), ..Node::default() })
    }
}

/// A key of the items of a list, with the default it is published with. Fields that are always written have the zero of
/// their type for a default, though it is published nowhere else.
fn key(item: &Wire, name: &'static str) -> Key {
    let field = item.innermost_struct().and_then(|of| schema().get(of).field(name));
    let default = field.and_then(|field| {
        field.default.clone().or_else(|| match field.shape {
            _ if field.pointer || field.omit != Omit::Never => None,
            Wire::String => Some(Value::from("")),
            Wire::Int32 | Wire::Int64 => Some(Value::from(0)),
            Wire::Bool => Some(Value::from(false)),
            _ => None,
        })
    });
    Key { name: name.into(), default }
}
