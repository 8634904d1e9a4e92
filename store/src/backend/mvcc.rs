//! The meaning of revisions, shared by the backends that keep their state in memory.
//!
//! [`State`] is plain data: the current records, and the log of changes that led there as far back as it is kept. A
//! write is decided in a [`Batch`] on top of a state, and applied later, so that a durable backend can write between
//! the two. [`Shared`] puts a state behind a lock and wakes the streams that watch it.
//!
//! Invariant: no I/O and no clock in here. Deadlines are numbers on a scale the backend chooses.

mod state;
mod streams;

pub(super) use state::{Batch, Change, Deadline, Op, Record, State};
pub(super) use streams::{Log, Shared, Touch};
