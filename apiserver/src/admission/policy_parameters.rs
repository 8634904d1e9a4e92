//! Keeps writers of admission policies and their bindings from having objects read that they may not read themselves:
//! the parameters of a policy. Upstream asks this while it validates policies (`authz.go` beside their strategies); here
//! it is a step of the chain, since validation asks nobody.
//!
//! A policy with a `paramKind` takes permission to get all objects of that kind, a binding with a `paramRef` permission
//! to get, or list, the object or objects it names. What cannot be told (the kind is served by nobody, the policy is
//! missing) counts as everything.

use std::sync::Weak;

use api_types::{
    field::{Fault, Path},
    object::ObjectExt as _,
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin};
use crate::{
    authn::user::{MASTERS, User},
    authz::{attributes::Attributes as Question, decision::Authorizer},
    server::Server,
};

const GROUP: &str = "admissionregistration.k8s.io";
const ALL: &str = "*";

/// The step.
#[derive(Debug)]
pub(super) struct PolicyParameters(pub(super) Weak<Server>);

impl Plugin for PolicyParameters {
    fn name(&self) -> &'static str {
        "PolicyParameters"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl PolicyParameters {
    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        let Some(subject) = subject(attributes) else { return Ok(()) };
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        let plural = |kind: &Kind| {
            let served = server.registry.catalogue.find_kind(&kind.group, &kind.version, &kind.name)?;
            Some(served.names().plural.to_owned())
        };
        let authorizer = server.authorizer.as_ref();
        let fault = match subject {
            Subject::Policy(kind) => policy_fault(&attributes.user, &kind, plural(&kind), authorizer),
            Subject::Binding { policies } => {
                let spec = &attributes.object["spec"];
                let policy =
                    server.try_get(GROUP, "v1", policies, "", text(spec, "policyName")).await.map_or_else(
                        |_| Policy::Missing,
                        |found| found.map_or(Policy::Missing, |policy| policy_of(&policy, plural)),
                    );
                binding_fault(&attributes.user, policies, spec, &policy, authorizer)
            }
        };
        let Some(fault) = fault else { return Ok(()) };
        Err(Status::invalid(&attributes.kind, attributes.object.name(), &[fault]))
    }
}

/// What is written.
#[derive(Debug, PartialEq)]
enum Subject {
    Policy(Kind),
    Binding { policies: &'static str },
}

/// The kind of the parameters of a policy.
#[derive(Clone, Debug, PartialEq)]
struct Kind {
    group: String,
    version: String,
    name: String,
}

/// What is known of the policy of a binding.
#[derive(Debug)]
enum Policy {
    Missing,
    /// Without parameters.
    Plain,
    Of {
        kind: Kind,
        plural: Option<String>,
    },
}

// === impl Kind ===

impl Kind {
    fn of(spec: &Value) -> Option<Self> {
        let kind = spec.get("paramKind")?.as_object()?;
        let part = |field: &str| kind.get(field).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = part("apiVersion").split_once('/').unwrap_or(("", part("apiVersion")));
        Some(Self { group: group.to_owned(), version: version.to_owned(), name: part("kind").to_owned() })
    }

    fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// What of a write is to be looked at.
fn subject(attributes: &Attributes) -> Option<Subject> {
    if !matches!(attributes.operation, Operation::Create | Operation::Update)
        || attributes.resource.group != GROUP
        || !attributes.subresource.is_empty()
        || attributes.user.is_in(MASTERS)
    {
        return None;
    }
    let (spec, old) = (&attributes.object["spec"], &attributes.old["spec"]);
    let binding = |policies| {
        // Upstream compares by identity, so that every update asks again.
        spec.get("paramRef").is_some_and(Value::is_object).then_some(Subject::Binding { policies })
    };
    match attributes.resource.resource.as_str() {
        "validatingadmissionpolicies" | "mutatingadmissionpolicies" => {
            let kind = Kind::of(spec)?;
            (Kind::of(old).as_ref() != Some(&kind)).then_some(Subject::Policy(kind))
        }
        "validatingadmissionpolicybindings" => binding("validatingadmissionpolicies"),
        "mutatingadmissionpolicybindings" => binding("mutatingadmissionpolicies"),
        _ => None,
    }
}

fn policy_of(policy: &Value, plural: impl Fn(&Kind) -> Option<String>) -> Policy {
    match Kind::of(&policy["spec"]) {
        None => Policy::Plain,
        Some(kind) => Policy::Of { plural: plural(&kind), kind },
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn policy_fault(
    user: &User,
    kind: &Kind,
    plural: Option<String>,
    authorizer: &dyn Authorizer,
) -> Option<Fault> {
    let question = Question {
        user: user.clone(),
        verb: "get".to_owned(),
        group: kind.group.clone(),
        version: kind.version.clone(),
        resource: plural.unwrap_or_else(|| ALL.to_owned()),
        namespace: ALL.to_owned(),
        name: ALL.to_owned(),
        resource_request: true,
        ..Question::default()
    };
    if authorizer.authorize(&question).is_allow() {
        return None;
    }
    let detail = format!(
        r#"user {} must have "get" permission on all objects of the referenced paramKind (kind={}, apiVersion={})"#,
        printed(user),
        kind.name,
        kind.api_version()
    );
    Some(Fault::forbidden(&Path::new("spec.paramKind"), detail))
}

fn binding_fault(
    user: &User,
    policies: &str,
    spec: &Value,
    policy: &Policy,
    authorizer: &dyn Authorizer,
) -> Option<Fault> {
    let reference = &spec["paramRef"];
    let verb = if text(reference, "name").is_empty() { "list" } else { "get" };
    let all = || ALL.to_owned();
    let (group, version, resource) = match policy {
        Policy::Missing | Policy::Plain => (all(), all(), all()),
        Policy::Of { kind, plural } => {
            (kind.group.clone(), kind.version.clone(), plural.clone().unwrap_or_else(all))
        }
    };
    let question = Question {
        user: user.clone(),
        verb: verb.to_owned(),
        group,
        version,
        resource,
        namespace: text(reference, "namespace").to_owned(),
        name: text(reference, "name").to_owned(),
        resource_request: true,
        ..Question::default()
    };
    if authorizer.authorize(&question).is_allow() {
        return None;
    }
    let user = printed(user);
    let everything = format!(
        r#"to determine minimum required permissions and user {user} does not have "{verb}" permission for all groups, versions and resources"#
    );
    let detail = match policy {
        Policy::Missing => format!("unable to get policy {} {everything}", text(spec, "policyName")),
        Policy::Of { kind, plural: None } => {
            format!("unable to resolve paramKind &{{{} {}}} {everything}", kind.api_version(), kind.name)
        }
        // Upstream has them crosswise for policies that change objects.
        _ if policies == "mutatingadmissionpolicies" => {
            format!(r#"user {verb} does not have "{user}" permission on the object referenced by paramRef"#)
        }
        _ => format!(r#"user {user} does not have "{verb}" permission on the object referenced by paramRef"#),
    };
    Some(Fault::forbidden(&Path::new("spec.paramRef"), detail))
}

/// A user as Go prints the structure with `%v`.
fn printed(user: &User) -> String {
    let extra: Vec<String> =
        user.extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    format!("&{{{} {} [{}] map[{}]}}", user.name, user.uid, user.groups.join(" "), extra.join(" "))
}

#[cfg(test)]
mod tests {
    use api_types::kind::{GroupResource, GroupVersionKind};
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::authz::decision::{Decision, Rules};

    /// Allows one question: verb, group, resource, namespace, name.
    #[derive(Debug)]
    struct Only([&'static str; 5]);

    impl Authorizer for Only {
        fn authorize(&self, asked: &Question) -> Decision {
            let asked = [&asked.verb, &asked.group, &asked.resource, &asked.namespace, &asked.name];
            if asked == self.0 { Decision::Allow("".into()) } else { Decision::NoOpinion("".into()) }
        }

        fn rules_for(&self, _: &User, _: &str) -> Rules {
            Rules::default()
        }
    }

    fn user() -> User {
        let extra = [("a".to_owned(), vec!["x".to_owned(), "y".to_owned()])].into();
        User { uid: "7".to_owned(), extra, ..User::new("u", &["g", "h"]) }
    }

    fn write(plural: &str, subresource: &str, object: Value, old: Value, user: User) -> Attributes {
        Attributes {
            operation: if old.is_null() { Operation::Create } else { Operation::Update },
            kind: GroupVersionKind::new(GROUP, "v1", "ValidatingAdmissionPolicy"),
            resource: GroupResource::new(GROUP, plural),
            version: "v1".to_owned(),
            subresource: subresource.to_owned(),
            namespace: String::new(),
            name: "p".to_owned(),
            object,
            old: old.into(),
            options: json!({}),
            user,
            dry_run: false,
            now: Timestamp::default(),
            warnings: crate::registry::warnings::Warnings::default(),
            audit: Default::default(),
            reinvocation: Default::default(),
        }
    }

    fn kind(group: &str, version: &str, name: &str) -> Kind {
        Kind { group: group.to_owned(), version: version.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn asks_of_new_parameters_only_and_not_of_masters() {
        let of = |kind: Value| json!({"spec": {"paramKind": kind}});
        let maps = of(json!({"apiVersion": "v1", "kind": "ConfigMap"}));
        let things = of(json!({"apiVersion": "e.io/v1", "kind": "Thing"}));
        let bound = json!({"spec": {"policyName": "p", "paramRef": {"name": "x"}}});
        let policies = "validatingadmissionpolicies";
        let binding = Some(Subject::Binding { policies });
        for (plural, subresource, object, old, found) in [
            (policies, "", &maps, json!(null), Some(Subject::Policy(kind("", "v1", "ConfigMap")))),
            (policies, "", &things, maps.clone(), Some(Subject::Policy(kind("e.io", "v1", "Thing")))),
            (policies, "", &maps, maps.clone(), None),
            (policies, "status", &things, maps.clone(), None),
            (policies, "", &of(json!(null)), maps.clone(), None),
            ("validatingwebhookconfigurations", "", &maps, json!(null), None),
            ("validatingadmissionpolicybindings", "", &bound, bound.clone(), binding),
            (
                "validatingadmissionpolicybindings",
                "",
                &json!({"spec": {"policyName": "p"}}),
                json!(null),
                None,
            ),
        ] {
            let attributes = write(plural, subresource, object.clone(), old, user());
            assert_eq!(subject(&attributes), found, "{plural} {object}");
        }
        let master = User::new("root", &[MASTERS]);
        assert_eq!(subject(&write(policies, "", maps, json!(null), master)), None);
    }

    #[test]
    fn a_policy_takes_reading_all_its_parameters() {
        let things = kind("e.io", "v1", "Thing");
        let refused = r#"spec.paramKind: Forbidden: user &{u 7 [g h] map[a:[x y]]} must have "get" permission on all objects of the referenced paramKind (kind=Thing, apiVersion=e.io/v1)"#;
        for (plural, allowed, fault) in [
            (Some("things"), ["get", "e.io", "things", "*", "*"], None),
            (None, ["get", "e.io", "*", "*", "*"], None),
            (None, ["get", "e.io", "things", "*", "*"], Some(refused)),
            (Some("things"), ["list", "e.io", "things", "*", "*"], Some(refused)),
        ] {
            let found = policy_fault(&user(), &things, plural.map(str::to_owned), &Only(allowed));
            assert_eq!(found.map(|it| it.to_string()).as_deref(), fault, "{plural:?}");
        }
    }

    #[test]
    fn a_binding_takes_reading_what_it_refers_to() {
        let of = |plural: Option<&str>| Policy::Of {
            kind: kind("e.io", "v1", "Thing"),
            plural: plural.map(str::to_owned),
        };
        let named = json!({"name": "x", "namespace": "n"});
        let chosen = json!({"selector": {}});
        let nothing = ["", "", "", "", ""];
        let everything = r#"to determine minimum required permissions and user &{u 7 [g h] map[a:[x y]]} does not have "get" permission for all groups, versions and resources"#;
        let plain = r#"user &{u 7 [g h] map[a:[x y]]} does not have "get" permission on the object referenced by paramRef"#;
        let crosswise = r#"user get does not have "&{u 7 [g h] map[a:[x y]]}" permission on the object referenced by paramRef"#;
        let validating = "validatingadmissionpolicies";
        for (policies, policy, reference, allowed, why) in [
            (validating, of(Some("things")), &named, ["get", "e.io", "things", "n", "x"], None),
            (validating, of(Some("things")), &chosen, ["list", "e.io", "things", "", ""], None),
            (validating, of(None), &named, ["get", "e.io", "*", "n", "x"], None),
            (validating, Policy::Plain, &named, ["get", "*", "*", "n", "x"], None),
            (validating, Policy::Missing, &named, ["get", "*", "*", "n", "x"], None),
            (validating, of(Some("things")), &named, nothing, Some(plain.to_owned())),
            (validating, Policy::Plain, &named, nothing, Some(plain.to_owned())),
            ("mutatingadmissionpolicies", Policy::Plain, &named, nothing, Some(crosswise.to_owned())),
            (
                validating,
                Policy::Missing,
                &named,
                nothing,
                Some(format!("unable to get policy p {everything}")),
            ),
            (
                validating,
                of(None),
                &named,
                nothing,
                Some(format!("unable to resolve paramKind &{{e.io/v1 Thing}} {everything}")),
            ),
        ] {
            let spec = json!({"policyName": "p", "paramRef": reference});
            let found = binding_fault(&user(), policies, &spec, &policy, &Only(allowed));
            let expected = why.map(|why| format!("spec.paramRef: Forbidden: {why}"));
            assert_eq!(found.map(|it| it.to_string()), expected);
        }
    }
}
