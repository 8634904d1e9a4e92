//! What schemas decide, by example; and what must hold for any schema and any value.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn schema(properties: Value) -> Structural {
    Structural::parse(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}),
    )
}

fn faults(schema: &Structural, object: &Value, change: Change<'_>) -> Vec<String> {
    let found = schema.validate(object, change, Vec::new(), Vec::new);
    found.iter().map(ToString::to_string).collect()
}

/// The faults of a property `a` with this schema and this value.
fn check(of: Value, value: Value) -> Vec<String> {
    faults(&schema(json!({"a": of})), &json!({"spec": {"a": value}}), Change::Create)
}

#[test]
fn types_and_limits_are_told_in_upstreams_words() {
    let string = json!({"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-z]+$", "enum": ["ab", "xyz"]});
    let integer = json!({"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 2});
    let list = json!({"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}});
    let map = json!({"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": {"type": "integer"}});
    for (of, value, expected) in [
        (string.clone(), json!("ab"), vec![]),
        (
            string.clone(),
            json!("a"),
            vec![
                r#"spec.a: Invalid value: "a": spec.a in body should be at least 2 chars long"#,
                r#"spec.a: Unsupported value: "a": supported values: "ab", "xyz""#,
            ],
        ),
        (
            string,
            json!("äöüß"),
            vec![
                "spec.a: Too long: may not be more than 3 bytes",
                r#"spec.a: Unsupported value: "äöüß": supported values: "ab", "xyz""#,
            ],
        ),
        (
            json!({"type": "string"}),
            json!(5),
            vec![r#"spec.a: Invalid value: "integer": spec.a in body must be of type string: "integer""#],
        ),
        (
            json!({"type": "string"}),
            json!(null),
            vec![r#"spec.a: Invalid value: "null": spec.a in body must be of type string: "null""#],
        ),
        (json!({"type": "string", "nullable": true}), json!(null), vec![]),
        (
            json!({"type": "string", "nullable": true, "enum": ["a"]}),
            json!(null),
            vec![r#"spec.a: Unsupported value: null: supported values: "a""#],
        ),
        (integer.clone(), json!(2), vec![]),
        (integer.clone(), json!(2.0), vec![]),
        (
            integer.clone(),
            json!(0),
            vec!["spec.a: Invalid value: 0: spec.a in body should be greater than or equal to 1"],
        ),
        (
            integer,
            json!(1.5),
            vec![
                r#"spec.a: Invalid value: "number": spec.a in body must be of type integer: "number""#,
                r#"<nil>: Invalid value: "": Checked value must be of type integer (default format) in spec.a"#,
                "spec.a: Invalid value: 1.5: spec.a in body should be a multiple of 2",
            ],
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(3_000_000_000_i64),
            vec![
                r#"<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.a"#,
            ],
        ),
        (
            json!({"type": "integer", "maximum": 5, "exclusiveMaximum": true}),
            json!(5),
            vec!["spec.a: Invalid value: 5: spec.a in body should be less than 5"],
        ),
        (
            json!({"type": "number", "minimum": 0.5}),
            json!(0.25),
            vec!["spec.a: Invalid value: 0.25: spec.a in body should be greater than or equal to 0.5"],
        ),
        (
            list.clone(),
            json!([]),
            vec!["spec.a: Invalid value: 0: spec.a in body should have at least 1 items"],
        ),
        (
            list,
            json!(["a", 1, "c"]),
            vec![
                r#"spec.a[1]: Invalid value: "integer": spec.a[1] in body must be of type string: "integer""#,
                "spec.a: Too many: 3: must have at most 2 items",
            ],
        ),
        (
            map.clone(),
            json!({"x": "y"}),
            vec![r#"spec.a.x: Invalid value: "string": spec.a.x in body must be of type integer: "string""#],
        ),
        (map, json!({"x": 1, "y": 2}), vec!["spec.a: Too many: 2: must have at most 1 item"]),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            vec![
                r#"spec.a: Invalid value: "boolean": spec.a in body must be of type integer,string: "boolean""#,
            ],
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("x"),
            vec![r#"spec.a: Invalid value: "x": spec.a in body must be of type date-time: "x""#],
        ),
        (json!({"type": "object", "required": ["b"]}), json!({}), vec!["spec.a.b: Required value"]),
    ] {
        assert_eq!(check(of.clone(), value.clone()), expected, "{of} {value}");
    }
}

#[test]
fn alternatives_tell_of_the_one_that_fits_best() {
    for (of, value, expected) in [
        (
            json!({"type": "string", "anyOf": [{"minLength": 3}, {"pattern": "^x"}]}),
            json!("a"),
            vec![
                r#"<nil>: Invalid value: "": "spec.a" must validate at least one schema (anyOf)"#,
                r#"spec.a: Invalid value: "a": spec.a in body should be at least 3 chars long"#,
            ],
        ),
        (
            json!({"type": "string", "oneOf": [{"minLength": 1}, {"maxLength": 5}]}),
            json!("a"),
            vec![
                r#"<nil>: Invalid value: "": "spec.a" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            ],
        ),
        (
            json!({"type": "object", "oneOf": [{"required": ["x"]}, {"required": ["y"]}]}),
            json!({}),
            vec![
                r#"<nil>: Invalid value: "": "spec.a" must validate one and only one schema (oneOf). Found none valid"#,
                "spec.a.x: Required value",
            ],
        ),
        (
            json!({"type": "string", "allOf": [{"minLength": 3}, {"pattern": "^x"}]}),
            json!("a"),
            vec![
                r#"spec.a: Invalid value: "a": spec.a in body should be at least 3 chars long"#,
                r#"spec.a: Invalid value: "a": spec.a in body should match '^x'"#,
                r#"<nil>: Invalid value: "": "spec.a" must validate all the schemas (allOf). None validated"#,
            ],
        ),
        (
            json!({"type": "string", "not": {"pattern": "^x"}}),
            json!("x"),
            vec![r#"<nil>: Invalid value: "": "spec.a" must not validate the schema (not)"#],
        ),
    ] {
        assert_eq!(check(of.clone(), value.clone()), expected, "{of} {value}");
    }
}

#[test]
fn lists_that_are_sets_or_maps_hold_each_item_once() {
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
    assert_eq!(check(set.clone(), json!(["a", "b", "a", "a"])), [r#"spec.a[2]: Duplicate value: "a""#]);
    let map = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
        "items": {"type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "integer"}}}});
    assert_eq!(
        check(map, json!([{"n": "a"}, {"n": "a", "v": 1}])),
        [r#"spec.a[1]: Duplicate value: {"n":"a"}"#]
    );
    let of = schema(json!({"a": set}));
    let old = json!({"spec": {"a": ["x", "x"]}});
    let new = json!({"spec": {"a": ["x", "x", "y", "y"]}});
    assert!(faults(&of, &new, Change::Update(&old)).is_empty(), "what was repeated already may stay so");
}

#[test]
fn what_was_wrong_and_did_not_change_is_let_through() {
    let of = schema(json!({
        "a": {"type": "string", "maxLength": 1},
        "b": {"type": "string"},
        "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            "items": {"type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}},
        "t": {"type": "array", "items": {"type": "integer", "maximum": 1}},
    }));
    let old =
        json!({"spec": {"a": "long", "b": "x", "l": [{"n": "p", "v": 5}, {"n": "q", "v": 5}], "t": [5]}});
    let mut new = old.clone();
    new["spec"]["b"] = json!("y");
    assert!(faults(&of, &new, Change::Update(&old)).is_empty());
    new["spec"]["a"] = json!("longer");
    new["spec"]["l"] = json!([{"n": "q", "v": 5}, {"n": "p", "v": 6}]);
    new["spec"]["t"] = json!([5, 1]);
    assert_eq!(
        faults(&of, &new, Change::Update(&old)),
        [
            "spec.a: Too long: may not be more than 1 byte",
            "spec.l[1].v: Invalid value: 6: spec.l[1].v in body should be less than or equal to 1",
            "spec.t[0]: Invalid value: 5: spec.t[0] in body should be less than or equal to 1",
        ]
    );
}

#[test]
fn a_status_is_judged_by_itself() {
    let of = Structural::parse(&json!({"type": "object", "properties": {
        "spec": {"type": "string"},
        "status": {"type": "object", "properties": {"r": {"type": "integer"}}}}}));
    let object = json!({"spec": 1, "status": {"r": "x"}});
    assert_eq!(
        faults(&of, &object, Change::Status(&json!({}))),
        [r#"status.r: Invalid value: "string": r in body must be of type integer: "string""#]
    );
}

#[test]
fn unknown_fields_are_dropped_and_told() {
    let of = Structural::parse(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "string"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"known": {"type": "object", "properties": {"x": {"type": "string"}}}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "string"}}}},
            "emb": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        }}}}),
    );
    let mut object = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n", "nosuch": 1}, "other": 1,
        "spec": {"a": "b", "zzz": {"deep": 1}, "free": {"any": 1, "known": {"x": "", "y": ""}},
            "list": [{"x": "", "y": ""}], "map": {"k": {"x": "", "y": ""}},
            "emb": {"apiVersion": "v1", "kind": "P", "metadata": {"name": "n", "nosuch": 1}, "more": 1}}});
    let unknown = of.coerce(&mut object, Malformed::Refused, true).unwrap();
    assert_eq!(
        unknown,
        [
            "metadata.nosuch",
            "other",
            "spec.free.known.y",
            "spec.list[0].y",
            "spec.map.k.y",
            "spec.zzz",
            "spec.emb.metadata.nosuch",
        ]
    );
    assert_eq!(
        object,
        json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"},
            "spec": {"a": "b", "free": {"any": 1, "known": {"x": ""}}, "list": [{"x": ""}], "map": {"k": {"x": ""}},
                "emb": {"apiVersion": "v1", "kind": "P", "metadata": {"name": "n"}, "more": 1}}})
    );
}

#[test]
fn malformed_metadata_is_refused_of_requests_and_dropped_of_what_is_stored() {
    let of = schema(json!({}));
    let object = json!({"metadata": {"name": "n", "labels": {"a": 1}}});
    let refused = of.coerce(&mut object.clone(), Malformed::Refused, true);
    assert!(refused.unwrap_err().contains("cannot unmarshal number into Go struct field ObjectMeta.labels"));
    let mut stored = object;
    assert!(of.coerce(&mut stored, Malformed::Dropped, true).unwrap().is_empty());
    assert_eq!(stored, json!({"metadata": {"name": "n"}}));
}

#[test]
fn defaults_stand_in_for_what_is_absent_and_for_nulls_that_are_no_values() {
    let of = schema(json!({
        "a": {"type": "string", "default": "A"},
        "n": {"type": "string", "nullable": true, "default": "N"},
        "o": {"type": "object", "default": {}, "properties": {"x": {"type": "integer", "default": 1}}},
        "none": {"type": "string"},
        "l": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer", "default": 2}}}},
    }));
    let mut object = json!({"spec": {"a": null, "n": null, "none": null, "l": [{}]}});
    of.drop_nulls(&mut object);
    of.default(&mut object);
    assert_eq!(object, json!({"spec": {"a": "A", "n": null, "o": {"x": 1}, "l": [{"x": 2}]}}));
}

#[test]
fn objects_in_objects_need_a_kind_and_good_metadata() {
    let of = schema(json!({"emb": {"type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true}}));
    for (value, expected) in [
        (json!({}), vec!["spec.emb.apiVersion: Required value", "spec.emb.kind: Required value"]),
        (
            json!({"apiVersion": "a/b/c", "kind": "_", "metadata": {"name": "a/b"}}),
            vec![
                r#"spec.emb.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#,
                r#"spec.emb.kind: Invalid value: "_": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"#,
                r#"spec.emb.metadata.name: Invalid value: "a/b": may not contain '/'"#,
            ],
        ),
        (json!({"apiVersion": "v1", "kind": "Pod"}), vec![]),
    ] {
        assert_eq!(faults(&of, &json!({"spec": {"emb": value}}), Change::Create), expected);
    }
}

#[test]
fn defaults_of_a_definition_fit_its_schema() {
    let path = api_types::field::Path::new("s");
    for (property, expected) in [
        (json!({"type": "string", "default": "a"}), vec![]),
        (
            json!({"type": "string", "default": 5}),
            vec![
                r#"s.properties[p].default: Invalid value: "integer":  in body must be of type string: "integer""#,
            ],
        ),
        (
            json!({"type": "object", "default": {"x": 1}}),
            vec![r#"s.properties[p].default: Invalid value: {"x":1}: must not have unknown fields"#],
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"metadata": {"type": "object", "default": {"name": "a/b"}}}}),
            vec![
                r#"s.properties[p].properties[metadata].default: Invalid value: {"name":"a/b"}: must result in valid metadata: metadata.name: Invalid value: "a/b": may not contain '/'"#,
            ],
        ),
    ] {
        let schema = json!({"type": "object", "properties": {"p": property}});
        let found = default_faults(&schema, true, &path);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_schema_takes_less_room_than_its_definition() {
    let text = "What this is for, and what it does, at some length. ".repeat(4);
    let property = json!({"type": "string", "description": text, "format": "date-time"});
    let properties: serde_json::Map<String, Value> =
        (0..500).map(|at| (format!("property{at}"), property.clone())).collect();
    let written = json!({"type": "object", "properties": properties});
    let size = Structural::parse(&written).size();
    assert!(size < 100 * 1024, "{size}");
    assert!(size < written.to_string().len(), "{size}");
}

/// A schema as definitions may write them, and odder.
fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string", "minLength": 1, "pattern": "^a+$", "default": "aa"})),
        Just(json!({"type": "string", "format": "date-time", "nullable": true})),
        Just(json!({"type": "integer", "format": "int32", "minimum": -3, "multipleOf": 2, "default": 2})),
        Just(json!({"type": "number", "maximum": 1.5, "exclusiveMaximum": true, "multipleOf": 0})),
        Just(json!({"type": "boolean", "enum": [true, null, 1, "x"]})),
        Just(json!({"x-kubernetes-int-or-string": true})),
        Just(json!({"x-kubernetes-preserve-unknown-fields": true})),
        Just(json!({"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true})),
        Just(json!({"pattern": "(", "format": "nosuch", "type": "nosuch"})),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            (prop::collection::btree_map("[abc]|metadata|kind", inner.clone(), 0..4), any::<bool>()).prop_map(
                |(properties, preserve)| json!({"type": "object", "properties": properties, "required": ["a"],
                    "x-kubernetes-preserve-unknown-fields": preserve, "default": {"a": "aa", "zzz": null}})
            ),
            inner.clone().prop_map(|it| json!({"type": "object", "additionalProperties": it, "maxProperties": 2})),
            inner.clone().prop_map(|it| json!({"type": "array", "items": it, "uniqueItems": true, "minItems": 1})),
            inner.clone().prop_map(|it| json!({"type": "array", "items": it, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["a", "b"]})),
            inner.clone().prop_map(|it| json!({"type": "array", "items": it, "x-kubernetes-list-type": "set"})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|list| json!({"anyOf": list, "oneOf": list})),
            prop::collection::vec(inner, 1..3).prop_map(|list| json!({"allOf": list, "not": list[0]})),
        ]
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-10_i64..10).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "a{0,3}".prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abcd]|metadata|kind|apiVersion", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_schema_and_value_meet_nothing_panics_and_twice_is_once(
        written in any_schema(),
        value in any_value(),
        old in any_value(),
    ) {
        let schema = Structural::parse(&json!({"type": "object", "properties": {"spec": written}}));
        let mut object = json!({"spec": value});
        let old = json!({"spec": old});
        let _ = default_faults(&written, true, &api_types::field::Path::root());
        let _ = faults(&schema, &object, Change::Create);
        let _ = faults(&schema, &object, Change::Update(&old));
        let unchanged = schema.validate(&object, Change::Update(&object), Vec::new(), Vec::new);
        prop_assert!(unchanged.len() <= schema.validate(&object, Change::Create, Vec::new(), Vec::new).len());
        if schema.coerce(&mut object, Malformed::Dropped, true).is_ok() {
            let once = object.clone();
            prop_assert!(schema.coerce(&mut object, Malformed::Dropped, true).unwrap().is_empty());
            prop_assert_eq!(&object, &once, "coercing");
        }
        schema.default(&mut object);
        let once = object.clone();
        schema.default(&mut object);
        prop_assert_eq!(&object, &once, "defaulting");
    }
}

fn rules_of(of: Value, value: Value, old: Option<Value>) -> Vec<String> {
    let schema = schema(json!({"a": of}));
    let object = json!({"spec": {"a": value}});
    match old {
        None => faults(&schema, &object, Change::Create),
        Some(old) => faults(&schema, &object, Change::Update(&json!({"spec": {"a": old}}))),
    }
}

#[test]
fn rules_refuse_in_their_own_words() {
    let with = |rule: Value| json!({"type": "integer", "x-kubernetes-validations": [rule]});
    for (rule, expected) in [
        (json!({"rule": "self > 0"}), vec![]),
        (json!({"rule": "self > 5"}), vec!["spec.a: Invalid value: 3: failed rule: self > 5"]),
        (json!({"rule": "self > 5", "message": "too small"}), vec!["spec.a: Invalid value: 3: too small"]),
        (
            json!({"rule": "self > 5", "messageExpression": "'not ' + string(self)"}),
            vec!["spec.a: Invalid value: 3: not 3"],
        ),
        (
            json!({"rule": "self > 5", "messageExpression": "''", "message": "m"}),
            vec!["spec.a: Invalid value: 3: m"],
        ),
        (
            json!({"rule": "self > 5", "reason": "FieldValueForbidden"}),
            vec!["spec.a: Forbidden: failed rule: self > 5"],
        ),
        (
            json!({"rule": "1 / (self - 3) > 0"}),
            vec!["spec.a: Invalid value: \"integer\": division by zero evaluating rule: 1 / (self - 3) > 0"],
        ),
    ] {
        assert_eq!(rules_of(with(rule.clone()), json!(3), None), expected, "{rule}");
    }
    let object = json!({"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.x < self.y", "fieldPath": ".x"}]});
    assert_eq!(
        rules_of(object.clone(), json!({"x": 2, "y": 1}), None),
        ["spec.a.x: Invalid value: failed rule: self.x < self.y"]
    );
    assert_eq!(
        rules_of(object, json!({"x": "2", "y": 1}), None),
        [
            r#"spec.a.x: Invalid value: "string": spec.a.x in body must be of type integer: "string""#,
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ]
    );
}

#[test]
fn rules_of_change_see_what_was_and_what_did_not_change_is_let_through() {
    let fixed = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]});
    assert!(rules_of(fixed.clone(), json!(3), None).is_empty(), "there is nothing to compare with");
    assert_eq!(
        rules_of(fixed, json!(3), Some(json!(4))),
        ["spec.a: Invalid value: 3: failed rule: self == oldSelf"]
    );
    let optional = json!({"type": "integer", "x-kubernetes-validations": [
        {"rule": "oldSelf.hasValue() || self > 5", "optionalOldSelf": true}]});
    assert_eq!(rules_of(optional.clone(), json!(3), None).len(), 1);
    assert!(rules_of(optional, json!(3), Some(json!(4))).is_empty());
    let plain = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 5"}]});
    assert!(rules_of(plain.clone(), json!(3), Some(json!(3))).is_empty(), "it was so before");
    assert_eq!(rules_of(plain, json!(3), Some(json!(4))).len(), 1);
    let list = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
        "items": {"type": "object", "required": ["n"],
            "properties": {"n": {"type": "string"}, "v": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v", "message": "shrinks"}]}});
    let new = json!([{"n": "b", "v": 1}, {"n": "a", "v": 1}, {"n": "c", "v": 0}]);
    let old = json!([{"n": "a", "v": 2}, {"n": "b", "v": 1}]);
    assert_eq!(rules_of(list, new, Some(old)), ["spec.a[1]: Invalid value: shrinks"]);
}

#[test]
fn rules_have_a_budget() {
    let rules: Vec<Value> = (0..30)
        .map(|at| json!({"rule": format!("self.all(x, self.all(y, x + y != {at}))"), "message": "m"}))
        .collect();
    let list = json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": rules});
    let items: Vec<i64> = (1000..1500).collect();
    let found = rules_of(list, json!(items), None);
    assert!(
        found.last().is_some_and(|last| last.contains("no further validation rules will be run")),
        "{found:?}"
    );
}

#[test]
fn rules_of_a_definition_compile_and_are_not_too_expensive() {
    let path = api_types::field::Path::new("s");
    let check = |property: Value| -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"p": property}});
        rule_faults(&schema, &path).iter().map(ToString::to_string).collect()
    };
    let with = |rule: Value| json!({"type": "string", "maxLength": 10, "x-kubernetes-validations": [rule]});
    assert!(check(with(json!({"rule": "self.startsWith('a')"}))).is_empty());
    let found = check(with(json!({"rule": "self.nosuch"})));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with(
            r#"s.properties[p].x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.nosuch","#
        ) && found[0].contains(
            "compilation failed: ERROR: <input>:1:5: type 'string' does not support field selection"
        ),
        "{found:?}"
    );
    assert!(check(with(json!({"rule": "self"})))[0].ends_with("cel expression must evaluate to a bool"));
    assert!(
        check(with(json!({"rule": "true", "messageExpression": "1"})))[0]
            .ends_with("messageExpression must evaluate to a string")
    );
    assert_eq!(
        check(with(json!({"rule": "true", "optionalOldSelf": true}))),
        [
            "s.properties[p].x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
        ]
    );
    let list = json!({"type": "array", "items": with(json!({"rule": "self == oldSelf"})), "maxItems": 3});
    assert_eq!(
        check(list),
        [
            r#"s.properties[p].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[p]"#
        ]
    );
    let expensive = json!({"type": "array", "items": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]});
    let found = check(expensive);
    assert!(
        found[0].starts_with("s.properties[p].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x"),
        "{found:?}"
    );
    assert!(
        found.last().unwrap().starts_with("s: Forbidden: x-kubernetes-validations estimated rule cost total")
    );
}
