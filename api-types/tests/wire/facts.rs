//! The schema table against the facts read off upstream's `generated.proto` files and Go tags.
//!
//! Method: both are laid side by side message by message, in both directions, so that a field that is missing, misnumbered,
//! of another type, or wrongly (not) a pointer is told by name. The facts carry their own checksum: they are for
//! `cargo xtask facts` to write, which can also check them against the sources where those are at hand.

use std::collections::BTreeMap;

use api_types::schema::{Part, Shape, TypeRef, schema};
use sha2::{Digest as _, Sha256};

const FACTS: &str = include_str!("../../src/schema/protobuf.facts");

/// Number, JSON name and type of each field of a message.
type Message = BTreeMap<u32, (&'static str, String)>;

/// Messages with a JSON form of their own, which the encoder knows by heart.
const OPAQUE: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "1 seconds int64, 2 nanos int32"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "1 seconds int64, 2 nanos int32"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Timestamp", "1 seconds int64, 2 nanos int32"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", "1 duration int64"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "1 - bytes"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Verbs", "1 items []string"),
    ("io.k8s.api.authentication.v1.ExtraValue", "1 items []string"),
    ("io.k8s.api.authorization.v1.ExtraValue", "1 items []string"),
    ("io.k8s.api.certificates.v1.ExtraValue", "1 items []string"),
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "1 string string"),
    ("io.k8s.apimachinery.pkg.api.resource.QuantityValue", "1 string string"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "1 type int64, 2 intVal int32, 3 strVal string"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "1 - bytes"),
    ("io.k8s.apimachinery.pkg.runtime.TypeMeta", "1 apiVersion string, 2 kind string"),
    (
        "io.k8s.apimachinery.pkg.runtime.Unknown",
        "1 (inline) io.k8s.apimachinery.pkg.runtime.TypeMeta, 2 - bytes, 3 contentEncoding string, 4 contentType string",
    ),
];

/// The unions of JSON schemas, once for each version of their package.
const SCHEMA_UNIONS: &[(&str, &str)] = &[
    ("JSON", "1 - bytes"),
    ("JSONSchemaPropsOrArray", "1 schema *{p}.JSONSchemaProps, 2 jSONSchemas []{p}.JSONSchemaProps"),
    ("JSONSchemaPropsOrBool", "1 allows bool, 2 schema *{p}.JSONSchemaProps"),
    ("JSONSchemaPropsOrStringArray", "1 schema *{p}.JSONSchemaProps, 2 property []string"),
];

/// Messages that are none of JSON: this one is that of meta/v1 under another name.
const UNUSED: &[(&str, &[&str])] = &[("io.k8s.api.core.v1", &["List"])];

fn facts() -> BTreeMap<String, Message> {
    let mut found = BTreeMap::new();
    let mut package = "";
    let mut at = String::new();
    for line in FACTS.lines().skip(2) {
        let (first, rest) = line.trim_start().split_once(' ').unwrap();
        match first {
            "package" => package = rest,
            "message" => {
                at = format!("{package}.{rest}");
                found.insert(at.clone(), Message::new());
            }
            number => {
                let (json, kind) = rest.split_once(' ').unwrap();
                // Events of an audit have objects whose kind is known only to their sender; their form is the same.
                let kind = kind.replace("pkg.runtime.Unknown", "pkg.runtime.RawExtension");
                found.get_mut(&at).unwrap().insert(number.parse().unwrap(), (json, kind));
            }
        }
    }
    found
}

/// What our table says of a type, in the words of the facts.
fn ours(of: TypeRef) -> Message {
    let of = schema().get(of);
    let mut message = Message::new();
    for part in &of.parts {
        match part {
            Part::Inlined { number, of } => {
                message.insert(*number, ("(inline)", schema().get(*of).openapi_name.clone()));
            }
            Part::Field(at) => {
                let field = &of.fields[*at];
                let star = if field.pointer { "*" } else { "" };
                let kind = match &field.shape {
                    Shape::List(_) if field.list_message => message_of(field.go_types[0], &of.openapi_name),
                    shape => format!(
                        "{star}{}",
                        word(shape, field.list_message, field.go_types.as_slice(), &of.openapi_name)
                    ),
                };
                message.insert(field.number, (field.json, kind));
            }
        }
    }
    message
}

fn word(shape: &Shape, list_message: bool, go_types: &[&str], within: &str) -> String {
    let definitions = |of: &TypeRef, name: &str| {
        let whole = &schema().get(*of).openapi_name;
        format!("{}.{name}", whole.rsplit_once('.').unwrap().0)
    };
    match shape {
        Shape::String => "string".to_owned(),
        Shape::Bool => "bool".to_owned(),
        Shape::Int32 => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Float64 => "double".to_owned(),
        Shape::Bytes => "bytes".to_owned(),
        Shape::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time".to_owned(),
        Shape::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime".to_owned(),
        Shape::FieldsV1 => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1".to_owned(),
        Shape::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(),
        Shape::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
        Shape::RawExtension => "io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned(),
        Shape::Json => format!("{}.JSON", within.rsplit_once('.').unwrap().0),
        Shape::SchemaOrBool(of) => definitions(of, "JSONSchemaPropsOrBool"),
        Shape::SchemaOrArray(of) => definitions(of, "JSONSchemaPropsOrArray"),
        Shape::SchemaOrStrings(of) => definitions(of, "JSONSchemaPropsOrStringArray"),
        Shape::Struct(of) => schema().get(*of).openapi_name.clone(),
        Shape::List(_) if list_message => message_of(go_types[0], within),
        Shape::List(of) => {
            format!("[]{}", word(of, list_message, go_types.get(1..).unwrap_or_default(), within))
        }
        Shape::Map(of) => {
            format!("map[]{}", word(of, list_message, go_types.get(1..).unwrap_or_default(), within))
        }
    }
}

/// The message of a list that has a name, such as `v1.ExtraValue`.
fn message_of(go_type: &str, within: &str) -> String {
    format!("{}.{}", within.rsplit_once('.').unwrap().0, go_type.rsplit('.').next().unwrap())
}

fn line(message: &Message) -> String {
    let fields: Vec<String> =
        message.iter().map(|(number, (json, kind))| format!("{number} {json} {kind}")).collect();
    fields.join(", ")
}

#[test]
fn the_facts_are_as_they_were_read() {
    let (_, rest) = FACTS.split_once("sha256 ").unwrap();
    let (sum, facts) = rest.split_once('\n').unwrap();
    let is: String = Sha256::digest(facts).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(is, sum, "written by hand? `cargo xtask facts` writes it");
}

#[test]
fn every_message_is_as_upstreams_sources_have_it() {
    let facts = facts();
    assert!(facts.len() > 650, "only {} messages", facts.len());
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (name, theirs) in &facts {
        let own = name.rsplit('.').next().unwrap();
        let package = name.rsplit_once('.').unwrap().0;
        if let Some((_, fixed)) = OPAQUE.iter().find(|(opaque, _)| opaque == name) {
            assert_eq!(line(theirs), *fixed, "{name}");
            continue;
        }
        if let Some((_, fixed)) =
            SCHEMA_UNIONS.iter().find(|(union, _)| *union == own && package.contains(".apiextensions."))
        {
            assert_eq!(line(theirs), fixed.replace("{p}", package), "{name}");
            continue;
        }
        let Some(of) = schema().by_openapi_name(name) else {
            if !UNUSED.iter().any(|(of, names)| *of == package && names.contains(&own)) {
                wrong.push(format!("{name} is missing"));
            }
            continue;
        };
        compared += 1;
        let mine = ours(of);
        let numbers: std::collections::BTreeSet<u32> = theirs.keys().chain(mine.keys()).copied().collect();
        for number in numbers {
            let (theirs, mine) = (theirs.get(&number), mine.get(&number));
            if theirs != mine {
                wrong.push(format!("{name} {number}: upstream {theirs:?}, here {mine:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn nothing_has_a_number_that_upstream_does_not_give() {
    let facts = facts();
    for (_, of) in schema().types() {
        if !of.parts.is_empty() {
            assert!(facts.contains_key(&of.openapi_name), "{} is no message upstream", of.openapi_name);
        }
    }
}

#[test]
fn every_served_kind_can_travel() {
    let numbered =
        schema().types().filter(|(_, of)| of.is_kind && of.fields.iter().any(|field| field.number > 0));
    let kinds = numbered.count();
    assert!(kinds > 100, "only {kinds} kinds");
}
