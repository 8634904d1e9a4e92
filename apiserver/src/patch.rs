//! How a request changes an object that is there: the four patch formats, and who is on record for which field.
//!
//! Everything here is a pure function of JSON values and of what is known of their types. Invariant: no store, no
//! request, no clock; the time of a change is an argument.

pub mod apply;
mod print;

#[cfg(test)]
mod tests;
