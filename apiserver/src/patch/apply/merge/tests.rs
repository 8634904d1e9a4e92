use api_types::schema::schema;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::patch::apply::shape::{Types, builtin};

fn pod(live: Value, applied: Value) -> Value {
    let pod = builtin::shape(schema().type_of("", "v1", "Pod").unwrap());
    merge(&live, &applied, pod).unwrap()
}

fn order(live: &[&str], applied: &[&str]) -> String {
    let list = |names: &[&str]| {
        let items: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"containers": items}})
    };
    let merged = pod(list(live), list(applied));
    let names = merged["spec"]["containers"].as_array().unwrap().iter();
    names.map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn items_come_in_the_applied_order_and_others_keep_their_place() {
    for (live, applied, merged) in [
        (vec!["a", "b", "c"], vec!["a", "b", "c"], "abc"),
        (vec!["a", "b", "c"], vec!["c", "x", "a"], "bcxa"),
        (vec!["b", "c", "x", "a"], vec!["c", "b", "a"], "cxba"),
        (vec!["a", "b", "z"], vec!["b", "a", "n"], "bzan"),
        (vec!["a"], vec!["x", "a", "y"], "xay"),
        (vec!["x", "y"], vec!["a"], "xya"),
        (vec!["a", "b"], vec![], "ab"),
        (vec![], vec!["b", "a"], "ba"),
    ] {
        assert_eq!(order(&live, &applied), merged, "{live:?} {applied:?}");
    }
}

#[test]
fn an_item_that_is_live_twice_is_replaced_by_the_applied_one() {
    let live = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "a", "image": "2"}, {"name": "z"}]}});
    let applied = json!({"spec": {"containers": [{"name": "a"}, {"name": "n"}]}});
    assert_eq!(
        pod(live, applied),
        json!({"spec": {"containers": [{"name": "a"}, {"name": "n"}, {"name": "z"}]}})
    );
}

#[test]
fn what_is_applied_wins_and_the_rest_stays() {
    for (live, applied, merged) in [
        (
            json!({"spec": {"nodeName": "a"}}),
            json!({"spec": {"hostname": "b"}}),
            json!({"spec": {"nodeName": "a", "hostname": "b"}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"a": "2", "b": "3"}}}),
            json!({"metadata": {"labels": {"a": "2", "b": "3"}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {}}}),
            json!({"metadata": {"labels": {"a": "1"}}}),
        ),
        (
            json!({"spec": {"nodeSelector": {"a": "1"}}}),
            json!({"spec": {"nodeSelector": {"b": "2"}}}),
            json!({"spec": {"nodeSelector": {"b": "2"}}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a"]}}),
            json!({"metadata": {"finalizers": ["b", "a"]}}),
            json!({"metadata": {"finalizers": ["b", "a"]}}),
        ),
        (
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}}),
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "web"}]}]}}),
            json!({"spec": {"containers": [{"name": "a", "ports": [
                {"containerPort": 80, "name": "web", "protocol": "TCP"}]}]}}),
        ),
    ] {
        assert_eq!(pod(live.clone(), applied.clone()), merged, "{live} {applied}");
    }
}

#[test]
fn without_a_type_maps_merge_and_lists_are_replaced() {
    let merged =
        merge(&json!({"a": {"b": 1, "c": [1]}}), &json!({"a": {"c": [2], "d": null}}), Types::deduced());
    assert_eq!(merged, Ok(json!({"a": {"b": 1, "c": [2], "d": null}})));
}

proptest! {
    #[test]
    fn a_merge_has_all_of_what_is_applied_and_is_stable(
        live in crate::patch::tests::any_json(), applied in crate::patch::tests::any_json(),
    ) {
        let (live, applied) = (json!({"a": live}), json!({"a": applied}));
        let once = merge(&live, &applied, Types::deduced()).unwrap();
        prop_assert_eq!(merge(&once, &applied, Types::deduced()).unwrap(), once);
    }

    #[test]
    fn every_item_is_there_once(
        live in prop::collection::btree_set("[a-h]", 0..8).prop_map(Vec::from_iter).prop_shuffle(),
        applied in prop::collection::btree_set("[a-h]", 0..8).prop_map(Vec::from_iter).prop_shuffle(),
    ) {
        let live: Vec<&str> = live.iter().map(String::as_str).collect();
        let applied: Vec<&str> = applied.iter().map(String::as_str).collect();
        if live.is_empty() && applied.is_empty() {
            return Ok(());
        }
        let merged = order(&live, &applied);
        let all: BTreeSet<&str> = live.iter().chain(&applied).copied().collect();
        prop_assert_eq!(merged.len(), all.len());
        let of_applied: String = merged.chars().filter(|name| applied.contains(&name.to_string().as_str())).collect();
        prop_assert_eq!(of_applied, applied.concat());
        let of_live_only: String = merged.chars().filter(|name| !applied.contains(&name.to_string().as_str())).collect();
        prop_assert_eq!(of_live_only, live.iter().copied().filter(|name| !applied.contains(name)).collect::<String>());
    }
}
