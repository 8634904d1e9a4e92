//! What is wrong with a Service, alone or compared with what it was.
//!
//! Services are judged after addresses and ports were handed out: see [`super::allocation`].

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    NONE, is_externally_accessible, is_headless, is_load_balancer, needs_cluster_ip, needs_health_check,
    spec_of,
};
use crate::resources::{
    core::endpoints::PROTOCOLS,
    shared::{
        addresses::{legacy_cidr, legacy_ip, parse_sloppy},
        metadata::invalid_each,
        names::{dns1123_label, dns1123_subdomain, port_name, port_number, qualified_name},
        net::{Family, endpoint_ip, family},
        optional::{Entries, Items, Text, one_of},
        selectors::validate_labels,
    },
};

/// The annotation that came before [`TOPOLOGY_MODE`].
pub(super) const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
/// The annotation that asks to keep traffic near.
pub(super) const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
/// The annotation that came before `spec.loadBalancerSourceRanges`.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// The longest that a client may stick to an endpoint, in seconds.
const AFFINITY_SECONDS_MAX: i32 = 86_400;

/// What is wrong with a service; what `old` holds already may stay where older rules let it in.
pub(super) fn faults(service: &Service, old: Option<&Service>) -> Faults {
    let spec = spec_of(service);
    let old_spec = old.map(spec_of);
    let path = Path::new("spec");
    let annotations = &service.metadata.annotations;
    let mut faults = Vec::new();
    if let (Some(hints), Some(mode)) = (annotations.at(TOPOLOGY_HINTS), annotations.at(TOPOLOGY_MODE))
        && hints != mode
    {
        faults.push(Fault::invalid(
            &Path::new("metadata.annotations").key(TOPOLOGY_MODE),
            mode,
            format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified"),
        ));
    }
    let kind = spec.type_.text();
    let ports = spec.ports.items();
    if ports.is_empty() && !is_headless(spec) && kind != "ExternalName" {
        faults.push(Fault::required(&path.child("ports"), ""));
    }
    faults.extend(type_faults(spec, &path));
    faults.extend(ports_faults(ports, &path.child("ports")));
    faults.extend(validate_labels(spec.selector.as_ref(), &path.child("selector")));
    faults.extend(affinity_faults(spec, &path));
    faults.extend(family_faults(spec, old_spec));
    faults.extend(external_ip_faults(spec, old_spec, &path));
    faults.extend(one_of(
        &path.child("type"),
        kind,
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    ));
    faults.extend(port_use_faults(spec, &path.child("ports")));
    faults.extend(source_range_faults(service, old));
    let allocates = spec.allocate_load_balancer_node_ports;
    if allocates.is_some() && kind != "LoadBalancer" {
        faults.push(Fault::forbidden(
            &path.child("allocateLoadBalancerNodePorts"),
            "may only be used when `type` is 'LoadBalancer'",
        ));
    }
    if allocates.is_none() && kind == "LoadBalancer" {
        // Upstream leaves `spec` out here.
        faults.push(Fault::required(&Path::new("allocateLoadBalancerNodePorts"), ""));
    }
    faults.extend(balancer_class_faults(spec, None));
    faults.extend(traffic_faults(spec, &path));
    faults
}

fn type_faults(spec: &ServiceSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    match spec.type_.text() {
        kind @ ("LoadBalancer" | "NodePort") if is_headless(spec) => {
            faults.push(Fault::invalid(
                &path.child("clusterIPs").index(0),
                NONE,
                format!("may not be set to 'None' for {kind} services"),
            ));
        }
        "ExternalName" => {
            for (given, field) in [
                (!spec.cluster_ips.items().is_empty(), "clusterIPs"),
                (!spec.ip_families.items().is_empty(), "ipFamilies"),
                (spec.ip_family_policy.is_some(), "ipFamilyPolicy"),
            ] {
                if given {
                    faults.push(Fault::forbidden(
                        &path.child(field),
                        "may not be set for ExternalName services",
                    ));
                }
            }
            let name = spec.external_name.text();
            let name = name.strip_suffix('.').unwrap_or(name);
            let path = path.child("externalName");
            if name.is_empty() {
                faults.push(Fault::required(&path, ""));
            } else {
                faults.extend(invalid_each(&path, name, dns1123_subdomain(name)));
            }
        }
        _ => {}
    }
    faults
}

fn ports_faults(ports: &[ServicePort], path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = port.name.text();
        if !name.is_empty() {
            faults.extend(invalid_each(&path.child("name"), name, dns1123_label(name)));
            if names.contains(&name) {
                faults.push(Fault::duplicate(&path.child("name"), name));
            }
            names.push(name);
        } else if ports.len() > 1 {
            faults.push(Fault::required(&path.child("name"), ""));
        }
        for wrong in port_number(port.port.into()) {
            faults.push(Fault::invalid(&path.child("port"), port.port, wrong));
        }
        faults.extend(one_of(&path.child("protocol"), port.protocol.text(), PROTOCOLS));
        faults.extend(target_faults(&path.child("targetPort"), port.target_port.as_ref()));
        if let Some(protocol) = &port.app_protocol {
            faults.extend(invalid_each(&path.child("appProtocol"), protocol, qualified_name(protocol)));
        }
    }
    faults
}

fn target_faults(path: &Path, target: Option<&IntOrString>) -> Faults {
    match target {
        Some(IntOrString::String(name)) => invalid_each(path, name, port_name(name)),
        number => {
            let number = match number {
                Some(IntOrString::Int(number)) => *number,
                _ => 0,
            };
            let wrongs = port_number(number.into());
            wrongs.into_iter().map(|wrong| Fault::invalid(path, number, wrong)).collect()
        }
    }
}

fn affinity_faults(spec: &ServiceSpec, path: &Path) -> Faults {
    let affinity = spec.session_affinity.text();
    let mut faults: Faults =
        one_of(&path.child("sessionAffinity"), affinity, &["ClientIP", NONE]).into_iter().collect();
    let path = path.child("sessionAffinityConfig");
    let config = spec.session_affinity_config.as_ref();
    let needed = || "when session affinity type is ClientIP";
    if affinity == NONE && config.is_some() {
        faults.push(Fault::forbidden(&path, "must not be set when session affinity is None"));
    }
    if affinity != "ClientIP" {
        return faults;
    }
    let client_ip = path.child("clientIP");
    let seconds = client_ip.child("timeoutSeconds");
    match config.map(|config| config.client_ip.as_ref().map(|it| it.timeout_seconds)) {
        None => faults.push(Fault::required(&path, needed())),
        Some(None) => faults.push(Fault::required(&client_ip, needed())),
        Some(Some(None)) => faults.push(Fault::required(&seconds, needed())),
        Some(Some(Some(given))) => {
            if !(1..=AFFINITY_SECONDS_MAX).contains(&given) {
                faults.push(Fault::invalid(
                    &seconds,
                    given,
                    format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"),
                ));
            }
        }
    }
    faults
}

/// What is wrong with cluster addresses, their families and the policy that says how many there are.
pub(super) fn family_faults(spec: &ServiceSpec, old: Option<&ServiceSpec>) -> Faults {
    if !needs_cluster_ip(spec) {
        return Vec::new();
    }
    let path = Path::new("spec");
    let (ips_path, families_path) = (path.child("clusterIPs"), path.child("ipFamilies"));
    let (ips, families) = (spec.cluster_ips.items(), spec.ip_families.items());
    let printed = || BadValue::json(&spec.cluster_ips);
    let mut faults = Vec::new();
    match (spec.cluster_ip.text(), ips.first()) {
        ("", Some(_)) => faults.push(Fault::invalid(
            &ips_path,
            printed(),
            "must be empty when `clusterIP` is not specified",
        )),
        ("", None) => {}
        (_, None) => faults.push(Fault::required(&ips_path, "")),
        (ip, Some(first)) => {
            if ip != first {
                faults.push(Fault::invalid(&ips_path, printed(), "first value must match `clusterIP`"));
            }
        }
    }
    for (index, name) in families.iter().enumerate() {
        let path = families_path.index(index);
        if Family::named(name).is_none() {
            faults.push(Fault::not_supported(&path, name, &["IPv4", "IPv6"]));
        }
        if families.iter().take(index).any(|earlier| earlier == name) {
            faults.push(Fault::duplicate(&path, name));
        }
    }
    if let Some(policy) = &spec.ip_family_policy {
        let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        if !known.contains(&policy.as_str()) {
            faults.push(Fault::not_supported(&path.child("ipFamilyPolicy"), policy, &known));
        }
    }
    let held: Vec<&str> =
        old.map(|old| old.cluster_ips.items().iter().map(String::as_str).collect()).unwrap_or_default();
    let mut has_bad_ip = false;
    for (index, ip) in ips.iter().enumerate() {
        if index == 0 && ip == NONE {
            if ips.len() > 1 {
                has_bad_ip = true;
                faults.push(Fault::invalid(&ips_path, printed(), "'None' must be the first and only value"));
            }
            continue;
        }
        let wrong = legacy_ip(&ips_path.index(index), ip, &held);
        has_bad_ip |= !wrong.is_empty();
        faults.extend(wrong);
    }
    if ips.len() > 2 {
        faults.push(Fault::invalid(&ips_path, printed(), "may only hold up to 2 values"));
    }
    // Families of what is no address would only confuse.
    if has_bad_ip {
        return faults;
    }
    let of = |ip: &String| family(ip);
    let both =
        ips.iter().any(|ip| of(ip) == Some(Family::V4)) && ips.iter().any(|ip| of(ip) == Some(Family::V6));
    if ips.len() > 1 && !both {
        faults.push(Fault::invalid(
            &ips_path,
            printed(),
            "may specify no more than one IP for each IP family",
        ));
    }
    if !is_headless(spec) {
        for (index, (ip, name)) in ips.iter().zip(families).enumerate() {
            let is_v6 = of(ip) == Some(Family::V6);
            let fits = match Family::named(name) {
                Some(Family::V4) => !is_v6,
                Some(Family::V6) => is_v6,
                None => true,
            };
            if !fits {
                faults.push(Fault::invalid(
                    &ips_path.index(index),
                    ip,
                    format!("expected an {name} value as indicated by `ipFamilies[{index}]`"),
                ));
            }
        }
    }
    faults
}

fn external_ip_faults(spec: &ServiceSpec, old: Option<&ServiceSpec>, path: &Path) -> Faults {
    let path = path.child("externalIPs");
    let held: Vec<&str> =
        old.map(|old| old.external_ips.items().iter().map(String::as_str).collect()).unwrap_or_default();
    let mut faults = Vec::new();
    for (index, ip) in spec.external_ips.items().iter().enumerate() {
        let path = path.index(index);
        let wrong = legacy_ip(&path, ip, &held);
        faults.extend(if wrong.is_empty() { endpoint_ip(&path, ip) } else { wrong });
    }
    faults
}

fn port_use_faults(spec: &ServiceSpec, path: &Path) -> Faults {
    let ports = spec.ports.items();
    let node_port = |port: &ServicePort| port.node_port.unwrap_or_default();
    let mut faults = Vec::new();
    if spec.type_.text() == "ClusterIP" {
        for (index, port) in ports.iter().enumerate() {
            if node_port(port) != 0 {
                faults.push(Fault::forbidden(
                    &path.index(index).child("nodePort"),
                    "may not be used when `type` is 'ClusterIP'",
                ));
            }
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let taken = ports
            .iter()
            .take(index)
            .any(|it| it.protocol == port.protocol && node_port(it) == node_port(port));
        if node_port(port) != 0 && taken {
            faults.push(Fault::duplicate(&path.index(index).child("nodePort"), node_port(port)));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        if ports.iter().take(index).any(|it| it.protocol == port.protocol && it.port == port.port) {
            // Upstream prints the pair as an otherwise empty port in its internal form.
            let protocol = serde_json::Value::from(port.protocol.text());
            let printed = format!(
                r#"{{"Name":"","Protocol":{protocol},"AppProtocol":null,"Port":{},"TargetPort":0,"NodePort":0}}"#,
                port.port
            );
            faults.push(Fault::duplicate(&path.index(index), BadValue::Plain(printed)));
        }
    }
    faults
}

fn source_range_faults(service: &Service, old: Option<&Service>) -> Faults {
    let spec = spec_of(service);
    let mut faults = Vec::new();
    let ranges = spec.load_balancer_source_ranges.items();
    let only_balancers =
        |path: &Path| Fault::forbidden(path, "may only be used when `type` is 'LoadBalancer'");
    if !ranges.is_empty() {
        // The capital letter is upstream's.
        let path = Path::new("spec.LoadBalancerSourceRanges");
        if !is_load_balancer(spec) {
            faults.push(only_balancers(&path));
        }
        let held: Vec<&str> = old
            .map(|old| spec_of(old).load_balancer_source_ranges.items().iter().map(|it| it.trim()).collect())
            .unwrap_or_default();
        for (index, range) in ranges.iter().enumerate() {
            faults.extend(legacy_cidr(&path.index(index), range.trim(), &held));
        }
    } else if let Some(value) = service.metadata.annotations.at(SOURCE_RANGES) {
        let path = Path::new("metadata.annotations").key(SOURCE_RANGES);
        if !is_load_balancer(spec) {
            faults.push(only_balancers(&path));
        }
        let unchanged = old.and_then(|old| old.metadata.annotations.at(SOURCE_RANGES)) == Some(value);
        if !unchanged && !value.trim().is_empty() {
            for range in value.trim().split(',') {
                faults.extend(legacy_cidr(&path, range.trim(), &[]));
            }
        }
    }
    faults
}

fn balancer_class_faults(spec: &ServiceSpec, old: Option<&ServiceSpec>) -> Faults {
    let path = Path::new("spec.loadBalancerClass");
    let mut faults = Vec::new();
    if let Some(old) = old
        && is_load_balancer(old)
        && is_load_balancer(spec)
        && old.load_balancer_class != spec.load_balancer_class
    {
        faults.push(Fault::invalid(
            &path,
            BadValue::json(&spec.load_balancer_class),
            "may not change once set",
        ));
    }
    if let Some(class) = &spec.load_balancer_class {
        if is_load_balancer(spec) {
            faults.extend(invalid_each(&path, class, qualified_name(class)));
        } else {
            faults.push(Fault::forbidden(&path, "may only be used when `type` is 'LoadBalancer'"));
        }
    }
    faults
}

fn traffic_faults(spec: &ServiceSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let external = spec.external_traffic_policy.text();
    let external_path = path.child("externalTrafficPolicy");
    if is_externally_accessible(spec) {
        faults.extend(one_of(&external_path, external, &["Cluster", "Local"]));
    } else if !external.is_empty() {
        faults.push(Fault::invalid(
            &external_path,
            external,
            "may only be set for externally-accessible services",
        ));
    }
    let check_port = spec.health_check_node_port.unwrap_or_default();
    let check_path = path.child("healthCheckNodePort");
    if needs_health_check(spec) {
        if check_port == 0 {
            faults.push(Fault::required(&check_path, ""));
        } else {
            for wrong in port_number(check_port.into()) {
                faults.push(Fault::invalid(&check_path, check_port, wrong));
            }
        }
    } else if check_port != 0 {
        faults.push(Fault::invalid(
            &check_path,
            check_port,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ));
    }
    let internal_path = path.child("internalTrafficPolicy");
    match &spec.internal_traffic_policy {
        None => {
            if matches!(spec.type_.text(), "NodePort" | "LoadBalancer" | "ClusterIP") {
                faults.push(Fault::required(&internal_path, ""));
            }
        }
        Some(policy) => {
            let known = ["Cluster", "Local"];
            if !known.contains(&policy.as_str()) {
                faults.push(Fault::not_supported(&internal_path, policy, &known));
            }
        }
    }
    if let Some(distribution) = &spec.traffic_distribution {
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        if !known.contains(&distribution.as_str()) {
            faults.push(Fault::not_supported(&path.child("trafficDistribution"), distribution, &known));
        }
    }
    faults
}

/// What is wrong with a change: a service keeps its addresses, but may gain or lose the second one.
pub(super) fn change_faults(spec: &ServiceSpec, old: &ServiceSpec) -> Faults {
    let mut faults = Vec::new();
    if needs_cluster_ip(spec) && needs_cluster_ip(old) {
        let (was_headless, headless) = (is_headless(old), is_headless(spec));
        if !(was_headless && headless) {
            faults.extend(address_change_faults(spec, old));
        }
        if !was_headless && !headless {
            faults.extend(family_change_faults(spec, old));
        }
    }
    faults.extend(balancer_class_faults(spec, Some(old)));
    if needs_health_check(old)
        && needs_health_check(spec)
        && old.health_check_node_port.unwrap_or_default() != spec.health_check_node_port.unwrap_or_default()
    {
        faults.push(Fault::forbidden(&Path::new("spec.healthCheckNodePort"), "field is immutable"));
    }
    faults
}

fn address_change_faults(spec: &ServiceSpec, old: &ServiceSpec) -> Faults {
    let path = Path::new("spec.clusterIPs");
    let (ips, were) = (spec.cluster_ips.items(), old.cluster_ips.items());
    let wrong = |index: usize, detail: &str| {
        Fault::invalid(&path.index(index), BadValue::json(&spec.cluster_ips), detail)
    };
    let mut faults = Vec::new();
    if ips.len() == were.len() {
        for (index, (ip, was)) in ips.iter().zip(were).enumerate() {
            if ip != was {
                faults.push(wrong(index, "may not change once set"));
            }
        }
        return faults;
    }
    if ips.is_empty() {
        faults.push(wrong(0, "primary clusterIP can not be unset"));
    }
    if let (Some(ip), Some(was)) = (ips.first(), were.first())
        && ip != was
    {
        faults.push(wrong(0, "may not change once set"));
    }
    if ips.len() < were.len() && ips.len() == 1 {
        faults.extend(release_fault(spec, "clusterIP"));
    }
    faults
}

fn family_change_faults(spec: &ServiceSpec, old: &ServiceSpec) -> Faults {
    // Whichever family is wrong, upstream names the first.
    let path = Path::new("spec.ipFamilies").index(0);
    let (families, were) = (spec.ip_families.items(), old.ip_families.items());
    let mut faults = Vec::new();
    let printed = || BadValue::json(&spec.ip_families);
    if families.len() == were.len() {
        for _changed in families.iter().zip(were).filter(|(family, was)| family != was) {
            faults.push(Fault::invalid(&path, printed(), "may not change once set"));
        }
        return faults;
    }
    let released = families.len() < were.len();
    if released && spec.cluster_ips.items().is_empty() {
        faults.push(Fault::invalid(&path, printed(), "primary ipFamily can not be unset"));
    }
    if let (Some(family), Some(was)) = (families.first(), were.first())
        && family != was
    {
        // The addresses are printed, not the families: upstream's slip.
        faults.push(Fault::invalid(&path, BadValue::json(&spec.cluster_ips), "may not change once set"));
    }
    if released && families.len() == 1 {
        faults.extend(release_fault(spec, "ipFamily"));
    }
    faults
}

fn release_fault(spec: &ServiceSpec, what: &str) -> Option<Fault> {
    (spec.ip_family_policy.text() != "SingleStack").then(|| {
        Fault::invalid(
            &Path::new("spec.ipFamilyPolicy"),
            BadValue::json(&spec.ip_family_policy),
            format!("must be set to 'SingleStack' when releasing the secondary {what}"),
        )
    })
}

/// What is wrong with what a load balancer reports.
pub(super) fn status_faults(service: &Service, old: &Service) -> Faults {
    fn ingress(service: &Service) -> &[k8s_openapi::api::core::v1::LoadBalancerIngress] {
        let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        status.map(|it| it.ingress.items()).unwrap_or_default()
    }
    let path = Path::new("status.loadBalancer.ingress");
    let list = ingress(service);
    if !is_load_balancer(spec_of(service)) && !list.is_empty() {
        return vec![Fault::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'")];
    }
    let held: Vec<&str> = ingress(old).iter().map(|it| it.ip.text()).filter(|ip| !ip.is_empty()).collect();
    let mut faults = Vec::new();
    for (index, ingress) in list.iter().enumerate() {
        let path = path.index(index);
        let ip = ingress.ip.text();
        if !ip.is_empty() {
            faults.extend(legacy_ip(&path.child("ip"), ip, &held));
        }
        let mode_path = path.child("ipMode");
        match &ingress.ip_mode {
            None if ip.is_empty() => {}
            None => faults.push(Fault::required(&mode_path, "must be specified when `ip` is set")),
            Some(_) if ip.is_empty() => {
                faults.push(Fault::forbidden(&mode_path, "may not be specified when `ip` is not set"));
            }
            Some(mode) => {
                let known = ["Proxy", "VIP"];
                if !known.contains(&mode.as_str()) {
                    faults.push(Fault::not_supported(&mode_path, mode, &known));
                }
            }
        }
        let name = ingress.hostname.text();
        if !name.is_empty() {
            let path = path.child("hostname");
            faults.extend(invalid_each(&path, name, dns1123_subdomain(name)));
            if parse_sloppy(name).is_some() {
                faults.push(Fault::invalid(&path, name, "must be a DNS name, not an IP address"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Services;
    use crate::resources::shared::testing::{check_create, check_status_update, check_update};

    fn with(change: Value) -> Value {
        let mut spec = json!({"ports": [{"port": 80}]});
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        json!({"spec": spec})
    }

    #[test]
    fn the_spec_of_a_new_service_is_judged_field_by_field() {
        for (change, faults) in [
            (json!({}), vec![]),
            (json!({"ports": []}), vec!["spec.ports: Required value"]),
            (json!({"ports": [], "clusterIP": "None", "clusterIPs": ["None"]}), vec![]),
            (
                json!({"ports": [{"port": 0}]}),
                vec![
                    "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                    "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
                ],
            ),
            (
                json!({"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]}),
                vec![r#"spec.ports[1].name: Duplicate value: "a""#],
            ),
            (
                json!({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]}),
                vec![
                    r#"spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}"#,
                ],
            ),
            (
                json!({"ports": [{"port": 80, "targetPort": "Bad_Name", "nodePort": 30000}]}),
                vec![
                    r#"spec.ports[0].targetPort: Invalid value: "Bad_Name": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"#,
                    "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
                ],
            ),
            (
                json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}),
                vec![
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400",
                ],
            ),
            (
                json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["x"], "loadBalancerClass": "a b"}),
                vec![
                    r#"spec.LoadBalancerSourceRanges[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#,
                    r#"spec.loadBalancerClass: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
                ],
            ),
            (
                json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 1, "internalTrafficPolicy": "X"}),
                vec![
                    r#"spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#,
                    "spec.healthCheckNodePort: Invalid value: 1: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                    r#"spec.internalTrafficPolicy: Unsupported value: "X": supported values: "Cluster", "Local""#,
                ],
            ),
            (
                json!({"type": "ExternalName", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"]}),
                vec![
                    "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
                    "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
                    "spec.externalName: Required value",
                ],
            ),
            (
                json!({"externalIPs": ["127.0.0.1", "x"]}),
                vec![
                    r#"spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
                    r#"spec.externalIPs[1]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<Services>(with(change)), faults);
        }
    }

    #[test]
    fn addresses_agree_with_each_other_and_with_their_families() {
        for (change, faults) in [
            (json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "2001:db8::1"]}), vec![]),
            (json!({"clusterIP": "10.0.0.1"}), vec!["spec.clusterIPs: Required value"]),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]}),
                vec![r#"spec.clusterIPs: Invalid value: ["10.0.0.2"]: first value must match `clusterIP`"#],
            ),
            (
                json!({"clusterIPs": ["10.0.0.2", "10.0.0.3"], "clusterIP": "10.0.0.2"}),
                vec![
                    r#"spec.clusterIPs: Invalid value: ["10.0.0.2","10.0.0.3"]: may specify no more than one IP for each IP family"#,
                ],
            ),
            (
                json!({"clusterIPs": ["10.0.0.2"], "clusterIP": "10.0.0.2", "ipFamilies": ["IPv6", "IPv6"], "ipFamilyPolicy": "X"}),
                vec![
                    r#"spec.ipFamilies[1]: Duplicate value: "IPv6""#,
                    r#"spec.ipFamilyPolicy: Unsupported value: "X": supported values: "PreferDualStack", "RequireDualStack", "SingleStack""#,
                    r#"spec.clusterIPs[0]: Invalid value: "10.0.0.2": expected an IPv6 value as indicated by `ipFamilies[0]`"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<Services>(with(change)), faults);
        }
    }

    #[test]
    fn addresses_stay_but_the_second_may_be_given_back() {
        let dual = json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "2001:db8::1"],
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"});
        let single = |ip: &str, policy: &str| json!({"clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"], "ipFamilyPolicy": policy});
        for (new, old, faults) in [
            (single("10.0.0.1", "SingleStack"), dual.clone(), vec![]),
            (dual.clone(), single("10.0.0.1", "SingleStack"), vec![]),
            (
                single("10.0.0.1", "PreferDualStack"),
                dual,
                vec![
                    r#"spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be set to 'SingleStack' when releasing the secondary clusterIP"#,
                    r#"spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be set to 'SingleStack' when releasing the secondary ipFamily"#,
                ],
            ),
            (
                single("10.0.0.2", "SingleStack"),
                single("10.0.0.1", "SingleStack"),
                vec![r#"spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set"#],
            ),
        ] {
            assert_eq!(check_update::<Services>(with(new), with(old)), faults);
        }
    }

    #[test]
    fn only_a_load_balancer_reports_ingress() {
        let service = |kind: &str, ingress: Value| {
            let mut service = with(json!({"type": kind}));
            service["status"] = json!({"loadBalancer": {"ingress": [ingress]}});
            service
        };
        for (kind, ingress, faults) in [
            ("LoadBalancer", json!({"ip": "1.2.3.4"}), vec![]),
            (
                "LoadBalancer",
                json!({"ip": "bad"}),
                vec![
                    r#"status.loadBalancer.ingress[0].ip: Invalid value: "bad": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
                ],
            ),
            (
                "LoadBalancer",
                json!({"hostname": "1.2.3.4", "ipMode": "VIP"}),
                vec![
                    "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set",
                    r#"status.loadBalancer.ingress[0].hostname: Invalid value: "1.2.3.4": must be a DNS name, not an IP address"#,
                ],
            ),
            (
                "ClusterIP",
                json!({"hostname": "a"}),
                vec![
                    "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'",
                ],
            ),
        ] {
            assert_eq!(
                check_status_update::<Services>(service(kind, ingress), with(json!({"type": kind}))),
                faults
            );
        }
    }
}
