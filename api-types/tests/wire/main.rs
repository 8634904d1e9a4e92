//! The wire forms against what upstream's sources and an upstream server say.

mod every_field;
mod facts;
mod stored;
