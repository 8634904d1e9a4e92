//! The rules of a PersistentVolume's spec, for volumes and for attachments that bring one along.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, ISCSIPersistentVolumeSource, PersistentVolumeSpec, SecretReference,
};

use super::{
    metadata::invalid_each,
    names::{dns_label, dns_subdomain, dns1123_label, dns1123_subdomain},
    optional::{Entries, Items, Switch, Text, one_of_or_empty_fault},
    pod_spec::{
        affinity::node_selector,
        paths,
        volumes::{
            OneOf, azure_disk, csi_driver_name, disk, fc, flocker, host_path, iscsi_name, lun, monitors,
            named, nfs, quobyte, required, reserved_options,
        },
    },
    quantities::{amount, not_positive},
};

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Where a spec stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// In a PersistentVolume of this name.
    Volume(&'a str),
    /// In a VolumeAttachment: most of it makes no sense there.
    Inline,
}

/// What is wrong with a spec. With `bad_labels` node affinity may have values that are no label values.
pub(crate) fn faults(spec: &PersistentVolumeSpec, place: Place<'_>, bad_labels: bool, path: &Path) -> Faults {
    let inline = place == Place::Inline;
    let mut faults = Vec::new();
    let not_inline = |field: &str| {
        Fault::forbidden(&path.child(field), "may not be specified in the context of inline volumes")
    };
    let capacity = spec.capacity.as_ref().filter(|capacity| !capacity.is_empty());
    if inline {
        if spec.claim_ref.is_some() {
            faults.push(not_inline("claimRef"));
        }
        if capacity.is_some() {
            faults.push(not_inline("capacity"));
        }
        if spec.csi.is_none() {
            faults.push(Fault::required(
                &path.child("csi"),
                "has to be specified in the context of inline volumes",
            ));
        }
    }
    faults.extend(access_mode_faults(spec.access_modes.items(), &path.child("accessModes")));
    if !inline {
        faults.extend(capacity_faults(spec, &path.child("capacity")));
    }
    let policy = spec.persistent_volume_reclaim_policy.text();
    let policy_path = path.child("persistentVolumeReclaimPolicy");
    if inline {
        if !matches!(policy, "" | "Retain") {
            faults
                .push(Fault::forbidden(&policy_path, "may only be Retain in the context of inline volumes"));
        }
    } else if !policy.is_empty() {
        faults.extend(one_of_or_empty_fault(&policy_path, policy, &["Delete", "Recycle", "Retain"]));
    }
    if let Some(affinity) = &spec.node_affinity {
        let path = path.child("nodeAffinity");
        match &affinity.required {
            _ if inline => faults.push(not_inline("nodeAffinity")),
            Some(selector) => faults.extend(node_selector(selector, bad_labels, &path.child("required"))),
            None => faults
                .push(Fault::required(&path.child("required"), "must specify required node constraints")),
        }
    }
    faults.extend(source_faults(spec, place, path));
    let recycles_root = policy == "Recycle"
        && spec.host_path.as_ref().is_some_and(|it| it.path.starts_with('/') && is_root(&it.path));
    if recycles_root {
        faults.push(Fault::forbidden(&policy_path, "may not be 'recycle' for a hostPath mount of '/'"));
    }
    let class = spec.storage_class_name.text();
    if !class.is_empty() {
        if inline {
            faults.push(not_inline("storageClassName"));
        } else {
            faults.extend(invalid_each(&path.child("storageClassName"), class, dns_subdomain(class, false)));
        }
    }
    if let Some(mode) = &spec.volume_mode {
        let path = path.child("volumeMode");
        if !inline {
            faults.extend(one_of_or_empty_fault(&path, mode, &["Block", "Filesystem"]));
        } else if mode != "Filesystem" {
            faults.push(Fault::forbidden(
                &path,
                "may not specify volumeMode other than Filesystem in the context of inline volumes",
            ));
        }
    }
    if let Some(class) = spec.volume_attributes_class_name.as_ref().filter(|_| !inline) {
        let class_path = path.child("volumeAttributesClassName");
        if class.is_empty() {
            faults.push(Fault::required(&class_path, "an empty string is disallowed"));
        } else {
            faults.extend(invalid_each(&class_path, class, dns_subdomain(class, false)));
        }
        if spec.csi.is_none() {
            faults.push(Fault::required(
                &path.child("csi"),
                "has to be specified when using volumeAttributesClassName",
            ));
        }
    }
    faults
}

/// Whether an absolute path leads back to where it begins.
fn is_root(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    depth == 0
}

fn access_mode_faults(modes: &[String], path: &Path) -> Faults {
    if modes.is_empty() {
        return vec![Fault::required(path, "")];
    }
    let mut faults: Faults =
        modes.iter().filter_map(|mode| one_of_or_empty_fault(path, mode, ACCESS_MODES)).collect();
    let known = || modes.iter().filter(|mode| ACCESS_MODES.contains(&mode.as_str()));
    if known().any(|mode| mode == "ReadWriteOncePod") && known().any(|mode| mode != "ReadWriteOncePod") {
        faults.push(Fault::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
    faults
}

fn capacity_faults(spec: &PersistentVolumeSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let count = spec.capacity.entries().count();
    if count == 0 {
        faults.push(Fault::required(path, ""));
    }
    if spec.capacity.at("storage").is_none() || count > 1 {
        let value = api_types::field::BadValue::json(&spec.capacity);
        faults.push(Fault::not_supported(path, value, &["storage"]));
    }
    for (name, text) in spec.capacity.entries() {
        let path = path.key(name);
        let value = amount(text).value();
        if value < 0 {
            faults.push(Fault::invalid(&path, value, "must be a valid resource quantity"));
        }
        faults.extend(not_positive(text, &path));
    }
    faults
}

fn source_faults(spec: &PersistentVolumeSpec, place: Place<'_>, path: &Path) -> Faults {
    let mut one = OneOf { path, found: false, faults: Vec::new() };
    one.look("hostPath", "hostPath", spec.host_path.as_ref(), host_path);
    one.look("persistentDisk", "gcePersistentDisk", spec.gce_persistent_disk.as_ref(), |it, path| {
        disk(("pdName", &it.pd_name), it.partition, path)
    });
    let aws = "awsElasticBlockStore";
    one.look(aws, aws, spec.aws_elastic_block_store.as_ref(), |it, path| {
        disk(("volumeID", &it.volume_id), it.partition, path)
    });
    one.look("glusterfs", "glusterfs", spec.glusterfs.as_ref(), |it, path| {
        let mut faults = required(path, &[("endpoints", &it.endpoints), ("path", &it.path)]);
        if let Some(namespace) = &it.endpoints_namespace {
            let path = path.child("endpointsNamespace");
            let wrongs = match namespace.as_str() {
                "" => vec!["if the endpointnamespace is set, it must be a valid namespace name".to_owned()],
                namespace => dns_label(namespace, false),
            };
            faults.extend(invalid_each(&path, namespace, wrongs));
        }
        faults
    });
    one.look("flocker", "flocker", spec.flocker.as_ref(), flocker);
    one.look("nfs", "nfs", spec.nfs.as_ref(), nfs);
    one.look("rbd", "rbd", spec.rbd.as_ref(), |it, path| {
        let mut faults = monitors(&it.monitors, path);
        faults.extend(required(path, &[("image", &it.image)]));
        faults
    });
    one.look("quobyte", "quobyte", spec.quobyte.as_ref(), quobyte);
    one.look("cephfs", "cephFS", spec.cephfs.as_ref(), |it, path| monitors(&it.monitors, path));
    one.look("iscsi", "iscsi", spec.iscsi.as_ref(), |it, path| iscsi(it, place, path));
    one.look("cinder", "cinder", spec.cinder.as_ref(), |it, path| {
        let mut faults = required(path, &[("volumeID", &it.volume_id)]);
        if let Some(secret) = &it.secret_ref {
            let path = path.child("secretRef");
            let (name, namespace) = (secret.name.text(), secret.namespace.text());
            faults.extend(required(&path, &[("name", name), ("namespace", namespace)]));
        }
        faults
    });
    one.look("fc", "fc", spec.fc.as_ref(), fc);
    if let Some(it) = &spec.flex_volume {
        // Upstream does not mind another source before this one.
        one.found = true;
        let path = path.child("flexVolume");
        one.faults.extend(required(&path, &[("driver", &it.driver)]));
        one.faults.extend(reserved_options(it.options.entries().map(|(key, _)| key), &path));
    }
    one.look("azureFile", "azureFile", spec.azure_file.as_ref(), |it, path| {
        let mut faults = required(path, &[("secretName", &it.secret_name), ("shareName", &it.share_name)]);
        if let Some(namespace) = &it.secret_namespace {
            faults.extend(required(path, &[("secretNamespace", namespace)]));
        }
        faults
    });
    one.look("vsphereVolume", "vsphereVolume", spec.vsphere_volume.as_ref(), |it, path| {
        required(path, &[("volumePath", &it.volume_path)])
    });
    let photon = "photonPersistentDisk";
    one.look(photon, photon, spec.photon_persistent_disk.as_ref(), |it, path| {
        required(path, &[("pdID", &it.pd_id)])
    });
    one.look("portworxVolume", "portworxVolume", spec.portworx_volume.as_ref(), |it, path| {
        required(path, &[("volumeID", &it.volume_id)])
    });
    one.look("azureDisk", "azureDisk", spec.azure_disk.as_ref(), azure_disk);
    one.look("scaleIO", "scaleIO", spec.scale_io.as_ref(), |it, path| {
        let name = it.volume_name.text();
        required(path, &[("gateway", &it.gateway), ("system", &it.system), ("volumeName", name)])
    });
    one.look("local", "local", spec.local.as_ref(), |it, local| {
        let mut faults = required(local, &[("path", &it.path)]);
        faults.extend(paths::no_backsteps(&it.path, &local.child("path")));
        if spec.node_affinity.is_none() || place == Place::Inline {
            faults.push(Fault::required(&path.child("nodeAffinity"), "Local volume requires node affinity"));
        }
        faults
    });
    one.look("storageos", "storageos", spec.storageos.as_ref(), |it, path| {
        let (name, namespace) = (it.volume_name.text(), it.volume_namespace.text());
        let mut faults = required(path, &[("volumeName", name)]);
        for (field, value) in [("volumeName", name), ("volumeNamespace", namespace)] {
            let wrongs = if value.is_empty() { Vec::new() } else { dns1123_label(value) };
            faults.extend(invalid_each(&path.child(field), value, wrongs));
        }
        if let Some(secret) = &it.secret_ref {
            let path = path.child("secretRef");
            let (name, namespace) = (secret.name.text(), secret.namespace.text());
            faults.extend(required(&path, &[("name", name), ("namespace", namespace)]));
        }
        faults
    });
    one.look("csi", "csi", spec.csi.as_ref(), csi);
    if !one.found {
        one.faults.push(Fault::required(path, "must specify a volume type"));
    }
    one.faults
}

fn iscsi(iscsi: &ISCSIPersistentVolumeSource, place: Place<'_>, path: &Path) -> Faults {
    const BEGINNING: &str = "must be valid format";
    let mut faults = required(path, &[("targetPortal", &iscsi.target_portal)]);
    let volume = match place {
        Place::Volume(name) => name,
        Place::Inline => "",
    };
    if iscsi.initiator_name.is_some() && volume.len() + 1 + iscsi.target_portal.len() > 64 {
        faults.push(Fault::invalid(
            &path.child("targetportal"),
            iscsi.target_portal.as_str(),
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.",
        ));
    }
    faults.extend(required(path, &[("iqn", &iscsi.iqn)]));
    if !iscsi.iqn.is_empty() {
        faults.extend(iscsi_name(&iscsi.iqn, BEGINNING, &path.child("iqn")));
    }
    faults.extend(lun(Some(iscsi.lun), path));
    if (iscsi.chap_auth_discovery.is_on() || iscsi.chap_auth_session.is_on()) && iscsi.secret_ref.is_none() {
        faults.push(Fault::required(&path.child("secretRef"), ""));
    }
    faults.extend(named(iscsi.secret_ref.as_ref().map(|it| it.name.text()), path));
    if let Some(name) = &iscsi.initiator_name {
        faults.extend(iscsi_name(name, BEGINNING, &path.child("initiatorname")));
    }
    faults
}

fn csi(csi: &CSIPersistentVolumeSource, path: &Path) -> Faults {
    let mut faults = csi_driver_name(&csi.driver, &path.child("driver"));
    faults.extend(required(path, &[("volumeHandle", &csi.volume_handle)]));
    for (field, secret) in [
        ("controllerPublishSecretRef", &csi.controller_publish_secret_ref),
        ("controllerExpandSecretRef", &csi.controller_expand_secret_ref),
        ("nodePublishSecretRef", &csi.node_publish_secret_ref),
        ("nodeExpandSecretRef", &csi.node_expand_secret_ref),
    ] {
        if let Some(secret) = secret {
            faults.extend(secret_faults(secret, &path.child(field)));
        }
    }
    faults
}

fn secret_faults(secret: &SecretReference, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (field, value, rule) in [
        ("name", secret.name.text(), dns1123_subdomain as fn(&str) -> Vec<String>),
        ("namespace", secret.namespace.text(), dns1123_label),
    ] {
        let path = path.child(field);
        if value.is_empty() {
            faults.push(Fault::required(&path, ""));
        } else {
            faults.extend(invalid_each(&path, value, rule(value)));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(spec: Value, place: Place<'_>, expected: &[&str]) {
        let parsed: PersistentVolumeSpec = serde_json::from_value(spec.clone()).unwrap();
        let found = faults(&parsed, place, false, &Path::new("spec"));
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{spec}");
    }

    fn volume(change: Value) -> Value {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        spec
    }

    #[test]
    fn a_volume_has_one_source_modes_and_storage() {
        let place = Place::Volume("v");
        check(volume(json!({"hostPath": {"path": "/a"}})), place, &[]);
        check(
            json!({}),
            place,
            &[
                "spec.accessModes: Required value",
                "spec.capacity: Required value",
                r#"spec.capacity: Unsupported value: null: supported values: "storage""#,
                "spec: Required value: must specify a volume type",
            ],
        );
        check(
            volume(json!({"hostPath": {"path": "/a"}, "nfs": {"server": "a", "path": "/b"}})),
            place,
            &["spec.nfs: Forbidden: may not specify more than 1 volume type"],
        );
        check(
            volume(json!({"capacity": {"storage": "-1"}, "local": {"path": "/a"}})),
            place,
            &[
                "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                r#"spec.capacity[storage]: Invalid value: "-1": must be greater than zero"#,
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
            ],
        );
        check(
            volume(json!({"hostPath": {"path": "/a/.."}, "persistentVolumeReclaimPolicy": "Recycle"})),
            place,
            &[
                r#"spec.hostPath.path: Invalid value: "/a/..": must not contain '..'"#,
                "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            ],
        );
        check(
            volume(json!({"csi": {"driver": "a", "volumeHandle": "", "nodePublishSecretRef": {"name": "x"}},
                "volumeAttributesClassName": ""})),
            place,
            &[
                "spec.csi.volumeHandle: Required value",
                "spec.csi.nodePublishSecretRef.namespace: Required value",
                "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
            ],
        );
    }

    #[test]
    fn an_inline_volume_is_of_csi_and_belongs_to_nobody() {
        check(
            json!({"accessModes": ["ReadWriteOnce"], "csi": {"driver": "a", "volumeHandle": "b"}}),
            Place::Inline,
            &[],
        );
        check(
            volume(
                json!({"claimRef": {}, "hostPath": {"path": "/a"}, "storageClassName": "a", "nodeAffinity": {},
                "persistentVolumeReclaimPolicy": "Delete", "volumeMode": "Block"}),
            ),
            Place::Inline,
            &[
                "spec.claimRef: Forbidden: may not be specified in the context of inline volumes",
                "spec.capacity: Forbidden: may not be specified in the context of inline volumes",
                "spec.csi: Required value: has to be specified in the context of inline volumes",
                "spec.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
                "spec.nodeAffinity: Forbidden: may not be specified in the context of inline volumes",
                "spec.storageClassName: Forbidden: may not be specified in the context of inline volumes",
                "spec.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes",
            ],
        );
    }
}
