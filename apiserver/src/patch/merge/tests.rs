use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn the_examples_of_the_standard_hold() {
    for (original, patch, merged) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a"]), json!(["c"]), json!(["c"])),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        // Nulls of lists stay, those of maps in them do not; but all do in what replaces a map.
        (json!({}), json!({"a": [null, {"b": null}]}), json!({"a": [null, {}]})),
        (json!({"a": {}}), json!({"a": [null, {"b": null}]}), json!({"a": [null, {"b": null}]})),
    ] {
        assert_eq!(merge(original.clone(), patch.clone()), merged, "{original} {patch}");
    }
}

#[test]
fn what_is_no_patch_is_refused_in_upstreams_words() {
    for (body, validated, told) in [
        (
            "[1]",
            true,
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        ("{", true, "error decoding patch: unexpected end of JSON input"),
        ("null", true, "Invalid JSON Patch"),
        ("{", false, "Invalid JSON Patch"),
        ("1", false, "Invalid JSON Patch"),
    ] {
        let status = decode(body.as_bytes(), validated).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (400, told), "{body}");
    }
    assert_eq!(decode(b"[null]", false).unwrap().0, json!([null]));
    assert_eq!(decode(b"{\"a\":1,\"a\":2}", true).unwrap().1, [r#"duplicate field "a""#]);
}

fn has_list(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::Object(fields) => fields.values().any(has_list),
        _ => false,
    }
}

proptest! {
    #[test]
    fn merging_twice_is_merging_once(original in crate::patch::tests::any_json(), patch in crate::patch::tests::any_json()) {
        let (original, patch) = (json!({"a": original}), json!({"a": patch}));
        let once = merge(original, patch.clone());
        // A list that replaces a map keeps its nulls, and loses them when it replaces a list: upstream has it so.
        if !has_list(&patch) {
            prop_assert_eq!(merge(once.clone(), patch), once);
        }
    }
}
