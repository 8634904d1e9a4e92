//! What every long-lived part of the control plane is handed at birth: the time, the dice and a place for its tasks.
//!
//! Nothing else in the workspace reads the system's clock, draws from the system's randomness or spawns a bare task, so
//! that with [`SimulatedClock`], a seeded [`Random`] and tokio's paused time a whole cluster replays from one seed.
//!
//! Invariant: this crate knows nothing of Kubernetes.

pub mod logging;
pub mod process;

mod clock;
mod random;
mod signal;
mod tasks;

pub use clock::{Clock, SharedClock, SimulatedClock, SystemClock};
pub use random::Random;
pub use signal::Signal;
pub use tasks::{Stopping, Tasks};

/// The process-wide seams, cloned into every component.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Wall-clock time. For timers use `tokio::time`, which a test can pause.
    pub clock: SharedClock,
    /// Uids, name suffixes, jitter.
    pub random: Random,
    /// Where tasks are spawned.
    pub tasks: Tasks,
}

impl Runtime {
    /// The real world: the system's clock and the operating system's randomness.
    pub fn system() -> Self {
        Self { clock: std::sync::Arc::new(SystemClock), random: Random::from_os(), tasks: Tasks::new() }
    }

    /// A world that replays: time starts at `start` and moves with tokio's clock, every draw comes from `seed`.
    pub fn simulated(start: jiff::Timestamp, seed: u64) -> Self {
        Self {
            clock: std::sync::Arc::new(SimulatedClock::starting_at(start)),
            random: Random::from_seed(seed),
            tasks: Tasks::new(),
        }
    }
}
