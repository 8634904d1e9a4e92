//! The wire forms against what upstream's sources and an upstream server say.

mod facts;
mod stored;
