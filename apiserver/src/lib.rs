//! The life of a request, in the order it happens.

pub mod authn;
pub mod authz;
pub mod columns;
pub mod discovery;
pub mod openapi;
pub mod patch;
pub mod registry;
pub mod resources;
pub mod tls;
