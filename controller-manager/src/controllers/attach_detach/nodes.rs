//! Which volumes are attached, as each node is told.

use std::{collections::BTreeSet, sync::Arc};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers,
    controller::{Patch, Request},
    resource::NODES,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{NAME, PLUGIN, claims_changed, is_managed, needs};
use crate::kinds::{
    CsiDriver, Node, PersistentVolume, PersistentVolumeClaim, Pod, VolumeAttachment, node::AttachedVolume,
    volume_attachment,
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
        on.changes::<Node>(|change, _| {
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
        on.changes::<Pod>(|change, _| {
            if claims_changed(change).is_empty() {
                return Vec::new();
            }
            vec![Key::cluster(&change.object().spec.node_name)]
        });
        on.reads::<PersistentVolume>().reads::<PersistentVolumeClaim>().reads::<CsiDriver>();
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
        Some(Observed { node, attached })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { node, attached } = observed;
        let in_use = |name: &str| node.status.volumes_in_use.iter().any(|it| **it == *name);
        // What nobody needs is taken off as soon as it is not in use, so that it can be detached.
        let wanted = attached.iter().filter(|it| it.needed || in_use(&it.name));
        let of_drivers =
            wanted.map(|it| AttachedVolume { name: it.name.as_str().into(), ..AttachedVolume::default() });
        let others = node.status.volumes_attached.iter().filter(|it| !it.name.starts_with(PLUGIN)).cloned();
        let wanted: BTreeSet<_> = of_drivers.chain(others).collect();
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
