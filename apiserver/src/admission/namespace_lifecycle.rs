//! `NamespaceLifecycle`: nothing is made in a namespace that is not there or is going, and the namespaces the cluster
//! lives on cannot be deleted.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use api_types::{
    kind::GroupResource,
    status::{Cause, Status},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use store::cache::Object;
use tokio::time::Instant;

use super::{Attributes, Operation, Plugin, cached};
use crate::server::Server;

/// The plugin.
#[derive(Debug)]
pub(super) struct NamespaceLifecycle {
    server: Weak<Server>,
    /// Namespaces whose deletion was asked for a moment ago, oldest first: what the cache says of them may be old.
    leaving: Mutex<VecDeque<(String, Instant)>>,
}

/// Namespaces that stay.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// How long the cache is not believed about a namespace after its deletion was asked for, and about how many at once.
/// Upstream's figures.
const LEAVING: Duration = Duration::from_secs(30);
const LEAVING_MAX: usize = 100;

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl NamespaceLifecycle {
    pub(super) fn new(server: Weak<Server>) -> Self {
        Self { server, leaving: Mutex::default() }
    }

    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        let about_namespaces = attributes.is("", "namespaces", &attributes.subresource);
        if about_namespaces {
            if attributes.operation == Operation::Delete {
                if IMMORTAL.contains(&attributes.name.as_str()) {
                    return Err(Status::forbidden(
                        &attributes.resource,
                        &attributes.name,
                        "this namespace may not be deleted",
                    ));
                }
                self.leaves(&attributes.name);
            }
            return Ok(());
        }
        if attributes.namespace.is_empty() || attributes.operation == Operation::Delete {
            return Ok(());
        }
        // Reviews ask about a namespace, they make nothing in it.
        if attributes.is("authorization.k8s.io", "localsubjectaccessreviews", "") {
            return Ok(());
        }
        let Some(server) = self.server.upgrade() else { return Ok(()) };
        let Some(namespace) = self.find(&server, &attributes.namespace).await? else {
            return Err(Status::not_found(&GroupResource::new("", "namespaces"), &attributes.namespace));
        };
        if attributes.operation != Operation::Create || !is_terminating(&namespace) {
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

    /// A namespace as the cache has it, which costs nothing. It is waited for what the store has only where the cache may be
    /// wrong in a way that matters: it does not know the namespace, or does not know yet that it goes.
    async fn find(&self, server: &Server, name: &str) -> Result<Option<Arc<Object>>, Status> {
        let known = cached(server, ("", "namespaces"), "", name).await;
        let is_believed =
            known.as_ref().is_some_and(|namespace| is_terminating(namespace) || !self.is_leaving(name));
        if is_believed {
            return Ok(known);
        }
        let Some(served) = server.registry.catalogue.find("", "v1", "namespaces") else { return Ok(None) };
        let key = crate::registry::keys::object(&served.storage.prefix, "", name);
        let found = served.storage.cache().get(&key, true).await;
        found.map_err(|error| crate::registry::read_failure(&error))
    }

    /// Somebody asked for the deletion of a namespace.
    fn leaves(&self, name: &str) {
        let mut leaving = self.leaving.lock();
        leaving.retain(|(known, _)| known != name);
        leaving.push_back((name.to_owned(), Instant::now()));
        if leaving.len() > LEAVING_MAX {
            leaving.pop_front();
        }
    }

    fn is_leaving(&self, name: &str) -> bool {
        let mut leaving = self.leaving.lock();
        while leaving.pop_front_if(|(_, since)| since.elapsed() >= LEAVING).is_some() {}
        leaving.iter().any(|(known, _)| known == name)
    }
}

fn is_terminating(namespace: &Object) -> bool {
    namespace.header.fields.get("status.phase") == Some("Terminating")
}
