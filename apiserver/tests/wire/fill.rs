//! Fills objects: walks the schema of a kind and sets every field that is not set yet to the first of some plausible values
//! that the server takes and keeps. What validation refuses in that object stays away.
//!
//! That takes minutes, so its outcome is kept in `objects/`, and `fill_the_objects` is run by hand after the schema, the seeds
//! or the rules have changed: `cargo test -p apiserver --test wire -- --ignored fill_the_objects`. It fills those that have no
//! file, or, with `FILL=group/version/plural`, that one.

use api_types::{
    object::ObjectExt as _,
    schema::{Field, Omit, Shape, TypeRef, schema},
};
use serde_json::{Map, Value, json};

use crate::{
    objects::{self, Full, lost, seed},
    server::{JSON, World, path},
};

/// How deep the walk goes.
const DEPTH_MAX: usize = 14;
/// How deep samples of structs go.
const SAMPLE_DEPTH_MAX: usize = 4;
/// How many items of a list are filled: some lists have one of each kind of thing.
const ITEMS_MAX: usize = 40;

/// Metadata that the server sets, or that decides where the object is.
pub(crate) const OWN_METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "generation",
    "managedFields",
];

/// Texts to try: for some field each of them is right.
const TEXTS: &[&str] = &[
    "a",
    "/a",
    "10.0.0.7",
    "a.example.com",
    "example.com/a",
    "https://a.example.com",
    "10.0.0.0/24",
    "TCP",
    "Always",
    "d",
    "cpu",
    "limits.cpu",
    "Etc/UTC",
    "v1",
    "0",
];

/// Something to be filled, and how to ask whether it may be.
struct Filler<'a> {
    world: &'a World,
    method: &'static str,
    path: String,
    /// What stands around the part that is filled.
    object: Value,
    asked: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Field(String),
    Item(usize),
}

#[test]
#[ignore = "takes minutes and writes the objects the other tests read"]
fn fill_the_objects() {
    let only = std::env::var("FILL").ok();
    let world = World::new();
    for (key, served) in world.creatable() {
        if only.as_ref().is_some_and(|only| *only != key) || (only.is_none() && objects::is_there(&key)) {
            continue;
        }
        let of = served.resource.schema().unwrap();
        let path = path(&served);
        let mut filler = Filler {
            world: &world,
            method: "POST",
            path: format!("{path}?dryRun=All"),
            object: seed(&key, &served),
            asked: 0,
        };
        let seeded = filler.object.as_object_mut().and_then(|map| map.remove("status"));
        adopt_template(&key, &mut filler.object);
        match filler.takes() {
            Ok(()) => filler.fill(of, &[], 0),
            // The answer to a question may leave the question out.
            Err(why) if served.resource.verbs() == ["create"] && why.starts_with("lost") => {}
            Err(why) => panic!("{key}: the seed is refused: {why}"),
        }
        let (object, mut asked) = (filler.object.clone(), filler.asked);
        let mut status = None;
        if served.resource.has_status() && served.resource.verbs().contains(&"get") {
            let made = world.send("POST", &path, JSON, JSON, object.to_string().as_bytes());
            assert_eq!(made.code, 201, "{key}: {}", made.text());
            let mut made = made.json();
            let name = made.name().to_owned();
            made["status"] = seeded.unwrap_or_else(|| json!({}));
            let mut filler = Filler {
                world: &world,
                method: "PUT",
                path: format!("{path}/{name}/status?dryRun=All"),
                object: made,
                asked: 0,
            };
            if let Some(Shape::Struct(of)) = schema().get(of).field("status").map(|field| &field.shape) {
                match filler.takes() {
                    Ok(()) => filler.fill(*of, &[Step::Field("status".to_owned())], 1),
                    Err(why) => println!("{key}: an empty status is refused: {why}"),
                }
                status = Some(filler.object["status"].take());
                asked += filler.asked;
            }
        }
        println!("{key}: {asked} questions, {} bytes", object.to_string().len());
        objects::write(&key, &Full { object, status });
    }
}

/// Gives a workload the filled Pod: asking thousands of times again would not find more.
fn adopt_template(key: &str, object: &mut Value) {
    let place = match key {
        "/v1/podtemplates" => "/template/spec",
        "batch/v1/cronjobs" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    let mut filled = objects::full("/v1/pods").object["spec"].take();
    if let Some(spec) = object.pointer_mut(place) {
        filled["restartPolicy"] = spec["restartPolicy"].take();
        // Pods of workloads may not end by themselves.
        filled.as_object_mut().map(|map| map.remove("activeDeadlineSeconds"));
        *spec = filled;
    }
}

// === impl Filler ===

impl Filler<'_> {
    /// Whether the server takes the object as it is now, and keeps all of it.
    fn takes(&mut self) -> Result<(), String> {
        self.asked += 1;
        let answer = self.world.send(self.method, &self.path, JSON, JSON, self.object.to_string().as_bytes());
        if answer.code >= 300 {
            return Err(answer.text());
        }
        let mut sent = self.object.clone();
        sent.meta_mut().remove("resourceVersion");
        sent.meta_mut().remove("managedFields");
        match lost(&sent, &answer.json()) {
            lost if lost.is_empty() => Ok(()),
            lost => Err(format!("lost: {}", lost.join(", "))),
        }
    }

    fn at(&mut self, path: &[Step]) -> Option<&mut Value> {
        path.iter().try_fold(&mut self.object, |value, step| match step {
            Step::Field(name) => value.get_mut(name),
            Step::Item(index) => value.get_mut(index),
        })
    }

    /// Sets what is not set, and goes on into what is.
    fn fill(&mut self, of: TypeRef, path: &[Step], depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        let of = schema().get(of);
        if of.name == "PodTemplateSpec" {
            // It has the spec of the filled Pod.
            return;
        }
        for field in &of.fields {
            let metadata = of.name == "ObjectMeta" && OWN_METADATA.contains(&field.json);
            let root = path.is_empty() && matches!(field.json, "kind" | "apiVersion" | "status");
            if metadata || root {
                continue;
            }
            let Some(Value::Object(map)) = self.at(path) else { return };
            // Schemas nest in schemas: those of the seeds will do.
            if !map.contains_key(field.json) && !is_schema(&field.shape) {
                self.set(field, path);
            }
            let mut path = path.to_vec();
            path.push(Step::Field(field.json.to_owned()));
            self.descend(&field.shape, &path, depth + 1);
        }
    }

    fn set(&mut self, field: &Field, path: &[Step]) {
        for value in values(field, &field.shape) {
            if let Some(Value::Object(map)) = self.at(path) {
                map.insert(field.json.to_owned(), value);
            }
            if self.takes().is_ok() {
                return;
            }
        }
        if let Some(Value::Object(map)) = self.at(path) {
            map.remove(field.json);
        }
    }

    fn descend(&mut self, shape: &Shape, path: &[Step], depth: usize) {
        match shape {
            Shape::Struct(of) => self.fill(*of, path, depth),
            Shape::List(of) => {
                let len = self.at(path).and_then(|value| value.as_array().map(Vec::len)).unwrap_or_default();
                for index in 0..len.min(ITEMS_MAX) {
                    self.descend(of, &[path, &[Step::Item(index)]].concat(), depth);
                }
            }
            Shape::Map(of) => {
                let names: Vec<String> = self
                    .at(path)
                    .and_then(|value| value.as_object().map(|map| map.keys().cloned().collect()))
                    .unwrap_or_default();
                for name in names {
                    self.descend(of, &[path, &[Step::Field(name)]].concat(), depth);
                }
            }
            _ => {}
        }
    }
}

fn is_schema(shape: &Shape) -> bool {
    match shape {
        Shape::List(of) | Shape::Map(of) => is_schema(of),
        Shape::Struct(of) => schema().get(*of).name == "JSONSchemaProps",
        Shape::SchemaOrBool(_) | Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_) => true,
        _ => false,
    }
}

/// Values worth a try, the fullest first.
fn values(field: &Field, shape: &Shape) -> Vec<Value> {
    match shape {
        Shape::Struct(of) => {
            let mut values = vec![sample(*of, true, 0), sample(*of, false, 0), json!({})];
            values.dedup();
            values
        }
        Shape::List(of) => values(field, of).into_iter().map(|value| json!([value])).collect(),
        Shape::Map(of) => {
            let values = values(field, of);
            let of_key = |key: &'static str| {
                values.iter().take(2).map(move |value| json!({key: value})).collect::<Vec<_>>()
            };
            ["a", "cpu", "example.com/a", "count/pods"].into_iter().flat_map(of_key).collect()
        }
        shape => scalars(field, shape),
    }
}

fn scalars(field: &Field, shape: &Shape) -> Vec<Value> {
    match shape {
        Shape::String if !field.enumeration.is_empty() => {
            field.enumeration.iter().map(|it| json!(it)).collect()
        }
        Shape::String => {
            let default =
                field.default.iter().filter(|default| default.as_str().is_some_and(|it| !it.is_empty()));
            default.cloned().chain(TEXTS.iter().map(|text| json!(text))).collect()
        }
        Shape::Bool => vec![json!(true), json!(false)],
        Shape::Int32 | Shape::Int64 => [1, 2, 0, 1000, 8080, 30100, 100, 600].map(|it| json!(it)).to_vec(),
        Shape::Float64 => vec![json!(1.5), json!(1)],
        Shape::Bytes => vec![json!("YQ==")],
        Shape::Time => vec![json!("2026-01-01T00:00:00Z")],
        Shape::MicroTime => vec![json!("2026-01-01T00:00:00.000001Z")],
        Shape::Quantity => vec![json!("1"), json!("1Gi")],
        Shape::IntOrString => vec![json!(1), json!("10%"), json!("http")],
        Shape::RawExtension | Shape::Json => vec![json!({"a": [1, "b"]}), json!("a"), json!(1)],
        Shape::FieldsV1 => vec![json!({"f:a": {}})],
        Shape::SchemaOrBool(_) => vec![json!(true), json!({"type": "string"})],
        Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_) => vec![json!({"type": "string"})],
        Shape::Struct(_) | Shape::List(_) | Shape::Map(_) => Vec::new(),
    }
}

/// A struct with all its fields, or with those alone that it cannot be without.
fn sample(of: TypeRef, all: bool, depth: usize) -> Value {
    let mut object = Map::new();
    for field in &schema().get(of).fields {
        let needed = field.required || (field.omit == Omit::Never && !field.pointer);
        if depth > SAMPLE_DEPTH_MAX || !(all || needed) || is_schema(&field.shape) {
            continue;
        }
        if let Some(value) = first(field, &field.shape, all, depth) {
            object.insert(field.json.to_owned(), value);
        }
    }
    Value::Object(object)
}

fn first(field: &Field, shape: &Shape, all: bool, depth: usize) -> Option<Value> {
    match shape {
        Shape::Struct(of) => Some(sample(*of, all, depth + 1)),
        Shape::List(of) => first(field, of, all, depth).map(|value| json!([value])),
        Shape::Map(of) => first(field, of, all, depth).map(|value| json!({"a": value})),
        shape => scalars(field, shape).into_iter().next(),
    }
}
