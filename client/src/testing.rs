//! For tests of whoever builds on this crate: an API server in memory, with faults on demand, and caches filled by hand.
//!
//! ```
//! use client::{Kind, Meta, Resource, resource, testing};
//!
//! #[derive(serde::Deserialize)]
//! struct Pod {
//!     metadata: Meta,
//! }
//!
//! impl Kind for Pod {
//!     const RESOURCE: Resource = resource::PODS;
//!     fn meta(&self) -> &Meta {
//!         &self.metadata
//!     }
//! }
//!
//! let caches = testing::Filled::new()
//!     .with::<Pod>([serde_json::json!({"metadata": {"name": "a", "namespace": "default"}})])
//!     .caches();
//! assert_eq!(caches.read::<Pod>().len(), 1);
//! ```
//!
//! Invariant: the server here knows the protocol, not the kinds: no defaults, no validation, no admission. What depends on
//! those is tested against the real one.

mod server;

pub use server::{FakeServer, Fault};

use serde_json::Value;

use crate::{Caches, Kind, Revision, reflector::pair};

/// Caches filled by hand, for tests of `observe` and `reconcile`.
#[derive(Debug)]
pub struct Filled(Caches);

// === impl Filled ===

impl Default for Filled {
    fn default() -> Self {
        Self::new()
    }
}

impl Filled {
    /// Nothing is in.
    pub fn new() -> Self {
        Self(Caches::detached())
    }

    /// With these objects of a kind.
    ///
    /// # Panics
    /// When an object does not fit the projection.
    #[must_use]
    pub fn with<K: Kind>(self, objects: impl IntoIterator<Item = Value>) -> Self {
        let (mut feed, cache) = pair::<K>();
        let objects: Vec<K> = objects
            .into_iter()
            .map(|object| match serde_json::from_value(object) {
                Ok(object) => object,
                Err(error) => panic!("an object does not fit the projection of {}: {error}", K::RESOURCE),
            })
            .collect();
        let newest = objects.iter().map(|object| object.meta().revision).max().unwrap_or(Revision(1));
        feed.replace(objects, newest);
        self.0.insert(cache);
        self
    }

    /// The caches.
    pub fn caches(self) -> Caches {
        self.0
    }
}
