//! Kinds that are made at run time by CustomResourceDefinitions.

pub mod schema;
