//! The life of a pod that has no node.
//!
//! Read in the order a Pod meets it: [`profile`] says which plugins decide for it, the [`queue`] when it is its turn, a
//! [`snapshot`] what there is to choose from, a [`cycle`] which node, and `bind` carries that out. [`record`] keeps what
//! was decided and why.
//!
//! Invariant: the API is the only way to the cluster; what is decided is decided by pure functions. No clock, no randomness
//! and no bare task: these come in a [`runtime::Runtime`].

pub mod config;

pub mod profile;

pub mod plugin;

pub mod plugins;

pub mod resources;

pub mod node;

pub mod pod;

pub mod storage;

pub mod devices;

pub mod workload;

pub mod queue;

pub mod snapshot;

pub mod cycle;

mod run;

mod bind;

mod preempt;

mod prepare;

pub mod record;

pub mod metrics;

pub use run::{Handle, Options, start};
