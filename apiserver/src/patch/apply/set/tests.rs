use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::patch::apply::shape::builtin;
use api_types::schema::schema;

fn set(fields: Value) -> Set {
    Set::from_value(&fields).unwrap()
}

#[test]
fn a_dot_says_that_a_path_with_more_below_is_in_the_set_itself() {
    let read = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {"f:d": {}}, "f:e": {}}));
    let has = |names: &[&str]| read.has(&names.iter().map(|name| Element::field(name)).collect::<Vec<_>>());
    assert!(has(&["a"]) && has(&["a", "b"]) && has(&["c", "d"]) && has(&["e"]));
    assert!(!has(&["c"]) && !has(&["e", "x"]) && !has(&["x"]) && !has(&[]));
}

#[test]
fn steps_nobody_knows_yet_are_skipped_and_broken_ones_refused() {
    assert_eq!(set(json!({"q:new": {"f:x": {}}, "f:a": {}})), set(json!({"f:a": {}})));
    assert_eq!(set(json!({"f:a": {"q:new": {}}})), set(json!({"f:a": {}})));
    assert_eq!(set(json!({"f:a": null})), set(json!({"f:a": {}})));
    for broken in [json!({"a": {}}), json!({"k:{": {}}), json!({"f:a": 1}), json!([]), json!("x")] {
        assert!(Set::from_value(&broken).is_err(), "{broken}");
    }
}

#[test]
fn a_client_may_write_keys_as_it_likes() {
    let odd = set(json!({"f:l": {"k:{\"protocol\": \"TCP\", \"port\": 80.0}": {}}}));
    assert_eq!(odd.into_value(), json!({"f:l": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {}}}));
}

#[test]
fn sets_combine_path_by_path() {
    let one = set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}));
    let other = set(json!({"f:a": {"f:b": {}}, "f:d": {"f:e": {}}}));
    assert_eq!(
        one.clone().union(other.clone()).into_value(),
        json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {".": {}, "f:e": {}}})
    );
    assert_eq!(one.intersection(&other).into_value(), json!({"f:a": {"f:b": {}}}));
    assert_eq!(one.clone().difference(&other).into_value(), json!({"f:a": {".": {}, "f:c": {}}, "f:d": {}}));
    assert_eq!(other.difference(&one).into_value(), json!({"f:d": {"f:e": {}}}));
}

#[test]
fn a_deep_subtraction_takes_what_is_below_too() {
    let all = set(json!({"f:spec": {".": {}, "f:a": {}}, "f:status": {"f:b": {}}, "f:s": {}}));
    let mut rest = all;
    rest.subtract_deep(&Set::of_fields(&[&["status"], &["spec", "a"]]));
    assert_eq!(rest.into_value(), json!({"f:s": {}, "f:spec": {}}));
}

#[test]
fn only_keeps_what_is_at_or_below_a_pattern() {
    let all = set(json!({
        "f:metadata": {"f:labels": {}},
        "f:spec": {
            "f:containers": {"k:{\"name\":\"a\"}": {
                ".": {}, "f:image": {}, "f:resources": {"f:limits": {"f:cpu": {}}}, "f:resizePolicy": {},
            }},
            "f:x": {},
        },
    }));
    let kept =
        all.only(&[&["spec", "containers", "*", "resources"], &["spec", "containers", "*", "resizePolicy"]]);
    let expected = json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
        ".": {}, "f:resources": {"f:limits": {"f:cpu": {}}}, "f:resizePolicy": {},
    }}}});
    assert_eq!(kept.into_value(), expected);
}

#[test]
fn paths_come_in_upstreams_order() {
    let all = set(json!({"f:b": {"f:x": {}}, "f:c": {}, "f:a": {"k:{\"p\":443}": {}, "k:{\"p\":80}": {}}}));
    let text: Vec<String> =
        all.paths().iter().map(|path| path.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(text, [".c", ".a[p=80]", ".a[p=443]", ".b.x"]);
}

#[test]
fn who_had_parts_of_what_is_one_piece_now_has_the_whole() {
    let pod = builtin::shape(schema().type_of("", "v1", "Pod").unwrap());
    let mut old = set(json!({"f:spec": {
        "f:nodeSelector": {".": {}, "f:a": {}},
        "f:tolerations": {"k:{\"key\":\"a\"}": {}},
        "f:containers": {"k:{\"name\":\"a\"}": {"f:command": {"i:0": {}}}},
        "f:gone": {"f:x": {}},
    }}));
    let expected = json!({"f:spec": {
        "f:nodeSelector": {},
        "f:tolerations": {},
        "f:containers": {"k:{\"name\":\"a\"}": {"f:command": {}}},
        "f:gone": {"f:x": {}},
    }});
    old.reconcile(pod);
    assert_eq!(old.into_value(), expected);
}

#[test]
fn declared_fields_on_the_way_can_be_put_in() {
    let pod = builtin::shape(schema().type_of("", "v1", "Pod").unwrap());
    let leaves = set(json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:containers": {
        "k:{\"name\":\"a\"}": {"f:resources": {"f:limits": {"f:cpu": {}}}},
    }}}));
    let expected = json!({"f:metadata": {".": {}, "f:labels": {".": {}, "f:a": {}}}, "f:spec": {".": {}, "f:containers": {
        ".": {},
        "k:{\"name\":\"a\"}": {"f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}}}},
    }}});
    assert_eq!(leaves.with_named_fields(Some(pod)).into_value(), expected);
}

#[test]
fn stored_fields_are_touched_at_or_below_a_path() {
    let stored = json!({"f:a": {"f:b": {}}, "f:c": {}});
    for (fields, touched) in [
        (json!({"f:a": {}}), true),
        (json!({"f:a": {"f:b": {}}}), true),
        (json!({"f:a": {"f:x": {}}}), false),
        (json!({"f:c": {"f:x": {}}}), false),
        (json!({"f:d": {}}), false),
    ] {
        assert_eq!(set(fields.clone()).touches(&stored), touched, "{fields}");
    }
}

pub(in crate::patch::apply) fn any_set() -> impl Strategy<Value = Set> {
    let element = prop_oneof![
        "[a-c]".prop_map(|name| Element::field(&name)),
        (0_i32..3).prop_map(|value| Element::value(&json!(value))),
        "[a-b]".prop_map(|name| Element::keys([("name", &json!(name))])),
        (0_i32..2).prop_map(|port| Element::keys([("port", &json!(port)), ("protocol", &json!("TCP"))])),
    ];
    let path = prop::collection::vec(element, 1..4);
    prop::collection::vec(path, 0..10).prop_map(|paths| {
        let mut set = Set::default();
        paths.iter().for_each(|path| set.insert(path));
        set
    })
}

proptest! {
    #[test]
    fn reading_and_writing_give_the_same(set in any_set()) {
        let written = set.clone().into_value();
        prop_assert_eq!(Set::from_value(&written), Ok(set.clone()));
        prop_assert_eq!(Set::from_stored(written), set);
    }

    #[test]
    fn sets_obey_the_laws_of_sets(one in any_set(), other in any_set()) {
        let both = one.intersection(&other);
        prop_assert_eq!(one.clone().union(other.clone()), other.clone().union(one.clone()));
        prop_assert_eq!(&both, &other.intersection(&one));
        prop_assert_eq!(&one.clone().difference(&other).union(both.clone()), &one);
        prop_assert!(one.clone().difference(&other).intersection(&other).is_empty());
        prop_assert_eq!(one.clone().union(other.clone()).difference(&other), one.clone().difference(&other));
        let paths = one.paths();
        prop_assert!(paths.iter().all(|path| one.has(path)));
        prop_assert_eq!(both.paths().len(), paths.iter().filter(|path| other.has(path)).count());
        let mut again = Set::default();
        paths.iter().rev().for_each(|path| again.insert(path));
        prop_assert_eq!(&again, &one);
    }

    #[test]
    fn no_fields_are_too_odd_to_be_read(fields in crate::patch::tests::any_json()) {
        let _ = Set::from_value(&fields);
    }
}
