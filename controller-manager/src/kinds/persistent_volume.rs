//! A PersistentVolume, as far as controllers look at it.

use api_types::quantity::Quantity;
use client::{Index, Kind, Meta, Resource, meta::null_is_default, resource};
use serde::{Deserialize, de::IgnoredAny};

use super::{disk, persistent_volume_claim::Storage};

/// The index of volumes by the claim they are for, `namespace/name`.
pub const CLAIM: &str = "spec.claimRef";
/// The index of volumes of CSI drivers by driver and handle, as [`Csi::id`] has them.
pub const CSI: &str = "spec.csi";

/// A PersistentVolume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolume {
    /// The metadata.
    pub metadata: Meta,
    /// What it is.
    pub spec: VolumeSpec,
    /// How it is.
    pub status: VolumeStatus,
}

/// What a volume is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    /// How large it is.
    #[serde(deserialize_with = "null_is_default")]
    pub capacity: Storage,
    /// How it can be mounted.
    #[serde(deserialize_with = "null_is_default")]
    pub access_modes: Vec<String>,
    /// The claim it is for.
    pub claim_ref: Option<ClaimRef>,
    /// What becomes of it when its claim is gone: `Retain`, `Delete` or `Recycle`.
    pub persistent_volume_reclaim_policy: Box<str>,
    /// Its class.
    pub storage_class_name: Box<str>,
    /// `Filesystem` or `Block`.
    pub volume_mode: Box<str>,
    /// The attributes its class gives it.
    pub volume_attributes_class_name: Option<Box<str>>,
    /// A directory of a node, if it is one.
    pub host_path: Option<HostPath>,
    /// A directory of an NFS server, if it is one.
    pub nfs: Option<Nfs>,
    /// A volume of a CSI driver, if it is one.
    pub csi: Option<Csi>,
    iscsi: Option<Box<disk::Iscsi>>,
    fc: Option<Box<disk::Fc>>,
    aws_elastic_block_store: Option<IgnoredAny>,
    azure_disk: Option<IgnoredAny>,
    azure_file: Option<IgnoredAny>,
    cinder: Option<IgnoredAny>,
    gce_persistent_disk: Option<IgnoredAny>,
    portworx_volume: Option<IgnoredAny>,
    vsphere_volume: Option<IgnoredAny>,
}

/// A directory of an NFS server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Nfs {
    /// Which server.
    pub server: Box<str>,
    /// Which directory.
    pub path: Box<str>,
}

/// A volume of a CSI driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Csi {
    /// Which driver.
    pub driver: Box<str>,
    /// Which volume, as the driver names it.
    pub volume_handle: Box<str>,
}

/// The claim a volume is for; without a uid whichever has the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClaimRef {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
}

/// A directory of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HostPath {
    /// Which one.
    pub path: Box<str>,
}

/// How a volume is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VolumeStatus {
    /// `Pending`, `Available`, `Bound`, `Released` or `Failed`.
    pub phase: Box<str>,
}

// === impl PersistentVolume ===

impl Kind for PersistentVolume {
    const RESOURCE: Resource = resource::PERSISTENT_VOLUMES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes() -> Vec<Index<Self>> {
        vec![
            Index {
                name: CLAIM,
                values: |volume| {
                    let claim = volume.spec.claim_ref.as_ref();
                    claim.map(|it| format!("{}/{}", it.namespace, it.name).into()).into_iter().collect()
                },
            },
            Index {
                name: CSI,
                values: |volume| volume.spec.csi.as_ref().map(|csi| csi.id().into()).into_iter().collect(),
            },
        ]
    }
}

impl Csi {
    /// What tells it from every other volume: `DRIVER^HANDLE`.
    pub fn id(&self) -> String {
        format!("{}^{}", self.driver, self.volume_handle)
    }
}

impl VolumeSpec {
    /// The plugin of old it is of, and the driver that looks after the volumes of that today (KEP-625).
    pub fn migrated(&self) -> Option<(&'static str, &'static str)> {
        [
            (self.aws_elastic_block_store, "kubernetes.io/aws-ebs", "ebs.csi.aws.com"),
            (self.azure_disk, "kubernetes.io/azure-disk", "disk.csi.azure.com"),
            (self.azure_file, "kubernetes.io/azure-file", "file.csi.azure.com"),
            (self.cinder, "kubernetes.io/cinder", "cinder.csi.openstack.org"),
            (self.gce_persistent_disk, "kubernetes.io/gce-pd", "pd.csi.storage.gke.io"),
            (self.portworx_volume, "kubernetes.io/portworx-volume", "pxd.portworx.com"),
            (self.vsphere_volume, "kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"),
        ]
        .into_iter()
        .find_map(|(source, plugin, driver)| source.map(|_| (plugin, driver)))
    }
}

impl PersistentVolume {
    /// What the status of nodes calls it, if it is a disk that kubelets attach themselves.
    pub fn disk(&self) -> Option<Box<str>> {
        disk::name(self.spec.iscsi.as_deref(), self.spec.fc.as_deref())
    }

    /// Whether it can be attached to one node only: if all its access modes say so.
    pub fn is_exclusive(&self) -> bool {
        let modes = &self.spec.access_modes;
        !modes.is_empty() && !modes.iter().any(|mode| matches!(&**mode, "ReadWriteMany" | "ReadOnlyMany"))
    }

    /// Its class: what the annotation of old says, or else the field.
    pub fn class(&self) -> &str {
        let annotation = self.metadata.annotations.get("volume.beta.kubernetes.io/storage-class");
        annotation.unwrap_or(&self.spec.storage_class_name)
    }

    /// So many bytes.
    pub fn size(&self) -> Option<&Quantity> {
        self.spec.capacity.storage.as_ref()
    }

    /// Whether it is for this claim, by name and, if it says so, by uid.
    pub fn is_for(&self, claim: &Meta) -> bool {
        self.spec.claim_ref.as_ref().is_some_and(|it| {
            *it.name == *claim.name
                && *it.namespace == *claim.namespace
                && (it.uid.is_empty() || it.uid == claim.uid)
        })
    }
}
