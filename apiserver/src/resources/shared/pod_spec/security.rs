//! What is wrong with security contexts, of pods and of containers.

use std::{collections::BTreeSet, sync::LazyLock};

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{
    AppArmorProfile, PodSpec, SeccompProfile, SecurityContext, Sysctl, WindowsSecurityContextOptions,
};
use regex::Regex;

use super::{
    super::{
        internal::printed,
        metadata::invalid_each,
        names::{dns1123_subdomain, user_or_group_id},
        optional::{Items, Switch, one_of_or_empty_fault},
    },
    Rules, each_container, paths,
};

const SYSCTL_LENGTH_MAX: usize = 253;
/// PATH_MAX, less its terminator.
const APP_ARMOR_PROFILE_LENGTH_MAX: usize = 4095;
const GMSA_SPEC_KIB_MAX: usize = 64;
const WINDOWS_DOMAIN_LENGTH_MAX: usize = 256;
const WINDOWS_USER_LENGTH_MAX: usize = 104;

/// Faults of a container's security context.
pub(super) fn validate_container(
    context: Option<&SecurityContext>,
    host_users: bool,
    rules: &Rules,
    path: &Path,
) -> Faults {
    let Some(context) = context else { return Vec::new() };
    let mut faults = Vec::new();
    if rules.unprivileged && context.privileged.is_on() {
        faults.push(Fault::forbidden(&path.child("privileged"), "disallowed by cluster policy"));
    }
    for (field, id) in [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)] {
        faults.extend(self::id(&path.child(field), id));
    }
    if let Some(mount) = context.proc_mount.as_deref() {
        let path = path.child("procMount");
        faults.extend(one_of_or_empty_fault(&path, mount, &["Default", "Unmasked"]));
        if host_users && mount == "Unmasked" {
            faults.push(Fault::invalid(&path, mount, "`hostUsers` must be false to use `Unmasked`"));
        }
    }
    faults.extend(seccomp(context.seccomp_profile.as_ref(), &path.child("seccompProfile")));
    if context.allow_privilege_escalation == Some(false) {
        let mut contradiction =
            |what: &str| faults.push(Fault::invalid(path, printed("core.SecurityContext", context), what));
        if context.privileged.is_on() {
            contradiction("cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        let added = context.capabilities.iter().flat_map(|capabilities| capabilities.add.items());
        for _ in added.filter(|capability| *capability == "CAP_SYS_ADMIN") {
            contradiction(
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
    faults.extend(windows(context.windows_options.as_ref(), &path.child("windowsOptions")));
    faults.extend(app_armor(context.app_armor_profile.as_ref(), &path.child("appArmorProfile")));
    faults
}

/// Faults of a pod's security context.
pub(super) fn validate_pod(spec: &PodSpec, rules: &Rules, path: &Path) -> Faults {
    let Some(context) = &spec.security_context else { return Vec::new() };
    let path = path.child("securityContext");
    let mut faults = Vec::new();
    for (field, id) in [
        ("fsGroup", context.fs_group),
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
    ] {
        faults.extend(self::id(&path.child(field), id));
    }
    for (index, group) in context.supplemental_groups.items().iter().enumerate() {
        faults.extend(id(&path.child("supplementalGroups").index(index), Some(*group)));
    }
    if spec.share_process_namespace.is_on() && spec.host_pid.is_on() {
        faults.push(Fault::invalid(
            &path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
    faults.extend(all_sysctls(spec, rules, &path.child("sysctls")));
    let mut one_of = |field: &str, value: Option<&str>, supported: &[&str]| {
        faults.extend(value.and_then(|value| one_of_or_empty_fault(&path.child(field), value, supported)));
    };
    one_of("fsGroupChangePolicy", context.fs_group_change_policy.as_deref(), &["Always", "OnRootMismatch"]);
    faults.extend(seccomp(context.seccomp_profile.as_ref(), &path.child("seccompProfile")));
    faults.extend(windows(context.windows_options.as_ref(), &path.child("windowsOptions")));
    faults.extend(app_armor(context.app_armor_profile.as_ref(), &path.child("appArmorProfile")));
    let mut one_of = |field: &str, value: Option<&str>, supported: &[&str]| {
        faults.extend(value.and_then(|value| one_of_or_empty_fault(&path.child(field), value, supported)));
    };
    one_of("supplementalGroupsPolicy", context.supplemental_groups_policy.as_deref(), &["Merge", "Strict"]);
    let change_policies: &[&str] =
        if rules.any_selinux_change_policy { &["MountOption", "Recursive"] } else { &["Recursive"] };
    one_of("seLinuxChangePolicy", context.se_linux_change_policy.as_deref(), change_policies);
    faults
}

/// Faults of the id of a user or a group.
pub(super) fn id(path: &Path, id: Option<i64>) -> Faults {
    let Some(id) = id else { return Vec::new() };
    user_or_group_id(id).into_iter().map(|sentence| Fault::invalid(path, id, sentence)).collect()
}

// --- sysctls

/// The sysctls that a pod sets.
pub(super) fn sysctls(spec: &PodSpec) -> &[Sysctl] {
    spec.security_context.as_ref().map(|context| context.sysctls.items()).unwrap_or_default()
}

fn all_sysctls(spec: &PodSpec, rules: &Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (index, sysctl) in sysctls(spec).iter().enumerate() {
        let path = path.index(index).child("name");
        let name = sysctl.name.as_str();
        if name.is_empty() {
            faults.push(Fault::required(&path, ""));
        } else if !is_sysctl_name(name) {
            faults.push(Fault::invalid(
                &path,
                name,
                format!(
                    "must have at most {SYSCTL_LENGTH_MAX} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
                ),
            ));
        } else if names.contains(name) {
            faults.push(Fault::duplicate(&path, name));
        }
        if !rules.host_sysctls {
            faults.extend(host_sysctl(name, spec, &path));
        }
        names.insert(name);
    }
    faults
}

fn is_sysctl_name(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= SYSCTL_LENGTH_MAX
        && name.split(['.', '/']).all(|segment| {
            let bytes = segment.as_bytes();
            bytes.first().copied().is_some_and(alphanumeric)
                && bytes.last().copied().is_some_and(alphanumeric)
                && bytes.iter().all(|&byte| alphanumeric(byte) || matches!(byte, b'-' | b'_'))
        })
}

/// The fault of a sysctl that would change the node, since the pod shares that namespace with it.
pub(super) fn host_sysctl(name: &str, spec: &PodSpec, path: &Path) -> Option<Fault> {
    // A name may be written with slashes, then dots stand for slashes.
    let name_dotted = match name.find(['.', '/']) {
        Some(at) if name.as_bytes().get(at) == Some(&b'/') => name
            .chars()
            .map(|character| match character {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    };
    let begins = |prefix: &str| name_dotted.starts_with(prefix);
    let of_ipc =
        name_dotted == "kernel.sem" || ["kernel.shm", "kernel.msg", "fs.mqueue."].into_iter().any(begins);
    if spec.host_network.is_on() && begins("net.") {
        Some(Fault::invalid(path, name, "may not be specified when 'hostNetwork' is true"))
    } else if spec.host_ipc.is_on() && of_ipc {
        Some(Fault::invalid(path, name, "may not be specified when 'hostIPC' is true"))
    } else {
        None
    }
}

// --- profiles

fn seccomp(profile: Option<&SeccompProfile>, path: &Path) -> Faults {
    let Some(profile) = profile else { return Vec::new() };
    let mut faults = Vec::new();
    let type_path = path.child("type");
    match profile.type_.as_str() {
        "Localhost" | "RuntimeDefault" | "Unconfined" => {}
        "" => faults.push(Fault::required(&type_path, "type is required when seccompProfile is set")),
        other => {
            faults.push(Fault::not_supported(
                &type_path,
                other,
                &["Localhost", "RuntimeDefault", "Unconfined"],
            ));
        }
    }
    let path = path.child("localhostProfile");
    match (profile.type_.as_str(), profile.localhost_profile.as_deref()) {
        ("Localhost", None) => {
            faults.push(Fault::required(&path, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", Some(file)) => faults.extend(paths::local_descending(file, &path)),
        (_, Some(_)) => faults.push(Fault::invalid(
            &path,
            printed("core.SeccompProfile", profile),
            "can only be set when seccomp type is Localhost",
        )),
        (_, None) => {}
    }
    faults
}

/// Faults of an AppArmor profile.
pub(crate) fn app_armor(profile: Option<&AppArmorProfile>, path: &Path) -> Faults {
    let Some(profile) = profile else { return Vec::new() };
    let mut faults = Vec::new();
    let local_path = path.child("localhostProfile");
    let local = profile.localhost_profile.as_deref();
    match (profile.type_.as_str(), local) {
        ("Localhost", None) => {
            faults.push(Fault::required(&local_path, "must be set when AppArmor type is Localhost"));
        }
        ("Localhost", Some(name)) => {
            let trimmed = name.trim();
            if trimmed != name {
                faults.push(Fault::invalid(&local_path, name, "must not be padded with whitespace"));
            } else if trimmed.is_empty() {
                faults.push(Fault::required(&local_path, "must be set when AppArmor type is Localhost"));
            }
            if name.len() > APP_ARMOR_PROFILE_LENGTH_MAX {
                faults.push(Fault::too_long(&local_path, APP_ARMOR_PROFILE_LENGTH_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            faults.push(Fault::invalid(&local_path, name, "can only be set when AppArmor type is Localhost"))
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => {
            faults.push(Fault::required(&path.child("type"), "type is required when appArmorProfile is set"));
        }
        (other, _) => faults.push(Fault::not_supported(
            &path.child("type"),
            other,
            &["Localhost", "RuntimeDefault", "Unconfined"],
        )),
    }
    faults
}

// --- Windows

fn windows(options: Option<&WindowsSecurityContextOptions>, path: &Path) -> Faults {
    let Some(options) = options else { return Vec::new() };
    let mut faults = Vec::new();
    if let Some(name) = options.gmsa_credential_spec_name.as_deref() {
        faults.extend(invalid_each(&path.child("gmsaCredentialSpecName"), name, dns1123_subdomain(name)));
    }
    if let Some(spec) = options.gmsa_credential_spec.as_deref() {
        let path = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            faults.push(Fault::invalid(&path, spec, "gmsaCredentialSpec cannot be an empty string"));
        } else if spec.len() > GMSA_SPEC_KIB_MAX * 1024 {
            faults.push(Fault::invalid(
                &path,
                spec,
                format!("gmsaCredentialSpec size must be under {GMSA_SPEC_KIB_MAX} KiB"),
            ));
        }
    }
    if let Some(name) = options.run_as_user_name.as_deref() {
        faults.extend(invalid_each(&path.child("runAsUserName"), name, windows_user(name)));
    }
    faults
}

/// What is wrong with `DOMAIN\USER`, where the domain may be left out.
fn windows_user(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string".to_owned()];
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters".to_owned()];
    }
    let (domain, user) = match name.split_once('\\') {
        None => (None, name),
        Some((_, user)) if user.contains('\\') => {
            return vec!["runAsUserName cannot contain more than one backslash".to_owned()];
        }
        Some((domain, user)) => (Some(domain), user),
    };
    let mut faults = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= WINDOWS_DOMAIN_LENGTH_MAX {
            faults.push(format!(
                "runAsUserName's Domain length must be under {WINDOWS_DOMAIN_LENGTH_MAX} characters"
            ));
        }
        if !(NET_BIOS_DOMAIN.is_match(domain) || DNS_DOMAIN.is_match(domain)) {
            faults.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
        }
    }
    if user.is_empty() {
        faults.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > WINDOWS_USER_LENGTH_MAX {
        faults.push(format!(
            "runAsUserName's User length must not be longer than {WINDOWS_USER_LENGTH_MAX} characters"
        ));
    }
    if !user.is_empty() && user.bytes().all(|byte| matches!(byte, b'.' | b' ')) {
        faults.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        faults.push(
            "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]".to_owned(),
        );
    }
    faults
}

#[expect(clippy::unwrap_used, reason = "the expression is constant, and a test matches with it")]
static NET_BIOS_DOMAIN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$"#).unwrap());

static DNS_DOMAIN: LazyLock<Regex> = LazyLock::new(|| {
    const LABEL: &str = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    #[expect(clippy::unwrap_used, reason = "the expression is constant, and a test matches with it")]
    Regex::new(&format!(r"^{LABEL}(?:\.{LABEL})*$")).unwrap()
});

/// Faults of containers that are processes of a Windows node: then all must be.
pub(super) fn host_processes(spec: &PodSpec, rules: &Rules, path: &Path) -> Faults {
    let of_pod = spec
        .security_context
        .as_ref()
        .and_then(|context| context.windows_options.as_ref())
        .and_then(|options| options.host_process);
    let mut faults = Vec::new();
    let (mut all, mut host) = (0, 0);
    each_container(spec, path, |container, path| {
        all += 1;
        let own = container
            .security_context
            .as_ref()
            .and_then(|context| context.windows_options.as_ref())
            .and_then(|options| options.host_process);
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            faults.push(Fault::invalid(
                &path.child("securityContext.windowsOptions.hostProcess"),
                own,
                format!("pod hostProcess value must be identical if both are specified, was {of_pod}"),
            ));
        }
        if own.or(of_pod).is_on() {
            host += 1;
        }
    });
    if host > 0 {
        if host != all {
            faults.push(Fault::invalid(
                path,
                "",
                "If pod contains any hostProcess containers then all containers must be HostProcess containers",
            ));
        }
        if !spec.host_network.is_on() {
            faults.push(Fault::invalid(
                &path.child("hostNetwork"),
                false,
                "hostNetwork must be true if pod contains any hostProcess containers",
            ));
        }
        if rules.unprivileged {
            faults.push(Fault::forbidden(path, "hostProcess containers are disallowed by cluster policy"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_windows_user_may_have_a_domain() {
        for (name, expected) in [
            ("user", ""),
            (r"DOMAIN\user", ""),
            (r"a.example.com\user", ""),
            ("", "runAsUserName cannot be an empty string"),
            ("a\tb", "runAsUserName cannot contain control characters"),
            (r"a\b\c", "runAsUserName cannot contain more than one backslash"),
            (r".a\b", "runAsUserName's Domain doesn't match the NetBios nor the DNS format"),
            (r"a\", "runAsUserName's User cannot be empty"),
            ("...", "runAsUserName's User cannot contain only periods or spaces"),
            ("a@b", "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"),
        ] {
            assert_eq!(windows_user(name).join("; "), expected, "{name}");
        }
    }

    #[test]
    fn sysctls_have_dotted_or_slashed_names() {
        for (name, expected) in [
            ("kernel.shm_rmid_forced", true),
            ("net/ipv4/a", true),
            ("a..b", false),
            ("_a", false),
            ("A", false),
        ] {
            assert_eq!(is_sysctl_name(name), expected, "{name}");
        }
    }
}
