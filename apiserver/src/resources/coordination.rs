//! The kinds of `coordination.k8s.io`.

pub(crate) mod leases;
