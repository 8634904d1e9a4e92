//! EndpointSlices: `endpointslices` of `discovery.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, EndpointPort, EndpointSlice};

use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::{
        core::endpoints::PROTOCOLS,
        shared::{
            addresses,
            forms::fully_qualified_domain_name,
            metadata::invalid_each,
            names::{dns_subdomain, dns1123_label, label_value, qualified_name},
            net::{Family, endpoint_ip, family},
            optional::{Entries, Items, Text, immutable, one_of},
            selectors::validate_labels,
        },
    },
};

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TOPOLOGY_LABELS_MAX: usize = 16;
const HINTS_MAX: usize = 8;

/// The controllers that need no warnings.
const CONTROLLERS: &[&str] = &["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// The strategy of EndpointSlices.
pub(crate) struct EndpointSlices;

impl Strategy for EndpointSlices {
    type Object = EndpointSlice;

    const NAMES: Names = Names {
        group: "discovery.k8s.io",
        version: "v1",
        kind: "EndpointSlice",
        plural: "endpointslices",
        singular: "endpointslice",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const REJUDGES_CHANGE: bool = false;
    const GENERATION: Generation = Generation::ContentOrLabels;

    fn default(object: &mut EndpointSlice) {
        for port in object.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
    }

    fn prepare_for_create(_cx: &Context<'_>, object: &mut EndpointSlice) {
        drop_topology(object, None);
    }

    fn validate(_cx: &Context<'_>, object: &EndpointSlice) -> Faults {
        let mut faults = outline_faults(object);
        faults.extend(endpoints_faults(object));
        faults
    }

    fn prepare_for_update(_cx: &Context<'_>, object: &mut EndpointSlice, old: &EndpointSlice) {
        if object.endpoints.items() != old.endpoints.items() {
            drop_topology(object, Some(old));
        }
    }

    fn validate_update(_cx: &Context<'_>, object: &EndpointSlice, old: &EndpointSlice) -> Faults {
        let mut faults = outline_faults(object);
        // What older rules let in may stay.
        if object.endpoints.items() != old.endpoints.items() {
            faults.extend(endpoints_faults(object));
        }
        faults.extend(immutable(&Path::new("addressType"), &object.address_type, &old.address_type));
        faults
    }

    fn warnings(_cx: &Context<'_>, object: &EndpointSlice, old: Option<&EndpointSlice>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() && object.address_type == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        let label = "endpointslice.kubernetes.io/managed-by";
        let manager = object.metadata.labels.at(label);
        if manager.is_some_and(|manager| CONTROLLERS.contains(&manager.as_str())) {
            return warnings;
        }
        for (index, endpoint) in object.endpoints.items().iter().enumerate() {
            let path = Path::new("endpoints").index(index).child("addresses");
            for (index, address) in endpoint.addresses.iter().enumerate() {
                warnings.extend(addresses::ip_warnings(&path.index(index), address));
            }
        }
        warnings
    }
}

/// The free-form topology of the first versions: its host name becomes the node name if the stored slice knew it as
/// one, the rest is gone.
fn drop_topology(object: &mut EndpointSlice, old: Option<&EndpointSlice>) {
    let hostname = |endpoint: &Endpoint| endpoint.deprecated_topology.at("kubernetes.io/hostname").cloned();
    let known: Vec<String> =
        old.map(|old| old.endpoints.items().iter().filter_map(hostname).collect()).unwrap_or_default();
    for endpoint in object.endpoints.iter_mut().flatten() {
        if endpoint.node_name.is_none() {
            endpoint.node_name = hostname(endpoint)
                .filter(|name| known.contains(name) && dns_subdomain(name, false).is_empty());
        }
        endpoint.deprecated_topology = None;
    }
}

fn outline_faults(object: &EndpointSlice) -> Faults {
    let mut faults: Faults =
        one_of(&Path::new("addressType"), &object.address_type, &["FQDN", "IPv4", "IPv6"])
            .into_iter()
            .collect();
    faults.extend(ports_faults(&Path::new("ports"), object.ports.items()));
    faults
}

fn ports_faults(path: &Path, ports: &[EndpointPort]) -> Faults {
    if ports.len() > PORTS_MAX {
        return vec![Fault::too_many(path, ports.len(), PORTS_MAX)];
    }
    let mut faults = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = port.name.text();
        if !name.is_empty() {
            faults.extend(invalid_each(&path.child("name"), name, dns1123_label(name)));
        }
        if names.contains(&name) {
            faults.push(Fault::duplicate(&path.child("name"), name));
        } else {
            names.push(name);
        }
        match &port.protocol {
            None => faults.push(Fault::required(&path.child("protocol"), "")),
            Some(protocol) if PROTOCOLS.contains(&protocol.as_str()) => {}
            Some(protocol) => {
                faults.push(Fault::not_supported(&path.child("protocol"), protocol, PROTOCOLS));
            }
        }
        if let Some(protocol) = &port.app_protocol {
            faults.extend(invalid_each(&path.child("appProtocol"), protocol, qualified_name(protocol)));
        }
    }
    faults
}

fn endpoints_faults(object: &EndpointSlice) -> Faults {
    let path = Path::new("endpoints");
    let endpoints = object.endpoints.items();
    if endpoints.len() > ENDPOINTS_MAX {
        return vec![Fault::too_many(&path, endpoints.len(), ENDPOINTS_MAX)];
    }
    endpoints
        .iter()
        .enumerate()
        .flat_map(|(index, endpoint)| endpoint_faults(&path.index(index), endpoint, &object.address_type))
        .collect()
}

fn endpoint_faults(path: &Path, endpoint: &Endpoint, address_type: &str) -> Faults {
    let mut faults = Vec::new();
    let addresses_path = path.child("addresses");
    if endpoint.addresses.is_empty() {
        faults.push(Fault::required(&addresses_path, "must contain at least 1 address"));
    } else if endpoint.addresses.len() > ADDRESSES_MAX {
        faults.push(Fault::too_many(&addresses_path, endpoint.addresses.len(), ADDRESSES_MAX));
    }
    for (index, address) in endpoint.addresses.iter().enumerate() {
        faults.extend(address_faults(&addresses_path, index, address, address_type));
    }
    if let Some(node) = &endpoint.node_name {
        faults.extend(invalid_each(&path.child("nodeName"), node, dns_subdomain(node, false)));
    }
    let topology_path = path.child("deprecatedTopology");
    let topology = endpoint.deprecated_topology.as_ref();
    if let Some(count) = topology.map(|it| it.len()).filter(|&count| count > TOPOLOGY_LABELS_MAX) {
        faults.push(Fault::too_many(&topology_path, count, TOPOLOGY_LABELS_MAX));
    }
    faults.extend(validate_labels(topology, &topology_path));
    if let Some(hostname) = &endpoint.hostname {
        faults.extend(invalid_each(&path.child("hostname"), hostname, dns1123_label(hostname)));
    }
    if let Some(hints) = &endpoint.hints {
        faults.extend(hints_faults(&path.child("hints"), hints));
    }
    faults
}

/// `path` is that of all addresses: upstream names the whole list where the family is wrong.
fn address_faults(path: &Path, index: usize, address: &str, address_type: &str) -> Faults {
    let at = path.index(index);
    let (wanted, article, mut faults) = match address_type {
        "IPv4" => (Family::V4, "an IPv4", addresses::legacy_ip(&at, address, &[])),
        "IPv6" => (Family::V6, "an IPv6", addresses::ip(&at, address)),
        "FQDN" => return fully_qualified_domain_name(&at, address),
        _ => return Vec::new(),
    };
    if faults.is_empty() {
        if family(address) != Some(wanted) {
            faults.push(Fault::invalid(path, address, format!("must be {article} address")));
        }
        faults.extend(endpoint_ip(&at, address));
    }
    faults
}

fn hints_faults(path: &Path, hints: &EndpointHints) -> Faults {
    let mut faults = Vec::new();
    let zones: Vec<&str> = hints.for_zones.items().iter().map(|it| it.name.as_str()).collect();
    let nodes: Vec<&str> = hints.for_nodes.items().iter().map(|it| it.name.as_str()).collect();
    for (field, names, rule) in [
        ("forZones", zones, label_value as fn(&str) -> Vec<String>),
        ("forNodes", nodes, |name| dns_subdomain(name, false)),
    ] {
        let path = path.child(field);
        if names.len() > HINTS_MAX {
            faults.push(Fault::too_many(&path, names.len(), HINTS_MAX));
            return faults;
        }
        for (index, name) in names.iter().enumerate() {
            let path = path.index(index).child("name");
            if names.iter().take(index).any(|earlier| earlier == name) {
                faults.push(Fault::duplicate(&path, *name));
            }
            faults.extend(invalid_each(&path, name, rule(name)));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::EndpointSlices;
    use crate::resources::shared::testing::{check_create, check_update, created, updated, warnings};

    fn slice(address_type: &str, address: &str) -> Value {
        json!({"addressType": address_type, "endpoints": [{"addresses": [address]}]})
    }

    #[test]
    fn addresses_are_of_the_slices_type() {
        for (object, faults) in [
            (slice("IPv4", "10.0.0.1"), vec![]),
            (slice("IPv6", "2001:db8::1"), vec![]),
            (slice("FQDN", "example.com"), vec![]),
            (slice("", "x"), vec!["addressType: Required value"]),
            (
                slice("X", "x"),
                vec![r#"addressType: Unsupported value: "X": supported values: "FQDN", "IPv4", "IPv6""#],
            ),
            (
                slice("IPv4", "2001:db8::1"),
                vec![r#"endpoints[0].addresses: Invalid value: "2001:db8::1": must be an IPv4 address"#],
            ),
            (
                slice("FQDN", "example"),
                vec![
                    r#"endpoints[0].addresses[0]: Invalid value: "example": should be a domain with at least two segments separated by dots"#,
                ],
            ),
            (
                json!({"addressType": "IPv4", "endpoints": [{"addresses": []}]}),
                vec!["endpoints[0].addresses: Required value: must contain at least 1 address"],
            ),
            (
                json!({"addressType": "IPv4", "ports": [{}, {"protocol": "X"}]}),
                vec![
                    r#"ports[1].name: Duplicate value: """#,
                    r#"ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP""#,
                ],
            ),
        ] {
            assert_eq!(check_create::<EndpointSlices>(object), faults);
        }
    }

    #[test]
    fn hints_name_each_zone_and_node_once() {
        let hinted = |hints: Value| json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "hints": hints}]});
        assert_eq!(
            check_create::<EndpointSlices>(hinted(json!({"forZones": [{"name": "a"}, {"name": "a"}]}))),
            [r#"endpoints[0].hints.forZones[1].name: Duplicate value: "a""#]
        );
        let many: Vec<Value> = (0..9).map(|index| json!({"name": index.to_string()})).collect();
        assert_eq!(
            check_create::<EndpointSlices>(hinted(json!({"forNodes": many}))),
            ["endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items"]
        );
    }

    #[test]
    fn the_address_type_is_fixed() {
        assert_eq!(
            check_update::<EndpointSlices>(slice("IPv6", "2001:db8::1"), slice("IPv4", "10.0.0.1")),
            [r#"addressType: Invalid value: "IPv6": field is immutable"#]
        );
    }

    #[test]
    fn old_topology_becomes_the_node_name_once() {
        let with = |topology: Value, more: &str| {
            json!({"addressType": "IPv4", "endpoints":
                [{"addresses": ["10.0.0.1"], "deprecatedTopology": topology, "hostname": more}]})
        };
        let topology = json!({"kubernetes.io/hostname": "n"});
        let at = |object: &Value, pointer: &str| object.pointer(pointer).cloned();
        let new = created::<EndpointSlices>(with(topology.clone(), "a"));
        assert_eq!(at(&new, "/endpoints/0/nodeName"), None);
        assert_eq!(at(&new, "/endpoints/0/deprecatedTopology"), None);
        let changed = updated::<EndpointSlices>(with(topology.clone(), "b"), with(topology, "a"));
        assert_eq!(at(&changed, "/endpoints/0/nodeName"), Some(json!("n")));
    }

    #[test]
    fn domain_names_as_addresses_are_deprecated() {
        assert_eq!(
            warnings::<EndpointSlices>(slice("FQDN", "example.com")),
            ["spec.addressType: FQDN endpoints are deprecated"]
        );
    }
}
