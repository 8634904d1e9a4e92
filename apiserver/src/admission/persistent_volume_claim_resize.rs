//! `PersistentVolumeClaimResize`: only bound claims of a class that allows it can grow.

use std::{str::FromStr as _, sync::Weak};

use api_types::{object::ObjectExt, quantity::Quantity, status::Status};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin, default_storage_class::CLASS_ANNOTATION};
use crate::server::Server;

/// The plugin.
#[derive(Debug)]
pub(super) struct PersistentVolumeClaimResize(pub(super) Weak<Server>);

impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl PersistentVolumeClaimResize {
    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        if attributes.operation != Operation::Update || !attributes.is("", "persistentvolumeclaims", "") {
            return Ok(());
        }
        let (new, old) = (&attributes.object, &attributes.old);
        if size(new) <= size(old) {
            return Ok(());
        }
        if old.pointer("/status/phase").and_then(Value::as_str) != Some("Bound") {
            return Err(attributes.forbidden("Only bound persistent volume claims can be expanded"));
        }
        if self.may_grow(new, old).await {
            return Ok(());
        }
        Err(attributes.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ))
    }

    async fn may_grow(&self, new: &Value, old: &Value) -> bool {
        let Some(server) = self.0.upgrade() else { return false };
        let name = class(new);
        if name.is_empty() || name != class(old) {
            return false;
        }
        server
            .get("storage.k8s.io", "v1", "storageclasses", "", name)
            .await
            .and_then(|class| class.get("allowVolumeExpansion").and_then(Value::as_bool))
            .unwrap_or_default()
    }
}

fn size(claim: &Value) -> Quantity {
    let text = claim.pointer("/spec/resources/requests/storage").and_then(Value::as_str).unwrap_or_default();
    Quantity::from_str(text).unwrap_or_default()
}

fn class(claim: &Value) -> &str {
    claim
        .annotation(CLASS_ANNOTATION)
        .or_else(|| claim.pointer("/spec/storageClassName").and_then(Value::as_str))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_compared_as_amounts() {
        let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        assert_eq!(size(&claim("1Gi")), size(&claim("1073741824")));
        assert!(size(&claim("10Gi")) > size(&claim("9Gi")));
        assert!(size(&json!({})) < size(&claim("1")));
    }

    #[test]
    fn the_old_annotation_names_the_class_before_the_field() {
        let mut claim = json!({"spec": {"storageClassName": "field"}});
        assert_eq!(class(&claim), "field");
        claim["metadata"] = json!({"annotations": {CLASS_ANNOTATION: ""}});
        assert_eq!(class(&claim), "");
    }
}
