//! JSON bodies: what the decoder takes, it takes again in the same form, and protobuf carries it.
//!
//! The first word of an input names the kind.

use api_types::{
    schema::{TypeRef, schema},
    wire::{json, protobuf, typed},
};

use super::{Target, gist, same};

/// See the module.
pub(super) struct Json;

/// Kinds of all sorts of fields.
pub(super) const KINDS: &[(&str, &str, &str)] = &[
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "Secret"),
    ("", "v1", "Event"),
    ("", "v1", "Node"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "ControllerRevision"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    ("authentication.k8s.io", "v1", "TokenReview"),
    ("resource.k8s.io", "v1", "ResourceSlice"),
    ("", "v1", "DeleteOptions"),
    ("", "v1", "Status"),
    ("", "v1", "PodList"),
];

/// The kind the first byte stands for, and the rest.
pub(super) fn kind(input: &[u8]) -> Option<(&'static str, TypeRef, &[u8])> {
    let (first, rest) = input.split_first()?;
    let (group, version, kind) = KINDS.get(usize::from(*first) % KINDS.len())?;
    Some((kind, schema().type_of(group, version, kind)?, rest))
}

/// An input for a kind.
pub(super) fn input(kind: &str, body: &[u8]) -> Vec<u8> {
    let at = KINDS.iter().position(|(_, _, name)| *name == kind).unwrap_or_default();
    [&[u8::try_from(at).unwrap_or_default()], body].concat()
}

/// Objects to begin with.
pub(super) const OBJECTS: &[(&str, &str)] = &[
    (
        "Pod",
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"a":"b"},"creationTimestamp":"2025-01-01T00:00:00Z","managedFields":[{"manager":"m","operation":"Update","fieldsType":"FieldsV1","fieldsV1":{"f:a":{".":{}}}}]},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"100m","memory":"1Gi"}},"ports":[{"containerPort":80}],"livenessProbe":{"httpGet":{"port":"http"}}}],"tolerations":[{"tolerationSeconds":0}]}}"#,
    ),
    (
        "Service",
        r#"{"metadata":{},"spec":{"ports":[{"port":1,"targetPort":"a"},{"port":2,"targetPort":3}],"clusterIPs":[""]}}"#,
    ),
    ("Secret", r#"{"data":{"a":null}}"#),
    ("Secret", r#"{"data":{"a":"AA==","b":""},"stringData":{"c":"d"},"immutable":false}"#),
    (
        "Event",
        r#"{"eventTime":"2025-01-01T00:00:00.000001Z","firstTimestamp":null,"series":{"count":2,"lastObservedTime":null}}"#,
    ),
    (
        "Node",
        r#"{"spec":{"taints":[{"timeAdded":"2025-01-01T00:00:00+01:00"}]},"status":{"capacity":{"cpu":1.5}}}"#,
    ),
    (
        "Deployment",
        r#"{"spec":{"replicas":0,"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":0}},"template":{}}}"#,
    ),
    ("ControllerRevision", r#"{"data":{"a":[1,null,{"b":1e3}]},"revision":-1}"#),
    (
        "HorizontalPodAutoscaler",
        r#"{"spec":{"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"averageValue":"1m"}}}]}}"#,
    ),
    (
        "CustomResourceDefinition",
        r#"{"spec":{"versions":[{"name":"v1","schema":{"openAPIV3Schema":{"type":"object","additionalProperties":true,"items":[{}],"default":{"a":1},"maximum":1.5,"dependencies":{"a":["b"],"c":{}},"enum":[1,null]}}}]}}"#,
    ),
    ("TokenReview", r#"{"status":{"user":{"extra":{"a":["b"],"c":null,"d":[]}}}}"#),
    (
        "ResourceSlice",
        r#"{"spec":{"devices":[{"name":"d","attributes":{"a":{"int":1},"b":{"bool":false}},"capacity":{"c":{"value":"1"}}}]}}"#,
    ),
    (
        "DeleteOptions",
        r#"{"gracePeriodSeconds":0,"dryRun":["All"],"preconditions":{"uid":"u"},"propagationPolicy":"Orphan"}"#,
    ),
    ("Status", r#"{"status":"Failure","code":422,"details":{"causes":[{"field":"a"}]}}"#),
    ("PodList", r#"{"metadata":{"remainingItemCount":0},"items":[{},{"spec":null}]}"#),
];

impl Target for Json {
    fn seeds(&self) -> Vec<Vec<u8>> {
        OBJECTS.iter().map(|(kind, body)| input(kind, body.as_bytes())).collect()
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "null",
            "true",
            "false",
            "0",
            "1e3",
            "\"metadata\":",
            "\"spec\":",
            "\"name\":",
            "\"items\":",
            "\"containers\":",
            "\\u0000",
            "\\ud800",
            "\u{feff}",
            "\"1Gi\"",
            "\"2025-01-01T00:00:00Z\"",
            "{}",
            "[]",
            "\"AA==\"",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        let Some((kind, of, body)) = kind(input) else { return "nothing".to_owned() };
        let decoded = match typed::decode(body, of) {
            Ok(decoded) => decoded,
            Err(error) => return format!("refused\u{1f}{}", gist(&error)),
        };
        let text = json::encode(&decoded.value, of);
        let again =
            typed::decode(&text, of).unwrap_or_else(|error| panic!("{kind} cannot be read again: {error}"));
        assert_eq!(again.value, decoded.value, "{kind} read again is another one");
        assert!(again.strict.is_empty(), "{kind} read again: {:?}", again.strict);
        let plain: serde_json::Value =
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{kind} is no JSON: {error}"));
        assert!(same(&plain, &decoded.value), "{kind} as others read it: {plain}");

        // Protobuf cannot tell an empty list from none.
        let mut stored = decoded.value;
        typed::as_stored(&mut stored, of);
        let wire = protobuf::encode(&stored, of);
        let carried =
            protobuf::decode(&wire, of).unwrap_or_else(|error| panic!("{kind} as protobuf: {error}"));
        assert_eq!(carried, stored, "{kind} carried by protobuf");
        format!(
            "{kind}\u{1f}{}\u{1f}{}",
            decoded.strict.len().min(3),
            stored.as_object().map_or(0, serde_json::Map::len)
        )
    }
}
