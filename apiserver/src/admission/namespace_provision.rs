//! `NamespaceAutoProvision` and `NamespaceExists`: what is written into a namespace that is not there makes the namespace,
//! or is refused.

use std::sync::Weak;

use api_types::{kind::GroupResource, status::Status};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin, cached};
use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    registry::{Call, warnings::Warnings},
    server::Server,
};

/// Makes namespaces that are needed.
#[derive(Debug)]
pub(super) struct NamespaceAutoProvision(pub(super) Weak<Server>);

/// Refuses what is in no namespace that is there.
#[derive(Debug)]
pub(super) struct NamespaceExists(pub(super) Weak<Server>);

impl Plugin for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.provide(attributes))
    }
}

impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

/// Whether a write is of something in a namespace.
fn is_inside(attributes: &Attributes) -> bool {
    !attributes.namespace.is_empty() && !attributes.is("", "namespaces", &attributes.subresource)
}

impl NamespaceAutoProvision {
    async fn provide(&self, attributes: &Attributes) -> Result<(), Status> {
        if attributes.operation != Operation::Create || attributes.dry_run || !is_inside(attributes) {
            return Ok(());
        }
        let (Some(server), name) = (self.0.upgrade(), &attributes.namespace) else { return Ok(()) };
        if cached(&server, ("", "namespaces"), "", name).await.is_some() {
            return Ok(());
        }
        let Some(served) = server.registry.catalogue.find("", "v1", "namespaces") else { return Ok(()) };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let namespace = served.resource.default(namespace).map_err(Status::internal)?;
        let call = Call {
            served,
            namespace: String::new(),
            name: String::new(),
            subresource: String::new(),
            user: User::new("system:apiserver", &[MASTERS, AUTHENTICATED]),
            now: attributes.now,
            dry_run: false,
            manager: "kube-apiserver".to_owned(),
            options: Value::Null,
            warnings: Warnings::default(),
            answers: crate::custom::ownership::Answers::default(),
            audit: crate::audit::Record::default(),
        };
        match server.registry.create(&call, namespace).await {
            Err(status) if !status.is("AlreadyExists") => Err(attributes.forbidden(status.message)),
            _ => Ok(()),
        }
    }
}

impl NamespaceExists {
    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        let (true, Some(server)) = (is_inside(attributes), self.0.upgrade()) else { return Ok(()) };
        let name = &attributes.namespace;
        if attributes.operation == Operation::Connect
            || cached(&server, ("", "namespaces"), "", name).await.is_some()
            || server.try_get("", "v1", "namespaces", "", name).await?.is_some()
        {
            return Ok(());
        }
        Err(Status::not_found(&GroupResource::new("", "namespaces"), name))
    }
}

#[cfg(test)]
mod tests {
    use runtime::Runtime;

    use super::{super::testing, *};
    use crate::launch;

    #[tokio::test]
    async fn a_namespace_that_is_needed_is_made_or_missed() {
        let server = launch::in_memory(&Runtime::system()).await.unwrap();
        let weak = std::sync::Arc::downgrade(&server);
        let with = |namespace: &str, dry_run: bool| {
            let mut attributes = testing::of(
                "",
                "secrets",
                "",
                Operation::Create,
                json!({"metadata": {"name": "a"}}),
                Value::Null,
            );
            attributes.namespace = namespace.to_owned();
            attributes.dry_run = dry_run;
            attributes
        };
        let exists = NamespaceExists(weak.clone());
        let provision = NamespaceAutoProvision(weak);
        assert!(exists.check(&with("default", false)).await.is_ok());
        let refused = exists.check(&with("new", false)).await.unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (404, r#"namespaces "new" not found"#));
        provision.provide(&with("new", true)).await.unwrap();
        assert!(exists.check(&with("new", false)).await.is_err(), "a dry run makes nothing");
        provision.provide(&with("new", false)).await.unwrap();
        provision.provide(&with("new", false)).await.unwrap();
        assert!(exists.check(&with("new", false)).await.is_ok());
        assert!(exists.check(&with("", false)).await.is_ok());
        assert_eq!(provision.provide(&with("Bad", false)).await.unwrap_err().code, 403);
    }
}
