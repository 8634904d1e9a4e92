use api_types::schema::schema;
use serde_json::json;

use super::*;
use crate::patch::apply::shape::{builtin, custom::CustomType};

fn deployment(value: Value) -> String {
    let shape = builtin::shape(schema().type_of("apps", "v1", "Deployment").unwrap());
    check(&value, shape, false).map_or_else(|problems| problems.to_string(), |()| "fits".to_owned())
}

fn containers(containers: Value) -> String {
    deployment(json!({"spec": {"template": {"spec": {"containers": containers}}}}))
}

#[test]
fn what_does_not_fit_is_told_in_upstreams_words() {
    for (value, told) in [
        (json!({"spec": {"replicas": 1, "selector": null}}), "fits"),
        (json!({"metadata": {"creationTimestamp": "2020", "labels": {"a": "b"}}}), "fits"),
        (json!({"spec": {"nosuch": 1}}), ".spec.nosuch: field not declared in schema"),
        (json!({"spec": {"replicas": "3"}}), ".spec.replicas: expected numeric (int or float), got string"),
        (json!({"spec": {"paused": "yes"}}), ".spec.paused: expected boolean, got &{yes}"),
        (json!({"spec": []}), ".spec: expected map, got &{[]}"),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            json!({"metadata": {"labels": {"a": {"b": [1]}}}}),
            ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:map[string]interface {}{\"b\":\
             []interface {}{1}}}",
        ),
        (json!({"metadata": {"finalizers": "a"}}), ".metadata.finalizers: expected list, got &{a}"),
        (
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": {"a": 1}}}}}),
            ".spec.strategy.rollingUpdate.maxSurge: expected any scalar, got &{map[a:1]}",
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b", "a"]}}),
            r#".metadata.finalizers: duplicate entries for key [="a"]"#,
        ),
        (
            json!({"metadata": {"finalizers": [null]}}),
            ".metadata.finalizers: element 0: associative list without keys has an element that's an explicit null",
        ),
        (
            json!({"spec": {"replicas": "3", "paused": 1}}),
            "errors:\n  .spec.paused: expected boolean, got &{1}\n  .spec.replicas: expected numeric (int or float), \
             got string",
        ),
    ] {
        assert_eq!(deployment(value.clone()), told, "{value}");
    }
}

#[test]
fn items_are_told_apart_by_keys_and_their_defaults() {
    let at = ".spec.template.spec.containers";
    for (value, told) in [
        (json!([{"name": "a"}, {"name": "b"}]), "fits".to_owned()),
        (json!([{"name": "a"}, {"name": "a"}]), format!("{at}: duplicate entries for key [name=\"a\"]")),
        // A name that is left out counts as empty.
        (json!([{"image": "a"}, {"image": "b"}]), format!("{at}: duplicate entries for key [name=\"\"]")),
        (json!([null]), format!("{at}: element 0: associative list with keys may not have a null element")),
        (json!([1]), format!("{at}: element 0: associative list with keys may not have non-map elements")),
        (
            json!([{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]}]),
            format!("{at}[name=\"a\"].ports: duplicate entries for key [containerPort=80,protocol=\"TCP\"]"),
        ),
        (
            json!([{"name": "a", "command": [1]}]),
            format!("{at}[name=\"a\"].command[0]: expected string, got &value.valueUnstructured{{Value:1}}"),
        ),
    ] {
        assert_eq!(containers(value.clone()), told, "{value}");
    }
}

#[test]
fn custom_types_say_themselves_what_fits() {
    let custom = CustomType::new(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
            "port": {"x-kubernetes-int-or-string": true},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"known": {"type": "integer"}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        }}}}),
        false,
    );
    for (spec, told) in [
        (
            json!({"set": ["a"], "map": [{"k": "1"}], "port": 1, "open": {"x": [{}]}, "labels": {"a": "b"}}),
            "fits",
        ),
        (json!({"port": "http"}), "fits"),
        (json!({"set": ["u", "u"]}), r#".spec.set: duplicate entries for key [="u"]"#),
        (json!({"nosuch": 1}), ".spec.nosuch: field not declared in schema"),
        (json!({"open": {"known": "x"}}), ".spec.open.known: expected numeric (int or float), got string"),
        (
            json!({"map": [{}]}),
            ".spec.map: element 0: associative list with keys has an element that omits all key fields [\"k\"] (and \
             doesn't have default values for any key fields)",
        ),
    ] {
        let object = json!({"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "a"}, "spec": spec});
        let found = check(&object, custom.shape(), false);
        let found = found.map_or_else(|problems| problems.to_string(), |()| "fits".to_owned());
        assert_eq!(found, told, "{spec}");
    }
}
