//! The objects of one kind: one writer, the [`Feed`], and any number of readers, the [`Cache`].
//!
//! Invariant: no I/O. A relist replaces everything in one step; readers see the state before it or after it, never between.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    ops::Bound,
    sync::Arc,
};

use api_types::selectors::labels::Selector;
use parking_lot::{Mutex, RwLock};
use runtime::Signal;

use super::{Change, Index, Kind, caches::ReadLog};
use crate::{Key, Meta, Revision};

/// How far a cache has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The first list is in.
    pub synced: bool,
    /// Every change up to here is in.
    pub revision: Revision,
    /// Counts the times the cluster's history was rewritten (a restored backup): revisions of another epoch mean nothing.
    pub epoch: u64,
}

/// The writing end. There is one.
pub struct Feed<K: Kind> {
    shared: Arc<Shared<K>>,
}

/// The reading end. Cheap to clone; reads never wait for more than another reader's or the feed's single step.
pub struct Cache<K: Kind> {
    shared: Arc<Shared<K>>,
    log: Option<Arc<ReadLog>>,
}

struct Shared<K> {
    state: RwLock<State<K>>,
    /// Held while changes are handed out, so that a new subscriber misses none and sees none twice.
    subscribers: Mutex<Vec<Subscriber<K>>>,
    progress: Signal<Progress>,
}

type Subscriber<K> = Box<dyn Fn(&Change<K>) + Send>;

struct State<K> {
    objects: BTreeMap<Key, Arc<K>>,
    by_owner: Lookup,
    custom: Vec<(Index<K>, Lookup)>,
}

type Lookup = BTreeMap<Box<str>, Keys>;

/// The keys under one value of an index. Most owners own one object, and a set of one would be ten times its size.
enum Keys {
    One(Key),
    Many(BTreeSet<Key>),
}

/// An empty cache and its feed.
pub fn pair<K: Kind>() -> (Feed<K>, Cache<K>) {
    let shared = Arc::new(Shared {
        state: RwLock::new(State::new()),
        subscribers: Mutex::default(),
        progress: Signal::default(),
    });
    (Feed { shared: Arc::clone(&shared) }, Cache { shared, log: None })
}

// === impl State ===

impl<K: Kind> State<K> {
    fn new() -> Self {
        let custom = K::indexes().into_iter().map(|index| (index, Lookup::new())).collect();
        Self { objects: BTreeMap::new(), by_owner: Lookup::new(), custom }
    }

    fn insert(&mut self, key: Key, new: Arc<K>) -> Option<Arc<K>> {
        let old = self.remove(&key);
        for owner in &new.meta().owners {
            remember(&mut self.by_owner, owner.uid.clone(), &key);
        }
        for (index, lookup) in &mut self.custom {
            for value in (index.values)(&new) {
                remember(lookup, value, &key);
            }
        }
        self.objects.insert(key, new);
        old
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        for owner in &old.meta().owners {
            forget(&mut self.by_owner, &owner.uid, key);
        }
        for (index, lookup) in &mut self.custom {
            for value in (index.values)(&old) {
                forget(lookup, &value, key);
            }
        }
        Some(old)
    }

    fn found(&self, keys: Option<&Keys>) -> Vec<Arc<K>> {
        let get = |key| self.objects.get(key).cloned();
        match keys {
            None => Vec::new(),
            Some(Keys::One(key)) => get(key).into_iter().collect(),
            Some(Keys::Many(keys)) => keys.iter().filter_map(get).collect(),
        }
    }
}

fn remember(lookup: &mut Lookup, value: Box<str>, key: &Key) {
    match lookup.entry(value) {
        Entry::Vacant(entry) => {
            entry.insert(Keys::One(key.clone()));
        }
        Entry::Occupied(mut entry) => match entry.get_mut() {
            Keys::One(only) if only == key => {}
            Keys::One(only) => {
                let keys = BTreeSet::from([only.clone(), key.clone()]);
                entry.insert(Keys::Many(keys));
            }
            Keys::Many(keys) => {
                keys.insert(key.clone());
            }
        },
    }
}

fn forget(lookup: &mut Lookup, value: &str, key: &Key) {
    let nothing_left = match lookup.get_mut(value) {
        None => false,
        Some(Keys::One(only)) => only == key,
        Some(Keys::Many(keys)) => {
            keys.remove(key);
            keys.is_empty()
        }
    };
    if nothing_left {
        lookup.remove(value);
    }
}

// === impl Feed ===

impl<K: Kind> Feed<K> {
    /// Replaces everything by a list as of a revision.
    pub fn replace(&mut self, objects: impl IntoIterator<Item = K>, revision: Revision) {
        let mut state = State::new();
        for object in objects {
            state.insert(object.key(), Arc::new(object));
        }
        let subscribers = self.shared.subscribers.lock();
        let old = std::mem::replace(&mut *self.shared.state.write(), state);
        self.shared.progress.update(|progress| {
            if revision < progress.revision {
                progress.epoch += 1;
            }
            progress.synced = true;
            progress.revision = revision;
        });
        if !subscribers.is_empty() {
            let new = self.shared.state.read().objects.clone();
            for change in differences(&old.objects, &new, revision) {
                subscribers.iter().for_each(|subscriber| subscriber(&change));
            }
        }
    }

    /// An object came or changed.
    pub fn upsert(&mut self, object: K) {
        let new = Arc::new(object);
        let revision = new.meta().revision;
        let subscribers = self.shared.subscribers.lock();
        let old = self.shared.state.write().insert(new.key(), Arc::clone(&new));
        self.shared.advance(revision);
        let change = match old {
            None => Change::Added(new),
            Some(old) => Change::Modified { old, new },
        };
        subscribers.iter().for_each(|subscriber| subscriber(&change));
    }

    /// An object went. Its revision is that of its going.
    pub fn remove(&mut self, object: K) {
        let revision = object.meta().revision;
        let subscribers = self.shared.subscribers.lock();
        let known = self.shared.state.write().remove(&object.key());
        self.shared.advance(revision);
        if known.is_some() {
            let change = Change::Deleted { last: Arc::new(object), revision };
            subscribers.iter().for_each(|subscriber| subscriber(&change));
        }
    }

    /// An object changed into something that cannot be read, or one that could not be read went: what the cache has of it,
    /// if anything, stays as it was or goes.
    pub fn skip(&mut self, metadata: &Meta, deleted: bool) {
        let key = metadata.key();
        let subscribers = self.shared.subscribers.lock();
        let known = if deleted { self.shared.state.write().remove(&key) } else { None };
        self.shared.advance(metadata.revision);
        if let Some(last) = known {
            let change = Change::Deleted { last, revision: metadata.revision };
            subscribers.iter().for_each(|subscriber| subscriber(&change));
        }
    }

    /// Nothing else has happened up to a revision.
    pub fn advance(&mut self, revision: Revision) {
        self.shared.advance(revision);
    }
}

impl<K: Kind> Drop for Feed<K> {
    /// Nothing will be told any more. Subscribers often hold this cache or others, which then would hold each other for ever.
    fn drop(&mut self) {
        let subscribers = std::mem::take(&mut *self.shared.subscribers.lock());
        drop(subscribers);
    }
}

impl<K> Shared<K> {
    fn advance(&self, revision: Revision) {
        self.progress.update(|progress| {
            progress.revision = progress.revision.max(revision);
        });
    }
}

/// What turns `old` into `new`: deletions first, so that a name that passed to another object ends before it begins.
fn differences<K: Kind>(
    old: &BTreeMap<Key, Arc<K>>,
    new: &BTreeMap<Key, Arc<K>>,
    revision: Revision,
) -> Vec<Change<K>> {
    let mut changes = Vec::new();
    for (key, last) in old {
        if new.get(key).is_none_or(|now| now.meta().uid != last.meta().uid) {
            changes.push(Change::Deleted { last: Arc::clone(last), revision });
        }
    }
    for (key, now) in new {
        match old.get(key) {
            Some(before) if before.meta().uid == now.meta().uid => {
                if before.meta().revision != now.meta().revision {
                    changes.push(Change::Modified { old: Arc::clone(before), new: Arc::clone(now) });
                }
            }
            _ => changes.push(Change::Added(Arc::clone(now))),
        }
    }
    changes
}

// === impl Cache ===

impl<K: Kind> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), log: self.log.clone() }
    }
}

impl<K: Kind> std::fmt::Debug for Cache<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("of", &K::RESOURCE.to_string()).finish_non_exhaustive()
    }
}

impl<K: Kind> Cache<K> {
    /// The same cache, noting in `log` what is read.
    pub(super) fn logged(mut self, log: Arc<ReadLog>) -> Self {
        self.log = Some(log);
        self
    }

    fn note(&self, objects: &[Arc<K>]) {
        if let Some(log) = &self.log {
            log.objects(&K::RESOURCE, objects.len());
        }
    }

    /// The object at a place.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        let object = self.shared.state.read().objects.get(key).cloned();
        self.note(object.as_slice());
        object
    }

    /// The object at a place if it is still the one with this uid.
    pub fn get_same(&self, key: &Key, uid: &str) -> Option<Arc<K>> {
        self.get(key).filter(|object| &*object.meta().uid == uid)
    }

    /// All objects, by key.
    pub fn list(&self) -> Vec<Arc<K>> {
        let objects: Vec<_> = self.shared.state.read().objects.values().cloned().collect();
        self.note(&objects);
        objects
    }

    /// The objects of a namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = Key::new(namespace, "");
        let state = self.shared.state.read();
        let objects: Vec<_> = state
            .objects
            .range((Bound::Included(&first), Bound::Unbounded))
            .take_while(|(key, _)| *key.namespace == *namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect();
        drop(state);
        self.note(&objects);
        objects
    }

    /// The objects of a namespace whose labels a selector matches, by name.
    pub fn select(&self, namespace: &str, selector: &Selector) -> Vec<Arc<K>> {
        let mut objects = self.in_namespace(namespace);
        objects.retain(|object| selector.matches(&object.meta().labels));
        objects
    }

    /// The objects with an owner reference to this uid, by key.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        let state = self.shared.state.read();
        let objects = state.found(state.by_owner.get(uid));
        drop(state);
        self.note(&objects);
        objects
    }

    /// The objects the owner with this uid manages, by key.
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        let mut objects = self.owned_by(uid);
        objects.retain(|object| object.meta().is_controlled_by(uid));
        objects
    }

    /// The objects an index of the kind finds under a value, by key.
    ///
    /// # Panics
    /// When the kind has no such index, which only a bug can bring about.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        let state = self.shared.state.read();
        let lookup = state.custom.iter().find(|(candidate, _)| candidate.name == index);
        assert!(lookup.is_some(), "{} has no index {index}", K::RESOURCE);
        let objects = state.found(lookup.and_then(|(_, lookup)| lookup.get(value)));
        drop(state);
        self.note(&objects);
        objects
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.state.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far the cache has seen.
    pub fn progress(&self) -> Progress {
        self.shared.progress.get()
    }

    /// Every change up to this revision is in.
    pub fn revision(&self) -> Revision {
        self.progress().revision
    }

    /// Whether the first list is in.
    pub fn is_synced(&self) -> bool {
        self.progress().synced
    }

    /// Waits until the first list is in.
    pub async fn synced(&self) {
        self.wait_until(|_, progress| progress.synced).await;
    }

    /// Waits until every change up to `revision` is in. For a revision of another resource this may take until the next
    /// bookmark, about a minute.
    pub async fn wait_for(&self, revision: Revision) {
        self.wait_until(|_, progress| progress.revision >= revision).await;
    }

    /// Waits until `condition` holds, asking again after each change.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Self, Progress) -> bool) {
        self.shared.progress.wait(|progress| condition(self, *progress)).await;
    }

    /// Calls `subscriber` with each object there is, as added, and then with every change, in order.
    ///
    /// It runs in the feed's step: it must be quick, may read caches, and must not subscribe to this one.
    pub fn subscribe(&self, subscriber: impl Fn(&Change<K>) + Send + 'static) {
        let mut subscribers = self.shared.subscribers.lock();
        let objects: Vec<_> = self.shared.state.read().objects.values().cloned().collect();
        for object in objects {
            subscriber(&Change::Added(object));
        }
        subscribers.push(Box::new(subscriber));
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::{Meta, Resource, resource};

    #[derive(Debug, Deserialize)]
    struct Pod {
        metadata: Meta,
        #[serde(default)]
        node: Box<str>,
    }

    impl Kind for Pod {
        const RESOURCE: Resource = resource::PODS;

        fn meta(&self) -> &Meta {
            &self.metadata
        }

        fn indexes() -> Vec<Index<Self>> {
            vec![Index { name: "node", values: |pod| vec![pod.node.clone()] }]
        }
    }

    fn pod(name: &str, uid: &str, revision: u64, owner: &str, node: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": name, "uid": uid, "resourceVersion": revision.to_string(),
                "ownerReferences": [{"uid": owner, "controller": true}]},
            "node": node,
        }))
        .unwrap()
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<String> {
        pods.iter().map(|pod| pod.metadata.name.to_string()).collect()
    }

    #[test]
    fn indexes_follow_every_change() {
        let (mut feed, cache) = pair::<Pod>();
        feed.replace([pod("a", "1", 1, "rs", "n1"), pod("b", "2", 2, "rs", "n2")], Revision(2));
        assert_eq!(names(&cache.controlled_by("rs")), ["a", "b"]);
        assert_eq!(names(&cache.by_index("node", "n1")), ["a"]);
        feed.upsert(pod("a", "1", 3, "other", "n2"));
        assert_eq!(names(&cache.controlled_by("rs")), ["b"]);
        assert_eq!(names(&cache.by_index("node", "n2")), ["a", "b"]);
        assert!(cache.by_index("node", "n1").is_empty());
        feed.remove(pod("b", "2", 4, "rs", "n2"));
        assert_eq!(names(&cache.by_index("node", "n2")), ["a"]);
        assert!(cache.controlled_by("rs").is_empty());
        assert_eq!(cache.revision(), Revision(4));
        assert_eq!(names(&cache.in_namespace("ns")), ["a"]);
        assert!(cache.in_namespace("n").is_empty());
    }

    #[test]
    fn a_cache_that_nobody_feeds_lets_its_subscribers_go() {
        let (feed, cache) = pair::<Pod>();
        let held = Arc::new(());
        let (its, again) = (Arc::clone(&held), cache.clone());
        cache.subscribe(move |_| drop((Arc::clone(&its), again.clone())));
        assert_eq!(Arc::strong_count(&held), 2);
        drop(feed);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn a_relist_tells_subscribers_only_what_differs() {
        let (mut feed, cache) = pair::<Pod>();
        feed.replace([pod("a", "1", 1, "", ""), pod("b", "2", 2, "", "")], Revision(2));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        cache.subscribe(move |change| {
            log.lock().push(format!(
                "{} {} {}",
                change.what(),
                change.object().metadata.uid,
                change.revision()
            ));
        });
        // b passed to another object of that name, a stayed as it is, c is new.
        feed.replace(
            [pod("a", "1", 1, "", ""), pod("b", "3", 5, "", ""), pod("c", "4", 6, "", "")],
            Revision(9),
        );
        assert_eq!(*seen.lock(), ["added 1 1", "added 2 2", "deleted 2 9", "added 3 5", "added 4 6"]);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_the_revision_is_seen() {
        let (mut feed, cache) = pair::<Pod>();
        assert!(!cache.is_synced());
        feed.replace([], Revision(3));
        cache.synced().await;
        let mut wait = std::pin::pin!(cache.wait_for(Revision(5)));
        assert!(futures::poll!(&mut wait).is_pending());
        feed.upsert(pod("a", "1", 4, "", ""));
        assert!(futures::poll!(&mut wait).is_pending());
        feed.advance(Revision(5));
        wait.await;
    }

    #[test]
    fn a_list_from_the_past_begins_a_new_epoch() {
        let (mut feed, cache) = pair::<Pod>();
        feed.replace([], Revision(9));
        assert_eq!(cache.progress().epoch, 0);
        feed.replace([], Revision(4));
        assert_eq!((cache.progress().epoch, cache.revision()), (1, Revision(4)));
    }
}
