//! The loop around a look, for the few controllers whose keys are no objects of one kind or whose looks must ask the
//! server: the same queue, backoff, conflicts and records as the harness has.
//!
//! Invariant: nothing is decided here but when to look again.

use std::{future::Future, sync::Arc, time::Duration};

use client::{
    Key,
    controller::{Manager, Record, execute::Execution, record::Next},
    queue::Queue,
};

/// A controller that looks at keys of its own.
pub trait Looks: Send + Sync + 'static {
    /// What is looked at.
    type Key: Ord + Clone + Send + Sync + 'static;
    /// The name in records.
    const NAME: &'static str;

    /// Looks at a key, and does what is to do.
    fn look(&self, key: &Self::Key) -> impl Future<Output = Look> + Send;
}

/// What a look came to.
#[derive(Debug)]
pub struct Look {
    /// The object that was looked at.
    pub key: Key,
    /// Why it was done, in one sentence.
    pub why: String,
    /// What was done.
    pub execution: Execution,
    /// What failed besides.
    pub failure: Option<String>,
    /// Look again after so long.
    pub look_again: Option<Duration>,
}

// === impl Look ===

impl Look {
    /// A look that has done nothing yet, and why.
    pub fn because(key: Key, why: impl Into<String>) -> Self {
        Self { key, why: why.into(), execution: Execution::default(), failure: None, look_again: None }
    }
}

/// Starts the workers; they run until the manager's tasks are told to stop. They begin when `ready` is.
pub fn start<L: Looks>(
    manager: &Manager,
    workers: usize,
    queue: &Queue<L::Key>,
    looks: &Arc<L>,
    ready: impl Future<Output = ()> + Send + Clone + 'static,
) {
    let stopping = manager.runtime.tasks.stopping();
    let closing = queue.clone();
    manager.runtime.tasks.spawn_draining("controller-stop", async move {
        stopping.cancelled().await;
        closing.close();
    });
    for _ in 0..workers.max(1) {
        let (manager, queue, looks, ready) =
            (manager.clone(), queue.clone(), Arc::clone(looks), ready.clone());
        manager.runtime.clone().tasks.spawn_draining(L::NAME, async move {
            let stopping = manager.runtime.tasks.stopping();
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = ready => {}
            }
            while let Some(turn) = queue.take().await {
                look(&manager, &queue, &*looks, turn.key()).await;
            }
        });
    }
}

async fn look<L: Looks>(manager: &Manager, queue: &Queue<L::Key>, looks: &L, key: &L::Key) {
    let started = manager.runtime.clock.now();
    let clock = tokio::time::Instant::now();
    let look = looks.look(key).await;
    let next = next(queue, key, &look);
    match &next {
        Next::Wait => {}
        Next::Conflict => queue.add(key.clone()),
        Next::LookAgain { after } | Next::Retry { after, .. } => queue.add_after(key.clone(), *after),
    }
    if look.execution.written.is_empty() && matches!(next, Next::Wait) {
        // Most looks of these find nothing to do: they would push all others out of the records.
        return;
    }
    tracing::debug!(controller = L::NAME, key = %look.key, why = look.why, "looked");
    manager.records.add(Record {
        sequence: 0,
        controller: L::NAME.into(),
        resource: String::new(),
        key: look.key,
        started,
        waited: Duration::ZERO,
        took: clock.elapsed(),
        causes: Vec::new(),
        reads: Vec::new(),
        why: look.why,
        writes: look.execution.written,
        next,
    });
}

fn next<K: Ord + Clone + Send + 'static>(queue: &Queue<K>, key: &K, look: &Look) -> Next {
    let failure = look.execution.failure.as_ref();
    if let Some(message) = failure.map(|failure| &failure.message).or(look.failure.as_ref()) {
        tracing::info!(key = %look.key, error = message, "look failed");
        let asked = failure.and_then(|failure| failure.retry_after).unwrap_or_default();
        return Next::Retry { after: queue.next_delay(key).max(asked), message: message.clone() };
    }
    if let Some(message) = &look.execution.conflict {
        return Next::Retry { after: queue.next_delay(key), message: message.clone() };
    }
    queue.forget_failures(key);
    look.look_again.map_or(Next::Wait, |after| Next::LookAgain { after })
}
