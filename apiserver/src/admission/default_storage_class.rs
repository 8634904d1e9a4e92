//! `DefaultStorageClass`: a claim that asks for no class gets the default one, if there is one.

use std::sync::Weak;

use api_types::{
    object::{ObjectExt, object_at, object_of},
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::json;

use super::{Attributes, Operation, Plugin, default_class::newest_default};
use crate::server::Server;

/// How a class said that it is the default one before and after it left beta.
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
/// How a claim asked for a class before there was a field for it; an empty class is one too.
pub(super) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The plugin.
#[derive(Debug)]
pub(super) struct DefaultStorageClass(pub(super) Weak<Server>);

impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.change(attributes))
    }
}

impl DefaultStorageClass {
    async fn change(&self, attributes: &mut Attributes) -> Result<(), Status> {
        if attributes.operation != Operation::Create || !attributes.is("", "persistentvolumeclaims", "") {
            return Ok(());
        }
        let claim = &mut attributes.object;
        if claim.annotation(CLASS_ANNOTATION).is_some()
            || claim.pointer("/spec/storageClassName").is_some_and(|class| !class.is_null())
        {
            return Ok(());
        }
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        let classes = server.list("storage.k8s.io", "v1", "storageclasses", "").await?;
        if let Some(class) = newest_default(&classes, &IS_DEFAULT) {
            object_at(object_of(claim), "spec").insert("storageClassName".to_owned(), json!(class));
        }
        Ok(())
    }
}
