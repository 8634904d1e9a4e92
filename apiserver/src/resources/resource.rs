//! The kinds of `resource.k8s.io`.

pub(crate) mod deviceclasses;
pub(crate) mod resourceclaims;
pub(crate) mod resourceclaimtemplates;
pub(crate) mod resourceslices;
