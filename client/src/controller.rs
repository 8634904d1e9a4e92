//! The harness every controller runs in. A reconcile, in the order it happens:
//!
//! [`triggers`] say which key a change concerns; the [queue](crate::queue) hands it to one worker; [`catch_up`] waits until
//! the caches have seen this controller's own last writes; the controller *observes* a value from the caches and *decides*
//! a [`plan`]; [`execute`] carries it out; a [`record`] of all this is left for whoever asks why. [`manager`] is the loop
//! that ties these together. Each piece can be had alone, for the few controllers that do not fit the trait.
//!
//! Invariant: a reconcile receives a key, never an event. Restart, retry, timer and event take the same path.

pub mod triggers;

pub mod catch_up;

pub mod plan;

pub mod execute;

pub mod record;

pub mod manager;

#[cfg(test)]
mod tests;

pub use execute::Executor;
pub use manager::{Manager, Options};
pub use plan::{
    DeleteOptions, OnConflict, OnFailure, Patch, Plan, Preconditions, Propagation, Reason, Report, Request,
    Verb, Write,
};
pub use record::{Cause, Record, Records};
pub use triggers::Triggers;

use jiff::Timestamp;

use crate::{Caches, Key, Kind};

/// A reconcile loop: brings what a root object wants and what there is together.
pub trait Controller: Send + Sync + 'static {
    /// The kind whose keys are reconciled. An object need not exist for a key.
    type Root: Kind;
    /// All a decision depends on.
    type Observed: Send;
    /// The name in metrics, records, logs and the user agent, such as `replicaset-controller`.
    const NAME: &'static str;

    /// Says which changes concern which keys, and which kinds are read besides.
    fn triggers(&self, on: &mut Triggers<Self::Root>);

    /// Reads from the caches all the decision depends on; `None` if there is nothing to decide, such as when the root is
    /// gone.
    fn observe(&self, root: &Key, caches: &Caches) -> Option<Self::Observed>;

    /// Decides. Pure: the same observation at the same time gives the same plan.
    fn reconcile(&self, observed: &Self::Observed, now: Timestamp) -> Plan;
}
