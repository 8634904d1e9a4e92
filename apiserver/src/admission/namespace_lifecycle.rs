//! `NamespaceLifecycle`: nothing is made in a namespace that is not there or is going, and the namespaces the cluster
//! lives on cannot be deleted.

use std::sync::Weak;

use api_types::{
    kind::GroupResource,
    object::ObjectExt,
    status::{Cause, Status},
};
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};
use crate::server::Server;

/// The plugin.
#[derive(Debug)]
pub(super) struct NamespaceLifecycle(pub(super) Weak<Server>);

/// Namespaces that stay.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl NamespaceLifecycle {
    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        let about_namespaces = attributes.is("", "namespaces", &attributes.subresource);
        if about_namespaces {
            if attributes.operation == Operation::Delete && IMMORTAL.contains(&attributes.name.as_str()) {
                return Err(Status::forbidden(
                    &attributes.resource,
                    &attributes.name,
                    "this namespace may not be deleted",
                ));
            }
            return Ok(());
        }
        if attributes.namespace.is_empty() || attributes.operation != Operation::Create {
            return Ok(());
        }
        // Reviews ask about a namespace, they make nothing in it.
        if attributes.is("authorization.k8s.io", "localsubjectaccessreviews", "") {
            return Ok(());
        }
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        let namespaces = GroupResource::new("", "namespaces");
        let found = server.try_get("", "v1", "namespaces", "", &attributes.namespace).await?;
        let Some(namespace) = found else {
            return Err(Status::not_found(&namespaces, &attributes.namespace));
        };
        if namespace.pointer("/status/phase").and_then(serde_json::Value::as_str) != Some("Terminating")
            && !namespace.is_terminating()
        {
            return Ok(());
        }
        let mut status = attributes.forbidden(format!(
            "unable to create new content in namespace {} because it is being terminated",
            attributes.namespace
        ));
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {} is being terminated", attributes.namespace),
                field: "metadata.namespace".to_owned(),
            });
        }
        Err(status)
    }
}
