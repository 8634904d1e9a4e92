//! What happens to an object on its way in: written once for all kinds.
//!
//! A kind supplies only its difference, a [`strategy::Strategy`]; built-in and custom kinds meet the registry as the
//! same erased [`strategy::Resource`].

pub mod strategy;
