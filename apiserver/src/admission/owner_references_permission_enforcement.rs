//! `OwnerReferencesPermissionEnforcement`: an object is tied to an owner only by who may delete it, and an owner's deletion
//! is held up only by who may say what holds up that owner.

use std::sync::Weak;

use api_types::{object::ObjectExt as _, status::Status};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin};
use crate::{
    authz::{attributes::Attributes as Question, decision::Authorizer as _},
    server::Server,
};

/// The plugin.
#[derive(Debug)]
pub(super) struct OwnerReferencesPermissionEnforcement(pub(super) Weak<Server>);

impl Plugin for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(self.check(attributes)))
    }
}

impl OwnerReferencesPermissionEnforcement {
    fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        // The status of a Pod has no owners.
        if !matches!(attributes.operation, Operation::Create | Operation::Update)
            || attributes.is("", "pods", "status")
            || owners(&attributes.object) == owners(&attributes.old)
        {
            return Ok(());
        }
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        // Who makes an object need not have made it, so may give it away.
        if attributes.operation == Operation::Update {
            let decision = server.authorizer.authorize(&Question {
                user: attributes.user.clone(),
                verb: "delete".to_owned(),
                namespace: attributes.namespace.clone(),
                group: attributes.resource.group.clone(),
                version: attributes.version.clone(),
                resource: attributes.resource.resource.clone(),
                subresource: attributes.subresource.clone(),
                name: attributes.name.clone(),
                resource_request: true,
                ..Question::default()
            });
            if !decision.is_allow() {
                let why = decision.reason();
                return Err(attributes.forbidden(format!(
                    "cannot set an ownerRef on a resource you can't delete: {why}, <nil>"
                )));
            }
        }
        let finalize = |group: &str, version: &str, resource: &str, namespace: &str, name: &str| {
            server.authorizer.authorize(&Question {
                user: attributes.user.clone(),
                verb: "update".to_owned(),
                namespace: namespace.to_owned(),
                group: group.to_owned(),
                version: version.to_owned(),
                resource: resource.to_owned(),
                subresource: "finalizers".to_owned(),
                name: name.to_owned(),
                resource_request: true,
                ..Question::default()
            })
        };
        let blocking = newly_blocking(&attributes.object, &attributes.old);
        if blocking.is_empty() || finalize("*", "*", "*", "", "*").is_allow() {
            return Ok(());
        }
        for owner in blocking {
            let (api_version, kind) = (text(owner, "apiVersion"), text(owner, "kind"));
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let Some(served) = server.registry.catalogue.find_kind(group, version, kind) else {
                return Err(attributes.forbidden(format!(
                    "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {api_version} Kind {kind}: no matches for kind {kind:?} in version {api_version:?}"
                )));
            };
            let names = served.names();
            let namespace = if names.namespaced { attributes.namespace.as_str() } else { "" };
            let decision = finalize(group, version, names.plural, namespace, text(owner, "name"));
            if !decision.is_allow() {
                let why = decision.reason();
                return Err(attributes.forbidden(format!(
                    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {why}, <nil>"
                )));
            }
        }
        Ok(())
    }
}

fn owners(object: &Value) -> &[Value] {
    let owners = object.meta().and_then(|meta| meta.get("ownerReferences")).and_then(Value::as_array);
    owners.map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(owner: &'a Value, field: &str) -> &'a str {
    owner.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn blocks(owner: &Value) -> bool {
    owner.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true)
}

/// The owners whose deletion waits for this object, and did not before.
fn newly_blocking<'a>(now: &'a Value, before: &Value) -> Vec<&'a Value> {
    let blocked = |owner: &&Value| {
        let same = owners(before).iter().rev().find(|it| text(it, "uid") == text(owner, "uid"));
        same.is_some_and(blocks)
    };
    owners(now).iter().filter(|owner| blocks(owner) && !blocked(owner)).collect()
}

#[cfg(test)]
mod tests {
    use runtime::Runtime;
    use serde_json::json;

    use super::{super::testing, *};
    use crate::{authn::user::MASTERS, authn::user::User, launch};

    #[test]
    fn only_owners_that_now_wait_count() {
        let owner = |uid: &str, blocks: Value| json!({"uid": uid, "blockOwnerDeletion": blocks});
        let of = |owners: Value| json!({"metadata": {"ownerReferences": owners}});
        let before = of(json!([owner("a", json!(true)), owner("b", json!(false)), owner("c", Value::Null)]));
        let now = of(json!([
            owner("a", json!(true)),
            owner("b", json!(true)),
            owner("c", json!(true)),
            owner("d", json!(true)),
            owner("e", json!(false))
        ]));
        let uids: Vec<&str> = newly_blocking(&now, &before).iter().map(|it| text(it, "uid")).collect();
        assert_eq!(uids, ["b", "c", "d"]);
    }

    #[tokio::test]
    async fn who_may_not_delete_may_not_give_away() {
        let server = launch::in_memory(&Runtime::system()).await.unwrap();
        let plugin = OwnerReferencesPermissionEnforcement(std::sync::Arc::downgrade(&server));
        let owned = |kind: &str, blocks: bool| json!({"metadata": {"name": "m", "ownerReferences": [{"apiVersion": "v1", "kind": kind, "name": "o", "uid": "u", "blockOwnerDeletion": blocks}]}});
        let check = |operation: Operation, group: &str, object: Value| {
            let mut attributes = testing::of("", "configmaps", "", operation, object, json!({}));
            attributes.user = User::new("alice", &[group]);
            plugin.check(&attributes).map_err(|it| it.message)
        };
        assert_eq!(check(Operation::Update, MASTERS, owned("Pod", true)), Ok(()));
        assert_eq!(check(Operation::Create, "nobody", owned("Pod", false)), Ok(()));
        let told = |why: &str| Err(format!("configmaps \"m\" is forbidden: {why}"));
        assert_eq!(
            check(Operation::Update, "nobody", owned("Pod", false)),
            told("cannot set an ownerRef on a resource you can't delete: , <nil>")
        );
        assert_eq!(
            check(Operation::Create, "nobody", owned("Pod", true)),
            told(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>"
            )
        );
        assert_eq!(
            check(Operation::Create, "nobody", owned("Odd", true)),
            told(
                r#"cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion v1 Kind Odd: no matches for kind "Odd" in version "v1""#
            )
        );
    }
}
