//! May they?
//!
//! Decisions are made from memory alone: the role index and the node graph are fed from the watch caches, and asking
//! them neither waits nor fails. Invariant: nothing here reads a request, a clock or the store.

pub mod attributes;
pub mod decision;
pub mod escalation;
pub mod mode;
pub mod node;
pub mod rbac;
pub mod review;
