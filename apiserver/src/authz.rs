//! May they?
//!
//! Decisions are made from memory alone: the role index and the node graph are fed from the watch caches, and asking
//! them neither waits nor fails. Invariant: nothing here reads a request, a clock or the store.

pub mod attributes;
pub mod decision;
pub mod escalation;
pub mod mode;
pub mod node;
pub mod rbac;
pub mod review;

use api_types::status::Status;
use attributes::Attributes;
use decision::Authorizer;

/// Lets the request pass, or says why not.
///
/// # Errors
/// 403
pub fn require(authorizer: &dyn Authorizer, attributes: &Attributes) -> Result<(), Status> {
    let decision = authorizer.authorize(attributes);
    if decision.is_allow() {
        Ok(())
    } else {
        Err(decision::forbidden(attributes, decision.reason().as_str()))
    }
}
