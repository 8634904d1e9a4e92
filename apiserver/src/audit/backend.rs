//! Who events are given to, and what becomes of those that cannot be kept.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;

use super::event::Event;
use crate::observe::metrics;

/// Somebody who keeps events or sends them on.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Takes events. What needs no waiting is done when this returns.
    fn process(&self, events: Vec<Arc<Event>>) -> Done;
}

/// How far the taking of events is, and whether they were kept.
pub enum Done {
    /// It is over.
    Now(bool),
    /// It has to be waited for.
    Later(BoxFuture<'static, bool>),
}

/// A backend whose failures are nobody's: mode `blocking`.
#[derive(Debug)]
pub struct IgnoringFailures(pub Arc<dyn Backend>);

/// Where failures of a backend are told.
#[derive(Clone, Debug)]
pub struct Complaints(pub metrics::Audit);

// === impl Done ===

impl Done {
    /// Whether there is nothing to wait for.
    pub fn is_now(&self) -> bool {
        matches!(self, Self::Now(_))
    }

    /// Waits, and says whether all was kept.
    pub async fn wait(self) -> bool {
        match self {
            Self::Now(kept) => kept,
            Self::Later(rest) => rest.await,
        }
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(kept) => f.debug_tuple("Now").field(kept).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

// === impl IgnoringFailures ===

impl Backend for IgnoringFailures {
    fn process(&self, events: Vec<Arc<Event>>) -> Done {
        match self.0.process(events) {
            Done::Now(_) => Done::Now(true),
            Done::Later(rest) => Done::Later(Box::pin(async move {
                // It told of the failure itself.
                let _kept = rest.await;
                true
            })),
        }
    }
}

// === impl Complaints ===

impl Complaints {
    /// Events were lost.
    pub fn tell(&self, plugin: &'static str, why: &dyn fmt::Display, lost: &[Arc<Event>]) {
        self.0.errors.with_label_values(&[plugin]).inc_by(lost.len() as u64);
        tracing::error!(plugin, events = lost.len(), error = %why, "events of the audit are lost");
        for event in lost {
            tracing::error!(plugin, event = event.line(), "lost");
        }
    }
}
