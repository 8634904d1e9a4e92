//! What there is between this server and others that it passes requests to: servers of other groups
//! ([`aggregation`](crate::aggregation)), kubelets ([`kubelet`](crate::kubelet)), and what runs in Pods.
//!
//! Invariant: only [`transport`] opens connections.

pub(crate) mod pass;
pub(crate) mod transport;

#[cfg(test)]
pub(crate) mod testing;
