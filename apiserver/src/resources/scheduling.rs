//! The kinds of `scheduling.k8s.io`.

pub(crate) mod priorityclasses;
