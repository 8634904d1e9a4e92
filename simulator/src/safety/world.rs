//! The cluster as its history tells it, indexed by what the rules ask: by kind, by uid, by owner.
//!
//! Invariant: a change costs as much as the objects it touches, however many others there are: a world of five thousand
//! Pods is looked at after every single change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;

use super::object::Object;
use crate::log::Change;

/// Who has asked for what to be deleted, by who and what: told by the callers' connections before the server hears of it.
/// Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Wishes(Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>);

/// What there is.
#[derive(Debug, Default)]
pub struct World {
    kinds: BTreeMap<String, BTreeMap<String, Arc<Object>>>,
    by_uid: BTreeMap<String, Arc<Object>>,
    children: BTreeMap<String, BTreeSet<String>>,
    tallies: BTreeMap<String, Tally>,
    nodes: BTreeSet<String>,
    /// Who asked for what to go.
    pub wishes: Wishes,
}

/// The Pods of one owner, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Neither at their end nor on their way out.
    pub active: i64,
    /// Of these, those that are ready.
    pub ready: i64,
}

/// One change, with what was there before.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// What the store told.
    pub change: &'a Change,
    /// The object before it.
    pub before: Option<Arc<Object>>,
}

// === impl Wishes ===

impl Wishes {
    /// `who` asks that an object be deleted, or evicted.
    pub fn ask(&self, who: &str, plural: &str, namespace: &str, name: &str) {
        let what = format!("{plural}/{namespace}/{name}");
        self.0.lock().entry(what).or_default().insert(who.to_owned());
    }

    /// Who has asked that the object of this change go, since there was one of its name.
    pub fn of(&self, change: &Change) -> BTreeSet<String> {
        self.0.lock().get(&name_of(change)).cloned().unwrap_or_default()
    }

    fn forget(&self, change: &Change) {
        self.0.lock().remove(&name_of(change));
    }
}

fn name_of(change: &Change) -> String {
    let plural = change.key.split('/').nth(2).unwrap_or_default();
    format!("{plural}/{}/{}", change.object.metadata.namespace, change.object.metadata.name)
}

// === impl Tally ===

impl Tally {
    fn count(&mut self, pod: &Object, by: i64) {
        if pod.is_active() {
            self.active += by;
            if pod.is_true("Ready") {
                self.ready += by;
            }
        }
    }
}

// === impl Step ===

impl Step<'_> {
    /// The object: as it is now or, if it is gone, as it was.
    pub fn object(&self) -> &Arc<Object> {
        &self.change.object
    }

    /// Whether the object is there for the first time.
    pub fn is_new(&self) -> bool {
        self.before.is_none() && !self.change.deleted
    }

    /// Whether it has just been told to go, or is gone without ever having been told.
    pub fn is_farewell(&self) -> bool {
        let told = |object: &Object| object.metadata.deletion_timestamp.is_some();
        let before = self.before.as_ref().is_some_and(|before| told(before));
        !before && (self.change.deleted || told(&self.change.object))
    }

    /// Whether a condition has just ceased to hold although nobody wants the object gone.
    pub fn lost(&self, condition: &str) -> bool {
        let held = self.before.as_ref().is_some_and(|before| before.is_true(condition));
        held && !self.change.deleted && !self.change.object.is_true(condition)
    }

    /// Whether a condition has just come to hold.
    pub fn gained(&self, condition: &str) -> bool {
        let held = self.before.as_ref().is_some_and(|before| before.is_true(condition));
        !held && !self.change.deleted && self.change.object.is_true(condition)
    }
}

// === impl World ===

impl World {
    /// An empty one.
    pub fn with(wishes: Wishes) -> Self {
        Self { wishes, ..Self::default() }
    }

    /// Takes a change in, and says what was there before.
    pub(super) fn take<'a>(&mut self, change: &'a Change) -> Step<'a> {
        let kind = change.object.kind.as_str();
        let of_kind = match self.kinds.get_mut(kind) {
            Some(of_kind) => of_kind,
            None => self.kinds.entry(kind.to_owned()).or_default(),
        };
        let before = if change.deleted {
            of_kind.remove(&change.key)
        } else {
            of_kind.insert(change.key.clone(), Arc::clone(&change.object))
        };
        if let Some(before) = &before {
            self.unlink(before);
        }
        if !change.deleted {
            self.link(&change.object);
        }
        Step { change, before }
    }

    /// What a rule has seen of an object that is gone, it has seen.
    pub(super) fn settle(&self, change: &Change) {
        if change.deleted {
            self.wishes.forget(change);
        }
    }

    fn link(&mut self, object: &Arc<Object>) {
        let uid = &object.metadata.uid;
        self.by_uid.insert(uid.clone(), Arc::clone(object));
        for owner in &object.metadata.owner_references {
            self.children.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        match object.kind.as_str() {
            "Pod" => self.tally(object, 1),
            "Node" => drop(self.nodes.insert(object.metadata.name.clone())),
            _ => {}
        }
    }

    fn unlink(&mut self, object: &Object) {
        let uid = &object.metadata.uid;
        self.by_uid.remove(uid);
        for owner in &object.metadata.owner_references {
            if let Some(children) = self.children.get_mut(&owner.uid) {
                children.remove(uid);
                if children.is_empty() {
                    self.children.remove(&owner.uid);
                }
            }
        }
        if object.kind == "Pod" {
            self.tally(object, -1);
        }
    }

    fn tally(&mut self, pod: &Object, by: i64) {
        if let Some(owner) = pod.controller() {
            self.tallies.entry(owner.uid.clone()).or_default().count(pod, by);
        }
    }

    /// The objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        self.kinds.get(kind).into_iter().flat_map(BTreeMap::values)
    }

    /// Everything.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.kinds.values().flat_map(BTreeMap::values)
    }

    /// The object with a uid.
    pub fn by_uid(&self, uid: &str) -> Option<&Arc<Object>> {
        self.by_uid.get(uid)
    }

    /// What refers to an object as its owner, of one kind.
    pub fn owned_by<'a>(
        &'a self,
        uid: &str,
        kind: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let children = self.children.get(uid).into_iter().flatten();
        children.filter_map(|uid| self.by_uid.get(uid)).filter(move |it| it.kind == kind)
    }

    /// The Pods that an owner manages, counted.
    pub fn tally_of(&self, uid: &str) -> Tally {
        self.tallies.get(uid).copied().unwrap_or_default()
    }

    /// Whether there ever was a node of that name.
    pub fn knows_node(&self, name: &str) -> bool {
        self.nodes.contains(name)
    }

    /// The owner that manages an object, if it is there and of this kind.
    pub fn manager_of(&self, object: &Object, kind: &str) -> Option<&Arc<Object>> {
        let owner = object.controller()?;
        self.by_uid(&owner.uid).filter(|owner| owner.kind == kind)
    }
}
