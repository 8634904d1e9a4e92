//! Who is asking.

pub mod user;
