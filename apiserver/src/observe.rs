//! How the server is doing, told to probes ([`health`]) and to Prometheus ([`metrics`]); and who wrote what ([`journal`]).
//!
//! Paths, names of checks and of metrics are upstream's, so that static pods, dashboards and alerts written for it
//! work. Nothing here knows requests or the store: others report, this module counts and renders.

pub mod count;
pub mod health;
pub mod journal;
pub mod metrics;
