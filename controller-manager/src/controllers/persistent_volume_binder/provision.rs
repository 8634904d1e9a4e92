//! Volumes made on demand: directories of nodes by us, everything else by whoever the class names.
//!
//! No directory is made or removed here: a kubelet makes it when a Pod mounts it. A volume for a chosen node can only be
//! used there, so that a Pod finds its data again.

use client::{
    Plan, Write,
    controller::{Report, Request},
    events::Note,
    resource::PERSISTENT_VOLUMES,
};
use serde_json::json;

use super::{
    BOUND_BY_CONTROLLER, PROVISIONED_BY,
    claim::{self, Observed},
};
use crate::kinds::{PersistentVolumeClaim, StorageClass};

/// Our provisioner.
pub(super) const HOST_PATH: &str = "kubernetes.io/host-path";
/// Where its directories are.
const DIRECTORY: &str = "/tmp/hostpath_pv";
/// Keeps a volume until what it stands for is deleted.
pub(super) const FINALIZER: &str = "kubernetes.io/pv-controller";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// The name of the volume that is made for a claim.
pub(super) fn name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.metadata.uid)
}

/// Has a volume made for a claim.
pub(super) fn provision(observed: &Observed, class: &StorageClass, enabled: bool) -> Plan {
    let claim = &*observed.claim;
    let provisioner = &*class.provisioner;
    let failed = |why: &'static str, message: String| {
        Plan::because(why).then(Write::event(observed.about(), Note::warning("ProvisioningFailed", message)))
    };
    if provisioner != HOST_PATH {
        if provisioner.starts_with("kubernetes.io/") {
            let message = format!("no volume plugin matched name: {provisioner}");
            return failed("nobody makes volumes of the claim's class", message);
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
             system administrator. If volume creation is delayed, please verify that the provisioner is running and \
             correctly registered."
        );
        let mut plan = Plan::because("somebody else makes volumes of the claim's class");
        if let Some(notes) = claim::notes(claim, provisioner) {
            plan = plan.then(notes);
        }
        return plan.then(Write::event(observed.about(), Note::normal("ExternalProvisioning", message)));
    }
    let refused = |error: &str| {
        let class = &class.metadata.name;
        let message = format!("Failed to provision volume with StorageClass {class:?}: {error}");
        failed("no volume can be made as the claim wants it", message)
    };
    if !enabled {
        let message =
            format!("Failed to create provisioner: provisioning in volume plugin {HOST_PATH:?} is disabled");
        return failed("directories of nodes are not made into volumes here", message);
    }
    if claim.spec.data_source_ref.is_some() {
        let message = format!(
            "plugin {HOST_PATH:?} is not a CSI plugin. Only CSI plugin can provision a claim with a datasource"
        );
        return failed("a directory holds nothing at first", message);
    }
    if !class.mount_options.is_empty() {
        let message = format!(
            "Mount options are not supported by the provisioner but StorageClass {:?} has mount options [{}]",
            class.metadata.name,
            class.mount_options.join(" ")
        );
        return failed("a directory is not mounted", message);
    }
    if &*claim.spec.volume_mode == "Block" {
        return refused(&format!("{HOST_PATH} does not support block volume provisioning"));
    }
    if let Some((name, None)) = &observed.node {
        let message = format!("Failed to get target node: node {name:?} not found");
        return failed("the node that was chosen for the claim is not there", message);
    }
    let mut plan = Plan::because("a volume is made for the claim");
    if let Some(notes) = claim::notes(claim, provisioner) {
        plan = plan.then(notes);
    }
    plan.then(create(observed, class))
}

fn create(observed: &Observed, class: &StorageClass) -> Request {
    let claim = &*observed.claim;
    let meta = &claim.metadata;
    let policy = class.reclaim_policy.as_deref().unwrap_or("Delete");
    let mut volume = json!({
        "metadata": {
            "name": name(claim),
            "annotations": {
                "kubernetes.io/createdby": "hostpath-dynamic-provisioner",
                BOUND_BY_CONTROLLER: "yes",
                PROVISIONED_BY: HOST_PATH,
            },
        },
        "spec": {
            "capacity": {"storage": claim.size()},
            "accessModes": claim.spec.access_modes,
            "persistentVolumeReclaimPolicy": policy,
            "storageClassName": claim.class(),
            "hostPath": {"path": format!("{DIRECTORY}/{}", meta.uid), "type": "DirectoryOrCreate"},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta.namespace, "name": meta.name,
                "uid": meta.uid, "resourceVersion": meta.revision,
            },
        },
    });
    if policy == "Delete" {
        volume["metadata"]["finalizers"] = json!([FINALIZER]);
    }
    let host =
        observed.node.iter().filter_map(|(_, node)| node.as_ref()?.metadata.labels.get(HOSTNAME)).next();
    if let Some(host) = host {
        volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [host]}]},
        ]}});
    }
    let done = format!("Successfully provisioned volume {{name}} using {HOST_PATH}");
    let failed = format!(
        "Error creating provisioned PV object for claim {}: {{error}}. Deleting the volume.",
        meta.key()
    );
    Request::create(PERSISTENT_VOLUMES, "", volume).conflict_is_fine().reporting(Report {
        about: observed.about(),
        done: Some(Note::normal("ProvisioningSucceeded", done)),
        failed: Some(Note::warning("ProvisioningFailed", failed)),
    })
}
