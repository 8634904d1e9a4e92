//! Services: `services` of `v1`.

pub mod allocation;
mod rules;

use api_types::field::{Faults, Path};
use k8s_openapi::{
    api::core::v1::{ClientIPConfig, Service, ServiceSpec, SessionAffinityConfig},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{
    registry::strategy::{Context, Names, SelectableField, Strategy},
    resources::shared::{
        addresses::{cidr_warnings, ip_warnings},
        names::dns_label,
        optional::{Items, Text},
    },
};

/// What `clusterIP` says when there shall be none.
const NONE: &str = "None";
/// How long a client sticks to an endpoint unless told otherwise, in seconds.
const AFFINITY_SECONDS_DEFAULT: i32 = 10_800;

/// The strategy of Services.
pub(crate) struct Services;

impl Strategy for Services {
    type Object = Service;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Service",
        plural: "services",
        singular: "service",
        short: &["svc"],
        categories: &["all"],
        namespaced: true,
    };
    const REJUDGES_METADATA: bool = false;
    const RETURNS_DELETED: bool = true;
    const STATUS: bool = true;
    const CREATE_ON_UPDATE: bool = true;
    const SELECTABLE: &'static [SelectableField] = &[
        SelectableField { label: "spec.clusterIP", path: "spec.clusterIP", absent: "" },
        SelectableField { label: "spec.type", path: "spec.type", absent: "" },
    ];

    fn default(object: &mut Service) {
        default_spec(object.spec.get_or_insert_default());
        if is_load_balancer(spec_of(object)) {
            let status = object.status.as_mut().and_then(|status| status.load_balancer.as_mut());
            for ingress in status.and_then(|it| it.ingress.as_mut()).into_iter().flatten() {
                if !ingress.ip.text().is_empty() && ingress.ip_mode.is_none() {
                    ingress.ip_mode = Some("VIP".to_owned());
                }
            }
        }
    }

    // Relaxed service names (KEP-5311) are on.
    fn name_faults(name: &str, prefix: bool) -> Vec<String> {
        dns_label(name, prefix)
    }

    fn validate(_cx: &Context<'_>, object: &Service) -> Faults {
        rules::faults(object, None)
    }

    fn prepare_for_update(_cx: &Context<'_>, object: &mut Service, old: &Service) {
        drop_what_the_old_type_needed(object, old);
    }

    fn validate_update(_cx: &Context<'_>, object: &Service, old: &Service) -> Faults {
        let mut faults = rules::change_faults(spec_of(object), spec_of(old));
        faults.extend(rules::faults(object, Some(old)));
        faults
    }

    fn validate_status_update(_cx: &Context<'_>, object: &Service, old: &Service) -> Faults {
        rules::status_faults(object, old)
    }

    fn status_warnings(_cx: &Context<'_>, object: &Service, _old: &Service) -> Vec<String> {
        let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = status.map(|it| it.ingress.items()).unwrap_or_default();
        let path = Path::new("status.loadBalancer.ingress");
        let addresses = ingress.iter().map(|it| it.ip.text()).enumerate();
        addresses
            .filter(|(_, ip)| !ip.is_empty())
            .flat_map(|(index, ip)| ip_warnings(&path.index(index), ip))
            .collect()
    }

    /// Upstream leaves it in the store and takes it out of what is read.
    fn canonicalize(object: &mut Service) {
        if let Some(spec) = object.spec.as_mut().filter(|spec| !needs_cluster_ip(spec)) {
            spec.internal_traffic_policy = None;
        }
    }

    fn warnings(_cx: &Context<'_>, object: &Service, _old: Option<&Service>) -> Vec<String> {
        let spec = spec_of(object);
        let path = Path::new("spec");
        let mut warnings = Vec::new();
        let annotations = object.metadata.annotations.as_ref();
        if annotations.is_some_and(|it| it.contains_key(rules::TOPOLOGY_HINTS)) {
            warnings.push(format!(
                "annotation {} is deprecated, please use {} instead",
                rules::TOPOLOGY_HINTS,
                rules::TOPOLOGY_MODE
            ));
        }
        let kind = spec.type_.text();
        let is_external_name = kind == "ExternalName";
        let cluster_ip = spec.cluster_ip.text();
        if !is_external_name && !cluster_ip.is_empty() && cluster_ip != NONE {
            for (index, ip) in spec.cluster_ips.items().iter().enumerate() {
                warnings.extend(ip_warnings(&path.child("clusterIPs").index(index), ip));
            }
        }
        let external_ips = spec.external_ips.items();
        let is_headless = kind == "ClusterIP" && cluster_ip == NONE;
        if is_headless {
            for (given, field) in [
                (!spec.load_balancer_ip.text().is_empty(), "loadBalancerIP"),
                (!external_ips.is_empty(), "externalIPs"),
                (spec.session_affinity.text() != NONE, "SessionAffinity"),
            ] {
                if given {
                    warnings.push(format!("spec.{field} is ignored for headless services"));
                }
            }
        }
        for (index, ip) in external_ips.iter().enumerate() {
            warnings.extend(ip_warnings(&path.child("externalIPs").index(index), ip));
        }
        if !external_ips.is_empty() && !is_headless && !is_external_name {
            warnings.push(
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
            );
        }
        if let Some(ip) = spec.load_balancer_ip.as_deref().filter(|ip| !ip.is_empty()) {
            warnings.extend(ip_warnings(&path.child("loadBalancerIP"), ip));
        }
        for (index, range) in spec.load_balancer_source_ranges.items().iter().enumerate() {
            warnings.extend(cidr_warnings(&path.child("loadBalancerSourceRanges").index(index), range));
        }
        if is_external_name && !external_ips.is_empty() {
            warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
        }
        if !is_external_name && !spec.external_name.text().is_empty() {
            warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
        }
        if spec.traffic_distribution.text() == "PreferClose" {
            warnings.push(
                "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
            );
        }
        warnings
    }
}

fn default_spec(spec: &mut ServiceSpec) {
    spec.session_affinity.or_set(NONE);
    match spec.session_affinity.text() {
        NONE => spec.session_affinity_config = None,
        "ClientIP" => {
            let config = spec.session_affinity_config.get_or_insert_default();
            let client_ip = config.client_ip.get_or_insert_default();
            client_ip.timeout_seconds.get_or_insert(AFFINITY_SECONDS_DEFAULT);
            let timeout_seconds = client_ip.timeout_seconds;
            let client_ip = Some(ClientIPConfig { timeout_seconds });
            spec.session_affinity_config = Some(SessionAffinityConfig { client_ip });
        }
        _ => {}
    }
    spec.type_.or_set("ClusterIP");
    for port in spec.ports.items_mut() {
        port.protocol.or_set("TCP");
        let unset = match &port.target_port {
            None | Some(IntOrString::Int(0)) => true,
            Some(IntOrString::String(name)) => name.is_empty(),
            Some(IntOrString::Int(_)) => false,
        };
        if unset {
            port.target_port = Some(IntOrString::Int(port.port));
        }
    }
    if is_externally_accessible(spec) {
        spec.external_traffic_policy.or_set("Cluster");
    }
    if spec.internal_traffic_policy.is_none()
        && matches!(spec.type_.text(), "NodePort" | "LoadBalancer" | "ClusterIP")
    {
        spec.internal_traffic_policy = Some("Cluster".to_owned());
    }
    if is_load_balancer(spec) {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

/// The spec, an empty one if there is none.
fn spec_of(service: &Service) -> &ServiceSpec {
    static EMPTY: std::sync::LazyLock<ServiceSpec> = std::sync::LazyLock::new(ServiceSpec::default);
    service.spec.as_ref().unwrap_or(&EMPTY)
}

fn is_load_balancer(spec: &ServiceSpec) -> bool {
    spec.type_.text() == "LoadBalancer"
}

fn needs_cluster_ip(spec: &ServiceSpec) -> bool {
    spec.type_.text() != "ExternalName"
}

fn is_headless(spec: &ServiceSpec) -> bool {
    matches!(spec.cluster_ips.items(), [only] if only == NONE)
}

/// Whether traffic from outside the cluster reaches the service.
fn is_externally_accessible(spec: &ServiceSpec) -> bool {
    match spec.type_.text() {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.external_ips.items().is_empty(),
        _ => false,
    }
}

/// Whether the balancer asks each node if it has endpoints.
fn needs_health_check(spec: &ServiceSpec) -> bool {
    is_load_balancer(spec) && spec.external_traffic_policy.text() == "Local"
}

/// When the type changes, fields that the server filled in for the old type go, unless the writer changed them: then
/// they mean something and may be a mistake to be told about.
fn drop_what_the_old_type_needed(object: &mut Service, old: &Service) {
    let was = spec_of(old);
    let spec = object.spec.get_or_insert_default();
    if needs_cluster_ip(was) && !needs_cluster_ip(spec) {
        let same_ips = was.cluster_ip.text() == spec.cluster_ip.text()
            && was.cluster_ips.items() == spec.cluster_ips.items();
        if same_ips {
            spec.cluster_ip = None;
            spec.cluster_ips = None;
        }
        if was.ip_families.items() == spec.ip_families.items() {
            spec.ip_families = None;
        }
        if was.ip_family_policy.text() == spec.ip_family_policy.text() {
            spec.ip_family_policy = None;
        }
    }
    let needs_node_port = |spec: &ServiceSpec| matches!(spec.type_.text(), "NodePort" | "LoadBalancer");
    if needs_node_port(was) && !needs_node_port(spec) {
        let node_ports = |spec: &ServiceSpec| -> Vec<i32> {
            spec.ports.items().iter().filter_map(|port| port.node_port).filter(|&port| port != 0).collect()
        };
        let known = node_ports(was);
        if node_ports(spec).iter().all(|port| known.contains(port)) {
            for port in spec.ports.items_mut() {
                port.node_port = None;
            }
        }
    }
    let check_port = |spec: &ServiceSpec| spec.health_check_node_port.unwrap_or_default();
    if needs_health_check(was) && !needs_health_check(spec) && check_port(was) == check_port(spec) {
        spec.health_check_node_port = None;
    }
    if is_load_balancer(was) && !is_load_balancer(spec) {
        if was.allocate_load_balancer_node_ports == spec.allocate_load_balancer_node_ports {
            spec.allocate_load_balancer_node_ports = None;
        }
        if was.load_balancer_class == spec.load_balancer_class {
            spec.load_balancer_class = None;
        }
    }
    if is_externally_accessible(was)
        && !is_externally_accessible(spec)
        && was.external_traffic_policy.text() == spec.external_traffic_policy.text()
    {
        spec.external_traffic_policy = None;
    }
    if !is_load_balancer(spec)
        && let Some(status) = &mut object.status
    {
        status.load_balancer = Some(Default::default());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Services;
    use crate::resources::shared::testing::{check_create, created, updated, warnings};

    #[test]
    fn what_is_left_out_is_filled_in_by_type() {
        let spec = |spec: Value| created::<Services>(json!({"spec": spec})).get("spec").cloned();
        for (given, expected) in [
            (
                json!({"ports": [{"port": 80}]}),
                json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "sessionAffinity": "None",
                    "type": "ClusterIP", "internalTrafficPolicy": "Cluster"}),
            ),
            (
                json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP"}),
                json!({"sessionAffinity": "ClientIP", "type": "LoadBalancer", "internalTrafficPolicy": "Cluster",
                    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                    "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true}),
            ),
            (
                json!({"type": "ExternalName", "externalName": "a", "sessionAffinityConfig": {}}),
                json!({"type": "ExternalName", "externalName": "a", "sessionAffinity": "None"}),
            ),
        ] {
            assert_eq!(spec(given), Some(expected));
        }
    }

    #[test]
    fn a_change_of_type_takes_along_what_the_server_filled_in() {
        let old = json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "healthCheckNodePort": 31000,
            "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30000}]}});
        let mut to_name = old.clone();
        to_name["spec"]["type"] = json!("ExternalName");
        to_name["spec"]["externalName"] = json!("a");
        assert_eq!(
            updated::<Services>(to_name, old.clone()).get("spec"),
            Some(&json!({"type": "ExternalName", "externalName": "a", "sessionAffinity": "None",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}))
        );
        let mut to_cluster = old.clone();
        to_cluster["spec"]["type"] = json!("ClusterIP");
        to_cluster["spec"]["ports"][0]["nodePort"] = json!(30001);
        let spec = updated::<Services>(to_cluster, old);
        assert_eq!(spec.pointer("/spec/ports/0/nodePort"), Some(&json!(30001)), "a new port is no leftover");
    }

    #[test]
    fn fields_that_do_nothing_are_warned_about() {
        for (spec, expected) in [
            (json!({}), vec![]),
            (
                json!({"externalName": "a", "trafficDistribution": "PreferClose"}),
                vec![
                    r#"spec.externalName is ignored when spec.type is not "ExternalName""#,
                    r#"spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#,
                ],
            ),
            (
                json!({"clusterIP": "None", "externalIPs": ["1.2.3.4"]}),
                vec!["spec.externalIPs is ignored for headless services"],
            ),
            (
                json!({"externalIPs": ["1.2.3.4"]}),
                vec!["spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
            ),
        ] {
            assert_eq!(warnings::<Services>(json!({"spec": spec})), expected);
        }
    }

    #[test]
    fn an_empty_service_lacks_ports() {
        assert_eq!(check_create::<Services>(json!({})), ["spec.ports: Required value"]);
    }
}
