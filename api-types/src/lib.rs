//! The words both sides of the wire share: kinds and their schema, field faults, Status, selectors, quantities, codecs.
//!
//! Invariant: no tokio, no HTTP, no store. Everything here is a value or a function of values.

pub mod cron;
pub mod field;
pub mod kind;
pub mod object;
pub mod quantity;
pub mod quota;
pub mod schema;
pub mod selectors;
pub mod status;
pub mod typed;
pub mod wire;
