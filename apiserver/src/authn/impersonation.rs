//! Acting as somebody else, for those who may.
//!
//! Two kinds of permission are tried. The constrained modes (KEP-5284) say which user one may be *and* what one may do as
//! them; the older one, the verb `impersonate`, only says which user. The mode that let a user through the last time is
//! tried first.

use std::collections::BTreeMap;

use http::HeaderMap;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;

use api_types::{
    field::{Path, aggregate, go_quote},
    status::Status,
};

use super::{
    bearer::text,
    recent::Recent,
    user::{ANONYMOUS, AUTHENTICATED, MASTERS, UNAUTHENTICATED, User, node, service_account},
};
use crate::{
    authz::{
        attributes::Attributes,
        decision::{Authorizer, forbidden},
    },
    resources::shared::forms,
};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

/// From so many checks on, one for all of them is tried first.
const MANY: usize = 4;
/// For how many users it is remembered what let them through.
const REMEMBERED: usize = 5_000;

/// Decides who may act as whom.
#[derive(Debug)]
pub struct Impersonation {
    /// By requesting user.
    last: Mutex<Recent<String, Mode>>,
}

/// The caller as somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonated {
    /// Who they are from here on.
    pub user: User,
    /// The verb that allowed it, for the audit log; empty for the older kind.
    pub constraint: String,
}

/// The kinds of permission, in the order they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A service account as the node that its pod runs on.
    AssociatedNode,
    /// Any node.
    ArbitraryNode,
    /// Service accounts.
    ServiceAccount,
    /// Everybody else.
    UserInfo,
    /// The older kind: anybody.
    Legacy,
}

// === impl Mode ===

impl Mode {
    const ALL: [Self; 5] =
        [Self::AssociatedNode, Self::ArbitraryNode, Self::ServiceAccount, Self::UserInfo, Self::Legacy];

    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    fn verb(self) -> String {
        match self {
            Self::Legacy => "impersonate".to_owned(),
            constrained => format!("impersonate:{}", constrained.name()),
        }
    }

    /// Whether it is about such a user at all.
    fn applies(self, wanted: &User, requestor: &User) -> bool {
        let only_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node::split(&wanted.name);
        match self {
            Self::AssociatedNode => {
                only_name
                    && node.is_some()
                    && service_account::split(&requestor.name).is_some()
                    && requestor.extra_value(service_account::NODE_NAME) == node
            }
            Self::ArbitraryNode => only_name && node.is_some(),
            Self::ServiceAccount => only_name && service_account::split(&wanted.name).is_some(),
            Self::UserInfo => node.is_none() && service_account::split(&wanted.name).is_none(),
            Self::Legacy => true,
        }
    }

    fn try_it(self, check: &Check<'_>) -> Result<Impersonated, Status> {
        if self != Self::Legacy {
            let verb = format!("impersonate-on:{}:{}", self.name(), check.request.verb);
            check.ask(self, Attributes { verb, ..check.request.clone() })?;
        }
        let wanted = check.wanted;
        let mut user = wanted.clone();
        check.name(self, &mut user)?;
        if !wanted.uid.is_empty() {
            check.ask(self, check.about(self, true, "uids", &wanted.uid))?;
        }
        check.groups(self)?;
        check.extra(self)?;
        if user.name == ANONYMOUS {
            user.join(UNAUTHENTICATED);
        } else if !user.is_in(UNAUTHENTICATED) {
            user.join(AUTHENTICATED);
        }
        let constraint = if self == Self::Legacy { String::new() } else { self.verb() };
        Ok(Impersonated { user, constraint })
    }
}

// === impl Impersonation ===

impl Default for Impersonation {
    fn default() -> Self {
        Self { last: Mutex::new(Recent::new(REMEMBERED)) }
    }
}

impl Impersonation {
    /// Who the caller wishes to be, if anybody else; `request` is what they ask to do.
    ///
    /// # Errors
    /// The wish makes no sense, or may not be granted.
    pub fn impersonate(
        &self,
        headers: &HeaderMap,
        request: &Attributes,
        authorizer: &dyn Authorizer,
    ) -> Result<Option<Impersonated>, Status> {
        let Some(wanted) = wanted(headers)? else { return Ok(None) };
        let requestor = &request.user;
        let check = Check { wanted: &wanted, request, authorizer };
        let last = self.last.lock().get(&requestor.name);
        let modes = last.into_iter().chain(Mode::ALL.into_iter().filter(|&mode| Some(mode) != last));
        let mut refused = None;
        for mode in modes.filter(|mode| mode.applies(&wanted, requestor)) {
            match mode.try_it(&check) {
                Ok(impersonated) => {
                    if last != Some(mode) {
                        self.last.lock().insert(requestor.name.clone(), mode);
                    }
                    return Ok(Some(impersonated));
                }
                Err(status) => refused = refused.or(Some(status)),
            }
        }
        Err(refused.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
    }
}

/// Takes the wish out of the headers: nothing behind may act on it again.
pub fn strip(headers: &mut HeaderMap) {
    let wishes: Vec<_> = headers
        .keys()
        .filter(|name| matches!(name.as_str(), USER | UID | GROUP) || name.as_str().starts_with(EXTRA))
        .cloned()
        .collect();
    for name in wishes {
        headers.remove(name);
    }
}

/// Whom the headers name.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let first = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let mut wanted = User { name: first(USER), uid: first(UID), ..User::default() };
    let groups: Vec<String> = headers.get_all(GROUP).iter().map(text).collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            extra.entry(decoded(key)).or_default().push(text(value));
        }
    }
    let more = !wanted.uid.is_empty() || !groups.is_empty() || !extra.is_empty();
    wanted.groups = groups;
    wanted.extra = extra;
    match (wanted.name.is_empty(), more) {
        (false, _) => Ok(Some(wanted)),
        (true, false) => Ok(None),
        (true, true) => Err(Status::bad_request(format!(
            "requested {} without impersonating a user name",
            as_go_prints(&wanted)
        ))),
    }
}

/// A key as it was before it was made fit for a header; as it stands if it is not well encoded.
fn decoded(key: &str) -> String {
    let bytes = key.as_bytes();
    let well_encoded = bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'%').all(|(index, _)| {
        bytes.get(index + 1..index + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    match percent_decode_str(key).decode_utf8() {
        Ok(decoded) if well_encoded => decoded.into_owned(),
        _ => key.to_owned(),
    }
}

/// The wish in upstream's message, which is that of its programming language.
fn as_go_prints(user: &User) -> String {
    let list = |values: &[String]| {
        let quoted: Vec<String> = values.iter().map(|it| go_quote(it)).collect();
        format!("[]string{{{}}}", quoted.join(", "))
    };
    let groups = if user.groups.is_empty() { "[]string(nil)".to_owned() } else { list(&user.groups) };
    let extra = if user.extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        let entries: Vec<String> =
            user.extra.iter().map(|(key, values)| format!("{}:{}", go_quote(key), list(values))).collect();
        format!("map[string][]string{{{}}}", entries.join(", "))
    };
    format!(
        "&user.DefaultInfo{{Name:{}, UID:{}, Groups:{groups}, Extra:{extra}}}",
        go_quote(&user.name),
        go_quote(&user.uid)
    )
}

/// One wish and the request it comes with.
struct Check<'a> {
    wanted: &'a User,
    request: &'a Attributes,
    authorizer: &'a dyn Authorizer,
}

// === impl Check ===

impl Check<'_> {
    /// A question about one property of the wanted user. Uids and extras are in the authentication group in every mode.
    fn about(&self, mode: Mode, in_group: bool, resource: &str, name: &str) -> Attributes {
        let (group, version) =
            if in_group || mode != Mode::Legacy { ("authentication.k8s.io", "v1") } else { ("", "v1") };
        Attributes {
            user: self.request.user.clone(),
            verb: mode.verb(),
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            resource_request: true,
            ..Attributes::default()
        }
    }

    fn ask(&self, mode: Mode, mut asked: Attributes) -> Result<(), Status> {
        if mode == Mode::AssociatedNode {
            // The permission is for whatever node the account is on: neither the node nor the pod makes a difference.
            let keys: Vec<String> = asked.user.extra.keys().cloned().collect();
            let told = "authentication.kubernetes.io/associated-node-keys".to_owned();
            asked.user.extra = BTreeMap::from([(told, keys)]);
            if asked.verb == mode.verb() {
                "*".clone_into(&mut asked.name);
            }
        }
        let decision = self.authorizer.authorize(&asked);
        if decision.is_allow() { Ok(()) } else { Err(forbidden(&asked, decision.reason().as_str())) }
    }

    fn name(&self, mode: Mode, user: &mut User) -> Result<(), Status> {
        let wanted = self.wanted;
        let mut asked = self.about(mode, false, "users", &wanted.name);
        if let Some(node) = node::split(&wanted.name).filter(|_| mode != Mode::Legacy) {
            "nodes".clone_into(&mut asked.resource);
            node.clone_into(&mut asked.name);
            user.groups = vec![node::NODES.to_owned()];
        }
        if let Some((namespace, name)) = service_account::split(&wanted.name) {
            "serviceaccounts".clone_into(&mut asked.resource);
            namespace.clone_into(&mut asked.namespace);
            name.clone_into(&mut asked.name);
            if wanted.groups.is_empty() {
                user.groups = service_account::groups(namespace);
            }
        }
        self.ask(mode, asked)
    }

    fn groups(&self, mode: Mode) -> Result<(), Status> {
        let groups = &self.wanted.groups;
        let asked = |name: &str| self.about(mode, false, "groups", name);
        if mode != Mode::Legacy {
            if groups.iter().any(String::is_empty) {
                return Err(forbidden(&asked(""), "impersonating the empty string group is not allowed"));
            }
            if groups.iter().any(|it| it == MASTERS) {
                let reason = "impersonating the system:masters group is not allowed";
                return Err(forbidden(&asked(MASTERS), reason));
            }
            if groups.len() >= MANY && self.ask(mode, asked("*")).is_ok() {
                return Ok(());
            }
        }
        groups.iter().try_for_each(|group| self.ask(mode, asked(group)))
    }

    fn extra(&self, mode: Mode) -> Result<(), Status> {
        let extra = &self.wanted.extra;
        let asked = |key: &str, value: &str| Attributes {
            subresource: key.to_owned(),
            ..self.about(mode, true, "userextras", value)
        };
        if mode != Mode::Legacy {
            if let Some(reason) = extra.iter().find_map(|(key, values)| extra_fault(key, values)) {
                return Err(forbidden(&asked("", ""), &reason));
            }
            let many = extra.len() >= MANY || extra.values().map(Vec::len).sum::<usize>() >= MANY;
            if many && self.ask(mode, asked("*", "*")).is_ok() {
                return Ok(());
            }
        }
        extra
            .iter()
            .flat_map(|(key, values)| values.iter().map(move |value| (key, value)))
            .try_for_each(|(key, value)| self.ask(mode, asked(key, value)))
    }
}

/// What the constrained modes do not let pass.
fn extra_fault(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let faults = forms::domain_prefixed_path(&Path::new("extra").child("key"), key);
    if !faults.is_empty() {
        return Some(format!("impersonating an invalid key in extra is not allowed: {}", aggregate(&faults)));
    }
    if key != key.to_lowercase() {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {}", go_quote(key)));
    }
    if values.iter().any(String::is_empty) {
        return Some("impersonating the empty string value in extra is not allowed".to_owned());
    }
    None
}

#[cfg(test)]
mod tests;
