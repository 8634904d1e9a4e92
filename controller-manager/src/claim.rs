//! Whose is it? A controller adopts objects its selector matches that nobody manages, and releases its own that it matches
//! no more.
//!
//! Invariant: values only. Adopting happens through writes whose preconditions hold only if the world is as it was seen.

use std::sync::Arc;

use api_types::selectors::labels::Selector;
use client::{
    Caches, Change, Index, Key, Kind, Meta, Owner, Triggers,
    controller::{Patch, Request},
};
use serde_json::{Value, json};

/// The index of objects that nobody manages, by namespace.
pub const ORPHANS: &str = "orphans";

/// A kind whose objects select what is theirs.
pub trait Selects: Kind {
    /// What selects.
    fn selector(&self) -> &Selector;
}

/// What is a root's, and what must be written to make it so.
#[derive(Debug)]
pub struct Claimed<K> {
    /// Its objects, adopted ones among them.
    pub objects: Vec<Arc<K>>,
    /// Adoptions and releases.
    pub writes: Vec<Request>,
}

/// The index of objects that nobody manages.
pub fn orphans<K: Kind>() -> Index<K> {
    Index {
        name: ORPHANS,
        values: |object| match object.meta().controller() {
            Some(_) => Vec::new(),
            None => vec![object.meta().namespace.as_ref().into()],
        },
    }
}

/// A change of the root, of an object that is its own, or of an orphan that it might adopt, concerns it.
pub fn triggers<R: Selects, K: Kind>(on: &mut Triggers<R>) {
    on.root();
    children::<R, K>(on);
}

/// A change of an object that is a root's own, or of an orphan that it might adopt, concerns it.
pub fn children<R: Selects, K: Kind>(on: &mut Triggers<R>) {
    on.owned::<K>().changes::<K>(|change, caches| {
        let Some(object) = change.after().filter(|object| object.meta().controller().is_none()) else {
            return Vec::new();
        };
        if let Change::Modified { old, new } = change
            && old.meta().labels == new.meta().labels
            && old.meta().controller().is_none()
        {
            return Vec::new();
        }
        selecting::<R>(object.meta(), caches)
    });
}

/// The roots whose selectors match an object.
fn selecting<R: Selects>(object: &Meta, caches: &Caches) -> Vec<Key> {
    let roots = caches.read::<R>().in_namespace(&object.namespace);
    roots.iter().filter(|root| root.selector().matches(&object.labels)).map(|root| root.key()).collect()
}

/// All that a root manages or might adopt. The kind must have the index of [`orphans`].
pub fn candidates<K: Kind>(root: &Meta, caches: &Caches) -> Vec<Arc<K>> {
    let cache = caches.read::<K>();
    let mut found = cache.controlled_by(&root.uid);
    found.extend(cache.by_index(ORPHANS, &root.namespace));
    found
}

/// Decides what is a root's. `finalizers` are put on what it adopts and taken from what it releases.
pub fn claim<R: Selects, K: Kind>(root: &R, candidates: &[Arc<K>], finalizers: &[&str]) -> Claimed<K> {
    claim_if(root, candidates, finalizers, |_| true)
}

/// The same, where an object must also be `fit` to be the root's.
pub fn claim_if<R: Selects, K: Kind>(
    root: &R,
    candidates: &[Arc<K>],
    finalizers: &[&str],
    fit: impl Fn(&K) -> bool,
) -> Claimed<K> {
    let meta = root.meta();
    let mut claimed = Claimed { objects: Vec::new(), writes: Vec::new() };
    let mut adopts = false;
    for object in candidates {
        let matches = root.selector().matches(&object.meta().labels) && fit(object);
        match object.meta().controller() {
            Some(owner) if owner.uid != meta.uid => {}
            Some(_) if matches => claimed.objects.push(Arc::clone(object)),
            Some(_) => {
                if !meta.is_terminating() {
                    claimed.writes.push(release::<K>(meta, object, finalizers));
                }
            }
            None if !matches || meta.is_terminating() || object.meta().is_terminating() => {}
            None => {
                if !adopts {
                    claimed.writes.push(still_the_same::<R>(meta));
                    adopts = true;
                }
                claimed.writes.push(adopt::<R, K>(meta, object, finalizers));
                claimed.objects.push(Arc::clone(object));
            }
        }
    }
    claimed
}

/// Changes nothing, and fails if the root has changed since it was seen: it may be on its way out, and then whatever it
/// adopted would go with it.
fn still_the_same<R: Kind>(meta: &Meta) -> Request {
    Request::merge(R::RESOURCE, meta.key(), json!({})).if_unchanged(meta)
}

fn adopt<R: Kind, K: Kind>(meta: &Meta, object: &Arc<K>, finalizers: &[&str]) -> Request {
    let mut metadata = json!({"ownerReferences": [Owner::controller_of(&R::RESOURCE, meta)]});
    add_finalizers(&mut metadata, "finalizers", finalizers);
    patch(object, &metadata)
}

fn release<K: Kind>(meta: &Meta, object: &Arc<K>, finalizers: &[&str]) -> Request {
    let mut metadata = json!({"ownerReferences": [{"$patch": "delete", "uid": meta.uid}]});
    add_finalizers(&mut metadata, "$deleteFromPrimitiveList/finalizers", finalizers);
    patch(object, &metadata)
}

fn add_finalizers(metadata: &mut Value, field: &str, finalizers: &[&str]) {
    if let (Value::Object(fields), false) = (metadata, finalizers.is_empty()) {
        fields.insert(field.to_owned(), json!(finalizers));
    }
}

fn patch<K: Kind>(object: &Arc<K>, metadata: &Value) -> Request {
    let patch = Patch::strategic(json!({ "metadata": metadata }));
    Request::patch(K::RESOURCE, object.key(), patch).if_same(&object.meta().uid)
}
