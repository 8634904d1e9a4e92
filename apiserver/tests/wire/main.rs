//! A whole server in memory, and what must hold of every built-in kind on the wire.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod coverage;
mod fill;
mod forms;
mod kube_rs;
mod objects;
mod server;
mod subresources;
mod typed;
