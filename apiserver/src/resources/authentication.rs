//! The kinds of `authentication.k8s.io`.

pub(crate) mod selfsubjectreviews;
pub(crate) mod tokenreviews;
