use super::*;
use crate::wire::typed::{self, tests::any_struct};
use proptest::prelude::*;
use serde_json::json;

fn type_of(group: &str, version: &str, kind: &str) -> TypeRef {
    schema().type_of(group, version, kind).unwrap_or_else(|| panic!("no {group}/{version} {kind}"))
}

/// What an upstream server stored, and the object it serves for it.
fn samples() -> Vec<(&'static str, Value)> {
    vec![
        (
            concat!(
                "azhzAAofChRuZXR3b3JraW5nLms4cy5pby92MRIHSW5ncmVzcxLbAQqnAQoDd2ViEgAaBHNob3AiACokZDRmM2EwODQtNTdmZS00",
                "ZDM0LWExZmQtYzM2NzQ3Y2I2NWM0MgA4AUIICOXYj9gGEACKAWEKDmt1YmVjdGwtY3JlYXRlEgZVcGRhdGUaFG5ldHdvcmtpbmcu",
                "azhzLmlvL3YxIggI5diP2AYQADIIRmllbGRzVjE6GwoZeyJmOnNwZWMiOnsiZjpydWxlcyI6e319fUIAEisaKQoId2ViLnRlc3QS",
                "HQobChkKAS8SDSILCgN3ZWISBAoAEFAaBUV4YWN0GgIKABoAIgA=",
            ),
            json!({"metadata": {"name": "web", "namespace": "shop", "uid": "d4f3a084-57fe-4d34-a1fd-c36747cb65c4", "generation": 1, "creationTimestamp": "2026-11-23T07:33:57Z", "managedFields": [{"manager": "kubectl-create", "operation": "Update", "apiVersion": "networking.k8s.io/v1", "time": "2026-11-23T07:33:57Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:rules": {}}}}]}, "spec": {"rules": [{"host": "web.test", "http": {"paths": [{"path": "/", "pathType": "Exact", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}, "status": {"loadBalancer": {}}, "kind": "Ingress", "apiVersion": "networking.k8s.io/v1"}),
        ),
        (
            concat!(
                "azhzAAogCglwb2xpY3kvdjESE1BvZERpc3J1cHRpb25CdWRnZXQS2gEKswEKA3dlYhIAGgRzaG9wIgAqJGZkYzdjZTk3LWQxNGEt",
                "NDY4ZS1hZDM0LTFmZWM1YTgwODAyMDIAOAFCCAjl2I/YBhAAigFtCg5rdWJlY3RsLWNyZWF0ZRIGVXBkYXRlGglwb2xpY3kvdjEi",
                "CAjl2I/YBhAAMghGaWVsZHNWMToyCjB7ImY6c3BlYyI6eyJmOm1pbkF2YWlsYWJsZSI6e30sImY6c2VsZWN0b3IiOnt9fX1CABIW",
                "CgYIABABGgASDAoKCgNhcHASA3dlYhoKCAAYACAAKAAwABoAIgA=",
            ),
            json!({"metadata": {"name": "web", "namespace": "shop", "uid": "fdc7ce97-d14a-468e-ad34-1fec5a808020", "generation": 1, "creationTimestamp": "2026-11-23T07:33:57Z", "managedFields": [{"manager": "kubectl-create", "operation": "Update", "apiVersion": "policy/v1", "time": "2026-11-23T07:33:57Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:minAvailable": {}, "f:selector": {}}}}]}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}, "status": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}, "kind": "PodDisruptionBudget", "apiVersion": "policy/v1"}),
        ),
        (
            concat!(
                "azhzAAolChRzY2hlZHVsaW5nLms4cy5pby92MRINUHJpb3JpdHlDbGFzcxLRAQqxAQoEaGlnaBIAGgAiACokYjQ1MmU4MzItNDNm",
                "ZC00MzQ2LTg2OGEtNDQ1NjgyZGU2NzEyMgA4AUIICOXYj9gGEACKAW4KDmt1YmVjdGwtY3JlYXRlEgZVcGRhdGUaFHNjaGVkdWxp",
                "bmcuazhzLmlvL3YxIggI5diP2AYQADIIRmllbGRzVjE6KAomeyJmOnByZWVtcHRpb25Qb2xpY3kiOnt9LCJmOnZhbHVlIjp7fX1C",
                "ABDoBxgAIgAqFFByZWVtcHRMb3dlclByaW9yaXR5GgAiAA==",
            ),
            json!({"metadata": {"name": "high", "uid": "b452e832-43fd-4346-868a-445682de6712", "generation": 1, "creationTimestamp": "2026-11-23T07:33:57Z", "managedFields": [{"manager": "kubectl-create", "operation": "Update", "apiVersion": "scheduling.k8s.io/v1", "time": "2026-11-23T07:33:57Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:preemptionPolicy": {}, "f:value": {}}}]}, "value": 1000, "preemptionPolicy": "PreemptLowerPriority", "kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1"}),
        ),
        (
            concat!(
                "azhzAAoTCgJ2MRINUmVzb3VyY2VRdW90YRK5AQqkAQoBcRIAGgRzaG9wIgAqJGFhZDIwMDVlLTc4MGEtNDc0Zi1iYWM0LTZkOWZl",
                "OTJlMDYwZjIAOABCCAjl2I/YBhAAigFgCg5rdWJlY3RsLWNyZWF0ZRIGVXBkYXRlGgJ2MSIICOXYj9gGEAAyCEZpZWxkc1YxOiwK",
                "KnsiZjpzcGVjIjp7ImY6aGFyZCI6eyIuIjp7fSwiZjpwb2RzIjp7fX19fUIAEg4KDAoEcG9kcxIECgIxMBoAGgAiAA==",
            ),
            json!({"metadata": {"name": "q", "namespace": "shop", "uid": "aad2005e-780a-474f-bac4-6d9fe92e060f", "creationTimestamp": "2026-11-23T07:33:57Z", "managedFields": [{"manager": "kubectl-create", "operation": "Update", "apiVersion": "v1", "time": "2026-11-23T07:33:57Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:hard": {".": {}, "f:pods": {}}}}}]}, "spec": {"hard": {"pods": "10"}}, "status": {}, "kind": "ResourceQuota", "apiVersion": "v1"}),
        ),
        (
            concat!(
                "azhzAAoMCgJ2MRIGU2VjcmV0EskBCqoBCgJkYhIAGgRzaG9wIgAqJGY4Zjc5OWExLWUzZjQtNGEwZS04MzhkLWIzYzJiODJmOGEx",
                "MjIAOABCCAjk2I/YBhAAigFlCg5rdWJlY3RsLWNyZWF0ZRIGVXBkYXRlGgJ2MSIICOTYj9gGEAAyCEZpZWxkc1YxOjEKL3siZjpk",
                "YXRhIjp7Ii4iOnt9LCJmOnBhc3N3b3JkIjp7fX0sImY6dHlwZSI6e319QgASEgoIcGFzc3dvcmQSBnMzY3JldBoGT3BhcXVlGgAi",
                "AA==",
            ),
            json!({"metadata": {"name": "db", "namespace": "shop", "uid": "f8f799a1-e3f4-4a0e-838d-b3c2b82f8a12", "creationTimestamp": "2026-11-23T07:33:56Z", "managedFields": [{"manager": "kubectl-create", "operation": "Update", "apiVersion": "v1", "time": "2026-11-23T07:33:56Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {".": {}, "f:password": {}}, "f:type": {}}}]}, "data": {"password": "czNjcmV0"}, "type": "Opaque", "kind": "Secret", "apiVersion": "v1"}),
        ),
        (
            concat!(
                "azhzAAoUCgJ2MRIOU2VydmljZUFjY291bnQSRwpFCgVyb2JvdBIAGgRzaG9wIgAqJGEyOTgyZjk2LTE0MjItNDA5ZS1iNjRiLWIw",
                "MmYxYjIzNzE5YzIAOABCCAjk2I/YBhAAGgAiAA==",
            ),
            json!({"metadata": {"name": "robot", "namespace": "shop", "uid": "a2982f96-1422-409e-b64b-b02f1b23719c", "creationTimestamp": "2026-11-23T07:33:56Z"}, "kind": "ServiceAccount", "apiVersion": "v1"}),
        ),
    ]
}

#[test]
fn what_upstream_stored_reads_as_what_it_serves_and_writes_back_the_same() {
    for (stored, served) in samples() {
        let bytes = base64::decode(stored.as_bytes()).unwrap();
        let envelope = open(&bytes).unwrap();
        let (group, version) = envelope.api_version.split_once('/').unwrap_or(("", &envelope.api_version));
        let of = type_of(group, version, &envelope.kind);
        assert_eq!(decode(&bytes, of), Ok(served.clone()));
        assert_eq!(encode(&served, of), bytes);
    }
}

#[test]
fn zeros_are_written_unless_they_are_pointers() {
    let scale = type_of("autoscaling", "v1", "Scale");
    let bytes = encode_message(&json!({"metadata": {}, "spec": {}, "status": {"replicas": 0}}), scale);
    let value = decode_message(&bytes, scale).unwrap();
    assert_eq!(value, json!({"metadata": {}, "spec": {}, "status": {"replicas": 0}}));
    // spec.replicas is no pointer: field 2, one field of number 1 and value 0.
    assert!(bytes.windows(4).any(|window| window == [0x12, 2, 8, 0]), "{bytes:?}");

    let deployment = type_of("apps", "v1", "Deployment");
    let with = json!({"spec": {"replicas": 0}});
    let (with, without) =
        (encode_message(&with, deployment), encode_message(&json!({"spec": {}}), deployment));
    assert_eq!(decode_message(&with, deployment).unwrap()["spec"]["replicas"], json!(0));
    assert_eq!(decode_message(&without, deployment).unwrap()["spec"].get("replicas"), None);
}

#[test]
fn types_with_a_form_of_their_own_survive() {
    let cases = [
        (
            type_of("", "v1", "Event"),
            json!({
                "metadata": {}, "involvedObject": {}, "source": {}, "reportingComponent": "", "reportingInstance": "",
                "firstTimestamp": "1970-01-01T00:00:00Z", "lastTimestamp": null,
                "eventTime": "1969-12-31T23:59:59.000001Z",
            }),
        ),
        (
            type_of("", "v1", "Service"),
            json!({
                "metadata": {}, "status": {"loadBalancer": {}},
                "spec": {"ports": [{"port": 1, "targetPort": "http"}, {"port": -2, "targetPort": 8080}]},
            }),
        ),
        (
            type_of("authentication.k8s.io", "v1", "TokenReview"),
            json!({"metadata": {}, "spec": {}, "status": {"user": {"extra": {"a": ["b", ""], "c": null}}}}),
        ),
        (
            type_of("", "v1", "APIResourceList"),
            json!({"groupVersion": "v1", "resources": [
                {"name": "a", "singularName": "", "namespaced": true, "kind": "", "verbs": ["get"]},
                {"name": "b", "singularName": "", "namespaced": false, "kind": "", "verbs": null},
            ]}),
        ),
        (
            type_of("", "v1", "Status"),
            json!({"metadata": {}, "status": "Failure", "reason": "Invalid", "code": 422, "details": {
                "name": "a", "causes": [{"reason": "x", "field": "y"}], "retryAfterSeconds": 1,
            }}),
        ),
        (
            type_of("", "v1", "DeleteOptions"),
            json!({"gracePeriodSeconds": 0, "propagationPolicy": "Orphan", "preconditions": {"uid": "u"}, "dryRun": ["All"]}),
        ),
        (
            type_of("apps", "v1", "ControllerRevision"),
            json!({"metadata": {}, "data": {"a": [1, "<"]}, "revision": -1}),
        ),
        (
            type_of("", "v1", "Secret"),
            json!({"metadata": {}, "data": {"a": "", "b": "/w=="}, "immutable": false}),
        ),
        (
            type_of("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
            json!({
                "metadata": {}, "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null},
                "spec": {
                    "group": "", "names": {"plural": "", "kind": ""}, "scope": "",
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                        "type": "object", "maximum": 1.5, "minimum": 0, "enum": [1, null, "a"], "default": {"x": 1},
                        "items": {"type": "string"}, "additionalProperties": false, "additionalItems": {"type": "string"},
                        "dependencies": {"a": ["b"], "c": {"type": "string"}},
                        "properties": {"p": {"items": [{"type": "string"}, {}], "x-kubernetes-int-or-string": true}},
                    }}}],
                },
            }),
        ),
    ];
    for (of, value) in cases {
        let bytes = encode_message(&value, of);
        assert_eq!(decode_message(&bytes, of), Ok(value));
    }
}

#[test]
fn packed_numbers_and_repeated_messages_are_taken() {
    let pod = type_of("", "v1", "Pod");
    // spec.securityContext.supplementalGroups: [1, 300], packed; and securityContext given twice.
    let twice = [0x12, 14, 0x72, 5, 0x22, 3, 1, 0xac, 2, 0x72, 5, 0x10, 0, 0x22, 1, 7];
    let value = decode_message(&twice, pod).unwrap();
    assert_eq!(value["spec"]["securityContext"], json!({"supplementalGroups": [1, 300, 7], "runAsUser": 0}));
}

#[test]
fn an_object_inside_another_has_no_kind_on_this_wire() {
    // As upstream: the templates' kind is lost here, and conversion puts it back.
    let of = type_of("apps", "v1", "StatefulSet");
    let value =
        json!({"spec": {"volumeClaimTemplates": [{"kind": "PersistentVolumeClaim", "apiVersion": "v1"}]}});
    let read = decode_message(&encode_message(&value, of), of).unwrap();
    assert_eq!(read["spec"]["volumeClaimTemplates"][0].get("kind"), None);
}

#[test]
fn a_watch_event_is_framed() {
    let of = type_of("", "v1", "Status");
    let object = encode(&json!({"kind": "Status", "apiVersion": "v1", "metadata": {}}), of);
    let event = watch_event("ADDED", &object);
    let framed = frame(&event).unwrap();
    assert_eq!(framed.get(..4), Some(&u32::try_from(event.len()).unwrap().to_be_bytes()[..]));
    assert_eq!(open_watch_event(&event), Ok(("ADDED".to_owned(), &object[..])));
    let watch_event = type_of("", "v1", "WatchEvent");
    assert_eq!(decode_message(&event, watch_event).unwrap()["object"]["kind"], "Status");
}

#[test]
fn an_event_around_a_message_has_the_bytes_of_one_around_an_object() {
    let of = type_of("", "v1", "ConfigMap");
    for size in [0, 1, 60, 100, 127, 128, 200, 16_300, 16_384, 70_000] {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"x": "y".repeat(size)}});
        let whole = frame(&watch_event("MODIFIED", &encode(&object, of)));
        let found = event_frame("MODIFIED", "v1", "ConfigMap", &encode_message(&object, of));
        assert_eq!(found, whole, "{size}");
        assert_eq!(decode_message(&encode_message(&object, of), of).unwrap()["data"], object["data"]);
    }
}

#[test]
fn a_list_is_made_of_messages() {
    let (of, list) = (type_of("", "v1", "ConfigMap"), type_of("", "v1", "ConfigMapList"));
    let items = [json!({"metadata": {"name": "a"}, "data": {"x": "1"}}), json!({"metadata": {}})];
    let messages: Vec<Vec<u8>> = items.iter().map(|item| encode_message(item, of)).collect();
    let metadata = json!({"resourceVersion": "5"});
    let items_bytes: Vec<u8> =
        messages.iter().flat_map(|item| [item_head(item.len()), item.clone()].concat()).collect();
    let head = list_head("v1", "ConfigMapList", &metadata, items_bytes.len());
    let bytes = [&head, &items_bytes, &ENVELOPE_END[..]].concat();
    let whole = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items});
    assert_eq!(bytes, encode(&whole, list));
    assert_eq!(decode(&bytes, list), Ok(whole));
}

#[test]
fn what_is_no_message_is_refused() {
    let of = type_of("", "v1", "Pod");
    let cases: &[(&[u8], &str)] = &[
        (b"", "empty data"),
        (b"k8s\0", "empty body"),
        (b"{}", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
        (b"k8s\0\x0a\x05", "unexpected EOF"),
        (b"k8s\0\x12\x02\x08\x01", "proto: wrong wireType = 0 for field ObjectMeta"),
        (b"k8s\0\x12\x02\x00\x01", "proto: illegal tag 0"),
        (b"k8s\0\x12\x02\x0f\x01", "proto: illegal tag 15"),
        (b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "unexpected EOF"),
        (b"k8s\0\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "proto: integer overflow"),
    ];
    for (bytes, message) in cases {
        assert_eq!(
            decode(bytes, of).map_err(|error| error.to_string()),
            Err((*message).to_owned()),
            "{bytes:?}"
        );
    }
}

#[test]
fn hostile_nesting_ends_soon() {
    let of = type_of("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let props =
        schema().by_openapi_name("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
    let not = schema().get(props.unwrap()).field("not").unwrap().number;
    let mut message = Vec::new();
    for _ in 0..2_000 {
        let mut outer =
            vec![u8::try_from((not << 3 | 2) & 0x7f | 0x80).unwrap(), u8::try_from(not << 3 >> 7).unwrap()];
        let mut len = message.len();
        while len >= 0x80 {
            outer.push(u8::try_from(len & 0x7f | 0x80).unwrap());
            len >>= 7;
        }
        outer.push(u8::try_from(len).unwrap());
        outer.append(&mut message);
        message = outer;
    }
    assert_eq!(decode_message(&message, props.unwrap()), Err(Error::Depth));
    // Groups, which nothing uses, may nest as they like.
    let groups = [vec![0x7b; 100_000], vec![0x7c; 100_000]].concat();
    assert!(decode_message(&groups, of).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn encoding_loses_nothing(
        (of, value) in proptest::sample::select(vec![
            type_of("", "v1", "Pod"), type_of("apps", "v1", "DaemonSet"), type_of("", "v1", "Node"),
            type_of("networking.k8s.io", "v1", "Ingress"), type_of("resource.k8s.io", "v1", "ResourceSlice"),
            type_of("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"),
            type_of("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration"),
        ]).prop_flat_map(|of| (Just(of), any_struct(of, 5))),
    ) {
        let mut value = typed::coerce(value, of).map_err(TestCaseError::fail)?.value;
        typed::as_stored(&mut value, of);
        prop_assert_eq!(decode(&encode(&value, of), of), Ok(value));
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60), at in 0..600_usize, byte in any::<u8>()) {
        let of = type_of("", "v1", "Pod");
        let _ = decode_message(&bytes, of);
        let (stored, _) = samples().swap_remove(at % samples().len());
        let mut stored = base64::decode(stored.as_bytes()).unwrap();
        let at = at % stored.len();
        stored[at] = byte;
        for kind in ["Secret", "ResourceQuota", "ServiceAccount"] {
            let _ = decode(&stored, type_of("", "v1", kind));
        }
    }
}
