//! The objects, as persistent maps: the feed changes them in place, and a snapshot shares them until the next change.

use std::{
    collections::VecDeque,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use imbl::{OrdMap, OrdSet};
use tokio::time::Instant;

use super::{
    history::{Bounds, Change, History},
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
    by_index: Keys,
    /// Keys by the values of the labels that are selected by.
    by_label: OrdMap<Arc<str>, LabelIndex>,
}

/// Keys of objects by a value.
type Keys = OrdMap<Arc<str>, OrdSet<Arc<str>>>;

/// Where the objects with each value of one label are.
#[derive(Clone, Debug)]
struct LabelIndex {
    keys: Keys,
    /// Counts the lists that used one of the indexes of this cache; the number of the last that used this one.
    used: Arc<AtomicU64>,
}

/// How many labels of one cache are indexed at a time. With one more the one goes that was not used for the longest.
const LABEL_INDEXES_MAX: usize = 8;

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
            by_label: OrdMap::new(),
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
                unindex(&mut self.by_index, before, &object.key);
            }
            if let Some(after) = after {
                index(&mut self.by_index, after, &object.key);
            }
        }
        self.relabel(&object.key, previous.as_deref(), Some(&object));
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
            unindex(&mut self.by_index, value, key);
        }
        self.relabel(&previous.key, Some(&previous), None);
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

    /// Keeps the indexes of labels up with a change of one object.
    fn relabel(&mut self, key: &Arc<str>, previous: Option<&Object>, current: Option<&Object>) {
        if self.by_label.is_empty()
            || previous.map(|object| &object.header.labels) == current.map(|object| &object.header.labels)
        {
            return;
        }
        let labels: Vec<Arc<str>> = self.by_label.keys().cloned().collect();
        for label in labels {
            let value = |object: Option<&Object>| {
                object.and_then(|object| object.header.labels.get(&label)).map(str::to_owned)
            };
            let (before, after) = (value(previous), value(current));
            let Some(indexed) = self.by_label.get_mut(&label).filter(|_| before != after) else { continue };
            if let Some(before) = before {
                unindex(&mut indexed.keys, &before, key);
            }
            if let Some(after) = after {
                index(&mut indexed.keys, &after, key);
            }
        }
    }

    /// The index of a label over the objects as they are.
    pub(super) fn indexed_by_label(&self, label: &str) -> impl Iterator<Item = (&Arc<str>, &str)> {
        self.by_key.iter().filter_map(move |(key, object)| Some((key, object.header.labels.get(label)?)))
    }

    /// Whether there is an index of a label.
    pub(super) fn has_label(&self, label: &str) -> bool {
        self.by_label.contains_key(label)
    }

    /// Adds the index of a label, made from the objects as they are.
    pub(super) fn add_label(&mut self, label: &str, keys: LabelKeys) {
        let last = |index: &LabelIndex| index.used.load(Ordering::Relaxed);
        let newest = self.by_label.values().map(last).max().unwrap_or_default();
        if self.by_label.len() >= LABEL_INDEXES_MAX
            && let Some((oldest, _)) = self.by_label.iter().min_by_key(|(_, index)| last(index))
        {
            let oldest = Arc::clone(oldest);
            self.by_label.remove(&oldest);
        }
        let used = Arc::new(AtomicU64::new(newest + 1));
        self.by_label.insert(label.into(), LabelIndex { keys: keys.0, used });
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

/// An index of a label in the making.
#[derive(Debug, Default)]
pub(super) struct LabelKeys(Keys);

impl LabelKeys {
    pub(super) fn insert(&mut self, value: &str, key: &Arc<str>) {
        index(&mut self.0, value, key);
    }
}

fn index(keys: &mut Keys, value: &str, key: &Arc<str>) {
    match keys.get_mut(value) {
        Some(keys) => drop(keys.insert(Arc::clone(key))),
        None => drop(keys.insert(value.into(), OrdSet::unit(Arc::clone(key)))),
    }
}

fn unindex(keys: &mut Keys, value: &str, key: &str) {
    if let Some(found) = keys.get_mut(value) {
        found.remove(key);
        if found.is_empty() {
            keys.remove(value);
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
        Some(self.found(&self.objects.by_index, value, prefix))
    }

    /// The objects whose label has this value and whose keys start with `prefix`, in the order of the keys. None if there
    /// is no index of the label: see [`super::Cache::index_label`].
    pub fn by_label<'a>(
        &'a self,
        label: &str,
        value: &str,
        prefix: &str,
    ) -> Option<impl Iterator<Item = &'a Arc<Object>> + use<'a>> {
        let index = self.objects.by_label.get(label)?;
        let newest = self.objects.by_label.values().map(|it| it.used.load(Ordering::Relaxed)).max();
        index.used.store(newest.unwrap_or_default() + 1, Ordering::Relaxed);
        Some(self.found(&index.keys, value, prefix))
    }

    fn found<'a>(
        &'a self,
        keys: &'a Keys,
        value: &str,
        prefix: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let end = successor(prefix);
        let bounds = bounds(prefix, None, end.as_deref());
        let keys = keys.get(value).zip(bounds);
        let keys = keys.map(|(keys, bounds)| keys.range::<_, str>(bounds));
        keys.into_iter().flatten().filter_map(|key| self.objects.get(key))
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

    pub(super) fn objects_mut(&mut self) -> &mut Objects {
        &mut self.objects
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
    pub(super) fn trim(&mut self, now: Instant, bounds: Bounds) -> Garbage {
        let mut snapshots = Vec::new();
        while self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) >= bounds.age_max) {
            snapshots.extend(self.recent.pop_front().map(|(_, snapshot)| snapshot));
        }
        Garbage(self.history.trim(now, bounds), snapshots)
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
