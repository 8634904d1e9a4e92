//! What the catalogue serves: its resources with their parts, and where their groups stand.

use std::{collections::BTreeMap, sync::Arc};

use api_types::kind::{GroupVersion, GroupVersionKind};

use super::{Discovery, Freshness, Priority, ServedResource, ServedSubresource, ServedVersion};
use crate::registry::strategy::{Called, Resource};

/// A part of a resource besides `status`.
struct Part {
    group: &'static str,
    resource: &'static str,
    name: &'static str,
    kind: &'static str,
    /// The kind's group and version, if they are not the resource's.
    of: Option<(&'static str, &'static str)>,
    verbs: &'static [&'static str],
}

const READ_AND_WRITE: &[&str] = &["get", "patch", "update"];
const CREATE: &[&str] = &["create"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const SCALE: Option<(&str, &str)> = Some(("autoscaling", "v1"));

const fn part(
    resource: &'static str,
    name: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Part {
    Part { group: "", resource, name, kind, of: None, verbs }
}

impl Part {
    const fn group(mut self, group: &'static str) -> Self {
        self.group = group;
        self
    }

    const fn of(mut self, of: Option<(&'static str, &'static str)>) -> Self {
        self.of = of;
        self
    }
}

/// Every part of a built-in resource but `status`, which a resource has if its strategy says so.
const PARTS: &[Part] = &[
    part("namespaces", "finalize", "Namespace", &["update"]),
    part("nodes", "proxy", "NodeProxyOptions", PROXY),
    part("pods", "attach", "PodAttachOptions", CONNECT),
    part("pods", "binding", "Binding", CREATE),
    part("pods", "ephemeralcontainers", "Pod", READ_AND_WRITE),
    part("pods", "eviction", "Eviction", CREATE).of(Some(("policy", "v1"))),
    part("pods", "exec", "PodExecOptions", CONNECT),
    part("pods", "log", "Pod", &["get"]),
    part("pods", "portforward", "PodPortForwardOptions", CONNECT),
    part("pods", "proxy", "PodProxyOptions", PROXY),
    part("pods", "resize", "Pod", READ_AND_WRITE),
    part("replicationcontrollers", "scale", "Scale", READ_AND_WRITE).of(SCALE),
    part("serviceaccounts", "token", "TokenRequest", CREATE).of(Some(("authentication.k8s.io", "v1"))),
    part("services", "proxy", "ServiceProxyOptions", PROXY),
    part("deployments", "scale", "Scale", READ_AND_WRITE).of(SCALE).group("apps"),
    part("replicasets", "scale", "Scale", READ_AND_WRITE).of(SCALE).group("apps"),
    part("statefulsets", "scale", "Scale", READ_AND_WRITE).of(SCALE).group("apps"),
    part("certificatesigningrequests", "approval", "CertificateSigningRequest", READ_AND_WRITE)
        .group("certificates.k8s.io"),
];

/// Resources whose objects are stored as another version than they are served in.
const STORED_ELSEWHERE: &[(&str, &str, (&str, &str))] = &[
    ("events.k8s.io", "events", ("", "v1")),
    ("autoscaling", "horizontalpodautoscalers", ("autoscaling", "v2")),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicies",
        ("admissionregistration.k8s.io", "v1beta1"),
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings",
        ("admissionregistration.k8s.io", "v1beta1"),
    ),
    ("apiextensions.k8s.io", "customresourcedefinitions", ("apiextensions.k8s.io", "v1beta1")),
];

/// The groups in the order clients look through them, and their priorities as their APIServices state them.
const GROUP_PRIORITIES: &[(&str, i32)] = &[
    // Never registered as an APIService, and always first.
    ("apiregistration.k8s.io", 20_000),
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("admissionregistration.k8s.io", 16_700),
    ("apiextensions.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
];

/// The priority of a built-in group and version: the one its APIService has.
pub fn priority(group: &str, version: &str) -> Option<Priority> {
    let (_, of_group) = GROUP_PRIORITIES.iter().find(|(name, _)| *name == group)?;
    let of_version = match (group, version) {
        ("", _) => 1,
        ("apiregistration.k8s.io", _) => 18,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", _) => 21,
        _ => 15,
    };
    Some(Priority { group: *of_group, version: of_version })
}

/// What a built-in kind's objects are stored as.
pub fn stored_as(names: &Called<'_>) -> GroupVersionKind {
    let (group, version) = STORED_ELSEWHERE
        .iter()
        .find(|(group, resource, _)| *group == names.group && *resource == names.plural)
        .map_or((names.group, names.version), |(_, _, stored)| *stored);
    GroupVersionKind::new(group, version, names.kind)
}

/// The snapshot that serves these resources and nothing else.
pub fn discovery(catalogue: &[Arc<dyn Resource>]) -> Discovery {
    let mut versions: BTreeMap<GroupVersion, Vec<ServedResource>> = BTreeMap::new();
    for resource in catalogue {
        let names = resource.names();
        versions
            .entry(GroupVersion::new(names.group, names.version))
            .or_default()
            .push(served(resource.as_ref()));
    }
    Discovery::new(versions.into_iter().map(|(group_version, resources)| {
        let priority =
            priority(&group_version.group, &group_version.version).unwrap_or(super::CUSTOM_PRIORITY);
        Arc::new(ServedVersion::new(group_version, priority, Freshness::Current, resources))
    }))
}

fn served(resource: &dyn Resource) -> ServedResource {
    let names = resource.names();
    let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let verbs = resource.verbs();
    let mut subresources: Vec<ServedSubresource> = PARTS
        .iter()
        .filter(|part| part.group == names.group && part.resource == names.plural)
        .map(|part| ServedSubresource {
            name: part.name.to_owned(),
            kind: part.kind.to_owned(),
            group_version: part.of.map(|(group, version)| GroupVersion::new(group, version)),
            verbs: owned(part.verbs),
        })
        .collect();
    if resource.has_status() {
        subresources.push(ServedSubresource {
            name: "status".to_owned(),
            kind: names.kind.to_owned(),
            group_version: None,
            verbs: owned(READ_AND_WRITE),
        });
    }
    subresources.sort_by(|one, other| one.name.cmp(&other.name));
    ServedResource {
        name: names.plural.to_owned(),
        singular: names.singular.to_owned(),
        kind: names.kind.to_owned(),
        namespaced: names.namespaced,
        verbs: owned(verbs),
        short: owned(&resource.short()),
        categories: owned(&resource.categories()),
        stored_as: (verbs.contains(&"create") && verbs.contains(&"get")).then(|| stored_as(&names)),
        subresources,
        spells_out_kind: false,
    }
}
