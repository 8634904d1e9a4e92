//! Reads that see all that was written before them.
//!
//! The store is asked for its revision, and the cache waits until it has reached it. If nothing is on its way to this
//! prefix, the revision would not come by itself: the backend is asked to say how far the watch is.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Cache, Error, Object, Snapshot};
use crate::backend::Revision;

/// When progress was asked for and has not come, it is asked for again. Only for backends that may lose the request.
const ASK_AGAIN: Duration = Duration::from_millis(100);

// === impl Cache ===

impl Cache {
    /// What is in the store now: a snapshot that holds every write acknowledged before the call. If the cache does not
    /// come that far in [`super::Config::fresh_read_patience`], the store itself is read: slow, but an answer.
    ///
    /// # Errors
    /// [`Error::Store`] if the store does not answer.
    pub async fn fresh(&self) -> Result<Snapshot, Error> {
        match self.catch_up().await {
            Ok(()) => Ok(self.snapshot()),
            Err(Error::NotReached { asked, .. }) => self.shared.read_at(asked).await,
            Err(error) => Err(error),
        }
    }

    /// One object as it is in the store now, in the same way.
    pub(super) async fn fresh_object(&self, key: &str) -> Result<Option<Arc<Object>>, Error> {
        match self.catch_up().await {
            Ok(()) => Ok(self.shared.state.read().objects().get(key).cloned()),
            Err(Error::NotReached { .. }) => {
                let entry = self.shared.backend.get(key).await?;
                Ok(entry.and_then(|it| self.shared.object(Arc::from(it.key), it.value, it.revision)))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn catch_up(&self) -> Result<(), Error> {
        let asked = self.shared.backend.revision().await?;
        if self.revision() >= asked {
            self.shared.counts.consistent_reads.inc();
            return Ok(());
        }
        let start = Instant::now();
        let reached = self.wait_for(asked, start + self.shared.config.fresh_read_patience).await;
        let counts = &self.shared.counts;
        counts.read_wait.observe(start.elapsed().as_secs_f64());
        if reached.is_ok() { &counts.consistent_reads } else { &counts.failed_reads }.inc();
        reached
    }

    /// Waits until the cache has reached a revision.
    ///
    /// # Errors
    /// [`Error::NotReached`] when the deadline passes.
    pub async fn wait_for(&self, asked: Revision, deadline: Instant) -> Result<(), Error> {
        let reached = &self.shared.reached;
        loop {
            if reached.get() >= asked {
                return Ok(());
            }
            self.shared.backend.request_progress(&self.shared.prefix);
            let until = deadline.min(Instant::now() + ASK_AGAIN);
            let waited = tokio::time::timeout_at(until, reached.wait(|reached| *reached >= asked)).await;
            if waited.is_ok() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::NotReached { asked, current: self.revision() });
            }
        }
    }
}
