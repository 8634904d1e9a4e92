//! May they?

pub mod attributes;
