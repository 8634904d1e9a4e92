//! Which objects are tied to which nodes.
//!
//! Pods tie what they refer to directly to their node, counted, since many pods refer to the same things; volumes and
//! the secrets of volumes are followed through the claim when asked. Invariant: `ties` is the sum of `pods`.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Kind,
    references::{ClaimedVolume, OnNode, PodReferences},
};

/// The kinds of things that nodes may read because something on the node refers to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    ConfigMap,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ResourceClaim,
    ResourceSlice,
    Secret,
    ServiceAccount,
    VolumeAttachment,
}

/// A thing: kind, namespace (empty for those without), name.
type Key = (Thing, String, String);

#[derive(Debug, Default)]
pub(super) struct Graph {
    /// What each bound pod ties, itself included, and to which node.
    pods: BTreeMap<(String, String), (Arc<str>, Vec<Key>)>,
    /// By thing: the nodes it is tied to, and by how many pods.
    ties: BTreeMap<Key, BTreeMap<Arc<str>, usize>>,
    /// By volume: the claim it is bound to, and its secrets.
    volumes: BTreeMap<String, (Key, Vec<Key>)>,
    /// By secret: the volumes that need it.
    volume_secrets: BTreeMap<Key, Vec<String>>,
    /// Things that name their node themselves.
    on_node: BTreeMap<Key, Arc<str>>,
}

// === impl Graph ===

impl Graph {
    pub(super) fn set_pod(&mut self, namespace: &str, name: &str, pod: Option<PodReferences>) {
        let pod = pod.as_ref().and_then(|pod| Some((pod, pod.node()?)));
        let key = (namespace.to_owned(), name.to_owned());
        let next = pod.map(|(pod, node)| {
            let mut ties = vec![(Thing::Pod, namespace.to_owned(), name.to_owned())];
            let tie = |thing, name: String| (thing, namespace.to_owned(), name);
            ties.extend(pod.things().into_iter().map(|(thing, name)| tie(thing, name.to_owned())));
            ties.extend(pod.ephemeral_claims().map(|claim| tie(Thing::PersistentVolumeClaim, claim)));
            (node, ties)
        });
        if let Some((node, ties)) = self.pods.get(&key) {
            // Most changes of a pod are to its status: nothing to do.
            if next.as_ref().is_some_and(|next| next.0 == &**node && next.1 == *ties) {
                return;
            }
        }
        if let Some((node, ties)) = self.pods.remove(&key) {
            for tie in ties {
                self.untie(&tie, &node);
            }
        }
        if let Some((node, ties)) = next {
            let node: Arc<str> = node.into();
            for tie in &ties {
                *self.ties.entry(tie.clone()).or_default().entry(Arc::clone(&node)).or_default() += 1;
            }
            self.pods.insert(key, (node, ties));
        }
    }

    pub(super) fn set_volume(&mut self, name: &str, volume: Option<ClaimedVolume>) {
        if let Some((_, secrets)) = self.volumes.remove(name) {
            for secret in secrets {
                if let Some(volumes) = self.volume_secrets.get_mut(&secret) {
                    volumes.retain(|it| it != name);
                    if volumes.is_empty() {
                        self.volume_secrets.remove(&secret);
                    }
                }
            }
        }
        // Without a claim no pod can have it.
        let Some(volume) = volume else { return };
        let Some((namespace, claim)) = volume.claim() else { return };
        let claim = (Thing::PersistentVolumeClaim, namespace.to_owned(), claim.to_owned());
        let secrets: Vec<Key> = volume
            .secrets()
            .into_iter()
            .map(|(namespace, name)| (Thing::Secret, namespace.to_owned(), name.to_owned()))
            .collect();
        for secret in &secrets {
            self.volume_secrets.entry(secret.clone()).or_default().push(name.to_owned());
        }
        self.volumes.insert(name.to_owned(), (claim, secrets));
    }

    pub(super) fn set_on_node(&mut self, thing: Thing, name: &str, object: Option<OnNode>) {
        let key = (thing, String::new(), name.to_owned());
        match object.as_ref().and_then(OnNode::node) {
            Some(node) => {
                self.on_node.insert(key, node.into());
            }
            None => {
                self.on_node.remove(&key);
            }
        }
    }

    /// Namespaces and names of the objects of a kind that tie something.
    pub(super) fn keys(&self, kind: Kind) -> Vec<(String, String)> {
        let on_node = |thing: Thing| {
            let keys = self.on_node.keys().filter(|key| key.0 == thing);
            keys.map(|(_, namespace, name)| (namespace.clone(), name.clone())).collect()
        };
        match kind {
            Kind::Pod => self.pods.keys().cloned().collect(),
            Kind::PersistentVolume => self.volumes.keys().map(|name| (String::new(), name.clone())).collect(),
            Kind::VolumeAttachment => on_node(Thing::VolumeAttachment),
            Kind::ResourceSlice => on_node(Thing::ResourceSlice),
        }
    }

    /// Whether the thing is tied to the node.
    pub(super) fn reaches(&self, thing: Thing, namespace: &str, name: &str, node: &str) -> bool {
        let key = (thing, namespace.to_owned(), name.to_owned());
        match thing {
            Thing::PersistentVolume => self.volume_reaches(name, node),
            Thing::ResourceSlice | Thing::VolumeAttachment => {
                self.on_node.get(&key).is_some_and(|it| &**it == node)
            }
            Thing::Secret => {
                self.is_tied(&key, node)
                    || self
                        .volume_secrets
                        .get(&key)
                        .is_some_and(|volumes| volumes.iter().any(|volume| self.volume_reaches(volume, node)))
            }
            Thing::ConfigMap
            | Thing::PersistentVolumeClaim
            | Thing::Pod
            | Thing::ResourceClaim
            | Thing::ServiceAccount => self.is_tied(&key, node),
        }
    }

    fn volume_reaches(&self, volume: &str, node: &str) -> bool {
        self.volumes.get(volume).is_some_and(|(claim, _)| self.is_tied(claim, node))
    }

    fn is_tied(&self, key: &Key, node: &str) -> bool {
        self.ties.get(key).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn untie(&mut self, key: &Key, node: &str) {
        let Some(nodes) = self.ties.get_mut(key) else { return };
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            self.ties.remove(key);
        }
    }

    /// Whether nothing is left that a removed object tied.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
            && self.ties.is_empty()
            && self.volumes.is_empty()
            && self.volume_secrets.is_empty()
            && self.on_node.is_empty()
    }
}
