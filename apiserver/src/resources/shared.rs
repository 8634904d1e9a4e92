//! Rules that several kinds share.

pub mod addresses;
pub(crate) mod claims;
pub(crate) mod conditions;
pub(crate) mod fields;
pub(crate) mod forms;
pub(crate) mod images;
pub(crate) mod internal;
pub mod metadata;
pub mod names;
pub mod net;
pub(crate) mod optional;
pub(crate) mod pem;
pub(crate) mod pod_spec;
pub(crate) mod pod_template;
pub(crate) mod quantities;
pub(crate) mod rbac;
pub mod selectors;
pub(crate) mod signers;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod url;
pub(crate) mod volume_spec;
pub(crate) mod webhook_client;
pub(crate) mod workloads;
