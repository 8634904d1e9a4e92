//! The loop: takes a key, catches up, observes, decides, executes, records, and says when to look again.
//!
//! Invariant: a key is in one worker's hands at a time, and a panic of a controller costs only the look it happened in.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::{Runtime, Stopping};
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::{
    Controller, Plan, Triggers,
    catch_up::Ledger,
    execute::{Execution, Executor, Failure},
    record::{Cause, Next, Read, Record, Records},
    triggers::{Declared, Inbox},
};
use crate::{
    Api, Caches, Key, Kind,
    events::Recorder,
    queue::{Queue, metrics::Metrics},
    reflector::list_watch::chain,
};

/// A worker waits so long for caches to catch up before it lets other keys go first.
pub const CATCH_UP_PATIENCE: Duration = Duration::from_secs(10);

/// What the controllers of a process share.
#[derive(Clone, Debug)]
pub struct Manager {
    /// Time, randomness, tasks: everything started here lives in these tasks.
    pub runtime: Runtime,
    /// The server, as the component itself.
    pub api: Api,
    /// One reflector a kind.
    pub caches: Caches,
    /// What every reconcile left.
    pub records: Records,
    /// The queues' metrics.
    pub metrics: Metrics,
}

/// How to run a controller.
#[derive(Clone, Debug)]
pub struct Options {
    /// So many keys are looked at in parallel.
    pub workers: usize,
    /// Who the controller is to the server, if not the component: upstream gives each its own service account.
    pub api: Option<Api>,
    /// The queue's name in the metrics, if not the controller's: dashboards know upstream's.
    pub queue: Option<&'static str>,
}

/// A controller and what its workers share.
struct Harness<C: Controller> {
    controller: C,
    runtime: Runtime,
    /// The component's, not the controller's: a role that lets a controller write need not let it read.
    api: Api,
    caches: Caches,
    records: Records,
    executor: Executor,
    inbox: Inbox,
    declared: Declared,
    ledger: Ledger,
    /// What the last look at a key failed with.
    failures: Mutex<BTreeMap<Key, Arc<str>>>,
}

/// What a look at a key came to.
struct Look {
    why: String,
    waited: Duration,
    reads: Vec<Read>,
    execution: Execution,
    next: Next,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self { workers: 5, api: None, queue: None }
    }
}

impl Options {
    /// So many workers.
    pub fn workers(workers: usize) -> Self {
        Self { workers, ..Self::default() }
    }
}

// === impl Manager ===

impl Manager {
    /// A manager without controllers.
    pub fn new(runtime: &Runtime, api: Api) -> Self {
        Self {
            runtime: runtime.clone(),
            caches: Caches::new(api.clone(), runtime),
            api,
            records: Records::default(),
            metrics: Metrics::default(),
        }
    }

    /// Starts a controller: its caches fill, then its workers begin. It runs until the runtime's tasks are stopped, and
    /// then finishes the looks it has in hand. The inbox is for whoever wants to add keys of its own.
    pub fn start<C: Controller>(&self, controller: C, options: Options) -> Inbox {
        let queue = Queue::named(options.queue.unwrap_or(C::NAME), &self.metrics);
        let inbox = Inbox::new(queue.clone());
        let mut triggers = Triggers::new(self.caches.clone(), inbox.clone());
        controller.triggers(&mut triggers);
        let declared = triggers.subscribe();
        let api = options.api.unwrap_or_else(|| self.api.clone());
        let events = Recorder::start(&self.runtime, api.clone(), C::NAME);
        let harness = Arc::new(Harness {
            controller,
            runtime: self.runtime.clone(),
            executor: Executor::new(api, events),
            api: self.api.clone(),
            caches: self.caches.clone(),
            records: self.records.clone(),
            inbox: inbox.clone(),
            declared,
            ledger: Ledger::default(),
            failures: Mutex::default(),
        });
        let stopping = self.runtime.tasks.stopping();
        self.runtime.tasks.spawn_draining("controller-stop", async move {
            stopping.cancelled().await;
            queue.close();
        });
        for _ in 0..options.workers.max(1) {
            self.runtime.tasks.spawn_draining(C::NAME, Arc::clone(&harness).work());
        }
        inbox
    }
}

// === impl Harness ===

impl<C: Controller> Harness<C> {
    async fn work(self: Arc<Self>) {
        let stopping = self.runtime.tasks.stopping();
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = self.declared.synced() => {}
        }
        while let Some(turn) = self.inbox.queue().take().await {
            let key = turn.key().clone();
            let span = tracing::debug_span!("reconcile", controller = C::NAME, %key);
            self.look(&key, &stopping).instrument(span).await;
        }
    }

    /// One look at a key, from catching up to the record.
    async fn look(&self, key: &Key, stopping: &Stopping) {
        let started = self.runtime.clock.now();
        let clock = Instant::now();
        let causes = self.inbox.causes_of(key);
        let caught_up = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            result = timeout(CATCH_UP_PATIENCE, self.ledger.catch_up(key, &self.caches, &self.api)) => result,
        };
        let waited = clock.elapsed();
        let look = match caught_up {
            Ok(Ok(())) => self.decide_and_execute(key, started, waited).await,
            Ok(Err(error)) => self.cannot_look(key, waited, chain(&error)),
            Err(_elapsed) => {
                self.cannot_look(key, waited, "the caches have not seen the last writes".to_owned())
            }
        };
        self.schedule(key, &look.next);
        let took = clock.elapsed();
        tracing::debug!(why = %look.why, writes = look.execution.written.len(), ?took, "reconciled");
        self.records.add(Record {
            sequence: 0,
            controller: C::NAME.into(),
            resource: C::Root::RESOURCE.to_string(),
            key: key.clone(),
            started,
            waited: look.waited,
            took,
            causes,
            reads: look.reads,
            why: look.why,
            writes: look.execution.written,
            next: look.next,
        });
    }

    fn cannot_look(&self, key: &Key, waited: Duration, message: String) -> Look {
        let next = Next::Retry { after: self.inbox.queue().next_delay(key), message };
        Look {
            why: "cannot tell yet".to_owned(),
            waited,
            reads: Vec::new(),
            execution: Execution::default(),
            next,
        }
    }

    async fn decide_and_execute(&self, key: &Key, now: Timestamp, waited: Duration) -> Look {
        let failed_before = self.failures.lock().get(key).cloned();
        let (caches, log) = self.caches.observed(failed_before);
        let decided = catch_unwind(AssertUnwindSafe(|| {
            let observed = self.controller.observe(key, &caches)?;
            Some(self.controller.reconcile(&observed, now))
        }));
        let reads = log.take();
        let plan = match decided {
            Ok(Some(plan)) => plan,
            Ok(None) => Plan::because("there is nothing to reconcile"),
            Err(_panic) => {
                tracing::error!(controller = C::NAME, %key, "reconcile panicked");
                let after = self.inbox.queue().next_delay(key);
                let next = Next::Retry { after, message: "the controller panicked".to_owned() };
                return Look {
                    why: "panicked".to_owned(),
                    waited,
                    reads,
                    execution: Execution::default(),
                    next,
                };
            }
        };
        let execution = self.executor.execute(&plan).await;
        self.ledger.mark(key, &execution.effects, &self.caches);
        let next = self.next(key, &plan, &execution);
        Look { why: plan.why.to_string(), waited, reads, execution, next }
    }

    fn next(&self, key: &Key, plan: &Plan, execution: &Execution) -> Next {
        let queue = self.inbox.queue();
        if let Some(Failure { message, retry_after }) = &execution.failure {
            tracing::info!(controller = C::NAME, %key, error = message, "reconcile failed");
            self.failures.lock().insert(key.clone(), message.as_str().into());
            let after = queue.next_delay(key).max(retry_after.unwrap_or_default());
            return Next::Retry { after, message: message.clone() };
        }
        self.failures.lock().remove(key);
        if let Some(message) = &execution.conflict {
            // Once at once; in a row with a growing delay, so that a cache that is behind is not raced.
            if queue.failures(key) == 0 {
                queue.next_delay(key);
                return Next::Conflict;
            }
            return Next::Retry { after: queue.next_delay(key), message: message.clone() };
        }
        queue.forget_failures(key);
        match plan.look_again {
            Some(after) => Next::LookAgain { after },
            None => Next::Wait,
        }
    }

    fn schedule(&self, key: &Key, next: &Next) {
        let (cause, after) = match next {
            Next::Wait => return,
            Next::LookAgain { after } => (Cause::LookAgain, *after),
            Next::Conflict => (Cause::Retry, Duration::ZERO),
            Next::Retry { after, .. } => (Cause::Retry, *after),
        };
        self.inbox.later(key, cause, after);
    }
}
