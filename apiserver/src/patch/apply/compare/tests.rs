use api_types::schema::schema;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::patch::apply::shape::{Types, builtin};

/// Added, modified and removed, `null` for nothing.
fn changes(old: Value, new: Value) -> [Value; 3] {
    let pod = builtin::shape(schema().type_of("", "v1", "Pod").unwrap());
    let changes = compare(&old, &new, pod, &[]).unwrap();
    [changes.added, changes.modified, changes.removed]
        .map(|set| if set.is_empty() { Value::Null } else { set.into_value() })
}

#[test]
fn every_difference_is_an_addition_a_modification_or_a_removal() {
    let containers = |containers: Value| json!({"spec": {"containers": containers}});
    let in_container = |fields: Value| json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": fields}}});
    for (old, new, expected) in [
        (json!({}), json!({}), [json!(null), json!(null), json!(null)]),
        (
            json!({"spec": {"nodeName": "a"}}),
            json!({"spec": {"nodeName": "b", "hostname": "h"}}),
            [json!({"f:spec": {"f:hostname": {}}}), json!({"f:spec": {"f:nodeName": {}}}), json!(null)],
        ),
        // What is new as a whole is new in all its parts.
        (
            json!({}),
            json!({"metadata": {"labels": {"a": "b"}}}),
            [json!({"f:metadata": {".": {}, "f:labels": {".": {}, "f:a": {}}}}), json!(null), json!(null)],
        ),
        (
            containers(json!(null)),
            containers(json!([{"name": "a", "resources": {}}])),
            [in_container(json!({".": {}, "f:name": {}, "f:resources": {}})), json!(null), json!(null)],
        ),
        (
            containers(json!([{"name": "b"}, {"name": "a", "image": "1"}])),
            containers(json!([{"name": "a", "image": "2"}, {"name": "b"}])),
            [json!(null), in_container(json!({"f:image": {}})), json!(null)],
        ),
        (
            containers(json!([{"name": "a", "image": "1"}])),
            containers(json!([])),
            [json!(null), json!(null), in_container(json!({".": {}, "f:name": {}, "f:image": {}}))],
        ),
        (
            json!({"spec": {"nodeSelector": {"a": "b"}}}),
            json!({"spec": {"nodeSelector": {"a": "c"}}}),
            [json!(null), json!({"f:spec": {"f:nodeSelector": {}}}), json!(null)],
        ),
        // From nothing to empty is a change, as is from null to empty.
        (
            json!({"metadata": {"labels": null}}),
            json!({"metadata": {"labels": {}}}),
            [json!(null), json!({"f:metadata": {"f:labels": {}}}), json!(null)],
        ),
        // Items that are there twice are one piece.
        (
            containers(json!([{"name": "a", "image": "1"}])),
            containers(json!([{"name": "a", "image": "1"}, {"name": "a", "image": "2"}])),
            [
                in_container(json!({})),
                json!(null),
                in_container(json!({".": {}, "f:name": {}, "f:image": {}})),
            ],
        ),
        (
            containers(json!([{"name": "a", "image": "1"}, {"name": "a", "image": "2"}])),
            containers(json!([{"name": "a", "image": "3"}, {"name": "a", "image": "2"}])),
            [json!(null), in_container(json!({})), json!(null)],
        ),
    ] {
        assert_eq!(changes(old.clone(), new.clone()), expected, "{old} {new}");
    }
}

#[test]
fn numbers_are_equal_however_they_are_written() {
    let compared = compare(&json!({"a": 1, "b": [2.0]}), &json!({"a": 1.0, "b": [2]}), Types::deduced(), &[]);
    assert_eq!(compared, Ok(Changes::default()));
}

#[test]
fn without_a_type_a_value_may_change_its_kind() {
    let compared = compare(&json!({"a": {"b": 1}}), &json!({"a": [1]}), Types::deduced(), &[]).unwrap();
    assert_eq!(compared.modified.into_value(), json!({"f:a": {}}));
    assert_eq!(compared.removed.into_value(), json!({"f:a": {"f:b": {}}}));
}

#[test]
fn items_without_a_name_and_undeclared_fields_are_refused() {
    let pod = builtin::shape(schema().type_of("", "v1", "Pod").unwrap());
    let problem = |new: Value| compare(&json!({"spec": {}}), &new, pod, &[]).unwrap_err().to_string();
    assert_eq!(
        problem(json!({"spec": {"containers": [1]}})),
        ".spec.containers: element 0: associative list with keys may not have non-map elements"
    );
    assert_eq!(problem(json!({"spec": {"x": 1}})), ".spec.x: schema error: invalid atom: inlined");
}

#[test]
fn skipped_fields_are_not_looked_at() {
    let pod = builtin::shape(schema().type_of("", "v1", "Pod").unwrap());
    let compared = compare(&json!({}), &json!({"status": {"x": 1}}), pod, &["status"]);
    assert_eq!(compared, Ok(Changes::default()));
}

proptest! {
    #[test]
    fn what_is_added_one_way_is_removed_the_other(
        one in crate::patch::tests::any_json(), other in crate::patch::tests::any_json(),
    ) {
        let (one, other) = (json!({"a": one}), json!({"a": other}));
        let there = compare(&one, &other, Types::deduced(), &[]).unwrap();
        let back = compare(&other, &one, Types::deduced(), &[]).unwrap();
        prop_assert_eq!(&there.added, &back.removed);
        prop_assert_eq!(&there.removed, &back.added);
        prop_assert_eq!(&there.modified, &back.modified);
        prop_assert_eq!(there == Changes::default(), same(&one, &other));
    }
}
