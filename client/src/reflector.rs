//! A copy of one kind, kept current: list and watch in [`list_watch`], the objects in [`cache`], all of a process' kinds
//! in [`caches`].
//!
//! What is kept of a kind is the process' own choice, a **projection**: a compact struct of the fields its decisions need,
//! deserialised straight from the bytes of the wire. One process has one projection of a kind, shared by all who read it.
//!
//! Invariant: a cache is only ever written by its reflector. It may be behind the cluster, and says how far it has seen.

pub mod cache;

pub mod list_watch;

pub mod caches;

#[cfg(test)]
mod tests;

pub use cache::{Cache, Feed, pair};
pub use caches::{Caches, Read};
pub use list_watch::Reflector;

use std::sync::Arc;

use serde::{Deserialize, de::DeserializeOwned};

use crate::{Key, Meta, Resource, Revision};

/// A projection of a kind.
///
/// ```
/// use client::{Kind, Meta, Resource, resource};
///
/// #[derive(serde::Deserialize)]
/// struct Pod {
///     metadata: Meta,
///     #[serde(default)]
///     spec: PodSpec,
/// }
///
/// #[derive(Default, serde::Deserialize)]
/// #[serde(rename_all = "camelCase", default)]
/// struct PodSpec {
///     node_name: Box<str>,
/// }
///
/// impl Kind for Pod {
///     const RESOURCE: Resource = resource::PODS;
///     fn meta(&self) -> &Meta {
///         &self.metadata
///     }
/// }
/// ```
pub trait Kind: DeserializeOwned + Send + Sync + 'static {
    /// The resource to list and watch.
    const RESOURCE: Resource;

    /// Keep only objects this field selector selects; all if empty. A write that leaves the selection is seen as a
    /// deletion.
    const FIELD_SELECTOR: &'static str = "";

    /// The object's metadata.
    fn meta(&self) -> &Meta;

    /// Indexes beside those every cache has (namespace, owner).
    fn indexes() -> Vec<Index<Self>> {
        Vec::new()
    }

    /// The object's place.
    fn key(&self) -> Key {
        self.meta().key()
    }
}

/// Finds objects by a value computed from them.
pub struct Index<K> {
    /// The name to ask for, such as `spec.nodeName`.
    pub name: &'static str,
    /// The values an object is found under.
    pub values: fn(&K) -> Vec<Box<str>>,
}

/// What happened to one object of a cache.
#[derive(Debug)]
pub enum Change<K> {
    /// It is new to the cache.
    Added(Arc<K>),
    /// It changed.
    Modified {
        /// As it was in the cache.
        old: Arc<K>,
        /// As it is.
        new: Arc<K>,
    },
    /// It is gone.
    Deleted {
        /// As it was last.
        last: Arc<K>,
        /// When it went, as far as the cache can tell.
        revision: Revision,
    },
}

/// The projection that fits every kind: metadata alone. Its reflectors ask the server for no more.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Metadata {
    /// The metadata.
    #[serde(default)]
    pub metadata: Meta,
}

// === impl Metadata ===

impl Kind for Metadata {
    const RESOURCE: Resource =
        Resource::new("meta.k8s.io", "v1", "partialobjectmetadata", "PartialObjectMetadata", true);

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

// === impl Change ===

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(new) => Self::Added(Arc::clone(new)),
            Self::Modified { old, new } => Self::Modified { old: Arc::clone(old), new: Arc::clone(new) },
            Self::Deleted { last, revision } => Self::Deleted { last: Arc::clone(last), revision: *revision },
        }
    }
}

impl<K> Change<K> {
    /// The object as it was, unless it is new.
    pub fn before(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added(_) => None,
            Self::Modified { old, .. } => Some(old),
            Self::Deleted { last, .. } => Some(last),
        }
    }

    /// The object as it is, unless it is gone.
    pub fn after(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added(new) | Self::Modified { new, .. } => Some(new),
            Self::Deleted { .. } => None,
        }
    }

    /// The object as last known.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(new) | Self::Modified { new, .. } => new,
            Self::Deleted { last, .. } => last,
        }
    }

    /// `added`, `modified` or `deleted`.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Added(_) => "added",
            Self::Modified { .. } => "modified",
            Self::Deleted { .. } => "deleted",
        }
    }
}

impl<K: Kind> Change<K> {
    /// The revision that made the change.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Added(new) | Self::Modified { new, .. } => new.meta().revision,
            Self::Deleted { revision, .. } => *revision,
        }
    }
}

impl<K> std::fmt::Debug for Index<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Index").field(&self.name).finish()
    }
}
