//! The objects, as persistent maps: the feed changes them in place, and a snapshot shares them until the next change.

use std::{collections::VecDeque, ops::Bound, sync::Arc, time::Duration};

use imbl::{OrdMap, OrdSet};
use tokio::time::Instant;

use super::{
    history::{Change, History},
    object::Object,
};
use crate::backend::Revision;

/// How many snapshots of older revisions are kept for the next page of a list.
const RECENT_MAX: usize = 8;

/// All objects of a cache, with its indexes. Cloning costs a few pointers.
///
/// `imbl`'s B+ tree was chosen over `rpds` and `im` by figures, which are in `docs/life-of-a-watch.md`.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    prefix: Arc<str>,
    index: Option<Arc<str>>,
    by_key: OrdMap<Arc<str>, Arc<Object>>,
    /// How many objects each namespace has.
    namespaces: OrdMap<Arc<str>, usize>,
    /// Keys by the value of the indexed field.
    by_index: OrdMap<Arc<str>, OrdSet<Arc<str>>>,
}

/// The objects of a cache as they were at one revision. It does not change, and keeps what it shows alive.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The revision.
    pub revision: Revision,
    objects: Objects,
}

/// What the feed has to say about one key.
#[derive(Debug)]
pub(super) enum Update {
    Put(Arc<Object>),
    Delete { key: String, revision: Revision },
}

/// Where the cache is.
#[derive(Debug)]
pub(super) struct State {
    /// 0 until the first list.
    revision: Revision,
    /// Counts the times when the store turned out not to be the one we knew: what watchers have seen is void.
    epoch: u64,
    objects: Objects,
    history: History,
    /// Older snapshots, most recently asked for last.
    recent: VecDeque<(Instant, Snapshot)>,
}

/// What was dropped from a state; it is big, so free it without a lock held.
#[must_use = "free it after the lock"]
#[derive(Debug, Default)]
#[expect(dead_code, reason = "held to be dropped")]
pub(super) struct Garbage(Vec<Arc<Change>>, Vec<Snapshot>);

// === impl Update ===

impl Update {
    pub(super) fn revision(&self) -> Revision {
        match self {
            Self::Put(object) => object.revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

// === impl Objects ===

impl Objects {
    fn new(prefix: Arc<str>, index: Option<&str>) -> Self {
        Self {
            prefix,
            index: index.map(Arc::from),
            by_key: OrdMap::new(),
            namespaces: OrdMap::new(),
            by_index: OrdMap::new(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<Object>> {
        self.by_key.get(key)
    }

    pub(super) fn put(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let previous = self.by_key.insert(Arc::clone(&object.key), Arc::clone(&object));
        if previous.is_none()
            && let Some(namespace) = self.namespace(&object.key)
        {
            match self.namespaces.get_mut(namespace) {
                Some(count) => *count += 1,
                None => drop(self.namespaces.insert(namespace.into(), 1)),
            }
        }
        let (before, after) = (previous.as_ref().and_then(|it| self.indexed(it)), self.indexed(&object));
        if before != after {
            if let Some(before) = before {
                self.unindex(before, &object.key);
            }
            if let Some(after) = after {
                match self.by_index.get_mut(after) {
                    Some(keys) => drop(keys.insert(Arc::clone(&object.key))),
                    None => drop(self.by_index.insert(after.into(), OrdSet::unit(Arc::clone(&object.key)))),
                }
            }
        }
        previous
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<Object>> {
        let previous = self.by_key.remove(key)?;
        if let Some(namespace) = self.namespace(key)
            && let Some(count) = self.namespaces.get_mut(namespace)
        {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(namespace);
            }
        }
        if let Some(value) = self.indexed(&previous) {
            self.unindex(value, key);
        }
        Some(previous)
    }

    /// Takes changes back, newest first.
    pub(super) fn undo(&mut self, changes: &[Arc<Change>]) {
        for change in changes {
            match (&change.previous, &change.current) {
                (Some(previous), _) => drop(self.put(Arc::clone(previous))),
                (None, Some(current)) => drop(self.remove(&current.key)),
                (None, None) => {}
            }
        }
    }

    fn unindex(&mut self, value: &str, key: &str) {
        if let Some(keys) = self.by_index.get_mut(value) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_index.remove(value);
            }
        }
    }

    /// The value of the indexed field.
    pub(super) fn indexed<'a>(&self, object: &'a Object) -> Option<&'a str> {
        object.header.fields.get(self.index.as_ref()?)
    }

    /// `ns` of `<prefix>ns/name`.
    fn namespace<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&*self.prefix)?.split_once('/').map(|(namespace, _)| namespace)
    }

    fn range<'a>(
        &'a self,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let end = successor(prefix);
        let bounds = bounds(prefix, after, end.as_deref());
        let range = bounds.map(|bounds| self.by_key.range::<_, str>(bounds));
        range.into_iter().flatten().map(|(_, object)| object)
    }

    fn count(&self, prefix: &str) -> usize {
        let Some(rest) = prefix.strip_prefix(&*self.prefix) else {
            return if self.prefix.starts_with(prefix) { self.by_key.len() } else { 0 };
        };
        match rest.split_once('/') {
            None if rest.is_empty() => self.by_key.len(),
            Some((namespace, "")) => self.namespaces.get(namespace).copied().unwrap_or_default(),
            None | Some(_) => self.range(prefix, None).count(),
        }
    }
}

/// Where the keys of a prefix lie that come after `after`; None if nowhere. With an end known beforehand an iteration need
/// not look at the keys.
fn bounds<'t>(
    prefix: &'t str,
    after: Option<&'t str>,
    end: Option<&'t str>,
) -> Option<(Bound<&'t str>, Bound<&'t str>)> {
    let start = match after {
        Some(after) if end.is_some_and(|end| after >= end) => return None,
        Some(after) if after >= prefix => Bound::Excluded(after),
        Some(_) | None => Bound::Included(prefix),
    };
    Some((start, end.map_or(Bound::Unbounded, Bound::Excluded)))
}

/// The first text after all that start with `prefix`; None if there is no end.
fn successor(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // Skips the gap of the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

// === impl Snapshot ===

impl Snapshot {
    pub(super) fn new(revision: Revision, objects: Objects) -> Self {
        Self { revision, objects }
    }

    /// The object at a key.
    pub fn get(&self, key: &str) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// The objects whose keys start with `prefix`, in the order of the keys, from the first one after `after`.
    pub fn range<'a>(
        &'a self,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        self.objects.range(prefix, after)
    }

    /// How many keys start with `prefix`: cheap for the whole and for a namespace, a walk for anything else.
    pub fn count(&self, prefix: &str) -> usize {
        self.objects.count(prefix)
    }

    /// How many keys start with `prefix` and come after `after`.
    pub fn count_after(&self, prefix: &str, after: &str) -> usize {
        self.range(prefix, Some(after)).count()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.by_key.is_empty()
    }

    /// The objects whose indexed field has this value and whose keys start with `prefix`, in the order of the keys. None
    /// if the cache has no index.
    pub fn by_index<'a>(
        &'a self,
        value: &str,
        prefix: &str,
    ) -> Option<impl Iterator<Item = &'a Arc<Object>> + use<'a>> {
        self.objects.index.as_ref()?;
        let end = successor(prefix);
        let bounds = bounds(prefix, None, end.as_deref());
        let keys = self.objects.by_index.get(value).zip(bounds);
        let keys = keys.map(|(keys, bounds)| keys.range::<_, str>(bounds));
        Some(keys.into_iter().flatten().filter_map(|key| self.objects.get(key)))
    }

    /// What the indexed field is called.
    pub fn index(&self) -> Option<&str> {
        self.objects.index.as_deref()
    }
}

// === impl State ===

impl State {
    pub(super) fn new(prefix: Arc<str>, index: Option<&str>) -> Self {
        Self {
            revision: Revision(0),
            epoch: 0,
            objects: Objects::new(prefix, index),
            history: History::default(),
            recent: VecDeque::new(),
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.revision, self.objects.clone())
    }

    /// Starts anew, without history, from what is at `revision`.
    pub(super) fn reset(&mut self, revision: Revision, objects: Vec<Arc<Object>>) -> (Objects, History) {
        let mut fresh = Objects::new(Arc::clone(&self.objects.prefix), self.objects.index.as_deref());
        for object in objects {
            fresh.put(object);
        }
        if self.revision > Revision(0) {
            self.epoch += 1;
        }
        self.revision = revision;
        self.recent.clear();
        let history = std::mem::replace(&mut self.history, History::starting_at(revision));
        (std::mem::replace(&mut self.objects, fresh), history)
    }

    /// Puts a batch in place: updates in the order of their revisions, all after what is here, none after `reached`. With
    /// `lost` the updates are not what happened but what it came to.
    pub(super) fn apply(
        &mut self,
        now: Instant,
        updates: Vec<Update>,
        reached: Revision,
        lost: bool,
    ) -> Vec<Arc<Change>> {
        let known = self.revision;
        let mut changes = Vec::with_capacity(updates.len());
        for update in updates {
            let revision = update.revision();
            assert!(revision > known && revision <= reached, "batches follow each other");
            let (follows, at) =
                if lost { (known, reached) } else { (Revision(revision.saturating_sub(1)), revision) };
            let change = match update {
                Update::Put(object) => {
                    let previous = self.objects.put(Arc::clone(&object));
                    Change::new(follows, at, previous, Some(object))
                }
                Update::Delete { key, .. } => match self.objects.remove(&key) {
                    Some(previous) => Change::new(follows, at, Some(previous), None),
                    // An object that could not be read, and so was never here.
                    None => continue,
                },
            };
            let change = Arc::new(change);
            self.history.push(now, Arc::clone(&change));
            changes.push(change);
        }
        if lost {
            self.history.bridge(known, reached);
        }
        self.revision = known.max(reached);
        changes
    }

    /// Forgets what is too old or too much.
    pub(super) fn trim(&mut self, now: Instant, events_max: usize, age_max: Duration) -> Garbage {
        let mut snapshots = Vec::new();
        while self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) >= age_max) {
            snapshots.extend(self.recent.pop_front().map(|(_, snapshot)| snapshot));
        }
        Garbage(self.history.trim(now, events_max, age_max), snapshots)
    }

    /// When there will be something to forget for its age.
    pub(super) fn trim_at(&self, age_max: Duration) -> Option<Instant> {
        let oldest = [self.history.oldest_at(), self.recent.front().map(|(at, _)| *at)];
        oldest.into_iter().flatten().min()?.checked_add(age_max)
    }

    pub(super) fn recent(&mut self, now: Instant, revision: Revision) -> Option<Snapshot> {
        let found = self.recent.iter().position(|(_, snapshot)| snapshot.revision == revision)?;
        let (_, snapshot) = self.recent.remove(found)?;
        self.recent.push_back((now, snapshot.clone()));
        Some(snapshot)
    }

    pub(super) fn remember(&mut self, now: Instant, snapshot: Snapshot) -> Garbage {
        self.recent.push_back((now, snapshot));
        let surplus = self.recent.len().saturating_sub(RECENT_MAX);
        Garbage(Vec::new(), self.recent.drain(..surplus).map(|(_, snapshot)| snapshot).collect())
    }

    /// An empty set of objects like this one's.
    pub(super) fn no_objects(&self) -> Objects {
        Objects::new(Arc::clone(&self.objects.prefix), self.objects.index.as_deref())
    }
}
