//! Ingresses, policies and addresses.

use k8s_openapi::api::networking::v1::{IPAddressSpec, NetworkPolicySpec, ServiceCIDRSpec};
use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, of, says, text},
    read::{self, ObjectExt as _, age, at, list, optional_text},
    selector,
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    Some(match resource {
        "ingressclasses" => &INGRESS_CLASSES,
        "ingresses" => &INGRESSES,
        "ipaddresses" => &IP_ADDRESSES,
        "networkpolicies" => &NETWORK_POLICIES,
        "servicecidrs" => &SERVICE_CIDRS,
        _ => return None,
    })
}

static INGRESS_CLASSES: TableDef = TableDef::new(
    &[
        NAME,
        text("Controller", says("Controller that is responsible for handling this class")),
        text("Parameters", says("A reference to a resource with additional parameters")),
        AGE,
    ],
    |class, now| {
        let mut name = class.name().to_owned();
        if class.annotation("ingressclass.kubernetes.io/is-default-class") == Some("true") {
            name.push_str(" (default)");
        }
        vec![
            name.into(),
            read::text(class, "spec.controller").into(),
            parameters(at(class, "spec.parameters")).into(),
            age(class, now),
        ]
    },
);

fn parameters(reference: &Value) -> String {
    if !reference.is_object() {
        return "<none>".to_owned();
    }
    let (kind, name) = (read::text(reference, "kind"), read::text(reference, "name"));
    match at(reference, "apiGroup").as_str() {
        Some(group) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

static INGRESSES: TableDef = TableDef::new(
    &[
        NAME,
        text(
            "Class",
            says("The name of the IngressClass resource that should be used for additional configuration"),
        ),
        text("Hosts", says("Hosts that incoming requests are matched against before the ingress rule")),
        text("Address", says("Address is a list containing ingress points for the load-balancer")),
        text("Ports", says("Ports of TLS configurations that open")),
        AGE,
    ],
    |ingress, now| {
        let ports = if list(ingress, "spec.tls").is_empty() { "80" } else { "80, 443" };
        vec![
            ingress.name().into(),
            optional_text(ingress, "spec.ingressClassName", "<none>").into(),
            hosts(list(ingress, "spec.rules")).into(),
            read::load_balancer(at(ingress, "status")).into(),
            ports.into(),
            age(ingress, now),
        ]
    },
);

/// The first three hosts. Once three are shown every further rule counts as one more, with or without a host.
fn hosts(rules: &[Value]) -> String {
    const SHOWN: usize = 3;
    let mut shown = Vec::new();
    let mut more = false;
    for rule in rules {
        match read::text(rule, "host") {
            _ if shown.len() == SHOWN => more = true,
            "" => {}
            host => shown.push(host),
        }
    }
    match (shown.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, false) => shown.join(","),
        (false, true) => format!("{} + {} more...", shown.join(","), rules.len() - SHOWN),
    }
}

static IP_ADDRESSES: TableDef =
    TableDef::new(&[NAME, text("ParentRef", of::<IPAddressSpec>("parentRef"))], |address, now| {
        // A cell more than columns, as upstream.
        vec![address.name().into(), parent(at(address, "spec.parentRef")).into(), age(address, now)]
    });

fn parent(reference: &Value) -> String {
    if !reference.is_object() {
        return "<none>".to_owned();
    }
    let mut text = read::text(reference, "resource").to_lowercase();
    for (separator, field) in [(".", "group"), ("/", "namespace")] {
        match read::text(reference, field) {
            "" => {}
            part if field == "group" => text = format!("{text}{separator}{}", part.to_lowercase()),
            part => text = format!("{text}{separator}{part}"),
        }
    }
    format!("{text}/{}", read::text(reference, "name"))
}

static NETWORK_POLICIES: TableDef = TableDef::new(
    &[NAME, text("Pod-Selector", of::<NetworkPolicySpec>("podSelector")), AGE],
    |policy, now| {
        vec![
            policy.name().into(),
            selector::selector_or_none(at(policy, "spec.podSelector")).into(),
            age(policy, now),
        ]
    },
);

static SERVICE_CIDRS: TableDef =
    TableDef::new(&[NAME, text("CIDRs", of::<ServiceCIDRSpec>("cidrs")), AGE], |cidr, now| {
        vec![cidr.name().into(), read::joined(list(cidr, "spec.cidrs")).into(), age(cidr, now)]
    });
