//! Has the cache seen my own last write? Until it has, what it shows is from before, and deciding on it would do the same
//! thing twice: the classic replica controller that creates three pods, looks at a cache that shows none, and creates three
//! more.
//!
//! Upstream's controllers each keep books of what they expect to see. Here every write leaves a mark with its key, and the
//! next look at that key waits for its marks. A restarted controller has no marks, and needs none: its first list is a
//! consistent read.
//!
//! Invariant: waiting only; nothing is decided here.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::execute::Effect;
use crate::{
    Api, Caches, Error, Key, Resource, Revision,
    api::{Page, Selection},
    reflector::{Metadata, caches::ErasedCache},
};

/// The marks of one controller's writes, by the key they were made for.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<Key, Vec<Mark>>>);

/// What a cache must have seen.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    /// A revision, of this epoch of the cache: in another one it means nothing.
    Revision { resource: Resource, revision: Revision, epoch: u64 },
    /// The going of the object with this uid.
    Gone { resource: Resource, key: Key, uid: Box<str> },
    /// Whatever came of a write that was never answered.
    Unknown { resource: Resource, key: Key },
}

// === impl Ledger ===

impl Ledger {
    /// Marks what a look at `key` has written. Of kinds that nobody caches there is nothing to wait for.
    pub fn mark(&self, key: &Key, effects: &[Effect], caches: &Caches) {
        let marks = effects.iter().filter_map(|effect| Mark::new(effect, caches));
        let mut ledger = self.0.lock();
        for mark in marks {
            let of_key = ledger.entry(key.clone()).or_default();
            if !of_key.iter_mut().any(|other| other.absorb(&mark)) {
                of_key.push(mark);
            }
        }
    }

    /// Whether a look at `key` would have to wait, or ask.
    pub fn is_behind(&self, key: &Key, caches: &Caches) -> bool {
        let marks = self.0.lock().get(key).cloned().unwrap_or_default();
        marks.iter().any(|mark| caches.erased(mark.resource()).is_some_and(|cache| !mark.is_seen(&*cache)))
    }

    /// Waits until the caches have seen all that was written for `key`.
    ///
    /// # Errors
    /// When the server cannot be asked what came of a write that was never answered.
    pub async fn catch_up(&self, key: &Key, caches: &Caches, api: &Api) -> Result<(), Error> {
        let marks = self.0.lock().get(key).cloned().unwrap_or_default();
        for mark in marks {
            let Some(cache) = caches.erased(mark.resource()) else { continue };
            let certain = match &mark {
                Mark::Unknown { resource, key } => ask(api, resource, key, &cache).await?,
                Mark::Revision { .. } | Mark::Gone { .. } => vec![mark],
            };
            for mark in certain {
                cache.wait_until(Box::new(move |cache| mark.is_seen(cache))).await;
            }
        }
        self.0.lock().remove(key);
        Ok(())
    }
}

/// Finds out what came of a write that was never answered, by a consistent read of what it would have changed.
async fn ask(
    api: &Api,
    resource: &Resource,
    key: &Key,
    cache: &Arc<dyn ErasedCache>,
) -> Result<Vec<Mark>, Error> {
    let epoch = cache.progress().epoch;
    let known = cache.uid(key);
    // A list of one where the name is known: who keeps a cache may list, but need not be allowed to get.
    let mut fields = cache.field_selector().to_owned();
    if !key.name.is_empty() {
        fields =
            [&*fields, &format!("metadata.name={}", key.name)].join(if fields.is_empty() { "" } else { "," });
    }
    let selection = Selection { fields, ..Selection::of_namespace(&key.namespace).metadata_only() };
    let list = api.list::<Metadata>(resource, &selection, &Page::default()).await?;
    let newest = list.items.iter().map(|item| item.metadata.revision).max();
    Ok(match (newest, known) {
        (Some(revision), _) => vec![Mark::Revision { resource: resource.clone(), revision, epoch }],
        (None, Some(uid)) => vec![Mark::Gone { resource: resource.clone(), key: key.clone(), uid }],
        (None, None) => Vec::new(),
    })
}

// === impl Mark ===

impl Mark {
    fn new(effect: &Effect, caches: &Caches) -> Option<Self> {
        Some(match effect {
            Effect::Wrote(resource, revision) => Self::Revision {
                epoch: caches.erased(resource)?.progress().epoch,
                resource: resource.clone(),
                revision: *revision,
            },
            Effect::Deleted(resource, key, uid) => {
                caches.erased(resource)?;
                Self::Gone { resource: resource.clone(), key: key.clone(), uid: uid.clone() }
            }
            Effect::Unknown(resource, key) => {
                caches.erased(resource)?;
                Self::Unknown { resource: resource.clone(), key: key.clone() }
            }
        })
    }

    fn resource(&self) -> &Resource {
        match self {
            Self::Revision { resource, .. }
            | Self::Gone { resource, .. }
            | Self::Unknown { resource, .. } => resource,
        }
    }

    /// Makes one of two marks on revisions of one cache: the later. True if `other` needs no mark of its own.
    fn absorb(&mut self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Revision { resource, revision, epoch },
                Self::Revision { resource: of, revision: newer, epoch: in_epoch },
            ) if resource == of && epoch == in_epoch => {
                *revision = (*revision).max(*newer);
                true
            }
            (this, other) => this == other,
        }
    }

    fn is_seen(&self, cache: &dyn ErasedCache) -> bool {
        match self {
            Self::Revision { revision, epoch, .. } => {
                let progress = cache.progress();
                progress.epoch != *epoch || progress.revision >= *revision
            }
            Self::Gone { key, uid, .. } => {
                // Marked is not gone: only its absence shows that what was written has been seen.
                cache.uid(key).is_none_or(|now| now != *uid)
            }
            Self::Unknown { .. } => false,
        }
    }
}
