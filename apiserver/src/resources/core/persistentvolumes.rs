//! PersistentVolumes: `persistentvolumes` of `v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus, VolumeNodeAffinity},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::persistentvolumeclaims::BETA_STORAGE_CLASS;
use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        internal::{difference, printed},
        names::label_value,
        optional::{Entries, Items, Text, immutable, same},
        pod_spec::warnings::node_selector_term,
        quantities::round_up,
        volume_spec::{self, Place},
    },
};

/// The annotation that named mount options before the field did.
const BETA_MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
/// Labels of nodes that got better names: node affinity may follow them.
const RENAMED_LABELS: &[(&str, &str)] = &[
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// The strategy of PersistentVolumes.
pub(crate) struct PersistentVolumes;

impl Strategy for PersistentVolumes {
    type Object = PersistentVolume;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        singular: "persistentvolume",
        short: &["pv"],
        categories: &[],
        namespaced: false,
    };
    const REJUDGES_CHANGE: bool = false;
    const RETURNS_DELETED: bool = true;
    const STATUS: bool = true;

    fn default(object: &mut PersistentVolume) {
        object.status.get_or_insert_default().phase.or_set("Pending");
        default_spec(object.spec.get_or_insert_default());
    }

    fn prepare_for_create(cx: &Context<'_>, object: &mut PersistentVolume) {
        object.status = Some(PersistentVolumeStatus {
            phase: Some("Pending".to_owned()),
            last_phase_transition_time: Some(Time(cx.now)),
            ..PersistentVolumeStatus::default()
        });
    }

    fn validate(_cx: &Context<'_>, object: &PersistentVolume) -> Faults {
        let mut faults = own_faults(object, false);
        faults.extend(mount_option_fault(object));
        faults
    }

    fn validate_update(_cx: &Context<'_>, object: &PersistentVolume, old: &PersistentVolume) -> Faults {
        let bad_labels = has_bad_label(spec_of(old));
        let mut faults = own_faults(object, bad_labels);
        faults.extend(mount_option_fault(object));
        // Upstream judges the volume twice, and clients see the causes twice.
        faults.extend(own_faults(object, bad_labels));
        faults.extend(change_faults(spec_of(object), spec_of(old)));
        faults
    }

    fn prepare_for_status_update(cx: &Context<'_>, object: &mut PersistentVolume, old: &PersistentVolume) {
        let was = old.status.clone().unwrap_or_default();
        let status = object.status.get_or_insert_default();
        let same_phase = was.phase.text() == status.phase.text();
        let given = &status.last_phase_transition_time;
        if same_phase && given.is_none() {
            status.last_phase_transition_time = was.last_phase_transition_time;
        } else if !same_phase && (given.is_none() || *given == was.last_phase_transition_time) {
            status.last_phase_transition_time = Some(Time(cx.now));
        }
    }

    fn warnings(
        _cx: &Context<'_>,
        object: &PersistentVolume,
        _old: Option<&PersistentVolume>,
    ) -> Vec<String> {
        let spec = spec_of(object);
        let mut warnings = Vec::new();
        for (annotation, what) in [
            (BETA_STORAGE_CLASS, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
            (BETA_MOUNT_OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
        ] {
            if object.metadata.annotations.at(annotation).is_some() {
                warnings.push(format!("metadata.annotations[{annotation}]: {what}"));
            }
        }
        if spec.persistent_volume_reclaim_policy.text() == "Recycle" {
            warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        let path = Path::new("spec.nodeAffinity.required.nodeSelectorTerms");
        let required = spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
        for (index, term) in required.into_iter().flat_map(|it| &it.node_selector_terms).enumerate() {
            warnings.extend(node_selector_term(term, false, &path.index(index)));
        }
        for (used, field, since, gone) in [
            (spec.cephfs.is_some(), "cephfs", "v1.28", "v1.31"),
            (spec.photon_persistent_disk.is_some(), "photonPersistentDisk", "v1.11", "v1.16"),
            (spec.scale_io.is_some(), "scaleIO", "v1.16", "v1.22"),
            (spec.storageos.is_some(), "storageOS", "v1.22", "v1.25"),
            (spec.glusterfs.is_some(), "glusterfs", "v1.25", "v1.26"),
            (spec.rbd.is_some(), "rbd", "v1.28", "v1.31"),
        ] {
            if used {
                warnings.push(format!("spec.{field}: deprecated in {since}, non-functional in {gone}+"));
            }
        }
        warnings
    }
}

fn spec_of(object: &PersistentVolume) -> &PersistentVolumeSpec {
    static EMPTY: std::sync::LazyLock<PersistentVolumeSpec> =
        std::sync::LazyLock::new(PersistentVolumeSpec::default);
    object.spec.as_ref().unwrap_or(&EMPTY)
}

/// Fills in what a spec leaves out; also of volumes that attachments bring along.
pub(crate) fn default_spec(spec: &mut PersistentVolumeSpec) {
    spec.persistent_volume_reclaim_policy.or_set("Retain");
    spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
    default_sources(spec);
}

/// Fills in what the sources leave out.
pub(crate) fn default_sources(spec: &mut PersistentVolumeSpec) {
    round_up(spec.capacity.as_mut());
    if let Some(host_path) = &mut spec.host_path {
        host_path.type_.get_or_insert_default();
    }
    if let Some(rbd) = &mut spec.rbd {
        rbd.pool.or_set("rbd");
        rbd.user.or_set("admin");
        rbd.keyring.or_set("/etc/ceph/keyring");
    }
    if let Some(iscsi) = &mut spec.iscsi {
        iscsi.iscsi_interface.or_set("default");
    }
    if let Some(disk) = &mut spec.azure_disk {
        disk.caching_mode.get_or_insert_with(|| "ReadWrite".to_owned());
        disk.fs_type.get_or_insert_with(|| "ext4".to_owned());
        disk.read_only.get_or_insert(false);
        disk.kind.get_or_insert_with(|| "Shared".to_owned());
    }
    if let Some(scale_io) = &mut spec.scale_io {
        scale_io.storage_mode.or_set("ThinProvisioned");
        scale_io.fs_type.or_set("xfs");
    }
}

fn own_faults(object: &PersistentVolume, bad_labels: bool) -> Faults {
    let place = Place::Volume(object.metadata.name.text());
    volume_spec::faults(spec_of(object), place, bad_labels, &Path::new("spec"))
}

/// The annotation for mount options on a volume that takes none.
fn mount_option_fault(object: &PersistentVolume) -> Option<Fault> {
    let spec = spec_of(object);
    let takes_options = spec.gce_persistent_disk.is_some()
        || spec.aws_elastic_block_store.is_some()
        || spec.glusterfs.is_some()
        || spec.nfs.is_some()
        || spec.rbd.is_some()
        || spec.quobyte.is_some()
        || spec.iscsi.is_some()
        || spec.cinder.is_some()
        || spec.cephfs.is_some()
        || spec.azure_file.is_some()
        || spec.vsphere_volume.is_some()
        || spec.azure_disk.is_some()
        || spec.photon_persistent_disk.is_some();
    let annotated = object.metadata.annotations.at(BETA_MOUNT_OPTIONS).is_some();
    (annotated && !takes_options).then(|| {
        Fault::forbidden(
            &Path::new("metadata.annotations").child(BETA_MOUNT_OPTIONS),
            "may not specify mount options for this volume type",
        )
    })
}

fn has_bad_label(spec: &PersistentVolumeSpec) -> bool {
    let required = spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    required
        .into_iter()
        .flat_map(|selector| &selector.node_selector_terms)
        .flat_map(|term| term.match_expressions.items())
        .flat_map(|expression| expression.values.items())
        .any(|value| !label_value(value).is_empty())
}

fn change_faults(spec: &PersistentVolumeSpec, old: &PersistentVolumeSpec) -> Faults {
    let mut faults = Vec::new();
    let (mut source, old_source) = (source_of(spec), source_of(old));
    if let (Some(csi), Some(old_csi)) = (&mut source.csi, &old_source.csi)
        && old_csi.controller_expand_secret_ref.is_none()
    {
        // The secret for growing may be added later.
        csi.controller_expand_secret_ref = None;
    }
    if !same(&source, &old_source) {
        faults.push(Fault::forbidden(
            &Path::new("spec.persistentvolumesource"),
            format!(
                "spec.persistentvolumesource is immutable after creation\n{}",
                difference("core.PersistentVolumeSource", &old_source, &source)
            ),
        ));
    }
    faults.extend(immutable(&Path::new("volumeMode"), &spec.volume_mode, &old.volume_mode));
    if let Some(old) = &old.node_affinity
        && !same_affinity(spec.node_affinity.as_ref(), old)
    {
        faults.push(Fault::invalid(
            &Path::new("nodeAffinity"),
            printed("*core.VolumeNodeAffinity", &spec.node_affinity),
            "field is immutable, except for updating from beta label to GA",
        ));
    }
    if old.volume_attributes_class_name.is_some() && spec.volume_attributes_class_name.is_none() {
        faults.push(Fault::forbidden(
            &Path::new("spec.volumeAttributesClassName"),
            "update from non-nil value to nil is forbidden",
        ));
    }
    faults
}

/// The spec with nothing but its source.
fn source_of(spec: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    PersistentVolumeSpec {
        access_modes: None,
        capacity: None,
        claim_ref: None,
        mount_options: None,
        node_affinity: None,
        persistent_volume_reclaim_policy: None,
        storage_class_name: None,
        volume_attributes_class_name: None,
        volume_mode: None,
        ..spec.clone()
    }
}

/// Whether node affinity is the same but for labels that got better names.
fn same_affinity(new: Option<&VolumeNodeAffinity>, old: &VolumeNodeAffinity) -> bool {
    let Some(new) = new else { return false };
    let mut old = old.clone();
    let terms = |it: Option<&VolumeNodeAffinity>| {
        it.and_then(|it| it.required.as_ref()).map(|it| it.node_selector_terms.clone()).unwrap_or_default()
    };
    let new_terms = terms(Some(new));
    let old_terms = old.required.iter_mut().flat_map(|it| it.node_selector_terms.iter_mut());
    for (old, new) in old_terms.zip(&new_terms) {
        let lists = [
            (&mut old.match_expressions, &new.match_expressions),
            (&mut old.match_fields, &new.match_fields),
        ];
        for (old, new) in lists {
            for (old, new) in old.iter_mut().flatten().zip(new.items()) {
                if RENAMED_LABELS.contains(&(old.key.as_str(), new.key.as_str())) {
                    old.key.clone_from(&new.key);
                }
            }
        }
    }
    same(new, &old)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::PersistentVolumes;
    use crate::resources::shared::testing::{
        check_create, check_update, created, defaulted, warnings, with_context,
    };

    fn volume(change: Value) -> Value {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/a"}});
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        json!({"metadata": {"name": "v"}, "spec": spec})
    }

    #[test]
    fn a_new_volume_is_pending_since_now() {
        let object = created::<PersistentVolumes>(volume(json!({})));
        assert_eq!(
            object.get("status"),
            Some(&json!({"phase": "Pending", "lastPhaseTransitionTime": "2023-11-14T22:13:20Z"}))
        );
        assert_eq!(object.pointer("/spec/hostPath/type"), Some(&json!("")));
        assert_eq!(object.pointer("/spec/persistentVolumeReclaimPolicy"), Some(&json!("Retain")));
    }

    #[test]
    fn a_new_phase_is_dated() {
        use crate::registry::strategy::Strategy;
        let at = |phase: &str, time: Option<&str>| {
            let mut object = volume(json!({}));
            object["status"] = json!({"phase": phase, "lastPhaseTransitionTime": time});
            defaulted::<PersistentVolumes>(object)
        };
        let old = Some("2020-01-01T00:00:00Z");
        let now = "2023-11-14T22:13:20Z";
        for (phase, given, expected) in [
            ("Bound", None, now),
            ("Bound", old, now),
            ("Bound", Some("2021-01-01T00:00:00Z"), "2021-01-01T00:00:00Z"),
            ("Available", None, "2020-01-01T00:00:00Z"),
        ] {
            let mut object = at(phase, given);
            with_context(|cx| {
                PersistentVolumes::prepare_for_status_update(cx, &mut object, &at("Available", old));
            });
            let time = object.status.unwrap().last_phase_transition_time.unwrap();
            assert_eq!(time.0.to_string(), expected);
        }
    }

    #[test]
    fn the_source_of_a_volume_is_fixed() {
        let faults =
            check_update::<PersistentVolumes>(volume(json!({"hostPath": {"path": "/b"}})), volume(json!({})));
        assert!(
            faults.len() == 1
                && faults[0].starts_with("spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n"),
            "{faults:?}"
        );
        let affinity = |key: &str| {
            json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": key, "operator": "Exists"}]}]}}})
        };
        let old = volume(affinity("failure-domain.beta.kubernetes.io/zone"));
        let renamed = volume(affinity("topology.kubernetes.io/zone"));
        assert_eq!(check_update::<PersistentVolumes>(renamed, old.clone()), [""; 0]);
        assert_eq!(
            check_update::<PersistentVolumes>(volume(affinity("a")), old),
            [
                r#"nodeAffinity: Invalid value: {"Required":{"NodeSelectorTerms":[{"MatchExpressions":[{"Key":"a","Operator":"Exists","Values":null}],"MatchFields":null}]}}: field is immutable, except for updating from beta label to GA"#
            ]
        );
    }

    #[test]
    fn mount_options_are_for_volumes_that_are_mounted() {
        let mut object = volume(json!({}));
        object["metadata"] = json!({"annotations": {"volume.beta.kubernetes.io/mount-options": "a"}});
        assert_eq!(
            check_create::<PersistentVolumes>(object),
            [
                "metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for this volume type"
            ]
        );
    }

    #[test]
    fn what_no_longer_works_is_warned_about() {
        assert_eq!(
            warnings::<PersistentVolumes>(volume(
                json!({"persistentVolumeReclaimPolicy": "Recycle", "rbd": {"monitors": ["a"], "image": "b"}})
            )),
            [
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
                "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
            ]
        );
    }
}
