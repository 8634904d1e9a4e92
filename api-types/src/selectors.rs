//! Which objects a request or a controller means: label selectors and field selectors.
//!
//! Both are read, written back and matched here, with upstream's error texts. Invariant: nothing here knows what an
//! object looks like; labels and field values come from the caller.

pub mod fields;
pub mod labels;

/// A selector that cannot be read, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) String);
