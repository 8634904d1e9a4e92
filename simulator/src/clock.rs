//! A wall clock that moves with tokio's time, and leaps ahead when it is told to: as a machine's does that slept, or whose
//! clock was set right. Timers do not notice; whoever compares timestamps does.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::{SignedDuration, Timestamp};
use runtime::{Clock, SimulatedClock};

/// The clock. Cloning shares it.
#[derive(Clone, Debug)]
pub struct LeapingClock {
    inner: SimulatedClock,
    ahead_seconds: Arc<AtomicI64>,
}

// === impl LeapingClock ===

impl LeapingClock {
    /// Reads `start` now.
    pub fn starting_at(start: Timestamp) -> Self {
        Self { inner: SimulatedClock::starting_at(start), ahead_seconds: Arc::default() }
    }

    /// From now on it is so much later.
    pub fn leap(&self, seconds: i64) {
        self.ahead_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for LeapingClock {
    fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.ahead_seconds.load(Ordering::Relaxed));
        self.inner.now().checked_add(ahead).unwrap_or(Timestamp::MAX)
    }
}
