//! Who may say which devices a claim gets, and what becomes of them. Upstream asks this while it validates claims; here
//! it is a step of the chain, since validation asks nobody.
//!
//! - Access for administration, to devices that others use, takes a namespace that is labelled for it (KEP-5018).
//! - A write of the status that allocates or reserves takes permission for `resourceclaims/binding`, one that tells of
//!   devices permission for `resourceclaims/driver` named as the driver (KEP-4817): from anywhere, or from the node
//!   that the claim is allocated to.

use std::{collections::BTreeSet, sync::Weak};

use api_types::{
    field::{Fault, Faults, Path},
    object::ObjectExt as _,
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin, cached};
use crate::{
    authn::user::User,
    authz::{
        attributes::Attributes as Question,
        decision::{self, Authorizer},
    },
    resources::shared::{names::dns_subdomain, optional::same},
    server::Server,
};

const GROUP: &str = "resource.k8s.io";
/// The label of namespaces in which claims may ask for access for administration.
const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";
/// What the tokens of service accounts say of the node they were made for.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// The step.
#[derive(Debug)]
pub(super) struct DeviceAccess(pub(super) Weak<Server>);

impl Plugin for DeviceAccess {
    fn name(&self) -> &'static str {
        "DeviceAccess"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl DeviceAccess {
    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        let Some(asked) = asked_for_administration(attributes) else { return Ok(()) };
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        let mut faults = Faults::new();
        if let Some(path) = asked {
            let namespace = cached(&server, ("", "namespaces"), "", &attributes.namespace).await;
            let label = namespace.as_ref().map(|it| it.header.labels.get(ADMIN_LABEL) == Some("true"));
            faults.extend(administration_fault(label, &attributes.namespace, &path));
        }
        if attributes.operation == Operation::Update {
            faults.extend(status_faults(attributes, server.authorizer.as_ref()));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(&attributes.kind, attributes.object.name(), &faults))
    }
}

/// Whether the write is one of those that are looked at, and where it asks for access for administration, if it does
/// and has not got it already.
fn asked_for_administration(attributes: &Attributes) -> Option<Option<Path>> {
    let asks = |item: &Value, pointer: &str| item.pointer(pointer) == Some(&Value::Bool(true));
    let first = |list: Option<&Value>, pointer: &str| {
        list.and_then(Value::as_array).into_iter().flatten().position(|item| asks(item, pointer))
    };
    let object = &attributes.object;
    let requests = match attributes.operation {
        Operation::Create if attributes.is(GROUP, "resourceclaims", "") => "/spec/devices/requests",
        Operation::Create if attributes.is(GROUP, "resourceclaimtemplates", "") => {
            "/spec/spec/devices/requests"
        }
        Operation::Update if attributes.is(GROUP, "resourceclaims", "status") => {
            let results =
                |object: &Value| first(object.pointer("/status/allocation/devices/results"), "/adminAccess");
            let index = results(object).filter(|_| results(&attributes.old).is_none());
            let path = Path::new("status.allocation.devices.results");
            return Some(index.map(|index| path.index(index).child("adminAccess")));
        }
        _ => return None,
    };
    let index = first(object.pointer(requests), "/exactly/adminAccess");
    // Of templates upstream names the field as if it were that of a claim.
    Some(index.map(|index| Path::new("spec.devices.requests").index(index).child("adminAccess")))
}

fn administration_fault(labelled: Option<bool>, namespace: &str, path: &Path) -> Option<Fault> {
    match labelled {
        Some(true) => None,
        Some(false) => Some(Fault::forbidden(
            path,
            format!(
                "admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"
            ),
        )),
        None => Some(Fault::internal(
            path,
            format!(
                "could not retrieve namespace to verify admin access: namespaces {} not found",
                api_types::field::go_quote(namespace)
            ),
        )),
    }
}

fn status_faults(attributes: &Attributes, authorizer: &dyn Authorizer) -> Faults {
    let part = |object: &Value, field: &str| object.pointer(&format!("/status/{field}")).cloned();
    let (new, old) = (&attributes.object, &attributes.old);
    let question = Question {
        user: attributes.user.clone(),
        verb: verb(attributes).to_owned(),
        group: GROUP.to_owned(),
        version: attributes.version.clone(),
        resource: "resourceclaims".to_owned(),
        resource_request: true,
        ..Question::default()
    };
    let mut faults = Faults::new();
    let binds = ["allocation", "reservedFor"].iter().any(|field| !same(&part(new, field), &part(old, field)));
    if binds {
        let question = Question { subresource: "binding".to_owned(), ..question.clone() };
        if let Err(why) = may(authorizer, &question) {
            let detail = format!(
                r#"changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="{}" permission: {why}"#,
                question.verb
            );
            faults.push(Fault::forbidden(&Path::new("status.allocation"), detail));
        }
    }
    if part(new, "allocation").is_none() {
        return faults;
    }
    let mut verbs = vec![format!("arbitrary-node:{}", question.verb)];
    if node_of(&attributes.user).is_some_and(|node| allocated_node(new) == Some(node)) {
        verbs.insert(0, format!("associated-node:{}", question.verb));
    }
    for driver in told_drivers(new, old) {
        let ask = |verb: &String| {
            let question = Question {
                verb: verb.clone(),
                namespace: attributes.namespace.clone(),
                subresource: "driver".to_owned(),
                name: driver.clone(),
                ..question.clone()
            };
            may(authorizer, &question)
        };
        let answers: Vec<Result<(), String>> = verbs.iter().map(ask).collect();
        let refusal = answers.iter().find_map(|answer| answer.as_ref().err());
        if let Some(why) = refusal.filter(|_| answers.iter().all(Result::is_err)) {
            let detail = format!(
                r#"changing status.devices requires resource="resourceclaims/driver", verb="[{}]" permission: {why}"#,
                verbs.join(" ")
            );
            faults.push(Fault::forbidden(&Path::new("status.devices"), detail));
        }
    }
    faults
}

/// The verb of the request.
fn verb(attributes: &Attributes) -> &'static str {
    let kind = attributes.options.get("kind").and_then(Value::as_str);
    if kind == Some("PatchOptions") { "patch" } else { "update" }
}

fn may(authorizer: &dyn Authorizer, question: &Question) -> Result<(), String> {
    let answer = authorizer.authorize(question);
    if answer.is_allow() {
        return Ok(());
    }
    Err(decision::forbidden(question, answer.reason().as_str()).message)
}

/// The drivers of devices of which the status now tells something else.
fn told_drivers(new: &Value, old: &Value) -> BTreeSet<String> {
    let devices = |object: &Value| -> Vec<Value> {
        object.pointer("/status/devices").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let id = |device: &Value| {
        ["driver", "pool", "device", "shareID"]
            .map(|field| device.get(field).and_then(Value::as_str).unwrap_or_default().to_owned())
    };
    let (new, old) = (devices(new), devices(old));
    let differs = |device: &&Value, others: &[Value]| {
        others.iter().find(|other| id(other) == id(device)).is_none_or(|other| !same(*device, other))
    };
    let changed = new.iter().filter(|device| differs(device, &old));
    let gone = old.iter().filter(|device| differs(device, &new));
    changed
        .chain(gone)
        .map(|device| {
            let [driver, ..] = id(device);
            driver
        })
        .collect()
}

/// The node that a service account speaks from, if its token says so.
fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    match user.extra.get(NODE_NAME)?.as_slice() {
        [node] if dns_subdomain(node, false).is_empty() => Some(node),
        _ => None,
    }
}

/// The node that a claim is allocated to, if it is exactly one.
fn allocated_node(claim: &Value) -> Option<&str> {
    let list = |value: &Value, field: &str| -> usize {
        value.get(field).and_then(Value::as_array).map_or(0, Vec::len)
    };
    let terms = claim.pointer("/status/allocation/nodeSelector/nodeSelectorTerms")?.as_array()?;
    let [term] = terms.as_slice() else { return None };
    let [field] = term.get("matchFields")?.as_array()?.as_slice() else { return None };
    let text = |name: &str| field.get(name).and_then(Value::as_str);
    let names_it = text("key") == Some("metadata.name") && text("operator") == Some("In");
    match field.get("values")?.as_array()?.as_slice() {
        [node] if names_it && list(term, "matchExpressions") == 0 => node.as_str(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use api_types::kind::{GroupResource, GroupVersionKind};
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::authz::decision::{Decision, Rules};

    /// Allows what is listed: verb, subresource, name.
    #[derive(Debug)]
    struct Listed(Vec<(&'static str, &'static str, &'static str)>);

    impl Authorizer for Listed {
        fn authorize(&self, asked: &Question) -> Decision {
            let asked = (asked.verb.as_str(), asked.subresource.as_str(), asked.name.as_str());
            if self.0.contains(&asked) { Decision::Allow("".into()) } else { Decision::NoOpinion("".into()) }
        }

        fn rules_for(&self, _: &User, _: &str) -> Rules {
            Rules::default()
        }
    }

    fn write(subresource: &str, object: Value, old: Value, user: User) -> Attributes {
        Attributes {
            operation: if old.is_null() { Operation::Create } else { Operation::Update },
            kind: GroupVersionKind::new(GROUP, "v1", "ResourceClaim"),
            resource: GroupResource::new(GROUP, "resourceclaims"),
            version: "v1".to_owned(),
            subresource: subresource.to_owned(),
            namespace: "default".to_owned(),
            name: "c".to_owned(),
            object,
            old: old.into(),
            options: json!({"kind": "UpdateOptions"}),
            user,
            dry_run: false,
            now: Timestamp::UNIX_EPOCH,
            audit: Default::default(),
            warnings: Default::default(),
            reinvocation: Default::default(),
        }
    }

    fn claim(change: Value) -> Value {
        let device = json!({"driver": "d.io", "pool": "p", "device": "x"});
        let mut status = json!({"allocation": {
            "devices": {"results": [device]},
            "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]},
        }, "devices": [device]});
        crate::resources::shared::testing::merge(&mut status, change);
        json!({"metadata": {"name": "c"}, "status": status})
    }

    #[test]
    fn access_for_administration_is_asked_for_by_name() {
        let requests = |exactly: Value| json!({"spec": {"devices": {"requests": [{"firstAvailable": []}, {"exactly": exactly}]}}});
        let asked = |object: Value| {
            asked_for_administration(&write("", object, Value::Null, User::default())).unwrap()
        };
        assert_eq!(asked(requests(json!({}))), None);
        let path = asked(requests(json!({"adminAccess": true}))).unwrap();
        let faults = [None, Some(false), Some(true)]
            .map(|labelled| administration_fault(labelled, "default", &path).map(|fault| fault.to_string()));
        assert_eq!(
            faults,
            [
                Some(r#"spec.devices.requests[1].adminAccess: Internal error: could not retrieve namespace to verify admin access: namespaces "default" not found"#.to_owned()),
                Some("spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace".to_owned()),
                None,
            ]
        );
        let given = claim(json!({"allocation": {"devices": {"results": [{"adminAccess": true}]}}}));
        let status = |old: Value| {
            asked_for_administration(&write("status", given.clone(), old, User::default())).unwrap()
        };
        assert_eq!(
            status(claim(json!({}))).unwrap().as_str(),
            "status.allocation.devices.results[0].adminAccess"
        );
        assert_eq!(status(given.clone()), None, "what was given once may stay");
    }

    #[test]
    fn each_part_of_a_status_takes_its_own_permission() {
        let on_node = User {
            name: "system:serviceaccount:kube-system:driver".to_owned(),
            extra: [(NODE_NAME.to_owned(), vec!["n1".to_owned()])].into(),
            ..User::default()
        };
        let somebody = User { name: "u".to_owned(), ..User::default() };
        let told = json!({"devices": [{"driver": "d.io", "pool": "p", "device": "x", "conditions": [{"type": "a"}]}]});
        let reserved = json!({"reservedFor": [{"name": "p"}]});
        let binding = r#"status.allocation: Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="update" permission: resourceclaims.resource.k8s.io is forbidden: User "u" cannot update resource "resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope"#;
        let driver = r#"status.devices: Forbidden: changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:update]" permission: resourceclaims.resource.k8s.io "d.io" is forbidden: User "u" cannot arbitrary-node:update resource "resourceclaims/driver" in API group "resource.k8s.io" in the namespace "default""#;
        for (change, user, allowed, faults) in [
            (json!({}), &somebody, vec![], vec![]),
            (reserved.clone(), &somebody, vec![], vec![binding]),
            (reserved, &somebody, vec![("update", "binding", "")], vec![]),
            (told.clone(), &somebody, vec![("update", "binding", "")], vec![driver]),
            (told.clone(), &somebody, vec![("arbitrary-node:update", "driver", "d.io")], vec![]),
            (json!({"devices": null}), &somebody, vec![], vec![driver]),
            (told, &on_node, vec![("associated-node:update", "driver", "d.io")], vec![]),
        ] {
            let attributes = write("status", claim(change), claim(json!({})), user.clone());
            let found: Vec<String> =
                status_faults(&attributes, &Listed(allowed)).iter().map(ToString::to_string).collect();
            assert_eq!(found, faults);
        }
    }
}
