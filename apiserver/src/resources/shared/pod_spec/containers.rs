//! What is wrong with containers: what all sorts share, and what regular, init and ephemeral ones may have.

use std::collections::BTreeSet;

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerResizePolicy, EphemeralContainer, ResourceRequirements,
};

use super::{
    super::{
        metadata::invalid_each,
        names::{dns1123_label, port_name, port_number},
        optional::{Items, Text, one_of, one_of_or_empty_fault},
        quantities::is_sidecar,
    },
    env, handlers, mounts, resources, security, to_container,
    validate::Surroundings,
};

const RESTART_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// Faults of the containers that a pod is for.
pub(super) fn validate(containers: &[Container], around: &Surroundings<'_>, path: &Path) -> Faults {
    if containers.is_empty() {
        return vec![Fault::required(path, "")];
    }
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        faults.extend(common(container, around, &path));
        if !names.insert(container.name.as_str()) {
            faults.push(Fault::duplicate(&path.child("name"), container.name.as_str()));
        }
        faults.extend(handlers::validate_all(container, around, &path));
        faults.extend(restart_policy(container, &path));
    }
    faults.extend(host_port_conflicts(containers.iter(), path));
    faults
}

/// Faults of the containers that run before, or beside from before.
pub(super) fn validate_init(
    containers: &[Container],
    regular: &[Container],
    around: &Surroundings<'_>,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    let mut names: BTreeSet<&str> = regular.iter().map(|it| it.name.as_str()).collect();
    for (index, container) in containers.iter().enumerate() {
        let here = path.index(index);
        faults.extend(common(container, around, &here));
        faults.extend(init_restart_policy(container, &here));
        if names.contains(container.name.as_str()) {
            faults.push(Fault::duplicate(&here.child("name"), container.name.as_str()));
        } else if !container.name.is_empty() {
            names.insert(&container.name);
        }
        // Each runs alone, so each is looked at alone. The path is that of the list, with the first index.
        faults.extend(host_port_conflicts(std::iter::once(container), path));
        if is_sidecar(container) {
            faults.extend(handlers::validate_all(container, around, &here));
        } else {
            let fields = [
                ("lifecycle", container.lifecycle.is_some()),
                ("livenessProbe", container.liveness_probe.is_some()),
                ("readinessProbe", container.readiness_probe.is_some()),
                ("startupProbe", container.startup_probe.is_some()),
            ];
            for (field, _) in fields.into_iter().filter(|(_, is_set)| *is_set) {
                faults.push(Fault::forbidden(
                    &here.child(field),
                    "may not be set for init containers without restartPolicy=Always",
                ));
            }
            if !around.rules.resize_restarts_init {
                for (index, policy) in container.resize_policy.items().iter().enumerate() {
                    if policy.restart_policy == "RestartContainer" {
                        faults.push(Fault::invalid(
                            &here.child("resizePolicy").index(index).child("restartPolicy"),
                            policy.restart_policy.as_str(),
                            "must not be set to 'RestartContainer' for non-sidecar initContainers",
                        ));
                    }
                }
            }
        }
    }
    faults
}

/// Faults of the containers that were added to a running pod.
pub(super) fn validate_ephemeral(
    containers: &[EphemeralContainer],
    others: &[&[Container]],
    around: &Surroundings<'_>,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    let others: BTreeSet<&str> = others.iter().copied().flatten().map(|it| it.name.as_str()).collect();
    let mut names = others.clone();
    for (index, ephemeral) in containers.iter().enumerate() {
        let path = path.index(index);
        let container = to_container(ephemeral);
        faults.extend(common(&container, around, &path));
        faults.extend(image_whitespace(&container, &path));
        if !names.insert(ephemeral.name.as_str()) {
            faults.push(Fault::duplicate(&path.child("name"), ephemeral.name.as_str()));
        }
        let target = ephemeral.target_container_name.text();
        if !target.is_empty() && !others.contains(target) {
            faults.push(Fault::not_found(&path.child("targetContainerName"), target));
        }
        for field in fields_beyond_ephemeral(&container) {
            faults.push(Fault::forbidden(&path.child(field), "cannot be set for an Ephemeral Container"));
        }
        for (index, mount) in ephemeral.volume_mounts.items().iter().enumerate() {
            let path = path.child("volumeMounts").index(index);
            for (field, value) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
                if !value.text().is_empty() {
                    faults.push(Fault::forbidden(
                        &path.child(field),
                        "cannot be set for an Ephemeral Container",
                    ));
                }
            }
        }
    }
    faults
}

/// Faults that matter for pods only, since templates with them were stored: images with blanks around them.
pub(crate) fn validate_images(containers: &[Container], path: &Path) -> Faults {
    containers
        .iter()
        .enumerate()
        .filter_map(|(index, container)| image_whitespace(container, &path.index(index)))
        .collect()
}

fn image_whitespace(container: &Container, path: &Path) -> Option<Fault> {
    let image = container.image.text();
    (image.trim() != image)
        .then(|| Fault::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"))
}

/// What is set though a debugging container has no use for it.
fn fields_beyond_ephemeral(container: &Container) -> Vec<&'static str> {
    let resources = container.resources.clone().unwrap_or_default();
    // A list that is there counts, also an empty one.
    [
        ("ports", container.ports.is_some()),
        ("resources", resources != ResourceRequirements::default()),
        ("resizePolicy", container.resize_policy.is_some()),
        ("restartPolicy", container.restart_policy.is_some()),
        ("restartPolicyRules", container.restart_policy_rules.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
    ]
    .into_iter()
    .filter_map(|(field, is_set)| is_set.then_some(field))
    .collect()
}

fn common(container: &Container, around: &Surroundings<'_>, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let name_path = path.child("name");
    if container.name.is_empty() {
        faults.push(Fault::required(&name_path, ""));
    } else {
        faults.extend(invalid_each(&name_path, &container.name, dns1123_label(&container.name)));
    }
    // An image of blanks is fine in a template: some fill it in later.
    if container.image.text().is_empty() {
        faults.push(Fault::required(&path.child("image"), ""));
    }
    faults.extend(one_of(
        &path.child("terminationMessagePolicy"),
        container.termination_message_policy.text(),
        &["File", "FallbackToLogsOnError"],
    ));
    faults.extend(ports(container.ports.items(), &path.child("ports")));
    faults.extend(env::validate(container.env.items(), &path.child("env")));
    faults.extend(env::validate_from(container.env_from.items(), &path.child("envFrom")));
    faults.extend(mounts::validate(container, around.volumes, &path.child("volumeMounts")));
    faults.extend(mounts::validate_devices(container, around.volumes, &path.child("volumeDevices")));
    faults.extend(pull_policy(container.image_pull_policy.text(), &path.child("imagePullPolicy")));
    if let Some(requirements) = &container.resources {
        faults.extend(resources::validate_requirements(
            requirements,
            around.claims,
            around.rules,
            &path.child("resources"),
        ));
    }
    faults.extend(resize_policy(
        container.resize_policy.items(),
        around.restart_policy,
        &path.child("resizePolicy"),
    ));
    faults.extend(security::validate_container(
        container.security_context.as_ref(),
        around.host_users,
        around.rules,
        &path.child("securityContext"),
    ));
    faults
}

/// The fault of a pull policy.
pub(super) fn pull_policy(policy: &str, path: &Path) -> Option<Fault> {
    one_of(path, policy, &["Always", "IfNotPresent", "Never"])
}

fn ports(ports: &[ContainerPort], path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = port.name.text();
        if !name.is_empty() {
            let name_path = path.child("name");
            let sentences = port_name(name);
            if !sentences.is_empty() {
                faults.extend(invalid_each(&name_path, name, sentences));
            } else if !names.insert(name) {
                faults.push(Fault::duplicate(&name_path, name));
            }
        }
        if port.container_port == 0 {
            faults.push(Fault::required(&path.child("containerPort"), ""));
        } else {
            faults.extend(port_faults(port.container_port, &path.child("containerPort")));
        }
        let host_port = port.host_port.unwrap_or_default();
        if host_port != 0 {
            faults.extend(port_faults(host_port, &path.child("hostPort")));
        }
        faults.extend(one_of(&path.child("protocol"), port.protocol.text(), &["SCTP", "TCP", "UDP"]));
    }
    faults
}

/// Faults of the number of a port.
pub(super) fn port_faults(port: i32, path: &Path) -> Faults {
    port_number(i64::from(port)).into_iter().map(|sentence| Fault::invalid(path, port, sentence)).collect()
}

fn host_port_conflicts<'a>(containers: impl Iterator<Item = &'a Container>, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut taken = BTreeSet::new();
    for (index, container) in containers.enumerate() {
        let path = path.index(index).child("ports");
        for (index, port) in container.ports.items().iter().enumerate() {
            let Some(host_port) = port.host_port.filter(|&port| port != 0) else { continue };
            let what = format!("{}/{}/{host_port}", port.protocol.text(), port.host_ip.text());
            if !taken.insert(what.clone()) {
                faults.push(Fault::duplicate(&path.index(index).child("hostPort"), what));
            }
        }
    }
    faults
}

fn resize_policy(policies: &[ContainerResizePolicy], pod_restart_policy: &str, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, policy) in policies.iter().enumerate() {
        if !seen.insert(policy.resource_name.as_str()) {
            faults.push(Fault::duplicate(&path.index(index), policy.resource_name.as_str()));
        }
        faults.extend(one_of(path, &policy.resource_name, &["cpu", "memory"]));
        faults.extend(one_of(path, &policy.restart_policy, &["NotRequired", "RestartContainer"]));
        if pod_restart_policy == "Never" && policy.restart_policy != "NotRequired" {
            faults.push(Fault::invalid(
                path,
                policy.restart_policy.as_str(),
                "must be 'NotRequired' when pod `restartPolicy` is 'Never'",
            ));
        }
    }
    faults
}

fn init_restart_policy(container: &Container, path: &Path) -> Faults {
    if container.restart_policy.is_some() {
        return restart_policy(container, path);
    }
    if container.restart_policy_rules.items().is_empty() {
        return Vec::new();
    }
    vec![policy_for_rules(path)]
}

fn policy_for_rules(path: &Path) -> Fault {
    Fault::required(&path.child("restartPolicy"), "must specify restartPolicy when restart rules are used")
}

fn restart_policy(container: &Container, path: &Path) -> Faults {
    let rules = container.restart_policy_rules.items();
    let mut faults = Vec::new();
    match &container.restart_policy {
        None if rules.is_empty() => return faults,
        None => faults.push(policy_for_rules(path)),
        Some(policy) => faults.extend(one_of_or_empty_fault(
            &path.child("restartPolicy"),
            policy,
            &["Always", "Never", "OnFailure"],
        )),
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > RESTART_RULES_MAX {
        faults.push(Fault::too_many(&path, rules.len(), RESTART_RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        faults.extend(one_of_or_empty_fault(
            &path.child("action"),
            &rule.action,
            &["Restart", "RestartAllContainers"],
        ));
        let path = path.child("exitCodes");
        let Some(codes) = &rule.exit_codes else {
            faults.push(Fault::required(&path, "must be specified"));
            continue;
        };
        faults.extend(one_of_or_empty_fault(&path.child("operator"), &codes.operator, &["In", "NotIn"]));
        let count = codes.values.items().len();
        if count > EXIT_CODES_MAX {
            faults.push(Fault::too_many(&path.child("values"), count, EXIT_CODES_MAX));
        }
    }
    faults
}
