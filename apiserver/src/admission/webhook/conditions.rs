//! `matchConditions`: expressions by which a webhook says what it is not to be asked about.

use serde_json::Value;

use super::{
    Attributes, Hook,
    review::{Invocation, Subject},
};
use crate::server::Server;

/// The conditions of a webhook.
#[derive(Debug, Default)]
pub(in crate::admission) struct Conditions(usize);

impl Conditions {
    pub(super) fn of(written: Option<&Value>) -> Self {
        Self(written.and_then(Value::as_array).map_or(0, Vec::len))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

/// Whether a webhook is to be asked.
///
/// # Errors
/// Why that cannot be told.
pub(super) fn matches(
    hook: &Hook,
    _attributes: &Attributes,
    _invocation: &Invocation,
    _subject: &Subject,
    _server: &Server,
) -> Result<bool, String> {
    Err(format!("the matchConditions of webhook {} are not supported", hook.name))
}
