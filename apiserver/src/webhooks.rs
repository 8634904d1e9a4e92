//! Calls to what others run: webhooks that convert, admit or authorize.
//!
//! Invariant: knows how to reach and what to send, not what is asked or what to make of an answer.

pub(crate) mod answers;
pub mod client;
pub mod kubeconfig;
#[cfg(test)]
pub(crate) mod testing;
