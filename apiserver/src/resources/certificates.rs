//! The kinds of `certificates.k8s.io`.

pub(crate) mod certificatesigningrequests;
