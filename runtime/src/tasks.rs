//! A home for tasks: each has a name, an owner and an end.
//!
//! A [`Tasks`] group is cancelled as a whole and awaited as a whole; a child group ends with its parent or before it.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// A group of named tasks. Cloning shares the group.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// Resolves when the group is told to stop.
pub type Stopping = CancellationToken;

// === impl Tasks ===

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// An empty group.
    pub fn new() -> Self {
        Self { tracker: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// A group that stops when this one does, and can be stopped alone.
    pub fn child(&self) -> Self {
        Self { tracker: TaskTracker::new(), stop: self.stop.child_token() }
    }

    /// Runs `task` until it ends or the group stops, whichever comes first: a stop drops the task at its next `.await`.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.spawn_draining(name, async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs `task` to its own end: it watches [`Tasks::stopping`] itself and may finish what it has in hand.
    pub fn spawn_draining<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guarded = PanicReport { name };
        self.tracker.spawn(
            async move {
                let guarded = guarded;
                task.await;
                std::mem::forget(guarded);
            }
            .instrument(tracing::debug_span!("task", name)),
        );
    }

    /// Resolves when the group is told to stop; clone it into tasks.
    pub fn stopping(&self) -> Stopping {
        self.stop.clone()
    }

    /// Whether the group was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells every task to stop, without waiting.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Tells every task to stop and waits until all have ended, `patience` at most. True if all ended.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(patience, self.tracker.wait()).await.is_ok()
    }
}

/// Says which task panicked: the panic itself has been printed by the hook, but without the task's name.
struct PanicReport {
    name: &'static str,
}

impl Drop for PanicReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "task panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_tasks_that_finish_what_they_have_in_hand() {
        let tasks = Tasks::new();
        let (done, finished) = tokio::sync::oneshot::channel();
        let stopping = tasks.stopping();
        tasks.spawn_draining("slow", async move {
            stopping.cancelled().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            done.send(()).unwrap();
        });
        tasks.spawn("endless", std::future::pending());
        assert!(tasks.drain(Duration::from_secs(5)).await);
        finished.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_stops_alone_and_with_its_parent() {
        let parent = Tasks::new();
        let (one, two) = (parent.child(), parent.child());
        one.stop();
        assert!(one.is_stopping() && !two.is_stopping() && !parent.is_stopping());
        parent.stop();
        assert!(two.is_stopping());
    }
}
