//! Shapes of custom resources, from the OpenAPI schema of one version.

use api_types::schema::schema;
use serde_json::{Map as Object, Value};

use super::{
    ANY_SCALAR, ATOMIC, BOOLEAN, Builder, DEDUCED, Items, Key, List, Map, NUMBER, Node, NodeId, STRING,
    Scalar, Shape, Types,
};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The shapes of one version of a custom resource.
#[derive(Debug)]
pub struct CustomType {
    types: Types,
    root: NodeId,
}

impl CustomType {
    /// From `spec.versions[].schema.openAPIV3Schema` of the definition; `preserve_unknown` is its
    /// `spec.preserveUnknownFields`.
    pub fn new(openapi: &Value, preserve_unknown: bool) -> Self {
        let mut builder = Builder::new();
        let root = builder.object(openapi, preserve_unknown, true);
        Self { types: builder.finish(), root }
    }

    /// The shape of the objects.
    pub fn shape(&self) -> Shape<'_> {
        self.types.shape(self.root)
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or_default()
}

// === impl Builder ===

impl Builder {
    /// A schema; `open` if it is below one that keeps unknown fields.
    fn openapi(&mut self, schema: &Value, open: bool) -> NodeId {
        let open = open || flag(schema, "x-kubernetes-preserve-unknown-fields");
        match text(schema, "type") {
            "object" => self.object(schema, open, flag(schema, "x-kubernetes-embedded-resource")),
            "array" => {
                let list = self.items(schema, open);
                self.add(Node { list: Some(list), ..Node::default() })
            }
            "integer" | "number" => NUMBER,
            "boolean" => BOOLEAN,
            "string" if matches!(text(schema, "format"), "" | "byte") => STRING,
            "string" => ANY_SCALAR,
            // No type means any.
            _ => {
                let list = self.items(schema, open);
                let map = self.fields(schema, open);
                self.add(Node { scalar: Some(Scalar::Any), list: Some(list), map: Some(map) })
            }
        }
    }

    /// An object; as a resource it has metadata, whatever the schema says of it.
    fn object(&mut self, schema: &Value, open: bool, resource: bool) -> NodeId {
        let open = open || flag(schema, "x-kubernetes-preserve-unknown-fields");
        let mut map = self.fields(schema, open);
        if resource {
            let metadata = schema_of_metadata().map_or(DEDUCED, |of| self.structure(of, false));
            for (name, of) in [("apiVersion", STRING), ("kind", STRING), ("metadata", metadata)] {
                map.fields.retain(|(field, _)| field != name);
                map.fields.push((name.into(), of));
            }
            map.fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        self.add(Node { map: Some(map), ..Node::default() })
    }

    fn fields(&mut self, schema: &Value, open: bool) -> Map {
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut fields = Vec::new();
        for (name, of) in properties.into_iter().flatten() {
            // The keys of a JSON object are sorted already.
            fields.push((name.clone().into(), self.openapi(of, open)));
        }
        let others = match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => None,
            Some(of @ Value::Object(_)) => Some(self.openapi(of, open)),
            Some(Value::Bool(true)) => Some(DEDUCED),
            _ if open || fields.is_empty() => Some(DEDUCED),
            _ => None,
        };
        Map { fields, others, atomic: text(schema, "x-kubernetes-map-type") == "atomic" }
    }

    fn items(&mut self, schema: &Value, open: bool) -> List {
        let item = schema.get("items").filter(|of| of.is_object());
        let items = match text(schema, "x-kubernetes-list-type") {
            "set" => Items::Values,
            "map" => {
                let properties = item.and_then(|item| item.get("properties")).and_then(Value::as_object);
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                let keys = keys.into_iter().flatten().filter_map(Value::as_str);
                Items::Keys(keys.map(|name| key(name, properties)).collect())
            }
            _ => Items::Atomic,
        };
        let of = item.map_or(ATOMIC, |of| self.openapi(of, open));
        List { items, of }
    }
}

fn key(name: &str, properties: Option<&Object<String, Value>>) -> Key {
    let default = properties.and_then(|fields| fields.get(name)).and_then(|field| field.get("default"));
    Key { name: name.to_owned().into(), default: default.cloned() }
}

fn schema_of_metadata() -> Option<api_types::schema::TypeRef> {
    schema().by_openapi_name(OBJECT_META)
}
