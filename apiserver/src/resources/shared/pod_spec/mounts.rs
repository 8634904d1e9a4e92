//! What is wrong with the places where a container sees volumes.

use std::collections::{BTreeMap, BTreeSet};

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{Container, Volume, VolumeMount};

use super::{
    super::optional::{Items, Switch, Text, one_of_or_empty_fault},
    paths,
};

/// Faults of mounts.
pub(super) fn validate(container: &Container, volumes: &BTreeMap<&str, &Volume>, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut points = BTreeSet::new();
    // Of several with one name the last one counts.
    let devices: BTreeMap<&str, &str> = container
        .volume_devices
        .items()
        .iter()
        .map(|device| (device.name.as_str(), device.device_path.as_str()))
        .collect();
    for (index, mount) in container.volume_mounts.items().iter().enumerate() {
        let here = path.index(index);
        let (name, point) = (mount.name.as_str(), mount.mount_path.as_str());
        let (name_path, point_path) = (here.child("name"), here.child("mountPath"));
        if name.is_empty() {
            faults.push(Fault::required(&name_path, ""));
        }
        if !volumes.contains_key(name) {
            faults.push(Fault::not_found(&name_path, name));
        }
        if point.is_empty() {
            faults.push(Fault::required(&point_path, ""));
        }
        if !points.insert(point) {
            faults.push(Fault::invalid(&point_path, point, "must be unique"));
        }
        if devices.contains_key(name) {
            faults.push(Fault::invalid(&name_path, name, "must not already exist in volumeDevices"));
        }
        if devices.values().any(|device| *device == point) {
            faults.push(Fault::invalid(
                &point_path,
                point,
                "must not already exist as a path in volumeDevices",
            ));
        }
        let (sub_path, expression) = (mount.sub_path.text(), mount.sub_path_expr.text());
        if !sub_path.is_empty() {
            faults.extend(paths::local_descending(sub_path, &path.child("subPath")));
        }
        if !expression.is_empty() {
            if !sub_path.is_empty() {
                faults.push(Fault::invalid(
                    &here.child("subPathExpr"),
                    expression,
                    "subPathExpr and subPath are mutually exclusive",
                ));
            }
            faults.extend(paths::local_descending(expression, &path.child("subPathExpr")));
        }
        faults.extend(propagation(mount, container, &path.child("mountPropagation")));
        faults.extend(recursive_read_only(mount, &path.child("recursiveReadOnly")));
    }
    faults
}

fn propagation(mount: &VolumeMount, container: &Container, path: &Path) -> Faults {
    let Some(propagation) = mount.mount_propagation.as_deref() else { return Vec::new() };
    let mut faults: Faults =
        one_of_or_empty_fault(path, propagation, &["Bidirectional", "HostToContainer", "None"])
            .into_iter()
            .collect();
    let privileged = container.security_context.as_ref().is_some_and(|context| context.privileged.is_on());
    if propagation == "Bidirectional" && !privileged {
        faults.push(Fault::forbidden(
            path,
            "Bidirectional mount propagation is available only to privileged containers",
        ));
    }
    faults
}

fn recursive_read_only(mount: &VolumeMount, path: &Path) -> Faults {
    let mut faults = Vec::new();
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.read_only.is_on() {
                faults.push(Fault::forbidden(path, "may only be specified when readOnly is true"));
            }
            if mount.mount_propagation.as_deref().is_some_and(|it| it != "None") {
                faults.push(Fault::forbidden(
                    path,
                    "may only be specified when mountPropagation is None or not specified",
                ));
            }
        }
        Some(other) => {
            faults.push(Fault::not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]));
        }
    }
    faults
}

/// Faults of block devices.
pub(super) fn validate_devices(
    container: &Container,
    volumes: &BTreeMap<&str, &Volume>,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    let (mut names, mut points) = (BTreeSet::new(), BTreeSet::new());
    let mounts: BTreeMap<&str, &str> = container
        .volume_mounts
        .items()
        .iter()
        .map(|mount| (mount.name.as_str(), mount.mount_path.as_str()))
        .collect();
    for (index, device) in container.volume_devices.items().iter().enumerate() {
        let here = path.index(index);
        let (name, point) = (device.name.as_str(), device.device_path.as_str());
        let (name_path, point_path) = (here.child("name"), here.child("devicePath"));
        if name.is_empty() {
            faults.push(Fault::required(&name_path, ""));
        }
        if names.contains(name) {
            faults.push(Fault::invalid(&name_path, name, "must be unique"));
        }
        match volumes.get(name) {
            None => faults.push(Fault::not_found(&name_path, name)),
            Some(volume) if volume.persistent_volume_claim.is_none() && volume.ephemeral.is_none() => {
                faults.push(Fault::invalid(
                    &name_path,
                    name,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                ));
            }
            Some(_) => {}
        }
        if point.is_empty() {
            faults.push(Fault::required(&point_path, ""));
        }
        if points.contains(point) {
            faults.push(Fault::invalid(&point_path, point, "must be unique"));
        }
        if !point.is_empty() && paths::no_backsteps(point, &point_path).is_some() {
            faults.push(Fault::invalid(&point_path, point, "can not contain backsteps ('..')"));
        } else {
            points.insert(point);
        }
        if mounts.contains_key(name) {
            faults.push(Fault::invalid(&name_path, name, "must not already exist in volumeMounts"));
        }
        if mounts.values().any(|mount| *mount == point) {
            faults.push(Fault::invalid(
                &point_path,
                point,
                "must not already exist as a path in volumeMounts",
            ));
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_several_with_one_name_the_last_counts_elsewhere() {
        let container: Container = serde_json::from_value(json!({
            "name": "c",
            "volumeMounts": [{"name": "m", "mountPath": "/one"}, {"name": "m", "mountPath": "/two"}],
            "volumeDevices": [
                {"name": "d", "devicePath": "/one"}, {"name": "d", "devicePath": "/two"}, {"name": "e", "devicePath": "/three"},
            ],
        }))
        .unwrap();
        let claim: Volume =
            serde_json::from_value(json!({"name": "v", "persistentVolumeClaim": {"claimName": "v"}}))
                .unwrap();
        let volumes = BTreeMap::from([("m", &claim), ("d", &claim), ("e", &claim)]);
        let texts = |faults: Faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts(validate(&container, &volumes, &Path::new("volumeMounts"))),
            [
                r#"volumeMounts[1].mountPath: Invalid value: "/two": must not already exist as a path in volumeDevices"#
            ]
        );
        assert_eq!(
            texts(validate_devices(&container, &volumes, &Path::new("volumeDevices"))),
            [
                r#"volumeDevices[1].name: Invalid value: "d": must be unique"#,
                r#"volumeDevices[1].devicePath: Invalid value: "/two": must not already exist as a path in volumeMounts"#,
            ]
        );
    }
}
