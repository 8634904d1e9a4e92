//! What else decisions look at, beside nodes and Pods: objects by key, a copy of which costs a reference count a kind.
//!
//! Invariant: values as caches have them; the assumptions about volumes that are not yet in the cluster are beside them.

use std::{collections::BTreeMap, sync::Arc};

use client::{Change, Key, Kind};

use crate::{
    devices::Devices,
    plugin::Holding,
    storage::{AttachedVolume, Capacity, Claim, Driver, NodeDrivers, Volume, VolumeClass},
    workload::{Budget, ReplicaSet, ReplicationController, Service, StatefulSet},
};

/// Objects of a kind.
#[derive(Debug)]
pub struct Objects<K> {
    all: Arc<BTreeMap<Key, Arc<K>>>,
    /// Counts changes.
    version: u64,
}

/// All kinds.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// PodDisruptionBudgets.
    pub budgets: Objects<Budget>,
    /// Services.
    pub services: Objects<Service>,
    /// ReplicationControllers.
    pub replication_controllers: Objects<ReplicationController>,
    /// ReplicaSets.
    pub replica_sets: Objects<ReplicaSet>,
    /// StatefulSets.
    pub stateful_sets: Objects<StatefulSet>,
    /// PersistentVolumeClaims.
    pub claims: Objects<Claim>,
    /// PersistentVolumes.
    pub volumes: Objects<Volume>,
    /// StorageClasses.
    pub classes: Objects<VolumeClass>,
    /// CSIDrivers.
    pub drivers: Objects<Driver>,
    /// CSINodes.
    pub node_drivers: Objects<NodeDrivers>,
    /// CSIStorageCapacities.
    pub capacities: Objects<Capacity>,
    /// VolumeAttachments.
    pub attached: Objects<AttachedVolume>,
    /// Devices.
    pub devices: Devices,
    /// What Pods hold that are on their way, by their uid.
    held: Arc<BTreeMap<Box<str>, Vec<Holding>>>,
}

// === impl Objects ===

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self { all: Arc::default(), version: 0 }
    }
}

impl<K> Clone for Objects<K> {
    fn clone(&self) -> Self {
        Self { all: Arc::clone(&self.all), version: self.version }
    }
}

impl<K: Kind> Objects<K> {
    /// Counts changes: the same number is the same objects.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// An object.
    pub fn get(&self, key: &Key) -> Option<&Arc<K>> {
        self.all.get(key)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<K>> {
        self.all.values()
    }

    /// Those of a namespace.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<K>> {
        self.all
            .range(Key::new(namespace, "")..)
            .take_while(move |(key, _)| *key.namespace == *namespace)
            .map(|(_, object)| object)
    }

    /// Takes a change in.
    pub fn take(&mut self, change: &Change<K>) {
        match change.after() {
            Some(object) => self.set(Arc::clone(object)),
            None => {
                self.version += 1;
                Arc::make_mut(&mut self.all).remove(&change.object().meta().key());
            }
        }
    }

    /// An object came or changed.
    pub fn set(&mut self, object: Arc<K>) {
        self.version += 1;
        Arc::make_mut(&mut self.all).insert(object.meta().key(), object);
    }
}

// === impl Others ===

impl Others {
    /// A Pod that is on its way to a node holds something.
    pub fn hold(&mut self, pod: &str, holdings: Vec<Holding>) {
        for holding in &holdings {
            if let Holding::Devices(holding) = holding {
                self.devices.hold(pod, holding);
            }
        }
        if !holdings.is_empty() {
            Arc::make_mut(&mut self.held).insert(pod.into(), holdings);
        }
    }

    /// It holds it no more: it is bound, or it does not go there.
    pub fn release(&mut self, pod: &str) -> Vec<Holding> {
        self.devices.release(pod);
        if self.held.contains_key(pod) {
            Arc::make_mut(&mut self.held).remove(pod).unwrap_or_default()
        } else {
            Vec::new()
        }
    }

    /// What a Pod holds.
    pub fn held_by(&self, pod: &str) -> &[Holding] {
        self.held.get(pod).map_or(&[], Vec::as_slice)
    }

    /// The claim that a Pod on its way holds a volume for.
    pub fn claim_on_its_way(&self, volume: &str) -> Option<&Key> {
        self.held.values().flatten().find_map(|holding| match holding {
            Holding::Volume { volume: held, claim } if **held == *volume => Some(claim),
            Holding::Volume { .. } | Holding::Provision { .. } | Holding::Devices(_) => None,
        })
    }

    /// The node for which a volume is to be made for a claim, by a Pod on its way.
    pub fn node_on_its_way(&self, wanted: &Key) -> Option<&str> {
        self.held.values().flatten().find_map(|holding| match holding {
            Holding::Provision { claim, node } if claim == wanted => Some(&**node),
            Holding::Provision { .. } | Holding::Volume { .. } | Holding::Devices(_) => None,
        })
    }
}
