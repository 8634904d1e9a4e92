use super::*;
use proptest::prelude::*;
use serde_json::json;

fn type_of(api_version: &str, kind: &str) -> TypeRef {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    schema().type_of(group, version, kind).unwrap_or_else(|| panic!("no {api_version} {kind}"))
}

fn check(api_version: &str, kind: &str, body: &str) -> Result<(Value, Vec<String>), String> {
    decode(body.as_bytes(), type_of(api_version, kind)).map(|decoded| (decoded.value, decoded.strict))
}

#[test]
fn a_value_that_does_not_fit_is_refused_in_gos_words() {
    let cases = [
        (
            "v1",
            "ConfigMap",
            r#"{"metadata":{"name":1}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
        ),
        (
            "v1",
            "ConfigMap",
            r#"{"data":[]}"#,
            "json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string",
        ),
        (
            "v1",
            "ConfigMap",
            r#"{"data":{"x":5}}"#,
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            "v1",
            "ConfigMap",
            r#"{"immutable":"yes"}"#,
            "json: cannot unmarshal string into Go struct field ConfigMap.immutable of type bool",
        ),
        ("v1", "ConfigMap", r#"{"binaryData":{"a":"*"}}"#, "illegal base64 data at input byte 0"),
        (
            "v1",
            "ConfigMap",
            r#"{"binaryData":{"a":true}}"#,
            "json: cannot unmarshal bool into Go struct field ConfigMap.binaryData of type []uint8",
        ),
        (
            "v1",
            "ConfigMap",
            r#"{"binaryData":{"a":[1,300]}}"#,
            "json: cannot unmarshal number 300 into Go struct field ConfigMap.binaryData of type uint8",
        ),
        ("v1", "ConfigMap", "[]", "json: cannot unmarshal array into Go value of type v1.ConfigMap"),
        (
            "v1",
            "ConfigMap",
            r#"{"metadata":[]}"#,
            "json: cannot unmarshal array into Go struct field ConfigMap.metadata of type v1.ObjectMeta",
        ),
        (
            "apps/v1",
            "Deployment",
            r#"{"spec":{"replicas":"3"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps/v1",
            "Deployment",
            r#"{"spec":{"replicas":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps/v1",
            "Deployment",
            r#"{"spec":{"replicas":2147483648}}"#,
            "json: cannot unmarshal number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "v1",
            "Pod",
            r#"{"spec":{"containers":{"name":"c"}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "v1",
            "Pod",
            r#"{"spec":{"containers":["c"]}}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container",
        ),
        (
            "v1",
            "Pod",
            r#"{"spec":{"restartPolicy":1}}"#,
            "json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
        ),
        (
            "v1",
            "Pod",
            r#"{"spec":{"volumes":[{"hostPath":"x"}]}}"#,
            "json: cannot unmarshal string into Go struct field Volume.spec.volumes.hostPath of type v1.HostPathVolumeSource",
        ),
        (
            "v1",
            "Service",
            r#"{"spec":{"ports":[{"targetPort":true}]}}"#,
            "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32",
        ),
        (
            "v1",
            "Service",
            r#"{"spec":{"ports":[{"targetPort":1.5}]}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field ServicePort.spec.ports.targetPort of type int32",
        ),
        (
            "v1",
            "Pod",
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":true}}}]}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "v1",
            "ResourceQuota",
            r#"{"spec":{"hard":["pods"]}}"#,
            "json: cannot unmarshal array into Go struct field ResourceQuotaSpec.spec.hard of type v1.ResourceList",
        ),
        (
            "coordination.k8s.io/v1",
            "Lease",
            r#"{"spec":{"renewTime":"yesterday"}}"#,
            r#"parsing time "yesterday" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "yesterday" as "2006""#,
        ),
        (
            "v1",
            "Pod",
            r#"{"metadata":{"creationTimestamp":5}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
        ),
        (
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"additionalProperties":3}}}]}}"#,
            "boolean or JSON schema expected",
        ),
        (
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"items":{"type":1}}}}]}}"#,
            "json: cannot unmarshal number into Go struct field JSONSchemaProps.spec.versions.schema.openAPIV3Schema.items of type string",
        ),
    ];
    for (api_version, kind, body, message) in cases {
        assert_eq!(check(api_version, kind, body), Err(message.to_owned()), "{body}");
    }
}

#[test]
fn the_first_misfit_wins_but_one_that_ends_decoding_wins_over_it() {
    let body = r#"{"metadata":{"name":1},"data":[]}"#;
    assert!(check("v1", "ConfigMap", body).unwrap_err().contains("ObjectMeta.metadata.name"));
    let body = r#"{"metadata":{"name":1,"creationTimestamp":"x"},"data":[]}"#;
    assert!(check("v1", "ConfigMap", body).unwrap_err().starts_with("parsing time"));
}

#[test]
fn unknown_and_duplicate_fields_are_reported_in_document_order() {
    let body = r#"{"kind":"Deployment","spec":{"selector":{},"template":{"spec":{"containers":[{"name":"c","imag":"y"}]}},"replicaz":3},"extra":1,"Kind":"x"}"#;
    let (value, strict) = check("apps/v1", "Deployment", body).unwrap();
    assert_eq!(
        strict,
        [
            r#"unknown field "spec.template.spec.containers[0].imag""#,
            r#"unknown field "spec.replicaz""#,
            r#"unknown field "extra""#,
            r#"unknown field "Kind""#,
        ]
    );
    assert_eq!(value["spec"]["template"]["spec"]["containers"], json!([{"name": "c", "resources": {}}]));

    let body =
        r#"{"metadata":{"name":"a"},"data":{"a":"1","a":"2"},"data":{"b":"3","b\"c":"4"},"data":{"b\"c":1}}"#;
    assert!(check("v1", "ConfigMap", body).is_err());
    let body = r#"{"metadata":{"name":"a"},"data":{"a":"1","a":"2"},"data":{"b":"3"}}"#;
    let (value, strict) = check("v1", "ConfigMap", body).unwrap();
    assert_eq!(strict, [r#"duplicate field "data.a""#, r#"duplicate field "data""#]);
    // Go decodes into the map that is there.
    assert_eq!(value, json!({"metadata": {"name": "a"}, "data": {"a": "2", "b": "3"}}));
}

#[test]
fn a_duplicate_struct_is_decoded_into_the_one_that_is_there() {
    let body = r#"{"spec":{"replicas":1,"paused":true},"spec":{"replicas":2,"template":null}}"#;
    let (value, strict) = check("apps/v1", "Deployment", body).unwrap();
    assert_eq!((&value["spec"]["replicas"], &value["spec"]["paused"]), (&json!(2), &json!(true)));
    assert_eq!(strict, [r#"duplicate field "spec""#]);
}

#[test]
fn what_go_always_writes_is_there_and_what_it_omits_is_not() {
    let cases = [
        ("v1", "Pod", "{}", json!({"metadata": {}, "spec": {"containers": null}, "status": {}})),
        ("v1", "ConfigMap", "null", json!({"metadata": {}})),
        (
            "apps/v1",
            "Deployment",
            r#"{"spec":{"replicas":0,"minReadySeconds":0,"paused":false,"revisionHistoryLimit":null}}"#,
            json!({
                "metadata": {},
                "spec": {
                    "replicas": 0, "selector": null, "strategy": {},
                    "template": {"metadata": {}, "spec": {"containers": null}},
                },
                "status": {},
            }),
        ),
        (
            "v1",
            "ConfigMap",
            r#"{"metadata":{"name":"","labels":{},"annotations":null,"finalizers":[],"generation":0,"creationTimestamp":null,"deletionTimestamp":null}}"#,
            json!({"metadata": {}}),
        ),
        ("rbac.authorization.k8s.io/v1", "Role", "{}", json!({"metadata": {}, "rules": null})),
        ("rbac.authorization.k8s.io/v1", "Role", r#"{"rules":[]}"#, json!({"metadata": {}, "rules": []})),
        (
            "v1",
            "Service",
            r#"{"spec":{"ports":[{"port":1}]}}"#,
            json!({"metadata": {}, "spec": {"ports": [{"port": 1, "targetPort": 0}]}, "status": {"loadBalancer": {}}}),
        ),
        (
            "v1",
            "Event",
            r#"{"series":{"count":1}}"#,
            json!({
                "metadata": {}, "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null,
                "eventTime": null, "series": {"count": 1, "lastObservedTime": null}, "reportingComponent": "",
                "reportingInstance": "",
            }),
        ),
        (
            "v1",
            "Secret",
            r#"{"data":{"a":null,"b":"YQ=="},"stringData":{"c":null}}"#,
            json!({"metadata": {}, "data": {"a": null, "b": "YQ=="}, "stringData": {"c": ""}}),
        ),
        (
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            r#"{"spec":{"versions":[{"name":"v1","schema":{"openAPIV3Schema":{"enum":[1,null,"a"],"default":null,"maximum":10,"items":[],"additionalProperties":false,"properties":{"a":{"x":1}}}}}]}}"#,
            json!({
                "metadata": {},
                "spec": {
                    "group": "", "names": {"plural": "", "kind": ""}, "scope": "",
                    "versions": [{
                        "name": "v1", "served": false, "storage": false,
                        "schema": {"openAPIV3Schema": {
                            "enum": [1, null, "a"], "maximum": 10, "items": null, "additionalProperties": false,
                            "properties": {"a": {}},
                        }},
                    }],
                },
                "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null},
            }),
        ),
    ];
    for (api_version, kind, body, expected) in cases {
        let (value, _) = check(api_version, kind, body).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(value, expected, "{body}");
    }
}

#[test]
fn quantities_times_and_bytes_become_canonical() {
    let body = r#"{"metadata":{"creationTimestamp":"2024-01-01T02:00:00.5+02:00"},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":1,"memory":" 1024Mi ","x":"1000m"}}}]}}"#;
    let (value, _) = check("v1", "Pod", body).unwrap();
    assert_eq!(value["metadata"]["creationTimestamp"], "2024-01-01T00:00:00Z");
    assert_eq!(
        value["spec"]["containers"][0]["resources"]["limits"],
        json!({"cpu": "1", "memory": "1Gi", "x": "1"})
    );
    let body = r#"{"data":{"a":"YW\nJj","b":[97]},"type":"x"}"#;
    assert_eq!(check("v1", "Secret", body).unwrap().0["data"], json!({"a": "YWJj", "b": "YQ=="}));
    let body = r#"{"spec":{"renewTime":"2024-01-01T00:00:00.123456+01:00"}}"#;
    let (value, _) = check("coordination.k8s.io/v1", "Lease", body).unwrap();
    assert_eq!(value["spec"]["renewTime"], "2023-12-31T23:00:00.123456Z");
}

#[test]
fn raw_parts_are_kept_as_they_came() {
    let body = r#"{"data":{"b":null,"a":[{}]},"revision":1}"#;
    let (value, strict) = check("apps/v1", "ControllerRevision", body).unwrap();
    assert_eq!(value, json!({"metadata": {}, "data": {"a": [{}], "b": null}, "revision": 1}));
    assert!(strict.is_empty());
}

#[test]
fn skipped_fields_may_be_deep_but_kept_ones_may_not() {
    let deep = format!("{}{}", "[".repeat(9_000), "]".repeat(9_000));
    let (value, strict) = check("v1", "ConfigMap", &format!(r#"{{"nosuch":{deep}}}"#)).unwrap();
    assert_eq!((value, strict.len()), (json!({"metadata": {}}), 1));
    let error = check("apps/v1", "ControllerRevision", &format!(r#"{{"data":{deep}}}"#)).unwrap_err();
    assert_eq!(error, "exceeded max depth");
    let deep = format!("{}1{}", r#"{"not":"#.repeat(5_000), "}".repeat(5_000));
    let body = format!(r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{deep}}}}}]}}}}"#);
    assert_eq!(
        check("apiextensions.k8s.io/v1", "CustomResourceDefinition", &body).unwrap_err(),
        "exceeded max depth"
    );
}

#[test]
fn strict_errors_end_at_a_hundred() {
    let fields: Vec<String> = (0..200).map(|at| format!(r#""x{at}":1"#)).collect();
    let (_, strict) = check("v1", "ConfigMap", &format!("{{{}}}", fields.join(","))).unwrap();
    assert_eq!(strict.len(), 100);
}

#[test]
fn what_is_stored_has_no_empty_lists() {
    let of = type_of("rbac.authorization.k8s.io/v1", "Role");
    let mut value = json!({"metadata": {}, "rules": [{"verbs": [], "apiGroups": [""]}]});
    as_stored(&mut value, of);
    assert_eq!(value, json!({"metadata": {}, "rules": [{"verbs": null, "apiGroups": [""]}]}));
    let mut value = json!({"metadata": {}, "rules": []});
    as_stored(&mut value, of);
    assert_eq!(value, json!({"metadata": {}, "rules": null}));
}

#[test]
fn no_type_has_more_fields_than_can_be_marked() {
    assert!(schema().types().all(|(_, of)| of.fields.len() <= 128));
}

/// A value that fits the shape, now and then with something in it that does not belong there.
fn any_of(shape: &Shape, depth: u32) -> BoxedStrategy<Value> {
    match shape {
        Shape::String => "[a-z<&\"é]{0,6}".prop_map(Value::from).boxed(),
        Shape::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Int32 => any::<i32>().prop_map(Value::from).boxed(),
        Shape::Int64 => any::<i64>().prop_map(Value::from).boxed(),
        Shape::Float64 => any::<i32>().prop_map(|it| Value::from(f64::from(it) / 8.0)).boxed(),
        Shape::Bytes => proptest::collection::vec(any::<u8>(), 0..6)
            .prop_map(|it| Value::from(base64::encode(&it)))
            .boxed(),
        Shape::Time => Just(json!("2024-02-29T12:30:45Z")).boxed(),
        Shape::MicroTime => Just(json!("2024-02-29T12:30:45.000001Z")).boxed(),
        Shape::Quantity => "[1-9]{1,3}(m|k|Mi|)".prop_map(Value::from).boxed(),
        Shape::IntOrString => {
            prop_oneof![any::<i32>().prop_map(Value::from), "[a-z]{0,4}".prop_map(Value::from)].boxed()
        }
        Shape::RawExtension | Shape::Json | Shape::FieldsV1 => Just(json!({"a": [1, null]})).boxed(),
        Shape::SchemaOrBool(_) => any::<bool>().prop_map(Value::from).boxed(),
        Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_) => Just(json!({"type": "string"})).boxed(),
        Shape::List(of) => proptest::collection::vec(any_of(of, depth), 0..3).prop_map(Value::from).boxed(),
        Shape::Map(of) => proptest::collection::btree_map("[a-z./]{1,4}", any_of(of, depth), 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
            .boxed(),
        Shape::Struct(of) => any_struct(*of, depth),
    }
}

pub(in crate::wire) fn any_struct(of: TypeRef, depth: u32) -> BoxedStrategy<Value> {
    let fields = &schema().get(of).fields;
    if depth == 0 {
        return Just(json!({})).boxed();
    }
    // One in three fields, so that objects stay small.
    let members: Vec<BoxedStrategy<Option<(String, Value)>>> = fields
        .iter()
        .map(|field| {
            let name = field.json.to_owned();
            let value = any_of(&field.shape, depth - 1).prop_map(move |value| Some((name.clone(), value)));
            prop_oneof![2 => Just(None), 1 => value].boxed()
        })
        .collect();
    members.prop_map(|members| Value::Object(members.into_iter().flatten().collect())).boxed()
}

/// Puts `what` in the place of the part at this number, counting parts in order.
fn replace_part(value: &mut Value, at: &mut usize, what: &Value) {
    if *at == 0 {
        *value = what.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|it| replace_part(it, at, what)),
        Value::Object(map) => map.values_mut().for_each(|it| replace_part(it, at, what)),
        _ => {}
    }
}

#[test]
fn what_upstream_answers_is_canonical() {
    let value = json!({
        "kind": "Deployment", "apiVersion": "apps/v1",
        "metadata": {"name": "d", "creationTimestamp": "2024-01-01T00:00:00Z", "generation": 1},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "100m"}}}], "securityContext": {}},
            },
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 1}},
        },
        "status": {"conditions": [{"type": "A", "status": "True", "lastUpdateTime": null, "lastTransitionTime": null}]},
    });
    assert!(canonical::fits(&value, type_of("apps/v1", "Deployment")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_taken_for_canonical_is(
        value in any_struct(type_of("v1", "Pod"), 5),
        places in proptest::collection::vec((0_usize..60, prop_oneof![
            Just(json!(null)), Just(json!("")), Just(json!([])), Just(json!({})), Just(json!(0)), Just(json!(1.5)),
            Just(json!("1000m")), Just(json!({"x": 1})), Just(json!(false)), Just(json!("YQ")), Just(json!([null])),
        ]), 0..3),
    ) {
        let of = type_of("v1", "Pod");
        let mut value = coerce(value, of).map_err(TestCaseError::fail)?.value;
        prop_assert!(canonical::fits(&value, of), "{value}");
        for (mut at, what) in places {
            replace_part(&mut value, &mut at, &what);
        }
        if canonical::fits(&value, of) {
            let decoded = decode(&json::encode_untyped(&value), of);
            prop_assert_eq!(decoded, Ok(Decoded { value, strict: vec![] }));
        }
    }

    #[test]
    fn decoding_again_changes_nothing(value in any_struct(type_of("apps/v1", "Deployment"), 5)) {
        let of = type_of("apps/v1", "Deployment");
        let once = coerce(value, of).map_err(TestCaseError::fail)?;
        prop_assert_eq!(&once.strict, &Vec::<String>::new());
        let again = decode(&json::encode(&once.value, of), of).map_err(TestCaseError::fail)?;
        prop_assert_eq!(again, once);
    }

    #[test]
    fn nothing_panics(text in "[\\[\\]{}\",:0-9tfn]{0,12}") {
        for kind in ["Pod", "Secret", "ResourceQuota"] {
            let _ = check("v1", kind, &format!(r#"{{"metadata":{text},"spec":{text},"data":{text}}}"#));
        }
    }
}
