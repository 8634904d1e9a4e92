//! What the controllers keep of each kind: one projection a kind, shared by every controller of the process.
//!
//! A projection holds the fields that some controller decides on, and no others: a field is added here when a decision
//! needs it. What is only copied, such as a Pod template, is kept as the bytes it came in.
//!
//! Invariant: values only.

pub mod cluster_role;

pub mod endpoint_slice;

pub mod endpoints;

pub mod namespace;

pub mod node;

pub mod service;

pub mod root_ca;

pub mod service_account;

pub mod pod;

pub mod replica_set;

pub mod controller_revision;

pub mod daemon_set;

pub mod deployment;

pub mod job;

pub mod cron_job;

pub mod replication_controller;

pub mod stateful_set;

pub mod disk;

pub mod persistent_volume;

pub mod persistent_volume_claim;

pub mod storage_class;

pub mod resource_quota;

pub mod service_cidr;

pub mod resource_claim;

pub mod certificate_signing_request;

pub mod token_secret;

pub mod horizontal_pod_autoscaler;

pub mod pod_disruption_budget;

pub mod bootstrap_token;

pub mod resource_slice;

pub mod volume_attachment;

pub mod validating_admission_policy;

pub use bootstrap_token::{BootstrapToken, ClusterInfo};
pub use certificate_signing_request::CertificateSigningRequest;
pub use cluster_role::ClusterRole;
pub use controller_revision::ControllerRevision;
pub use cron_job::CronJob;
pub use daemon_set::DaemonSet;
pub use deployment::Deployment;
pub use endpoint_slice::EndpointSlice;
pub use endpoints::Endpoints;
pub use horizontal_pod_autoscaler::HorizontalPodAutoscaler;
pub use job::Job;
pub use namespace::Namespace;
pub use node::{Lease, Node};
pub use persistent_volume::PersistentVolume;
pub use persistent_volume_claim::PersistentVolumeClaim;
pub use pod::Pod;
pub use pod_disruption_budget::PodDisruptionBudget;
pub use replica_set::ReplicaSet;
pub use replication_controller::ReplicationController;
pub use resource_claim::{DeviceClass, ResourceClaim, ResourceClaimTemplate};
pub use resource_quota::ResourceQuota;
pub use resource_slice::ResourceSlice;
pub use root_ca::RootCa;
pub use service::Service;
pub use service_account::ServiceAccount;
pub use service_cidr::{IpAddress, ServiceCidr};
pub use stateful_set::StatefulSet;
pub use storage_class::{StorageClass, VolumeAttributesClass};
pub use token_secret::TokenSecret;
pub use validating_admission_policy::ValidatingAdmissionPolicy;
pub use volume_attachment::{CsiDriver, VolumeAttachment};
