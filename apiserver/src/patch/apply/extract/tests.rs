use api_types::schema::schema;
use serde_json::json;

use super::*;
use crate::patch::apply::shape::{Types, builtin};

fn pod(value: Value) -> Value {
    fields_of(&value, builtin::shape(schema().type_of("", "v1", "Pod").unwrap())).into_value()
}

#[test]
fn structs_are_owned_by_field_maps_and_items_themselves_and_atomic_parts_whole() {
    for (value, fields) in [
        (json!({}), json!({})),
        (json!({"spec": {"nodeName": "n"}}), json!({"f:spec": {"f:nodeName": {}}})),
        (json!({"metadata": {"labels": {"a": "b"}}}), json!({"f:metadata": {"f:labels": {"f:a": {}}}})),
        (json!({"metadata": {"labels": {}}}), json!({"f:metadata": {"f:labels": {}}})),
        (json!({"metadata": {"labels": null}}), json!({"f:metadata": {"f:labels": {}}})),
        (json!({"metadata": {"finalizers": []}}), json!({})),
        (
            json!({"metadata": {"finalizers": ["b", "a"]}}),
            json!({"f:metadata": {"f:finalizers": {"v:\"a\"": {}, "v:\"b\"": {}}}}),
        ),
        (
            json!({"spec": {"nodeSelector": {"a": "b"}, "tolerations": []}}),
            json!({"f:spec": {"f:nodeSelector": {}, "f:tolerations": {}}}),
        ),
        (
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}}),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:ports": {
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}),
        ),
        (
            json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "1"}}}]}}),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:resources": {
                "f:limits": {"f:cpu": {}}}}}}}),
        ),
        // Twice there, owned without its fields.
        (
            json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "a", "image": "2"}]}}),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {}}}}),
        ),
    ] {
        assert_eq!(pod(value.clone()), fields, "{value}");
    }
}

#[test]
fn without_a_type_maps_are_owned_at_every_level_and_lists_whole() {
    let fields = fields_of(&json!({"a": {"b": [1, {"c": 2}], "d": {}}}), Types::deduced());
    assert_eq!(fields.into_value(), json!({"f:a": {".": {}, "f:b": {}, "f:d": {}}}));
}
