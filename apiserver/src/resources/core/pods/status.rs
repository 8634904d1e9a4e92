//! The status of a pod, which the kubelet writes: what the server keeps of it, and what it may not say.

use std::{collections::BTreeSet, net::IpAddr};

use api_types::field::{BadValue, Fault, Faults, Path, go_quote};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerStatus, LinuxContainerUser, Pod, PodCondition, PodExtendedResourceClaimStatus,
        PodIP, PodSpec, PodStatus, ResourceRequirements, ResourceStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::rules;
use crate::registry::strategy::Context;
use crate::resources::shared::{
    addresses::{ip_warnings, legacy_ip, parse_sloppy},
    metadata::invalid_each,
    names::{dns_subdomain, dns1123_label, qualified_name, user_or_group_id},
    optional::{Entries, Items, Text, one_of_or_empty_fault},
    pod_spec::{annotations, gates},
    quantities::{amount, is_native, round_up},
};

/// What a resource's health may say, in bytes.
const HEALTH_MESSAGE_LENGTH_MAX: usize = 1024;

/// Fills in what was left out, and makes the two fields for addresses agree.
pub(super) fn default(status: &mut PodStatus) {
    let single = status.pod_ip.text();
    // The old field decides where the two disagree, and follows where they agree.
    if !single.is_empty() && status.pod_ips.items().first().map(|it| it.ip.as_str()) != Some(single) {
        status.pod_ips = Some(vec![PodIP { ip: single.to_owned() }]);
    }
    status.pod_ip = status.pod_ips.items().first().map(|it| it.ip.clone());
    let lists = [
        &mut status.init_container_statuses,
        &mut status.container_statuses,
        &mut status.ephemeral_container_statuses,
    ];
    for container in lists.into_iter().flatten().flatten() {
        round_up(container.allocated_resources.as_mut());
        if let Some(resources) = &mut container.resources {
            round_up(resources.limits.as_mut());
            round_up(resources.requests.as_mut());
        }
    }
    round_up(status.allocated_resources.as_mut());
    if let Some(resources) = &mut status.resources {
        round_up(resources.limits.as_mut());
        round_up(resources.requests.as_mut());
    }
}

/// A point in time as the API has it: whole seconds.
pub(super) fn time(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// Sets a condition. Its time of transition is now, unless its status is what it was.
pub(super) fn set_condition(status: &mut PodStatus, mut condition: PodCondition, now: Timestamp) {
    condition.last_transition_time = Some(time(now));
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|it| it.type_ == condition.type_) {
        None => conditions.push(condition),
        Some(old) => {
            if old.status == condition.status {
                condition.last_transition_time.clone_from(&old.last_transition_time);
            }
            *old = condition;
        }
    }
}

/// Keeps what a kubelet must not lose or take.
pub(super) fn prepare(pod: &mut Pod, old: &Pod) {
    // Old kubelets corrupt the references.
    pod.metadata.owner_references.clone_from(&old.metadata.owner_references);
    let nothing = PodStatus::default();
    let old_status = old.status.as_ref().unwrap_or(&nothing);
    let status = pod.status.get_or_insert_default();
    if status.qos_class.text().is_empty() {
        status.qos_class.clone_from(&old_status.qos_class);
    }
    if status.observed_generation.unwrap_or_default() == 0 {
        status.observed_generation = old_status.observed_generation;
    }
    // A type may stand there more than once; the first goes with the first.
    let mut left: Vec<&PodCondition> = old_status.conditions.items().iter().collect();
    for condition in status.conditions.items_mut() {
        let at = left.iter().position(|it| it.type_ == condition.type_);
        let was = at.map(|at| left.remove(at)).and_then(|it| it.observed_generation);
        if condition.observed_generation.unwrap_or_default() == 0 {
            condition.observed_generation = was;
        }
    }
    gates::drop_disabled_status(status, old.status.as_ref());
}

/// Everything that is wrong with a changed status.
pub(super) fn validate(cx: &Context<'_>, pod: &Pod, old: &Pod) -> Faults {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let old_spec = old.spec.as_ref().unwrap_or(&no_spec);
    let old_status = old.status.as_ref().unwrap_or(&no_status);
    let annotations_path = Path::new("metadata.annotations");
    let (annotations, old_annotations) = (&pod.metadata.annotations, &old.metadata.annotations);
    let mut faults = annotations::validate_update(annotations, old_annotations, &annotations_path);
    faults.extend(annotations::validate(annotations, spec, &rules(cx, old), &annotations_path));
    let path = Path::new("status");
    faults.extend(conditions(status.conditions.items(), &path.child("conditions")));
    faults.extend(nominated_node(status, old_spec, old_status, &path.child("nominatedNodeName")));
    let generation = status.observed_generation.unwrap_or_default();
    faults.extend(generation_fault(generation, &path));
    let class = status.qos_class.text();
    if class != old_status.qos_class.text() {
        faults.push(Fault::invalid(&path.child("qosClass"), class, "field is immutable"));
    }
    let lists = [
        ("containerStatuses", &status.container_statuses, &old_status.container_statuses),
        ("initContainerStatuses", &status.init_container_statuses, &old_status.init_container_statuses),
        (
            "ephemeralContainerStatuses",
            &status.ephemeral_container_statuses,
            &old_status.ephemeral_container_statuses,
        ),
    ];
    let containers: [Option<&[Container]>; 3] =
        [Some(&old_spec.containers), Some(old_spec.init_containers.items()), None];
    for ((field, new, was), containers) in lists.iter().zip(containers) {
        faults.extend(transitions(new.items(), was.items(), containers, old_spec, &path.child(field)));
    }
    faults.extend(claim_statuses(status, spec, &path.child("resourceClaimStatuses")));
    if let Some(claim) = &status.extended_resource_claim_status {
        faults.extend(extended_claim(claim, spec, &path.child("extendedResourceClaimStatus")));
    }
    faults.extend(allocatable_claims(status, spec, &path.child("nodeAllocatableResourceClaimStatuses")));
    faults.extend(pod_ips(status, old_status, &path.child("podIPs")));
    faults.extend(host_ips(status, old_status, &path.child("hostIPs")));
    for (field, new, _) in &lists {
        faults.extend(users(new.items(), spec, &path.child(field)));
    }
    let of_spec = [spec.containers.as_slice(), spec.init_containers.items()];
    for ((field, new, _), containers) in lists.iter().zip(of_spec) {
        faults.extend(allocated(new.items(), containers, &path.child(field)));
    }
    let field = "ephemeralContainerStatuses";
    for (index, container) in status.ephemeral_container_statuses.items().iter().enumerate() {
        if !container.allocated_resources_status.items().is_empty() {
            faults.push(Fault::forbidden(
                &path.child(field).index(index).child("allocatedResourcesStatus"),
                "must not be specified in container status",
            ));
        }
    }
    faults
}

/// What the writer of a status should know.
pub(super) fn warnings(status: &PodStatus) -> Vec<String> {
    let path = Path::new("status");
    let (pod_ips, host_ips) = (status.pod_ips.items().iter(), status.host_ips.items().iter());
    let pod_ips = pod_ips.enumerate().map(|(index, it)| (path.child("podIPs").index(index), it.ip.as_str()));
    let host_ips =
        host_ips.enumerate().map(|(index, it)| (path.child("hostIPs").index(index), it.ip.as_str()));
    pod_ips.chain(host_ips).flat_map(|(path, ip)| ip_warnings(&path.child("ip"), ip)).collect()
}

fn generation_fault(generation: i64, path: &Path) -> Option<Fault> {
    (generation < 0).then(|| {
        Fault::invalid(&path.child("observedGeneration"), generation, "must be a non-negative integer")
    })
}

fn conditions(conditions: &[PodCondition], path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        faults.extend(generation_fault(condition.observed_generation.unwrap_or_default(), &path));
        if !matches!(condition.type_.as_str(), "PodScheduled" | "Ready" | "Initialized") {
            faults.extend(invalid_each(
                &path.child("Type"),
                &condition.type_,
                qualified_name(&condition.type_),
            ));
        }
    }
    faults
}

fn nominated_node(status: &PodStatus, old_spec: &PodSpec, old: &PodStatus, path: &Path) -> Faults {
    let node = status.nominated_node_name.text();
    if node.is_empty() || node == old.nominated_node_name.text() {
        return Vec::new();
    }
    let mut faults = invalid_each(path, node, dns_subdomain(node, false));
    if !old_spec.node_name.text().is_empty() {
        faults.push(Fault::forbidden(path, "may not be set on pods that are already bound to a node"));
    }
    faults
}

// --- containers that ended

/// Faults of containers that live again though nothing lets them. `containers` are those of the spec; ephemeral ones
/// never live again.
fn transitions(
    new: &[ContainerStatus],
    old: &[ContainerStatus],
    containers: Option<&[Container]>,
    spec: &PodSpec,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    if containers.is_some() && all_could_restart(spec) {
        return faults;
    }
    for (index, was) in old.iter().enumerate() {
        let ended = was.state.as_ref().and_then(|state| state.terminated.as_ref());
        let Some(ended) = ended else { continue };
        let lives = |is: &&ContainerStatus| is.state.as_ref().is_none_or(|state| state.terminated.is_none());
        let mut again = new.iter().filter(|is| is.name == was.name).filter(lives);
        let fault = || {
            Fault::forbidden(
                &path.index(index).child("state"),
                "may not be transitioned to non-terminated state",
            )
        };
        match containers {
            None => faults.extend(again.map(|_| fault())),
            Some(containers) => {
                let container = containers.iter().find(|it| it.name == was.name);
                let allowed = container.is_some_and(|it| should_restart(it, spec, ended.exit_code));
                if again.next().is_some() && !allowed {
                    faults.push(fault());
                }
            }
        }
    }
    faults
}

/// Whether the end of some container restarts all.
fn all_could_restart(spec: &PodSpec) -> bool {
    spec.init_containers
        .items()
        .iter()
        .chain(&spec.containers)
        .flat_map(|container| container.restart_policy_rules.items())
        .any(|rule| rule.action == "RestartAllContainers")
}

/// Whether a container that ended so is started again.
fn should_restart(container: &Container, spec: &PodSpec, exit_code: i32) -> bool {
    let by_policy = |policy: &str| match policy {
        "Always" => Some(true),
        "OnFailure" => Some(exit_code != 0),
        "Never" => Some(false),
        _ => None,
    };
    if let Some(policy) = container.restart_policy.as_deref() {
        let rule = container.restart_policy_rules.items().iter().find(|rule| {
            rule.exit_codes.as_ref().is_some_and(|codes| {
                let named = codes.values.items().contains(&exit_code);
                match codes.operator.as_str() {
                    "In" => named,
                    "NotIn" => !named,
                    _ => false,
                }
            })
        });
        if rule.is_some_and(|rule| matches!(rule.action.as_str(), "Restart" | "RestartAllContainers")) {
            return true;
        }
        if let Some(restarts) = by_policy(policy) {
            return restarts;
        }
    }
    by_policy(spec.restart_policy.text()).unwrap_or(true)
}

// --- claims

fn claim_statuses(status: &PodStatus, spec: &PodSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (index, claim) in status.resource_claim_statuses.items().iter().enumerate() {
        let path = path.index(index);
        let name = claim.name.as_str();
        if !spec.resource_claims.items().iter().any(|it| it.name == name) {
            faults.push(Fault::invalid(
                &path.child("name"),
                name,
                "must match the name of an entry in `spec.resourceClaims`",
            ));
        }
        if !names.insert(name) {
            faults.push(Fault::duplicate(&path.child("name"), name));
        }
        if let Some(object) = claim.resource_claim_name.as_deref() {
            faults.extend(invalid_each(
                &path.child("resourceClaimName"),
                object,
                dns_subdomain(object, false),
            ));
        }
    }
    faults
}

fn extended_claim(status: &PodExtendedResourceClaimStatus, spec: &PodSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mappings_path = path.child("requestMappings");
    if status.request_mappings.is_empty() {
        faults.push(Fault::required(&mappings_path, "at least one request mapping is required"));
    }
    let mut seen = BTreeSet::new();
    for (index, mapping) in status.request_mappings.iter().enumerate() {
        let here = mappings_path.index(index);
        // A name of both sorts is that of the container.
        let container = spec
            .containers
            .iter()
            .chain(spec.init_containers.items())
            .find(|it| it.name == mapping.container_name);
        match container {
            None => faults.push(Fault::invalid(
                &here.child("containerName"),
                mapping.container_name.as_str(),
                "must match the name of an entry in spec.initContainers.name or spec.containers.name",
            )),
            Some(container) => {
                let requests = container.resources.as_ref().map(|it| it.requests.clone()).unwrap_or_default();
                if requests.at(&mapping.resource_name).is_none() {
                    faults.push(Fault::invalid(
                        &here.child("resourceName"),
                        mapping.resource_name.as_str(),
                        "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests",
                    ));
                }
            }
        }
        faults.extend(invalid_each(
            &path.child("requestName"),
            &mapping.request_name,
            dns1123_label(&mapping.request_name),
        ));
        let key = (&mapping.container_name, &mapping.resource_name, &mapping.request_name);
        if !seen.insert(key) {
            for (field, value) in [("containerName", key.0), ("resourceName", key.1), ("requestName", key.2)]
            {
                faults.push(Fault::duplicate(&here.child(field), value));
            }
        }
    }
    let name_path = path.child("resourceClaimName");
    if status.resource_claim_name.is_empty() {
        faults.push(Fault::required(&name_path, ""));
    } else {
        let name = status.resource_claim_name.as_str();
        faults.extend(invalid_each(&name_path, name, dns_subdomain(name, false)));
    }
    faults
}

fn allocatable_claims(status: &PodStatus, spec: &PodSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, claim) in status.node_allocatable_resource_claim_statuses.items().iter().enumerate() {
        let path = path.index(index);
        let name = claim.resource_claim_name.as_str();
        let name_path = path.child("resourceClaimName");
        if name.is_empty() {
            faults.push(Fault::required(&name_path, "must not be empty"));
        }
        let of_spec = spec.resource_claims.items().iter().map(|it| it.resource_claim_name.as_deref());
        let of_status =
            status.resource_claim_statuses.items().iter().map(|it| it.resource_claim_name.as_deref());
        if !of_spec.chain(of_status).any(|it| it == Some(name)) {
            faults.push(Fault::invalid(&name_path, name, "no mapping found in pod reference"));
        }
        if claim.containers.items().is_empty() {
            faults.push(Fault::required(&path.child("containers"), "must not be empty"));
        }
        let path = path.child("resources");
        if claim.resources.is_empty() {
            faults.push(Fault::required(&path, "must not be empty"));
        }
        for (resource, quantity) in &claim.resources {
            let path = path.key(resource);
            if !is_native(resource) {
                faults.push(Fault::invalid(&path, resource, "must be a node allocatable resource name"));
            }
            let value = amount(quantity);
            if value.sign() < 0 {
                faults.push(Fault::invalid(&path, value.to_string(), "must be non-negative"));
            }
        }
    }
    faults
}

// --- addresses

fn pod_ips(status: &PodStatus, old: &PodStatus, path: &Path) -> Faults {
    let ips: Vec<&str> = status.pod_ips.items().iter().map(|it| it.ip.as_str()).collect();
    let old: Vec<&str> = old.pod_ips.items().iter().map(|it| it.ip.as_str()).collect();
    addresses(&ips, &old, path)
}

fn host_ips(status: &PodStatus, old: &PodStatus, path: &Path) -> Faults {
    let ips: Vec<&str> = status.host_ips.items().iter().map(|it| it.ip.as_str()).collect();
    let old: Vec<&str> = old.host_ips.items().iter().map(|it| it.ip.as_str()).collect();
    let Some(first) = ips.first() else { return Vec::new() };
    let mut faults = Vec::new();
    if status.host_ip.text() != *first {
        faults.push(Fault::invalid(&path.index(0).child("ip"), *first, "must be equal to `hostIP`"));
    }
    faults.extend(addresses(&ips, &old, path));
    faults
}

/// Faults of addresses, of which there may be one of each family.
fn addresses(ips: &[&str], old: &[&str], path: &Path) -> Faults {
    let mut faults: Faults =
        ips.iter().enumerate().flat_map(|(index, ip)| legacy_ip(&path.index(index), ip, old)).collect();
    if ips.len() > 1 {
        let parsed: Vec<IpAddr> = ips.iter().map_while(|ip| parse_sloppy(ip)).collect();
        if parsed.len() < ips.len() {
            faults.push(Fault::internal(
                path,
                format!("failed to check for dual stack with error:invalid IP[{}]: <nil>", parsed.len()),
            ));
        }
        let both = parsed.len() == ips.len()
            && parsed.iter().any(IpAddr::is_ipv4)
            && parsed.iter().any(IpAddr::is_ipv6);
        if !both || ips.len() > 2 {
            // Upstream prints its own form, not the API's.
            let printed: Vec<String> = ips.iter().map(|ip| format!(r#"{{"IP":{}}}"#, go_quote(ip))).collect();
            let printed = BadValue::Plain(format!("[{}]", printed.join(",")));
            faults.push(Fault::invalid(path, printed, "may specify no more than one IP for each IP family"));
        }
    }
    faults
}

// --- what containers run as, and on

fn users(statuses: &[ContainerStatus], spec: &PodSpec, path: &Path) -> Faults {
    let os = spec.os.as_ref().map_or("linux", |os| os.name.as_str());
    let mut faults = Vec::new();
    for (index, status) in statuses.iter().enumerate() {
        let Some(linux) = status.user.as_ref().and_then(|user| user.linux.as_ref()) else { continue };
        let path = path.index(index).child("user.linux");
        match os {
            "windows" => faults.push(Fault::forbidden(&path, "cannot be set for a windows pod")),
            "linux" => faults.extend(linux_user(linux, &path)),
            _ => {}
        }
    }
    faults
}

fn linux_user(user: &LinuxContainerUser, path: &Path) -> Faults {
    let groups = user.supplemental_groups.items().iter().enumerate();
    [(path.child("uid"), user.uid), (path.child("gid"), user.gid)]
        .into_iter()
        .chain(groups.map(|(index, id)| (path.child("supplementalGroups").index(index), *id)))
        .flat_map(|(path, id)| {
            user_or_group_id(id).into_iter().map(move |sentence| Fault::invalid(&path, id, sentence))
        })
        .collect()
}

fn allocated(statuses: &[ContainerStatus], containers: &[Container], path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, status) in statuses.iter().enumerate() {
        let path = path.index(index).child("allocatedResourcesStatus");
        let container = containers.iter().find(|it| it.name == status.name);
        for (index, resource) in status.allocated_resources_status.items().iter().enumerate() {
            let path = path.index(index);
            // A container may be missing for good reasons.
            if let Some(container) = container {
                faults.extend(unknown_resource(resource, container, &path.child("name")));
            }
            let mut ids = BTreeSet::new();
            for (index, health) in resource.resources.items().iter().enumerate() {
                let path = path.child("resources").index(index);
                faults.extend(one_of_or_empty_fault(
                    &path.child("health"),
                    health.health.text(),
                    &["Healthy", "Unhealthy", "Unknown"],
                ));
                match health.message.as_deref() {
                    Some("") => {
                        faults.push(Fault::required(&path.child("message"), "must be non-empty if specified"))
                    }
                    Some(message) if message.len() > HEALTH_MESSAGE_LENGTH_MAX => {
                        faults.push(Fault::too_long(&path.child("message"), HEALTH_MESSAGE_LENGTH_MAX));
                    }
                    _ => {}
                }
                if !ids.insert(health.resource_id.as_str()) {
                    faults.push(Fault::duplicate(&path.child("resourceID"), health.resource_id.as_str()));
                }
            }
        }
    }
    faults
}

fn unknown_resource(resource: &ResourceStatus, container: &Container, path: &Path) -> Option<Fault> {
    let nothing = ResourceRequirements::default();
    let of = container.resources.as_ref().unwrap_or(&nothing);
    let name = resource.name.as_str();
    let (known, why) = match name.strip_prefix("claim:") {
        Some(claim) => (
            of.claims.items().iter().any(|it| match it.request.text() {
                "" => it.name == claim,
                request => claim.split_once('/') == Some((it.name.as_str(), request)),
            }),
            "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
        ),
        None => (of.requests.at(name).is_some(), "must match one of the container's resource requests"),
    };
    (!known).then(|| Fault::invalid(path, name, why))
}
