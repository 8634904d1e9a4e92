//! Writes for the tests of plugins.

use std::sync::Arc;

use api_types::kind::{GroupResource, GroupVersionKind};
use jiff::Timestamp;
use serde_json::Value;

use super::{Attributes, Operation};
use crate::{authn::user::User, registry::warnings::Warnings};

/// A write by nobody in particular, in the namespace `default`.
pub(super) fn of(
    group: &str,
    resource: &str,
    subresource: &str,
    operation: Operation,
    object: Value,
    old: Value,
) -> Attributes {
    Attributes {
        operation,
        kind: GroupVersionKind::new(group, "v1", ""),
        resource: GroupResource::new(group, resource),
        version: "v1".to_owned(),
        subresource: subresource.to_owned(),
        namespace: "default".to_owned(),
        name: String::new(),
        object,
        old: Arc::new(old),
        options: Value::Null,
        user: User::default(),
        dry_run: false,
        now: Timestamp::UNIX_EPOCH,
        audit: Default::default(),
        reinvocation: Default::default(),
        warnings: Warnings::default(),
    }
}
