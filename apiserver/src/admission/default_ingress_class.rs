//! `DefaultIngressClass`: an Ingress that names no class gets the default one, if there is one.

use std::sync::Weak;

use api_types::{
    object::{ObjectExt, object_at, object_of},
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::json;

use super::{Attributes, Operation, Plugin, default_class::newest_default};
use crate::server::Server;

const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// How an Ingress named its class before there was a field for it.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The plugin.
#[derive(Debug)]
pub(super) struct DefaultIngressClass(pub(super) Weak<Server>);

impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.change(attributes))
    }
}

impl DefaultIngressClass {
    async fn change(&self, attributes: &mut Attributes) -> Result<(), Status> {
        if attributes.operation != Operation::Create || !attributes.is("networking.k8s.io", "ingresses", "") {
            return Ok(());
        }
        let ingress = &mut attributes.object;
        if ingress.pointer("/spec/ingressClassName").is_some_and(|class| !class.is_null())
            || ingress.annotation(CLASS_ANNOTATION).is_some()
        {
            return Ok(());
        }
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        let classes = server.list("networking.k8s.io", "v1", "ingressclasses", "").await?;
        if let Some(class) = newest_default(&classes, &[IS_DEFAULT]) {
            object_at(object_of(ingress), "spec").insert("ingressClassName".to_owned(), json!(class));
        }
        Ok(())
    }
}
