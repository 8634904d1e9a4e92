//! YAML as upstream's library reads and writes it: YAML 1.1, by way of JSON.
//!
//! `yes` is a boolean, `0644` is an octal number, keys of any scalar type become strings, only the first
//! document counts. Positions and texts of errors are those of the Go library where the two parsers agree.

mod read;
mod resolve;
mod write;

pub use read::{Read, to_value};
pub use write::from_value;

/// Why a text cannot be read; it begins with `yaml: ` if the text is at fault, and not the value in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

#[cfg(test)]
mod tests;
