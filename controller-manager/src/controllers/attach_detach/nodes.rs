//! Which volumes are attached, as each node is told.

use std::{collections::BTreeSet, sync::Arc};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers,
    controller::{Patch, Request},
    resource::NODES,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    NAME, PLUGIN,
    disks::{self, Disk},
    is_managed, needs, volumes_changed,
};
use crate::kinds::{
    CsiDriver, Node, PersistentVolume, PersistentVolumeClaim, Pod, VolumeAttachment, disk::is_disk,
    node::AttachedVolume, volume_attachment,
};

/// Tells nodes.
#[derive(Debug)]
pub struct Nodes;

/// All that matters to what a node is told.
#[derive(Debug)]
pub struct Observed {
    node: Arc<Node>,
    /// The volumes of drivers that are attached to it.
    attached: Vec<Attached>,
    /// The disks without a driver that Pods there need.
    disks: Vec<Disk>,
}

/// A volume that is attached.
#[derive(Debug)]
struct Attached {
    name: String,
    /// A Pod there needs it.
    needed: bool,
}

impl Controller for Nodes {
    type Root = Node;
    type Observed = Observed;
    const NAME: &'static str = NAME;

    fn triggers(&self, on: &mut Triggers<Node>) {
        on.changes::<Node>(|change, caches| {
            if disks::are_given_up(change) {
                return caches.read::<Node>().list().iter().map(|node| node.key()).collect();
            }
            if let Change::Modified { old, new } = change
                && old.status.volumes_attached == new.status.volumes_attached
                && old.status.volumes_in_use == new.status.volumes_in_use
                && is_managed(old) == is_managed(new)
            {
                return Vec::new();
            }
            vec![change.object().key()]
        });
        on.mapped::<VolumeAttachment>(|it, _| vec![Key::cluster(&it.spec.node_name)]);
        on.changes::<Pod>(|change, caches| {
            let Some(pod) = volumes_changed(change) else { return Vec::new() };
            let claims = pod.claims().map(|name| Key::new(&pod.metadata.namespace, &name));
            let others = claims.flat_map(|claim| disks::nodes_with(&claim, caches));
            std::iter::once(Key::cluster(&pod.spec.node_name)).chain(others).collect()
        });
        on.mapped::<PersistentVolumeClaim>(|claim, caches| disks::nodes_with(&claim.key(), caches));
        on.reads::<PersistentVolume>().reads::<CsiDriver>();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let node = caches.read::<Node>().get(root)?;
        let attachments = caches.read::<VolumeAttachment>().by_index(volume_attachment::NODE, &root.name);
        if attachments.is_empty() && !is_managed(&node) {
            return None;
        }
        let volumes = caches.read::<PersistentVolume>();
        let attached = attachments
            .iter()
            .filter(|it| it.status.attached && !it.metadata.is_terminating())
            .filter_map(|it| {
                let volume = it.spec.source.persistent_volume_name.as_ref()?;
                let id = volumes.get(&Key::cluster(volume))?.spec.csi.as_ref()?.id();
                let needed = needs(&id, caches).contains_key(&root.name);
                Some(Attached { name: format!("{PLUGIN}{id}"), needed })
            })
            .collect();
        let disks = if is_managed(&node) { disks::needed(&node, caches) } else { Vec::new() };
        Some(Observed { node, attached, disks })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { node, attached, disks } = observed;
        let told = |name: &str| node.status.volumes_attached.iter().any(|it| *it.name == *name);
        let in_use = |name: &str| node.status.volumes_in_use.iter().any(|it| **it == *name);
        // What nobody needs is taken off as soon as it is not in use, so that it can be detached.
        let wanted = attached.iter().filter(|it| it.needed || in_use(&it.name));
        let volume = |name: &str| AttachedVolume { name: name.into(), ..AttachedVolume::default() };
        let of_drivers = wanted.map(|it| volume(&it.name));
        let given = disks.iter().filter(|it| it.is_free || told(&it.name)).map(|it| volume(&it.name));
        let others = node.status.volumes_attached.iter().filter(|it| {
            let is_ours = it.name.starts_with(PLUGIN) || (is_disk(&it.name) && is_managed(node));
            !is_ours || (is_disk(&it.name) && in_use(&it.name))
        });
        let wanted: BTreeSet<_> = of_drivers.chain(given).chain(others.cloned()).collect();
        let told: BTreeSet<_> = node.status.volumes_attached.iter().cloned().collect();
        if wanted == told {
            return Plan::because("the node knows which volumes are attached");
        }
        let list = if wanted.is_empty() { Value::Null } else { json!(wanted) };
        let status = Patch::merge(json!({"status": {"volumesAttached": list}}));
        Plan::because(format!("{} volumes are attached", wanted.len()))
            .then(Request::patch(NODES, node.key(), status).on("status").if_same(&node.metadata.uid))
    }
}
