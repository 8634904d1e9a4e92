//! The rules of a pod's spec, written once for pods and for the templates of workloads.
//!
//! In the order they are used: [`defaults`] fill in what was left out, [`gates`] take out what this version keeps behind
//! switches, [`rules`] says what an update may keep though it would not pass today, [`validate`] finds what is wrong, and
//! [`warnings`] tells what is right but unwise.
//!
//! Invariant: pure, and blind to where the spec stands: paths, metadata and rules come as arguments.

pub(crate) mod affinity;
pub(crate) mod annotations;
mod containers;
pub(crate) mod defaults;
mod dns;
mod env;
pub(crate) mod gates;
mod handlers;
mod mounts;
mod os;
pub(crate) mod paths;
mod projected;
mod resources;
pub(crate) mod rules;
pub(crate) mod scheduling;
pub(crate) mod security;
mod validate;
pub(crate) mod volumes;
pub(crate) mod warnings;

use api_types::field::Path;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec};

use super::optional::Items;

pub(crate) use containers::validate_images;
pub(crate) use resources::validate_requirements;
pub(crate) use rules::Rules;
pub(crate) use validate::{PodMeta, validate};

/// Looks at an ephemeral container as at a container, which it is but for its target, and changes it there.
pub(crate) fn as_container<T>(
    ephemeral: &mut EphemeralContainer,
    look: impl FnOnce(&mut Container) -> T,
) -> T {
    let mut container = to_container(ephemeral);
    let result = look(&mut container);
    *ephemeral = EphemeralContainer {
        target_container_name: ephemeral.target_container_name.take(),
        args: container.args,
        command: container.command,
        env: container.env,
        env_from: container.env_from,
        image: container.image,
        image_pull_policy: container.image_pull_policy,
        lifecycle: container.lifecycle,
        liveness_probe: container.liveness_probe,
        name: container.name,
        ports: container.ports,
        readiness_probe: container.readiness_probe,
        resize_policy: container.resize_policy,
        resources: container.resources,
        restart_policy: container.restart_policy,
        restart_policy_rules: container.restart_policy_rules,
        security_context: container.security_context,
        startup_probe: container.startup_probe,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        termination_message_path: container.termination_message_path,
        termination_message_policy: container.termination_message_policy,
        tty: container.tty,
        volume_devices: container.volume_devices,
        volume_mounts: container.volume_mounts,
        working_dir: container.working_dir,
    };
    result
}

/// An ephemeral container as a container.
pub(crate) fn to_container(ephemeral: &EphemeralContainer) -> Container {
    let it = ephemeral.clone();
    Container {
        args: it.args,
        command: it.command,
        env: it.env,
        env_from: it.env_from,
        image: it.image,
        image_pull_policy: it.image_pull_policy,
        lifecycle: it.lifecycle,
        liveness_probe: it.liveness_probe,
        name: it.name,
        ports: it.ports,
        readiness_probe: it.readiness_probe,
        resize_policy: it.resize_policy,
        resources: it.resources,
        restart_policy: it.restart_policy,
        restart_policy_rules: it.restart_policy_rules,
        security_context: it.security_context,
        startup_probe: it.startup_probe,
        stdin: it.stdin,
        stdin_once: it.stdin_once,
        termination_message_path: it.termination_message_path,
        termination_message_policy: it.termination_message_policy,
        tty: it.tty,
        volume_devices: it.volume_devices,
        volume_mounts: it.volume_mounts,
        working_dir: it.working_dir,
    }
}

/// Visits every container with its path: init containers, containers, ephemeral containers.
pub(crate) fn each_container(spec: &PodSpec, path: &Path, mut visit: impl FnMut(&Container, &Path)) {
    for (index, container) in spec.init_containers.items().iter().enumerate() {
        visit(container, &path.child("initContainers").index(index));
    }
    for (index, container) in spec.containers.iter().enumerate() {
        visit(container, &path.child("containers").index(index));
    }
    for (index, container) in spec.ephemeral_containers.items().iter().enumerate() {
        visit(&to_container(container), &path.child("ephemeralContainers").index(index));
    }
}

/// Changes every container, of every sort.
pub(crate) fn each_container_mut(spec: &mut PodSpec, mut change: impl FnMut(&mut Container)) {
    for container in spec.init_containers.items_mut().iter_mut().chain(&mut spec.containers) {
        change(container);
    }
    for container in spec.ephemeral_containers.items_mut() {
        as_container(container, &mut change);
    }
}

/// Whether some container, of any sort, is so.
pub(crate) fn any_container(spec: &PodSpec, mut is_so: impl FnMut(&Container) -> bool) -> bool {
    spec.init_containers.items().iter().chain(&spec.containers).any(&mut is_so)
        || spec.ephemeral_containers.items().iter().any(|it| is_so(&to_container(it)))
}
