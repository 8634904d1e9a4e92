use proptest::prelude::*;
use serde_json::json;

use super::*;

fn run(document: &Value, operations: Value) -> Option<Value> {
    let (patch, _) = Patch::decode(operations.to_string().as_bytes(), true).unwrap();
    patch.apply(document.clone()).ok()
}

#[test]
fn operations_change_the_document_or_reject_the_patch() {
    let document = json!({"a": {"b": 1, "c~/d": 2}, "l": [1, 2, 3], "n": null});
    for (operation, pointer, value) in [
        (json!({"op": "add", "path": "/a/x", "value": 9}), "/a/x", json!(9)),
        (json!({"op": "add", "path": "/a", "value": 9}), "/a", json!(9)),
        (json!({"op": "add", "path": "/l/1", "value": 9}), "/l", json!([1, 9, 2, 3])),
        (json!({"op": "add", "path": "/l/3", "value": 9}), "/l", json!([1, 2, 3, 9])),
        (json!({"op": "add", "path": "/l/-", "value": 9}), "/l", json!([1, 2, 3, 9])),
        (json!({"op": "add", "path": "/l/-1", "value": 9}), "/l", json!([1, 2, 3, 9])),
        (json!({"op": "add", "path": "/l/-4", "value": 9}), "/l", json!([9, 1, 2, 3])),
        (json!({"op": "add", "path": "/a/x"}), "/a/x", json!(null)),
        (json!({"op": "remove", "path": "/a/c~0~1d"}), "/a", json!({"b": 1})),
        (json!({"op": "remove", "path": "/l/-1"}), "/l", json!([1, 2])),
        (json!({"op": "replace", "path": "/a/b", "value": 9}), "/a/b", json!(9)),
        (json!({"op": "replace", "path": "/a/x", "value": 9}), "/a/x", json!(9)),
        (json!({"op": "replace", "path": "/l/0", "value": 9}), "/l", json!([9, 2, 3])),
        (json!({"op": "replace", "path": "", "value": {"z": 1}}), "/z", json!(1)),
        (json!({"op": "move", "from": "/a/b", "path": "/l/0"}), "/l", json!([1, 1, 2, 3])),
        (json!({"op": "move", "from": "/l/0", "path": "/l/2"}), "/l", json!([2, 3, 1])),
        (json!({"op": "copy", "from": "/l", "path": "/a/l"}), "/a/l", json!([1, 2, 3])),
        (json!({"op": "copy", "from": "/x", "path": "/a/x"}), "/a/x", json!(null)),
        (json!({"op": "test", "path": "/l", "value": [1, 2, 3]}), "/l/0", json!(1)),
        (json!({"op": "test", "path": "/n", "value": null}), "/l/0", json!(1)),
        (json!({"op": "test", "path": "/x", "value": null}), "/l/0", json!(1)),
        (json!({"op": "remove", "path": "ignored/n"}), "/n", json!(null)),
    ] {
        let result = run(&document, json!([operation])).unwrap_or_else(|| panic!("rejected: {operation}"));
        assert_eq!(result.pointer(pointer).cloned().unwrap_or_default(), value, "{operation}");
    }
    for operation in [
        json!({"op": "add", "path": "/x/y", "value": 9}),
        json!({"op": "add", "path": "", "value": 9}),
        json!({"op": "add", "path": "/l/4", "value": 9}),
        json!({"op": "add", "path": "/l/-5", "value": 9}),
        json!({"op": "add", "path": "/l/x", "value": 9}),
        json!({"op": "add", "value": 9}),
        json!({"op": "remove", "path": "/x"}),
        json!({"op": "remove", "path": "/l/3"}),
        json!({"op": "remove", "path": "/l/-"}),
        json!({"op": "replace", "path": "/l/3", "value": 9}),
        json!({"op": "replace", "path": "", "value": 9}),
        json!({"op": "move", "from": "/x", "path": "/y"}),
        json!({"op": "move", "path": "/y"}),
        json!({"op": "copy", "from": "/l/7", "path": "/y"}),
        json!({"op": "test", "path": "/a/b", "value": 2}),
        json!({"op": "test", "path": "/a/b"}),
        json!({"op": "test", "path": "/a/b/c", "value": 1}),
        json!({"op": "frob", "path": "/a"}),
        json!({"path": "/a"}),
        json!(null),
    ] {
        assert_eq!(run(&document, json!([operation])), None, "{operation}");
    }
}

#[test]
fn a_rejection_says_nothing_of_why() {
    let (patch, _) = Patch::decode(br#"[{"op":"remove","path":"/x"}]"#, true).unwrap();
    let status = patch.apply(json!({})).unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert_eq!(status.message, "the server rejected our request due to an error in our request");
}

#[test]
fn what_is_no_patch_is_refused_in_upstreams_words() {
    for (body, validated, told) in [
        (
            "{}",
            true,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        ("{}", false, "json: cannot unmarshal object into Go value of type jsonpatch.Patch"),
        (
            "[1]",
            true,
            "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
        ),
        ("[1]", false, "json: cannot unmarshal number into Go value of type jsonpatch.Operation"),
        (
            r#"[{"op":1}]"#,
            true,
            "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
        ),
        ("[", true, "error decoding patch: unexpected end of JSON input"),
        ("[", false, "unexpected end of JSON input"),
    ] {
        let status = Patch::decode(body.as_bytes(), validated).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (400, told), "{body}");
    }
}

#[test]
fn unknown_and_duplicate_fields_of_operations_are_objected_to() {
    let body = br#"[{"op":"add","op":"test","path":"/a","value":{"x":1}},{"op":"add","bogus":1}]"#;
    let (_, objections) = Patch::decode(body, true).unwrap();
    assert_eq!(
        objections,
        [r#"json patch duplicate field "[0].op""#, r#"json patch unknown field "[1].bogus""#]
    );
}

#[test]
fn ten_thousand_operations_are_enough() {
    let body = |count: usize| format!("[{}]", vec![r#"{"op":"test","path":"/a"}"#; count].join(","));
    assert!(Patch::decode(body(OPERATIONS_MAX).as_bytes(), false).is_ok());
    let status = Patch::decode(body(OPERATIONS_MAX + 1).as_bytes(), false).unwrap_err();
    assert_eq!(status.code, 413);
    assert_eq!(
        status.message,
        "Request entity is too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
}

#[test]
fn copies_and_depth_end_before_the_memory_does() {
    let doubled = json!({"op": "copy", "from": "/a", "path": "/a/-"});
    let text = json!({"a": ["x".repeat(1000)]});
    assert!(run(&text, Value::Array(vec![doubled.clone(); 11])).is_some());
    assert_eq!(run(&text, Value::Array(vec![doubled; 12])), None);

    let nested = json!({"op": "copy", "from": "/a", "path": "/a/a"});
    // Each copy is one level deeper than the one before.
    assert!(run(&json!({"a": {}}), Value::Array(vec![nested.clone(); 250])).is_some());
    assert_eq!(run(&json!({"a": {}}), Value::Array(vec![nested; 260])), None);
    // Each addition is at the bottom of the one before.
    let add = |depth: usize| json!({"op": "add", "path": "/a".repeat(depth), "value": {}});
    assert!(run(&json!({}), (1..250).map(add).collect()).is_some());
    assert_eq!(run(&json!({}), (1..260).map(add).collect()), None);
}

fn operation() -> impl Strategy<Value = Value> {
    let pointer = || "(/([a-d]|-?[0-3]|-)){0,3}";
    let name = prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test"]);
    (name, pointer(), pointer(), crate::patch::tests::any_json())
        .prop_map(|(name, path, from, value)| json!({"op": name, "path": path, "from": from, "value": value}))
}

proptest! {
    #[test]
    fn no_patch_is_too_odd_to_be_rejected(
        document in crate::patch::tests::any_json(), operations in prop::collection::vec(operation(), 0..5),
        other in crate::patch::tests::any_json(),
    ) {
        let _ = run(&document, Value::Array(operations));
        if let Ok((patch, _)) = Patch::decode(other.to_string().as_bytes(), false) {
            let _ = patch.apply(document);
        }
    }

    #[test]
    fn what_is_added_is_there_and_can_be_taken_away(document in crate::patch::tests::any_json(), value in crate::patch::tests::any_json()) {
        let document = json!({"a": document});
        let added = run(&document, json!([
            {"op": "add", "path": "/new", "value": value}, {"op": "test", "path": "/new", "value": value},
            {"op": "remove", "path": "/new"},
        ]));
        prop_assert_eq!(added, Some(document));
    }
}
