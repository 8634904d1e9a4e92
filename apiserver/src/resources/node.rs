//! The kinds of `node.k8s.io`.

pub(crate) mod runtimeclasses;
