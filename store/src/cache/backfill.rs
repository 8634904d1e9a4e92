//! Fetching history back from the backend, for watchers that resume further back than the cache remembers.
//!
//! After a restart every client comes back with the revision it had. The cache began with a list and has no history; the
//! backend still has it. One backfill serves all who wait for one.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use futures::{StreamExt, future::BoxFuture};
use tokio::sync::oneshot;

use super::{Error, Object, Shared, history::Change};
use crate::backend::{self, Event, Range, Revision};

/// How many watchers can ask at once. When full: the others wait.
pub(super) const REQUESTS_MAX: usize = 1024;

/// Somebody wants the history from after a revision.
#[derive(Debug)]
pub(super) struct Backfill {
    pub(super) after: Revision,
    pub(super) done: oneshot::Sender<Result<(), Error>>,
}

/// What came before the history: everything after `after`, up to its start.
pub(super) struct Older {
    pub(super) after: Revision,
    pub(super) changes: Vec<Arc<Change>>,
}

/// What was asked for, and what was found.
pub(super) struct Fetched {
    pub(super) asked: Revision,
    pub(super) result: Result<Older, Error>,
}

pub(super) type Answer = oneshot::Receiver<Result<(), Error>>;

pub(super) type Fetching = BoxFuture<'static, Fetched>;

fn previous_of(revision: Revision) -> Revision {
    Revision(revision.saturating_sub(1))
}

/// What those hear who wait for a feed that is gone.
pub(super) fn stopped() -> Error {
    let reason = "the watch cache has stopped".to_owned();
    Error::Store(backend::Error::Unavailable { reason, outcome_unknown: false })
}

// === impl Shared ===

impl Shared {
    /// Asks the feed for the history after a revision. When the answer is good, the history goes back that far.
    pub(super) async fn request_backfill(&self, after: Revision) -> Result<Answer, Error> {
        let (done, answer) = oneshot::channel();
        match self.backfill.send(Backfill { after, done }).await {
            Ok(()) => Ok(answer),
            Err(_) => Err(stopped()),
        }
    }

    /// Fetches what happened after `asked`, up to and with `until`.
    pub(super) async fn fetch(self: Arc<Self>, asked: Revision, until: Revision) -> Fetched {
        let result = self.older(asked, until).await;
        Fetched { asked, result }
    }

    /// Reads the changes after `after`, up to and with `until`, from the backend. If they are too many, the last ones of
    /// them.
    async fn older(&self, mut after: Revision, until: Revision) -> Result<Older, Error> {
        let mut stream = self.backend.watch(&self.prefix, after).await?;
        self.backend.request_progress(&self.prefix);
        // Keys as the changes so far leave them.
        let mut seen: BTreeMap<Arc<str>, Option<Arc<Object>>> = BTreeMap::new();
        let mut changes: VecDeque<Arc<Change>> = VecDeque::new();
        while let Some(events) = stream.next().await {
            for event in events? {
                let change = match event {
                    Event::Progress(reached) if reached >= until => {
                        return Ok(Older { after, changes: changes.into() });
                    }
                    Event::Progress(_) => continue,
                    Event::Put { entry, .. } if entry.revision > until => {
                        return Ok(Older { after, changes: changes.into() });
                    }
                    Event::Delete { revision, .. } if revision > until => {
                        return Ok(Older { after, changes: changes.into() });
                    }
                    Event::Put { entry, created, previous } => {
                        let key: Arc<str> = Arc::from(entry.key);
                        let before = match (seen.get(&key), created, previous) {
                            (Some(before), _, _) => before.clone(),
                            (None, true, _) => None,
                            (None, false, Some(before)) => {
                                self.object(Arc::clone(&key), before.value, before.revision)
                            }
                            (None, false, None) => self.before(&key, entry.revision).await?,
                        };
                        let object = self.object(Arc::clone(&key), entry.value, entry.revision);
                        seen.insert(key, object.clone());
                        Change::new(previous_of(entry.revision), entry.revision, before, object)
                    }
                    Event::Delete { key, revision, previous } => {
                        let key: Arc<str> = Arc::from(key);
                        let before = match (seen.get(&key), previous) {
                            (Some(before), _) => before.clone(),
                            (None, Some(before)) => {
                                self.object(Arc::clone(&key), before.value, before.revision)
                            }
                            (None, None) => self.before(&key, revision).await?,
                        };
                        seen.insert(key, None);
                        Change::new(previous_of(revision), revision, before, None)
                    }
                };
                if change.object().is_some() {
                    changes.push_back(Arc::new(change));
                }
                // Whole revisions only, as ever.
                while changes.len() > self.config.backfill_events_max
                    || changes.front().is_some_and(|oldest| oldest.revision <= after)
                {
                    let Some(oldest) = changes.pop_front() else { break };
                    after = oldest.revision;
                }
            }
        }
        let reason = "the watch ended".to_owned();
        Err(Error::Store(backend::Error::Unavailable { reason, outcome_unknown: false }))
    }

    /// What a key held before a revision.
    async fn before(&self, key: &Arc<str>, revision: Revision) -> Result<Option<Arc<Object>>, Error> {
        let at = Some(previous_of(revision));
        let page =
            self.backend.range(Range { prefix: (**key).to_owned(), after: None, limit: 1, at }).await?;
        let entry = page.entries.into_iter().find(|entry| entry.key == **key);
        Ok(entry.and_then(|entry| self.object(Arc::clone(key), entry.value, entry.revision)))
    }
}
