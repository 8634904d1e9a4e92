//! The cluster as those extend it who bring kinds, webhooks and servers of their own, which run in the test's process here.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod https;
mod metrics;
mod operator;
