//! May they?
//!
//! Decisions are made from memory: the role index and the node graph are fed from the watch caches, and asking them neither
//! waits nor fails. Only a webhook has to be waited for. Invariant: nothing here reads a request or the store.

pub mod abac;
pub mod attributes;
pub mod decision;
pub mod escalation;
pub mod mode;
pub mod node;
pub mod rbac;
pub mod review;
pub mod webhook;

use api_types::status::Status;
use attributes::Attributes;
use decision::{Authorizer, Decision};

/// Lets the request pass, or says why not.
///
/// # Errors
/// 403
pub async fn require(authorizer: &dyn Authorizer, attributes: &Attributes) -> Result<(), Status> {
    require_that(&ask(authorizer, attributes).await, attributes)
}

/// What the authorizer says; it is waited for if it must be.
pub async fn ask(authorizer: &dyn Authorizer, attributes: &Attributes) -> Decision {
    if authorizer.waits() { authorizer.ask(attributes).await } else { authorizer.authorize(attributes) }
}

/// The same once the authorizer has been asked.
///
/// # Errors
/// 403
pub fn require_that(decision: &Decision, attributes: &Attributes) -> Result<(), Status> {
    if decision.is_allow() {
        Ok(())
    } else {
        Err(decision::forbidden(attributes, decision.reason().as_str()))
    }
}
