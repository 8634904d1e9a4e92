//! What is wrong with the volumes of a pod.

use std::collections::{BTreeMap, BTreeSet};

use api_types::field::{BadValue, Fault, Faults, Path, go_quote};
use k8s_openapi::api::core::v1::{
    AzureDiskVolumeSource, CSIVolumeSource, ConfigMapVolumeSource, DownwardAPIVolumeFile,
    DownwardAPIVolumeSource, FCVolumeSource, FlockerVolumeSource, HostPathVolumeSource, ISCSIVolumeSource,
    ImageVolumeSource, KeyToPath, NFSVolumeSource, QuobyteVolumeSource, SecretVolumeSource,
    StorageOSVolumeSource, Volume,
};

use super::{
    super::{
        claims,
        metadata::invalid_each,
        names::{between, dns_subdomain, dns1123_label, dns1123_subdomain},
        optional::{Entries, Items, Switch, Text, one_of_or_empty_fault},
        quantities::amount,
    },
    Rules, containers, env, paths, projected,
};

const FILE_MODE_MAX: i32 = 0o777;
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Faults of volumes, and the volumes that have none, by name. `pod` is the name of the pod, if it is known.
pub(super) fn validate<'a>(
    volumes: &'a [Volume],
    pod: Option<&str>,
    rules: &Rules,
    path: &Path,
) -> (BTreeMap<&'a str, &'a Volume>, Faults) {
    let mut faults = Vec::new();
    let mut good: BTreeMap<&str, &Volume> = BTreeMap::new();
    let claimed: BTreeSet<String> = pod
        .into_iter()
        .flat_map(|pod| {
            volumes
                .iter()
                .filter(|volume| volume.ephemeral.is_some())
                .map(move |volume| format!("{pod}-{}", volume.name))
        })
        .collect();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let name_path = path.child("name");
        let name = volume.name.as_str();
        let mut own = source(volume, pod, rules, &path);
        if name.is_empty() {
            own.push(Fault::required(&name_path, ""));
        } else {
            own.extend(invalid_each(&name_path, name, dns1123_label(name)));
        }
        if good.contains_key(name) {
            own.push(Fault::duplicate(&name_path, name));
        }
        if own.is_empty() {
            good.insert(name, volume);
        }
        faults.extend(own);
        if let Some(claim) = &volume.persistent_volume_claim
            && claimed.contains(&claim.claim_name)
        {
            faults.push(Fault::invalid(
                &path.child("persistentVolumeClaim").child("claimName"),
                claim.claim_name.as_str(),
                "must not reference a PVC that gets created for an ephemeral volume",
            ));
        }
    }
    (good, faults)
}

/// Collects the faults of the one source that a volume may have.
pub(crate) struct OneOf<'a> {
    /// The path of what has the sources.
    pub(crate) path: &'a Path,
    /// Whether there was one already.
    pub(crate) found: bool,
    /// What is wrong so far.
    pub(crate) faults: Faults,
}

impl OneOf<'_> {
    /// Looks at one possible source; `field` is its path in faults about it, `other` in the one about too many.
    pub(crate) fn look<T>(
        &mut self,
        field: &str,
        other: &str,
        source: Option<&T>,
        judge: impl FnOnce(&T, &Path) -> Faults,
    ) {
        let Some(source) = source else { return };
        if self.found {
            self.faults
                .push(Fault::forbidden(&self.path.child(other), "may not specify more than 1 volume type"));
        } else {
            self.found = true;
            self.faults.extend(judge(source, &self.path.child(field)));
        }
    }
}

fn source(volume: &Volume, pod: Option<&str>, rules: &Rules, path: &Path) -> Faults {
    let mut one = OneOf { path, found: false, faults: Vec::new() };
    let v = volume;
    if let Some(empty) = &v.empty_dir {
        one.found = true;
        if empty.size_limit.as_ref().is_some_and(|limit| amount(limit).sign() < 0) {
            one.faults.push(Fault::forbidden(
                &path.child("emptyDir").child("sizeLimit"),
                "SizeLimit field must be a valid resource quantity",
            ));
        }
    }
    one.look("hostPath", "hostPath", v.host_path.as_ref(), host_path);
    one.look("gitRepo", "gitRepo", v.git_repo.as_ref(), |it, path| {
        let mut faults = required(path, &[("repository", &it.repository)]);
        faults.extend(paths::local_descending(it.directory.text(), &path.child("directory")));
        faults
    });
    one.look("persistentDisk", "gcePersistentDisk", v.gce_persistent_disk.as_ref(), |it, path| {
        disk(("pdName", &it.pd_name), it.partition, path)
    });
    one.look(
        "awsElasticBlockStore",
        "awsElasticBlockStore",
        v.aws_elastic_block_store.as_ref(),
        |it, path| disk(("volumeID", &it.volume_id), it.partition, path),
    );
    one.look("secret", "secret", v.secret.as_ref(), secret);
    one.look("nfs", "nfs", v.nfs.as_ref(), nfs);
    one.look("iscsi", "iscsi", v.iscsi.as_ref(), iscsi);
    if let Some(it) = &v.iscsi
        && it.initiator_name.is_some()
        && v.name.len() + 1 + it.target_portal.len() > 64
    {
        one.faults.push(Fault::invalid(
            &path.child("name"),
            v.name.as_str(),
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.",
        ));
    }
    one.look("glusterfs", "glusterfs", v.glusterfs.as_ref(), |it, path| {
        required(path, &[("endpoints", &it.endpoints), ("path", &it.path)])
    });
    one.look("flocker", "flocker", v.flocker.as_ref(), flocker);
    one.look(
        "persistentVolumeClaim",
        "persistentVolumeClaim",
        v.persistent_volume_claim.as_ref(),
        |it, path| required(path, &[("claimName", &it.claim_name)]),
    );
    one.look("rbd", "rbd", v.rbd.as_ref(), |it, path| {
        let mut faults = monitors(&it.monitors, path);
        faults.extend(required(path, &[("image", &it.image)]));
        faults
    });
    one.look("cinder", "cinder", v.cinder.as_ref(), |it, path| {
        let mut faults = required(path, &[("volumeID", &it.volume_id)]);
        faults.extend(named(it.secret_ref.as_ref().map(|it| it.name.as_str()), path));
        faults
    });
    one.look("cephfs", "cephFS", v.cephfs.as_ref(), |it, path| monitors(&it.monitors, path));
    one.look("quobyte", "quobyte", v.quobyte.as_ref(), quobyte);
    one.look("downwardAPI", "downwarAPI", v.downward_api.as_ref(), downward_api);
    one.look("fc", "fc", v.fc.as_ref(), fc);
    one.look("flexVolume", "flexVolume", v.flex_volume.as_ref(), |it, path| {
        let mut faults = required(path, &[("driver", &it.driver)]);
        faults.extend(reserved_options(it.options.entries().map(|(key, _)| key), path));
        faults
    });
    one.look("configMap", "configMap", v.config_map.as_ref(), config_map);
    one.look("azureFile", "azureFile", v.azure_file.as_ref(), |it, path| {
        required(path, &[("secretName", &it.secret_name), ("shareName", &it.share_name)])
    });
    one.look("vsphereVolume", "vsphereVolume", v.vsphere_volume.as_ref(), |it, path| {
        required(path, &[("volumePath", &it.volume_path)])
    });
    one.look(
        "photonPersistentDisk",
        "photonPersistentDisk",
        v.photon_persistent_disk.as_ref(),
        |it, path| required(path, &[("pdID", &it.pd_id)]),
    );
    one.look("portworxVolume", "portworxVolume", v.portworx_volume.as_ref(), |it, path| {
        required(path, &[("volumeID", &it.volume_id)])
    });
    one.look("azureDisk", "azureDisk", v.azure_disk.as_ref(), azure_disk);
    one.look("storageos", "storageos", v.storageos.as_ref(), storage_os);
    one.look("projected", "projected", v.projected.as_ref(), |it, path| projected::validate(it, rules, path));
    one.look("scaleIO", "scaleIO", v.scale_io.as_ref(), |it, path| {
        let name = it.volume_name.text();
        required(path, &[("gateway", &it.gateway), ("system", &it.system), ("volumeName", name)])
    });
    one.look("csi", "csi", v.csi.as_ref(), csi);
    let had_other = one.found;
    one.look("ephemeral", "ephemeral", v.ephemeral.as_ref(), |it, path| match &it.volume_claim_template {
        None => required(path, &[("volumeClaimTemplate", "")]),
        Some(template) => claims::validate_template(template, &path.child("volumeClaimTemplate")),
    });
    // The claim will be named after the pod and the volume.
    if let (Some(_), Some(pod), false) = (&v.ephemeral, pod, had_other || v.name.is_empty()) {
        let claim = format!("{pod}-{}", v.name);
        for sentence in dns_subdomain(&claim, false) {
            one.faults.push(Fault::invalid(
                &path.child("name"),
                v.name.as_str(),
                format!("PVC name {}: {sentence}", go_quote(&claim)),
            ));
        }
    }
    one.look("image", "image", v.image.as_ref(), |it, path| image(it, rules, path));
    if !one.found {
        one.faults.push(Fault::required(path, "must specify a volume type"));
    }
    one.faults
}

// --- what sources share

/// The faults of fields that must not be empty.
pub(crate) fn required(path: &Path, fields: &[(&str, &str)]) -> Faults {
    fields
        .iter()
        .filter(|(_, value)| value.is_empty())
        .map(|(field, _)| Fault::required(&path.child(field), ""))
        .collect()
}

/// The fault of a secret without a name.
pub(crate) fn named(secret: Option<&str>, path: &Path) -> Option<Fault> {
    secret.filter(|name| name.is_empty()).map(|_| Fault::required(&path.child("secretRef.name"), ""))
}

/// The fault of a cluster without monitors.
pub(crate) fn monitors(monitors: &[String], path: &Path) -> Faults {
    if monitors.is_empty() { vec![Fault::required(&path.child("monitors"), "")] } else { Vec::new() }
}

/// Faults of a disk in a cloud: its id, and the partition of it.
pub(crate) fn disk(id: (&str, &str), partition: Option<i32>, path: &Path) -> Faults {
    let mut faults = required(path, &[id]);
    let partition = partition.unwrap_or_default();
    if !(0..=255).contains(&partition) {
        faults.push(Fault::invalid(&path.child("partition"), partition, between(1, 255)));
    }
    faults
}

/// Faults of options in namespaces that are Kubernetes' own.
pub(crate) fn reserved_options<'a>(keys: impl Iterator<Item = &'a str>, path: &Path) -> Faults {
    keys.filter(|key| {
        let namespace = key.split('/').next().unwrap_or_default();
        let namespace = format!(".{}", namespace.to_lowercase());
        namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io")
    })
    .map(|key| {
        Fault::invalid(
            &path.child("options").key(key),
            key,
            "kubernetes.io and k8s.io namespaces are reserved",
        )
    })
    .collect()
}

/// The fault of the mode of a file.
pub(super) fn mode(field: &str, mode: Option<i32>, path: &Path) -> Option<Fault> {
    let mode = mode.filter(|mode| !(0..=FILE_MODE_MAX).contains(mode))?;
    Some(Fault::invalid(
        &path.child(field),
        mode,
        "must be a number between 0 and 0777 (octal), both inclusive",
    ))
}

/// Faults of keys that become files.
pub(super) fn keys_to_paths(items: &[KeyToPath], path: &Path) -> Faults {
    let path = path.child("items");
    items.iter().enumerate().flat_map(|(index, item)| key_to_path(item, &path.index(index))).collect()
}

/// Faults of one key that becomes a file.
pub(super) fn key_to_path(item: &KeyToPath, path: &Path) -> Faults {
    let mut faults = required(path, &[("key", &item.key), ("path", &item.path)]);
    faults.extend(paths::local_non_reserved(&item.path, &path.child("path")));
    faults.extend(mode("mode", item.mode, path));
    faults
}

// --- single sources

fn secret(secret: &SecretVolumeSource, path: &Path) -> Faults {
    let mut faults = required(path, &[("secretName", secret.secret_name.text())]);
    faults.extend(mode("defaultMode", secret.default_mode, path));
    faults.extend(keys_to_paths(secret.items.items(), path));
    faults
}

fn config_map(map: &ConfigMapVolumeSource, path: &Path) -> Faults {
    let mut faults = required(path, &[("name", &map.name)]);
    faults.extend(mode("defaultMode", map.default_mode, path));
    faults.extend(keys_to_paths(map.items.items(), path));
    faults
}

fn downward_api(downward: &DownwardAPIVolumeSource, path: &Path) -> Faults {
    let mut faults: Faults = mode("defaultMode", downward.default_mode, path).into_iter().collect();
    // The path is that of the source, without an index.
    faults.extend(downward.items.items().iter().flat_map(|file| downward_file(file, path)));
    faults
}

/// Faults of a file that shows a fact about the pod.
pub(super) fn downward_file(file: &DownwardAPIVolumeFile, path: &Path) -> Faults {
    let mut faults = required(path, &[("path", &file.path)]);
    faults.extend(paths::local_non_reserved(&file.path, &path.child("path")));
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), resource) => {
            faults.extend(env::object_field(field, env::VOLUME_FIELDS, &path.child("fieldRef")));
            if resource.is_some() {
                faults.push(Fault::invalid(
                    path,
                    "resource",
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                ));
            }
        }
        (None, Some(resource)) => {
            faults.extend(env::resource_field(resource, true, &path.child("resourceFieldRef")));
        }
        (None, None) => {
            faults.push(Fault::required(path, "one of fieldRef and resourceFieldRef is required"));
        }
    }
    faults.extend(mode("mode", file.mode, path));
    faults
}

/// Faults of a path on the node.
pub(crate) fn host_path(host: &HostPathVolumeSource, path: &Path) -> Faults {
    if host.path.is_empty() {
        return required(path, &[("path", "")]);
    }
    let mut faults: Faults = paths::no_backsteps(&host.path, &path.child("path")).into_iter().collect();
    let kind = host.type_.as_deref();
    faults.extend(kind.and_then(|kind| one_of_or_empty_fault(&path.child("type"), kind, HOST_PATH_TYPES)));
    faults
}

/// Faults of an NFS share.
pub(crate) fn nfs(nfs: &NFSVolumeSource, path: &Path) -> Faults {
    let mut faults = required(path, &[("server", &nfs.server), ("path", &nfs.path)]);
    if !nfs.path.starts_with('/') {
        faults.push(Fault::invalid(&path.child("path"), nfs.path.as_str(), "must be an absolute path"));
    }
    faults
}

fn iscsi(iscsi: &ISCSIVolumeSource, path: &Path) -> Faults {
    const BEGINNING: &str = "must be valid format starting with iqn, eui, or naa";
    let mut faults = required(path, &[("targetPortal", &iscsi.target_portal), ("iqn", &iscsi.iqn)]);
    if !iscsi.iqn.is_empty() {
        faults.extend(iscsi_name(&iscsi.iqn, BEGINNING, &path.child("iqn")));
    }
    faults.extend(lun(Some(iscsi.lun), path));
    if (iscsi.chap_auth_discovery.is_on() || iscsi.chap_auth_session.is_on()) && iscsi.secret_ref.is_none() {
        faults.push(Fault::required(&path.child("secretRef"), ""));
    }
    if let Some(name) = iscsi.initiator_name.as_deref() {
        faults.extend(iscsi_name(name, BEGINNING, &path.child("initiatorname")));
    }
    faults
}

/// The fault of a name in the iSCSI naming scheme; `beginning` says how it must begin.
pub(crate) fn iscsi_name(name: &str, beginning: &str, path: &Path) -> Option<Fault> {
    let alphanumeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let after_any = |rest: &str, length: usize| {
        let mut characters = rest.chars();
        characters.next().is_some_and(|it| it != '\n')
            && alphanumeric(characters.as_str())
            && characters.as_str().len() == length
    };
    let good = if name.starts_with("iqn") {
        is_iqn(name)
    } else if let Some(rest) = name.strip_prefix("eui") {
        after_any(rest, 16)
    } else if let Some(rest) = name.strip_prefix("naa") {
        after_any(rest, 32)
    } else {
        return Some(Fault::invalid(path, name, beginning));
    };
    (!good).then(|| Fault::invalid(path, name, "must be valid format"))
}

/// Whether the text ends in `iqn.yyyy-mm.domain:anything`, with nothing odd in it.
fn is_iqn(name: &str) -> bool {
    name.match_indices("iqn.").any(|(at, _)| {
        let rest = name.get(at + 4..).unwrap_or_default();
        let digits = |text: Option<&str>| text.is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
        if !(digits(rest.get(..4))
            && rest.get(4..5) == Some("-")
            && digits(rest.get(5..7))
            && rest.get(7..8) == Some("."))
        {
            return false;
        }
        let rest = rest.get(8..).unwrap_or_default();
        rest.split_once(':').is_some_and(|(domain, own)| {
            !domain.is_empty()
                && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
                && !own.is_empty()
                && !own.contains([',', ';', '*', '&', '$', '|', ' ', '\t', '\n', '\r', '\u{c}'])
        })
    })
}

/// The fault of the number of a unit.
pub(crate) fn lun(lun: Option<i32>, path: &Path) -> Option<Fault> {
    let lun = lun.filter(|lun| !(0..=255).contains(lun))?;
    Some(Fault::invalid(&path.child("lun"), lun, between(0, 255)))
}

/// Faults of a Fibre Channel volume.
pub(crate) fn fc(fc: &FCVolumeSource, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let (targets, ids) = (fc.target_wwns.items(), fc.wwids.items());
    let targets_path = path.child("targetWWNs");
    if targets.is_empty() && ids.is_empty() {
        faults.push(Fault::required(&targets_path, "must specify either targetWWNs or wwids, but not both"));
    }
    if !targets.is_empty() && !ids.is_empty() {
        faults.push(Fault::invalid(
            &targets_path,
            BadValue::json(&targets),
            "targetWWNs and wwids can not be specified simultaneously",
        ));
    }
    if !targets.is_empty() {
        if fc.lun.is_none() {
            faults.push(Fault::required(&path.child("lun"), "lun is required if targetWWNs is specified"));
        }
        faults.extend(lun(fc.lun, path));
    }
    faults
}

/// Faults of a Flocker volume.
pub(crate) fn flocker(flocker: &FlockerVolumeSource, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let (name, uuid) = (flocker.dataset_name.text(), flocker.dataset_uuid.text());
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => {
            faults.push(Fault::required(path, "one of datasetName and datasetUUID is required"));
        }
        (false, false) => faults.push(Fault::invalid(
            path,
            "resource",
            "datasetName and datasetUUID can not be specified simultaneously",
        )),
        _ => {}
    }
    if name.contains('/') {
        faults.push(Fault::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
    faults
}

/// Faults of a Quobyte volume.
pub(crate) fn quobyte(quobyte: &QuobyteVolumeSource, path: &Path) -> Faults {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let mut faults = Vec::new();
    let registry = quobyte.registry.as_str();
    if registry.is_empty() {
        faults.push(Fault::required(&path.child("registry"), PAIRS));
    } else if quobyte.tenant.text().len() >= 65 {
        faults.push(Fault::required(
            &path.child("tenant"),
            "must be a UUID and may not exceed a length of 64 characters",
        ));
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            faults.push(Fault::invalid(&path.child("registry"), registry, PAIRS));
        }
    }
    faults.extend(required(path, &[("volume", &quobyte.volume)]));
    faults
}

/// `host:port` or `[host]:port`; what host and port are does not matter.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    if port.contains(['[', ']']) {
        return false;
    }
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|inner| !inner.contains(['[', ']'])),
        None => !host.contains([':', '[', ']']),
    }
}

/// Faults of a disk at Azure.
pub(crate) fn azure_disk(disk: &AzureDiskVolumeSource, path: &Path) -> Faults {
    let mut faults = required(path, &[("diskName", &disk.disk_name), ("diskURI", &disk.disk_uri)]);
    if let Some(mode) = disk.caching_mode.as_deref() {
        faults.extend(one_of_or_empty_fault(
            &path.child("cachingMode"),
            mode,
            &["None", "ReadOnly", "ReadWrite"],
        ));
    }
    let Some(kind) = disk.kind.as_deref() else { return faults };
    faults.extend(one_of_or_empty_fault(&path.child("kind"), kind, &["Dedicated", "Managed", "Shared"]));
    let (beginning, form) = if kind == "Managed" {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    if !disk.disk_uri.starts_with(beginning) {
        faults.push(Fault::not_supported(&path.child("diskURI"), disk.disk_uri.as_str(), &[form]));
    }
    faults
}

fn storage_os(volume: &StorageOSVolumeSource, path: &Path) -> Faults {
    let name = volume.volume_name.text();
    let mut faults = required(path, &[("volumeName", name)]);
    if !name.is_empty() {
        faults.extend(invalid_each(&path.child("volumeName"), name, dns1123_label(name)));
    }
    let namespace = volume.volume_namespace.text();
    if !namespace.is_empty() {
        faults.extend(invalid_each(&path.child("volumeNamespace"), namespace, dns1123_label(namespace)));
    }
    faults.extend(named(volume.secret_ref.as_ref().map(|it| it.name.as_str()), path));
    faults
}

fn csi(csi: &CSIVolumeSource, path: &Path) -> Faults {
    let mut faults = csi_driver_name(&csi.driver, &path.child("driver"));
    if let Some(secret) = &csi.node_publish_secret_ref {
        if secret.name.is_empty() {
            faults.push(Fault::required(&path.child("nodePublishSecretRef.name"), ""));
        } else {
            faults.extend(invalid_each(
                &path.child("name"),
                &secret.name,
                dns_subdomain(&secret.name, false),
            ));
        }
    }
    faults
}

/// Faults of the name of a CSI driver.
pub(crate) fn csi_driver_name(name: &str, path: &Path) -> Faults {
    const LENGTH_MAX: usize = 63;
    if name.is_empty() {
        return vec![Fault::required(path, "")];
    }
    let mut faults = Vec::new();
    if name.len() > LENGTH_MAX {
        faults.push(Fault::too_long(path, LENGTH_MAX));
    }
    faults.extend(invalid_each(path, name, dns1123_subdomain(&name.to_lowercase())));
    faults
}

fn image(image: &ImageVolumeSource, rules: &Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    // In a template it may be left for an admission controller to fill in.
    if rules.is_pod {
        faults.extend(required(path, &[("reference", image.reference.text())]));
    }
    faults.extend(containers::pull_policy(image.pull_policy.text(), &path.child("pullPolicy")));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iscsi_names_follow_one_of_three_schemes() {
        for (name, expected) in [
            ("iqn.2001-04.com.example:storage.a", true),
            ("iqn.2001-04.com.example", false),
            ("iqn.01-04.com:a", false),
            ("eui.0123456789abcdef", true),
            ("eui.0123", false),
            ("naa.0123456789abcdef0123456789abcdef", true),
            ("other", false),
        ] {
            assert_eq!(iscsi_name(name, "b", &Path::new("p")).is_none(), expected, "{name}");
        }
    }

    #[test]
    fn a_host_stands_before_its_port() {
        for (text, expected) in
            [("a:1", true), ("[::1]:1", true), ("a", false), ("::1:1", false), (":", true), ("[a:1", false)]
        {
            assert_eq!(is_host_and_port(text), expected, "{text}");
        }
    }
}
