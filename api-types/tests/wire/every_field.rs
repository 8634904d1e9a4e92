//! Every field of every kind, set at once, whether or not such an object would be valid: it reads back from JSON, YAML and
//! protobuf as it was.

use api_types::{
    schema::{Field, Part, Shape, TypeRef, schema},
    wire::{json, protobuf, typed, yaml},
};
use serde_json::{Map, Value, json};

/// Types hold themselves (JSON schemas do): so often one may stand in itself.
const NESTED_MAX: usize = 1;

/// A value with all fields set that protobuf carries, no two alike.
struct Sampler {
    count: i32,
    within: Vec<TypeRef>,
}

impl Sampler {
    fn next(&mut self) -> i32 {
        self.count += 1;
        self.count
    }

    fn structure(&mut self, of: TypeRef) -> Value {
        let mut object = Map::new();
        self.within.push(of);
        self.message(of, &mut object);
        self.within.pop();
        Value::Object(object)
    }

    fn message(&mut self, of: TypeRef, object: &mut Map<String, Value>) {
        let of = schema().get(of);
        for part in &of.parts {
            match part {
                Part::Inlined { of, .. } => self.message(*of, object),
                Part::Field(at) => {
                    let field = &of.fields[*at];
                    if let Some(value) = self.value(field, &field.shape) {
                        object.insert(field.json.to_owned(), value);
                    }
                }
            }
        }
    }

    fn value(&mut self, field: &Field, shape: &Shape) -> Option<Value> {
        let number = self.next();
        Some(match shape {
            Shape::String => json!(format!("{}-{number}", field.json)),
            Shape::Bool => json!(true),
            Shape::Int32 => json!(-number),
            Shape::Int64 => json!(i64::from(number) << 33),
            Shape::Float64 => json!(f64::from(number) + 0.5),
            Shape::Bytes => json!("AAH/"),
            Shape::Time => json!(format!("2026-01-01T00:{:02}:{:02}Z", number / 60 % 60, number % 60)),
            Shape::MicroTime => json!(format!("2026-01-01T00:00:00.{number:06}Z")),
            Shape::Quantity => json!(number.to_string()),
            Shape::IntOrString if number % 2 == 0 => json!(number),
            Shape::IntOrString => json!(format!("{number}%")),
            Shape::RawExtension | Shape::Json | Shape::FieldsV1 => json!({"a": [number, null, "<"]}),
            Shape::SchemaOrBool(_) => json!(true),
            Shape::SchemaOrArray(of) | Shape::SchemaOrStrings(of) | Shape::Struct(of) => {
                if self.within.iter().filter(|it| *it == of).count() >= NESTED_MAX {
                    return None;
                }
                self.structure(*of)
            }
            // Two of everything on every level would be a very large Pod.
            Shape::List(of) if self.within.len() > 2 => json!([self.value(field, of)?]),
            Shape::List(of) => json!([self.value(field, of)?, self.value(field, of)?]),
            Shape::Map(of) => {
                json!({format!("k{number}"): self.value(field, of)?, "a/b": self.value(field, of)?})
            }
        })
    }
}

#[test]
fn every_field_of_every_kind_survives_every_form() {
    let mut kinds = 0;
    for (of, kind) in schema().types().filter(|(_, of)| of.is_kind && !of.parts.is_empty()) {
        let mut object = Sampler { count: 0, within: Vec::new() }.structure(of);
        let (group, version) = kind.group_version.unwrap_or(("", "v1"));
        object["kind"] = json!(kind.name);
        object["apiVersion"] =
            json!(if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") });
        let name = &kind.openapi_name;

        let text = json::encode(&object, of);
        let read = typed::decode(&text, of).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read.strict, Vec::<String>::new(), "{name}");
        // What protobuf does not carry, Go writes all the same.
        let decoded = read.value;
        let carried = protobuf::decode(&protobuf::encode(&object, of), of);
        assert_eq!(carried.as_ref(), Ok(&decoded), "{name} as protobuf");
        let lines = yaml::from_value(&object);
        assert_eq!(yaml::to_value(lines.as_bytes()).map(|read| read.value), Ok(object), "{name} as YAML");
        kinds += 1;
    }
    assert!(kinds > 150, "only {kinds} kinds");
}
