//! Which keys a change concerns.
//!
//! Invariant: a trigger only names keys. What the change was stays in the record; the reconcile looks at the state.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::record::Cause;
use crate::{Cache, Caches, Change, Key, Kind, Meta, queue::Queue, reflector::caches::ErasedCache};

/// So many causes of one reconcile are kept; of more, the first of them and the newest.
const CAUSES_MAX: usize = 8;

/// Collects what a controller is triggered by.
pub struct Triggers<R: Kind> {
    caches: Caches,
    inbox: Inbox,
    subscriptions: Vec<Box<dyn FnOnce() + Send>>,
    kinds: Vec<Arc<dyn ErasedCache>>,
    _root: PhantomData<fn() -> R>,
}

/// A queue of keys that remembers why each was added. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    queue: Queue<Key>,
    causes: Arc<Mutex<Causes>>,
}

#[derive(Default)]
struct Causes {
    /// What was reported since the key was last taken.
    known: BTreeMap<Key, Vec<Cause>>,
    /// Why the key will be looked at when nothing is reported.
    scheduled: BTreeMap<Key, Cause>,
}

/// The kinds that were declared.
pub struct Declared(Vec<Arc<dyn ErasedCache>>);

// === impl Declared ===

impl Declared {
    /// Waits until the first list of each is in.
    pub async fn synced(&self) {
        for cache in &self.0 {
            cache.synced().await;
        }
    }
}

// === impl Inbox ===

impl Inbox {
    /// Around a queue.
    pub fn new(queue: Queue<Key>) -> Self {
        Self { queue, causes: Arc::default() }
    }

    /// The queue.
    pub fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    /// Adds a key because of `cause`.
    pub fn add(&self, key: Key, cause: Cause) {
        self.remember(&key, cause);
        self.queue.add(key);
    }

    /// Adds a key after a delay because of `cause`.
    pub fn later(&self, key: &Key, cause: Cause, delay: Duration) {
        self.causes.lock().scheduled.insert(key.clone(), cause);
        self.queue.add_after(key.clone(), delay);
    }

    fn remember(&self, key: &Key, cause: Cause) {
        let mut causes = self.causes.lock();
        let of_key = causes.known.entry(key.clone()).or_default();
        if of_key.len() >= CAUSES_MAX {
            of_key.remove(1);
        }
        of_key.push(cause);
    }

    /// Why the key in hand was added.
    pub fn causes_of(&self, key: &Key) -> Vec<Cause> {
        let mut causes = self.causes.lock();
        let due = if self.queue.is_later(key) { None } else { causes.scheduled.remove(key) };
        causes.known.remove(key).into_iter().flatten().chain(due).collect()
    }
}

// === impl Triggers ===

impl<R: Kind> Triggers<R> {
    /// Nothing triggers yet.
    pub fn new(caches: Caches, inbox: Inbox) -> Self {
        Self { caches, inbox, subscriptions: Vec::new(), kinds: Vec::new(), _root: PhantomData }
    }

    /// A change of a root object concerns it.
    pub fn root(&mut self) -> &mut Self {
        self.changes::<R>(|change, _| vec![change.object().key()])
    }

    /// A change of an object concerns the root that manages it by its controller reference: the one before the change
    /// and the one after it.
    pub fn owned<K: Kind>(&mut self) -> &mut Self {
        self.changes::<K>(|change, _| {
            sides(change).into_iter().filter_map(|object| root_of::<R>(object.meta())).collect()
        })
    }

    /// A change of an object concerns the keys that `map` names for it, as it was and as it is.
    pub fn mapped<K: Kind>(
        &mut self,
        map: impl Fn(&K, &Caches) -> Vec<Key> + Send + Sync + 'static,
    ) -> &mut Self {
        self.changes::<K>(move |change, caches| {
            sides(change).into_iter().flat_map(|object| map(object, caches)).collect()
        })
    }

    /// A change concerns the keys that `map` names: the most general trigger, for those that must compare old and new.
    pub fn changes<K: Kind>(
        &mut self,
        map: impl Fn(&Change<K>, &Caches) -> Vec<Key> + Send + Sync + 'static,
    ) -> &mut Self {
        let cache = self.want::<K>();
        let caches = self.caches.clone();
        let inbox = self.inbox.clone();
        self.subscriptions.push(Box::new(move || {
            cache.subscribe(move |change| {
                let mut keys = map(change, &caches);
                keys.sort_unstable();
                keys.dedup();
                for key in keys {
                    inbox.add(key, Cause::of(change));
                }
            });
        }));
        self
    }

    /// A kind is read although no change of it concerns anybody.
    pub fn reads<K: Kind>(&mut self) -> &mut Self {
        self.want::<K>();
        self
    }

    fn want<K: Kind>(&mut self) -> Cache<K> {
        let cache = self.caches.want::<K>();
        self.kinds.push(Arc::new(cache.clone()));
        cache
    }

    /// A key is looked at when the controller starts, whether or not there is an object: for work that has no root.
    pub fn start(&mut self, key: Key) -> &mut Self {
        let inbox = self.inbox.clone();
        self.subscriptions.push(Box::new(move || inbox.add(key, Cause::Start)));
        self
    }

    /// Begins to listen.
    pub fn subscribe(self) -> Declared {
        for subscription in self.subscriptions {
            subscription();
        }
        Declared(self.kinds)
    }
}

/// The object before and after the change, once if its triggers cannot differ.
fn sides<K>(change: &Change<K>) -> Vec<&K> {
    match change {
        Change::Added(new) => vec![new],
        Change::Modified { old, new } => vec![old, new],
        Change::Deleted { last, .. } => vec![last],
    }
}

/// The key of the root that manages an object.
fn root_of<R: Kind>(meta: &Meta) -> Option<Key> {
    let owner = meta.controller()?;
    let root = R::RESOURCE;
    root.is_kind(&owner.api_version, &owner.kind).then(|| Key {
        namespace: if root.namespaced { Arc::clone(&meta.namespace) } else { "".into() },
        name: owner.name.as_ref().into(),
    })
}
