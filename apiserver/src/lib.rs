//! The life of a request, in the order it happens.

pub mod authn;
pub mod authz;
pub mod registry;
pub mod resources;
