//! The table of controllers: one line and one file each.
//!
//! To add one: a file in `controllers/`, its `mod` line and its [`Entry`] here. Queue, workers, records, metrics and
//! leader election come with the harness; the service account names the role it works under.

pub mod cluster_role_aggregation;
pub mod device_taint_eviction;
pub mod endpoint_slice;
pub mod endpoint_slice_mirroring;
pub mod endpoints;
pub mod garbage_collector;
pub mod namespace;
pub mod node_ipam;
pub mod node_lifecycle;
pub mod pod_gc;
pub mod root_ca_publisher;
pub mod service_account;
pub mod service_cidr;
pub mod taint_eviction;
pub mod ttl;
pub mod ttl_after_finished;
pub mod validating_admission_policy_status;

pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod disruption;
pub mod horizontal_pod_autoscaler;
pub mod job;
pub mod replica_set;
pub mod replication_controller;
pub mod stateful_set;

pub mod attach_detach;
pub mod ephemeral_volume;
pub mod expander;
pub mod persistent_volume_binder;
pub mod pv_protection;
pub mod pvc_protection;
pub mod resource_claim;
pub mod resource_quota;
pub mod vac_protection;

pub mod bootstrap_signer;
pub mod csr_approving;
pub mod csr_cleaner;
pub mod csr_signing;
pub mod legacy_service_account_token_cleaner;
pub mod service_account_token;
pub mod token_cleaner;

use client::{
    Caches,
    controller::{Manager, Options as Workers},
};

use crate::Options;

/// A controller as `--controllers` and the operator know it.
pub struct Entry {
    /// Its file here.
    pub file: &'static str,
    /// The name, such as `replicaset-controller`.
    pub name: &'static str,
    /// A shorter name that is understood too, such as `replicaset`.
    pub alias: &'static str,
    /// Its service account in `kube-system`, to which upstream's role of the same name is bound.
    pub account: &'static str,
    /// So many keys are looked at in parallel unless the operator says otherwise.
    pub workers: usize,
    /// Starts it.
    pub start: fn(&Manager, Workers, &Options),
}

/// The controllers that only run if they are asked for by name, as upstream's.
const ON_REQUEST: [&str; 2] = ["bootstrap-signer-controller", "token-cleaner-controller"];

/// Controllers of upstream, with their aliases, that have nothing to do here: those that need a cloud, those of features
/// that are off by default in 1.36, and one that asks what only a cluster with SELinux knows. Whoever leaves one of them
/// out is understood.
pub const ELSEWHERE: [(&str, &str); 11] = [
    ("cloud-node-lifecycle-controller", "cloud-node-lifecycle"),
    ("service-lb-controller", "service"),
    ("node-route-controller", "route"),
    (
        "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        "kube-apiserver-serving-clustertrustbundle-publisher-controller",
    ),
    ("podcertificaterequest-cleaner-controller", "podcertificaterequest-cleaner-controller"),
    ("podgroup-protection-controller", "podgroup-protection-controller"),
    ("resourcepoolstatusrequest-controller", "resourcepoolstatusrequest-controller"),
    ("selinux-warning-controller", "selinux-warning-controller"),
    ("service-ca-certificate-publisher-controller", "service-ca-certificate-publisher-controller"),
    ("storage-version-migrator-controller", "storage-version-migrator-controller"),
    ("storageversion-garbage-collector-controller", "storage-version-gc"),
];

/// Every controller there is.
pub fn all() -> Vec<Entry> {
    cluster().into_iter().chain(workloads()).chain(storage()).chain(identity()).collect()
}

/// Those that keep the cluster itself in order.
fn cluster() -> Vec<Entry> {
    vec![
        Entry {
            file: "cluster_role_aggregation",
            name: "clusterrole-aggregation-controller",
            alias: "clusterrole-aggregation",
            account: "clusterrole-aggregation-controller",
            workers: 5,
            start: |manager, workers, _| {
                drop(manager.start(cluster_role_aggregation::ClusterRoleAggregation, workers));
            },
        },
        Entry {
            file: "pod_gc",
            name: "pod-garbage-collector-controller",
            alias: "podgc",
            account: "pod-garbage-collector",
            workers: 1,
            start: |manager, workers, _| {
                let clock = std::sync::Arc::clone(&manager.runtime.clock);
                manager.start(pod_gc::PodGc::new(clock), workers);
            },
        },
        Entry {
            file: "endpoints",
            name: "endpoints-controller",
            alias: "endpoint",
            account: "endpoint-controller",
            workers: 5,
            start: |manager, workers, _| {
                drop(manager.start(endpoints::EndpointsOfServices::default(), workers))
            },
        },
        Entry {
            file: "node_lifecycle",
            name: "node-lifecycle-controller",
            alias: "nodelifecycle",
            account: "node-controller",
            workers: 8,
            start: |manager, workers, _| {
                let clock = std::sync::Arc::clone(&manager.runtime.clock);
                manager.start(node_lifecycle::NodeLifecycle::new(clock), workers);
            },
        },
        Entry {
            file: "taint_eviction",
            name: "taint-eviction-controller",
            alias: "taint-eviction",
            account: "node-controller",
            workers: 8,
            start: |manager, workers, _| {
                let clock = std::sync::Arc::clone(&manager.runtime.clock);
                manager.start(taint_eviction::TaintEviction::new(clock), workers);
            },
        },
        Entry {
            file: "device_taint_eviction",
            name: "device-taint-eviction-controller",
            alias: "device-taint-eviction-controller",
            account: "device-taint-eviction-controller",
            workers: 10,
            start: |manager, workers, _| {
                drop(manager.start(device_taint_eviction::DeviceTaintEviction::default(), workers));
            },
        },
        Entry {
            file: "endpoint_slice",
            name: "endpointslice-controller",
            alias: "endpointslice",
            account: "endpointslice-controller",
            workers: 5,
            start: |manager, workers, _| {
                drop(manager.start(endpoint_slice::EndpointSlices::default(), workers))
            },
        },
        Entry {
            file: "endpoint_slice_mirroring",
            name: "endpointslice-mirroring-controller",
            alias: "endpointslicemirroring",
            account: "endpointslicemirroring-controller",
            workers: 5,
            start: |manager, workers, _| {
                drop(manager.start(endpoint_slice_mirroring::EndpointSliceMirroring, workers));
            },
        },
        Entry {
            file: "ttl",
            name: "ttl-controller",
            alias: "ttl",
            account: "ttl-controller",
            workers: 5,
            start: |manager, workers, _| drop(manager.start(ttl::Ttl, workers)),
        },
        Entry {
            file: "node_ipam",
            name: "node-ipam-controller",
            alias: "nodeipam",
            account: "node-controller",
            workers: 1,
            start: |manager, workers, options| {
                if !options.pod_ranges.is_empty() {
                    manager.start(node_ipam::NodeIpam::new(options.pod_ranges.clone()), workers);
                }
            },
        },
        Entry {
            file: "service_cidr",
            name: "service-cidr-controller",
            alias: "service-cidr-controller",
            account: "service-cidrs-controller",
            workers: 5,
            start: |manager, workers, _| drop(manager.start(service_cidr::ServiceCidrs, workers)),
        },
        Entry {
            file: "garbage_collector",
            name: "garbage-collector-controller",
            alias: "garbagecollector",
            account: "generic-garbage-collector",
            workers: 20,
            start: |manager, workers, options| garbage_collector::start(manager, workers, &options.inventory),
        },
        Entry {
            file: "namespace",
            name: "namespace-controller",
            alias: "namespace",
            account: "namespace-controller",
            workers: 10,
            start: |manager, workers, options| namespace::start(manager, workers, &options.inventory),
        },
        Entry {
            file: "resource_quota",
            name: "resourcequota-controller",
            alias: "resourcequota",
            account: "resourcequota-controller",
            workers: 5,
            start: |manager, workers, options| resource_quota::start(manager, workers, &options.inventory),
        },
        Entry {
            file: "root_ca_publisher",
            name: "root-ca-certificate-publisher-controller",
            alias: "root-ca-cert-publisher",
            account: "root-ca-cert-publisher",
            workers: 1,
            start: |manager, workers, options| {
                if !options.root_ca.is_empty() {
                    let root_ca = std::sync::Arc::clone(&options.root_ca);
                    manager.start(root_ca_publisher::RootCaPublisher { root_ca }, workers);
                }
            },
        },
        Entry {
            file: "service_account",
            name: "serviceaccount-controller",
            alias: "serviceaccount",
            account: "service-account-controller",
            workers: 1,
            start: |manager, workers, _| drop(manager.start(service_account::ServiceAccounts, workers)),
        },
        Entry {
            file: "validating_admission_policy_status",
            name: "validatingadmissionpolicy-status-controller",
            alias: "validatingadmissionpolicy-status-controller",
            account: "validatingadmissionpolicy-status-controller",
            workers: 5,
            start: |manager, workers, _| validating_admission_policy_status::start(manager, workers),
        },
    ]
}

/// Those that make Pods, and what these need.
fn workloads() -> Vec<Entry> {
    vec![
        Entry {
            file: "replica_set",
            name: "replicaset-controller",
            alias: "replicaset",
            account: "replicaset-controller",
            workers: 5,
            start: |manager, workers, _| drop(manager.start(replica_set::ReplicaSets::default(), workers)),
        },
        Entry {
            file: "replication_controller",
            name: "replicationcontroller-controller",
            alias: "replicationcontroller",
            account: "replication-controller",
            workers: 5,
            start: |manager, workers, _| {
                drop(manager.start(replication_controller::ReplicationControllers::default(), workers));
            },
        },
        Entry {
            file: "deployment",
            name: "deployment-controller",
            alias: "deployment",
            account: "deployment-controller",
            workers: 5,
            start: |manager, workers, _| drop(manager.start(deployment::Deployments, workers)),
        },
        Entry {
            file: "daemon_set",
            name: "daemonset-controller",
            alias: "daemonset",
            account: "daemon-set-controller",
            workers: 2,
            start: |manager, workers, _| {
                let clock = std::sync::Arc::clone(&manager.runtime.clock);
                manager.start(daemon_set::DaemonSets::new(clock), workers);
            },
        },
        Entry {
            file: "stateful_set",
            name: "statefulset-controller",
            alias: "statefulset",
            account: "statefulset-controller",
            workers: 5,
            start: |manager, workers, _| drop(manager.start(stateful_set::StatefulSets, workers)),
        },
        Entry {
            file: "job",
            name: "job-controller",
            alias: "job",
            account: "job-controller",
            workers: 5,
            start: |manager, workers, _| drop(manager.start(job::Jobs, workers)),
        },
        Entry {
            file: "cron_job",
            name: "cronjob-controller",
            alias: "cronjob",
            account: "cronjob-controller",
            workers: 5,
            start: |manager, workers, _| drop(manager.start(cron_job::CronJobs, workers)),
        },
        Entry {
            file: "horizontal_pod_autoscaler",
            name: "horizontal-pod-autoscaler-controller",
            alias: "horizontalpodautoscaling",
            account: "horizontal-pod-autoscaler",
            workers: 5,
            start: |manager, workers, options| {
                horizontal_pod_autoscaler::start(manager, workers, &options.inventory);
            },
        },
        Entry {
            file: "disruption",
            name: "disruption-controller",
            alias: "disruption",
            account: "disruption-controller",
            workers: 1,
            start: |manager, workers, options| disruption::start(manager, workers, &options.inventory),
        },
        Entry {
            file: "ttl_after_finished",
            name: "ttl-after-finished-controller",
            alias: "ttl-after-finished",
            account: "ttl-after-finished-controller",
            workers: 5,
            start: |manager, workers, _| drop(manager.start(ttl_after_finished::TtlAfterFinished, workers)),
        },
    ]
}

/// Those that say who somebody is.
fn identity() -> Vec<Entry> {
    vec![
        Entry {
            file: "csr_approving",
            name: "certificatesigningrequest-approving-controller",
            alias: "csrapproving",
            account: "certificate-controller",
            workers: 5,
            start: |manager, workers, _| csr_approving::start(manager, workers),
        },
        Entry {
            file: "csr_signing",
            name: "certificatesigningrequest-signing-controller",
            alias: "csrsigning",
            account: "certificate-controller",
            workers: 5,
            start: |manager, workers, options| {
                if let Some(signer) = options.signer.clone() {
                    manager.start(csr_signing::CsrSigning { signer }, workers);
                }
            },
        },
        Entry {
            file: "csr_cleaner",
            name: "certificatesigningrequest-cleaner-controller",
            alias: "csrcleaner",
            account: "certificate-controller",
            workers: 1,
            start: |manager, workers, _| drop(manager.start(csr_cleaner::CsrCleaner, workers)),
        },
        Entry {
            file: "legacy_service_account_token_cleaner",
            name: "legacy-serviceaccount-token-cleaner-controller",
            alias: "legacy-service-account-token-cleaner",
            account: "legacy-service-account-token-cleaner",
            workers: 1,
            start: legacy_service_account_token_cleaner::start,
        },
        Entry {
            file: "bootstrap_signer",
            name: "bootstrap-signer-controller",
            alias: "bootstrapsigner",
            account: "bootstrap-signer",
            workers: 1,
            start: |manager, workers, _| {
                drop(apart(manager).start(bootstrap_signer::BootstrapSigner, workers));
            },
        },
        Entry {
            file: "token_cleaner",
            name: "token-cleaner-controller",
            alias: "tokencleaner",
            account: "token-cleaner",
            workers: 10,
            start: |manager, workers, _| drop(apart(manager).start(token_cleaner::TokenCleaner, workers)),
        },
        Entry {
            file: "service_account_token",
            name: "serviceaccount-token-controller",
            alias: "serviceaccount-token",
            account: "",
            workers: 5,
            start: |manager, workers, options| {
                let Some(maker) = options.token_maker.clone() else { return };
                let root_ca = std::sync::Arc::clone(&options.root_ca);
                // The one that works as the component itself: no account may write tokens of others.
                let workers = Workers { api: None, ..workers };
                manager.start(service_account_token::ServiceAccountTokens { maker, root_ca }, workers);
            },
        },
    ]
}

/// Those that keep volumes, devices and claims of them.
fn storage() -> Vec<Entry> {
    vec![
        Entry {
            file: "persistent_volume_binder",
            name: "persistentvolume-binder-controller",
            alias: "persistentvolume-binder",
            account: "persistent-volume-binder",
            workers: 5,
            start: persistent_volume_binder::start,
        },
        Entry {
            file: "attach_detach",
            name: "persistentvolume-attach-detach-controller",
            alias: "attachdetach",
            account: "attachdetach-controller",
            workers: 5,
            start: |manager, workers, _| attach_detach::start(manager, workers),
        },
        Entry {
            file: "expander",
            name: "persistentvolume-expander-controller",
            alias: "persistentvolume-expander",
            account: "expand-controller",
            workers: 10,
            start: |manager, workers, _| drop(manager.start(expander::Expander, workers)),
        },
        Entry {
            file: "pvc_protection",
            name: "persistentvolumeclaim-protection-controller",
            alias: "pvc-protection",
            account: "pvc-protection-controller",
            workers: 1,
            start: |manager, workers, _| drop(manager.start(pvc_protection::PvcProtection, workers)),
        },
        Entry {
            file: "pv_protection",
            name: "persistentvolume-protection-controller",
            alias: "pv-protection",
            account: "pv-protection-controller",
            workers: 1,
            start: |manager, workers, _| drop(manager.start(pv_protection::PvProtection, workers)),
        },
        Entry {
            file: "vac_protection",
            name: "volumeattributesclass-protection-controller",
            alias: "volumeattributesclass-protection-controller",
            account: "volumeattributesclass-protection-controller",
            workers: 1,
            start: |manager, workers, _| drop(manager.start(vac_protection::VacProtection, workers)),
        },
        Entry {
            file: "resource_claim",
            name: "resourceclaim-controller",
            alias: "resource-claim-controller",
            account: "resource-claim-controller",
            workers: 50,
            start: |manager, workers, _| resource_claim::start(manager, workers),
        },
        Entry {
            file: "ephemeral_volume",
            name: "ephemeral-volume-controller",
            alias: "ephemeral-volume",
            account: "ephemeral-volume-controller",
            workers: 5,
            start: |manager, workers, _| drop(manager.start(ephemeral_volume::EphemeralVolumes, workers)),
        },
    ]
}

/// The manager with caches apart, for those that keep other objects of a kind than everybody else does.
fn apart(manager: &Manager) -> Manager {
    Manager { caches: Caches::new(manager.api.clone(), &manager.runtime), ..manager.clone() }
}

impl Entry {
    /// Whether it runs unless it is left out by name.
    pub fn is_on_by_default(&self) -> bool {
        !ON_REQUEST.contains(&self.name)
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Entry").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn folder_and_table_say_the_same() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/controllers");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|file| Some(file.unwrap().file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
            .collect();
        let table: BTreeSet<String> = all().iter().map(|entry| entry.file.to_owned()).collect();
        assert_eq!(files, table);
        let names: BTreeSet<_> = all().iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), all().len(), "names are unique");
        assert!(ELSEWHERE.iter().all(|(name, _)| !names.contains(name)), "what is here is not elsewhere");
        assert!(ON_REQUEST.iter().all(|name| names.contains(name)), "what runs on request is there");
    }
}
