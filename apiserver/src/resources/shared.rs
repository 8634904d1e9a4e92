//! Rules that several kinds share.

pub mod addresses;
pub mod metadata;
pub mod names;
pub mod selectors;
