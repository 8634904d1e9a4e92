//! The kinds of `policy`.

pub(crate) mod poddisruptionbudgets;
