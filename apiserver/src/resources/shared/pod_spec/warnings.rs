//! What the writer of a pod or a template should know, though it is accepted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use api_types::field::{Path, go_quote};
use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, DownwardAPIVolumeFile, KeyToPath, NodeSelectorTerm, PodAffinityTerm,
    PodSpec, Volume, VolumeProjection, WeightedPodAffinityTerm,
};

use super::{
    super::{
        addresses::ip_warnings,
        claims,
        names::label_value,
        optional::{Entries, Items, Text},
        quantities::{ResourceList, amount, is_fractional},
    },
    annotations::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD, app_armor_profile},
    each_container,
};

/// Labels of nodes that have better names by now, and what to say of them.
const OLD_NODE_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// What to say of a label of nodes, if it is an old one.
pub(crate) fn old_node_label(label: &str) -> Option<&'static str> {
    OLD_NODE_LABELS.iter().find(|(old, _)| *old == label).map(|(_, message)| *message)
}

/// All warnings. The path is that of the template, or none for a pod, as are its annotations.
pub(crate) fn warnings(
    spec: &PodSpec,
    annotations: &Option<BTreeMap<String, String>>,
    template: Option<&Path>,
) -> Vec<String> {
    let root = template.cloned().unwrap_or_default();
    let path = root.child("spec");
    let mut warnings = Vec::new();
    for (label, _) in spec.node_selector.entries() {
        if let Some(message) = old_node_label(label) {
            warnings.push(format!("{}: {message}", path.child("nodeSelector").key(label)));
        }
    }
    if let Some(affinity) = &spec.affinity {
        node_affinity(affinity, &path, &mut warnings);
    }
    spread(spec, &path, &mut warnings);
    let annotations_path = root.child("metadata.annotations");
    for (annotation, message) in OLD_ANNOTATIONS {
        if annotations.at(annotation).is_some() {
            warnings.push(format!("{}: {message}", annotations_path.key(annotation)));
        }
    }
    for (index, volume) in spec.volumes.items().iter().enumerate() {
        self::volume(volume, &path.child("volumes").index(index), &mut warnings);
    }
    for volume in spec.volumes.items() {
        overlaps(volume, &mut warnings);
    }
    repeated(spec, &path, &mut warnings);
    for resource in ["memory", "ephemeral-storage"] {
        fractional(spec.overhead.as_ref(), resource, &path.child("overhead"), &mut warnings);
    }
    let context = spec.security_context.as_ref();
    if context.is_none_or(|context| context.seccomp_profile.is_none())
        && annotations.at(SECCOMP_POD).is_some()
    {
        warnings.push(no_seccomp(&annotations_path.key(SECCOMP_POD)));
    }
    let pod_profile = context.and_then(|context| context.app_armor_profile.as_ref());
    each_container(spec, &path, |container, path| {
        let context = container.security_context.as_ref();
        let key = format!("{SECCOMP_CONTAINER}{}", container.name);
        if context.is_none_or(|context| context.seccomp_profile.is_none()) && annotations.at(&key).is_some() {
            warnings.push(no_seccomp(&annotations_path.key(&key)));
        }
        let key = format!("{APP_ARMOR}{}", container.name);
        if let Some(annotation) = annotations.at(&key)
            && context.is_none_or(|context| context.app_armor_profile.is_none())
        {
            let profile = app_armor_profile(annotation);
            // For a pod the annotation becomes the field, unless it means nothing; for a template it does not.
            let unheard = match template {
                Some(_) => pod_profile.is_none() || pod_profile != profile.as_ref(),
                None => {
                    spec.os.as_ref().is_none_or(|os| os.name != "windows")
                        && (profile.is_none() || pod_profile != profile.as_ref())
                }
            };
            if unheard {
                warnings.push(format!(
                    "{}: deprecated since v1.30; use the \"appArmorProfile\" field instead",
                    annotations_path.key(&key)
                ));
            }
        }
        self::container(container, path, &mut warnings);
    });
    ports(spec, &path, &mut warnings);
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        warnings.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            path.child("terminationGracePeriodSeconds")
        ));
    }
    if let Some(affinity) = &spec.affinity {
        pod_affinity(affinity, &path.child("affinity"), &mut warnings);
    }
    if let Some(config) = &spec.dns_config {
        for (index, nameserver) in config.nameservers.items().iter().enumerate() {
            warnings.extend(ip_warnings(&path.child("dnsConfig.nameservers").index(index), nameserver));
        }
    }
    for (index, alias) in spec.host_aliases.items().iter().enumerate() {
        warnings.extend(ip_warnings(&path.child("hostAliases").index(index).child("ip"), &alias.ip));
    }
    warnings
}

fn no_seccomp(path: &Path) -> String {
    format!("{path}: non-functional in v1.27+; use the \"seccompProfile\" field instead")
}

fn no_selector(path: &Path) -> String {
    format!("{path}: a null labelSelector results in matching no pod")
}

fn node_affinity(affinity: &Affinity, path: &Path, warnings: &mut Vec<String>) {
    let Some(affinity) = &affinity.node_affinity else { return };
    let path = path.child("affinity.nodeAffinity");
    if let Some(selector) = &affinity.required_during_scheduling_ignored_during_execution {
        let path = path.child("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        for (index, term) in selector.node_selector_terms.iter().enumerate() {
            warnings.extend(node_selector_term(term, false, &path.index(index)));
        }
    }
    let path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.items();
    for (index, term) in preferred.iter().enumerate() {
        warnings.extend(node_selector_term(&term.preference, true, &path.index(index).child("preference")));
    }
}

/// What to say of a term of a node selector; of its values only if they have not been judged.
pub(crate) fn node_selector_term(term: &NodeSelectorTerm, values: bool, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, expression) in term.match_expressions.items().iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        if let Some(message) = old_node_label(&expression.key) {
            warnings.push(format!("{}: {} is {message}", path.child("key"), expression.key));
        }
        if values {
            for (index, value) in expression.values.items().iter().enumerate() {
                let path = path.child("values").index(index);
                let sentences = label_value(value);
                warnings.extend(
                    sentences.iter().map(|sentence| format!("{path}: {value} is invalid, {sentence}")),
                );
            }
        }
    }
    warnings
}

fn spread(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    for (index, constraint) in spec.topology_spread_constraints.items().iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(index);
        let key = constraint.topology_key.as_str();
        if let Some(message) = old_node_label(key) {
            warnings.push(format!("{}: {key} is {message}", path.child("topologyKey")));
        }
        if constraint.label_selector.is_none() {
            warnings.push(no_selector(&path.child("labelSelector")));
        }
    }
}

fn pod_affinity(affinity: &Affinity, path: &Path, warnings: &mut Vec<String>) {
    let mut terms = |required: &[PodAffinityTerm], preferred: &[WeightedPodAffinityTerm], path: &Path| {
        let required_path = path.child("requiredDuringSchedulingIgnoredDuringExecution");
        for (index, _) in required.iter().enumerate().filter(|(_, term)| term.label_selector.is_none()) {
            warnings.push(no_selector(&required_path.index(index).child("labelSelector")));
        }
        let preferred_path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
        for (index, _) in
            preferred.iter().enumerate().filter(|(_, term)| term.pod_affinity_term.label_selector.is_none())
        {
            warnings.push(no_selector(&preferred_path.index(index).child("podAffinityTerm.labelSelector")));
        }
    };
    if let Some(it) = &affinity.pod_affinity {
        terms(
            it.required_during_scheduling_ignored_during_execution.items(),
            it.preferred_during_scheduling_ignored_during_execution.items(),
            &path.child("podAffinity"),
        );
    }
    if let Some(it) = &affinity.pod_anti_affinity {
        terms(
            it.required_during_scheduling_ignored_during_execution.items(),
            it.preferred_during_scheduling_ignored_during_execution.items(),
            &path.child("podAntiAffinity"),
        );
    }
}

// --- volumes

fn volume(volume: &Volume, path: &Path, warnings: &mut Vec<String>) {
    let gone = [
        (
            "photonPersistentDisk",
            volume.photon_persistent_disk.is_some(),
            "deprecated in v1.11, non-functional in v1.16+",
        ),
        ("gitRepo", volume.git_repo.is_some(), "deprecated in v1.11, and disabled by default in v1.33+"),
        ("scaleIO", volume.scale_io.is_some(), "deprecated in v1.16, non-functional in v1.22+"),
        ("flocker", volume.flocker.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("storageOS", volume.storageos.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("quobyte", volume.quobyte.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", volume.glusterfs.is_some(), "deprecated in v1.25, non-functional in v1.26+"),
    ];
    let mut say = |(field, is_set, message): (&str, bool, &str)| {
        if is_set {
            warnings.push(format!("{}: {message}", path.child(field)));
        }
    };
    gone.into_iter().for_each(&mut say);
    let gone_later = [
        ("cephfs", volume.cephfs.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", volume.rbd.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
    ];
    if let Some(template) = volume.ephemeral.as_ref().and_then(|it| it.volume_claim_template.as_ref()) {
        warnings.extend(claims::warnings(&template.spec, &path.child("ephemeral.volumeClaimTemplate.spec")));
    }
    for (field, is_set, message) in gone_later {
        if is_set {
            warnings.push(format!("{}: {message}", path.child(field)));
        }
    }
}

/// A file that a volume will show, and who puts it there.
#[derive(Clone, PartialEq, Eq)]
struct File {
    path: String,
    source: String,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&go_quote(&self.path))?;
        if self.source.is_empty() { Ok(()) } else { write!(f, " ({})", self.source) }
    }
}

fn file(path: &str, source: &str) -> File {
    File { path: path.trim_end_matches('/').to_owned(), source: source.to_owned() }
}

fn keys(items: &[KeyToPath], source: &str) -> Vec<File> {
    items.iter().map(|item| file(&item.path, source)).collect()
}

fn downward(items: &[DownwardAPIVolumeFile], source: &str) -> Vec<File> {
    items.iter().map(|item| file(&item.path, source)).collect()
}

/// Those before that hide the file, or that it hides.
fn collisions<'a>(file: &File, before: &'a [File]) -> impl Iterator<Item = &'a File> {
    let path = format!("{}/", file.path);
    let is_path = !file.path.is_empty();
    before.iter().filter(move |other| {
        let other_path = format!("{}/", other.path);
        is_path && !other.path.is_empty() && (path.starts_with(&other_path) || other_path.starts_with(&path))
    })
}

fn overlaps(volume: &Volume, warnings: &mut Vec<String>) {
    let name = go_quote(&volume.name);
    let mut say = |what: &str, files: Vec<File>| {
        let mut before = Vec::new();
        for file in files {
            for other in collisions(&file, &before) {
                warnings.push(format!("volume {name} ({what}): overlapping paths: {file} with {other}"));
            }
            before.push(file);
        }
    };
    if let Some(map) = &volume.config_map {
        say(&format!("ConfigMap {}", go_quote(&map.name)), keys(map.items.items(), ""));
    }
    if let Some(secret) = &volume.secret {
        say(&format!("Secret {}", go_quote(secret.secret_name.text())), keys(secret.items.items(), ""));
    }
    if let Some(it) = &volume.downward_api {
        say("DownwardAPI", downward(it.items.items(), ""));
    }
    let Some(projected) = &volume.projected else { return };
    let sources = projected.sources.items();
    say("Projected", sources.iter().flat_map(projected_files).collect());
    for _ in sources.iter().filter(|source| **source == VolumeProjection::default()) {
        warnings.push(format!("volume {name} (Projected) has no sources provided"));
    }
}

fn projected_files(source: &VolumeProjection) -> Vec<File> {
    if let Some(map) = source.config_map.as_ref().filter(|it| it.items.is_some()) {
        return keys(map.items.items(), &format!("ConfigMap {}", go_quote(&map.name)));
    }
    if let Some(secret) = source.secret.as_ref().filter(|it| it.items.is_some()) {
        return keys(secret.items.items(), &format!("Secret {}", go_quote(&secret.name)));
    }
    if let Some(it) = source.downward_api.as_ref().filter(|it| it.items.is_some()) {
        return downward(it.items.items(), "DownwardAPI");
    }
    if let Some(token) = &source.service_account_token {
        return vec![file(&token.path, "ServiceAccountToken")];
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        let name = bundle.name.as_deref().or(bundle.signer_name.as_deref()).unwrap_or_default();
        return vec![file(&bundle.path, &format!("ClusterTrustBundle {}", go_quote(name)))];
    }
    let Some(certificate) = &source.pod_certificate else { return Vec::new() };
    [
        (&certificate.certificate_chain_path, "PodCertificate chain"),
        (&certificate.key_path, "PodCertificate key"),
        (&certificate.credential_bundle_path, "PodCertificate credential bundle"),
    ]
    .into_iter()
    .filter(|(path, _)| !path.text().is_empty())
    .map(|(path, source)| file(path.text(), source))
    .collect()
}

// --- what stands twice

fn repeated(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, alias) in spec.host_aliases.items().iter().enumerate() {
        if !seen.insert(alias.ip.as_str()) {
            let path = path.child("hostAliases").index(index).child("ip");
            warnings.push(format!("{path}: duplicate ip {}", go_quote(&alias.ip)));
        }
    }
    let secrets = spec.image_pull_secrets.items();
    let secrets_path = path.child("imagePullSecrets");
    let mut seen = BTreeSet::new();
    for (index, secret) in secrets.iter().enumerate() {
        if !seen.insert(secret.name.as_str()) {
            let path = secrets_path.index(index).child("name");
            warnings.push(format!("{path}: duplicate name {}", go_quote(&secret.name)));
        }
    }
    for (index, _) in secrets.iter().enumerate().filter(|(_, secret)| secret.name.is_empty()) {
        warnings.push(format!("{}: invalid empty name \"\"", secrets_path.index(index).child("name")));
    }
}

fn fractional(list: Option<&ResourceList>, resource: &str, path: &Path, warnings: &mut Vec<String>) {
    let Some(text) = list.and_then(|list| list.get(resource)).filter(|text| is_fractional(text)) else {
        return;
    };
    let value = go_quote(&amount(text).to_string());
    warnings.push(format!(
        "{}: fractional byte value {value} is invalid, must be an integer",
        path.key(resource)
    ));
}

fn container(container: &Container, path: &Path, warnings: &mut Vec<String>) {
    if let Some(resources) = &container.resources {
        let path = path.child("resources");
        for resource in ["memory", "ephemeral-storage"] {
            fractional(resources.limits.as_ref(), resource, &path.child("limits"), warnings);
            fractional(resources.requests.as_ref(), resource, &path.child("requests"), warnings);
        }
    }
    let mut seen = BTreeSet::new();
    for (index, variable) in container.env.items().iter().enumerate() {
        if seen.insert(variable.name.as_str()) {
            continue;
        }
        let reference = format!("$({})", variable.name);
        let value = variable.value.text();
        // A later one that makes use of the earlier is fine.
        if variable.value_from.is_some() || value == reference || !value.contains(&reference) {
            warnings.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                path.child("env").index(index),
                go_quote(&variable.name)
            ));
        }
    }
}

fn ports(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let mut by_number: BTreeMap<String, Vec<(Path, ContainerPort)>> = BTreeMap::new();
    each_container(spec, path, |container, path| {
        for (index, port) in container.ports.items().iter().enumerate() {
            let path = path.child("ports").index(index);
            let (ip, number) = (port.host_ip.text(), port.host_port.unwrap_or_default());
            if !ip.is_empty() && number == 0 {
                warnings.push(format!(
                    "{path}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{ip}}}",
                    port.name.text(),
                    port.container_port,
                    port.protocol.text(),
                ));
            }
            let others =
                by_number.entry(format!("{}/{}", port.container_port, port.protocol.text())).or_default();
            for (other_path, other) in others.iter() {
                let (other_ip, other_number) = (other.host_ip.text(), other.host_port.unwrap_or_default());
                let what = if ip == other_ip && number == other_number {
                    "duplicate"
                } else if number == 0 || other_number == 0 {
                    "overlapping"
                } else if number == other_number && ip.is_empty() != other_ip.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                warnings.push(format!("{path}: {what} port definition with {other_path}"));
            }
            others.push((path, port.clone()));
        }
    });
    let mut by_name: BTreeMap<String, Path> = BTreeMap::new();
    each_container(spec, path, |container, path| {
        for (index, port) in container.ports.items().iter().enumerate() {
            let name = port.name.text();
            if name.is_empty() {
                continue;
            }
            let path = path.child("ports").index(index);
            match by_name.get(name) {
                Some(other) => warnings.push(format!(
                    "{path}: duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                    go_quote(name)
                )),
                None => {
                    by_name.insert(name.to_owned(), path);
                }
            }
        }
    });
}
