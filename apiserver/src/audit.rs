//! Who did what: one event for each stage of each request that a policy names, given to a log file and to a webhook.
//!
//! The steps, in order: [`policy`] says how much of a request is put on record, [`record`] gathers it while the request is
//! worked on, [`event`] is what has been gathered, [`backend`] is who is given it. Formats, flags, file names and metrics are
//! upstream's (`audit.k8s.io/v1`).
//!
//! Invariants: a server without a policy pays one branch a request. What an object says is on record at the levels Request and
//! RequestResponse only. Every queue is bounded.

pub mod backend;
pub mod event;
pub mod flags;
pub mod policy;
pub mod record;

mod batch;
mod log;
mod truncate;
mod webhook;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::join_all;
use runtime::{Runtime, SharedClock};

use self::{
    backend::{Backend, Done},
    event::Event,
    policy::Policy,
};
pub use self::{flags::AuditFlags, record::Record};
use crate::observe::metrics;

/// A policy and the backends of its events, as the flags have them.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What is put on record.
    pub policy: Arc<Policy>,
    /// Who is given it. Made when the server has its metrics and tasks.
    pub backends: flags::Backends,
}

/// What puts requests on record.
#[derive(Debug)]
pub struct Audit {
    policy: Arc<Policy>,
    backends: Vec<Arc<dyn Backend>>,
    metrics: metrics::Audit,
    clock: SharedClock,
    runtime: Runtime,
}

// === impl Audit ===

impl Audit {
    /// Starts the backends.
    pub fn start(setup: &Setup, metrics: &metrics::Audit, runtime: &Runtime) -> Arc<Self> {
        let backends = setup.backends.start(metrics, runtime);
        Self::over(Arc::clone(&setup.policy), backends, metrics, runtime)
    }

    /// The same with these backends.
    pub fn over(
        policy: Arc<Policy>,
        backends: Vec<Arc<dyn Backend>>,
        metrics: &metrics::Audit,
        runtime: &Runtime,
    ) -> Arc<Self> {
        let (metrics, clock) = (metrics.clone(), Arc::clone(&runtime.clock));
        Arc::new(Self { policy, backends, metrics, clock, runtime: runtime.clone() })
    }

    /// Gives an event to every backend. Whether none of them has failed.
    fn give(&self, event: &Arc<Event>) -> Done {
        self.metrics.events.inc();
        let mut done: Vec<Done> =
            self.backends.iter().map(|it| it.process(vec![Arc::clone(event)])).collect();
        match done.len() {
            1 => done.remove(0),
            _ if done.iter().all(Done::is_now) => {
                Done::Now(done.iter().all(|done| matches!(done, Done::Now(true))))
            }
            _ => Done::Later(Box::pin(async move {
                join_all(done.into_iter().map(Done::wait)).await.into_iter().all(|stored| stored)
            })),
        }
    }
}
