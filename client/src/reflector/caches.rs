//! All caches of a process: one reflector a kind, started when first wanted and shared by everyone who reads it.
//!
//! Invariant: a kind has one projection here. Who reads a kind has said so before (in `triggers`), so that nobody decides
//! on a cache that was never filled.

use std::{
    any::{Any, TypeId, type_name},
    collections::BTreeMap,
    sync::Arc,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use runtime::{Runtime, Tasks};
use serde::{Deserialize, Serialize};

use super::{
    Cache, Kind, Metadata, Reflector,
    cache::{Progress, pair},
};
use crate::{Api, Key, Resource, Revision, api::Selection};

/// All caches of a process. Cheap to clone.
#[derive(Clone)]
pub struct Caches {
    shared: Arc<Shared>,
    log: Option<Arc<ReadLog>>,
    failure: Option<Arc<str>>,
}

struct Shared {
    /// None for caches that a test fills by hand.
    source: Option<(Api, Runtime)>,
    kinds: Mutex<BTreeMap<String, Entry>>,
    metadata: Mutex<BTreeMap<Resource, (Cache<Metadata>, Tasks)>>,
}

struct Entry {
    projection: TypeId,
    projection_name: &'static str,
    /// A `Cache<K>`.
    cache: Box<dyn Any + Send + Sync>,
    erased: Arc<dyn ErasedCache>,
}

/// What a reconcile read of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The resource, such as `pods`.
    pub resource: String,
    /// How far its cache had seen.
    pub revision: Revision,
    /// How many objects were looked at.
    pub objects: usize,
}

/// Notes what is read through one clone of [`Caches`].
#[derive(Debug, Default)]
pub(crate) struct ReadLog(Mutex<Vec<Read>>);

pub(crate) type Condition = Box<dyn Fn(&dyn ErasedCache) -> bool + Send + Sync>;

/// A cache whatever its kind: what catching up needs.
pub(crate) trait ErasedCache: Send + Sync {
    fn progress(&self) -> Progress;
    /// The uid of the object at a place.
    fn uid(&self, key: &Key) -> Option<Box<str>>;
    fn synced(&self) -> BoxFuture<'_, ()>;
    /// Which objects the cache keeps; all if empty.
    fn field_selector(&self) -> &'static str;
    /// Waits until `condition` holds, asking again after each change.
    fn wait_until(&self, condition: Condition) -> BoxFuture<'_, ()>;
}

// === impl Cache ===

impl<K: Kind> ErasedCache for Cache<K> {
    fn progress(&self) -> Progress {
        self.progress()
    }

    fn uid(&self, key: &Key) -> Option<Box<str>> {
        Some(self.get(key)?.meta().uid.clone())
    }

    fn synced(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.synced())
    }

    fn field_selector(&self) -> &'static str {
        K::FIELD_SELECTOR
    }

    fn wait_until(&self, condition: Condition) -> BoxFuture<'_, ()> {
        Box::pin(self.wait_until(move |cache, _| condition(cache)))
    }
}

// === impl ReadLog ===

impl ReadLog {
    fn opened(&self, resource: &Resource, revision: Revision) {
        let resource = resource.to_string();
        let mut reads = self.0.lock();
        if !reads.iter().any(|read| read.resource == resource) {
            reads.push(Read { resource, revision, objects: 0 });
        }
    }

    pub(super) fn objects(&self, resource: &Resource, count: usize) {
        let resource = resource.to_string();
        if let Some(read) = self.0.lock().iter_mut().find(|read| read.resource == resource) {
            read.objects += count;
        }
    }

    pub(crate) fn take(&self) -> Vec<Read> {
        std::mem::take(&mut self.0.lock())
    }
}

// === impl Caches ===

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.shared.kinds.lock().keys()).finish()
    }
}

impl Caches {
    /// No caches yet. Their reflectors will read through `api` and live in the runtime's tasks.
    pub fn new(api: Api, runtime: &Runtime) -> Self {
        Self::from_source(Some((api, runtime.clone())))
    }

    /// Caches without reflectors, which a test fills by hand.
    #[cfg(any(test, feature = "testing"))]
    pub fn detached() -> Self {
        Self::from_source(None)
    }

    fn from_source(source: Option<(Api, Runtime)>) -> Self {
        let shared = Shared { source, kinds: Mutex::default(), metadata: Mutex::default() };
        Self { shared: Arc::new(shared), log: None, failure: None }
    }

    /// The same caches, with a log of what is read and the failure the reader should know of.
    pub(crate) fn observed(&self, failure: Option<Arc<str>>) -> (Self, Arc<ReadLog>) {
        let log = Arc::new(ReadLog::default());
        (Self { shared: Arc::clone(&self.shared), log: Some(Arc::clone(&log)), failure }, log)
    }

    /// Says that a kind will be read, and starts its reflector unless it runs.
    ///
    /// # Panics
    /// When the resource is already kept in another projection: a process has one, which only a bug can overlook.
    pub fn want<K: Kind>(&self) -> Cache<K> {
        let mut kinds = self.shared.kinds.lock();
        if let Some(entry) = kinds.get(&K::RESOURCE.to_string()) {
            return entry.downcast();
        }
        let (feed, cache) = pair::<K>();
        let name = K::RESOURCE.to_string();
        kinds.insert(name, Entry::new(cache.clone()));
        if let Some((api, runtime)) = &self.shared.source {
            let reflector = Reflector::of::<K>(api.clone(), runtime.random.clone());
            runtime.tasks.spawn("reflector", reflector.run(feed));
        }
        cache
    }

    /// Puts a cache in place whose feed the caller holds.
    #[cfg(any(test, feature = "testing"))]
    pub fn insert<K: Kind>(&self, cache: Cache<K>) {
        self.shared.kinds.lock().insert(K::RESOURCE.to_string(), Entry::new(cache));
    }

    /// The cache of a kind that is wanted.
    ///
    /// # Panics
    /// When nobody has said that the kind will be read: only a bug can forget it.
    pub fn read<K: Kind>(&self) -> Cache<K> {
        let kinds = self.shared.kinds.lock();
        let entry = kinds.get(&K::RESOURCE.to_string());
        assert!(entry.is_some(), "{} is read but was not declared in triggers", K::RESOURCE);
        let cache = entry.map(Entry::downcast::<K>);
        drop(kinds);
        let Some(cache) = cache else { unreachable!("asserted above") };
        match &self.log {
            Some(log) => {
                log.opened(&K::RESOURCE, cache.revision());
                cache.logged(Arc::clone(log))
            }
            None => cache,
        }
    }

    /// How far the cache of a wanted kind has seen.
    ///
    /// # Panics
    /// As [`Caches::read`] does.
    pub fn revision<K: Kind>(&self) -> Revision {
        self.read::<K>().revision()
    }

    /// Waits until the cache of a wanted kind has seen every change up to `revision`.
    ///
    /// # Panics
    /// As [`Caches::read`] does.
    pub async fn wait_for<K: Kind>(&self, revision: Revision) {
        self.read::<K>().wait_for(revision).await;
    }

    /// Waits until the first list of every wanted kind is in.
    pub async fn synced(&self) {
        let wanted: Vec<_> =
            self.shared.kinds.lock().values().map(|entry| Arc::clone(&entry.erased)).collect();
        for cache in wanted {
            cache.synced().await;
        }
    }

    /// The message of the failure that ended the last reconcile of the key in hand, if it did fail. For conditions such
    /// as `ReplicaFailure` that tell users of it.
    pub fn last_failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The cache of a resource whatever its kind, if somebody wants it.
    pub(crate) fn erased(&self, resource: &Resource) -> Option<Arc<dyn ErasedCache>> {
        let kinds = self.shared.kinds.lock();
        if let Some(entry) = kinds.get(&resource.to_string()) {
            return Some(Arc::clone(&entry.erased));
        }
        drop(kinds);
        let metadata = self.shared.metadata.lock();
        metadata.get(resource).map(|(cache, _)| Arc::new(cache.clone()) as Arc<dyn ErasedCache>)
    }

    /// The metadata of a resource that need not be known before: starts its reflector unless it runs.
    ///
    /// # Panics
    /// In caches that a test fills by hand.
    pub fn metadata(&self, resource: &Resource) -> Cache<Metadata> {
        let mut all = self.shared.metadata.lock();
        if let Some((cache, _)) = all.get(resource) {
            return cache.clone();
        }
        let (feed, cache) = pair::<Metadata>();
        let Some((api, runtime)) = &self.shared.source else { panic!("these caches have no source") };
        let selection = Selection::all().metadata_only();
        let reflector = Reflector::new(api.clone(), resource.clone(), selection, runtime.random.clone());
        let tasks = runtime.tasks.child();
        tasks.spawn("metadata-reflector", reflector.run(feed));
        all.insert(resource.clone(), (cache.clone(), tasks));
        cache
    }

    /// Stops keeping the metadata of a resource, such as when its definition is gone.
    pub fn forget_metadata(&self, resource: &Resource) {
        if let Some((_, tasks)) = self.shared.metadata.lock().remove(resource) {
            tasks.stop();
        }
    }

    /// The resources whose metadata is kept.
    pub fn metadata_resources(&self) -> Vec<Resource> {
        self.shared.metadata.lock().keys().cloned().collect()
    }
}

// === impl Entry ===

impl Entry {
    fn new<K: Kind>(cache: Cache<K>) -> Self {
        Self {
            projection: TypeId::of::<K>(),
            projection_name: type_name::<K>(),
            erased: Arc::new(cache.clone()),
            cache: Box::new(cache),
        }
    }

    fn downcast<K: Kind>(&self) -> Cache<K> {
        match self.cache.downcast_ref::<Cache<K>>() {
            Some(cache) if self.projection == TypeId::of::<K>() => cache.clone(),
            _ => panic!(
                "{} is kept as {} and cannot also be kept as {}: a process has one projection of a kind",
                K::RESOURCE,
                self.projection_name,
                type_name::<K>()
            ),
        }
    }
}
