//! Objects in, revisions out.
//!
//! [`Backend`] is what Kubernetes needs of etcd and no more; `memory`, `embedded` and `etcd` implement it, and one
//! conformance suite holds them to one meaning. The watch cache ([`cache`]) feeds from a backend and answers every read.
//!
//! Invariant: this crate knows keys, bytes and revisions. It does not know kinds, HTTP or who is asking.

pub mod backend;
pub mod cache;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod prefix_map;
pub mod transfer;

pub use backend::{
    Backend, Entry, Error, Event, Page, Range, Revision,
    embedded::{Embedded, Options},
    memory::Memory,
};
pub use cache::Cache;
