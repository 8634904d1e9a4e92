//! The Pod Security Standards: what a Pod must not do, by level and release.
//!
//! Source of the rules: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use api_types::field::{Path, go_quote};
use k8s_openapi::api::core::v1::{
    Container, LifecycleHandler, PodSpec, Probe, SELinuxOptions, SecurityContext, Volume,
};

use super::policy::{Level, Standard, Version};
use crate::resources::shared::{
    optional::{Items as _, Switch as _, Text as _},
    pod_spec::each_container,
};

/// The last release that changed a rule.
const NEWEST: u32 = 35;

/// What is judged.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) annotations: &'a BTreeMap<String, String>,
    pub(super) spec: &'a PodSpec,
}

/// One thing a Pod does and must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) reason: &'static str,
    detail: String,
}

/// One rule.
struct Rule {
    level: Level,
    /// The first release that has it.
    since: u32,
    /// The release whose stricter rule of the highest level takes this one's place there.
    until_restricted: Option<u32>,
    check: fn(Subject<'_>, u32) -> Option<Violation>,
}

const fn baseline(
    since: u32,
    until_restricted: Option<u32>,
    check: fn(Subject<'_>, u32) -> Option<Violation>,
) -> Rule {
    Rule { level: Level::Baseline, since, until_restricted, check }
}

const fn restricted(since: u32, check: fn(Subject<'_>, u32) -> Option<Violation>) -> Rule {
    Rule { level: Level::Restricted, since, until_restricted: None, check }
}

/// In the order violations are told.
const RULES: &[Rule] = &[
    baseline(0, None, app_armor),
    baseline(0, Some(22), capabilities),
    baseline(0, None, host_namespaces),
    baseline(0, Some(0), host_paths),
    baseline(0, None, host_ports),
    baseline(34, None, hosts_of_probes),
    baseline(0, None, privileged),
    baseline(0, Some(35), proc_mount_of_host_users),
    baseline(0, None, selinux),
    baseline(0, Some(19), seccomp),
    baseline(0, None, sysctls),
    baseline(0, None, host_process),
    restricted(8, privilege_escalation),
    restricted(22, few_capabilities),
    restricted(35, proc_mount),
    restricted(0, volume_types),
    restricted(0, no_root),
    restricted(23, no_root_user),
    restricted(19, seccomp_set),
];

/// What violates the standard, in upstream's order.
pub(super) fn violations(standard: Standard, subject: Subject<'_>) -> Vec<Violation> {
    let release = match standard.version {
        Version::Latest => NEWEST,
        Version::Minor(minor) => minor.min(NEWEST),
    };
    let holds = |rule: &&Rule| {
        let replaced = standard.level == Level::Restricted
            && rule.until_restricted.is_some_and(|until| release >= until);
        rule.level <= standard.level && release >= rule.since && !replaced
    };
    RULES.iter().filter(holds).filter_map(|rule| (rule.check)(subject, release)).collect()
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

// --- words

/// Names in quotes, as they are.
fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("\"{}\"", name.as_ref())).collect();
    names.join(", ")
}

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
fn containers<T: AsRef<str>>(names: &[T]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

/// Who does it: the pod, containers, or both.
fn setters(pod: bool, names: &[String]) -> Option<String> {
    match (pod, names.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(containers(names)),
        (true, false) => Some(format!("pod and {}", containers(names))),
    }
}

fn violation(reason: &'static str, detail: String) -> Option<Violation> {
    Some(Violation { reason, detail })
}

// --- looking

/// The names of the containers, of every sort, that are so.
fn that(subject: Subject<'_>, mut are: impl FnMut(&Container) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    each_container(subject.spec, &Path::root(), |container, _| {
        if are(container) {
            names.push(container.name.clone());
        }
    });
    names
}

fn is_windows(subject: Subject<'_>) -> bool {
    subject.spec.os.as_ref().is_some_and(|os| os.name == "windows")
}

/// Whether root in the pod is nobody on the node; from this release on some rules do not hold then.
fn has_own_users(subject: Subject<'_>, release: u32) -> bool {
    release >= 35 && subject.spec.host_users == Some(false)
}

fn context(container: &Container) -> Option<&SecurityContext> {
    container.security_context.as_ref()
}

// --- baseline

fn app_armor(subject: Subject<'_>, _release: u32) -> Option<Violation> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut values: BTreeSet<String> = BTreeSet::new();
    let mut is_bad = |kind: Option<&str>| {
        let bad = kind.filter(|kind| !matches!(*kind, "RuntimeDefault" | "Localhost"));
        values.extend(bad.map(str::to_owned));
        bad.is_some()
    };
    let of_pod = subject.spec.security_context.as_ref().and_then(|it| it.app_armor_profile.as_ref());
    let pod = is_bad(of_pod.map(|it| it.type_.as_str()));
    let names = that(subject, |container| {
        let profile = context(container).and_then(|it| it.app_armor_profile.as_ref());
        is_bad(profile.map(|it| it.type_.as_str()))
    });
    let allowed =
        |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations: Vec<String> = subject
        .annotations
        .iter()
        .filter(|(key, value)| key.starts_with(PREFIX) && !allowed(value))
        .map(|(key, value)| format!("{key}={}", go_quote(value)))
        .collect();
    let mut who: Vec<String> = setters(pod, &names).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural(annotations.len(), "annotation", "annotations").to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<String> = values.into_iter().chain(annotations).collect();
    violation(
        plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles"),
        format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)),
    )
}

fn capabilities(subject: Subject<'_>, _release: u32) -> Option<Violation> {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let (names, added) = adding(subject, |capability| !ALLOWED.contains(&capability));
    if names.is_empty() {
        return None;
    }
    violation("non-default capabilities", not_to_add(&names, &added))
}

/// The containers that add such capabilities, and those.
fn adding(subject: Subject<'_>, is_bad: impl Fn(&str) -> bool) -> (Vec<String>, BTreeSet<String>) {
    let mut added = BTreeSet::new();
    let names = that(subject, |container| {
        let capabilities = context(container).and_then(|it| it.capabilities.as_ref());
        let bad = capabilities.into_iter().flat_map(|it| it.add.items()).filter(|it| is_bad(it));
        let bad: Vec<String> = bad.cloned().collect();
        let any = !bad.is_empty();
        added.extend(bad);
        any
    });
    (names, added)
}

fn not_to_add(names: &[String], added: &BTreeSet<String>) -> String {
    format!("{} must not include {} in securityContext.capabilities.add", containers(names), quoted(added))
}

fn host_namespaces(subject: Subject<'_>, _release: u32) -> Option<Violation> {
    let spec = subject.spec;
    let used: Vec<&str> = [
        (spec.host_network, "hostNetwork=true"),
        (spec.host_pid, "hostPID=true"),
        (spec.host_ipc, "hostIPC=true"),
    ]
    .into_iter()
    .filter(|(on, _)| on.is_on())
    .map(|(_, text)| text)
    .collect();
    if used.is_empty() { None } else { violation("host namespaces", used.join(", ")) }
}

fn host_paths(subject: Subject<'_>, _release: u32) -> Option<Violation> {
    let volumes = subject.spec.volumes.items().iter().filter(|volume| volume.host_path.is_some());
    let names: Vec<&str> = volumes.map(|volume| volume.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural(names.len(), "volume", "volumes"), quoted(&names));
    violation("hostPath volumes", detail)
}

fn host_ports(subject: Subject<'_>, _release: u32) -> Option<Violation> {
    let mut ports: BTreeSet<String> = BTreeSet::new();
    let names = that(subject, |container| {
        let used = container.ports.items().iter().filter_map(|port| port.host_port).filter(|port| *port != 0);
        let used: Vec<String> = used.map(|port| port.to_string()).collect();
        let any = !used.is_empty();
        ports.extend(used);
        any
    });
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        plural(names.len(), "uses", "use"),
        plural(ports.len(), "hostPort", "hostPorts"),
        ports.into_iter().collect::<Vec<_>>().join(", ")
    );
    violation("hostPort", detail)
}

fn hosts_of_probes(subject: Subject<'_>, _release: u32) -> Option<Violation> {
    let mut hosts: BTreeSet<String> = BTreeSet::new();
    let names: BTreeSet<String> = that(subject, |container| {
        let of_probe = |probe: &Option<Probe>| {
            let probe = probe.as_ref();
            [
                probe.and_then(|it| it.http_get.as_ref()).and_then(|it| it.host.clone()),
                probe.and_then(|it| it.tcp_socket.as_ref()).and_then(|it| it.host.clone()),
            ]
        };
        let of_handler = |handler: Option<&LifecycleHandler>| {
            [
                handler.and_then(|it| it.http_get.as_ref()).and_then(|it| it.host.clone()),
                handler.and_then(|it| it.tcp_socket.as_ref()).and_then(|it| it.host.clone()),
            ]
        };
        let lifecycle = container.lifecycle.as_ref();
        let named: Vec<String> = [
            of_probe(&container.liveness_probe),
            of_probe(&container.readiness_probe),
            of_probe(&container.startup_probe),
            of_handler(lifecycle.and_then(|it| it.post_start.as_ref())),
            of_handler(lifecycle.and_then(|it| it.pre_stop.as_ref())),
        ]
        .into_iter()
        .flatten()
        .flatten()
        .filter(|host| !host.is_empty())
        .collect();
        let any = !named.is_empty();
        hosts.extend(named);
        any
    })
    .into_iter()
    .collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<String> = names.into_iter().collect();
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        plural(names.len(), "uses", "use"),
        plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts"),
        quoted(&hosts)
    );
    violation("probe or lifecycle host", detail)
}

fn privileged(subject: Subject<'_>, _release: u32) -> Option<Violation> {
    let names = that(subject, |container| context(container).is_some_and(|it| it.privileged.is_on()));
    if names.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", containers(&names)))
}

fn proc_mount_of_host_users(subject: Subject<'_>, release: u32) -> Option<Violation> {
    if has_own_users(subject, release) { None } else { proc_mount(subject, release) }
}

fn proc_mount(subject: Subject<'_>, _release: u32) -> Option<Violation> {
    let mut kinds: BTreeSet<String> = BTreeSet::new();
    let names = that(subject, |container| {
        let kind = context(container).and_then(|it| it.proc_mount.clone()).filter(|kind| kind != "Default");
        let any = kind.is_some();
        kinds.extend(kind);
        any
    });
    if names.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(&kinds));
    violation("procMount", detail)
}

fn selinux(subject: Subject<'_>, release: u32) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut is_bad = |options: Option<&SELinuxOptions>| {
        let Some(options) = options else { return false };
        let kind = options.type_.text();
        let allowed = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || release >= 31 && kind == "container_engine_t";
        if !allowed {
            types.insert(kind.to_owned());
        }
        let (has_user, has_role) = (!options.user.text().is_empty(), !options.role.text().is_empty());
        user |= has_user;
        role |= has_role;
        !allowed || has_user || has_role
    };
    let pod = is_bad(subject.spec.security_context.as_ref().and_then(|it| it.se_linux_options.as_ref()));
    let names =
        that(subject, |container| is_bad(context(container).and_then(|it| it.se_linux_options.as_ref())));
    let who = setters(pod, &names)?;
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(&types)));
    }
    if user {
        what.push("user may not be set".to_owned());
    }
    if role {
        what.push("role may not be set".to_owned());
    }
    let what = what.join("; ");
    violation("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {what}"))
}

fn seccomp(subject: Subject<'_>, release: u32) -> Option<Violation> {
    if release < 19 {
        return seccomp_of_annotations(subject);
    }
    bad_seccomp(subject).0
}

/// Before there were fields.
fn seccomp_of_annotations(subject: Subject<'_>) -> Option<Violation> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let mut keys = vec![POD.to_owned()];
    keys.extend(that(subject, |_| true).into_iter().map(|name| format!("{CONTAINER}{name}")));
    let allowed = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let forbidden: BTreeSet<String> = keys
        .iter()
        .filter_map(|key| subject.annotations.get(key).map(|value| (key, value)))
        .filter(|(_, value)| !allowed(value))
        .map(|(key, value)| format!("{key}={}", go_quote(value)))
        .collect();
    if forbidden.is_empty() {
        return None;
    }
    let word = plural(forbidden.len(), "annotation", "annotations");
    let listed = forbidden.into_iter().collect::<Vec<_>>().join(", ");
    violation("seccompProfile", format!("forbidden {word} {listed}"))
}

/// The violation of profiles that are forbidden; and, of no matter, who has no profile at all.
fn bad_seccomp(subject: Subject<'_>) -> (Option<Violation>, Vec<String>) {
    let mut kinds: BTreeSet<String> = BTreeSet::new();
    let mut is_bad = |kind: &str| {
        let bad = !matches!(kind, "Localhost" | "RuntimeDefault");
        if bad {
            kinds.insert(kind.to_owned());
        }
        bad
    };
    let of_pod = subject.spec.security_context.as_ref().and_then(|it| it.seccomp_profile.as_ref());
    let pod = of_pod.is_some_and(|it| is_bad(&it.type_));
    let covered = of_pod.is_some() && !pod;
    let mut without = Vec::new();
    let names =
        that(subject, |container| match context(container).and_then(|it| it.seccomp_profile.as_ref()) {
            Some(profile) => is_bad(&profile.type_),
            None => {
                if !covered {
                    without.push(container.name.clone());
                }
                false
            }
        });
    let found = setters(pod, &names).and_then(|who| {
        let kinds = quoted(&kinds);
        violation(
            "seccompProfile",
            format!("{who} must not set securityContext.seccompProfile.type to {kinds}"),
        )
    });
    (found, without)
}

fn sysctls(subject: Subject<'_>, release: u32) -> Option<Violation> {
    const ALLOWED: [(&str, u32); 12] = [
        ("kernel.shm_rmid_forced", 0),
        ("net.ipv4.ip_local_port_range", 0),
        ("net.ipv4.tcp_syncookies", 0),
        ("net.ipv4.ping_group_range", 0),
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_fin_timeout", 29),
        ("net.ipv4.tcp_keepalive_intvl", 29),
        ("net.ipv4.tcp_keepalive_probes", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_wmem", 32),
    ];
    let context = subject.spec.security_context.as_ref();
    let names = context.into_iter().flat_map(|it| it.sysctls.items()).map(|it| it.name.as_str());
    let allowed = |name: &str| ALLOWED.iter().any(|(known, since)| *known == name && release >= *since);
    let forbidden: Vec<&str> = names.filter(|name| !allowed(name)).collect();
    if forbidden.is_empty() { None } else { violation("forbidden sysctls", forbidden.join(", ")) }
}

fn host_process(subject: Subject<'_>, _release: u32) -> Option<Violation> {
    let of_pod = subject.spec.security_context.as_ref().and_then(|it| it.windows_options.as_ref());
    let pod = of_pod.is_some_and(|it| it.host_process.is_on());
    let names = that(subject, |container| {
        let options = context(container).and_then(|it| it.windows_options.as_ref());
        options.is_some_and(|it| it.host_process.is_on())
    });
    let who = setters(pod, &names)?;
    violation("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}

// --- restricted

fn privilege_escalation(subject: Subject<'_>, release: u32) -> Option<Violation> {
    if release >= 25 && is_windows(subject) {
        return None;
    }
    let names = that(subject, |container| {
        context(container).and_then(|it| it.allow_privilege_escalation) != Some(false)
    });
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
    violation("allowPrivilegeEscalation != false", detail)
}

fn few_capabilities(subject: Subject<'_>, release: u32) -> Option<Violation> {
    if release >= 25 && is_windows(subject) {
        return None;
    }
    let keeping = that(subject, |container| {
        let dropped = context(container).and_then(|it| it.capabilities.as_ref());
        !dropped.is_some_and(|it| it.drop.items().iter().any(|it| it == "ALL"))
    });
    let (names, added) = adding(subject, |capability| capability != "NET_BIND_SERVICE");
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details
            .push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    }
    if !names.is_empty() {
        details.push(not_to_add(&names, &added));
    }
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

fn volume_types(subject: Subject<'_>, _release: u32) -> Option<Violation> {
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in subject.spec.volumes.items() {
        if let Some(kind) = restricted_type(volume) {
            names.push(volume.name.as_str());
            kinds.insert(kind);
        }
    }
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {} {}",
        plural(names.len(), "volume", "volumes"),
        quoted(&names),
        plural(names.len(), "uses", "use"),
        plural(kinds.len(), "restricted volume type", "restricted volume types"),
        quoted(&kinds)
    );
    violation("restricted volume types", detail)
}

fn restricted_type(volume: &Volume) -> Option<&'static str> {
    let allowed = volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.image.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some();
    if allowed {
        return None;
    }
    let known = [
        (volume.host_path.is_some(), "hostPath"),
        (volume.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (volume.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (volume.git_repo.is_some(), "gitRepo"),
        (volume.nfs.is_some(), "nfs"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.glusterfs.is_some(), "glusterfs"),
        (volume.rbd.is_some(), "rbd"),
        (volume.flex_volume.is_some(), "flexVolume"),
        (volume.cinder.is_some(), "cinder"),
        (volume.cephfs.is_some(), "cephfs"),
        (volume.flocker.is_some(), "flocker"),
        (volume.fc.is_some(), "fc"),
        (volume.azure_file.is_some(), "azureFile"),
        (volume.vsphere_volume.is_some(), "vsphereVolume"),
        (volume.quobyte.is_some(), "quobyte"),
        (volume.azure_disk.is_some(), "azureDisk"),
        (volume.photon_persistent_disk.is_some(), "photonPersistentDisk"),
        (volume.portworx_volume.is_some(), "portworxVolume"),
        (volume.scale_io.is_some(), "scaleIO"),
        (volume.storageos.is_some(), "storageos"),
    ];
    Some(known.into_iter().find(|(is_it, _)| *is_it).map_or("unknown", |(_, kind)| kind))
}

fn no_root(subject: Subject<'_>, release: u32) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if has_own_users(subject, release) {
        return None;
    }
    let of_pod = subject.spec.security_context.as_ref().and_then(|it| it.run_as_non_root);
    let says = |container: &Container| context(container).and_then(|it| it.run_as_non_root);
    let names = that(subject, |container| says(container) == Some(false));
    if let Some(who) = setters(of_pod == Some(false), &names) {
        return violation(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = that(subject, |container| says(container).is_none() && of_pod != Some(true));
    if silent.is_empty() {
        return None;
    }
    let silent = containers(&silent);
    violation(REASON, format!("pod or {silent} must set securityContext.runAsNonRoot=true"))
}

fn no_root_user(subject: Subject<'_>, release: u32) -> Option<Violation> {
    if has_own_users(subject, release) {
        return None;
    }
    let pod = subject.spec.security_context.as_ref().and_then(|it| it.run_as_user) == Some(0);
    let names = that(subject, |container| context(container).and_then(|it| it.run_as_user) == Some(0));
    let who = setters(pod, &names)?;
    violation("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

fn seccomp_set(subject: Subject<'_>, release: u32) -> Option<Violation> {
    if release >= 25 && is_windows(subject) {
        return None;
    }
    let (bad, without) = bad_seccomp(subject);
    if bad.is_some() || without.is_empty() {
        return bad;
    }
    let without = containers(&without);
    violation(
        "seccompProfile",
        format!(
            "pod or {without} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(level: Level, version: Version, annotations: &[(&str, &str)], spec: Value) -> Vec<String> {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let annotations: BTreeMap<String, String> = annotations.collect();
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let subject = Subject { annotations: &annotations, spec: &spec };
        violations(Standard { level, version }, subject).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plain_pod_is_fine_but_for_the_highest_level() {
        let plain = || json!({"containers": [{"name": "a"}, {"name": "b"}]});
        assert_eq!(check(Level::Privileged, Version::Latest, &[], plain()), [""; 0]);
        assert_eq!(check(Level::Baseline, Version::Latest, &[], plain()), [""; 0]);
        assert_eq!(
            check(Level::Restricted, Version::Latest, &[], plain()),
            [
                r#"allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false)"#,
                r#"unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"])"#,
                r#"runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true)"#,
                r#"seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#,
            ]
        );
        assert_eq!(
            check(Level::Restricted, Version::Minor(7), &[], json!({"containers": [{"name": "a"}]})),
            [r#"runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true)"#]
        );
        let careful = json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "Localhost"}},
            "containers": [{"name": "a", "securityContext": {"allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}]});
        assert_eq!(check(Level::Restricted, Version::Latest, &[], careful), [""; 0]);
    }

    #[test]
    fn a_pod_that_reaches_for_its_node_is_told_everything() {
        let spec = json!({
            "hostNetwork": true, "hostPID": true,
            "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}, {"name": "net.ipv4.tcp_rmem", "value": "1"}],
                "seLinuxOptions": {"type": "x", "user": "u"}, "runAsUser": 0,
                "appArmorProfile": {"type": "Unconfined"}, "windowsOptions": {"hostProcess": true}},
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "nfs": {"path": "/", "server": "s"}}],
            "initContainers": [{"name": "i", "securityContext": {"privileged": true, "procMount": "Unmasked"}}],
            "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 443}],
                "livenessProbe": {"httpGet": {"host": "h", "port": 80}},
                "securityContext": {"capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}, "seccompProfile": {"type": "Unconfined"}, "runAsNonRoot": false}}]});
        let annotations = [("container.apparmor.security.beta.kubernetes.io/c", "unconfined")];
        assert_eq!(
            check(Level::Baseline, Version::Latest, &annotations, spec.clone()),
            [
                r#"forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to "Unconfined", "container.apparmor.security.beta.kubernetes.io/c="unconfined"")"#,
                r#"non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)"#,
                "host namespaces (hostNetwork=true, hostPID=true)",
                r#"hostPath volumes (volume "v")"#,
                r#"hostPort (container "c" uses hostPorts 443, 80)"#,
                r#"probe or lifecycle host (container "c" uses probe or lifecycle host "h")"#,
                r#"privileged (container "i" must not set securityContext.privileged=true)"#,
                r#"procMount (container "i" must not set securityContext.procMount to "Unmasked")"#,
                r#"seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "x"; user may not be set)"#,
                r#"seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")"#,
                "forbidden sysctls (kernel.msgmax)",
                "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
            ]
        );
        let restricted = check(Level::Restricted, Version::Latest, &[], spec);
        assert_eq!(
            restricted.get(6..).unwrap(),
            [
                r#"forbidden sysctls (kernel.msgmax)"#,
                r#"hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"#,
                r#"allowPrivilegeEscalation != false (containers "i", "c" must set securityContext.allowPrivilegeEscalation=false)"#,
                r#"unrestricted capabilities (containers "i", "c" must set securityContext.capabilities.drop=["ALL"]; container "c" must not include "CHOWN", "SYS_ADMIN" in securityContext.capabilities.add)"#,
                r#"procMount (container "i" must not set securityContext.procMount to "Unmasked")"#,
                r#"restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")"#,
                r#"runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)"#,
                r#"runAsUser=0 (pod must not set runAsUser=0)"#,
                r#"seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")"#,
            ]
        );
    }

    #[test]
    fn older_releases_looked_at_annotations_and_knew_fewer_sysctls() {
        let spec = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "1"}]},
            "containers": [{"name": "c"}]});
        let annotations = [
            ("seccomp.security.alpha.kubernetes.io/pod", "unconfined"),
            ("container.seccomp.security.alpha.kubernetes.io/c", "docker/default"),
        ];
        assert_eq!(
            check(Level::Baseline, Version::Minor(18), &annotations, spec),
            [
                r#"seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")"#,
                "forbidden sysctls (net.ipv4.tcp_rmem)",
            ]
        );
    }

    #[test]
    fn users_of_the_pods_own_may_be_root() {
        let spec = |host_users: bool| {
            json!({"hostUsers": host_users, "securityContext": {"runAsUser": 0},
            "containers": [{"name": "c", "securityContext": {"procMount": "Unmasked"}}]})
        };
        assert_eq!(check(Level::Baseline, Version::Latest, &[], spec(false)), [""; 0]);
        assert_eq!(check(Level::Baseline, Version::Minor(34), &[], spec(false)).len(), 1);
        assert_eq!(check(Level::Baseline, Version::Latest, &[], spec(true)).len(), 1);
        let restricted = check(Level::Restricted, Version::Latest, &[], spec(false));
        assert!(!restricted.iter().any(|it| it.starts_with("runAs")), "{restricted:?}");
        assert!(restricted.iter().any(|it| it.starts_with("procMount")), "{restricted:?}");
    }
}
