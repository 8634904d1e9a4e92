//! The catalogue: one file a kind, one line in this table.
//!
//! Routes, discovery, OpenAPI, authorization attributes, the watch cache, metrics labels and kubectl's columns all
//! follow from the entries here. A test compares the folder with the table.

mod admissionregistration;
pub(crate) mod apiextensions;
mod apiregistration;
mod apps;
mod authentication;
mod authorization;
mod autoscaling;
mod batch;
pub(crate) mod certificates;
mod coordination;
pub(crate) mod core;
mod discovery;
mod events;
pub(crate) mod flowcontrol;
pub(crate) mod networking;
pub(crate) mod node;
mod policy;
mod rbac;
mod resource;
pub(crate) mod scheduling;
pub mod shared;
mod storage;

pub use self::autoscaling::conversion::{hpa_to_v1, hpa_to_v2};
pub use self::core::{
    events::{event_from_core, event_to_core},
    services::allocation,
};

use std::sync::Arc;

use crate::registry::strategy::{Kind, Resource};

/// Every built-in resource, in the order upstream registers its groups.
pub fn all() -> Vec<Arc<dyn Resource>> {
    vec![
        Arc::new(Kind::<core::bindings::Bindings>::new()),
        Arc::new(Kind::<core::componentstatuses::ComponentStatuses>::new()),
        Arc::new(Kind::<core::configmaps::ConfigMaps>::new()),
        Arc::new(Kind::<core::endpoints::Endpoints>::new()),
        Arc::new(Kind::<core::events::Events>::new()),
        Arc::new(Kind::<core::limitranges::LimitRanges>::new()),
        Arc::new(Kind::<core::namespaces::Namespaces>::new()),
        Arc::new(Kind::<core::nodes::Nodes>::new()),
        Arc::new(Kind::<core::persistentvolumeclaims::PersistentVolumeClaims>::new()),
        Arc::new(Kind::<core::persistentvolumes::PersistentVolumes>::new()),
        Arc::new(Kind::<core::pods::Pods>::new()),
        Arc::new(Kind::<core::podtemplates::PodTemplates>::new()),
        Arc::new(Kind::<core::replicationcontrollers::ReplicationControllers>::new()),
        Arc::new(Kind::<core::resourcequotas::ResourceQuotas>::new()),
        Arc::new(Kind::<core::secrets::Secrets>::new()),
        Arc::new(Kind::<core::serviceaccounts::ServiceAccounts>::new()),
        Arc::new(Kind::<core::services::Services>::new()),
        Arc::new(Kind::<apiregistration::apiservices::APIServices>::new()),
        Arc::new(Kind::<apps::controllerrevisions::ControllerRevisions>::new()),
        Arc::new(Kind::<apps::daemonsets::DaemonSets>::new()),
        Arc::new(Kind::<apps::deployments::Deployments>::new()),
        Arc::new(Kind::<apps::replicasets::ReplicaSets>::new()),
        Arc::new(Kind::<apps::statefulsets::StatefulSets>::new()),
        Arc::new(Kind::<events::events::Events>::new()),
        Arc::new(Kind::<authentication::selfsubjectreviews::SelfSubjectReviews>::new()),
        Arc::new(Kind::<authentication::tokenreviews::TokenReviews>::new()),
        Arc::new(Kind::<authorization::localsubjectaccessreviews::LocalSubjectAccessReviews>::new()),
        Arc::new(Kind::<authorization::selfsubjectaccessreviews::SelfSubjectAccessReviews>::new()),
        Arc::new(Kind::<authorization::selfsubjectrulesreviews::SelfSubjectRulesReviews>::new()),
        Arc::new(Kind::<authorization::subjectaccessreviews::SubjectAccessReviews>::new()),
        Arc::new(Kind::<autoscaling::horizontalpodautoscalers::HorizontalPodAutoscalers>::new()),
        Arc::new(Kind::<autoscaling::horizontalpodautoscalers_v1::HorizontalPodAutoscalersV1>::new()),
        Arc::new(Kind::<batch::cronjobs::CronJobs>::new()),
        Arc::new(Kind::<batch::jobs::Jobs>::new()),
        Arc::new(Kind::<certificates::certificatesigningrequests::CertificateSigningRequests>::new()),
        Arc::new(Kind::<networking::ingressclasses::IngressClasses>::new()),
        Arc::new(Kind::<networking::ingresses::Ingresses>::new()),
        Arc::new(Kind::<networking::ipaddresses::IPAddresses>::new()),
        Arc::new(Kind::<networking::networkpolicies::NetworkPolicies>::new()),
        Arc::new(Kind::<networking::servicecidrs::ServiceCIDRs>::new()),
        Arc::new(Kind::<policy::poddisruptionbudgets::PodDisruptionBudgets>::new()),
        Arc::new(Kind::<rbac::clusterrolebindings::ClusterRoleBindings>::new()),
        Arc::new(Kind::<rbac::clusterroles::ClusterRoles>::new()),
        Arc::new(Kind::<rbac::rolebindings::RoleBindings>::new()),
        Arc::new(Kind::<rbac::roles::Roles>::new()),
        Arc::new(Kind::<storage::csidrivers::CSIDrivers>::new()),
        Arc::new(Kind::<storage::csinodes::CSINodes>::new()),
        Arc::new(Kind::<storage::csistoragecapacities::CSIStorageCapacities>::new()),
        Arc::new(Kind::<storage::storageclasses::StorageClasses>::new()),
        Arc::new(Kind::<storage::volumeattachments::VolumeAttachments>::new()),
        Arc::new(Kind::<storage::volumeattributesclasses::VolumeAttributesClasses>::new()),
        Arc::new(Kind::<admissionregistration::mutatingadmissionpolicies::MutatingAdmissionPolicies>::new()),
        Arc::new(Kind::<
            admissionregistration::mutatingadmissionpolicybindings::MutatingAdmissionPolicyBindings,
        >::new()),
        Arc::new(
            Kind::<admissionregistration::mutatingwebhookconfigurations::MutatingWebhookConfigurations>::new(
            ),
        ),
        Arc::new(
            Kind::<admissionregistration::validatingadmissionpolicies::ValidatingAdmissionPolicies>::new(),
        ),
        Arc::new(Kind::<
            admissionregistration::validatingadmissionpolicybindings::ValidatingAdmissionPolicyBindings,
        >::new()),
        Arc::new(Kind::<
            admissionregistration::validatingwebhookconfigurations::ValidatingWebhookConfigurations,
        >::new()),
        Arc::new(Kind::<apiextensions::customresourcedefinitions::CustomResourceDefinitions>::new()),
        Arc::new(Kind::<scheduling::priorityclasses::PriorityClasses>::new()),
        Arc::new(Kind::<coordination::leases::Leases>::new()),
        Arc::new(Kind::<node::runtimeclasses::RuntimeClasses>::new()),
        Arc::new(Kind::<discovery::endpointslices::EndpointSlices>::new()),
        Arc::new(Kind::<resource::deviceclasses::DeviceClasses>::new()),
        Arc::new(Kind::<resource::resourceclaims::ResourceClaims>::new()),
        Arc::new(Kind::<resource::resourceclaimtemplates::ResourceClaimTemplates>::new()),
        Arc::new(Kind::<resource::resourceslices::ResourceSlices>::new()),
        Arc::new(Kind::<flowcontrol::flowschemas::FlowSchemas>::new()),
        Arc::new(Kind::<flowcontrol::prioritylevelconfigurations::PriorityLevelConfigurations>::new()),
    ]
}
