//! How a component sees and changes the cluster: everything between the wire and a pure decision.
//!
//! Read in the order a reconcile meets it: a [`transport`] carries requests, the [`api`] gives them verbs, a [`reflector`]
//! keeps a cache of one kind, the [`queue`] says which key is next, a [`controller`] catches up, observes, decides and
//! executes, and leaves a record. [`lease`] says who may work at all; [`events`] tells people, and [`serving`]
//! those who ask at the port of a component.
//!
//! Invariant: nothing here knows a store or a server's insides; the wire is the only way to the cluster. No clock, no
//! randomness and no bare task: these come in a [`runtime::Runtime`].

pub mod resource;

pub mod transport;

pub mod meta;

pub mod api;

pub mod reflector;

pub mod queue;

pub mod controller;

pub mod lease;

pub mod events;

pub mod serving;

mod backoff;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use api::{Api, Error};
pub use controller::{Controller, Plan, Triggers, Write};
pub use meta::{Key, Labels, Meta, Owner, Revision};
pub use reflector::{Cache, Caches, Change, Index, Kind};
pub use resource::Resource;
