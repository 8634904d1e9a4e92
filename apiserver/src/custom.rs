//! Custom resources: kinds made at run time by CustomResourceDefinitions.
//!
//! A definition passes through here in this order: it is read ([`definition`]); what becomes of its status is decided
//! ([`condition`]) and written ([`controller`]); once its names are accepted its versions are served ([`serving`]): each is
//! a [`kind::Kind`] over one place in the store, and objects go from version to version by [`versions`], by a webhook if the
//! definition says so ([`conversion`]). One that goes takes its objects with it ([`finalizer`]).
//!
//! Everything is driven by the watch of definitions, on each of the servers over a store alike: none leads.
//!
//! Invariant: the registry and the verbs know of these kinds what they know of all.

pub mod condition;
pub mod controller;
pub mod conversion;
pub mod definition;
pub(crate) mod finalizer;
pub mod kind;
pub mod ownership;
pub mod schema;
pub mod serving;
pub mod versions;

pub use self::controller::Definitions;

#[cfg(test)]
mod tests;
