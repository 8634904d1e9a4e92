//! Ingresses: `ingresses` of `networking.k8s.io/v1`.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressLoadBalancerIngress, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS,
};

use super::ingressclasses::reference_faults;
use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{
        addresses::{ip_warnings, legacy_ip, parse_sloppy},
        metadata::invalid_each,
        names::{
            dns_1035_label, dns_label, dns_subdomain, dns1123_subdomain, port_name, port_number,
            wildcard_dns1123_subdomain,
        },
        optional::{Entries, Items, Text},
    },
};

/// The annotation that named the class before the field did.
const CLASS: &str = "kubernetes.io/ingress.class";

/// The strategy of Ingresses.
pub(crate) struct Ingresses;

/// What an update may keep since the stored ingress has it.
#[derive(Clone, Copy, Default)]
struct Held {
    bad_secret_name: bool,
    bad_wildcard_rule: bool,
}

impl Strategy for Ingresses {
    type Object = Ingress;

    const NAMES: Names = Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "Ingress",
        plural: "ingresses",
        singular: "ingress",
        short: &["ing"],
        categories: &[],
        namespaced: true,
    };
    const STATUS: bool = true;
    const GENERATION: Generation = Generation::Spec;

    fn validate(_cx: &Context<'_>, object: &Ingress) -> Faults {
        let mut faults = spec_faults(object, Held::default());
        let class = object.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
        if let (Some(annotated), Some(class)) = (object.metadata.annotations.at(CLASS), class)
            && annotated != class
        {
            // Upstream leaves `metadata` out.
            faults.push(Fault::invalid(
                &Path::new("annotations").child(CLASS),
                annotated,
                "must match `ingressClassName` when both are specified",
            ));
        }
        faults
    }

    fn validate_update(_cx: &Context<'_>, object: &Ingress, old: &Ingress) -> Faults {
        let old = old.spec.as_ref();
        let (tls, rules) = old.map(|old| (old.tls.items(), old.rules.items())).unwrap_or_default();
        let held = Held {
            bad_secret_name: tls.iter().any(|tls| !secret_wrongs(tls).is_empty()),
            bad_wildcard_rule: rules.iter().any(|rule| {
                let judged_as_of_old = |rule| rule_faults(rule, &Path::root(), dns_1035_label);
                rule.host.text().contains('*') && !judged_as_of_old(rule).is_empty()
            }),
        };
        spec_faults(object, held)
    }

    fn validate_status_update(_cx: &Context<'_>, object: &Ingress, old: &Ingress) -> Faults {
        let held: Vec<&str> =
            reported(old).iter().map(|it| it.ip.text()).filter(|ip| !ip.is_empty()).collect();
        let mut faults = Vec::new();
        for (index, it) in reported(object).iter().enumerate() {
            let path = Path::new("status.loadBalancer.ingress").index(index);
            let (ip, name) = (it.ip.text(), it.hostname.text());
            if !ip.is_empty() {
                faults.extend(legacy_ip(&path.child("ip"), ip, &held));
            }
            if !name.is_empty() {
                let path = path.child("hostname");
                faults.extend(invalid_each(&path, name, dns1123_subdomain(name)));
                faults.extend(address_fault(name, &path));
            }
        }
        faults
    }

    fn status_warnings(_cx: &Context<'_>, object: &Ingress, _old: &Ingress) -> Vec<String> {
        let path = Path::new("status.loadBalancer.ingress");
        let addresses = reported(object).iter().map(|it| it.ip.text()).enumerate();
        addresses
            .filter(|(_, ip)| !ip.is_empty())
            .flat_map(|(index, ip)| ip_warnings(&path.index(index), ip))
            .collect()
    }

    fn warnings(_cx: &Context<'_>, object: &Ingress, old: Option<&Ingress>) -> Vec<String> {
        let annotated = object.metadata.annotations.at(CLASS).is_some();
        let named = object.spec.as_ref().is_some_and(|spec| spec.ingress_class_name.is_some());
        if old.is_some() || !annotated || named {
            return Vec::new();
        }
        vec![format!("annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead")]
    }
}

fn reported(object: &Ingress) -> &[IngressLoadBalancerIngress] {
    let balancer = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    balancer.map(|balancer| balancer.ingress.items()).unwrap_or_default()
}

fn address_fault(name: &str, path: &Path) -> Option<Fault> {
    parse_sloppy(name).map(|_| Fault::invalid(path, name, "must be a DNS name, not an IP address"))
}

fn spec_faults(object: &Ingress, held: Held) -> Faults {
    let empty = IngressSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&empty);
    let path = Path::new("spec");
    let mut faults = Vec::new();
    if spec.rules.items().is_empty() && spec.default_backend.is_none() {
        faults.push(Fault::invalid(
            &path,
            BadValue::json(&spec.rules),
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if let Some(backend) = &spec.default_backend {
        faults.extend(backend_faults(backend, &path.child("defaultBackend"), dns_label));
    }
    for (index, rule) in spec.rules.items().iter().enumerate() {
        let path = path.child("rules").index(index);
        let host = rule.host.text();
        if !host.is_empty() {
            let path = path.child("host");
            faults.extend(address_fault(host, &path));
            faults.extend(invalid_each(&path, host, host_wrongs(host)));
        }
        if !(host.contains('*') && held.bad_wildcard_rule) {
            faults.extend(rule_faults(rule, &path, dns_label));
        }
    }
    for (index, tls) in spec.tls.items().iter().enumerate() {
        let path = path.child("tls").index(index);
        for (index, host) in tls.hosts.items().iter().enumerate() {
            faults.extend(invalid_each(&path.child("hosts").index(index), host, host_wrongs(host)));
        }
        if !held.bad_secret_name {
            let name = tls.secret_name.text();
            faults.extend(invalid_each(&path.child("secretName"), name, secret_wrongs(tls)));
        }
    }
    if let Some(class) = &spec.ingress_class_name {
        faults.extend(invalid_each(&path.child("ingressClassName"), class, dns_subdomain(class, false)));
    }
    faults
}

fn host_wrongs(host: &str) -> Vec<String> {
    if host.contains('*') { wildcard_dns1123_subdomain(host) } else { dns1123_subdomain(host) }
}

fn secret_wrongs(tls: &IngressTLS) -> Vec<String> {
    let name = tls.secret_name.text();
    if name.is_empty() { Vec::new() } else { dns_subdomain(name, false) }
}

/// What is wrong with the name of a service.
type ServiceNames = fn(&str, bool) -> Vec<String>;

fn rule_faults(rule: &IngressRule, path: &Path, names: ServiceNames) -> Faults {
    let Some(http) = &rule.http else { return Vec::new() };
    let path = path.child("http.paths");
    if http.paths.is_empty() {
        return vec![Fault::required(&path, "")];
    }
    http.paths.iter().enumerate().flat_map(|(index, it)| path_faults(it, &path.index(index), names)).collect()
}

fn path_faults(it: &HTTPIngressPath, path: &Path, names: ServiceNames) -> Faults {
    if it.path_type.is_empty() {
        return vec![Fault::required(&path.child("pathType"), "pathType must be specified")];
    }
    let (text, text_path) = (it.path.text(), path.child("path"));
    let mut faults = Vec::new();
    let wrong = |detail: String| Fault::invalid(&text_path, text, detail);
    match it.path_type.as_str() {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                faults.push(wrong("must be an absolute path".to_owned()));
            }
            let within = ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| text.contains(part));
            faults.extend(within.map(|part| wrong(format!("must not contain '{part}'"))));
            let at_end = ["/..", "/."].into_iter().filter(|part| text.ends_with(part));
            faults.extend(at_end.map(|part| wrong(format!("cannot end with '{part}'"))));
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                faults.push(wrong("must be an absolute path".to_owned()));
            }
        }
        other => faults.push(Fault::not_supported(
            &path.child("pathType"),
            other,
            &["Exact", "ImplementationSpecific", "Prefix"],
        )),
    }
    faults.extend(backend_faults(&it.backend, &path.child("backend"), names));
    faults
}

fn backend_faults(backend: &IngressBackend, path: &Path, names: ServiceNames) -> Faults {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => {
            vec![Fault::invalid(path, "", "cannot set both resource and service backends")]
        }
        (Some(resource), None) => {
            let group = resource.api_group.as_deref();
            reference_faults(group, &resource.kind, &resource.name, &path.child("resource"))
        }
        (None, Some(service)) => service_faults(service, path, names),
        (None, None) => vec![Fault::invalid(path, "", "resource or service backend is required")],
    }
}

fn service_faults(service: &IngressServiceBackend, path: &Path, names: ServiceNames) -> Faults {
    let name_path = path.child("service.name");
    let mut faults = if service.name.is_empty() {
        vec![Fault::required(&name_path, "")]
    } else {
        invalid_each(&name_path, &service.name, names(&service.name, false))
    };
    let port = service.port.as_ref();
    let name = port.map(|port| port.name.text()).unwrap_or_default();
    let number = port.and_then(|port| port.number).unwrap_or_default();
    match (name, number) {
        ("", 0) => faults.push(Fault::required(path, "port name or number is required")),
        ("", number) => {
            let path = path.child("service.port.number");
            faults.extend(port_number(number.into()).into_iter().map(|it| Fault::invalid(&path, number, it)));
        }
        (name, 0) => faults.extend(invalid_each(&path.child("service.port.name"), name, port_name(name))),
        _ => faults.push(Fault::invalid(path, "", "cannot set both port name & port number")),
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Ingresses;
    use crate::resources::shared::testing::{check_create, check_status_update, check_update, warnings};

    fn rule(host: &str, path: Value) -> Value {
        json!({"spec": {"rules": [{"host": host, "http": {"paths": [path]}}]}})
    }

    fn at(path: &str, kind: &str) -> Value {
        json!({"path": path, "pathType": kind, "backend": {"service": {"name": "a", "port": {"number": 80}}}})
    }

    #[test]
    fn a_rule_for_many_hosts_that_an_older_server_would_refuse_frees_the_others() {
        let to = |name: &str| {
            let mut path = at("/a", "Prefix");
            path["backend"]["service"]["name"] = json!(name);
            rule("*.a.b", path)
        };
        let bad = rule("*.a.b", at("a", "Prefix"));
        assert_eq!(check_update::<Ingresses>(bad.clone(), to("1a")), [""; 0], "a label of today, not of old");
        let refused = r#"spec.rules[0].http.paths[0].path: Invalid value: "a": must be an absolute path"#;
        assert_eq!(check_update::<Ingresses>(bad, to("a")), [refused]);
    }

    #[test]
    fn rules_lead_from_paths_to_backends() {
        for (object, faults) in [
            (rule("a.b", at("/a", "Prefix")), vec![]),
            (rule("*.a.b", at("", "ImplementationSpecific")), vec![]),
            (
                json!({"spec": {}}),
                vec!["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
            ),
            (
                rule("1.2.3.4", at("a//b/..", "Exact")),
                vec![
                    r#"spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address"#,
                    r#"spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": must be an absolute path"#,
                    r#"spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": must not contain '//'"#,
                    r#"spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": cannot end with '/..'"#,
                ],
            ),
            (
                rule("a", at("/a", "Odd")),
                vec![
                    r#"spec.rules[0].http.paths[0].pathType: Unsupported value: "Odd": supported values: "Exact", "ImplementationSpecific", "Prefix""#,
                ],
            ),
            (
                rule("a", json!({"path": "/a", "backend": {}})),
                vec!["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
            ),
            (
                json!({"spec": {"defaultBackend": {"service": {"name": "", "port": {}}}}}),
                vec![
                    "spec.defaultBackend.service.name: Required value",
                    "spec.defaultBackend: Required value: port name or number is required",
                ],
            ),
            (
                json!({"spec": {"defaultBackend": {}, "tls": [{"hosts": ["A"], "secretName": "b_"}]}}),
                vec![
                    r#"spec.defaultBackend: Invalid value: "": resource or service backend is required"#,
                    r#"spec.tls[0].hosts[0]: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#,
                    r#"spec.tls[0].secretName: Invalid value: "b_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<Ingresses>(object), faults);
        }
    }

    #[test]
    fn the_class_is_named_once_or_the_same_way_twice() {
        let mut object = rule("a", at("/a", "Prefix"));
        object["metadata"] = json!({"annotations": {"kubernetes.io/ingress.class": "x"}});
        assert_eq!(
            warnings::<Ingresses>(object.clone()),
            [
                r#"annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead"#
            ]
        );
        object["spec"]["ingressClassName"] = json!("y");
        assert_eq!(
            check_create::<Ingresses>(object.clone()),
            [
                r#"annotations.kubernetes.io/ingress.class: Invalid value: "x": must match `ingressClassName` when both are specified"#
            ]
        );
        assert_eq!(check_update::<Ingresses>(object.clone(), object), [""; 0]);
    }

    #[test]
    fn a_balancer_reports_addresses_or_names() {
        let mut object = rule("a", at("/a", "Prefix"));
        object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "x"}, {"hostname": "1.2.3.4"}]}});
        assert_eq!(
            check_status_update::<Ingresses>(object, rule("a", at("/a", "Prefix"))),
            [
                r#"status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
                r#"status.loadBalancer.ingress[1].hostname: Invalid value: "1.2.3.4": must be a DNS name, not an IP address"#,
            ]
        );
    }
}
