//! Reads at an older revision, for the later pages of a list and for those who ask for it.
//!
//! The history is undone on a copy of the present, which shares all that did not change. What the history does not reach
//! is read from the backend.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Cache, Error, Shared, Snapshot, history::Reach};
use crate::backend::{Range, Revision};

// === impl Cache ===

impl Cache {
    /// The objects exactly as they were at a revision. One that the store has reached and the cache has not is waited for.
    ///
    /// # Errors
    /// [`Error::Future`], [`Error::Compacted`] if neither the cache nor the backend remember it, those of
    /// [`Cache::fresh`].
    pub async fn at(&self, revision: Revision) -> Result<Snapshot, Error> {
        let shared = &self.shared;
        if revision > self.revision() {
            self.catch_up().await?;
        }
        let undo = {
            let state = shared.state.read();
            if revision > state.revision() {
                return Err(Error::Future { asked: revision, current: state.revision() });
            }
            if revision == state.revision() {
                return Ok(state.snapshot());
            }
            (state.history().reach(revision) == Reach::Whole)
                .then(|| (state.objects().clone(), state.history().back_to(revision)))
        };
        if let Some(snapshot) = shared.state.write().recent(Instant::now(), revision) {
            return Ok(snapshot);
        }
        let snapshot = match undo {
            Some((mut objects, changes)) => {
                objects.undo(&changes);
                Snapshot::new(revision, objects)
            }
            None => shared.read_at(revision).await?,
        };
        let garbage = shared.state.write().remember(Instant::now(), snapshot.clone());
        drop(garbage);
        Ok(snapshot)
    }
}

// === impl Shared ===

impl Shared {
    /// Reads the whole prefix as it was from the backend.
    pub(super) async fn read_at(&self, revision: Revision) -> Result<Snapshot, Error> {
        let mut objects = self.state.read().no_objects();
        let mut range = Range {
            prefix: (*self.prefix).to_owned(),
            after: None,
            limit: self.config.list_page_max,
            at: Some(revision),
        };
        loop {
            let page = self.backend.range(range.clone()).await?;
            range.after = page.entries.last().map(|entry| entry.key.clone());
            for entry in page.entries {
                if let Some(object) = self.object(Arc::from(entry.key), entry.value, entry.revision) {
                    objects.put(object);
                }
            }
            if page.remaining == 0 {
                let snapshot = Snapshot::new(revision, objects);
                self.counts.listed(snapshot.len());
                return Ok(snapshot);
            }
        }
    }
}
