//! Objects as bytes, and bytes as objects.
//!
//! A request's body becomes a [`serde_json::Value`] that looks as if it had been decoded into upstream's Go
//! struct and encoded again: unknown fields are gone (and reported), defaults of the language are in place,
//! quantities and times are in their canonical form. Errors read as upstream's do, since clients show them and
//! tests compare them.
//!
//! Everything here is a function of its arguments; nothing knows of HTTP, of the store or of validation.

mod base64;
mod go;
pub mod json;
pub mod protobuf;
mod tape;
mod time;
pub mod typed;
pub mod yaml;

/// Deeper than this, nothing is kept: values are walked and dropped recursively everywhere.
///
/// Upstream takes up to 10,000 levels. What is skipped here, such as unknown fields, may be that deep, too.
pub const DEPTH_KEPT_MAX: usize = 256;
