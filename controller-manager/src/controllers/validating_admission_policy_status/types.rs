//! What kinds look like to an expression: those that are built in by the table of types, all others by the OpenAPI document
//! of their server.
//!
//! Both ways say the same of the same kind. What no type can be told of, such as a quantity, which is a string or a number,
//! is no field at all to an expression; so it is upstream too.

use std::sync::Arc;

use api_types::{
    kind::GroupVersionKind,
    schema::{Shape, TypeRef, schema},
};
use cel::{Declared, Type, escaping};
use serde_json::{Map, Value, json};

/// A document that comes to more than this, with all references followed, is no help.
const SCHEMAS_MAX: usize = 100_000;
/// Nor is one that is nested deeper than this.
const DEPTH_MAX: usize = 256;

/// What a kind looks like that is built in; `None` if it is not.
pub(super) fn built_in(kind: &GroupVersionKind) -> Option<Arc<Declared>> {
    let of = schema().type_of(&kind.group, &kind.version, &kind.kind)?;
    let known = schema().get(of);
    // The kinds of options belong to every group and version there is, but are no resources of them.
    let own = known.is_kind && known.group_version == Some((&kind.group, &kind.version));
    own.then(|| structure(of, &kind.kind, &mut Vec::new()))
}

/// `within` are the types this one is a part of: a type that is a part of itself is an object without fields there.
fn structure(of: TypeRef, name: &str, within: &mut Vec<TypeRef>) -> Arc<Declared> {
    if within.contains(&of) {
        return Declared::object(name, []);
    }
    within.push(of);
    let fields: Vec<_> = schema()
        .get(of)
        .fields
        .iter()
        .filter_map(|field| {
            let step = escaping::escape(field.json);
            let name = format!("{name}.{}", step.as_deref().unwrap_or(field.json));
            Some((field.json, shape(&field.shape, &name, within)?))
        })
        .collect();
    within.pop();
    Declared::object(name, fields)
}

fn shape(of: &Shape, name: &str, within: &mut Vec<TypeRef>) -> Option<Arc<Declared>> {
    Some(match of {
        Shape::String => Declared::string(0),
        Shape::Bool => Declared::bool(),
        Shape::Int32 | Shape::Int64 => Declared::int(),
        Shape::Float64 => Declared::double(),
        Shape::Bytes => Declared::named(Type::Bytes),
        Shape::Time | Shape::MicroTime => Declared::named(Type::Timestamp),
        Shape::IntOrString => Declared::any(),
        Shape::RawExtension | Shape::FieldsV1 => Declared::object(name, []),
        Shape::Quantity | Shape::Json => return None,
        Shape::SchemaOrBool(_) | Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_) => return None,
        Shape::Struct(of) => structure(*of, name, within),
        Shape::List(of) => Declared::list(shape(of, &format!("{name}.@idx"), within)?, 0),
        Shape::Map(of) => Declared::map(shape(of, &format!("{name}.@elem"), within)?, 0),
    })
}

/// What a kind looks like by the OpenAPI 3 document of its group and version; `None` if that does not describe it.
pub(super) fn published(document: &Value, kind: &GroupVersionKind) -> Option<Arc<Declared>> {
    let schemas = document.pointer("/components/schemas")?.as_object()?;
    let (root, schema) = schemas.iter().find(|(_, schema)| describes(schema, kind))?;
    let mut resolver = Resolver { schemas, within: vec![root], depth: 0, left: SCHEMAS_MAX };
    let schema = resolver.resolve(schema)?;
    Some(cel::schema::declare(&schema, true, &kind.kind).unwrap_or_else(Declared::any))
}

fn describes(schema: &Value, kind: &GroupVersionKind) -> bool {
    let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
    let is = |it: &Value, field: &str, what: &str| it.get(field).and_then(Value::as_str) == Some(what);
    kinds.into_iter().flatten().any(|it| {
        is(it, "group", &kind.group) && is(it, "version", &kind.version) && is(it, "kind", &kind.kind)
    })
}

/// Puts what is referred to in place of references.
struct Resolver<'d> {
    schemas: &'d Map<String, Value>,
    /// The names that have been followed to get here.
    within: Vec<&'d str>,
    depth: usize,
    /// How many schemas more there may be.
    left: usize,
}

// === impl Resolver ===

impl<'d> Resolver<'d> {
    /// The schema with as much in it as tells types; `None` if a reference leads nowhere, or there is too much.
    fn resolve(&mut self, schema: &'d Value) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        let Some(name) = reference(schema) else { return self.plain(schema) };
        if self.within.contains(&name) {
            return Some(json!({"type": "object"}));
        }
        let target = self.schemas.get(name)?;
        self.within.push(name);
        let found = self.plain(target);
        self.within.pop();
        found
    }

    fn plain(&mut self, schema: &'d Value) -> Option<Value> {
        if self.depth == DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let mut plain = Map::new();
        for key in ["format", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string"] {
            if let Some(value) = schema.get(key) {
                plain.insert(key.to_owned(), value.clone());
            }
        }
        // Kinds that are built in say by the format what definitions of custom ones say by the extension.
        if schema.get("format").and_then(Value::as_str) == Some("int-or-string") {
            plain.insert("x-kubernetes-int-or-string".to_owned(), true.into());
        }
        let of = schema.get("type");
        if let Some(of) = of.and_then(Value::as_array).and_then(|several| several.first()).or(of) {
            plain.insert("type".to_owned(), of.clone());
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(key).filter(|it| it.is_object()) {
                plain.insert(key.to_owned(), self.resolve(inner)?);
            }
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let mut resolved = Map::new();
            for (name, property) in properties {
                resolved.insert(name.clone(), self.resolve(property)?);
            }
            plain.insert("properties".to_owned(), resolved.into());
        }
        self.depth -= 1;
        Some(plain.into())
    }
}

/// What a schema refers to, also if that is wrapped up to have a description beside it.
fn reference(schema: &Value) -> Option<&str> {
    fn own(schema: &Value) -> Option<&str> {
        schema.get("$ref")?.as_str()
    }
    let wrapped = || schema.get("allOf")?.as_array()?.iter().find_map(own);
    let reference = own(schema).or_else(wrapped)?;
    Some(reference.strip_prefix("#/components/schemas/").unwrap_or(reference))
}

#[cfg(test)]
mod tests {
    use cel::Environment;

    use super::*;

    /// The type of an expression over such an object, or what is wrong with it.
    fn check(declared: &Arc<Declared>, expression: &str) -> String {
        match Environment::new().with_declared("object", declared).compile(expression) {
            Ok(program) => program.output().to_string(),
            Err(why) => why.messages().join("; "),
        }
    }

    #[test]
    fn built_in_kinds_have_the_types_of_their_fields() {
        for (group, version, kind, expression, of) in [
            ("apps", "v1", "Deployment", "object.kind + object.apiVersion", "string"),
            ("apps", "v1", "Deployment", "object.spec.replicas", "int"),
            ("apps", "v1", "Deployment", "object.spec.paused", "bool"),
            ("apps", "v1", "Deployment", "object.metadata.labels", "map(string, string)"),
            ("apps", "v1", "Deployment", "object.metadata.__namespace__", "string"),
            ("apps", "v1", "Deployment", "object.metadata.creationTimestamp", "timestamp"),
            ("apps", "v1", "Deployment", "object.spec.strategy.rollingUpdate.maxSurge", "dyn"),
            ("apps", "v1", "Deployment", "object.spec.template.spec", "Deployment.spec.template.spec"),
            (
                "apps",
                "v1",
                "Deployment",
                "object.spec.template.spec.containers",
                "list(Deployment.spec.template.spec.containers.@idx)",
            ),
            (
                "apps",
                "v1",
                "Deployment",
                "object.metadata.managedFields[0].fieldsV1.x",
                "undefined field 'x'",
            ),
            ("apps", "v1", "Deployment", "object.spec.replicaz", "undefined field 'replicaz'"),
            ("", "v1", "Secret", "object.data", "map(string, bytes)"),
            ("", "v1", "Pod", "object.spec.containers[0].resources.limits", "undefined field 'limits'"),
            ("coordination.k8s.io", "v1", "Lease", "object.spec.renewTime", "timestamp"),
            (
                "apiextensions.k8s.io",
                "v1",
                "CustomResourceDefinition",
                "object.spec.versions[0].schema.openAPIV3Schema.properties['a'].type",
                "undefined field 'type'",
            ),
        ] {
            let declared = built_in(&GroupVersionKind::new(group, version, kind)).unwrap();
            assert_eq!(check(&declared, expression), of, "{kind}: {expression}");
        }
        for (group, version, kind) in [
            ("example.com", "v1", "Foo"),
            ("example.com", "v1", "DeleteOptions"),
            ("apps", "v2", "Deployment"),
        ] {
            assert!(
                built_in(&GroupVersionKind::new(group, version, kind)).is_none(),
                "{group}/{version} {kind}"
            );
        }
    }

    fn document() -> Value {
        let text = json!({"type": "string"});
        let refer = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let wrapped = |name: &str| json!({"default": {}, "description": "d", "allOf": [refer(name)]});
        let of = |kind: &str| json!([{"group": "example.com", "version": "v1", "kind": kind}]);
        json!({"components": {"schemas": {
            "meta": {"type": "object", "properties": {
                "name": text, "generateName": text, "labels": {"type": "object", "additionalProperties": text},
            }},
            "foo": {"type": "object", "x-kubernetes-group-version-kind": of("Foo"), "properties": {
                "apiVersion": text, "kind": text, "metadata": wrapped("meta"),
                "spec": {"type": "object", "properties": {
                    "size": {"type": "integer"},
                    "port": {"format": "int-or-string", "oneOf": [{"type": "integer"}, text]},
                    "share": {"x-kubernetes-int-or-string": true},
                    "cpu": {"oneOf": [text, {"type": "number"}]},
                    "at": {"type": "string", "format": "date-time"},
                    "several": {"type": ["string", "null"]},
                    "tree": refer("tree"),
                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "inner": {"type": "object", "x-kubernetes-embedded-resource": true},
                }},
            }},
            "tree": {"type": "object", "properties": {
                "value": {"type": "number"},
                "left": wrapped("tree"),
                "more": {"type": "array", "items": refer("tree")},
            }},
            "bare": {"x-kubernetes-group-version-kind": of("Bare")},
            "plain": {"type": "object", "x-kubernetes-group-version-kind": of("Plain")},
            "lost": {"type": "object", "x-kubernetes-group-version-kind": of("Lost"), "properties": {
                "spec": refer("nowhere"),
            }},
        }}})
    }

    #[test]
    fn other_kinds_have_the_types_that_are_published() {
        let document = document();
        for (kind, expression, of) in [
            ("Foo", "object.metadata.labels", "map(string, string)"),
            ("Foo", "object.spec.size", "int"),
            ("Foo", "object.spec.port", "dyn"),
            ("Foo", "object.spec.share", "dyn"),
            ("Foo", "object.spec.cpu", "undefined field 'cpu'"),
            ("Foo", "object.spec.at", "timestamp"),
            ("Foo", "object.spec.several", "string"),
            ("Foo", "object.spec.tree.value", "double"),
            ("Foo", "object.spec.tree.left", "Foo.spec.tree.left"),
            ("Foo", "object.spec.tree.left.value", "undefined field 'value'"),
            ("Foo", "object.spec.tree.more[0].value", "undefined field 'value'"),
            ("Foo", "object.spec.any.x", "undefined field 'x'"),
            ("Foo", "object.spec.inner.metadata.name", "string"),
            ("Plain", "object.metadata.generateName", "string"),
            ("Plain", "object.metadata.labels", "undefined field 'labels'"),
            ("Bare", "object.x.y", "dyn"),
        ] {
            let declared = published(&document, &GroupVersionKind::new("example.com", "v1", kind)).unwrap();
            assert_eq!(check(&declared, expression), of, "{kind}: {expression}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_unknown() {
        let document = document();
        for (group, kind) in [("example.com", "Lost"), ("example.com", "Nobody"), ("example.org", "Foo")] {
            assert!(published(&document, &GroupVersionKind::new(group, "v1", kind)).is_none(), "{kind}");
        }
        assert!(published(&json!({}), &GroupVersionKind::new("example.com", "v1", "Foo")).is_none());
    }

    #[test]
    fn a_document_that_unfolds_without_end_is_unknown() {
        // Each of forty schemas has two of the next: 2^40 altogether.
        let wide = |number: usize| {
            let next = json!({"$ref": format!("#/components/schemas/s{}", number + 1)});
            json!({"type": "object", "properties": {"a": next, "b": next}})
        };
        // A thousand of them, one in the other.
        let deep = |number: usize| json!({"type": "array", "items": {"$ref": format!("#/components/schemas/s{}", number + 1)}});
        for (count, schema) in [(40, &wide as &dyn Fn(usize) -> Value), (1000, &deep)] {
            let mut schemas: Map<String, Value> =
                (0..count).map(|number| (format!("s{number}"), schema(number))).collect();
            schemas.insert(format!("s{count}"), json!({"type": "string"}));
            schemas["s0"]["x-kubernetes-group-version-kind"] =
                json!([{"group": "example.com", "version": "v1", "kind": "Foo"}]);
            let document = json!({"components": {"schemas": schemas}});
            assert!(published(&document, &GroupVersionKind::new("example.com", "v1", "Foo")).is_none());
        }
    }
}
