//! The bridge between an object as JSON value and as the typed struct of `k8s_openapi`.
//!
//! The conversions are instantiated here, once, so that no other crate compiles serde code for Kubernetes' types.

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
    kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration,
};
use serde_json::Value;

/// A typed object that comes from and goes to JSON.
pub trait Typed: Sized + Send + Sync + 'static {
    /// Reads the value.
    ///
    /// # Errors
    /// What serde says when the value does not fit.
    fn from_value(value: &Value) -> Result<Self, serde_json::Error>;

    /// The JSON form.
    fn to_value(&self) -> Value;
}

macro_rules! typed {
    ($($kind:ty),* $(,)?) => {$(
        impl Typed for $kind {
            fn from_value(value: &Value) -> Result<Self, serde_json::Error> {
                <Self as serde::Deserialize>::deserialize(value)
            }

            fn to_value(&self) -> Value {
                // Only maps with keys that are no strings can fail, and there are none.
                serde_json::to_value(self).unwrap_or_default()
            }
        }
    )*};
}

typed! {
    core::Binding, core::ComponentStatus, core::ConfigMap, core::Endpoints, core::Event, core::LimitRange,
    core::Namespace, core::Node, core::PersistentVolume, core::PersistentVolumeClaim, core::Pod, core::PodTemplate,
    core::PodTemplateSpec, core::PodSpec, core::ReplicationController, core::ResourceQuota, core::Secret,
    core::Service, core::ServiceAccount,
    apps::ControllerRevision, apps::DaemonSet, apps::Deployment, apps::ReplicaSet, apps::StatefulSet,
    batch::CronJob, batch::Job,
    autoscaling_v1::HorizontalPodAutoscaler, autoscaling_v1::Scale, autoscaling_v2::HorizontalPodAutoscaler,
    authentication::SelfSubjectReview, authentication::TokenRequest, authentication::TokenReview,
    authorization::LocalSubjectAccessReview, authorization::SelfSubjectAccessReview,
    authorization::SelfSubjectRulesReview, authorization::SubjectAccessReview,
    certificates::CertificateSigningRequest,
    coordination::Lease,
    discovery::EndpointSlice,
    events::Event,
    flowcontrol::FlowSchema, flowcontrol::PriorityLevelConfiguration,
    networking::IPAddress, networking::Ingress, networking::IngressClass, networking::NetworkPolicy,
    networking::ServiceCIDR,
    node::RuntimeClass,
    policy::Eviction, policy::PodDisruptionBudget,
    rbac::ClusterRole, rbac::ClusterRoleBinding, rbac::Role, rbac::RoleBinding,
    resource::DeviceClass, resource::ResourceClaim, resource::ResourceClaimTemplate, resource::ResourceSlice,
    scheduling::PriorityClass,
    storage::CSIDriver, storage::CSINode, storage::CSIStorageCapacity, storage::StorageClass,
    storage::VolumeAttachment, storage::VolumeAttributesClass,
    admissionregistration::MutatingAdmissionPolicy, admissionregistration::MutatingAdmissionPolicyBinding,
    admissionregistration::MutatingWebhookConfiguration, admissionregistration::ValidatingAdmissionPolicy,
    admissionregistration::ValidatingAdmissionPolicyBinding, admissionregistration::ValidatingWebhookConfiguration,
    apiextensions::CustomResourceDefinition,
    apiregistration::APIService,
}
