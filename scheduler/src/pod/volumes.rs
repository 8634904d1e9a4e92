//! The volumes of a Pod that limit where it can go.

use client::{Key, Meta, meta::null_is_default};
use serde::Deserialize;

/// A volume of a Pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodVolume {
    /// What a claim is bound to.
    Claim {
        /// The claim's name.
        name: Box<str>,
        /// The claim is made for this Pod and must be its own.
        is_own: bool,
    },
    /// A volume that a CSI driver makes on the node.
    Inline {
        /// The driver.
        driver: Box<str>,
    },
    /// A disk that one node can write to, or many can read.
    GceDisk {
        /// Its name.
        name: Box<str>,
        /// It is not written to.
        read_only: bool,
    },
    /// A disk that one Pod can have.
    AwsDisk {
        /// Its identifier.
        id: Box<str>,
    },
    /// A target that one Pod can write to, or many can read.
    Iscsi {
        /// Its name.
        iqn: Box<str>,
        /// It is not written to.
        read_only: bool,
    },
    /// An image that one Pod can write to, or many can read.
    Rbd {
        /// Where it is.
        monitors: Box<[Box<str>]>,
        /// Of those images.
        pool: Box<str>,
        /// Its name.
        image: Box<str>,
        /// It is not written to.
        read_only: bool,
    },
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawVolume {
    name: Box<str>,
    pub(super) image: Option<ImageVolume>,
    persistent_volume_claim: Option<ClaimName>,
    ephemeral: Option<serde::de::IgnoredAny>,
    csi: Option<Csi>,
    gce_persistent_disk: Option<Gce>,
    aws_elastic_block_store: Option<Aws>,
    iscsi: Option<Iscsi>,
    rbd: Option<Rbd>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ImageVolume {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) reference: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimName {
    claim_name: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Csi {
    driver: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Gce {
    pd_name: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    read_only: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Aws {
    #[serde(rename = "volumeID")]
    volume_id: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Iscsi {
    iqn: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    read_only: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rbd {
    #[serde(deserialize_with = "null_is_default")]
    monitors: Vec<Box<str>>,
    #[serde(deserialize_with = "null_is_default")]
    pool: Box<str>,
    image: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    read_only: bool,
}

// === impl RawVolume ===

impl RawVolume {
    /// What of it limits where its Pod can go.
    pub(super) fn limiting(&self, pod: &Meta) -> Option<PodVolume> {
        if let Some(claim) = &self.persistent_volume_claim {
            return Some(PodVolume::Claim { name: claim.claim_name.clone(), is_own: false });
        }
        if self.ephemeral.is_some() {
            return Some(PodVolume::Claim {
                name: format!("{}-{}", pod.name, self.name).into(),
                is_own: true,
            });
        }
        if let Some(csi) = &self.csi {
            return Some(PodVolume::Inline { driver: csi.driver.clone() });
        }
        if let Some(disk) = &self.gce_persistent_disk {
            return Some(PodVolume::GceDisk { name: disk.pd_name.clone(), read_only: disk.read_only });
        }
        if let Some(disk) = &self.aws_elastic_block_store {
            return Some(PodVolume::AwsDisk { id: disk.volume_id.clone() });
        }
        if let Some(target) = &self.iscsi {
            return Some(PodVolume::Iscsi { iqn: target.iqn.clone(), read_only: target.read_only });
        }
        let rbd = self.rbd.as_ref()?;
        Some(PodVolume::Rbd {
            monitors: rbd.monitors.clone().into(),
            pool: if rbd.pool.is_empty() { "rbd".into() } else { rbd.pool.clone() },
            image: rbd.image.clone(),
            read_only: rbd.read_only,
        })
    }
}

// === impl PodVolume ===

impl PodVolume {
    /// The claim, if it is one, of a Pod in this namespace.
    pub fn claim(&self, namespace: &str) -> Option<Key> {
        match self {
            Self::Claim { name, .. } => Some(Key::new(namespace, name)),
            _ => None,
        }
    }

    /// Whether two Pods cannot have these on one node.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::GceDisk { name, read_only },
                Self::GceDisk { name: other_name, read_only: other_read_only },
            ) => name == other_name && !(*read_only && *other_read_only),
            (Self::AwsDisk { id }, Self::AwsDisk { id: other }) => id == other,
            (Self::Iscsi { iqn, read_only }, Self::Iscsi { iqn: other, read_only: other_read_only }) => {
                iqn == other && !(*read_only && *other_read_only)
            }
            (
                Self::Rbd { monitors, pool, image, read_only },
                Self::Rbd {
                    monitors: other_monitors,
                    pool: other_pool,
                    image: other_image,
                    read_only: other_read_only,
                },
            ) => {
                monitors.iter().any(|monitor| other_monitors.contains(monitor))
                    && pool == other_pool
                    && image == other_image
                    && !(*read_only && *other_read_only)
            }
            _ => false,
        }
    }
}
