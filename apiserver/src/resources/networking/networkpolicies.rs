//! NetworkPolicies: `networkpolicies` of `networking.k8s.io/v1`.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{
        addresses::{cidr_warnings, legacy_cidr, parse_cidr_sloppy},
        metadata::invalid_each,
        names::{port_name, port_number},
        optional::Items,
        selectors::{self, Leniency},
    },
};

/// The strategy of NetworkPolicies.
pub(crate) struct NetworkPolicies;

/// What an update may keep since the stored policy has it.
#[derive(Default)]
struct Held<'a> {
    bad_selector: bool,
    ranges: Vec<&'a str>,
}

impl Strategy for NetworkPolicies {
    type Object = NetworkPolicy;

    const NAMES: Names = Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        singular: "networkpolicy",
        short: &["netpol"],
        categories: &[],
        namespaced: true,
    };
    const REJUDGES_METADATA: bool = false;
    const GENERATION: Generation = Generation::Spec;

    fn default(object: &mut NetworkPolicy) {
        let spec = object.spec.get_or_insert_default();
        let ingress = spec.ingress.iter_mut().flatten().flat_map(|rule| rule.ports.iter_mut());
        let egress = spec.egress.iter_mut().flatten().flat_map(|rule| rule.ports.iter_mut());
        for port in ingress.chain(egress).flatten() {
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
        if spec.policy_types.items().is_empty() {
            let egress = (!spec.egress.items().is_empty()).then(|| "Egress".to_owned());
            spec.policy_types = Some(std::iter::once("Ingress".to_owned()).chain(egress).collect());
        }
    }

    fn validate(_cx: &Context<'_>, object: &NetworkPolicy) -> Faults {
        object.spec.as_ref().map(|spec| faults(spec, &Held::default())).unwrap_or_default()
    }

    fn validate_update(_cx: &Context<'_>, object: &NetworkPolicy, old: &NetworkPolicy) -> Faults {
        let old = old.spec.as_ref();
        let selector = old.and_then(|old| old.pod_selector.as_ref());
        let held = Held {
            bad_selector: !selectors::validate(selector, Leniency::default(), &Path::root()).is_empty(),
            ranges: old
                .map(|old| blocks(old).flat_map(|(_, block)| ranges(block)).collect())
                .unwrap_or_default(),
        };
        object.spec.as_ref().map(|spec| faults(spec, &held)).unwrap_or_default()
    }

    fn warnings(_cx: &Context<'_>, object: &NetworkPolicy, _old: Option<&NetworkPolicy>) -> Vec<String> {
        let blocks = object.spec.iter().flat_map(blocks);
        blocks
            .flat_map(|(path, block)| {
                let mut warnings = cidr_warnings(&path.child("cidr"), &block.cidr);
                for (index, except) in block.except.items().iter().enumerate() {
                    warnings.extend(cidr_warnings(&path.child("except").index(index), except));
                }
                warnings
            })
            .collect()
    }
}

/// The peers of each rule, with the path of the rule's list of them.
fn peers(spec: &NetworkPolicySpec) -> impl Iterator<Item = (Path, &[NetworkPolicyPeer])> {
    let path = |direction: &str, index: usize, field: &str| {
        Path::new("spec").child(direction).index(index).child(field)
    };
    let ingress = spec.ingress.items().iter().enumerate();
    let egress = spec.egress.items().iter().enumerate();
    ingress
        .map(move |(index, rule)| (path("ingress", index, "from"), rule.from.items()))
        .chain(egress.map(move |(index, rule)| (path("egress", index, "to"), rule.to.items())))
}

/// All blocks of addresses, with their paths.
fn blocks(spec: &NetworkPolicySpec) -> impl Iterator<Item = (Path, &IPBlock)> {
    peers(spec).flat_map(|(path, peers)| {
        peers.iter().enumerate().filter_map(move |(index, peer)| {
            Some((path.index(index).child("ipBlock"), peer.ip_block.as_ref()?))
        })
    })
}

fn ranges(block: &IPBlock) -> impl Iterator<Item = &str> {
    std::iter::once(&block.cidr).chain(block.except.items()).map(String::as_str)
}

fn faults(spec: &NetworkPolicySpec, held: &Held<'_>) -> Faults {
    let path = Path::new("spec");
    let leniency = Leniency { invalid_values: held.bad_selector, ..Leniency::default() };
    let mut faults = selectors::validate(spec.pod_selector.as_ref(), leniency, &path.child("podSelector"));
    let ingress = spec.ingress.items().iter().map(|rule| ("ingress", rule.ports.items()));
    let egress = spec.egress.items().iter().map(|rule| ("egress", rule.ports.items()));
    let rules = ingress.enumerate().chain(egress.enumerate()).zip(peers(spec));
    for ((index, (direction, ports)), (peers_path, peers)) in rules {
        let ports_path = path.child(direction).index(index).child("ports");
        for (index, port) in ports.iter().enumerate() {
            faults.extend(port_faults(port, &ports_path.index(index)));
        }
        for (index, peer) in peers.iter().enumerate() {
            faults.extend(peer_faults(peer, held, &peers_path.index(index)));
        }
    }
    let types = spec.policy_types.items();
    let types_path = path.child("policyTypes");
    if types.len() > 2 {
        faults.push(Fault::invalid(
            &types_path,
            BadValue::json(&types),
            "may not specify more than two policyTypes",
        ));
        return faults;
    }
    let known = ["Ingress", "Egress"];
    for (index, kind) in types.iter().enumerate().filter(|(_, kind)| !known.contains(&kind.as_str())) {
        faults.push(Fault::not_supported(&types_path.index(index), kind, &known));
    }
    faults
}

fn port_faults(port: &NetworkPolicyPort, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let known = ["TCP", "UDP", "SCTP"];
    if let Some(protocol) = port.protocol.as_deref().filter(|protocol| !known.contains(protocol)) {
        faults.push(Fault::not_supported(&path.child("protocol"), protocol, &known));
    }
    let end_path = path.child("endPort");
    match (&port.port, port.end_port) {
        (Some(IntOrString::Int(number)), end) => {
            for wrong in port_number((*number).into()) {
                faults.push(Fault::invalid(&path.child("port"), *number, wrong));
            }
            let Some(end) = end else { return faults };
            if end < *number {
                // The first port is printed, not the last: upstream's slip.
                faults.push(Fault::invalid(&end_path, *number, "must be greater than or equal to `port`"));
            }
            for wrong in port_number(end.into()) {
                faults.push(Fault::invalid(&end_path, end, wrong));
            }
        }
        (Some(IntOrString::String(name)), end) => {
            if let Some(end) = end {
                faults.push(Fault::invalid(
                    &end_path,
                    end,
                    "may not be specified when `port` is non-numeric",
                ));
            }
            faults.extend(invalid_each(&path.child("port"), name, port_name(name)));
        }
        (None, Some(end)) => {
            faults.push(Fault::invalid(&end_path, end, "may not be specified when `port` is not specified"));
        }
        (None, None) => {}
    }
    faults
}

fn peer_faults(peer: &NetworkPolicyPeer, held: &Held<'_>, path: &Path) -> Faults {
    let leniency = Leniency { invalid_values: held.bad_selector, ..Leniency::default() };
    let selectors = [("podSelector", &peer.pod_selector), ("namespaceSelector", &peer.namespace_selector)];
    let mut faults = Vec::new();
    for (field, selector) in selectors {
        faults.extend(selectors::validate(selector.as_ref(), leniency, &path.child(field)));
    }
    if let Some(block) = &peer.ip_block {
        faults.extend(block_faults(block, held, &path.child("ipBlock")));
    }
    let selects = selectors.iter().any(|(_, selector)| selector.is_some());
    match (selects, peer.ip_block.is_some()) {
        (false, false) => faults.push(Fault::required(path, "must specify a peer")),
        (true, true) => {
            faults.push(Fault::forbidden(path, "may not specify both ipBlock and another peer"));
        }
        _ => {}
    }
    faults
}

fn block_faults(block: &IPBlock, held: &Held<'_>, path: &Path) -> Faults {
    if block.cidr.is_empty() {
        return vec![Fault::required(&path.child("cidr"), "")];
    }
    let mut faults = legacy_cidr(&path.child("cidr"), &block.cidr, &held.ranges);
    let Some(range) = parse_cidr_sloppy(&block.cidr) else { return faults };
    for (index, text) in block.except.items().iter().enumerate() {
        let path = path.child("except").index(index);
        faults.extend(legacy_cidr(&path, text, &held.ranges));
        let Some(except) = parse_cidr_sloppy(text) else { continue };
        if !range.contains(except.network()) || range.length >= except.length {
            faults.push(Fault::invalid(&path, text, "must be a strict subset of `cidr`"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::NetworkPolicies;
    use crate::resources::shared::testing::{check_create, check_update, created, warnings};

    fn ingress(rule: Value) -> Value {
        json!({"spec": {"podSelector": {}, "ingress": [rule]}})
    }

    #[test]
    fn a_policy_is_about_what_it_has_rules_for() {
        for (spec, types) in [
            (json!({}), json!(["Ingress"])),
            (json!({"egress": [{}]}), json!(["Ingress", "Egress"])),
            (json!({"egress": [{}], "policyTypes": ["Egress"]}), json!(["Egress"])),
        ] {
            let object = created::<NetworkPolicies>(json!({"spec": spec}));
            assert_eq!(object.pointer("/spec/policyTypes"), Some(&types));
        }
    }

    #[test]
    fn ports_and_peers_make_sense() {
        for (rule, faults) in [
            (json!({"ports": [{"port": 80, "endPort": 90}], "from": [{"podSelector": {}}]}), vec![]),
            (
                json!({"ports": [{"port": 80, "endPort": 70, "protocol": "X"}, {"port": "a", "endPort": 1}, {"endPort": 1}]}),
                vec![
                    r#"spec.ingress[0].ports[0].protocol: Unsupported value: "X": supported values: "TCP", "UDP", "SCTP""#,
                    "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`",
                    "spec.ingress[0].ports[1].endPort: Invalid value: 1: may not be specified when `port` is non-numeric",
                    "spec.ingress[0].ports[2].endPort: Invalid value: 1: may not be specified when `port` is not specified",
                ],
            ),
            (
                json!({"from": [{}, {"podSelector": {}, "ipBlock": {"cidr": ""}}]}),
                vec![
                    "spec.ingress[0].from[0]: Required value: must specify a peer",
                    "spec.ingress[0].from[1].ipBlock.cidr: Required value",
                    "spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer",
                ],
            ),
            (
                json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.0.0.0/8", "11.0.0.0/16"]}}]}),
                vec![
                    r#"spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`"#,
                    r#"spec.ingress[0].from[0].ipBlock.except[2]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<NetworkPolicies>(ingress(rule)), faults);
        }
        assert_eq!(
            check_create::<NetworkPolicies>(json!({"spec": {"policyTypes": ["X"]}})),
            [r#"spec.policyTypes[0]: Unsupported value: "X": supported values: "Ingress", "Egress""#]
        );
    }

    #[test]
    fn ranges_of_the_stored_policy_may_stay() {
        let odd = ingress(json!({"from": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}));
        assert_eq!(check_update::<NetworkPolicies>(odd.clone(), odd.clone()), [""; 0]);
        assert_eq!(
            check_create::<NetworkPolicies>(odd.clone()),
            [
                r#"spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length"#
            ]
        );
        assert_eq!(
            warnings::<NetworkPolicies>(odd),
            [
                r#"spec.ingress[0].from[0].ipBlock.cidr: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)"#
            ]
        );
    }
}
