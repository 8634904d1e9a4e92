//! The kinds of `batch`.

pub(crate) mod cronjobs;
pub(crate) mod jobs;
