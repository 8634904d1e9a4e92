//! The kinds of `resource.k8s.io`: devices, and claims on them.
//!
//! Whether expressions that select devices compile is not judged here, nor is what needs more than the object: whether
//! its namespace may give access as an administrator, and whether the writer of a status may write each part.

mod allocation;
mod capacity;
mod claim;
pub(crate) mod deviceclasses;
mod parts;
pub(crate) mod resourceclaims;
pub(crate) mod resourceclaimtemplates;
pub(crate) mod resourceslices;
