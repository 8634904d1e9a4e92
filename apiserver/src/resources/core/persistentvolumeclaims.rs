//! PersistentVolumeClaims: `persistentvolumeclaims` of `v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, TypedLocalObjectReference,
    TypedObjectReference,
};

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        claims::{self, Leniency},
        internal::difference,
        metadata::invalid_each,
        names::qualified_name,
        optional::{Entries, Text, immutable, same},
        quantities::{ResourceList, amount, amount_faults, is_native, round_up},
        selectors,
    },
};

/// The annotation that named the storage class before the field did.
pub(crate) const BETA_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// How far a resize has come, sorted.
const RESIZE_STATUSES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// The strategy of PersistentVolumeClaims.
pub(crate) struct PersistentVolumeClaims;

impl Strategy for PersistentVolumeClaims {
    type Object = PersistentVolumeClaim;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        short: &["pvc"],
        categories: &[],
        namespaced: true,
    };
    const RETURNS_DELETED: bool = true;
    const STATUS: bool = true;

    fn default(object: &mut PersistentVolumeClaim) {
        let status = object.status.get_or_insert_default();
        status.phase.or_set("Pending");
        round_up(status.capacity.as_mut());
        round_up(status.allocated_resources.as_mut());
        default_spec(object.spec.get_or_insert_default());
    }

    fn prepare_for_create(_cx: &Context<'_>, object: &mut PersistentVolumeClaim) {
        let status = PersistentVolumeClaimStatus::default();
        object.status = Some(PersistentVolumeClaimStatus { phase: Some("Pending".to_owned()), ..status });
        prepare_spec(object.spec.get_or_insert_default(), None);
    }

    fn validate(_cx: &Context<'_>, object: &PersistentVolumeClaim) -> Faults {
        claims::validate(spec_of(object), Leniency::default(), &Path::new("spec"))
    }

    fn prepare_for_update(
        _cx: &Context<'_>,
        object: &mut PersistentVolumeClaim,
        old: &PersistentVolumeClaim,
    ) {
        prepare_spec(object.spec.get_or_insert_default(), old.spec.as_ref());
    }

    fn validate_update(
        _cx: &Context<'_>,
        object: &PersistentVolumeClaim,
        old: &PersistentVolumeClaim,
    ) -> Faults {
        let mut faults = claims::validate(spec_of(object), held(spec_of(old)), &Path::new("spec"));
        faults.extend(change_faults(object, old));
        faults
    }

    fn validate_status_update(
        _cx: &Context<'_>,
        object: &PersistentVolumeClaim,
        _old: &PersistentVolumeClaim,
    ) -> Faults {
        object.status.as_ref().map(status_faults).unwrap_or_default()
    }

    fn warnings(
        _cx: &Context<'_>,
        object: &PersistentVolumeClaim,
        _old: Option<&PersistentVolumeClaim>,
    ) -> Vec<String> {
        let mut warnings = Vec::new();
        if object.metadata.annotations.at(BETA_STORAGE_CLASS).is_some() {
            warnings.push(format!(
                "metadata.annotations[{BETA_STORAGE_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
        warnings.extend(claims::warnings(spec_of(object), &Path::new("spec")));
        warnings
    }
}

fn spec_of(object: &PersistentVolumeClaim) -> &PersistentVolumeClaimSpec {
    static EMPTY: std::sync::LazyLock<PersistentVolumeClaimSpec> =
        std::sync::LazyLock::new(PersistentVolumeClaimSpec::default);
    object.spec.as_ref().unwrap_or(&EMPTY)
}

/// Fills in what a claim's spec leaves out; also for claims in templates.
pub(crate) fn default_spec(spec: &mut PersistentVolumeClaimSpec) {
    spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
    if let Some(resources) = &mut spec.resources {
        round_up(resources.limits.as_mut());
        round_up(resources.requests.as_mut());
    }
}

/// Brings the two fields for a data source into agreement (KEP-1495).
pub(crate) fn prepare_spec(spec: &mut PersistentVolumeClaimSpec, old: Option<&PersistentVolumeClaimSpec>) {
    let old_ref = old.is_some_and(|old| old.data_source_ref.is_some());
    let crosses_namespaces =
        spec.data_source_ref.as_ref().is_some_and(|source| !source.namespace.text().is_empty());
    // Data sources of other namespaces (KEP-3294) are alpha and off.
    if crosses_namespaces && !old_ref {
        spec.data_source_ref = None;
    }
    let old_source = old.is_some_and(|old| old.data_source.is_some());
    if !old_ref && !old_source && spec.data_source_ref.is_none() {
        // The older field always took only these, and silently nothing else.
        spec.data_source = spec.data_source.take().filter(|source| {
            matches!(
                (source.kind.as_str(), source.api_group.text()),
                ("PersistentVolumeClaim", "") | ("VolumeSnapshot", "snapshot.storage.k8s.io")
            )
        });
    }
    agree_on_data_source(spec);
}

fn agree_on_data_source(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            });
        }
        (None, Some(source)) if source.namespace.text().is_empty() => {
            spec.data_source = Some(TypedLocalObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
            });
        }
        _ => {}
    }
}

/// What a changed spec may hold since the old one does.
fn held(old: &PersistentVolumeClaimSpec) -> Leniency {
    let grouped = old.data_source.as_ref().is_some_and(|source| source.api_group.is_some())
        || old.data_source_ref.as_ref().is_some_and(|source| source.api_group.is_some());
    let selector = selectors::validate(old.selector.as_ref(), Default::default(), &Path::root());
    Leniency { invalid_selector_values: !selector.is_empty(), invalid_api_group: grouped }
}

/// What is wrong with a change: the spec is fixed but for binding, size and the class of attributes.
fn change_faults(object: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> Faults {
    let mut faults = Vec::new();
    let (mut new_spec, mut old_spec) = (spec_of(object).clone(), spec_of(old).clone());
    agree_on_data_source(&mut old_spec);
    if old_spec.volume_name.text().is_empty() {
        old_spec.volume_name.clone_from(&new_spec.volume_name);
    }
    let (new_class, old_class) =
        (object.metadata.annotations.at(BETA_STORAGE_CLASS), old.metadata.annotations.at(BETA_STORAGE_CLASS));
    let class_set =
        old_spec.storage_class_name.is_none().then_some(new_spec.storage_class_name.as_ref()).flatten();
    if let (Some(class), Some(set)) = (old_class, class_set)
        && class == set
        && new_class.is_none_or(|new| new == class)
    {
        // The field takes over from the annotation.
        new_spec.storage_class_name = None;
    } else {
        let empty = String::new();
        let (new_class, old_class_text) = (new_class.unwrap_or(&empty), old_class.unwrap_or(&empty));
        if new_class != old_class_text {
            let path = Path::new("metadata.annotations").child(BETA_STORAGE_CLASS);
            faults.push(Fault::invalid(&path, new_class, "field is immutable"));
        }
        if class_set.is_some_and(|set| old_class.is_none_or(|class| class == set)) {
            // A class that nobody chose may be chosen later.
            new_spec.storage_class_name.clone_from(&old_spec.storage_class_name);
        }
    }
    let bound = object.status.as_ref().is_some_and(|status| status.phase.text() == "Bound");
    let storage = |spec: &PersistentVolumeClaimSpec| {
        spec.resources.as_ref().and_then(|resources| resources.requests.at("storage")).cloned()
    };
    let (new_size, old_size) = (storage(&new_spec), storage(&old_spec));
    if bound {
        if let Some(requests) = new_spec.resources.as_mut().and_then(|it| it.requests.as_mut()) {
            match &old_size {
                Some(size) => requests.insert("storage".to_owned(), size.clone()),
                None => requests.remove("storage"),
            };
        }
        new_spec.volume_attributes_class_name.clone_from(&old_spec.volume_attributes_class_name);
    }
    for spec in [&mut new_spec, &mut old_spec] {
        let lists = spec.resources.iter_mut().flat_map(|it| [it.requests.as_mut(), it.limits.as_mut()]);
        lists.flatten().for_each(canonical_amounts);
    }
    if !same(&new_spec, &old_spec) {
        faults.push(Fault::forbidden(
            &Path::new("spec"),
            format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
                difference("core.PersistentVolumeClaimSpec", &old_spec, &new_spec)
            ),
        ));
    }
    let size = |size: Option<_>| size.map(|it| amount(&it)).unwrap_or_default();
    let new_size = size(new_size);
    if new_size < size(old_size) {
        let capacity = old.status.as_ref().and_then(|status| status.capacity.at("storage")).cloned();
        // Less than before is fine to recover from a failed expansion (KEP-1790), but volumes never shrink.
        if new_size <= size(capacity) {
            faults.push(Fault::forbidden(
                &Path::new("spec.resources.requests.storage"),
                "field can not be less than status.capacity",
            ));
        }
    }
    faults.extend(immutable(
        &Path::new("volumeMode"),
        &spec_of(object).volume_mode,
        &spec_of(old).volume_mode,
    ));
    let class = &spec_of(object).volume_attributes_class_name;
    let applied = old.status.as_ref().is_some_and(|it| it.current_volume_attributes_class_name.is_some());
    if class != &spec_of(old).volume_attributes_class_name && applied {
        let to = match class.as_deref() {
            None => "nil",
            Some("") => "empty string",
            Some(_) => return faults,
        };
        faults.push(Fault::forbidden(
            &Path::new("spec.volumeAttributesClassName"),
            format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"),
        ));
    }
    faults
}

fn canonical_amounts(list: &mut ResourceList) {
    for text in list.values_mut() {
        text.0 = amount(text).to_string();
    }
}

fn status_faults(status: &PersistentVolumeClaimStatus) -> Faults {
    let path = Path::new("status");
    let mut faults = Vec::new();
    let below_zero = |path: &Path, text| {
        let value = amount(text).value();
        (value < 0).then(|| Fault::invalid(path, value, "must be a valid resource quantity"))
    };
    for (name, text) in status.capacity.entries() {
        faults.extend(below_zero(&path.child("capacity").key(name), text));
    }
    let statuses_path = path.child("allocatedResourceStatuses");
    for (name, value) in status.allocated_resource_statuses.entries() {
        faults.extend(resource_key_faults(name, &statuses_path));
        if !RESIZE_STATUSES.contains(&value.as_str()) {
            // The key is named though the value is wrong: upstream's slip.
            faults.push(Fault::not_supported(&statuses_path, name, RESIZE_STATUSES));
        }
    }
    let allocated_path = path.child("allocatedResources");
    for (name, text) in status.allocated_resources.entries() {
        let wrong = resource_key_faults(name, &allocated_path);
        if !wrong.is_empty() {
            faults.extend(wrong);
            continue;
        }
        let path = allocated_path.key(name);
        match below_zero(&path, text) {
            Some(fault) => faults.push(fault),
            None => faults.extend(amount_faults("storage", text, &path)),
        }
    }
    faults
}

fn resource_key_faults(name: &str, path: &Path) -> Faults {
    let faults = invalid_each(path, name, qualified_name(name));
    if faults.is_empty() && is_native(name) && name != "storage" {
        return vec![Fault::not_supported(path, name, &["storage"])];
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::PersistentVolumeClaims;
    use crate::resources::shared::testing::{
        check_create, check_status_update, check_update, created, warnings,
    };

    fn claim(change: Value) -> Value {
        let mut spec =
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        json!({"spec": spec})
    }

    fn bound(change: Value) -> Value {
        let mut claim = claim(change);
        claim["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        claim
    }

    #[test]
    fn a_new_claim_is_pending_and_a_file_system() {
        assert_eq!(
            created::<PersistentVolumeClaims>(claim(json!({}))),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {}, "status": {"phase": "Pending"},
                "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
                    "resources": {"requests": {"storage": "1Gi"}}}})
        );
    }

    #[test]
    fn a_claim_says_how_much_and_how() {
        for (change, faults) in [
            (json!({}), vec![]),
            (
                json!({"accessModes": [], "resources": {}}),
                vec![
                    "spec.accessModes: Required value: at least 1 access mode is required",
                    "spec.resources[storage]: Required value",
                ],
            ),
            (
                json!({"accessModes": ["X", "ReadWriteOncePod", "ReadWriteOnce"]}),
                vec![
                    r#"spec.accessModes: Unsupported value: "X": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod""#,
                    "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
                ],
            ),
            (
                json!({"resources": {"requests": {"storage": "0"}}, "volumeMode": "Odd"}),
                vec![
                    r#"spec.resources[storage]: Invalid value: "0": must be greater than zero"#,
                    r#"spec.volumeMode: Unsupported value: "Odd": supported values: "Block", "Filesystem""#,
                ],
            ),
            (
                json!({"dataSource": {"kind": "VolumeSnapshot", "name": "a", "apiGroup": "snapshot.storage.k8s.io"},
                    "dataSourceRef": {"kind": "X", "name": ""}}),
                vec![
                    "spec.dataSourceRef.name: Required value",
                    r#"spec.dataSourceRef: Invalid value: "X": must be 'PersistentVolumeClaim' when referencing the default apiGroup"#,
                    "spec: Invalid value: {}: must match dataSourceRef",
                ],
            ),
        ] {
            assert_eq!(check_create::<PersistentVolumeClaims>(claim(change)), faults);
        }
    }

    #[test]
    fn both_fields_for_a_data_source_agree_and_unknown_ones_are_dropped() {
        let spec = |source: Value| {
            let spec = created::<PersistentVolumeClaims>(claim(source));
            (spec.pointer("/spec/dataSource").cloned(), spec.pointer("/spec/dataSourceRef").cloned())
        };
        let pvc = json!({"kind": "PersistentVolumeClaim", "name": "a"});
        assert_eq!(spec(json!({"dataSource": pvc})), (Some(pvc.clone()), Some(pvc.clone())));
        assert_eq!(spec(json!({"dataSourceRef": pvc})), (Some(pvc.clone()), Some(pvc)));
        assert_eq!(spec(json!({"dataSource": {"kind": "X", "name": "a", "apiGroup": "b"}})), (None, None));
        assert_eq!(
            spec(json!({"dataSourceRef": {"kind": "X", "name": "a", "apiGroup": "b", "namespace": "c"}})),
            (None, None)
        );
    }

    #[test]
    fn a_bound_claim_may_grow_and_change_its_class_of_attributes() {
        let size = |size: &str| json!({"resources": {"requests": {"storage": size}}});
        for (new, old, fault) in [
            (bound(size("2Gi")), bound(size("1Gi")), None),
            (bound(json!({"volumeAttributesClassName": "a"})), bound(json!({})), None),
            (bound(json!({"volumeName": "a"})), bound(json!({})), None),
            (bound(json!({"storageClassName": "a"})), bound(json!({})), None),
            (
                claim(size("2Gi")),
                claim(size("1Gi")),
                Some(
                    "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n",
                ),
            ),
            (
                bound(size("512Mi")),
                bound(size("1Gi")),
                Some(
                    "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity",
                ),
            ),
            (
                bound(json!({"volumeName": "b"})),
                bound(json!({"volumeName": "a"})),
                Some("spec: Forbidden: spec is immutable after creation"),
            ),
        ] {
            let faults = check_update::<PersistentVolumeClaims>(new, old);
            match fault {
                None => assert_eq!(faults, [""; 0]),
                Some(fault) => assert!(faults.len() == 1 && faults[0].starts_with(fault), "{faults:?}"),
            }
        }
    }

    #[test]
    fn a_status_counts_storage() {
        let mut claim = claim(json!({}));
        claim["status"] = json!({"capacity": {"storage": "-1"}, "allocatedResources": {"cpu": "1"},
            "allocatedResourceStatuses": {"storage": "X"}});
        assert_eq!(
            check_status_update::<PersistentVolumeClaims>(claim.clone(), claim),
            [
                "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                r#"status.allocatedResourceStatuses: Unsupported value: "storage": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending""#,
                r#"status.allocatedResources: Unsupported value: "cpu": supported values: "storage""#,
            ]
        );
    }

    #[test]
    fn fractions_of_bytes_and_the_old_annotation_are_warned_about() {
        let mut object = claim(json!({"resources": {"requests": {"storage": "100m"}}}));
        object["metadata"] = json!({"annotations": {"volume.beta.kubernetes.io/storage-class": "a"}});
        assert_eq!(
            warnings::<PersistentVolumeClaims>(object),
            [
                r#"metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead"#,
                r#"spec.resources.requests[storage]: fractional byte value "100m" is invalid, must be an integer"#,
            ]
        );
    }
}
