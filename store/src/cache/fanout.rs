//! Who is to be told of a change, and the telling.
//!
//! Watchers are grouped by what they watch, so that a change meets only the groups it concerns: the prefixes its key
//! starts with, its key, and the values its indexed field had and has. What a change costs is the number of watchers
//! there, not the number of all.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    history::Change,
    watcher::{Scope, Watch},
};
use crate::{backend::Revision, prefix_map::PrefixMap};

#[derive(Debug, Default)]
pub(super) struct Fanout {
    next_id: u64,
    prefixes: PrefixMap<Group>,
    keys: BTreeMap<Arc<str>, Group>,
    indexed: BTreeMap<Arc<str>, Group>,
    len: usize,
    closed: bool,
}

type Group = BTreeMap<u64, Arc<Watch>>;

// === impl Fanout ===

impl Fanout {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a watch. The number takes it out again.
    pub(super) fn add(&mut self, watch: &Arc<Watch>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.len += 1;
        let group = match &watch.filter.scope {
            Scope::Prefix(prefix) => self.prefixes.entry(prefix),
            Scope::Key(key) => self.keys.entry(Arc::clone(key)).or_default(),
            Scope::Indexed { value, .. } => self.indexed.entry(Arc::clone(value)).or_default(),
        };
        group.insert(id, Arc::clone(watch));
        if self.closed {
            watch.close();
        }
        id
    }

    pub(super) fn remove(&mut self, id: u64, watch: &Watch) {
        let group = match &watch.filter.scope {
            Scope::Prefix(prefix) => self.prefixes.get_mut(prefix),
            Scope::Key(key) => self.keys.get_mut(key),
            Scope::Indexed { value, .. } => self.indexed.get_mut(value),
        };
        let Some(group) = group else { return };
        if group.remove(&id).is_some() {
            self.len -= 1;
        }
        if group.is_empty() {
            match &watch.filter.scope {
                Scope::Prefix(prefix) => drop(self.prefixes.remove(prefix)),
                Scope::Key(key) => drop(self.keys.remove(key)),
                Scope::Indexed { value, .. } => drop(self.indexed.remove(value)),
            }
        }
    }

    /// Offers a change to all it may concern. `index` is the name of the indexed field. Returns how many watchers took it.
    pub(super) fn dispatch(&mut self, change: &Change, index: Option<&str>, queue_max: usize) -> u64 {
        let Some(object) = change.object() else { return 0 };
        let mut taken = 0;
        let mut offer = |group: &Group| {
            for watch in group.values() {
                taken += u64::from(watch.offer(change, queue_max));
            }
        };
        self.prefixes.for_each_prefix_of(&object.key, |group| offer(group));
        if let Some(group) = self.keys.get(&object.key) {
            offer(group);
        }
        if let Some(index) = index
            && !self.indexed.is_empty()
        {
            let before = change.previous.as_ref().and_then(|object| object.header.fields.get(index));
            let after = change.current.as_ref().and_then(|object| object.header.fields.get(index));
            if let Some(group) = after.and_then(|value| self.indexed.get(value)) {
                offer(group);
            }
            if before != after
                && let Some(group) = before.and_then(|value| self.indexed.get(value))
            {
                offer(group);
            }
        }
        taken
    }

    /// Ends the watchers there are, and with `for_good` all that are to come.
    pub(super) fn close(&mut self, for_good: bool) {
        self.closed |= for_good;
        self.watches().for_each(|watch| watch.close());
    }

    /// Ends the watchers that wait for a revision in a stretch that was lost.
    pub(super) fn close_within(&mut self, from: Revision, to: Revision) {
        self.watches().for_each(|watch| watch.close_within(from, to));
    }

    fn watches(&mut self) -> impl Iterator<Item = &Arc<Watch>> {
        let prefixes = self.prefixes.values_mut().map(|group| &*group);
        prefixes.chain(self.keys.values()).chain(self.indexed.values()).flat_map(BTreeMap::values)
    }
}
