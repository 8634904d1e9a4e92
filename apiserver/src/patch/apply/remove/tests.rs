use api_types::schema::schema;
use serde_json::json;

use super::*;
use crate::patch::apply::shape::builtin;

fn pod(value: Value, fields: Value) -> Value {
    let pod = builtin::shape(schema().type_of("", "v1", "Pod").unwrap());
    remove(&value, &Set::from_value(&fields).unwrap(), pod)
}

#[test]
fn fields_go_and_what_was_around_them_stays() {
    for (value, fields, rest) in [
        (
            json!({"spec": {"nodeName": "n", "hostname": "h"}}),
            json!({"f:spec": {"f:nodeName": {}}}),
            json!({"spec": {"hostname": "h"}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "b"}}}),
            json!({"f:metadata": {"f:labels": {"f:a": {}}}}),
            json!({"metadata": {"labels": {}}}),
        ),
        (
            json!({"metadata": {"name": "x", "labels": {"a": "b"}}}),
            json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}),
            json!({"metadata": {"name": "x"}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"f:metadata": {"f:finalizers": {"v:\"a\"": {}}}}),
            json!({"metadata": {"finalizers": ["b"]}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a"]}}),
            json!({"f:metadata": {"f:finalizers": {"v:\"a\"": {}}}}),
            json!({"metadata": {"finalizers": []}}),
        ),
        (
            json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}}),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}, "k:{\"name\":\"b\"}": {}}}}),
            json!({"spec": {"containers": [{"name": "a"}]}}),
        ),
        // One piece cannot lose a part.
        (
            json!({"spec": {"nodeSelector": {"a": "b"}}}),
            json!({"f:spec": {"f:nodeSelector": {"f:a": {}}}}),
            json!({"spec": {"nodeSelector": {}}}),
        ),
        (json!({"spec": {"nodeName": "n"}}), json!({"f:x": {}}), json!({"spec": {"nodeName": "n"}})),
    ] {
        assert_eq!(pod(value.clone(), fields.clone()), rest, "{value} {fields}");
    }
}
