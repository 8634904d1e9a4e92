//! Who owns whom, by uid, of everything in the cluster.
//!
//! Invariant: values only. The graph is what the caches have seen, and may be behind; that something is not in it proves
//! nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use client::{Change, Meta, Resource, reflector::Metadata};

use super::{FOREGROUND, ORPHAN};

/// The uid of an object.
pub(super) type Uid = Arc<str>;

/// Who owns whom.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<Uid, Node>,
    /// The objects that name an owner, whether that is there or not.
    dependents: BTreeMap<Uid, BTreeSet<Uid>>,
}

/// An object.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) resource: Arc<Resource>,
    pub(super) object: Arc<Metadata>,
}

/// An object with all that matters to what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) resource: Arc<Resource>,
    pub(super) object: Arc<Metadata>,
    /// Its owners as the graph knows them, in the order of the references.
    pub(super) owners: Vec<Option<Node>>,
    pub(super) dependents: Vec<Node>,
}

// === impl Node ===

impl Node {
    pub(super) fn uid(&self) -> Uid {
        self.object.metadata.uid.as_ref().into()
    }

    pub(super) fn deletes_dependents(&self) -> bool {
        deletes_dependents(&self.object.metadata)
    }

    /// Whether the object holds up the foreground deletion of an owner.
    pub(super) fn blocks(&self, owner: &str) -> bool {
        self.object.metadata.owners.iter().any(|it| &*it.uid == owner && it.block_owner_deletion)
    }
}

/// Whether an object waits for the foreground deletion of what it owns.
pub(super) fn deletes_dependents(meta: &Meta) -> bool {
    meta.is_terminating() && meta.has_finalizer(FOREGROUND)
}

/// Whether an object waits until what it owns has been let go of.
pub(super) fn orphans_dependents(meta: &Meta) -> bool {
    meta.is_terminating() && meta.has_finalizer(ORPHAN)
}

// === impl Graph ===

impl Graph {
    /// Takes up a change, and says which objects are to be looked at.
    pub(super) fn apply(&mut self, resource: &Arc<Resource>, change: &Change<Metadata>) -> Vec<Uid> {
        match change {
            Change::Added(new) => self.upsert(resource, new),
            Change::Modified { old, new } => {
                let mut concerned = Vec::new();
                if old.metadata.uid != new.metadata.uid {
                    concerned = self.remove(&old.metadata);
                }
                concerned.extend(self.upsert(resource, new));
                concerned
            }
            Change::Deleted { last, .. } => self.remove(&last.metadata),
        }
    }

    fn upsert(&mut self, resource: &Arc<Resource>, new: &Arc<Metadata>) -> Vec<Uid> {
        let meta = &new.metadata;
        let uid: Uid = meta.uid.as_ref().into();
        let node = Node { resource: Arc::clone(resource), object: Arc::clone(new) };
        let old = self.nodes.insert(Arc::clone(&uid), node);
        let old = old.as_ref().map(|node| &node.object.metadata);
        let mut concerned = Vec::new();
        if old.is_none_or(|old| old.owners != meta.owners) {
            for owner in old.into_iter().flat_map(|old| &old.owners) {
                self.unlink(&owner.uid, &uid);
                let holds_up = meta.owners.iter().any(|it| it.uid == owner.uid && it.block_owner_deletion);
                if owner.block_owner_deletion && !holds_up && self.waits(&owner.uid) {
                    concerned.push(owner.uid.as_ref().into());
                }
            }
            for owner in &meta.owners {
                self.dependents.entry(owner.uid.as_ref().into()).or_default().insert(Arc::clone(&uid));
            }
            // Owners that are there and stay are no reason to look; they are most.
            let settled =
                |owner: &client::Owner| self.nodes.contains_key(&*owner.uid) && !self.waits(&owner.uid);
            if !meta.owners.iter().all(settled) {
                concerned.push(Arc::clone(&uid));
            }
        }
        let begins = |is: fn(&Meta) -> bool| is(meta) && !old.is_some_and(is);
        if begins(deletes_dependents) {
            concerned.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
            concerned.push(Arc::clone(&uid));
        }
        if begins(orphans_dependents) {
            concerned.push(uid);
        }
        concerned
    }

    fn remove(&mut self, meta: &Meta) -> Vec<Uid> {
        if self.nodes.remove(&*meta.uid).is_none() {
            return Vec::new();
        }
        let mut concerned: Vec<Uid> =
            self.dependents.get(&*meta.uid).into_iter().flatten().cloned().collect();
        for owner in &meta.owners {
            self.unlink(&owner.uid, &meta.uid);
            if self.waits(&owner.uid) {
                concerned.push(owner.uid.as_ref().into());
            }
        }
        concerned
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    fn waits(&self, uid: &str) -> bool {
        self.nodes.get(uid).is_some_and(Node::deletes_dependents)
    }

    /// A resource is served no more: nothing of it is known, and what it owned is to be looked at.
    pub(super) fn forget(&mut self, resource: &Resource) -> Vec<Uid> {
        let gone: Vec<_> = self
            .nodes
            .values()
            .filter(|node| *node.resource == *resource)
            .map(|node| Arc::clone(&node.object))
            .collect();
        gone.iter().flat_map(|object| self.remove(&object.metadata)).collect()
    }

    /// An object with all that matters to it.
    pub(super) fn view(&self, uid: &str) -> Option<View> {
        let Node { resource, object } = self.nodes.get(uid)?.clone();
        let meta = &object.metadata;
        let owners = meta.owners.iter().map(|owner| self.nodes.get(&*owner.uid).cloned()).collect();
        let dependents = self.dependents.get(uid).into_iter().flatten();
        let dependents = dependents.filter_map(|uid| self.nodes.get(uid).cloned()).collect();
        Some(View { resource, owners, dependents, object })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use client::{Revision, resource};
    use serde_json::{Value, json};

    use super::*;

    pub(in super::super) fn object(uid: &str, owners: &[&str], more: &Value) -> Arc<Metadata> {
        let owners: Vec<_> = owners
            .iter()
            .map(|uid| {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": true})
            })
            .collect();
        let mut metadata = json!({"namespace": "ns", "name": uid, "uid": uid, "resourceVersion": "1", "ownerReferences": owners});
        for (field, value) in more.as_object().into_iter().flatten() {
            metadata[field] = value.clone();
        }
        Arc::new(serde_json::from_value(json!({ "metadata": metadata })).unwrap())
    }

    pub(in super::super) fn waiting() -> Value {
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FOREGROUND]})
    }

    #[test]
    fn a_change_concerns_those_whose_fate_hangs_on_it() {
        let resource = Arc::new(resource::CONFIG_MAPS);
        let mut graph = Graph::default();
        let mut apply = |change: &Change<Metadata>| -> Vec<String> {
            graph.apply(&resource, change).iter().map(|uid| uid.as_ref().to_owned()).collect()
        };
        assert_eq!(apply(&Change::Added(object("a", &["x"], &json!({})))), ["a"], "its owner is not known");
        assert!(apply(&Change::Added(object("x", &[], &json!({})))).is_empty());
        assert!(apply(&Change::Added(object("b", &["x"], &json!({})))).is_empty(), "its owner is there");
        let change =
            Change::Modified { old: object("x", &[], &json!({})), new: object("x", &[], &waiting()) };
        assert_eq!(apply(&change), ["a", "b", "x"], "a foreground deletion begins");
        let change =
            Change::Modified { old: object("b", &["x"], &json!({})), new: object("b", &[], &json!({})) };
        assert_eq!(apply(&change), ["x"], "it no longer holds up its owner");
        let gone = Change::Deleted { last: object("a", &["x"], &json!({})), revision: Revision(9) };
        assert_eq!(apply(&gone), ["x"]);
        assert!(apply(&gone).is_empty());
        assert_eq!(apply(&Change::Added(object("c", &["x"], &json!({})))), ["c"], "its owner is going");
        let gone = Change::Deleted { last: object("x", &[], &json!({})), revision: Revision(9) };
        assert_eq!(apply(&gone), ["c"]);
    }

    #[test]
    fn a_resource_that_is_served_no_more_leaves_orphans() {
        let mut graph = Graph::default();
        graph.apply(&Arc::new(resource::CONFIG_MAPS), &Change::Added(object("x", &[], &json!({}))));
        graph.apply(&Arc::new(resource::SECRETS), &Change::Added(object("a", &["x"], &json!({}))));
        assert_eq!(graph.forget(&resource::CONFIG_MAPS), ["a".into()]);
        assert!(graph.view("x").is_none() && graph.view("a").is_some());
    }
}
