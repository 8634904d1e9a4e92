//! What the operating system of a pod rules out.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::PodSpec;

use super::{
    super::optional::{Items, Switch},
    each_container,
};

/// Faults of fields that the pod's operating system has no meaning for.
pub(super) fn validate(spec: &PodSpec, path: &Path) -> Faults {
    let Some(os) = &spec.os else { return Vec::new() };
    match os.name.as_str() {
        "linux" => linux(spec, path),
        "windows" => windows(spec, path),
        "" => vec![Fault::required(&path.child("os.name"), "")],
        other => vec![Fault::not_supported(&path.child("os"), other, &["linux", "windows"])],
    }
}

fn linux(spec: &PodSpec, path: &Path) -> Faults {
    let fault = |path: &Path| {
        Fault::forbidden(
            &path.child("securityContext.windowsOptions"),
            "windows options cannot be set for a linux pod",
        )
    };
    let mut faults = Vec::new();
    if spec.security_context.as_ref().is_some_and(|context| context.windows_options.is_some()) {
        faults.push(fault(path));
    }
    each_container(spec, path, |container, path| {
        if container.security_context.as_ref().is_some_and(|context| context.windows_options.is_some()) {
            faults.push(fault(path));
        }
    });
    faults
}

fn windows(spec: &PodSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut refuse = |path: &Path, fields: &[(&str, bool)]| {
        for (field, _) in fields.iter().filter(|(_, is_set)| *is_set) {
            faults.push(Fault::forbidden(&path.child(field), "cannot be set for a windows pod"));
        }
    };
    if let Some(context) = &spec.security_context {
        refuse(
            path,
            &[
                ("securityContext.appArmorProfile", context.app_armor_profile.is_some()),
                ("securityContext.seLinuxOptions", context.se_linux_options.is_some()),
                ("hostUsers", spec.host_users.is_some()),
                ("hostPID", spec.host_pid.is_on()),
                ("hostIPC", spec.host_ipc.is_on()),
                ("securityContext.seccompProfile", context.seccomp_profile.is_some()),
                ("securityContext.fsGroup", context.fs_group.is_some()),
                ("securityContext.fsGroupChangePolicy", context.fs_group_change_policy.is_some()),
                ("securityContext.sysctls", !context.sysctls.items().is_empty()),
                ("shareProcessNamespace", spec.share_process_namespace.is_some()),
                ("securityContext.runAsUser", context.run_as_user.is_some()),
                ("securityContext.runAsGroup", context.run_as_group.is_some()),
                ("securityContext.supplementalGroups", context.supplemental_groups.is_some()),
                ("securityContext.supplementalGroupsPolicy", context.supplemental_groups_policy.is_some()),
                ("securityContext.seLinuxChangePolicy", context.se_linux_change_policy.is_some()),
            ],
        );
    }
    each_container(spec, path, |container, path| {
        let Some(context) = &container.security_context else { return };
        refuse(
            &path.child("securityContext"),
            &[
                ("appArmorProfile", context.app_armor_profile.is_some()),
                ("seLinuxOptions", context.se_linux_options.is_some()),
                ("seccompProfile", context.seccomp_profile.is_some()),
                ("capabilities", context.capabilities.is_some()),
                ("readOnlyRootFilesystem", context.read_only_root_filesystem.is_some()),
                ("privileged", context.privileged.is_some()),
                ("allowPrivilegeEscalation", context.allow_privilege_escalation.is_some()),
                ("procMount", context.proc_mount.is_some()),
                ("runAsUser", context.run_as_user.is_some()),
                ("runAsGroup", context.run_as_group.is_some()),
            ],
        );
    });
    faults
}

/// Faults of a pod with users of its own that takes what belongs to the node's.
pub(super) fn own_users(spec: &PodSpec, rules: &super::Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if spec.host_users != Some(false) {
        return faults;
    }
    let fault = |path: Path| Fault::forbidden(&path, "when `hostUsers` is false");
    if spec.host_network.is_on() && !rules.host_network_without_host_users {
        faults.push(fault(path.child("hostNetwork")));
    }
    if spec.host_pid.is_on() {
        faults.push(fault(path.child("HostPID")));
    }
    if spec.host_ipc.is_on() {
        faults.push(fault(path.child("HostIPC")));
    }
    if !rules.devices_without_host_users {
        each_container(spec, path, |container, path| {
            if !container.volume_devices.items().is_empty() {
                faults.push(fault(path.child("volumeDevices")));
            }
        });
    }
    faults
}
