//! What writes of a part tell when metadata is wrong too: which causes, and in which order.

use serde_json::{Value, json};

use super::{Kind, Part, Resource as _, Strategy};
use crate::resources::{
    certificates::certificatesigningrequests::CertificateSigningRequests,
    flowcontrol::flowschemas::FlowSchemas,
    networking::ipaddresses::IPAddresses,
    node::runtimeclasses::RuntimeClasses,
    shared::testing::{merged, with_context},
};

/// The fields that are at fault, one after the other.
fn causes<S: Strategy>(part: Part, old: &Value, change: Value) -> Vec<String> {
    let checked =
        with_context(|cx| Kind::<S>::new().check_update(cx, part, merged(old.clone(), change), old)).unwrap();
    checked.faults.iter().map(|fault| fault.field.clone()).collect()
}

fn named(kind: &str, rest: Value) -> Value {
    let meta = json!({"kind": kind, "metadata": {"name": "a", "uid": "u", "resourceVersion": "1"}});
    merged(meta, rest)
}

#[test]
fn the_change_of_metadata_is_told_where_upstream_tells_it() {
    let wrong = json!({"metadata": {"uid": "other", "labels": {"-": "v"}}});
    let with = |more: Value| merged(wrong.clone(), more);

    let class = named("RuntimeClass", json!({"apiVersion": "node.k8s.io/v1", "handler": "one"}));
    assert_eq!(
        causes::<RuntimeClasses>(Part::Main, &class, with(json!({"handler": "-"}))),
        ["metadata.labels", "handler", "metadata.uid", "metadata.labels", "handler"]
    );
    let parent = json!({"parentRef": {"resource": "services", "name": "s"}});
    let address = named("IPAddress", json!({"apiVersion": "networking.k8s.io/v1", "spec": parent}));
    assert_eq!(
        causes::<IPAddresses>(Part::Main, &address, with(json!({"spec": {"parentRef": {"name": "t"}}}))),
        ["metadata.name", "metadata.labels", "metadata.uid", "metadata.labels", "spec.parentRef"]
    );
    let request = named(
        "CertificateSigningRequest",
        json!({"apiVersion": "certificates.k8s.io/v1",
        "spec": {"request": "", "signerName": "a.b/c", "usages": ["client auth"]}}),
    );
    for part in [Part::Main, Part::Status, Part::Sub("approval")] {
        assert_eq!(
            causes::<CertificateSigningRequests>(part, &request, wrong.clone()),
            ["metadata.labels", "spec.request", "metadata.uid", "metadata.labels"]
        );
    }
}

#[test]
fn the_status_of_some_kinds_says_nothing_of_metadata() {
    let schema = named("FlowSchema", json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "spec": {}}));
    let change = json!({"metadata": {"uid": "other"}, "status": {"conditions": [{"type": ""}]}});
    let told = causes::<FlowSchemas>(Part::Status, &schema, change);
    assert!(!told.is_empty() && !told.iter().any(|field| field.starts_with("metadata")), "{told:?}");
}
