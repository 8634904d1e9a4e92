//! What types and fields mean, in the words of the API's authors: read off the schemas that `k8s_openapi` carries.
//!
//! Only the texts are taken. Everything else about a type is in [`api_types::schema`], which knows more.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        admissionregistration::v1 as admissionregistration, apps::v1 as apps,
        authentication::v1 as authentication, authorization::v1 as authorization,
        autoscaling::v1 as autoscaling_v1, autoscaling::v2 as autoscaling_v2, batch::v1 as batch,
        certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
        discovery::v1 as discovery, events::v1 as events, flowcontrol::v1 as flowcontrol,
        networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac,
        resource::v1 as resource, scheduling::v1 as scheduling, storage::v1 as storage,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
    apimachinery::pkg::{
        apis::meta::v1::{
            self as machinery, APIGroup, APIGroupList, APIResourceList, APIVersions, DeleteOptions,
            WatchEvent,
        },
        runtime::RawExtension,
        version,
    },
    kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration,
};
use schemars::SchemaGenerator;
use serde_json::Value;

use super::operations::meta;

/// The texts of a type.
#[derive(Debug, Default)]
struct Texts {
    own: String,
    fields: BTreeMap<String, String>,
}

/// The texts of a set of types, by the names of their OpenAPI definitions.
#[derive(Debug, Default)]
pub(super) struct Descriptions(BTreeMap<String, Texts>);

/// What lists of objects say of themselves; `k8s_openapi` has one type for all of them and no texts.
const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/\
                             sig-architecture/api-conventions.md#metadata";

macro_rules! register {
    ($generator:ident: $($kind:ty),* $(,)?) => {{
        $($generator.subschema_for::<$kind>();)*
    }};
}

// === impl Descriptions ===

impl Descriptions {
    /// The texts of everything a group and version speaks of.
    pub(super) fn of(group: &str, version: &str) -> Self {
        let mut generator = SchemaGenerator::default();
        let every = &mut generator;
        register!(every: APIGroup, APIGroupList, APIResourceList, APIVersions, DeleteOptions, machinery::Patch,
            machinery::Status, WatchEvent<RawExtension>, version::Info);
        register_kinds(&mut generator, group, version);
        let mut texts = Self::default();
        for (name, definition) in generator.take_definitions(true) {
            texts.add(&name, &definition);
        }
        texts.split_watch_event();
        texts
    }

    /// `k8s_openapi` says with the watch event what the API says with its field.
    fn split_watch_event(&mut self) {
        if let Some(texts) = self.0.get_mut(&meta("WatchEvent"))
            && let Some((own, object)) = texts.own.split_once("\n\n")
        {
            texts.fields.insert("object".to_owned(), object.trim_end().to_owned());
            texts.own = own.to_owned();
        }
    }

    fn add(&mut self, name: &str, definition: &Value) {
        let text =
            |value: &Value| value.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        let fields = definition.get("properties").and_then(Value::as_object).into_iter().flatten();
        self.0.insert(
            name.to_owned(),
            Texts {
                own: text(definition),
                fields: fields.map(|(field, schema)| (field.clone(), text(schema))).collect(),
            },
        );
    }

    /// What a type is.
    pub(super) fn of_type(&self, openapi_name: &str) -> Option<String> {
        let known = self.0.get(openapi_name).map(|texts| texts.own.clone()).filter(|text| !text.is_empty());
        known.or_else(|| {
            let (item, list) = item_of(openapi_name)?;
            self.0.contains_key(item).then(|| {
                let kind = item.rsplit('.').next().unwrap_or(item);
                format!("{list} is a list of {kind} objects.")
            })
        })
    }

    /// What a field of a type is.
    pub(super) fn of_field(&self, openapi_name: &str, field: &str) -> Option<String> {
        if let Some(texts) = self.0.get(openapi_name) {
            return texts.fields.get(field).filter(|text| !text.is_empty()).cloned();
        }
        let (item, _) = item_of(openapi_name)?;
        match field {
            "items" => Some("The objects of the list.".to_owned()),
            "metadata" => Some(LIST_METADATA.to_owned()),
            // The same for everything that has a kind.
            same => self.0.get(item)?.fields.get(same).cloned(),
        }
    }
}

/// The definition of a list's items, and the list's kind.
fn item_of(openapi_name: &str) -> Option<(&str, &str)> {
    let item = openapi_name.strip_suffix("List")?;
    Some((item, openapi_name.rsplit('.').next()?))
}

fn register_kinds(it: &mut SchemaGenerator, group: &str, version: &str) {
    match (group, version) {
        ("", "v1") => register!(it:
            core::Binding, core::ComponentStatus, core::ConfigMap, core::Endpoints, core::Event, core::LimitRange,
            core::Namespace, core::Node, core::PersistentVolume, core::PersistentVolumeClaim, core::Pod,
            core::PodTemplate, core::ReplicationController, core::ResourceQuota, core::Secret, core::Service,
            core::ServiceAccount, policy::Eviction, autoscaling_v1::Scale, authentication::TokenRequest,
        ),
        ("admissionregistration.k8s.io", "v1") => register!(it:
            admissionregistration::MutatingAdmissionPolicy,
            admissionregistration::MutatingAdmissionPolicyBinding,
            admissionregistration::MutatingWebhookConfiguration,
            admissionregistration::ValidatingAdmissionPolicy,
            admissionregistration::ValidatingAdmissionPolicyBinding,
            admissionregistration::ValidatingWebhookConfiguration,
        ),
        ("apiextensions.k8s.io", "v1") => register!(it: apiextensions::CustomResourceDefinition),
        ("apiregistration.k8s.io", "v1") => register!(it: apiregistration::APIService),
        ("apps", "v1") => register!(it:
            apps::ControllerRevision, apps::DaemonSet, apps::Deployment, apps::ReplicaSet, apps::StatefulSet,
            autoscaling_v1::Scale,
        ),
        ("authentication.k8s.io", "v1") => register!(it:
            authentication::SelfSubjectReview, authentication::TokenRequest, authentication::TokenReview,
        ),
        ("authorization.k8s.io", "v1") => register!(it:
            authorization::LocalSubjectAccessReview, authorization::SelfSubjectAccessReview,
            authorization::SelfSubjectRulesReview, authorization::SubjectAccessReview,
        ),
        ("autoscaling", "v1") => register!(it:
            autoscaling_v1::HorizontalPodAutoscaler, autoscaling_v1::Scale,
        ),
        ("autoscaling", "v2") => register!(it: autoscaling_v2::HorizontalPodAutoscaler),
        ("batch", "v1") => register!(it: batch::CronJob, batch::Job),
        ("certificates.k8s.io", "v1") => register!(it: certificates::CertificateSigningRequest),
        ("coordination.k8s.io", "v1") => register!(it: coordination::Lease),
        ("discovery.k8s.io", "v1") => register!(it: discovery::EndpointSlice),
        ("events.k8s.io", "v1") => register!(it: events::Event),
        ("flowcontrol.apiserver.k8s.io", "v1") => register!(it:
            flowcontrol::FlowSchema, flowcontrol::PriorityLevelConfiguration,
        ),
        ("networking.k8s.io", "v1") => register!(it:
            networking::IPAddress, networking::Ingress, networking::IngressClass, networking::NetworkPolicy,
            networking::ServiceCIDR,
        ),
        ("node.k8s.io", "v1") => register!(it: node::RuntimeClass),
        ("policy", "v1") => register!(it: policy::Eviction, policy::PodDisruptionBudget),
        ("rbac.authorization.k8s.io", "v1") => register!(it:
            rbac::ClusterRole, rbac::ClusterRoleBinding, rbac::Role, rbac::RoleBinding,
        ),
        ("resource.k8s.io", "v1") => register!(it:
            resource::DeviceClass, resource::ResourceClaim, resource::ResourceClaimTemplate,
            resource::ResourceSlice,
        ),
        ("scheduling.k8s.io", "v1") => register!(it: scheduling::PriorityClass),
        ("storage.k8s.io", "v1") => register!(it:
            storage::CSIDriver, storage::CSINode, storage::CSIStorageCapacity, storage::StorageClass,
            storage::VolumeAttachment, storage::VolumeAttributesClass,
        ),
        // Custom kinds bring their own texts.
        _ => {}
    }
}
