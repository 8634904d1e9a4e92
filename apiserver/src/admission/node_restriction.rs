//! `NodeRestriction`: a kubelet writes its own Node, and what belongs to it: its Lease, its CSINode, its slices, the Pods
//! that are bound to it, and tokens for these.
//!
//! The Node authorizer keeps nodes from reading what is not theirs; this plugin looks into what they write, which an
//! authorizer does not see (KEP-279, KEP-2907, KEP-4601).

mod labels;
mod mirror;
mod own;
mod tokens;

use std::sync::{Arc, Weak};

use api_types::{field::go_quote, kind::GroupResource, object::ObjectExt as _, status::Status};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin};
use crate::{authn::user::node, server::Server};

/// The plugin.
#[derive(Debug)]
pub(super) struct NodeRestriction(pub(super) Weak<Server>);

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl NodeRestriction {
    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        let Some(node) = node::identify(&attributes.user) else { return Ok(()) };
        if attributes.operation == Operation::Connect {
            return Ok(());
        }
        if node.is_empty() {
            let user = go_quote(&attributes.user.name);
            return Err(attributes.forbidden(format!("could not determine node from user {user}")));
        }
        let resource = &attributes.resource;
        let create = attributes.operation == Operation::Create;
        match (resource.group.as_str(), resource.resource.as_str(), attributes.subresource.as_str()) {
            ("", "pods", "") if create => self.mirror(node, attributes).await,
            ("", "pods", "eviction") if create => {
                let pod = self.pod(&attributes.namespace, eviction_of(attributes)?).await?;
                own::eviction(node, &pod).map_err(|why| attributes.forbidden(why))
            }
            ("", "serviceaccounts", "token") if create => self.token(node, attributes).await,
            _ => own::check(node, attributes).map_err(|why| attributes.forbidden(why)),
        }
    }

    /// A Pod that a kubelet makes: it may only mirror what the kubelet runs anyway.
    async fn mirror(&self, node: &str, attributes: &Attributes) -> Result<(), Status> {
        let forbidden = |why: String| attributes.forbidden(why);
        let uid = mirror::owner(node, &attributes.object).map_err(forbidden)?;
        let found = self.find("", "nodes", "", node).await?;
        let expected = found.uid();
        if uid != expected {
            return Err(forbidden(format!("node {node} UID mismatch: expected {uid} got {expected}")));
        }
        mirror::refers_to_nothing(node, &attributes.object).map_err(forbidden)
    }

    /// A token, which must be for a Pod of the node, and for somebody the Pod has to do with.
    async fn token(&self, node: &str, attributes: &Attributes) -> Result<(), Status> {
        let forbidden = |why: String| attributes.forbidden(why);
        let bound = tokens::bound(&attributes.object).map_err(forbidden)?;
        let pod = self.pod(&attributes.namespace, &bound.name).await?;
        tokens::is_of(node, &bound, &pod).map_err(forbidden)?;
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        tokens::audience(&server, attributes, &pod).await.map_err(forbidden)
    }

    async fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Value>, Status> {
        self.find("", "pods", namespace, name).await
    }

    /// An object, or upstream's words for its absence, which name the kind and not the resource.
    async fn find(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, Status> {
        let server = self.0.upgrade().ok_or_else(|| Status::unavailable("the server is stopping"))?;
        let found = server.try_get(group, "v1", plural, namespace, name).await?;
        let singular = GroupResource::new(group, plural.strip_suffix('s').unwrap_or(plural));
        found.ok_or_else(|| Status::not_found(&singular, name))
    }
}

/// The Pod that is to be evicted.
fn eviction_of(attributes: &Attributes) -> Result<&str, Status> {
    let known = [attributes.name.as_str(), attributes.object.name()];
    let name = known.into_iter().find(|name| !name.is_empty());
    name.ok_or_else(|| attributes.forbidden("could not determine pod from request data"))
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
