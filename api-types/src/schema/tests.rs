//! The tables hold together, and agree with `k8s_openapi`, which comes from the published OpenAPI.

use super::*;
use serde_json::json;
use std::collections::BTreeSet;

fn of(openapi_name: &str) -> &'static Type {
    let schema = schema();
    schema.get(schema.by_openapi_name(openapi_name).unwrap_or_else(|| panic!("no type {openapi_name}")))
}

fn field(openapi_name: &str, json: &str) -> &'static Field {
    of(openapi_name).field(json).unwrap_or_else(|| panic!("no field {json} in {openapi_name}"))
}

#[test]
fn every_served_kind_has_a_type() {
    let served: &[(&str, &str, &str)] = &[
        (
            "",
            "v1",
            "Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node NodeProxyOptions \
             PersistentVolume PersistentVolumeClaim Pod PodAttachOptions PodExecOptions PodPortForwardOptions \
             PodProxyOptions PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount \
             ServiceProxyOptions PodLogOptions List Status DeleteOptions APIVersions APIGroup APIGroupList \
             APIResourceList PodList RangeAllocation SerializedReference",
        ),
        (
            "admissionregistration.k8s.io",
            "v1",
            "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration \
             ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration",
        ),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition ConversionReview"),
        ("apiregistration.k8s.io", "v1", "APIService APIServiceList"),
        ("apps", "v1", "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet WatchEvent"),
        ("authentication.k8s.io", "v1", "SelfSubjectReview TokenRequest TokenReview"),
        (
            "authorization.k8s.io",
            "v1",
            "LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview",
        ),
        ("autoscaling", "v1", "HorizontalPodAutoscaler Scale"),
        ("autoscaling", "v2", "HorizontalPodAutoscaler"),
        ("batch", "v1", "CronJob Job DeleteOptions"),
        ("certificates.k8s.io", "v1", "CertificateSigningRequest"),
        ("coordination.k8s.io", "v1", "Lease"),
        ("discovery.k8s.io", "v1", "EndpointSlice"),
        ("events.k8s.io", "v1", "Event"),
        ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema PriorityLevelConfiguration"),
        ("networking.k8s.io", "v1", "IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR"),
        ("node.k8s.io", "v1", "RuntimeClass"),
        ("policy", "v1", "Eviction PodDisruptionBudget"),
        ("rbac.authorization.k8s.io", "v1", "ClusterRole ClusterRoleBinding Role RoleBinding"),
        ("resource.k8s.io", "v1", "DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice"),
        ("scheduling.k8s.io", "v1", "PriorityClass"),
        (
            "storage.k8s.io",
            "v1",
            "CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass",
        ),
        (
            "meta.k8s.io",
            "v1",
            "Table PartialObjectMetadata PartialObjectMetadataList CreateOptions PatchOptions",
        ),
        ("meta.k8s.io", "v1beta1", "Table PartialObjectMetadata PartialObjectMetadataList"),
        ("apidiscovery.k8s.io", "v2", "APIGroupDiscovery APIGroupDiscoveryList"),
        ("admission.k8s.io", "v1", "AdmissionReview"),
        ("audit.k8s.io", "v1", "Event EventList Policy"),
    ];
    for (group, version, kinds) in served {
        for kind in kinds.split_ascii_whitespace() {
            let found = schema().type_of(group, version, kind);
            assert_eq!(found.map(|it| schema().get(it).name), Some(kind), "{group}/{version} {kind}");
        }
    }
    assert_eq!(schema().type_of("", "v1", "Deployment"), None);
    assert_eq!(schema().type_of("apps", "v1", "Status"), None);
}

#[test]
fn fields_stand_in_the_order_go_declares_them() {
    let names: Vec<_> = of("io.k8s.api.core.v1.Pod").fields.iter().map(|it| it.json).collect();
    assert_eq!(names, ["kind", "apiVersion", "metadata", "spec", "status"]);
    let probe: Vec<_> = of("io.k8s.api.core.v1.Probe").fields.iter().map(|it| it.json).take(6).collect();
    assert_eq!(probe, ["exec", "httpGet", "tcpSocket", "grpc", "initialDelaySeconds", "timeoutSeconds"]);
}

#[test]
fn go_texts_are_what_error_messages_print() {
    let cases = [
        ("io.k8s.api.core.v1.PodSpec", "containers", &["[]v1.Container", "v1.Container"][..]),
        ("io.k8s.api.core.v1.PodSpec", "restartPolicy", &["v1.RestartPolicy"]),
        ("io.k8s.api.core.v1.ResourceRequirements", "limits", &["v1.ResourceList", "resource.Quantity"]),
        ("io.k8s.api.core.v1.ConfigMap", "data", &["map[string]string", "string"]),
        ("io.k8s.api.core.v1.Secret", "data", &["map[string][]uint8", "[]uint8"]),
        ("io.k8s.api.core.v1.Pod", "metadata", &["v1.ObjectMeta"]),
        (
            "io.k8s.api.authentication.v1.UserInfo",
            "extra",
            &["map[string]v1.ExtraValue", "v1.ExtraValue", "string"],
        ),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.TableRow", "cells", &["[]interface {}", "interface {}"]),
    ];
    for (name, json, texts) in cases {
        assert_eq!(field(name, json).go_types, texts, "{name}.{json}");
    }
}

#[test]
fn merge_facts_are_the_published_ones() {
    let ports = field("io.k8s.api.core.v1.Container", "ports");
    assert_eq!(ports.list, ListKind::Map(vec!["containerPort", "protocol"]));
    assert_eq!((ports.patch.merge, ports.patch.merge_key), (true, Some("containerPort")));
    let volumes = field("io.k8s.api.core.v1.PodSpec", "volumes");
    assert!(volumes.patch.merge && volumes.patch.retain_keys);
    assert!(field("io.k8s.api.core.v1.ServiceSpec", "selector").map_atomic);
    assert!(field("io.k8s.api.core.v1.EnvVarSource", "secretKeyRef").struct_atomic);
    assert!(!field("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef").struct_atomic);
    assert!(field("io.k8s.api.core.v1.Volume", "name").required);
    assert_eq!(field("io.k8s.api.core.v1.ContainerPort", "protocol").default, Some(json!("TCP")));
    assert_eq!(field("io.k8s.api.core.v1.ContainerPort", "protocol").enumeration, ["SCTP", "TCP", "UDP"]);
    assert_eq!(field("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers").list, ListKind::Set);
    assert_eq!(of("io.k8s.api.core.v1.SeccompProfile").unions.len(), 1);
}

#[test]
fn inlined_structs_are_messages_on_the_protobuf_wire() {
    let volume = of("io.k8s.api.core.v1.Volume");
    let source = schema().by_openapi_name("io.k8s.api.core.v1.VolumeSource").unwrap();
    assert_eq!(volume.parts, [Part::Field(0), Part::Inlined { number: 2, of: source }]);
    assert_eq!(volume.field("hostPath").map(|it| it.owner_go_name), Some("VolumeSource"));
    // apiVersion and kind are in the envelope.
    let pod = of("io.k8s.api.core.v1.Pod");
    assert_eq!(pod.parts, [Part::Field(2), Part::Field(3), Part::Field(4)]);
}

#[test]
fn protobuf_numbers_are_unique_within_a_message() {
    for (_, of) in schema().types() {
        let mut seen = BTreeSet::new();
        for part in &of.parts {
            let number = match part {
                Part::Field(at) => of.fields[*at].number,
                Part::Inlined { number, .. } => *number,
            };
            assert!(seen.insert(number), "{} has {number} twice", of.go_name);
        }
    }
}

#[test]
fn the_table_and_the_published_schemas_have_the_same_fields() {
    let mut compared = 0;
    for (name, published) in published() {
        let Some(handle) = schema().by_openapi_name(&name) else {
            assert!(OPAQUE.contains(&name.as_str()), "{name} is published, but in no table");
            continue;
        };
        let Some(theirs) = published.get("properties").and_then(Value::as_object) else { continue };
        compared += 1;
        let ours: BTreeSet<&str> = schema().get(handle).fields.iter().map(|it| it.json).collect();
        let theirs: BTreeSet<&str> = theirs.keys().map(String::as_str).collect();
        let differing: Vec<_> = ours.symmetric_difference(&theirs).collect();
        assert!(differing.is_empty(), "{name} has {differing:?} only on one side");
    }
    assert!(compared > 500, "only {compared} types compared");
}

/// Types whose JSON is no plain struct.
const OPAQUE: &[&str] = &[
    "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
];

/// Every definition reachable from the kinds of `k8s_openapi` that are served by default.
fn published() -> BTreeMap<String, Value> {
    use k8s_openapi::api;
    let mut generator = schemars::SchemaGenerator::default();
    macro_rules! add {
        ($($kind:path),* $(,)?) => { $( let _ = generator.subschema_for::<$kind>(); )* };
    }
    add!(
        api::core::v1::Binding,
        api::core::v1::ComponentStatus,
        api::core::v1::ConfigMap,
        api::core::v1::Endpoints,
        api::core::v1::Event,
        api::core::v1::LimitRange,
        api::core::v1::Namespace,
        api::core::v1::Node,
        api::core::v1::PersistentVolume,
        api::core::v1::PersistentVolumeClaim,
        api::core::v1::Pod,
        api::core::v1::PodTemplate,
        api::core::v1::ReplicationController,
        api::core::v1::ResourceQuota,
        api::core::v1::Secret,
        api::core::v1::Service,
        api::core::v1::ServiceAccount,
        api::admissionregistration::v1::MutatingAdmissionPolicy,
        api::admissionregistration::v1::MutatingAdmissionPolicyBinding,
        api::admissionregistration::v1::MutatingWebhookConfiguration,
        api::admissionregistration::v1::ValidatingAdmissionPolicy,
        api::admissionregistration::v1::ValidatingAdmissionPolicyBinding,
        api::admissionregistration::v1::ValidatingWebhookConfiguration,
        api::apps::v1::ControllerRevision,
        api::apps::v1::DaemonSet,
        api::apps::v1::Deployment,
        api::apps::v1::ReplicaSet,
        api::apps::v1::StatefulSet,
        api::authentication::v1::SelfSubjectReview,
        api::authentication::v1::TokenRequest,
        api::authentication::v1::TokenReview,
        api::authorization::v1::LocalSubjectAccessReview,
        api::authorization::v1::SelfSubjectAccessReview,
        api::authorization::v1::SelfSubjectRulesReview,
        api::authorization::v1::SubjectAccessReview,
        api::autoscaling::v1::HorizontalPodAutoscaler,
        api::autoscaling::v1::Scale,
        api::autoscaling::v2::HorizontalPodAutoscaler,
        api::batch::v1::CronJob,
        api::batch::v1::Job,
        api::certificates::v1::CertificateSigningRequest,
        api::coordination::v1::Lease,
        api::discovery::v1::EndpointSlice,
        api::events::v1::Event,
        api::flowcontrol::v1::FlowSchema,
        api::flowcontrol::v1::PriorityLevelConfiguration,
        api::networking::v1::IPAddress,
        api::networking::v1::Ingress,
        api::networking::v1::IngressClass,
        api::networking::v1::NetworkPolicy,
        api::networking::v1::ServiceCIDR,
        api::node::v1::RuntimeClass,
        api::policy::v1::Eviction,
        api::policy::v1::PodDisruptionBudget,
        api::rbac::v1::ClusterRole,
        api::rbac::v1::ClusterRoleBinding,
        api::rbac::v1::Role,
        api::rbac::v1::RoleBinding,
        api::resource::v1::DeviceClass,
        api::resource::v1::ResourceClaim,
        api::resource::v1::ResourceClaimTemplate,
        api::resource::v1::ResourceSlice,
        api::scheduling::v1::PriorityClass,
        api::storage::v1::CSIDriver,
        api::storage::v1::CSINode,
        api::storage::v1::CSIStorageCapacity,
        api::storage::v1::StorageClass,
        api::storage::v1::VolumeAttachment,
        api::storage::v1::VolumeAttributesClass,
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
        k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService,
        k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroupList,
        k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList,
        k8s_openapi::apimachinery::pkg::apis::meta::v1::APIVersions,
        k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions,
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Status,
    );
    generator.take_definitions(true).into_iter().collect()
}
