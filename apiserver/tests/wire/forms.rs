//! One full-featured object of each kind, in all the forms the server reads and writes: none of them loses anything.

use api_types::{
    object::ObjectExt as _,
    schema::{TypeRef, schema},
    wire::{self, protobuf},
};
use serde_json::{Value, json};

use crate::{
    objects::{bare, carried, full, lost, same},
    server::{JSON, PROTOBUF, World, from_protobuf, path},
    typed,
};

/// Nulls are fields that Go writes though they were never set; `k8s_openapi` leaves them out.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let set = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(set.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

fn without_kind(value: &Value) -> Value {
    let mut value = value.clone();
    value.as_object_mut().unwrap().retain(|name, _| name != "kind" && name != "apiVersion");
    value
}

/// The frames of a watch as events.
fn events(mut stream: &[u8]) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<4>() {
        let (frame, rest) = rest.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap());
        let (kind, object) = protobuf::open_watch_event(frame).unwrap();
        events.push((kind, from_protobuf(object)));
        stream = rest;
    }
    events
}

/// Stores the object of each kind that is stored, with its status, and calls back with what is there then.
fn with_each(world: &World, mut then: impl FnMut(&str, &str, Value)) {
    for (key, served) in world.creatable() {
        if !served.resource.verbs().contains(&"get") {
            continue;
        }
        let (path, it) = (path(&served), full(&key));
        let made = world.send("POST", &path, JSON, JSON, it.object.to_string().as_bytes());
        assert_eq!(made.code, 201, "{key}: {}", made.text());
        let mut made = made.json();
        assert_eq!(lost(&it.object, &made), Vec::<String>::new(), "{key}");
        let here = format!("{path}/{}", made.name());
        if let Some(status) = it.status {
            made["status"] = status.clone();
            let put = world.send("PUT", &format!("{here}/status"), JSON, JSON, made.to_string().as_bytes());
            assert_eq!(put.code, 200, "{key}: {}", put.text());
            assert_eq!(lost(&status, &put.json()["status"]), Vec::<String>::new(), "{key}");
        }
        let got = world.get(&here, JSON);
        assert_eq!(got.code, 200, "{key}: {}", got.text());
        then(&key, &path, got.json());
    }
}

#[test]
fn every_kind_keeps_everything_in_every_form() {
    let world = World::new();
    let mut kinds = 0;
    with_each(&world, |key, path, object| {
        kinds += 1;
        let here = format!("{path}/{}", object.name());
        // The typed structs.
        let typed = typed::round_trip(&object).unwrap_or_else(|| panic!("no struct for {key}"));
        same(&without_nulls(&object), &without_nulls(&typed), &format!("{key} typed"));
        // Protobuf and YAML.
        same(&world.get(&here, PROTOBUF).protobuf(), &carried(&object), &format!("{key} as protobuf"));
        let yaml = world.get(&here, "application/yaml");
        same(&wire::yaml::to_value(&yaml.body).unwrap().value, &object, &format!("{key} as YAML"));

        // Lists.
        let selected = format!("{path}?fieldSelector=metadata.name%3D{}", object.name());
        for query in [path.to_owned(), selected.clone(), format!("{path}?limit=500")] {
            let (json, list) = (world.get(&query, JSON).json(), world.get(&query, PROTOBUF).protobuf());
            let items = json["items"].as_array().unwrap();
            assert!(items.contains(&without_kind(&object)), "{key} is not in {query}");
            let mut expected = json.clone();
            expected["items"] = items.iter().map(carried).collect();
            same(&list, &expected, &format!("{key} listed by {query}"));
        }
        // Watches.
        let watched = world.get(&format!("{selected}&watch=1&timeoutSeconds=1&allowWatchBookmarks=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan"), PROTOBUF);
        assert_eq!(watched.content_type, "application/vnd.kubernetes.protobuf;stream=watch", "{key}");
        let events = events(&watched.body);
        assert_eq!(events[0].0, "ADDED", "{key}");
        same(&events[0].1, &carried(&object), &format!("{key} watched"));
        assert_eq!(events[1].0, "BOOKMARK", "{key}");
        assert_eq!(events[1].1["kind"], object["kind"], "{key}");

        // Metadata alone.
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        let partial = world.get(&here, partial).protobuf();
        assert_eq!(partial["metadata"], object["metadata"], "{key} as metadata");
        let partials = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        let partials = world.get(&selected, partials).protobuf();
        assert_eq!(partials["items"][0]["metadata"], object["metadata"], "{key} as a list of metadata");
    });
    assert!(kinds >= 59, "only {kinds} kinds");
}

#[test]
fn every_kind_can_be_written_in_protobuf() {
    // The same objects in two servers, one told in JSON and one in protobuf.
    let (said, sent) = (World::new(), World::new());
    let mut lines = Vec::new();
    with_each(&said, |key, path, object| {
        let of = type_of(&object);
        let full = full(key);
        let made = sent.send("POST", path, PROTOBUF, PROTOBUF, &protobuf::encode(&full.object, of));
        assert_eq!(made.code, 201, "{key}: {}", made.text());
        let mut made = made.protobuf();
        let here = format!("{path}/{}", made.name());
        if let Some(status) = full.status {
            made["status"] = status;
            let put =
                sent.send("PUT", &format!("{here}/status"), PROTOBUF, JSON, &protobuf::encode(&made, of));
            assert_eq!(put.code, 200, "{key}: {}", put.text());
        }
        let got = sent.get(&here, JSON).json();
        same(&bare(&got), &bare(&object), key);

        // Put back as it came it is no change.
        let same = sent.send("PUT", &here, PROTOBUF, JSON, &protobuf::encode(&got, of));
        assert_eq!(same.code, 200, "{key}: {}", same.text());
        assert_eq!(
            same.json()["metadata"]["resourceVersion"],
            got["metadata"]["resourceVersion"],
            "{key} put back"
        );

        // Options of a delete; finalizers keep most objects.
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": "x"}});
        let wrong =
            sent.send("DELETE", &here, PROTOBUF, PROTOBUF, &protobuf::encode(&options, type_of(&options)));
        assert_eq!((wrong.code, wrong.protobuf()["reason"].as_str()), (409, Some("Conflict")), "{key}");
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]});
        let gone =
            sent.send("DELETE", &here, PROTOBUF, PROTOBUF, &protobuf::encode(&options, type_of(&options)));
        assert!((200..203).contains(&gone.code), "{key}: {}", gone.text());
        lines.push(format!("{key} {}", gone.protobuf()["kind"]));
    });
    assert!(lines.len() >= 59, "only {lines:?}");
}

#[test]
fn reviews_are_answered_in_protobuf() {
    let world = World::new();
    let mut reviews = 0;
    for (key, served) in world.creatable() {
        if served.resource.verbs() != ["create"] {
            continue;
        }
        reviews += 1;
        let object = full(&key).object;
        let of = served.resource.schema().unwrap();
        let path = path(&served);
        let said = world.send("POST", &path, JSON, JSON, object.to_string().as_bytes());
        let sent = world.send("POST", &path, PROTOBUF, PROTOBUF, &protobuf::encode(&object, of));
        assert_eq!((said.code, sent.code), (201, 201), "{key}: {} {}", said.text(), sent.text());
        assert_eq!(sent.protobuf(), said.json(), "{key}");
        let typed = typed::round_trip(&said.json()).unwrap_or_else(|| panic!("no struct for {key}"));
        assert_eq!(without_nulls(&said.json()), without_nulls(&typed), "{key} typed");
    }
    assert_eq!(reviews, 6);
}

fn type_of(object: &Value) -> TypeRef {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    schema().type_of(group, version, object["kind"].as_str().unwrap()).unwrap()
}
