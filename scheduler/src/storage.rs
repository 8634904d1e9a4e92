//! Volumes, as far as scheduling looks at them: claims, what they are bound to, and who makes more.

use std::{collections::BTreeSet, sync::Arc};

use api_types::{quantity::Quantity, selectors::labels::Selector};
use client::{
    Key, Kind, Labels, Meta, Resource,
    meta::{null_is_default, selector},
    resource,
};
use serde::Deserialize;

use crate::{pod::NodeSelector, resources::ResourceList};

/// The annotation of a claim that says for which node it is to be provisioned.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The annotation of a claim whose binding is done.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The annotation that was there before claims had a field for their class.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// The provisioner of classes whose volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawClaim")]
pub struct Claim {
    /// The metadata.
    pub metadata: Meta,
    /// The volume it is bound to, empty if none.
    pub volume: Box<str>,
    /// Its class; none if it says none, which is not the same as the empty one.
    pub class: Option<Box<str>>,
    /// How it is to be mounted.
    pub access_modes: BTreeSet<Box<str>>,
    /// `Filesystem` or `Block`.
    pub mode: Box<str>,
    /// Which volumes will do.
    pub selector: Option<Selector>,
    /// How large it must be, in bytes.
    pub bytes: i64,
    /// The class of its attributes, empty if none.
    pub attributes_class: Box<str>,
    /// `Pending`, `Bound` or `Lost`.
    pub phase: Box<str>,
}

/// A PersistentVolume.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawVolume")]
pub struct Volume {
    /// The metadata.
    pub metadata: Meta,
    /// The claim it is for.
    pub claim: Option<ClaimRef>,
    /// Which nodes can have it; all if none.
    pub nodes: Option<NodeSelector>,
    /// How large it is, in bytes.
    pub bytes: i64,
    /// How it can be mounted.
    pub access_modes: BTreeSet<Box<str>>,
    /// Its class, empty if none.
    pub class: Box<str>,
    /// `Filesystem` or `Block`.
    pub mode: Box<str>,
    /// The class of its attributes, empty if none.
    pub attributes_class: Box<str>,
    /// `Available`, `Bound` and so on.
    pub phase: Box<str>,
    /// The CSI driver and its name for the volume, if it is a driver's.
    pub csi: Option<(Box<str>, Box<str>)>,
}

/// The claim that a volume is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClaimRef {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its uid; empty if any claim of the name will do.
    #[serde(deserialize_with = "null_is_default")]
    pub uid: Box<str>,
}

/// A StorageClass.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeClass {
    /// The metadata.
    pub metadata: Meta,
    /// Who makes volumes.
    pub provisioner: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    volume_binding_mode: Box<str>,
    /// Where volumes can be made; anywhere if there are none.
    #[serde(deserialize_with = "null_is_default")]
    pub allowed_topologies: Vec<Place>,
}

/// A place in terms of node labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Place {
    #[serde(deserialize_with = "null_is_default")]
    match_label_expressions: Vec<OneOf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct OneOf {
    key: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    values: Vec<Box<str>>,
}

/// A CSIDriver.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Driver {
    /// The metadata.
    pub metadata: Meta,
    spec: DriverSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DriverSpec {
    #[serde(deserialize_with = "null_is_default")]
    storage_capacity: bool,
}

/// A CSINode: the drivers of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeDrivers {
    /// The metadata.
    pub metadata: Meta,
    spec: NodeDriversSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeDriversSpec {
    #[serde(deserialize_with = "null_is_default")]
    drivers: Vec<NodeDriver>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeDriver {
    name: Box<str>,
    allocatable: Option<DriverRoom>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct DriverRoom {
    count: Option<i64>,
}

/// A CSIStorageCapacity: how much can be provisioned somewhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// The metadata.
    #[serde(default)]
    pub metadata: Meta,
    /// The class it is said of.
    #[serde(default)]
    pub storage_class_name: Box<str>,
    #[serde(default)]
    capacity: Option<Quantity>,
    #[serde(default)]
    maximum_volume_size: Option<Quantity>,
    #[serde(default = "Selector::nothing", deserialize_with = "selector")]
    node_topology: Selector,
}

/// A VolumeAttachment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AttachedVolume {
    /// The metadata.
    pub metadata: Meta,
    /// What is attached, where.
    pub spec: AttachedSpec,
}

/// What is attached, where.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachedSpec {
    /// The driver.
    pub attacher: Box<str>,
    /// The node.
    pub node_name: Box<str>,
    /// The volume.
    pub source: AttachedSource,
}

/// The volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachedSource {
    /// Its name.
    pub persistent_volume_name: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawClaim {
    metadata: Meta,
    spec: RawClaimSpec,
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawClaimSpec {
    #[serde(deserialize_with = "null_is_default")]
    volume_name: Box<str>,
    storage_class_name: Option<Box<str>>,
    #[serde(deserialize_with = "null_is_default")]
    access_modes: BTreeSet<Box<str>>,
    volume_mode: Option<Box<str>>,
    #[serde(deserialize_with = "present_selector")]
    selector: Option<Selector>,
    #[serde(deserialize_with = "null_is_default")]
    resources: RawRequests,
    #[serde(deserialize_with = "null_is_default")]
    volume_attributes_class_name: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawRequests {
    #[serde(deserialize_with = "null_is_default")]
    requests: ResourceList,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    #[serde(deserialize_with = "null_is_default")]
    phase: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawVolume {
    metadata: Meta,
    spec: RawVolumeSpec,
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawVolumeSpec {
    claim_ref: Option<ClaimRef>,
    node_affinity: Option<RawNodeAffinity>,
    #[serde(deserialize_with = "null_is_default")]
    capacity: ResourceList,
    #[serde(deserialize_with = "null_is_default")]
    access_modes: BTreeSet<Box<str>>,
    #[serde(deserialize_with = "null_is_default")]
    storage_class_name: Box<str>,
    volume_mode: Option<Box<str>>,
    #[serde(deserialize_with = "null_is_default")]
    volume_attributes_class_name: Box<str>,
    csi: Option<RawCsi>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNodeAffinity {
    required: Option<NodeSelector>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawCsi {
    driver: Box<str>,
    volume_handle: Box<str>,
}

fn present_selector<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Selector>, D::Error> {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    let object = Option::<LabelSelector>::deserialize(deserializer)?;
    Ok(object
        .map(|object| Selector::of_object(Some(&object)).unwrap_or_else(|_malformed| Selector::nothing())))
}

macro_rules! kind {
    ($($name:ident = $resource:ident;)*) => {$(
        impl Kind for $name {
            const RESOURCE: Resource = resource::$resource;

            fn meta(&self) -> &Meta {
                &self.metadata
            }
        }
    )*};
}

kind! {
    Claim = PERSISTENT_VOLUME_CLAIMS;
    Volume = PERSISTENT_VOLUMES;
    VolumeClass = STORAGE_CLASSES;
    Driver = CSI_DRIVERS;
    NodeDrivers = CSI_NODES;
    Capacity = CSI_STORAGE_CAPACITIES;
    AttachedVolume = VOLUME_ATTACHMENTS;
}

fn class_of(metadata: &Meta, said: Option<Box<str>>) -> Option<Box<str>> {
    metadata.annotations.get(OLD_CLASS).map(Into::into).or(said)
}

fn mode_or_default(mode: Option<Box<str>>) -> Box<str> {
    mode.unwrap_or_else(|| "Filesystem".into())
}

// === impl Claim ===

impl From<RawClaim> for Claim {
    fn from(raw: RawClaim) -> Self {
        let RawClaim { metadata, spec, status } = raw;
        Self {
            volume: spec.volume_name,
            class: class_of(&metadata, spec.storage_class_name),
            access_modes: spec.access_modes,
            mode: mode_or_default(spec.volume_mode),
            selector: spec.selector,
            bytes: spec.resources.requests.get("storage").map_or(0, Quantity::value),
            attributes_class: spec.volume_attributes_class_name,
            phase: status.phase,
            metadata,
        }
    }
}

impl Claim {
    /// Its place.
    pub fn key(&self) -> Key {
        self.metadata.key()
    }

    /// Whether it has a volume, and both say so.
    pub fn is_bound(&self) -> bool {
        !self.volume.is_empty() && self.metadata.annotations.contains(BIND_COMPLETED)
    }

    /// The node it is to be provisioned for.
    pub fn selected_node(&self) -> Option<&str> {
        self.metadata.annotations.get(SELECTED_NODE)
    }

    /// Whether only one Pod may use it.
    pub fn is_for_one_pod(&self) -> bool {
        self.access_modes.contains("ReadWriteOncePod")
    }
}

// === impl Volume ===

impl From<RawVolume> for Volume {
    fn from(raw: RawVolume) -> Self {
        let RawVolume { metadata, spec, status } = raw;
        Self {
            claim: spec.claim_ref,
            nodes: spec.node_affinity.and_then(|affinity| affinity.required),
            bytes: spec.capacity.get("storage").map_or(0, Quantity::value),
            access_modes: spec.access_modes,
            class: class_of(&metadata, Some(spec.storage_class_name)).unwrap_or_default(),
            mode: mode_or_default(spec.volume_mode),
            attributes_class: spec.volume_attributes_class_name,
            phase: status.phase,
            csi: spec.csi.map(|csi| (csi.driver, csi.volume_handle)),
            metadata,
        }
    }
}

impl Volume {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Whether a node can have it.
    pub fn reaches(&self, node: &crate::node::Node) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| nodes.matches(node))
    }
}

// === impl ClaimRef ===

impl ClaimRef {
    /// Whether this claim is meant.
    pub fn means(&self, claim: &Claim) -> bool {
        self.namespace == claim.metadata.namespace
            && self.name == claim.metadata.name
            && (self.uid.is_empty() || self.uid == claim.metadata.uid)
    }
}

// === impl VolumeClass ===

impl VolumeClass {
    /// Whether volumes are bound only once it is known where the Pod goes.
    pub fn waits_for_pod(&self) -> bool {
        &*self.volume_binding_mode == "WaitForFirstConsumer"
    }

    /// Whether somebody makes volumes.
    pub fn provisions(&self) -> bool {
        !matches!(&*self.provisioner, "" | NO_PROVISIONER)
    }

    /// Whether volumes can be made for a node.
    pub fn reaches(&self, labels: &Labels) -> bool {
        self.allowed_topologies.is_empty() || self.allowed_topologies.iter().any(|place| place.has(labels))
    }
}

// === impl Place ===

impl Place {
    /// Whether a node with these labels is there; nothing said is nowhere.
    fn has(&self, labels: &Labels) -> bool {
        !self.match_label_expressions.is_empty()
            && self.match_label_expressions.iter().all(|one| {
                labels.get(&one.key).is_some_and(|value| one.values.iter().any(|wanted| **wanted == *value))
            })
    }
}

// === impl Driver ===

impl Driver {
    /// Whether it says how much it can provision.
    pub fn tells_capacity(&self) -> bool {
        self.spec.storage_capacity
    }
}

// === impl NodeDrivers ===

impl NodeDrivers {
    /// How many volumes of a driver the node takes; none if it has no such driver, or no limit.
    pub fn limit(&self, driver: &str) -> Option<i64> {
        let driver = self.spec.drivers.iter().find(|known| *known.name == *driver)?;
        driver.allocatable.as_ref()?.count
    }
}

// === impl Capacity ===

impl Capacity {
    /// Whether a volume of this size can be made for a node.
    pub fn suffices(&self, bytes: i64, labels: &Labels) -> bool {
        // The largest volume matters more than what there is in all.
        let most = self.maximum_volume_size.as_ref().or(self.capacity.as_ref());
        most.is_some_and(|most| most.value() >= bytes) && self.node_topology.matches(labels)
    }
}
