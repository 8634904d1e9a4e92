//! Keeps writers of roles and bindings from granting what they do not have. Upstream has this in the storage of those
//! kinds; here it is a step of the chain, since it refuses and changes nothing.

use std::sync::Weak;

use api_types::status::Status;
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin};
use crate::{
    authz::{escalation, rbac},
    server::Server,
};

/// The step.
#[derive(Debug)]
pub(super) struct RoleEscalation(pub(super) Weak<Server>);

impl Plugin for RoleEscalation {
    fn name(&self) -> &'static str {
        "RoleEscalation"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(self.check(attributes)))
    }
}

impl RoleEscalation {
    fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        if attributes.resource.group != rbac::GROUP
            || !matches!(attributes.operation, Operation::Create | Operation::Update)
        {
            return Ok(());
        }
        let (Some(server), Some(kind)) =
            (self.0.upgrade(), rbac::Kind::of_resource(&attributes.resource.resource))
        else {
            return Ok(());
        };
        let write = escalation::Write {
            user: &attributes.user,
            kind,
            namespace: &attributes.namespace,
            name: if attributes.operation == Operation::Update { &attributes.name } else { "" },
            object: &attributes.object,
            old: match &*attributes.old {
                Value::Null => None,
                old => Some(old),
            },
        };
        escalation::check(&write, &server.rbac, server.authorizer.as_ref())
    }
}
