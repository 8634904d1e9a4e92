use proptest::prelude::*;
use serde_json::json;

use super::{diff::three_way, *};

fn deployment() -> TypeRef {
    schema().type_of("apps", "v1", "Deployment").unwrap()
}

/// A pod's spec, merged inside a deployment.
fn spec(original: Value, patch: Value) -> Value {
    let wrap = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    match merge(wrap(original), wrap(patch), deployment()) {
        Ok(merged) => merged["spec"]["template"]["spec"].clone(),
        Err(failure) => Value::String(failure.to_string()),
    }
}

fn containers(names: &str) -> Value {
    json!({"containers": names.chars().map(|name| json!({"name": name.to_string()})).collect::<Vec<_>>()})
}

fn names(spec: &Value) -> String {
    match spec["containers"].as_array() {
        Some(items) => items.iter().map(|item| item["name"].as_str().unwrap()).collect(),
        None => spec.to_string(),
    }
}

#[test]
fn marked_lists_merge_by_key_and_others_are_replaced() {
    for (original, patch, merged) in [
        (
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}),
            json!({"containers": [{"name": "a", "image": "2", "tty": true}]}),
            json!({"containers": [{"name": "a", "image": "2", "tty": true}, {"name": "b"}]}),
        ),
        (
            json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}], "command": ["x"]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}], "command": ["y"]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}],
                "command": ["y"]}]}),
        ),
        (
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        ),
        (
            json!({"hostname": "a", "nodeName": "b"}),
            json!({"hostname": null, "x": null}),
            json!({"nodeName": "b"}),
        ),
        (
            json!({"nodeSelector": {"a": "1", "b": "2"}}),
            json!({"nodeSelector": {"a": null, "c": "3"}}),
            json!({"nodeSelector": {"b": "2", "c": "3"}}),
        ),
        (
            json!({}),
            json!({"securityContext": {"a": null, "b": {"c": null}}}),
            json!({"securityContext": {"b": {}}}),
        ),
        // Ports are told apart by their number alone, whatever apply says.
        (
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}]}]}),
        ),
    ] {
        assert_eq!(spec(original.clone(), patch.clone()), merged, "{original} {patch}");
    }
}

#[test]
fn directives_delete_and_replace() {
    let two = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]});
    for (original, patch, merged) in [
        (
            two.clone(),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b", "image": "1"}]}),
        ),
        (
            two.clone(),
            json!({"containers": [{"name": "c"}, {"$patch": "replace"}]}),
            json!({"containers": [{"name": "c"}]}),
        ),
        (
            two,
            json!({"containers": [{"name": "a", "$patch": "replace", "tty": true}, {"name": "c"}]}),
            json!({"containers": [{"name": "c"}]}),
        ),
        (
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "replace", "b": "2"}}),
            json!({"nodeSelector": {"b": "2"}}),
        ),
        (
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "delete"}}),
            json!({"nodeSelector": {}}),
        ),
        // Where there is nothing, directives have nothing to do.
        (
            json!({}),
            json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "b"}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (json!({}), json!({"nodeSelector": {"$patch": "delete"}}), json!({})),
        (
            json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}),
            json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
        ),
    ] {
        assert_eq!(spec(original.clone(), patch.clone()), merged, "{original} {patch}");
    }
}

#[test]
fn sets_of_values_grow_and_shrink() {
    let meta = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    for (patch, merged) in [
        (json!({"finalizers": ["c", "a"]}), json!(["c", "a", "b"])),
        (json!({"$deleteFromPrimitiveList/finalizers": ["a", "x"]}), json!(["b"])),
        (
            json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"]}),
            json!(["c", "b"]),
        ),
        (json!({"$setElementOrder/finalizers": ["b", "a"]}), json!(["b", "a"])),
        (json!({"finalizers": null}), json!(null)),
    ] {
        let merged_object =
            merge(meta(json!(["a", "b"])), json!({"metadata": patch.clone()}), deployment()).unwrap();
        assert_eq!(
            merged_object.pointer("/metadata/finalizers").cloned().unwrap_or_default(),
            merged,
            "{patch}"
        );
    }
}

#[test]
fn the_stated_order_counts_before_the_patchs_and_that_before_the_live_one() {
    let order = |names: &str| names.chars().map(|name| json!({"name": name.to_string()})).collect::<Vec<_>>();
    for (live, patch, stated, merged) in [
        ("abc", "d", "", "dabc"),
        ("abc", "cda", "", "bcda"),
        ("abc", "d", "dcba", "dcba"),
        ("abc", "", "cb", "acb"),
        ("axbyc", "", "cba", "xycba"),
        ("", "ba", "ba", "ba"),
        ("ab", "", "x", "ab"),
    ] {
        let mut patched = if patch.is_empty() { json!({}) } else { containers(patch) };
        if !stated.is_empty() {
            patched["$setElementOrder/containers"] = order(stated).into();
        }
        assert_eq!(names(&spec(containers(live), patched)), merged, "{live} {patch} {stated}");
    }
}

#[test]
fn what_cannot_be_carried_out_is_told_in_upstreams_words() {
    let two = containers("ab");
    for (original, patch, code, told) in [
        (&two, json!({"$patch": "frob"}), 500, "unknown patch type: frob in map: map[$patch:frob]"),
        (
            &two,
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            &two,
            json!({"containers": [{"name": "a", "$patch": 1}]}),
            500,
            "unknown patch type: 1 in map: map[$patch:1 name:a]",
        ),
        (
            &two,
            json!({"containers": [{"image": "x"}]}),
            500,
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            &two,
            json!({"containers": ["x"]}),
            500,
            "list element types are not identical: [[map[name:a] map[name:b]] [x]]",
        ),
        (
            &two,
            json!({"containers": [["x"]]}),
            500,
            "list element types are not identical: [[map[name:a] map[name:b]] [[x]]]",
        ),
        (&json!({"containers": []}), json!({"containers": [["x"]]}), 422, "lists of lists are not supported"),
        (
            &two,
            json!({"$setElementOrder/containers": 1}),
            500,
            "expected a []interface {}, but received a int64",
        ),
        (&two, json!({"$setElementOrder": []}), 400, "invalid patch format of setElementOrder list"),
        (
            &two,
            json!({"$setElementOrderX/containers": []}),
            400,
            "invalid patch format of setElementOrder list",
        ),
        (&two, json!({"$deleteFromPrimitiveList": ["x"]}), 400, "invalid patch format of primitive list"),
        (&two, json!({"$retainKeys": "x"}), 400, "invalid patch format of retainKeys"),
        (&two, json!({"$retainKeys": ["x"], "hostname": "h"}), 400, "invalid patch format of retainKeys"),
        (
            &two,
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "z"}]}),
            500,
            "The order in patch list:\n[map[name:z]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
        (
            &json!({"nosuch": {}}),
            json!({"nosuch": {}}),
            500,
            "unable to find api field in struct PodSpec for the json field \"nosuch\"",
        ),
        (
            &json!({"nodeSelector": {"a": {}}}),
            json!({"nodeSelector": {"a": {}}}),
            500,
            "merging an object in json but data type is not struct, instead is: map",
        ),
        (
            &json!({"securityContext": []}),
            json!({"securityContext": []}),
            500,
            "expected slice or array type, but got: struct",
        ),
    ] {
        let wrap = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
        let failure = merge(wrap(original.clone()), wrap(patch.clone()), deployment()).unwrap_err();
        assert_eq!(failure.to_string(), told, "{patch}");
        assert_eq!(Status::from(failure).code, code, "{patch}");
    }
}

#[test]
fn a_body_is_an_object() {
    assert_eq!(decode(b"{\"a\":1}").unwrap().0, json!({"a": 1}));
    assert_eq!(decode(b"null").unwrap().0, json!({}));
    for (body, told) in [
        ("[1]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ("{", "unexpected end of JSON input"),
    ] {
        let status = decode(body.as_bytes()).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (400, told));
    }
}

/// Objects whose lists are of every sort: by key and nested, retaining keys, sets, replaced whole.
fn object() -> impl Strategy<Value = Value> {
    let name = "[a-d]";
    let map = || prop::collection::btree_map("[a-c]", "[12]", 0..3);
    let by_key = |key: &'static str| {
        move |items: std::collections::BTreeMap<String, Value>| -> Vec<Value> {
            items
                .into_iter()
                .map(|(name, mut item)| {
                    item[key] = name.into();
                    item
                })
                .collect()
        }
    };
    let env = prop::collection::btree_map(name, "[12]".prop_map(|value| json!({"value": value})), 0..3)
        .prop_map(by_key("name"))
        .prop_shuffle();
    let container = (prop::option::of("[12]"), prop::option::of(env)).prop_map(|(image, env)| {
        let mut item = json!({});
        if let Some(image) = image {
            item["image"] = image.into();
        }
        if let Some(env) = env {
            item["env"] = env.into();
        }
        item
    });
    let containers =
        prop::collection::btree_map(name, container, 0..4).prop_map(by_key("name")).prop_shuffle();
    let volume = prop_oneof![
        Just(json!({"emptyDir": {}})),
        "[12]".prop_map(|path| json!({"hostPath": {"path": path}})),
    ];
    let volumes = prop::collection::btree_map(name, volume, 0..3).prop_map(by_key("name")).prop_shuffle();
    let finalizers = prop::collection::btree_set("[a-d]", 0..4).prop_map(Vec::from_iter).prop_shuffle();
    let tolerations = prop::collection::vec("[ab]".prop_map(|key| json!({"key": key})), 0..3);
    (map(), finalizers, containers, volumes, prop::option::of(tolerations)).prop_map(
        |(labels, finalizers, containers, volumes, tolerations)| {
            let mut spec = json!({"containers": containers, "volumes": volumes});
            if let Some(tolerations) = tolerations {
                spec["tolerations"] = tolerations.into();
            }
            json!({"metadata": {"labels": labels, "finalizers": finalizers}, "spec": {"template": {"spec": spec}}})
        },
    )
}

/// Whether everything wanted is there; what else there is does not matter.
fn has(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| has(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| found.iter().any(|found| has(found, wanted)))
        }
        (found, wanted) => found == wanted,
    }
}

proptest! {
    #[test]
    fn a_patch_made_of_two_objects_turns_one_into_the_other(live in object(), wanted in object()) {
        let patch = three_way(&live, &wanted, &live, deployment());
        prop_assert_eq!(merge(live, patch.clone(), deployment()), Ok(wanted), "{}", patch);
    }

    #[test]
    fn a_patch_made_of_three_objects_brings_what_is_wanted_and_leaves_what_others_made(
        last in object(), wanted in object(), live in object(),
    ) {
        let patch = three_way(&last, &wanted, &live, deployment());
        let merged = merge(live.clone(), patch.clone(), deployment()).unwrap();
        prop_assert!(has(&merged, &wanted), "{} {}", merged, patch);
        let labels = |object: &Value| object["metadata"]["labels"].as_object().unwrap().clone();
        for (key, value) in labels(&live) {
            let given_up = labels(&last).contains_key(&key);
            let expected = labels(&wanted).get(&key).cloned().or((!given_up).then_some(value));
            prop_assert_eq!(labels(&merged).get(&key).cloned(), expected);
        }
    }

    #[test]
    fn no_patch_is_too_odd_to_be_refused(original in object(), patch in crate::patch::tests::any_json()) {
        let _ = merge(original.clone(), patch.clone(), deployment());
        let _ = merge(original.clone(), json!({"spec": patch}), deployment());
        let _ = merge(original, json!({"spec": {"template": {"spec": {
            "containers": patch, "volumes": patch, "$setElementOrder/containers": patch}}}}), deployment());
    }
}
