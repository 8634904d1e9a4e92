//! What an upstream 1.36 server stored in etcd, against the objects it served for that: each decodes to its object, and the
//! object encodes to the stored bytes, to the last one.

use api_types::{
    kind::GroupVersion,
    schema::schema,
    wire::{json, protobuf, typed},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// What upstream does not store, but fills in whenever it reads an object.
const DEFAULTED: &[(&str, &str, &str)] =
    &[("/registry/jobs/", "metadata", "labels"), ("/registry/persistentvolumeclaims/", "status", "phase")];

#[test]
fn every_stored_value_reads_as_what_was_served_and_writes_back_the_same() {
    let samples: Vec<Value> = serde_json::from_str(include_str!("stored.json")).unwrap();
    assert!(samples.len() > 30);
    for sample in samples {
        let key = sample["key"].as_str().unwrap();
        let bytes = STANDARD.decode(sample["value"].as_str().unwrap()).unwrap();
        let envelope = protobuf::open(&bytes).unwrap();
        let version = GroupVersion::parse(&envelope.api_version).unwrap();
        let of = schema().type_of(&version.group, &version.version, &envelope.kind).unwrap();
        let decoded = protobuf::decode(&bytes, of).unwrap_or_else(|error| panic!("{key}: {error}"));

        let mut served = sample["object"].clone();
        served["kind"] = decoded["kind"].clone();
        served["apiVersion"] = decoded["apiVersion"].clone();
        for (_, part, field) in DEFAULTED.iter().filter(|(prefix, ..)| key.starts_with(prefix)) {
            served[part].as_object_mut().unwrap().remove(*field);
        }
        assert_eq!(decoded, served, "{key} decoded");
        assert_eq!(protobuf::encode(&served, of), bytes, "{key} encoded");

        // The same by way of JSON.
        let read =
            typed::decode(&json::encode(&decoded, of), of).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!((read.value, read.strict), (served, Vec::<String>::new()), "{key} as JSON");
    }
}
