//! Everything that is wrong with a pod's spec, in the order upstream tells it.

use std::collections::{BTreeMap, BTreeSet};

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements, Volume};

use super::{
    super::{
        metadata::invalid_each,
        names::{between, dns_subdomain, dns1123_label},
        optional::{Items, Switch, Text, one_of},
        selectors::validate_labels,
    },
    Rules, affinity, containers, dns, each_container, os, resources, scheduling, security, volumes,
};

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// What is known of the pod that the spec is of; nothing for a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PodMeta<'a> {
    /// Its name.
    pub name: &'a str,
    /// It stands for a pod of a kubelet's own.
    pub is_mirror: bool,
}

/// What the rules for containers need to know of the spec around them.
pub(super) struct Surroundings<'a> {
    pub(super) rules: &'a Rules,
    /// The volumes without faults, by name.
    pub(super) volumes: &'a BTreeMap<&'a str, &'a Volume>,
    /// The names of the claims.
    pub(super) claims: &'a BTreeSet<&'a str>,
    pub(super) os: Option<&'a str>,
    pub(super) grace_period_seconds: Option<i64>,
    pub(super) restart_policy: &'a str,
    /// Users in the pod are users of the node.
    pub(super) host_users: bool,
}

/// Everything that is wrong with a spec.
pub(crate) fn validate(spec: &PodSpec, pod: Option<PodMeta<'_>>, rules: &Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if spec.termination_grace_period_seconds.is_none() {
        faults.push(Fault::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let pod_name = pod.map(|pod| pod.name).filter(|name| !name.is_empty());
    let (volumes, volume_faults) =
        volumes::validate(spec.volumes.items(), pod_name, rules, &path.child("volumes"));
    faults.extend(volume_faults);
    let claims: BTreeSet<&str> =
        spec.resource_claims.items().iter().map(|it| it.name.as_str()).filter(|it| !it.is_empty()).collect();
    faults.extend(scheduling::resource_claims(
        spec.resource_claims.items(),
        pod.is_some_and(|pod| pod.is_mirror),
        &path.child("resourceClaims"),
    ));
    let around = Surroundings {
        rules,
        volumes: &volumes,
        claims: &claims,
        os: spec.os.as_ref().map(|os| os.name.as_str()),
        grace_period_seconds: spec.termination_grace_period_seconds,
        restart_policy: spec.restart_policy.text(),
        host_users: spec.host_users.unwrap_or(true),
    };
    let init_containers = spec.init_containers.items();
    faults.extend(containers::validate(&spec.containers, &around, &path.child("containers")));
    faults.extend(containers::validate_init(
        init_containers,
        &spec.containers,
        &around,
        &path.child("initContainers"),
    ));
    faults.extend(containers::validate_ephemeral(
        spec.ephemeral_containers.items(),
        &[&spec.containers, init_containers],
        &around,
        &path.child("ephemeralContainers"),
    ));
    faults.extend(resources::validate_pod_level(spec, &claims, rules, path));
    faults.extend(host_ports(spec, rules, path));
    faults.extend(one_of(&path.child("restartPolicy"), spec.restart_policy.text(), RESTART_POLICIES));
    faults.extend(one_of(&path.child("dnsPolicy"), spec.dns_policy.text(), DNS_POLICIES));
    faults.extend(validate_labels(spec.node_selector.as_ref(), &path.child("nodeSelector")));
    faults.extend(security::validate_pod(spec, rules, path));
    // Pull secrets have but a name, and that may be anything.
    if let Some(affinity) = &spec.affinity {
        faults.extend(affinity::validate(affinity, rules, &path.child("affinity")));
    }
    faults.extend(dns::validate(spec.dns_config.as_ref(), spec.dns_policy.text(), &path.child("dnsConfig")));
    faults.extend(scheduling::readiness_gates(spec.readiness_gates.items(), &path.child("readinessGates")));
    faults
        .extend(scheduling::scheduling_gates(spec.scheduling_gates.items(), &path.child("schedulingGates")));
    faults.extend(affinity::spread(
        spec.topology_spread_constraints.items(),
        rules,
        &path.child("topologySpreadConstraints"),
    ));
    faults.extend(security::host_processes(spec, rules, path));
    faults.extend(os::own_users(spec, rules, path));
    faults.extend(dns::hostname_override(spec, path));
    faults.extend(name_like("serviceAccountName", spec.service_account_name.text(), path));
    faults.extend(name_like("nodeName", spec.node_name.text(), path));
    if let Some(seconds) = spec.active_deadline_seconds {
        let max = i64::from(i32::MAX);
        if !(1..=max).contains(&seconds) {
            faults.push(Fault::invalid(&path.child("activeDeadlineSeconds"), seconds, between(1, max)));
        }
    }
    for (field, value) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        let value = value.text();
        if !value.is_empty() {
            faults.extend(invalid_each(&path.child(field), value, dns1123_label(value)));
        }
    }
    faults.extend(scheduling::tolerations(spec.tolerations.items(), rules, &path.child("tolerations")));
    faults.extend(dns::host_aliases(spec.host_aliases.items(), &path.child("hostAliases")));
    faults.extend(name_like("priorityClassName", spec.priority_class_name.text(), path));
    if let Some(class) = spec.runtime_class_name.as_deref() {
        faults.extend(invalid_each(&path.child("runtimeClassName"), class, dns_subdomain(class, false)));
    }
    if let Some(policy) = spec.preemption_policy.as_deref() {
        faults.extend(one_of(&path.child("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]));
    }
    if let Some(overhead) = &spec.overhead {
        let requirements =
            ResourceRequirements { limits: Some(overhead.clone()), ..ResourceRequirements::default() };
        faults.extend(resources::validate_requirements(
            &requirements,
            &BTreeSet::new(),
            rules,
            &path.child("overhead"),
        ));
    }
    faults.extend(os::validate(spec, path));
    if let Some(group) = &spec.scheduling_group {
        faults.extend(scheduling::scheduling_group(group, &path.child("schedulingGroup")));
    }
    faults.extend(env_files(spec, path));
    faults
}

/// Faults of a field that names another object, if it does.
fn name_like(field: &str, name: &str, path: &Path) -> Faults {
    if name.is_empty() {
        return Vec::new();
    }
    invalid_each(&path.child(field), name, dns_subdomain(name, false))
}

/// Faults of ports on the node that are not those in the container though both are one. In a template the node's may be
/// left out, since it will be filled in.
fn host_ports(spec: &PodSpec, rules: &Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if !spec.host_network.is_on() {
        return faults;
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let path = path.child("containers").index(index).child("ports");
        for (index, port) in container.ports.items().iter().enumerate() {
            let host_port = port.host_port.unwrap_or_default();
            if (rules.is_pod || host_port != 0) && host_port != port.container_port {
                faults.push(Fault::invalid(
                    &path.index(index).child("hostPort"),
                    host_port,
                    "must match `containerPort` when `hostNetwork` is true",
                ));
            }
        }
    }
    faults
}

/// Faults of variables from files, which must be in a volume that begins empty.
fn env_files(spec: &PodSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    each_container(spec, path, |container, path| {
        for (index, variable) in container.env.items().iter().enumerate() {
            let Some(file) = variable.value_from.as_ref().and_then(|from| from.file_key_ref.as_ref()) else {
                continue;
            };
            let path = path.child("env").index(index).child("valueFrom.fileKeyRef.volumeName");
            let name = file.volume_name.as_str();
            // The last of a name counts.
            match spec.volumes.items().iter().rfind(|volume| volume.name == name) {
                None => faults.push(Fault::not_found(&path, name)),
                Some(volume) if volume.empty_dir.is_none() => {
                    faults.push(Fault::invalid(&path, name, "referenced volume must be of type emptyDir"));
                }
                Some(_) => {}
            }
        }
    });
    faults
}
