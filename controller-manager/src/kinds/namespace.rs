//! A Namespace, as far as controllers look at it.

use client::{Kind, Meta, Resource, resource};
use serde::Deserialize;

/// A Namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// The metadata.
    pub metadata: Meta,
    /// How it is.
    pub status: NamespaceStatus,
}

/// How a Namespace is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceStatus {
    /// `Active` or `Terminating`.
    pub phase: Box<str>,
}

// === impl Namespace ===

impl Kind for Namespace {
    const RESOURCE: Resource = resource::NAMESPACES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Namespace {
    /// Whether things may be made in it.
    pub fn is_active(&self) -> bool {
        &*self.status.phase == "Active" && !self.metadata.is_terminating()
    }
}
