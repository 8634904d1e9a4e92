//! The wire forms against what upstream's sources and an upstream server say.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod every_field;
mod facts;
mod stored;
