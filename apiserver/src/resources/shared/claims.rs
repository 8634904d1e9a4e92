//! The rules of a claim's spec, for claims themselves and for the templates that claims are made from.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    metadata::{invalid_each, validate_annotations},
    names::{dns_label, dns_subdomain, dns1123_subdomain},
    optional::{Entries, Items, Text, one_of_or_empty_fault},
    quantities,
    selectors::{self, validate_labels},
};

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Where the strictest rules do not hold, since a stored claim broke them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leniency {
    /// The selector may hold values that are no label values.
    pub invalid_selector_values: bool,
    /// The API group of the data source may be no DNS name.
    pub invalid_api_group: bool,
}

/// Faults of a claim's spec.
pub(crate) fn validate(spec: &PersistentVolumeClaimSpec, leniency: Leniency, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let modes = spec.access_modes.items();
    let modes_path = path.child("accessModes");
    if modes.is_empty() {
        faults.push(Fault::required(&modes_path, "at least 1 access mode is required"));
    }
    faults.extend(selectors::validate(
        spec.selector.as_ref(),
        selectors::Leniency {
            invalid_values: leniency.invalid_selector_values,
            ..selectors::Leniency::default()
        },
        &path.child("selector"),
    ));
    for mode in modes {
        faults.extend(one_of_or_empty_fault(&modes_path, mode, ACCESS_MODES));
    }
    let once_pod = |mode: &String| mode == "ReadWriteOncePod";
    if modes.iter().any(once_pod)
        && modes.iter().any(|mode| !once_pod(mode) && ACCESS_MODES.contains(&mode.as_str()))
    {
        faults.push(Fault::forbidden(&modes_path, "may not use ReadWriteOncePod with other access modes"));
    }
    let storage_path = path.child("resources").key("storage");
    match spec.resources.as_ref().and_then(|resources| resources.requests.at("storage")) {
        None => faults.push(Fault::required(&storage_path, "")),
        Some(storage) => faults.extend(quantities::not_positive(storage, &storage_path)),
    }
    {
        let (field, class) = ("storageClassName", &spec.storage_class_name);
        faults.extend(class_name(class, &path.child(field)));
    }
    if let Some(mode) = spec.volume_mode.as_deref() {
        faults.extend(one_of_or_empty_fault(&path.child("volumeMode"), mode, &["Block", "Filesystem"]));
    }
    faults.extend(data_sources(spec, leniency, path));
    faults.extend(class_name(&spec.volume_attributes_class_name, &path.child("volumeAttributesClassName")));
    faults
}

fn class_name(name: &Option<String>, path: &Path) -> Faults {
    let name = name.text();
    if name.is_empty() { Vec::new() } else { invalid_each(path, name, dns_subdomain(name, false)) }
}

/// What a data source and a reference to one have in common.
#[derive(PartialEq, Eq)]
struct Source<'a> {
    api_group: Option<&'a str>,
    kind: &'a str,
    name: &'a str,
}

fn data_sources(spec: &PersistentVolumeClaimSpec, leniency: Leniency, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let old_way = spec.data_source.as_ref().map(|source| Source {
        api_group: source.api_group.as_deref(),
        kind: &source.kind,
        name: &source.name,
    });
    let new_way = spec.data_source_ref.as_ref().map(|source| Source {
        api_group: source.api_group.as_deref(),
        kind: &source.kind,
        name: &source.name,
    });
    if let Some(source) = &old_way {
        faults.extend(data_source(source, leniency, &path.child("dataSource")));
    }
    let namespace = spec.data_source_ref.as_ref().map(|source| source.namespace.text()).unwrap_or_default();
    if let Some(source) = &new_way {
        let path = path.child("dataSourceRef");
        faults.extend(data_source(source, leniency, &path));
        if !namespace.is_empty() {
            faults.extend(invalid_each(&path.child("namespace"), namespace, dns_label(namespace, false)));
        }
    }
    // Upstream prints the path in place of the value, and that is an empty object.
    let clash = |detail: &str| Fault::invalid(path, BadValue::Json(serde_json::json!({})), detail);
    if !namespace.is_empty() {
        if old_way.is_some() {
            faults.push(clash("may not be specified when dataSourceRef.namespace is specified"));
        }
    } else if old_way.is_some() && new_way.is_some() && old_way != new_way {
        faults.push(clash("must match dataSourceRef"));
    }
    faults
}

fn data_source(source: &Source<'_>, leniency: Leniency, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if source.name.is_empty() {
        faults.push(Fault::required(&path.child("name"), ""));
    }
    if source.kind.is_empty() {
        faults.push(Fault::required(&path.child("kind"), ""));
    }
    let group = source.api_group.unwrap_or_default();
    if group.is_empty() && source.kind != "PersistentVolumeClaim" {
        faults.push(Fault::invalid(
            path,
            source.kind,
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        ));
    }
    if !group.is_empty() && !leniency.invalid_api_group {
        faults.extend(invalid_each(&path.child("apiGroup"), group, dns1123_subdomain(group)));
    }
    faults
}

/// Faults of the template of a claim that a pod brings along.
pub(crate) fn validate_template(template: &PersistentVolumeClaimTemplate, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if let Some(metadata) = &template.metadata {
        faults.extend(template_metadata(metadata, &path.child("metadata")));
    }
    faults.extend(validate(&template.spec, Leniency::default(), &path.child("spec")));
    faults
}

/// Faults of metadata that may have labels and annotations only.
pub(crate) fn template_metadata(metadata: &ObjectMeta, path: &Path) -> Faults {
    let mut faults = validate_annotations(metadata.annotations.as_ref(), &path.child("annotations"));
    faults.extend(validate_labels(metadata.labels.as_ref(), &path.child("labels")));
    let others = [
        ("name", !metadata.name.text().is_empty()),
        ("generateName", !metadata.generate_name.text().is_empty()),
        ("namespace", !metadata.namespace.text().is_empty()),
        ("selfLink", !metadata.self_link.text().is_empty()),
        ("uID", !metadata.uid.text().is_empty()),
        ("resourceVersion", !metadata.resource_version.text().is_empty()),
        ("generation", metadata.generation.unwrap_or_default() != 0),
        ("creationTimestamp", metadata.creation_timestamp.is_some()),
        ("deletionTimestamp", metadata.deletion_timestamp.is_some()),
        ("deletionGracePeriodSeconds", metadata.deletion_grace_period_seconds.is_some()),
        ("ownerReferences", !metadata.owner_references.items().is_empty()),
        ("finalizers", !metadata.finalizers.items().is_empty()),
        ("managedFields", !metadata.managed_fields.items().is_empty()),
    ];
    for (field, _) in others.into_iter().filter(|(_, is_set)| *is_set) {
        faults.push(Fault::forbidden(&path.child(field), "cannot be set"));
    }
    faults
}

/// What the writer of a claim's spec should know.
pub(crate) fn warnings(spec: &PersistentVolumeClaimSpec, path: &Path) -> Vec<String> {
    let Some(resources) = &spec.resources else { return Vec::new() };
    [("requests", &resources.requests), ("limits", &resources.limits)]
        .into_iter()
        .filter_map(|(field, list)| {
            let storage = list.at("storage").filter(|text| quantities::is_fractional(text))?;
            let path = path.child("resources").child(field).key("storage");
            let value = api_types::field::go_quote(&quantities::amount(storage).to_string());
            Some(format!("{path}: fractional byte value {value} is invalid, must be an integer"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(spec: Value, expected: &[&str]) {
        let parsed: PersistentVolumeClaimSpec = serde_json::from_value(spec.clone()).unwrap();
        let faults = validate(&parsed, Leniency::default(), &Path::new("spec"));
        assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{spec}");
    }

    #[test]
    fn a_claim_says_how_it_is_accessed_and_how_much_it_wants() {
        let storage = json!({"requests": {"storage": "1Gi"}});
        check(json!({"accessModes": ["ReadWriteOnce"], "resources": storage}), &[]);
        check(
            json!({}),
            &[
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
            ],
        );
        check(
            json!({"accessModes": ["ReadWriteOncePod", "ReadOnlyMany"], "resources": {"requests": {"storage": "0"}}}),
            &[
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
                r#"spec.resources[storage]: Invalid value: "0": must be greater than zero"#,
            ],
        );
        check(
            json!({
                "accessModes": ["ReadWriteOnce"], "resources": storage,
                "dataSource": {"kind": "A", "name": "b", "apiGroup": "c.d"},
                "dataSourceRef": {"kind": "A", "name": "c", "apiGroup": "c.d"},
            }),
            &["spec: Invalid value: {}: must match dataSourceRef"],
        );
    }
}
