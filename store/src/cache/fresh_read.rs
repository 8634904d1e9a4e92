//! Reads that see all that was written before them.
//!
//! The store is asked for its revision, and the cache waits until it has reached it. If nothing is on its way to this
//! prefix, the revision would not come by itself: the backend is asked to say how far the watch is.

use std::time::Duration;

use tokio::time::Instant;

use super::{Cache, Error, Snapshot};
use crate::backend::Revision;

/// When progress was asked for and has not come, it is asked for again. Only for backends that may lose the request.
const ASK_AGAIN: Duration = Duration::from_millis(100);

// === impl Cache ===

impl Cache {
    /// What is in the store now: a snapshot that holds every write acknowledged before the call.
    ///
    /// # Errors
    /// [`Error::Store`] if the store does not tell its revision, [`Error::NotReached`] if the cache does not come that
    /// far in [`super::Config::fresh_read_patience`].
    pub async fn fresh(&self) -> Result<Snapshot, Error> {
        self.catch_up().await?;
        Ok(self.snapshot())
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
