//! The life of a reconcile: the controllers that make a cluster what its objects say.
//!
//! Read in this order: the [`kinds`] are what the controllers keep of the cluster (one projection a kind, shared by all);
//! [`template`], [`revisions`], [`placement`], [`pods`], [`claim`] and [`conditions`] are rules that several controllers share; [`inventory`] and
//! [`shell`] are for the few that work on kinds they do not know, [`services`] for those that work on endpoints; [`controllers`] is the table, one
//! line and one file a controller; [`launch`] starts those that are wanted.
//!
//! Invariant: the cluster is reached through the `client` crate alone. A controller decides in values and leaves the doing
//! to the harness, which also keeps the records of why.

pub mod kinds;

pub mod inventory;

pub mod shell;

pub mod services;

pub mod template;

pub mod revisions;

pub mod placement;

pub mod pods;

pub mod claim;

pub mod protection;

pub mod conditions;

pub mod int_or_percent;

pub mod resources;

pub mod certificates;

pub mod tokens;

pub mod replicas;

pub mod controllers;

pub mod launch;

pub use launch::{Options, start};
