//! What an authorizer answers, how several are asked in turn, and how a refusal is told.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;

use api_types::{field::go_quote, kind::GroupResource, status::Status};

use crate::{
    authn::user::{MASTERS, User},
    authz::{attributes::Attributes, rbac::rule::Rule},
};

/// Why a decision was made, for audit and access reviews; often empty. Cloning is cheap: most reasons are prepared when
/// a binding changes, not when a request asks.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Reason(Option<Arc<str>>);

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes; nobody else is asked.
    Allow(Reason),
    /// No; nobody else is asked.
    Deny(Reason),
    /// Not by me. If nobody allows, it is a refusal.
    NoOpinion(Reason),
}

/// The rules that apply to a user in a namespace, as far as an authorizer can list them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What they may do. A rule is about resources, about paths, or both.
    pub rules: Vec<Rule>,
    /// Whether they may do more than the rules say.
    pub incomplete: bool,
    /// Why the list is short, one sentence each.
    pub errors: Vec<String>,
}

/// Somebody who knows what users may do.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// May they?
    fn authorize(&self, attributes: &Attributes) -> Decision;

    /// The same, where an answer may be waited for.
    fn ask<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        Box::pin(std::future::ready(self.authorize(attributes)))
    }

    /// Whether an answer may have to be waited for: then [`Authorizer::authorize`] makes its thread stand still.
    fn waits(&self) -> bool {
        false
    }

    /// What may they do in this namespace?
    fn rules_for(&self, user: &User, namespace: &str) -> Rules;
}

/// Authorizers asked in order; the first to allow or deny decides. They can be replaced at any time.
#[derive(Debug)]
pub struct Union(ArcSwap<Vec<Arc<dyn Authorizer>>>);

/// Lets members of `system:masters` do everything. It stands before all other authorizers, so that an administrator can
/// always repair broken roles.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masters;

/// `--authorization-mode=AlwaysAllow`
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysAllow;

/// `--authorization-mode=AlwaysDeny`
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysDeny;

// === impl Reason ===

impl Reason {
    /// No reason given.
    pub const NONE: Self = Self(None);

    /// The text, empty if none was given.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self((!text.is_empty()).then(|| text.into()))
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self((!text.is_empty()).then(|| text.into()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

// === impl Decision ===

impl Decision {
    /// Allowed, without a reason.
    pub const ALLOW: Self = Self::Allow(Reason::NONE);
    /// Not by me, without a reason.
    pub const NO_OPINION: Self = Self::NoOpinion(Reason::NONE);

    /// Whether it is a yes.
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        match self {
            Self::Allow(reason) | Self::Deny(reason) | Self::NoOpinion(reason) => reason,
        }
    }
}

// === impl Union ===

impl Union {
    /// These, in this order.
    pub fn new(authorizers: Vec<Arc<dyn Authorizer>>) -> Self {
        Self(ArcSwap::from_pointee(authorizers))
    }

    /// From now on these and no others.
    pub fn replace(&self, authorizers: Vec<Arc<dyn Authorizer>>) {
        self.0.store(Arc::new(authorizers));
    }
}

/// Nobody had an opinion, for these reasons.
fn undecided(reasons: &[Reason]) -> Decision {
    match reasons {
        [] => Decision::NO_OPINION,
        [only] => Decision::NoOpinion(only.clone()),
        many => {
            let lines: Vec<&str> = many.iter().map(Reason::as_str).collect();
            Decision::NoOpinion(lines.join("\n").into())
        }
    }
}

impl Authorizer for Union {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        let mut reasons: Vec<Reason> = Vec::new();
        for authorizer in self.0.load().iter() {
            match authorizer.authorize(attributes) {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided @ (Decision::Allow(_) | Decision::Deny(_)) => return decided,
            }
        }
        undecided(&reasons)
    }

    fn ask<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        let authorizers = self.0.load_full();
        Box::pin(async move {
            let mut reasons: Vec<Reason> = Vec::new();
            for authorizer in authorizers.iter() {
                let decision = if authorizer.waits() {
                    authorizer.ask(attributes).await
                } else {
                    authorizer.authorize(attributes)
                };
                match decision {
                    Decision::NoOpinion(reason) if reason.is_empty() => {}
                    Decision::NoOpinion(reason) => reasons.push(reason),
                    decided @ (Decision::Allow(_) | Decision::Deny(_)) => return decided,
                }
            }
            undecided(&reasons)
        })
    }

    fn waits(&self) -> bool {
        self.0.load().iter().any(|authorizer| authorizer.waits())
    }

    fn rules_for(&self, user: &User, namespace: &str) -> Rules {
        let mut all = Rules::default();
        for authorizer in self.0.load().iter() {
            let Rules { rules, incomplete, errors } = authorizer.rules_for(user, namespace);
            all.rules.extend(rules);
            all.incomplete |= incomplete;
            all.errors.extend(errors);
        }
        all
    }
}

// === impl Masters, AlwaysAllow, AlwaysDeny ===

impl Authorizer for Masters {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        if attributes.user.is_in(MASTERS) { Decision::ALLOW } else { Decision::NO_OPINION }
    }

    fn rules_for(&self, _: &User, _: &str) -> Rules {
        // Upstream lists nothing either: the group has no rules, it stands above them.
        Rules::default()
    }
}

impl Authorizer for AlwaysAllow {
    fn authorize(&self, _: &Attributes) -> Decision {
        Decision::ALLOW
    }

    fn rules_for(&self, _: &User, _: &str) -> Rules {
        Rules {
            rules: vec![Rule::on_resources(&["*"], &["*"], &["*"]), Rule::on_paths(&["*"], &["*"])],
            ..Rules::default()
        }
    }
}

impl Authorizer for AlwaysDeny {
    fn authorize(&self, _: &Attributes) -> Decision {
        Decision::NoOpinion("Everything is forbidden.".into())
    }

    fn rules_for(&self, _: &User, _: &str) -> Rules {
        Rules::default()
    }
}

// === the refusal ===

/// 403, in upstream's words; the reason, if there is one, follows.
pub fn forbidden(attributes: &Attributes, reason: &str) -> Status {
    let mut message = neutral(&refusal(attributes));
    if !reason.is_empty() {
        message.push_str(": ");
        message.push_str(reason);
    }
    Status::forbidden(&GroupResource::new(&attributes.group, &attributes.resource), &attributes.name, message)
}

fn refusal(attributes: &Attributes) -> String {
    let Attributes { user, verb, namespace, group, resource, subresource, path, .. } = attributes;
    let user = go_quote(&user.name);
    if !attributes.resource_request {
        return format!("User {user} cannot {verb} path {}", go_quote(path));
    }
    let resource = match subresource.as_str() {
        "" => go_quote(resource),
        subresource => go_quote(&format!("{resource}/{subresource}")),
    };
    let group = go_quote(group);
    match namespace.as_str() {
        "" => {
            format!("User {user} cannot {verb} resource {resource} in API group {group} at the cluster scope")
        }
        namespace => format!(
            "User {user} cannot {verb} resource {resource} in API group {group} in the namespace {}",
            go_quote(namespace)
        ),
    }
}

/// Names come from the client and may end up in a browser: they must not look like HTML.
fn neutral(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Says(Decision);

    impl Authorizer for Says {
        fn authorize(&self, _: &Attributes) -> Decision {
            self.0.clone()
        }

        fn rules_for(&self, _: &User, _: &str) -> Rules {
            Rules { incomplete: true, errors: vec!["short".to_owned()], ..Rules::default() }
        }
    }

    fn union(decisions: Vec<Decision>) -> Union {
        Union::new(decisions.into_iter().map(|it| Arc::new(Says(it)) as Arc<dyn Authorizer>).collect())
    }

    #[test]
    fn the_first_opinion_decides_and_the_reasons_of_those_without_one_are_joined() {
        let attributes = Attributes::default();
        let none = || Decision::NoOpinion("not mine".into());
        let other = || Decision::NoOpinion("nor mine".into());
        for (decisions, wanted) in [
            (vec![], Decision::NO_OPINION),
            (vec![none(), Decision::Allow("yes".into())], Decision::Allow("yes".into())),
            (vec![none(), Decision::Deny("no".into()), Decision::ALLOW], Decision::Deny("no".into())),
            (vec![none(), Decision::NO_OPINION, other()], Decision::NoOpinion("not mine\nnor mine".into())),
            (vec![Decision::NO_OPINION, other()], other()),
        ] {
            let union = union(decisions);
            assert_eq!(union.authorize(&attributes), wanted);
            let asked = futures::FutureExt::now_or_never(union.ask(&attributes));
            assert_eq!(asked, Some(wanted));
        }
    }

    #[test]
    fn rules_of_all_are_listed_and_one_that_cannot_list_makes_the_list_incomplete() {
        let all = Union::new(vec![Arc::new(AlwaysAllow), Arc::new(Says(Decision::ALLOW))]);
        let rules = all.rules_for(&User::default(), "a");
        assert_eq!(rules.rules.len(), 2);
        assert!(rules.incomplete);
        assert_eq!(rules.errors, ["short"]);
    }

    #[test]
    fn masters_may_do_everything() {
        let asked = |groups: &[&str]| Attributes { user: User::new("u", groups), ..Attributes::default() };
        assert!(Masters.authorize(&asked(&["a", "system:masters"])).is_allow());
        assert!(!Masters.authorize(&asked(&["a"])).is_allow());
    }

    #[test]
    fn a_refusal_names_user_verb_resource_and_place() {
        let alice = User::new("alice", &[]);
        let on = |verb: &str, namespace: &str, group: &str, resource: &str, subresource: &str, name: &str| {
            Attributes {
                user: alice.clone(),
                verb: verb.to_owned(),
                namespace: namespace.to_owned(),
                group: group.to_owned(),
                version: "v1".to_owned(),
                resource: resource.to_owned(),
                subresource: subresource.to_owned(),
                name: name.to_owned(),
                resource_request: true,
                ..Attributes::default()
            }
        };
        let path = Attributes {
            user: User::new("a<b>&\"c\"", &[]),
            verb: "get".to_owned(),
            path: "/metrics".to_owned(),
            ..Attributes::default()
        };
        for (attributes, reason, wanted) in [
            (
                on("list", "x", "", "pods", "", ""),
                "",
                r#"pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "x""#,
            ),
            (
                on("patch", "x", "apps", "deployments", "scale", "d"),
                "RBAC: role.rbac.authorization.k8s.io \"r\" not found",
                concat!(
                    r#"deployments.apps "d" is forbidden: User "alice" cannot patch resource "deployments/scale""#,
                    r#" in API group "apps" in the namespace "x": RBAC: role.rbac.authorization.k8s.io "r" not found"#
                ),
            ),
            (
                on("list", "", "", "nodes", "", ""),
                "",
                r#"nodes is forbidden: User "alice" cannot list resource "nodes" in API group "" at the cluster scope"#,
            ),
            (path, "", r#"forbidden: User "a&lt;b&gt;&amp;\"c\"" cannot get path "/metrics""#),
        ] {
            let status = forbidden(&attributes, reason);
            assert_eq!(status.message, wanted);
            assert_eq!(status.code, 403);
            let details = status.details.unwrap_or_default();
            assert_eq!(
                (details.name, details.group, details.kind),
                (attributes.name, attributes.group, attributes.resource)
            );
        }
    }
}
