//! Rules that several kinds share.

pub mod names;
