//! Endpoints: `endpoints` of `v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints as Object};

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        addresses::{ip_warnings, legacy_ip},
        metadata::invalid_each,
        names::{dns_subdomain, dns1123_label, port_number, qualified_name},
        net::endpoint_ip,
        optional::{Entries, Items, Text, one_of},
    },
};

/// The transport protocols of ports, sorted.
pub(crate) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// The strategy of Endpoints.
pub(crate) struct Endpoints;

impl Strategy for Endpoints {
    type Object = Object;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Endpoints",
        plural: "endpoints",
        singular: "endpoints",
        short: &["ep"],
        categories: &[],
        namespaced: true,
    };
    const DEPRECATED: Option<&'static str> =
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice");
    const CREATE_ON_UPDATE: bool = true;

    fn default(object: &mut Object) {
        let ports = object.subsets.iter_mut().flatten().flat_map(|subset| subset.ports.iter_mut().flatten());
        for port in ports {
            port.protocol.or_set("TCP");
        }
    }

    fn validate(_cx: &Context<'_>, object: &Object) -> Faults {
        let path = Path::new("subsets");
        object
            .subsets
            .items()
            .iter()
            .enumerate()
            .flat_map(|(index, subset)| subset_faults(&path.index(index), subset))
            .collect()
    }

    fn validate_update(cx: &Context<'_>, object: &Object, old: &Object) -> Faults {
        // What older rules let in may stay.
        if object.subsets.items() == old.subsets.items() {
            return Vec::new();
        }
        Self::validate(cx, object)
    }

    fn warnings(_cx: &Context<'_>, object: &Object, _old: Option<&Object>) -> Vec<String> {
        let manager = object.metadata.labels.at("endpoints.kubernetes.io/managed-by");
        if manager.is_some_and(|it| it == "endpoint-controller") {
            return Vec::new();
        }
        let path = Path::new("subsets");
        let mut warnings = Vec::new();
        for (index, subset) in object.subsets.items().iter().enumerate() {
            for (field, addresses) in
                [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)]
            {
                let path = path.index(index).child(field);
                for (index, address) in addresses.items().iter().enumerate() {
                    warnings.extend(ip_warnings(&path.index(index).child("ip"), &address.ip));
                }
            }
        }
        warnings
    }
}

fn subset_faults(path: &Path, subset: &EndpointSubset) -> Faults {
    let ready = subset.addresses.items();
    let not_ready = subset.not_ready_addresses.items();
    let ports = subset.ports.items();
    let mut faults = Vec::new();
    if ready.is_empty() && not_ready.is_empty() {
        faults.push(Fault::required(path, "must specify `addresses` or `notReadyAddresses`"));
    }
    for (field, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
        for (index, address) in addresses.iter().enumerate() {
            faults.extend(address_faults(&path.child(field).index(index), address));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        faults.extend(port_faults(&path.child("ports").index(index), port, ports.len() > 1));
    }
    faults
}

fn address_faults(path: &Path, address: &EndpointAddress) -> Faults {
    let mut faults = legacy_ip(&path.child("ip"), &address.ip, &[]);
    let hostname = address.hostname.text();
    if !hostname.is_empty() {
        faults.extend(invalid_each(&path.child("hostname"), hostname, dns1123_label(hostname)));
    }
    if let Some(node) = &address.node_name {
        faults.extend(invalid_each(&path.child("nodeName"), node, dns_subdomain(node, false)));
    }
    faults.extend(endpoint_ip(&path.child("ip"), &address.ip));
    faults
}

fn port_faults(path: &Path, port: &EndpointPort, needs_name: bool) -> Faults {
    let mut faults = Vec::new();
    let name = port.name.text();
    if !name.is_empty() {
        faults.extend(invalid_each(&path.child("name"), name, dns1123_label(name)));
    } else if needs_name {
        faults.push(Fault::required(&path.child("name"), ""));
    }
    for wrong in port_number(port.port.into()) {
        faults.push(Fault::invalid(&path.child("port"), port.port, wrong));
    }
    faults.extend(one_of(&path.child("protocol"), port.protocol.text(), PROTOCOLS));
    if let Some(protocol) = &port.app_protocol {
        faults.extend(invalid_each(&path.child("appProtocol"), protocol, qualified_name(protocol)));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Endpoints;
    use crate::resources::shared::testing::{check_create, check_update, warnings};

    #[test]
    fn a_subset_has_addresses_and_named_ports() {
        for (subset, faults) in [
            (json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}), vec![]),
            (json!({}), vec!["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
            (
                json!({"addresses": [{"ip": "x"}]}),
                vec![
                    r#"subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
                    r#"subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address"#,
                ],
            ),
            (
                json!({"notReadyAddresses": [{"ip": "127.0.0.1"}]}),
                vec![
                    r#"subsets[0].notReadyAddresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
                ],
            ),
            (
                json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 70000, "protocol": "X"}, {"name": "a", "port": 1}]}),
                vec![
                    "subsets[0].ports[0].name: Required value",
                    "subsets[0].ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
                    r#"subsets[0].ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP""#,
                ],
            ),
        ] {
            assert_eq!(check_create::<Endpoints>(json!({"subsets": [subset]})), faults);
        }
    }

    #[test]
    fn subsets_that_do_not_change_are_not_judged_again() {
        let bad = json!({"subsets": [{"addresses": [{"ip": "x"}]}]});
        assert_eq!(check_update::<Endpoints>(bad.clone(), bad), [""; 0]);
    }

    #[test]
    fn odd_addresses_are_warned_about_unless_the_controller_wrote_them() {
        let mut object = json!({"subsets": [{"addresses": [{"ip": "2001:DB8::1"}]}]});
        assert_eq!(
            warnings::<Endpoints>(object.clone()),
            [
                r#"subsets[0].addresses[0].ip: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")"#
            ]
        );
        object["metadata"] = json!({"labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}});
        assert_eq!(warnings::<Endpoints>(object), [""; 0]);
    }
}
