//! Hostile input, made from seeds: what each target must hold for any bytes, and a runner that looks for bytes for which it
//! does not.
//!
//! A [`Target`](targets::Target) is a plain function of bytes that panics when a promise is broken. Tests play a bounded
//! number of cases of each; `cargo xtask fuzz TARGET --seconds N` plays as many as fit. The layout is that of cargo-fuzz, but
//! for its engine: that one needs a nightly compiler.

pub mod mutate;
pub mod run;
pub mod targets;
pub mod world;
